"""A plain torch loop under a mix, on one process or on many with DDP; stopped anywhere, it goes on where it was.

    python examples/trainers/torch_ddp.py --out runs/torch
    torchrun --nproc-per-node 2 examples/trainers/torch_ddp.py --out runs/torch

The two may resume each other: the loader's state is a position in the mix, whatever the number of processes.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from data import LEARNING_RATE, log_step, make_loader, make_model, run
from torch import distributed
from torch.nn.parallel import DistributedDataParallel


def train(arguments: argparse.Namespace) -> None:
    """Train to `arguments.steps`, from the checkpoint in `arguments.out` if there is one."""
    rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if ranks > 1:
        distributed.init_process_group("gloo")
    model = make_model()
    trained = DistributedDataParallel(model) if ranks > 1 else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    loader = make_loader(arguments.mix, ranks, arguments.workers)
    parts = {"model": model, "optimizer": optimizer, "loader": loader}
    checkpoint = arguments.out / "checkpoint.pt"
    step = load(checkpoint, parts)
    last = min(arguments.steps, arguments.stop_after or arguments.steps)
    while step < last:
        for batch in loader:  # one epoch of the mix, or what a resumed run has left of it
            loss = trained(**batch).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            log_step(arguments.out, rank, step, batch, loss)
            if rank == 0 and (step % arguments.save_every == 0 or step == arguments.steps):
                save(checkpoint, step, parts)
            if step == last:
                break


def save(path: Path, step: int, parts: dict[str, Any]) -> None:
    """Write model, optimizer and loader after `step`; a run killed meanwhile finds the checkpoint before."""
    building = path.with_suffix(".building")
    torch.save({"step": step} | {name: part.state_dict() for name, part in parts.items()}, building)
    building.replace(path)


def load(path: Path, parts: dict[str, Any]) -> int:
    """Load what `save` wrote, if anything, and return its step. Raises ChangedError under another mix or other data."""
    if not path.exists():
        return 0
    saved = torch.load(path, weights_only=True)
    for name, part in parts.items():  # the loader too, on every rank, and before it is iterated
        part.load_state_dict(saved[name])
    return int(saved["step"])


if __name__ == "__main__":
    run(train, "Train a tiny language model on a mix with a plain torch loop.")
