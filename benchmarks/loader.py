"""Samples per second of the loader: Mosaic's class, ours without and with a mix, and whole batches by position.

    python benchmarks/loader.py [--seconds 1] [--rounds 5] [--workers 0 1]

All ways read the same streams, warm, in one run; they take turns, so that a busy machine hits all alike, and the median
of the rounds is shown. The ratio is to Mosaic's class with the first number of workers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from curriculum.mix import Mix, Phase, Stream
from curriculum.streaming import StreamingDataLoader, StreamingDataset, mosaic
from curriculum.streaming.mds import write_stream
from curriculum.streaming.shared import release

BATCH = 32
SHAPES: dict[str, dict[str, tuple[str, int]]] = {
    "2 columns of 24 x uint8": {"tokens": ("uint8", 24), "loss_mask": ("uint8", 24)},
    "1 column of 2048 x uint16": {"tokens": ("uint16", 2048)},
}
SAMPLES, STREAMS = 8192, ("a", "b", "c", "d")


def write(folder: Path, columns: dict[str, tuple[str, int]]) -> Mix:
    """Write four streams and return a mix of them that ramps."""
    random = np.random.default_rng(0)
    for name in STREAMS:
        arrays = {
            column: random.integers(0, 200, (SAMPLES, length)).astype(dtype) for column, (dtype, length) in columns.items()
        }
        write_stream(folder / name, arrays, shard_bytes=1 << 22)
    weights = {name: Decimal(number + 1) for number, name in enumerate(STREAMS)}
    ramp = Phase(until=Decimal(1), weights=weights, to=dict(zip(STREAMS, reversed(weights.values()), strict=True)))
    streams = {name: Stream(local=str(folder / name)) for name in STREAMS}
    return Mix(name="benchmark", samples=4 * SAMPLES, streams=streams, phases=(ramp,))


def iterated(dataset: Any, workers: int) -> Generator[int, None, None]:
    """Yield the sizes of the batches that a DataLoader makes, epoch after epoch."""
    loader = StreamingDataLoader(dataset, batch_size=BATCH, num_workers=workers)
    while True:
        yield from (len(batch["tokens"]) for batch in loader)


def by_position(dataset: StreamingDataset) -> Generator[int, None, None]:
    while True:
        for start in range(0, len(dataset.plan), BATCH):
            yield len(dataset.__getitems__(range(start, start + BATCH)))


def rate(sizes: Iterator[int], seconds: float) -> float:
    """Return samples per second; the first ten batches warm up and do not count."""
    for _ in range(10):
        next(sizes)
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        count += next(sizes)
    return count / (time.perf_counter() - begun)


def makers(folder: Path, mix: Mix) -> dict[str, Callable[[], Any]]:
    def streams() -> list[mosaic.Stream]:
        return [mosaic.Stream(local=str(folder / name)) for name in STREAMS]

    return {
        "Mosaic's class": lambda: mosaic.StreamingDataset(streams=streams(), shuffle=True, batch_size=BATCH),
        "ours, without a mix": lambda: StreamingDataset(streams=streams(), shuffle=True, batch_size=BATCH),
        "ours, with a mix": lambda: StreamingDataset(mix=mix, batch_size=BATCH),
    }


def once(make: Callable[[], Any], read: Callable[[Any], Generator[int, None, None]], seconds: float) -> float:
    """Return the samples per second of a fresh dataset; it is released afterwards, for its threads go on otherwise."""
    dataset = make()
    batches = read(dataset)
    try:
        return rate(batches, seconds)
    finally:
        batches.close()
        release(dataset)


def measure(ways: dict[str, Callable[[], Any]], workers: list[int], seconds: float, rounds: int) -> dict[str, float]:
    """Return the median samples per second of every way to read."""
    reached: dict[str, list[float]] = {}
    for _ in range(rounds):
        for count in workers:
            for way, make in ways.items():
                rates = reached.setdefault(f"{way}, {count} workers", [])
                rates.append(once(make, partial(iterated, workers=count), seconds))
        whole = reached.setdefault("ours, with a mix, __getitems__", [])
        whole.append(once(ways["ours, with a mix"], by_position, seconds))
    return {way: median(rates) for way, rates in reached.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=1, help="how long each way is timed in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for shape, columns in SHAPES.items():
        print(f"\n{shape}, batches of {BATCH}\n{'':44}{'samples/s':>12}{'us/sample':>12}{'ratio':>8}")
        with tempfile.TemporaryDirectory() as folder:
            mix = write(Path(folder), columns)
            rates = measure(makers(Path(folder), mix), arguments.workers, arguments.seconds, arguments.rounds)
        for way, reached in rates.items():
            ratio = reached / rates[f"Mosaic's class, {arguments.workers[0]} workers"]
            print(f"{way:44}{reached:12,.0f}{1e6 / reached:12.1f}{ratio:8.2f}")


if __name__ == "__main__":
    main()
