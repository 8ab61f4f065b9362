"""From a run to what it is judged by: measures, constraints, and the number the sampler sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from curriculum.probe import RunMeasures
from curriculum.proxy.run import RunResult
from curriculum.search.study import Study

_LOSS_SLACK = 0.05  # nats: a stream's loss may exceed static's by this, or by two standard deviations of static


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One run's measures after the burn-in, its measures over the last part alone, and its held-out losses."""

    measures: RunMeasures
    tail: RunMeasures
    loss: Mapping[str, float]

    def metric(self, name: str) -> float:
        """Return one measure by name."""
        return float(getattr(self.measures, name))


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """What static reached over several seeds: the constraints of every trial."""

    final_margin: float
    final_margin_sd: float
    loss_limit: Mapping[str, float]


def score_run(study: Study, result: RunResult) -> Score:
    """Measure a run as the study's objective says."""
    weights = {probe.family: probe.weight for probe in study.probes}
    start = ceil(study.objective.burn_in * result.samples)
    tail = ceil((1 - study.objective.common_tail) * result.samples)
    return Score(
        measures=result.trajectory.measures(start=start, stop=result.samples, weights=weights),
        tail=result.trajectory.measures(start=min(tail, result.samples - 1), stop=result.samples, weights=weights),
        loss=result.final_loss(),
    )


def reference_of(scores: Sequence[Score]) -> Reference:
    """Return the constraints that static's runs set: loss up to static's + max(.05, 2 sd) per stream."""
    finals = [score.measures.final_margin for score in scores]
    limits = {}
    for stream in scores[0].loss:
        losses = [score.loss[stream] for score in scores]
        limits[stream] = float(np.mean(losses) + max(_LOSS_SLACK, 2 * float(np.std(losses, ddof=1))))
    return Reference(final_margin=float(np.mean(finals)), final_margin_sd=float(np.std(finals, ddof=1)), loss_limit=limits)


def search_value(study: Study, score: Score) -> float:
    """Return what the sampler maximises.

    time_general ties most losers at the same value while the mean margin still separates them (76 % of pairs against
    65 %), so the sampler sees the mean of both; any other metric is seen as it is.
    """
    metric = score.metric(study.objective.metric)
    return (metric + score.measures.area) / 2 if study.objective.metric == "time_general" else metric


def violations(study: Study, score: Score, reference: Reference, *, slack: float = 1.0) -> dict[str, float]:
    """Return how far each constraint is overstepped by one run; at most 0 is feasible.

    One run is noisy, so its final margin is given `slack` standard deviations of static's; means are given none.
    """
    found = {}
    if "final_margin" in study.objective.subject_to:
        found["final_margin"] = reference.final_margin - slack * reference.final_margin_sd - score.measures.final_margin
    if "loss" in study.objective.subject_to:
        found |= {f"loss_{name}": score.loss[name] - limit for name, limit in reference.loss_limit.items()}
    return found


def as_json(score: Score) -> dict[str, Any]:
    """Return a score as JSON."""
    names = ("time_general", "area", "final_margin", "longest_stay", "hops", "worst_probe")
    return {name: round(score.metric(name), 6) for name in names} | {
        "loss": {name: round(loss, 6) for name, loss in score.loss.items()}
    }
