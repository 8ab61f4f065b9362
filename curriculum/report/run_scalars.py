"""A run's curves as TensorBoard scalars, under the names that the monitor uses in other trainers' loops.

Idea: what a run leaves in its folder is written as an event file of its own, DIR/<run>, so that TensorBoard lays runs over
one another; a run whose event file is there already is not written again, so the same command may be given while a search
is under way. The price: a run's curves appear when it has ended, not while it trains (a proxy takes seconds).
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from curriculum.callbacks.loggers import ScalarLogger, TensorBoardLogger
from curriculum.errors import UserError
from curriculum.probe import Trajectory
from curriculum.proxy.run import RunResult

_LOGGED = ("accuracy", "margin", "control_margin")
_MODE_NUMBERS = {"general": 1.0, "shallow": -1.0, "unformed": 0.0}
_TEMPORARY = ".writing"


def check_tensorboard() -> None:
    """Raise UserError where the package is missing: better before a run than after it."""
    if find_spec("tensorboard") is None:
        raise UserError("--tensorboard needs the package tensorboard; pip install 'curriculum[tensorboard]'")


def write_scalars(result: RunResult, folder: Path) -> bool:
    """Write a run's scalars to `folder`/<run>, whole or not at all; return whether there was anything to write.

    Tags: probe/<probe>/accuracy, /margin, /control_margin and /mode (1 general, 0 unformed, -1 shallow); loss/<stream> in
    nats; bits_per_byte/<suite>. The step is the training step of the reading.
    """
    place = folder / result.folder.name
    if place.exists():
        return False
    temporary = folder / f"{_TEMPORARY}-{os.getpid()}-{result.folder.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    logger = TensorBoardLogger(temporary)
    log_run(result.trajectory, result.loss, result.bits, logger)
    logger.close()
    temporary.rename(place)
    return True


def log_run(trajectory: Trajectory, loss: pd.DataFrame, bits: pd.DataFrame, logger: ScalarLogger) -> None:
    """Tell a logger all of a run's readings, losses and bits per byte, in order of steps."""
    table = trajectory.table
    for row in table.to_dict("records"):
        for name, value in _reading({str(key): value for key, value in row.items()}).items():
            logger.scalar(name, value, int(row["step"]))
    steps = dict(zip(table["position"], table["step"], strict=True))
    for frame, prefix, label, column in ((loss, "loss", "stream", "loss"), (bits, "bits_per_byte", "suite", "bits_per_byte")):
        for row in frame.to_dict("records"):
            step = steps.get(row["position"])
            if step is not None and math.isfinite(row[column]):
                logger.scalar(f"{prefix}/{row[label]}", float(row[column]), int(step))


def _reading(row: Mapping[str, object]) -> dict[str, float]:
    name = f"probe/{row['probe']}"
    numbers = {column: float(str(row[column])) for column in _LOGGED}
    values = {f"{name}/{column}": number for column, number in numbers.items() if math.isfinite(number)}
    return values | {f"{name}/mode": _MODE_NUMBERS[str(row["mode"])]}


__all__ = ["check_tensorboard", "log_run", "write_scalars"]
