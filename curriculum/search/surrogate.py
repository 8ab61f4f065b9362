"""What the trials so far say about curricula that were not tried: a Gaussian process on the curricula themselves.

Idea: parameters are a poor measure of how alike two curricula are (a low-rank form writes the same one in many ways), so
the process sees what is played: each stream's mean proportion in a few equal slices of the run, square-rooted, so that
the distance is Hellinger's and a stream that goes from 1 to 4 % counts as one that goes from 25 to 36 %. The kernel is
Matern 5/2 with one length for each stream where there are few, one for all where there are many, and white noise.

The hyperparameters are chosen on a grid by their posterior, from one eigendecomposition per kernel, which serves any
number of outputs and noises: no optimiser that may stop elsewhere on another machine, and 65 constraints cost little
more than one. Each constraint has its own length and noise, lest the losses, which hardly vary from seed to seed, speak for
the final margin, which varies a lot: under one kernel for all, nothing near static, nor static itself, passed for feasible.
The losses of many streams share theirs, for of many fitted apart some always take noise for signal.
Before that, excesses are squashed by arcsinh, which keeps their sign: a stream that starved is over its limit by nats, and
one that matters by hundredths. Values far below the others are pulled up for the same reason.

Alternatives measured on the same trials: see `benchmarks/replay.md`. The price is cubic in the trials; above
`_MOST_FITTED` the hyperparameters come from a part of them, evenly spaced.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.special import ndtr

from curriculum.search.proposer import Evidence, Parameters
from curriculum.search.space import SLICES, SearchSpace

Array = npt.NDArray[np.float64]

_SLICES = 5  # of the run, as the process sees it
_CHOICE = 0.3  # distance between two curricula that differ in a choice (order, window) alone
_LENGTHS = np.geomspace(0.1, 3.2, 11)
_NOISES = np.geomspace(0.003, 10.0, 13)  # variance of noise over that of the signal
_RELEVANCES = (0.25, 1.0, 4.0)  # of a stream's squared distance
_MOST_GROUPS = 8
_MOST_FITTED = 200
_MOST_INDEPENDENT = 8  # constraints whose probabilities are multiplied, and from which on losses are fitted together
_LEAST_KNOWN = 5  # trials that must name a constraint before it is learnt
_JITTER = 1e-6


def inputs(space: SearchSpace, parameters: Sequence[Parameters]) -> Array:
    """Return what the process sees of curricula, shape (curricula, streams, slices), without their choices."""
    played = space.features_of(parameters)
    shaped = played.reshape(len(parameters), _SLICES, SLICES // _SLICES, -1).mean(axis=2)
    roots: Array = np.sqrt(np.clip(shaped, 0.0, None)).transpose(0, 2, 1) / np.sqrt(_SLICES)
    return roots


def choices(parameters: Sequence[Parameters], known: Sequence[tuple[str, str]]) -> Array:
    """Return which of the `known` choices each curriculum makes, shape (curricula, choices)."""
    rows = [[float(entry.get(name) == value) for name, value in known] for entry in parameters]
    found: Array = np.asarray(rows, dtype=np.float64).reshape(len(parameters), len(known)) * (_CHOICE / np.sqrt(2))
    return found


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep linear algebra on one thread: the last bits depend on their number, and small matrices gain nothing by more."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield


class Kernels:
    """Kernels of the same points under other relevances, each taken apart once: for the value and for the constraints."""

    def __init__(self, points: Array, groups: npt.NDArray[np.int64]) -> None:
        self.part = np.unique(np.linspace(0, len(points) - 1, min(len(points), _MOST_FITTED)).round().astype(np.int64))
        self.groups = int(groups.max()) + 1
        parts = (points[self.part][:, groups == group] for group in range(self.groups))
        self._squares = np.stack([_distances(part, part) ** 2 for part in parts])
        self._known: dict[bytes, tuple[Array, Array]] = {}

    def spectrum(self, relevance: Array) -> tuple[Array, Array]:
        """Return eigenvalues (n,) and eigenvectors (n, n) of the kernel whose groups have these relevances."""
        key = relevance.tobytes()
        if key not in self._known:
            sizes, vectors = np.linalg.eigh(_matern(np.sqrt(np.tensordot(relevance, self._squares, axes=1))))
            self._known[key] = (sizes, vectors)
        return self._known[key]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Process:
    """A Gaussian process of one or several outputs that share a kernel, given its data.

    `points` (n, d) are already divided by the lengths; `scales` (outputs,) are signal standard deviations; `noise` is
    relative to their squares.
    """

    points: Array
    centres: Array
    scales: Array
    noise: float
    factor: Array
    weights: Array
    relevance: Array

    @classmethod
    def fit(
        cls,
        points: Array,
        values: Array,
        groups: npt.NDArray[np.int64],
        kernels: Kernels | None = None,
        *,
        one_length: bool = False,
    ) -> Process:
        """Fit `values` (n, outputs) at `points` (n, d); `groups` (d,) says which coordinates share a length.

        `kernels` of the same points and groups, where another process has been fitted to them. `one_length`: one for all
        groups, which many processes of the same points then cost little more than one.
        """
        kernels = kernels or Kernels(points, groups)
        relevance, noise = _choose(kernels, values[kernels.part], one_length=one_length)
        scaled = points * np.sqrt(relevance)[groups]
        kernel = _matern(_distances(scaled, scaled))
        factor = cholesky(kernel + (noise + _JITTER) * np.eye(len(points)), lower=True)
        centres = values.mean(axis=0)
        weights = cho_solve((factor, True), values - centres)
        scales = np.sqrt(_signal(np.einsum("no,no->o", values - centres, weights), len(points)))
        return cls(
            points=scaled, centres=centres, scales=scales, noise=noise, factor=factor, weights=weights, relevance=relevance
        )

    def predict(self, points: Array, groups: npt.NDArray[np.int64], pending: Array | None = None) -> tuple[Array, Array]:
        """Return means and standard deviations of the outputs without noise, each of shape (m, outputs).

        `pending` (p, d) are points whose results are awaited: taken as if they will come as predicted, they narrow the
        deviations and leave the means.
        """
        lengths = np.sqrt(self.relevance)[groups]
        scaled = points * lengths
        across = _matern(_distances(self.points, scaled))
        means = self.centres + across.T @ self.weights
        left = 1.0 - np.sum(solve_triangular(self.factor, across, lower=True) ** 2, axis=0)
        if pending is not None and len(pending):
            left = self._narrowed(scaled, pending * lengths)
        deviations = np.sqrt(np.clip(left, 1e-9, None))[:, None] * self.scales
        return means, deviations

    def _narrowed(self, scaled: Array, pending: Array) -> Array:
        """Return the variances left when results at `pending` are counted in, in units of the signal's variance."""
        known = np.concatenate([self.points, pending])
        kernel = _matern(_distances(known, known)) + (self.noise + _JITTER) * np.eye(len(known))
        across = _matern(_distances(known, scaled))
        left: Array = 1.0 - np.sum(solve_triangular(cholesky(kernel, lower=True), across, lower=True) ** 2, axis=0)
        return left


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Surrogate:
    """The value and the constraints of a study, as its trials let expect them; `tried` are those with a value."""

    space: SearchSpace
    known: tuple[tuple[str, str], ...]
    groups: npt.NDArray[np.int64]
    value: Process
    excess: tuple[Process, ...]
    spread: float
    centre: float
    pending: Array
    tried_points: Array
    tried: tuple[Parameters, ...]

    @classmethod
    def fit(cls, space: SearchSpace, evidence: Sequence[Evidence]) -> Surrogate:
        """Fit to trials with values; those that run are awaited, those that failed ignored. Raises ValueError without any."""
        done = [trial for trial in evidence if trial.value is not None and np.isfinite(trial.value)]
        if not done:
            raise ValueError("wanted at least one trial with a value, got none")
        running = [trial for trial in evidence if trial.value is None and not trial.has_failed]
        everything = [trial.parameters for trial in (*done, *running)]
        known = tuple(sorted({(name, v) for entry in everything for name, v in entry.items() if isinstance(v, str)}))
        points, groups = _points(space, everything, known)
        values = np.asarray([trial.value for trial in done], dtype=np.float64)
        centre, spread = float(np.median(values)), float(values.std()) or 1.0
        here = points[: len(done)]
        kernels = Kernels(here, groups)
        return cls(
            space=space,
            known=known,
            groups=groups,
            value=Process.fit(here, (_pulled_up(values)[:, None] - centre) / spread, groups, kernels),
            excess=tuple(_excess_processes(done, here, groups, kernels)),
            spread=spread,
            centre=centre,
            pending=points[len(done) :],
            tried_points=here,
            tried=tuple(trial.parameters for trial in done),
        )

    def points(self, parameters: Sequence[Parameters]) -> Array:
        """Return what the process sees of curricula, shape (curricula, d)."""
        return _points(self.space, parameters, self.known)[0]

    def posterior(self, points: Array, *, awaited: bool = False) -> tuple[Array, Array]:
        """Return the mean value without noise at `points`, and its standard deviation, each of shape (m,).

        `awaited`: trials that run count as if they had come out as predicted, which narrows the deviations.
        """
        means, deviations = self.value.predict(points, self.groups, self.pending if awaited else None)
        return means[:, 0] * self.spread + self.centre, deviations[:, 0] * self.spread

    def feasibility(self, points: Array) -> Array:
        """Return the probability that no constraint is overstepped at `points`, shape (m,).

        As if constraints were independent; but all of many weigh no more than eight of their geometric mean would, and the
        least likely alone is the upper bound. Each probability stays a little below one for want of trials, and the product
        of 64 such ruled out curricula of which everyone kept all.
        """
        if not self.excess:
            return np.ones(len(points))
        predicted = (process.predict(points, self.groups) for process in self.excess)
        likely = np.concatenate([ndtr(-means / deviations) for means, deviations in predicted], axis=1)
        together = likely.prod(axis=1) ** min(1.0, _MOST_INDEPENDENT / likely.shape[1])
        found: Array = np.minimum(together, likely.min(axis=1))
        return found

    @property
    def noise(self) -> float:
        """Standard deviation of a single run's value."""
        return float(np.sqrt(self.value.noise) * self.value.scales[0] * self.spread)


def _points(
    space: SearchSpace, parameters: Sequence[Parameters], known: Sequence[tuple[str, str]]
) -> tuple[Array, npt.NDArray[np.int64]]:
    """Return curricula as points (curricula, d), and which coordinates share a length (choices share one, the last)."""
    if not parameters:
        return np.empty((0, len(space.streams) * _SLICES + len(known))), np.empty(0, dtype=np.int64)
    roots, made = inputs(space, parameters), choices(parameters, known)
    streams = roots.shape[1]
    of_streams = np.arange(streams) if streams <= _MOST_GROUPS else np.zeros(streams, dtype=np.int64)
    groups = np.concatenate([np.repeat(of_streams, _SLICES), np.full(len(known), of_streams[-1] + 1)]).astype(np.int64)
    return np.concatenate([roots.reshape(len(parameters), -1), made], axis=1), groups


def _pulled_up(values: Array) -> Array:
    """Return values of which none is lower than the median by more than five times the median distance above it."""
    middle = float(np.median(values))
    above = values[values > middle] - middle
    return values if not len(above) else np.maximum(values, middle - 5 * float(np.median(above)))


def _excess_processes(
    done: Sequence[Evidence], points: Array, groups: npt.NDArray[np.int64], kernels: Kernels
) -> Iterator[Process]:
    """Yield processes of the constraints, each fitted to the trials that name it: those of an older study may not know it."""
    for names in _fitted_together(done):
        rows = [row for row, trial in enumerate(done) if names[0] in trial.excess]
        if len(rows) < min(_LEAST_KNOWN, len(done)):
            continue
        squashed = np.stack([_squashed(np.asarray([done[row].excess[name] for row in rows])) for name in names], axis=1)
        everyone = len(rows) == len(done)
        yield Process.fit(points[rows], squashed, groups, kernels if everyone else None, one_length=True)


def _fitted_together(done: Sequence[Evidence]) -> list[list[str]]:
    """Return the constraints by what shares a length and a noise: each its own, but many losses (or bits) have one.

    Of 64 processes fitted apart to the noise of a few dozen trials, one or two always believe it.
    """
    names = sorted({name for trial in done for name in trial.excess})
    together: dict[tuple[str | int, ...], list[str]] = {}
    for name in names:
        known = (row for row, trial in enumerate(done) if name in trial.excess)
        together.setdefault((name.split("_")[0], *known), []).append(name)
    return [part for of in together.values() for part in ([of] if len(of) > _MOST_INDEPENDENT else [[name] for name in of])]


def _squashed(raw: Array) -> Array:
    """Return one constraint's excesses in units of their median size, squashed; one that is not finite is the worst."""
    unit = float(np.median(np.abs(np.nan_to_num(raw, posinf=0.0, neginf=0.0))))
    squashed: Array = np.arcsinh(np.clip(np.nan_to_num(raw, nan=1e9), -1e9, 1e9) / (unit if unit > 0 else 1.0))
    return squashed


def _distances(first: Array, second: Array) -> Array:
    """Return Euclidean distances, shape (len(first), len(second))."""
    squares = np.sum(first**2, axis=1)[:, None] + np.sum(second**2, axis=1)[None, :] - 2 * first @ second.T
    found: Array = np.sqrt(np.clip(squares, 0.0, None))
    return found


def _matern(distances: Array) -> Array:
    """Return the Matern 5/2 correlation at distances in units of its length."""
    scaled = np.sqrt(5.0) * distances
    found: Array = (1.0 + scaled + scaled**2 / 3.0) * np.exp(-scaled)
    return found


def _signal(square: Array, count: int) -> Array:
    """Return the signal's variance, drawn towards 1 as by two further observations of it."""
    found: Array = (square + 2.0) / (count + 2.0)
    return found


def _choose(kernels: Kernels, values: Array, *, one_length: bool) -> tuple[Array, float]:
    """Return each group's relevance (inverse squared length) and the noise ratio with the highest posterior."""
    count = kernels.groups
    found = [(*_fit_of(np.full(count, length**-2.0), kernels, values), length) for length in _LENGTHS]
    score, noise, length = max(found, key=lambda entry: entry[0])
    relevance = np.full(count, length**-2.0)
    for group in range(count if count > 1 and not one_length else 0):
        for factor in (entry for entry in _RELEVANCES if entry != 1.0):
            changed = relevance.copy()
            changed[group] *= factor
            other, other_noise = _fit_of(changed, kernels, values)
            other -= 0.5  # a length of its own must be worth it
            if other > score:
                score, noise, relevance = other, other_noise, changed
                break
    return relevance, noise


def _fit_of(relevance: Array, kernels: Kernels, values: Array) -> tuple[float, float]:
    """Return the log posterior of the best noise ratio for a kernel, summed over outputs, and that ratio."""
    sizes, vectors = kernels.spectrum(relevance)
    spectrum = np.clip(sizes, 0.0, None)[None, :] + _NOISES[:, None] + _JITTER  # (noises, n)
    turned = (vectors.T @ (values - values.mean(axis=0))) ** 2  # (n, outputs)
    count, outputs = values.shape
    signals = _signal((1.0 / spectrum) @ turned, count)  # (noises, outputs)
    likelihood = -0.5 * (count + 2) * np.log(signals).sum(axis=1) - 0.5 * outputs * np.log(spectrum).sum(axis=1)
    length = float(np.exp(-0.5 * np.log(relevance).mean()))
    prior = -0.5 * (np.log(_NOISES / 0.3) / 1.5) ** 2 - 0.5 * np.log(length / 0.6) ** 2
    best = int(np.argmax(likelihood + prior))
    return float(likelihood[best] + prior[best]), float(_NOISES[best])
