"""Proportions kept under epoch caps.

Idea: where ratios are searched, a proposal that asks for more of a stream than its `max_epochs` allow could not be
played, and a trial would be lost on finding that out. So its column is scaled down to the cap, and what that leaves of
every row goes to the streams below theirs, in the row's own ratios; these may now be over, and it goes on. A stream that
was bound stays at its cap, so there are no more rounds than streams and the result is exact. Alternatives: refusing
(with tight caps hardly a proposal would be left), or the nearest point by relative entropy (an iteration without end, for
a difference nobody asked for). The price: the ratio between a bound and an unbound stream differs from row to row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from curriculum.errors import DataError
from curriculum.mix import Stream
from curriculum.search.exposure import Matrix

_FINE = 10**15  # exposures are rounded down to this part of the run, and the roomiest takes the rest


@dataclass(frozen=True, kw_only=True, slots=True)
class Caps:
    """`shares`: how much of the run each stream may give, in the order of the study's streams; 1 where nothing caps it."""

    shares: tuple[Fraction, ...]

    @property
    def any(self) -> bool:
        """Whether any stream could be over its cap."""
        return any(share < 1 for share in self.shares)

    def kept(self, matrix: Matrix, durations: Sequence[int]) -> Matrix:
        """Return `matrix` (rows, streams; positive, unit rows) brought under the caps; row k counts durations[k] times."""
        found = np.array(matrix, dtype=np.float64)
        weights = np.asarray(durations) / sum(durations)
        limits = np.asarray([float(share) for share in self.shares])
        bound = np.zeros(len(limits), dtype=bool)
        while True:
            exposure = weights @ found
            over = ~bound & (exposure > limits * (1 + 1e-12))
            if not over.any() or (bound | over).all():  # all: their caps add up to 1, up to rounding
                return found
            found[:, over] *= limits[over] / exposure[over]
            bound |= over
            rest = found[:, ~bound]
            found[:, ~bound] = rest * ((1 - found[:, bound].sum(axis=1)) / rest.sum(axis=1))[:, None]

    def exposure(self, matrix: Matrix, durations: Sequence[int]) -> list[Fraction]:
        """Return the exposure of a kept matrix as fractions that sum to 1, none of them over its cap."""
        means = np.asarray(durations) / sum(durations) @ matrix
        found = [
            min(share, Fraction(int(mean * _FINE), _FINE)) for mean, share in zip(means.tolist(), self.shares, strict=True)
        ]
        for index in sorted(range(len(found)), key=lambda at: found[at] - self.shares[at]):
            found[index] += min(1 - sum(found), self.shares[index] - found[index])
        return found


def epoch_caps(streams: Mapping[str, Stream], sizes: Mapping[str, int], samples: int) -> Caps:
    """Return the caps that `max_epochs` of streams of these sizes put on a run of `samples`.

    Raises DataError when they leave the run short of samples.
    """
    allowed = {name: _allowed(stream, sizes, name, samples) for name, stream in streams.items()}
    total = sum(allowed.values())
    if total < samples:
        wording = ", ".join(f"{name} {count} (max_epochs: {streams[name].max_epochs})" for name, count in allowed.items())
        raise DataError(
            f"the streams may give {total} samples in all, but a run has {samples}: {wording}; "
            "raise max_epochs, add data or shorten the run"
        )
    return Caps(shares=tuple(Fraction(count, samples) for count in allowed.values()))


def _allowed(stream: Stream, sizes: Mapping[str, int], name: str, samples: int) -> int:
    """Return how many samples of a run the stream may give."""
    return samples if stream.max_epochs is None else min(samples, stream.max_epochs * stream.played(sizes[name]))
