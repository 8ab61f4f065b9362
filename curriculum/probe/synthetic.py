"""What the generators of synthetic streams share: alphabets of tokens, and numbers keyed by what they are for.

Idea: a sample is a pure function of (stream, seed, its number), so that streams can be made in parts, anew, or only their
beginning. Numbers come from PCG64's raw output alone, whose stream numpy guarantees over its versions (NEP 19); numpy's
own distributions may change. The price: whole numbers only, and shares as multiples of 2^-32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curriculum.errors import UserError
from curriculum.units import keyed_seed

Ints = NDArray[np.int64]
Samples = tuple[NDArray[np.uint8], NDArray[np.uint8]]  # tokens (samples, length), and 1 where a token is a target


@dataclass(frozen=True, kw_only=True, slots=True)
class Alphabet:
    """A contiguous range of tokens with an order that wraps around."""

    first: int
    size: int

    def token(self, index: Ints) -> Ints:
        """Return the tokens of symbols `index` (any shape), taken modulo the size."""
        return self.first + index % self.size


def alphabets(*sizes: int) -> list[Alphabet]:
    """Return alphabets of these sizes, one after another from token 0."""
    starts = np.cumsum([0, *sizes])
    return [Alphabet(first=int(start), size=size) for start, size in zip(starts, sizes, strict=False)]


class Draws:
    """Uniform whole numbers, one row a sample, keyed by purpose; row i is the same however many rows are drawn."""

    def __init__(self, rows: int, *key: str | int) -> None:
        self.rows = rows
        self._key = key

    def _raw(self, purpose: str, columns: int) -> Ints:
        raw = np.random.PCG64(keyed_seed("testbed", *self._key, purpose)).random_raw(self.rows * columns)
        return (np.asarray(raw, dtype=np.uint64) >> np.uint64(32)).astype(np.int64).reshape(self.rows, columns)

    def below(self, purpose: str, bound: int, columns: int = 1) -> Ints:
        """Return (rows, columns) numbers from 0 to bound - 1."""
        return (self._raw(purpose, columns) * bound) >> 32

    def chance(self, purpose: str, share: float, columns: int = 1) -> NDArray[np.bool_]:
        """Return (rows, columns) booleans, true with probability `share`."""
        return self._raw(purpose, columns) < int(share * 2**32)

    def distinct(self, purpose: str, bound: int, columns: int) -> Ints:
        """Return (rows, columns) numbers below `bound`, no two equal in a row."""
        return np.argsort(self._raw(purpose, bound), axis=1, kind="stable")[:, :columns]

    def ranked(self, purpose: str, limits: Ints, columns: int) -> Ints:
        """Return (rows, columns) ranks: rank r where the 32-bit number falls below limits[r], but not below limits[r - 1]."""
        return np.searchsorted(limits, self._raw(purpose, columns), side="right").astype(np.int64)


def check_known(name: str, names: Sequence[str], kind: str) -> None:
    """Raise UserError unless `names` holds `name`."""
    if name not in names:
        raise UserError(f"the testbed has no {kind} {name!r}; it has {', '.join(names)}")
