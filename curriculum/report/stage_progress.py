"""How far work in stages has come, and how long a stage will take: a bar in a terminal, a line now and then elsewhere.

Idea: work tells its stage, what is done and how much there is; nothing else need be known of it. Without a terminal a line is
printed seldom, and not before the first seconds have gone: a log is not filled by what is over at once. The price: what
is left is that of the stage, at its pace so far.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

from rich.console import Console

from curriculum.units import format_count, format_seconds

StageProgress = Callable[[str, int, int], None]  # stage, done, total
_PLAIN_SECONDS = 15.0  # without a terminal, one line in this time


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """What a stage is called, and what is counted in it."""

    label: str
    unit: str


@contextmanager
def shown_stages(console: Console, stages: Mapping[str, Stage]) -> Iterator[StageProgress]:
    """Yield a function of stage, done and total that shows them, and the time left, on `console`."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    lines = _Lines(console, stages)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stages[stage].label, total=total)
            bar.update(tasks[stage], completed=done)
            if not console.is_terminal:
                lines.show(stage, done, total)

        yield show


def counted(count: int, thing: str) -> str:
    """Return "1 run", "2 runs", "1,280 windows"."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


class _Lines:
    """Progress in plain lines: not before some seconds have gone, and not often."""

    def __init__(self, console: Console, stages: Mapping[str, Stage]) -> None:
        self._console, self._stages = console, stages
        self._printed = monotonic()
        self._stage, self._began, self._first = "", 0.0, 0

    def show(self, stage: str, done: int, total: int) -> None:
        now = monotonic()
        if stage != self._stage:
            self._stage, self._began, self._first = stage, now, done
        if now - self._printed < _PLAIN_SECONDS or done <= self._first:
            return
        self._printed = now
        left = (total - done) * (now - self._began) / (done - self._first)
        named = self._stages[stage]
        self._console.print(
            f"{named.label}: {format_count(done)} of {format_count(total)} {named.unit}, {format_seconds(left)} left",
            highlight=False,
            markup=False,
        )
