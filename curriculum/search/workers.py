"""Runs on several processes of this machine.

Idea: a worker only trains; it knows nothing of the study. Runs are pure and leave their folder, so a worker that dies
(kill -9, out of memory) or hangs costs the time of its run and nothing else: that worker alone is made anew and the run
tried again, at most three times in all. Results are looked up in the folders, whoever made them. Python's own process
pool would do with less code, but there one death ends all workers, and whose run was to blame has to be guessed.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from time import monotonic

from curriculum.search.run_queue import ATTEMPTS, LOOK_SECONDS, Ended, Job, RunQueue
from curriculum.search.worker_process import WorkerProcess, attempt, attempt_together

_LEAST_PATIENCE = 300.0  # seconds
_FIRST_PATIENCE = 3600.0  # while nobody knows how long a stretch takes
_STRETCHES = 20


@dataclass(kw_only=True)
class Workers(RunQueue):
    """Trains requested runs on `count` processes; they are started when they are needed.

    A job that tells of no progress for `patience` seconds is stopped. By default that is twenty times the longest wait
    for news of a run so far, for each run of the job, at least five minutes; an hour before there was any. An external
    command tells of none: its own timeout comes first, for each of its retries.
    """

    count: int
    patience: float | None = None
    _crew: list[WorkerProcess] = field(default_factory=list)
    _longest: float | None = None

    def _under_way(self) -> list[Job]:
        return [worker.job for worker in self._crew if worker.job is not None]

    def _leave(self, *, now: bool) -> None:
        self._dismiss(list(self._crew), now=now)

    def _dismiss(self, workers: list[WorkerProcess], *, now: bool = True) -> None:
        for worker in workers:
            worker.ask_to_end(now=now)
        for worker in workers:
            worker.end()
            self._crew.remove(worker)

    def _fill(self) -> None:
        """Begin what waits, at most one job a worker; the last try of a job is alone if its workers were killed."""
        while self._waiting and self._has_room(self._waiting[0], self._under_way()):
            self._give(self._waiting[0])
            self._waiting.popleft()

    def _has_room(self, job: Job, beside: list[Job]) -> bool:
        if not beside:
            return True
        return len(beside) < self.count and not any(map(self._wants_all_memory, [job, *beside]))

    def _wants_all_memory(self, job: Job) -> bool:
        mishaps = self._mishaps.get(job.key, [])
        return len(mishaps) == ATTEMPTS - 1 and all("out of memory" in words for words in mishaps)

    def _give(self, job: Job) -> None:
        for worker in [worker for worker in self._crew if worker.job is None]:
            try:
                worker.begin(job, self.runs)
            except OSError:  # it died idle: nobody's fault
                worker.job = None
                self._dismiss([worker])
            else:
                return
        worker = WorkerProcess(attempt, attempt_together)
        self._crew.append(worker)
        with suppress(OSError):  # it died at once: seen as any other death
            worker.begin(job, self.runs)

    def _look(self, seconds: float) -> list[tuple[Job, Ended]]:
        busy = [worker for worker in self._crew if worker.job is not None]
        started = monotonic()
        wait([worker.pipe for worker in busy], timeout=seconds)
        # Only time spent looking counts, and little at once: after Ctrl-Z and `fg` nobody has been idle for an hour.
        passed = min(monotonic() - started, seconds + LOOK_SECONDS)
        ended = []
        for worker in busy:
            job, end = worker.job, self._hear(worker, passed)
            if job is None or end is None:
                continue
            ended.append((job, end))
            if end.death is not None:
                self._dismiss([worker])
            worker.job = None
        return ended

    def _hear(self, worker: WorkerProcess, passed: float) -> Ended | None:
        """Take news of a worker; return how its job ended, if it did or had to be stopped."""
        worker.quiet += passed
        heard, ended = worker.hear()
        if heard and worker.job is not None:
            self._longest = max(self._longest or 0.0, worker.quiet / len(worker.job.requests))
            worker.quiet = 0.0
        if ended is not None:
            return ended
        overdue = self._overdue(worker)
        return None if overdue is None else Ended(death=overdue)

    def _overdue(self, worker: WorkerProcess) -> str | None:
        if worker.job is None:
            return None
        limit, first = self._patience(len(worker.job.requests)), worker.job.requests[0]
        if first.command is not None:
            limit += first.command_timeout * (first.command_retries + 1)
        return None if worker.quiet <= limit else f"made no progress for {limit:.0f} s"

    def _patience(self, runs: int) -> float:
        """Return how many seconds of silence are allowed a job of so many runs."""
        if self.patience is not None:
            return self.patience
        return _FIRST_PATIENCE if self._longest is None else max(_LEAST_PATIENCE, _STRETCHES * self._longest * runs)
