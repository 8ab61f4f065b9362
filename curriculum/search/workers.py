"""Runs on several processes.

Idea: a worker only trains; it knows nothing of the study. Runs are pure and leave their folder, so a worker that dies
(kill -9, out of memory) costs the time of its run and nothing else: the pool is made anew and the run done again, at
most three times. Results are looked up in the folders, whoever made them. Python's own process pool does the rest; the
price is that a death restarts all workers.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from curriculum.errors import CurriculumError, ResourceError, RunError
from curriculum.proxy.run import RunRequest, RunResult, load_run, perform

_DEATHS_ALLOWED = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """A run's result, or why there is none."""

    request: RunRequest
    result: RunResult | None = None
    failure: str | None = None


@dataclass(kw_only=True)
class Workers:
    """Trains requested runs on `count` processes; `on_finished` is told of every run, in order of completion."""

    runs: Path
    count: int
    on_finished: Callable[[Outcome], None] = lambda _: None
    _pool: ProcessPoolExecutor | None = None
    _outcomes: dict[str, Outcome] = field(default_factory=dict)
    _running: dict[Future[str | None], RunRequest] = field(default_factory=dict)
    _deaths: dict[str, int] = field(default_factory=dict)

    def submit(self, request: RunRequest) -> None:
        """Ask for a run; one that is done, or asked for already, is not done again."""
        key = request.run_id()
        if key in self._outcomes or any(running.run_id() == key for running in self._running.values()):
            return
        found = load_run(self.runs / key)
        if found is not None:
            self._outcomes[key] = Outcome(request=request, result=found)
            return
        self._start(request)

    def result(self, request: RunRequest) -> Outcome:
        """Return a run's outcome, waiting for it."""
        self.submit(request)
        while request.run_id() not in self._outcomes:
            self._wait()
        return self._outcomes[request.run_id()]

    def results(self, requests: Iterable[RunRequest]) -> list[Outcome]:
        """Return the outcomes of runs in the order given, training them side by side."""
        asked = list(requests)
        for request in asked:
            self.submit(request)
        return [self.result(request) for request in asked]

    def drain(self) -> None:
        """Let the runs that have begun finish, drop the others."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def kill(self) -> None:
        """Stop the workers at once; their runs are done again next time."""
        if self._pool is None:
            return
        for process in list((self._pool._processes or {}).values()):
            process.kill()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = None

    def _start(self, request: RunRequest) -> None:
        if self._pool is None:
            self._pool = _new_pool(self.count)
        try:
            self._running[self._pool.submit(_work, request, self.runs)] = request
        except BrokenProcessPool:
            self._pool = _new_pool(self.count)
            self._running[self._pool.submit(_work, request, self.runs)] = request

    def _wait(self) -> None:
        done, _ = wait(self._running, return_when=FIRST_COMPLETED)
        broken = []
        for future in done:
            request = self._running.pop(future)
            try:
                failure = future.result()
            except BrokenProcessPool:
                broken.append(request)
                continue
            self._finish(request, failure)
        if broken:
            self._restart(broken)

    def _finish(self, request: RunRequest, failure: str | None) -> None:
        found = None if failure is not None else load_run(self.runs / request.run_id())
        if failure is None and found is None:
            failure = "its folder was removed or damaged while the search was going on"
        outcome = Outcome(request=request, result=found, failure=failure)
        self._outcomes[request.run_id()] = outcome
        self.on_finished(outcome)

    def _restart(self, broken: list[RunRequest]) -> None:
        lost = [*broken, *self._running.values()]
        self._running.clear()
        self.kill()
        for request in lost:
            key = request.run_id()
            self._deaths[key] = self._deaths.get(key, 0) + 1
            if self._deaths[key] > _DEATHS_ALLOWED:
                self._finish(request, f"its worker died {_DEATHS_ALLOWED} times (out of memory? killed?)")
            else:
                self._start(request)


def _new_pool(count: int) -> ProcessPoolExecutor:
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"  # read when a worker imports torch: a run uses one thread
    return ProcessPoolExecutor(
        max_workers=count, mp_context=get_context("spawn"), initializer=_prepare, initargs=(os.getpid(),)
    )


def _prepare(parent: int) -> None:
    """Leave Ctrl-C to the coordinator, and end with it however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _work(request: RunRequest, runs: Path) -> str | None:
    """Do a run; return what went wrong with it. A full disk is everyone's problem and is raised."""
    try:
        perform(request, runs)
    except RunError as error:
        return str(error)
    except CurriculumError:
        raise
    except OSError as error:
        raise ResourceError(
            f"a run could not be written under {runs}: {error.strerror or error}; free space there or choose another "
            "--runs folder, then run the same command again: what is done is kept"
        ) from None
    return None
