"""Hugging Face's Trainer under a mix, on one process or on many; stopped anywhere, it goes on where it was.

    python examples/trainers/hf_trainer.py --out runs/hf
    torchrun --nproc-per-node 2 examples/trainers/hf_trainer.py --out runs/hf     # or accelerate launch

Left to itself, Trainer would shard the dataset a second time, and resume by reading and throwing away every batch
before the checkpoint. Three things prevent both: the loader is handed over unwrapped, `ignore_data_skip=True` stops the
replay, and the loader's state lies in each checkpoint as loader.json.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from data import GLOBAL_BATCH, LEARNING_RATE, Batch, log_step, make_loader, make_model, run
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from curriculum.streaming import StreamingDataLoader

LOADER_FILE = "loader.json"


class MixTrainer(Trainer):
    """A Trainer that takes its batches from a loader which knows ranks, epochs and resumption by itself."""

    def __init__(self, loader: StreamingDataLoader, out: Path, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.loader, self.out = loader, out
        self.add_callback(SaveLoader(loader, out))  # type: ignore[no-untyped-call]

    def get_train_dataloader(self) -> Iterator[Batch]:  # type: ignore[override]  # it is only iterated
        """Return the batches, not passed through `accelerator.prepare`, which would shard them again and read one ahead.

        One endless pass: with epochs of its own, Trainer would take the end of a resumed epoch for the end of the data.
        """
        while True:
            yield from self.loader

    def training_step(self, model: torch.nn.Module, inputs: Batch, *rest: Any) -> torch.Tensor:
        """Train on one batch, and log what it held."""
        loss: torch.Tensor = super().training_step(model, inputs, *rest)
        log_step(self.out, self.args.process_index, self.state.global_step + 1, inputs, loss)
        return loss


class SaveLoader(TrainerCallback):
    """Puts the loader's state into every checkpoint, last: a checkpoint without it was cut short."""

    def __init__(self, loader: StreamingDataLoader, out: Path) -> None:
        self.loader, self.out = loader, out

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Write the state once for all ranks."""
        if state.is_world_process_zero:
            building = self.out / f"checkpoint-{state.global_step}" / "building.json"
            building.write_text(json.dumps(self.loader.state_dict()))
            building.replace(building.with_name(LOADER_FILE))


class StopAfter(TrainerCallback):
    """Ends the run after a step, without a checkpoint."""

    def __init__(self, step: int | None) -> None:
        self.step = step

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Stop at the step."""
        control.should_training_stop |= state.global_step == self.step


def train(arguments: argparse.Namespace) -> None:
    """Train to `arguments.steps`, from the last whole checkpoint in `arguments.out` if there is one."""
    os.environ.setdefault("ACCELERATE_TORCH_DEVICE", "cpu")  # as "cpu:0", two processes could not load optimizer.pt
    settings = TrainingArguments(
        output_dir=str(arguments.out),
        max_steps=arguments.steps,
        learning_rate=LEARNING_RATE,
        save_steps=arguments.save_every,
        ignore_data_skip=True,  # the loader resumes by itself
        use_cpu=True,
        disable_tqdm=True,
        report_to="none",
    )
    settings.per_device_train_batch_size = GLOBAL_BATCH // settings.world_size  # for Trainer's own counts
    loader = make_loader(arguments.mix, settings.world_size, arguments.workers)
    trainer = MixTrainer(loader, arguments.out, model=make_model(), args=settings, callbacks=[StopAfter(arguments.stop_after)])
    checkpoint = last_checkpoint(arguments.out)
    if checkpoint is not None:
        loader.load_state_dict(json.loads((checkpoint / LOADER_FILE).read_text()))
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))


def last_checkpoint(out: Path) -> Path | None:
    """Return the newest checkpoint that was written to its end."""
    whole = [file.parent for file in out.glob(f"checkpoint-*/{LOADER_FILE}")]
    return max(whole, key=lambda folder: int(folder.name.removeprefix("checkpoint-")), default=None)


if __name__ == "__main__":
    run(train, "Train a tiny language model on a mix with Hugging Face's Trainer.")
