"""RegMix-D: the regression of RegMix on how mixes change over the run; a schedule comes out.

Source: Zhao, Miao, Aizawa and Tsuruoka, "RegMix-D: Dynamic Data Mixing via Proxy Training Trajectories", 2026 (arXiv
2606.18663), the offline variant.

As there: no proxies beyond the swarm, a LightGBM regression, the whole schedule chosen before the target is trained.
Changed: the paper keeps proxies static, regresses the next loss on step, mix and loss, and picks a mix stage by stage.
Our measures (time in the general mode, final margin) belong to whole runs, and a proposer sees one value a run; so the
proxies' mixes themselves change over time, as an unguided search would draw them, the features are every stream's
proportions in five equal slices of the run, and the average of the schedules with the best predictions is proposed. It
is therefore a regression on trajectories of the mix, not of the loss. Works under both kinds of exposure.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from curriculum.search.baselines.regmix import mean_of_best
from curriculum.search.baselines.swarm import Array, finished, is_swarm
from curriculum.search.proposer import Evidence, Parameters
from curriculum.search.space import SLICES, SearchSpace
from curriculum.units import keyed_seed

_SLICES = 5
_POOL = 2_000
_SIMULATED = 1_000
_AVERAGED = 10  # one in a hundred, as of RegMix's 10,000


class RegMixD:
    """Proposes schedules; `budget` is the number of trials planned (see `swarm`)."""

    def __init__(self, space: SearchSpace, budget: int | None = None) -> None:
        self._space, self._budget = space, budget

    def propose(self, number: int, evidence: Sequence[Evidence], *, seed: int) -> Parameters:
        """Return the parameters of trial `number`."""
        trials = finished(evidence)
        if is_swarm(number, self._budget, len(trials)):
            return self._space.draw(np.random.default_rng(seed))
        features = np.stack([self._played(trial.parameters) for trial in trials])
        half = np.random.default_rng(seed).permutation(_POOL)[:_SIMULATED]  # so that refits on little news differ
        best = mean_of_best(features, trials, self._simulated[half], seed=seed, most=_AVERAGED)
        return self._space.parameters(best.reshape(_SLICES, -1))

    def _played(self, parameters: Parameters) -> Array:
        """Return proportions in five slices, shape (5 * streams,)."""
        played = np.asarray(self._space.features(parameters)).reshape(_SLICES, SLICES // _SLICES, -1)
        return np.ravel(played.mean(axis=1))

    @cached_property
    def _simulated(self) -> Array:
        """Schedules to choose from, the same at every proposal, shape (pool, 5 * streams)."""
        random = np.random.default_rng(keyed_seed("simulated schedules"))
        return np.stack([self._played(self._space.draw(random)) for _ in range(_POOL)])
