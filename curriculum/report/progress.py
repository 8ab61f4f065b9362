"""How a search goes on, for a person: one status line that changes in a terminal, plain lines elsewhere.

search: 23/50 done, 1 failed, best .71, 12 min left
"""

from __future__ import annotations

from collections import deque
from time import monotonic

from rich.console import Console

from curriculum.search.executor import Outcome
from curriculum.units import format_seconds

_PLAIN_SECONDS = 15.0  # without a terminal, at most one line in this time


class SearchProgress:
    """Counts runs against the announced number and estimates what is left from the runs made so far."""

    def __init__(self, console: Console, total_runs: int, workers: int) -> None:
        self._console, self._total, self._workers = console, total_runs, workers
        self._status = console.status("starting the workers") if console.is_terminal else None
        self._stage, self._stage_runs, self._stage_done = "", 0, 0
        self._failed = self._before = 0
        self._best: float | None = None
        self._recent: deque[float] = deque(maxlen=8)
        self._printed = 0.0

    def __enter__(self) -> SearchProgress:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def stage(self, name: str, runs: int) -> None:
        """A stage of `runs` runs begins."""
        self._before += self._stage_runs
        self._stage, self._stage_runs, self._stage_done = name, runs, 0
        self._show(now=True)

    def finished(self, outcome: Outcome) -> None:
        """A run has ended."""
        self._stage_done += 1
        if outcome.failure is not None:
            self._failed += 1
            self._console.print(f"run {outcome.request.run_id()} failed: {outcome.failure}", markup=False, highlight=False)
        elif outcome.result is not None and not outcome.found:
            self._recent.append(outcome.result.seconds)
        self._show()

    def trial(self, number: int, name: str, value: float | None) -> None:
        """A trial has been told its value."""
        if value is not None and (self._best is None or value > self._best):
            self._best = value

    def interrupted(self) -> None:
        """Ctrl-C: the runs that have begun are being finished."""
        self.notice("finishing the runs that have begun (Ctrl-C again stops at once)")

    def notice(self, text: str) -> None:
        """Something a person should know."""
        self._console.print(text, markup=False, highlight=False)

    def _show(self, *, now: bool = False) -> None:
        line = self._line()
        if self._status is not None:
            self._status.update(line)
        elif now or monotonic() - self._printed > _PLAIN_SECONDS:
            self._printed = monotonic()
            self._console.print(line, markup=False, highlight=False)

    def _line(self) -> str:
        parts = [f"{self._stage}: {self._stage_done}/{self._stage_runs} runs done"]
        if self._failed:
            parts.append(f"{self._failed} failed")
        if self._best is not None:
            parts.append(f"best trial {self._best:.2f}")
        if self._recent:
            left = max(0, self._total - self._before - self._stage_done)
            seconds = sum(self._recent) / len(self._recent) * left / self._workers
            parts.append(f"about {format_seconds(seconds)} left in all")
        return ", ".join(parts)
