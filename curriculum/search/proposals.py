"""Optuna proposes curricula. The only module that imports it.

Idea: one coordinator asks and tells, and the sampler of trial n is seeded by n and sees exactly the trials before
n - ahead, whatever the number of workers and whenever they finish; so a study is the same to the bit with one worker or
eight, after kills and resumes. Trials live in SQLite (Optuna's journal file does not survive a torn write). The price is
that a slow trial holds back proposals once `ahead` others are done.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
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
        try:
            self._optuna = optuna.create_study(
                storage=optuna.storages.RDBStorage(self._url, engine_kwargs={"connect_args": {"timeout": 60}}),
                study_name=study.name,
                direction="maximize",
                load_if_exists=True,
            )
        except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError) as error:
            raise _storage_error(self._url, error) from None
        self._waiting = {trial.number: trial for trial in self._optuna.trials if trial.state == TrialState.RUNNING}

    def enqueue(self, baselines: Mapping[str, Mapping[str, float | str]]) -> None:
        """Put baselines (name -> parameters) first; does nothing when the study has begun."""
        if self._optuna.trials:
            return
        for name, parameters in baselines.items():
            self._optuna.enqueue_trial(dict(parameters), user_attrs={_NAME: name})

    def told(self) -> dict[int, FrozenTrial]:
        """Return the trials that have ended, by number."""
        ended = (TrialState.COMPLETE, TrialState.FAIL)
        return {trial.number: trial for trial in self._optuna.get_trials(deepcopy=False) if trial.state in ended}

    def propose(self, number: int) -> Proposal:
        """Return proposal `number`: asked now, or the one that was being tried when the search stopped."""
        self._optuna.sampler = self._sampler(number)
        if number in self._waiting:
            trial = optuna.trial.Trial(self._optuna, self._waiting.pop(number)._trial_id)
        else:
            trial = self._optuna.ask()
        if trial.number != number:
            raise UserError(
                f"the study's storage {self._url} was written by somebody else: trial {trial.number} came for {number}"
            )
        phases, order = self._space.propose(trial)
        return Proposal(number=number, name=_name(number, trial.user_attrs), phases=phases, order=order)

    def recall(self, number: int) -> Proposal:
        """Return a proposal whose trial has ended."""
        frozen = self._optuna.trials[number]
        phases, order = self._space.propose(optuna.trial.FixedTrial(frozen.params))
        return Proposal(number=number, name=_name(number, frozen.user_attrs), phases=phases, order=order)

    def tell(self, number: int, value: float | None, violations: Mapping[str, float]) -> None:
        """Record a trial's value (None: it failed) and how far it oversteps each constraint."""
        frozen = self._optuna.trials[number]
        if value is None:
            self._optuna.tell(number, state=TrialState.FAIL)
            return
        trial = optuna.trial.Trial(self._optuna, frozen._trial_id)
        for name, excess in violations.items():
            trial.set_constraint(name, excess)
        self._optuna.tell(number, value)

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


def _name(number: int, attributes: Mapping[str, object]) -> str:
    """An enqueued baseline is tried in the space's own form, which only comes near the exact one."""
    return f"trial-{number} (near {attributes[_NAME]})" if _NAME in attributes else f"trial-{number}"


def _storage_error(url: str, error: Exception) -> ResourceError:
    reason = str(error).splitlines()[0]
    return ResourceError(f"the study's storage {url} cannot be used: {reason}; check the path, its permissions and free space")
