"""The trials of a study on disk, and what its proposer may know of them.

Idea: one coordinator asks and tells. The proposer of trial n (see `samplers`) is seeded by n and sees exactly the
results of trials 0 to n - ahead, and the parameters of those after them, whatever the number of workers and whenever
they finish; it keeps nothing from one proposal to the next. What it says is put into the storage as a waiting trial, in
one write, and only then tried; so a study is the same to the bit with one worker or eight, after kills at any instant,
and when the budget grows (but for the published peers, which plan for a budget). Trials are Optuna's, in SQLite with a
write-ahead log (its journal file does not survive a torn write). The price is that a slow trial holds back proposals
once `ahead` others are done.

Several processes may share a database: each thinks for itself, to the same end, and whoever comes first writes; the
others find it written (see `shared_runs`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import optuna
import sqlalchemy
import sqlalchemy.exc
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from curriculum.errors import ChangedError, ResourceError, UserError
from curriculum.mix import Order, Phase
from curriculum.search.pareto import seen_by
from curriculum.search.proportions import Given
from curriculum.search.proposer import Evidence, Parameters
from curriculum.search.samplers import distributions_of, make_proposer
from curriculum.search.shared_runs import SharedRuns
from curriculum.search.space import SearchSpace
from curriculum.search.storage import database_url, engine_options, file_url, shown_url
from curriculum.search.study import Study, changed_study
from curriculum.units import keyed_seed

_RUN = "run"  # read by `trials` and by the report
_NAME = "name"
_POINTS = "objectives"
_STUDY = "study"
_CONSTRAINT = "constraints"  # Optuna's own prefix, for `FrozenTrial.constraints`
_SHOWN_CHANGES = 12
_DAMAGED = ("not a database", "malformed", "disk image")  # as SQLite says it
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """One curriculum to try: trial `number`, or a baseline that was enqueued under its `name`."""

    number: int
    name: str
    phases: tuple[Phase, ...]
    order: Order | None


class Proposals:
    """The trials of one study in `folder/study.db`, or in the database `storage`.

    `budget` is what `make_proposer` wants. `shared` guards the writing where processes share the database. `prior` is what
    an older study knows: seen by every proposal, never told or counted.
    """

    def __init__(
        self,
        study: Study,
        space: SearchSpace,
        folder: Path,
        storage: str | None = None,
        *,
        budget: int | None = None,
        shared: SharedRuns | None = None,
        prior: Sequence[Evidence] = (),
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self._study, self._space, self._shared, self._prior = study, space, shared, tuple(prior)
        self._named = storage is not None
        self._file = None if self._named else folder / "study.db"
        self._proposer = make_proposer(study, space, budget)
        self._url = database_url(storage or file_url(folder / "study.db"))
        self._optuna = self._locked(lambda _: self._open())

    def close(self) -> None:
        """Let go of the database, of which nothing may be asked any more."""
        _close(self._opened)

    def enqueue(self, baselines: Mapping[str, Mapping[str, float | str]]) -> None:
        """Put baselines (name -> parameters) first; those that are there already (tried or waiting) are not put again."""

        def put(confirm: Callable[[], None]) -> None:
            known = {trial.user_attrs.get(_NAME) for trial in self._trials()}
            for name, parameters in baselines.items():
                if name not in known:
                    with self._alone(confirm):
                        self._optuna.enqueue_trial(dict(parameters), user_attrs={_NAME: name})

        self._locked(put)

    def told(self) -> dict[int, bool]:
        """Return, for every trial that has ended, whether it succeeded."""
        ended = (TrialState.COMPLETE, TrialState.FAIL)
        trials = self._guarded(lambda: self._optuna.get_trials(deepcopy=False, states=ended))
        return {trial.number: trial.state == TrialState.COMPLETE for trial in trials}

    def evidence(self, budget: int | None = None) -> list[Evidence]:
        """Return what is known: the prior, then the first `budget` trials as they stand, in order of their numbers."""
        trials = self._guarded(self._trials)
        return [*self._prior, *_evidence(trials[:budget])]

    def propose(self, number: int) -> Proposal:
        """Return proposal `number`: thought of now, or the one that was being tried when the search stopped."""
        trials = self._guarded(self._trials)
        thought = self._think(number, trials) if number == len(trials) else None
        known = trials if self._file is not None else None  # to the study's own file nobody else adds
        trial = self._locked(lambda confirm: self._begin(number, thought, known, confirm))
        return self._proposal(trial)

    def _begin(
        self, number: int, thought: Parameters | None, known: Sequence[FrozenTrial] | None, confirm: Callable[[], None]
    ) -> FrozenTrial:
        """Put what was thought of, unless another process has, and start the trial, unless it is running or over."""
        trials = self._trials() if known is None else known
        if thought is not None and number == len(trials):
            with self._alone(confirm):
                self._optuna.add_trial(self._running(thought))
            trials = self._trials()
            self._check_number(len(trials) - 1, number)
        if trials[number].state.is_finished() or trials[number].params.keys() >= self._distributions.keys():
            return trials[number]
        confirm()
        return self._asked(trials[number])

    def _asked(self, waiting: FrozenTrial) -> FrozenTrial:
        """Start a trial that was enqueued, or that was being started when the search stopped."""
        if waiting.state == TrialState.WAITING:
            trial = self._optuna.ask()
        else:
            trial = optuna.trial.Trial(self._optuna, waiting._trial_id)
        self._check_number(trial.number, waiting.number)
        self._space.ask(trial)
        return self._trials()[waiting.number]

    def _running(self, thought: Parameters) -> FrozenTrial:
        """Return a trial that is being tried, whole: its parameters also as Optuna keeps those of enqueued trials."""
        parameters = dict(thought)
        return optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=parameters,
            distributions=self._distributions,
            system_attrs={"fixed_params": parameters},
        )

    def _check_number(self, came: int, wanted: int) -> None:
        if came != wanted:
            raise UserError(
                f"the study's storage {shown_url(self._url)} was written by somebody else: trial {came} came for "
                f"{wanted}; use a storage of its own, or another name for the study"
            )

    @cached_property
    def _distributions(self) -> dict[str, BaseDistribution]:
        return distributions_of(self._space)

    def _proposal(self, trial: FrozenTrial) -> Proposal:
        phases, order = self._space.propose(Given(trial.params))
        return Proposal(number=trial.number, name=_name(trial.number, trial.user_attrs), phases=phases, order=order)

    def _trials(self) -> list[FrozenTrial]:
        """Return all trials, to be looked at only: those that are over were read once, and are Optuna's own."""
        return self._optuna.get_trials(deepcopy=False)

    def _think(self, number: int, trials: Sequence[FrozenTrial]) -> Parameters:
        """Return the parameters of trial `number`, from what its proposer may know."""
        seen = number - self._study.search.ahead
        known = [trial if trial.number <= seen else _still_running(trial) for trial in _evidence(trials)]
        if self._study.objective.pareto:
            known = seen_by(number, known, _points(trials), seed=self._study.seed)
        return self._proposer.propose(number, [*self._prior, *known], seed=keyed_seed("sampler", self._study.seed, number))

    def recall(self, number: int) -> Proposal:
        """Return a proposal whose trial has ended."""
        return self._proposal(self._guarded(lambda: self._trials()[number]))

    def tell(
        self,
        number: int,
        value: float | None,
        violations: Mapping[str, float],
        *,
        points: tuple[float, float] | None = None,
        run: str | None = None,
    ) -> None:
        """Record a trial's value (None: it failed) and how far it oversteps each constraint, unless another process did.

        `points` are its two objectives, in a study of two; `run` is the folder of the run that gave the value: in one place
        there may be runs of several searches that numbered their trials alike.
        """

        def record(confirm: Callable[[], None]) -> None:
            frozen = self._trials()[number]
            if frozen.state.is_finished():
                return
            confirm()
            if value is None:
                self._optuna.tell(number, state=TrialState.FAIL)
                return
            storage = self._optuna._storage
            for name, excess in violations.items():  # as Trial.set_constraint, which reads the whole trial before each
                storage.set_trial_system_attr(frozen._trial_id, f"{_CONSTRAINT}:{name}", float(excess))
            if run is not None:
                storage.set_trial_user_attr(frozen._trial_id, _RUN, run)
            if points is not None:
                storage.set_trial_user_attr(frozen._trial_id, _POINTS, list(points))
            self._optuna.tell(number, value)

        self._locked(record)

    def _open(self) -> optuna.Study:
        if self._file is not None and not self._file.exists():
            _create(self._file, self._study.name)
        storage = _opened(self._url)
        self._engine = storage.engine
        self._opened = storage
        found = optuna.create_study(storage=storage, study_name=self._study.name, direction="maximize", load_if_exists=True)
        if self._named and self._shared is None:  # the study's own folder, or the shared runs, are agreed on elsewhere
            self._check_same(found)
        return found

    def _check_same(self, found: optuna.Study) -> None:
        """Write down what is searched, or raise ChangedError if trials of something else are there."""
        now = self._study.canonical()
        then = found.user_attrs.get(_STUDY)
        if then is None:
            found.set_user_attr(_STUDY, now)
            return
        changes = changed_study({"study": then}, {"study": now})
        if changes:
            listed = "\n  ".join(changes[:_SHOWN_CHANGES])
            raise ChangedError(
                f"the trials of {self._study.name!r} in {shown_url(self._url)} are of other settings:\n  {listed}\n"
                "undo the change, give the study another name, or another --storage"
            )

    def _locked(self, operation: Callable[[Callable[[], None]], T]) -> T:
        """Do what writes, alone among all processes that share the study; again if its database went away meanwhile."""
        with self._storage():
            if self._shared is None:
                return operation(lambda: None)
            return self._shared.locked("proposals", operation)

    @contextmanager
    def _alone(self, confirm: Callable[[], None]) -> Iterator[None]:
        """Make sure of the lock whenever a transaction begins.

        Optuna puts a trial again, up to five times and seconds apart, where the database went away; the lock went with it.
        """

        def begun(_: sqlalchemy.Connection) -> None:
            confirm()

        sqlalchemy.event.listen(self._engine, "begin", begun)
        try:
            yield
        finally:
            sqlalchemy.event.remove(self._engine, "begin", begun)

    def _guarded(self, operation: Callable[[], T]) -> T:
        with self._storage():
            return operation() if self._shared is None else self._shared.guard(operation)

    @contextmanager
    def _storage(self) -> Iterator[None]:
        """Say in words what a database refuses: a full disk, a damaged file, no permission, no driver."""
        try:
            yield
        except (sqlalchemy.exc.NoSuchModuleError, ImportError) as error:
            raise UserError(
                f"--storage {shown_url(self._url)} needs a driver that is not there ({error}); leave it out for SQLite, or "
                "name PostgreSQL: postgresql+psycopg://user@host/database"
            ) from None
        except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            cause = error.__cause__ or error
            reason = str(getattr(cause, "orig", None) or cause).splitlines()[0]
            damaged = any(word in reason for word in _DAMAGED)
            mending = "it is damaged: move it away" if damaged else "make room, or check the path and its permissions,"
            raise ResourceError(
                f"the study's storage {shown_url(self._url)} cannot be used: {reason}; {mending} and run the same command "
                "again: what is done is kept"
            ) from None


def _create(file: Path, name: str) -> None:
    """Create a study's database beside its place and move it there whole.

    A disk that fills up while the tables are made would else leave some of them, which no later attempt completes.
    """
    building = file.with_name(f".{file.name}.building")
    for leftover in (building, building.with_name(f"{building.name}-journal")):
        leftover.unlink(missing_ok=True)
    storage = optuna.storages.RDBStorage(file_url(building))
    optuna.create_study(storage=storage, study_name=name, direction="maximize")
    _close(storage)
    building.replace(file)


def _close(storage: optuna.storages.RDBStorage) -> None:
    storage.remove_session()
    storage.engine.dispose()


def _opened(url: str) -> optuna.storages.RDBStorage:
    """Open a database; SQLite with a write-ahead log, in which readers do not hold up the writer."""
    storage = optuna.storages.RDBStorage(url, engine_kwargs=engine_options(url))
    if url.startswith("sqlite"):
        with storage.engine.connect() as connection:
            connection.execute(sqlalchemy.text("PRAGMA journal_mode=WAL"))
    return storage


def _points(trials: Sequence[FrozenTrial]) -> dict[int, tuple[float, float]]:
    """Return the two objectives of the trials that have them, by number."""
    found = {trial.number: trial.user_attrs.get(_POINTS) for trial in trials}
    return {number: (float(points[0]), float(points[1])) for number, points in found.items() if points is not None}


def _evidence(trials: Sequence[FrozenTrial]) -> list[Evidence]:
    return [
        Evidence(
            number=trial.number,
            parameters={**trial.system_attrs.get("fixed_params", {}), **trial.params},  # the former if it waits
            value=trial.value if trial.state == TrialState.COMPLETE else None,
            has_failed=trial.state == TrialState.FAIL,
            excess=dict(trial.constraints) if trial.state == TrialState.COMPLETE else {},
        )
        for trial in trials
    ]


def _still_running(trial: Evidence) -> Evidence:
    """The same trial as it looks before it has a result."""
    return Evidence(number=trial.number, parameters=trial.parameters, excess={})


def _name(number: int, attributes: Mapping[str, object]) -> str:
    """An enqueued baseline is tried in the space's own form, which only comes near the exact one."""
    return f"trial-{number} (near {attributes[_NAME]})" if _NAME in attributes else f"trial-{number}"
