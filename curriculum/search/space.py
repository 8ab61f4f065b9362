"""Parameters <-> curricula.

Idea: Optuna sees numbers in a box; a curriculum is a positive matrix of knots x streams. Free entries come from
-log(u), normalised, which is uniform on the simplex; a low-rank form exp(a b) has one number per knot and one per
stream and rank, few enough for fifty trials, and finds by itself which streams belong together. Under fixed exposure
the matrix is then scaled to the exposure (see `exposure`).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Protocol

import numpy as np

from curriculum.mix import Order, Phase
from curriculum.search.exposure import Matrix, exact_rows, scale_to_exposure
from curriculum.search.study import Study

_LOG_RANGE = 3.0  # of one low-rank term: proportions may differ by exp(3) = 20 to either side
_SMALLEST = 1e-4


class Suggest(Protocol):
    """What is used of an Optuna trial."""

    def suggest_float(self, name: str, low: float, high: float) -> float:
        """Return a number in [low, high]."""

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
        """Return one of `choices`."""


class SearchSpace:
    """The space of one study; `shares` are the exposure (used under fixed exposure)."""

    def __init__(self, study: Study, shares: Mapping[str, Fraction]) -> None:
        self.space, self.fixed = study.space, study.exposure == "fixed"
        self.streams = list(study.streams)
        self.shares = [shares[name] for name in self.streams]
        self.ends = knot_ends(self.space.knots - (self.space.shape == "ramps"))

    @property
    def durations(self) -> list[int]:
        """How much each knot counts in the exposure: its phase's length, or by trapezoids between knots."""
        lengths = [int((end - start) * 2000) for start, end in zip([Decimal(0), *self.ends], self.ends, strict=False)]
        if self.space.shape == "steps":
            return lengths
        padded = [0, *lengths, 0]
        return [(left + right) // 2 for left, right in itertools.pairwise(padded)]

    def propose(self, trial: Suggest) -> tuple[tuple[Phase, ...], Order | None]:
        """Return the phases (and order) that a trial's parameters mean."""
        matrix = self._matrix(trial)
        order = self._order(trial)
        return self.phases(matrix), order

    def phases(self, matrix: Matrix) -> tuple[Phase, ...]:
        """Return the phases of a matrix (knots, streams) of positive proportions."""
        if self.fixed:
            rows = exact_rows(scale_to_exposure(matrix, self.durations, self.shares), self.durations, self.shares)
        else:
            rows = [[round(value * 10**6) for value in row / row.sum()] for row in matrix]
        weights = [dict(zip(self.streams, map(Decimal, row), strict=True)) for row in rows]
        if self.space.shape == "steps":
            return tuple(Phase(until=end, weights=row) for end, row in zip(self.ends, weights, strict=True))
        return tuple(
            Phase(until=end, weights=first, to=last) for end, first, last in zip(self.ends, weights, weights[1:], strict=False)
        )

    def parameters(self, matrix: Matrix) -> dict[str, float | str]:
        """Return parameters that propose `matrix` (or, in a low-rank space, what is nearest to it)."""
        logs = np.log(np.clip(matrix, _SMALLEST, None))
        if self.space.rank is None:
            rows = np.exp(logs) / np.exp(logs).sum(axis=1, keepdims=True)
            found = {
                f"u_{knot}_{name}": float(np.exp(-rows[knot, index]))
                for knot in range(self.space.knots)
                for index, name in enumerate(self.streams)
            }
        else:
            found = self._factors(logs - logs.mean(axis=0, keepdims=True) - logs.mean(axis=1, keepdims=True) + logs.mean())
        return {**found, **self._first_choices()}

    def _factors(self, centred: Matrix) -> dict[str, float]:
        left, sizes, right = np.linalg.svd(centred, full_matrices=False)
        found: dict[str, float] = {}
        for term in range(self.space.rank or 0):
            size = np.sqrt(sizes[term] / _LOG_RANGE) if term < len(sizes) else 0.0
            for prefix, names, vector in (("time", range(self.space.knots), left.T), ("stream", self.streams, right)):
                values = vector[term] * size if term < len(vector) else np.zeros(len(names))
                found |= {f"{prefix}_{term}_{name}": float(v) for name, v in zip(names, np.clip(values, -1, 1), strict=True)}
        return found

    def _first_choices(self) -> dict[str, str]:
        found = {"order": self.space.orders[0]} if len(self.space.orders) > 1 else {}
        return found | ({"window": str(self.space.granularity[0])} if len(self.space.granularity) > 1 else {})

    def _matrix(self, trial: Suggest) -> Matrix:
        if self.space.rank is None:
            numbers = [
                [trial.suggest_float(f"u_{knot}_{name}", 1e-6, 1 - 1e-6) for name in self.streams]
                for knot in range(self.space.knots)
            ]
            weights = np.clip(-np.log(np.asarray(numbers)), _SMALLEST, None)
            return _unit_rows(weights)
        logs = np.zeros((self.space.knots, len(self.streams)))
        for term in range(self.space.rank):
            times = [trial.suggest_float(f"time_{term}_{knot}", -1.0, 1.0) for knot in range(self.space.knots)]
            loads = [trial.suggest_float(f"stream_{term}_{name}", -1.0, 1.0) for name in self.streams]
            logs += _LOG_RANGE * np.outer(times, loads)
        weights = np.exp(logs) * np.asarray([float(share) for share in self.shares])
        return _unit_rows(np.clip(_unit_rows(weights), _SMALLEST, None))

    def _order(self, trial: Suggest) -> Order | None:
        orders, windows = self.space.orders, self.space.granularity
        kind = trial.suggest_categorical("order", list(orders)) if len(orders) > 1 else orders[0]
        if len(windows) > 1:
            window: int | None = int(trial.suggest_categorical("window", [str(size) for size in windows]))
        else:
            window = windows[0] if windows else None
        if kind == "shuffle" and window is None:
            return None
        return Order(kind="sequential") if kind == "sequential" else Order(kind="shuffle", window=window)


def _unit_rows(matrix: Matrix) -> Matrix:
    rows: Matrix = matrix / matrix.sum(axis=1, keepdims=True)
    return rows


def knot_ends(phases: int) -> list[Decimal]:
    """Return where `phases` phases of equal length end, to thousandths of the run."""
    return [Decimal(round(1000 * (index + 1) / phases)) / 1000 for index in range(phases)]
