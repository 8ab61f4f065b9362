"""`curriculum search`: find a curriculum, prove it, write it down."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console

from curriculum.errors import UserError
from curriculum.report.progress import SearchProgress
from curriculum.report.search_table import print_search
from curriculum.search.coordinator import Coordinator, Means
from curriculum.search.folder import StudyFolder
from curriculum.search.observer import Observer
from curriculum.search.scan_start import with_scan
from curriculum.search.settled import as_begun
from curriculum.search.storage import is_shared
from curriculum.search.study import Study
from curriculum.search.study_file import load_study
from curriculum.search.workload import Workload, count_runs, estimate

INTERRUPTED = 130


def search(
    study_path: Path | None,
    *,
    budget: int,
    storage: str | None = None,
    workers: int | None = None,
    runs: Path = Path("runs"),
    out: Path = Path("mixes"),
    executor: str = "local",
    address: str | None = None,
    reuse: Path | None = None,
    scan: Path | None = None,
    splits: Mapping[str, Sequence[str]] | None = None,
    tensorboard: Path | None = None,
    dry_run: bool = False,
    as_json: bool = False,
) -> int:
    """Search `budget` trials in all, prove the finalists, write the winner to `out`; returns the exit code.

    `scan`: a score file whose curricula are tried first, as the study's `search: {start: {scan: FILE}}` would.
    `tensorboard`: a folder for event files, which grow while it is searched.
    Going on is the same call again. `workers` defaults to the number of cores; on a Ray cluster to the number of its.
    """
    if tensorboard is not None:
        from curriculum.report.run_scalars import check_tensorboard

        check_tensorboard()
    console = Console(stderr=True)
    study = load_study(study_path)
    study = study if scan is None else with_scan(study, scan)
    study, taken_over = as_begun(study, StudyFolder(runs / study.name).recorded())
    workload = count_runs(study, budget)
    if dry_run:
        return _announce_only(study, budget, runs=runs, workers=workers, as_json=as_json)
    if executor == "ray" and is_shared(storage):
        raise UserError("--executor ray has one coordinator and shares no database; leave out --storage, or --executor ray")
    means = Means(
        runs=runs, out=out, workers=workers, storage=storage, reuse=reuse, split=splits or {},
        address=(address or "auto") if executor == "ray" else None,
    )  # fmt: skip
    try:
        with SearchProgress(console, workload.runs) as progress:
            for words in taken_over:
                progress.notice(words)
            document = _searched(study, budget, means, workload, progress, tensorboard)
    except KeyboardInterrupt:
        console.print(
            f"\nInterrupted; every finished run is kept. Go on with:\n  {_same_command()}", markup=False, highlight=False
        )
        return INTERRUPTED
    if as_json:
        print(json.dumps(document, indent=1))
    else:
        print_search(document, Console())
    return 0


def _searched(
    study: Study, budget: int, means: Means, workload: Workload, progress: SearchProgress, tensorboard: Path | None
) -> Mapping[str, Any]:
    """Return what the search found, or what a longer one found before."""
    with _with_curves(study, tensorboard, progress) as observer, Coordinator(study, means, observer) as coordinator:
        progress.workers = coordinator.workers
        standing = coordinator.standing(budget)
        if standing is not None:
            progress.notice(_standing_words(standing["trials"], budget))
            return standing
        on = f"the Ray cluster at {means.address}" if means.address else _counted(coordinator.workers)
        progress.notice(f"Study {study.name!r}: {workload.words()}, on {on}.")
        return coordinator.run(budget).document


def _standing_words(trials: int, budget: int) -> str:
    return (
        f"{trials} trials are done, more than --budget {budget}: the study's result stands, and nothing is trained or written. "
        f"A budget above {trials} goes on."
    )


def _with_curves(study: Study, folder: Path | None, progress: SearchProgress) -> AbstractContextManager[Observer]:
    """Return the search's observer: the progress line, and before it what writes curves if they have a folder."""
    if folder is None:
        return nullcontext(progress)
    from curriculum.report.search_scalars import SearchScalars  # torch, which a search of commands need not pay for

    return SearchScalars(study, folder, progress)


def _announce_only(study: Study, budget: int, *, runs: Path, workers: int | None, as_json: bool) -> int:
    coordinator = Coordinator(study, Means(runs=runs, out=runs, workers=workers))
    sample = coordinator.runner.request("timing", coordinator.runner.static, 0)
    populations, count = coordinator.populations, coordinator.workers
    workload = estimate(coordinator.study, budget, sample, count, coordinator.tokens_per_sample, populations)
    if as_json:
        print(
            json.dumps(
                {
                    "runs": workload.runs,
                    "search": workload.search,
                    "proof": workload.proof,
                    "tail": workload.tail,
                    "schedule": workload.schedule,
                    "more": workload.more,
                    "tokens": workload.tokens,
                    "seconds": workload.seconds,
                    "workers": count,
                    "population": populations.size,
                    "device": populations.device,
                }
            )
        )
    else:
        how = f", {populations.words()}" if populations.words() else ""
        print(f"Study {study.name!r}, budget {budget}, {_counted(count)}{how}: {workload.words()}.")
    return 0


def _counted(workers: int) -> str:
    return f"{workers} worker{'' if workers == 1 else 's'}"


def _same_command() -> str:
    name = Path(sys.argv[0]).name
    program = ["python", "-m", "curriculum"] if name == "__main__.py" else [name]  # under `-m`, argv names a file of ours
    return shlex.join([*program, *sys.argv[1:]])
