"""A monitor: the probes asked every so often while a model trains.

    monitor = Monitor(model, tokenizer, probes=probes, every=500, folder="runs/mine")
    ...
    monitor.step(step, position, loss=loss)          # in the loop, after the optimizer's step

Idea: all a training loop has to tell is how far it is; all that a trainer's callback does is to tell it. The training
itself is not touched (see `undisturbed`), nor ever ended: what goes wrong while reading or writing is logged, and training
goes on. Alternatives: probing checkpoints afterwards (`curriculum probe`: same numbers, no alert in time). The price: the
time of a reading, a forward pass over the probes' items every `every` steps.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Literal, SupportsFloat, TypeVar

import torch
from torch import Tensor, nn

from curriculum.callbacks.alerts import Alert, LossRule, LossWindow
from curriculum.callbacks.history import History, Row
from curriculum.callbacks.live import is_sharded, live_model, unwrapped
from curriculum.callbacks.loggers import Broadcast, ScalarLogger
from curriculum.callbacks.probes import Asked, Encode, Tokenizer, encode_with, prepared
from curriculum.callbacks.undisturbed import undisturbed
from curriculum.errors import UserError
from curriculum.probe.model import AnswerModel
from curriculum.probe.modes import HYSTERESIS, Mode
from curriculum.probe.scoring import Reading
from curriculum.probe.trajectory import Trajectory

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")
_LOGGED = ("accuracy", "margin", "control_margin")
_MODE_NUMBERS: dict[Mode, float] = {"general": 1.0, "shallow": -1.0, "unformed": 0.0}


class Monitor:
    """Reads probes every `every` steps of a training and writes what it reads to `folder` (see `history` for the files).

    `model`: the module in training (a Hugging Face model, or see `LiveModel` for what it must return), or any `AnswerModel`
    that looks at its current weights. `tokenizer`: a Hugging Face tokenizer, or a function from text to token ids with a
    beginning-of-sequence token if the model wants one and no end token; needed only for probes that are text.
    `probes`: `Probe`s in token ids, tasks of a suite or a suite, one or several, encoded once, now.

    A folder that holds readings is gone on with: those after the step at which training resumes are dropped. `rule` says
    what counts as a change of the loss; `on_alert` is called with every `Alert`, and what it raises ends the training.
    `on_error` "raise" lets a failed reading end it too; by default it is logged.

    Under several processes only rank 0 reads (`rank`: by default as torch.distributed or RANK say). A sharded model cannot be
    asked by one rank: with `ranks="all"` each takes part in the reading, so that all must call `step` alike, and rank 0 writes.

    `seconds` says how long readings have taken so far, waiting for the step before them included.

    Raises UserError for probes without names of their own, for text without a tokenizer and for a sharded model with
    `ranks="first"`; ChangedError where the folder's readings were of other items.
    """

    def __init__(
        self,
        model: nn.Module | AnswerModel,
        tokenizer: Tokenizer | Encode | None = None,
        *,
        probes: Asked | Iterable[Asked],
        every: int = 500,
        folder: Path | str,
        loggers: Sequence[ScalarLogger] = (),
        on_alert: Callable[[Alert], None] = lambda _: None,
        rule: LossRule | None = None,
        hysteresis: float = HYSTERESIS,
        ranks: Literal["first", "all"] = "first",
        rank: int | None = None,
        on_error: Literal["log", "raise"] = "log",
    ) -> None:
        if every < 1:
            raise UserError(f"monitor: wanted a reading every 1 or more steps, got every={every}")
        self.every, self.rule, self.on_alert, self.on_error = every, rule or LossRule(), on_alert, on_error
        self.ranks, self.rank = ranks, current_rank() if rank is None else rank
        self.reads = ranks == "all" or self.rank == 0
        self.watch(model)
        self.probes = prepared(probes, self._encode(tokenizer), context=getattr(self.model, "context", None))
        self.loggers = Broadcast(loggers if self.rank == 0 else ())
        self.history = History(Path(folder) if self.rank == 0 else None, hysteresis=hysteresis)
        self.history.check_probes({probe.name: probe.digest for probe in self.probes})
        self.seconds = 0.0
        self._losses: list[SupportsFloat] = []
        self._step: int | None = None
        self._read_at: int | None = None

    def watch(self, model: nn.Module | AnswerModel) -> None:
        """Ask `model` from now on. Raises UserError (see the class)."""
        module = model if isinstance(model, nn.Module) else getattr(model, "module", None)
        self.module = unwrapped(module) if isinstance(module, nn.Module) else None
        self._check_whole()
        self._follows = isinstance(model, nn.Module)
        self.model: AnswerModel = live_model(model) if isinstance(model, nn.Module) else model

    def follow(self, module: nn.Module) -> None:
        """Ask `module` from now on, if a trainer made or wrapped it itself; a model with its own way of answering stays."""
        if self._follows and unwrapped(module) is not self.module:
            self.watch(module)

    @property
    def trajectory(self) -> Trajectory:
        """Return the readings so far."""
        return self.history.trajectory

    def step(self, step: int, position: int, loss: SupportsFloat | None = None) -> tuple[Reading, ...]:
        """Note that optimizer step `step` (from 1) is done, that `position` samples were seen, and what the loss was.

        `loss` may be a tensor: it is looked at when a reading is due, so that no step waits for the device. A reading is due
        when a multiple of `every` was reached since the last call. A step that is not after the last one means that training
        went back. Returns the readings, if they were due.
        """
        if not self.reads:
            return ()
        if self._step is None or step <= self._step:
            self.resume(step - 1)
        before, self._step = self._step or 0, step
        if loss is not None:
            self.add_loss(loss)
        return self.read(step, position) if step // self.every > before // self.every else ()

    def is_new(self, step: int) -> bool:
        """Say whether `step` was not told yet: for trainers that also call between two optimizer steps."""
        return self._step is None or step > self._step

    def resume(self, step: int) -> None:
        """Drop what was read after `step`: training goes on from there. `step()` does so by itself. Raises UserError."""
        self._check_whole()
        self._losses.clear()
        self._step, self._read_at = step, None
        self._guarded(lambda: self.history.drop_after(step))

    def add_loss(self, loss: SupportsFloat) -> None:
        """Note a training loss: for a trainer that tells it at other times than its steps."""
        self._losses.append(loss.detach() if isinstance(loss, Tensor) else loss)

    def read(self, step: int, position: int) -> tuple[Reading, ...]:
        """Ask the probes now, whether or not it is time, and return the readings; nothing where `step` was read already."""
        if not self.reads or self._read_at == step:
            return ()
        if self._step is None or step < self._step:
            self.resume(step)
        readings = self._guarded(self._ask) or ()
        self._read_at = step
        if not readings or self.history.last_step == step:  # the latter: read before a stop, and training resumed there
            return readings
        for alert in self._guarded(lambda: self._note(step, position, readings)) or ():
            self.on_alert(alert)
        return readings

    def record_losses(self, position: int, losses: Mapping[str, float]) -> None:
        """Write held-out losses of streams, in nats a token, to `loss.parquet`, where runs have them."""
        if self.reads:
            self._guarded(lambda: self.history.add_losses(position, losses))

    def log_also(self, loggers: Iterable[ScalarLogger]) -> None:
        """Show readings in a trainer's loggers too, in place of those of its last training."""
        self.loggers.of_trainer = list(loggers) if self.rank == 0 else []

    def _check_whole(self) -> None:
        if self.ranks == "first" and self.module is not None and is_sharded(self.module):
            raise UserError(
                "monitor: the model's weights are sharded over the ranks, which rank 0 alone cannot ask; give ranks='all' "
                "and call the monitor on every rank, or probe checkpoints with `curriculum probe`"
            )

    def _ask(self) -> tuple[Reading, ...]:
        begun = monotonic()
        with undisturbed(self.module):
            readings = tuple(probe.read(self.model) for probe in self.probes)
        self.seconds += monotonic() - begun
        return readings

    def _note(self, step: int, position: int, readings: tuple[Reading, ...]) -> list[Alert]:
        """Keep and show the readings; return the alerts they give rise to, noted too."""
        window = LossWindow.of([float(loss) for loss in self._losses])
        self._losses.clear()
        losses = (self.history.losses_before(), window)
        before = {reading.probe: self.history.before(reading.probe) for reading in readings}
        rows = self.history.add(step, position, readings, window)
        self.loggers.scalars(_scalars(rows), step)
        changed = [(before[row["probe"]], row) for row in rows]
        alerts = [] if self.rule.shows(*losses) else [_alert(old, row, *losses) for old, row in changed if _differ(old, row)]
        if alerts:
            self.history.add_alerts(alerts)
        for alert in alerts:
            _log.warning("%s", alert)
        return alerts if self.rank == 0 else []

    def _guarded(self, action: Callable[[], _Result]) -> _Result | None:
        """Do something that may fail without ending the training, unless that is wanted."""
        try:
            return action()
        except Exception:
            if self.on_error == "raise":
                raise
            _log.exception("the monitor failed at step %s; training goes on", self._step)
            return None

    def _encode(self, tokenizer: Tokenizer | Encode | None) -> Encode | None:
        if tokenizer is not None:
            return encode_with(tokenizer)
        return None if self._follows else getattr(self.model, "encode", None)


def current_rank() -> int:
    """Return this process's rank, as torch.distributed or else the launcher's RANK says; 0 without either."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank()
    return int(os.environ.get("RANK", "0"))


def _scalars(rows: Sequence[Row]) -> dict[str, float]:
    values: dict[str, float] = {}
    for row in rows:
        name = f"probe/{row['probe']}"
        values |= {f"{name}/{column}": row[column] for column in _LOGGED if math.isfinite(row[column])}
        values[f"{name}/mode"] = _MODE_NUMBERS[row["mode"]]
    return values


def _differ(before: Row | None, row: Row) -> bool:
    return before is not None and before["mode"] != row["mode"]


def _alert(before: Row | None, row: Row, loss_before: LossWindow | None, loss_after: LossWindow | None) -> Alert:
    assert before is not None
    return Alert(
        **{name: row[name] for name in ("step", "position", "probe", "family", "margin", "low", "high")},
        before=before["mode"],
        after=row["mode"],
        margin_before=before["margin"],
        loss_before=None if loss_before is None else loss_before.mean,
        loss_after=None if loss_after is None else loss_after.mean,
    )
