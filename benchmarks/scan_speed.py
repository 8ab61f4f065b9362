"""Tokens a second of a scan, its memory, and what its bounded first pass costs in exactness.

    python benchmarks/scan_speed.py [--tokens 5e8] [--data FOLDER] [--folder SCRATCH] [--out benchmarks/scan_speed.md]

Speed: an array of uint16 tokens (5e8 of them are a gigabyte) drawn by a power law, samples of 2048 and of 64 tokens, on one
core; beside it, in the same run, the reading alone and a plain loop over tokens with dictionaries, which counts the same
and is checked to. Exactness: twelve domains of real text (benchmarks/scan_domains.py), all pairs against fewer.
"""

from __future__ import annotations

import argparse
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import numpy as np
from scan_domains import DESIGN, EXAMPLE, FRESH, prepared
from setting import in_child, publish, table

from curriculum.attribution.conflict_counts import COLUMNS, STRIDES, Tokens, count_conflicts
from curriculum.attribution.scan import ScanResult, likely_followers, scan
from curriculum.attribution.scan_followers import PAIRS
from curriculum.attribution.scan_reading import SampleBatches
from curriculum.attribution.scan_streams import open_streams
from curriculum.mix import Stream
from curriculum.plan.windows import default_window
from curriculum.streaming.shards import Source

VOCABULARY = 50_000
LENGTHS = (2048, 64)
LOOPED = 200_000  # tokens of the plain loop
BLOCK = 2**22
BOUNDS = (PAIRS, 2**20, 2**18, 2**16)


def write_array(path: Path, tokens: int) -> None:
    """Write tokens whose frequencies fall by a power law, in blocks, each with a tenth of its stretches shown twice."""
    with path.open("wb") as file:
        for block, start in enumerate(range(0, tokens, BLOCK)):
            random = np.random.default_rng(block)
            drawn = (VOCABULARY * random.random(BLOCK, dtype=np.float32) ** 4).astype(np.uint16)
            rows = drawn.reshape(-1, 32)
            rows[5::10] = rows[4::10][: len(rows[5::10])]
            file.write(drawn[: min(BLOCK, tokens - start)].tobytes())


def source_of(path: Path, length: int) -> Source:
    return open_streams({"array": Stream(local=str(path), format="npy", sequence_length=length)})[0]


def timed_scan(path: Path, length: int) -> dict[str, float]:
    source = source_of(path, length)
    begun, busy = perf_counter(), process_time()
    result = scan([(source, default_window(source.index.samples))])
    tokens = result.pulls[0].tokens
    seconds, cpu = perf_counter() - begun, process_time() - busy
    return {"tokens": tokens, "seconds": seconds, "cpu": cpu}


def traced_scan(path: Path, length: int) -> int:
    """Return the most bytes that a scan had allocated at once; pages of the mapped file are the system's, not its own."""
    source = source_of(path, length)
    tracemalloc.start()
    scan([(source, default_window(source.index.samples))])
    return tracemalloc.get_traced_memory()[1]


def timed_reading(path: Path, length: int) -> dict[str, float]:
    reader = SampleBatches(source_of(path, length))
    begun, busy = perf_counter(), process_time()
    tokens = sum(batch.tokens.size for _, batch in reader.between(0, reader.samples // 4))
    return {"tokens": tokens, "seconds": perf_counter() - begun, "cpu": process_time() - busy}


def timed_loop(path: Path, length: int) -> dict[str, float]:
    """Count some samples by a loop, and check the scan's counts against it."""
    reader = SampleBatches(source_of(path, length))
    followers = likely_followers([reader], pairs=2**20)
    _, batch = next(reader.between(0, LOOPED // length))
    likely, rows = followers.tolist(), batch.tokens.tolist()
    begun, busy = perf_counter(), process_time()
    wanted = sum((looped(row, likely) for row in rows), Counter[str]())
    seconds, cpu = perf_counter() - begun, process_time() - busy
    found = count_conflicts(batch, _reaching(followers)).sum(axis=0).tolist()
    if [wanted[column] for column in COLUMNS] != found:
        raise AssertionError(f"the scan counts {found}, the loop {wanted}")
    return {"tokens": batch.tokens.size, "seconds": seconds, "cpu": cpu}


def looped(row: Sequence[int], followers: Sequence[int]) -> Counter[str]:
    found, followed_by = Counter[str](), dict[int, int]()
    for place in range(1, len(row)):
        before, truth = row[place - 1], row[place]
        likely, said = followers[before] if before < len(followers) else -1, followed_by.get(before)
        if likely >= 0:
            reader, parrot = said == truth, likely == truth or _goes_on(row, place)
            disputed = said is not None and said != likely
            found["targets"] += 1
            found["conflicts"] += disputed
            found["conflict_b"] += disputed and reader
            found["conflict_c"] += disputed and likely == truth
            found["general"] += reader and not parrot
            found["shallow"] += parrot and not reader
        followed_by[before] = truth
    return found


def _goes_on(row: Sequence[int], place: int) -> bool:
    for stride in range(1, min(STRIDES, place // 2) + 1):
        step = row[place] - row[place - stride]
        if step in (0, 1) and row[place - stride] - row[place - 2 * stride] == step:
            return True
    return False


def _reaching(followers: Tokens) -> Tokens:
    return np.concatenate([followers, np.full(VOCABULARY + 2 - len(followers), -1, np.int32)])


def speed_table(folder: Path, tokens: int) -> str:
    path = folder / "tokens.npy"
    write_array(path, tokens)
    rows = []
    for length in LENGTHS:
        for name, measure in (("scan", timed_scan), ("reading alone", timed_reading), ("a loop over tokens", timed_loop)):
            found = in_child(partial(measure, path, length), limit=3600)
            rates = [f"{found['tokens'] / found[clock] / 1e6:.2f}" for clock in ("cpu", "seconds")]
            rows.append([str(length), name, f"{found['tokens']:,}", *rates, f"{found['cpu']:.0f}", f"{found['seconds']:.0f}"])
    header = ["tokens a sample", "", "tokens", "M tokens/s of CPU time", "M tokens/s by the clock", "CPU seconds", "seconds"]
    return table(header, rows) + "\n\n" + memory_table(folder, tokens)


def memory_table(folder: Path, tokens: int) -> str:
    rows = []
    for size in (tokens // 10, tokens):
        if size != tokens:
            write_array(folder / "fewer.npy", size)
        path = folder / ("tokens.npy" if size == tokens else "fewer.npy")
        rows.append([f"{size:,}", f"{in_child(partial(traced_scan, path, LENGTHS[0]), limit=3600) / 1e6:.0f}"])
    return table(["tokens", "most bytes allocated at once, MB"], rows)


def exactness_table(data: Path) -> str:
    folders, _ = prepared(data)
    sources = open_streams({name: Stream(local=str(folders[name])) for name in (*DESIGN, *FRESH)})
    whole = _scanned(sources, 2**40)
    rows = [_compared("all pairs", whole, whole)]
    rows += [_compared(f"{bound:,}", _scanned(sources, bound), whole) for bound in BOUNDS]
    tokens = sum(pull.tokens for pull in whole.pulls)
    about = f"{len(sources)} domains, {tokens:,} tokens of a vocabulary of 1,024; a scan's own bound is {PAIRS:,} pairs.\n\n"
    header = ["pairs looked at", "targets counted", "largest change of a pull", "mean change", "streams ranked otherwise"]
    return about + table(header, rows)


def _scanned(sources: Sequence[Source], pairs: int) -> ScanResult:
    return scan([(source, default_window(source.index.samples)) for source in sources], pairs=pairs)


def _compared(name: str, found: ScanResult, whole: ScanResult) -> list[str]:
    mine, exact = (np.asarray([pull.pull for pull in each.pulls], np.float64) for each in (found, whole))
    share = sum(pull.targets for pull in found.pulls) / sum(pull.targets for pull in whole.pulls)
    moved = int((np.argsort(np.argsort(mine)) != np.argsort(np.argsort(exact))).sum())
    changes = np.abs(mine - exact)
    return [name, f"{share:.2%}", f"{changes.max():.4f}", f"{changes.mean():.4f}", str(moved)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tokens", type=float, default=5e8)
    parser.add_argument("--data", type=Path, default=EXAMPLE / "data", help="where real text is kept")
    parser.add_argument("--folder", type=Path, help="scratch folder on a disk, for the array")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"), help="where to write the result")
    arguments = parser.parse_args()
    with TemporaryDirectory(dir=arguments.folder) as folder:
        speed = speed_table(Path(folder), int(arguments.tokens))
    about = (
        f"One core. Tokens by a power law over {VOCABULARY:,}, uint16 (for memory a worst case: nearly all pairs differ); each "
        "row a process of its own."
    )
    parts = ["## Speed", about, speed, "## Exactness of the bounded first pass", exactness_table(arguments.data.absolute())]
    publish(arguments.out, "Speed of the scan", parts)


if __name__ == "__main__":
    main()
