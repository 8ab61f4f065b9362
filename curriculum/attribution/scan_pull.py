"""From counts to pulls: of streams with an interval, of windows as scores.

Idea: a stream's pull is a ratio of two sums over its windows, general / (general + shallow). Its interval is Wilson's for a
share, with as many independent tokens as the windows' scatter allows: the ratio estimator's variance over windows (Cochran,
"Sampling Techniques", 1977, section 6.3) divided by the binomial variance is the design effect, at least 1, by which the
number of tokens is divided. It needs no draws, stays within [0, 1] and has a width at 0 and 1 too. A bootstrap of windows
gives the same widths for a thousand times the work, and none at 0 and 1.

A window's score is drawn towards its stream's pull as if PRIOR further tokens had shown that, so that a window with three
tokens of evidence does not lead the order. The price: scores of thin windows lie closer together than their pulls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curriculum.attribution.conflict_counts import COLUMNS, Integers

PRIOR = 10  # tokens
_Z = 1.959963984540054  # of the two-sided 95 %
_TARGETS, _CONFLICTS, _B, _C, _GENERAL, _SHALLOW = range(len(COLUMNS))
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StreamCounts:
    """A stream's counts: `counts` (windows, 6) in the order of `conflict_counts.COLUMNS`, window w being samples
    [w * window, (w + 1) * window) of `samples` (the last may be shorter); `tokens` are all it holds, targets or not."""

    name: str
    samples: int
    window: int
    tokens: int
    counts: Integers

    @property
    def starts(self) -> Integers:
        """The first sample of each window."""
        return np.arange(len(self.counts), dtype=np.int64) * self.window

    @property
    def stops(self) -> Integers:
        """The sample after the last of each window."""
        return np.minimum(self.starts + self.window, self.samples)

    @property
    def general(self) -> Integers:
        """Tokens that only the reader foretold, by window."""
        return self.counts[:, _GENERAL]

    @property
    def shallow(self) -> Integers:
        """Tokens that only the parrot foretold, by window."""
        return self.counts[:, _SHALLOW]


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamPull:
    """What a scan says of a stream. `pull` lies in [low, high], its 95 % interval; None without a token of evidence.

    targets: tokens counted; conflicts: those where the context and the corpus say different tokens; general, shallow: those
    that only the reader, only the parrot foretold; data_ratio: of conflicts (None: neither token ever came); low_window,
    high_window: 10th and 90th percentile of the windows' scores.
    """

    name: str
    samples: int
    windows: int
    window: int
    tokens: int
    targets: int
    conflicts: int
    general: int
    shallow: int
    pull: float | None
    low: float
    high: float
    data_ratio: float | None
    low_window: float
    high_window: float


def stream_pull(stream: StreamCounts, scores: Numbers) -> StreamPull:
    """Return the pull of one stream; `scores` are its windows' (windows,)."""
    sums = stream.counts.sum(axis=0)
    general, shallow = int(sums[_GENERAL]), int(sums[_SHALLOW])
    low, high = interval(stream.general, stream.shallow)
    tenth, ninetieth = np.quantile(scores, [0.1, 0.9])
    return StreamPull(
        name=stream.name,
        samples=stream.samples,
        windows=len(stream.counts),
        window=stream.window,
        tokens=stream.tokens,
        targets=int(sums[_TARGETS]),
        conflicts=int(sums[_CONFLICTS]),
        general=general,
        shallow=shallow,
        pull=_ratio(general, shallow),
        low=low,
        high=high,
        data_ratio=_ratio(int(sums[_B]), int(sums[_C])),
        low_window=float(tenth),
        high_window=float(ninetieth),
    )


def window_scores(streams: Sequence[StreamCounts]) -> list[Numbers]:
    """Return each stream's windows' scores, (windows,), all finite and in [0, 1].

    A stream without evidence has the pull of all streams together; where nobody has any, all scores are a half.
    """
    general = sum(int(stream.general.sum()) for stream in streams)
    shallow = sum(int(stream.shallow.sum()) for stream in streams)
    overall = _ratio(general, shallow)
    found = []
    for stream in streams:
        own = _ratio(int(stream.general.sum()), int(stream.shallow.sum()))
        prior = own if own is not None else 0.5 if overall is None else overall
        evidence = stream.general + stream.shallow
        found.append((stream.general + PRIOR * prior) / (evidence + PRIOR))
    return found


def interval(general: Integers, shallow: Integers) -> tuple[float, float]:
    """Return the 95 % interval of sum(general) / sum(general + shallow), both (windows,); (0, 1) without evidence."""
    evidence = (general + shallow).astype(np.float64)
    total = float(evidence.sum())
    if total == 0:
        return 0.0, 1.0
    share = float(general.sum()) / total
    windows = len(evidence)
    effect = 1.0
    if windows > 1 and 0 < share < 1:
        scatter = float(((general - share * evidence) ** 2).sum()) * windows / (windows - 1)
        effect = max(1.0, scatter / (total * share * (1 - share)))
    return _wilson(share, total / effect)


def _wilson(share: float, count: float) -> tuple[float, float]:
    """Return Wilson's interval of a share of `count` independent trials ("Probable inference", 1927)."""
    square = _Z * _Z
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = _Z / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def _ratio(one: int, other: int) -> float | None:
    return one / (one + other) if one + other else None
