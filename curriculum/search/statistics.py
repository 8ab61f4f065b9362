"""How sure a mean of paired differences is: two intervals, a correction, a shrunken estimate, the pairs still needed.

Idea: everything is about n paired differences of one measure. Two intervals are made of them and the wider is believed:

    Student's t       exact for normal differences, narrow with few pairs, but time_general is bounded and has cliffs
    sign flips        exact for symmetric ones: inverting the sign-flip test leads to the means of all subsets of the
                      differences, whose order statistics are the interval's ends (Hartigan, "Using subsample values as
                      typical values", 1969); no search for a root, and unbounded where 2^n signs cannot give the confidence

Alternatives: the bootstrap (too narrow at ten pairs), a rank test (its interval is of a median), Holm's correction (a
little stronger than Bonferroni's, but without intervals that hold together). The price: a claim needs both intervals.

Looking again after more pairs is a second chance to be wrong. The 5 % are therefore split beforehand over all looks a study
allows, in proportion to the pairs that each look adds, and every look is tested at its own part (Bonferroni over looks: it
holds however one decides to look, and costs about a quarter of the width at the first look of 10 pairs out of 30).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, log2

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc, gammaln
from scipy.stats import nct
from scipy.stats import t as student

from curriculum.units import keyed_seed

FloatArray = NDArray[np.float64]
CONFIDENCE = 0.95
STEP = 5  # pairs that one look adds
_EXACT_PAIRS = 14  # up to here all 2^n signs are tried: 16,384 subsets take some milliseconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A mean with its confidence interval; an end is infinite where the pairs are too few for the confidence."""

    mean: float
    low: float
    high: float

    def as_json(self) -> dict[str, float | None]:
        """Return mean, low and high as JSON; an infinite end is null."""
        values = {"mean": self.mean, "low": self.low, "high": self.high}
        return {name: round(value, 6) if np.isfinite(value) else None for name, value in values.items()}

    def within(self, bound: float) -> bool:
        """Say whether all of it lies within +-`bound` of zero."""
        return -bound <= self.low and self.high <= bound

    def holds_zero(self) -> bool:
        """Say whether zero cannot be ruled out."""
        return self.low <= 0 <= self.high

    def __str__(self) -> str:
        if not np.isfinite(self.low):
            return f"{self.mean:+.3f} [too few pairs for an interval]"
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def mean_interval(values: Sequence[float] | FloatArray, confidence: float = CONFIDENCE) -> Interval:
    """Return the mean of paired differences (or of values) with Student's t interval."""
    numbers = np.asarray(values, dtype=np.float64)
    mean = float(numbers.mean())
    if len(numbers) < 2:
        return Interval(mean=mean, low=-np.inf, high=np.inf)
    half = float(student.ppf((1 + confidence) / 2, len(numbers) - 1) * numbers.std(ddof=1) / np.sqrt(len(numbers)))
    return Interval(mean=mean, low=mean - half, high=mean + half)


def permutation_interval(
    differences: Sequence[float] | FloatArray, confidence: float = CONFIDENCE, *, seed: int = 0
) -> Interval:
    """Return the mean with all values that a two-sided sign-flip test would not reject.

    Flipping the signs of (d - m) for the pairs in a subset raises their sum exactly if the subset's mean is at most m. So m
    is rejected as too low when few subset means lie below it, and the ends are the k-th smallest and largest of them. Up to
    14 pairs all subsets are taken; above, 16,383 keyed by (`seed`, pairs), which with the data themselves keep the test exact.
    """
    numbers = np.asarray(differences, dtype=np.float64)
    pairs = len(numbers)
    subsets = _subsets(pairs, seed)
    rank = int((1 - confidence) / 2 * (len(subsets) + 1) + 1e-9)
    mean = float(numbers.mean())
    if rank < 1:
        return Interval(mean=mean, low=-np.inf, high=np.inf)
    means = np.sort((subsets @ numbers) / subsets.sum(axis=1))
    return Interval(mean=mean, low=min(mean, float(means[rank - 1])), high=max(mean, float(means[-rank])))


@lru_cache(maxsize=64)
def _subsets(pairs: int, seed: int) -> FloatArray:
    """Return non-empty subsets of the pairs as rows of zeros and ones, shape (subsets, pairs)."""
    if pairs <= _EXACT_PAIRS:
        numbers = np.arange(1, 2**pairs)
        every: FloatArray = ((numbers[:, None] >> np.arange(pairs)) & 1).astype(np.float64)
        return every
    random = np.random.default_rng(keyed_seed("sign flips", seed, pairs))
    drawn: FloatArray = random.integers(0, 2, size=(2**_EXACT_PAIRS - 1, pairs)).astype(np.float64)
    drawn[drawn.sum(axis=1) == 0] = 1.0  # the empty subset, once in 2^15 draws at the most, has no mean
    return drawn


def claim_interval(differences: Sequence[float] | FloatArray, confidence: float = CONFIDENCE) -> Interval:
    """Return the wider of both intervals at each end: what it rules out, both rule out."""
    normal, signs = mean_interval(differences, confidence), permutation_interval(differences, confidence)
    return Interval(mean=normal.mean, low=min(normal.low, signs.low), high=max(normal.high, signs.high))


def looks(first: int, most: int) -> tuple[int, ...]:
    """Return the numbers of pairs after which a study may look: `first`, then every five more up to `most`."""
    return tuple(range(first, max(first, most) + 1, STEP))


def corrected_confidence(pairs: int, comparisons: int, *, first: int, most: int) -> float:
    """Return the confidence of one interval, so that all of a study's finalists and looks together keep 95 %.

    A look's part of the 5 % is the pairs it adds, as a share of those of the last look; a number of pairs between two looks
    counts as the earlier one, so that a comparison cut short is not the bolder for it.
    """
    allowed = looks(first, most)
    added = first if pairs < first + STEP else STEP
    return 1 - (1 - CONFIDENCE) * (added / allowed[-1]) / comparisons


def power(differences: Sequence[float] | FloatArray, pairs: int, confidence: float = CONFIDENCE) -> float:
    """Return how probably `pairs` pairs would rule out zero, were mean and spread what these differences show."""
    numbers = np.asarray(differences, dtype=np.float64)
    mean, spread = abs(float(numbers.mean())), float(numbers.std(ddof=1))
    if spread == 0:
        return float(mean > 0)
    limit = float(student.ppf((1 + confidence) / 2, pairs - 1))
    return float(nct.sf(limit, pairs - 1, mean / spread * np.sqrt(pairs)))


def pairs_needed(
    differences: Sequence[float] | FloatArray,
    *,
    confidence: float = CONFIDENCE,
    wanted: float = 0.8,
    least: int = 0,
    most: int = 1000,
) -> int | None:
    """Return how many pairs more would decide a comparison with probability `wanted`; 0 if it is decided already.

    None if even `most` pairs in all would not. It takes the differences seen for the truth, so it plans, and proves nothing.
    Never so few in all that sign flips have no interval at the confidence, nor fewer than `least`, that a claim asks for.
    """
    have, flips = len(differences), ceil(log2(2 / (1 - confidence)))
    if not claim_interval(differences, confidence).holds_zero():
        return 0
    if power(differences, most, confidence) < wanted:
        return None
    low, high = max(have, least - 1, flips - 1), most  # power grows with the pairs, so the least is found by halving
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(differences, middle, confidence) >= wanted else (middle, high)
    return high - have


def shrunken_means(scores: Sequence[Sequence[float]] | FloatArray) -> FloatArray:
    """Return the means of arms drawn together, shape (arms,), from their scores on shared seeds, shape (arms, pairs).

    The arm that is best of k on the seeds that chose it was partly lucky. Empirical Bayes: the arms' true means are taken as
    normal around a common one, with a share B of what separates them being noise, 0 to 1 uniformly (Strawderman 1971, Morris
    1983: it needs no more than two arms, where James and Stein need four). Noise is what is left of the scores when arms and
    seeds are taken out, so luck that a seed gave to every arm does not count. One arm alone was not chosen here, and stays.
    """
    matrix = np.asarray(scores, dtype=np.float64)
    arms, pairs = matrix.shape
    means: FloatArray = matrix.mean(axis=1)
    if arms < 2 or pairs < 2:
        return means
    rest = matrix - means[:, None] - matrix.mean(axis=0) + matrix.mean()
    error = float((rest**2).sum()) / ((arms - 1) * (pairs - 1)) / pairs
    if error < 1e-15:
        return means
    spread = float(((means - means.mean()) ** 2).sum()) / error
    shrunken: FloatArray = means.mean() + (1 - _noise_share(spread, arms)) * (means - means.mean())
    return shrunken


def _noise_share(spread: float, arms: int) -> float:
    """Return E[B] where B's likelihood is B^((k-1)/2) exp(-B spread / 2) on (0, 1)."""
    shape, rate = (arms + 1) / 2, spread / 2
    if rate < 1e-6:
        return shape / (shape + 1)
    return float(np.exp(gammaln(shape + 1) - gammaln(shape)) / rate * gammainc(shape + 1, rate) / gammainc(shape, rate))
