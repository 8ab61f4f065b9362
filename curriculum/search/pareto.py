"""Studies of two objectives: general for as long as possible, at as little loss as possible.

Idea: `objective: {metric: time_general, pareto: loss}` asks for the trade-off and not for one point of it. Proposers know one
number a trial, so trial n sees all its elders through weights of its own, keyed by n (ParEGO: Knowles 2006, "ParEGO: a hybrid
algorithm with on-line landscape approximation"): another n, another direction, and over a study the whole front. The
augmented Tchebycheff form also reaches the concave parts of a front, which no weighted sum does. Candidates are the points
that add most to the hypervolume; after repeats on fresh seeds the front is given with intervals.

Alternatives: a sampler of several objectives (Optuna's TPE and GP have one each, but then no peer and no surrogate of ours
could be compared with them), or a constraint on the loss (the default study: one point of the front). The price: a proposal
serves one direction, so that each part of the front gets a share of the budget.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curriculum.search.objective import Score
from curriculum.search.proposer import Evidence
from curriculum.search.statistics import FloatArray, claim_interval, mean_interval
from curriculum.search.study import Study
from curriculum.search.verdict import Arm, confidence_of, paired_differences
from curriculum.units import keyed_seed

_AUGMENTED = 0.05  # Knowles's rho: between points equal in the worst objective, the sum decides


def objectives(study: Study, score: Score) -> tuple[float, float]:
    """Return what a Pareto study maximises: its metric, and minus the mean held-out loss over streams, in nats."""
    return score.metric(study.objective.metric), score.metric("loss")


def non_dominated(points: FloatArray) -> NDArray[np.bool_]:
    """Return which points, shape (points, objectives), no other beats: as good in all objectives and better in one."""
    better = (points[:, None] >= points[None]).all(axis=2) & (points[:, None] > points[None]).any(axis=2)
    found: NDArray[np.bool_] = ~better.any(axis=0)
    return found


def hypervolume(points: FloatArray, reference: Sequence[float]) -> float:
    """Return the area that points, shape (points, 2), dominate above a reference point; points below it count for nothing."""
    above = points[(points > np.asarray(reference)).all(axis=1)]
    area, height = 0.0, float(reference[1])
    for first, second in sorted(above.tolist(), reverse=True):
        area += max(0.0, second - height) * (first - reference[0])
        height = max(height, second)
    return area


def scalarised(points: FloatArray, number: int, *, seed: int) -> FloatArray:
    """Return one value, to be maximised, per known trial, as trial `number` shall see them; shape (trials,).

    `points`, shape (trials, objectives), are to be maximised too; each objective is scaled by the range seen so far.
    """
    best, worst = points.max(axis=0), points.min(axis=0)
    lacking = (best - points) / np.where(best > worst, best - worst, 1.0)
    weights = np.random.default_rng(keyed_seed("pareto weights", seed, number)).dirichlet(np.ones(points.shape[1]))
    found: FloatArray = -((lacking * weights).max(axis=1) + _AUGMENTED * (lacking @ weights))
    return found


def seen_by(
    number: int, evidence: Sequence[Evidence], values: Mapping[int, tuple[float, float]], *, seed: int
) -> list[Evidence]:
    """Return the evidence as trial `number` shall see it: each value scalarised with the weights of that trial.

    `values` holds the objectives of trials by number; of these, only trials that have a value in the evidence are known.
    """
    known = [trial.number for trial in evidence if trial.value is not None]
    if not known:
        return list(evidence)
    found = scalarised(np.asarray([values[trial] for trial in known]), number, seed=seed)
    of_trial = dict(zip(known, found.tolist(), strict=True))
    return [replace(trial, value=of_trial.get(trial.number)) for trial in evidence]


def front_candidates(points: FloatArray, count: int) -> list[int]:
    """Return up to `count` points of the front, greedily those that add most hypervolume; a tie goes to the elder.

    The reference lies a tenth of the range below the worst point of the front, so that both its ends count.
    """
    front = np.flatnonzero(non_dominated(points))
    best, worst = points[front].max(axis=0), points[front].min(axis=0)
    reference = worst - np.where(best > worst, 0.1 * (best - worst), 1.0)
    chosen: list[int] = []
    while len(chosen) < min(count, len(front)):
        rest = [int(index) for index in front if index not in chosen]
        chosen.append(max(rest, key=lambda index: hypervolume(points[[*chosen, index]], reference.tolist())))
    return chosen


def describe_front(study: Study, arms: Mapping[str, Arm], names: Sequence[str], compared: int) -> list[dict[str, Any]]:
    """Return the front as `search --json` holds it: finalists `names` and static, those that no other beats on both means.

    Intervals of the means are Student's, at 95 % each; differences from static are corrected for two objectives and for the
    `compared` finalists that there were, those of earlier proofs included. `dominates_static`
    says whether one is shown to be better, while the other is not shown to be worse.
    """
    candidates = list(dict.fromkeys(["static", *names]))
    points = np.asarray([_means(study, arms[name]) for name in candidates])
    front = [candidates[index] for index in np.flatnonzero(non_dominated(points))]
    return [_front_point(study, arms[name], arms["static"], compared) for name in sorted(front)]


def _means(study: Study, arm: Arm) -> tuple[float, float]:
    first, second = np.mean([objectives(study, score) for score in arm.scores], axis=0)
    return float(first), float(second)


def _front_point(study: Study, arm: Arm, static: Arm, comparisons: int) -> dict[str, Any]:
    metric = study.objective.metric
    confidence = confidence_of(study, len(arm.scores), 2 * comparisons)
    gain = claim_interval(paired_differences(arm, static, metric), confidence)
    saved = claim_interval(paired_differences(arm, static, "loss"), confidence)
    return {
        "name": arm.name,
        "pairs": len(arm.scores),
        metric: mean_interval([score.shown(metric) for score in arm.scores]).as_json(),
        "mean_loss": mean_interval([score.shown("loss") for score in arm.scores]).as_json(),
        "gain_over_static": gain.as_json(),
        "loss_saved_over_static": saved.as_json(),
        "dominates_static": max(gain.low, saved.low) > 0 and min(gain.high, saved.high) >= 0,
    }


def front_words(front: Sequence[Mapping[str, Any]]) -> str:
    """Return the front in a sentence."""
    better = [str(point["name"]) for point in front if point["dominates_static"]]
    found = f"Front of {len(front)}: {', '.join(str(point['name']) for point in front)}."
    return f"{found} Shown better than static on one objective and not worse on the other: {', '.join(better) or 'none'}."
