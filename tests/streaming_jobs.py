"""Jobs of their own for the tests of shared memory: each a forked process that can be killed. Linux only, as /dev/shm is."""

import atexit
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from ports_help import free_port
from streaming_help import keys_of, loader
from torch.utils.data import DataLoader

from curriculum.errors import CurriculumError
from curriculum.streaming import StreamingDataset, shared

MEMORY = Path("/dev/shm")
_FORK = multiprocessing.get_context("fork")
Job = Callable[..., Any]


@contextmanager
def running(job: Job, *arguments: Any, environment: dict[str, str] | None = None) -> Iterator[tuple[Any, Connection]]:
    """Run `job(pipe, *arguments)` in a process with this process's folder for temporary files; kill it in the end."""
    resource_tracker.ensure_running()  # the job's own would remove most of what it leaves
    here, there = _FORK.Pipe()
    process = _FORK.Process(target=_run, args=(job, there, tempfile.gettempdir(), environment or {}, arguments))
    process.start()
    assert process.pid is not None
    there.close()
    try:
        yield process, here
    finally:
        process.kill()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its workers
        process.join()


def answer(pipe: Connection) -> Any:
    """Return what the job sends next, or raise what it raised."""
    assert pipe.poll(60), "the job hangs"
    told = pipe.recv()
    if isinstance(told, BaseException):
        raise told
    return told


def left(number: int) -> list[str]:
    """Return the names of shared memory and files that bear this number."""
    folder = Path(tempfile.gettempdir())
    return sorted(path.name for place in (MEMORY, folder, *folder.glob("curriculum-*")) for path in place.glob(f"{number}*"))


def any_number() -> int:
    return 10**8 + random.SystemRandom().randrange(9 * 10**8)


def _run(job: Job, pipe: Connection, folder: str, environment: dict[str, str], arguments: tuple[Any, ...]) -> None:
    os.setsid()
    torch.set_num_threads(1)
    atexit._clear()  # what is registered belongs to the parent
    tempfile.tempdir = folder
    os.environ.update(environment)
    try:
        pipe.send(job(pipe, *arguments))
    except BaseException as error:
        with suppress(OSError):
            pipe.send(error if isinstance(error, CurriculumError) else RuntimeError(repr(error)))


def read_all(pipe: Connection, workers: int, arguments: dict[str, Any]) -> list[int]:
    """Read one epoch, beginning when told."""
    dataset = StreamingDataset(batch_size=8, **arguments)
    pipe.send(dataset._shm_prefix_int)
    pipe.recv()
    keys = keys_of(loader(dataset, workers))
    dataset.close()
    return keys


def read_for_ever(pipe: Connection, context: str, arguments: dict[str, Any]) -> None:
    """Read in one worker, tell the dataset's number and the worker's process, and wait for the end."""
    dataset = StreamingDataset(batch_size=8, **arguments)
    batches = iter(loader(dataset, 1, multiprocessing_context=context))
    next(batches)
    pipe.send((dataset._shm_prefix_int, [child.pid for child in multiprocessing.active_children()]))
    pipe.recv()


def wait_for_ever(pipe: Connection, arguments: dict[str, Any]) -> None:
    """Begin an epoch in one worker, which waits for another rank that does not come."""
    dataset = StreamingDataset(batch_size=8, **arguments)
    dataset._unique_rank_world.ranks_per_node = 2
    batches = iter(DataLoader(dataset, batch_size=8, num_workers=1))
    while not dataset._shared_barrier.num_enter:
        time.sleep(0.01)
    pipe.send(dataset._shm_prefix_int)
    next(batches)


def end_unclosed(pipe: Connection, arguments: dict[str, Any]) -> int:
    """Read some, and end as a script does that closes nothing: a process of multiprocessing skips what that calls."""
    dataset = StreamingDataset(batch_size=8, **arguments)
    list(islice(loader(dataset, 1), 5))
    atexit._run_exitfuncs()
    return int(dataset._shm_prefix_int)


def make(pipe: Connection, number: int, at: int | None, arguments: dict[str, Any]) -> list[str]:
    """Make a dataset of that number and return what Python audited meanwhile; with `at`, be killed at that event."""
    shared._FIRST, shared._NUMBERS = number, 1
    events: list[str] = []
    watching = True

    def watch(event: str, _: Any) -> None:
        if watching and event.startswith(("open", "os.", "mmap.", "fcntl.", "shutil.")):
            events.append(event)
            if len(events) - 1 == at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    dataset = StreamingDataset(batch_size=8, **arguments)
    watching = False
    dataset.close()
    return events


def one_rank(pipe: Connection, arguments: dict[str, Any]) -> list[int]:
    """Read 20 samples as one of several ranks; the process group is Mosaic's doing. Close when told."""
    dataset = StreamingDataset(batch_size=4, **arguments)
    pipe.send(dataset._shm_prefix_int)
    keys = keys_of(islice(loader(dataset, 1), 5))
    pipe.send(keys)
    pipe.recv()
    dataset.close()
    return []


def rank_environments(nodes: int, ranks: int) -> list[dict[str, str]]:
    """Return what a launcher would tell each of nodes x ranks processes."""
    world = {"WORLD_SIZE": nodes * ranks, "LOCAL_WORLD_SIZE": ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    every = [{**world, "RANK": rank, "LOCAL_RANK": rank % ranks} for rank in range(nodes * ranks)]
    return [{name: str(value) for name, value in each.items()} for each in every]
