"""`curriculum probe`: which mode checkpoints are in, probe by probe."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console

from curriculum.commands.asking import Asking, survey
from curriculum.models.survey import Survey
from curriculum.probe import Trajectory
from curriculum.probe.calibration import calibrated_hysteresis
from curriculum.probe.modes import HYSTERESIS

_DETAILED = 3  # so many models are shown probe by probe, more family by family


def probe(asking: Asking, *, hysteresis: float | None = HYSTERESIS, as_json: bool = False) -> int:
    """Ask the models their probes and print the readings; returns the exit code.

    `hysteresis` None: calibrated from the readings' noise. Leaves `trajectory.parquet` beside the answers.
    """
    found = survey(asking)
    threshold = _calibrated(found) if hysteresis is None else hysteresis
    trajectory = found.trajectory(threshold)
    path = asking.kept_in() / "trajectory.parquet"
    trajectory.save(path)
    if as_json:
        print(json.dumps(_as_document(found, trajectory, threshold, str(asking.kept_in())), indent=1))
    else:
        _print(found, trajectory, threshold, str(path))
    return 0


def _calibrated(found: Survey) -> float:
    """Return the largest of the probes' own thresholds: one h for all keeps their modes comparable."""
    by_probe: dict[str, list[Any]] = {}
    for _, _, reading in found.readings():
        by_probe.setdefault(reading.probe, []).append(reading)
    return max(calibrated_hysteresis(readings) for readings in by_probe.values())


def _as_document(found: Survey, trajectory: Trajectory, threshold: float, folder: str) -> dict[str, Any]:
    return {
        "models": [{"name": entry.name, "position": entry.position, "where": entry.where} for entry in found.checkpoints],
        "levels": {inquiry.name: inquiry.level for inquiry in found.inquiries},
        "hysteresis": threshold,
        "trajectory": json.loads(trajectory.table.to_json(orient="records")),
        "answers": folder,
    }


def _print(found: Survey, trajectory: Trajectory, threshold: float, path: str) -> None:
    from curriculum.report.probe_table import print_course, print_readings
    from curriculum.report.trajectory_chart import print_trajectory

    console = Console()
    names = {checkpoint.position: checkpoint.name for checkpoint in found.checkpoints}
    if len(found.checkpoints) <= _DETAILED:
        print_readings(trajectory, {inquiry.name: inquiry.level for inquiry in found.inquiries}, names, console)
    else:
        print_course(trajectory, names, console)
        print_trajectory(trajectory, console)
    console.print(
        f"general above a margin of +{threshold:.2f}, shallow below -{threshold:.2f}, in between as before; unformed: the "
        "control's interval does not lie above its floor, or no side was taken yet",
        highlight=False,
    )
    console.print(f"readings: {path}", markup=False, highlight=False)
