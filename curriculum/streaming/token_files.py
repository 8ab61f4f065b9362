"""Streams of tokens as trainers already keep them, read in place: Megatron's files and plain arrays.

Idea: a sample is `sequence_length` tokens from a file that is one long row of them: sample i of a file is its tokens
[i * length, (i + 1) * length). So a file is a table (samples, length) that needs no index and is mapped, not read: one
gather picks many samples, and a file of 2 TB costs what a small one does. Alternatives: Megatron's own data set builds
an index of samples and lets them cross files; repacking into MDS costs a copy of all data.

The price: what remains of a file behind its last whole sample is dropped (less than a sample per file, as OLMo-core
does), tokens are cut without regard to documents, and labels are the tokens shifted by one, inside the sample. Trainers
that take one token more per sample (nanotron) get it by a `sequence_length` of one more.

A stream's digest is over each file's size, its dtype and its first and last 64 KB, the sequence length and, of an .idx,
its bytes up to 64 MB, of a larger one its header and its first and last megabyte. Not noticed: bytes changed further
inside, and what lies beside plain arrays to tell documents apart. Names and places may change, the files' order may not.

    source = find_tokens("books", stream)          # headers and sizes are checked, some 100 KB a file are read
    samples = source.open(0).read(np.array([7, 3]))
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curriculum.errors import DataError, UserError
from curriculum.mix import Stream
from curriculum.mix.fields import EMBEDDED, is_url
from curriculum.streaming.array_files import find_arrays
from curriculum.streaming.document_marks import DocumentMarks, document_ids
from curriculum.streaming.index import StreamIndex
from curriculum.streaming.megatron_files import find_megatron
from curriculum.streaming.token_layout import TokenFile, file_size

Integers = npt.NDArray[np.int64]
_EDGE_BYTES = 65536
_BLOCK = 64  # samples whose ids are made together, in arrays that stay in the processor's cache
_CHANGED = "start the run again, and leave the files of a run alone"


def find_tokens(name: str, stream: Stream, *, document_ids: bool = False) -> TokenSource:
    """Return the files of a stream of format megatron or npy, checked, one shard each.

    `local` is Megatron's prefix of a .bin and an .idx (`/data/books_text_document`, `.bin` may follow), or for npy a file
    or a folder of *.npy and *.ds, in the order of their names. A sample is {"tokens": (sequence_length,)} of the file's
    own dtype; `document_ids` adds "document_ids", int32 (sequence_length,): 0 for the tokens of the sample's first
    document, 1 for those of the next. Files of a folder that are shorter than a sample give none. Raises UserError if
    the stream is of another format or has a remote; DataError if a file is missing, damaged or too short.
    """
    local = _local(name, stream)
    length = stream.sequence_length
    if stream.format == "mds" or length is None:
        raise UserError(f"stream {name!r} has format: {stream.format}; wanted megatron or npy, with a sequence_length")
    found = (
        [find_megatron(name, local)]
        if stream.format == "megatron"
        else find_arrays(name, local, stream, document_ids=document_ids)
    )
    files = tuple(file for file in found if file.tokens >= length)
    if not files:
        most = max(found, key=lambda file: file.tokens)
        raise DataError(
            f"stream {name!r}: {most.path} has {most.tokens} tokens, fewer than the {length} of one sample; "
            "lower the stream's `sequence_length`, or add data"
        )
    samples = sum(file.tokens // length for file in files)
    index = StreamIndex(samples=samples, shards=len(files), digest=_digest(found, length))
    return TokenSource(name=name, index=index, files=files, sequence_length=length, document_ids=document_ids)


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenSource:
    """A stream of token files that were found: a value without open files, to be pickled and sent to workers."""

    name: str
    index: StreamIndex
    files: tuple[TokenFile, ...]
    sequence_length: int
    document_ids: bool

    @property
    def samples_per_shard(self) -> Integers:
        """Samples of each file (shards,)."""
        return np.asarray([file.tokens // self.sequence_length for file in self.files], np.int64)

    @property
    def has_remote(self) -> bool:
        """Whether files may have to be fetched: never, they are read in place."""
        return False

    @property
    def bytes_per_sample(self) -> int:
        """Bytes of a sample as it is yielded, of the widest file's tokens."""
        return self.sequence_length * (max(file.item for file in self.files) + (4 if self.document_ids else 0))

    def is_here(self, shard: int) -> bool:
        """Whether the file is still there."""
        return self.files[shard].path.exists()

    def evict(self, shard: int) -> None:
        """Remove nothing: these files are no copies."""

    def fetch(self, shard: int) -> None:
        """See to it that the file still lies here as it was found. Raises DataError."""
        file = self.files[shard]
        _check_size(self.name, file, file_size(self.name, file.path, _CHANGED))

    def open(self, shard: int) -> TokenShard:
        """Map a file. Raises DataError if its size is another than when it was found, FileNotFoundError."""
        return TokenShard(self.name, self.files[shard], self.sequence_length, document_ids=self.document_ids)


class TokenShard:
    """A mapped file of tokens: a table (samples, sequence_length) behind an offset."""

    def __init__(self, name: str, file: TokenFile, length: int, *, document_ids: bool) -> None:
        self._name, self._file, self._length = name, file, length
        with file.path.open("rb") as opened:
            _check_size(name, file, os.fstat(opened.fileno()).st_size)
            self._map = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        count = file.tokens // length
        flat = np.frombuffer(self._map, file.dtype, count=count * length, offset=file.offset)
        self._samples = flat.reshape(count, length)
        self._documents: DocumentMarks | None = None
        if document_ids:
            self._documents = self._open_documents()

    def read(self, indices: Integers) -> list[dict[str, Any]]:
        """Return the samples at `indices` (samples,), views of one copy of them. Raises DataError if the file was cut.

        A file that is cut while it is being read ends the process: its map has no bytes behind the cut.
        """
        if self._map.size() < self._file.size:
            _check_size(self._name, self._file, self._map.size())
        tokens = self._samples[indices]
        if self._documents is None:
            return [{"tokens": row} for row in tokens]
        starts = indices * self._length
        samples: list[dict[str, Any]] = []
        for first in range(0, len(tokens), _BLOCK):
            part = slice(first, first + _BLOCK)
            ids = document_ids(self._documents.mark(tokens[part], starts[part]))
            samples += [{"tokens": row, "document_ids": row_ids} for row, row_ids in zip(tokens[part], ids, strict=True)]
        return samples

    def _open_documents(self) -> DocumentMarks:
        assert self._file.documents is not None  # found together with the file
        try:
            return self._file.documents.open()
        except DataError as error:
            raise DataError(f"stream {self._name!r}: {error}") from error


def _local(name: str, stream: Stream) -> str:
    """Return where the files are. Raises UserError: far away, embedded, or with a split."""
    if stream.remote is not None or stream.local is None or is_url(stream.local):
        raise UserError(
            f"stream {name!r} has format: {stream.format} and lies at {stream.remote or stream.local}; token files are read "
            "in place, so copy them to a disk or mount their bucket, and give the stream that `local` alone"
        )
    if stream.split is not None:
        raise UserError(f"stream {name!r} has format: {stream.format}, which knows no `split`; put it into `local`")
    if stream.local.startswith(EMBEDDED):
        raise UserError(f"stream {name!r}: {stream.local} is of format mds; remove `format: {stream.format}`")
    return stream.local


def _check_size(name: str, file: TokenFile, size: int) -> None:
    if size != file.size:
        raise DataError(f"stream {name!r}: {file.path} had {file.size} bytes when it was found and has {size} now; {_CHANGED}")


def _digest(files: Sequence[TokenFile], length: int) -> str:
    lines = [[file.size, file.offset, file.dtype, file.index, _edges(file.path)] for file in files]
    return hashlib.sha256(json.dumps([length, lines]).encode()).hexdigest()


def _edges(path: Path) -> str:
    """Return the sha256 of a file's first and last 64 KB."""
    with path.open("rb") as file:
        first = file.read(_EDGE_BYTES)
        file.seek(max(0, file.seek(0, 2) - _EDGE_BYTES))
        return hashlib.sha256(first + file.read(_EDGE_BYTES)).hexdigest()
