"""A monitor in Lightning's Trainer: one callback.

python examples/monitor/lightning_trainer.py --out runs/monitored-lightning
"""

from __future__ import annotations

import torch
from shared import BATCH, IGNORED, command_line, probes, samples, show
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from curriculum.callbacks import Monitor
from curriculum.callbacks.lightning import LightningCallback
from curriculum.probe.testbed import VOCABULARY
from curriculum.proxy.model import ModelShape, Proxy
from curriculum.streaming.torchvision_guard import torchvision_or_stand_in

with torchvision_or_stand_in():  # only needed where torchvision does not fit torch
    import lightning


class Module(lightning.LightningModule):
    """A small transformer, its loss and its optimizer."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Proxy(ModelShape(vocabulary=VOCABULARY), torch.Generator().manual_seed(0))

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        """Return the loss of the targets."""
        logits = self.network(batch["input_ids"][:, :-1])
        return functional.cross_entropy(logits.flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=IGNORED)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


def main() -> None:
    """Train on the testbed and watch the modes."""
    arguments = command_line(str(__doc__))
    torch.set_num_threads(1)
    module = Module()
    monitor = Monitor(module.network, probes=probes(), every=arguments.every, folder=arguments.out)
    trainer = lightning.Trainer(
        max_steps=arguments.steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[LightningCallback(monitor)],
    )
    trainer.fit(module, DataLoader(list(samples(arguments.steps)), batch_size=BATCH))  # type: ignore[arg-type]
    show(arguments.out)


if __name__ == "__main__":
    main()
