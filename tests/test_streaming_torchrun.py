"""Real jobs of torchrun on the loopback: one run, stopped twice, each time gone on with in another world."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import streaming_help
from ports_help import free_port
from streaming_help import SIZES, planned, ramp

folder = streaming_help.folder
SCRIPT = Path(__file__).with_name("streaming_torchrun.py")


class Leg(NamedTuple):
    """A job: nodes x ranks x workers, samples a batch, batches until it stops (-1: to the end)."""

    nodes: int
    ranks: int
    workers: int
    batch: int
    batches: int


def run(folder: Path, out: Path, leg: Leg) -> list[dict[str, Any]]:
    """Run the leg under torchrun, one launcher a node; return what its ranks wrote."""
    endpoint = f"127.0.0.1:{free_port()}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--rdzv-backend=static", f"--rdzv-endpoint={endpoint}"]
    world = [f"--nnodes={leg.nodes}", f"--nproc-per-node={leg.ranks}"]
    task = [str(each) for each in (SCRIPT, folder, out, leg.workers, leg.batch, leg.batches)]
    nodes = [
        subprocess.Popen(
            [*launcher, *world, f"--node-rank={node}", *task],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for node in range(leg.nodes)
    ]
    printed = [node.communicate(timeout=240)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0] * leg.nodes, "\n".join(printed)
    return [json.loads((out / f"rank{rank}.json").read_text()) for rank in range(leg.nodes * leg.ranks)]


def test_one_order_through_three_worlds_of_torchrun(folder: Path, tmp_path: Path) -> None:
    keys: list[int] = []
    start = 0
    for leg in (Leg(1, 2, 2, 8, 13), Leg(2, 2, 1, 4, 17), Leg(1, 3, 0, 16, -1)):
        ranks = run(folder, tmp_path, leg)
        assert all(rank["state"] == ranks[0]["state"] for rank in ranks)
        turns = [(start + turn) % leg.nodes for turn in range(leg.nodes)]
        ordered = [ranks[node * leg.ranks + rank]["keys"] for rank in range(leg.ranks) for node in turns]
        keys += [key for row in zip(*ordered, strict=True) for key in row if key is not None]
        state = ranks[0]["state"]
        start = state["position"]
        assert len(keys) == start
        (tmp_path / "state.json").write_text(json.dumps(state))
    assert keys == planned(ramp(folder).plan(SIZES))
