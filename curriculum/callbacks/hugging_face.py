"""A monitor inside Hugging Face's Trainer.

    monitor = Monitor(model, tokenizer, probes=probes, every=500, folder="runs/mine")
    Trainer(model=model, ..., callbacks=[HuggingFaceCallback(monitor)])

Idea: Trainer tells its callbacks the step, and the loss only when it logs it; so a reading that falls together with a log
waits for it, and both belong to one stretch. Alternatives: a subclass of Trainer that sees every loss (a second class to
inherit from, and Trainer scales losses in ways of its own). The price: the loss is known as often as it is logged; take
`logging_steps` no longer than a tenth of `every`, or the alert has only the relative rule to go by.

This module needs transformers, and is imported by nobody else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from curriculum.callbacks.monitor import Monitor
from curriculum.streaming.torchvision_guard import torchvision_or_stand_in

with torchvision_or_stand_in():
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class HuggingFaceCallback(TrainerCallback):
    """Tells `monitor` where Trainer is; reads once more when training ends.

    `position` says how many samples were seen; by default steps x batch size x processes x accumulation, which counts
    the last batch of an epoch as a whole one. When Trainer resumes from a checkpoint, readings after it are dropped.
    """

    def __init__(self, monitor: Monitor, *, position: Callable[[], int] | None = None) -> None:
        self.monitor, self.position = monitor, position
        self._waits_for_log = False

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **_: Any,
    ) -> None:
        """Ask the model as Trainer wrapped it, from the step it begins at."""
        if model is not None:
            self.monitor.follow(model)
        self.monitor.resume(state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Read, if it is time and no log is about to come."""
        self._waits_for_log = control.should_log
        if not self._waits_for_log:
            self._tell(args, state, control)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Note the mean loss since the last log, and read if it is time. Evaluation logs hold no training loss."""
        if logs is None or "loss" not in logs:
            return
        self.monitor.add_loss(logs["loss"])
        if self._waits_for_log:  # else it is the log of an epoch's end, and the step was told
            self._waits_for_log = False
            self._tell(args, state, control)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Read the model that training ended with, unless an earlier one was put in its place."""
        if not args.load_best_model_at_end:
            self.monitor.read(state.global_step, self._position(args, state))

    def _tell(self, args: TrainingArguments, state: TrainerState, control: TrainerControl) -> None:
        position = self._position(args, state)
        self.monitor.step(state.global_step, position)
        if control.should_training_stop:
            self.monitor.read(state.global_step, position)

    def _position(self, args: TrainingArguments, state: TrainerState) -> int:
        if self.position is not None:
            return self.position()
        batch = state.train_batch_size or args.train_batch_size
        return int(state.global_step * batch * args.world_size * args.gradient_accumulation_steps)
