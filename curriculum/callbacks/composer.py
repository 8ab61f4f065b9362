"""A monitor inside Composer's Trainer.

    monitor = Monitor(network, tokenizer, probes=probes, every=500, folder="runs/mine")
    composer.Trainer(model=model, ..., callbacks=[ComposerCallback(monitor)])

Idea: Composer's clock counts batches and samples itself and keeps both in its checkpoints, so there is nothing to guess: a
batch is a step, and the position is `timestamp.sample`. The monitor is made of the network inside the ComposerModule, the
one that gives logits from token ids. Readings go to Composer's logger too. Alternatives: a `LoggerDestination` (sees
metrics, not the model). The price: with micro-batches the loss noted is the last one's, as `state.loss` holds it.

This module needs composer, and is imported by nobody else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from curriculum.callbacks.monitor import Monitor
from curriculum.streaming.torchvision_guard import torchvision_or_stand_in

with torchvision_or_stand_in():
    from composer.core import Callback  # type: ignore[import-not-found]


class ComposerCallback(Callback):  # type: ignore[misc]
    """Tells `monitor` where the trainer is; reads once more when training ends.

    When Composer resumes from a checkpoint, readings after it are dropped.
    """

    def __init__(self, monitor: Monitor) -> None:
        super().__init__()
        self.monitor = monitor

    def fit_start(self, state: Any, logger: Any) -> None:
        """Show readings in the trainer's logger too."""
        self.monitor.log_also([_ComposerLogger(logger)])

    def batch_end(self, state: Any, logger: Any) -> None:
        """Note the batch, and read if it is time."""
        self.monitor.step(state.timestamp.batch.value, state.timestamp.sample.value, loss=total_loss(state.loss))

    def fit_end(self, state: Any, logger: Any) -> None:
        """Read the model that training ended with."""
        self.monitor.read(state.timestamp.batch.value, state.timestamp.sample.value)


class _ComposerLogger:
    """Composer's logger as a `ScalarLogger`."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def scalar(self, name: str, value: float, step: int) -> None:
        self._logger.log_metrics({name: value}, step)


def total_loss(loss: Any) -> Tensor | None:
    """Return the loss of `state.loss`: a tensor, several to add up, or a dict of them (with a `total`)."""
    if isinstance(loss, Tensor):
        return loss.detach()
    if isinstance(loss, Mapping):
        return total_loss(loss["total"]) if "total" in loss else total_loss(list(loss.values()))
    if isinstance(loss, Sequence) and loss:
        parts: list[Tensor] = [part.detach() for part in loss]
        return torch.stack(parts).sum()
    return None
