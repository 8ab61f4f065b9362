"""What a finished search leaves: the document that `--json` prints, and the winner's mix with its provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

from curriculum import __version__
from curriculum.errors import RunError
from curriculum.mix import Mix
from curriculum.proxy.run import RunRequest
from curriculum.search.objective import Score, as_json
from curriculum.search.proposals import Proposal
from curriculum.search.study import HAND_MADE, Study
from curriculum.search.verdict import Arm, Verdict, arm_as_json, mean_interval, paired_gain

_BEST_TRIALS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A proposal with its score (None: its run failed) and its run (None: the data cannot play it)."""

    proposal: Proposal
    request: RunRequest | None
    score: Score | None
    value: float
    excess: float


def describe(
    study: Study, verdict: Verdict, arms: Mapping[str, Arm], names: Sequence[str], trials: Sequence[Trial]
) -> dict[str, Any]:
    """Return the search as JSON; `names` are the finalists among the `arms`."""
    static, first, metric = arms["static"], arms[verdict.arm], study.objective.metric
    best = max((arms[name] for name in HAND_MADE if name in arms), key=lambda arm: arm.mean(metric), default=None)
    return {
        "verdict": verdict.kind,
        "words": verdict.words,
        "mix": None,
        "winner": verdict.arm if verdict.kind in ("winner", "transient") else None,
        "leader": verdict.arm,
        "gain_over_static": verdict.gain.as_json(),
        "gain_in_tail": None if verdict.tail_gain is None else verdict.tail_gain.as_json(),
        "final_margin_over_static": paired_gain(first, static, "final_margin").as_json(),
        "broken_constraints": list(verdict.broken),
        "best_hand_made": None if best is None else best.name,
        "gain_over_best_hand_made": None if best is None else paired_gain(first, best, metric, len(names)).as_json(),
        "finalists": [arm_as_json(arms[name], static, metric, len(names)) for name in names],
        "controls": [arm_as_json(arm, static, metric, len(names)) for name, arm in arms.items() if name not in names],
        "trials": len(trials),
        "failed": sum(trial.score is None for trial in trials),
        "best_trials": [
            {"trial": trial.proposal.number, "name": trial.proposal.name, "value": trial.value, **as_json(trial.score)}
            for trial in sorted(trials, key=lambda trial: -trial.value)[:_BEST_TRIALS]
            if trial.score is not None
        ],
    }


def winning_mix(
    study: Study, trial: Trial, verdict: Verdict, arms: Mapping[str, Arm], *, seeds: Sequence[int], created: str
) -> Mix:
    """Return the winner's mix under the study's name; its provenance says how it was found and proven."""
    if trial.request is None:
        raise RunError(f"trial {trial.proposal.number} has no run, so it cannot have won")
    metric = study.objective.metric
    values = {name: mean_interval([score.metric(metric) for score in arms[name].scores]) for name in (verdict.arm, "static")}
    provenance = {
        "study": study.name,
        "trial": trial.proposal.number,
        "seeds": list(seeds),
        "verdict": verdict.kind,
        "score": {metric: values[verdict.arm].as_json(), "gain": verdict.gain.as_json()},
        "control": {"name": "static", metric: values["static"].as_json()},
        "gain_in_tail": None if verdict.tail_gain is None else verdict.tail_gain.as_json(),
        "created": created,
        "versions": {"curriculum": __version__, "torch": version("torch"), "optuna": version("optuna")},
    }
    return replace(trial.request.mix, name=study.name, provenance=provenance)
