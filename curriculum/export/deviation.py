"""How far a target's stages stray from the plan, per stream and phase.

Idea: both are compared as curves. What each stream has given since the run began is exact on our side
(`plan.counts`) and piecewise linear in expectation on theirs, so the largest difference is looked for at phase ends,
stage ends and some points between; momentary shares are linear on our side and constant on theirs, so their largest
difference lies at the ends of a stage. They are shares of a batch: where a stage is cut two samples off a phase's end, the
batch there differs by two samples, not by all that sets the phases apart. Alternatives: totals alone, under which a ramp
and its mean look alike. The price: between the points looked at, a rounding of one sample can hide.

What is random is said apart, as a standard deviation: `drawn`, where every sample's stream is drawn anew (variance
n p (1 - p)), `dealt`, where a deck of known counts is shuffled (only a deck cut by a phase end varies: hypergeometric).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from math import sqrt
from typing import Literal

from curriculum.export.staircase import Stage
from curriculum.export.target import Deviation, Request
from curriculum.mix import Mix, Phase
from curriculum.plan import Plan
from curriculum.plan.schedule import proportions

Randomness = Literal["none", "drawn", "dealt"]
Counts = Callable[[int], Mapping[str, int]]  # what each stream gave before a position
_POINTS = 8  # looked at between two ends


def deviations(
    request: Request, stages: Sequence[Stage], *, randomness: Randomness = "none", deck: int | None = None
) -> tuple[Deviation, ...]:
    """Compare `stages` with the request's plan; `deck` is how many samples are shuffled together (None: a stage)."""
    points = {number: _points(stages, start, stop) for number, start, stop, _ in _phases(request.plan)}
    ours: Counts = lru_cache(maxsize=None)(lambda point: request.plan.counts(0, point))
    return tuple(
        Deviation(
            phase=number,
            stream=name,
            planned=planned[name],
            expected=_given(stages, name, start, stop),
            samples=_largest_lag(ours, stages, name, points[number]),
            share=_largest_share(request, number, stages, name, start, stop),
            spread=sqrt(_variance(stages, name, start, stop, randomness, deck)),
        )
        for number, start, stop, planned in _phases(request.plan)
        for name in request.mix.streams
    )


def exact(request: Request) -> tuple[Deviation, ...]:
    """Return the deviations of a target that plays the plan itself: none."""
    return tuple(
        Deviation(
            phase=number, stream=name, planned=planned[name], expected=float(planned[name]), samples=0.0, share=0.0, spread=0.0
        )
        for number, _, _, planned in _phases(request.plan)
        for name in request.mix.streams
    )


def largest(found: Sequence[Deviation]) -> str:
    """Return the largest deviation in words."""
    most = max(found, key=lambda each: each.samples)
    share = max(found, key=lambda each: each.share)
    return (
        f"at most {most.samples:,.1f} samples ({most.stream!r}, phase {most.phase}) and "
        f"{100 * share.share:.2g} % of the batch ({share.stream!r}, phase {share.phase})"
    )


def _phases(plan: Plan) -> list[tuple[int, int, int, dict[str, int]]]:
    """Return number, start, stop and counts of every phase."""
    ends = plan.phase_ends
    bounds = zip((0, *ends[:-1]), ends, strict=True)
    return [(number, start, stop, plan.counts(start, stop)) for number, (start, stop) in enumerate(bounds, start=1)]


def _given(stages: Sequence[Stage], name: str, start: int, stop: int) -> float:
    """Return what the stages are expected to give between two positions."""
    total = 0.0
    for stage in stages:
        inside = min(stage.stop, stop) - max(stage.start, start)
        if inside > 0:
            total += stage.amounts[name] * (inside / stage.samples)
    return total


def _points(stages: Sequence[Stage], start: int, stop: int) -> list[int]:
    ends = {start, stop} | {end for stage in stages for end in (stage.start, stage.stop) if start < end < stop}
    ordered = sorted(ends)
    between = [low + (high - low) * step // _POINTS for low, high in pairwise(ordered) for step in range(1, _POINTS)]
    return sorted({*ordered, *between})


def _largest_lag(ours: Counts, stages: Sequence[Stage], name: str, points: Sequence[int]) -> float:
    return max(abs(ours(point)[name] - _given(stages, name, 0, point)) for point in points)


def _largest_share(request: Request, number: int, stages: Sequence[Stage], name: str, start: int, stop: int) -> float:
    found, phase = 0.0, request.mix.phases[number - 1]
    for stage in stages:
        low, high = max(stage.start, start), min(stage.stop, stop)
        if low >= high:
            continue
        theirs = stage.amounts[name] / stage.samples
        part = min(1.0, (high - low) / (request.batch_size or 1))
        for position in (low, high):
            ours = sample_shares(request.mix, phase, Fraction(position - start, stop - start))[name]
            found = max(found, abs(ours - theirs) * part)
    return found


def sample_shares(mix: Mix, phase: Phase, progress: Fraction) -> dict[str, float]:
    """Return each stream's share of samples at `progress` (0 to 1) of a phase; under unit: tokens, of its nominal length."""
    first, last = proportions(phase.weights), proportions(phase.to or phase.weights)
    tokens = [stream.tokens_per_sample or 1 if mix.unit == "tokens" else 1 for stream in mix.streams.values()]
    amounts = [(begin + (end - begin) * progress) / each for begin, end, each in zip(first, last, tokens, strict=True)]
    return {name: float(amount / sum(amounts)) for name, amount in zip(mix.streams, amounts, strict=True)}


def _variance(stages: Sequence[Stage], name: str, start: int, stop: int, randomness: Randomness, deck: int | None) -> float:
    total = 0.0
    for stage in stages:
        low, high = max(stage.start, start), min(stage.stop, stop)
        if randomness == "none" or low >= high:
            continue
        share = min(stage.amounts[name] / stage.samples, 1.0)
        if randomness == "drawn":
            total += (high - low) * share * (1 - share)
        else:
            total += share * (1 - share) * _dealt(stage, low, high, deck or stage.samples)
    return total


def _dealt(stage: Stage, low: int, high: int, deck: int) -> float:
    """Return the number of samples that vary like independent draws: those of decks that `low` and `high` cut."""
    cut: dict[int, int] = {}
    for position in (low, high):
        number, inside = divmod(position - stage.start, deck)
        if inside:
            cut[number] = abs(inside - cut.get(number, 0))
    return sum(part * (deck - part) / max(deck - 1, 1) for part in cut.values())
