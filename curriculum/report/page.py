"""A study as one page that opens from a disk: no network, no script, no font of its own.

Idea: verdict, pictures and tables, each number with the runs it came from, filled into a template (`page.html.jinja`,
`page.css`). Each picture is there twice, drawn for a page and for a phone, and the screen shows one; what is long stands in
`details`, which every browser opens by keyboard. Alternatives: a server (nothing to send by mail), a notebook (needs one).
The price: the page of a study of 50 trials weighs about a megabyte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib.resources import files
from math import isfinite
from shlex import quote
from typing import Any

import yaml
from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from curriculum import __version__
from curriculum.report.figures_study import PROBE_PREFIX, interval_of, study_drawings
from curriculum.report.figures_style import NARROW, WIDE, Drawing, inline_svg
from curriculum.report.metric_words import gain_words
from curriculum.report.page_words import headline, meaning, reach, trials_words
from curriculum.report.study_report import ReportArm, StudyReport, StudyRun
from curriculum.search.statistics import Interval
from curriculum.search.trials import TrialRecord
from curriculum.units import format_seconds

_STAGES = {
    "reference": "Reference: static, which sets the limits",
    "search": "Search: one run a trial",
    "repeats": "Repeats of the candidates",
    "proof": "Proof: finalists and controls on fresh seeds and fresh probe items",
    "controls": "Controls made from the leader",
    "tail": "With the common tail",
    "schedule": "Under the full run's learning-rate schedule",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A picture in both of its sizes, as SVG elements."""

    name: str
    title: str
    wide: Markup
    narrow: Markup


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmRow:
    """What a table says of an arm."""

    arm: ReportArm
    time_general: Interval | None
    gain: Interval | None
    loss: Interval | None
    final_margin: float | None
    hops: float | None
    worst_probe: float | None
    losses: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRow:
    """What a table says of a trial."""

    trial: TrialRecord
    run: StudyRun | None


def render(report: StudyReport, *, created: datetime | None = None) -> str:
    """Return the page as HTML, saying when it was `created` (default: now)."""
    moment, pictures = created or datetime.now(UTC), _pictures(report)
    return str(
        _template().render(
            report=report,
            result=report.result or {},
            style=Markup(_resource("page.css")),
            headline=headline(report),
            trials_words=trials_words(report),
            gain=gain_words(report.metric),
            meaning=meaning(report),
            reach=reach(report),
            pictures=pictures,
            probes=[(name, pictures[name]) for name in pictures if name.startswith(PROBE_PREFIX)],
            arms=[_arm_row(arm) for arm in report.arms],
            exposures=_exposures(report),
            trials=[TrialRow(trial=trial, run=report.run_of(trial)) for trial in report.trials.trials],
            stages=_by_stage(report),
            versions=_versions(report),
            commands=_commands(report),
            settings=yaml.safe_dump(dict(report.settings), sort_keys=False, allow_unicode=True),
            begun=report.created.replace("T", " ").replace("+00:00", " UTC") or "at an unknown time",
            seconds=sum(run.seconds for run in report.runs),
            moment=f"{moment:%Y-%m-%d %H:%M} UTC",
            version=__version__,
        )
    )


def _resource(name: str) -> str:
    return (files("curriculum.report") / name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _template() -> Any:
    environment = Environment(
        loader=DictLoader({"page": _resource("page.html.jinja")}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "signed": _signed, "interval": _interval, "seconds": format_seconds}
    return environment.get_template("page")


def _pictures(report: StudyReport) -> dict[str, Picture]:
    pairs = zip(study_drawings(report, width=WIDE), study_drawings(report, width=NARROW), strict=True)
    return {wide.name: _picture(wide, narrow) for wide, narrow in pairs}


def _picture(wide: Drawing, narrow: Drawing) -> Picture:
    return Picture(
        name=wide.name,
        title=wide.title,
        wide=Markup(inline_svg(wide, f"{wide.name}-wide")),
        narrow=Markup(inline_svg(narrow, f"{wide.name}-narrow")),
    )


def _arm_row(arm: ReportArm) -> ArmRow:
    claimed, loss = arm.claimed or {}, arm.mean_loss
    measures = {name: arm.interval(lambda run, name=name: getattr(run.measures, name)) for name in _MEANS}  # type: ignore[misc]
    means = {name: claimed.get(name, None if found is None else found.mean) for name, found in measures.items()}
    return ArmRow(
        arm=arm,
        time_general=interval_of(claimed.get("time_general")) or arm.time_general,
        gain=interval_of(claimed.get("gain_over_static")) if arm.name != "static" else None,
        loss=loss,
        losses=claimed.get("loss") or _mean_losses(arm),
        **means,
    )


_MEANS = ("final_margin", "hops", "worst_probe")


def _mean_losses(arm: ReportArm) -> dict[str, float]:
    names = arm.runs[0].losses if arm.runs else {}
    return {name: sum(run.losses[name] for run in arm.runs) / len(arm.runs) for name in names}


def _exposures(report: StudyReport) -> list[tuple[str, dict[str, int]]]:
    """Return what a run of each curriculum plays, those that play the same in one row."""
    arms = {arm.name: arm for arm in (*report.featured, *report.arms)}
    found: dict[tuple[tuple[str, int], ...], list[str]] = {}
    for name, arm in arms.items():
        counts = report.exposure(arm)
        if counts is not None:
            found.setdefault(tuple(counts.items()), []).append(name)
    return [(", ".join(names), dict(counts)) for counts, names in found.items()]


def _by_stage(report: StudyReport) -> list[tuple[str, list[StudyRun]]]:
    stages = {stage: [run for run in report.runs if run.stage == stage] for stage in _STAGES}
    others = [run for run in report.runs if run.stage not in _STAGES]
    found = [(_STAGES[stage], runs) for stage, runs in stages.items() if runs]
    return [*found, ("Others", others)] if others else found


def _versions(report: StudyReport) -> list[tuple[str, str]]:
    """Return each package's versions, with the number of runs where they are not all the same."""
    found: dict[str, Counter[str]] = {}
    for run in report.runs:
        for package, version in run.versions.items():
            found.setdefault(package, Counter())[version] += 1
    return [(package, _version_words(counts)) for package, counts in found.items()]


def _version_words(counts: Counter[str]) -> str:
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{version} ({count} runs)" for version, count in counts.most_common())


def _commands(report: StudyReport) -> list[tuple[str, str]]:
    """Return what to type: to go on, to look, to do a run again."""
    name, runs = report.name, report.folder.parent
    budget = (report.result or {}).get("trials") or max(50, len(report.trials.trials))
    study = "" if name == "default" else f" {quote(f'{name}.yaml')}"
    folder = quote(str(report.folder))
    found = [
        ("Search it again, or go on with it (finished runs are found and not made again)",
         f"curriculum search{study} --budget {budget} --runs {quote(str(runs))}"),
        ("Look at its trials", f"curriculum trials {folder}"),
        ("Make this page again", f"curriculum report {folder}"),
    ]  # fmt: skip
    mix = (report.result or {}).get("mix")
    if mix:
        found.insert(1, ("See what the mix gives of each stream, phase by phase", f"curriculum check {quote(str(mix))}"))
    return found


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None or not isfinite(value) else f"{value:.{digits}f}"  # noqa: RUF001


def _signed(value: float | None) -> str:
    return "–" if value is None or not isfinite(value) else f"{value:+.3f}".replace("-", "−")  # noqa: RUF001


def _interval(interval: Interval | None, signed: bool = False) -> str:
    """Return a mean with its interval; a mean alone where the runs were too few for one."""
    if interval is None:
        return "–"  # noqa: RUF001
    show = _signed if signed else _number
    if not (isfinite(interval.low) and isfinite(interval.high)):
        return f"{show(interval.mean)} (no interval)"
    return f"{show(interval.mean)} [{show(interval.low)}, {show(interval.high)}]"


__all__ = ["render"]
