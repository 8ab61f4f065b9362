"""Who is told how a search goes on."""

from __future__ import annotations

from typing import Protocol

from curriculum.search.executor import Outcome


class Observer(Protocol):
    """A progress line, a log, a test."""

    def stage(self, name: str, runs: int) -> None:
        """A stage of `runs` runs begins."""

    def running(self, count: int) -> None:
        """So many runs are being trained now; may be told as often as one likes."""

    def finished(self, outcome: Outcome) -> None:
        """A run has ended, or was found done."""

    def trial(self, number: int, name: str, value: float | None) -> None:
        """A trial has its value (None: it failed)."""

    def believed(self, best: float, deviation: float, predicted: float | None = None) -> None:
        """The surrogate's view: the best trial's expected value and its standard deviation, the best it expects to find."""

    def interrupted(self) -> None:
        """Ctrl-C: the runs that have begun are being finished."""

    def notice(self, text: str) -> None:
        """Something a person should know."""


class Silent:
    """An observer that says nothing."""

    def stage(self, name: str, runs: int) -> None:
        """Nothing."""

    def running(self, count: int) -> None:
        """Nothing."""

    def finished(self, outcome: Outcome) -> None:
        """Nothing."""

    def trial(self, number: int, name: str, value: float | None) -> None:
        """Nothing."""

    def believed(self, best: float, deviation: float, predicted: float | None = None) -> None:
        """Nothing."""

    def interrupted(self) -> None:
        """Nothing."""

    def notice(self, text: str) -> None:
        """Nothing."""
