"""A proxy of one's own: a recurrent network in a plain loop, read by the monitor. A study calls it for every run.

    python examples/custom_proxy/train.py MIX SEED OUT DRAW

The contract: play MIX, leave OUT/trajectory.parquet (positions in samples, the last one the run's end) and, if losses are to
be constraints, OUT/loss.parquet. DRAW is 0 in the search and 1 in the proof, which asks other items.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from curriculum import Mix, StreamingDataset
from curriculum.callbacks import Monitor
from curriculum.probe.testbed import VOCABULARY
from curriculum.proxy.feed import Batch, batches, heldout_batches
from curriculum.search.study_file import load_study

STUDY = Path(__file__).with_name("study.yaml")
BATCH, READINGS, WIDTH = 32, 20, 96


class Recurrent(nn.Module):
    """Token ids (batch, time) -> logits of the next token (batch, time, vocabulary)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.recurrence = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits."""
        hidden: Tensor = self.recurrence(self.embedding(tokens))[0]
        logits: Tensor = self.head(hidden)
        return logits


def loss_of(model: Recurrent, batch: Batch) -> Tensor:
    """Return the mean cross-entropy of a batch's targets, in nats a token."""
    losses = functional.cross_entropy(
        model(batch.tokens[:, :-1]).flatten(0, 1), batch.tokens[:, 1:].flatten(), reduction="none"
    )
    targets = batch.targets[:, 1:].flatten()
    return losses[targets].mean()


def train(mix: Mix, seed: int, out: Path, draw: int) -> None:
    """Train on the mix from its first sample to its last, and leave readings and held-out losses in `out`."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    study, model = load_study(STUDY), Recurrent()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    dataset = StreamingDataset(mix=mix, batch_size=BATCH)
    steps = dataset.plan.samples // BATCH
    probes = [probe.draw(draw, seed=study.seed) for probe in study.probes]
    monitor = Monitor(model, probes=probes, every=max(1, steps // READINGS), folder=out)
    for step, batch in enumerate(batches(dataset, BATCH, start=0, stop=steps * BATCH), start=1):
        loss = loss_of(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        monitor.step(step, step * BATCH, loss=loss.detach())
    monitor.read(steps, steps * BATCH)
    with torch.no_grad():
        losses = {name: loss_of(model, batch).item() for name, batch in heldout_batches(mix).items()}
    monitor.record_losses(steps * BATCH, losses)
    print({name: np.round(loss, 3) for name, loss in losses.items()})


if __name__ == "__main__":
    train(Mix.load(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
