"""Which samples of a stream its subset holds.

Idea: the stream of `size` samples is cut into `count` equal parts (their lengths differ by one at most), and of each part
one sample is taken, by a keyed hash of the part's number. So the subset's i-th sample is found by arithmetic, samples are
distinct and ascending, neighbours in the subset are neighbours in the shards, and no stretch of the stream is left out.
Alternatives: the first `count` images of a keyed permutation (random access too, but clumped, and scattered over all
shards) or a table (8 bytes a sample). The price is a choice more even than a random one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curriculum.errors import UserError
from curriculum.mix import Stream
from curriculum.plan.permutation import Integers, combine_keys
from curriculum.units import keyed_seed

_BITS = 21  # of a half of a number: products of halves with counts below 2**41 stay inside 64 bits
_LARGEST = 2 ** (2 * _BITS - 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """`count` of `size` samples, by `key`."""

    size: int
    count: int
    key: int

    def samples(self, numbers: Integers) -> Integers:
        """Return the samples in the stream of the subset's samples `numbers`, any shape, each in [0, count)."""
        starts = self.starts(numbers)
        lengths = (self.starts(numbers + 1) - starts).astype(np.uint64)
        steps = combine_keys(self.key, numbers.ravel()).reshape(numbers.shape) % lengths
        return starts + steps.astype(np.int64)

    def starts(self, numbers: Integers) -> Integers:
        """Return where the part of each of `numbers` begins: exactly number * size // count."""
        each, rest = divmod(self.size, self.count)
        high, low = np.divmod(numbers, 2**_BITS)  # long division, since number * rest may not fit into 64 bits
        quotients, remainders = np.divmod(high * rest, self.count)
        found: Integers = numbers * each + (quotients << _BITS) + ((remainders << _BITS) + low * rest) // self.count
        return found


def chosen_of(name: str, stream: Stream, size: int) -> Chosen | None:
    """Return which of its `size` samples a stream's subset holds, or None if all are played. Raises UserError."""
    if stream.subset is None:
        return None
    count = stream.subset.samples
    if count > size:
        raise UserError(
            f"stream {name!r}: subset asks for {count} samples, but the stream has {size}; "
            "lower `subset`, or remove it to play the whole stream"
        )
    if count > _LARGEST:
        raise UserError(f"stream {name!r}: a subset has at most {_LARGEST} samples, got {count}; play the whole stream")
    return Chosen(size=size, count=count, key=keyed_seed("subset", stream.subset.seed, name))
