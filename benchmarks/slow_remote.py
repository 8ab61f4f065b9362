"""What share of its time a training step waits for data, when the remote answers slowly: ours under a mix beside Mosaic's.

    python benchmarks/slow_remote.py [--step-ms 20] [--workers 0 2] [--rounds 3] [--out benchmarks/slow_remote.md]

The remote is a local folder; every download of a shard sleeps first: 5 ms, one in twenty 100 ms, one in a hundred 1 s.
How long is keyed by the shard's name, so that all contenders wait for the same shards equally long, in whatever order
they ask for them. Both download through Mosaic's downloader for local folders, which is patched, before workers fork.
The step sleeps, as a device computes, and leaves the processor to whoever reads ahead. Every run has an empty cache and
a process of its own, plays each sample once (ours: as the plan says) and counts every wait, that for the first batch too.

How far the samples mix decides how many shards a batch touches. Ours draws from one window of each stream at a time;
Mosaic's shuffles blocks of `shuffle_block_size` samples, by default over far more than this whole data set, so that it is
shown with blocks as small as our windows together, too.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from contenders import BATCH, LENGTH, STREAMS, free, mix_of
from setting import MeasurementError, counted, in_child, publish, table
from streaming.base.storage.download import LocalDownloader

from curriculum.mix import Stream
from curriculum.streaming import StreamingDataLoader, StreamingDataset, mosaic
from curriculum.streaming.mds import write_stream
from curriculum.units import keyed_seed

Make = Callable[[Path, Path, int, int | None], Any]  # (remote, cache, samples of the epoch, predownload) -> dataset
SHARD_SAMPLES = 64
BLOCK = SHARD_SAMPLES * len(STREAMS)  # samples among which ours mixes: a window of each stream
DELAYS = ((0.01, 1.0), (0.06, 0.1), (1.0, 0.005))  # (share of shards up to here, seconds)


@dataclass(frozen=True, kw_only=True, slots=True)
class Waits:
    """Seconds that a run waited for its first batch, for all batches, at most for one of the later ones; seconds of all."""

    first: float
    waited: float
    longest: float
    whole: float


def delay(remote: str) -> float:
    """Return how many seconds the remote thinks about a file; by its folder's and its own name, wherever they lie."""
    if not remote.endswith(".mds"):
        return 0.0
    lot = keyed_seed(0, "delay", *Path(remote).parts[-2:]) / 2**64
    return next(seconds for share, seconds in DELAYS if lot < share)


def slow_down() -> None:
    """Make Mosaic's downloader for local folders sleep before it copies a shard."""
    copy = LocalDownloader._download_file_impl

    def slow_copy(self: Any, remote: str, local: str, timeout: float) -> None:
        time.sleep(delay(remote))
        copy(self, remote, local, timeout)

    LocalDownloader._download_file_impl = slow_copy


def write_remote(folder: Path, shards: int) -> None:
    tokens = np.zeros((shards * SHARD_SAMPLES, LENGTH), np.uint16)
    header = 4096  # of a shard; room for exactly 64 samples
    for name in STREAMS:
        write_stream(folder / name, {"tokens": tokens}, shard_bytes=header + SHARD_SAMPLES * (2 * LENGTH + 4))


def ours(remote: Path, cache: Path, samples: int, predownload: int | None) -> Any:
    streams = {name: Stream(remote=str(remote / name), local=str(cache / name)) for name in STREAMS}
    return StreamingDataset(mix=mix_of(streams, samples), batch_size=BATCH, predownload=predownload)


def mosaics(block: int | None, remote: Path, cache: Path, samples: int, predownload: int | None) -> Any:
    streams = [mosaic.Stream(remote=str(remote / name), local=str(cache / name)) for name in STREAMS]
    return mosaic.StreamingDataset(
        streams=streams, shuffle=True, shuffle_block_size=block, batch_size=BATCH, predownload=predownload
    )


CONTENDERS: dict[str, Make] = {
    "**ours, mix**": ours,
    f"Mosaic's class, blocks of {BLOCK}": partial(mosaics, BLOCK),
    "Mosaic's class, default blocks": partial(mosaics, None),
}


def run(make: Make, remote: Path, *, workers: int, predownload: int | None, step: float, samples: int) -> Waits:
    """Train for one epoch with an empty cache."""
    with TemporaryDirectory() as cache:
        dataset = make(remote, Path(cache), samples, predownload)
        try:
            begun = time.perf_counter()
            batches = iter(StreamingDataLoader(dataset, batch_size=BATCH, num_workers=workers, drop_last=True))
            waits = list(waiting(batches, step))
            whole = time.perf_counter() - begun
        finally:
            free(dataset)
    assert len(waits) >= samples // BATCH * 0.99, f"only {len(waits)} batches came"
    return Waits(first=waits[0], waited=sum(waits), longest=max(waits[1:]), whole=whole)


def waiting(batches: Iterator[Any], step: float) -> Iterator[float]:
    """Yield the seconds that each step waited for its batch."""
    while True:
        begun = time.perf_counter()
        if next(batches, None) is None:
            return
        yield time.perf_counter() - begun
        time.sleep(step)


def row(name: str, remote: Path, arguments: argparse.Namespace, workers: int, predownload: int | None) -> list[str]:
    samples = len(STREAMS) * arguments.shards * SHARD_SAMPLES
    begin = [counted(workers), f"{predownload:,}" if predownload else "default", name]
    work = partial(
        run,
        CONTENDERS[name],
        remote,
        workers=workers,
        predownload=predownload,
        step=arguments.step_ms / 1e3,
        samples=samples,
    )
    try:
        found = [in_child(work) for _ in range(arguments.rounds)]
    except MeasurementError as error:
        return [*begin, f"failed: {error}", "", "", "", ""]
    shares = [each.waited / each.whole for each in found]
    times = [f"{median(getattr(each, field) for each in found):.2f}" for field in ("first", "longest", "whole")]
    return [*begin, f"{median(shares):.1%}", f"{min(shares):.1%}-{max(shares):.1%}", *times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--step-ms", type=float, default=20, help="how long a training step takes")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--predownload", type=int, nargs="+", default=[0, 2048], help="samples ahead; 0: the class's default")
    parser.add_argument("--shards", type=int, default=100, help="shards of 64 samples in each of the four streams")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"), help="where to write the result")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    slow_down()
    with TemporaryDirectory() as folder:
        remote = Path(folder)
        write_remote(remote, arguments.shards)
        delays = [delay(str(shard)) for shard in remote.rglob("*.mds")]
        rows = [
            row(name, remote, arguments, workers, predownload or None)
            for workers in arguments.workers
            for predownload in arguments.predownload
            for name in CONTENDERS
        ]
    about = (
        f"{len(delays)} shards of {SHARD_SAMPLES} samples ({sum(each == 0.1 for each in delays)} of them answer after 100 ms, "
        f"{sum(each == 1.0 for each in delays)} after 1 s, the others after 5 ms; {sum(delays):.1f} s in all), "
        f"batches of {BATCH}, "
        f"a step of {arguments.step_ms:g} ms; medians of {arguments.rounds} runs."
    )
    header = [
        "workers",
        "predownload",
        "dataset",
        "share waited",
        "least-most",
        "first batch, s",
        "longest wait after, s",
        "whole, s",
    ]
    publish(arguments.out, "A remote that answers slowly", [about, table(header, rows)])


if __name__ == "__main__":
    main()
