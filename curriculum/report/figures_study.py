"""A study's pictures, each with the words that stand for it where it cannot be seen.

Idea: one list serves the page, the files of `--figures` and the tests, so that none of them lacks a picture that another
has. What a study cannot show yet is left out of the list.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from curriculum.report.figures import schedule_figure, schedule_points, trajectory_figure
from curriculum.report.figures_results import (
    ArmPoint,
    Kind,
    TrialPoint,
    gains_figure,
    hover_texts,
    importance_figure,
    trials_figure,
)
from curriculum.report.figures_style import WIDE, Drawing
from curriculum.report.metric_words import gain_words, metric_words
from curriculum.report.study_report import ReportArm, StudyReport
from curriculum.search.statistics import Interval
from curriculum.search.study import LESS_IS_BETTER

PROBE_PREFIX = "trajectory-"


def study_drawings(report: StudyReport, *, width: float = WIDE) -> list[Drawing]:
    """Return every picture that a study has, for a page `width` inches wide."""
    makers = (_gains, _schedules, _trajectories, _trials, _importance)
    return [drawing for maker in makers for drawing in maker(report, width)]


def arm_points(report: StudyReport) -> list[ArmPoint]:
    """Return the proof's arms: what is claimed of them where that is there, else what their runs say."""
    return [point for arm in report.arms if (point := _arm_point(arm, report.metric)) is not None]


def _arm_point(arm: ReportArm, metric: str) -> ArmPoint | None:
    claimed = arm.claimed or {}
    value = interval_of(claimed.get("time_general")) if metric == "time_general" else None  # of others no interval is claimed
    value = value or arm.interval(lambda run: run.metric(metric))
    if value is None:
        return None
    gain = None if arm.name == "static" else interval_of(claimed.get("gain_over_static"))
    return ArmPoint(name=arm.name, role=arm.role, loss=arm.mean_loss, value=value, gain=gain)


def interval_of(document: Mapping[str, Any] | None) -> Interval | None:
    """Return an interval that was written as JSON, where an infinite end is null."""
    if document is None:
        return None
    low, high = document["low"], document["high"]
    return Interval(
        mean=float(document["mean"]),
        low=float("-inf") if low is None else float(low),
        high=float("inf") if high is None else float(high),
    )


def trial_points(report: StudyReport) -> list[TrialPoint]:
    """Return every trial with a run that has a value of the study's metric, in order of numbers."""
    found = []
    for trial in report.trials.trials:
        run = report.run_of(trial)
        value = None if run is None else run.metric(report.metric)
        if run is None or value is None:
            continue
        kind: Kind = "stopped" if run.stopped is not None else "broken" if trial.feasible is False else "kept"
        again = ((other.mean_loss, other.metric(report.metric)) for other in report.repeats(trial))
        repeats = tuple((loss, repeated) for loss, repeated in again if repeated is not None)
        found.append(TrialPoint(name=trial.name, loss=run.mean_loss, value=value, kind=kind, repeats=repeats))
    return found


def _gains(report: StudyReport, width: float) -> Iterator[Drawing]:
    arms = [arm for arm in arm_points(report) if arm.gain is not None]
    if not arms:
        return
    words = "; ".join(f"{arm.name} {arm.gain}" for arm in arms)
    yield Drawing(
        name="gains",
        title=f"{gain_words(report.metric).capitalize()} over static, with intervals",
        description=f"One row a curriculum, its mean gain and interval: {words}.",
        figure=gains_figure(arms, report.metric, width=width),
    )


def _schedules(report: StudyReport, width: float) -> Iterator[Drawing]:
    if not report.schedules:
        return
    first = next(iter(report.schedules))
    yield Drawing(
        name="schedules",
        title="Schedules: what is played when",
        description=f"Stacked areas, one panel a curriculum: {', '.join(report.schedules)}. "
        f"{first}: {schedule_words(report.schedules[first], report.streams)}.",
        figure=schedule_figure(report.schedules, report.streams, width=width),
    )


def schedule_words(phases: Sequence[Any], streams: Sequence[str]) -> str:
    """Return a schedule in words: each part of the run with the shares at its begin, and at its end where they differ."""
    ends, shares = schedule_points(phases, streams)
    parts = []
    for index in range(0, len(ends), 2):
        first, last = shares[index], shares[index + 1]
        listed = ", ".join(
            f"{name} {begin:.0%}" + ("" if abs(begin - end) < 0.005 else f" to {end:.0%}")
            for name, begin, end in zip(streams, first, last, strict=True)
        )
        parts.append(f"{ends[index]:.0%} to {ends[index + 1]:.0%} of the run: {listed}")
    return "; ".join(parts)


def _trajectories(report: StudyReport, width: float) -> Iterator[Drawing]:
    runs = {arm.name: [run.trajectory for run in arm.runs] for arm in report.featured}
    burn_in = float(report.settings["objective"]["burn_in"])
    for number, probe in enumerate(report.probes, start=1):
        yield Drawing(
            name=f"{PROBE_PREFIX}{number:02d}-{re.sub(r'[^0-9A-Za-z-]+', '-', probe)}",
            title=f"Probe {probe}",
            description=_trajectory_words(report, probe),
            figure=trajectory_figure(runs, probe, burn_in=burn_in, width=width),
        )


def _trajectory_words(report: StudyReport, probe: str) -> str:
    parts = []
    for arm in report.featured:
        lasts = [run.trajectory.table[run.trajectory.table["probe"] == probe] for run in arm.runs]
        modes = Counter(str(table["mode"].iloc[-1]) for table in lasts if len(table))
        ended = ", ".join(f"{count} {mode}" for mode, count in modes.most_common())
        margins = [float(table["margin"].iloc[-1]) for table in lasts if len(table)]
        mean = f", mean final margin {sum(margins) / len(margins):+.2f}" if margins else ""
        parts.append(f"{arm.name}: of {len(arm.runs)} runs {ended} at the end{mean}")
    return "Margins and modes over the run. " + "; ".join(parts) + "."


def _trials(report: StudyReport, width: float) -> Iterator[Drawing]:
    trials, arms = trial_points(report), arm_points(report)
    if not trials:
        return
    metric, words = report.metric, metric_words(report.metric)
    most, best = ("lowest", min) if metric in LESS_IS_BETTER else ("highest", max)
    whole = [trial for trial in trials if trial.kind != "stopped"] or trials
    first = best(whole, key=lambda trial: trial.value)
    yield Drawing(
        name="trials",
        title=f"Every trial by {words}" if metric == "loss" else f"Every trial by mean loss and {words}",
        description=f"{len(trials)} trials, one point each; the {most} {words} of a single run is {first.name}'s, "
        f"{first.value:.3f}. The table of trials holds every point.",
        figure=trials_figure(trials, arms, metric=metric, width=width),
        hover=hover_texts(trials, metric),
    )


def _importance(report: StudyReport, width: float) -> Iterator[Drawing]:
    if not report.importance:
        return
    words = ", ".join(f"{name} {value:.0%}" for name, value in report.importance.items())
    yield Drawing(
        name="importance",
        title="Parameter importance",
        description=f"Bars, the largest first: {words}.",
        figure=importance_figure(report.importance, width=width),
    )


__all__ = ["PROBE_PREFIX", "arm_points", "interval_of", "schedule_words", "study_drawings", "trial_points"]
