"""A run's curves as TensorBoard scalars, under the names that the monitor uses in other trainers' loops.

Idea: a run has a folder of its own, DIR/<run>, so that TensorBoard lays runs over one another. A run that is being trained
here writes every reading as it comes (`LiveScalars`); of one that has ended, all is written at once (`write_scalars`). The
file `unfinished` marks curves whose run was cut off: whoever comes next writes them anew, whole ones are left alone, so the
same command may be given at any time. The price: a run trained by another process, or by a command of the user's own,
appears when it has ended.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from curriculum.callbacks.loggers import ScalarLogger, TensorBoardLogger
from curriculum.errors import UserError
from curriculum.probe import Trajectory
from curriculum.proxy.run import BITS_COLUMNS, RunResult

if TYPE_CHECKING:
    from curriculum.proxy.training import Progress

_LOGGED = ("accuracy", "margin", "control_margin")
_MODE_NUMBERS = {"general": 1.0, "shallow": -1.0, "unformed": 0.0}
_TEMPORARY = ".writing"
UNFINISHED = "unfinished"


def check_tensorboard() -> None:
    """Raise UserError where the package is missing: better before a run than after it."""
    if find_spec("tensorboard") is None:
        raise UserError("--tensorboard needs the package tensorboard; pip install 'curriculum[tensorboard]'")


class LiveScalars:
    """Writes the scalars of one run into `folder`/`run` while it trains. Use as: `with LiveScalars(...) as live: ...`.

    Call it with all that was measured so far, as often as there is something new. What cannot be written is told to
    `notice`, once: a curve that nobody can draw is no reason to lose a run. Curves that are whole are left as they are.
    """

    def __init__(self, folder: Path, run: str, *, notice: Callable[[str], None]) -> None:
        self._place, self._notice, self._written = folder / run, notice, -1
        self._logger: TensorBoardLogger | None = None
        if not _is_whole(self._place):
            self._guarded(self._begin)

    def __call__(self, progress: Progress) -> None:
        """Write what is new."""
        trajectory = Trajectory.of(progress.readings)
        loss = pd.DataFrame([asdict(row) for row in progress.losses], columns=["position", "stream", "loss"])
        bits = pd.DataFrame([asdict(row) for row in progress.bits], columns=list(BITS_COLUMNS))
        self._write(trajectory, loss, bits)

    def finish(self, result: RunResult) -> None:
        """Write what is left of a run that has ended, and mark its curves as whole."""
        self._write(result.trajectory, result.loss, result.bits)
        if self._logger is not None:
            self.close()
        if self._logger is not None:  # nothing failed
            self._guarded((self._place / UNFINISHED).unlink)

    def close(self) -> None:
        """End the event file; without `finish`, its curves stay unfinished."""
        if self._logger is not None:
            self._guarded(self._logger.close)

    def __enter__(self) -> LiveScalars:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self) -> None:
        self._place.mkdir(parents=True, exist_ok=True)
        (self._place / UNFINISHED).touch()
        self._logger = TensorBoardLogger(self._place, afresh=True)

    def _write(self, trajectory: Trajectory, loss: pd.DataFrame, bits: pd.DataFrame) -> None:
        logger, after = self._logger, self._written
        if logger is None or not len(trajectory.table):
            return
        self._guarded(lambda: log_run(trajectory, loss, bits, logger, after=after))
        self._written = int(trajectory.table["position"].max())

    def _guarded(self, write: Callable[[], object]) -> None:
        try:
            write()
        except OSError as error:
            self._logger = None
            self._notice(f"no more curves in {self._place}: {error.strerror or error}; the run goes on without them")


def _is_whole(place: Path) -> bool:
    return place.exists() and not (place / UNFINISHED).exists()


def write_scalars(result: RunResult, folder: Path, summary: Mapping[str, float] | None = None) -> bool:
    """Write an ended run's scalars to `folder`/<run>, whole or not at all; return whether there was anything to write.

    Tags: probe/<probe>/accuracy, /margin, /control_margin and /mode (1 general, 0 unformed, -1 shallow); loss/<stream> in
    nats; bits_per_byte/<suite>; run/<name> of `summary`, what the run is judged by, at its end. The step is the training
    step of the reading.
    """
    place = folder / result.folder.name
    if _is_whole(place):
        return False
    temporary = folder / f"{_TEMPORARY}-{os.getpid()}-{result.folder.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    logger = TensorBoardLogger(temporary)
    log_run(result.trajectory, result.loss, result.bits, logger)
    for name, value in (summary or {}).items():
        logger.scalar(f"run/{name}", value, int(result.trajectory.table["step"].max()))
    logger.close()
    if place.exists():
        shutil.rmtree(place, ignore_errors=True)  # of a run that was cut off
    try:
        temporary.rename(place)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        if not place.exists():
            raise
        return False  # another process wrote the same run meanwhile
    return True


def log_run(trajectory: Trajectory, loss: pd.DataFrame, bits: pd.DataFrame, logger: ScalarLogger, *, after: int = -1) -> None:
    """Tell a logger a run's readings, losses and bits per byte behind the position `after`, in order of steps."""
    table = trajectory.table
    for row in table[table["position"] > after].to_dict("records"):
        for name, value in _reading({str(key): value for key, value in row.items()}).items():
            logger.scalar(name, value, int(row["step"]))
    steps = dict(zip(table["position"], table["step"], strict=True))
    for frame, prefix, label, column in ((loss, "loss", "stream", "loss"), (bits, "bits_per_byte", "suite", "bits_per_byte")):
        for row in frame.to_dict("records"):
            step = steps.get(row["position"])
            if step is not None and row["position"] > after and math.isfinite(row[column]):
                logger.scalar(f"{prefix}/{row[label]}", float(row[column]), int(step))


def _reading(row: Mapping[str, object]) -> dict[str, float]:
    name = f"probe/{row['probe']}"
    numbers = {column: float(str(row[column])) for column in _LOGGED}
    values = {f"{name}/{column}": number for column, number in numbers.items() if math.isfinite(number)}
    return values | {f"{name}/mode": _MODE_NUMBERS[str(row["mode"])]}


__all__ = ["UNFINISHED", "LiveScalars", "check_tensorboard", "log_run", "write_scalars"]
