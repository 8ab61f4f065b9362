"""Megatron-LM: a static blend, and index files that carry the plan's order between streams.

Idea: Megatron compiles a blend into two arrays, which stream each position plays and which of that stream's samples, and
reads them from its cache if they are there. So the plan is compiled into the same two arrays. Their file names hold a
hash over everything that describes the data (paths, sizes, tokenizer, seed), which only Megatron knows; so it builds its
own blend once, from weights that are the plan's totals, and `place_indices.py` puts ours in the place of those. Inside a
stream, samples follow Megatron's own shuffle, epoch after epoch. Alternatives: one run a stage with another blend
(rebuilds all indices) or a patched Megatron. The price: 10 bytes a sample, and one step before training.

Pinned to the format of megatron-core 0.16 (core/datasets/blended_dataset.py); the script checks what it replaces.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import numpy as np
import numpy.typing as npt

from curriculum.errors import UserError
from curriculum.export.deviation import exact
from curriculum.export.places import ignored_orders, place_of
from curriculum.export.target import Outcome, Request

_AT_ONCE = 65_536
_MOST_STREAMS = 32_766  # their numbers are 16-bit
_SCRIPT = '''"""Put the plan's order between streams where Megatron looks for its own: python place_indices.py DATA_CACHE_PATH.

Run it once, after Megatron has built its blend (stop it as soon as training begins) and before training.
"""

import json
import shutil
import sys
from pathlib import Path

PREFIXES = {prefixes!r}
SIZE = {size}
FILES = ("dataset_index.npy", "dataset_sample_index.npy")


def describes(path: Path) -> str | None:
    """Return None if a description is of this blend, else what is different."""
    found = json.loads(path.read_text())
    prefixes = [each["dataset_path"] for each in found["datasets"]]
    if found["class"] != "BlendedDataset" or found["split"] != "train":
        return "no blend of a training split"
    if prefixes != PREFIXES:
        return f"it blends {{prefixes}}, wanted {{PREFIXES}}"
    if found["size"] != SIZE:
        return f"it has {{found['size']}} samples, wanted {{SIZE}}: train with --train-samples {samples}"
    return None


def main() -> None:
    cache, here = Path(sys.argv[1]), Path(__file__).parent
    reasons = []
    for description in sorted(cache.glob("*-BlendedDataset-train-description.txt")):
        reason = describes(description)
        if reason is not None:
            reasons.append(f"{{description.name}}: {{reason}}")
            continue
        for name in FILES:
            place = description.with_name(description.name.replace("description.txt", name))
            temporary = place.with_name(place.name + ".part")
            shutil.copyfile(here / name, temporary)
            temporary.replace(place)
            print(f"placed {{place}}")
        return
    sys.exit("\\n".join([f"no blend in {{cache}} is this mix's; let Megatron build it first", *reasons]))


if __name__ == "__main__":
    main()
'''


def export(request: Request) -> Outcome:
    """Write the blend, both index files and the script that places them. Raises UserError, ResourceError (disk)."""
    totals = request.plan.counts(0, request.plan.samples)
    names = [name for name in request.mix.streams if totals[name]]
    if len(names) > _MOST_STREAMS:
        raise UserError(f"Megatron blends at most {_MOST_STREAMS} streams, the mix plays {len(names)}")
    prefixes = [_prefix(request, name) for name in names]
    size = blended_size([totals[name] for name in names])
    blend = "".join(f"{totals[name]} {prefix}\n" for name, prefix in zip(names, prefixes, strict=True))
    request.output.text(blend, "data-args.txt")
    script = _SCRIPT.format(prefixes=prefixes, size=size, samples=request.plan.samples)
    request.output.text(script, "place_indices.py")
    kinds = {"dataset_index.npy": "<i2", "dataset_sample_index.npy": "<i8"}
    request.output.arrays(kinds, size, _parts(request, names, size))
    return Outcome(
        verdict="lossless",
        deviations=exact(request),
        files=tuple(request.output.written),
        use=(
            f"--data-args-path data-args.txt --train-samples {request.plan.samples} --split 100,0,0 --data-cache-path CACHE; "
            "once Megatron has built CACHE: python place_indices.py CACHE, and train"
        ),
        notes=(
            "the order between streams is the plan's; which of a stream's samples come first is Megatron's shuffle",
            *ignored_orders(request.mix),
            *_left_out(request, totals),
        ),
    )


def _prefix(request: Request, name: str) -> str:
    place = place_of(request, name, reads=".bin and .idx pairs", formats=("megatron",)).removesuffix(".bin")
    if any(character.isspace() for character in place):
        raise UserError(f"stream {name!r}: Megatron splits its list of data at spaces, and {place!r} has one; rename it")
    return place


def blended_size(counts: list[int]) -> int:
    """Return the length that Megatron gives a blend of these weights: each share of the run rounded up, in its own floats."""
    weights = np.array(counts, dtype=np.float64)
    return sum(ceil(sum(counts) * share) for share in (weights / weights.sum()).tolist())


def _parts(request: Request, names: list[str], size: int) -> Iterator[tuple[npt.NDArray[np.int16], npt.NDArray[np.int64]]]:
    """Yield (stream, draw) of all positions, a stretch at a time; positions behind the run repeat its last stream."""
    plan = request.plan
    numbers = {name: number for number, name in enumerate(names)}
    listed = np.array([numbers.get(name, -1) for name in plan.streams], dtype=np.int16)
    drawn = np.zeros(len(names), dtype=np.int64)
    for begin in range(0, plan.samples, _AT_ONCE):
        end = min(begin + _AT_ONCE, plan.samples)
        streams = listed[plan[np.arange(begin, end)][0]]
        draws = np.empty(len(streams), dtype=np.int64)
        for number in range(len(names)):
            here = np.flatnonzero(streams == number)
            draws[here] = drawn[number] + np.arange(len(here))
            drawn[number] += len(here)
        request.progress(end, plan.samples, "positions")
        yield streams, draws
    if size > plan.samples:
        last = int(np.argmax(drawn))
        yield np.full(size - plan.samples, last, np.int16), np.full(size - plan.samples, drawn[last] - 1, np.int64)


def _left_out(request: Request, totals: dict[str, int]) -> tuple[str, ...]:
    idle = [name for name in request.mix.streams if not totals[name]]
    if not idle:
        return ()
    return (f"{', '.join(map(repr, idle))} has no sample in this run and is not listed: Megatron takes no weight of 0",)
