"""Generalization predictors: the numbers of a Gram matrix, the choice of a layer, and chance."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from curriculum.errors import RunError, UserError
from curriculum.probe.model import Numbers
from curriculum.probe.predictors import (
    PREDICTORS,
    BestLayer,
    Track,
    best_layer,
    correlation,
    layer_correlations,
    predictors_of,
    random_best_layer,
)

# The numbers of a Gram matrix


def test_the_identity_has_full_rank_and_no_parallel_examples() -> None:
    found = predictors_of(np.eye(5))
    assert found.rank_me == pytest.approx(5)
    assert found.participation_ratio == pytest.approx(5)
    assert found.log_trace == pytest.approx(np.log(5))
    assert found.top_share == pytest.approx(0.2)
    assert found.mean_cosine == 0


def test_parallel_examples_have_rank_one() -> None:
    row = np.array([1.0, -2.0, 3.0])
    found = predictors_of(np.outer(row, row))
    assert found.rank_me == pytest.approx(1)
    assert found.participation_ratio == pytest.approx(1)
    assert found.log_trace == pytest.approx(np.log(14))
    assert found.top_share == pytest.approx(1)
    assert found.mean_cosine == pytest.approx(1)  # -1 counts as parallel


def test_eigenvalues_three_and_one_give_what_the_definitions_say() -> None:
    found = predictors_of(np.array([[2.0, 1.0], [1.0, 2.0]]))
    assert found.rank_me == pytest.approx(np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25))))
    assert found.participation_ratio == pytest.approx(16 / 10)
    assert found.log_trace == pytest.approx(np.log(4))
    assert found.top_share == pytest.approx(0.75)
    assert found.mean_cosine == pytest.approx(0.5)


def test_a_matrix_of_zeros_has_no_shape() -> None:
    found = predictors_of(np.zeros((3, 3)))
    assert found.log_trace == -np.inf
    shapes = (found.rank_me, found.participation_ratio, found.top_share, found.mean_cosine)
    assert np.isnan(shapes).all()


def test_zero_examples_are_in_no_pair() -> None:
    assert np.isnan(predictors_of(np.diag([1.0, 0.0])).mean_cosine)
    assert predictors_of(np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])).mean_cosine == pytest.approx(1)
    assert np.isnan(predictors_of(np.ones((1, 1))).mean_cosine)


@pytest.mark.parametrize(
    ("gram", "error"),
    [
        (np.ones((2, 3)), UserError),
        (np.zeros((0, 0)), UserError),
        (np.array([[1.0, 0.5], [0.4, 1.0]]), UserError),
        (np.array([[1.0, 2.0], [2.0, 1.0]]), UserError),
        (np.diag([-1.0, 0.0]), UserError),
        (np.array([[1.0, np.nan], [np.nan, 1.0]]), RunError),
    ],
)
def test_what_is_no_gram_matrix_is_refused(gram: Numbers, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"Gram"):
        predictors_of(gram)


@st.composite
def _examples(draw: st.DrawFn) -> tuple[Numbers, np.random.Generator]:
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = (draw(st.integers(2, 7)), draw(st.integers(1, 6)))
    return generator.standard_normal(shape), generator


@given(_examples(), st.floats(1e-3, 1e3))
def test_scaling_moves_only_the_log_trace(drawn: tuple[Numbers, np.random.Generator], scale: float) -> None:
    examples, _ = drawn
    plain, scaled = predictors_of(examples @ examples.T), predictors_of(scale**2 * examples @ examples.T)
    assert scaled.log_trace == pytest.approx(plain.log_trace + 2 * np.log(scale), abs=1e-9)
    for name in ("rank_me", "participation_ratio", "top_share", "mean_cosine"):
        assert getattr(scaled, name) == pytest.approx(getattr(plain, name), rel=1e-9)


@given(_examples())
def test_rotating_the_space_and_reordering_the_examples_change_nothing(drawn: tuple[Numbers, np.random.Generator]) -> None:
    examples, generator = drawn
    rotation = np.linalg.qr(generator.standard_normal((examples.shape[1],) * 2))[0]
    moved = generator.permutation(examples) @ rotation
    plain, changed = predictors_of(examples @ examples.T), predictors_of(moved @ moved.T)
    for predictor in PREDICTORS.values():
        assert predictor(changed) == pytest.approx(predictor(plain), rel=1e-7, abs=1e-9)


@given(_examples())
def test_ranks_lie_between_one_and_the_rank(drawn: tuple[Numbers, np.random.Generator]) -> None:
    examples, _ = drawn
    found = predictors_of(examples @ examples.T)
    slack = 1 + 1e-9
    assert 1 <= slack * found.participation_ratio <= slack**2 * found.rank_me <= slack**3 * min(examples.shape)
    assert 0 <= found.mean_cosine <= slack


# The best layer, and chance


def test_ties_share_their_rank_as_in_scipy() -> None:
    first = np.array([1.0, 1.0, 2.0, 3.0, 3.0], dtype=np.float64)
    second = np.array([2.0, 1.0, 1.0, 4.0, 5.0], dtype=np.float64)
    assert correlation(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)
    assert correlation(first, second, "pearson") == pytest.approx(stats.pearsonr(first, second).statistic)
    assert correlation(first, first**3) == pytest.approx(1)
    assert correlation(first, first**3, "pearson") < 0.99


@pytest.mark.parametrize("series", [[1.0, 1.0, 1.0], [1.0, np.nan, 2.0], [-np.inf, 1.0, 2.0]])
def test_series_without_a_correlation_give_nan_and_no_warning(series: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(correlation(np.array(series), np.array([1.0, 2.0, 3.0])))
        assert np.isnan(correlation(np.array([1.0, 2.0, 3.0]), np.array(series)))


def test_two_points_are_no_correlation() -> None:
    assert np.isnan(correlation(np.array([1.0, 2.0]), np.array([1.0, 2.0])))


def test_the_best_layer_is_the_largest_in_size_and_never_nan() -> None:
    assert best_layer({"a": 0.2, "b": np.nan, "c": -0.7}) == BestLayer(layer="c", correlation=-0.7)
    nothing = best_layer({"a": np.nan})
    assert nothing.layer is None
    assert np.isnan(nothing.correlation)


def test_within_runs_keeps_the_sign_and_pooled_sees_differences_between_runs() -> None:
    rising = np.arange(4.0)
    tracks = [
        Track(margin=rising, layers={"same": rising, "turning": rising}),
        Track(margin=rising + 10, layers={"same": rising, "turning": 9 - rising}),
    ]
    within = layer_correlations(tracks, over="within runs")
    assert within == pytest.approx({"same": 1.0, "turning": 0.0})
    joint = stats.spearmanr(np.concatenate([rising, rising + 10]), np.concatenate([rising, 9 - rising])).statistic
    assert layer_correlations(tracks, over="pooled")["turning"] == pytest.approx(joint)
    assert joint > 0.5


def test_a_margin_that_stands_still_leaves_its_run_out_and_a_predictor_that_does_disqualifies_its_layer() -> None:
    rising = np.arange(4.0)
    still = Track(margin=np.ones(4), layers={"a": rising, "b": rising})
    moving = Track(margin=rising, layers={"a": rising, "b": np.ones(4)})
    found = layer_correlations([still, moving], over="within runs")
    assert found["a"] == pytest.approx(1)
    assert np.isnan(found["b"])
    assert np.isnan(list(layer_correlations([still], over="within runs").values())).all()


def test_runs_that_do_not_fit_together_are_refused() -> None:
    rising = np.arange(4.0)
    with pytest.raises(UserError, match="one value for each of the 4 margins"):
        Track(margin=rising, layers={"a": rising[:3]})
    with pytest.raises(UserError, match="same layers"):
        layer_correlations([Track(margin=rising, layers={"a": rising}), Track(margin=rising, layers={})], over="pooled")
    with pytest.raises(UserError, match="at least one layer"):
        random_best_layer([rising], layers=0, over="pooled")


def _chance(margins: Sequence[Numbers], layers: int, over: str, drifting: bool, draws: int) -> Numbers:
    """The baseline in the plainest way: draw, correlate by scipy, choose."""
    generator = np.random.default_rng(5)
    best = []
    for _ in range(draws):
        tracks = []
        for margin in margins:
            noise = generator.standard_normal((layers, len(margin)))
            noise = noise.cumsum(axis=1) if drifting else noise
            tracks.append(Track(margin=margin, layers=dict(zip(map(str, range(layers)), noise, strict=True))))
        best.append(abs(best_layer(layer_correlations(tracks, over=over)).correlation))  # type: ignore[arg-type]
    return np.array(best)


@pytest.mark.parametrize("over", ["within runs", "pooled"])
@pytest.mark.parametrize("drifting", [False, True])
def test_chance_makes_the_same_choice_over_the_same_runs(over: str, drifting: bool) -> None:
    margins = [np.linspace(0, 1, 12), np.array([0.0, 0.0, 1.0, 2.0, 2.0, 1.0, 3.0])]
    found = random_best_layer(margins, layers=4, over=over, drifting=drifting, draws=1000)  # type: ignore[arg-type]
    plain = _chance(margins, 4, over, drifting, 150)
    assert found.mean == pytest.approx(plain.mean(), abs=5 * plain.std() / np.sqrt(150))
    assert found.high == pytest.approx(np.quantile(plain, 0.95), abs=0.1)


def test_chance_grows_with_the_layers_and_with_drift_and_is_the_same_every_time() -> None:
    margins = [np.linspace(0, 1, 20)]

    def chance(layers: int, drifting: bool = False) -> float:
        return random_best_layer(margins, layers=layers, over="within runs", drifting=drifting, draws=300).mean

    assert chance(1) < chance(3) < chance(30) < 1
    assert chance(3) < chance(3, drifting=True)
    assert chance(3) == chance(3)
    assert np.isnan(random_best_layer([np.ones(9)], layers=3, over="within runs").mean)
