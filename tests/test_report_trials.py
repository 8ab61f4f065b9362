"""The picture of trials: it shows the study's own metric, and no name in it lies on another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from report_help import made_study

from curriculum.report import (
    ArmPoint,
    StudyReport,
    TrialPoint,
    arm_points,
    read_study,
    study_drawings,
    trial_points,
    trials_figure,
)
from curriculum.report.figures_style import NARROW, WIDE
from curriculum.report.label_places import Box, free_places
from curriculum.report.metric_words import gain_words
from curriculum.report.page_words import trials_words
from curriculum.report.study_report import StudyRun
from curriculum.search.statistics import Interval
from curriculum.search.study import LESS_IS_BETTER

NAMES = ("trial-35", "trial-29 with a name that goes on", "static", "hold-then-low", "ramp-down", "ramp-up", "shuffled")
ROLES = ("leader", "finalist", *["control"] * 5)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyReport:
    return read_study(made_study(tmp_path_factory.getbasetemp()))


def of_metric(study: StudyReport, metric: str) -> StudyReport:
    """Return the study as if it had been searched for another metric, with bits per byte of two suites."""
    bits = [{"qa": 1.0 + number / 100, "code": 2.0} for number in range(len(study.runs))]
    runs = tuple(replace(run, bits=each) for run, each in zip(study.runs, bits, strict=True))
    return replace(study, runs=runs, trials=replace(study.trials, metric=metric))


def drawn(figure: Figure) -> dict[str, list[tuple[float, float]]]:
    return {str(each.get_gid()): np.asarray(each.get_offsets()).tolist() for each in figure.axes[0].collections}


@pytest.mark.parametrize(
    ("metric", "label", "of"),
    [
        ("time_general", "time general", lambda run: run.measures.time_general),
        ("final_margin", "final margin", lambda run: run.measures.final_margin),
        ("bits_per_byte", "bits per byte (less is better)", lambda run: (run.bits["qa"] + run.bits["code"]) / 2),
        ("loss", "mean loss (less is better)", lambda run: run.mean_loss),
    ],
)
def test_the_picture_of_trials_shows_the_metric(study: StudyReport, metric: str, label: str, of: Any) -> None:
    asked = of_metric(study, metric)
    drawing = next(each for each in study_drawings(asked) if each.name == "trials")
    ax = drawing.figure.axes[0]
    found = [run for trial in asked.trials.trials if (run := asked.run_of(trial)) is not None]
    heights = sorted(y for points in drawn(drawing.figure).values() for _, y in points)
    assert heights == pytest.approx(sorted(of(run) for run in found)) and ax.get_ylabel() == label
    assert ax.get_xlabel() == ("trial" if metric == "loss" else "mean held-out loss (nats)")
    low, high = sorted(ax.get_ylim())
    assert all(low <= y <= high for y in heights) and ax.yaxis_inverted() == (metric in LESS_IS_BETTER)
    static = next(arm for arm in arm_points(asked) if arm.name == "static")
    runs = next(arm for arm in asked.arms if arm.name == "static").runs
    assert static.value.mean == pytest.approx(np.mean([of(run) for run in runs]), abs=2e-6)
    best = (min if metric in LESS_IS_BETTER else max)(trial_points(asked), key=lambda trial: trial.value)
    words = label.removesuffix(" (less is better)")
    assert f"{best.name}'s, {best.value:.3f}" in drawing.description and words in drawing.title
    assert all(f": {words} " in text for texts in drawing.hover.values() for text in texts)
    if metric == "loss":  # what is small beside a share is not small in nats
        assert high - low < 1.5 * (max(heights) - min(heights)) + 1e-9
    read = trials_words(asked)
    assert ("Up is a lower loss, left to right is the order of trials" in read) == (metric == "loss")
    assert ("Up is less bits per byte" in read) == (metric == "bits_per_byte")
    gains = next(each for each in study_drawings(asked) if each.name == "gains")
    assert gains.title == f"{gain_words(metric).capitalize()} over static, with intervals"


def test_a_run_without_the_metric_has_no_point(study: StudyReport) -> None:
    asked = of_metric(study, "bits_per_byte")
    first: StudyRun | None = asked.run_of(asked.trials.trials[0])
    bare = replace(asked, runs=tuple(replace(run, bits={}) if run is first else run for run in asked.runs))
    assert len(trial_points(bare)) == len(trial_points(asked)) - 1


def letters(figure: Figure) -> dict[str, Any]:
    """Return where every name of the picture stands, in pixels."""
    figure.draw_without_rendering()
    texts = [child for child in figure.axes[0].get_children() if isinstance(child, Annotation)]
    return {text.get_text(): Text.get_window_extent(text) for text in texts}  # without the line that ties it to its point


def arms_at(places: Mapping[str, tuple[float, float]]) -> list[ArmPoint]:
    made = []
    for (name, (x, y)), role in zip(places.items(), ROLES, strict=True):
        loss, value = Interval(mean=x, low=x - 0.1, high=x + 0.1), Interval(mean=y, low=y - 0.05, high=y + 0.05)
        made.append(ArmPoint(name=name, role=role, loss=loss, value=value))
    return made


FRAME = Box(40.0, 30.0, 240.0, 200.0)
INSIDE = st.tuples(st.floats(45, 235), st.floats(35, 195))


@given(marks=st.lists(INSIDE, min_size=1, max_size=9), seen=st.lists(INSIDE, max_size=30), width=st.floats(20, 110))
def test_no_name_lies_on_another_nor_on_a_mark_nor_outside(
    marks: list[tuple[float, float]], seen: list[tuple[float, float]], width: float
) -> None:
    places = free_places(np.array(marks), [(width, 11.0)] * len(marks), FRAME, np.reshape(seen, (-1, 2)))
    boxes = [place.box for place in places if place is not None]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert all(box.lies_in(FRAME) and not box.holds(np.array(marks)) for box in boxes)
    for mark, place in zip(marks, places, strict=True):
        if place is not None:
            middle = (place.box.left + place.box.right) / 2, (place.box.bottom + place.box.top) / 2
            assert middle == pytest.approx((mark[0] + place.right, mark[1] + place.above))


def test_the_place_that_hides_the_least_is_taken() -> None:
    size, mark = (30.0, 10.0), np.array([[140.0, 110.0]])
    (alone,) = free_places(mark, [size], FRAME, np.empty((0, 2)))
    assert alone is not None and alone.right > 0 and alone.above == 0  # beside its point, on the right
    crowd = np.column_stack([np.linspace(143, 200, 40), np.full(40, 110.0)])
    (aside,) = free_places(mark, [size], FRAME, crowd)
    assert aside is not None and aside.box.holds(crowd) == 0


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_no_name_of_the_picture_lies_on_another_nor_outside(study: StudyReport, width: float) -> None:
    figure = trials_figure(trial_points(study), arm_points(study), width=width)
    found, frame = letters(figure), figure.axes[0].bbox
    assert {"static", study.arms[0].name} <= set(found)
    assert not any(one.overlaps(other) for one, other in combinations(found.values(), 2))
    assert all(
        frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in found.values()
    )


def test_all_curricula_are_named_also_where_they_crowd() -> None:
    crowd = {name: (1.0 + number / 1000, 0.6 + number / 1000) for number, name in enumerate(NAMES)}
    trials = [TrialPoint(name="t", loss=loss, value=0.3, kind="kept") for loss in (0.5, 1.5)]
    found = letters(trials_figure(trials, arms_at(crowd)))
    assert set(found) == {name if len(name) <= 24 else f"{name[:23]}…" for name in NAMES}


def test_where_there_is_no_room_the_leader_and_static_are_named_first() -> None:
    crowd = arms_at(dict.fromkeys(NAMES, (1.0, 0.6)))
    arms = [replace(crowd[-1], name=f"a control with a long name {number}") for number in range(30)] + crowd
    trials = [TrialPoint(name="t", loss=loss, value=0.3, kind="kept") for loss in (0.5, 1.5)]
    found = letters(trials_figure(trials, arms, width=NARROW))
    assert {"trial-35", "static"} <= set(found) and len(found) < len(arms)
