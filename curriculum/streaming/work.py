"""A worker's share of an epoch, computed when asked for: no array of the epoch, nothing to wait for.

Idea: Mosaic deals an epoch over nodes, ranks and workers by building an int64 array of it (18 s and 5.4 GB at 1e8
samples). The same deal is arithmetic. With B samples a batch, W workers, R ranks a node and N nodes, the k-th sample of
worker w of rank r of node n stands at

    row = (k // B) * B * W + w * B + k % B          position = start + (row * R + r) * N + (n - start) % N

so that batches, taken from the workers in turn, are consecutive positions of the plan: the order depends neither on
workers nor on ranks, and a resumed run needs one integer, `start`. Node n gets the positions congruent to n modulo N
wherever a run was resumed, so that a lane of the plan stays with its node.

Every rank gets equally many rows. Where positions run out in the last row, the last batch repeats samples of its own
as padding (at most one sample a rank); a padding sample is marked and never counted. With `drop_last` rows that do not
fill a batch on every rank are left out instead.

Positions that are to be skipped (a loss spike) are taken out before the deal: `Kept` numbers the others without a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index

import numpy as np
import numpy.typing as npt

from curriculum.errors import UserError

Integers = npt.NDArray[np.int64]


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
    drop_last: bool = False

    @property
    def rows(self) -> int:
        """Samples every rank gets, padding included."""
        if self.drop_last:
            whole = (self.stop - self.start) // (self.ranks * self.nodes)
            return whole - whole % self.batch_size
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
        positions = self.start + (row * self.ranks + self.rank) * self.nodes + (self.node - self.start) % self.nodes
        padding = positions >= self.stop
        first = self._last_batch_start()
        return np.where(padding, first + (positions - first) % (self.stop - first), positions), padding

    def _last_batch_start(self) -> int:
        full_batches = (self.rows - 1) // self.batch_size
        return self.start + full_batches * self.batch_size * self.ranks * self.nodes


@dataclass(frozen=True, slots=True)
class Kept:
    """The positions [0, stop) of a plan but those in `skipped`, ascending ranges that do not meet: (start, stop)."""

    stop: int
    skipped: tuple[tuple[int, int], ...] = ()

    def __len__(self) -> int:
        return self.stop - sum(stop - start for start, stop in self.skipped)

    def number(self, position: int) -> int:
        """Return how many kept positions lie before `position`."""
        return position - sum(min(stop, position) - start for start, stop in self.skipped if start < position)

    def positions(self, numbers: Integers) -> Integers:
        """Return the positions of kept `numbers` (samples,)."""
        found = numbers.copy()
        for start, stop in self.skipped:
            found[found >= start] += stop - start
        return found

    def position(self, number: int) -> int:
        """Return the position at which kept `number` begins; `stop` after the last."""
        return int(self.positions(np.asarray([number]))[0]) if number < len(self) else self.stop

    @classmethod
    def without(cls, stop: int, ranges: Sequence[Sequence[int]]) -> Kept:
        """Return the positions of [0, stop) outside `ranges`, which may overlap. Raises UserError for a wrong range."""
        merged: list[tuple[int, int]] = []
        for start, end in sorted(_checked(each, stop) for each in ranges):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return cls(stop, tuple(merged))


def _checked(given: Sequence[int], samples: int) -> tuple[int, int]:
    try:
        start, stop = (index(number) for number in given)
    except (TypeError, ValueError):
        raise UserError(f"skip: wanted ranges (start, stop) of whole positions, got {given!r}") from None
    if not 0 <= start < stop <= samples:
        raise UserError(f"skip: wanted 0 <= start < stop <= {samples}, the length of the run, got {given!r}")
    return start, stop
