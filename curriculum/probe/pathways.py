"""Expert pathways: which experts of a mixture-of-experts model a sample passes through, and how alike two samples' ways are.

Idea: Li, Fan and Zhou ("Grokking in LLM Pretraining? Monitor Memorization-to-Generalization without Test", ICLR 2026)
watch a model's routing on training samples it already knows: as it generalises, samples share more of their pathways and
each pathway runs more smoothly through the layers, while the training loss says nothing any more. No held-out data is
needed. Alternatives: probes (which say more and need items), hidden states (for dense models; see `predictors`). The price:
the samples are chosen in retrospect, by a rule that looks at the last checkpoint (`memorised_at`), and whatever else
sharpens or evens out the routing moves the same numbers. So beside the distance stand the routing entropy, the distance
between domains, other thresholds, and the losses as rivals.

What the paper leaves open is settled here so: a distance is counted in expert ids, and also as a share of the longer
pathway; experts of different layers that bear the same id count as the same; a sample's routing weights are averaged over
all its tokens. What is called consistency is 1 - C, since C (`erraticness`) grows as a pathway becomes more erratic.

Routing of a set of samples is given as one array a layer, (samples, experts): softmax over all experts, tokens averaged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cpdist

from curriculum.errors import RunError, UserError
from curriculum.plan.permutation import shuffled
from curriculum.probe.model import Numbers
from curriculum.units import keyed_seed

Pathway = tuple[tuple[int, ...], ...]

THRESHOLD = 0.7
THRESHOLDS = (0.5, 0.6, 0.7, 0.8)  # the paper's sweep
DELTA = 0.05  # how near to its final loss a memorised sample must stay, in nats
MEMORISED_SHARES = (0.2, 0.25)  # of a domain's samples
PAIRS = 2000  # the mean distance of 2000 pairs is known to about 1 % of itself
RIDGE = 0.01
_SUM_TOLERANCE = 1e-3
_FLAT = 1e-8  # the paper's guard against a largest cosine of 0
_RISE = 0.1


def token_average(weights: Sequence[npt.ArrayLike]) -> list[Numbers]:
    """Return one sample's routing: each layer's weights (time, experts) averaged over its tokens, (experts,).

    Raises UserError for what is no softmax over all experts, RunError for NaN.
    """
    return [_checked(layer, number).mean(axis=0) for number, layer in enumerate(weights)]


def stack_samples(samples: Iterable[Sequence[npt.ArrayLike]]) -> list[Numbers]:
    """Return the routing of a set of samples, (samples, experts) a layer, from each one's `token_average`."""
    return [np.stack(layer) for layer in zip(*samples, strict=True)]


def pathway(weights: Sequence[npt.ArrayLike], threshold: float = THRESHOLD) -> Pathway:
    """Return one sample's pathway from each layer's routing weights, (time, experts).

    Per layer: the experts in order of their weight averaged over tokens (the lower id first where equal), as many as it takes
    for the cumulative weight to exceed `threshold`. Raises UserError, RunError (see `token_average`).
    """
    return pathways([layer[None] for layer in token_average(weights)], threshold)[0]


def pathways(routing: Sequence[Numbers], threshold: float = THRESHOLD) -> list[Pathway]:
    """Return the pathway of every sample of `routing`, (samples, experts) a layer. Raises UserError, RunError."""
    if not 0 <= threshold < 1:
        raise UserError(f"wanted a pathway threshold from 0 to below 1, got {threshold}")
    layers = [_leading_experts(layer, threshold) for layer in _checked_layers(routing)]
    return list(zip(*layers, strict=True))


def _leading_experts(weights: Numbers, threshold: float) -> list[tuple[int, ...]]:
    order = np.argsort(-weights, axis=1, kind="stable")
    cumulative = np.take_along_axis(weights, order, axis=1).cumsum(axis=1)
    kept = (cumulative <= threshold).sum(axis=1) + 1
    return [tuple(row[:count].tolist()) for row, count in zip(order, kept, strict=True)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Distance:
    """Mean Levenshtein distance over `pairs` pairs of samples.

    `experts`: in expert ids inserted, dropped or exchanged. `share`: each distance divided by the longer of its two pathways.
    """

    experts: float
    share: float
    pairs: int


def mean_distance(
    samples: Sequence[Pathway], others: Sequence[Pathway] | None = None, *, pairs: int = PAIRS, seed: int = 0
) -> Distance:
    """Return the mean distance of two different samples, or of one of `samples` and one of `others`.

    Over all pairs, or `pairs` of them drawn by `seed` where there are more. Raises UserError where there is no pair.
    """
    first, second = _pairs(len(samples), None if others is None else len(others), pairs, seed)
    if not len(first):
        raise UserError("a pathway distance needs two samples; give more samples, or loosen the rule that chose them")
    ids = [_sequence(sample) for sample in samples]
    other_ids = ids if others is None else [_sequence(sample) for sample in others]
    left, right = [ids[index] for index in first], [other_ids[index] for index in second]
    distances = cpdist(left, right, scorer=Levenshtein.distance, dtype=np.int32).astype(np.float64)
    longest = np.asarray([max(len(one), len(two)) for one, two in zip(left, right, strict=True)])
    return Distance(experts=float(distances.mean()), share=float((distances / longest).mean()), pairs=len(left))


def _sequence(sample: Pathway) -> tuple[int, ...]:
    return tuple(expert for layer in sample for expert in layer)


def _pairs(count: int, others: int | None, limit: int, seed: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the two sides of the pairs: all of them, or `limit` drawn without repetition."""
    first, second = np.triu_indices(count, 1) if others is None else _grid(count, others)
    if len(first) <= limit:
        return first, second
    drawn = np.sort(shuffled(len(first), keyed_seed("pathway pairs", seed))[:limit])
    return first[drawn], second[drawn]


def _grid(rows: int, columns: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    cells = np.arange(rows * columns, dtype=np.intp)
    return cells // max(columns, 1), cells % max(columns, 1)


def erraticness(routing: Sequence[Numbers], rows: Sequence[npt.ArrayLike]) -> Numbers:
    """Return the paper's C of every sample, (samples,): 1 - mean cosine of successive layers / (largest + 1e-8).

    `rows`: each layer's router matrix. 0 where all steps turn alike. Where no step has a cosine clearly above 0 the ratio means
    nothing and may take any size, so look at the median over samples and at `layer_cosines` too. Consistency is 1 - C. Raises
    UserError for fewer than three layers: with two there is one cosine, and C is 0 whatever the model does.
    """
    if len(routing) < 3:
        raise UserError(f"pathway consistency compares steps between layers: wanted at least 3 layers, got {len(routing)}")
    cosines = layer_cosines(routing, rows)
    found: Numbers = 1 - cosines.mean(axis=0) / (cosines.max(axis=0) + _FLAT)
    return found


def layer_cosines(routing: Sequence[Numbers], rows: Sequence[npt.ArrayLike]) -> Numbers:
    """Return the cosine of every layer's embedding with the next one's, (layers - 1, samples).

    A layer's embedding is the sum of its router's rows, (experts, width), weighted by the sample's routing weights. Raises
    UserError where routing and rows do not fit, RunError for an embedding of zero.
    """
    layers = _checked_layers(routing)
    matrices = [np.asarray(matrix, dtype=np.float64) for matrix in rows]
    if [layer.shape[1] for layer in layers] != [len(matrix) for matrix in matrices]:
        raise UserError("wanted one router matrix (experts, width) for each layer of routing weights")
    embeddings = np.stack([layer @ matrix for layer, matrix in zip(layers, matrices, strict=True)])
    lengths = np.linalg.norm(embeddings, axis=2)
    if not np.isfinite(lengths).all() or not lengths.all():
        raise RunError("a layer's router rows give a zero or non-finite embedding; is this a trained mixture of experts?")
    found: Numbers = (embeddings[1:] * embeddings[:-1]).sum(axis=2) / (lengths[1:] * lengths[:-1])
    return found


def routing_entropy(routing: Sequence[Numbers]) -> float:
    """Return the mean entropy, over samples and layers, of the averaged routing weights, in nats; at most ln(experts)."""
    return float(np.mean([_entropies(layer) for layer in _checked_layers(routing)]))


def _entropies(weights: Numbers) -> Numbers:
    logarithms = np.log(weights, out=np.zeros_like(weights), where=weights > 0)
    found: Numbers = -(weights * logarithms).sum(axis=1)
    return found


def effective_dimension(routing: Sequence[Numbers], ridge: float = RIDGE) -> float:
    """Return d_eff = Tr(H (H + ridge I)^-1) of the routing kernel: how many directions the samples' routing spans.

    H (samples, samples) is the inner product of two samples' routing weights over all layers, divided by the number of
    samples. The paper names no ridge; trace H lies between layers / experts and layers, to which .01 is small.
    """
    if not ridge > 0:
        raise UserError(f"wanted a ridge above 0, got {ridge}")
    features = np.concatenate(_checked_layers(routing), axis=1)
    eigenvalues = np.linalg.svd(features / np.sqrt(len(features)), compute_uv=False) ** 2
    return float((eigenvalues / (eigenvalues + ridge)).sum())


@dataclass(frozen=True, kw_only=True, slots=True)
class PathwayReading:
    """What a set of samples' routing says at one checkpoint.

    `length`: mean experts of a pathway. `erraticness`: the mean of the paper's C, NaN with fewer than three layers.
    """

    samples: int
    threshold: float
    distance: Distance
    length: float
    erraticness: float
    entropy: float
    effective_dimension: float

    @property
    def consistency(self) -> float:
        """1 - C: grows as the pathways become smoother."""
        return 1 - self.erraticness


def read_pathways(
    routing: Sequence[Numbers],
    rows: Sequence[npt.ArrayLike],
    *,
    threshold: float = THRESHOLD,
    pairs: int = PAIRS,
    ridge: float = RIDGE,
    seed: int = 0,
) -> PathwayReading:
    """Read the pathways of a set of samples: `routing` (samples, experts) and `rows` (experts, width) a layer.

    Raises UserError, RunError.
    """
    found = pathways(routing, threshold)
    return PathwayReading(
        samples=len(found),
        threshold=threshold,
        distance=mean_distance(found, pairs=pairs, seed=seed),
        length=float(np.mean([len(_sequence(sample)) for sample in found])),
        erraticness=float(erraticness(routing, rows).mean()) if len(routing) > 2 else np.nan,
        entropy=routing_entropy(routing),
        effective_dimension=effective_dimension(routing, ridge),
    )


def memorised_at(losses: npt.ArrayLike, limit: float, delta: float = DELTA) -> npt.NDArray[np.int64]:
    """Return the checkpoint from which on each sample counts as memorised, (samples,), -1 where it never does.

    `losses`: (checkpoints, samples), in order of training. It is the earliest checkpoint from which on the loss stays at most
    `limit` and within `delta` of its last value. Retrospective: it can be said of a run that is over, not of one that goes on,
    and a sample whose loss falls below the limit at the very last checkpoint counts from there.
    """
    table = _checked_losses(losses)
    good = (table <= limit) & (np.abs(table - table[-1]) <= delta)
    lasting = np.logical_and.accumulate(good[::-1], axis=0).sum(axis=0)
    return np.where(lasting > 0, len(table) - lasting, -1).astype(np.int64)


def memorisation_limit(losses: npt.ArrayLike, shares: tuple[float, float] = MEMORISED_SHARES) -> float:
    """Return the loss limit of a domain, in nats, under which a share of its samples between `shares` counts as memorised.

    `losses`: (checkpoints, samples). A sample whose last loss is low enough counts at the last checkpoint if not before, so
    the limit is a quantile of the last losses. Raises UserError where no limit gives such a share: too few samples, or equal
    losses.
    """
    table = _checked_losses(losses)
    last = np.sort(table[-1])
    count = len(last)
    limit = float(last[max(0, round(count * sum(shares) / 2) - 1)])
    share = float((memorised_at(table, limit) >= 0).mean())
    if not shares[0] <= share <= shares[1]:
        raise UserError(
            f"wanted {shares[0]:.0%} to {shares[1]:.0%} of a domain's samples memorised, but the nearest limit gives "
            f"{share:.0%} of {count}; give more samples (at least 20), all different"
        )
    return limit


def rise_begins(accuracy: npt.ArrayLike, share: float = _RISE) -> int:
    """Return the checkpoint at which accuracy begins to rise: the starting point of the paper's correlations.

    The first that has gained `share` of the whole gain (from the first checkpoint to the best) and whose successor has too.
    The paper chooses by eye. Raises UserError where accuracy never rises.
    """
    values = _checked_series("accuracy", accuracy)
    gain = values.max() - values[0]
    if not gain > 0:
        raise UserError("the accuracy never rises above its first value, so there is no start to count from")
    above = values >= values[0] + share * gain
    lasting = above & np.append(above[1:], True)
    return int(lasting.argmax())


@dataclass(frozen=True, kw_only=True, slots=True)
class Correlation:
    """How a quantity moves with accuracy over `points` checkpoints; NaN where one of the two is constant."""

    name: str
    points: int
    pearson: float
    spearman: float


def correlations(quantities: Mapping[str, npt.ArrayLike], accuracy: npt.ArrayLike, *, start: int = 0) -> list[Correlation]:
    """Return each quantity's correlation with accuracy over the checkpoints from `start` on.

    Every series has one value a checkpoint. Put the losses among the quantities, and the position: over a run whose accuracy
    only rises, whatever else only rises or falls correlates. Raises UserError for fewer than three points or unequal lengths.
    """
    from scipy.stats import rankdata

    wanted = _checked_series("accuracy", accuracy)[start:]
    if len(wanted) < 3:
        raise UserError(
            f"a correlation over checkpoints needs at least 3 of them, got {len(wanted)} from checkpoint {start} on"
        )
    found = []
    for name, series in quantities.items():
        values = _checked_series(name, series)[start:]
        if len(values) != len(wanted):
            raise UserError(f"{name}: wanted one value for each of the {len(wanted)} checkpoints, got {len(values)}")
        spearman = _pearson(rankdata(values), rankdata(wanted))
        found.append(Correlation(name=name, points=len(values), pearson=_pearson(values, wanted), spearman=spearman))
    return found


def _pearson(one: Numbers, two: Numbers) -> float:
    left, right = one - one.mean(), two - two.mean()
    scale = float(np.sqrt((left @ left) * (right @ right)))
    return float(left @ right) / scale if scale > 0 else np.nan


def _checked_layers(routing: Sequence[npt.ArrayLike]) -> list[Numbers]:
    layers = [_checked(layer, number) for number, layer in enumerate(routing)]
    if not layers:
        raise UserError("wanted routing weights of at least one layer, got none: a dense model has no pathways")
    if len({len(layer) for layer in layers}) > 1:
        raise UserError(f"wanted the same samples in every layer, got {[len(layer) for layer in layers]}")
    return layers


def _checked(weights: npt.ArrayLike, layer: int) -> Numbers:
    """Return the weights as (rows, experts), each row a distribution."""
    found = np.asarray(weights, dtype=np.float64)
    if found.ndim != 2 or found.size == 0:
        raise UserError(f"layer {layer}: wanted routing weights (tokens or samples, experts), got shape {found.shape}")
    if not np.isfinite(found).all():
        raise RunError(f"layer {layer}: a routing weight is not a number; the model diverged, or padding was left in")
    if (found < 0).any() or (np.abs(found.sum(axis=1) - 1) > _SUM_TOLERANCE).any():
        sums = found.sum(axis=1)
        raise UserError(
            f"layer {layer}: wanted routing weights that are a softmax over all experts, got entries from "
            f"{found.min():.4g} and sums from {sums.min():.4g} to {sums.max():.4g}; give neither logits nor the chosen "
            "experts alone"
        )
    return found


def _checked_losses(losses: npt.ArrayLike) -> Numbers:
    table = np.asarray(losses, dtype=np.float64)
    if table.ndim != 2 or table.size == 0:
        raise UserError(f"wanted losses (checkpoints, samples), got shape {table.shape}")
    if not np.isfinite(table).all():
        checkpoint, sample = np.argwhere(~np.isfinite(table))[0]
        raise RunError(f"the loss of sample {sample} at checkpoint {checkpoint} is not a number")
    return table


def _checked_series(name: str, values: npt.ArrayLike) -> Numbers:
    series = np.asarray(values, dtype=np.float64)
    if series.ndim != 1 or series.size == 0:
        raise UserError(f"{name}: wanted one value a checkpoint, got shape {series.shape}")
    if not np.isfinite(series).all():
        raise RunError(f"{name}: the value at checkpoint {int(np.argmin(np.isfinite(series)))} is not a number")
    return series
