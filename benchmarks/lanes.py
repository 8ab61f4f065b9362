"""Bytes that each node downloads, by lanes: two epochs of four remote streams, every node with a cache of its own.

    python benchmarks/lanes.py [--nodes 4] [--lanes 1 4 64] [--shard-samples 64 61] [--out benchmarks/lanes.md]

The nodes are played one after another; each reads its share of the plan from an empty cache and the bytes in its cache
are counted. With one lane every node needs nearly every shard. With as many lanes as nodes, or a multiple, each shard
should be needed by one node, but for the ends of epochs and, where shards do not end with windows, for those that lie
across a border of windows. `small` is a stream of fewer windows than lanes.
"""

from __future__ import annotations

import argparse
import json
from decimal import Decimal
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from setting import in_child, publish, table

from curriculum.mix import Mix, Order, Phase, Stream
from curriculum.streaming import StreamingDataset
from curriculum.streaming.mds import write_stream

SAMPLES = {"web": 65_536, "code": 32_768, "books": 16_384, "small": 700}
WEIGHTS = {"web": 8, "code": 4, "books": 2, "small": 1}
TOKENS, WINDOW = 64, 256
HEADER = 266  # bytes of such a shard before its table and samples


def write(far: Path, shard_samples: int) -> int:
    """Write the streams; return their bytes in shards."""
    for name, samples in SAMPLES.items():
        tokens = np.zeros((samples, TOKENS), np.uint16)
        write_stream(far / name, {"tokens": tokens}, shard_bytes=HEADER + shard_samples * (TOKENS * 2 + 4))
        assert read_first(far / name) == min(shard_samples, samples)
    return shard_bytes(far)


def read_first(folder: Path) -> int:
    return int(json.loads((folder / "index.json").read_text())["shards"][0]["samples"])


def shard_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.mds"))


def downloaded(far: Path, nodes: int, node: int, lanes: int) -> int:
    """Return the bytes of shards that a node downloads in a run over the data, twice."""
    with TemporaryDirectory() as cache:
        streams = {
            name: Stream(remote=str(far / name), local=f"{cache}/{name}", order=Order(window=WINDOW)) for name in SAMPLES
        }
        weights = {name: Decimal(weight) for name, weight in WEIGHTS.items()}
        mix = Mix(
            name="lanes",
            samples=2 * sum(SAMPLES.values()),
            lanes=lanes,
            streams=streams,
            phases=(Phase(until=Decimal(1), weights=weights),),
        )
        dataset = StreamingDataset(mix=mix, batch_size=32, data_parallel_rank=node, data_parallel_size=nodes)
        for _ in dataset:
            pass
        return shard_bytes(Path(cache))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--lanes", type=int, nargs="+", default=[1, 4, 64])
    parser.add_argument("--shard-samples", type=int, nargs="+", default=[64, 61])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/lanes.md"))
    options = parser.parse_args()
    rows = []
    for shard_samples in options.shard_samples:
        with TemporaryDirectory() as folder:
            total = write(Path(folder), shard_samples)
            for lanes in options.lanes:
                found = [
                    in_child(partial(downloaded, Path(folder), options.nodes, node, lanes)) for node in range(options.nodes)
                ]
                shares = " ".join(f"{each / total:.1%}" for each in found)
                rows.append([str(lanes), str(shard_samples), f"{total / 1e6:.1f}", shares, f"{sum(found) / total:.2f}"])
    header = [
        "lanes",
        "samples a shard",
        "data, MB",
        f"downloaded by each of {options.nodes} nodes",
        "of the data, all together",
    ]
    publish(options.out, "Bytes downloaded per node, by lanes", [table(header, rows)])


if __name__ == "__main__":
    main()
