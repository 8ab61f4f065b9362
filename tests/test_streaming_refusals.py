"""What the loader refuses: arguments beside a mix, mixes it cannot play, data that is missing or damaged."""

import json
import shutil
from decimal import Decimal
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streaming_help
from streaming_help import Make, ramp

from curriculum.errors import DataError, UserError
from curriculum.mix import Mix, Phase, Stream
from curriculum.streaming import StreamingDataset, mosaic
from curriculum.streaming.mds import write_stream
from curriculum.streaming.sources import REFUSED_WITH_MIX

folder, make_dataset = streaming_help.folder, streaming_help.make_dataset
GIVEN: dict[str, Any] = {
    "streams": [mosaic.Stream(local="/somewhere", proportion=1)],
    "remote": "s3://bucket/web",
    "local": "/nvme/web",
    "epoch_size": "2m",
    "sampling_method": "fixed",
    "sampling_granularity": 64,
    "partition_algo": "orig",
    "shuffle": True,
    "shuffle_algo": "py1s",
    "shuffle_seed": 1,
    "shuffle_block_size": 1000,
    "batching_method": "stratified",
}


def test_the_arguments_are_mosaics_with_their_order_and_defaults_and_a_few_more() -> None:
    ours = dict(signature(StreamingDataset).parameters)
    theirs = signature(mosaic.StreamingDataset).parameters
    added = {"mix": None, "data_parallel_rank": None, "data_parallel_size": None, "drop_last": False, "skip": ()}
    added |= {"on_change": "refuse", "positions": False, "document_ids": False}
    for name, default in added.items():
        assert ours.pop(name).default == default
    assert [(each.name, each.kind, each.default) for each in ours.values()] == [
        (each.name, each.kind, each.default) for each in theirs.values()
    ]
    assert set(GIVEN) == set(REFUSED_WITH_MIX) <= set(theirs)


@pytest.mark.parametrize("name", GIVEN)
def test_what_the_mix_decides_cannot_be_given_beside_it(folder: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"{name}=.*together with a mix"):
        StreamingDataset(mix=ramp(folder), batch_size=8, **{name: GIVEN[name]})


def test_defaults_may_be_written_out_and_the_rest_keeps_its_meaning(make_dataset: Make, folder: Path) -> None:
    dataset = make_dataset(mix=ramp(folder), batch_size=8, shuffle=False, predownload=99, download_retry=7, keep_zip=True)
    assert dataset.predownload == 99
    assert {stream.download_retry for stream in dataset.streams} == {7}
    assert all(stream.keep_zip for stream in dataset.streams)


def refusal(mix: Mix, error: type[Exception] = DataError) -> str:
    with pytest.raises(error) as refused:
        StreamingDataset(mix=mix, batch_size=8)
    return str(refused.value)


def test_a_folder_without_token_files_is_refused(folder: Path) -> None:
    npy = Stream(local=str(folder / "third"), format="npy", sequence_length=8)
    streams = {name: Stream(local=str(folder / name)) for name in ("first", "second")} | {"third": npy}
    assert "stream 'third': no *.npy" in refusal(ramp(folder, streams=streams), UserError)


def test_document_ids_need_token_files(folder: Path) -> None:
    with pytest.raises(UserError, match="document_ids=True needs token files, but stream 'first'"):
        StreamingDataset(mix=ramp(folder), batch_size=8, document_ids=True)


def test_two_streams_in_one_folder_are_refused(folder: Path) -> None:
    streams = {name: Stream(local=str(folder / name)) for name in ("first", "second")}
    streams["third"] = streams["first"]
    assert "streams 'first' and 'third' lie in the same folder" in refusal(ramp(folder, streams=streams), UserError)


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copied"))


def test_a_missing_stream_is_named_with_its_path(copied: Path) -> None:
    shutil.rmtree(copied / "second")
    message = refusal(ramp(copied))
    assert "stream 'second'" in message
    assert str(copied / "second") in message
    assert "`remote`" in message


def test_a_missing_or_truncated_shard_is_named_with_its_path(copied: Path) -> None:
    shard = copied / "third/shard.00001.mds"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    assert f"stream 'third': shard {shard} has {len(whole) - 1} bytes, its index.json says {len(whole)}" in refusal(
        ramp(copied)
    )
    shard.unlink()
    assert f"stream 'third': shard {shard} is missing" in refusal(ramp(copied))


@pytest.mark.parametrize("content", ["", '{"version": 2, "sha', "[]", '{"version": 2, "shards": [{"samples": 3}]}'])
def test_a_damaged_index_is_named(copied: Path, content: str) -> None:
    (copied / "first/index.json").write_text(content)
    message = refusal(ramp(copied))
    assert f"stream 'first': {copied / 'first/index.json'} is damaged" in message


def test_an_empty_stream_is_named(copied: Path) -> None:
    (copied / "second/index.json").write_text('{"version": 2, "shards": []}')
    assert "stream 'second'" in refusal(ramp(copied))
    assert "no samples" in refusal(ramp(copied))


def test_an_unsupported_version_is_told_by_the_streams_name(copied: Path) -> None:
    index = json.loads((copied / "first/index.json").read_text())
    (copied / "first/index.json").write_text(json.dumps({**index, "version": 3}))
    assert "stream 'first'" in refusal(ramp(copied))


def test_a_remote_that_is_not_there_is_named(copied: Path, tmp_path: Path) -> None:
    absent = Stream(remote=str(tmp_path / "absent"), local=str(tmp_path / "cache"), download_retry=0)
    streams = {name: Stream(local=str(copied / name)) for name in ("first", "second")} | {"third": absent}
    message = refusal(ramp(copied, streams=streams))
    assert "stream 'third'" in message
    assert str(tmp_path / "absent") in message


def test_a_shard_that_differs_from_its_index_is_found_when_mapped(make_dataset: Make, copied: Path) -> None:
    shard = copied / "first/shard.00000.mds"
    damaged = bytearray(shard.read_bytes())
    damaged[:4] = np.uint32(3).tobytes()
    shard.write_bytes(bytes(damaged))
    dataset = make_dataset(mix=ramp(copied), batch_size=8)
    with pytest.raises(DataError, match=f"{shard} holds 3 samples"):
        dataset.__getitems__(range(1001))


def test_too_little_data_under_a_cap_is_refused(folder: Path) -> None:
    streams = {name: Stream(local=str(folder / name), max_epochs=1) for name in streaming_help.SIZES}
    assert "max_epochs" in refusal(ramp(folder, streams=streams))


def in_tokens(folder: Path, **tokens: Any) -> Mix:
    streams = {name: Stream(local=str(folder / name), tokens_per_sample=tokens.get(name)) for name in ("short", "long")}
    weights = {"short": Decimal(1), "long": Decimal(1)}
    return Mix(name="tokens", unit="tokens", samples=100, streams=streams, phases=(Phase(until=Decimal(1), weights=weights),))


def test_tokens_per_sample_come_from_the_manifest(make_dataset: Make, tmp_path: Path) -> None:
    for name, length in (("short", 10), ("long", 40)):
        write_stream(tmp_path / name, {"tokens": np.zeros((200, length), np.uint8)})
    assert "tokens_per_sample" in refusal(in_tokens(tmp_path), UserError)
    for name, length in (("short", 10), ("long", 40)):
        (tmp_path / name / "manifest.json").write_text(json.dumps({"tokens_per_sample": length}))
    dataset = make_dataset(mix=in_tokens(tmp_path), batch_size=8)
    assert dataset.plan.counts(0, 100) == {"short": 80, "long": 20}
    assert dataset.state_dict(0, True)["segments"][0][1]["streams"]["long"]["tokens_per_sample"] == 40
    stated = make_dataset(mix=in_tokens(tmp_path, short=10, long=10), batch_size=8)
    assert stated.plan.counts(0, 100) == {"short": 50, "long": 50}
    (tmp_path / "long/manifest.json").write_text("{cut off")
    assert "manifest.json" in refusal(in_tokens(tmp_path))
