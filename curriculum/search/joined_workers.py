"""Runs of a search that several processes do together, each with workers of its own, joined by a database.

Idea: all processes want the same runs, since each is the same coordinator. Whoever has a free worker claims the first
wanted job that nobody has, trains it and hands its runs to the others; what another one has is looked at every second (a
look costs 2 ms) and fetched when it is done. Claims are never hoarded: there are at most as many as workers. The price is
that a search has no more runs in flight than its stage has: `ahead` of them while proposing, all of them elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from curriculum.errors import ResourceError
from curriculum.proxy.run import RunRequest, RunResult, load_run
from curriculum.search.executor import Outcome
from curriculum.search.run_queue import Ended, Job, RunQueue
from curriculum.search.shared_runs import Claim, SharedRuns
from curriculum.search.workers import Workers

_VIEW_SECONDS = 1.0  # between two looks at what the others have done, while there is work here


class LocalPool(Protocol):
    """What is asked of the workers on this machine; outcomes go to the `on_finished` they were made with."""

    def take(self, job: Job) -> None:
        """Ask for a job, without waiting."""

    def poll(self, seconds: float) -> None:
        """Wait at most so long for any run to finish."""

    def drain(self) -> None:
        """Let the runs that have begun finish, drop the others."""

    def kill(self) -> None:
        """Stop at once."""


class MakePool(Protocol):
    """How workers are made."""

    def __call__(
        self, *, runs: Path, count: int, on_finished: Callable[[Outcome], None], notice: Callable[[str], None]
    ) -> LocalPool:
        """Return a pool of `count` workers."""


@dataclass(kw_only=True)
class JoinedWorkers(RunQueue):
    """`count` workers here, beside those of the other processes that share `shared`.

    `runs` is this process's own folder; every run that was asked for ends in it. Takes part from the first run asked for to
    `drain` or `kill`. Raises ResourceError when the database stays away.
    """

    count: int
    shared: SharedRuns
    make_pool: MakePool = Workers
    _pool: LocalPool = field(init=False)
    _ended: dict[str, Outcome] = field(default_factory=dict)  # here, of jobs that are not over yet or not told of
    _running: list[Job] = field(default_factory=list)
    _busy: set[str] = field(default_factory=set)  # those waiting that another process was at when last looked at
    _viewed: float = 0.0
    _takes_part: bool = False

    def __post_init__(self) -> None:
        self._pool = self.make_pool(runs=self.runs, count=self.count, on_finished=self._note_ended, notice=self._pass_on)

    def submit(self, request: RunRequest) -> None:
        """Ask for a run, as a process that takes part."""
        if not self._takes_part and request.run_id() not in self._known:
            self.shared.join()
            self._takes_part = True
        super().submit(request)

    def finished(self, prefix: str) -> set[str]:
        """Return the ids of finished runs that begin with `prefix`, those of the other processes too."""
        return super().finished(prefix) | self.shared.finished(prefix)

    def drain(self) -> None:
        """Let the runs that have begun here finish and hand them over; claim no more."""
        self._drop_waiting()
        try:
            self._pool.drain()
            self._conclude(self._ended_jobs())
        finally:
            self._leave(now=False)

    def _pass_on(self, text: str) -> None:
        self.notice(text)

    def _note_ended(self, outcome: Outcome) -> None:
        self._ended[outcome.request.run_id()] = outcome

    def _under_way(self) -> list[Job]:
        return list(self._running)

    def _leave(self, *, now: bool) -> None:
        """Take part no longer; the others may claim at once what was running here."""
        try:
            if now:
                self._pool.kill()
        finally:
            self._running.clear()
            self.shared.leave()
            self._takes_part = False

    def _fill(self) -> None:
        """Claim what nobody has, as long as a worker is free here."""
        for job in list(self._waiting):
            if len(self._running) >= self.count:
                return
            if job.key in self._busy:
                continue
            claim = self._claim(job)
            if claim == "busy":
                self._busy.add(job.key)
                continue
            self._waiting.remove(job)
            if claim == "mine":
                self._running.append(job)
                self._pool.take(job)
            else:
                self._take_over(job, claim)

    def _claim(self, job: Job) -> Claim:
        """Claim a job; of a population the runs end in the database, and its own row is a claim and nothing else."""
        claim = self.shared.claim(job.key)
        if len(job.requests) > 1 and claim == "mine" and self._has_ended(job):
            self.shared.release([job.key])
            return "done"
        return claim

    def _has_ended(self, job: Job) -> bool:
        return all(view.state in ("done", "failed") for view in self.shared.view(job.run_ids()).values())

    def _look(self, seconds: float) -> list[tuple[Job, Ended]]:
        self._view_others()
        if self._running:
            self._pool.poll(seconds)
        elif self._waiting:
            time.sleep(seconds)
        return self._ended_jobs()

    def _view_others(self) -> None:
        """See now and then how the jobs stand that others had claimed."""
        if not self._busy or (self._running and time.monotonic() - self._viewed < _VIEW_SECONDS):
            return
        self._viewed = time.monotonic()
        for key, view in self.shared.view(sorted(self._busy)).items():
            if view.state == "busy":
                continue
            self._busy.discard(key)
            (job,) = [job for job in self._waiting if job.key == key]
            if view.state != "free":
                self._waiting.remove(job)
                self._take_over(job, "failed" if view.state == "failed" else "done")

    def _conclude(self, ended: list[tuple[Job, Ended]]) -> None:
        super()._conclude(ended)
        claims = [job.key for job, _ in ended if len(job.requests) > 1]
        if claims:
            self.shared.release(claims)

    def _ended_jobs(self) -> list[tuple[Job, Ended]]:
        """Return the jobs claimed here whose runs have all ended; they are no longer under way."""
        found = []
        for job in list(self._running):
            if all(key in self._ended for key in job.run_ids()):
                self._running.remove(job)
                found.append((job, Ended(failures=tuple(self._ended.pop(key).failure for key in job.run_ids()))))
        return found

    def _end(self, outcome: Outcome) -> None:
        """End a run for everybody, unless it ended elsewhere first: then that counts here too."""
        key = outcome.request.run_id()
        if outcome.result is None:
            counts = self.shared.fail(key, outcome.failure or "it failed without a word")
        else:
            counts = self.shared.finish(key, self.runs / key)
        super()._end(outcome if counts else self._taken(outcome.request))

    def _take_over(self, job: Job, state: Claim) -> None:
        """Take over how a job ended elsewhere; a population that takes every process down is split."""
        if state == "failed" and len(job.requests) > 1:
            self._split(job, "processes died or went away while they trained it")
            return
        for request in job.requests:
            if request.run_id() not in self._outcomes:
                super()._end(self._taken(request))

    def _taken(self, request: RunRequest) -> Outcome:
        key = request.run_id()
        view = self.shared.view([key])[key]
        if view.state == "failed":
            return Outcome(request=request, failure=view.failure)
        self.shared.fetch(key, self.runs / key)
        return Outcome(request=request, result=self._loaded(key))

    def _loaded(self, key: str) -> RunResult:
        result = load_run(self.runs / key)
        if result is None:
            raise ResourceError(
                f"run {key} was fetched from the database but cannot be read under {self.runs}; let all joining processes "
                "use the same version of curriculum, then run the same command again"
            )
        return result
