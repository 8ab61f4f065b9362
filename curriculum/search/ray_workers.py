"""Runs on a Ray cluster.

Idea: the same queue as on one machine; only the hands are elsewhere. A job is one task of one CPU, and of one GPU if a
population is trained on such. On its node it is given to a local worker process (see `workers`), which so bounds hangs and
names deaths there as here; the files it leaves come back as bytes and become runs' folders on this machine, `run.json`
last. So runs need no shared file system; data and files of a study must be found under the same paths on every node, which
is checked: a node that computes another run-id holds other data. Ray's own retries are not used: a task lost with its node
is handed out again under the same run-ids by the queue, which counts. The price: 0.1 s a run, this process must be on a
machine of the cluster, and an external command that is lost begins anew, since what it left lay on its node.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from types import ModuleType
from typing import Any

from curriculum.errors import CurriculumError, DataError, ResourceError, UserError
from curriculum.search.run_queue import Ended, Job, RunQueue, cannot_write
from curriculum.search.workers import Workers

_LAST = "run.json"  # marks a whole run
_KEPT = ("*.parquet", "*.log", "mix.yaml", _LAST)
_ANSWER_SECONDS = 20.0  # for a cluster to answer; Ray itself would try for three minutes
_STOP_SECONDS = 5.0  # for interrupted tasks to end
_PULSE_SECONDS = 5.0  # between two looks whether the cluster is still there
_PULSES = 3  # tried before the cluster is given up


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """What a node sends: each run's files by name, and why each run failed, in the job's order; or why none can be done."""

    files: tuple[dict[str, bytes], ...] = ()
    failures: tuple[str | None, ...] = ()
    error: CurriculumError | None = None


@dataclass(kw_only=True)
class RayWorkers(RunQueue):
    """Trains requested runs on the Ray cluster at `address`, `count` at a time (default: one a CPU of the cluster).

    `address` is HOST:PORT of the cluster's head, `auto` for the one that this machine belongs to, or `local` for one of
    this process's own. Raises UserError without the package `ray` or with another kind of address; ResourceError from
    the first run on when nobody answers there. `patience` is as for `Workers`.
    """

    address: str
    count: int | None = None
    patience: float | None = None
    _cluster: Any = None
    _running: dict[Any, Job] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if find_spec("ray") is None:
            raise UserError("runs on a Ray cluster need the package ray, which is not installed: pip install curriculum[ray]")
        _check_form(self.address)

    def _under_way(self) -> list[Job]:
        return list(self._running.values())

    def _leave(self, *, now: bool) -> None:
        if now and self._running:
            with suppress(Exception):  # a cluster that is gone has nothing to stop
                self._cluster.stop(list(self._running))
        self._running.clear()
        if self._cluster is not None:
            self._cluster.leave()
            self._cluster = None

    def _fill(self) -> None:
        while self._waiting:
            if self._cluster is None:
                self._cluster = _Cluster(self.address)
            if len(self._running) >= (self.count or self._cluster.cpus()):
                return
            job = self._waiting[0]
            self._running[self._cluster.begin(job, self.runs, self.patience)] = job
            self._waiting.popleft()

    def _look(self, seconds: float) -> list[tuple[Job, Ended]]:
        if not self._running:
            sleep(seconds)
            return []
        ended = []
        for task in self._cluster.done(list(self._running), seconds):
            job = self._running.pop(task)
            ended.append((job, self._received(job, self._cluster.fetch(task))))
        return ended

    def _received(self, job: Job, delivery: Delivery | str) -> Ended:
        """Write down what a node sent, or take note that it was lost."""
        if isinstance(delivery, str):
            return Ended(death=delivery)
        if delivery.error is not None:
            return Ended(error=delivery.error)
        try:
            for key, files in zip(job.run_ids(), delivery.files, strict=True):
                if key not in self._outcomes:
                    _unpack(files, self.runs / key)
        except OSError as error:
            return Ended(error=cannot_write(self.runs, error))
        return Ended(failures=delivery.failures)


def _unpack(files: dict[str, bytes], folder: Path) -> None:
    """Write a run's folder; what marks it whole comes last. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _LAST).unlink(missing_ok=True)
    for name in sorted(files, key=lambda name: name == _LAST):
        temporary = folder / f".{name}.tmp"
        temporary.write_bytes(files[name])
        temporary.replace(folder / name)


def train_on_node(job: Job, expected: list[str], runs: Path, patience: float | None) -> Delivery:
    """Do a job on the node that this is called on; `expected` are its runs' ids and `runs` is their place, both as the
    coordinator's machine sees them.
    """
    node = socket.gethostname()
    try:
        for wanted, found in zip(expected, job.run_ids(), strict=True):
            if found != wanted:
                return Delivery(
                    error=DataError(
                        f"node {node}: streams, probes or the proxy's start differ from those on the coordinator's machine "
                        f"(run {found} there would be {wanted} here); make the same files reachable under the same paths"
                    ),
                )
        with TemporaryDirectory(prefix="curriculum-") as folder:
            failures = _train_in(Path(folder), job, patience)
            return Delivery(
                files=tuple(_files_of(Path(folder) / key) for key in expected),
                failures=tuple(words and words.replace(folder, str(runs)) for words in failures),
            )
    except CurriculumError as error:
        return Delivery(error=type(error)(f"node {node}: {error}"))


def _files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for kept in _KEPT for path in folder.glob(kept)}


def _train_in(folder: Path, job: Job, patience: float | None) -> list[str | None]:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a node started in the background of a script ignores cancelling
        with suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGINT, signal.default_int_handler)
    pool = _pool_of_node()
    pool.runs, pool.patience = folder, patience
    try:
        pool.take(job)
        return [pool.result(request).failure for request in job.requests]
    except KeyboardInterrupt:  # Ray's way to cancel a task
        pool.kill()
        raise
    finally:
        for request in job.requests:
            pool.forget(request)


@lru_cache(maxsize=1)
def _pool_of_node() -> Workers:
    """One for all tasks that come to this process: a worker has its imports behind it after the first."""
    return Workers(runs=Path(), count=1)


class _Cluster:
    """A connection to a cluster: all that we ask of Ray."""

    def __init__(self, address: str) -> None:
        ray = _import_ray()
        self._ray, self._address = ray, address
        self._ours = not ray.is_initialized()
        if self._ours:
            _connect(ray, address)
        self._train = ray.remote(num_cpus=1, max_retries=0)(train_on_node)
        self._head: str = ray.get_runtime_context().gcs_address
        self._counted, self._cpus = -_PULSE_SECONDS, 1
        self._felt, self._gone = monotonic(), False

    def cpus(self) -> int:
        """Return the cluster's CPUs; it may grow."""
        if monotonic() - self._counted > _PULSE_SECONDS:
            self._counted, self._cpus = monotonic(), max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        return self._cpus

    def begin(self, job: Job, runs: Path, patience: float | None) -> Any:
        """Hand a job out; return its task."""
        population = job.requests[0].population
        gpus = {} if population is None or population.device == "cpu" else {"num_gpus": 1}
        return self._train.options(name=job.key, **gpus).remote(job, job.run_ids(), runs.absolute(), patience)

    def done(self, tasks: list[Any], seconds: float) -> list[Any]:
        """Wait at most so long; return the tasks that are over. Raises ResourceError when the cluster is gone."""
        if monotonic() - self._felt > _PULSE_SECONDS:
            self._feel_pulse()
        return list(self._ray.wait(tasks, num_returns=1, timeout=seconds)[0])

    def fetch(self, task: Any) -> Delivery | str:
        """Return what a task that is over delivers, or how it was lost. Raises ResourceError when the cluster is gone."""
        errors = self._ray.exceptions
        try:
            delivery: Delivery = self._ray.get(task)
            return delivery
        except errors.RayTaskError as error:
            raise error.as_instanceof_cause() from None  # a fault of ours: its traceback is wanted
        except errors.RayError as error:
            self._feel_pulse()
            return _words_for(errors, error)

    def stop(self, tasks: list[Any]) -> None:
        """Stop tasks: by an interrupt, so that an external command is stopped with them, else by ending their processes."""
        if self._gone:
            return
        for task in tasks:
            self._ray.cancel(task)
        _, alive = self._ray.wait(tasks, num_returns=len(tasks), timeout=_STOP_SECONDS)
        for task in alive:
            self._ray.cancel(task, force=True)

    def leave(self) -> None:
        """Disconnect; a cluster of this process's own ends."""
        if self._ours:
            with _own_handlers():
                self._ray.shutdown()

    def _feel_pulse(self) -> None:
        """Notice that the head is lost before Ray does, which a minute later ends this process, with a trace."""
        self._felt = monotonic()
        for _ in range(_PULSES):
            if _listens(self._head, 1.0):
                return
            sleep(_PULSE_SECONDS / 10)
        self._gone = True
        raise ResourceError(
            f"the Ray cluster at {self._head} is gone; start it, then run the same command again: what is done is kept"
        )


def _words_for(errors: Any, error: Exception) -> str:
    if isinstance(error, errors.OutOfMemoryError):
        return "Ray killed its worker: out of memory on the node"
    if isinstance(error, errors.NodeDiedError):
        return "its node was lost"
    if isinstance(error, errors.WorkerCrashedError):
        return "its Ray worker died (killed? out of memory?)"
    return f"Ray lost it ({type(error).__name__}: {str(error).splitlines()[0]})"


def _import_ray() -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # silences a warning of a coming change
    return importlib.import_module("ray")


def _connect(ray: ModuleType, address: str) -> None:
    """Join a cluster that is known to answer. Raises ResourceError."""
    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    if address != "local":
        _check_answer(address)
    try:
        with _own_handlers():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, RuntimeError, OSError, ValueError) as error:
        raise _refused(address, str(error)) from None


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Keep our answers to Ctrl-C and to being ended, whatever Ray installs."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_form(address: str) -> None:
    host, _, port = address.rpartition(":")
    if address in ("auto", "local") or (host and "/" not in host and port.isdigit()):
        return
    raise UserError(f"wanted the address of a Ray cluster's head as HOST:PORT, or auto, or local; got {address!r}")


def _check_answer(address: str) -> None:
    """Raise ResourceError unless a cluster of our version answers within seconds: Ray's own wait cannot be interrupted."""
    if address != "auto" and not _listens(address, _ANSWER_SECONDS / 4):
        raise _refused(address, "nobody listens there")
    words = [sys.executable, "-m", "ray.scripts.scripts", "health-check"]
    words += [] if address == "auto" else ["--address", address]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False, start_new_session=True,
            env={**os.environ, **_authentication(address)},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise _refused(address, "what listens there does not answer as Ray") from None
    if done.returncode != 0:
        raise _refused(address, (done.stderr.strip().splitlines() or ["no answer"])[-1])


def _authentication(address: str) -> dict[str, str]:
    """Return what makes Ray's health check show a token where `ray.init` would: to a cluster here, if one is known.

    Source: https://docs.ray.io/en/latest/ray-security/token-auth.html
    """
    if address != "auto" or "RAY_AUTH_MODE" in os.environ:
        return {}
    is_known = "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ
    return {"RAY_AUTH_MODE": "token"} if is_known or (Path.home() / ".ray" / "auth_token").exists() else {}


def _listens(address: str, seconds: float) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=seconds).close()
    except OSError:
        return False
    return True


def _refused(address: str, reason: str) -> ResourceError:
    return ResourceError(
        f"no Ray cluster can be joined at {address!r}: {reason}; start one (ray start --head --port=6379) and run this "
        "command on a machine of it"
    )
