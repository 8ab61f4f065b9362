"""Effects of windows on the margin: a hierarchical Bayesian regression of margin changes on what was consumed.

    change = rate x (sum over windows of samples x effect  -  return x margin before) + the run's own drift + noise
    effect of a window = effect of its stream + features of its content x weights + its own deviation

Idea: a run has few readings and many windows, so a window's own effect is seldom known; what its stream, and windows of like
content, did is. All three are Gaussian with variances of their own, so a window that was hardly seen falls back on its
content, and one without known content on its stream (partial pooling; Gelman and Hill, "Data analysis using regression and
multilevel models", 2007, chapter 12). Content features are the general form: they alone speak of windows that were never
consumed. Without them it is ridge regression on window identity. The term `return` lets margins go back from where they
were: the same window moves a margin of -.9 up and does nothing to one of +.9. `rate` is the stretch's mean learning rate
over that of all. The drift is a level and a slope a run, taken out of all columns beforehand (Frisch, Waugh and Lovell).
The variances are chosen by cross-validation over whole runs (see `effects_folds`). What
the effects are worth is asked by nested cross-validation: a fold left out has no part in choosing the variances by which it
is predicted, since the best of 49 choices predicts its own folds well by luck (see `effects_folds`).

Alternatives: least squares (not defined with more windows than readings), the lasso (picks one of two windows that were
consumed together), MCMC over the variances (minutes instead of a second). The price: intervals take the variances chosen
for the true ones, so they are somewhat narrow where runs are few, and noise is taken as independent between readings.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from scipy.linalg import solve_triangular
from scipy.stats import t as student
from threadpoolctl import threadpool_limits

from curriculum.attribution.effects_folds import (
    Folds,
    Integers,
    Numbers,
    Prior,
    Progress,
    best_of,
    skill_of,
    squared_errors,
)
from curriculum.errors import DataError

_COVARIATES = 1  # columns before those of the windows: the margin before
_LOOSE = 1e3  # the prior variance, in units of noise, of what is not to be shrunken
_SHARED = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # signal to noise of streams and features that are tried
_OWN = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # of windows' own deviations
_ROWS_AT_ONCE = 512


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Design:
    """What is regressed on what, over n stretches between readings and W windows.

    `change`, `before` (n,): how the margin changed over a stretch, and what it was at its start. `rate` (n,): mean learning
    rate, 1 on average. `progress` (n,): middle of the stretch as a share of its run. `run` (n,): number of its run.
    `order` (n,): number of the order in which that plays its windows; runs of one seed have it in common. `consumed` (n, W):
    thousands of samples. `stream` (W,): number of a window's stream. `features` (W, F): of its content, of about unit scale;
    F may be 0.
    """

    change: Numbers
    before: Numbers
    rate: Numbers
    progress: Numbers
    run: Integers
    order: Integers
    consumed: Numbers
    stream: Integers
    features: Numbers


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Effects:
    """Effects on the margin of 1,000 samples at the mean learning rate, against the average of what was consumed.

    `windows` and `streams` have the columns effect, low, high (an interval of `confidence`) and `known`: the share of the
    prior variance that the data took away, near 0 where a number only repeats the prior. `own` is the signal to noise that
    was chosen for windows' own deviations, `shared` for streams and features. `skill`: the share of what drift and `return`
    leave of the variance of changes that the effects predicted in what was `left_out` (runs, or stretches of time), which had
    no part in choosing the variances either; at or below 0 they predict nothing. Return is no merit of theirs: readings that
    are noise and nothing else go back by themselves. `identified`: how many independent numbers the readings determine
    (effective degrees of freedom, which windows known by content share).
    """

    windows: pd.DataFrame
    streams: pd.DataFrame
    readings: int
    runs: int
    returning: float
    noise: float
    shared: float
    own: float
    skill: float
    left_out: str
    identified: float
    confidence: float


def _silent(done: int, total: int) -> None:
    """Tell nobody."""


def estimate(design: Design, *, streams: int, confidence: float = 0.95, progress: Progress = _silent) -> Effects:
    """Return the effect of every window and stream; `progress` is told how many of the cross-validation's fits are done.

    On one thread: several that wait for each other on a busy machine take minutes for what is a second's work. Raises
    DataError where there are too few readings.
    """
    with threadpool_limits(limits=1, user_api="blas"):
        return _estimate(design, streams, confidence, progress)


def _estimate(design: Design, streams: int, confidence: float, progress: Progress) -> Effects:
    drifting = 2 * len(np.unique(design.run))
    spare = len(design.change) - drifting - _COVARIATES
    if spare < 4:
        raise DataError(
            f"{len(design.change)} changes between readings, of {drifting // 2} runs, are too few to tell windows' effects "
            "from the runs' own drift; wanted at least 7 of one run: more readings, or more runs"
        )
    change = _without_drift(design, design.change[:, None])[:, 0]
    columns = _without_drift(design, _columns(design))
    tried = list(product(_SHARED, _OWN))
    priors = [_prior(design, columns, *pair) for pair in tried]
    returning = Prior(few=np.where(np.arange(len(priors[0].few)) < _COVARIATES, priors[0].few, 0), window=0.0)
    folds = Folds.of(design.run, design.order, design.progress)
    errors = squared_errors(change, columns, folds.rows, [*priors, returning], progress)
    best = best_of(errors[:-1])
    (shared, own), variances = tried[best], priors[best].variances(len(design.stream))
    posterior = _Posterior.of(change, columns, variances, spare=len(design.change) - drifting)
    quantile = float(student.ppf((1 + confidence) / 2, spare))
    rows = _window_rows(design)
    return Effects(
        windows=posterior.table(rows - _average(design) @ rows, quantile),
        streams=posterior.table(_stream_rows(design, streams, rows) - _average(design) @ rows, quantile),
        readings=len(design.change),
        runs=drifting // 2,
        returning=-float(posterior.mean[0]),
        noise=float(np.sqrt(posterior.noise)),
        shared=shared,
        own=own,
        skill=skill_of(errors),
        left_out=folds.left_out,
        identified=max(0.0, posterior.freedom - _COVARIATES),
        confidence=confidence,
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Posterior:
    """Coefficients given the data: mean (p,), and what their covariance is made of. Variances are in units of the noise."""

    mean: Numbers
    variances: Numbers
    half: Numbers  # (min(n, p), p): the covariance is diag(variances) - half' half
    noise: float
    freedom: float

    @classmethod
    def of(cls, change: Numbers, columns: Numbers, variances: Numbers, *, spare: int) -> _Posterior:
        change, columns, lost = _compressed(change, columns)
        scaled = columns * np.sqrt(variances)
        factor = np.linalg.cholesky(scaled @ scaled.T + np.eye(len(change)))
        half = solve_triangular(factor, columns * variances, lower=True)
        white = solve_triangular(factor, change, lower=True)
        inverse = solve_triangular(factor, np.eye(len(change)), lower=True)
        return cls(
            mean=half.T @ white,
            variances=variances,
            half=half,
            noise=(float(white @ white) + lost) / spare,
            freedom=len(change) - float((inverse**2).sum()),
        )

    def table(self, rows: Numbers, quantile: float) -> pd.DataFrame:
        """Return effect, low, high and known of linear combinations, `rows` (k, p)."""
        effects = rows @ self.mean
        prior = (rows**2) @ self.variances
        parts = [rows[start : start + _ROWS_AT_ONCE] @ self.half.T for start in range(0, len(rows), _ROWS_AT_ONCE)]
        taken = (np.concatenate(parts) ** 2).sum(axis=1)
        spread = quantile * np.sqrt(self.noise * np.maximum(prior - taken, 0))
        known = np.divide(taken, prior, out=np.zeros_like(prior), where=prior > 0)
        return pd.DataFrame({"effect": effects, "low": effects - spread, "high": effects + spread, "known": known})


def _columns(design: Design) -> Numbers:
    """Return (n, p): the margin before, streams, features, windows; each as the rate scales it."""
    weighted = design.consumed * design.rate[:, None]
    returned = (design.before * design.rate)[:, None] * design.consumed.sum(axis=1, keepdims=True)
    return np.hstack([returned, weighted @ _one_hot(design.stream), weighted @ design.features, weighted])


def _window_rows(design: Design) -> Numbers:
    """Return (W, p): which coefficients make up each window's effect."""
    windows = len(design.stream)
    return np.hstack([np.zeros((windows, _COVARIATES)), _one_hot(design.stream), design.features, np.eye(windows)])


def _stream_rows(design: Design, streams: int, rows: Numbers) -> Numbers:
    """Return (streams, p): a stream's effect is that of the average of all its windows."""
    member = np.equal.outer(np.arange(streams), design.stream).astype(np.float64)
    average: Numbers = member @ rows / member.sum(axis=1, keepdims=True)
    return average


def _average(design: Design) -> Numbers:
    """Return (W,): each window's share of all that was consumed."""
    total = design.consumed.sum(axis=0)
    share: Numbers = total / total.sum()
    return share


def _one_hot(stream: Integers) -> Numbers:
    member: Numbers = np.equal.outer(stream, np.arange(stream.max() + 1)).astype(np.float64)
    return member


def _prior(design: Design, columns: Numbers, shared: float, own: float) -> Prior:
    """Return prior variances, such that features explain `shared` times the noise's variance, deviations `own` times.

    Streams are taken to differ as much as one unit of a feature (or one window) makes: where every stretch has the same
    shares of streams, the data say nothing of it, and no scale could be taken from there.
    """
    power = (columns**2).mean(axis=0)
    streams = int(design.stream.max()) + 1
    first = _COVARIATES + streams
    features = float(power[first : first + design.features.shape[1]].sum())
    windows = float(power[first + design.features.shape[1] :].sum())
    if windows == 0:
        raise DataError("no stretch between readings consumed windows other than the rest did; nothing can be told from them")
    alike = shared / (features if features > 0 else windows)
    loose = _LOOSE / max(float(power[0]), 1e-12)
    few = np.repeat([loose, alike], [_COVARIATES, streams + design.features.shape[1]])
    return Prior(few=few, window=own / windows)


def _without_drift(design: Design, columns: Numbers) -> Numbers:
    """Return (n, k) columns without what a level and a slope of each run explain."""
    left = columns.copy()
    for run in np.unique(design.run):
        rows = np.flatnonzero(design.run == run)
        drift = np.stack([np.ones(len(rows)), design.progress[rows]], axis=1)
        left[rows] -= drift @ np.linalg.lstsq(drift, columns[rows], rcond=None)[0]
    return left


def _compressed(change: Numbers, columns: Numbers) -> tuple[Numbers, Numbers, float]:
    """Return an equal regression of at most p rows, and the squares of the changes that no column can explain."""
    if columns.shape[0] <= columns.shape[1]:
        return change, columns, 0.0
    basis, rows = np.linalg.qr(columns)
    seen: Numbers = basis.T @ change
    return seen, rows, max(0.0, float(change @ change - seen @ seen))
