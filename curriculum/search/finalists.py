"""Which curricula are repeated, and which of these are proven. Never simply the best trial.

Idea: of fifty noisy values the highest is mostly noise. What a trial is worth is said by two sources of which neither has
seen the other's data: the surrogate's posterior at it, fitted on the search's runs (the prior), and the mean of its repeats on
further seeds (the likelihood). They are weighed by their precisions. The surrogate's optimum takes part although it was never
tried: its prior is the best there is, and repeats correct it. Curricula that play nearly the same samples at nearly the
same time are one candidate, lest five repeats go to one place that the surrogate likes.

Whether constraints are kept is judged by the probability that the surrogate gives, fitted anew when there are repeats:
final margins differ by as much from seed to seed as from curriculum to curriculum, so that one run's word for it would
make lucky ones finalists and shut unlucky ones out. Feasible ones come first, whatever the others promise.

Alternatives: the best single value (regret two to three times that of the posterior, on synthetic searches of 50), or the
repeats alone (two of them say less than a surrogate that saw fifty runs). The price is trust in a model; so the
prior never weighs more than `MOST_WEIGHT` runs do, whatever it thinks of itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from curriculum.search.statistics import FloatArray

MOST_WEIGHT = 4  # runs; a Gaussian process on fifty values of which it chose half itself is surer than it is right
_SAME = 0.03  # of the samples played by two curricula that differ: nearer ones count as one
_LIKELY = 0.5


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Option:
    """A curriculum that may become a finalist.

    `name` is unique; `number` its trial, None for one that was never tried; `parameters` what the space knows it by.
    `features`, of any shape, are its proportions of each stream in equal slices of the run (so that they sum to the number
    of slices). `mean` and `sd` are the surrogate's
    posterior of its value without noise, `repeats` the values of runs that the surrogate has not seen. `feasibility` is the
    surrogate's probability that it keeps all constraints.
    """

    name: str
    number: int | None
    features: FloatArray
    parameters: Mapping[str, float | str]
    mean: float
    sd: float
    repeats: tuple[float, ...] = ()
    feasibility: float = 1.0

    @property
    def is_feasible(self) -> bool:
        """Whether it likely keeps every constraint."""
        return self.feasibility >= _LIKELY


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What a curriculum is worth: posterior mean and standard deviation of its value without noise."""

    mean: float
    sd: float


def estimate(option: Option, noise: float) -> Estimate:
    """Return the precision-weighted mean of surrogate and repeats; `noise` is the standard deviation of one run."""
    prior = 1 / max(option.sd**2, noise**2 / MOST_WEIGHT, 1e-12)
    runs = len(option.repeats) / max(noise**2, 1e-12)
    seen = float(np.mean(option.repeats)) if option.repeats else 0.0
    return Estimate(mean=(prior * option.mean + runs * seen) / (prior + runs), sd=float((prior + runs) ** -0.5))


def choose(options: Sequence[Option], count: int, noise: float) -> list[Option]:
    """Return up to `count` different options, best first: feasible ones by posterior mean, then the others.

    Of options that nearly are one curriculum the best stands for all. Ties go to the elder trial, an untried one last.
    """
    ranked = sorted(options, key=lambda option: _rank(option, noise))
    chosen: list[Option] = []
    for option in ranked:
        if len(chosen) == count:
            break
        if not any(_is_same(option, other) for other in chosen):
            chosen.append(option)
    return chosen


def _rank(option: Option, noise: float) -> tuple[bool, float, float]:
    age = np.inf if option.number is None else float(option.number)
    return (not option.is_feasible, -estimate(option, noise).mean, age)


def choose_candidates(options: Sequence[Option], optimum: Option | None, count: int, noise: float) -> list[Option]:
    """Return up to `count` options to repeat: the best tried ones, and the surrogate's optimum if it is none of them.

    The optimum takes the last place, however doubtful: it is what the model stakes on, and repeats are cheap to a proof.
    """
    if optimum is None or count == 1:
        return choose(options, count, noise)
    if any(_is_same(option, optimum) for option in options):
        return choose(options, count, noise)
    return [*choose(options, count - 1, noise), optimum]


def _is_same(first: Option, second: Option) -> bool:
    """Say whether two options nearly are one curriculum: of equal choices (order, window), and hardly another mixture."""
    return _choices(first) == _choices(second) and distance(first.features, second.features) < _SAME


def _choices(option: Option) -> dict[str, str]:
    return {name: value for name, value in option.parameters.items() if isinstance(value, str)}


def distance(first: FloatArray, second: FloatArray) -> float:
    """Return the share of samples that differ between two curricula: total variation, averaged over the run."""
    return float(np.abs(first - second).sum() / (np.abs(first).sum() + np.abs(second).sum()))


def mean_excess(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean over runs by which each constraint is overstepped."""
    return {name: float(np.mean([run[name] for run in runs])) for name in (runs[0] if runs else ())}


def noise_of(groups: Iterable[Sequence[float]], *, otherwise: float) -> float:
    """Return the standard deviation of one run, pooled over groups of runs of equal curricula.

    Groups of one run say nothing; `otherwise` (the surrogate's own noise) if none says anything. It is never taken as less
    than a fifth of that, since two repeats of a bounded measure may agree by chance.
    """
    several = [np.asarray(group, dtype=np.float64) for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in several)
    if not freedom:
        return otherwise
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in several)
    return max(float(np.sqrt(squares / freedom)), otherwise / 5)
