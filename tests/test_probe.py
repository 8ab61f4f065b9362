"""Scoring, modes and measures of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from curriculum.errors import FileError, UserError
from curriculum.probe import ItemSet, Probe, Reading, Trajectory, measure_run, read_probe
from curriculum.probe.modes import modes_of
from curriculum.probe.scoring import bootstrap_interval


class Table:
    """A model that gives every token a fixed probability."""

    def __init__(self, probabilities: dict[int, float]) -> None:
        self.probabilities = probabilities

    def answer_log_probabilities(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[np.ndarray]]:
        return [[np.log([self.probabilities[token] for token in answer]) for answer in of] for of in answers]


def items(correct: tuple[int, ...], shallow: tuple[int, ...], count: int = 4) -> ItemSet:
    return ItemSet(prompts=((1, 2),) * count, correct=(correct,) * count, shallow=(shallow,) * count)


def test_a_reading_takes_the_mean_probability_of_an_answers_tokens() -> None:
    model = Table({3: 0.75, 4: 0.25, 5: 0.125})
    probe = Probe(name="p", family="f", items=items((3, 4), (5,)), control=items((3,), (4,)), floor=0.4)
    reading = read_probe(probe, model)
    assert reading == Reading(
        probe="p", family="f", accuracy=1.0, margin=0.375, low=0.375, high=0.375, control_margin=0.5, capable=True
    )
    assert not read_probe(Probe(name="p", family="f", items=probe.items, control=probe.control, floor=0.5), model).capable
    equal = Probe(name="p", family="f", items=items((3,), (4,)), control=probe.control, floor=0.0)
    assert read_probe(equal, Table({3: 0.5, 4: 0.5})).accuracy == 0.0


def test_the_interval_covers_the_mean_and_narrows_with_items() -> None:
    values = np.random.default_rng(0).normal(0.2, 1.0, 4000)
    low, high = bootstrap_interval(values)
    few_low, few_high = bootstrap_interval(values[:100])
    assert low < values.mean() < high and high - low < (few_high - few_low) / 4
    assert 1.5 < (high - low) / (2 * values.std() / np.sqrt(4000)) < 2.4


def test_modes_have_memory_and_wait_for_capability() -> None:
    margins = [0.5, 0.1, 0.2, 0.1, -0.1, -0.2, 0.1, 0.16, 0.3]
    capable = [False, True, True, True, True, True, True, True, False]
    assert modes_of(margins, capable) == [
        *("unformed", "unformed", "general", "general", "general", "shallow", "shallow", "general", "unformed")
    ]


def test_measures_weigh_by_samples_and_leave_the_burn_in_out() -> None:
    positions, margins = [100, 200, 400, 500], [0.9, 0.5, -0.5, 0.3]
    measures = measure_run(positions, margins, modes_of(margins, [True] * 4), start=150, stop=500)
    assert measures.time_general == pytest.approx(150 / 350)
    assert measures.area == pytest.approx((50 * 0.5 - 200 * 0.5 + 100 * 0.3) / 350)
    assert (measures.final_margin, measures.hops) == (0.3, 2)
    assert measures.longest_stay == pytest.approx(100 / 350)
    with pytest.raises(ValueError, match="no reading"):
        measure_run([100], [0.1], ["general"], start=100, stop=200)


def reading(probe: str, family: str, margin: float) -> Reading:
    return Reading(
        probe=probe, family=family, accuracy=0.5, margin=margin, low=margin, high=margin, control_margin=1, capable=True
    )


def test_families_are_weighted_not_probes(tmp_path: Path) -> None:
    readings = [(10, 1, reading("a", "f", 0.9)), (10, 1, reading("b", "f", 0.5)), (10, 1, reading("c", "g", -0.6))]
    trajectory = Trajectory.of(readings)
    measures = trajectory.measures(start=0, stop=10)
    assert measures.time_general == 0.5 and measures.worst_probe == 0.0
    assert measures.area == pytest.approx((0.7 - 0.6) / 2)
    assert trajectory.measures(start=0, stop=10, weights={"f": 3}).time_general == 0.75
    trajectory.save(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(Trajectory.load(tmp_path / "t.parquet").table, trajectory.table)


def test_a_foreign_trajectory_may_leave_modes_out_but_not_margins(tmp_path: Path) -> None:
    table = Trajectory.of([(10, 1, reading("a", "f", 0.9))]).table
    table.drop(columns="mode").to_parquet(tmp_path / "t.parquet")
    assert list(Trajectory.load(tmp_path / "t.parquet").table["mode"]) == ["general"]
    table.drop(columns="margin").to_parquet(tmp_path / "t.parquet")
    with pytest.raises(FileError, match="'margin' is missing"):
        Trajectory.load(tmp_path / "t.parquet")
    table.assign(margin=float("nan")).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(FileError, match="row 0"):
        Trajectory.load(tmp_path / "t.parquet")
    with pytest.raises(FileError, match="no such file"):
        Trajectory.load(tmp_path / "none.parquet")


def test_probes_check_their_numbers() -> None:
    with pytest.raises(UserError, match="floor"):
        Probe(name="p", family="f", items=items((3,), (4,)), control=items((3,), (4,)), floor=1.0)
    with pytest.raises(UserError, match="equal"):
        items((3,), (3,))
