"""A worker's share of an epoch, computed when asked for: no array of the epoch, nothing to wait for.

Idea: Mosaic deals an epoch over nodes, ranks and workers by building an int64 array of it (18 s and 5.4 GB at 1e8
samples). The same deal is arithmetic. With B samples a batch, W workers, R ranks a node and N nodes, the k-th sample of
worker w of rank r of node n stands at

    row = (k // B) * B * W + w * B + k % B          position = start + (row * R + r) * N + n

so that batches, taken from the workers in turn, are consecutive positions of the plan: the order depends neither on
workers nor on ranks, and a resumed run needs one integer, `start`.

Every rank gets equally many rows. Where positions run out in the last row, the last batch repeats samples of its own
as padding (at most one sample a rank); a padding sample is marked and never counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import overload

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
_CHUNK = 1024  # positions looked up at once: 1 ms to the first sample, little overhead a sample
_KEPT = 4  # chunks kept: three threads read, at different places


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """Which positions of [start, stop) fall to one worker; the fields are the letters of the formula above."""

    start: int
    stop: int
    batch_size: int
    nodes: int = 1
    node: int = 0
    ranks: int = 1
    rank: int = 0
    workers: int = 1
    worker: int = 0

    @property
    def rows(self) -> int:
        """Samples every rank gets, padding included."""
        return -(-(self.stop - self.start) // (self.ranks * self.nodes))

    def __len__(self) -> int:
        batches = -(-self.rows // self.batch_size)
        own = len(range(self.worker, batches, self.workers))
        has_last = own > 0 and (batches - 1) % self.workers == self.worker
        return own * self.batch_size - (batches * self.batch_size - self.rows if has_last else 0)

    def positions(self, indices: Integers) -> tuple[Integers, npt.NDArray[np.bool_]]:
        """Return the positions of this worker's `indices` (samples,) and which of them are padding."""
        batch, place = np.divmod(indices, self.batch_size)
        row = (batch * self.workers + self.worker) * self.batch_size + place
        positions = self.start + (row * self.ranks + self.rank) * self.nodes + self.node
        padding = positions >= self.stop
        first = self._last_batch_start()
        return np.where(padding, first + (positions - first) % (self.stop - first), positions), padding

    def _last_batch_start(self) -> int:
        full_batches = (self.rows - 1) // self.batch_size
        return self.start + full_batches * self.batch_size * self.ranks * self.nodes


class PaddingId(int):
    """The id of a sample that is repeated to give every rank equally many."""


class LazyWork(Sequence[int]):
    """A share as a sequence of sample ids; may be read by several threads at once."""

    def __init__(self, share: Share, sample_ids: Callable[[Integers], Integers]) -> None:
        self._share = share
        self._sample_ids = sample_ids
        self._length = len(share)
        self._lock = Lock()  # the plan behind `sample_ids` caches, and its cache is no place for two threads
        self._chunk = lru_cache(maxsize=_KEPT)(self._read_chunk)

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> list[int]: ...
    def __getitem__(self, index: int | slice) -> int | list[int]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(self._length))]
        if not -self._length <= index < self._length:
            raise IndexError(f"index {index} lies outside this worker's {self._length} samples")
        number, place = divmod(index % self._length, _CHUNK)
        return self._chunk(number)[place]

    def _read_chunk(self, number: int) -> list[int]:
        indices = np.arange(number * _CHUNK, min((number + 1) * _CHUNK, self._length), dtype=np.int64)
        with self._lock:
            positions, padding = self._share.positions(indices)
            ids: list[int] = self._sample_ids(positions).tolist()
        for place in np.flatnonzero(padding):
            ids[place] = PaddingId(ids[place])
        return ids
