"""Mosaic's shared memory under names of our own: nothing collides, nothing stale is met, nothing stays behind.

Idea: Mosaic numbers the shared memory of its datasets 0, 1, 2, ... by looking for the first number that seems free. Two
jobs that start together take the same one, and what a killed job left makes every later dataset on the machine wait,
skip, or die ("cannot mmap an empty file"). So each of our datasets draws a random number far above those, and every rank
of its node holds a shared file lock on a marker file of that number for as long as it lives. The kernel drops the lock
however a process ends; so a marker that nobody holds belongs to the dead, and whoever makes the next dataset removes it
with all that bears its number. The marker comes first and goes last, so that nothing is ever without one.

Alternatives: a lock around Mosaic's search (two jobs no longer race, stale memory still kills), or no named memory at all
(what a mix has; Mosaic's own machinery needs it). The price is Mosaic's `get_shm_prefix`, passed over while a dataset of
ours is being made, and a folder `curriculum-<user>` beside Mosaic's lock files. Datasets of Mosaic's own, in this process
or another, are not touched and never meet ours.

Workers hold the lock too, as forks or by the descriptor that spawning passes on: a worker that outlives its killed parent
keeps its memory. Mosaic frees nothing before the process exits, six descriptors a dataset; `release` frees it at once.
"""

from __future__ import annotations

import _posixshmem  # type: ignore[import-not-found]  # what SharedMemory.unlink calls; that cannot open an empty file
import atexit
import fcntl
import json
import os
import secrets
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing import context, parent_process, resource_tracker
from multiprocessing.reduction import DupFd
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from filelock import FileLock, Timeout
from torch import distributed
from torch.utils.data import get_worker_info

from curriculum.errors import CurriculumError, ResourceError, UserError
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
_FIRST, _NUMBERS = 10**8, 9 * 10**8  # nine digits: macOS allows 30 characters, and Mosaic's longest name needs 20
_PATIENCE = 60.0  # seconds to wait for another dataset on this machine that is just taking its number
_FAILED = "failed: "
_search = mosaic.dataset_module.get_shm_prefix
_making = threading.local()


class Claim:
    """A dataset's number on this node. It lives while any process has its marker's lock, and is removed by the last."""

    def __init__(self, marker: Path, descriptor: int | None, owner: int) -> None:
        self.marker = marker
        self._descriptor = descriptor
        self._owner = owner

    @property
    def number(self) -> int:
        """What all names of the dataset begin with."""
        return int(self.marker.stem)

    def __reduce__(self) -> tuple[Any, ...]:
        spawning = context.get_spawning_popen() is not None
        duplicate = None if self._descriptor is None or not spawning else DupFd(self._descriptor)
        return _passed_on, (self.marker, duplicate, self._owner)

    def give_back(self) -> None:
        """Let go of the number, in the process that took it; remove all that bears it if no other rank holds it."""
        if self._descriptor is None or os.getpid() != self._owner:
            return
        descriptor, self._descriptor = self._descriptor, None
        atexit.unregister(self.give_back)
        try:
            if _lock(descriptor, fcntl.LOCK_EX):
                _remove(self.marker)
        finally:
            os.close(descriptor)

    def forget_locals(self) -> None:
        """Let other datasets use the local folders of this one, which was collected."""
        if self._descriptor is not None and os.getpid() == self._owner:
            os.ftruncate(self._descriptor, 0)


class _Barrier(mosaic.SharedBarrier):  # type: ignore[misc]  # Mosaic ships no types
    """Mosaic's barrier, in which a worker does not wait for ever once its parent was killed, holding memory and markers."""

    def __call__(self, num_procs: int) -> None:
        if get_worker_info() is not None:
            _end_with_parent()
        super().__call__(num_procs)


@contextmanager
def own_names(dataset: Any) -> Iterator[None]:
    """While `dataset`'s constructor runs in this thread, let it take a number of our own.

    Raises UserError (a remote stream's local folder is in use by another dataset of ours), ResourceError (the folder of
    the locks cannot be written). If the constructor fails, nothing of the dataset is left.
    """
    mosaic.dataset_module.get_shm_prefix = _prefix  # for good: it passes on whatever is not ours
    _making.dataset = dataset
    try:
        yield
        if hasattr(dataset, "_claim"):
            dataset._shared_barrier.__class__ = _Barrier
            dataset._shared_barrier.filelock_path = str(dataset._claim.marker.with_suffix(".barrier"))
            dataset._cache_filelock_path = str(dataset._claim.marker.with_suffix(".cache"))
    except BaseException:
        release(dataset)
        raise
    finally:
        _making.dataset = None


def release(dataset: Any) -> None:
    """Stop the dataset's threads and free its shared memory: here, and on the node if this process made it.

    For a dataset of Mosaic's own the local leader also removes the lock files, since Mosaic takes a number with leftover
    lock files for one in use.
    """
    if hasattr(dataset, "_iterator"):
        dataset._iterator.exit()
    for memory in _memories(dataset):
        atexit.unregister(memory.cleanup)
        memory.cleanup()
    if hasattr(dataset, "_claim"):
        dataset._claim.give_back()
    elif hasattr(dataset, "_cache_filelock_path") and dataset._unique_rank_world.is_local_leader:
        for lock_file in (dataset._shared_barrier.filelock_path, dataset._cache_filelock_path):
            Path(lock_file).unlink(missing_ok=True)


def _prefix(streams_local: list[str], streams_remote: list[str | None], world: Any, retry: int = 100) -> tuple[int, Any]:
    """Stand in for Mosaic's `get_shm_prefix`: return our number and the memory of its local folders, which we do not use."""
    dataset = getattr(_making, "dataset", None)
    if dataset is None:
        found: tuple[int, Any] = _search(streams_local, streams_remote, world, retry)
        return found
    claim = _agreed(lambda: _new_claim(streams_local, streams_remote), world)
    dataset._claim = claim
    atexit.register(claim.give_back)  # before any memory is made, hence called after all of it was cleaned up
    if world.is_local_leader:
        weakref.finalize(dataset, claim.forget_locals).atexit = False
    return claim.number, mosaic.SharedMemory(mosaic.shared_name(claim.number, mosaic.LOCALS), size=4)


def _agreed(make: Callable[[], Claim], world: Any) -> Claim:
    """Return the claim that the local leader makes, in all ranks of its node; they fail together.

    The number travels through the process group's store: a collective would need every rank's GPU to be chosen already.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        if world.is_local_leader:
            return make()
        raise UserError("several ranks on a node need torch.distributed, and it is not available; install a torch that has it")
    store, key = distributed.distributed_c10d._get_default_store(), f"curriculum-{world.node}"
    made: Claim | None = None
    failure: CurriculumError | None = None
    if world.is_local_leader:
        try:
            made = make()
        except CurriculumError as error:
            failure = error
        store.set(key, str(made.marker) if made else f"{_FAILED}{failure}")
    distributed.barrier()
    answer = store.get(key).decode()
    distributed.barrier()  # whoever fails may take the store with it
    if failure:
        raise failure
    if answer.startswith(_FAILED):
        raise UserError(answer.removeprefix(_FAILED))
    return made or _joined(Path(answer))


def _new_claim(streams_local: Sequence[str], streams_remote: Sequence[str | None]) -> Claim:
    """Remove what the dead left, and take a number that nobody has."""
    doubled = sorted({local for local in streams_local if streams_local.count(local) > 1})
    if doubled:
        raise UserError(f"two streams have the same local folder {doubled[0]}; every stream needs its own")
    try:
        folder = Path(gettempdir()) / f"curriculum-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        with FileLock(folder / "claims.lock", timeout=_PATIENCE):
            live = sweep(folder)
            _refuse_shared_folders(streams_local, streams_remote, live)
            return _marked(folder, streams_local)
    except Timeout:
        raise ResourceError(
            f"another process has held {folder / 'claims.lock'} for {_PATIENCE:.0f} s, which takes milliseconds; "
            "look for a suspended job of yours and end it"
        ) from None
    except OSError as error:
        raise ResourceError(
            f"StreamingDataset keeps its locks in the folder for temporary files, which cannot be used ({error}); "
            "set TMPDIR to a folder of this machine that can be written"
        ) from error


def sweep(folder: Path) -> list[Path]:
    """Remove all that bears the number of a marker nobody holds; return the markers that are held.

    To be called with the lock of `folder` held: a marker is without its lock for a moment when it is made.
    """
    markers = {path.with_suffix(".alive") for path in folder.iterdir() if path.stem.isdigit()}
    live = [marker for marker in sorted(markers) if _is_held(marker)]
    for marker in markers.difference(live):
        _remove(marker)
    return live


def _marked(folder: Path, streams_local: Sequence[str]) -> Claim:
    while True:
        # Not drawn from a seed: forks and restarts that share one must not draw the same number.
        marker = folder / f"{_FIRST + secrets.randbelow(_NUMBERS)}.alive"
        with suppress(FileExistsError):
            descriptor = os.open(marker, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            break
    _lock(descriptor, fcntl.LOCK_SH)
    os.write(descriptor, json.dumps({"process": os.getpid(), "locals": list(streams_local)}).encode())
    return Claim(marker, descriptor, os.getpid())


def _joined(marker: Path) -> Claim:
    try:
        descriptor = os.open(marker, os.O_RDWR)
    except OSError as error:
        raise ResourceError(
            f"this rank cannot open the file that its node's first rank has just made ({error}); "
            "see that all ranks of a node run as one user with one TMPDIR, and whether the first rank died"
        ) from error
    _lock(descriptor, fcntl.LOCK_SH)
    return Claim(marker, descriptor, os.getpid())


def _passed_on(marker: Path, duplicate: Any, owner: int) -> Claim:
    return Claim(marker, None if duplicate is None else duplicate.detach(), owner)


def _refuse_shared_folders(streams_local: Sequence[str], streams_remote: Sequence[str | None], live: list[Path]) -> None:
    """Raise UserError if another dataset downloads to, and evicts from, the folder of a stream with a remote."""
    used: dict[str, int] = {}
    for marker in live:
        with suppress(FileNotFoundError):  # its process has ended meanwhile
            content = json.loads(marker.read_bytes() or b'{"process": 0, "locals": []}')
            used |= dict.fromkeys(content["locals"], content["process"])
    for local, remote in zip(streams_local, streams_remote, strict=True):
        if remote is not None and local in used:
            raise UserError(
                f"the local folder {local} of the stream from {remote} is in use by another StreamingDataset "
                f"(process {used[local]}); give this one another `local`, or close() that one first"
            )


@cache
def _end_with_parent() -> None:
    """End this worker when its parent has ended, whatever it is waiting for: torch looks only between batches."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="curriculum-parent").start()


def _is_held(marker: Path) -> bool:
    try:
        descriptor = os.open(marker, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not _lock(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, kind: int) -> bool:
    """Take the lock if that is possible at once; a lock held before is then changed, or else lost."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(marker: Path) -> None:
    """Remove shared memory, lock files and, last, the marker of one number."""
    for name in mosaic.SHM_TO_CLEAN:
        path = "/" + mosaic.shared_name(int(marker.stem), name)
        # Python's tracker of leaks knows what this process made: registering again changes nothing, and then it forgets.
        resource_tracker.register(path, "shared_memory")
        try:
            with suppress(FileNotFoundError, PermissionError):
                _posixshmem.shm_unlink(path)
        finally:
            resource_tracker.unregister(path, "shared_memory")
    for suffix in (".barrier", ".cache", ".alive"):
        marker.with_suffix(suffix).unlink(missing_ok=True)


def _memories(dataset: Any) -> list[Any]:
    return [_memory(getattr(dataset, name)) for name in _HELD_BY if hasattr(dataset, name)]


def _memory(owner: Any) -> Any:
    """Return the SharedMemory of a shared barrier, scalar or array, or the memory itself."""
    for name in ("_arr", "arr", "shm"):
        inner = getattr(owner, name, None)
        if inner is not None and not isinstance(owner, mosaic.SharedMemory):
            return _memory(inner)
    return owner
