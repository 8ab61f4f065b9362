"""Population runs: requested runs of one shape, trained as one computation, each leaving the folder that `perform` leaves.

Idea: a search asks for many runs of one small proxy that differ in mix, seed and learning rate only. Trained as one batched
computation (see `population_training`) they take a quarter less time on one core, and fill a GPU that a single proxy leaves
idle. Numbers equal the single run's up to rounding: which runs are trained together is therefore settled beforehand (see
`population_groups`). What cannot be batched is refused here, before anything is trained.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from time import monotonic

from curriculum.errors import RunError, UserError
from curriculum.proxy.folders import stream_folder
from curriculum.proxy.population_training import Computing, Member, train_together
from curriculum.proxy.run import RECORD, RunRequest, load_run, measured, questions, write_run
from curriculum.proxy.training import Progress

_SHARED = ("model", "layers", "width", "heads", "context", "batch", "optimizer", "readings", "precision")


def train_population(
    requests: Sequence[RunRequest],
    runs: Path,
    *,
    computing: Computing | None = None,
    observe: Callable[[int], None] = lambda _: None,
) -> list[str | None]:
    """Train runs together unless all their folders are there; return why each failed, None where it did not.

    Those whose folders are there are trained with the others, which else would be other computations, and left alone. The
    folders are those of `perform`; the record says in `population` how many runs were trained as one, and `seconds` is an
    equal share of the time. Raises UserError for runs that cannot be trained together (see `population_key`), DataError.
    """
    refuse_unlike(requests)
    names = [request.run_id() for request in requests]
    members = dict(zip(names, requests, strict=True))
    waiting = [name for name in members if load_run(runs / name) is None]
    checkpoint = runs / f".population-{hashlib.sha256(' '.join(sorted(members)).encode()).hexdigest()[:10]}"
    failures: dict[str, str] = {}
    if waiting:
        failures = _train(members, waiting, runs, checkpoint, computing or Computing(), observe)
    shutil.rmtree(checkpoint, ignore_errors=True)
    return [failures.get(name) for name in names]


def population_key(request: RunRequest) -> Hashable:
    """Return what runs must have in common to be trained together: shape, batch, length, streams, and what they are asked."""
    recipe = request.recipe
    streams = tuple((name, str(stream_folder(name, stream))) for name, stream in request.mix.streams.items())
    shape = tuple(getattr(recipe, name) for name in _SHARED)
    return shape, request.samples, streams, request.probes, request.suites, request.draw, request.item_seed


def refuse_unlike(requests: Sequence[RunRequest]) -> None:
    """Raise UserError for runs that cannot be trained together; without requests there is nothing to refuse."""
    for request in requests:
        if request.command is not None:
            raise UserError(f"run {request.label}: a command of your own cannot be trained in a population; set population: 1")
        if request.recipe.experts:
            raise UserError(
                f"run {request.label}: a mixture of experts cannot be trained in a population, whose members route their "
                "tokens differently; set population: 1"
            )
        if request.stop is not None:
            raise UserError(
                f"run {request.label}: members of a population advance together, so that none can end early; leave out the "
                "pruner, or set population: 1"
            )
        if population_key(request) != population_key(requests[0]):
            raise UserError(
                f"runs {requests[0].label} and {request.label} cannot be trained as one population: they must share "
                f"{', '.join(_SHARED)}, samples, streams, probes, suites and draw; mix, seed and learning rate may differ"
            )


def _train(
    members: dict[str, RunRequest],
    waiting: Sequence[str],
    runs: Path,
    checkpoint: Path,
    computing: Computing,
    observe: Callable[[int], None],
) -> dict[str, str]:
    """Train the members and write those that are waited for; return the failures."""
    first = next(iter(members.values()))
    probes, suites = questions(first)
    for name in waiting:
        (runs / name / RECORD).unlink(missing_ok=True)
        (runs / name).mkdir(parents=True, exist_ok=True)
    started = monotonic()
    outcomes = train_together(
        [
            Member(name=name, mix=request.played_mix(), recipe=request.recipe, seed=request.seed)
            for name, request in members.items()
        ],
        samples=first.samples,
        probes=probes,
        suites=suites,
        checkpoint=checkpoint,
        computing=computing,
        observe=observe,
    )
    seconds = (monotonic() - started) / len(members)
    trained = dict(zip(members, outcomes, strict=True))
    found = {name: _write(members[name], runs / name, trained[name], seconds, len(members)) for name in waiting}
    return {name: failure for name, failure in found.items() if failure is not None}


def _write(request: RunRequest, folder: Path, outcome: Progress | str, seconds: float, population: int) -> str | None:
    if isinstance(outcome, str):
        return outcome
    try:
        tables = measured(outcome, folder.name)
    except RunError as error:
        return str(error)
    write_run(request, folder, tables, seconds, population=population)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # of an earlier try by itself
    return None
