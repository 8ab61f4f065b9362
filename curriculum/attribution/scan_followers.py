"""The most likely follower of every token, from a sample of the corpus that does not grow with it.

Idea: only the most likely follower is asked for, and of a frequent token a few hundred sightings tell it. So the first
pass looks at a fixed number of neighbouring pairs, the same number from each stream (of a small stream all it has, and
the others more), in 256 blocks spread evenly over a stream at keyed places. Pairs are counted exactly: packed into
integers, sorted, run lengths taken. Memory and time are bounded by that number, whatever the streams' sizes and the
vocabulary; streams of together fewer pairs are counted whole. Each stream weighs the same in the end, as each weighs the
same in what a scan compares.

Alternatives: a table of all pairs (vocabulary squared: 80 GB at 100,000 tokens), a count-min sketch (bounded too, but it
overcounts rare pairs by collisions, and a second structure must remember candidates), or top followers kept by replacement
in one pass (exact for no one, and the counts would be needed while they are still being made).

The error: a token seen fewer than LEAST_SEEN times has no follower, and positions after it are not counted (their share is
said in the result as the targets that are missing); one seen n times gets a wrong follower where two are about equally
likely, by about exp(-n (p - q)^2 / (2 (p + q))) for shares p and q of the first two: then it matters least which is taken.
What it amounts to is measured in benchmarks/scan_speed.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from curriculum.attribution.conflict_counts import Batch, Integers, Tokens
from curriculum.units import keyed_seed

PAIRS = 2**23  # looked at in all: 64 MB as integers, up to 650 MB while they are sorted and joined
LEAST_SEEN = 20
BLOCKS = 256
_BITS = 24  # of a token
Packed = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]


def shared_pairs(available: list[int], total: int = PAIRS) -> list[int]:
    """Return how many pairs each stream gives: equally many, and what a small one lacks from the others."""
    given = [0] * len(available)
    left = total
    for place, stream in enumerate(sorted(range(len(available)), key=lambda stream: available[stream])):
        given[stream] = min(available[stream], left // (len(available) - place))
        left -= given[stream]
    return given


def sampled_ranges(samples: int, wanted: int, *key: str | int) -> Iterator[tuple[int, int]]:
    """Yield ranges [start, stop) of together at least `wanted` of `samples`, one at a keyed place of each equal stretch."""
    if wanted >= samples:
        yield 0, samples
        return
    blocks = max(1, min(BLOCKS, wanted))
    length = -(-wanted // blocks)
    for block in range(blocks):
        begin, end = samples * block // blocks, samples * (block + 1) // blocks
        size = min(length, end - begin)
        start = begin + keyed_seed("scan", *key, block) % (end - begin - size + 1)
        yield start, start + size


class Followers:
    """Takes the pairs of one stream after another, then says the most likely followers."""

    def __init__(self) -> None:
        self._pairs: list[Packed] = []
        self._counts: list[Weights] = []
        self._weights: list[Weights] = []
        self._held: list[Packed] = []
        self._largest = 0
        self._seen = hashlib.sha256()

    def add(self, batch: Batch) -> None:
        """Take the pairs of a batch whose second token is a target."""
        tokens = batch.tokens
        pairs = (tokens[:, :-1].astype(np.int64) << _BITS) | tokens[:, 1:]
        self._held.append(pairs[batch.targets[:, 1:]])
        self._seen.update(self._held[-1].tobytes())
        self._largest = max(self._largest, int(tokens.max()))

    def end_stream(self) -> None:
        """Count what was added since the last stream's end, as one stream."""
        held = np.concatenate(self._held) if self._held else np.zeros(0, np.int64)
        self._held = []
        pairs, counts = np.unique(held, return_counts=True)
        self._pairs.append(pairs)
        self._counts.append(counts.astype(np.float64))
        self._weights.append(counts / max(1, len(held)))

    def digest(self) -> str:
        """Return a digest of all pairs that were added, in order."""
        return self._seen.hexdigest()

    def likely(self) -> Tokens:
        """Return the most likely follower of each token, -1 for one seen too seldom: (largest token + 2,).

        Of equally likely ones the token with the smaller id.
        """
        found = np.full(self._largest + 2, -1, dtype=np.int32)
        pairs, counts, weights = self._joined()
        if not len(pairs):
            return found
        first = pairs >> _BITS
        starts = _starts(first)
        ranks = np.lexsort((pairs, -weights, first))[starts]  # groups keep their places: `first` is sorted already
        seen = np.add.reduceat(counts, starts) >= LEAST_SEEN
        found[first[starts][seen]] = (pairs[ranks] & (2**_BITS - 1))[seen]
        return found

    def _joined(self) -> tuple[Packed, Weights, Weights]:
        """Return all streams' different pairs in order, how often each was seen, and its weight."""
        pairs: Packed = np.concatenate(self._pairs)
        counts: Weights = np.concatenate(self._counts)
        weights: Weights = np.concatenate(self._weights)
        order = np.argsort(pairs, kind="stable")
        pairs = pairs[order]
        if not len(pairs):
            return pairs, counts, weights
        starts = _starts(pairs)
        return pairs[starts], np.add.reduceat(counts[order], starts), np.add.reduceat(weights[order], starts)


def _starts(values: Integers) -> Integers:
    """Return where runs of equal values begin."""
    return np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
