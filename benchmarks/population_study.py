"""Do populations make a whole search faster? It depends on how many workers there are, which a study may not ask.

    python benchmarks/population_study.py [--population 8] [--rounds 1]

Idea: a population is faster on a core than its runs one by one (`population.py`), but is one job: where a stage has few runs,
other workers idle. Measured are the processor seconds of runs one by one and in populations of the sizes that the default
study's stages come to; from these follows by arithmetic how long all stages take on several workers with a core each, jobs
handed out in their order. Clocking whole searches instead asks for a machine of that many idle cores.
"""

from __future__ import annotations

import argparse
import os

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported, as in a search's workers

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from statistics import median

from population import ALONE, SHORTER, seconds_a_run
from setting import publish, table

from curriculum.proxy.population_training import Computing
from curriculum.search.study import HAND_MADE, Study
from curriculum.search.study_file import load_study

BUDGET = 50
WORKERS = (1, 2, 4, 8, 16)


def listed_stages(study: Study) -> dict[str, int]:
    """Return the runs of every stage whose runs are all known at once."""
    settings = study.search
    return {
        "reference": settings.reference_seeds,
        "candidates": settings.candidates * settings.repeats,
        "proof": (1 + settings.finalists + len(HAND_MADE)) * settings.finalist_seeds,
        "tail": settings.finalist_seeds,
        "controls": 2 * settings.finalist_seeds,
    }


def group_sizes(runs: int, size: int) -> list[int]:
    """Return the sizes of the populations that so many runs are trained in (see `in_populations`)."""
    groups = -(-runs // size)
    return [runs * (group + 1) // groups - runs * group // groups for group in range(groups)]


def makespan(jobs: Sequence[float], workers: int) -> float:
    """Return when the last of these jobs ends, each begun in its order as soon as a worker is free."""
    free = [0.0] * workers
    for seconds in jobs:
        free[free.index(min(free))] += seconds
    return max(free)


def study_seconds(study: Study, size: int, workers: int, a_run: Mapping[int, float]) -> float:
    """Return the seconds of all stages; `a_run` are those of a run by the size of its population. Trials are single runs."""
    total = makespan([a_run[1]] * BUDGET, min(workers, study.search.ahead))
    for runs in listed_stages(study).values():
        total += makespan([each * a_run[each] for each in group_sizes(runs, size)], workers)
    return total


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--population", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    study, computing, size = load_study(), Computing(), arguments.population
    sizes = sorted({1} | {each for runs in listed_stages(study).values() for each in group_sizes(runs, size)})
    seeds = count(step=max(*sizes, ALONE))
    taken: dict[int, list[float]] = {each: [] for each in sizes}
    seconds_a_run(study, next(seeds), 2, computing)  # data and caches
    for _ in range(arguments.rounds):
        for each, seconds in taken.items():
            seconds.append(SHORTER * seconds_a_run(study, next(seeds), each if each > 1 else 0, computing))
            print(each, seconds, flush=True)
    a_run = {each: median(seconds) for each, seconds in taken.items()}
    rows = []
    for workers in WORKERS:
        single, grouped = (study_seconds(study, each, workers, a_run) for each in (1, size))
        rows.append([str(workers), f"{single:,.0f}", f"{grouped:,.0f}", f"{single / grouped:.2f}"])
    measured = ", ".join(f"{each}: {seconds:.2f}" for each, seconds in a_run.items())
    text = (
        f"Default study, budget {BUDGET}, {study.search.ahead} trials ahead as single runs, the other stages "
        f"({', '.join(f'{name} {runs}' for name, runs in listed_stages(study).items())} runs) in populations of up to {size}. "
        f"Measured: processor seconds of one thread a run, by the size of its population: {measured} "
        f"(runs of a quarter, times four; rounds: {arguments.rounds}). Computed from these: seconds of all stages on workers "
        "with a core each."
    )
    header = ["workers", "one by one, s", f"populations of {size}, s", "times as fast"]
    publish(Path(__file__).with_suffix(".md"), "Do populations make a whole search faster?", [text, table(header, rows)])


if __name__ == "__main__":
    main()
