"""What the examples share: the testbed's batches, its probes, and a command line. In a job of yours these are yours."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from curriculum import StreamingDataset
from curriculum.probe import Probe
from curriculum.probe.testbed import FAMILIES, probe_items

MIX = Path(__file__).with_name("mix.yaml")
BATCH = 32
IGNORED = -100  # a label that is no target


def probes(items: int = 64) -> list[Probe]:
    """Return the testbed's three probes, each beside its neutral control; items are token ids."""
    return [
        Probe(
            name=family,
            family=family,
            items=probe_items(family, control=False, count=items, seed=1),
            control=probe_items(family, control=True, count=items, seed=1),
            floor=0.2,
        )
        for family in FAMILIES
    ]


def samples(steps: int) -> Iterator[dict[str, Tensor]]:
    """Yield the run's samples: token ids (24,), and labels (24,) in which all but the targets are ignored."""
    dataset = StreamingDataset(mix=MIX, batch_size=BATCH)
    for first in range(0, steps * BATCH, BATCH):
        for sample in dataset.__getitems__(np.arange(first, first + BATCH)):
            tokens = torch.from_numpy(sample["tokens"].astype(np.int64))
            yield {"input_ids": tokens, "labels": tokens.where(torch.from_numpy(sample["loss_mask"] > 0), IGNORED)}
    dataset.close()


def command_line(description: str) -> argparse.Namespace:
    """Parse the command line: where to write, how long to train, how often to read."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the readings; the same folder again goes on with them"
    )
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--every", type=int, default=50, metavar="STEPS")
    return parser.parse_args()


def show(folder: Path) -> None:
    """Print the modes that were read, one line a probe."""
    from curriculum.probe import Trajectory

    table = Trajectory.load(folder / "trajectory.parquet").table
    signs = {"general": "+", "shallow": "-", "unformed": "."}
    for name, rows in table.groupby("probe", sort=False):
        print(f"{name:12} {''.join(signs[mode] for mode in rows['mode'])}   margin at the end {rows['margin'].iloc[-1]:+.2f}")
