"""`curriculum run`: one proxy run of a mix, with its trajectory."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from curriculum.mix import Mix
from curriculum.proxy.run import RunRequest, RunResult, perform
from curriculum.search.objective import score_run
from curriculum.search.study import Study
from curriculum.search.study_file import load_study
from curriculum.units import format_seconds

if TYPE_CHECKING:
    from curriculum.proxy.training import Progress
    from curriculum.report.run_scalars import LiveScalars

_PLAIN_SECONDS = 15.0  # as a search without a terminal


def run(
    mix_path: Path,
    *,
    study_path: Path | None = None,
    seed: int = 0,
    samples: int | None = None,
    runs: Path = Path("runs"),
    checkpoints: int = 1,
    tensorboard: Path | None = None,
    as_json: bool = False,
) -> int:
    """Train the study's proxy on a mix and leave the run's folder; returns the exit code.

    Proxy, probes and run length come from the study (the default study without a path); a run that is already there is
    shown, one that was cut off goes on from its last checkpoint. `checkpoints` of it are kept, evenly spaced.
    With `tensorboard` its curves are written to a folder of its name there, as event files, while it trains.
    """
    if tensorboard is not None:
        from curriculum.report.run_scalars import check_tensorboard

        check_tensorboard()
    mix, study = Mix.load(mix_path), load_study(study_path)
    request = RunRequest(
        label="run",
        mix=mix,
        seed=seed,
        samples=samples or mix.samples or study.samples,
        recipe=study.recipe,
        probes=study.probes,
        suites=study.suites,
        item_seed=study.seed,
        command=None if study.command is None else study.command.words,
        command_timeout=3600.0 if study.command is None else study.command.timeout,
        command_retries=0 if study.command is None else study.command.retries,
    )
    with _curves(request, tensorboard) as watch:
        result = _perform(request, runs / re.sub(r"[^\w-]+", "-", mix.name), checkpoints, watch)
    if as_json:
        print(json.dumps(as_document(study, result), indent=1))
    else:
        _print(study, result)
    return 0


@contextmanager
def _curves(request: RunRequest, folder: Path | None) -> Iterator[LiveScalars | None]:
    """Yield what writes a run's curves, None without a folder for them."""
    if folder is None:
        yield None
        return
    from curriculum.report.run_scalars import LiveScalars

    console = Console(stderr=True)
    with LiveScalars(folder, request.run_id(), notice=partial(console.print, markup=False, soft_wrap=True)) as live:
        yield live


def _perform(request: RunRequest, folder: Path, checkpoints: int, live: LiveScalars | None) -> RunResult:
    watch = live or (lambda _: None)
    result = _shown(request, folder, checkpoints, watch)
    if live is not None:
        live.finish(result)
    return result


def _shown(request: RunRequest, folder: Path, checkpoints: int, watch: Callable[[Progress], None]) -> RunResult:
    """Return the run's result, with a bar in a terminal and lines elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        observe = progress_lines(console, request.samples)
        return perform(request, folder, observe=observe, watch=watch, keep=checkpoints)
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("samples"), TimeRemainingColumn())
    with Bar(*columns, console=console) as bar:
        task = bar.add_task("run", total=request.samples)
        observe = partial(_advance, bar, task)
        return perform(request, folder, observe=observe, watch=watch, keep=checkpoints)


def _advance(bar: Bar, task: TaskID, position: int) -> None:
    bar.update(task, completed=position)


def progress_lines(console: Console, samples: int, *, clock: Callable[[], float] = monotonic) -> Callable[[int], None]:
    """Return what is told the position after every stretch, and prints it: in a pipe or a log, at most a line in 15 seconds.

    What is left is estimated at the pace since the first stretch ended, since a run may have gone on from a checkpoint.
    """
    first: list[tuple[float, int]] = []
    printed = -_PLAIN_SECONDS

    def observe(position: int) -> None:
        nonlocal printed
        now = clock()
        first[:] = first or [(now, position)]
        if now - printed < _PLAIN_SECONDS and position < samples:
            return
        printed = now
        began, start = first[0]
        left = (now - began) / (position - start) * (samples - position) if position > start else None
        words = f", {format_seconds(left)} left" if left else ""
        console.print(f"training: {position:,} of {samples:,} samples{words}", highlight=False, soft_wrap=True)

    return observe


def as_document(study: Study, result: RunResult) -> dict[str, Any]:
    """Return what `run --json` prints."""
    score = score_run(study, result)
    return {
        "run": str(result.folder),
        "time_general": score.measures.time_general,
        "area": score.measures.area,
        "final_margin": score.measures.final_margin,
        "hops": score.measures.hops,
        "trajectory": json.loads(result.trajectory.table.to_json(orient="records")),
        "loss": json.loads(result.loss.to_json(orient="records")),
        "bits_per_byte": json.loads(result.bits.to_json(orient="records")),
        "seconds": result.seconds,
    }


def _print(study: Study, result: RunResult) -> None:
    from curriculum.report.trajectory_chart import print_trajectory

    console = Console()
    print_trajectory(result.trajectory, console)
    score = score_run(study, result)
    measures = score.measures
    console.print(
        f"time general {measures.time_general:.2f}, area {measures.area:.2f}, final margin {measures.final_margin:.2f}, "
        f"hops {measures.hops:.1f} (after a burn-in of {float(study.objective.burn_in):.0%})",
        highlight=False,
    )
    losses = ", ".join(f"{name} {loss:.3f}" for name, loss in score.loss.items())
    console.print(f"held-out loss: {losses or 'no stream has a heldout folder'}", highlight=False)
    if score.bits:
        bits = ", ".join(f"{name} {value:.3f}" for name, value in score.bits.items())
        console.print(f"bits per byte: {bits}", highlight=False)
    console.print(f"run folder: {result.folder}", markup=False, highlight=False)
