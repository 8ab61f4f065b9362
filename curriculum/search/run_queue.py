"""What every executor keeps: which runs were asked for, which wait, how they ended.

Idea: a run is the folder it leaves, whoever trains it, so executors differ only in how they hand runs out and learn of
their ends. A run that is lost with its worker (killed, out of memory, hung) is handed out again, at most three times in
all: the same request gives the same bits, so trying again is safe. The price: a run that always takes its worker down
costs three workers before it counts as failed.

What is handed out is a job: a run, or a population's runs, which are trained as one. A population that its machine cannot
compute, or that is lost three times, is split: its runs are handed out one by one, so that the one to blame fails alone.
Their run-ids stay, and their records say that each was trained by itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from curriculum.errors import ResourceError
from curriculum.proxy.run import RECORD, RunRequest, load_run
from curriculum.search.executor import Outcome

ATTEMPTS = 3
LOOK_SECONDS = 0.25  # between two looks whether the user wants to stop


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What one worker does at a time: a run, or all runs of a population in the population's order. Never empty."""

    requests: tuple[RunRequest, ...]
    key: str = field(init=False)

    def __post_init__(self) -> None:
        names = self.run_ids()
        object.__setattr__(self, "key", names[0] if len(names) == 1 else f"population of {len(names)} from {names[0]}")

    @classmethod
    def of(cls, request: RunRequest) -> Job:
        """Return the job that a run is done with."""
        return cls(requests=(request,) if request.population is None else request.population.requests())

    def run_ids(self) -> list[str]:
        """Return the runs' ids, in order."""
        return [request.run_id() for request in self.requests]

    @property
    def is_one_computation(self) -> bool:
        """Whether it is trained as a population: several runs are, and a single one on a device of its own."""
        population = self.requests[0].population
        return len(self.requests) > 1 or (population is not None and population.device != "cpu")

    def split(self) -> list[Job]:
        """Return a job for each run by itself."""
        return [Job(requests=(request,)) for request in self.requests]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a try at a job ended: each of its runs well or with a failure of its own (`failures`, in the job's order),
    with an `error` that concerns all, with its worker (`death`), or as too much for one computation (`too_much`).
    """

    failures: tuple[str | None, ...] = ()
    error: Exception | None = None
    death: str | None = None
    too_much: str | None = None


@dataclass(kw_only=True)
class RunQueue(ABC):
    """The part of an Executor that does not depend on where runs are trained.

    Runs end as folders under `runs`. `on_finished` is told of every run, in order of completion, `on_running` how many are
    being trained, whenever that changed. `heed` is called while runs are waited for and may raise. `notice` is given what a
    person should know.
    """

    runs: Path
    on_finished: Callable[[Outcome], None] = lambda _: None
    on_running: Callable[[int], None] = lambda _: None
    heed: Callable[[], None] = lambda: None
    notice: Callable[[str], None] = lambda _: None
    _outcomes: dict[str, Outcome] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)
    _waiting: deque[Job] = field(default_factory=deque)
    _mishaps: dict[str, list[str]] = field(default_factory=dict)
    _told_running: int = 0

    def submit(self, request: RunRequest) -> None:
        """Ask for a run, and with it for its whole population; what is done, or asked for already, is not done again."""
        if request.run_id() in self._known:
            return
        self.heed()
        if not self._is_there(request):
            self.take(Job.of(request))

    def take(self, job: Job) -> None:
        """Ask for a job as it is; nothing is done where all its runs are done."""
        missing = [each for each in job.requests if not self._is_there(each)]
        if missing:
            self._waiting.append(job)
            self._begin_waiting()

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

    def finished(self, prefix: str) -> set[str]:
        """Return the ids of finished runs that begin with `prefix`."""
        return {path.parent.name for path in self.runs.glob(f"{prefix}*/{RECORD}")}

    def forget(self, request: RunRequest) -> None:
        """Forget how a run ended: asked for again, it is looked up or done again."""
        key = request.run_id()
        self._known.discard(key)
        self._outcomes.pop(key, None)
        self._mishaps.pop(key, None)  # those of a whole population stay: its runs are singled out the sooner

    def poll(self, seconds: float) -> None:
        """Call `heed`, then wait at most so long for runs to end, and take in those that did. Raises as `result` does."""
        self.heed()
        self._begin_waiting()
        ended = self._look(seconds)
        self._begin_waiting()  # before results are read: no worker waits for that
        self._conclude(ended)

    def drain(self) -> None:
        """Let the runs that have begun finish, drop the others; one that is lost meanwhile is not tried again."""
        self._drop_waiting()
        while self._under_way():
            self._conclude(self._look(LOOK_SECONDS))
            self._drop_waiting()
            self._tell_running()
        self._leave(now=False)

    def kill(self) -> None:
        """Stop at once; unfinished runs are done again next time."""
        unfinished = self._under_way()
        self._leave(now=True)
        self._drop_waiting()
        for job in unfinished:
            self._forget_unfinished(job)

    @abstractmethod
    def _fill(self) -> None:
        """Begin what waits, as far as there is room."""

    @abstractmethod
    def _look(self, seconds: float) -> list[tuple[Job, Ended]]:
        """Wait at most so long for jobs to end; return those that did, which are no longer under way."""

    @abstractmethod
    def _under_way(self) -> list[Job]:
        """Return the jobs that have begun."""

    @abstractmethod
    def _leave(self, *, now: bool) -> None:
        """Give back what trains, and stop what is under way if it is to be `now`."""

    def _begin_waiting(self) -> None:
        self._fill()
        self._tell_running()

    def _tell_running(self) -> None:
        running = sum(len(job.requests) for job in self._under_way())
        if running != self._told_running:
            self._told_running = running
            self.on_running(running)

    def _is_there(self, request: RunRequest) -> bool:
        """Take note that a run is asked for; say whether its folder is there, and end it if so."""
        key = request.run_id()
        self._known.add(key)
        result = load_run(self.runs / key)
        if result is not None and key not in self._outcomes:
            self._end(Outcome(request=request, result=result, found=True))
        return result is not None

    def _conclude(self, ended: list[tuple[Job, Ended]]) -> None:
        """Tell of the runs that ended; raise what concerns all of them last."""
        errors = []
        for job, end in ended:
            if end.death is not None:
                self._lose(job, end.death)
            elif end.too_much is not None:
                self._split(job, end.too_much)
            elif end.error is not None:
                self._forget_unfinished(job)
                errors.append(end.error)
            else:
                for request, failure in zip(job.requests, end.failures, strict=True):
                    self._finish(request, failure)
        if errors:
            raise errors[0]

    def _drop_waiting(self) -> None:
        for job in self._waiting:
            self._forget_unfinished(job)
        self._waiting.clear()

    def _forget_unfinished(self, job: Job) -> None:
        for request in job.requests:
            if request.run_id() not in self._outcomes:
                self.forget(request)

    def _lose(self, job: Job, words: str) -> None:
        """A job was lost with its worker: hand it out again, before all others, or give it up."""
        words_so_far = self._mishaps.setdefault(job.key, [])
        words_so_far.append(words)
        if len(words_so_far) < ATTEMPTS:
            self._waiting.appendleft(job)
            return
        alike = len(set(words_so_far)) == 1
        told = f"{words}, {ATTEMPTS} times" if alike else "; then ".join(words_so_far)
        if len(job.requests) > 1:
            self._split(job, told)
        else:
            self._finish(job.requests[0], told)

    def _split(self, job: Job, words: str) -> None:
        """A population could not be trained together: hand its runs out one by one, before all others."""
        self.notice(
            f"a population of {len(job.requests)} runs could not be trained together ({words}); they are trained singly"
        )
        waiting = [each for each in job.split() if each.key not in self._outcomes]
        self._waiting.extendleft(reversed(waiting))

    def _finish(self, request: RunRequest, failure: str | None) -> None:
        key = request.run_id()
        if key in self._outcomes:
            return  # it was there before, and its population was trained for the others
        result = None if failure is not None else load_run(self.runs / key)
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
