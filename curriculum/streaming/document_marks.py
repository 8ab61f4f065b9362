"""Where documents begin within a sample: what a mask inside documents needs.

Idea: whoever wrote the tokens also wrote where each document ends, in increasing order. So the ends that fall into a
sample are found by bisection in the file as it lies there, mapped, and nothing is ever built per token or per document.
Alternatives: an array of ids beside the tokens (twice the data), or reading all ends at the start (8 bytes a document,
in every worker).

Bisection goes through a `memoryview`: Megatron's 8-byte numbers begin at bytes 34 + 4n, which no processor calls
aligned, and `np.searchsorted` would first copy such an array whole, for every batch. The price is about one microsecond
a search: two searches a sample, four where Megatron's documents consist of sequences.

Only ends in a .csv.gz, which cannot be mapped, are held in memory: 8 bytes a document of every open file, and about a
quarter of a second per million documents when it is opened.
"""

from __future__ import annotations

import mmap
import os
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from curriculum.errors import DataError

Integers = npt.NDArray[np.int64]
Marks = npt.NDArray[np.bool_]
Tokens = npt.NDArray[Any]
_NEAR = 64


class DocumentMarks(Protocol):
    """Where documents begin, opened for reading."""

    def mark(self, tokens: Tokens, starts: Integers) -> Marks:
        """Return (samples, length), True where a document begins behind a sample's first token.

        `tokens` (samples, length) are the samples, `starts` (samples,) their first tokens' places in the file.
        """


class DocumentPlace(Protocol):
    """Where it is written in which places documents begin: a value that can be pickled."""

    def open(self) -> DocumentMarks:
        """Open it for reading. Raises DataError."""


def document_ids(marks: Marks) -> npt.NDArray[np.int32]:
    """Return (samples, length): 0 for a sample's first document, 1 for the next; empty documents have no number."""
    return np.cumsum(marks, axis=1, dtype=np.int32)


@dataclass(frozen=True, kw_only=True, slots=True)
class EndToken:
    """Documents end with this token; a place and its opened form in one, since the tokens themselves say it."""

    token: int

    def open(self) -> EndToken:
        """Return itself."""
        return self

    def mark(self, tokens: Tokens, starts: Integers) -> Marks:
        """Mark the token behind each end token; see `DocumentMarks`."""
        marks = np.zeros(tokens.shape, np.bool_)
        np.equal(tokens[:, :-1], self.token, out=marks[:, 1:])
        return marks


@dataclass(frozen=True, kw_only=True, slots=True)
class MegatronDocuments:
    """The end of an .idx: where each sequence begins, in bytes, and the first sequence of each document.

    `first` is the byte where the sequences' places begin, `item` the bytes of a token.
    """

    path: Path
    first: int
    sequences: int
    documents: int
    item: int

    def open(self) -> OpenMegatronDocuments:
        """Map the numbers. Raises DataError if the file is no longer as long as it was."""
        places = map_numbers(self.path, self.first, self.sequences)
        return OpenMegatronDocuments(
            places=places,
            documents=map_numbers(self.path, self.first + 8 * self.sequences, self.documents),
            item=self.item,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenMegatronDocuments:
    """Mapped numbers of an .idx; `places` (sequences,) in bytes, `documents` (documents + 1,) count sequences."""

    places: memoryview
    documents: memoryview
    item: int

    def mark(self, tokens: Tokens, starts: Integers) -> Marks:
        """Mark the documents' first tokens; see `DocumentMarks`."""
        item = self.item
        begins, stops = _between(self.places, (starts * item).tolist(), tokens.shape[1] * item)
        rows, sequences = _ranges(begins, stops)
        documents = np.asarray(self.documents)
        if not np.array_equal(documents[np.minimum(sequences, len(documents) - 1)], sequences):
            rows, chosen = _ranges(*self._documents_of(begins, stops))
            sequences = documents[chosen]
        return _marked(tokens.shape, rows, np.asarray(self.places)[sequences] // item - starts[rows])

    def _documents_of(self, begins: Sequence[int], stops: Sequence[int]) -> tuple[list[int], list[int]]:
        """Return the documents that begin with sequences [begin, stop): not each sequence is a document of its own."""
        documents = self.documents
        return [bisect_left(documents, begin) for begin in begins], [bisect_left(documents, stop) for stop in stops]


@dataclass(frozen=True, kw_only=True, slots=True)
class EndsFile:
    """datatrove's .index: where each document ends, in tokens, 8 bytes each."""

    path: Path
    documents: int

    def open(self) -> Ends:
        """Map the ends. Raises DataError if the file is no longer as long as it was."""
        return Ends(map_numbers(self.path, 0, self.documents))


@dataclass(frozen=True, kw_only=True, slots=True)
class EndsTable:
    """OLMo-core's .csv.gz: a line per document, beginning with `start,end`; `tokens` is how many its array has."""

    path: Path
    tokens: int

    def open(self) -> Ends:
        """Read the table, whole. Raises DataError if it is damaged or belongs to another array."""
        starts, ends = _read_table(self.path)
        if len(ends) and (int(starts.min()) < 0 or int(ends.max()) > self.tokens):
            raise DataError(
                f"{self.path} has documents in tokens [{starts.min()}, {ends.max()}), its array has {self.tokens} tokens; "
                "correct the stream's `token_dtype`, or copy the pair again"
            )
        in_order = np.array_equal(starts[1:], ends[:-1]) and bool(np.all(starts <= ends))
        increasing: Integers = ends if in_order else np.union1d(starts, ends).astype(np.int64)
        return Ends(increasing.data)


@dataclass(frozen=True, slots=True)
class Ends:
    """Where documents end (documents,), in tokens and in increasing order, mapped or in memory."""

    ends: memoryview

    def mark(self, tokens: Tokens, starts: Integers) -> Marks:
        """Mark the tokens behind the ends; see `DocumentMarks`."""
        rows, chosen = _ranges(*_between(self.ends, starts.tolist(), tokens.shape[1]))
        return _marked(tokens.shape, rows, np.asarray(self.ends)[chosen] - starts[rows])


def map_numbers(path: Path, first: int, count: int) -> memoryview:
    """Return `count` 8-byte integers of a file, from byte `first`, mapped. Raises DataError if it is shorter."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < first + 8 * count:
            raise DataError(f"{path} was cut off to {size} bytes since it was found; copy it again")
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return memoryview(mapped)[first : first + 8 * count].cast("q")


def _between(values: memoryview, starts: Sequence[int], length: int) -> tuple[list[int], list[int]]:
    """Return for each start the numbers [begin, stop) of the increasing `values` in (start, start + length)."""
    begins = [bisect_right(values, start) for start in starts]
    ends = [start + length for start in starts]
    return begins, [_near(values, end, begin) for begin, end in zip(begins, ends, strict=True)]


def _near(values: memoryview, key: int, low: int) -> int:
    """Return `bisect_left(values, key, low)`, sooner if it is near `low`, as within a sample it is."""
    high = low + _NEAR
    if high >= len(values):
        return bisect_left(values, key, low)
    return bisect_left(values, key, high) if values[high] < key else bisect_left(values, key, low, high)


def _ranges(begins: Sequence[int], stops: Sequence[int]) -> tuple[Integers, Integers]:
    """Return the rows and the numbers of all [begin, stop), one after the other."""
    first = np.asarray(begins, np.int64)
    counts = np.asarray(stops, np.int64) - first
    rows = np.repeat(np.arange(len(first)), counts)
    before = np.cumsum(counts) - counts
    return rows, np.arange(len(rows)) + (first - before)[rows]


def _marked(shape: tuple[int, ...], rows: Integers, columns: Integers) -> Marks:
    marks = np.zeros(shape, np.bool_)
    marks[rows, columns] = True
    return marks


def _read_table(path: Path) -> tuple[Integers, Integers]:
    """Return starts and ends (documents,). Raises DataError."""
    import pyarrow as pa
    from pyarrow import csv

    try:
        with pa.input_stream(str(path), compression="gzip") as stream:
            table = csv.read_csv(
                stream,
                read_options=csv.ReadOptions(autogenerate_column_names=True, use_threads=False),
                parse_options=csv.ParseOptions(newlines_in_values=True),
                convert_options=csv.ConvertOptions(
                    include_columns=["f0", "f1"], column_types={"f0": pa.int64(), "f1": pa.int64()}
                ),
            )
        starts, ends = (table.column(name).to_numpy() for name in ("f0", "f1"))
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} is no table of start,end,... ({reason}); copy it again, or remove it") from error
    if starts.dtype != np.int64 or ends.dtype != np.int64:  # what is missing became a float
        raise DataError(f"{path} has lines without start or end; copy it again, or remove it")
    return starts, ends
