"""Runs per hour: one by one, and in populations trained as one computation.

    python benchmarks/population.py                     one core: one by one against populations of 2, 8, 32
    python benchmarks/population.py --variants          one core: single runs and 8, in bfloat16 and compiled
    python benchmarks/population.py --study search/natural.yaml --variants     on another study's samples and probes
    python benchmarks/population.py --device cuda       a GPU: populations of 1 against 8, 64, 512

Idea: the default study's proxy and recipe, in runs of a quarter of the length with a quarter of the readings, so that steps and
readings stand in their usual proportion; runs per hour are those of full length. All contenders take turns in one process, and
what is compared are ratios within a round. On a CPU processor seconds of one thread are counted, on a GPU seconds.
"""

from __future__ import annotations

import argparse
import os

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported, as in a search's workers

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic, process_time

from setting import publish, spread, table

from curriculum.proxy.population import train_population
from curriculum.proxy.population_training import Computing
from curriculum.proxy.recipe import Precision
from curriculum.proxy.run import RunRequest, perform
from curriculum.search import controls
from curriculum.search.study import Study
from curriculum.search.study_file import load_study

SHORTER = 4
SIZES = {"cpu": (2, 8, 32), "cuda": (8, 64, 512)}
VARIED = (8,)
BIG = 32  # populations that are not trained for warming up
ALONE = 4  # runs of a round that are done one by one


def requests(study: Study, first: int, size: int, precision: Precision) -> list[RunRequest]:
    """Return `size` runs of static mixes, their seeds from `first`."""
    mix = study.mix("static", controls.static(study.shares({})))
    recipe = replace(study.recipe, readings=study.recipe.readings // SHORTER, precision=precision)
    return [
        RunRequest(
            label="b", mix=mix, seed=first + number, samples=study.samples // SHORTER, recipe=recipe, probes=study.probes
        )
        for number in range(size)
    ]


def seconds_a_run(study: Study, first: int, contender: Contender) -> float:
    """Return what one run of a contender takes."""
    clock: Callable[[], float] = process_time if contender.computing.device == "cpu" else monotonic
    asked = requests(study, first, contender.size or ALONE, contender.precision)
    with TemporaryDirectory() as folder:
        started = clock()
        if contender.size:
            failures = train_population(asked, Path(folder), computing=contender.computing)
            assert not any(failures), failures
        else:
            for request in asked:
                perform(request, Path(folder))
        return (clock() - started) / len(asked)


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """One way to train: a population of `size` (0: single runs, one by one), computed in some way."""

    size: int
    computing: Computing
    precision: Precision = "float32"

    def __str__(self) -> str:
        name = f"{self.size}" if self.size else "one by one"
        name += ", bfloat16" if self.precision == "bfloat16" else ""
        return name + (f", compiled ({self.computing.compiler})" if self.computing.compiler else "")


def contenders(sizes: Sequence[int], device: str, *, variants: bool) -> list[Contender]:
    """Return populations of all sizes, and variants of the first two: single runs, and the smallest population."""
    plain = Computing(device=device)
    found = [Contender(size=size, computing=plain) for size in sizes]
    if variants:
        found += [
            *(Contender(size=size, computing=plain, precision="bfloat16") for size in sizes[:2]),
            Contender(size=sizes[1], computing=replace(plain, compiler="inductor")),
        ]
    return found


def rows(taken: dict[Contender, list[float]]) -> list[Sequence[str]]:
    """Return the table's rows; the first contender is what the others are compared with."""
    first = next(iter(taken.values()))
    found = []
    for contender, seconds in taken.items():
        ratios = [alone / each for alone, each in zip(first, seconds, strict=True)]
        hourly = 3600 / (SHORTER * median(seconds))
        found.append([str(contender), f"{SHORTER * median(seconds):.2f}", f"{hourly:,.0f}", spread(ratios, ".2f")])
    return found


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=sorted(SIZES))
    parser.add_argument("--sizes", type=int, nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--variants", action="store_true", help="one size, as it is, in bfloat16 and compiled")
    parser.add_argument("--study", type=Path, help="the default study, unless given")
    arguments = parser.parse_args()
    usual = VARIED if arguments.variants else SIZES[arguments.device]
    sizes = [0 if arguments.device == "cpu" else 1, *(arguments.sizes or usual)]
    study = load_study() if arguments.study is None else load_study(arguments.study)
    seeds = count(step=max(*sizes, ALONE))
    taken: dict[Contender, list[float]] = {
        each: [] for each in contenders(sizes, arguments.device, variants=arguments.variants)
    }
    for contender in taken:  # data and caches, and what is compiled
        if contender.size < BIG:
            seconds_a_run(study, next(seeds), contender)
    for _ in range(arguments.rounds):
        for contender, seconds in taken.items():
            seconds.append(seconds_a_run(study, next(seeds), contender))
    unit = "processor seconds of one thread" if arguments.device == "cpu" else "seconds"
    text = (
        f"Study `{study.name}`, width {study.recipe.width}, {study.recipe.steps(study.samples)} steps of {study.recipe.batch}, "
        f"{study.recipe.readings} readings; measured in runs of a quarter of that, {arguments.rounds} rounds in turns on "
        f"{arguments.device}. Ratio: {unit} of the first line over those of this one, in the same round; median (least-most)."
    )
    header = ["population", f"{unit} a run", "runs an hour", "ratio"]
    parts = ["" if arguments.device == "cpu" else arguments.device, "" if arguments.study is None else study.name]
    suffix = "".join(f"_{part}" for part in (*parts, "variants" if arguments.variants else "") if part)
    publish(
        Path(__file__).with_name(f"population{suffix}.md"),
        "Do populations make runs faster?",
        [text, table(header, rows(taken))],
    )


if __name__ == "__main__":
    main()
