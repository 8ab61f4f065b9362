"""RegMix: a regression from static mixes to results, and the average of the mixes with the best predictions.

Source: Liu, Zheng, Muennighoff, Zeng, Dou, Pang, Jiang and Lin, "RegMix: Data Mixture as Regression for Language Model
Pre-training", 2024 (arXiv 2407.01492), section 3, and the authors' code (sail-sg/regmix).

As there: mixes from a Dirichlet around the natural mix; LightGBM at a learning rate of .01; many simulated mixes; the
100 with the best predictions averaged. Changed: 50 proxies instead of 512, so that a leaf may hold two mixes instead
of twenty and the number of trees is fixed instead of found on mixes held out; 10,000 mixes are simulated, from the
distribution of the swarm; the target is the study's value. See `swarm` for constraints and for the last trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from curriculum.errors import UserError
from curriculum.search.baselines.swarm import (
    Array,
    excess_of,
    is_swarm,
    random_mix,
    static_mixes,
    untried_mix,
    values_of,
)
from curriculum.search.proposer import Evidence, Parameters
from curriculum.search.space import SearchSpace

_SIMULATED = 10_000
_AVERAGED = 100
_TREES = 500


class RegMix:
    """Proposes static mixes; `budget` is the number of trials planned (see `swarm`)."""

    def __init__(self, space: SearchSpace, budget: int | None = None) -> None:
        self._space, self._budget = space, budget

    def propose(self, number: int, evidence: Sequence[Evidence], *, seed: int) -> Parameters:
        """Return the parameters of trial `number`; mixes that change over the run are not learned from."""
        random = np.random.default_rng(seed)
        trials, mixes = static_mixes(self._space, evidence)
        if is_swarm(number, self._budget, len(trials)):
            return untried_mix(self._space, evidence, random)
        simulated = np.stack([random_mix(self._space, random) for _ in range(_SIMULATED)])
        return self._space.parameters(mean_of_best(mixes, trials, simulated, seed=seed)[None, :])


def mean_of_best(features: Array, trials: Sequence[Evidence], simulated: Array, *, seed: int, most: int = _AVERAGED) -> Array:
    """Return the mean of the `simulated` (m, d) with the best predictions, of those that are predicted to be feasible.

    Learned from `features` (trials, d). Where too few are feasible, those with the smallest excess count.
    """
    predicted = regressed(features, values_of(trials), simulated, seed=seed)
    excess = np.clip(regressed(features, excess_of(trials), simulated, seed=seed), 0.0, None)
    chosen = np.lexsort((-predicted, excess))[:most]
    return np.asarray(simulated[chosen].mean(axis=0))


def regressed(features: Array, targets: Array, simulated: Array, *, seed: int) -> Array:
    """Return LightGBM's predictions at `simulated` (m, d) from `features` (n, d), shape (m,). Raises UserError without it."""
    if np.ptp(targets) == 0:
        return np.full(len(simulated), targets[0])
    try:
        import lightgbm
    except ImportError as error:
        raise UserError(
            f"the samplers regmix and regmix-d need LightGBM, which cannot be used ({error}); pip install lightgbm, or "
            "choose another sampler"
        ) from None
    settings: dict[str, Any] = {
        "objective": "regression",
        "learning_rate": 0.01,
        "min_data_in_leaf": min(20, max(2, len(features) // 25)),
        "min_data_in_bin": 1,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "seed": seed % 2**31,
        "verbosity": -1,
    }
    model = lightgbm.train(settings, lightgbm.Dataset(features, label=targets, params=settings), num_boost_round=_TREES)
    return np.asarray(model.predict(simulated, num_threads=1), dtype=np.float64)
