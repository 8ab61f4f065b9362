"""Files of a remote stream, brought here once per node: locked, verified, bounded in time and in space.

Idea: the file system is the only truth. A file is here if it lies under its name with its size; it gets that name by an
atomic rename after it was downloaded, verified and unpacked. Processes that want the same file (workers, ranks, another
job) agree by a file lock beside it, which the kernel gives back when its holder dies, so a kill -9 leaves a lock file
and a half-written `.part` at most, and the next one cleans up both. Alternatives: a table of shard states in shared
memory (Mosaic: a process killed while it downloads leaves the others waiting for ever, and leaks). The price is a `stat`
per file when it is first opened, and with a limit a listing of the folders per download.

Every wait ends: a download after its time-out times its attempts, a lock after as long as its holder may take.
Eviction removes the file used longest ago; whoever has it mapped keeps reading, since its bytes go when the map does.
"""

from __future__ import annotations

import errno
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import Any
from urllib.parse import urlparse

from filelock import FileLock, Timeout

from curriculum.errors import CurriculumError, DataError, ResourceError
from curriculum.streaming import mosaic

_SHARED = ("", "s3", "gs", "oci", "azure", "azure-dl", "hf")  # remotes whose clients several threads may use
_FIRST_PAUSE = 0.5  # seconds before the second attempt; doubled for each further one


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """How a stream's files are downloaded: attempts, seconds for each, the hash to verify (or None)."""

    attempts: int
    seconds: float
    validate_hash: str | None

    @property
    def patience(self) -> float:
        """Seconds after which whoever holds a file's lock must have come to an end."""
        pauses: float = _FIRST_PAUSE * 2**self.attempts
        return self.attempts * (self.seconds + 1) + pauses + 5


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """A file as the index of its stream describes it. `blame` names stream and shard for messages.

    An index itself has no known size (None): it is whole if it can be read.
    """

    blame: str
    path: Path
    remote: str | None
    size: int | None
    hashes: dict[str, str]
    terms: Terms

    def is_here(self) -> bool:
        """Whether it lies here under its name and with its size."""
        try:
            return is_json(self.path) if self.size is None else self.path.stat().st_size == self.size
        except OSError:
            return False


@contextmanager
def locked(file: RemoteFile) -> Iterator[None]:
    """Hold the lock of one file. Raises ResourceError if nobody gives it back in time, or it cannot be made."""
    place = file.path.with_name(f".{file.path.name}.lock")
    lock = FileLock(place, timeout=file.terms.patience)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise ResourceError(
            f"{file.blame}: another process has been fetching {file.path} for {file.terms.patience:.0f} s; "
            f"look whether it hangs, or raise the stream's download_timeout"
        ) from None
    except OSError as error:
        raise _refused(file, error) from error
    try:
        yield
    finally:
        with suppress(OSError):
            place.unlink()  # a waiter may still hold the old file: it looks for the shard first
        lock.release()


class Clients:
    """A remote's client, made anew in every process (a fork must not share its connections) and after a failure.

    Making one may cost a second and 20 MB (boto3), so the threads of a process share it where its library allows that, and
    the first download, which makes it, goes alone; other remotes get one download at a time, as from Mosaic.
    """

    def __init__(self, remote: str | None) -> None:
        self._remote = remote
        self._is_shared = urlparse(remote or "").scheme in _SHARED
        self._begin()

    def fetch(self, remote: str, path: Path, seconds: float) -> None:
        """Download one file. Raises whatever the client raises, TimeoutError after `seconds`."""
        if self._owner != os.getpid():
            self._begin()
        if self._is_shared and self._client is not None:
            self._fetch(remote, path, seconds)
            return
        if not self._alone.acquire(timeout=seconds):
            raise TimeoutError(f"no connection within {seconds:g} s")
        try:
            self._fetch(remote, path, seconds)
        finally:
            self._alone.release()

    def __reduce__(self) -> tuple[Any, ...]:
        return Clients, (self._remote,)

    def _begin(self) -> None:
        self._owner = os.getpid()
        self._alone = threading.Lock()
        self._client: Any = None

    def _fetch(self, remote: str, path: Path, seconds: float) -> None:
        client = self._client or mosaic.CloudDownloader.get(self._remote)
        try:
            _bounded(lambda: client.download(remote, str(path), seconds), seconds + 1)
        except BaseException:
            self._client = None
            raise
        self._client = client


def download(file: RemoteFile, clients: Clients, make_room: Callable[[int], None]) -> None:
    """Bring the file here under its name, verified. Raises DataError (not there, damaged), ResourceError (disk, network)."""
    if file.remote is None:
        raise DataError(_absent(file))
    part = file.path.with_name(f"{file.path.name}.{os.getpid()}-{threading.get_ident()}.part")
    for attempt in range(file.terms.attempts):
        _remove_parts(file)
        make_room(file.size or 0)
        try:
            clients.fetch(file.remote, part, file.terms.seconds)
            verify(file, part)
            part.rename(file.path)
            return
        except Exception as error:  # a cloud provider's client may raise anything
            _remove_parts(file)
            if _is_disk_full(error):
                raise _refused(file, error) from error
            if attempt + 1 == file.terms.attempts:
                raise _given_up(file, error) from error
            time.sleep(_FIRST_PAUSE * 2**attempt * (1 + random.random() / 2))


def unpack(file: RemoteFile, compressed: RemoteFile, compression: str | None, make_room: Callable[[int], None]) -> None:
    """Write the decompressed file beside the compressed one. Raises DataError, ResourceError."""
    make_room(file.size or 0)
    part = file.path.with_name(f"{file.path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        part.write_bytes(mosaic.decompress(compression, compressed.path.read_bytes()))
        verify(file, part, hashed=False)  # the compressed bytes were: an index hashes the raw ones only if asked to
        part.rename(file.path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise _refused(file, error) from error
    except CurriculumError:
        part.unlink(missing_ok=True)
        raise
    except Exception as error:  # each compressor has its own
        part.unlink(missing_ok=True)
        raise DataError(f"{compressed.blame}: {compressed.path} cannot be unpacked ({error}); fetch it again") from error


def verify(file: RemoteFile, path: Path, hashed: bool = True) -> None:
    """Raise DataError unless `path` has the file's size and, if its stream wants that, its hash."""
    if file.size is None:
        if not is_json(path):
            raise DataError(f"{file.blame}: {file.remote} is damaged; write the stream again")
        return
    found = path.stat().st_size
    if found != file.size:
        raise DataError(f"{file.blame}: {path.name} has {found} bytes, its index.json says {file.size}")
    wanted = file.terms.validate_hash
    if wanted is None or not hashed:
        return
    if wanted not in file.hashes:
        known = ", ".join(sorted(file.hashes)) or "none"
        raise DataError(f"{file.blame}: validate_hash: {wanted}, but its index.json has {known}; choose one of those")
    if mosaic.get_hash(wanted, path.read_bytes()) != file.hashes[wanted]:
        raise DataError(f"{file.blame}: {path} differs from the {wanted} in its index.json; fetch or write it again")


class Room:
    """Keeps the cached files of remote streams under a limit in bytes; without a limit it does nothing.

    The limit holds for each dataset on its own; it may be passed by what is being downloaded at one moment.
    """

    def __init__(self, limit: int | None, folders: Sequence[Path]) -> None:
        self.limit = limit
        self._folders = tuple(dict.fromkeys(folders))

    def make(self, size: int) -> None:
        """Evict files until `size` more bytes fit, those used longest ago first."""
        if self.limit is None:
            return
        with FileLock(Path(gettempdir()) / f"curriculum-{os.getuid()}-evict.lock", timeout=60):
            files = sorted(self._files())
            used = sum(length for _, length, _ in files)
            for _, length, path in files:
                if used + size <= self.limit:
                    return
                path.unlink(missing_ok=True)
                used -= length

    def touch(self, path: Path) -> None:
        """Note that a file is in use."""
        if self.limit is not None:
            with suppress(OSError):
                os.utime(path)

    @property
    def usage(self) -> int:
        """Bytes that cached files take now."""
        return sum(length for _, length, _ in self._files())

    def _files(self) -> list[tuple[int, int, Path]]:
        """Return (time of last use in nanoseconds, bytes, path) of every cached shard file."""
        found = []
        for folder in self._folders:
            for path in folder.rglob("*") if folder.is_dir() else ():
                if path.suffix in _KEPT_SUFFIXES or path.name.startswith(".") or path.name == "index.json":
                    continue
                with suppress(OSError):
                    status = path.stat()
                    if path.is_file():
                        found.append((status.st_mtime_ns, status.st_size, path))
        return found


_KEPT_SUFFIXES = (".part", ".lock", ".tmp")  # half a download is not a cached file


def is_json(path: Path) -> bool:
    """Whether a JSON text lies there, whole."""
    try:
        json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return True


def _bounded(action: Callable[[], None], seconds: float) -> None:
    """Run `action` in a thread and wait no longer than `seconds`: not every client keeps its time-out."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True, name="curriculum-download")
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    if failures:
        raise failures[0]


def _remove_parts(file: RemoteFile) -> None:
    """Remove what killed or failed downloads left of this file, a client's own half files included; its lock is held."""
    for part in file.path.parent.glob(f"{file.path.name}.*.part*"):
        part.unlink(missing_ok=True)


def _is_disk_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def _absent(file: RemoteFile) -> str:
    try:
        size = file.path.stat().st_size
    except OSError:
        return f"{file.blame}: {file.path} is missing; copy or pack it again, or give a remote"
    return (
        f"{file.blame}: {file.path} has {size} bytes, its index.json says {file.size}; copy or pack it again, or give a remote"
    )


def _refused(file: RemoteFile, error: BaseException) -> ResourceError:
    return ResourceError(
        f"{file.blame}: {file.path} cannot be written ({error}); free space there, set cache_limit, or choose another local"
    )


def _given_up(file: RemoteFile, error: BaseException) -> CurriculumError:
    kind = DataError if isinstance(error, (FileNotFoundError, DataError)) else ResourceError
    return kind(
        f"{file.blame}: no usable {file.remote} after {file.terms.attempts} attempts of {file.terms.seconds:g} s "
        f"({type(error).__name__}: {error}); correct its `remote`, or raise download_retry or download_timeout"
    )
