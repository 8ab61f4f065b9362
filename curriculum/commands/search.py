"""`curriculum search`: find a curriculum, prove it, write it down."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from curriculum.errors import UserError
from curriculum.report.outputs import check_folder
from curriculum.report.progress import SearchProgress
from curriculum.report.search_table import print_search
from curriculum.search.coordinator import Coordinator, Means
from curriculum.search.folder import StudyFolder
from curriculum.search.observer import Observer
from curriculum.search.populations import Populations
from curriculum.search.scan_start import with_scan
from curriculum.search.settled import as_begun
from curriculum.search.storage import is_shared, shown_url
from curriculum.search.study import Study
from curriculum.search.study_file import load_study
from curriculum.search.workload import Workload, count_runs, estimate, idle_words

INTERRUPTED = 130
Others = Literal["ray", "joined"]  # with whom a search shares its runs, if with anyone


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
    if executor == "ray" and is_shared(storage):
        raise UserError("--executor ray has one coordinator and shares no database; leave out --storage, or --executor ray")
    if dry_run:
        with_others: Others | None = "ray" if executor == "ray" else "joined" if is_shared(storage) else None
        return _announce_only(study, budget, runs=runs, workers=workers, with_others=with_others, as_json=as_json)
    check_folder(runs, "--runs")
    check_folder(out, "--out")  # now, not when the winner is to be written
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
        console.print(_interrupted_words(), markup=False, highlight=False, soft_wrap=True)
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
        count = means.workers if means.address else coordinator.workers
        if idle := _idle(study, count, coordinator.populations):
            progress.notice(idle)
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


def _announce_only(
    study: Study, budget: int, *, runs: Path, workers: int | None, with_others: Others | None, as_json: bool
) -> int:
    coordinator = Coordinator(study, Means(runs=runs, out=runs, workers=workers))
    sample = coordinator.runner.request("timing", coordinator.runner.static, 0)
    populations, count = coordinator.populations, coordinator.workers
    workload = estimate(coordinator.study, budget, sample, count, coordinator.tokens_per_sample, populations)
    left_out = [] if workload.seconds is None else _left_out(with_others, workers, count)
    notes = [*left_out, *filter(None, [_idle(study, workers if with_others == "ray" else count, populations)])]
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
                    "notes": notes,
                }
            )
        )
    else:
        how = f", {populations.words()}" if populations.words() else ""
        print(f"Study {study.name!r}, budget {budget}, {_counted(count)}{how}: {workload.words()}.")
        for note in notes:
            print(f"Note: {note}.")
    return 0


def _idle(study: Study, workers: int | None, populations: Populations) -> str:
    """Return what to say of workers that trials leave idle; of None, as many as a cluster has, nothing is known here."""
    return "" if workers is None else idle_words(study, workers, populations)


def _left_out(with_others: Others | None, workers: int | None, count: int) -> list[str]:
    """Return what an estimate of this machine alone leaves out of a search that others take part in."""
    if with_others is None:
        return []
    if with_others == "joined":
        return ["the time is for this process alone; others that join by --storage share the runs"]
    counted = "" if workers else f" (reckoned with {_counted(count)}, as on this machine; say the cluster's with --workers)"
    return [f"the time was measured on this machine; the Ray cluster is not asked{counted}"]


def _counted(workers: int) -> str:
    return f"{workers} worker{'' if workers == 1 else 's'}"


def _interrupted_words() -> str:
    command = _same_command()
    hidden = " (with the password in place of ***)" if "***" in command else ""
    return f"\nInterrupted; every finished run is kept. Go on with{hidden}:\n  {command}"


def _same_command() -> str:
    """Return this process's own command as it was typed, so that it runs as printed, but for passwords (shown as ***)."""
    return shlex.join([*_program(), *map(_without_password, sys.argv[1:])])


def _program() -> list[str]:
    program = sys.argv[0]
    if program.endswith(".py"):  # `python -m curriculum`: argv names a file of ours, which cannot be started
        return [sys.orig_argv[0], "-m", "curriculum"]
    name = Path(program).name
    found = shutil.which(name)
    is_on_path = found is not None and Path(found).absolute() == Path(program).absolute()
    return [name if is_on_path else program]


def _without_password(word: str) -> str:
    """Return an argument without the password of the address that it is or ends with (`--storage=ADDRESS`)."""
    option, equals, address = word.partition("=") if word.startswith("--") else ("", "", word)
    return option + equals + hidden if (hidden := shown_url(address)) != address and "***" in hidden else word
