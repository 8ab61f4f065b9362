"""How far what one size of proxy shows holds for another: correlations of curricula, their ceiling, regret, conclusions.

Idea: every curriculum was played at every size on the same seeds, so a measure is a table (curricula, seeds) a size. Of two
sizes is asked, in the order of how much they are worth to whoever trains small proxies to choose for a large model:

    correlation   Spearman's, of the curricula's means over seeds; interval by bootstrap over curricula (Efron, percentiles)
    top quartile  the same among the curricula that the smaller size ranks highest, between which a choice is made
    counting      the same correlation for predictors that train nothing (see `ladder_baseline`): what a proxy has to beat
    other seeds   the same where each size has half of the seeds, the same half or another one: what is alike in all runs of a
                  seed, such as the data's order, agrees between sizes, and a full run shares no seed with its proxy
    ceiling       the most that noise lets a correlation be: the root of both sizes' reliabilities (Spearman 1904), each the
                  mean correlation between two seeds, stepped up to all of them (Spearman 1910, Brown 1910)
    regret        what is lost at the larger size by taking the smaller one's pick instead of the larger one's best; the seeds
                  that judge choose neither (left out in turn), since the best of noisy means looks better than it is
    saturation    how many runs of a size have one and the same value, among which there is nothing to rank
    conclusions   for each named curriculum against static, sign and interval at each size, and what becomes of it

Alternatives: Kendall's tau (the same order, smaller numbers, which the literature seldom gives), Pearson's r (moved by one bad
curriculum). The price of the bootstrap: with a dozen curricula its interval is rather too wide (it holds the truth in 96 to 99
of 100 simulated ladders), with fewer than eight, or where both sizes agree in every rank, it is of no use and left out; and
nothing says what other curricula than such as were drawn would do. The ceiling counts as noise what is alike in all runs of a
seed at both sizes, so a correlation can exceed it; from two seeds it is itself hardly known. Regret is said too small, with two
seeds by half, with ten by a fifth (simulated), since the best is then chosen by few seeds as well. A seed that ranks nothing,
since all curricula come out alike, agrees with no other: leaving it out would call a saturated measure reliable for the few
runs in which it moves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil, comb, sqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from scipy.stats import t as student

from curriculum.search.statistics import CONFIDENCE, Interval, mean_interval
from curriculum.units import keyed_seed

FloatArray = NDArray[np.float64]
MEASURES = ("time_general", "area", "final_margin", "loss")
LOWER_IS_BETTER = ("loss",)
_RESAMPLES = 4000
_LEAST = 3  # curricula of which a correlation says anything
_LEAST_FOR_INTERVAL = 8
_ALIKE = 1e-9
_SPLITS = 300  # of seeds into halves, where there are more
_LEAST_FOR_PAIRS = 5  # seeds from which on a gain has its own noise
Fate = Literal["holds", "fades", "unconfirmed", "appears", "open", "reversed", "no interval"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Correlation:
    """Spearman's correlation over so many `curricula`; None where they are too few, or all alike.

    It has no interval below eight curricula, nor where all ranks agree: any resample then says the same.
    """

    value: float | None
    low: float | None
    high: float | None
    curricula: int

    def as_json(self) -> dict[str, float | int | None]:
        """Return it as JSON."""
        return {"value": _rounded(self.value), "low": _rounded(self.low), "high": _rounded(self.high), "n": self.curricula}


@dataclass(frozen=True, kw_only=True, slots=True)
class Regret:
    """What the smaller size's pick loses at the larger size, in the measure's unit, more being worse.

    `pick` and `best` are the two sizes' choices by all seeds. `regret` is a mean over `judges`, the seeds, with Student's t
    interval over them, as if they were independent; of `differ` of them the two sizes' choices were not one curriculum.
    `gain` is the best's over static, judged likewise and with such an interval, `kept` the pick's. `same_seeds`: one seed
    alone, which had to choose and to judge; the regret is then too large.
    """

    pick: int
    best: int
    regret: Interval
    gain: Interval
    kept: Interval
    judges: int
    differ: int
    same_seeds: bool

    def as_json(self) -> dict[str, Any]:
        """Return the regret as JSON: no interval of one judge, nor where no choice differed, or only between equals."""
        low, high = self.regret.low, self.regret.high
        known = self.differ > 0 and bool(np.isfinite(low)) and low < high
        return {
            "regret": _rounded(self.regret.mean),
            "regret_low": _rounded(low) if known else None,
            "regret_high": _rounded(high) if known else None,
            "best_over_static": self.gain.as_json(),
            "pick_over_static": self.kept.as_json(),
            "judges": self.judges,
            "picks_differ": self.differ,
            "judged_on_choosing_seed": self.same_seeds,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Conclusion:
    """A curriculum's gain over static at each size, more being better, and what becomes of it over the sizes."""

    gains: tuple[Interval, ...]
    fate: Fate


def spearman(first: FloatArray, second: FloatArray) -> float | None:
    """Return the rank correlation of two vectors; ties share their mean rank. None for fewer than three, or all alike."""
    if len(first) < _LEAST:
        return None
    found = float(_row_correlations(first[None], second[None])[0])
    return found if np.isfinite(found) else None


def correlation(first: FloatArray, second: FloatArray, *, seed: int = 0) -> Correlation:
    """Return the correlation of two vectors (curricula,) with a 95 % interval by bootstrap over curricula, where it has one."""
    count, value = len(first), spearman(first, second)
    if value is None or count < _LEAST_FOR_INTERVAL or 1 - abs(value) < _ALIKE:
        return Correlation(value=value, low=None, high=None, curricula=count)
    drawn = _drawn(count, seed)
    low, high = _middle(_row_correlations(first[drawn], second[drawn]))
    return Correlation(value=value, low=low, high=high, curricula=count)


def ahead(first: FloatArray, counted: FloatArray, second: FloatArray, *, seed: int = 0) -> Correlation:
    """Return by how much `first` ranks `second` better than `counted` does, whichever sign that has; vectors (curricula,).

    A difference of two correlations, with a 95 % interval by the same bootstrap over curricula, both resampled together.
    """
    count, own, other = len(first), spearman(first, second), spearman(counted, second)
    if own is None or other is None:
        return Correlation(value=None, low=None, high=None, curricula=count)
    if count < _LEAST_FOR_INTERVAL:
        return Correlation(value=own - abs(other), low=None, high=None, curricula=count)
    drawn = _drawn(count, seed)
    differences = _row_correlations(first[drawn], second[drawn]) - np.abs(_row_correlations(counted[drawn], second[drawn]))
    low, high = _middle(differences)
    return Correlation(value=own - abs(other), low=low, high=high, curricula=count)


def _drawn(count: int, seed: int) -> NDArray[np.int64]:
    """Return resamples of so many curricula, shape (resamples, curricula)."""
    return np.random.default_rng(keyed_seed("ladder bootstrap", seed)).integers(0, count, size=(_RESAMPLES, count))


def _middle(values: FloatArray) -> tuple[float, float]:
    low, high = np.quantile(values[np.isfinite(values)], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _row_correlations(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return Spearman's correlation of each pair of rows (rows, curricula); not a number where a row is all alike."""
    ranks = [rankdata(values, axis=1) for values in (first, second)]
    left, right = (each - each.mean(axis=1, keepdims=True) for each in ranks)
    scale = np.sqrt((left**2).sum(axis=1) * (right**2).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: FloatArray = np.where(scale > 1e-9, (left * right).sum(axis=1) / scale, np.nan)
    return found


def top_quartile(values: FloatArray) -> NDArray[np.int64]:
    """Return the indices of the quarter of largest values, at least three; of equals the earlier ones."""
    count = max(_LEAST, ceil(len(values) / 4))
    found: NDArray[np.int64] = np.argsort(-values, kind="stable")[:count]
    return found


def across_seeds(small: FloatArray, large: FloatArray) -> dict[str, float | int | None] | None:
    """Return the mean correlation of two sizes where each has half of the seeds: the `same` half, or an `other` one.

    Tables (curricula, seeds); None of a single seed. Both rest on so many `seeds`, and so on more noise than all together.
    """
    count = small.shape[1]
    half = count // 2
    if not half:
        return None
    same, other = [], []
    for own in _halves(count, half):
        rest = [seed for seed in range(count) if seed not in own][:half]
        ranked = small[:, own].mean(axis=1)
        same.append(spearman(ranked, large[:, own].mean(axis=1)))
        other.append(spearman(ranked, large[:, rest].mean(axis=1)))
    return {"seeds": half, "same": _mean_known(same), "other": _mean_known(other)}


def _halves(count: int, half: int) -> list[list[int]]:
    """Return choices of `half` of so many seeds: all of them, or some hundreds drawn."""
    if comb(count, half) <= _SPLITS:
        return [list(own) for own in combinations(range(count), half)]
    random = np.random.default_rng(keyed_seed("ladder halves", count))
    return [sorted(random.permutation(count)[:half].tolist()) for _ in range(_SPLITS)]


def _mean_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _rounded(float(np.mean(known))) if known else None


def reliability(table: FloatArray) -> float | None:
    """Return how far the means over seeds of a table (curricula, seeds) would correlate with those over as many others.

    None for a single seed, or fewer than three curricula. 0 where seeds agree no better than by chance; a seed in which all
    curricula are alike agrees with no other, and counts as 0 with each.
    """
    curricula, seeds = table.shape
    if seeds < 2 or curricula < _LEAST:
        return None
    found = [spearman(table[:, one], table[:, other]) or 0.0 for one, other in combinations(range(seeds), 2)]
    return spearman_brown(max(0.0, float(np.mean(found))), seeds)


def alike(table: FloatArray) -> int:
    """Return how many runs of a table (curricula, seeds) have its most frequent value."""
    return int(np.unique(np.round(table, 9), return_counts=True)[1].max())


def spearman_brown(of_one: float, count: int) -> float:
    """Return the reliability of a mean of `count`, from that of one."""
    return count * of_one / (1 + (count - 1) * of_one)


def noise_ceiling(small: FloatArray, large: FloatArray) -> float | None:
    """Return the correlation that noise alone would leave two sizes of perfect agreement; tables (curricula, seeds)."""
    reliabilities = [reliability(small), reliability(large)]
    known = [value for value in reliabilities if value is not None]
    return sqrt(known[0] * known[1]) if len(known) == 2 else None


def regret(small: FloatArray, large: FloatArray, static: int) -> Regret:
    """Return the regret of the smaller size's pick; tables (curricula, seeds), more being better, `static` is a row.

    Each seed judges in turn what all others choose, at both sizes. Below zero: the pick was the luckier one.
    """
    seeds = range(large.shape[1])
    judged = [_judged(small, large, static, seed) for seed in seeds]
    return Regret(
        pick=_best(small),
        best=_best(large),
        regret=mean_interval([lost for lost, _, _ in judged]),
        gain=mean_interval([gain for _, gain, _ in judged]),
        kept=mean_interval([gain - lost for lost, gain, _ in judged]),
        judges=len(seeds),
        differ=sum(differ for *_, differ in judged),
        same_seeds=len(seeds) == 1,
    )


def _judged(small: FloatArray, large: FloatArray, static: int, seed: int) -> tuple[float, float, bool]:
    """Return, on one seed, regret and the best's gain over static, and whether pick and best, chosen on the others, differ."""
    choosing = [other for other in range(large.shape[1]) if other != seed] or [seed]
    pick, best = _best(small[:, choosing]), _best(large[:, choosing])
    return float(large[best, seed] - large[pick, seed]), float(large[best, seed] - large[static, seed]), pick != best


def _best(table: FloatArray) -> int:
    return int(np.argmax(table.mean(axis=1)))


def gain_interval(table: FloatArray, row: int, static: int) -> Interval:
    """Return a curriculum's mean gain over static with a 95 % interval; table (curricula, seeds), more being better.

    From five seeds on it is Student's over pairs of one seed. Two seeds alone give no interval worth the name; of fewer than
    five the noise is taken from all curricula together: what is left of the table when curricula and seeds are taken out
    (two-way analysis of variance), as if it were the same for each. Infinite ends with a single seed.
    """
    rows, seeds = table.shape
    if seeds >= _LEAST_FOR_PAIRS:
        return mean_interval(table[row] - table[static])
    gain = float(table[row].mean() - table[static].mean())
    if seeds < 2:
        return Interval(mean=gain, low=-np.inf, high=np.inf)
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    freedom = (rows - 1) * (seeds - 1)
    error = sqrt(2 * float((rest**2).sum()) / freedom / seeds)
    half = float(student.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    return Interval(mean=gain, low=gain - half, high=gain + half)


def conclude(tables: Sequence[FloatArray], row: int, static: int) -> Conclusion:
    """Return a curriculum's gain over static at each size, smaller to larger, and what becomes of it."""
    gains = tuple(gain_interval(table, row, static) for table in tables)
    return Conclusion(gains=gains, fate=fate_of(gains))


def fate_of(gains: Sequence[Interval]) -> Fate:
    """Return what becomes of a gain over the sizes, smaller to larger. The largest size decides; a sign confirms nothing.

    reversed     beyond the noise at two sizes, with opposite signs
    open         beyond the noise at no size
    fades        beyond the noise at a smaller size, and shown to be less at the largest: the two intervals are disjoint
    unconfirmed  beyond the noise at a smaller size, not at the largest, where it may as well be as large as nothing
    holds        beyond the noise at every size with one sign, and not fading
    appears      beyond the noise at the largest size, but not at every smaller one
    no interval  one seed alone
    """
    if not all(np.isfinite(gain.low) for gain in gains):
        return "no interval"
    sure, last = [gain for gain in gains if not gain.holds_zero()], gains[-1]
    if not sure:
        return "open"
    if len({gain.mean > 0 for gain in sure}) == 2:
        return "reversed"
    if any(_less(last, gain) for gain in sure):
        return "fades"
    if last.holds_zero():
        return "unconfirmed"
    return "holds" if len(sure) == len(gains) else "appears"


def _less(later: Interval, sure: Interval) -> bool:
    """Say whether all of `later` lies on the side of zero of an interval without zero."""
    return later.high < sure.low if sure.mean > 0 else later.low > sure.high


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LadderTables:
    """What a ladder measured: of each measure and size, from smaller to larger, a table (curricula, seeds).

    A size may have fewer seeds than another, the first ones of it.

    `curricula[static]` is the static one, `named` are those of which conclusions are drawn. `counted` and `distance`: numbers
    for each curriculum that are known without training (see `ladder_baseline`), None where there are none.
    """

    sizes: tuple[str, ...]
    curricula: tuple[str, ...]
    values: Mapping[str, Sequence[FloatArray]]
    named: tuple[str, ...]
    static: int = 0
    counted: FloatArray | None = None
    distance: FloatArray | None = None


def compare(tables: LadderTables) -> dict[str, Any]:
    """Return as JSON every pair of sizes in every measure, each size's reliability and saturation, and the conclusions."""
    oriented = {
        name: [table * (-1 if name in LOWER_IS_BETTER else 1) for table in values] for name, values in tables.values.items()
    }
    pairs = [
        {"small": tables.sizes[small], "large": tables.sizes[large], "measures": _compared(tables, oriented, small, large)}
        for small, large in combinations(range(len(tables.sizes)), 2)
    ]
    reliable = {
        size: {name: _rounded(reliability(values[number])) for name, values in oriented.items()}
        for number, size in enumerate(tables.sizes)
    }
    saturation = {
        size: {name: {"alike": alike(values[number]), "runs": values[number].size} for name, values in tables.values.items()}
        for number, size in enumerate(tables.sizes)
    }
    conclusions = _conclusions(tables, oriented)
    return {"pairs": pairs, "reliability": reliable, "saturation": saturation, "conclusions": conclusions}


def _compared(tables: LadderTables, oriented: Mapping[str, Sequence[FloatArray]], small: int, large: int) -> dict[str, Any]:
    return {name: _pair(tables, values[small], values[large]) for name, values in oriented.items()}


def _pair(tables: LadderTables, small: FloatArray, large: FloatArray) -> dict[str, Any]:
    first, second = small.mean(axis=1), large.mean(axis=1)
    top, common = top_quartile(first), min(small.shape[1], large.shape[1])
    lost = regret(small[:, :common], large[:, :common], tables.static)
    return {
        "spearman": correlation(first, second).as_json(),
        "other_seeds": across_seeds(small[:, :common], large[:, :common]),
        "counting": None if tables.counted is None else correlation(tables.counted, second).as_json(),
        "ahead_of_counting": None if tables.counted is None else ahead(first, tables.counted, second).as_json(),
        "distance": None if tables.distance is None else correlation(tables.distance, second).as_json(),
        "ahead_of_distance": None if tables.distance is None else ahead(first, tables.distance, second).as_json(),
        "top_quartile": correlation(first[top], second[top]).as_json(),
        "noise_ceiling": _rounded(noise_ceiling(small, large)),
        "pick": tables.curricula[lost.pick],
        "best": tables.curricula[lost.best],
        **lost.as_json(),
    }


def _conclusions(tables: LadderTables, oriented: Mapping[str, Sequence[FloatArray]]) -> list[dict[str, Any]]:
    found = []
    for name in tables.named:
        row = tables.curricula.index(name)
        for measure, values in oriented.items():
            conclusion = conclude(list(values), row, tables.static)
            gains = {size: gain.as_json() for size, gain in zip(tables.sizes, conclusion.gains, strict=True)}
            found.append({"curriculum": name, "measure": measure, "fate": conclusion.fate, "gain_over_static": gains})
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
