"""Parameters <-> rows of proportions.

Idea: a sampler sees numbers in a box; a curriculum is a positive matrix of rows x streams. Free entries come from
-log(u), normalised, which is uniform on the simplex (a softmax of numbers in a box favours its middle). A low-rank form
base * exp(time x stream) has one number per row and one per stream and rank, few enough for fifty trials, and finds by
itself which streams belong together; its base is the exposure where that is fixed, and free entries where it is not, so
that every static mix is in it. With many streams even one number each is too many: in groups (topic x quality), a
stream's tilt and base are the sums and products of its levels'. All of these are one form over *items* - streams, or
levels of groups - of which each stream has some. The price of a low rank is what it cannot say, that of groups that two
streams with the same levels keep one ratio.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from curriculum.search.exposure import Matrix

Parameters = Mapping[str, float | str]
Groups = Mapping[str, Mapping[str, Sequence[str]]]
Vector = npt.NDArray[np.float64]
_LOG_RANGE = 3.0  # of one low-rank term: proportions may differ by exp(3) = 20 to either side
_SMALLEST, _LARGEST = 1e-4, 13.8155  # of -log(u); u is at least 1e-6
_LEAST = 1e-6  # of a base: no proportion falls below it, whatever its tilts
_ROUNDING = 1e-9  # singular values below it are none
_NO_SHARE = 1e-9  # stands for a share of nothing where a logarithm is taken


class Suggest(Protocol):
    """What is used of an Optuna trial."""

    def suggest_float(self, name: str, low: float, high: float) -> float:
        """Return a number in [low, high]."""

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
        """Return one of `choices`."""


class Items:
    """What has a parameter of its own: streams, or the levels of groups. `member` (items, streams) says who has which."""

    def __init__(self, streams: Sequence[str], groups: Groups | None) -> None:
        factors = groups or {"": {name: (name,) for name in streams}}
        self.names = [f"{factor}:{level}" if groups else level for factor, levels in factors.items() for level in levels]
        self.member = np.asarray(
            [[float(name in held) for name in streams] for levels in factors.values() for held in map(set, levels.values())]
        )
        ends = np.cumsum([len(levels) for levels in factors.values()]).tolist()
        self.factors = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        self._inverse = np.linalg.pinv(self.member)

    def of_streams(self, logs: Matrix) -> Matrix:
        """Return what items (rows, items) add up to `logs` (rows, streams), or come nearest."""
        return np.asarray(logs @ self._inverse)

    def centred(self, logs: Matrix) -> Matrix:
        """Return `logs` (rows, items) with means of 0 over time, and within each factor."""
        found = logs - logs.mean(axis=0, keepdims=True)
        for factor in self.factors:
            found[:, factor] -= found[:, factor].mean(axis=1, keepdims=True)
        return np.asarray(found)

    def midranged(self, vector: Vector) -> Vector:
        """Return a vector over items, moved within each factor so that its largest entry is as small as can be."""
        return np.asarray(np.concatenate([_midranged(vector[factor]) for factor in self.factors]))


class Proportions:
    """Matrices of `rows` x `streams` and their parameters. `based`: a low-rank form has a free base (free exposure)."""

    def __init__(
        self,
        streams: Sequence[str],
        shares: Sequence[float],
        *,
        rows: int,
        rank: int | None,
        based: bool,
        groups: Groups | None = None,
    ) -> None:
        self.rows, self.rank, self.based = rows, rank, based
        self.items = Items(streams, groups)
        self._asked = [*self._asked_rows(), *(self._asked_weights("base") if based and rank is not None else ())]
        own_base = groups is None and (based or rank is None)
        logs = np.log(np.maximum(np.asarray(shares, dtype=np.float64), _NO_SHARE))
        self._prior = np.zeros(len(streams)) if own_base else logs
        self._even = np.exp(self._prior) / np.exp(self._prior).sum()

    def numbers(self, trial: Suggest) -> list[float]:
        """Ask a trial for its parameters, in their order."""
        return [trial.suggest_float(name, low, high) for name, low, high in self._asked]

    def matrices(self, numbers: Matrix) -> Matrix:
        """Return the positive matrices (curricula, rows, streams), of unit rows, that `numbers` (curricula, parameters) mean.

        Each is the same to the bit whatever the others are.
        """
        items = len(self.items.names)
        if self.rank is None:
            logs = _logs_of_weights(numbers).reshape(-1, self.rows, items)
        else:
            logs = self._tilts(numbers, self.rank)
            if self.based:
                logs = logs + _logs_of_weights(numbers[:, -items:])[:, None, :]
        return unit_rows(np.maximum(unit_rows(np.exp(self._prior + logs @ self.items.member)), _LEAST * self._even))

    def parameters(self, matrix: Matrix) -> dict[str, float]:
        """Return parameters of the matrix nearest to `matrix`, by logarithms; of that matrix, where it is in the form."""
        logs = np.log(np.maximum(matrix, _LEAST * self._even))
        items = self.items.of_streams(logs - self._prior)
        if not self.based:  # columns are scaled to the exposure
            items -= items.mean(axis=0, keepdims=True)
        if self.rank is None:
            numbers = [self._numbers(f"u_{row}", items[row]) for row in range(self.rows)]
            return {name: value for row in numbers for name, value in row.items()}
        items -= items.mean(axis=1, keepdims=True)
        found, tilts = self._terms(items, self.rank)
        return found | (self._numbers("base", (items - tilts).mean(axis=0)) if self.based else {})

    def _asked_rows(self) -> Iterator[tuple[str, float, float]]:
        """Yield name and range of the parameters of rows that are free, or else of the terms that they consist of."""
        if self.rank is None:
            for row in range(self.rows):
                yield from self._asked_weights(f"u_{row}")
            return
        for term in range(self.rank):
            yield from ((f"time_{term}_{row}", -1.0, 1.0) for row in range(self.rows))
            yield from ((f"stream_{term}_{name}", -1.0, 1.0) for name in self.items.names)

    def _asked_weights(self, prefix: str) -> Iterator[tuple[str, float, float]]:
        return ((f"{prefix}_{name}", 1e-6, 1 - 1e-6) for name in self.items.names)

    def _numbers(self, prefix: str, logs: Vector) -> dict[str, float]:
        """Undo `_logs_of_weights`: of all weights in the right ratios take those whose sum is a draw's on average."""
        found: dict[str, float] = {}
        for factor in self.items.factors:
            weights = np.exp(logs[factor] - logs[factor].max())
            weights = weights / weights.mean()
            weights = weights * max(1.0, _SMALLEST / weights.min())
            weights = np.clip(weights * min(1.0, _LARGEST / weights.max()), _SMALLEST, _LARGEST)
            names = self.items.names[factor]
            found |= {f"{prefix}_{name}": float(np.exp(-w)) for name, w in zip(names, weights, strict=True)}
        return found

    def _tilts(self, numbers: Matrix, rank: int) -> Matrix:
        """Return the sums of terms, shape (curricula, rows, items)."""
        size = self.rows + len(self.items.names)
        logs = np.zeros((len(numbers), self.rows, len(self.items.names)))
        for term in range(rank):
            times, loads = np.split(numbers[:, term * size : (term + 1) * size], [self.rows], axis=1)
            logs += _LOG_RANGE * (times[:, :, None] * loads[:, None, :])
        return logs

    def _terms(self, items: Matrix, rank: int) -> tuple[dict[str, float], Matrix]:
        """Return parameters of the nearest sum of `rank` terms, and what they amount to, (rows, items).

        A constant added over time goes into the base (or is scaled away), one over streams into the normalisation; so each
        vector may be moved to where it fits the box best, and what the box cuts off is left to the next term.
        """
        found: dict[str, float] = {}
        tilts = np.zeros_like(items)
        for term in range(rank):
            times, loads = self._nearest_term(self.items.centred(items - tilts))
            tilts += _LOG_RANGE * np.outer(times, loads)
            found |= {f"time_{term}_{row}": float(value) for row, value in enumerate(times)}
            found |= {f"stream_{term}_{name}": float(v) for name, v in zip(self.items.names, loads, strict=True)}
        return found, tilts

    def _nearest_term(self, centred: Matrix) -> tuple[Vector, Vector]:
        left, sizes, right = np.linalg.svd(centred, full_matrices=False)
        if sizes[0] < _ROUNDING:
            return np.zeros(self.rows), np.zeros(len(self.items.names))
        return _balanced(_midranged(left[:, 0]), self.items.midranged(right[0]) * sizes[0] / _LOG_RANGE)


def _logs_of_weights(numbers: Matrix) -> Matrix:
    """Return the logarithms of weights uniform on their simplex, each factor of items by itself, when normalised."""
    return np.asarray(np.log(np.clip(-np.log(np.ascontiguousarray(numbers)), _SMALLEST, None)))


def _balanced(first: Vector, second: Vector) -> tuple[Vector, Vector]:
    """Return two vectors of the same outer product whose largest entries are alike, and at most 1 (by cutting)."""
    sizes = np.abs(first).max(), np.abs(second).max()
    ratio = np.sqrt(sizes[1] / sizes[0]) if min(sizes) > 0 else 1.0
    return np.clip(first * ratio, -1, 1), np.clip(second / ratio, -1, 1)


def _midranged(vector: Vector) -> Vector:
    return np.asarray(vector - (vector.max() + vector.min()) / 2)


def unit_rows(matrix: Matrix) -> Matrix:
    """Return the matrix, or a stack of them, with every row divided by its sum."""
    return np.asarray(matrix / matrix.sum(axis=-1, keepdims=True))


class Given:
    """Parameters that are known already, as a trial."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def suggest_float(self, name: str, low: float, high: float) -> float:
        """Return the number of this name."""
        return float(self._parameters[name])

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
        """Return the choice of this name."""
        return str(self._parameters[name])


class Drawn:
    """Parameters drawn independently and uniformly, as a trial; kept in `parameters`."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        self.parameters: dict[str, float | str] = {}

    def suggest_float(self, name: str, low: float, high: float) -> float:
        """Draw a number."""
        found = float(self._random.uniform(low, high))
        self.parameters[name] = found
        return found

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
        """Draw a choice."""
        found = choices[int(self._random.integers(len(choices)))]
        self.parameters[name] = found
        return found
