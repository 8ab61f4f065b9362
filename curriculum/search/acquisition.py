"""Where to try next, by the surrogate: a Proposer with a Gaussian process behind it.

Idea: what is worth trying is judged on a finite set of candidates - a pool drawn as an unguided search would draw it,
corners (each stream early, late, much and little: averages of good points would never reach them), and changes of the
best trials - whose best are then changed again for some rounds. That needs no gradient, so any space will do, and no
optimiser that may stop elsewhere on another machine.

The worth is expected improvement over the best *posterior mean* of a tried curriculum (the best single value is luck),
times the factor by which one noisy run there would still tell something (augmented expected improvement: Huang, Allen,
Notz and Zeng, "Global optimization of stochastic black-box systems via sequential kriging meta-models", 2006), times
the probability that all constraints hold. Trials that run count as if they had come out as predicted, so that several
proposals made at once differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
from scipy.special import ndtr

from curriculum.search.proposer import Evidence, Parameters
from curriculum.search.space import SearchSpace
from curriculum.search.surrogate import Array, Surrogate, one_thread
from curriculum.units import keyed_seed

_POOL = 512
_PARENTS = 6
_CHILDREN = 48
_ROUNDS = 4
_STEPS = (0.03, 0.1, 0.3)  # of a parameter's range
_LIKELY = 0.5  # probability of holding all constraints that counts as holding them
_CORNER_STREAMS = 16  # above so many streams corners are left to chance
_TILT = 6.0

Score = Callable[[Array], Array]


class SurrogateProposer:
    """Proposes by a Gaussian process; while fewer than `startup` trials are known of, what is unlike those before it."""

    def __init__(self, space: SearchSpace, *, startup: int = 10) -> None:
        self._space, self._startup = space, startup

    def propose(self, number: int, evidence: Sequence[Evidence], *, seed: int) -> Parameters:
        """Return the parameters of trial `number`."""
        random = np.random.default_rng(seed)
        if len(evidence) < self._startup or not any(trial.value is not None for trial in evidence):
            return spread_out(self._space, [trial.parameters for trial in evidence], random)
        with one_thread():
            surrogate = Surrogate.fit(self._space, evidence)
            return self._climb(surrogate, worth(surrogate), random)

    def suggest_best(self, evidence: Sequence[Evidence], *, seed: int = 0) -> Parameters:
        """Return the parameters with the best posterior mean among those that likely hold all constraints.

        Raises ValueError when no trial has a value.
        """
        with one_thread():
            surrogate = Surrogate.fit(self._space, evidence)
            return self._climb(surrogate, merit(surrogate), np.random.default_rng(keyed_seed("best", seed)))

    def posterior(self, evidence: Sequence[Evidence], parameters: Sequence[Parameters]) -> tuple[Array, Array]:
        """Return posterior mean and standard deviation of the noise-free value of each curriculum, shape (curricula,)."""
        with one_thread():
            surrogate = Surrogate.fit(self._space, evidence)
            return surrogate.posterior(surrogate.points(parameters))

    def feasibility(self, evidence: Sequence[Evidence], parameters: Sequence[Parameters]) -> Array:
        """Return the probability that each curriculum holds all constraints, shape (curricula,)."""
        with one_thread():
            surrogate = Surrogate.fit(self._space, evidence)
            return surrogate.feasibility(surrogate.points(parameters))

    @cached_property
    def _pool(self) -> list[Parameters]:
        """Candidates that are the same at every proposal, so that what they play is worked out once."""
        random = np.random.default_rng(keyed_seed("candidate pool"))
        return [*(self._space.draw(random) for _ in range(_POOL)), *corners(self._space)]

    @cached_property
    def _ranges(self) -> Mapping[str, tuple[float, float] | tuple[str, ...]]:
        return ranges_of(self._space, self._pool[0])

    def _climb(self, surrogate: Surrogate, score: Score, random: np.random.Generator) -> Parameters:
        """Return the candidate with the highest score that was found."""
        tried = surrogate.tried
        best = np.argsort(-merit(surrogate)(surrogate.tried_points), kind="stable")[:_PARENTS]
        found: list[Parameters] = [*self._pool, *(tried[index] for index in best)]
        scores = score(np.concatenate([self._played_pool(surrogate), surrogate.tried_points[best]]))
        parents = [*range(len(self._pool), len(found))]
        for _ in range(_ROUNDS):
            parents = [*parents, *np.argsort(-scores, kind="stable")[:_PARENTS].tolist()]
            children = [
                self._changed(found[parents[index % len(parents)]], _STEPS[index % len(_STEPS)], random)
                for index in range(_CHILDREN)
            ]
            found += children
            scores = np.concatenate([scores, score(surrogate.points(children))])
            parents = []
        return found[int(np.argmax(scores))]

    def _played_pool(self, surrogate: Surrogate) -> Array:
        if self._kept is None or self._kept[0] != surrogate.known:
            self._kept = (surrogate.known, surrogate.points(self._pool))
        return self._kept[1]

    _kept: tuple[tuple[tuple[str, str], ...], Array] | None = None

    def _changed(self, parent: Parameters, step: float, random: np.random.Generator) -> Parameters:
        """Return a curriculum near `parent`: some parameters moved by about `step` of their range."""
        return changed(parent, self._ranges, step, random)


def worth(surrogate: Surrogate) -> Score:
    """Return what scores points by how much trying them promises."""
    means, _ = surrogate.posterior(surrogate.tried_points)
    holds = surrogate.feasibility(surrogate.tried_points) >= _LIKELY
    best = float(means[holds].max()) if holds.any() else None

    def score(points: Array) -> Array:
        likely = surrogate.feasibility(points)
        if best is None:
            return likely
        mean, deviation = surrogate.posterior(points, awaited=True)
        gain = (mean - best) / deviation
        density = np.exp(-0.5 * gain**2) / np.sqrt(2 * np.pi)
        improvement = deviation * (gain * ndtr(gain) + density)
        telling = 1 - surrogate.noise / np.hypot(surrogate.noise, deviation)
        found: Array = np.clip(improvement, 0, None) * telling * likely
        return found

    return score


def merit(surrogate: Surrogate) -> Score:
    """Return what scores points by their posterior mean, those that likely break a constraint below all others."""

    def score(points: Array) -> Array:
        means, _ = surrogate.posterior(points)
        likely = surrogate.feasibility(points)
        lowest = surrogate.centre - 1e3 * surrogate.spread
        found: Array = np.where(likely >= _LIKELY, means, lowest + likely * surrogate.spread)
        return found

    return score


def spread_out(space: SearchSpace, taken: Sequence[Parameters], random: np.random.Generator) -> Parameters:
    """Return, of some random curricula, the one whose proportions are furthest from those of all `taken`."""
    drawn = [space.draw(random) for _ in range(16)]
    if not taken:
        return drawn[0]
    here, there = np.sqrt(space.features_of(taken)), np.sqrt(space.features_of(drawn))
    nearest = ((there[:, None, :] - here[None, :, :]) ** 2).sum(axis=2).min(axis=1)
    return drawn[int(np.argmax(nearest))]


def corners(space: SearchSpace) -> list[Parameters]:
    """Return curricula at the space's corners: each stream much or little in the first half, the second, or throughout."""
    shares = np.asarray([float(share) for share in space.shares])
    found: list[Parameters] = []
    for stream in range(len(shares) if len(shares) <= _CORNER_STREAMS else 0):
        for first, second in ((1, -1), (-1, 1), (1, 1), (-1, -1)):
            if space.fixed and first == second:
                continue
            logs = np.zeros((2, len(shares)))
            logs[:, stream] = np.asarray([first, second]) * _TILT / 2
            matrix = np.clip(shares, 1e-3, None) * np.exp(logs)
            found.append(space.parameters(matrix / matrix.sum(axis=1, keepdims=True)))
    return found


class _Ranges:
    """Notes the range of every parameter that a space asks for."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self.found: dict[str, tuple[float, float] | tuple[str, ...]] = {}

    def suggest_float(self, name: str, low: float, high: float) -> float:
        self.found[name] = (float(low), float(high))
        return float(self._parameters[name])

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
        self.found[name] = tuple(choices)
        return str(self._parameters[name])


def ranges_of(space: SearchSpace, parameters: Parameters) -> Mapping[str, tuple[float, float] | tuple[str, ...]]:
    """Return each parameter's range (low, high), or its choices; `parameters` are any of the space."""
    ranges = _Ranges(parameters)
    space.ask(ranges)
    return ranges.found


def changed(
    parent: Parameters,
    ranges: Mapping[str, tuple[float, float] | tuple[str, ...]],
    step: float,
    random: np.random.Generator,
) -> Parameters:
    """Return `parent` with about half of its numbers moved by about `step` of their range, and few of its choices."""
    found = dict(parent)
    moved = random.random(len(parent)) < max(0.5, 1.0 / len(parent))
    moves = random.standard_normal(len(parent)) * step
    for index, (name, value) in enumerate(parent.items()):
        if isinstance(value, str):
            if random.random() < 0.15:
                found[name] = str(random.choice([str(choice) for choice in ranges[name]]))
        elif moved[index]:
            low, high = (float(end) for end in ranges[name])
            found[name] = float(np.clip(float(value) + moves[index] * (high - low), low, high))
    return found
