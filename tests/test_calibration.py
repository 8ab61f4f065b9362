"""Thresholds from noise keep noise from being called a mode."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from curriculum.errors import UserError
from curriculum.probe import Reading
from curriculum.probe.calibration import LEAST_HYSTERESIS, calibrated_floor, calibrated_hysteresis, standard_error
from curriculum.probe.modes import modes_of
from curriculum.probe.scoring import bootstrap_interval, crossed_interval


def readings_of(values: np.ndarray) -> list[Reading]:
    found = []
    for items in values:
        low, high = bootstrap_interval(items)
        shared = {"probe": "p", "family": "f", "accuracy": 0.5, "control_margin": 0.5, "capable": True}
        found.append(Reading(margin=float(items.mean()), low=low, high=high, **shared))
    return found


def test_a_margin_of_zero_is_rarely_called_a_mode() -> None:
    called = 0
    for run in range(200):
        readings = readings_of(np.random.default_rng(run).normal(0, 0.9, (20, 100)))
        h = calibrated_hysteresis(readings)
        called += any(mode != "unformed" for mode in modes_of([r.margin for r in readings], [True] * 20, h))
    assert 2 <= called <= 22  # 5 % of 200 runs, with the noise of counting


def test_more_noise_and_more_readings_ask_for_more() -> None:
    quiet = readings_of(np.random.default_rng(0).normal(0, 0.1, (20, 100)))
    loud = readings_of(np.random.default_rng(0).normal(0, 0.9, (20, 100)))
    assert calibrated_hysteresis(quiet) == LEAST_HYSTERESIS < calibrated_hysteresis(loud[:5]) < calibrated_hysteresis(loud)
    assert calibrated_hysteresis(loud, false_runs=0.01) > calibrated_hysteresis(loud)
    with pytest.raises(UserError, match="got none"):
        calibrated_hysteresis([])
    with pytest.raises(UserError, match="between 0 and 1"):
        calibrated_hysteresis(loud, false_runs=1.0)


def test_both_sides_and_all_readings_share_the_chance() -> None:
    loud = readings_of(np.random.default_rng(0).normal(0, 0.9, (1, 100))) * 10
    error = standard_error(loud[0].low, loud[0].high)
    assert calibrated_hysteresis(loud) == pytest.approx(error * NormalDist().inv_cdf(1 - 0.05 / 20), rel=1e-6)


def test_early_quiet_readings_do_not_hide_the_loud_ones() -> None:
    quiet = readings_of(np.random.default_rng(0).normal(0, 0.02, (11, 100)))
    loud = readings_of(np.random.default_rng(1).normal(0, 1.0, (9, 100)))
    assert calibrated_hysteresis(quiet + loud) == pytest.approx(calibrated_hysteresis(loud), rel=0.05)


def test_an_untrained_model_stays_below_its_floor() -> None:
    margins = np.random.default_rng(1).normal(0.02, 0.03, 2000)
    floor = calibrated_floor(margins[:40].tolist())
    assert 0.005 < (margins > floor).mean() < 0.07
    assert calibrated_floor([-0.5, -0.51]) == 0.0
    with pytest.raises(UserError, match="at least 2"):
        calibrated_floor([0.1])


def test_seeds_that_move_all_items_together_widen_the_interval() -> None:
    generator = np.random.default_rng(0)
    items, seeds = generator.normal(0, 0.1, (1, 100)), generator.normal(0, 0.3, (4, 1))
    shared, apart = items + seeds, np.broadcast_to(items, (4, 100))
    assert np.ptp(crossed_interval(shared)) > 4 * np.ptp(crossed_interval(apart))
    additive = np.arange(4)[:, None] - np.arange(4)[None]  # antisymmetric: drawn alike, seeds and items would cancel
    assert np.ptp(crossed_interval(additive.astype(float))) > 1.0
    assert crossed_interval(items) == bootstrap_interval(items[0])
    assert crossed_interval(shared)[0] < shared.mean() < crossed_interval(shared)[1]
