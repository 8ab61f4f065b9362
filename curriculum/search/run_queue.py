"""What every executor keeps: which runs were asked for, which wait, how they ended.

Idea: a run is the folder it leaves, whoever trains it, so executors differ only in how they hand runs out and learn of
their ends. A run that is lost with its worker (killed, out of memory, hung) is handed out again, at most three times in
all: the same request gives the same bits, so trying again is safe. The price: a run that always takes its worker down
costs three workers before it counts as failed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from curriculum.errors import ResourceError
from curriculum.proxy.run import RunRequest, load_run
from curriculum.search.executor import Outcome

ATTEMPTS = 3
LOOK_SECONDS = 0.25  # between two looks whether the user wants to stop


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a try at a run ended: well, with a `failure` of its own, with an `error` that concerns all, with its worker."""

    failure: str | None = None
    error: Exception | None = None
    death: str | None = None


@dataclass(kw_only=True)
class RunQueue(ABC):
    """The part of an Executor that does not depend on where runs are trained.

    Runs end as folders under `runs`. `on_finished` is told of every run, in order of completion. `heed` is called while
    runs are waited for and may raise.
    """

    runs: Path
    on_finished: Callable[[Outcome], None] = lambda _: None
    heed: Callable[[], None] = lambda: None
    _outcomes: dict[str, Outcome] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)
    _waiting: deque[RunRequest] = field(default_factory=deque)
    _mishaps: dict[str, list[str]] = field(default_factory=dict)

    def submit(self, request: RunRequest) -> None:
        """Ask for a run; one that is done, or asked for already, is not done again."""
        key = request.run_id()
        if key in self._known:
            return
        self.heed()
        self._known.add(key)
        result = load_run(self.runs / key)
        if result is not None:
            self._end(Outcome(request=request, result=result, found=True))
            return
        self._waiting.append(request)
        self._fill()

    def result(self, request: RunRequest) -> Outcome:
        """Return a run's outcome, waiting for it. Raises ResourceError where no run can go on, a full disk for one."""
        self.submit(request)
        key = request.run_id()
        while key not in self._outcomes:
            self.poll(LOOK_SECONDS)
        return self._outcomes[key]

    def results(self, requests: Iterable[RunRequest]) -> list[Outcome]:
        """Return the outcomes of runs in the order given, training them side by side."""
        asked = list(requests)
        for request in asked:
            self.submit(request)
        return [self.result(request) for request in asked]

    def forget(self, request: RunRequest) -> None:
        """Forget how a run ended: asked for again, it is looked up or done again."""
        key = request.run_id()
        self._known.discard(key)
        self._outcomes.pop(key, None)
        self._mishaps.pop(key, None)

    def poll(self, seconds: float) -> None:
        """Call `heed`, then wait at most so long for runs to end, and take in those that did. Raises as `result` does."""
        self.heed()
        self._fill()
        ended = self._look(seconds)
        self._fill()  # before results are read: no worker waits for that
        self._conclude(ended)

    def drain(self) -> None:
        """Let the runs that have begun finish, drop the others; one that is lost meanwhile is not tried again."""
        self._drop_waiting()
        while self._under_way():
            self._conclude(self._look(LOOK_SECONDS))
            self._drop_waiting()
        self._leave(now=False)

    def kill(self) -> None:
        """Stop at once; unfinished runs are done again next time."""
        unfinished = self._under_way()
        self._leave(now=True)
        self._drop_waiting()
        for request in unfinished:
            self.forget(request)

    @abstractmethod
    def _fill(self) -> None:
        """Begin what waits, as far as there is room."""

    @abstractmethod
    def _look(self, seconds: float) -> list[tuple[RunRequest, Ended]]:
        """Wait at most so long for runs to end; return those that did, which are no longer under way."""

    @abstractmethod
    def _under_way(self) -> list[RunRequest]:
        """Return the runs that have begun."""

    @abstractmethod
    def _leave(self, *, now: bool) -> None:
        """Give back what trains, and stop what is under way if it is to be `now`."""

    def _conclude(self, ended: list[tuple[RunRequest, Ended]]) -> None:
        """Tell of the runs that ended; raise what concerns all of them last."""
        errors = []
        for request, end in ended:
            if end.death is not None:
                self._lose(request, end.death)
            elif end.error is not None:
                self.forget(request)
                errors.append(end.error)
            else:
                self._finish(request, end.failure)
        if errors:
            raise errors[0]

    def _drop_waiting(self) -> None:
        for request in self._waiting:
            self._known.discard(request.run_id())
        self._waiting.clear()

    def _lose(self, request: RunRequest, words: str) -> None:
        """A run was lost with its worker: hand it out again, before all others, or give it up."""
        words_so_far = self._mishaps.setdefault(request.run_id(), [])
        words_so_far.append(words)
        if len(words_so_far) < ATTEMPTS:
            self._waiting.appendleft(request)
        else:
            alike = len(set(words_so_far)) == 1
            self._finish(request, f"{words}, {ATTEMPTS} times" if alike else "; then ".join(words_so_far))

    def _finish(self, request: RunRequest, failure: str | None) -> None:
        result = None if failure is not None else load_run(self.runs / request.run_id())
        if failure is None and result is None:
            failure = "its folder was removed or damaged while the search was going on"
        self._end(Outcome(request=request, result=result, failure=failure))

    def _end(self, outcome: Outcome) -> None:
        self._outcomes[outcome.request.run_id()] = outcome
        self.on_finished(outcome)


def cannot_write(runs: Path, error: OSError) -> ResourceError:
    """Return what is said when a run cannot be written: everyone's problem, not that of one run."""
    return ResourceError(
        f"a run could not be written under {runs}: {error.strerror or error}; free space there or choose another "
        "--runs folder, then run the same command again: what is done is kept"
    )
