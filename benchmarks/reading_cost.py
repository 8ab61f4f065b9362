"""What do the probes cost a proxy run? The default study's run, read at its default cadence and every 100 steps.

    python benchmarks/reading_cost.py [--repeats 3] > benchmarks/reading_cost.md

Processor seconds inside the readings against those of all the rest of the same run: whole runs differ by more among themselves
than a reading costs.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time
from unittest.mock import patch

from curriculum.probe import AnswerModel, Probe, Reading, read_probe
from curriculum.proxy import training
from curriculum.search import controls
from curriculum.search.study import Study
from curriculum.search.study_file import load_study


def seconds(study: Study, readings: int, probes: tuple[Probe, ...]) -> tuple[float, float]:
    """Return the processor seconds of one run: of all but its readings, and of these."""
    mix = study.mix("static", controls.static(study.shares({})))
    recipe = replace(study.recipe, readings=readings)
    spent = 0.0

    def timed(probe: Probe, model: AnswerModel) -> Reading:
        nonlocal spent
        started = process_time()
        reading = read_probe(probe, model)
        spent += process_time() - started
        return reading

    with TemporaryDirectory() as folder, patch.object(training, "read_probe", timed):
        started = process_time()
        training.train(mix, recipe, seed=0, samples=study.samples, probes=probes, checkpoints=Path(folder))
        return process_time() - started - spent, spent


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
    print("| readings | the rest of the run, s | the readings, s | cost |\n|---|---|---|---|")
    cadences = (study.recipe.readings, steps // 100)
    with training.one_thread():
        seconds(study, 10, probes)  # data and caches
        runs = [[seconds(study, readings, probes) for readings in cadences] for _ in range(repeats)]
    for readings, of_cadence in zip(cadences, zip(*runs, strict=True), strict=True):
        rest, spent = (median(values) for values in zip(*of_cadence, strict=True))
        cost = median(100 * spent / rest for rest, spent in of_cadence)
        print(f"| {readings} (every {steps // readings} steps) | {rest:.1f} | {spent:.2f} | {cost:.1f} % |")


if __name__ == "__main__":
    main()
