"""Matrices of proportions whose exposure is exact.

Idea: a curriculum is a matrix of knots x streams. Scaling rows to one and weighted columns to the streams' shares
(Sinkhorn and Knopp, 1967) keeps the shape of the proposal and fixes the exposure - up to rounding. Rounding must not
spoil it, since `plan.counts` of all trials and controls have to be identical: all rows but one are rounded to
thousandths of a thousandth, and the last is solved for as exact fractions, then written as integers. No weight may be
rounded to 0: the run's last sample goes to a stream that still has weight, so counts would differ. Alternatives:
rejecting proposals with another exposure (none would remain), or a tolerance (a control with more of the good data is
no control). The price is one row of weights with long integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import lcm

import numpy as np
import numpy.typing as npt

from curriculum.errors import UserError

Matrix = npt.NDArray[np.float64]
_DENOMINATORS = (10**6, 10**9, 10**12, 10**15)  # the first that leaves every weight above 0: short numbers where they do
_SWEEPS = 500
_CLOSE = 1e-10  # of a share: where scaling ends
_STATIC = 1e-5  # of the shares is put into every row, so that rounding leaves no weight without its part
_NOTHING = 1e-300  # keeps a stream without a share at nothing / nothing = 0


def scale_to_exposure(matrix: Matrix, durations: Sequence[int], shares: Sequence[Fraction]) -> Matrix:
    """Return the matrix (knots, streams), positive, with unit rows and duration-weighted column means equal to shares."""
    return np.asarray(scale_all_to_exposure(np.asarray(matrix)[None], durations, shares)[0])


def scale_all_to_exposure(
    matrices: Matrix, durations: Sequence[int] | Sequence[Sequence[int]], shares: Sequence[Fraction]
) -> Matrix:
    """Return matrices (curricula, knots, streams), each as `scale_to_exposure` returns it, to the bit.

    `durations` are those of all curricula (knots,) or of each (curricula, knots). A sweep over hundreds of small matrices
    takes little longer than one over a single matrix; each leaves as soon as it is close, so that none depends on the others.
    """
    found = np.ascontiguousarray(matrices, dtype=np.float64)
    lengths = np.asarray(durations, dtype=np.float64)
    weights = np.broadcast_to(lengths / lengths.sum(axis=-1, keepdims=True), found.shape[:2])[:, None, :]
    targets = np.asarray([float(share) for share in shares])
    result, left, exposure = np.empty_like(found), np.arange(len(found)), weights @ found
    for _ in range(_SWEEPS):
        found = found * (targets / np.maximum(exposure, _NOTHING))
        found /= found.sum(axis=2, keepdims=True)
        exposure = weights @ found
        far = (np.abs(exposure - targets) > _CLOSE * targets).any(axis=(1, 2))
        if not far.all():
            result[left[~far]] = found[~far]
            left, found, exposure, weights = left[far], found[far], exposure[far], weights[far]
        if not len(left):
            break
    result[left] = found
    return result


def exact_rows(matrix: Matrix, durations: Sequence[int], shares: Sequence[Fraction]) -> list[list[int]]:
    """Return integer weights near `matrix` (knots, streams) whose exposure is exactly `shares`.

    Row k counts `durations[k]` times; rows that are the shares up to rounding are the shares exactly. Raises UserError when
    a share is too small to be held in every row.
    """
    static = np.asarray([float(share) for share in shares])
    if np.allclose(matrix, static, rtol=1e-6, atol=0):
        return [_integers(shares)] * len(matrix)
    roomy = (1 - _STATIC) * matrix + _STATIC * static
    for denominator in _DENOMINATORS:
        rows = _with_exact_exposure(roomy, durations, shares, denominator)
        if all(part > 0 or share == 0 == part for row in rows for part, share in zip(row, shares, strict=True)):
            return [_integers(row) for row in rows]
    raise UserError(
        f"an exposure share of {float(min(shares)):.2g} is too small to be spread over {len(matrix)} knots; "
        "drop the stream, merge it with another, or use fewer knots"
    )


def _with_exact_exposure(
    matrix: Matrix, durations: Sequence[int], shares: Sequence[Fraction], denominator: int
) -> list[list[Fraction]]:
    """Round every row but one, and solve for that one: the row whose smallest entry has most room."""
    solved = int(np.argmax(matrix.min(axis=1) * np.asarray(durations)))
    parts = [_rounded(row, denominator) for row in matrix]
    others = [
        sum(length * row[s] for k, (length, row) in enumerate(zip(durations, parts, strict=True)) if k != solved)
        for s in range(len(shares))
    ]
    total = sum(durations) * denominator
    rows = [[Fraction(part, denominator) for part in row] for row in parts]
    rows[solved] = [
        (share * total - other) / (durations[solved] * denominator) for share, other in zip(shares, others, strict=True)
    ]
    return rows


def _rounded(row: Matrix, denominator: int) -> list[int]:
    """Round a row of proportions to integers that sum to the denominator, by largest remainder."""
    scaled = row / row.sum() * denominator
    floors = np.floor(scaled).astype(np.int64)
    lacking = denominator - int(floors.sum())
    floors[np.argsort(floors - scaled, kind="stable")[:lacking]] += 1
    return [int(value) for value in floors]


def _integers(row: Sequence[Fraction]) -> list[int]:
    common = lcm(*(part.denominator for part in row))
    return [int(part * common) for part in row]
