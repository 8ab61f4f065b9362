"""Stopping trials by their true prefixes: a rule that depends on trial numbers alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum.errors import FileError
from curriculum.probe import Reading, Trajectory
from curriculum.search.pruning import (
    LEAST_ELDERS,
    Elder,
    Limit,
    elders_of,
    foretold,
    limits,
    prefix_values,
)
from curriculum.search.study import Study
from curriculum.search.study_file import default_study, load_study

SAMPLES = 1000
POSITIONS = (250, 500, 750, 1000)


def least(*elders: float | None) -> float | None:
    """Where a trial with these elders' prefix values (None: stopped before) is stopped at 500 samples; None: nowhere."""
    told = [Elder(prefix={} if value is None else {500: value}, value=0.0, was_stopped=value is None) for value in elders]
    bounds = limits(told, (500,), SAMPLES)
    return bounds[0].least if bounds else None


def stopped_at(prefix: dict[int, float], bounds: Sequence[Limit]) -> int | None:
    """Where the search would end a run with these prefix values."""
    return next((bound.position for bound in bounds if prefix.get(bound.position, np.inf) < bound.least), None)


def elder(*values: float, whole: float = 0.0) -> Elder:
    """An elder with prefix values at the first positions; stopped if they are not all."""
    prefix = dict(zip(POSITIONS, values, strict=False))
    return Elder(prefix=prefix, value=whole, was_stopped=len(values) < len(POSITIONS))


def test_the_lowest_quarter_is_stopped_once_there_are_elders() -> None:
    eight = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    assert least(*eight) == least(*reversed(eight)) == 0.2
    assert least(*eight[:7]) is None


def test_the_stopped_count_as_lowest_so_that_stops_do_not_raise_the_bar() -> None:
    going = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    assert least(0.1, 0.2, *going) == 0.2
    assert least(None, None, *going) is None  # those two were the lowest quarter
    assert least(None, 0.28, *going) == 0.28
    assert least(*[None] * 4, *going[:4]) is None  # half are gone: the others are let through


def test_nothing_is_stopped_before_a_quarter_of_the_run_or_at_its_end() -> None:
    elders = [Elder(prefix=dict.fromkeys((100, 200, 250, 1000), i / 10), value=i / 10) for i in range(8)]
    assert limits(elders, (100, 200, 250, 1000), SAMPLES) == (Limit(position=250, least=0.1),)
    assert stopped_at({100: -1, 250: 0.05}, limits(elders, (250,), SAMPLES)) == 250
    assert stopped_at({100: -1, 250: 0.1}, limits(elders, (250,), SAMPLES)) is None
    failed = [Elder(prefix={}, value=None)] * 9
    assert limits([*failed, *elders[:7]], (250,), SAMPLES) == ()


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 8), st.floats(0, 1))
def test_at_least_half_reach_the_end_and_whoever_leads_its_elders_does(seed: int, ahead: int, noise: float) -> None:
    random = np.random.default_rng(seed)
    told: list[Elder] = []
    quality = random.normal(0, 1, 60) - (np.arange(60) / 10 if seed % 2 else 0)  # also where every trial is worse
    for number in range(60):
        prefix = {position: float(quality[number] + noise * random.normal()) for position in POSITIONS}
        known = [told[index] for index in elders_of(number, ahead)]
        stop = stopped_at(prefix, limits(known, POSITIONS, SAMPLES))
        seen = {position: value for position, value in prefix.items() if stop is None or position <= stop}
        told.append(Elder(prefix=seen, value=float(quality[number]), was_stopped=stop is not None))
        if stop is not None:
            assert any(known[index].prefix.get(stop, -np.inf) > prefix[stop] for index in range(len(known)))
    assert sum(trial.was_stopped for trial in told) <= 30 + ahead
    assert not any(trial.was_stopped for trial in told[: LEAST_ELDERS + ahead - 1])


def test_elders_are_those_told_when_a_trial_was_proposed() -> None:
    assert list(elders_of(3, ahead=4)) == [] and list(elders_of(4, ahead=4)) == [0]
    assert list(elders_of(6, ahead=1)) == [0, 1, 2, 3, 4, 5]


def test_a_stopped_trial_is_told_what_its_prefix_foretells() -> None:
    elders = [elder(v, v, v, v, whole=2 * v + 1) for v in (0.0, 0.1, 0.2, 0.3, 0.4)] + [elder(-5.0, whole=9.0)]
    assert foretold(0.05, 250, elders) == pytest.approx(1.1)
    assert foretold(0.9, 250, elders) == pytest.approx(1.4)  # never above the median of those that ended
    assert foretold(0.05, 250, elders[:2]) is None
    falling = [elder(v, v, v, v, whole=-v) for v in (0.0, 0.1, 0.2, 0.3)]
    assert foretold(9.0, 250, falling) == pytest.approx(-0.15)


def reading(margin: float) -> Reading:
    return Reading(
        probe="succession", family="succession", accuracy=1.0, margin=margin, low=margin, high=margin,
        control_margin=1.0, capable=True,
    )  # fmt: skip


def test_a_prefix_has_the_value_that_the_whole_would_have_were_it_the_whole() -> None:
    study = load_study()
    margins = [-0.9, -0.9, 0.2, 0.6, 0.6]
    readings = [(200 * (index + 1), index, reading(margin)) for index, margin in enumerate(margins)]
    found = prefix_values(study, Trajectory.of(readings), SAMPLES)
    assert list(found) == [400, 600, 800, 1000]  # after the burn-in of a fifth
    assert found[600] == pytest.approx((0.5 + (-0.9 + 0.2) / 2) / 2)
    assert found == prefix_values(study, Trajectory.of(readings), SAMPLES)
    assert prefix_values(study, Trajectory.of(readings[:3]), SAMPLES) == {key: found[key] for key in (400, 600)}


def changed(tmp_path: Path, *changes: tuple[str, str]) -> Study:
    text = default_study().read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "study.yaml").write_text(text)
    return load_study(tmp_path / "study.yaml")


PRUNED = ("finalists: 2", "pruner: percentile-75, finalists: 2")


def test_a_study_states_its_pruner(tmp_path: Path) -> None:
    assert load_study().search.pruner == "none" and "pruner" not in load_study().canonical()["search"]
    study = changed(tmp_path, PRUNED)
    assert study.search.pruner == "percentile-75" and study.canonical()["search"]["pruner"] == "percentile-75"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("metric: time_general", "metric: final_margin", "final_margin is known at the end of a run"),
        ("metric: time_general, subject_to: [final_margin, loss]", "metric: area, pareto: loss", "loss of a Pareto study"),
        ("pruner: percentile-75", "pruner: median", "'median'"),
    ],
)
def test_a_pruner_is_refused_where_a_prefix_foretells_nothing(tmp_path: Path, old: str, new: str, reason: str) -> None:
    with pytest.raises(FileError, match=rf"study.yaml:\d+: .*{reason}"):
        changed(tmp_path, PRUNED, (old, new))
