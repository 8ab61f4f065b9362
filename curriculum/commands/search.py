"""`curriculum search`: find a curriculum, prove it, write it down."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path

from rich.console import Console

from curriculum.report.progress import SearchProgress
from curriculum.report.search_table import print_search
from curriculum.search.coordinator import Coordinator, SearchResult
from curriculum.search.study import Study, load_study
from curriculum.search.workload import Workload, estimate

INTERRUPTED = 130


def search(
    study_path: Path | None,
    *,
    budget: int,
    storage: str | None = None,
    workers: int | None = None,
    runs: Path = Path("runs"),
    out: Path = Path("mixes"),
    dry_run: bool = False,
    as_json: bool = False,
) -> int:
    """Search `budget` trials in all, prove the finalists, write the winner to `out`; returns the exit code.

    Going on is the same call again. `workers` defaults to the number of cores.
    """
    console = Console(stderr=True)
    study = load_study(study_path)
    count = workers or os.cpu_count() or 1
    workload = Coordinator(study, runs=runs, out=out, workers=count, observer=_Silent()).workload(budget)
    if dry_run:
        return _announce_only(study, budget, runs=runs, workers=count, as_json=as_json)
    console.print(f"Study {study.name!r}: {workload.words()}, on {count} workers.", highlight=False)
    try:
        result = _run(study, budget, workload, console, runs=runs, out=out, workers=count, storage=storage)
    except KeyboardInterrupt:
        console.print(
            f"\nInterrupted; every finished run is kept. Go on with:\n  {_same_command()}", markup=False, highlight=False
        )
        return INTERRUPTED
    if as_json:
        print(json.dumps(result.document, indent=1))
    else:
        print_search(result.document, Console())
    return 0


def _run(
    study: Study,
    budget: int,
    workload: Workload,
    console: Console,
    *,
    runs: Path,
    out: Path,
    workers: int,
    storage: str | None,
) -> SearchResult:
    with (
        SearchProgress(console, workload.runs, workers) as progress,
        Coordinator(study, runs=runs, out=out, workers=workers, observer=progress, storage=storage) as coordinator,
    ):
        return _draining(coordinator, budget, console)


def _draining(coordinator: Coordinator, budget: int, console: Console) -> SearchResult:
    """The first Ctrl-C lets the runs that have begun finish, the second stops at once."""
    try:
        return coordinator.run(budget)
    except KeyboardInterrupt:
        console.print("\nFinishing the runs that have begun (Ctrl-C again stops at once)", highlight=False)
        coordinator.workers.drain()
        raise


def _announce_only(study: Study, budget: int, *, runs: Path, workers: int, as_json: bool) -> int:
    coordinator = Coordinator(study, runs=runs, out=runs, workers=workers, observer=_Silent())
    sample = coordinator.request("timing", coordinator.static, 0)
    workload = estimate(study, budget, sample, workers, coordinator.tokens_per_sample)
    if as_json:
        print(
            json.dumps(
                {
                    "runs": workload.runs,
                    "search": workload.search,
                    "proof": workload.proof,
                    "tail": workload.tail,
                    "tokens": workload.tokens,
                    "seconds": workload.seconds,
                    "workers": workers,
                }
            )
        )
    else:
        print(f"Study {study.name!r}, budget {budget}, {workers} workers: {workload.words()}.")
    return 0


class _Silent:
    """An observer that is told and says nothing."""

    def stage(self, name: str, runs: int) -> None:
        """Nothing."""

    def finished(self, outcome: object) -> None:
        """Nothing."""

    def trial(self, number: int, name: str, value: float | None) -> None:
        """Nothing."""


def _same_command() -> str:
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
