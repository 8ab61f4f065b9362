"""Started on two processes, as torchrun would: trains under DDP and FSDP2, with and without a monitor, and says how it went.

torchrun --nproc-per-node 2 tests/callbacks_ranks.py FOLDER
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from callbacks_help import VOCABULARY, next_token_loss, same, steps_and_positions, token_probe
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from curriculum.callbacks import LiveModel, Monitor
from curriculum.errors import UserError
from curriculum.probe import read_probe


class Net(nn.Module):
    """A causal model with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.drop, self.out = nn.Embedding(VOCABULARY, 8), nn.Dropout(0.1), nn.Linear(8, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (batch, time, vocabulary)."""
        return self.out(self.drop(self.embed(tokens).cumsum(dim=1))).clone()  # type: ignore[no-any-return]


def train(kind: str, folder: Path, *, monitored: bool) -> tuple[dict[str, Tensor], Monitor | None]:
    """Train six steps; return the whole weights."""
    torch.manual_seed(0)
    network = Net()
    model: Any = DistributedDataParallel(network) if kind == "ddp" else fully_shard(network)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    torch.manual_seed(dist.get_rank())
    monitor = None
    if monitored:
        ranks: Any = "first" if kind == "ddp" else "all"
        monitor = Monitor(model, probes=[token_probe()], every=3, folder=folder, ranks=ranks, on_error="raise")
    for step in range(1, 7):
        tokens = torch.randint(0, VOCABULARY, (4, 6))
        loss = next_token_loss(model(tokens), tokens)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if monitor is not None:
            monitor.step(step, 8 * step, loss=loss)
    weights = {
        name: (value.full_tensor() if hasattr(value, "full_tensor") else value).clone()
        for name, value in network.state_dict().items()
    }
    return weights, monitor


def refused(folder: Path) -> bool:
    """Say whether a sharded model is refused where only the first rank would read."""
    try:
        Monitor(fully_shard(Net()), probes=[token_probe()], folder=folder)
    except UserError:
        return True
    return False


def main(folder: Path) -> None:
    """Write what each rank found to FOLDER/RANK.json."""
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    found: dict[str, Any] = {"refused": refused(folder / "refused")}
    for kind in ("ddp", "fsdp"):
        without, _ = train(kind, folder / kind, monitored=False)
        weights, monitor = train(kind, folder / kind, monitored=True)
        assert monitor is not None
        found[kind] = {"same": same(without, weights)}
        if dist.get_rank() == 0:
            whole = Net().eval()
            whole.load_state_dict(weights)
            margins = [float(monitor.trajectory.table["margin"].iloc[-1]), read_probe(token_probe(), LiveModel(whole)).margin]
            found[kind] |= {"steps": steps_and_positions(folder / kind), "margins": margins}
    (folder / f"{dist.get_rank()}.json").write_text(json.dumps(found, default=int))
    del monitor
    gc.collect()  # a wrapped model, which holds the group, must not outlive it
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
