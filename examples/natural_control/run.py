"""Does choosing windows of real text hold a mode? `python examples/natural_control/run.py --out natural-runs` does all of it.

    1. texts, probe items, warm-up (those of examples/real_text), and a base run that settles      (`natural_stage`)
    2. ordinary runs of the static mix; which windows pushed which way?                            (`natural_arms`)
    3. of windows that none of them saw: three arms, --seeds times, and again with the last 40 % equal for all
    4. branches by groups of those windows, by effect and by the scan's score; half of the domains instead
    5. natural_control.md and natural_control.png                                                  (`natural_shown`)

What is there is not done again, so an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from natural_experiment import experiment
from natural_shown import draw, report
from natural_stage import Scale, Stage, real_stage

from curriculum.errors import CurriculumError


def main(arguments: Sequence[str] | None = None) -> int:
    """Do the experiment, print its document, write document and picture; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("natural-runs"), help="where runs and results go")
    parser.add_argument("--data", type=Path, help="where texts and warm-up lie, or go (examples/real_text/data)")
    parser.add_argument("--domains", help="of examples/real_text, with commas between (those that pip fetches)")
    parser.add_argument("--seeds", type=int, default=Scale().seeds, help="continuations an arm")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes that train")
    given = parser.parse_args(arguments)
    try:
        stage = _stage(given)
        results = experiment(stage, given.workers)
    except CurriculumError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"interrupted; the same command goes on from what is in {given.out}", file=sys.stderr)
        return 130
    text = report(stage, results)
    (stage.folder / "natural_control.md").write_text(text, encoding="utf-8")
    draw(stage, results, stage.folder / "natural_control.png")
    print(text)
    return 0


def _stage(given: argparse.Namespace) -> Stage:
    from domains import DEFAULT_DOMAINS
    from download import DATA

    data, domains = (given.data or DATA).absolute(), (given.domains or ",".join(DEFAULT_DOMAINS)).split(",")
    return real_stage(data, given.out.absolute(), domains, Scale(seeds=given.seeds))


if __name__ == "__main__":
    sys.exit(main())
