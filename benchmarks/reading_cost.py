"""What do the probes cost a proxy run? The default study's run, read at its default cadence and every 100 steps.

    python benchmarks/reading_cost.py [--repeats 3] > benchmarks/reading_cost.md

Processor seconds of whole runs with and without probes, in turns, in one process; the ratio is what counts.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time

from curriculum.probe import Probe
from curriculum.proxy.training import one_thread, train
from curriculum.search import controls
from curriculum.search.study import Study, load_study


def seconds(study: Study, readings: int, probes: tuple[Probe, ...]) -> float:
    """Return the processor seconds of one run."""
    mix = study.mix("static", controls.static(study.shares({})))
    recipe = replace(study.recipe, readings=readings)
    with TemporaryDirectory() as folder:
        started = process_time()
        train(mix, recipe, seed=0, samples=study.samples, probes=probes, checkpoints=Path(folder))
        return process_time() - started


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    study = load_study()
    probes = tuple(probe.draw(0, seed=study.seed) for probe in study.probes)
    steps = study.recipe.steps(study.samples)
    print("# What do the probes cost a proxy run?\n")
    print(f"    python benchmarks/reading_cost.py --repeats {repeats}\n")
    items = sum(len(probe.items) + len(probe.control) for probe in probes)
    print(f"Default study: {steps} steps of {study.recipe.batch}, {len(probes)} probes, {items} prompts a reading;")
    print(f"median of {repeats} runs each, in turns; processor seconds of one thread.\n")
    print("| readings | without probes, s | with, s | cost |\n|---|---|---|---|")
    with one_thread():
        seconds(study, 10, probes)  # data and caches
        for readings in (study.recipe.readings, steps // 100):
            pairs = [(seconds(study, readings, ()), seconds(study, readings, probes)) for _ in range(repeats)]
            without, having = (median(values) for values in zip(*pairs, strict=True))
            cadence = f"{readings} (every {steps // readings} steps)"
            print(f"| {cadence} | {without:.1f} | {having:.1f} | {100 * (having / without - 1):.1f} % |", flush=True)


if __name__ == "__main__":
    main()
