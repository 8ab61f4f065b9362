"""Mosaic's shared memory: one dataset at a time may claim a name, and a dataset can give its names back.

Idea: Mosaic numbers the shared memory of its datasets 0, 1, 2, ... by looking for the first free number and then taking
it; two jobs that start together take the same one and fail or, worse, share an epoch counter. A file lock around the
constructor, held by the one process per node that takes the number, ends the race between our datasets. And Mosaic
frees nothing before the process exits: six file descriptors a dataset, so a process that makes hundreds of datasets
runs out of them; `release` frees them at once.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from filelock import FileLock

from curriculum.streaming import mosaic

_HELD_BY = (
    "_locals_shm",
    "_resume_shm",
    "_shared_barrier",
    "_next_epoch",
    "_cache_usage",
    "_shard_states",
    "_shard_access_times",
)


@contextmanager
def claiming_names() -> Iterator[None]:
    """Hold this host's lock on shared-memory names, in the process of each node that claims them (local rank 0)."""
    if not mosaic.World.detect().is_local_leader:
        yield
        return
    with FileLock(Path(gettempdir()) / f"curriculum-{os.getuid()}-shared-memory.lock"):
        yield


def release(dataset: Any) -> None:
    """Stop the dataset's threads and free its shared memory: here, and on the node if this process made it.

    The local leader also removes the lock files, since Mosaic takes a number with leftover lock files for one in use.
    """
    if hasattr(dataset, "_iterator"):
        dataset._iterator.exit()
    for memory in _memories(dataset):
        atexit.unregister(memory.cleanup)
        memory.cleanup()
    if dataset._unique_rank_world.is_local_leader:
        for lock_file in (dataset._shared_barrier.filelock_path, dataset._cache_filelock_path):
            Path(lock_file).unlink(missing_ok=True)


def _memories(dataset: Any) -> list[Any]:
    return [_memory(getattr(dataset, name)) for name in _HELD_BY if hasattr(dataset, name)]


def _memory(owner: Any) -> Any:
    """Return the SharedMemory of a shared barrier, scalar or array, or the memory itself."""
    for name in ("_arr", "arr", "shm"):
        inner = getattr(owner, name, None)
        if inner is not None and not isinstance(owner, mosaic.SharedMemory):
            return _memory(inner)
    return owner
