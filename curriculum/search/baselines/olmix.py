"""Olmix-like: a log-linear law of static mixes, minimised with a penalty for leaving the natural mix.

Source: Chen, Murray, Heineman, Jordan, Hajishirzi, Re, Soldaini and Lo, "Olmix: A Framework for Data Mixing Throughout
LM Development", 2026 (arXiv 2602.12237), OlmixBase, and the authors' code (allenai/olmix, `olmix/fit`).

As there: a swarm of static mixes p from a Dirichlet around the natural mix, the law c + exp(a + w.p) fitted under a
Huber loss with delta .02, and the mix that minimises the law plus .05 KL(p || natural), found exactly (both are
convex). Changed: one law for the study's cost (minus its value) instead of one for each of many tasks; c may have any
sign, since a cost may; a law of the worst excess is kept at or below 0 by a penalty; nothing on reusing mixes after the
streams change. See `swarm` for constraints and for the last trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares, minimize

from curriculum.search.baselines.swarm import (
    Array,
    excess_of,
    is_swarm,
    natural,
    static_mixes,
    untried_mix,
    values_of,
)
from curriculum.search.proposer import Evidence, Parameters
from curriculum.search.space import SearchSpace

_HUBER = 0.02
_KL = 0.05
_PENALTY = 10.0
_STARTS = 4
_RIDGE = 1e-3  # keeps the weights finite where there are fewer mixes than streams
_PRECISE = {"ftol": 1e-13, "gtol": 1e-9, "maxiter": 2000}
_LARGEST = 20.0  # exponent


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Law:
    """c + exp(a + w.p) for a mix p."""

    constant: float
    offset: float
    weights: Array

    @classmethod
    def fit(cls, mixes: Array, costs: Array, random: np.random.Generator) -> Law:
        """Fit to `mixes` (n, streams) and `costs` (n,) from several starts, deterministic for the same generator."""
        streams = mixes.shape[1]
        low, spread = float(costs.min()), float(np.ptp(costs)) or 1.0

        def residuals(guess: Array) -> Array:
            power = np.clip(guess[1] + mixes @ guess[2:], -_LARGEST, _LARGEST)
            wrong = guess[0] + np.exp(power) - costs
            huber = np.where(np.abs(wrong) <= _HUBER, wrong**2, _HUBER * (2 * np.abs(wrong) - _HUBER))
            return np.concatenate([np.sign(wrong) * np.sqrt(huber), _RIDGE * guess[2:]])

        starts = [
            np.concatenate([[low - spread * random.uniform(0.1, 2.0), np.log(spread)], random.normal(0, 1, streams)])
            for _ in range(_STARTS)
        ]
        fits = [least_squares(residuals, start, max_nfev=200) for start in starts]
        best = min(fits, key=lambda fit: float(fit.cost)).x
        return cls(constant=float(best[0]), offset=float(best[1]), weights=np.asarray(best[2:]))

    def at(self, mix: Array) -> tuple[float, Array]:
        """Return the law's cost of a mix and its gradient, shape (streams,)."""
        grown = float(np.exp(min(self.offset + float(mix @ self.weights), _LARGEST)))
        return self.constant + grown, grown * self.weights


class Olmix:
    """Proposes static mixes; `budget` is the number of trials planned (see `swarm`)."""

    def __init__(self, space: SearchSpace, budget: int | None = None) -> None:
        self._space, self._budget = space, budget

    def propose(self, number: int, evidence: Sequence[Evidence], *, seed: int) -> Parameters:
        """Return the parameters of trial `number`; mixes that change over the run are not learned from."""
        random = np.random.default_rng(seed)
        trials, mixes = static_mixes(self._space, evidence)
        if is_swarm(number, self._budget, len(trials)):
            return untried_mix(self._space, evidence, random)
        cost = Law.fit(mixes, -values_of(trials), random)
        excess = Law.fit(mixes, excess_of(trials), random)
        return self._space.parameters(best_mix(cost, excess, natural(self._space))[None, :])


def best_mix(cost: Law, excess: Law, prior: Array) -> Array:
    """Return the mix (streams,) that minimises cost, distance from `prior` and what `excess` oversteps."""
    kept = np.clip(prior, 1e-6, None)

    def objective(logits: Array) -> tuple[float, Array]:
        mix = np.exp(logits - logits.max())
        mix = mix / mix.sum()
        ratio = np.log(np.clip(mix, 1e-12, None) / kept)
        value, slope = cost.at(mix)
        over, over_slope = excess.at(mix)
        over = max(0.0, over)
        slope = slope + _KL * (ratio + 1) + 2 * _PENALTY * over * over_slope
        total = value + _KL * float(mix @ ratio) + _PENALTY * over**2
        return total, mix * (slope - float(mix @ slope))

    found = minimize(
        objective, np.log(kept), jac=True, method="L-BFGS-B", bounds=[(-14.0, 14.0)] * len(prior), options=_PRECISE
    )
    mix = np.exp(found.x - found.x.max())
    return np.asarray(mix / mix.sum())
