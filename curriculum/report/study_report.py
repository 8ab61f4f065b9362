"""Everything a report says of a study, read from its folder and from nowhere else.

Idea: result.json says what was claimed, the runs say why. Both are read, and what the claim says of an arm is computed
again from the arm's runs; where they disagree (a folder was lost, or runs were added since) the report says so. A study
that is under way, or broke off, is read just the same: then `missing` says what is not there yet. Alternative: to write
the page's numbers down at the search's end, which would be quicker and could not be checked. The price: opening every
run, some ten milliseconds each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from curriculum.errors import CurriculumError, DataError
from curriculum.mix import Mix, Phase, Stream
from curriculum.probe import RunMeasures, Trajectory
from curriculum.proxy.run import load_run
from curriculum.search.importance import parameter_importance
from curriculum.search.statistics import Interval, mean_interval
from curriculum.search.study import HAND_MADE
from curriculum.search.trials import StudyTrials, TrialRecord, read_trials

_CONTROLS = ("static", *HAND_MADE, "shuffled", "reversed")
_PROOF = ("proof", "controls")  # stages whose runs an arm's numbers are means of
_OTHER_STAGES = {"trial": "search", "repeat": "repeats", "optimum": "repeats", "static": "reference"}
_AGREES = 2e-6  # result.json holds six decimals


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyRun:
    """One whole run. `stage` is what it was made for: search, repeats, reference, proof, controls, tail, schedule.

    `name` is its mix's, `measures` are taken after the burn-in, `losses` are at its end by stream, in nats, `bits` are its
    bits per byte there by suite.
    """

    folder: Path
    stage: str
    name: str
    label: str
    seed: int
    samples: int
    seconds: float
    stopped: int | None
    measures: RunMeasures
    losses: Mapping[str, float]
    bits: Mapping[str, float]
    trajectory: Trajectory
    phases: tuple[Phase, ...]
    versions: Mapping[str, str]

    @property
    def mean_loss(self) -> float | None:
        """Return the mean held-out loss over streams, in nats; None where the run has none."""
        return float(np.mean(list(self.losses.values()))) if self.losses else None

    def metric(self, name: str) -> float | None:
        """Return a metric by name, bits per byte and loss as means over suites and streams; None where there is none."""
        if name == "loss":
            return self.mean_loss
        if name == "bits_per_byte":
            return float(np.mean(list(self.bits.values()))) if self.bits else None
        return float(getattr(self.measures, name))


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportArm:
    """A curriculum that was proven, or compared with. `claimed` is its entry in result.json, None before there is one.

    `role`: winner, leader (the finalist a verdict without a winner speaks of), finalist, or control.
    """

    name: str
    role: str
    runs: tuple[StudyRun, ...]
    claimed: Mapping[str, Any] | None

    def interval(self, of: Callable[[StudyRun], float | None]) -> Interval | None:
        """Return the mean of a number over the runs, with its 95 % t interval; None where no run has it."""
        values = [value for run in self.runs if (value := of(run)) is not None]
        return mean_interval(values) if values else None

    @property
    def time_general(self) -> Interval | None:
        """Return the mean share of the run after the burn-in spent in the general mode."""
        return self.interval(lambda run: run.measures.time_general)

    @property
    def mean_loss(self) -> Interval | None:
        """Return the mean held-out loss in nats, over streams and runs."""
        return self.interval(lambda run: run.mean_loss)

    @property
    def agrees(self) -> bool | None:
        """Whether the runs found now give what result.json claims; None where nothing is claimed."""
        if self.claimed is None:
            return None
        found = self.time_general
        if found is None or len(self.runs) != self.claimed["pairs"]:
            return False
        losses = list(self.claimed.get("loss", {}).values())
        pairs = [(found.mean, float(self.claimed["time_general"]["mean"]))]
        pairs += [(self.mean_loss.mean, float(np.mean(losses)))] if losses and self.mean_loss is not None else []
        return all(abs(mean - claimed) <= _AGREES for mean, claimed in pairs)


@dataclass(frozen=True, kw_only=True)  # without slots, for what is worked out once
class StudyReport:
    """A study as a report shows it.

    `settings` is the study as it was begun, `populations` how many runs are trained as one and where (empty: one by one),
    `result` what `search --json` printed (None: unfinished), `importance` as `parameter_importance` gives it.
    """

    folder: Path
    created: str
    settings: Mapping[str, Any]
    populations: Mapping[str, Any]
    data: Mapping[str, str]
    result: Mapping[str, Any] | None
    trials: StudyTrials
    runs: tuple[StudyRun, ...]
    importance: Mapping[str, float]

    @property
    def name(self) -> str:
        """Return the study's name."""
        return self.folder.name

    @property
    def metric(self) -> str:
        """Return the measure that was searched for."""
        return self.trials.metric

    @property
    def streams(self) -> tuple[str, ...]:
        """Return the streams' names."""
        return self.trials.streams

    @cached_property
    def arms(self) -> tuple[ReportArm, ...]:
        """Return finalists and controls, the leader first; before a result, what has been proven so far."""
        if self.result is None:
            names = dict.fromkeys(run.name for run in self.runs if run.stage in _PROOF)
            found = [self._arm(name, "control" if name in _CONTROLS else "finalist", None) for name in names]
            return tuple(sorted(found, key=lambda arm: arm.role == "control"))
        leader = self.result["leader"]
        first = "winner" if self.result["verdict"] == "winner" else "leader"
        arms = [self._arm(str(arm["name"]), "finalist", arm) for arm in self.result["finalists"]]
        arms += [self._arm(str(arm["name"]), "control", arm) for arm in self.result["controls"]]
        led = [self._arm(arm.name, first, arm.claimed) if arm.name == leader else arm for arm in arms]
        return tuple(sorted(led, key=lambda arm: arm.name != leader))

    def _arm(self, name: str, role: str, claimed: Mapping[str, Any] | None) -> ReportArm:
        runs = tuple(run for run in self.runs if run.stage in _PROOF and run.name == name)
        arm = ReportArm(name=name, role=role, runs=runs, claimed=claimed)
        if arm.agrees is not False:
            return arm
        # Controls made from an earlier leader bear the same names: take those that give what is claimed.
        curricula = dict.fromkeys(repr(run.phases) for run in runs)
        alike = (tuple(run for run in runs if repr(run.phases) == phases) for phases in curricula)
        arms = (ReportArm(name=name, role=role, runs=of, claimed=claimed) for of in alike)
        return next((found for found in arms if found.agrees), arm)

    @cached_property
    def featured(self) -> tuple[ReportArm, ...]:
        """Return the two that are looked at closely: the leader, or else the best trial so far, and static."""
        static = next((arm for arm in self.arms if arm.name == "static" and arm.runs), None)
        if static is None:
            runs = tuple(run for run in self.runs if run.stage == "reference")
            static = ReportArm(name="static", role="control", runs=runs, claimed=None)
        leader = next((arm for arm in self.arms if arm.role != "control" and arm.runs), None) or self._best_trial()
        return tuple(arm for arm in (leader, static) if arm is not None and arm.runs)

    def _best_trial(self) -> ReportArm | None:
        from curriculum.report.trials_table import best_trial

        best = best_trial(self.trials.trials)
        if best is None or best.name == "trial-0 (near static)":
            return None
        runs = tuple(run for run in self.runs if run.folder == best.run)
        return ReportArm(name=best.name, role="best trial so far", runs=runs, claimed=None)

    @cached_property
    def schedules(self) -> dict[str, tuple[Phase, ...]]:
        """Return the phases of every arm that has a run, those looked at closely first."""
        arms = [*self.featured, *self.arms]
        return {arm.name: arm.runs[0].phases for arm in arms if arm.runs and arm.runs[0].phases}

    @property
    def probes(self) -> tuple[str, ...]:
        """Return the probes' names, as the runs looked at closely were asked them."""
        tables = [run.trajectory.table for arm in self.featured for run in arm.runs]
        return tuple(dict.fromkeys(str(name) for table in tables for name in table["probe"]))

    def repeats(self, trial: TrialRecord) -> tuple[StudyRun, ...]:
        """Return the runs of a trial on further seeds, those before the proof."""
        return tuple(run for run in self.runs if run.label == f"repeat-{trial.number:03d}")

    def run_of(self, trial: TrialRecord) -> StudyRun | None:
        """Return a trial's own run, None if it is not whole."""
        return next((run for run in self.runs if run.folder == trial.run), None)

    def exposure(self, arm: ReportArm) -> dict[str, int] | None:
        """Return how many samples of each stream a run of this arm plays, counted by the plan; None if it cannot be."""
        if not arm.runs:
            return None
        run = arm.runs[0]
        plain = {name: Stream(local=name) for name in self.streams}
        try:
            mix = Mix(name=arm.name, streams=plain, phases=run.phases, samples=run.samples)
            counts = mix.plan(sizes=dict.fromkeys(plain, run.samples)).counts(0, run.samples)
        except CurriculumError:
            return None
        return {name: int(count) for name, count in counts.items()}

    @property
    def missing(self) -> tuple[str, ...]:
        """Return what a reader might look for and not find, in sentences."""
        return tuple(_missing(self))


def read_study(folder: Path, storage: str | None = None) -> StudyReport:
    """Return the study in `folder`, finished or not; changes nothing. Raises DataError for a missing or damaged one.

    `storage` is the trials' database, if it is not the file in the folder.
    """
    folder = folder.resolve()
    trials = read_trials(folder, storage)
    record = json.loads((folder / "study.json").read_text())
    settings = record["study"]
    runs = (_read_run(path.parent, settings) for path in sorted(folder.glob("*/run.json")))
    return StudyReport(
        folder=folder,
        created=str(record.get("created", "")),
        settings=settings,
        populations=record.get("populations", {}),
        data=record.get("data", {}),
        result=_read_result(folder / "result.json"),
        trials=trials,
        runs=tuple(run for run in runs if run is not None),
        importance=parameter_importance(folder, storage),
    )


def _read_result(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        found["verdict"], found["words"], found["finalists"], found["controls"], found["leader"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is damaged ({type(error).__name__}: {error}); remove it and run the same search again, which writes it "
            "anew from the runs that are there"
        ) from None
    return found


def _read_run(folder: Path, settings: Mapping[str, Any]) -> StudyRun | None:
    result = load_run(folder)
    if result is None:
        return None
    record = json.loads((folder / "run.json").read_text())
    label = str(record.get("label", folder.name))
    name, phases = _mix_of(folder, label)
    stage = label.split("-", 1)[0]
    return StudyRun(
        folder=folder,
        stage=_OTHER_STAGES.get(stage, stage),
        name=name,
        label=label,
        seed=int(record["seed"]),
        samples=result.samples,
        seconds=result.seconds,
        stopped=result.stopped,
        measures=_measures(result.trajectory, result.samples, settings),
        losses=result.final_loss(),
        bits=result.final_bits(),
        trajectory=result.trajectory,
        phases=phases,
        versions=record.get("versions", {}),
    )


def _mix_of(folder: Path, label: str) -> tuple[str, tuple[Phase, ...]]:
    try:
        mix = Mix.load(folder / "mix.yaml")
    except (CurriculumError, OSError):
        return label, ()  # its pictures are left out, its numbers stand
    return mix.name, mix.phases


def _measures(trajectory: Trajectory, samples: int, settings: Mapping[str, Any]) -> RunMeasures:
    weights = {probe["family"]: float(probe["weight"]) for probe in settings["probes"]}
    start = ceil(Decimal(str(settings["objective"]["burn_in"])) * samples)
    return trajectory.measures(start=min(start, samples - 1), stop=samples, weights=weights)


def _missing(report: StudyReport) -> Sequence[str]:
    found = []
    states = [trial.state for trial in report.trials.trials]
    done, total = states.count("done") + states.count("stopped"), len(states)
    if report.result is None:
        work = {True: ", and a search is at work on it", False: ", and no search is at work on it", None: ""}
        ended = f"{done} of {total} trials begun have ended{work[report.trials.at_work]}"
        if report.trials.elsewhere:
            ended = "its trials, which are not shown, are in the database that the search was given (name it with --storage)"
        found.append(f"The study is not finished: {ended}. There is no verdict yet.")
        if not report.arms:
            found.append("Nothing has been proven yet: what is shown are single runs, and the best of many is flattered.")
        else:
            found.append("The proof has begun, and what it has so far is shown; nothing may be claimed before it is over.")
    elif total > int(report.result["trials"]):
        later = total - int(report.result["trials"])
        found.append(f"The verdict is of the first {report.result['trials']} trials; {later} more have been begun since.")
    found += [
        f"Trial {trial.number} ended, but its run folder is not here or not whole."
        for trial in report.trials.trials
        if trial.state == "done" and trial.run is None
    ]
    for arm in report.arms:
        if arm.agrees is False:
            claimed = 0 if arm.claimed is None else arm.claimed["pairs"]
            found.append(
                f"{arm.name}: the verdict rests on {claimed} runs, of which {len(arm.runs)} whole ones are here, or their "
                "mean is another one; its numbers below are those of the verdict, its pictures those of the runs."
            )
    return found


__all__ = ["ReportArm", "StudyReport", "StudyRun", "read_study"]
