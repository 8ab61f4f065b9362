"""A monitor inside Lightning's Trainer.

    monitor = Monitor(module.model, tokenizer, probes=probes, every=500, folder="runs/mine")
    lightning.Trainer(..., callbacks=[LightningCallback(monitor)])

Idea: the monitor is made of the network inside the LightningModule, the one that gives logits; the callback counts
optimizer steps and samples, and puts the samples into Lightning's own checkpoints. Readings go to the trainer's loggers
too. Alternatives: `self.log` (it wants to be called from hooks on every rank alike, and reduces). The price: the number of
samples is guessed from the batch as Lightning guesses it, the first dimension of its first tensor, unless `position` says it.

This module needs lightning or pytorch_lightning, and is imported by nobody else. The class works with both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from curriculum.callbacks.monitor import Monitor
from curriculum.streaming.torchvision_guard import torchvision_or_stand_in

with torchvision_or_stand_in():
    if TYPE_CHECKING:
        from lightning.pytorch import Callback, LightningModule, Trainer
        from lightning.pytorch.utilities.data import extract_batch_size
    else:
        try:
            from lightning.pytorch import Callback, LightningModule, Trainer
            from lightning.pytorch.utilities.data import extract_batch_size
        except ImportError:
            from pytorch_lightning import Callback, LightningModule, Trainer
            from pytorch_lightning.utilities.data import extract_batch_size


class LightningCallback(Callback):
    """Tells `monitor` where the trainer is; reads once more when training ends.

    `position` says how many samples were seen; by default the batches' sizes are added up and multiplied by the number of
    processes, right where all of them hold data of their own. When training resumes from a checkpoint, readings after it are
    dropped.
    """

    def __init__(self, monitor: Monitor, *, position: Callable[[], int] | None = None) -> None:
        self.monitor, self.position = monitor, position
        self.samples = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin at the step that the trainer begins at, and show readings in its loggers."""
        self.monitor.resume(trainer.global_step)
        self.monitor.log_also(_TrainerLogger(logger) for logger in trainer.loggers)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch, and read if an optimizer step was done and it is time."""
        if self.position is None:
            self.samples += extract_batch_size(batch) * trainer.world_size
        loss = _loss_of(outputs)
        if loss is not None:
            self.monitor.add_loss(loss * trainer.accumulate_grad_batches)  # Lightning divides it
        if self.monitor.is_new(trainer.global_step):
            self.monitor.step(trainer.global_step, self._position())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the model that training ended with."""
        self.monitor.read(trainer.global_step, self._position())

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"samples": self.samples}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting from a checkpoint."""
        self.samples = int(state_dict["samples"])

    def _position(self) -> int:
        return self.samples if self.position is None else self.position()


class _TrainerLogger:
    """One of the trainer's own loggers as a `ScalarLogger`."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def scalar(self, name: str, value: float, step: int) -> None:
        self._logger.log_metrics({name: value}, step=step)


def _loss_of(outputs: Any) -> Tensor | None:
    """Return the loss in what Lightning hands on from a training step; None under manual optimization without one."""
    found = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    return found if isinstance(found, Tensor) else None
