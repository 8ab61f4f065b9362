"""A monitor in a plain training loop: the two lines are marked.

python examples/monitor/plain_loop.py --out runs/monitored
"""

from __future__ import annotations

import torch
from shared import BATCH, IGNORED, command_line, probes, samples, show
from torch.nn import functional

from curriculum.callbacks import Monitor
from curriculum.probe.testbed import VOCABULARY
from curriculum.proxy.model import ModelShape, Proxy


def main() -> None:
    """Train a small transformer on the testbed and watch its modes."""
    arguments = command_line(str(__doc__))
    torch.set_num_threads(1)  # this small a model is quickest so
    model = Proxy(ModelShape(vocabulary=VOCABULARY), torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    monitor = Monitor(model, probes=probes(), every=arguments.every, folder=arguments.out)  # line 1

    stream = samples(arguments.steps)
    for step in range(1, arguments.steps + 1):
        batch = [next(stream) for _ in range(BATCH)]
        tokens = torch.stack([sample["input_ids"] for sample in batch])
        labels = torch.stack([sample["labels"] for sample in batch])
        loss = functional.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        monitor.step(step, step * BATCH, loss=loss)  # line 2
    show(arguments.out)


if __name__ == "__main__":
    main()
