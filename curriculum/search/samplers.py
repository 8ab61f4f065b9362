"""The samplers of a study by name, all behind `Proposer`.

    tpe            Optuna's tree of Parzen estimators, on the parameters
    gp             ten curricula unlike one another, then our Gaussian process on what is played (see `acquisition`)
    tpe-then-gp    25 trials by tpe, then our Gaussian process: the default
    cmaes          an evolution strategy on the parameters
    random         no guidance
    regmix, olmix  published peers that propose static mixes; they need `exposure: free`
    regmix-d       a published peer that proposes schedules

Idea: none keeps state. Optuna's samplers are asked in a study in memory that holds just what may be known; the
evolution strategy, whose own state Optuna would keep in the trials, is instead replayed from them generation by
generation. The price is some milliseconds a proposal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from curriculum.errors import UserError
from curriculum.search.acquisition import SurrogateProposer, ranges_of
from curriculum.search.baselines import PEERS
from curriculum.search.proposer import Evidence, Parameters, Proposer
from curriculum.search.space import SearchSpace
from curriculum.search.study import STATIC_SAMPLERS, Study

_PACKAGES = {"regmix": "lightgbm", "regmix-d": "lightgbm", "cmaes": "cmaes"}
_STARTUP = 10
_TPE_TRIALS = 25  # of tpe-then-gp
_FIRST_STEP = 0.3  # of the evolution strategy, in units of each range


def make_proposer(study: Study, space: SearchSpace, budget: int | None = None) -> Proposer:
    """Return the proposer that a study names. `budget` (trials planned in all) matters to the published peers alone.

    Raises UserError when the study's exposure leaves a sampler of static mixes nothing to choose.
    """
    name = study.search.sampler
    if name in STATIC_SAMPLERS and study.exposure == "fixed":
        raise UserError(
            f"sampler {name} proposes static mixes, of which a fixed exposure leaves only one; set `exposure: free`, or "
            "choose regmix-d or another sampler"
        )
    _check_package(name)
    if name in PEERS:
        return PEERS[name](space, budget)
    return _OURS[name](space)


def _check_package(sampler: str) -> None:
    """Raise UserError before anything is trained if the package that a sampler needs is not there."""
    package = _PACKAGES.get(sampler)
    if package is not None and find_spec(package) is None:
        raise UserError(
            f"the sampler {sampler} needs the package {package}: pip install curriculum[peers], or choose another sampler"
        )


class Unguided:
    """Proposes at random."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space

    def propose(self, number: int, evidence: Sequence[Evidence], *, seed: int) -> Parameters:
        """Return random parameters, whatever the evidence."""
        return self._space.draw(np.random.default_rng(seed))


class OptunaProposer:
    """Proposes by an Optuna sampler that is made anew, with the seed given, for every proposal."""

    def __init__(self, space: SearchSpace, make: Callable[[int], optuna.samplers.BaseSampler]) -> None:
        self._space, self._make = space, make

    def propose(self, number: int, evidence: Sequence[Evidence], *, seed: int) -> Parameters:
        """Return the parameters of trial `number`."""
        study = optuna.create_study(direction="maximize", sampler=self._make(seed % 2**31))
        study.add_trials([self._frozen(trial) for trial in evidence])
        trial = study.ask()
        self._space.ask(trial)
        return dict(trial.params)

    def _frozen(self, trial: Evidence) -> FrozenTrial:
        parameters, distributions = dict(trial.parameters), self._distributions
        if trial.value is None:
            state = TrialState.FAIL if trial.has_failed else TrialState.RUNNING
            return optuna.trial.create_trial(state=state, params=parameters, distributions=distributions)
        return optuna.trial.create_trial(
            params=parameters, distributions=distributions, value=trial.value, constraints=dict(trial.excess)
        )

    @cached_property
    def _distributions(self) -> dict[str, BaseDistribution]:
        return distributions_of(self._space)


def distributions_of(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return each parameter's distribution, as a trial that is asked for it would note it."""
    return {
        name: CategoricalDistribution(ends) if isinstance(ends[0], str) else FloatDistribution(float(ends[0]), float(ends[1]))
        for name, ends in ranges_of(space, space.draw(np.random.default_rng(0))).items()
    }


class EvolutionProposer:
    """Proposes by CMA-ES, replayed from the evidence.

    Hansen and Ostermeier, "Completely Derandomized Self-Adaptation in Evolution Strategies", 2001, as in the package
    `cmaes`. Every so many finished trials are one generation, in order of their numbers, whoever proposed them: an
    enqueued baseline takes part, and one proposed before its elders were known counts into the generation it finishes
    in. Feasible trials rank before others, those by their excess. Choices (order, window) are drawn at random.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space

    def propose(self, number: int, evidence: Sequence[Evidence], *, seed: int) -> Parameters:
        """Return the parameters of trial `number`."""
        drawn = self._space.draw(np.random.default_rng(seed))
        ranges = {name: ends for name, ends in ranges_of(self._space, drawn).items() if not isinstance(ends[0], str)}
        low, high = (np.asarray([float(ends[side]) for ends in ranges.values()]) for side in (0, 1))
        ranked = [trial for trial in evidence if trial.value is not None]
        points = [(np.asarray([float(trial.parameters[name]) for name in ranges]) - low) / (high - low) for trial in ranked]
        strategy = _evolution(len(ranges), seed)
        size = strategy.population_size
        for start in range(0, len(ranked) - size + 1, size):
            order = sorted(range(start, start + size), key=lambda index: _standing(ranked[index]))
            strategy.tell([(points[index], float(rank)) for rank, index in enumerate(order)])
        found = low + np.asarray(strategy.ask()) * (high - low)
        numbers = {name: float(value) for name, value in zip(ranges, np.clip(found, low, high), strict=True)}
        return {**drawn, **numbers}


def _standing(trial: Evidence) -> tuple[bool, float]:
    """Sorts the best first: feasible ones by value, the others by how much they overstep in all."""
    value = -np.inf if trial.value is None else trial.value
    over = sum(max(0.0, amount) for amount in trial.excess.values())
    return (not trial.is_feasible, -value if trial.is_feasible else over)


def _evolution(dimensions: int, seed: int) -> Any:
    """Return a strategy in the unit box. Raises UserError without the package."""
    try:
        from cmaes import CMA
    except ImportError as error:
        raise UserError(
            f"the sampler cmaes needs the package cmaes, which cannot be used ({error}); pip install cmaes, or choose "
            "another sampler"
        ) from None
    bounds = np.tile([0.0, 1.0], (dimensions, 1))
    return CMA(mean=np.full(dimensions, 0.5), sigma=_FIRST_STEP, bounds=bounds, seed=seed % 2**31)


class TwoStages:
    """Proposes by one proposer while fewer than `until` trials are known of, an older study's included, then by another."""

    def __init__(self, first: Proposer, second: Proposer, until: int) -> None:
        self._first, self._second, self._until = first, second, until

    def propose(self, number: int, evidence: Sequence[Evidence], *, seed: int) -> Parameters:
        """Return the parameters of trial `number`."""
        stage = self._first if len(evidence) < self._until else self._second
        return stage.propose(number, evidence, seed=seed)


def _tpe(space: SearchSpace) -> Proposer:
    return OptunaProposer(space, lambda seed: optuna.samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP))


_OURS: Mapping[str, Callable[[SearchSpace], Proposer]] = {
    "tpe": _tpe,
    "gp": lambda space: SurrogateProposer(space, startup=_STARTUP),
    "tpe-then-gp": lambda space: TwoStages(_tpe(space), SurrogateProposer(space), _TPE_TRIALS),
    "cmaes": EvolutionProposer,
    "random": Unguided,
}
