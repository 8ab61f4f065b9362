"""What the published peers share: a swarm of random mixtures first, then a regression's optimum.

Idea: the papers train all proxies beforehand, fit once and train the target on the predicted optimum. A search has a
budget of proxies, so here the last tenth of the planned trials are the predicted optimum, fitted anew each time; a
budget that grows goes on refitting. The papers know no constraints. Since the studies they are compared on have some,
every peer fits the worst excess by the same regression and avoids what it predicts to overstep: an addition in their
favour.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
import numpy.typing as npt

from curriculum.search.proposer import Evidence, Parameters
from curriculum.search.space import SLICES, SearchSpace

Array = npt.NDArray[np.float64]

PLANNED = 50  # trials, where no budget is given: that of the command line
_PROVEN = 0.1  # share of the trials that are the predicted optimum
_LEAST = 5  # trials with values before anything is regressed
_CONSTANT = 0.02  # proportions that change less over the run are called static
_REDRAWN = 50
_TEMPERATURE, _STRENGTHS, _SMALLEST = 0.5, (0.1, 5.0), 2e-4


def is_swarm(number: int, budget: int | None, learned: int) -> bool:
    """Whether trial `number` is still one of the random ones, given so many trials that were learned from."""
    planned = PLANNED if budget is None else budget
    return number < planned - max(1, ceil(_PROVEN * planned)) or learned < _LEAST


def natural(space: SearchSpace) -> Array:
    """Return the natural mix: the shares of the exposure, which by default are the streams' sizes, shape (streams,)."""
    shares = np.asarray([float(share) for share in space.shares])
    return np.asarray(shares / shares.sum())


def random_mix(space: SearchSpace, random: np.random.Generator) -> Array:
    """Return a mix as RegMix draws it, shape (streams,).

    From a Dirichlet around the natural mix, smoothed by a temperature, with a strength drawn log-uniformly; proportions
    below 2e-4 become 0 (the authors' `mixture_config/synthesize_mixture.py`).
    """
    centre = natural(space) ** _TEMPERATURE
    strength = np.exp(random.uniform(*np.log(_STRENGTHS)))
    while True:
        mix = random.dirichlet(np.clip(centre / centre.sum() * strength, 1e-3, None))
        mix = np.where(mix < _SMALLEST, 0.0, mix)
        if np.isfinite(mix).all() and mix.sum() > 0:
            return np.asarray(mix / mix.sum())


def untried_mix(space: SearchSpace, evidence: Sequence[Evidence], random: np.random.Generator) -> Parameters:
    """Return the parameters of a random mix unlike those before, as the authors drop duplicates (weak draws are corners)."""
    tried = {tuple(trial.parameters.items()) for trial in evidence}
    for _ in range(_REDRAWN):
        found = space.parameters(random_mix(space, random)[None, :])
        if tuple(found.items()) not in tried:
            break
    return found


def finished(evidence: Sequence[Evidence]) -> list[Evidence]:
    """Return the trials that have a value."""
    return [trial for trial in evidence if trial.value is not None and np.isfinite(trial.value)]


def static_mixes(space: SearchSpace, evidence: Sequence[Evidence]) -> tuple[list[Evidence], Array]:
    """Return the finished trials whose mix is constant over the run, and those mixes, shape (trials, streams)."""
    kept, mixes = [], []
    for trial in finished(evidence):
        played = np.asarray(space.features(trial.parameters)).reshape(SLICES, -1)
        if np.ptp(played, axis=0).max() <= _CONSTANT:
            kept.append(trial)
            mixes.append(played.mean(axis=0))
    return kept, np.asarray(mixes).reshape(len(mixes), len(space.streams))


def values_of(trials: Sequence[Evidence]) -> Array:
    """Return the trials' values, shape (trials,)."""
    return np.asarray([trial.value for trial in trials], dtype=np.float64)


def excess_of(trials: Sequence[Evidence]) -> Array:
    """Return each trial's worst excess, every constraint in units of its median size, squashed: 0 stays 0; (trials,).

    A constraint that a trial of an older study does not know is at its limit there.
    """
    names = sorted({name for trial in trials for name in trial.excess})
    if not names:
        return np.full(len(trials), -1.0)
    raw = np.asarray([[trial.excess.get(name, 0.0) for name in names] for trial in trials], dtype=np.float64)
    units = np.median(np.abs(raw), axis=0)
    return np.asarray(np.arcsinh((raw / np.where(units > 0, units, 1.0)).max(axis=1)))
