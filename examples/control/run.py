"""Three arms from one checkpoint: can data hold a model in one mode? `python examples/control/run.py` does all of it.

    1. two streams whose windows differ, written to --out                                     (`streams`)
    2. a base run, continued on one half of the windows in four orders; which windows pushed which way?
    3. of the other half: general-only, shallow-only and random windows                       (`arms`)
    4. the base run's checkpoint continued on each, --seeds times, and once more with the last 40 % equal for all
    5. control.md and control.png

Another base run, and another of its checkpoints: --base-seed 1 --checkpoint 12800, whose results are named after both.
What is there is not done again, so an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic

from arms import CHECKPOINT, CHECKPOINTS, LENGTH, READINGS, RUNS, TAIL, attribute_runs, attributed_runs, base_run, grown_arms
from shown import draw_arms, report

from curriculum.attribution.branches import POPULATION, Growing
from curriculum.search.executor import Outcome


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the experiment, print its table, write table and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("control-runs"), help="where streams, runs and results go")
    parser.add_argument("--seeds", type=int, default=10, help="continuations an arm")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes that train")
    parser.add_argument("--base-seed", type=int, default=0, help="seed of the run that is continued")
    parser.add_argument(
        "--checkpoint", type=int, default=CHECKPOINT, choices=CHECKPOINTS, help="position of the checkpoint that is continued"
    )
    given = parser.parse_args(arguments)
    began = monotonic()
    growing = Growing(samples=LENGTH, readings=READINGS, workers=given.workers, population=POPULATION, observe=_tell(began))
    base = base_run(given.out, seed=given.base_seed, position=given.checkpoint)
    found = attribute_runs(attributed_runs(base, given.out, RUNS, growing), given.out)
    seeds = range(given.seeds)
    arms = {tail: grown_arms(base, found.windows, seeds, growing, given.out, tail=tail) for tail in (0.0, TAIL)}
    command, name = "python examples/control/run.py", "control"
    if (given.base_seed, given.checkpoint) != (0, CHECKPOINT):
        command += f" --base-seed {given.base_seed} --checkpoint {given.checkpoint}"
        name += f"-s{given.base_seed}-{given.checkpoint}"
    text = report(base, found, arms, command=command)
    (given.out / f"{name}.md").write_text(text, encoding="utf-8")
    draw_arms(base, arms, given.out / f"{name}.png")
    print(text)


def _tell(began: float) -> Callable[[Outcome], None]:
    done = 0

    def tell(outcome: Outcome) -> None:
        nonlocal done
        done += 1
        print(f"{monotonic() - began:6.0f} s  run {done}: {outcome.request.label} s{outcome.request.seed}", flush=True)

    return tell


if __name__ == "__main__":
    main()
