"""Samples per second: ours, Mosaic's class, litdata, Grain and a raw memmap; 2048 tokens of uint16, batches of 32.

    python benchmarks/loader.py [--seconds 1.5] [--rounds 5] [--workers 0 1 2] [--out benchmarks/loader.md]

litdata and Grain are optional, and left out where they cannot be imported:

    pip install --target LIBRARIES --no-deps litdata obstore tifffile lightning-utilities \\
        grain absl-py array-record cloudpickle etils portpicker
    PYTHONPATH=LIBRARIES python benchmarks/loader.py

Timed is the same for all: a loop over batches, (32, 2048) torch tensors, from warm files, over as many epochs as fit;
workers persist. All libraries go through their own DataLoader, a subclass of torch's or (Grain) their own. Each timing
has a process of its own, after twenty batches that do not count and whose first is compared with what was written; the
ways take turns, so that a busy machine hits all alike. Shown are medians over the rounds; ratios are to Mosaic's class
with as many workers, in the same run.
"""

from __future__ import annotations

import argparse
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from contenders import BATCH, LENGTH, STREAMS, Contender, check, contenders, write_flat
from setting import MeasurementError, counted, in_child, missing, publish, spread, table

WARM_UP = 20
Rates = dict[tuple[str, int], list[float]]


def rate(way: Contender, folder: Path, workers: int, seconds: float) -> float:
    """Return samples per second."""
    with closing(way.read(folder, workers)) as batches:
        check(folder, next(batches))
        for _ in range(WARM_UP):
            next(batches)
        count, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < seconds:
            count += len(next(batches))
        return count / (time.perf_counter() - begun)


def measure(ways: list[Contender], folder: Path, arguments: argparse.Namespace) -> tuple[Rates, dict[str, str]]:
    """Return every rate reached by (way, workers), and why ways failed."""
    rates: Rates = {}
    failures: dict[str, str] = {}
    for _ in range(arguments.rounds):
        for workers in arguments.workers:
            for way in ways:
                try:
                    reached = in_child(partial(rate, way, folder, workers, arguments.seconds), limit=120)
                except MeasurementError as error:
                    failures[f"{way.name}, {counted(workers)}"] = str(error)
                    continue
                rates.setdefault((way.name, workers), []).append(reached)
    return rates, failures


def prepared(folder: Path, samples: int) -> tuple[list[Contender], list[str]]:
    """Write everybody's files; return who can take part, and who cannot."""
    ways = [way for way in contenders() if not missing(way.needs)]
    absent = sorted({way.needs for way in contenders() if missing(way.needs)})
    write_flat(folder, samples)
    for way in ways:
        in_child(partial(way.write, folder, samples))
    return ways, absent


def shown(rates: Rates, ways: list[Contender], workers: list[int]) -> str:
    rows = []
    for way in ways:
        row = [way.name]
        for count in workers:
            reached, base = rates.get((way.name, count)), rates.get((ways[0].name, count))
            row.append(spread(reached) if reached else "failed")
            row.append(f"{median(reached) / median(base):.2f}" if reached and base else "")
        rows.append(row)
    header = ["way"]
    for count in workers:
        header += [f"{counted(count)}, samples/s", "ratio"]
    return table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=1.5, help="how long each way is timed in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--samples", type=int, default=16_384, help="samples in each of the four streams, at most 65,536")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"), help="where to write the result")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        ways, absent = prepared(Path(folder), arguments.samples)
        rates, failures = measure(ways, Path(folder), arguments)
    notes = [
        f"{len(STREAMS)} streams of {arguments.samples:,} samples of {LENGTH} x uint16, batches of {BATCH}, warm; medians of "
        f"{arguments.rounds} rounds of {arguments.seconds:g} s, in turn (least-most); ratios are to Mosaic's class with as "
        "many workers. Everyone yields (32, 2048) torch tensors; Grain's own loader makes NumPy batches, wrapped without "
        "a copy.",
        shown(rates, ways, arguments.workers),
    ]
    notes += [f"Left out, since not installed: {', '.join(absent)}."] if absent else []
    notes += [f"Failed: {way}: {why}" for way, why in failures.items()]
    publish(arguments.out, "Samples per second", notes, others=("litdata", "grain"))


if __name__ == "__main__":
    main()
