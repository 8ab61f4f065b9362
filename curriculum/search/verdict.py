"""What may honestly be claimed.

Idea: a claim is about pairs. Finalist and static are trained on the same fresh seeds, read with the same fresh probe
items, and the mean difference is given with the wider of two intervals (Student's t and sign flips, see `statistics`), its
confidence corrected for the number of finalists, those of earlier proofs included, and for every look a study allows
itself. The verdict is one of

    winner     beats static, breaks no constraint, still leads within the common tail and under the full run's schedule
    transient  beats static, but the lead is gone when everyone's data are the same again
    tie        cannot be told from static, and the interval is narrow: take static, it is simpler
    none       no finalist beat static, or every one that did broke a constraint, or lost its lead under the full run's
               learning-rate schedule, or there are fewer than 10 pairs

A lead that is shown under the proxies' schedule must be shown again under the full run's (`target_schedule`): a rank that
flips there is worth nothing in the run that is to come. There too an interval narrow around zero is a tie. Every finalist
may be asked to last and to hold (`proof`), so that these intervals are corrected for the number of finalists too.

Alternatives: the best trial's own score (inflated by having been chosen), or a probability of being better (which says
nothing of by how much). The price: with few pairs a real but small gain stays unproven; `should_add_pairs` then asks
for more, where they can still decide it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from curriculum.search.objective import MARGIN_SLACK, Score, reference_of
from curriculum.search.statistics import (
    STEP,
    FloatArray,
    Interval,
    claim_interval,
    corrected_confidence,
    looks,
    mean_interval,
    pairs_needed,
    power,
    shrunken_means,
)
from curriculum.search.study import LESS_IS_BETTER, Study

Kind = Literal["winner", "transient", "tie", "none"]
LEAST_PAIRS = 10  # five agreeing pairs are p = .06
_NARROW = {"bits_per_byte": 0.005, "loss": 0.01}  # an interval within this of zero counts as equal: bits, nats
_NARROW_MARGIN = 0.05  # likewise for measures in [-1, 1]
_SHARE = 0.1  # of static's measure: what is less is no difference, however small measures are
_LEAST_POWER = 0.1  # a comparison that the last look would decide less often than this is not worth its runs


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """A curriculum repeated on the proof's seeds; `scores[i]` belongs to the i-th seed of every arm.

    Arms may have been given more seeds than others; two are compared over those that both have. `tail` are the runs with
    the common tail, `scheduled` those under the full run's learning-rate schedule. `phases` counts the mix's phases.
    """

    name: str
    scores: tuple[Score, ...]
    tail: tuple[Score, ...] = ()
    scheduled: tuple[Score, ...] = ()
    phases: int = 1

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
    """The verdict in words and numbers; `arm` is the finalist it speaks of.

    `confidence` is that of `gain`, after all corrections. `shrunken` is the gain less what the choice among finalists is
    expected to have flattered it by. `simplest` is the simplest arm that cannot be told from `arm` (perhaps itself).
    `more_pairs`: how many pairs more would decide it (0: it is decided; None: no number that can be had).
    """

    kind: Kind
    arm: str
    gain: Interval
    tail_gain: Interval | None
    broken: tuple[str, ...]
    words: str
    scheduled_gain: Interval | None = None
    confidence: float = 0.95
    shrunken: float = 0.0
    simplest: str = "static"
    more_pairs: int | None = 0


def narrow(metric: str, static: Arm) -> float:
    """Return the bound within which a whole interval must lie to count as equal to static, in the metric's unit.

    At most a tenth of what static has: a gain of a quarter is no tie, however small the measure is.
    """
    return min(_NARROW.get(metric, _NARROW_MARGIN), _SHARE * abs(static.mean(metric)))


def paired_differences(arm: Arm, other: Arm, metric: str) -> FloatArray:
    """Return the differences of one measure over the seeds that both arms have, shape (pairs,)."""
    pairs = zip(arm.scores, other.scores, strict=False)
    return np.asarray([left.metric(metric) - right.metric(metric) for left, right in pairs])


def confidence_of(study: Study, pairs: int, comparisons: int) -> float:
    """Return the confidence of one of a study's intervals, corrected for finalists and looks."""
    first, most = study.search.finalist_seeds, study.search.most_seeds
    return corrected_confidence(pairs, comparisons, first=first, most=most if first >= LEAST_PAIRS else first)


def paired_gain(study: Study, arm: Arm, other: Arm, metric: str, comparisons: int = 1) -> Interval:
    """Return the mean difference of one measure over the shared seeds, corrected for `comparisons` and for looks."""
    differences = paired_differences(arm, other, metric)
    return claim_interval(differences, confidence_of(study, len(differences), comparisons))


def tail_gain(arm: Arm, other: Arm, metric: str, comparisons: int = 1) -> Interval:
    """Return the mean difference of a measure within the common tail; of bits per byte and loss, at the end of runs with it.

    Corrected for the `comparisons` finalists that may be asked; not for looks, since it is looked at once.
    """
    pairs = zip(arm.tail, other.tail, strict=False)
    differences = [_in_tail(left, metric) - _in_tail(right, metric) for left, right in pairs]
    return _looked_at_once(differences, comparisons)


def _in_tail(score: Score, metric: str) -> float:
    return score.metric(metric) if metric in LESS_IS_BETTER else float(getattr(score.tail, metric))


def scheduled_gain(arm: Arm, other: Arm, metric: str, comparisons: int = 1) -> Interval:
    """Return the mean difference of one measure under the full run's learning-rate schedule, corrected as `tail_gain` is."""
    differences = paired_differences(_under_schedule(arm), _under_schedule(other), metric)
    return _looked_at_once(differences, comparisons)


def _looked_at_once(differences: Sequence[float] | FloatArray, comparisons: int) -> Interval:
    pairs = len(differences)
    return claim_interval(differences, corrected_confidence(pairs, comparisons, first=pairs, most=pairs))


def _under_schedule(arm: Arm) -> Arm:
    return replace(arm, scores=arm.scheduled)


def broken_constraints(study: Study, arm: Arm, static: Arm) -> tuple[str, ...]:
    """Return what a finalist breaks: a mean final margin under static's, a stream's mean loss over its limit.

    Final margins differ by .1 from seed to seed, so that asking for a mean no lower would be a coin flip between equals;
    asking that a lower one be shown would let through whatever is noisy. So one is under static's that is so by more than
    .05, or, where margins are small, by more than a tenth of static's if that is shown. The verdict's words give the
    interval. In a Pareto study, where the loss is no constraint, a mean loss shown to be over static's is a trade, not a
    gain.
    """
    broken = []
    if "final_margin" in study.objective.subject_to:
        difference = mean_interval(paired_differences(arm, static, "final_margin"))
        is_lower = difference.high < 0 and difference.mean < -_SHARE * abs(static.mean("final_margin"))
        if difference.mean < -MARGIN_SLACK or is_lower:
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
    if study.objective.pareto == "loss":
        saved = mean_interval(paired_differences(arm, static, "loss"))
        broken += [f"its mean loss is over static's (saved: {saved})"] if saved.high < 0 else []
    return tuple(broken)


def leader(study: Study, finalists: Sequence[Arm], static: Arm) -> Arm:
    """Return the finalist with the highest mean among those that keep the constraints, or among all if none does."""
    keeping = [arm for arm in finalists if not broken_constraints(study, arm, static)]
    return max(keeping or finalists, key=lambda arm: arm.mean(study.objective.metric))


def is_shown(study: Study, arm: Arm, static: Arm, comparisons: int) -> bool:
    """Say whether a finalist would be the winner if its lead were only to last, and to hold under the full run's schedule."""
    return judge(study, replace(arm, tail=(), scheduled=()), static, comparisons).kind == "winner"


def can_last(study: Study, static: Arm) -> bool:
    """Say whether anybody's lead over static could last: none can where static, with the common tail, is always general."""
    return not (static.tail and study.objective.metric == "time_general" and _always_general(static))


def should_add_pairs(study: Study, finalists: Sequence[Arm], static: Arm, compared: int) -> int:
    """Return how many pairs more static and the finalists shall have: 5 where it is close and can still be decided, else 0.

    Close is the best finalist against static, or against the second best, when zero cannot be ruled out and neither can a
    difference that matters. It stops when the last look would hardly decide it or find it narrow, and below 10 pairs,
    where nothing can be claimed. `compared` is how many finalists the intervals are corrected for. Since the looks are
    fixed beforehand, and each has its part of the 5 %, stopping at any of them is fair.
    """
    search, metric = study.search, study.objective.metric
    ranked = sorted(finalists, key=lambda arm: -arm.mean(metric))
    best = leader(study, finalists, static)
    rivals = [static, *(arm for arm in ranked if arm.name != best.name)][:2]
    pairs = min(len(arm.scores) for arm in (best, *rivals))
    if search.finalist_seeds < LEAST_PAIRS or pairs + STEP > looks(search.finalist_seeds, search.most_seeds)[-1]:
        return 0
    bound = narrow(metric, static)
    return STEP if any(_is_open(study, best, rival, compared, bound) for rival in rivals) else 0


def _is_open(study: Study, best: Arm, rival: Arm, comparisons: int, bound: float) -> bool:
    """Say whether more pairs could still tell two arms apart, or show that they are equal: within `bound` of each other."""
    metric = study.objective.metric
    gain = paired_gain(study, best, rival, metric, comparisons)
    if not gain.holds_zero() or gain.within(bound) or gain.high <= bound:
        return False
    differences, last = paired_differences(best, rival, metric), study.search.most_seeds
    confidence = confidence_of(study, last, comparisons)
    half = (gain.high - gain.low) / 2 * np.sqrt(len(differences) / last)
    return power(differences, last, confidence) >= _LEAST_POWER or abs(gain.mean) + half <= bound


def judge(
    study: Study,
    arm: Arm,
    static: Arm,
    comparisons: int,
    *,
    finalists: Sequence[Arm] = (),
    controls: Sequence[Arm] = (),
) -> Verdict:
    """Return the verdict on the leading finalist.

    `arm.tail` and `static.tail` hold the runs with the common tail, `scheduled` those under the full run's schedule. Among the
    other `finalists` and the `controls` a simpler one may be as good; the finalists say how much the choice flatters.
    """
    metric = study.objective.metric
    differences = paired_differences(arm, static, metric)
    confidence = confidence_of(study, len(differences), comparisons)
    gain = claim_interval(differences, confidence)
    lasting = tail_gain(arm, static, metric, comparisons) if arm.tail and static.tail else None
    scheduled = scheduled_gain(arm, static, metric, comparisons) if arm.scheduled and static.scheduled else None
    broken = broken_constraints(study, arm, static)
    verdict = Verdict(
        kind=_kind(gain, lasting, scheduled, broken, pairs=len(differences), bound=narrow(metric, static)),
        arm=arm.name,
        gain=gain,
        tail_gain=lasting,
        broken=broken,
        words="",
        scheduled_gain=scheduled,
        confidence=confidence,
        shrunken=shrunken_gain(arm, static, metric, finalists),
        simplest=simplest_equal(study, arm, static, [*finalists, *controls]).name,
        more_pairs=pairs_needed(differences, confidence=confidence, least=LEAST_PAIRS),
    )
    return replace(verdict, words=_words(study, verdict, arm, static))


def shrunken_gain(arm: Arm, static: Arm, metric: str, finalists: Sequence[Arm]) -> float:
    """Return the arm's mean gain over static, shrunk towards the mean of all finalists (see `shrunken_means`).

    Never enlarged: a leader with a lower mean than a finalist that breaks a constraint was not chosen for its luck.
    """
    others = [other for other in finalists if other.name != arm.name]
    pairs = min(len(other.scores) for other in (arm, static, *others))
    table = np.asarray([[score.metric(metric) for score in other.scores[:pairs]] for other in (arm, *others)])
    base = float(np.mean([score.metric(metric) for score in static.scores[:pairs]]))
    return min(float(shrunken_means(table)[0]), float(table[0].mean())) - base


def simplest_equal(study: Study, arm: Arm, static: Arm, others: Sequence[Arm]) -> Arm:
    """Return the simplest of `arm` and what equals it: static if it does, else the arm of the fewest phases.

    Equal means an interval of the difference `narrow` around zero, uncorrected: what is asked is whether they are equal.
    Arms that break a constraint are left out. Equally simple ones: the better mean.
    """
    metric = study.objective.metric
    bound = narrow(metric, static)

    def equals(other: Arm) -> bool:
        difference = claim_interval(paired_differences(arm, other, metric))
        return difference.within(bound) and not broken_constraints(study, other, static)

    if equals(static):
        return static
    equal = [other for other in others if other.name not in (arm.name, static.name) and equals(other)]
    return min([arm, *equal], key=lambda other: (other.phases, -other.mean(metric)))


def _kind(
    gain: Interval,
    lasting: Interval | None,
    scheduled: Interval | None,
    broken: Sequence[str],
    *,
    pairs: int,
    bound: float,
) -> Kind:
    if gain.low <= 0:
        return "tie" if gain.holds_zero() and gain.within(bound) else "none"
    if broken or pairs < LEAST_PAIRS:
        return "none"
    if scheduled is not None and scheduled.low <= 0:
        return "tie" if scheduled.holds_zero() and scheduled.within(bound) else "none"
    return "transient" if lasting is not None and lasting.low <= 0 else "winner"


def _words(study: Study, verdict: Verdict, arm: Arm, static: Arm) -> str:
    compared = _compared(study, verdict, arm, static)
    scheduled = _scheduled_words(study, verdict)
    if verdict.kind == "tie" and verdict.gain.low > 0:
        return f"Tie: {arm.name} has {compared}, but {scheduled} nothing is left of it. Take static: it is simpler."
    if verdict.kind == "tie":
        return f"Tie: {arm.name} cannot be told from the static mix ({compared}). Take static: it is simpler."
    if verdict.kind == "none":
        return _none_words(verdict, arm, compared, scheduled)
    simpler = "" if verdict.simplest == arm.name else f" As good, and simpler: {verdict.simplest}."
    if verdict.kind == "transient":
        return f"Transient: {arm.name} has {compared}, but {_gone_words(study, verdict, arm, static)}.{simpler}"
    holds = f", leads {scheduled}" if scheduled else ""
    lasts = "" if verdict.tail_gain is None else f", and leads within the common tail by {verdict.tail_gain}"
    return f"Winner: {arm.name} has {compared}, breaks no constraint{holds}{lasts}.{_unasked(verdict)}{simpler}"


def _unasked(verdict: Verdict) -> str:
    """Return what of a winner nobody knows, since the study did not ask."""
    tail = " Whether that lasts was not asked: the study has no common tail." if verdict.tail_gain is None else ""
    if verdict.scheduled_gain is not None:
        return tail
    return (
        f"{tail} Whether it holds under the full run's learning-rate schedule was not asked: the study has no target_schedule."
    )


def _gone_words(study: Study, verdict: Verdict, arm: Arm, static: Arm) -> str:
    """Return what became of a lead: gone, or nowhere to be seen since both stay general from there on."""
    if study.objective.metric == "time_general" and _always_general(arm) and _always_general(static):
        return f"within the common tail both stay general, so that no lead is left there ({verdict.tail_gain})"
    return f"within the common tail its lead is gone ({verdict.tail_gain})"


def _always_general(arm: Arm) -> bool:
    return all(score.tail.time_general == 1 for score in arm.tail)


def _none_words(verdict: Verdict, arm: Arm, compared: str, scheduled: str) -> str:
    if verdict.gain.low <= 0:
        pairs = "1 pair" if verdict.more_pairs == 1 else f"{verdict.more_pairs} pairs"
        more = f"; about {pairs} more might decide it" if verdict.more_pairs and verdict.gain.mean > 0 else ""
        return f"No curriculum beat the static mix: the best, {arm.name}, has {compared}{more}."
    if verdict.broken:
        return f"No curriculum is claimed: {arm.name} has {compared}, but {'; '.join(verdict.broken)}."
    if len(arm.scores) < LEAST_PAIRS:
        return f"No curriculum is claimed: {arm.name} has {compared}; a claim needs at least {LEAST_PAIRS} seeds."
    flips = verdict.scheduled_gain is not None and verdict.scheduled_gain.mean <= 0
    flipped = "its rank flips" if flips else "its lead is not shown"
    return f"No curriculum is claimed: {arm.name} has {compared}, but {flipped} {scheduled}."


def _compared(study: Study, verdict: Verdict, arm: Arm, static: Arm) -> str:
    metric, pairs = study.objective.metric, min(len(arm.scores), len(static.scores))
    reached, base = (float(np.mean([score.shown(metric) for score in of.scores])) for of in (arm, static))
    final = mean_interval(paired_differences(arm, static, "final_margin"))
    ratios = "at equal exposure" if study.exposure == "fixed" else "at ratios of its own"
    return (
        f"{metric} {reached:.3f} against static's {base:.3f} {ratios}, gain {verdict.gain} over {pairs} fresh seeds "
        f"(the wider of t and sign-flip intervals at {verdict.confidence:.1%}, {verdict.shrunken:+.3f} after shrinkage; "
        f"final margin {final})"
    )


def _scheduled_words(study: Study, verdict: Verdict) -> str:
    if verdict.scheduled_gain is None:
        return ""
    return f"under the full run's {study.objective.target_schedule} schedule ({verdict.scheduled_gain})"
