"""Runs of a search that several processes do together, each with workers of its own, joined by a database.

Idea: all processes want the same runs, since each is the same coordinator. Whoever has a free worker claims the first
wanted run that nobody has, trains it and hands it to the others; what another one has is looked at every second (a look
costs 2 ms) and fetched when it is done. Claims are never hoarded: there are at most as many as workers. The price is that
a search has no more runs in flight than its stage has: `ahead` of them while proposing, all of them elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from curriculum.errors import ResourceError
from curriculum.proxy.run import RunRequest, RunResult, load_run
from curriculum.search.executor import Outcome
from curriculum.search.shared_runs import SharedRuns
from curriculum.search.workers import Workers

_LOOK_SECONDS = 1.0  # between two looks at what the others have done, while there is work here
_HEED_SECONDS = 0.25  # between two looks whether the user wants to stop


class LocalPool(Protocol):
    """What is asked of the workers on this machine; outcomes go to the `on_finished` they were made with."""

    def submit(self, request: RunRequest) -> None:
        """Ask for a run, without waiting."""

    def poll(self, seconds: float) -> None:
        """Wait at most so long for any run to finish."""

    def drain(self) -> None:
        """Let the runs that have begun finish, drop the others."""

    def kill(self) -> None:
        """Stop at once."""


class MakePool(Protocol):
    """How workers are made."""

    def __call__(
        self, *, runs: Path, count: int, on_finished: Callable[[Outcome], None], heed: Callable[[], None]
    ) -> LocalPool:
        """Return a pool of `count` workers."""


class JoinedWorkers:
    """An `Executor`: `count` workers here, beside those of the other processes that share `shared`.

    `runs` is this process's own folder; every run that was asked for ends in it. Takes part from the first `submit` to
    `drain` or `kill`. Raises ResourceError when the database stays away.
    """

    def __init__(
        self,
        *,
        runs: Path,
        count: int,
        shared: SharedRuns,
        on_finished: Callable[[Outcome], None] = lambda _: None,
        heed: Callable[[], None] = lambda: None,
        make_pool: MakePool = Workers,
    ) -> None:
        self.runs, self.count, self.shared = runs, count, shared
        self._on_finished, self._heed = on_finished, heed
        self._ended: list[Outcome] = []
        self._pool = make_pool(runs=runs, count=count, on_finished=self._ended.append, heed=heed)
        self._outcomes: dict[str, Outcome] = {}
        self._wanted: dict[str, RunRequest] = {}  # neither here nor claimed here, in the order asked for
        self._busy: set[str] = set()  # those of `_wanted` that another process was training at the last look
        self._running: dict[str, RunRequest] = {}
        self._looked = 0.0
        self._takes_part = False

    def submit(self, request: RunRequest) -> None:
        """Ask for a run; one that is done, or asked for already, is not done again."""
        key = request.run_id()
        if key in self._outcomes or key in self._wanted or key in self._running:
            return
        self._heed()
        if not self._takes_part:
            self.shared.join()
            self._takes_part = True
        result = load_run(self.runs / key)
        if result is not None:
            self._offer(Outcome(request=request, result=result, found=True))
            return
        self._wanted[key] = request
        self._claim()

    def result(self, request: RunRequest) -> Outcome:
        """Return a run's outcome, waiting for it; meanwhile others that were asked for are trained."""
        self.submit(request)
        key = request.run_id()
        while key not in self._outcomes:
            self.poll(_HEED_SECONDS)
        return self._outcomes[key]

    def results(self, requests: Iterable[RunRequest]) -> list[Outcome]:
        """Return the outcomes of runs in the order given, training them side by side."""
        asked = list(requests)
        for request in asked:
            self.submit(request)
        return [self.result(request) for request in asked]

    def poll(self, seconds: float) -> None:
        """Wait at most about so long for a run to finish here; see what the others have done."""
        self._heed()
        self._look()
        self._claim()
        if self._running:
            self._pool.poll(seconds)
        elif self._wanted:
            time.sleep(seconds)
        self._hand_over()
        self._claim()

    def drain(self) -> None:
        """Let the runs that have begun here finish and hand them over; claim no more."""
        self._wanted.clear()
        try:
            self._pool.drain()
            self._hand_over()
            self._hand_over_folders()
        finally:
            self._leave()

    def kill(self) -> None:
        """Stop at once; the others may claim at once what was running here."""
        self._wanted.clear()
        try:
            self._pool.kill()
        finally:
            self._leave()

    def _look(self) -> None:
        """See now and then how the runs stand that others had claimed."""
        if not self._busy or (self._running and time.monotonic() - self._looked < _LOOK_SECONDS):
            return
        self._looked = time.monotonic()
        for key, view in self.shared.view(sorted(self._busy)).items():
            if view.state == "busy":
                continue
            self._busy.discard(key)
            if view.state != "free":
                self._take(self._wanted.pop(key))

    def _claim(self) -> None:
        """Claim what nobody has, as long as a worker is free here."""
        for key, request in list(self._wanted.items()):
            if len(self._running) >= self.count:
                return
            if key in self._busy:
                continue
            claim = self.shared.claim(key)
            if claim == "busy":
                self._busy.add(key)
                continue
            del self._wanted[key]
            if claim == "mine":
                self._running[key] = request
                self._pool.submit(request)
            else:
                self._take(request)

    def _hand_over(self) -> None:
        """Tell the others what has ended here."""
        while self._ended:
            outcome = self._ended[0]
            self._offer(outcome)
            self._running.pop(outcome.request.run_id(), None)
            del self._ended[0]  # only now: if the database stays away, nothing is forgotten

    def _offer(self, outcome: Outcome) -> None:
        """End a run for everybody, unless it ended elsewhere first: then that counts here too."""
        key = outcome.request.run_id()
        if outcome.result is None:
            counts = self.shared.fail(key, outcome.failure or "it failed without a word")
        else:
            counts = self.shared.finish(key, self.runs / key)
        if counts:
            self._end(outcome)
        else:
            self._take(outcome.request)

    def _take(self, request: RunRequest) -> None:
        """Take over how a run ended elsewhere."""
        key = request.run_id()
        view = self.shared.view([key])[key]
        if view.state == "failed":
            self._end(Outcome(request=request, failure=view.failure))
            return
        self.shared.fetch(key, self.runs / key)
        self._end(Outcome(request=request, result=self._loaded(key)))

    def _loaded(self, key: str) -> RunResult:
        result = load_run(self.runs / key)
        if result is None:
            raise ResourceError(
                f"run {key} was fetched from the database but cannot be read under {self.runs}; let all joining processes "
                "use the same version of curriculum, then run the same command again"
            )
        return result

    def _end(self, outcome: Outcome) -> None:
        self._outcomes[outcome.request.run_id()] = outcome
        self._on_finished(outcome)

    def _hand_over_folders(self) -> None:
        """A pool that drains may say nothing of what it finished: the folders do."""
        for key, request in list(self._running.items()):
            result = load_run(self.runs / key)
            if result is not None:
                self._offer(Outcome(request=request, result=result))
            del self._running[key]

    def _leave(self) -> None:
        self._running.clear()
        self.shared.leave()
        self._takes_part = False
