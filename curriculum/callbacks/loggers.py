"""Where readings are shown: TensorBoard, Weights & Biases, MLflow, or anything with one method.

Idea: a logger is whatever has `scalar(name, value, step)`. None of the three packages is needed: where one is missing, or
has no active run, that is said once and training goes on, since a curve nobody draws is no reason to lose a run.
Alternatives: one interface of a tracking framework for all of them (another dependency). The price: scalars only.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

_log = logging.getLogger(__name__)


class ScalarLogger(Protocol):
    """Whatever can note a number under a name at a step."""

    def scalar(self, name: str, value: float, step: int) -> None:
        """Note `value` under a name such as probe/succession/margin."""


class TensorBoardLogger:
    """Writes event files into `folder`; needs the package tensorboard.

    With `afresh`, TensorBoard no longer shows what earlier writers left in the folder.
    """

    def __init__(self, folder: Path | str, *, afresh: bool = False) -> None:
        self._writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            _log.warning("no readings will be in TensorBoard: %s; pip install tensorboard", error)
            return
        self._writer = SummaryWriter(str(folder), purge_step=0 if afresh else None)

    def scalar(self, name: str, value: float, step: int) -> None:
        """Add a point, visible at once."""
        if self._writer is None:
            return
        self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """End the event file, and the thread that writes it."""
        if self._writer is not None:
            self._writer.close()


class WandbLogger:
    """Adds to the active run of Weights & Biases, under an axis `probe/step` of its own.

    The points of a step join the row that the training's own logging ends, so that they do not run ahead of the run's steps
    (rows of an earlier step are lost there); only if nothing else was logged between two readings do they end a row.
    """

    def __init__(self) -> None:
        self._run: Any = None
        self._step = self._row = -1
        self._told = False

    def scalar(self, name: str, value: float, step: int) -> None:
        """Add a point, if a run is active."""
        run = _active_wandb_run()
        if run is None:
            self._told = _say_once(self._told, "Weights & Biases", "wandb.init() was not called, or wandb is not installed")
            return
        if run is not self._run:
            run.define_metric("probe/step")
            run.define_metric("probe/*", step_metric="probe/step")
            self._run = run
        if step != self._step and run.step == self._row:
            run.log({}, commit=True)
        run.log({name: value, "probe/step": step}, commit=False)
        self._step, self._row = step, run.step


class MlflowLogger:
    """Adds to the active run of MLflow."""

    def __init__(self) -> None:
        self._told = False

    def scalar(self, name: str, value: float, step: int) -> None:
        """Add a point, if a run is active."""
        mlflow = _mlflow_with_active_run()
        if mlflow is None:
            self._told = _say_once(self._told, "MLflow", "mlflow.start_run() was not called, or mlflow is not installed")
            return
        mlflow.log_metric(name, value, step=step)


class Broadcast:
    """Tells every logger, those of a trainer too, and outlives the broken ones: each is warned of once."""

    def __init__(self, loggers: Iterable[ScalarLogger]) -> None:
        self.own: list[ScalarLogger] = list(loggers)
        self.of_trainer: list[ScalarLogger] = []
        self._broken: list[ScalarLogger] = []

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Note every value with every logger."""
        for logger in [*self.own, *self.of_trainer]:
            try:
                for name, value in values.items():
                    logger.scalar(name, value, step)
            except Exception as error:
                if not any(logger is known for known in self._broken):
                    self._broken.append(logger)
                    _log.warning("logger %s failed and may lack readings: %r", type(logger).__name__, error)


def _active_wandb_run() -> Any:
    try:
        return import_module("wandb").run
    except ImportError:
        return None


def _mlflow_with_active_run() -> Any:
    try:
        mlflow = import_module("mlflow")
    except ImportError:
        return None
    return mlflow if mlflow.active_run() is not None else None


def _say_once(told: bool, where: str, why: str) -> bool:
    if not told:
        _log.warning("no readings will be in %s: %s", where, why)
    return True
