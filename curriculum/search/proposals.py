"""Optuna proposes curricula. The only module that imports it.

Idea: one coordinator asks and tells. The sampler of trial n is seeded by n and sees exactly the results of trials 0 to
n - ahead, and the parameters of those after them, whatever the number of workers and whenever they finish: it is asked
in a study in memory that holds just that. What it says is put into the storage as a waiting trial, in one write, and
only then tried; so a study is the same to the bit with one worker or eight, after kills at any instant, and when the
budget grows. Trials live in SQLite (Optuna's journal file does not survive a torn write). The price is that a slow trial
holds back proposals once `ahead` others are done.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
import sqlalchemy.exc
from optuna.trial import FrozenTrial, TrialState

from curriculum.errors import ResourceError, UserError
from curriculum.mix import Order, Phase
from curriculum.search.space import SearchSpace
from curriculum.search.study import Study
from curriculum.units import keyed_seed

_NAME = "name"
_TPE_TRIALS = 25  # of tpe-then-gp; 25 and 25 had the lowest regret of all measured at 50 trials


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """One curriculum to try: trial `number`, or a baseline that was enqueued under its `name`."""

    number: int
    name: str
    phases: tuple[Phase, ...]
    order: Order | None


class Proposals:
    """The trials of one study in `folder/study.db`."""

    def __init__(self, study: Study, space: SearchSpace, folder: Path, storage: str | None = None) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self._study, self._space = study, space
        self._url = storage or f"sqlite:///{folder / 'study.db'}"
        waiting = {"connect_args": {"timeout": 60}} if self._url.startswith("sqlite") else {}
        with self._storage():
            self._optuna = optuna.create_study(
                storage=optuna.storages.RDBStorage(self._url, engine_kwargs=waiting),
                study_name=study.name,
                direction="maximize",
                load_if_exists=True,
            )

    def enqueue(self, baselines: Mapping[str, Mapping[str, float | str]]) -> None:
        """Put baselines (name -> parameters) first; those that are there already (tried or waiting) are not put again."""
        with self._storage():
            known = {trial.user_attrs.get(_NAME) for trial in self._optuna.trials}
            for name, parameters in baselines.items():
                if name not in known:
                    self._optuna.enqueue_trial(dict(parameters), user_attrs={_NAME: name})

    def told(self) -> dict[int, bool]:
        """Return, for every trial that has ended, whether it succeeded."""
        with self._storage():
            trials = self._optuna.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))
        return {trial.number: trial.state == TrialState.COMPLETE for trial in trials}

    def propose(self, number: int) -> Proposal:
        """Return proposal `number`: thought of now, or the one that was being tried when the search stopped."""
        with self._storage():
            trials = self._optuna.trials
            if number == len(trials):
                self._optuna.enqueue_trial(self._think(number, trials))
                trials = self._optuna.trials
            if trials[number].state == TrialState.WAITING:
                trial = self._optuna.ask()
            else:
                trial = optuna.trial.Trial(self._optuna, trials[number]._trial_id)
            phases, order = self._space.propose(trial)
        if trial.number != number:
            raise UserError(
                f"the study's storage {self._url} was written by somebody else: trial {trial.number} came for {number}; "
                "use a storage of its own, or another name for the study"
            )
        return Proposal(number=number, name=_name(number, trial.user_attrs), phases=phases, order=order)

    def _think(self, number: int, trials: list[FrozenTrial]) -> dict[str, float | str]:
        """Return the parameters of trial `number`, from what its sampler may know."""
        known = optuna.create_study(direction="maximize", sampler=self._sampler(number))
        seen = number - self._study.search.ahead
        known.add_trials([trial if trial.number <= seen else _still_running(trial) for trial in trials])
        trial = known.ask()
        self._space.propose(trial)
        return trial.params

    def recall(self, number: int) -> Proposal:
        """Return a proposal whose trial has ended."""
        frozen = self._optuna.trials[number]
        phases, order = self._space.propose(optuna.trial.FixedTrial(frozen.params))
        return Proposal(number=number, name=_name(number, frozen.user_attrs), phases=phases, order=order)

    def tell(self, number: int, value: float | None, violations: Mapping[str, float]) -> None:
        """Record a trial's value (None: it failed) and how far it oversteps each constraint."""
        with self._storage():
            if value is None:
                self._optuna.tell(number, state=TrialState.FAIL)
                return
            trial = optuna.trial.Trial(self._optuna, self._optuna.trials[number]._trial_id)
            for name, excess in violations.items():
                trial.set_constraint(name, excess)
            self._optuna.tell(number, value)

    @contextmanager
    def _storage(self) -> Iterator[None]:
        """Say in words what a database refuses: a full disk, a damaged file, no permission, no driver."""
        try:
            yield
        except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError) as error:
            cause = error.__cause__ or error
            reason = str(getattr(cause, "orig", None) or cause).splitlines()[0]
            raise ResourceError(
                f"the study's storage {self._url} cannot be used: {reason}; make room, or check the path and its "
                "permissions, and run the same command again: what is done is kept"
            ) from None

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        seed = keyed_seed("sampler", self._study.seed, number) % 2**31
        kind = self._study.search.sampler
        if kind == "tpe-then-gp":
            kind = "tpe" if number < _TPE_TRIALS else "gp"
        if kind == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        if kind == "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=10)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=10)


def _still_running(trial: FrozenTrial) -> FrozenTrial:
    """The same trial as it looks before it has a result."""
    return optuna.trial.create_trial(state=TrialState.RUNNING, params=trial.params, distributions=trial.distributions)


def _name(number: int, attributes: Mapping[str, object]) -> str:
    """An enqueued baseline is tried in the space's own form, which only comes near the exact one."""
    return f"trial-{number} (near {attributes[_NAME]})" if _NAME in attributes else f"trial-{number}"
