"""`curriculum pack`: token for token what was put in, held out by document, whole or absent, and clear when refused."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum.commands.pack import pack, summary
from curriculum.errors import ChangedError, DataError, FileError, ResourceError, UserError
from curriculum.streaming.documents import Reading, find_sources, read_texts
from curriculum.streaming.manifest import read_manifest
from curriculum.streaming.packing import PackResult, PackSettings, pack_sources
from curriculum.streaming.publish import published_folder
from curriculum.streaming.samples import BestFit, Chunker, Placement, best_fit_decreasing
from curriculum.streaming.tokenizer import load_tokenizer, train_tokenizer

SENTENCE = "the old cat saw a red bird near the green river and sang to it until morning came"
WORDS = SENTENCE.split()
TEXTS = [" ".join(WORDS[(i * 7 + j * 3) % len(WORDS)] for j in range(5 + i % 40)) + f" {i}.\n" for i in range(120)]
SETTINGS = PackSettings(name="web", sequence_length=16, heldout=0.25, vocabulary=300)


def write_jsonl(path: Path, texts: Sequence[str] = TEXTS) -> Path:
    path.write_text("".join(json.dumps({"text": text, "id": i}) + "\n" for i, text in enumerate(texts)))
    return path


def do_pack(folder: Path, changes: dict[str, Any] | None = None, texts: Sequence[str] = TEXTS) -> PackResult:
    folder.mkdir(exist_ok=True)
    source = write_jsonl(folder / "web.jsonl", texts)
    return pack_sources([str(source)], folder / "out", replace(SETTINGS, **(changes or {})))


def read_samples(folder: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]:
    """Read all samples with Mosaic's own reader: tokens (samples, L), loss mask (samples, L) or None."""
    from curriculum.streaming.mosaic import MDSReader

    shards = json.loads((folder / "index.json").read_text())["shards"]
    rows = [row for shard in shards for row in MDSReader.from_json(str(folder), None, shard)]
    masks = np.stack([row["loss_mask"] for row in rows]) if "loss_mask" in rows[0] else None
    return np.stack([row["tokens"] for row in rows]), masks


def documents_of(folder: Path, result: PackResult) -> dict[int, list[int]]:
    """Put every document together again from the document -> sample map."""
    flat = read_samples(folder)[0].reshape(-1)
    length = result.train.tokens_per_sample
    pieces: dict[int, list[int]] = {}
    for row in sorted(pq.read_table(folder / "documents.parquet").to_pylist(), key=lambda row: row["piece"]):
        start = row["first_sample"] * length + row["first_offset"]
        stop = row["last_sample"] * length + row["last_offset"] + 1
        assert stop - start == row["tokens"]
        pieces.setdefault(row["document"], []).extend(flat[start:stop].tolist())
    return pieces


def test_chunked_samples_are_the_encoded_documents_one_after_another(tmp_path: Path) -> None:
    result = do_pack(tmp_path)
    tokenizer = load_tokenizer(tmp_path / "out" / "tokenizer.json")
    for folder, held_out in ((tmp_path / "out", False), (tmp_path / "out" / "heldout", True)):
        texts = [text for text in TEXTS if SETTINGS.held_out(text) == held_out]
        wanted = [id_ for ids in tokenizer.encode(texts) for id_ in [*ids.tolist(), tokenizer.end_of_text]]
        flat = read_samples(folder)[0].reshape(-1).tolist()
        counts = read_manifest(folder).counts
        assert len(texts) == counts.documents > 10
        assert flat == wanted[: len(flat)]
        assert 0 <= len(wanted) - len(flat) == counts.dropped_tokens < 16
        assert counts.tokens == len(wanted) and counts.samples * 16 == len(flat)
    assert result.train.end_of_text == tokenizer.end_of_text == 0
    assert tokenizer.decode(read_samples(tmp_path / "out")[0].reshape(-1).tolist()).startswith(
        next(text for text in TEXTS if not SETTINGS.held_out(text)) + "<|endoftext|>"
    )


def test_best_fit_loses_nothing_and_cuts_no_document_that_fits(tmp_path: Path) -> None:
    texts = [*TEXTS, "word " * 200]
    result = do_pack(tmp_path, {"packing": "best-fit", "sequence_length": 64, "heldout": 0.0}, texts)
    tokenizer = load_tokenizer(tmp_path / "out" / "tokenizer.json")
    wanted = {i: [*ids.tolist(), 0] for i, ids in enumerate(tokenizer.encode(texts))}
    assert documents_of(tmp_path / "out", result) == wanted
    tokens, masks = read_samples(tmp_path / "out")
    assert masks is not None
    counts = result.train.counts
    assert masks.sum() == counts.tokens == sum(map(len, wanted.values()))
    assert tokens.size - masks.sum() == counts.padding and counts.dropped_tokens == 0
    assert (tokens[masks == 0] == result.train.padding).all()
    pieces = pq.read_table(tmp_path / "out" / "documents.parquet").column("document").to_pylist()
    whole = [i for i, ids in wanted.items() if len(ids) <= 64]
    assert len(whole) > 60 and all(pieces.count(i) == 1 for i in whole)


def test_the_map_finds_every_document_of_a_chunked_stream(tmp_path: Path) -> None:
    result = do_pack(tmp_path, {"heldout": 0.0})
    tokenizer = load_tokenizer(tmp_path / "out" / "tokenizer.json")
    found = documents_of(tmp_path / "out", result)
    for i, ids in enumerate(tokenizer.encode(TEXTS)):
        assert [*ids.tolist(), 0][: len(found.get(i, []))] == found.get(i, [])
    assert sum(map(len, found.values())) == result.train.counts.samples * 16
    assert len(found) == len(TEXTS) - result.train.counts.dropped_documents


class Recorder:
    def __init__(self) -> None:
        self.samples: list[Any] = []
        self.masks: list[Any] = []
        self.placements: list[Placement] = []

    def write_sample(self, tokens: Any, loss_mask: Any) -> None:
        self.samples.append(tokens)
        self.masks.append(loss_mask)

    def write_placement(self, placement: Placement) -> None:
        self.placements.append(placement)


@settings(max_examples=60)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=40), st.integers(2, 17), st.booleans(), st.integers(1, 60))
def test_no_packer_loses_moves_or_invents_a_token(lengths: list[int], length: int, chunk: bool, group: int) -> None:
    sink = Recorder()
    packer = Chunker(sink, length) if chunk else BestFit(sink, length, 0, group_tokens=group)
    starts = np.cumsum([1, *lengths])
    documents = [np.arange(start, start + n, dtype=np.uint32) for start, n in zip(starts, lengths, strict=False)]
    for number, document in enumerate(documents):
        packer.add(number, 0, document)
    packer.finish()
    flat = np.concatenate([[], *sink.samples])
    assert all(len(sample) == length for sample in sink.samples)
    if chunk:
        assert flat.tolist() == np.concatenate(documents)[: len(flat)].tolist()
        assert packer.dropped_tokens == sum(lengths) - len(flat) < length
    else:
        kept = flat[np.concatenate(sink.masks) == 1]
        assert sorted(kept) == list(range(1, 1 + sum(lengths))) and packer.padding == len(flat) - len(kept)
    assert all(place.tokens > 0 for place in sink.placements)
    assert len({(place.document, place.piece) for place in sink.placements}) == len(sink.placements)
    placed: dict[int, list[float]] = {}
    for place in sorted(sink.placements, key=lambda place: place.piece):
        placed.setdefault(place.document, []).extend(flat[place.position : place.position + place.tokens])
    for number, tokens in placed.items():
        assert tokens == documents[number][: len(tokens)].tolist()
    assert sum(map(len, placed.values())) == sum(lengths) - packer.dropped_tokens
    assert len(placed) == len(lengths) - packer.dropped_documents


@given(st.lists(st.integers(1, 12), max_size=60))
def test_best_fit_matches_the_plain_definition(lengths: list[int]) -> None:
    bins: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        rooms = [12 - sum(lengths[i] for i in chosen) for chosen in bins]
        fitting = [room for room in rooms if room >= lengths[index]]
        if fitting:
            bins[max(i for i, room in enumerate(rooms) if room == min(fitting))].append(index)
        else:
            bins.append([index])
    found = best_fit_decreasing(lengths, 12)
    assert sorted(index for chosen in found for index in chosen) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in chosen) <= 12 for chosen in found)
    assert sorted(sum(lengths[i] for i in chosen) for chosen in found) == sorted(
        sum(lengths[i] for i in chosen) for chosen in bins
    )


def test_the_held_out_split_depends_on_text_and_seed_alone(tmp_path: Path) -> None:
    chosen = {text for text in TEXTS if SETTINGS.held_out(text)}
    assert 15 < len(chosen) < 45
    assert chosen != {text for text in TEXTS if replace(SETTINGS, seed=1).held_out(text)}
    larger = {text for text in TEXTS if replace(SETTINGS, heldout=0.5).held_out(text)}
    assert chosen < larger  # raising the share moves documents in one direction only
    do_pack(tmp_path / "a")
    do_pack(tmp_path / "b", texts=[*reversed(TEXTS), *TEXTS])  # another order, every document twice
    sides = []
    for name in ("a", "b"):
        out = tmp_path / name / "out"
        tokenizer = load_tokenizer(out / "tokenizer.json")
        both = [tokenizer.decode(read_samples(folder)[0].reshape(-1).tolist()) for folder in (out, out / "heldout")]
        sides.append([set(text.split("<|endoftext|>")[:-1]) for text in both])
    for train, heldout in sides:
        assert heldout and not train & heldout and heldout <= chosen
    assert len(sides[0][1] ^ sides[1][1]) <= 1  # the last document of a split may be cut


def test_the_manifest_says_what_went_in_and_what_came_out(tmp_path: Path) -> None:
    result = do_pack(tmp_path)
    manifest = read_manifest(tmp_path / "out")
    source = tmp_path / "web.jsonl"
    assert manifest == result.train
    assert [entry.sha256 for entry in manifest.sources] == [hashlib.sha256(source.read_bytes()).hexdigest()]
    tokenizer = tmp_path / "out" / "tokenizer.json"
    assert manifest.tokenizer_sha256 == hashlib.sha256(tokenizer.read_bytes()).hexdigest()
    assert (manifest.tokens_per_sample, manifest.vocabulary, manifest.dtype) == (16, 300, "uint16")
    assert result.heldout is not None and result.heldout.split == "heldout"
    assert result.train.counts.documents + result.heldout.counts.documents == len(TEXTS)
    assert "held" in summary(result) and f"{manifest.counts.samples:,} samples of 16" in summary(result)


def test_mosaic_reads_a_packed_stream(tmp_path: Path) -> None:
    from curriculum.streaming.mosaic import StreamingDataset

    result = do_pack(tmp_path)
    for folder in (tmp_path / "out", tmp_path / "out" / "heldout"):
        dataset = StreamingDataset(local=str(folder), batch_size=4, shuffle=False, num_canonical_nodes=1)
        expected = read_samples(folder)[0]
        assert len(dataset) == len(expected)
        assert all((dataset[i]["tokens"] == row).all() for i, row in enumerate(expected))
    assert result.train.counts.samples == len(read_samples(tmp_path / "out")[0])


def test_the_same_request_is_left_and_another_is_refused(tmp_path: Path) -> None:
    first = do_pack(tmp_path)
    shard = tmp_path / "out" / "shard.00000.mds"
    before = shard.stat().st_mtime_ns
    again = do_pack(tmp_path)
    assert not first.already and again.already and shard.stat().st_mtime_ns == before
    assert again.train == first.train
    with pytest.raises(ChangedError, match=r"seed: 0 there, 3 asked.*--overwrite"):
        do_pack(tmp_path, {"seed": 3})
    with pytest.raises(ChangedError, match="sources"):
        do_pack(tmp_path, texts=TEXTS[:-1])
    replaced = pack_sources([str(tmp_path / "web.jsonl")], tmp_path / "out", replace(SETTINGS, seed=3), overwrite=True)
    assert replaced.train.settings["seed"] == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "web.jsonl"]


def test_a_damaged_pack_is_noticed_and_a_foreign_folder_is_never_replaced(tmp_path: Path) -> None:
    do_pack(tmp_path)
    shard = tmp_path / "out" / "shard.00000.mds"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"damaged.*--overwrite"):
        do_pack(tmp_path)
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.tex").write_text("years of work")
    with pytest.raises(DataError, match="not written by"):
        pack_sources([str(tmp_path / "web.jsonl")], foreign, SETTINGS, overwrite=True)
    assert (foreign / "chapter.tex").exists()


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_an_interrupted_or_failed_pack_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    from curriculum.streaming import split

    old = do_pack(tmp_path).train
    written = split.SplitWriter.write_sample
    calls = []

    def fail(self: Any, tokens: Any, mask: Any) -> None:
        calls.append(1)
        if len(calls) > 20:
            raise failure
        written(self, tokens, mask)

    monkeypatch.setattr(split.SplitWriter, "write_sample", fail)
    expected = ResourceError if isinstance(failure, OSError) else KeyboardInterrupt
    for out in ("out", "new"):
        calls.clear()
        with pytest.raises(expected):
            pack_sources([str(tmp_path / "web.jsonl")], tmp_path / out, replace(SETTINGS, seed=9), overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "web.jsonl"]
    assert read_manifest(tmp_path / "out") == old


def test_leftovers_of_a_killed_run_are_cleaned(tmp_path: Path) -> None:
    half = tmp_path / ".out.partial"
    half.mkdir()
    (half / "shard.00000.mds").write_bytes(b"half")
    (tmp_path / ".out.lock").touch()
    assert do_pack(tmp_path).train.counts.samples > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "web.jsonl"]


def test_a_pack_moved_aside_by_a_killed_run_comes_back(tmp_path: Path) -> None:
    old = do_pack(tmp_path).train
    (tmp_path / "out").rename(tmp_path / ".out.replaced")
    with pytest.raises(DataError, match="too few"):
        do_pack(tmp_path, {"sequence_length": 10**6, "heldout": 0.0})
    assert read_manifest(tmp_path / "out") == old
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "web.jsonl"]


def test_two_writers_of_one_folder_are_kept_apart(tmp_path: Path) -> None:
    with published_folder(tmp_path / "out") as first:
        with pytest.raises(UserError, match="another process is writing"), published_folder(tmp_path / "out"):
            pass
        (first / "a").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "a"]


def test_a_file_named_twice_counts_once(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl")
    found = find_sources([str(tmp_path / "a.jsonl"), str(tmp_path), str(tmp_path / "*.jsonl")])
    assert [source.path for source in found] == [str(tmp_path / "a.jsonl")]


def test_all_kinds_of_sources_give_the_same_tokens(tmp_path: Path) -> None:
    import datasets

    tokenizer = train_tokenizer(TEXTS, 300, tmp_path / "shared.json")
    files = tmp_path / "files"
    files.mkdir()
    for i, text in enumerate(TEXTS):
        (files / f"{i:03}.txt").write_text(text)
    write_jsonl(tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "a.parquet")
    datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": TEXTS})}).save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "lines.txt").write_text("".join(TEXTS))
    seen = set()
    for i, source in enumerate(["files", "a.jsonl", "a.jsonl.gz", "a.parquet", "saved", "files/*.txt"]):
        out = tmp_path / f"out{i}"
        pack_sources([str(tmp_path / source)], out, SETTINGS, tokenizer=tokenizer)
        seen.add((out / "shard.00000.mds").read_bytes())
        assert (out / "tokenizer.json").read_bytes() == tokenizer.read_bytes()
    assert len(seen) == 1


def test_text_files_are_cut_into_lines_and_blocks(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\ntwo\r\n\n\n \nthree\nfour".encode())
    (source,) = find_sources([str(path)])
    size = path.stat().st_size
    assert list(read_texts(source, Reading(documents="file"))) == [("one\ntwo\r\n\n\n \nthree\nfour", size)]
    lines = list(read_texts(source, Reading(documents="line")))
    assert lines == [("one", 7), ("two", 12), ("three", 22), ("four", size)]
    assert [text for text, _ in read_texts(source, Reading(documents="blank-line"))] == ["one\ntwo", "three\nfour"]


def test_a_trained_tokenizer_is_lossless_repeatable_and_blind_to_held_out_text(tmp_path: Path) -> None:
    first = train_tokenizer(TEXTS, 400, tmp_path / "a.json")
    assert first.read_bytes() == train_tokenizer(TEXTS, 400, tmp_path / "b.json").read_bytes()
    tokenizer = load_tokenizer(first)
    odd = "naïve\t\u2028 <|endoftext|> \x00 日本 \r\n  end  "
    (ids,) = tokenizer.encode([odd])
    assert tokenizer.decode(ids.tolist()) == odd and 0 not in ids  # a spelled-out end of text ends nothing
    do_pack(tmp_path / "one")
    do_pack(tmp_path / "two", texts=[text for text in TEXTS if not SETTINGS.held_out(text)])
    assert (tmp_path / "one/out/tokenizer.json").read_bytes() == (tmp_path / "two/out/tokenizer.json").read_bytes()


def test_truncation_and_padding_of_a_given_tokenizer_are_switched_off(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    path = train_tokenizer(TEXTS, 300, tmp_path / "plain.json")
    meddling = Tokenizer.from_file(str(path))
    meddling.enable_truncation(4)
    meddling.enable_padding()
    meddling.save(str(tmp_path / "meddling.json"))
    plain, loaded = (load_tokenizer(tmp_path / name).encode(TEXTS[:3]) for name in ("plain.json", "meddling.json"))
    assert [ids.tolist() for ids in loaded] == [ids.tolist() for ids in plain]


def test_ids_beyond_sixteen_bits_are_kept(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    path = train_tokenizer(TEXTS, 300, tmp_path / "small.json")
    large = Tokenizer.from_file(str(path))
    large.add_tokens([f"\ue000{i}\ue001" for i in range(70_000)] + ["saw bird"])
    large.save(str(tmp_path / "large.json"))
    source = write_jsonl(tmp_path / "web.jsonl")
    result = pack_sources([str(source)], tmp_path / "out", SETTINGS, tokenizer=tmp_path / "large.json")
    assert (result.train.dtype, result.train.vocabulary) == ("uint32", 70_301)
    assert (read_samples(tmp_path / "out")[0] == 70_300).any()


BAD_FILES = [
    ("a.csv", b"x", DataError, r"cannot tell what .*a\.csv holds.*\.jsonl"),
    ("a.jsonl", b'{"text": "x"}\n{"text": \n', FileError, r"a\.jsonl:2: wanted one JSON object"),
    ("a.jsonl", b'{"text": "x"}\n\n["x"]\n', FileError, r"a\.jsonl:3: wanted a JSON object, got list"),
    ("a.jsonl", b'{"body": "x"}\n', FileError, r"a\.jsonl:1: no key 'text'; keys here: 'body'.*--text-column"),
    ("a.jsonl", b'{"text": 3}\n', FileError, r"a\.jsonl:1: wanted text under 'text', got int"),
    ("a.jsonl", b'{"text": "\\ud800"}\n', FileError, r"a\.jsonl:1: half of a surrogate"),
    ("a.jsonl", b'{"text": "\xff"}\n', FileError, r"a\.jsonl:1: wanted one JSON object"),
    ("a.jsonl.gz", gzip.compress(b'{"text": "x"}\n' * 99)[:-9], DataError, r"damaged or cut off"),
    ("a.jsonl.gz", b"no gzip", DataError, r"damaged or cut off"),
    ("a.txt", b"good \xe9 bad", DataError, r"a\.txt: not UTF-8 at byte 5 \(0xe9"),
    ("a.txt", b"", DataError, r"nothing to pack|no text"),
    ("a.jsonl", b"", DataError, r"nothing to pack|no text"),
    ("a.txt", b"x", DataError, r"too few for one sample of 16"),
    ("a.parquet", b"PAR1 no", DataError, r"not a readable Parquet"),
]


@pytest.mark.parametrize(("name", "content", "error", "message"), BAD_FILES)
def test_a_bad_source_is_named_with_its_fault(
    tmp_path: Path, name: str, content: bytes, error: type[Exception], message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        pack_sources([str(tmp_path / name)], tmp_path / "out", replace(SETTINGS, heldout=0.0))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_bad_arguments_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = str(write_jsonl(tmp_path / "web.jsonl"))
    out = tmp_path / "out"
    pq.write_table(pa.table({"body": TEXTS}), tmp_path / "a.parquet")
    (tmp_path / "bare").mkdir()
    cases: list[tuple[list[str], dict[str, Any], type[Exception], str]] = [
        ([], {}, UserError, "at least one source"),
        ([str(tmp_path / "none.txt")], {}, DataError, "no such file"),
        ([str(tmp_path / "*.txt")], {}, DataError, "no file matches"),
        ([str(tmp_path / "bare")], {}, DataError, "no file that can be packed"),
        ([str(tmp_path / "a.parquet")], {}, DataError, "no column 'text'; columns here: body"),
        ([source], {"sequence_length": 1}, UserError, "at least 2"),
        ([source], {"heldout": 1.0}, UserError, r"\[0, 1\)"),
        ([source], {"packing": "tetris"}, UserError, "chunk, best-fit"),
        ([source], {"vocabulary": 100}, UserError, "at least 257"),
        ([source], {"tokenizer": str(tmp_path / "no.json")}, DataError, "no tokenizer at"),
        ([source], {"tokenizer": source}, DataError, "not a tokenizer.json"),
        ([source], {"end_of_text_token": "<stop>"}, DataError, "no token '<stop>'"),
    ]
    for sources, options, error, message in cases:
        with pytest.raises(error, match=message):
            pack(sources, out=out, **options)
        assert not out.exists()


def test_a_hub_that_cannot_be_reached_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def offline(*_arguments: Any, **_options: Any) -> None:
        raise ConnectionError("Couldn't reach 'nobody/nothing' on the Hub (offline)")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(ResourceError, match=r"nobody/nothing.*save_to_disk"):
        pack(["nobody/nothing"], out=tmp_path / "out")


def test_the_command_prints_a_summary_or_one_json_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(write_jsonl(tmp_path / "web.jsonl"))
    pack([source], out=tmp_path / "out", vocabulary=300, sequence_length=16)
    assert "out: packed" in capsys.readouterr().out
    pack([source], out=tmp_path / "out", vocabulary=300, sequence_length=16, json_output=True)
    document = json.loads(capsys.readouterr().out)
    assert document["already"] and document["train"]["samples"] == read_manifest(tmp_path / "out").counts.samples
