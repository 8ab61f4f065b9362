"""From a run to what it is judged by: measures, constraints, and the number the sampler sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from curriculum.probe import RunMeasures
from curriculum.proxy.run import RunResult
from curriculum.proxy.stopping import prefix_value
from curriculum.search.study import LESS_IS_BETTER, Study

_BITS_SLACK = 0.02  # bits a byte, likewise
MARGIN_SLACK = 0.05  # final margins within this count as equal, as in a verdict; a single run is allowed a standard deviation
_LOSS_SLACK = 0.05  # nats: a stream's loss may exceed static's by this, or by two standard deviations of static


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One run's measures after the burn-in, over the last part alone, its held-out losses and bits per byte at the end."""

    measures: RunMeasures
    tail: RunMeasures
    loss: Mapping[str, float]
    bits: Mapping[str, float]

    def metric(self, name: str) -> float:
        """Return one measure by name, more being better: of bits per byte and loss, minus the mean over suites and streams."""
        if name in LESS_IS_BETTER:
            values = list((self.loss if name == "loss" else self.bits).values())
            return -float(np.mean(values)) if values else float("nan")
        return float(getattr(self.measures, name))

    def shown(self, name: str) -> float:
        """Return one measure by name as people read it: bits per byte and losses are positive."""
        return -self.metric(name) if name in LESS_IS_BETTER else self.metric(name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """What static reached over several seeds: the constraints of every trial."""

    final_margin: float
    final_margin_sd: float
    loss_limit: Mapping[str, float]
    bits_limit: Mapping[str, float]


def score_run(study: Study, result: RunResult) -> Score:
    """Measure a run as the study's objective says. Raises ValueError for a run that was stopped: its end was not seen."""
    if result.stopped is not None:
        raise ValueError(f"{result.folder} was stopped after {result.stopped:,} samples; only whole runs are judged")
    weights = {probe.family: probe.weight for probe in study.probes}
    start = ceil(study.objective.burn_in * result.samples)
    tail = ceil((1 - study.objective.common_tail) * result.samples)
    return Score(
        measures=result.trajectory.measures(start=start, stop=result.samples, weights=weights),
        tail=result.trajectory.measures(start=min(tail, result.samples - 1), stop=result.samples, weights=weights),
        loss=result.final_loss(),
        bits=result.final_bits(),
    )


def reference_of(scores: Sequence[Score]) -> Reference:
    """Return the constraints that static's runs set: losses up to static's + max(.05, 2 sd), bits per byte + max(.02, 2 sd)."""
    finals = [score.measures.final_margin for score in scores]
    return Reference(
        final_margin=float(np.mean(finals)),
        final_margin_sd=float(np.std(finals, ddof=1)),
        loss_limit=_limits([score.loss for score in scores], _LOSS_SLACK),
        bits_limit=_limits([score.bits for score in scores], _BITS_SLACK),
    )


def _limits(of_runs: Sequence[Mapping[str, float]], slack: float) -> dict[str, float]:
    limits = {}
    for name in of_runs[0]:
        values = [run[name] for run in of_runs]
        limits[name] = float(np.mean(values) + max(slack, 2 * float(np.std(values, ddof=1))))
    return limits


def search_value(study: Study, score: Score) -> float:
    """Return what the sampler maximises: the metric, of time_general and area the mean (see `prefix_value`)."""
    metric = study.objective.metric
    return score.metric(metric) if metric in LESS_IS_BETTER else prefix_value(score.measures, metric)


def unmeasured(score: Score, reference: Reference) -> tuple[str, ...]:
    """Return the streams and suites of which static's runs have a loss or bits per byte, and this run has none."""
    missing = [*(reference.loss_limit.keys() - score.loss.keys()), *(reference.bits_limit.keys() - score.bits.keys())]
    return tuple(sorted(missing))


def unmeasured_words(run: str, missing: Sequence[str]) -> str:
    """Return what to say of a run that cannot be judged, since something was not measured."""
    return f"run {run} counts as failed: static's runs have a loss (or bits per byte) of {', '.join(missing)}, and it has none"


def violations(study: Study, score: Score, reference: Reference, *, slack: float = 1.0) -> dict[str, float]:
    """Return how far each constraint is overstepped by one run; at most 0 is feasible.

    Final margins within .05 count as equal. One run is noisy, so it is given `slack` standard deviations of static's if
    that is more; of a mean, say 0. Without any slack static itself would break the constraint every other time, and the
    search would be led away from everything that is merely as good.
    """
    found = {}
    if "final_margin" in study.objective.subject_to:
        allowed = max(MARGIN_SLACK, slack * reference.final_margin_sd)
        found["final_margin"] = reference.final_margin - allowed - score.measures.final_margin
    if "loss" in study.objective.subject_to:
        found |= {f"loss_{name}": score.loss[name] - limit for name, limit in reference.loss_limit.items()}
    if "bits_per_byte" in study.objective.subject_to:
        found |= {f"bits_{name}": score.bits[name] - limit for name, limit in reference.bits_limit.items()}
    return found


def as_json(score: Score) -> dict[str, Any]:
    """Return a score as JSON."""
    names = ("time_general", "area", "final_margin", "longest_stay", "hops", "worst_probe")
    return {name: round(score.metric(name), 6) for name in names} | {
        "loss": {name: round(loss, 6) for name, loss in score.loss.items()},
        "bits_per_byte": {name: round(bits, 6) for name, bits in score.bits.items()},
    }
