"""Where does the time of a default run go, by itself and as a member of a population?

    python benchmarks/run_profile.py [--rounds 5] [--population 8]

Idea: plain timers around the parts, processor seconds of one thread; a sampling or tracing profiler would weigh down the many
small operations and blame the wrong ones. Runs of a quarter of the default length with a quarter of the readings, in turns; the
seconds are those of a full run.
"""

from __future__ import annotations

import argparse
import os

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported, as in a search's workers

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any
from unittest.mock import patch

import torch
from population import SHORTER, requests
from setting import publish, table

from curriculum.proxy import population, population_readings, population_training, run, training
from curriculum.proxy.population import train_population
from curriculum.search.study import Study
from curriculum.search.study_file import load_study

OF_BOTH = [
    ("backward pass", torch.Tensor, "backward"),
    ("optimizer", torch.optim.AdamW, "step"),
]
OF_ONE = [
    ("data", training, "batches"),
    ("forward pass and loss", training, "training_loss"),
    ("probes", training, "read_probe"),
    ("held-out loss", training._Loop, "losses"),
    ("writing", run, "write_run"),
]
OF_POPULATION = [
    ("data", population_training, "batches"),
    ("forward pass and loss", population_training, "stack_losses"),
    ("probes", population_readings, "read_probe"),
    ("held-out loss", population_readings, "heldout_losses"),
    ("writing", population, "write_run"),
]
PARTS = ["data", "forward pass and loss", "backward pass", "optimizer", "probes", "held-out loss", "writing"]
REST = "the rest"


@contextmanager
def timed(parts: list[tuple[str, Any, str]]) -> Iterator[Counter[str]]:
    """Within the block, the seconds spent in each part's function are added up under its name."""
    spent: Counter[str] = Counter()
    with ExitStack() as patches:
        for name, owner, function in parts:
            wrapper = _timed_iterator if function == "batches" else _timed_call
            patches.enter_context(patch.object(owner, function, wrapper(getattr(owner, function), name, spent)))
        yield spent


def _timed_call(function: Callable[..., Any], name: str, spent: Counter[str]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        started = process_time()
        try:
            return function(*arguments, **options)
        finally:
            spent[name] += process_time() - started  # type: ignore[assignment]  # a Counter of seconds

    return call


def _timed_iterator(function: Callable[..., Iterator[Any]], name: str, spent: Counter[str]) -> Callable[..., Iterator[Any]]:
    def iterate(*arguments: Any, **options: Any) -> Iterator[Any]:
        values = iter(function(*arguments, **options))
        advance = _timed_call(lambda: next(values, None), name, spent)
        return iter(advance, None)

    return iterate


def seconds_by_part(study: Study, first: int, size: int) -> dict[str, float]:
    """Return the seconds of a full run by part; `size` 0 is a run by itself."""
    asked = requests(study, first, max(1, size))
    with TemporaryDirectory() as folder, timed(OF_BOTH + (OF_POPULATION if size else OF_ONE)) as spent:
        started = process_time()
        if size:
            train_population(asked, Path(folder))
        else:
            run.perform(asked[0], Path(folder))
        whole = process_time() - started
    scale = SHORTER / len(asked)
    return {name: spent[name] * scale for name in PARTS} | {REST: (whole - sum(spent.values())) * scale}


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--population", type=int, default=8)
    arguments = parser.parse_args()
    study, seeds = load_study(), count(step=arguments.population)
    sizes = (0, arguments.population)
    for size in sizes:  # data and caches
        seconds_by_part(study, next(seeds), size)
    rounds = [[seconds_by_part(study, next(seeds), size) for size in sizes] for _ in range(arguments.rounds)]
    medians = [{name: median(each[column][name] for each in rounds) for name in (*PARTS, REST)} for column in range(2)]
    wholes = [sum(column.values()) for column in medians]
    lines = [
        [name] + [text for column, whole in zip(medians, wholes, strict=True) for text in _cells(column[name], whole)]
        for name in (*PARTS, REST)
    ]
    lines.append(["all", f"{wholes[0]:.2f}", "", f"{wholes[1]:.2f}", ""])
    header = ["part", "a run by itself, s", "share", f"a member of {arguments.population}, s", "share"]
    text = (
        f"Default study: {study.recipe.steps(study.samples)} steps of {study.recipe.batch}, {study.recipe.readings} readings; "
        f"processor seconds of one thread, medians of {arguments.rounds} rounds in turns. {_largest(medians[0], wholes[0])}"
    )
    publish(Path(__file__).with_suffix(".md"), "Where does the time of a run go?", [text, table(header, lines)])


def _cells(seconds: float, whole: float) -> list[str]:
    return [f"{seconds:.2f}", f"{seconds / whole:.1%}"]


def _largest(seconds: dict[str, float], whole: float) -> str:
    first, second = sorted(PARTS, key=lambda name: -seconds[name])[:2]
    return (
        f"The two largest parts of a run by itself are the {first} ({seconds[first] / whole:.0%}) and the {second} "
        f"({seconds[second] / whole:.0%})."
    )


if __name__ == "__main__":
    main()
