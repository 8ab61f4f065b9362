"""Cross-validation of effects by principal directions: the same errors as by the plain formula; progress; what is left out."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from attribution_help import WINDOWS, make_run, make_world, smaller
from scipy.linalg import cho_factor, cho_solve

from curriculum.attribution.consumption import play_order, sizes_of
from curriculum.attribution.effects import Design, estimate
from curriculum.attribution.effects_data import gather
from curriculum.attribution.effects_features import no_features
from curriculum.attribution.effects_folds import Folds, Integers, Numbers, Prior, squared_errors
from curriculum.mix import Phase

FEW = 4


def plain(change: Numbers, columns: Numbers, variances: Numbers) -> Numbers:
    """Return the posterior mean of all coefficients, by one system of all changes."""
    scaled = columns * variances
    factor = cho_factor(scaled @ columns.T + np.eye(len(change)), lower=True)
    mean: Numbers = scaled.T @ cho_solve(factor, change)
    return mean


def plain_error(change: Numbers, columns: Numbers, folds: list[Integers], prior: Prior, one: int, other: int) -> float:
    """Return the squared error in fold `other` of what was learnt outside both."""
    kept = np.setdiff1d(np.arange(len(change)), np.concatenate([folds[one], folds[other]]))
    mean = plain(change[kept], columns[kept], prior.variances(columns.shape[1] - FEW))
    return float(((change[folds[other]] - columns[folds[other]] @ mean) ** 2).sum())


@pytest.mark.parametrize(("changes", "windows"), [(30, 50), (50, 50), (60, 50), (200, 20)])
def test_errors_are_those_of_the_plain_formula(changes: int, windows: int) -> None:
    random = np.random.default_rng([changes, windows])
    own = random.random((changes, windows)) * (random.random((changes, windows)) < 0.3)
    own[:, 1] = own[:, 0]  # windows that were always consumed together
    streams = own @ np.equal.outer(np.arange(windows) % (FEW - 1), np.arange(FEW - 1))
    columns = np.hstack([random.standard_normal((changes, 1)), streams, own])
    change = own @ random.standard_normal(windows) + random.standard_normal(changes)
    folds = [np.flatnonzero(np.arange(changes) % 5 == fold) for fold in range(5)]
    priors = [
        Prior(few=np.asarray([1000.0, *[shared] * (FEW - 1)]), window=window)
        for shared, window in product((0.0, 0.01, 10.0), (0.0, 0.03, 3.0))
    ]
    found = squared_errors(change, columns, folds, priors)
    for place in np.ndindex(found.shape):
        assert found[place] == pytest.approx(plain_error(change, columns, folds, priors[place[0]], *place[1:]), rel=1e-9)


def small_design() -> Design:
    random = np.random.default_rng(1)
    return Design(
        change=random.standard_normal(20),
        before=np.zeros(20),
        rate=np.ones(20),
        progress=np.tile(np.arange(10) / 10, 2),
        run=np.repeat([0, 1], 10),
        order=np.repeat([0, 1], 10),
        consumed=random.random((20, 6)),
        stream=np.arange(6) % 2,
        features=np.zeros((6, 0)),
    )


def test_every_two_folds_are_told_beforehand_and_afterwards() -> None:
    told: list[tuple[int, int]] = []
    estimate(small_design(), streams=2, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 15) for done in range(16)]


def dealt(run: list[int], order: list[int], progress: list[float]) -> tuple[str, list[list[int]]]:
    folds = Folds.of(np.asarray(run), np.asarray(order), np.asarray(progress))
    return folds.left_out, [rows.tolist() for rows in folds.rows]


def test_whole_runs_are_left_out_from_three_on_and_stretches_of_time_before() -> None:
    assert estimate(small_design(), streams=2).left_out == "stretches of time"
    two = [0] * 5 + [1] * 5
    assert dealt(two, two, [0.0] * 10) == ("stretches of time", [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]])
    assert dealt([4, 4, 7, 9, 9], [0, 0, 1, 2, 2], [0.0] * 5) == ("runs", [[0, 1], [2], [3, 4]])


def test_runs_that_share_an_order_are_left_out_together() -> None:
    assert dealt([0, 1, 2, 3, 4], [0, 1, 0, 2, 1], [0.0] * 5) == ("runs", [[0, 2], [1, 4], [3]])
    times = [0.1, 0.3, 0.5, 0.7, 0.9]
    together = [[number, number + 5, number + 10] for number in range(5)]
    assert dealt([0] * 5 + [1] * 5 + [2] * 5, [0] * 15, times * 3) == ("stretches of time", together)


def test_an_order_is_that_of_a_seed_or_of_a_list_whatever_the_schedule(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    one = world.mix(1)
    changed = replace(one, phases=(Phase(weights={"web": Decimal(3), "books": Decimal(1)}, until=Decimal(1)),))
    orders = [play_order(mix.plan(sizes_of(mix))) for mix in (one, changed, world.mix(2))]
    assert orders[0] == orders[1] != orders[2]
    listed = smaller(world, tmp_path, 0.5)
    first, second = (play_order(listed.mix(seed).plan(sizes_of(one))) for seed in range(2))
    assert first == second
    evidence = gather([make_run(world, seed) for seed in range(2)])
    assert evidence.design(no_features(2 * WINDOWS).values).order.tolist() == evidence.stretches["run"].tolist()
