"""Generalization predictors: do a network's activations or gradients foretell the margin of a probe?

Idea: five numbers of a Gram matrix (examples x examples) of per-example activations or gradients, one matrix a layer and
checkpoint: effective rank (twice), size, how much one direction holds, how parallel the examples are. Each is then held
against the margin over checkpoints, and the best layer is looked at (Wen et al., "Generalization Dynamics of LM
Pre-training", 2026, who reach |rho| = .35 to .56 that way). Choosing the best of many layers flatters whatever one tries,
so the same choice over random predictors stands beside it (.40 in their setting), and a number that exceeds it says
something. There are two such baselines: values without memory, and random walks, since margins and most predictors
drift over training and two series that drift correlate by that alone.
Alternatives: the matrix examples x dimensions itself (a layer's gradients need not fit into memory, their Gram matrix
does). The price: what depends on single directions, not on angles between examples, cannot be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from curriculum.errors import RunError, UserError
from curriculum.probe.model import Numbers
from curriculum.units import keyed_seed

# scipy.stats is imported where it is used: it takes most of a second, which readers of Gram matrices need not pay

Over = Literal["within runs", "pooled"]
Method = Literal["spearman", "pearson"]
_ASYMMETRY = 1e-6  # of the largest entry: float32 products differ by less
_NEGATIVE = 1e-6  # of the largest eigenvalue, likewise
_HIGH = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictors:
    """What a Gram matrix says of its examples g_i; sigma are its eigenvalues, tr F = sum sigma = sum |g_i|^2.

    `rank_me`: exp(-sum p ln p), p = sigma / sum sigma, from 1 to the number of examples. RankMe as first published takes
    p from the singular values of the examples' matrix, the square roots of these: it lies nearer to the full rank.
    `participation_ratio`: (sum sigma)^2 / sum sigma^2, likewise from 1 up. `log_trace`: ln tr F. `top_share`:
    sigma_1 / tr F, at most 1. `mean_cosine`: mean |cos| over the pairs of examples that are not zero.
    All but `log_trace` (then -infinity) are NaN for a matrix of zeros; `mean_cosine` is NaN without a pair.
    """

    rank_me: float
    participation_ratio: float
    log_trace: float
    top_share: float
    mean_cosine: float


def predictors_of(gram: Numbers) -> Predictors:
    """Return the predictors of a Gram matrix, (examples, examples), uncentred.

    Raises UserError for what is no Gram matrix (not square, not symmetric, a negative eigenvalue), RunError for NaN.
    """
    gram = np.asarray(gram, dtype=np.float64)
    _check(gram)
    eigenvalues = _spectrum(gram)
    trace = float(eigenvalues.sum())
    if trace == 0:
        return Predictors(rank_me=np.nan, participation_ratio=np.nan, log_trace=-np.inf, top_share=np.nan, mean_cosine=np.nan)
    shares = eigenvalues / trace
    present = shares[shares > 0]
    return Predictors(
        rank_me=float(np.exp(-(present * np.log(present)).sum())),
        participation_ratio=float(1 / (shares**2).sum()),
        log_trace=float(np.log(trace)),
        top_share=float(shares.max()),
        mean_cosine=_mean_cosine(gram),
    )


def _check(gram: Numbers) -> None:
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or gram.size == 0:
        raise UserError(f"wanted a Gram matrix (examples, examples) of at least one example, got shape {gram.shape}")
    if not np.isfinite(gram).all():
        item = int(np.argwhere(~np.isfinite(gram))[0, 0])
        raise RunError(f"the Gram matrix is not finite in row {item}: the model gave no number for that example")
    gap = np.abs(gram - gram.T)
    if gap.max() > _ASYMMETRY * np.abs(gram).max():
        row, column = np.unravel_index(int(gap.argmax()), gap.shape)
        raise UserError(f"wanted a symmetric Gram matrix, got entries ({row}, {column}) and ({column}, {row}) that differ")


def _spectrum(gram: Numbers) -> Numbers:
    """Return the eigenvalues, those within rounding of zero as zero."""
    eigenvalues: Numbers = np.linalg.eigvalsh(gram)
    largest = max(float(eigenvalues[-1]), 0.0)
    if eigenvalues[0] < -_NEGATIVE * largest or (largest == 0 and eigenvalues[0] < 0):
        raise UserError(f"wanted a Gram matrix, which has no negative eigenvalue, got one of {eigenvalues[0]:.3g}")
    rounding = largest * len(gram) * np.finfo(np.float64).eps
    eigenvalues[eigenvalues <= rounding] = 0.0
    return eigenvalues


def _mean_cosine(gram: Numbers) -> float:
    lengths = np.sqrt(np.clip(np.diag(gram), 0, None))
    kept = lengths > 0
    cosines = np.abs(gram[np.ix_(kept, kept)]) / np.outer(lengths[kept], lengths[kept])
    pairs = cosines[np.triu_indices(len(cosines), 1)]
    return float(pairs.mean()) if pairs.size else np.nan


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Track:
    """One run: a probe's margin at every checkpoint, (checkpoints,), and one predictor at every layer, likewise.

    Raises UserError when they differ in length.
    """

    margin: Numbers
    layers: Mapping[str, Numbers]

    def __post_init__(self) -> None:
        for name, values in self.layers.items():
            if np.shape(values) != np.shape(self.margin):
                raise UserError(
                    f"{name}: wanted one value for each of the {len(self.margin)} margins, got shape {np.shape(values)}"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class BestLayer:
    """The layer of the largest |correlation|, and that correlation with its sign; None and NaN when no layer has one."""

    layer: str | None
    correlation: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomBaseline:
    """The best layer's |correlation| of random predictors: its mean and its 95th percentile over the draws."""

    mean: float
    high: float


def correlation(first: Numbers, second: Numbers, method: Method = "spearman") -> float:
    """Return the rank (or linear) correlation of two series; ties share their mean rank.

    NaN where it is undefined: fewer than three values, a value that is not finite, a constant series.
    """
    from scipy import stats

    if not (_varies(first) and _varies(second)):
        return np.nan
    found = stats.spearmanr(first, second) if method == "spearman" else stats.pearsonr(first, second)
    return float(found.statistic)


def _varies(series: Numbers) -> bool:
    series = np.asarray(series, dtype=np.float64)
    return series.size >= 3 and bool(np.isfinite(series).all()) and float(np.ptp(series)) > 0


def layer_correlations(tracks: Sequence[Track], *, over: Over, method: Method = "spearman") -> dict[str, float]:
    """Return each layer's correlation with the margin over checkpoints.

    "within runs": the mean over runs of each run's own, signs kept, so that a predictor that rises with the margin in one
    run and falls in the next comes to nothing; runs whose margin never changes are left out. "pooled": over all
    checkpoints of all runs at once, so that differences between runs count too. A layer that has no correlation in some
    run has none here (NaN). Raises UserError for runs of different layers, or none.
    """
    if len({tuple(track.layers) for track in tracks}) != 1:
        raise UserError(f"wanted runs of the same layers, got {[list(track.layers) for track in tracks]}")
    if over == "pooled":
        tracks = [_pool(tracks)]
    moving = [track for track in tracks if _varies(track.margin)]
    if not moving:
        return dict.fromkeys(tracks[0].layers, np.nan)
    return {
        name: float(np.mean([correlation(track.layers[name], track.margin, method) for track in moving]))
        for name in tracks[0].layers
    }


def _pool(tracks: Sequence[Track]) -> Track:
    return Track(
        margin=np.concatenate([track.margin for track in tracks]),
        layers={name: np.concatenate([track.layers[name] for track in tracks]) for name in tracks[0].layers},
    )


def best_layer(correlations: Mapping[str, float]) -> BestLayer:
    """Return the layer of the largest |correlation|, the first of equals; NaN never wins."""
    defined = {name: value for name, value in correlations.items() if not np.isnan(value)}
    if not defined:
        return BestLayer(layer=None, correlation=np.nan)
    name = max(defined, key=lambda layer: abs(defined[layer]))
    return BestLayer(layer=name, correlation=defined[name])


def random_best_layer(
    margins: Sequence[Numbers], *, layers: int, over: Over, drifting: bool = False, draws: int = 1000, seed: int = 0
) -> RandomBaseline:
    """Return what `best_layer(layer_correlations(...))` (Spearman) makes of random predictors with these runs' margins.

    `layers` predictors are drawn independently for every run and draw: values without memory, or with `drifting` random
    walks over the run's checkpoints. Real layers resemble each other, so both baselines are a little strict. NaN when no
    margin changes.
    """
    if layers < 1 or draws < 1:
        raise UserError(f"wanted at least one layer and one draw, got {layers} and {draws}")
    generator = np.random.default_rng(keyed_seed("random best layer", seed))
    pieces = [len(margin) for margin in margins]
    series = [np.concatenate(margins)] if over == "pooled" else list(margins)
    targets = [_standard_ranks(margin) if _varies(margin) else None for margin in series]
    if all(target is None for target in targets):
        return RandomBaseline(mean=np.nan, high=np.nan)
    choice = _pooled if over == "pooled" else _averaged
    best = [choice([_noise(generator, layers, piece, drifting) for piece in pieces], targets) for _ in range(draws)]
    return RandomBaseline(mean=float(np.mean(best)), high=float(np.quantile(best, _HIGH)))


def _noise(generator: np.random.Generator, layers: int, checkpoints: int, drifting: bool) -> Numbers:
    noise: Numbers = generator.standard_normal((layers, checkpoints))
    return noise.cumsum(axis=1) if drifting else noise


def _averaged(noise: Sequence[Numbers], targets: Sequence[Numbers | None]) -> float:
    each = [_standard_ranks(values) @ target for values, target in zip(noise, targets, strict=True) if target is not None]
    return float(np.abs(np.mean(each, axis=0)).max())


def _pooled(noise: Sequence[Numbers], targets: Sequence[Numbers | None]) -> float:
    return _averaged([np.concatenate(noise, axis=1)], targets)


def _standard_ranks(values: Numbers) -> Numbers:
    """Return ranks along the last axis, centred and of length one: their products are Spearman correlations."""
    from scipy.stats import rankdata

    ranks: Numbers = np.asarray(rankdata(values, axis=-1), dtype=np.float64)
    ranks -= ranks.mean(axis=-1, keepdims=True)
    standard: Numbers = ranks / np.linalg.norm(ranks, axis=-1, keepdims=True)
    return standard


PREDICTORS: Mapping[str, Callable[[Predictors], float]] = {
    "RankMe": lambda found: found.rank_me,
    "participation ratio": lambda found: found.participation_ratio,
    "log tr F": lambda found: found.log_trace,
    "sigma_1 / tr F": lambda found: found.top_share,
    "mean |cos|": lambda found: found.mean_cosine,
}
"""The five by the names that tables show."""
