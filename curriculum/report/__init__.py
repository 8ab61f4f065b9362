"""Pictures, tables and pages for people: in the terminal, as figures, and as one HTML page of a study.

    from curriculum.report import read_study, schedule_figure, trajectory_figure
    study = read_study(Path("runs/mine"))
    schedule_figure(study.schedules, study.streams).savefig("schedules.pdf")   # matplotlib figures; so are the others

The names below are bound when first used, so that tables in the terminal cost neither matplotlib nor a search.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curriculum.report.figures import schedule_figure, trajectory_figure
    from curriculum.report.figures_results import ArmPoint, TrialPoint, gains_figure, importance_figure, trials_figure
    from curriculum.report.figures_study import arm_points, study_drawings, trial_points
    from curriculum.report.page import render
    from curriculum.report.study_report import StudyReport, read_study

__all__ = [
    "ArmPoint",
    "StudyReport",
    "TrialPoint",
    "arm_points",
    "gains_figure",
    "importance_figure",
    "read_study",
    "render",
    "schedule_figure",
    "study_drawings",
    "trajectory_figure",
    "trial_points",
    "trials_figure",
]

_HOMES = {
    "figures": ("schedule_figure", "trajectory_figure"),
    "figures_results": ("ArmPoint", "TrialPoint", "gains_figure", "importance_figure", "trials_figure"),
    "figures_study": ("arm_points", "study_drawings", "trial_points"),
    "page": ("render",),
    "study_report": ("StudyReport", "read_study"),
}


def __getattr__(name: str) -> Any:
    home = next((module for module, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module 'curriculum.report' has no attribute {name!r}")
    return getattr(import_module(f"curriculum.report.{home}"), name)
