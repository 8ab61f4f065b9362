"""A folder that is either whole or absent: written under another name beside its place, then renamed.

Idea: a crash, Ctrl-C or full disk leaves at most a hidden sibling `.NAME.partial-*`, which the next writer of the same
folder removes. A lock file keeps two writers apart; it is held only while writing. The price is twice the space while
an old folder is being replaced.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from curriculum.errors import ResourceError, UserError


@contextmanager
def published_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write into; at the end of the `with` block it takes the place of `folder`.

    If the block raises, whatever was at `folder` stays and the new one is removed. Raises ResourceError for a full disk
    and UserError if another process is writing the same folder or the place cannot be written.
    """
    folder = folder.absolute()
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    partial, replaced = (folder.with_name(f".{folder.name}.{what}") for what in ("partial", "replaced"))
    with _explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(f"another process is writing {folder} now; wait for it, or choose another --out") from error
        try:
            _clean(folder, partial, replaced)
            partial.mkdir()
            yield partial
            if folder.exists():
                folder.replace(replaced)
            partial.replace(folder)
        finally:
            _clean(folder, partial, replaced)
            with suppress(OSError):  # Windows cannot remove an open file: there the empty lock file stays
                Path(lock.lock_file).unlink()  # before the release, so that nobody can hold a lock on a removed file
            lock.release()


def _clean(folder: Path, partial: Path, replaced: Path) -> None:
    """Remove what a stopped writer left; an old folder that was moved aside but not yet replaced comes back."""
    shutil.rmtree(partial, ignore_errors=True)
    if replaced.exists() and not folder.exists():
        replaced.replace(folder)
    shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(
                f"the disk is full while writing {folder}; nothing was left behind. Free some space, or choose --out "
                f"on another disk"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            reason = f"{error.strerror} ({error.filename})"
            raise UserError(f"cannot write {folder}: {reason}; choose another --out") from error
        raise
