"""When the rows of a curriculum are played.

Idea: a curriculum is a few rows of proportions and their timing: steps (a phase per row), ramps (linear between rows),
or two phases around a switch. Everybody else - surrogates, baselines, evidence from another study - sees it as mean
proportions in equal slices of the run, whatever its timing. Means over slices are linear in the rows, so they are exact
one way and least squares the other: what was played comes back, what cannot be played comes near. Sampling the curve on
a fine grid would do as well, but exact to no digit. The price is a search over the switch, eight hundred small problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from curriculum.mix import Phase
from curriculum.search.exposure import Matrix

SWITCHES = (Decimal("0.1"), Decimal("0.9"))  # where two phases may change over
_THOUSANDTHS = 1000
_FINEST = 20  # slices that a coarser matrix is cut into before a switch is looked for


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """`ends` of the phases, as shares of the run in thousandths; with `ramps` there is one row more than phases."""

    ends: tuple[Decimal, ...]
    ramps: bool = False

    @property
    def rows(self) -> int:
        """How many rows of proportions are played."""
        return len(self.ends) + self.ramps

    @property
    def durations(self) -> list[int]:
        """How much each row counts in the exposure: its phase's length, or by trapezoids between rows; 2000 in all."""
        lengths = [int((end - start) * 2 * _THOUSANDTHS) for start, end in pairwise([Decimal(0), *self.ends])]
        if not self.ramps:
            return lengths
        return [(left + right) // 2 for left, right in pairwise([0, *lengths, 0])]

    def weights(self, slices: int) -> Matrix:
        """Return how much each row counts in each of equal slices of the run, shape (slices, rows); rows sum to 1."""
        ends = np.asarray([float(end) for end in self.ends])
        borders = np.unique(np.concatenate([np.arange(slices + 1) / slices, ends]))
        middles, lengths = (borders[1:] + borders[:-1]) / 2, np.diff(borders)
        units = np.eye(self.rows)
        if self.ramps:  # linear between borders, so that the middle is the mean
            parts = np.stack([np.interp(middles, [0.0, *ends], unit) for unit in units], axis=1)
        else:
            parts = units[np.searchsorted(ends, middles)]
        found = np.zeros((slices, self.rows))
        np.add.at(found, (middles * slices).astype(np.int64), parts * lengths[:, None] * slices)
        return found

    def fit(self, matrix: Matrix) -> Matrix:
        """Return the rows (rows, streams) whose means over equal slices come nearest to `matrix` (slices, streams)."""
        finer = finer_slices(matrix, 2 * self.rows)
        found, *_ = np.linalg.lstsq(self.weights(len(finer)), finer, rcond=None)
        return np.asarray(found, dtype=np.float64)

    def phases(self, streams: Sequence[str], rows: Sequence[Sequence[int]]) -> tuple[Phase, ...]:
        """Return the phases that play `rows` of weights; neighbours that go on alike are one phase."""
        lasts = rows[1:] if self.ramps else rows
        joined: list[tuple[Decimal, Sequence[int], Sequence[int]]] = []
        for end, first, last in zip(self.ends, rows, lasts, strict=False):
            if joined and joined[-1][1] == joined[-1][2] == first == last:
                joined.pop()
            joined.append((end, first, last))
        return tuple(
            Phase(until=end, weights=_named(streams, first), to=None if first == last else _named(streams, last))
            for end, first, last in joined
        )


def _named(streams: Sequence[str], row: Sequence[int]) -> dict[str, Decimal]:
    return dict(zip(streams, map(Decimal, row), strict=True))


def even_timing(rows: int, *, ramps: bool) -> Timing:
    """Return the timing of rows at equal distances."""
    return Timing(ends=tuple(knot_ends(rows - ramps)), ramps=ramps)


def switch_timing(switch: float) -> Timing:
    """Return the timing of two phases; the switch is rounded to thousandths of the run."""
    return Timing(ends=(Decimal(round(switch * _THOUSANDTHS)) / _THOUSANDTHS, Decimal(1)))


def nearest_switch(matrix: Matrix) -> Decimal:
    """Return the switch between two phases that come nearest to `matrix` (slices, streams); of equals, the middle one."""
    finer = finer_slices(matrix, _FINEST)
    low, high = (int(limit * _THOUSANDTHS) for limit in SWITCHES)
    middle = (low + high) // 2
    candidates = np.asarray(sorted(range(low, high + 1), key=lambda at: abs(at - middle)))
    missed = np.round(_missed(finer, candidates / _THOUSANDTHS), 12)
    return Decimal(int(candidates[int(np.argmin(missed))])) / _THOUSANDTHS


def _missed(matrix: Matrix, switches: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the squared distance of the best two phases around each switch, by normal equations."""
    first = np.clip(switches[:, None] * len(matrix) - np.arange(len(matrix)), 0.0, 1.0)
    weights = np.stack([first, 1 - first], axis=2)  # (switches, slices, 2)
    transposed = weights.transpose(0, 2, 1)
    rows = np.linalg.solve(transposed @ weights, transposed @ matrix)
    return np.asarray(((weights @ rows - matrix) ** 2).sum(axis=(1, 2)))


def finer_slices(matrix: Matrix, least: int) -> Matrix:
    """Return the same curve in at least `least` slices."""
    return np.repeat(np.asarray(matrix, dtype=np.float64), -(-least // len(matrix)), axis=0)


def knot_ends(phases: int) -> list[Decimal]:
    """Return where `phases` phases of equal length end, to thousandths of the run."""
    return [Decimal(round(_THOUSANDTHS * (index + 1) / phases)) / _THOUSANDTHS for index in range(phases)]
