"""Pathways and what is made of them, against numbers worked out by hand and literal transcriptions of the definitions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from curriculum.errors import RunError, UserError
from curriculum.models.hugging_face import HuggingFaceModel
from curriculum.models.routing import average_routing, router_matrices, sample_losses
from curriculum.probe.model import Numbers
from curriculum.probe.pathways import (
    Pathway,
    correlations,
    effective_dimension,
    erraticness,
    mean_distance,
    memorisation_limit,
    memorised_at,
    pathway,
    pathways,
    read_pathways,
    rise_begins,
    routing_entropy,
    stack_samples,
    token_average,
)
from curriculum.proxy.mixture import balance_loss
from curriculum.streaming.torchvision_guard import torchvision_or_stand_in


def _random_routing(samples: int, layers: int, experts: int, seed: int = 0) -> list[Numbers]:
    random = np.random.default_rng(seed)
    return [random.dirichlet(np.full(experts, 0.7), size=samples) for _ in range(layers)]


# Pathways.

FIRST = np.array([[0.6, 0.1, 0.1, 0.2], [0.2, 0.1, 0.1, 0.6]])  # average .4 .1 .1 .4
SECOND = np.array([[0.1, 0.8, 0.05, 0.05]])


def test_a_pathway_by_hand() -> None:
    assert pathway([FIRST, SECOND], 0.7) == ((0, 3), (1,))
    assert pathway([FIRST, SECOND], 0.35) == ((0,), (1,))
    assert pathway([FIRST, SECOND], 0.85) == ((0, 3, 1), (1, 0))
    assert pathway([FIRST, SECOND], 0.0) == ((0,), (1,))


def test_the_cumulative_weight_must_exceed_the_threshold() -> None:
    exact = np.array([[0.5, 0.25, 0.25]])
    assert pathway([exact], 0.5) == ((0, 1),) and pathway([exact], 0.49) == ((0,),)
    assert pathway([exact], 0.75) == ((0, 1, 2),)


def test_experts_are_in_order_of_weight_and_equal_ones_in_order_of_id() -> None:
    assert pathway([np.array([[0.25, 0.25, 0.2, 0.3]])], 0.95) == ((3, 0, 1, 2),)


def _transcribed(weights: list[Numbers], threshold: float) -> Pathway:
    found = []
    for layer in weights:
        mean = [sum(column) / len(layer) for column in zip(*layer.tolist(), strict=True)]
        kept: list[int] = []
        for expert in sorted(range(len(mean)), key=lambda expert: -mean[expert]):
            if sum(mean[chosen] for chosen in kept) > threshold:
                break
            kept.append(expert)
        found.append(tuple(kept))
    return tuple(found)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), tokens=st.integers(1, 6), experts=st.integers(1, 9), threshold=st.floats(0, 0.95))
def test_a_pathway_is_its_definition(seed: int, tokens: int, experts: int, threshold: float) -> None:
    weights = _random_routing(tokens, 3, experts, seed)
    assert pathway(weights, threshold) == _transcribed(weights, threshold)


def test_many_samples_are_read_as_one_by_one() -> None:
    samples = [_random_routing(tokens, 2, 5, seed=tokens) for tokens in (3, 1, 4)]
    together = stack_samples(token_average(sample) for sample in samples)
    assert [layer.shape for layer in together] == [(3, 5), (3, 5)]
    assert pathways(together, 0.6) == [pathway(sample, 0.6) for sample in samples]


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ([[0.5, 0.4]], UserError, "sums from 0.9 to 0.9"),
        ([[2.0, -1.0]], UserError, "entries from -1"),
        ([[0.5, math.nan]], RunError, "not a number"),
        ([0.5, 0.5], UserError, r"got shape \(2,\)"),
        (np.empty((0, 4)), UserError, r"got shape \(0, 4\)"),
    ],
)
def test_what_is_no_softmax_over_all_experts_is_refused(weights: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"layer 1: .*{message}"):
        pathway([SECOND, weights])


def test_a_dense_model_has_no_pathways() -> None:
    with pytest.raises(UserError, match="a dense model has no pathways"):
        pathways([])
    with pytest.raises(UserError, match="the same samples in every layer"):
        pathways([SECOND, FIRST])
    with pytest.raises(UserError, match=r"threshold from 0 to below 1, got 1\.0"):
        pathway([FIRST], 1.0)


# Distances.

WAYS: list[Pathway] = [((1, 2), (3,)), ((1,), (2, 3)), ((2, 1), (3, 4, 5)), ((10, 12), ())]


def _levenshtein(one: Sequence[int], two: Sequence[int]) -> int:
    rows = list(range(len(two) + 1))
    for i, left in enumerate(one):
        before, rows[0] = rows[0], i + 1
        for j, right in enumerate(two):
            before, rows[j + 1] = rows[j + 1], min(before + (left != right), rows[j] + 1, rows[j + 1] + 1)
    return rows[-1]


def test_distances_by_hand() -> None:
    assert mean_distance(WAYS[:2]).experts == 0  # experts of different layers with one id count as the same
    found = mean_distance([WAYS[0], WAYS[2]])  # 1 2 3 and 2 1 3 4 5: drop 1, insert 1, 4, 5
    assert (found.experts, found.share, found.pairs) == (4.0, 4 / 5, 1)
    assert mean_distance([WAYS[0], WAYS[3]]).experts == 3  # in ids, not characters: 12 is not 1 and 2
    three = mean_distance([WAYS[0], WAYS[1], WAYS[2]])
    assert three.experts == pytest.approx((0 + 4 + 4) / 3) and three.share == pytest.approx((0 + 0.8 + 0.8) / 3)


def test_distances_between_two_sets_take_a_sample_of_each() -> None:
    found = mean_distance(WAYS[:2], WAYS[2:])
    assert found.pairs == 4 and found.experts == pytest.approx((4 + 3 + 4 + 3) / 4)
    assert mean_distance(WAYS[:1], WAYS[1:]).experts == pytest.approx((0 + 4 + 3) / 3)
    assert mean_distance(WAYS[1:], WAYS[:1]).experts == pytest.approx((0 + 4 + 3) / 3)


_ways = st.lists(st.lists(st.integers(0, 70), min_size=1, max_size=6).map(lambda ids: (tuple(ids),)), min_size=2, max_size=5)


@settings(max_examples=60)
@given(ways=_ways)
def test_a_mean_distance_is_the_mean_of_all_pairs(ways: list[Pathway]) -> None:
    pairs = [(one[0], two[0]) for number, one in enumerate(ways) for two in ways[:number]]
    distances = [_levenshtein(one, two) for one, two in pairs]
    shares = [distance / max(len(one), len(two)) for distance, (one, two) in zip(distances, pairs, strict=True)]
    found = mean_distance(ways)
    assert found.experts == pytest.approx(np.mean(distances)) and found.share == pytest.approx(np.mean(shares))


def test_too_many_pairs_are_drawn_by_a_key() -> None:
    ways = pathways(_random_routing(40, 3, 8))
    every = mean_distance(ways, pairs=780)
    some, again, other = (mean_distance(ways, pairs=300, seed=seed) for seed in (1, 1, 2))
    assert every.pairs == 780 and some.pairs == 300 and some == again and some.experts != other.experts
    assert some.experts == pytest.approx(every.experts, rel=0.1)


def test_one_sample_has_no_distance() -> None:
    with pytest.raises(UserError, match="needs two samples"):
        mean_distance(WAYS[:1])
    with pytest.raises(UserError, match="needs two samples"):
        mean_distance(WAYS, [])


# Consistency, entropy, effective dimension.


def _erraticness_transcribed(weights: list[Numbers], rows: list[Numbers]) -> float:
    embeddings = []
    for g, w in zip(weights, rows, strict=True):
        embeddings.append([sum(g[k] * w[k][d] for k in range(len(g))) for d in range(len(w[0]))])
    cosines = []
    for one, two in pairwise(embeddings):
        dot = sum(left * right for left, right in zip(one, two, strict=True))
        cosines.append(dot / math.sqrt(sum(x * x for x in one)) / math.sqrt(sum(x * x for x in two)))
    return 1 - float(np.mean(cosines)) / (float(max(cosines)) + 1e-8)


def test_erraticness_is_its_definition() -> None:
    routing = _random_routing(5, 4, 6)
    rows = [np.random.default_rng(layer).normal(size=(6, 3)) + 0.5 for layer in range(4)]
    found = erraticness(routing, rows)
    assert found.shape == (5,)
    for sample in range(5):
        expected = _erraticness_transcribed([layer[sample] for layer in routing], rows)
        assert found[sample] == pytest.approx(expected, rel=1e-9)


def test_a_smooth_pathway_is_consistent_and_a_jerky_one_is_not() -> None:
    rows = [np.eye(2)] * 4
    smooth = [np.array([[0.9, 0.1]])] * 4
    jerky = [np.array([[0.9, 0.1]]), np.array([[0.9, 0.1]]), np.array([[0.1, 0.9]]), np.array([[0.9, 0.1]])]
    assert erraticness(smooth, rows)[0] == pytest.approx(0, abs=1e-7)
    cosine = 2 * 0.9 * 0.1 / 0.82
    assert erraticness(jerky, rows)[0] == pytest.approx(1 - (1 + 2 * cosine) / 3, abs=1e-7)
    reading = read_pathways([np.concatenate([layer] * 2) for layer in jerky], rows)
    assert reading.consistency == pytest.approx(1 - reading.erraticness) == pytest.approx((1 + 2 * cosine) / 3, abs=1e-7)


def test_consistency_refuses_what_it_cannot_compare() -> None:
    with pytest.raises(UserError, match="at least 3 layers, got 2"):
        erraticness(_random_routing(2, 2, 3), [np.eye(3)] * 2)
    with pytest.raises(UserError, match="one router matrix"):
        erraticness(_random_routing(2, 3, 3), [np.eye(4)] * 3)
    with pytest.raises(RunError, match="zero or non-finite embedding"):
        erraticness(_random_routing(2, 3, 3), [np.zeros((3, 3))] * 3)
    assert math.isnan(read_pathways(_random_routing(2, 2, 3), [np.eye(3)] * 2).consistency)


def test_entropy_by_hand() -> None:
    sharp, even = np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([[0.5, 0.5], [0.5, 0.5]])
    assert routing_entropy([sharp]) == pytest.approx(math.log(2) / 2)
    assert routing_entropy([sharp, even]) == pytest.approx(math.log(2) * 3 / 4)


def test_the_effective_dimension_by_hand_and_by_its_definition() -> None:
    alike = [np.array([[1.0, 0.0]] * 4)]  # H has one eigenvalue, 1
    assert effective_dimension(alike, 0.25) == pytest.approx(1 / 1.25)
    halves = [np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])]  # two, of 1/2
    assert effective_dimension(halves, 0.25) == pytest.approx(2 * 0.5 / 0.75)
    routing = _random_routing(7, 3, 5)
    features = np.concatenate(routing, axis=1)
    kernel = features @ features.T / 7
    expected = np.trace(kernel @ np.linalg.inv(kernel + 0.03 * np.eye(7)))
    assert effective_dimension(routing, 0.03) == pytest.approx(expected)
    with pytest.raises(UserError, match="ridge above 0"):
        effective_dimension(routing, 0.0)


def test_a_reading_holds_what_its_parts_say() -> None:
    routing, rows = _random_routing(9, 3, 5), [np.random.default_rng(1).normal(size=(5, 4)) for _ in range(3)]
    reading = read_pathways(routing, rows, threshold=0.6, ridge=0.1)
    ways = pathways(routing, 0.6)
    assert reading.distance == mean_distance(ways) and reading.samples == 9 and reading.threshold == 0.6
    assert reading.length == pytest.approx(np.mean([sum(len(layer) for layer in way) for way in ways]))
    assert reading.erraticness == pytest.approx(erraticness(routing, rows).mean())
    assert reading.entropy == routing_entropy(routing) and reading.effective_dimension == effective_dimension(routing, 0.1)


# The memorised rule.

LOSSES = np.array(
    [
        # lasting, dips and returns, late, never low, low but drifting, low throughout, at the very end
        [2.0, 0.10, 2.0, 2.0, 0.40, 0.20, 2.0],
        [0.2, 2.00, 2.0, 1.0, 0.30, 0.20, 2.0],
        [0.2, 0.10, 0.9, 1.0, 0.20, 0.22, 2.0],
        [0.2, 2.00, 0.2, 1.0, 0.14, 0.20, 2.0],
        [0.2, 1.90, 0.2, 1.0, 0.10, 0.20, 0.1],
    ]
)


def test_a_sample_is_memorised_from_where_its_loss_stays_low() -> None:
    assert memorised_at(LOSSES, 0.5).tolist() == [1, -1, 3, -1, 3, 0, 4]
    assert memorised_at(LOSSES, 0.5, delta=0.15).tolist() == [1, -1, 3, -1, 2, 0, 4]
    assert memorised_at(LOSSES, 0.15).tolist() == [-1, -1, -1, -1, 3, -1, 4]


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), limit=st.floats(0.1, 0.9), delta=st.floats(0.01, 0.5))
def test_the_memorised_rule_is_its_definition(seed: int, limit: float, delta: float) -> None:
    losses = np.random.default_rng(seed).random((5, 8))
    found = memorised_at(losses, limit, delta)
    for sample in range(8):
        column = losses[:, sample]
        fits = [t for t in range(5) if all(column[u] <= limit and abs(column[u] - column[4]) <= delta for u in range(t, 5))]
        assert found[sample] == (min(fits) if fits else -1)


@pytest.mark.parametrize("count", [20, 33, 100, 257])
def test_the_limit_lets_a_fifth_to_a_quarter_count(count: int) -> None:
    losses = np.random.default_rng(count).random((6, count))
    share = (memorised_at(losses, memorisation_limit(losses)) >= 0).mean()
    assert 0.2 <= share <= 0.25


def test_a_limit_that_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match=r"20% to 25% .* gives 100% of 40"):
        memorisation_limit(np.ones((3, 40)))
    with pytest.raises(RunError, match="sample 1 at checkpoint 2"):
        memorised_at([[1.0, 1.0], [1.0, 1.0], [1.0, math.inf]], 0.5)
    with pytest.raises(UserError, match="checkpoints, samples"):
        memorised_at([1.0, 2.0], 0.5)


# Correlations.


def test_the_rise_begins_where_a_tenth_is_gained_and_kept() -> None:
    assert rise_begins([0.5, 0.5, 0.56, 0.52, 0.6, 0.7, 1.0]) == 4  # 0.56 is not kept
    assert rise_begins([0.5, 0.9, 0.4, 0.4, 0.9, 0.9]) == 4
    assert rise_begins([0.5, 0.5, 1.0]) == 2
    with pytest.raises(UserError, match="never rises"):
        rise_begins([0.5, 0.4, 0.5])


def test_correlations_by_hand_and_from_a_start() -> None:
    accuracy = [9.0, 9.0, 1.0, 2.0, 3.0, 4.0]
    series = {"square": [0.0, 5.0, 1.0, 4.0, 9.0, 16.0], "swapped": [0.0, 0.0, 2.0, 1.0, 4.0, 3.0], "flat": [1.0] * 6}
    square, swapped, flat = correlations(series, accuracy, start=2)
    assert (square.name, square.points) == ("square", 4) and square.spearman == pytest.approx(1.0)
    assert square.pearson == pytest.approx(25 / math.sqrt(5 * 129))
    assert swapped.pearson == swapped.spearman == pytest.approx(0.6)
    assert math.isnan(flat.pearson) and math.isnan(flat.spearman)
    assert correlations(series, accuracy)[0].pearson < 0
    tied = correlations({"ties": [1.0, 1.0, 2.0]}, [1.0, 2.0, 3.0])[0]
    assert tied.spearman == pytest.approx(1.5 / math.sqrt(1.5 * 2))


def test_correlations_refuse_too_little() -> None:
    with pytest.raises(UserError, match="at least 3 of them, got 2 from checkpoint 1"):
        correlations({"a": [1, 2, 3]}, [1, 2, 3], start=1)
    with pytest.raises(UserError, match="a: wanted one value for each of the 3 checkpoints, got 4"):
        correlations({"a": [1, 2, 3, 4]}, [1, 2, 3])
    with pytest.raises(RunError, match="a: the value at checkpoint 1"):
        correlations({"a": [1, math.nan, 3]}, [1, 2, 3])


# Models.

SAMPLES = [[5, 6, 7, 8, 9], [1, 2], [3, 4, 5, 6, 7, 8, 9, 10], [4]]


def _hugging_face(name: str) -> tuple[Any, HuggingFaceModel]:
    with torchvision_or_stand_in():
        library: Any = import_module("transformers")
    shared: dict[str, Any] = {
        **{"vocab_size": 30, "hidden_size": 16, "intermediate_size": 8, "num_hidden_layers": 3},
        **{"num_attention_heads": 2, "num_key_value_heads": 1, "num_experts_per_tok": 2, "max_position_embeddings": 16},
    }
    torch.manual_seed(0)
    if name == "olmoe":
        network = library.OlmoeForCausalLM(library.OlmoeConfig(**shared, num_experts=5)).eval()
    else:
        network = library.MixtralForCausalLM(library.MixtralConfig(**shared, num_local_experts=5)).eval()
    return network, HuggingFaceModel(network)


@pytest.mark.parametrize("name", ["olmoe", "mixtral"])
def test_hugging_face_routing_is_that_of_its_router_logits(name: str) -> None:
    """Unpadded, one sample at a time, through the library's own output."""
    network, model = _hugging_face(name)
    found = average_routing(model, SAMPLES, batch=3)
    assert [layer.shape for layer in found] == [(4, 5)] * 3
    for index, sample in enumerate(SAMPLES):
        with torch.no_grad():
            logits = network(torch.tensor([sample]), output_router_logits=True).router_logits
        weights = [layer.float().softmax(dim=-1).numpy() for layer in logits]
        for layer, expected in zip(found, token_average(weights), strict=True):
            np.testing.assert_allclose(layer[index], expected, atol=1e-5)
        assert pathways(found)[index] == pathway(weights)
    gates = [weight.detach().numpy() for label, weight in network.named_parameters() if label.endswith("gate.weight")]
    assert all((rows == gate).all() for rows, gate in zip(router_matrices(model), gates, strict=True))
    assert math.isfinite(read_pathways(found, router_matrices(model)).consistency)


def test_sample_losses_are_those_of_each_sample_alone() -> None:
    network, model = _hugging_face("olmoe")
    targets = [[False, True, False, True, True], [True, True], [False] * 7 + [True]]
    found = sample_losses(model, SAMPLES[:3], targets, batch=2)
    for index, (sample, marked) in enumerate(zip(SAMPLES, targets, strict=False)):
        with torch.no_grad():
            logarithms = network(torch.tensor([sample])).logits[0].log_softmax(dim=-1)
        each = [-float(logarithms[place - 1, sample[place]]) for place in range(1, len(sample)) if marked[place]]
        assert found[index] == pytest.approx(np.mean(each), abs=1e-5)
    whole = sample_losses(model, SAMPLES[:1])
    with torch.no_grad():
        loss = network(torch.tensor(SAMPLES[:1]), labels=torch.tensor(SAMPLES[:1])).loss
    assert whole[0] == pytest.approx(float(loss), abs=1e-5)
    with pytest.raises(UserError, match="no target token after its first"):
        sample_losses(model, SAMPLES)
    with pytest.raises(UserError, match="as many targets as tokens"):
        sample_losses(model, SAMPLES[:1], [[True]])


@pytest.mark.parametrize(
    ("samples", "message"),
    [([], "at least one sample"), ([[1], []], "none without tokens"), ([[1], [1] * 17], "sample 1: 17 tokens")],
)
def test_samples_that_cannot_be_read_are_refused(samples: list[list[int]], message: str) -> None:
    _, model = _hugging_face("mixtral")
    with pytest.raises(UserError, match=message):
        average_routing(model, samples)


def test_the_balance_loss_is_the_librarys() -> None:
    with torchvision_or_stand_in():
        library: Any = import_module("transformers.models.mixtral.modeling_mixtral")
    logits: Tensor = torch.randn(50, 6, generator=torch.Generator().manual_seed(2))
    for active in (1, 2, 3):
        theirs = library.load_balancing_loss_func((logits,), 6, active)
        assert theirs.item() == pytest.approx(active * balance_loss([logits.softmax(dim=-1)], active).item())
