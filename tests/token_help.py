"""Token files for the tests: a writer of Megatron's pairs of the tests' own, field for field as indexed_dataset.py does."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from curriculum.errors import DataError
from curriculum.mix import Stream
from curriculum.streaming.shards import OpenShard
from curriculum.streaming.token_files import TokenSource, find_tokens

CODES = {"uint8": 1, "int8": 2, "int16": 3, "int32": 4, "int64": 5, "float32": 7, "uint16": 8}
LENGTH = 8
Tokens = npt.NDArray[Any]
Documents = Sequence[Sequence[int]]  # the lengths of each document's sequences


def write_megatron(prefix: Path, tokens: Tokens, documents: Documents, modes: bytes = b"") -> None:
    lengths = [length for document in documents for length in document]
    firsts = [0, *itertools.accumulate(len(document) for document in documents)]
    assert sum(lengths) == len(tokens)
    with prefix.with_name(prefix.name + ".idx").open("wb") as file:
        file.write(b"MMIDIDX\x00\x00" + struct.pack("<Q", 1) + struct.pack("<B", CODES[tokens.dtype.name]))
        file.write(struct.pack("<Q", len(lengths)) + struct.pack("<Q", len(firsts)))
        file.write(struct.pack(f"<{len(lengths)}i", *lengths))
        place = 0
        for length in lengths:
            file.write(struct.pack("<q", place))
            place += length * tokens.itemsize
        file.write(struct.pack(f"<{len(firsts)}q", *firsts) + modes)
    tokens.tofile(prefix.with_name(prefix.name + ".bin"))


def some_tokens(count: int, dtype: str = "uint16") -> Tokens:
    return np.random.default_rng(count).integers(0, min(50_000, np.iinfo(dtype).max), count).astype(dtype)


def megatron(prefix: Path | str, length: int = LENGTH, **options: Any) -> TokenSource:
    return find_tokens("books", Stream(local=str(prefix), format="megatron", sequence_length=length), **options)


def npy(place: Path, length: int = LENGTH, document_ids: bool = False, **fields: Any) -> TokenSource:
    stream = Stream(local=str(place), format="npy", sequence_length=length, **fields)
    return find_tokens("books", stream, document_ids=document_ids)


def everything(source: TokenSource, column: str = "tokens") -> Tokens:
    """Return all samples of all shards (samples, length)."""
    rows: list[Tokens] = []
    for shard, samples in enumerate(source.samples_per_shard):
        source.fetch(shard)
        opened: OpenShard = source.open(shard)
        rows += [sample[column] for sample in opened.read(np.arange(samples))]
    return np.stack(rows)


def refusal(find: Callable[[], object], error: type[Exception] = DataError) -> str:
    with pytest.raises(error) as refused:
        find()
    text = str(refused.value)
    assert "'books'" in text
    assert "\n" not in text
    return text
