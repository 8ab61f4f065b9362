"""Intervals, looks, shrinkage and power: against references, and by simulation with fixed seeds."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from curriculum.search.statistics import (
    Interval,
    claim_interval,
    corrected_confidence,
    looks,
    mean_interval,
    pairs_needed,
    permutation_interval,
    power,
    shrunken_means,
)

differences = st.lists(st.floats(-1, 1).map(lambda value: round(value, 6)), min_size=6, max_size=9)


def sign_flip_p(values: np.ndarray, mean: float) -> float:
    """The two-sided test done the plain way: over all signs, how often the sum is as far from zero."""
    centred = values - mean
    sums = np.asarray([np.dot(signs, centred) for signs in product((-1.0, 1.0), repeat=len(values))])
    upper = float(np.mean(sums >= centred.sum() - 1e-12))
    lower = float(np.mean(sums <= centred.sum() + 1e-12))
    return min(1.0, 2 * min(upper, lower))


@settings(max_examples=60)
@given(differences)
def test_the_interval_of_signs_holds_what_the_plain_test_would_not_reject(values: list[float]) -> None:
    numbers = np.asarray(values)
    interval = permutation_interval(numbers, 0.9)
    for mean in np.linspace(interval.low + 1e-6, interval.high - 1e-6, 7):
        if interval.low + 1e-6 < mean < interval.high - 1e-6:
            assert sign_flip_p(numbers, float(mean)) > 0.1 - 1e-9
    assert sign_flip_p(numbers, interval.low - 1e-6) <= 0.1 + 1e-9
    assert sign_flip_p(numbers, interval.high + 1e-6) <= 0.1 + 1e-9


@settings(max_examples=60)
@given(differences, st.floats(-2, 2), st.sampled_from([0.5, 3.0]))
def test_intervals_move_and_grow_with_their_data(values: list[float], shift: float, factor: float) -> None:
    for of in (mean_interval, permutation_interval, claim_interval):
        plain, moved = of(values, 0.9), of([factor * value + shift for value in values], 0.9)
        assert moved.low == pytest.approx(factor * plain.low + shift, abs=1e-9)
        assert moved.high == pytest.approx(factor * plain.high + shift, abs=1e-9)
        mirrored = of([-value for value in values], 0.9)
        assert (mirrored.low, mirrored.high) == (pytest.approx(-plain.high, abs=1e-9), pytest.approx(-plain.low, abs=1e-9))


@settings(max_examples=60)
@given(differences)
def test_a_claim_needs_both_intervals(values: list[float]) -> None:
    claim, parts = claim_interval(values), [mean_interval(values), permutation_interval(values)]
    assert claim.low == min(part.low for part in parts) and claim.high == max(part.high for part in parts)
    assert claim_interval(values, 0.99).low <= claim.low


def test_too_few_pairs_have_no_interval_of_signs() -> None:
    assert permutation_interval([0.5] * 5).low == -np.inf  # five agreeing pairs are p = .06
    assert permutation_interval([0.5] * 6).low == 0.5
    assert mean_interval([0.5]).high == np.inf
    assert claim_interval([0.4, 0.5]).as_json() == {"mean": 0.45, "low": None, "high": None}
    assert "too few pairs" in str(claim_interval([0.4, 0.5]))


@pytest.mark.parametrize("pairs", [8, 12, 18])
@pytest.mark.parametrize("law", ["normal", "cliffs"])
def test_intervals_hold_their_confidence(pairs: int, law: str) -> None:
    random, trials, kept = np.random.default_rng(pairs), 600, 0
    for _ in range(trials):
        normal = law == "normal"
        values = random.normal(0, 1, pairs) if normal else random.choice([-1, -0.05, 0.05, 1], pairs) * random.random(pairs)
        interval = permutation_interval(values + 0.3, 0.9)
        kept += interval.low <= 0.3 <= interval.high
    rank = int(0.05 * 2 ** min(pairs, 14)) / 2 ** min(pairs, 14)
    assert binom.ppf(1e-4, trials, 1 - 2 * rank) <= kept <= binom.ppf(1 - 1e-4, trials, 1 - 2 * rank)


def test_many_pairs_are_sampled_by_key_and_agree_with_t() -> None:
    values = np.random.default_rng(3).normal(0.2, 1, 24)
    interval, normal = permutation_interval(values), mean_interval(values)
    assert interval == permutation_interval(values)
    assert interval != permutation_interval(values, seed=1)
    assert interval.low == pytest.approx(normal.low, abs=0.08) and interval.high == pytest.approx(normal.high, abs=0.08)


def test_all_looks_together_spend_five_percent() -> None:
    assert looks(10, 30) == (10, 15, 20, 25, 30) and looks(10, 10) == (10,) and looks(40, 30) == (40,)
    for first, most in ((10, 30), (12, 31), (10, 10), (40, 30)):
        spent = sum(1 - corrected_confidence(pairs, 1, first=first, most=most) for pairs in looks(first, most))
        assert spent == pytest.approx(0.05)
    assert corrected_confidence(10, 2, first=10, most=30) == pytest.approx(1 - 0.05 / 3 / 2)
    assert corrected_confidence(20, 2, first=10, most=30) == pytest.approx(1 - 0.05 / 6 / 2)


def test_looking_again_and_again_claims_no_more_than_five_percent() -> None:
    random, studies, false_claims, naive = np.random.default_rng(11), 1000, 0, 0
    for _ in range(studies):
        values = random.normal(0, 1, 30)
        plain = [mean_interval(values[:pairs]) for pairs in looks(10, 30)]
        spent = [corrected_confidence(pairs, 1, first=10, most=30) for pairs in looks(10, 30)]
        careful = [mean_interval(values[:pairs], part) for pairs, part in zip(looks(10, 30), spent, strict=True)]
        naive += not all(interval.holds_zero() for interval in plain)
        false_claims += not all(interval.holds_zero() for interval in careful)
    assert false_claims <= binom.ppf(0.9999, studies, 0.05)
    assert naive > binom.ppf(0.9999, studies, 0.05)  # without the split the simulation does find too many


@pytest.mark.parametrize("arms", [2, 3, 6])
def test_shrinkage_takes_most_of_the_luck_out_of_the_best_of_several(arms: int) -> None:
    random = np.random.default_rng(arms)
    plain, shrunken = [], []
    for _ in range(1500):
        truth = random.normal(0, 0.2, arms)
        scores = truth[:, None] + random.normal(0, 1, (arms, 10)) + random.normal(0, 2, 10)  # a seed's luck is everyone's
        means, found = scores.mean(axis=1), shrunken_means(scores)
        best, common = int(means.argmax()), scores.mean() - truth.mean()
        assert int(found.argmax()) == best
        plain.append(means[best] - common - truth[best])
        shrunken.append(found[best] - common - truth[best])
    assert np.mean(plain) > 0.1
    assert abs(np.mean(shrunken)) < 0.45 * np.mean(plain)
    assert np.mean(np.square(shrunken)) < 0.8 * np.mean(np.square(plain))


@settings(max_examples=40)
@given(st.integers(0, 10**6))
def test_luck_that_a_seed_gives_to_every_arm_changes_no_shrinkage(seed: int) -> None:
    random = np.random.default_rng(seed)
    scores, luck = random.normal(0, 1, (3, 8)), random.normal(0, 5, 8)
    assert shrunken_means(scores + luck) == pytest.approx(shrunken_means(scores) + luck.mean(), abs=1e-9)


def test_clear_differences_and_single_arms_are_left_alone() -> None:
    scores = np.random.default_rng(0).normal(0, 0.01, (3, 10)) + np.asarray([[0.0], [0.5], [1.0]])
    assert shrunken_means(scores) == pytest.approx(scores.mean(axis=1), abs=0.001)
    assert shrunken_means(scores[:1]) == pytest.approx(scores[:1].mean(axis=1), abs=0)
    assert shrunken_means([[0.2, 0.4], [0.2, 0.4]]) == pytest.approx([0.3, 0.3])


def test_power_is_how_often_a_comparison_is_decided() -> None:
    template = np.asarray([-1.0, 1.0] * 10) * np.sqrt(19 / 20) + 0.5  # mean .5, sd 1
    random, decided = np.random.default_rng(5), 0
    for _ in range(800):
        decided += not mean_interval(random.normal(0.5, 1, 20)).holds_zero()
    assert decided / 800 == pytest.approx(power(template, 20), abs=0.06)
    assert power(template, 40) > power(template, 20) > power(template, 20, 0.99)


def test_pairs_needed() -> None:
    template = list(np.asarray([-1.0, 1.0] * 5) * np.sqrt(9 / 10) + 0.5)
    needed = pairs_needed(template)
    assert needed == 34 - 10  # the textbook's 34 for a t test, effect .5, power .8
    assert pairs_needed([value + 2 for value in template]) == 0
    assert pairs_needed([value - 0.5 for value in template]) is None
    assert pairs_needed(template, most=20) is None


@pytest.mark.parametrize(("pairs", "confidence", "least", "wanted"), [(2, 0.95, 0, 6), (5, 0.95, 10, 10), (10, 0.9991, 10, 12)])
def test_pairs_needed_are_as_many_as_sign_flips_and_a_claim_ask_for(
    pairs: int, confidence: float, least: int, wanted: int
) -> None:
    """Differences that Student's t would take for decided at once."""
    clear = [0.30 + 0.001 * number for number in range(pairs)]
    assert pairs + (pairs_needed(clear, confidence=confidence, least=least) or 0) == wanted
    assert np.isfinite(permutation_interval([0.3] * max(wanted, 1), confidence).low)
    if least < wanted:
        assert not np.isfinite(permutation_interval([0.3] * (wanted - 1), confidence).low)


def test_an_interval_in_words_and_bounds() -> None:
    interval = Interval(mean=0.01, low=-0.02, high=0.04)
    assert str(interval) == "+0.010 [-0.020, +0.040]"
    assert interval.holds_zero() and interval.within(0.04) and not interval.within(0.03)
