"""Token files in a mix: beside MDS, token for token what a memmap has, with documents, resumed and refused like any."""

from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streaming_help
from streaming_help import Make, loader
from token_help import some_tokens, write_megatron

from curriculum.errors import ChangedError, UserError
from curriculum.mix import Mix, Phase, Stream
from curriculum.streaming.mds import write_stream

make_dataset = streaming_help.make_dataset
LENGTH = 16
COUNTS = {"web": 3000, "books": 2005, "code": 1999}


def documents(count: int) -> list[tuple[int, ...]]:
    """Cut `count` tokens into documents of 7, 8, 9, ... tokens."""
    lengths = []
    while count > 0:
        lengths.append((min(count, 7 + len(lengths)),))
        count -= lengths[-1][0]
    return lengths


@pytest.fixture(scope="module")
def tokens() -> dict[str, Any]:
    return {name: some_tokens(count) for name, count in COUNTS.items()}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tokens: dict[str, Any]) -> Path:
    folder = tmp_path_factory.mktemp("tokens")
    whole = len(tokens["web"]) // LENGTH * LENGTH
    write_stream(folder / "web", {"tokens": tokens["web"][:whole].reshape(-1, LENGTH)})
    write_megatron(folder / "books", tokens["books"], documents(len(tokens["books"])))
    tokens["code"].tofile(folder / "code.npy")
    return folder


def mix_of(place: Path, *names: str, samples: int = 300, **changes: Any) -> Mix:
    streams = {
        "web": Stream(local=str(place / "web")),
        "books": Stream(local=str(place / "books"), format="megatron", sequence_length=LENGTH),
        "code": Stream(local=str(place / "code.npy"), format="npy", sequence_length=LENGTH, eos_token=7),
    }
    weights = {name: Decimal(2 + number) for number, name in enumerate(names)}
    fields = {"name": "tokens", "samples": samples, "streams": {name: streams[name] for name in names}}
    return Mix(phases=(Phase(until=Decimal(1), weights=weights),), **{**fields, **changes})


@pytest.mark.parametrize("workers", [0, 2])
def test_formats_mix_freely_and_every_token_is_the_files(
    make_dataset: Make, place: Path, tokens: dict[str, Any], workers: int
) -> None:
    dataset = make_dataset(mix=mix_of(place, "web", "books", "code"), batch_size=8)
    read = np.concatenate([batch["tokens"].numpy() for batch in loader(dataset, workers)])
    streams, _, samples = dataset.plan[np.arange(300)]
    names = np.asarray(["web", "books", "code"])[streams]
    for row, name, sample in zip(read, names, samples, strict=True):
        np.testing.assert_array_equal(row, tokens[name][sample * LENGTH : (sample + 1) * LENGTH], strict=True)
    assert set(names) == {"web", "books", "code"}


def test_document_ids_change_where_documents_end(make_dataset: Make, place: Path, tokens: dict[str, Any]) -> None:
    dataset = make_dataset(mix=mix_of(place, "books", "code"), batch_size=8, document_ids=True)
    ends = np.cumsum([lengths[0] for lengths in documents(len(tokens["books"]))])
    streams, _, samples = dataset.plan[np.arange(300)]
    for sample, stream, number in zip(dataset, streams, samples, strict=True):
        positions = number * LENGTH + np.arange(LENGTH)
        if stream == 0:
            wanted = np.searchsorted(ends, positions, side="right")
        else:  # a document ends with its end-of-text token
            wanted = np.cumsum(np.concatenate([[0], tokens["code"][positions[:-1]] == 7]))
        np.testing.assert_array_equal(sample["document_ids"], wanted - wanted[0])
        assert sample["document_ids"].dtype == np.int32


def test_weights_may_count_tokens_without_saying_how_many_a_sample_has(make_dataset: Make, place: Path) -> None:
    mix = mix_of(place, "books", "code", unit="tokens")
    dataset = make_dataset(mix=mix, batch_size=8)
    assert dataset.plan.counts(0, 300) == {"books": 120, "code": 180}


def test_a_run_over_token_files_resumes_and_refuses_other_tokens(
    make_dataset: Make, place: Path, tokens: dict[str, Any], tmp_path: Path
) -> None:
    mix = mix_of(place, "books", "code")
    whole = [sample["tokens"].tolist() for sample in make_dataset(mix=mix, batch_size=8)]
    before = loader(make_dataset(mix=mix, batch_size=8), 1)
    list(islice(before, 9))
    state = before.state_dict()
    after = make_dataset(mix=mix, batch_size=8)
    after.load_state_dict(state)
    assert [sample["tokens"].tolist() for sample in after] == whole[72:]
    write_megatron(tmp_path / "books", tokens["books"][::-1].copy(), documents(len(tokens["books"])))
    tokens["code"].tofile(tmp_path / "code.npy")
    with pytest.raises(ChangedError, match="data of stream 'books'"):
        make_dataset(mix=mix_of(tmp_path, "books", "code"), batch_size=8).load_state_dict(state)


def test_document_ids_of_a_stream_that_has_none_are_refused(make_dataset: Make, place: Path) -> None:
    with pytest.raises(UserError, match="stream 'web'"):
        make_dataset(mix=mix_of(place, "web", "books"), batch_size=8, document_ids=True)
