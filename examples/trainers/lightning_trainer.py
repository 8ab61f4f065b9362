"""Lightning under a mix, on one process or on many; stopped anywhere, it goes on where it was.

    python examples/trainers/lightning_trainer.py --out runs/lightning
    torchrun --nproc-per-node 2 examples/trainers/lightning_trainer.py --out runs/lightning

Lightning saves and loads the state of any loader that has `state_dict` and `load_state_dict`, so a checkpoint holds it
without a line of ours. Processes are started by torchrun, since Lightning's own launcher sets no RANK.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import lightning
import torch
from data import LEARNING_RATE, Batch, log_step, make_loader, make_model, run
from lightning.pytorch.callbacks import ModelCheckpoint

from curriculum.streaming import StreamingDataLoader


class TinyModel(lightning.LightningModule):
    """The model, its loss and its optimizer."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__()
        self.model = make_model()
        self.arguments = arguments

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        """Return the loss, and log what the batch held."""
        loss: torch.Tensor = self.model(**batch).loss
        log_step(self.arguments.out, self.global_rank, self.global_step + 1, batch, loss)
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        """Stop after the step that was asked for."""
        self.trainer.should_stop |= self.global_step == self.arguments.stop_after

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return torch.optim.AdamW(self.parameters(), lr=LEARNING_RATE)


class MixData(lightning.LightningDataModule):
    """Makes the loader when Lightning asks for it: after the processes know each other."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__()
        self.arguments = arguments

    def train_dataloader(self) -> StreamingDataLoader:
        """Return this rank's loader."""
        assert self.trainer is not None
        return make_loader(self.arguments.mix, self.trainer.world_size, self.arguments.workers)


def train(arguments: argparse.Namespace) -> None:
    """Train to `arguments.steps`, from the checkpoint in `arguments.out` if there is one."""
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    trainer = lightning.Trainer(
        max_steps=arguments.steps,
        accelerator="cpu",
        devices=ranks,
        strategy="ddp" if ranks > 1 else "auto",
        use_distributed_sampler=False,  # the dataset shards itself
        callbacks=[
            ModelCheckpoint(arguments.out, "checkpoint", every_n_train_steps=arguments.save_every, enable_version_counter=False)
        ],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    checkpoint = arguments.out / "checkpoint.ckpt"
    trainer.fit(
        TinyModel(arguments),
        datamodule=MixData(arguments),
        ckpt_path=checkpoint if checkpoint.exists() else None,
        weights_only=True,
    )


if __name__ == "__main__":
    run(train, "Train a tiny language model on a mix with Lightning.")
