"""One process that trains runs, one job at a time, and the pipe to it.

Idea: jobs go down the pipe; positions and ends come up. So it is known exactly which job a process is at, when it was
last heard of, and over which job it died. A process ends with its parent, however that ends: it looks once a second
whether it was orphaned. The price: positions come once a reading, so a stretch between two readings is silence.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path

from curriculum.errors import CurriculumError, ResourceError, RunError
from curriculum.proxy.run import RunRequest, perform
from curriculum.search.run_queue import Ended, Job, cannot_write

Observe = Callable[[int], None]
Attempt = Callable[[RunRequest, Path, Observe], str | None]
AttemptTogether = Callable[[Job, Path, Observe], Ended]
_OUT_OF_MEMORY = "out of memory; use fewer workers, a smaller batch or a smaller proxy"
_GRACE_SECONDS = 3.0  # for a process to end by itself, taking an external command with it


class WorkerProcess:
    """A process of ours; `job` is what it is at, `quiet` for how many seconds nothing was heard of it meanwhile."""

    def __init__(self, attempt: Attempt, attempt_together: AttemptTogether) -> None:
        self.job: Job | None = None
        self.quiet = 0.0
        _prepare_environment()
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, os.getpid(), attempt, attempt_together), daemon=True)
        resource_tracker.ensure_running()  # here, since it unblocks interrupts
        try:
            with _shielded_from_interrupts():
                self._process.start()
        except OSError as error:
            raise ResourceError(f"a worker could not be started: {error.strerror}; use fewer --workers") from None
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        """The process's number."""
        return int(self._process.pid or 0)

    def begin(self, job: Job, runs: Path) -> None:
        """Hand it a job. Raises OSError when it died in the meantime."""
        self.job, self.quiet = job, 0.0
        self.pipe.send((job, runs))

    def hear(self) -> tuple[bool, Ended | None]:
        """Take what it told since; return whether it told anything, and how its job ended, if it did."""
        alive, heard = self._process.is_alive(), False
        try:
            while self.pipe.poll():
                told = self.pipe.recv()
                heard = True
                if isinstance(told, Ended):
                    return True, told
        except (EOFError, OSError, pickle.UnpicklingError):  # the last: it died in the middle of a word
            alive = False
        return heard, None if alive else Ended(death=self._cause())

    def _cause(self) -> str:
        self._process.join(_GRACE_SECONDS)
        code = self._process.exitcode
        if code == -signal.SIGKILL:
            return "its worker was killed (signal 9: out of memory?)"
        if code is not None and code < 0:
            return f"its worker died of signal {-code} ({signal.strsignal(-code)})"
        return f"its worker ended with exit code {code}"

    def ask_to_end(self, *, now: bool) -> None:
        """Begin its end: an idle process may end by itself, one at an external command stops that first."""
        if self.job is None and not now:
            self.pipe.close()
        elif self.job is not None and self.job.requests[0].command is not None:
            self._process.terminate()
        else:
            self._process.kill()

    def end(self) -> None:
        """See it ended, once it was asked to."""
        self._process.join(_GRACE_SECONDS)
        self._process.kill()
        self._process.join(_GRACE_SECONDS)  # not for ever: not even a kill ends a process that waits for a dead disk
        self.pipe.close()


def _prepare_environment() -> None:
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"  # read when a worker imports torch: a run uses one thread
    # A killed worker's shared memory is given back by the tracker process; that it did so need not be read by anybody.
    os.environ.setdefault("PYTHONWARNINGS", "ignore::UserWarning:multiprocessing.resource_tracker")


@contextmanager
def _shielded_from_interrupts() -> Iterator[None]:
    """Processes started here do not see Ctrl-C, even before they have imported anything; ours waits until they are."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, parent: int, attempt: Attempt, attempt_together: AttemptTogether) -> None:
    """Do the jobs that come down the pipe until it is closed. Leaves Ctrl-C to the coordinator."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with suppress(EOFError, OSError):  # the coordinator is gone or has no more to do
        while True:
            job, runs = pipe.recv()
            signal.signal(signal.SIGTERM, signal.SIG_DFL if job.requests[0].command is None else _leave)
            pipe.send(_ended(attempt, attempt_together, job, runs, pipe.send))


def _leave(*_: object) -> None:
    raise SystemExit(1)  # while an external command is waited for: it is stopped on the way out


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os._exit(1)


def _ended(attempt: Attempt, attempt_together: AttemptTogether, job: Job, runs: Path, observe: Observe) -> Ended:
    try:
        if job.is_one_computation:
            return attempt_together(job, runs, observe)
        return Ended(failures=tuple(attempt(request, runs, observe) for request in job.requests))
    except Exception as error:
        if not isinstance(error, CurriculumError):
            error.add_note(f"in a worker:\n{traceback.format_exc()}")
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # some errors cannot travel
            return Ended(error=RuntimeError(f"in a worker:\n{traceback.format_exc()}"))
        return Ended(error=error)


def attempt(request: RunRequest, runs: Path, observe: Callable[[int], None]) -> str | None:
    """Do a run, telling `observe` its position from time to time; return what went wrong with it.

    Raises what is everyone's problem: ResourceError for a full disk, DataError and the like.
    """
    try:
        perform(request, runs, observe=observe)
    except RunError as error:
        return str(error)
    except CurriculumError:
        raise
    except MemoryError:
        return _OUT_OF_MEMORY
    except RuntimeError as error:  # what torch raises, for memory too
        return f"{type(error).__name__}: {error}"
    except OSError as error:
        raise cannot_write(runs, error) from None
    return None


def attempt_together(job: Job, runs: Path, observe: Observe) -> Ended:
    """Do the runs of a population as one computation on its device, telling `observe` their position from time to time.

    Raises what is everyone's problem, as `attempt` does.
    """
    from curriculum.proxy.population import train_population
    from curriculum.proxy.population_training import Computing

    population = job.requests[0].population
    computing = Computing(device="cpu" if population is None else population.device)
    try:
        return Ended(failures=tuple(train_population(job.requests, runs, computing=computing, observe=observe)))
    except RunError as error:
        return _not_together(job, str(error))
    except CurriculumError:
        raise
    except MemoryError:
        return _not_together(job, _OUT_OF_MEMORY)
    except RuntimeError as error:  # what torch raises, for memory too
        return _not_together(job, f"{type(error).__name__}: {error}")
    except OSError as error:
        raise cannot_write(runs, error) from None


def _not_together(job: Job, words: str) -> Ended:
    return Ended(too_much=words) if len(job.requests) > 1 else Ended(failures=(words,))
