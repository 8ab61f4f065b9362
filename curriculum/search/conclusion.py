"""What a finished search leaves: the document that `--json` prints, and the winner's mix with its provenance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from curriculum import __version__
from curriculum.errors import CurriculumError, RunError, UserError
from curriculum.mix import Mix
from curriculum.proxy.run import RunRequest, load_run
from curriculum.search.objective import Score, as_json
from curriculum.search.pareto import describe_front, front_words
from curriculum.search.proposals import Proposal
from curriculum.search.statistics import mean_interval
from curriculum.search.study import HAND_MADE, Study
from curriculum.search.target import without_target
from curriculum.search.verdict import (
    Arm,
    Verdict,
    confidence_of,
    narrow,
    paired_differences,
    paired_gain,
    scheduled_gain,
)

_BEST_TRIALS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A proposal with its score (None: its run failed or was stopped, or it was never tried) and its run.

    `request` is None where the data cannot play it; `stopped` is where its run was ended early, in samples.
    """

    proposal: Proposal
    request: RunRequest | None
    score: Score | None
    value: float
    excess: float
    stopped: int | None = None


def describe(
    study: Study, verdict: Verdict, arms: Mapping[str, Arm], names: Sequence[str], trials: Sequence[Trial], compared: int
) -> dict[str, Any]:
    """Return the search as JSON; `names` are the finalists among the `arms`, of `compared` that there were."""
    static, first, metric = arms["static"], arms[verdict.arm], study.objective.metric
    best = max((arms[name] for name in HAND_MADE if name in arms), key=lambda arm: arm.mean(metric), default=None)
    front = describe_front(study, arms, names, compared) if study.objective.pareto else None
    against_best = None if best is None else paired_gain(study, first, best, metric, compared).as_json()
    return {
        "verdict": verdict.kind,
        "words": verdict.words if front is None else f"{verdict.words} {front_words(front)}",
        "mix": None,
        "winner": verdict.arm if verdict.kind in ("winner", "transient") else None,
        "leader": verdict.arm,
        "metric": metric,
        "gain_over_static": verdict.gain.as_json(),
        "confidence": round(verdict.confidence, 6),
        "shrunken_gain": round(verdict.shrunken, 6),
        "more_pairs": verdict.more_pairs,
        "equal_within": round(narrow(metric, static), 6),
        "simplest": verdict.simplest,
        "gain_in_tail": None if verdict.tail_gain is None else verdict.tail_gain.as_json(),
        "target_schedule": study.objective.target_schedule,
        "gain_under_target_schedule": None if verdict.scheduled_gain is None else verdict.scheduled_gain.as_json(),
        "final_margin_over_static": mean_interval(paired_differences(first, static, "final_margin")).as_json(),
        "broken_constraints": list(verdict.broken),
        "best_hand_made": None if best is None else best.name,
        "gain_over_best_hand_made": against_best,
        "finalists": [arm_as_json(study, arms[name], static, compared) for name in names],
        "controls": [arm_as_json(study, arm, static, compared) for name, arm in arms.items() if name not in names],
        "front": front,
        "trials": len(trials),
        "failed": sum(trial.score is None and trial.stopped is None for trial in trials),
        "stopped": sum(trial.stopped is not None for trial in trials),
        "best_trials": [
            {"trial": trial.proposal.number, "name": trial.proposal.name, "value": trial.value, **as_json(trial.score)}
            for trial in sorted(trials, key=lambda trial: -trial.value)[:_BEST_TRIALS]
            if trial.score is not None
        ],
    }


def spent(folders: Iterable[Path], tokens_per_sample: int | None) -> dict[str, int | None]:
    """Return what a study has cost so far: its finished runs, and the tokens that they played; None where streams differ.

    A run that was stopped early counts as far as it came.
    """
    runs = [run for folder in folders if (run := load_run(folder)) is not None]
    samples = sum(run.stopped or run.samples for run in runs)
    return {"runs": len(runs), "tokens": None if tokens_per_sample is None else samples * tokens_per_sample}


def arm_as_json(study: Study, arm: Arm, static: Arm, comparisons: int) -> dict[str, Any]:
    """Return an arm as the `finalists` and `controls` of `search --json` hold it; its gain is of the study's metric."""
    metric = study.objective.metric
    return {
        "name": arm.name,
        "pairs": len(arm.scores),
        "phases": arm.phases,
        "time_general": mean_interval([score.measures.time_general for score in arm.scores]).as_json(),
        "gain_over_static": paired_gain(study, arm, static, metric, comparisons).as_json(),
        "confidence": round(confidence_of(study, len(arm.scores), comparisons), 6),
        "area": round(arm.mean("area"), 6),
        "final_margin": round(arm.mean("final_margin"), 6),
        "hops": round(arm.mean("hops"), 6),
        "worst_probe": round(arm.mean("worst_probe"), 6),
        "loss": {name: round(loss, 6) for name, loss in arm.loss().items()},
        "bits_per_byte": {name: round(bits, 6) for name, bits in arm.bits().items()},
        "after_tail": _after_tail(arm),
        "under_target_schedule": _under_schedule(study, arm, static, comparisons),
    }


def _after_tail(arm: Arm) -> dict[str, Any] | None:
    if not arm.tail:
        return None
    tail = Arm(name=arm.name, scores=arm.tail)
    return {
        "time_general_in_tail": mean_interval([score.tail.time_general for score in arm.tail]).as_json(),
        "final_margin": round(tail.mean("final_margin"), 6),
        "loss": {name: round(loss, 6) for name, loss in tail.loss().items()},
        "bits_per_byte": {name: round(bits, 6) for name, bits in tail.bits().items()},
    }


def _under_schedule(study: Study, arm: Arm, static: Arm, comparisons: int) -> dict[str, Any] | None:
    """Return what an arm is worth under the full run's learning-rate schedule."""
    if not (arm.scheduled and static.scheduled):
        return None
    metric = study.objective.metric
    values = [score.shown(metric) for score in arm.scheduled]
    return {
        "pairs": len(arm.scheduled),
        metric: mean_interval(values).as_json(),
        "gain_over_static": scheduled_gain(arm, static, metric, comparisons).as_json(),
    }


def check_replaceable(path: Path, study: str) -> None:
    """Make sure that what lies where a study's winner goes is an earlier winner of it. Raises UserError."""
    if not path.exists():
        return
    try:
        provenance = Mix.load(path).provenance or {}
    except CurriculumError:
        provenance = {}
    if provenance.get("study") != study:
        raise UserError(
            f"{path} was not written by the study {study!r} (or cannot be read), whose winner would replace it; give another "
            "folder with --out, rename the study, or move the file away"
        )


def winning_mix(
    study: Study, trial: Trial, verdict: Verdict, arms: Mapping[str, Arm], *, seeds: Sequence[int], created: str
) -> Mix:
    """Return the winner's mix under the study's name; its provenance says how it was found and proven."""
    if trial.request is None:
        raise RunError(f"trial {trial.proposal.number} has no run, so it cannot have won")
    metric = study.objective.metric
    values = {name: mean_interval([score.shown(metric) for score in arms[name].scores]) for name in (verdict.arm, "static")}
    provenance = {
        "study": study.name,
        "trial": None if trial.score is None else trial.proposal.number,  # None: the surrogate's optimum, never tried
        "seeds": list(seeds),
        "verdict": verdict.kind,
        "score": {
            metric: values[verdict.arm].as_json(),
            "gain": verdict.gain.as_json(),
            "confidence": round(verdict.confidence, 6),
            "shrunken_gain": round(verdict.shrunken, 6),
        },
        "control": {"name": "static", metric: values["static"].as_json()},
        "gain_in_tail": None if verdict.tail_gain is None else verdict.tail_gain.as_json(),
        "gain_under_target_schedule": None if verdict.scheduled_gain is None else verdict.scheduled_gain.as_json(),
        "created": created,
        "versions": {"curriculum": __version__, "torch": version("torch"), "optuna": version("optuna")},
    }
    return without_target(replace(trial.request.mix, name=study.name, provenance=provenance), study)
