"""From documents of any length to samples of one length: concatenate and chunk, or best fit.

Idea: a packer takes encoded documents one at a time and hands finished samples, and where each piece of a document came
to lie, to a sink. `Chunker` concatenates everything and cuts every L tokens: no padding, but documents are cut anywhere
and the last tokens (fewer than L) are dropped. `BestFit` cuts a document into pieces of L and puts the remainders
together best-fit-decreasing ("Fewer Truncations Improve Language Modeling", 2024): a document shorter than L is never
cut, at the price of padding, which a loss mask marks. To keep memory constant, remainders are fitted in groups of about
four million tokens; padding grows by at most one sample in such a group.

A position is counted in tokens from the first sample's first token: position = sample x L + offset.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from curriculum.streaming.tokenizer import Tokens

GROUP_TOKENS = 1 << 22  # tokens of remainders that BestFit holds before it writes them


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """One piece of a document: `tokens` tokens from `position` on, without a gap (possibly over several samples)."""

    document: int
    source: int
    piece: int
    position: int
    tokens: int


class Sink(Protocol):
    """What receives samples, in order, and placements, in order of documents (chunk) or of samples (best fit)."""

    def write_sample(self, tokens: Tokens, loss_mask: NDArray[np.uint8] | None) -> None:
        """Take the next sample: `tokens` (L,), and for best fit `loss_mask` (L,), 1 for text and 0 for padding."""
        ...

    def write_placement(self, placement: Placement) -> None:
        """Take where one piece of a document lies."""
        ...


class Packer(Protocol):
    """Takes documents one at a time; `dropped_*` and `padding` are final after `finish`."""

    dropped_tokens: int
    dropped_documents: int
    padding: int

    def add(self, document: int, source: int, tokens: Tokens) -> None:
        """Take the tokens (any length) of document number `document` of source number `source`."""
        ...

    def finish(self) -> None:
        """Write what is still held."""
        ...


class Chunker:
    """Concatenate and chunk; the remainder after the last whole sample is dropped and counted."""

    def __init__(self, sink: Sink, length: int) -> None:
        self.dropped_tokens = self.dropped_documents = self.padding = 0
        self._sink, self._length = sink, length
        self._held: list[Tokens] = []
        self._held_tokens = 0
        self._written = 0  # positions handed to the sink
        self._open: deque[Placement] = deque()  # documents that may still lose tokens

    def add(self, document: int, source: int, tokens: Tokens) -> None:
        """Take the next document."""
        position = self._written + self._held_tokens
        self._open.append(Placement(document=document, source=source, piece=0, position=position, tokens=len(tokens)))
        self._held.append(tokens)
        self._held_tokens += len(tokens)
        if self._held_tokens >= self._length:
            self._write()

    def finish(self) -> None:
        """Drop the remainder and shorten the documents it belonged to."""
        self.dropped_tokens = self._held_tokens
        for placement in self._open:
            kept = self._written - placement.position
            if kept > 0:
                self._sink.write_placement(replace(placement, tokens=kept))
            else:
                self.dropped_documents += 1
        self._open.clear()

    def _write(self) -> None:
        tokens = np.concatenate(self._held)
        whole = len(tokens) // self._length * self._length
        for start in range(0, whole, self._length):
            self._sink.write_sample(tokens[start : start + self._length], None)
        self._written += whole
        self._held, self._held_tokens = [tokens[whole:].copy()], len(tokens) - whole
        while self._open and self._open[0].position + self._open[0].tokens <= self._written:
            self._sink.write_placement(self._open.popleft())


@dataclass(frozen=True, kw_only=True, slots=True)
class _Remainder:
    document: int
    source: int
    piece: int
    tokens: Tokens


class BestFit:
    """Best-fit-decreasing packing; drops nothing, pads with `padding_id`.

    A document of at least `length` tokens gives its whole samples as piece 0 and what is left as piece 1.
    """

    def __init__(self, sink: Sink, length: int, padding_id: int, group_tokens: int = GROUP_TOKENS) -> None:
        self.dropped_tokens = self.dropped_documents = self.padding = 0
        self._sink, self._length, self._padding_id, self._group_tokens = sink, length, padding_id, group_tokens
        self._remainders: list[_Remainder] = []
        self._held_tokens = 0
        self._written = 0  # positions handed to the sink

    def add(self, document: int, source: int, tokens: Tokens) -> None:
        """Write the whole samples of the next document; hold its remainder until a group is full."""
        whole = len(tokens) // self._length * self._length
        if whole:
            self._place(document, source, 0, self._written, whole)
        for start in range(0, whole, self._length):
            self._write(tokens[start : start + self._length])
        if whole < len(tokens):
            piece = 1 if whole else 0
            self._remainders.append(_Remainder(document=document, source=source, piece=piece, tokens=tokens[whole:]))
            self._held_tokens += len(tokens) - whole
        if self._held_tokens >= self._group_tokens:
            self.finish()

    def finish(self) -> None:
        """Fit and write the remainders held, in the order of the first document in each sample."""
        lengths = [len(remainder.tokens) for remainder in self._remainders]
        for indices in sorted(map(sorted, best_fit_decreasing(lengths, self._length))):
            remainders = [self._remainders[index] for index in indices]
            position = self._written
            for remainder in remainders:
                self._place(remainder.document, remainder.source, remainder.piece, position, len(remainder.tokens))
                position += len(remainder.tokens)
            self._write(np.concatenate([remainder.tokens for remainder in remainders]))
        self._remainders, self._held_tokens = [], 0

    def _place(self, document: int, source: int, piece: int, position: int, tokens: int) -> None:
        placement = Placement(document=document, source=source, piece=piece, position=position, tokens=tokens)
        self._sink.write_placement(placement)

    def _write(self, tokens: Tokens) -> None:
        free = self._length - len(tokens)
        mask = (np.arange(self._length) < len(tokens)).astype(np.uint8)
        filler = np.full(free, self._padding_id, dtype=tokens.dtype)
        self._sink.write_sample(np.concatenate([tokens, filler]), mask)
        self._written += self._length
        self.padding += free


def best_fit_decreasing(lengths: list[int], capacity: int) -> list[list[int]]:
    """Return bins of indices into `lengths` (each 1..capacity): longest first, each into the fullest bin that fits.

    Bins are kept by free room, and the rooms in use as bits of one integer, so that the tightest fit is one shift away:
    n log n for the sorting and capacity/64 machine words a piece. Equal lengths keep their order.
    """
    bins: list[list[int]] = []
    by_room: list[list[int]] = [[] for _ in range(capacity + 1)]  # free room -> bins with just that much
    rooms = 0  # bit r is set if some bin has free room r
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        fitting = rooms >> lengths[index]
        room = capacity
        if fitting:
            room = lengths[index] + (fitting & -fitting).bit_length() - 1
            chosen = by_room[room].pop()
            rooms &= ~((not by_room[room]) << room)
        else:
            chosen = len(bins)
            bins.append([])
        bins[chosen].append(index)
        left = room - lengths[index]
        if left:
            by_room[left].append(chosen)
            rooms |= 1 << left
    return bins
