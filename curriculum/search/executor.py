"""What a search asks of whoever trains its runs: this machine's cores, a Ray cluster, or processes that share a database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from curriculum.proxy.run import RunRequest, RunResult


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """A run's result, or why there is none; `found` if its folder held it already."""

    request: RunRequest
    result: RunResult | None = None
    failure: str | None = None
    found: bool = False


class Executor(Protocol):
    """Trains requested runs; every result ends as a run folder on this machine.

    A run asked for twice is done once; one whose folder is there is not done at all. All methods are called from one
    thread. While runs are waited for, the executor calls its `heed` several times a second, which may raise.
    """

    def submit(self, request: RunRequest) -> None:
        """Ask for a run, without waiting."""

    def result(self, request: RunRequest) -> Outcome:
        """Return a run's outcome, waiting for it (and asking for it first, if need be)."""

    def results(self, requests: Iterable[RunRequest]) -> list[Outcome]:
        """Return the outcomes of runs in the order given, training them side by side."""

    def finished(self, prefix: str) -> set[str]:
        """Return the ids of finished runs that begin with `prefix`, whichever process of the search trained them."""

    def drain(self) -> None:
        """Let the runs that have begun finish, drop the others."""

    def kill(self) -> None:
        """Stop at once; unfinished runs are done again next time."""
