"""Token files in place: what is read is what a plain memmap has, and ids of documents."""

from __future__ import annotations

import gzip
import itertools
import multiprocessing
import pickle
import struct
import tracemalloc
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from token_help import LENGTH, Documents, Tokens, everything, megatron, npy, some_tokens, write_megatron

from curriculum.streaming import megatron_files

# -- tokens -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64", "uint16"])
def test_megatron_samples_are_what_a_memmap_has(tmp_path: Path, dtype: str) -> None:
    write_megatron(tmp_path / "a_text", some_tokens(1003, dtype), [[3], [1000]])
    plain = np.memmap(tmp_path / "a_text.bin", dtype, "r")
    for place in ("a_text", "a_text.bin"):
        source = megatron(tmp_path / place)
        assert (source.index.samples, source.index.shards, source.samples_per_shard.tolist()) == (125, 1, [125])
        np.testing.assert_array_equal(everything(source), plain[:1000].reshape(-1, LENGTH), strict=True)
    chosen = np.asarray([124, 0, 17, 0])
    for index, sample in zip(chosen, source.open(0).read(chosen), strict=True):
        assert list(sample) == ["tokens"]
        np.testing.assert_array_equal(sample["tokens"], plain[index * LENGTH :][:LENGTH], strict=True)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int32", "int64"])
def test_arrays_without_a_header_are_what_the_mix_says(tmp_path: Path, dtype: str) -> None:
    some_tokens(203, dtype).tofile(tmp_path / "a.npy")
    plain = np.memmap(tmp_path / "a.npy", dtype, "r")[:200].reshape(-1, LENGTH)
    np.testing.assert_array_equal(everything(npy(tmp_path / "a.npy", token_dtype=dtype)), plain, strict=True)
    if dtype == "uint16":
        np.testing.assert_array_equal(everything(npy(tmp_path / "a.npy")), plain, strict=True)


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "int32", "uint64"])
@pytest.mark.parametrize("shape", [(203,), (25, LENGTH)])
def test_arrays_with_a_header_say_it_themselves(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    tokens = some_tokens(203, dtype)[: np.prod(shape)].reshape(shape)
    np.save(tmp_path / "a.npy", tokens)
    np.testing.assert_array_equal(everything(npy(tmp_path / "a.npy")), tokens.ravel()[:200].reshape(-1, LENGTH), strict=True)


def test_a_folder_is_its_arrays_by_name(tmp_path: Path) -> None:
    parts = {"b.npy": some_tokens(20), "a.ds": some_tokens(17), "c.npy": some_tokens(7), "d.npy": some_tokens(33)}
    for name, tokens in parts.items():
        tokens.tofile(tmp_path / name)
    for name in ("val.bin", ".hidden.npy", "a.ds.index", "b.csv.gz"):
        (tmp_path / name).write_bytes(b"no tokens")
    source = npy(tmp_path)
    assert source.samples_per_shard.tolist() == [2, 2, 4]  # c is shorter than a sample
    wanted = np.concatenate([parts["a.ds"][:16], parts["b.npy"][:16], parts["d.npy"][:32]])
    np.testing.assert_array_equal(everything(source).ravel(), wanted)
    (tmp_path / "nanogpt.bin").write_bytes(some_tokens(9).tobytes())
    np.testing.assert_array_equal(everything(npy(tmp_path / "nanogpt.bin"))[0], some_tokens(9)[:8])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int32", "int64"])
def test_torch_collates_them(tmp_path: Path, dtype: str) -> None:
    import torch
    from torch.utils.data import default_collate

    some_tokens(64, dtype).tofile(tmp_path / "a.npy")
    source = npy(tmp_path / "a.npy", token_dtype=dtype, eos_token=3, document_ids=True)
    batch = default_collate(source.open(0).read(np.arange(4)))
    assert batch["tokens"].shape == (4, LENGTH)
    assert batch["tokens"].dtype == getattr(torch, dtype)
    assert batch["document_ids"].dtype == torch.int32
    assert batch["tokens"].long().tolist() == some_tokens(64, dtype)[:32].reshape(4, LENGTH).tolist()


def test_samples_may_be_written_to(tmp_path: Path) -> None:
    some_tokens(64).tofile(tmp_path / "a.npy")
    shard = npy(tmp_path / "a.npy").open(0)
    shard.read(np.asarray([0]))[0]["tokens"][:] = 0
    np.testing.assert_array_equal(shard.read(np.asarray([0]))[0]["tokens"], some_tokens(64)[:LENGTH])


def test_nothing_of_a_files_size_is_allocated(tmp_path: Path) -> None:
    path, samples = tmp_path / "a.npy", 1 << 24
    with path.open("wb") as file:
        file.truncate(samples * 2048 * 2)  # 64 GiB without a block on the disk
        file.seek(-2 * 2048, 2)
        file.write(some_tokens(2048).tobytes())
    tracemalloc.start()
    try:
        source = npy(path, 2048, eos_token=1, document_ids=True)
        sample = source.open(0).read(np.asarray([samples - 1]))[0]
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert source.index.samples == samples
    np.testing.assert_array_equal(sample["tokens"], some_tokens(2048))


# -- documents ----------------------------------------------------------------------------------------------------------


def slow_ids(lengths: Sequence[int], tokens: int, length: int) -> list[list[int]]:
    """The ids, by going over the tokens one by one; what lies behind the last document is one more."""
    owner = [number for number, size in enumerate(lengths) for _ in range(size)]
    owner += [len(lengths)] * (tokens - len(owner))
    rows = []
    for first in range(0, tokens - length + 1, length):
        ids = [0]
        for place in range(first + 1, first + length):
            ids.append(ids[-1] + (owner[place] != owner[place - 1]))
        rows.append(ids)
    return rows


sequences = st.lists(st.integers(0, 12), max_size=4)


@settings(max_examples=150)
@given(documents=st.lists(sequences, max_size=25), length=st.integers(1, 40), data=st.data())
def test_megatrons_documents(
    documents: Documents, length: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = [*documents, [length]]  # one sample at least
    sizes = [sum(document) for document in whole]
    prefix = tmp_path_factory.getbasetemp() / "documents"
    write_megatron(prefix, some_tokens(sum(sizes)), whole)
    source = megatron(prefix, length, document_ids=True)
    ids = everything(source, "document_ids")
    assert ids.dtype == np.int32
    assert ids.tolist() == slow_ids(sizes, sum(sizes), length)
    chosen = data.draw(st.lists(st.integers(0, source.index.samples - 1), max_size=9))
    again = source.open(0).read(np.asarray(chosen, np.int64))
    assert [sample["document_ids"].tolist() for sample in again] == ids[chosen].tolist()


@settings(max_examples=100)
@given(
    lengths=st.lists(st.integers(0, 12), max_size=40),
    length=st.integers(1, 40),
    header=st.booleans(),
    kind=st.sampled_from(["part.csv.gz", "part.npy.csv.gz", "part.npy.index"]),
    behind=st.integers(0, 9),
)
def test_documents_beside_an_array(
    lengths: list[int], length: int, header: bool, kind: str, behind: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("beside")
    sizes = [*lengths, length]
    tokens = sum(sizes) + (behind if kind.endswith("gz") else 0)
    write = np.save if header else lambda path, array: array.tofile(path)
    write(folder / "part.npy", some_tokens(tokens))
    ends = list(itertools.accumulate(sizes))
    if kind.endswith("gz"):
        rows = (f'{end - size},{end},"a, b\n",x.gz,{end}\n' for end, size in zip(ends, sizes, strict=True))
        (folder / kind).write_bytes(gzip.compress("".join(rows).encode()))
    else:
        (folder / kind).write_bytes(struct.pack(f"<{len(ends)}Q", *ends))
    source = npy(folder / "part.npy", length, document_ids=True)
    assert everything(source, "document_ids").tolist() == slow_ids(sizes, tokens, length)


def test_documents_by_the_token_that_ends_them(tmp_path: Path) -> None:
    tokens = np.asarray([5, 0, 7, 7, 7, 7, 7, 0] + [0, 0, 3, 3, 0, 1, 1, 1] + [4] * 8, np.uint16)
    tokens.tofile(tmp_path / "a.npy")
    ids = everything(npy(tmp_path / "a.npy", eos_token=0, token_dtype="uint16", document_ids=True), "document_ids")
    assert ids.dtype == np.int32
    assert ids.tolist() == [[0, 0, 1, 1, 1, 1, 1, 1], [0, 1, 2, 2, 2, 3, 3, 3], [0] * 8]


def test_gaps_between_documents_are_documents(tmp_path: Path) -> None:
    some_tokens(LENGTH).tofile(tmp_path / "a.npy")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"1,3\n5,6\n"))
    assert everything(npy(tmp_path / "a.npy", document_ids=True), "document_ids").tolist() == [[0, 1, 1, 2, 2, 3, 4, 4]]


@pytest.mark.parametrize("sequences", [1, 2])
def test_a_sample_of_many_documents(tmp_path: Path, sequences: int) -> None:
    write_megatron(tmp_path / "a", some_tokens(1000), [[1] * sequences] * (1000 // sequences))
    ids = everything(megatron(tmp_path / "a", 300, document_ids=True), "document_ids")
    assert ids.tolist() == slow_ids([sequences] * (1000 // sequences), 1000, 300)


def test_tables_may_be_long_and_have_lines_inside_their_texts(tmp_path: Path) -> None:
    documents = 40_000
    some_tokens(2 * documents).tofile(tmp_path / "a.npy")
    rows = (f'{2 * number},{2 * number + 2},"{chr(10) * 50}"\n' for number in range(documents))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress("".join(rows).encode(), 1))
    ids = everything(npy(tmp_path / "a.npy", document_ids=True), "document_ids")
    np.testing.assert_array_equal(ids, np.broadcast_to(np.arange(LENGTH) // 2, ids.shape))


def test_what_lies_beside_the_array_is_asked_before_the_token(tmp_path: Path) -> None:
    np.asarray([1] * 4 + [0] + [1] * 3, np.uint16).tofile(tmp_path / "a.npy")

    def ids() -> list[int]:
        found: list[int] = everything(npy(tmp_path / "a.npy", eos_token=0, document_ids=True), "document_ids")[0].tolist()
        return found

    assert ids() == [0, 0, 0, 0, 0, 1, 1, 1]
    (tmp_path / "a.npy.index").write_bytes(struct.pack("<2Q", 3, 8))
    assert ids() == [0, 0, 0, 1, 1, 1, 1, 1]
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"0,1\n1,8\n"))
    assert ids() == [0, 1, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("sentences", [1, 4])
def test_an_index_of_many_documents_is_not_copied(tmp_path: Path, sentences: int) -> None:
    documents = 250_000
    write_megatron(tmp_path / "a", np.zeros(documents * sentences * 2, np.uint8), [[2] * sentences] * documents)
    source = megatron(tmp_path / "a", 64, document_ids=True)
    chosen = np.random.default_rng(0).integers(0, source.index.samples, 16)
    tracemalloc.start()
    try:
        samples = source.open(0).read(chosen)
        assert tracemalloc.get_traced_memory()[1] < 200_000  # its numbers take 2 MB and more
    finally:
        tracemalloc.stop()
    assert samples[0]["document_ids"].tolist() == [place // (2 * sentences) for place in range(64)]


# -- sources as values --------------------------------------------------------------------------------------------------


def ids_in_another_process(pickled: bytes) -> list[list[int]]:
    found: list[list[int]] = everything(pickle.loads(pickled), "document_ids").tolist()
    return found


def test_sources_go_to_spawned_processes_without_their_data(tmp_path: Path) -> None:
    write_megatron(tmp_path / "a", some_tokens(80_000), [[7]] * 11_428 + [[4]])
    source = megatron(tmp_path / "a", document_ids=True)
    wanted = everything(source, "document_ids").tolist()
    pickled = pickle.dumps(source)
    assert len(pickled) < 2000
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(ids_in_another_process, pickled).result(60) == wanted


def test_files_in_place_are_neither_fetched_nor_evicted(tmp_path: Path) -> None:
    some_tokens(100).tofile(tmp_path / "a.npy")
    source = npy(tmp_path / "a.npy", eos_token=0, document_ids=True)
    source.evict(0)
    assert not source.has_remote
    assert source.is_here(0)
    sample = source.open(0).read(np.asarray([0]))[0]
    assert source.bytes_per_sample == sum(array.nbytes for array in sample.values())
    (tmp_path / "a.npy").unlink()
    assert not source.is_here(0)


def test_the_digest_is_of_the_data_and_not_of_its_place(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_megatron(tmp_path / folder / f"{folder}_text", some_tokens(200_000), [[100_000], [100_000]])
    digest = megatron(tmp_path / "one" / "one_text").index.digest
    pair = tmp_path / "two" / "two_text"
    assert megatron(pair).index.digest == digest
    assert megatron(pair, document_ids=True).index.digest == digest
    assert megatron(pair, 9).index.digest != digest
    with (tmp_path / "two" / "two_text.bin").open("r+b") as file:
        file.seek(200_000)
        file.write(b"inside")  # what the docstring says is not noticed
    assert megatron(pair).index.digest == digest
    for change in (some_tokens(200_000) + 1, some_tokens(200_001)[:-1], some_tokens(200_000).astype(np.int32)):
        write_megatron(pair, change.astype(change.dtype), [[100_000], [100_000]])
        assert megatron(pair).index.digest != digest
    write_megatron(pair, some_tokens(200_000), [[100_001], [99_999]])
    assert megatron(pair).index.digest != digest


def test_the_edges_of_an_index_too_large_to_hash_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def digest(*, first: int = 2, middle: int = 2, last: int = 2) -> str:
        def two(size: int) -> Documents:
            return [[1] * size, [1] * (4 - size)]

        ones = [[1]] * 100
        write_megatron(tmp_path / "a", some_tokens(212), [*two(first), *ones, *two(middle), *ones, *two(last)])
        return megatron(tmp_path / "a").index.digest

    assert digest(middle=1) != (whole := digest())
    monkeypatch.setattr(megatron_files, "_WHOLE_BYTES", 1000)
    monkeypatch.setattr(megatron_files, "_PART_BYTES", 100)
    assert digest() == digest(middle=1) != whole
    assert digest(last=1) != digest()


def test_a_folders_digest_knows_every_file_and_their_order(tmp_path: Path) -> None:
    for name, count in {"a.npy": 100, "b.npy": 100, "c.npy": 3}.items():
        some_tokens(count).tofile(tmp_path / name)
    digest = npy(tmp_path).index.digest
    (tmp_path / "a.npy").write_bytes(some_tokens(101)[:100].tobytes())
    swapped = npy(tmp_path).index.digest
    assert swapped != digest
    (tmp_path / "a.npy").rename(tmp_path / "d.npy")
    renamed = npy(tmp_path).index.digest
    assert renamed not in (digest, swapped)
    (tmp_path / "c.npy").unlink()  # it gave no samples, but it was there
    assert npy(tmp_path).index.digest != renamed


def test_an_arrays_size_and_both_its_ends_count(tmp_path: Path) -> None:
    def digest(tokens: Tokens) -> str:
        tokens.tofile(tmp_path / "a.npy")
        return npy(tmp_path).index.digest

    same = np.full(300_000, 7, np.uint16)
    first, last = same.copy(), same.copy()
    first[0] = last[-1] = 8
    assert len({digest(tokens) for tokens in (same, same[:-LENGTH], first, last)}) == 4
