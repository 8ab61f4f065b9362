"""Cross-validation of the effects' prior variances: what every choice of them would have predicted of what it had not seen.

Idea: choices differ in the variances alone, and windows, of which there are by far the most, share a single one. The
windows' part of the regression is therefore brought to its principal directions once for every two folds that are left out;
then a choice costs a division in each direction and a system of the few other columns (Hastie and Tibshirani, "Efficient
quadratic regularization for expression arrays", 2004). Sums of squares and products are made once: over the changes where
these are fewer than windows, else over the windows, fold by fold, since they add up. The alternative, a system of all changes
or windows for every choice and two folds, is 750 of them for five folds. The price: products square the condition number, so
errors agree with those of the plain formula to about nine digits.

Runs of one seed play windows in one order, so that in them a window stands for a time of the run, and whatever comes at that
time would count as its effect in the run left out as well: they are left out together. Over 283 runs of 80 seeds skill was .11
where runs were dealt out singly, .06 where seeds were.

Every two folds are left out together so that the choice by which a fold is predicted can be made without it (nested
cross-validation: Varma and Simon, "Bias in error estimation when using cross-validation for model selection", 2006).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

Numbers = NDArray[np.float64]
Integers = NDArray[np.int64]
Progress = Callable[[int, int], None]  # pairs of folds done, and of all
_LEAST = 3  # orders of windows, from which on whole runs are left out
_FOLDS = 5
_NEGLIGIBLE = 1e-13  # of the greatest square of a direction: below it, rounding


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prior:
    """Variances in units of the noise's: `few` (k,) of the columns beside the windows', `window` of every window's."""

    few: Numbers
    window: float

    def variances(self, windows: int) -> Numbers:
        """Return those of all coefficients, (k + windows,)."""
        return np.append(self.few, np.full(windows, self.window))


def squared_errors(
    change: Numbers,
    columns: Numbers,
    folds: Sequence[Integers],
    priors: Sequence[Prior],
    progress: Progress = lambda done, total: None,
) -> Numbers:
    """Return (priors, folds, folds): [p, f, g] is the squared error in fold g of what was learnt outside folds f and g.

    `change` (n,); `columns` (n, k + windows), the few before the windows.
    """
    few = len(priors[0].few)
    products = _products(change, columns[:, :few], columns[:, few:], folds)
    pairs = list(combinations_with_replacement(range(len(folds)), 2))
    errors = np.zeros((len(priors), len(folds), len(folds)))
    for done, (one, other) in enumerate(pairs):
        progress(done, len(pairs))
        directions = products.without(one, other)
        coefficients = directions.coefficients(priors)
        errors[:, one, other] = directions.missed(folds[other], *coefficients)
        errors[:, other, one] = directions.missed(folds[one], *coefficients)
    progress(len(pairs), len(pairs))
    return errors


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Folds:
    """The rows of each fold, and what the folds are made of."""

    rows: Sequence[Integers]
    left_out: str

    @classmethod
    def of(cls, run: Integers, order: Integers, progress: Numbers) -> Folds:
        """Deal out runs in turn, those of one order together; stretches of time where that gives too few. All (n,).

        Stretches of runs that share an order are of the same time in each.
        """
        runs, orders = np.unique(run), np.unique(order)
        if len(orders) >= _LEAST:
            return cls(rows=_rows(np.searchsorted(orders, order) % min(_FOLDS, len(orders))), left_out="runs")
        if len(orders) == len(runs):
            return cls(rows=_rows(np.arange(len(run)) * _FOLDS // len(run)), left_out="stretches of time")
        ranks = np.searchsorted(np.sort(progress), progress)
        return cls(rows=_rows(ranks * _FOLDS // len(run)), left_out="stretches of time")


def _rows(place: Integers) -> list[Integers]:
    """Return the rows of each fold that has any, from the number of each row's fold, (n,)."""
    return [np.flatnonzero(place == fold) for fold in np.unique(place)]


def best_of(errors: Numbers) -> int:
    """Return the prior, of (priors, folds, folds), that predicts folds left out best; the first of equal ones."""
    return int(np.argmin(np.trace(errors, axis1=1, axis2=2)))


def skill_of(errors: Numbers) -> float:
    """Return the share of squared error that effects take away; the last of the priors is that without any effects.

    Every fold is predicted by the prior that was best at the other folds, without having learnt from it.
    """
    without = float(np.trace(errors[-1]))
    if without <= 0:
        return 0.0
    left = 0.0
    for fold in range(errors.shape[1]):
        others = np.delete(errors[:-1, fold], fold, axis=1).sum(axis=1)
        left += float(errors[int(np.argmin(others)), fold, fold])
    return 1 - left / without


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Directions:
    """What was learnt from, in the windows' principal directions.

    `squares` (r,): of the windows' columns in each direction. `rotated` (r, k + 1): products of the directions with the few
    columns and the change. `few` (k + 1, k + 1): products of these among each other. `basis` (m, r) and `reach` (n, m): their
    product is what each of all rows has of each direction. `rows` (n, k + 1): the few columns and the change.
    """

    squares: Numbers
    rotated: Numbers
    few: Numbers
    basis: Numbers
    reach: Numbers
    rows: Numbers

    def coefficients(self, priors: Sequence[Prior]) -> tuple[Numbers, Numbers]:
        """Return posterior means under each prior: of the few columns (k, priors) and of the directions (r, priors)."""
        found = [self._mean(prior) for prior in priors]
        return np.stack([few for few, _ in found], axis=1), np.stack([own for _, own in found], axis=1)

    def _mean(self, prior: Prior) -> tuple[Numbers, Numbers]:
        shrunken = prior.window / (1 + prior.window * self.squares)
        left = self.few - self.rotated.T @ (shrunken[:, None] * self.rotated)
        scale = np.sqrt(prior.few)
        system = np.eye(len(scale)) + scale[:, None] * left[:-1, :-1] * scale
        few: Numbers = scale * np.linalg.solve(system, scale * left[:-1, -1])
        return few, shrunken * (self.rotated[:, -1] - self.rotated[:, :-1] @ few)

    def missed(self, rows: Integers, few: Numbers, own: Numbers) -> Numbers:
        """Return the squared error in these rows under each prior, (priors,)."""
        predicted = self.rows[rows, :-1] @ few + self.reach[rows] @ (self.basis @ own)
        squared: Numbers = ((self.rows[rows, -1:] - predicted) ** 2).sum(axis=0)
        return squared


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _ByChanges:
    """Where changes are fewer than windows: `among` (n, n), products of the windows' rows among each other."""

    among: Numbers
    rows: Numbers
    folds: Sequence[Integers]

    def without(self, one: int, other: int) -> _Directions:
        kept = np.delete(np.arange(len(self.rows)), np.concatenate([self.folds[one], self.folds[other]]))
        squares, vectors = _principal(self.among[np.ix_(kept, kept)])
        return _Directions(
            squares=squares,
            rotated=np.sqrt(squares)[:, None] * (vectors.T @ self.rows[kept]),
            few=self.rows[kept].T @ self.rows[kept],
            basis=vectors / np.sqrt(squares),
            reach=self.among[:, kept],
            rows=self.rows,
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _ByWindows:
    """Where windows are fewer: products of each fold's `windows` (n, w), of them with `rows`, and of these."""

    windows: Numbers
    rows: Numbers
    folds: Sequence[Integers]
    squares: Sequence[Numbers]

    def without(self, one: int, other: int) -> _Directions:
        kept = [fold for fold in range(len(self.folds)) if fold not in (one, other)]
        squares, vectors = _principal(np.sum([self.squares[fold] for fold in kept], axis=0))
        seen = np.concatenate([self.folds[fold] for fold in kept])
        return _Directions(
            squares=squares,
            rotated=vectors.T @ (self.windows[seen].T @ self.rows[seen]),
            few=self.rows[seen].T @ self.rows[seen],
            basis=vectors,
            reach=self.windows,
            rows=self.rows,
        )


def _products(change: Numbers, few: Numbers, windows: Numbers, folds: Sequence[Integers]) -> _ByChanges | _ByWindows:
    rows = np.column_stack([few, change])
    if len(change) <= windows.shape[1]:
        return _ByChanges(among=windows @ windows.T, rows=rows, folds=folds)
    squares = [windows[fold].T @ windows[fold] for fold in folds]
    return _ByWindows(windows=windows, rows=rows, folds=folds, squares=squares)


def _principal(products: Numbers) -> tuple[Numbers, Numbers]:
    """Return the squares of the principal directions that have any, (r,), and the directions, (m, r)."""
    squares, vectors = eigh(products, driver="evd", check_finite=False)
    real = squares > _NEGLIGIBLE * squares[-1]
    return squares[real], vectors[:, real]
