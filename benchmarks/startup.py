"""Start-up: how soon the first sample comes, and what it costs in memory, at 1e6, 1e8 and 1e12 samples; the command line.

    python benchmarks/startup.py [--samples 1e6 1e8 1e12] [--rounds 3] [--out benchmarks/startup.md]

The data take next to no disk: token files are sparse (1e12 samples of 2048 tokens are 4 PB of holes, in files of at most
4 TiB), and of MDS shards there is one, of which all others are hard links, with an index.json that names them all.
Every row is a fresh interpreter. Mosaic's class builds arrays of the epoch's length, so that at 1e12 it cannot run; the
table says what happens when it is told to, with 8 GiB of address space, and what its figures at the largest size that ran
come to by proportion.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
from setting import publish, table

Numbers = dict[str, float]
STREAMS, BATCH, LENGTH = ("a", "b", "c", "d"), 32, 2048
SHARD_SAMPLES = 15_625  # 64 MB, Mosaic's default; 64 shards make a million samples
FILE_BYTES = 1 << 42  # ext4 takes files up to 16 TiB
ADDRESS_SPACE = 1 << 33
MEMORY = {"own": ("RssAnon", "RssShmem"), "mapped": ("RssFile",), "peak": ("VmHWM",)}
LIMIT = 900  # seconds for one interpreter
LARGEST_TABLE = 10**9  # samples; beyond, an index.json of a shard per 64 MB is itself too long
COMMANDS = {
    "curriculum --help": [sys.executable, "-m", "curriculum.cli", "--help"],
    "curriculum check search/default.yaml": [sys.executable, "-m", "curriculum.cli", "check", "search/default.yaml"],
    "python -c 'import torch'": [sys.executable, "-c", "import torch"],
}


# ---- data ----


def write_tokens(folder: Path, samples: int) -> None:
    """Write four streams of sparse files, together `samples` long."""
    wanted = samples // len(STREAMS) * LENGTH * 2
    for name in STREAMS:
        (folder / name).mkdir(parents=True)
        for number, start in enumerate(range(0, wanted, FILE_BYTES)):
            with (folder / name / f"part-{number:05}.ds").open("wb") as file:
                file.truncate(min(FILE_BYTES, wanted - start))


def write_shards(folder: Path, samples: int) -> None:
    """Write four streams of MDS shards, all of them links to one, together `samples` long."""
    from curriculum.streaming.mds import write_stream

    write_stream(folder / "one", {"tokens": np.zeros((SHARD_SAMPLES, LENGTH), np.uint16)}, shard_bytes=1 << 27)
    (entry,) = json.loads((folder / "one" / "index.json").read_text())["shards"]
    for name in STREAMS:
        (folder / name).mkdir()
        names = [f"shard.{number:05}.mds" for number in range(samples // len(STREAMS) // SHARD_SAMPLES)]
        for basename in names:
            (folder / name / basename).hardlink_to(folder / "one" / entry["raw_data"]["basename"])
        shards = [{**entry, "raw_data": {**entry["raw_data"], "basename": basename}} for basename in names]
        (folder / name / "index.json").write_text(json.dumps({"version": 2, "shards": shards}))


# ---- one interpreter ----


def memory(*fields: str) -> int:
    """Return the sum of these fields of this process's status (VmHWM, RssAnon, ...), in bytes."""
    lines = [line.split() for line in Path("/proc/self/status").read_text().splitlines()]
    return sum(int(line[1]) * 1024 for line in lines if line[0][:-1] in fields)


def dataset_of(kind: str, folder: Path, samples: int) -> Callable[[], Any]:
    """Return what makes the dataset; everything it needs is imported by then."""
    from contenders import mix_of

    from curriculum.mix import Stream
    from curriculum.streaming import StreamingDataset, mosaic

    if kind == "mosaic":
        epoch = samples if samples > LARGEST_TABLE else None
        return lambda: mosaic.StreamingDataset(
            streams=[mosaic.Stream(local=str(folder / name)) for name in STREAMS],
            shuffle=True,
            batch_size=BATCH,
            epoch_size=epoch,
        )
    tokens: dict[str, Any] = {"format": "npy", "sequence_length": LENGTH} if kind == "tokens" else {}
    mix = mix_of({name: Stream(local=str(folder / name), **tokens) for name in STREAMS}, samples)
    return lambda: StreamingDataset(mix=mix, batch_size=BATCH)


def measure_here(kind: str, folder: Path, samples: int) -> Numbers:
    """Return seconds to make the dataset, then to its first sample and first batch, and bytes of memory."""
    import torch
    from contenders import free
    from torch.utils.data import default_collate

    torch.set_num_threads(1)
    make = dataset_of(kind, folder, samples)
    gc.collect()
    if samples > LARGEST_TABLE and kind == "mosaic":
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    before = {name: memory(*fields) for name, fields in MEMORY.items()}
    begun = perf_counter()
    dataset = make()
    try:
        made = perf_counter()
        iterator = iter(dataset)
        batch = [next(iterator)]
        first = perf_counter()
        batch += [next(iterator) for _ in range(BATCH - 1)]
        assert default_collate(batch)["tokens"].shape == (BATCH, LENGTH)
        whole = perf_counter()
        numbers = {"make": made - begun, "sample": first - made, "batch": whole - made}
        return numbers | {name: memory(*fields) - before[name] for name, fields in MEMORY.items()}
    finally:
        free(dataset)


def measure(kind: str, folder: Path, samples: int) -> Numbers | str:
    """Return what `measure_here` does in a fresh interpreter, or what went wrong there."""
    asked = [sys.executable, __file__, "--measure", kind, str(folder), str(samples)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(asked, check=False, capture_output=True, text=True, timeout=LIMIT, env=environment)
    except subprocess.TimeoutExpired:
        return f"no first batch in {LIMIT} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    numbers: Numbers = json.loads(done.stdout.splitlines()[-1])
    return numbers


# ---- tables ----

KINDS = {"mosaic": "Mosaic's class, MDS", "mds": "**ours, mix, MDS**", "tokens": "**ours, mix, token files**"}
COLUMNS = ("make", "sample", "batch", *MEMORY)


def row(kind: str, folder: Path, samples: int, rounds: int) -> list[str]:
    """Return a row of the table: medians over the rounds."""
    found: list[Numbers] = []
    for _ in range(rounds):
        numbers = measure(kind, folder, samples)
        if isinstance(numbers, str):
            return [f"{samples:.0e}", KINDS[kind], f"cannot: {numbers}", *[""] * 5]
        found.append(numbers)
    medians = [median(numbers[column] for numbers in found) for column in COLUMNS]
    times = [f"{seconds:.2f}" if seconds < 10 else f"{seconds:.1f}" for seconds in medians[:3]]
    return [f"{samples:.0e}", KINDS[kind], *times, *(f"{size / 1e6:,.0f}" for size in medians[3:])]


def rows_of(samples: int, rounds: int) -> list[list[str]]:
    rows = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        tables = samples <= LARGEST_TABLE
        write_shards(folder / "mds", samples if tables else 10**6)
        write_tokens(folder / "tokens", samples)
        for kind in KINDS:
            if kind == "mds" and not tables:
                continue
            rows.append(row(kind, folder / ("tokens" if kind == "tokens" else "mds"), samples, 1 if samples > 1e7 else rounds))
    return rows


def by_proportion(rows: list[list[str]], samples: int) -> str:
    """Say what Mosaic's largest measured start comes to at `samples`."""
    ran = [each for each in rows if each[1] == KINDS["mosaic"] and each[-1]]
    if not ran:
        return ""
    last = ran[-1]
    factor = samples / float(last[0])
    hours, terabytes = float(last[4]) * factor / 3600, float(last[7].replace(",", "")) * factor / 1e6
    return (
        f"At {samples:.0e} samples Mosaic's class was told `epoch_size` over a small stream, in {ADDRESS_SPACE >> 30} GiB of "
        f"address space. By proportion from {last[0]} its first batch would take {hours:,.0f} h and "
        f"{terabytes:,.0f} TB of memory."
    )


def seconds(command: list[str]) -> float:
    """Return the wall time of one call."""
    started = perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return perf_counter() - started


def command_line() -> str:
    """Time each command seven times, in turn; return medians."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(7):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    torch = median(times["python -c 'import torch'"])
    rows = [[f"`{name}`", f"{median(found):.2f}", f"{median(found) / torch:.2f}"] for name, found in times.items()]
    return table(["command", "median, s", "against importing torch"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--samples", type=float, nargs="*", default=[1e6, 1e8, 1e12])
    parser.add_argument("--rounds", type=int, default=3, help="fresh interpreters a row (one above 1e7 samples)")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"), help="where to write the result")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        kind, folder, samples = arguments.measure
        print(json.dumps(measure_here(kind, Path(folder), int(samples))))
        return
    rows = [row for samples in arguments.samples for row in rows_of(int(samples), arguments.rounds)]
    header = ["samples", "dataset", "made, s", "first sample, s", "first batch, s", "own memory, MB"]
    header += ["mapped files, MB", "peak, MB"]
    parts = [
        "First sample and first batch of 32 x 2048 tokens, no workers, from the moment that the dataset is made (its streams "
        "are known). Memory is growth over the imports: after the first batch what the process owns (shared memory included) "
        "and what it has mapped of files, which the system may take back; the peak of both together.",
        table(header, rows),
        *[by_proportion(rows, int(samples)) for samples in arguments.samples if samples > LARGEST_TABLE],
        "The command line: a third of the time that importing torch takes is allowed.",
        command_line(),
    ]
    publish(arguments.out, "Start-up", [part for part in parts if part])


if __name__ == "__main__":
    main()
