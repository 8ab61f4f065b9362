"""Ladders: what is made of their numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from curriculum.search.ladder_statistics import (
    LadderTables,
    across_seeds,
    ahead,
    alike,
    compare,
    conclude,
    correlation,
    fate_of,
    gain_interval,
    noise_ceiling,
    regret,
    reliability,
    spearman,
    spearman_brown,
    top_quartile,
)
from curriculum.search.statistics import Interval, mean_interval

FloatArray = NDArray[np.float64]


def array(*values: float) -> FloatArray:
    return np.asarray(values, dtype=np.float64)


def test_spearman_sees_order_alone_and_shares_ranks_of_ties() -> None:
    assert spearman(array(1, 2, 3, 4), array(1, 10, 100, 1000)) == pytest.approx(1)
    assert spearman(array(1, 2, 3, 4), array(4, 3, 2, 1)) == pytest.approx(-1)
    assert spearman(array(1, 2, 2, 4), array(1, 3, 2, 4)) == pytest.approx(4.5 / np.sqrt(4.5 * 5))  # ranks 1, 2.5, 2.5, 4
    assert spearman(array(1, 1, 1, 1), array(1, 2, 3, 4)) is None
    assert spearman(array(1, 2), array(1, 2)) is None


def test_the_bootstrap_interval_covers_the_true_correlation_and_narrows_with_more_curricula() -> None:
    random, covered, widths = np.random.default_rng(0), 0, {12: [0.0], 60: [0.0]}
    for trial in range(30):
        for count, found_widths in widths.items():
            common = random.normal(size=count)
            found = correlation(common + random.normal(size=count), common + random.normal(size=count), seed=trial)
            assert found.low is not None and found.high is not None
            covered += count == 60 and found.low <= 0.483 <= found.high  # Spearman's of normals of correlation 1/2
            found_widths.append(found.high - found.low)
    assert covered >= 24
    assert np.mean(widths[60][1:]) < 0.6 * np.mean(widths[12][1:])


def test_few_curricula_have_a_correlation_without_an_interval() -> None:
    found = correlation(array(1, 2, 3, 4), array(1, 3, 2, 4))
    assert found.value == pytest.approx(0.8) and found.low is None and found.high is None and found.curricula == 4
    rising, swapped = np.arange(8.0), np.r_[1.0, 0.0, np.arange(2.0, 8.0)]
    assert correlation(rising[:7], swapped[:7]).low is None and correlation(rising, swapped).low is not None


@pytest.mark.parametrize("sign", [1, -1])
def test_where_all_ranks_agree_no_interval_is_made_up(sign: int) -> None:
    found = correlation(np.arange(12.0), sign * np.arange(12.0) ** 3)
    assert found.value == pytest.approx(sign) and found.low is None and found.high is None


def test_the_top_quartile_is_chosen_by_the_smaller_sizes_values() -> None:
    assert top_quartile(np.arange(20.0)).tolist() == [19, 18, 17, 16, 15]
    assert top_quartile(array(5, 1, 5, 0)).tolist() == [0, 2, 1]  # three at least, equals as they come
    tables = tables_of({"area": np.stack([noisy(np.arange(16.0)), noisy(np.r_[np.arange(12.0), 8.4, 8.3, 8.2, 8.1])])})
    found = compare(tables)["pairs"][0]["measures"]["area"]
    assert found["top_quartile"] == {"value": -1.0, "low": None, "high": None, "n": 4}
    assert found["spearman"]["value"] > 0.7


def test_reliability_is_stepped_up_from_one_seed_to_all() -> None:
    assert spearman_brown(0.5, 2) == pytest.approx(2 / 3)
    agreeing = np.stack([np.arange(9.0)] * 3, axis=1)
    assert reliability(agreeing) == pytest.approx(1)
    opposed = np.stack([np.arange(9.0), -np.arange(9.0)], axis=1)
    assert reliability(opposed) == 0
    assert reliability(agreeing[:, :1]) is None
    random = np.random.default_rng(1)
    truth = random.normal(size=4000)
    half_noise = truth[:, None] + random.normal(size=(4000, 4))
    assert reliability(half_noise) == pytest.approx(spearman_brown(0.483, 4), abs=0.02)


def test_a_seed_in_which_all_curricula_are_alike_agrees_with_none() -> None:
    table = np.zeros((12, 10))
    table[0, :2] = 1.0  # two seeds agree in the one curriculum that ever moves, of the others nothing is known
    assert reliability(table) == pytest.approx(spearman_brown(1 / 45, 10))
    assert reliability(np.zeros((12, 10))) == 0 == noise_ceiling(table, np.zeros((12, 10)))
    assert reliability(np.arange(4.0).reshape(2, 2)) is None


def test_runs_alike_are_counted_by_size_and_measure() -> None:
    assert alike(np.zeros((4, 3))) == 12 and alike(array(1, 2, 2 + 1e-12, 3).reshape(2, 2)) == 2
    values = {"time_general": np.stack([noisy(np.arange(4.0)), np.where(np.eye(4, 2) > 0, 0.5, 13 / 18)])}
    found = compare(tables_of(values))["saturation"]
    assert found == {"s0": {"time_general": {"alike": 1, "runs": 8}}, "s1": {"time_general": {"alike": 6, "runs": 8}}}


def test_what_is_counted_without_training_is_ranked_against_the_larger_size() -> None:
    larger = np.arange(8.0)
    tables = tables_of({"area": np.stack([noisy(larger[::-1]), noisy(larger)]), "loss": np.stack([noisy(larger)] * 2)})
    assert compare(tables)["pairs"][0]["measures"]["area"]["counting"] is None
    swapped = np.r_[1.0, 0.0, np.arange(2.0, 8.0)]
    found = compare(replace(tables, counted=swapped))["pairs"][0]["measures"]
    assert found["area"]["counting"]["value"] == pytest.approx(1 - 6 * 2 / (8 * 63), abs=1e-6)
    assert found["loss"]["counting"]["value"] == -found["area"]["counting"]["value"]  # of losses less is better
    assert found["area"]["ahead_of_counting"]["value"] == pytest.approx(-1 - found["area"]["counting"]["value"], abs=1e-6)
    assert found["loss"]["ahead_of_counting"]["value"] == pytest.approx(1 - found["area"]["counting"]["value"], abs=1e-6)


def test_a_proxy_is_ahead_of_counting_where_it_ranks_better_whichever_sign_counting_has() -> None:
    random = np.random.default_rng(7)
    truth = random.normal(size=60)
    near, far = truth + 0.1 * random.normal(size=60), truth + 2 * random.normal(size=60)
    for sign in (1, -1):
        found, other = ahead(near, float(sign) * far, truth), ahead(far, float(sign) * near, truth)
        assert found.low is not None and other.high is not None and found.low > 0 > other.high
    even = ahead(near, -near, truth)
    assert (even.value, even.low, even.high) == pytest.approx((0, 0, 0))
    assert ahead(near[:7], far[:7], truth[:7]).low is None and ahead(near, np.zeros(60), truth).value is None


def test_two_sizes_of_perfect_agreement_reach_the_ceiling_and_no_more() -> None:
    random = np.random.default_rng(2)
    truth = random.normal(size=4000)
    small, large = (truth[:, None] + spread * random.normal(size=(4000, 2)) for spread in (1.0, 0.5))
    ceiling = noise_ceiling(small, large)
    assert ceiling is not None and ceiling == pytest.approx(spearman(small.mean(axis=1), large.mean(axis=1)), abs=0.03)
    assert noise_ceiling(small, large[:, :1]) is None


def test_regret_is_what_the_pick_loses_against_the_best() -> None:
    small, large = np.tile(array(0, 3, 2)[:, None], 2), np.tile(array(1.0, 4.0, 6.5)[:, None], 2)
    found = regret(small, large, 0)
    assert (found.pick, found.best, found.same_seeds) == (1, 2, False)
    assert (found.regret.mean, found.gain.mean, found.kept.mean) == pytest.approx((2.5, 5.5, 3.0))
    assert regret(small[:, :1], large[:, :1], 0).same_seeds


def test_regret_has_an_interval_over_judging_seeds_where_a_choice_differed() -> None:
    large = np.stack([array(0, 0, 0, 0), array(1, 2, 3, 2), array(4, 4, 4, 4)])
    small = np.stack([array(0, 0, 0, 0), array(9, 9, 9, 9), array(1, 1, 1, 1)])
    found = regret(small, large, 0)  # judged 3, 2, 1, 2: a mean of 2, and t of three degrees of freedom
    half = 3.182446 * np.std([3, 2, 1, 2], ddof=1) / 2
    told = found.as_json()
    assert told["regret"] == 2 and (told["judges"], told["picks_differ"]) == (4, 4)
    assert (told["regret_low"], told["regret_high"]) == pytest.approx((2 - half, 2 + half), abs=1e-5)
    best, pick = (mean_interval(array(*gains)).as_json() for gains in ((4, 4, 4, 4), (1, 2, 3, 2)))
    assert (told["best_over_static"], told["pick_over_static"]) == (best, pick)
    equal = regret(np.stack([large[0], large[1], large[1] - 1]), np.stack([large[0], large[2], large[2] + 1e-12]), 0).as_json()
    assert equal["picks_differ"] == 4 and equal["regret_low"] is None  # of equal value: no interval of no width
    one_pick = regret(large, large, 0).as_json()
    assert (one_pick["regret"], one_pick["regret_low"], one_pick["picks_differ"]) == (0, None, 0)
    assert regret(small[:, :1], large[:, :1], 0).as_json()["regret_low"] is None


def test_regrets_interval_covers_what_a_pick_that_no_seed_doubts_really_loses() -> None:
    random, covered = np.random.default_rng(6), 0
    small = np.tile(array(0, 9, 1)[:, None], 5)
    for _ in range(200):
        large = np.stack([np.zeros(5), random.normal(size=5), 9 + random.normal(size=5)])
        interval = regret(small, large, 0).regret
        covered += interval.low <= 9 <= interval.high
    assert 180 <= covered <= 199


def test_regret_does_not_count_the_luck_of_the_best() -> None:
    """Where curricula are all equal nothing can be lost; choosing and judging on the same seeds would see a loss."""
    random = np.random.default_rng(3)
    lost = [regret(random.normal(size=(16, 3)), random.normal(size=(16, 3)), 0) for _ in range(400)]
    assert abs(np.mean([each.regret.mean for each in lost])) < 0.15
    alone = [regret(random.normal(size=(16, 1)), random.normal(size=(16, 1)), 0) for _ in range(400)]
    assert np.mean([each.regret.mean for each in alone]) > 1.5


def test_a_gains_interval_pools_the_noise_of_all_curricula() -> None:
    random, covered, widths = np.random.default_rng(4), 0, []
    for _ in range(200):
        table = random.normal(size=(12, 2)) + random.normal(size=2) * 5  # luck that a seed gives to all does not count
        found = gain_interval(table, 3, 0)
        covered += found.low <= 0 <= found.high
        widths.append(found.high - found.low)
    assert 180 <= covered <= 198
    assert 3.5 < np.mean(widths) < 5.5  # 2 x 2.2 x 1; two pairs alone would say 25 on average
    assert not np.isfinite(gain_interval(np.ones((3, 1)), 1, 0).low)


def test_from_five_seeds_on_a_gain_has_the_noise_of_its_own_pairs() -> None:
    random = np.random.default_rng(8)
    loud = random.normal(size=(12, 5)) * np.r_[0.01, 0.01, np.ones(10)][:, None]
    assert gain_interval(loud, 1, 0) == mean_interval(loud[1] - loud[0])
    pooled = gain_interval(loud[:, :4], 1, 0)
    assert pooled.high - pooled.low > 1 > 20 * (gain_interval(loud, 1, 0).high - gain_interval(loud, 1, 0).low)


def test_what_runs_of_one_seed_share_agrees_between_sizes_on_the_same_seeds_alone() -> None:
    random = np.random.default_rng(9)
    shared = random.normal(size=(60, 4))  # of a curriculum and a seed: such as the order of its data
    small, large = (shared + 0.1 * random.normal(size=shared.shape) for _ in range(2))
    found = across_seeds(small, large)
    assert found is not None and found["seeds"] == 2
    assert found["same"] is not None and found["same"] > 0.9
    assert found["other"] is not None and abs(found["other"]) < 0.3
    means = np.arange(60.0)[:, None]
    assert across_seeds(small + 9 * means, large + 9 * means) == {"seeds": 2, "same": 1.0, "other": 1.0}
    assert across_seeds(small[:, :1], large[:, :1]) is None
    odd = across_seeds(small[:, :3], large[:, :3])
    assert odd is not None and odd["seeds"] == 1
    many = across_seeds(np.repeat(means, 14, axis=1), np.repeat(means, 14, axis=1))
    assert many == {"seeds": 7, "same": 1.0, "other": 1.0}


def test_the_distance_to_static_is_a_second_count() -> None:
    larger = np.arange(8.0)
    tables = tables_of({"loss": np.stack([noisy(larger)] * 2)})
    assert compare(tables)["pairs"][0]["measures"]["loss"]["distance"] is None
    found = compare(replace(tables, distance=larger))["pairs"][0]["measures"]["loss"]
    assert found["distance"]["value"] == -1 and found["counting"] is None  # far from static, high in loss
    assert found["ahead_of_distance"]["value"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("ends", "fate"),
    [
        ([(0.095, 0.256), (-0.026, 0.029)], "fades"),  # the intervals are disjoint: shown to be less
        ([(-0.256, -0.095), (-0.026, 0.029)], "fades"),
        ([(0.6, 0.8), (0.1, 0.2)], "fades"),  # of one sign, but hardly any of it is left
        ([(-0.8, -0.6), (-0.2, -0.1)], "fades"),
        ([(0.1, 0.2), (0.6, 0.8)], "holds"),  # more of it is no fading
        ([(-0.006, -0.001), (-0.004, 0.001)], "unconfirmed"),
        ([(0.1, 0.3), (0.15, 0.4)], "holds"),
        ([(-0.3, -0.1), (-0.4, -0.15)], "holds"),
        ([(-0.1, 0.3), (0.1, 0.3)], "appears"),
        ([(0.1, 0.3), (-0.1, 0.3), (0.1, 0.3)], "appears"),
        ([(0.6, 0.8), (0.1, 0.3), (0.2, 0.3)], "fades"),
        ([(-0.1, 0.3), (0.6, 0.8), (-0.1, 0.7)], "unconfirmed"),
        ([(-0.1, 0.3), (-0.3, 0.1)], "open"),
        ([(-0.1, 0.3), (-0.1, 0.3)], "open"),  # signs that agree say nothing
        ([(0.1, 0.3), (-0.3, -0.1)], "reversed"),
        ([(0.1, 0.3), (-0.3, -0.1), (-0.3, 0.1)], "reversed"),
        ([(-np.inf, np.inf), (0.1, 0.3)], "no interval"),
    ],
)
def test_the_largest_size_decides_what_becomes_of_a_gain(ends: list[tuple[float, float]], fate: str) -> None:
    assert fate_of([Interval(mean=(low + high) / 2, low=low, high=high) for low, high in ends]) == fate


def test_conclusions_are_drawn_from_smaller_to_larger() -> None:
    tables = [noisy(array(0, gain, 0, 0, 0, 0)) for gain in (2, 0)]
    assert conclude(tables, 1, 0).fate == "fades" and conclude(tables[::-1], 1, 0).fate == "appears"


def test_of_losses_less_is_better() -> None:
    losses = np.stack([noisy(array(3, 1, 2)), noisy(array(3, 2, 1))])
    found = compare(tables_of({"loss": losses}, named=("c1",)))
    pair = found["pairs"][0]["measures"]["loss"]
    assert (pair["pick"], pair["best"]) == ("c1", "c2") and pair["regret"] == pytest.approx(1, abs=0.2)
    assert found["conclusions"][0]["gain_over_static"]["s0"]["mean"] == pytest.approx(2, abs=0.2)
    assert found["conclusions"][0]["fate"] == "fades"  # 2 at the smaller size, 1 at the larger, beyond the noise


def noisy(means: FloatArray) -> FloatArray:
    """Return a table (curricula, 2 seeds) with a little noise that leaves the means alone."""
    noise = 0.02 * np.random.default_rng(5).normal(size=len(means))
    return np.stack([means + noise, means - noise], axis=1)


def tables_of(values: dict[str, FloatArray], named: tuple[str, ...] = ()) -> LadderTables:
    sizes, curricula, _ = next(iter(values.values())).shape
    return LadderTables(
        sizes=tuple(f"s{number}" for number in range(sizes)),
        curricula=tuple(f"c{number}" for number in range(curricula)),
        values=values,
        named=named,
    )
