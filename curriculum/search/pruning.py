"""Stopping hopeless trials early, by a true prefix only.

Idea: a trial plays its own schedule at its own learning rate, and is stopped where the first part of it is worse than that of
three quarters of its elders (a schedule squeezed into fewer steps foretells nothing: rank correlation -.24). What a trial
is compared with is known when it begins: the trials that were told by then, so its limits travel with the run, and neither
the number of workers nor the order of finishing changes anything. Never before a quarter of the run, which says little;
and at least half of all trials are let through to the end.

Elders that were stopped stay in the comparison, below all that go on: otherwise each stop would raise the bar for the next,
until hardly anything passes. A stopped trial is told with the value that its prefix foretells, not dropped: that it
is bad is known.

Alternatives: stopping below the median, or successive halving, cheaper but with more regret; the measured choice stands in
`benchmarks/pruning.md`. Off by default, and refused where the end of the run is the objective, which prefixes do not foretell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from curriculum.probe import Trajectory
from curriculum.proxy.stopping import StopRule, prefix_value
from curriculum.search.statistics import FloatArray
from curriculum.search.study import Study

WARM_UP = 0.25  # share of the run before which nothing is stopped
LEAST_ELDERS = 8  # with fewer, the lowest quarter is one or two trials
_LOWEST = 0.25
_MOST_STOPPED = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Elder:
    """A trial that was told: its prefix values by position (up to where it was stopped), its value, whether it was stopped.

    `value` is None for one that failed; such a trial is compared with no one.
    """

    prefix: Mapping[int, float]
    value: float | None
    was_stopped: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """At `position` (samples) a run ends whose prefix value is below `least`."""

    position: int
    least: float


def prefix_values(study: Study, trajectory: Trajectory, samples: int) -> dict[int, float]:
    """Return what the sampler would see of every prefix of a run, by the position where it ends, in samples.

    A prefix begins where the burn-in ends, as the whole run's value does: with what comes before, it foretells less (rank
    correlation at a quarter of the run .4 against .6). `trajectory` may be that of an unfinished run of `samples` samples.
    """
    weights = {probe.family: probe.weight for probe in study.probes}
    start = ceil(study.objective.burn_in * samples)
    positions = sorted({int(position) for position in trajectory.table["position"] if position > start})
    found = {}
    for position in positions:
        measures = trajectory.measures(start=start, stop=position, weights=weights)
        found[position] = prefix_value(measures, study.objective.metric)
    return found


def stop_rule(study: Study, bounds: Sequence[Limit]) -> StopRule:
    """Return the limits in the form in which they travel with a run."""
    return StopRule(
        limits=tuple((bound.position, bound.least) for bound in bounds),
        metric=study.objective.metric,
        start=ceil(study.objective.burn_in * study.samples),
        weights={probe.family: probe.weight for probe in study.probes},
    )


def elders_of(number: int, ahead: int) -> range:
    """Return the trials that trial `number` may be compared with: those told when it was proposed."""
    return range(max(0, number - ahead + 1))


def _least(elders: Sequence[float | None]) -> float | None:
    """Return the value below which a trial is stopped: the lowest quarter's upper end, the stopped counting as lowest.

    `elders` holds a prefix value for each elder that reached the position, None for each that was stopped before it. None with
    fewer than eight elders, or when a quarter of them were stopped already.
    """
    going = sorted(value for value in elders if value is not None)
    stopped = len(elders) - len(going)
    if len(elders) < LEAST_ELDERS:
        return None
    rank = ceil(_LOWEST * len(elders)) - stopped
    return None if rank < 1 else going[rank - 1]


def limits(elders: Sequence[Elder], positions: Sequence[int], samples: int) -> tuple[Limit, ...]:
    """Return where a run of `samples` samples, read at `positions`, would be stopped; nothing while elders are few.

    Elders stopped by then are counted at every later position, and if half of all were stopped, nothing is any more.
    """
    alive = [elder for elder in elders if elder.value is not None]
    if sum(elder.was_stopped for elder in alive) >= _MOST_STOPPED * max(1, len(alive)):
        return ()
    found = []
    for position in sorted(positions):
        least = _least([elder.prefix.get(position) for elder in alive])
        if WARM_UP * samples <= position < samples and least is not None:
            found.append(Limit(position=position, least=least))
    return tuple(found)


def foretold(prefix: float, position: int, elders: Sequence[Elder]) -> float | None:
    """Return the value a stopped trial is told with: regressed on the whole trials' prefixes at the same position.

    It is never better than their median, whatever the line says. None with fewer than three of them.
    """
    whole = [elder for elder in elders if elder.value is not None and not elder.was_stopped and position in elder.prefix]
    if len(whole) < 3:
        return None
    first: FloatArray = np.asarray([elder.prefix[position] for elder in whole])
    last: FloatArray = np.asarray([elder.value for elder in whole], dtype=np.float64)
    spread = float(((first - first.mean()) ** 2).sum())
    slope = max(0.0, float(((first - first.mean()) * (last - last.mean())).sum()) / spread) if spread > 0 else 0.0
    return min(float(np.median(last)), float(last.mean()) + slope * (prefix - float(first.mean())))
