"""The status line of a search: what it says, how often, and how it estimates what is left."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from curriculum.report.progress import SearchProgress
from curriculum.search.executor import Outcome
from curriculum.search.observer import Observer, Silent


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def outcome(seconds: float | None = 10.0, *, found: bool = False) -> Outcome:
    """A run that took so long; None: it failed."""
    request = cast(Any, SimpleNamespace(run_id=lambda: "trial-007-s1-abc"))
    if seconds is None:
        return Outcome(request=request, failure="[no] such device")
    return Outcome(request=request, result=cast(Any, SimpleNamespace(seconds=seconds)), found=found)


def make(*, total: int = 150, workers: int = 4, terminal: bool = False) -> tuple[SearchProgress, Clock, io.StringIO]:
    clock, text = Clock(), io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=60)
    return SearchProgress(console, total, workers, clock=clock), clock, text


def test_the_line_says_all_that_is_known() -> None:
    progress, clock, _ = make()
    progress.stage("search", 50)
    assert progress.line() == "search: 0/50 done"
    progress.running(4)
    for _ in range(22):
        progress.finished(outcome())
    progress.finished(outcome(None))
    progress.trial(3, "trial-3", 0.7061)
    progress.trial(4, "trial-4", 0.5)
    progress.trial(5, "trial-5", None)
    assert progress.line().startswith("search: 23/50 done, 4 running, 1 failed, best .71, ")
    clock.now += 120.0
    progress.believed(0.71, 0.04, 0.74)
    line = progress.line()
    assert line == "search: 23/50 done, 4 running, 1 failed, best .71 +- .04 (predicted .74), 11 min left"


@pytest.mark.parametrize(
    ("belief", "words"),
    [
        ((0.0657, 0.0004, 0.0701), "best .066 +- .000 (predicted .070)"),
        ((-4.1551, 0.0052, -4.1402), "best -4.155 +- .005 (predicted -4.140)"),
        ((-0.0002, 0.01, None), "best .000 +- .010"),
    ],
)
def test_small_margins_and_nats_are_told_apart(belief: tuple[float, float, float | None], words: str) -> None:
    progress, _, _ = make()
    progress.stage("search", 50)
    progress.believed(*belief)
    assert words in progress.line()


def test_the_estimate_counts_the_proof_that_was_announced() -> None:
    """127 of 150 runs are left after 23, at 24 half-made runs a 120 s; in the proof 100 are done and 50 left."""
    progress, clock, _ = make(total=150)
    progress.stage("search", 100)
    progress.running(4)
    for _ in range(22):
        progress.finished(outcome())
    clock.now += 120.0
    assert progress.seconds_left() == pytest.approx((150 - 22) * 120 / 24)
    progress.stage("proof", 50)
    assert progress.seconds_left() == pytest.approx(50 * 120 / 24)


def test_pairs_that_were_not_announced_are_counted_when_their_stage_begins() -> None:
    progress, clock, _ = make(total=2, workers=1)
    progress.stage("proof", 2)
    progress.running(1)
    clock.now += 20
    for _ in range(2):
        progress.finished(outcome())
    progress.running(0)
    progress.stage("more-pairs", 15)
    assert progress.seconds_left() == pytest.approx(15 * 20 / 2)


def test_the_first_runs_are_estimated_by_their_own_time_and_found_ones_by_none() -> None:
    progress, clock, _ = make(total=21, workers=4)
    progress.stage("search", 21)
    progress.finished(outcome(found=True))
    assert progress.seconds_left() is None
    progress.running(4)
    clock.now += 500.0  # imports, caches
    progress.finished(outcome(8.0))
    assert progress.seconds_left() == pytest.approx(19 * 8 / 4)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.714, ".71"),
        (-0.25, "-.25"),
        (1.0, "1.00"),
        (-0.05, "-.050"),
        (-3.4561, "-3.456"),
        (0.0001, ".000"),
        (-0.0001, ".000"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    progress, _, _ = make()
    progress.stage("search", 5)
    progress.trial(0, "trial-0", value)
    assert progress.line() == f"search: 0/5 done, best {text}"


def test_without_a_terminal_a_line_is_written_at_stages_and_at_most_every_15_seconds() -> None:
    progress, clock, text = make()
    with progress:
        progress.stage("reference", 4)
        for _ in range(4):
            clock.now += 1.0
            progress.running(1)
            progress.finished(outcome(1.0))
        progress.stage("search", 50)
        for _ in range(29):
            clock.now += 1.0
            progress.finished(outcome(1.0))
    lines = text.getvalue().splitlines()
    assert [line.split(" done")[0] for line in lines] == ["reference: 0/4", "reference: 4/4", "search: 0/50", "search: 15/50"]
    assert "\x1b" not in text.getvalue()


def test_failures_and_notices_are_written_at_once_and_whole() -> None:
    progress, _, text = make()
    progress.stage("search", 5)
    progress.finished(outcome(None))
    progress.notice("a run was given up: " + "x" * 100)
    progress.interrupted()
    lines = text.getvalue().splitlines()
    assert lines[1] == "run trial-007-s1-abc failed: [no] such device"
    assert lines[2] == "a run was given up: " + "x" * 100 and lines[3].startswith("finishing the runs")


def test_in_a_terminal_one_line_changes_in_place() -> None:
    progress, _, text = make(terminal=True)
    with progress:
        progress.stage("search", 50)
        progress.running(4)
        progress.finished(outcome())
        assert progress._status is not None and "1/50 done, 4 running" in str(progress._status.status)
    assert "\x1b[" in text.getvalue()


def test_both_observers_keep_the_protocol() -> None:
    observers: list[Observer] = [Silent(), make()[0]]
    for observer in observers:
        observer.stage("search", 1)
        observer.running(1)
        observer.finished(outcome())
        observer.trial(0, "trial-0", 0.5)
        observer.believed(0.5, 0.1)
        observer.interrupted()
        observer.notice("so be it")
    assert all(hasattr(observer, name) for observer in observers for name in vars(Observer) if not name.startswith("_"))
