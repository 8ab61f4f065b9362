"""What may honestly be claimed.

Idea: a claim is about pairs. Finalist and static are trained on the same fresh seeds, read with the same fresh probe
items, and the mean difference is given with a paired t interval, its confidence corrected (Bonferroni) for the number
of finalists. The verdict is one of

    winner     beats static, breaks no constraint, and still leads within the common tail
    transient  beats static, but the lead is gone when everyone's data are the same again
    tie        cannot be told from static, and the interval is narrow: take static, it is simpler
    none       no finalist beat static, or every one that did broke a constraint, or there are fewer than 10 pairs

Alternatives: the best trial's own score (inflated by having been chosen) or a permutation test (2^10 signs allow no
smaller p than .001, and no interval). The price: with few pairs a real but small gain stays unproven.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import t as student

from curriculum.search.objective import Score, reference_of
from curriculum.search.study import Study

Kind = Literal["winner", "transient", "tie", "none"]
LEAST_PAIRS = 10  # five agreeing pairs are p = .06
_CONFIDENCE = 0.95
_NARROW = 0.05  # an interval within +-.05 of zero counts as equal


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A mean with its confidence interval."""

    mean: float
    low: float
    high: float

    def as_json(self) -> dict[str, float]:
        """Return mean, low and high as JSON."""
        return {"mean": round(self.mean, 6), "low": round(self.low, 6), "high": round(self.high, 6)}

    def __str__(self) -> str:
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """A curriculum repeated on the proof's seeds; `scores[i]` belongs to the i-th seed of every arm."""

    name: str
    scores: tuple[Score, ...]
    tail: tuple[Score, ...] = ()

    def mean(self, metric: str) -> float:
        """Return the mean of one measure over the seeds."""
        return float(np.mean([score.metric(metric) for score in self.scores]))

    def loss(self) -> dict[str, float]:
        """Return each stream's mean held-out loss."""
        return {name: float(np.mean([score.loss[name] for score in self.scores])) for name in self.scores[0].loss}

    def bits(self) -> dict[str, float]:
        """Return each suite's mean bits per byte."""
        return {name: float(np.mean([score.bits[name] for score in self.scores])) for name in self.scores[0].bits}


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The verdict in words and numbers; `arm` is the finalist it speaks of."""

    kind: Kind
    arm: str
    gain: Interval
    tail_gain: Interval | None
    broken: tuple[str, ...]
    words: str


def mean_interval(values: Sequence[float], confidence: float = _CONFIDENCE) -> Interval:
    """Return the mean of paired differences (or of values) with Student's t interval."""
    numbers = np.asarray(values, dtype=np.float64)
    mean = float(numbers.mean())
    if len(numbers) < 2:
        return Interval(mean=mean, low=-np.inf, high=np.inf)
    half = float(student.ppf((1 + confidence) / 2, len(numbers) - 1) * numbers.std(ddof=1) / np.sqrt(len(numbers)))
    return Interval(mean=mean, low=mean - half, high=mean + half)


def paired_gain(arm: Arm, other: Arm, metric: str, comparisons: int = 1) -> Interval:
    """Return the mean difference of one measure over the shared seeds, corrected for `comparisons`."""
    pairs = zip(arm.scores, other.scores, strict=True)
    confidence = 1 - (1 - _CONFIDENCE) / comparisons
    return mean_interval([left.metric(metric) - right.metric(metric) for left, right in pairs], confidence)


def tail_gain(arm: Arm, other: Arm, metric: str = "time_general") -> Interval:
    """Return the mean difference of time_general within the common tail; of bits per byte, at the end of runs with it."""
    pairs = list(zip(arm.tail, other.tail, strict=True))
    if metric == "bits_per_byte":
        return mean_interval([left.metric(metric) - right.metric(metric) for left, right in pairs])
    return mean_interval([left.tail.time_general - right.tail.time_general for left, right in pairs])


def broken_constraints(study: Study, arm: Arm, static: Arm) -> tuple[str, ...]:
    """Return what a finalist breaks: a final margin shown to be under static's, a stream's mean loss over its limit.

    "Shown" means that the paired 95 % interval of the difference lies below zero: final margins differ by .1 from seed to
    seed, so that asking for a mean no lower would be a coin flip between equals. The verdict's words give the interval.
    """
    broken = []
    if "final_margin" in study.objective.subject_to:
        difference = paired_gain(arm, static, "final_margin")
        if difference.high < 0:
            broken.append(f"its final margin is under static's by {difference}")
    if "loss" in study.objective.subject_to and static.scores[0].loss:
        limits = reference_of(static.scores).loss_limit
        broken += [
            f"loss of {name} {loss:.3f} is over its limit {limits[name]:.3f}"
            for name, loss in arm.loss().items()
            if loss > limits[name]
        ]
    if "bits_per_byte" in study.objective.subject_to:
        limits = reference_of(static.scores).bits_limit
        broken += [
            f"bits per byte of {name} {bits:.3f} are over their limit {limits[name]:.3f}"
            for name, bits in arm.bits().items()
            if bits > limits[name]
        ]
    return tuple(broken)


def leader(study: Study, finalists: Sequence[Arm], static: Arm) -> Arm:
    """Return the finalist with the highest mean among those that keep the constraints, or among all if none does."""
    keeping = [arm for arm in finalists if not broken_constraints(study, arm, static)]
    return max(keeping or finalists, key=lambda arm: arm.mean(study.objective.metric))


def judge(study: Study, arm: Arm, static: Arm, comparisons: int) -> Verdict:
    """Return the verdict on the leading finalist; `arm.tail` and `static.tail` hold the runs with the common tail."""
    metric = study.objective.metric
    gain = paired_gain(arm, static, metric, comparisons)
    lasting = tail_gain(arm, static, metric) if arm.tail and static.tail else None
    broken = broken_constraints(study, arm, static)
    kind = _kind(gain, lasting, broken, pairs=len(arm.scores))
    words = _words(kind, arm, static, metric, gain, lasting, broken)
    return Verdict(kind=kind, arm=arm.name, gain=gain, tail_gain=lasting, broken=broken, words=words)


def _kind(gain: Interval, lasting: Interval | None, broken: tuple[str, ...], pairs: int) -> Kind:
    if gain.low <= 0:
        return "tie" if gain.low >= -_NARROW and 0 <= gain.high <= _NARROW else "none"
    if broken or pairs < LEAST_PAIRS:
        return "none"
    return "transient" if lasting is not None and lasting.low <= 0 else "winner"


def _words(
    kind: Kind, arm: Arm, static: Arm, metric: str, gain: Interval, lasting: Interval | None, broken: Sequence[str]
) -> str:
    pairs = len(arm.scores)
    sign = -1 if metric == "bits_per_byte" else 1  # within a search more is better; shown are the bits themselves
    reached, base = sign * arm.mean(metric), sign * static.mean(metric)
    compared = (
        f"{metric} {reached:.3f} against static's {base:.3f} at equal exposure, gain {gain} "
        f"over {pairs} fresh seeds (final margin {paired_gain(arm, static, 'final_margin')})"
    )
    if kind == "tie":
        return f"Tie: {arm.name} cannot be told from the static mix ({compared}). Take static: it is simpler."
    if kind == "none" and broken:
        return f"No curriculum is claimed: {arm.name} has {compared}, but {'; '.join(broken)}."
    if kind == "none" and gain.low > 0:
        return f"No curriculum is claimed: {arm.name} has {compared}; a claim needs at least {LEAST_PAIRS} seeds."
    if kind == "none":
        return f"No curriculum beat the static mix: the best, {arm.name}, has {compared}."
    left = "not measured" if lasting is None else f"{lasting}"
    if kind == "transient":
        return f"Transient: {arm.name} has {compared}, but within the common tail its lead is gone ({left})."
    return f"Winner: {arm.name} has {compared}, breaks no constraint, and leads within the common tail by {left}."


def arm_as_json(arm: Arm, static: Arm, metric: str, comparisons: int) -> dict[str, object]:
    """Return an arm as the `finalists` and `controls` of `search --json` hold it; its gain is of `metric`."""
    values = [score.measures.time_general for score in arm.scores]
    found: dict[str, object] = {
        "name": arm.name,
        "pairs": len(arm.scores),
        "time_general": mean_interval(values).as_json(),
        "gain_over_static": paired_gain(arm, static, metric, comparisons).as_json(),
        "area": round(arm.mean("area"), 6),
        "final_margin": round(arm.mean("final_margin"), 6),
        "hops": round(arm.mean("hops"), 6),
        "worst_probe": round(arm.mean("worst_probe"), 6),
        "loss": {name: round(loss, 6) for name, loss in arm.loss().items()},
        "bits_per_byte": {name: round(bits, 6) for name, bits in arm.bits().items()},
        "after_tail": None,
    }
    if arm.tail:
        found["after_tail"] = {
            "time_general_in_tail": mean_interval([score.tail.time_general for score in arm.tail]).as_json(),
            "final_margin": round(float(np.mean([score.measures.final_margin for score in arm.tail])), 6),
            "loss": {name: round(float(np.mean([score.loss[name] for score in arm.tail])), 6) for name in arm.tail[0].loss},
            "bits_per_byte": {
                name: round(float(np.mean([score.bits[name] for score in arm.tail])), 6) for name in arm.tail[0].bits
            },
        }
    return found
