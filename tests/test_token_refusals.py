"""Whatever can be wrong with token files is told before a run, by stream and file, with a way out."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from token_help import Tokens, megatron, npy, refusal, some_tokens, write_megatron

from curriculum.errors import UserError
from curriculum.mix import Stream
from curriculum.streaming import array_files
from curriculum.streaming.token_files import find_tokens


def edit(path: Path, change: Callable[[bytearray], object]) -> None:
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)


def patch(first: int, content: bytes) -> Callable[[bytearray], object]:
    return lambda data: data.__setitem__(slice(first, first + len(content)), content)


IDX = 34 + 12 * 2 + 8 * 3  # bytes of an index of two sequences, each a document
DAMAGE: list[tuple[str, Callable[[bytearray], object], str]] = [
    ("idx", patch(0, b"NOTMEGATR"), "is no index of Megatron's: it begins with b'NOTMEGATR'"),
    ("idx", patch(0, b"TNTIDX\x00\x00"), "fairseq's old kind"),
    ("idx", patch(9, b"\x02"), "has version 2, wanted 1"),
    ("idx", patch(17, b"\x63"), "unknown to Megatron, code 99"),
    ("idx", patch(17, b"\x07"), "its tokens are float32, wanted one of uint8"),
    ("idx", lambda data: data.__delitem__(slice(20, None)), "is cut off: 20 bytes, its header alone has 34"),
    ("idx", lambda data: data.__delitem__(slice(-1, None)), f"is cut off: {IDX - 1} bytes, its header wants {IDX}"),
    ("idx", lambda data: data.extend(b"x"), f"is damaged: {IDX + 1} bytes, its header wants {IDX}"),
    ("idx", patch(18, b"\xff" * 8), "is cut off"),
    ("idx", patch(IDX - 8, b"\x01"), "its documents end at sequence 1 of 2"),
    ("bin", lambda data: data.__delitem__(slice(-2, None)), "a.bin has 198 bytes, a.idx says 200"),
    ("bin", lambda data: data.extend(b"xx"), "a.bin has 202 bytes, a.idx says 200"),
    ("bin", lambda data: data.pop(), "a.bin has 199 bytes, a.idx says 200"),
    ("bin", lambda data: data.clear(), "a.bin has 0 bytes, a.idx says 200"),
]


@pytest.mark.parametrize(("suffix", "change", "message"), DAMAGE, ids=[message[:25] for *_, message in DAMAGE])
def test_damaged_pairs_are_refused(tmp_path: Path, suffix: str, change: Callable[[bytearray], object], message: str) -> None:
    write_megatron(tmp_path / "a", some_tokens(100), [[40], [60]])
    edit(tmp_path / f"a.{suffix}", change)
    text = refusal(lambda: megatron(tmp_path / "a"))
    assert message in text
    assert str(tmp_path / "a.") in text
    assert any(way_out in text for way_out in ("; copy", "; write it"))


def test_an_index_without_sequences_is_refused(tmp_path: Path) -> None:
    write_megatron(tmp_path / "a", some_tokens(0), [])
    assert "a.idx lists no sequences; preprocess" in refusal(lambda: megatron(tmp_path / "a"))


def test_images_beside_text_are_refused_and_text_with_modes_is_not(tmp_path: Path) -> None:
    write_megatron(tmp_path / "a", some_tokens(100), [[40], [60]], modes=b"\x00\x00")
    assert megatron(tmp_path / "a").index.samples == 12
    write_megatron(tmp_path / "a", some_tokens(100), [[40], [60]], modes=b"\x00\x01")
    assert "a.idx has images beside text" in refusal(lambda: megatron(tmp_path / "a"))


@pytest.mark.parametrize("suffix", ["bin", "idx"])
def test_half_a_pair_is_refused(tmp_path: Path, suffix: str) -> None:
    write_megatron(tmp_path / "a", some_tokens(100), [[100]])
    (tmp_path / f"a.{suffix}").unlink()
    text = refusal(lambda: megatron(tmp_path / "a"))
    assert f"no file {tmp_path}/a.{suffix}; copy both files" in text


def test_a_stream_too_short_for_a_sample_is_refused(tmp_path: Path) -> None:
    write_megatron(tmp_path / "a", some_tokens(100), [[100]])
    text = refusal(lambda: megatron(tmp_path / "a", 101))
    assert f"{tmp_path}/a.bin has 100 tokens, fewer than the 101 of one sample; lower" in text
    assert megatron(tmp_path / "a", 100).index.samples == 1
    for name in ("x.npy", "y.npy"):
        some_tokens(7).tofile(tmp_path / name)
    assert "has 7 tokens, fewer than the 8" in refusal(lambda: npy(tmp_path))


def test_arrays_that_are_not_there_or_empty_are_refused(tmp_path: Path) -> None:
    assert f"no file {tmp_path}/a.npy; correct" in refusal(lambda: npy(tmp_path / "a.npy"))
    assert f"no *.npy and no *.ds in the folder {tmp_path}; correct" in refusal(lambda: npy(tmp_path))
    (tmp_path / "a.npy").touch()
    assert "a.npy is empty; copy the file again" in refusal(lambda: npy(tmp_path))
    (tmp_path / "b.npy").mkdir()
    (tmp_path / "a.npy").unlink()
    assert "b.npy cannot be read (is a directory)" in refusal(lambda: npy(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_array_that_must_not_be_read_is_refused(tmp_path: Path) -> None:
    some_tokens(100).tofile(tmp_path / "a.npy")
    (tmp_path / "a.npy").chmod(0)
    assert "a.npy cannot be read (permission denied)" in refusal(lambda: npy(tmp_path))


def test_a_size_that_is_no_multiple_of_the_tokens_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(bytes(99))
    text = refusal(lambda: npy(tmp_path / "a.npy"))
    assert "a.npy has 99 bytes, no multiple of the 2 of uint16; correct the stream's `token_dtype`" in text


def test_tokens_of_four_bytes_are_not_read_as_two(tmp_path: Path) -> None:
    np.random.default_rng(0).integers(0, 100_000, 400).astype(np.uint32).tofile(tmp_path / "a.npy")
    assert "looks like tokens of 4 bytes, not 2; add `token_dtype: uint32`" in refusal(lambda: npy(tmp_path / "a.npy"))
    assert npy(tmp_path / "a.npy", token_dtype="uint32").index.samples == 50
    assert npy(tmp_path / "a.npy", token_dtype="uint16").index.samples == 100


def test_a_header_of_llm_c_is_not_read_as_tokens(tmp_path: Path) -> None:
    header = np.zeros(256, np.int32)
    header[:3] = 20240520, 1, 100
    (tmp_path / "a.bin").write_bytes(header.tobytes() + some_tokens(100).tobytes())
    assert "a.bin has a header of llm.c's" in refusal(lambda: npy(tmp_path / "a.bin"))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 9), np.uint16), "is an array of shape (4, 9); wanted tokens in one row"),
        (np.zeros((9, 8), np.uint16, order="F"), "is an array of shape (9, 8); wanted"),
        (np.zeros((), np.uint16), "is an array of shape ()"),
        (np.zeros(99), "holds <f8, wanted integers"),
        (np.zeros(99, ">u2"), "holds >u2, wanted integers of this machine"),
        (np.zeros(99, np.int64), "holds int64, the stream's token_dtype is uint16; remove `token_dtype`"),
        (np.asarray([{}]), "is damaged (Array can't be memory-mapped: Python objects in dtype.)"),
    ],
    ids=str,
)
def test_arrays_of_numpys_that_are_no_tokens_are_refused(tmp_path: Path, array: Tokens, message: str) -> None:
    np.save(tmp_path / "a.npy", array)
    dtype = "uint16" if array.dtype == np.int64 else None
    assert message in refusal(lambda: npy(tmp_path / "a.npy", token_dtype=dtype))


@pytest.mark.parametrize("change", [lambda data: data.pop(), lambda data: data.append(0), patch(6, b"\x09")])
def test_damaged_arrays_of_numpys_are_refused(tmp_path: Path, change: Callable[[bytearray], object]) -> None:
    np.save(tmp_path / "a.npy", some_tokens(100))
    edit(tmp_path / "a.npy", change)
    assert "; copy the file again" in refusal(lambda: npy(tmp_path / "a.npy"))


def test_files_that_change_under_a_run_are_refused(tmp_path: Path) -> None:
    write_megatron(tmp_path / "a", some_tokens(100), [[100]])
    source = megatron(tmp_path / "a", document_ids=True)
    shard = source.open(0)
    os.truncate(tmp_path / "a.bin", 150)
    for use in (lambda: source.open(0), lambda: source.fetch(0), lambda: shard.read(np.asarray([0]))):
        text = refusal(use)
        assert f"{tmp_path}/a.bin had 200 bytes when it was found and has 150 now; start the run again" in text
    write_megatron(tmp_path / "a", some_tokens(100), [[100]])
    os.truncate(tmp_path / "a.idx", 40)
    assert "a.idx was cut off to 40 bytes" in refusal(lambda: source.open(0))
    (tmp_path / "a.bin").unlink()
    assert "no file" in refusal(lambda: source.fetch(0))
    with pytest.raises(FileNotFoundError):
        source.open(0)


def test_documents_nobody_knows_are_refused(tmp_path: Path) -> None:
    some_tokens(100).tofile(tmp_path / "a.npy")
    text = refusal(lambda: npy(tmp_path / "a.npy", document_ids=True))
    assert "copy a.csv.gz or a.npy.index beside it, or give the stream its `eos_token`" in text


def test_an_end_token_that_cannot_occur_is_refused(tmp_path: Path) -> None:
    some_tokens(100).tofile(tmp_path / "a.npy")
    text = refusal(lambda: npy(tmp_path / "a.npy", eos_token=65536, document_ids=True))
    assert "eos_token 65536 does not fit into the uint16 of" in text
    assert npy(tmp_path / "a.npy", eos_token=65535, document_ids=True).index.samples == 12


@pytest.mark.parametrize("ends", [b"", struct.pack("<Q", 99), b"x" + struct.pack("<Q", 100), struct.pack("<2Q", 100, 200)])
def test_ends_that_are_not_the_arrays_are_refused(tmp_path: Path, ends: bytes) -> None:
    some_tokens(100).tofile(tmp_path / "a.ds")
    (tmp_path / "a.ds.index").write_bytes(ends)
    text = refusal(lambda: npy(tmp_path / "a.ds", document_ids=True))
    assert "a.ds.index says that" in text
    assert "tokens lie in a.ds, 100 do; correct the stream's `token_dtype`" in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"0,101\n", "a.csv.gz has documents in tokens [0, 101), its array has 100 tokens"),
        (b"-1,10\n", "a.csv.gz has documents in tokens [-1, 10)"),
        (b"start,end\n0,100\n", "a.csv.gz is no table of start,end"),
        (b"0\n", "a.csv.gz is no table of start,end"),
        (b"0,\n", "a.csv.gz has lines without start or end"),
        (b"", "a.csv.gz is no table of start,end"),
    ],
)
def test_tables_that_are_not_the_arrays_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    some_tokens(100).tofile(tmp_path / "a.npy")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(content))
    assert message in refusal(lambda: npy(tmp_path / "a.npy", document_ids=True).open(0))


def test_a_table_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    some_tokens(10_000).tofile(tmp_path / "a.npy")
    table = gzip.compress("".join(f"{first},{first + 1}\n" for first in range(10_000)).encode())
    (tmp_path / "a.csv.gz").write_bytes(table[: len(table) // 2])
    text = refusal(lambda: npy(tmp_path / "a.npy", document_ids=True).open(0))
    assert "a.csv.gz is no table of start,end" in text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"remote": "s3://bucket/books"}, "lies at s3://bucket/books; token files are read in place, so copy them"),
        ({"local": "/a", "remote": "/b"}, "lies at /b; token files are read in place, so copy them"),
        ({"local": "s3://bucket/books"}, "lies at s3://bucket/books"),
        ({"local": "/a", "split": "train"}, "knows no `split`; put it into `local`"),
        ({"local": "testbed:arith"}, "is of format mds; remove `format: npy`"),
        ({"local": "/a", "format": "mds"}, "has format: mds; wanted megatron or npy"),
    ],
)
def test_streams_that_are_not_in_place_are_refused(fields: dict[str, Any], message: str) -> None:
    stream = Stream(**{"format": "npy", "sequence_length": 8, **fields})
    assert message in refusal(lambda: find_tokens("books", stream), UserError)


def test_the_search_for_wrong_sizes_looks_at_one_piece(tmp_path: Path) -> None:
    wide = np.random.default_rng(0).integers(0, 100_000, array_files._LOOKED_AT).astype(np.uint32)
    (tmp_path / "a.npy").write_bytes(some_tokens(array_files._LOOKED_AT // 2).tobytes() + wide.tobytes())
    assert npy(tmp_path / "a.npy").index.shards == 1
