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
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from curriculum.errors import CurriculumError, ResourceError, RunError
from curriculum.proxy.run import RunRequest, load_run, perform
from curriculum.search.executor import Outcome

_ATTEMPTS = 3
_LOOK_SECONDS = 0.25  # between two looks whether the user wants to stop


@dataclass(kw_only=True)
class Workers:
    """Trains requested runs on `count` processes.

    `on_finished` is told of every run, in order of completion. `heed` is called while runs are waited for and may raise.
    """

    runs: Path
    count: int
    on_finished: Callable[[Outcome], None] = lambda _: None
    heed: Callable[[], None] = lambda: None
    _pool: ProcessPoolExecutor | None = None
    _outcomes: dict[str, Outcome] = field(default_factory=dict)
    _waiting: deque[RunRequest] = field(default_factory=deque)
    _running: dict[Future[str | None], RunRequest] = field(default_factory=dict)
    _deaths: Counter[str] = field(default_factory=Counter)
    _known: set[str] = field(default_factory=set)

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
        """Return a run's outcome, waiting for it."""
        self.submit(request)
        key = request.run_id()
        while key not in self._outcomes:
            self._wait()
        return self._outcomes[key]

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

    def _fill(self) -> None:
        """Start what waits, at most one run a worker; a run whose worker died is tried again alone."""
        while self._waiting and len(self._running) < self.count:
            suspect = self._deaths[self._waiting[0].run_id()] > 0
            if suspect and self._running:
                return
            request = self._waiting.popleft()
            if self._pool is None:
                self._pool = _new_pool(self.count)
            try:
                with _shielded_from_interrupts():
                    self._running[self._pool.submit(_work, request, self.runs)] = request
            except BrokenProcessPool:  # a worker died since the last look, before anything of this run had begun
                self._waiting.appendleft(request)
                if self._running:
                    return  # they are broken too: waiting for them restarts the pool
                self.kill()
                continue
            if suspect:
                return

    def _wait(self) -> None:
        self.heed()
        self._fill()
        done, _ = wait(self._running, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
        broken = False
        for future in done:
            if isinstance(future.exception(), BrokenProcessPool):
                broken = True
                continue
            self._finish(self._running.pop(future), future.result())
        if broken:
            self._restart()
        self._fill()

    def _finish(self, request: RunRequest, failure: str | None) -> None:
        result = None if failure is not None else load_run(self.runs / request.run_id())
        if failure is None and result is None:
            failure = "its folder was removed or damaged while the search was going on"
        self._end(Outcome(request=request, result=result, failure=failure))

    def _end(self, outcome: Outcome) -> None:
        self._outcomes[outcome.request.run_id()] = outcome
        self.on_finished(outcome)

    def _restart(self) -> None:
        """A worker died and took the pool with it: whichever run was to blame, all that were running are tried again."""
        lost = list(self._running.values())
        self._running.clear()
        self.kill()
        for request in lost:
            key = request.run_id()
            self._deaths[key] += 1
            if self._deaths[key] == _ATTEMPTS:
                self._finish(request, f"its worker died {_ATTEMPTS} times (out of memory? killed?)")
            else:
                self._waiting.appendleft(request)


@contextmanager
def _shielded_from_interrupts() -> Iterator[None]:
    """Processes started here do not see Ctrl-C, even before they have imported anything; ours waits until they are."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _new_pool(count: int) -> ProcessPoolExecutor:
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"  # read when a worker imports torch: a run uses one thread
    # A killed worker's shared memory is given back by the tracker process; that it did so need not be read by anybody.
    os.environ.setdefault("PYTHONWARNINGS", "ignore::UserWarning:multiprocessing.resource_tracker")
    return ProcessPoolExecutor(
        max_workers=count, mp_context=get_context("spawn"), initializer=_prepare, initargs=(os.getpid(),)
    )


def _prepare(parent: int) -> None:
    """Leave Ctrl-C to the coordinator, and end with it however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
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
    except MemoryError:
        return "out of memory; use fewer workers, a smaller batch or a smaller proxy"
    except RuntimeError as error:  # what torch raises, for memory too
        return f"{type(error).__name__}: {error}"
    except OSError as error:
        raise ResourceError(
            f"a run could not be written under {runs}: {error.strerror or error}; free space there or choose another "
            "--runs folder, then run the same command again: what is done is kept"
        ) from None
    return None
