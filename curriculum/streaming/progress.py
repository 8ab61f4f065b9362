"""Which epoch is played and where it began, shared by a rank's processes without a name that could go stale.

Idea: a few integers in an unlinked temporary file, read and written under a POSIX lock on it. Workers get it by fork or
by passing the file descriptor when they are spawned; it vanishes with the last process that has it open, however that
ends. Alternatives: named shared memory and a barrier of all ranks (Mosaic: leaks after kill -9, and two jobs race for the
names). Ranks need not agree: each begins its own epochs, and all load the same state. The price: processes
that are neither forked nor spawned by `multiprocessing` (a copy by plain pickle) count on their own.

A pass is what one `iter(loader)` begins. The workers of one pass know each other by a token, made of the loader's seed.
"""

from __future__ import annotations

import fcntl
import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import context
from multiprocessing.reduction import DupFd
from typing import Any

from curriculum.errors import UserError

_FIELDS = struct.Struct("<qqqq")  # epoch, start, begun, token
_WORKERS = 512  # bytes: one bit for each of 4096 workers that joined the current pass


@dataclass(frozen=True, slots=True)
class Moment:
    """The current pass: its epoch, the position at which it began, whether anybody has begun it."""

    epoch: int = 0
    start: int = 0
    begun: int = 0
    token: int = 0


class Progress:
    """The shared moment of one dataset in one rank."""

    def __init__(self, moment: Moment | None = None) -> None:
        file, path = tempfile.mkstemp(prefix="curriculum-progress-")
        os.unlink(path)  # noqa: PTH108  # the descriptor is all that is kept
        self._file = file
        self._write(moment or Moment(), bytes(_WORKERS))

    def __del__(self) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        if context.get_spawning_popen() is None:
            return Progress, (self.moment,)
        return _opened, (DupFd(self._file),)

    def close(self) -> None:
        """Give the file back."""
        if (file := self.__dict__.pop("_file", None)) is not None:
            os.close(file)

    @property
    def moment(self) -> Moment:
        """What is being played now."""
        return self._read()[0]

    def begin(self, worker: int, token: int) -> Moment:
        """Join the pass that `token` names, or begin the next one; a token of 0 always begins one."""
        with self._locked():
            moment, joined = self._read()
            bit, place = 1 << worker % 8, worker // 8
            if not (token and moment.begun and token == moment.token and not joined[place] & bit):
                moment = Moment(moment.epoch + 1, 0, 1, token) if moment.begun else replace(moment, begun=1, token=token)
                joined = bytearray(_WORKERS)
            joined[place] |= bit
            self._write(moment, bytes(joined))
        return moment

    def load(self, epoch: int, start: int) -> None:
        """Let the next pass be the rest of `epoch` from `start`. Raises UserError if a pass has begun already."""
        with self._locked():
            if self.moment.begun:
                raise UserError(
                    "load_state_dict came after this dataset was iterated, so samples were played already; "
                    "make the dataset anew and load the state before the first iteration"
                )
            self._write(Moment(epoch, start), bytes(_WORKERS))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _read(self) -> tuple[Moment, bytearray]:
        content = os.pread(self._file, _FIELDS.size + _WORKERS, 0)
        return Moment(*_FIELDS.unpack_from(content)), bytearray(content[_FIELDS.size :])

    def _write(self, moment: Moment, joined: bytes) -> None:
        os.pwrite(self._file, _FIELDS.pack(moment.epoch, moment.start, moment.begun, moment.token) + joined, 0)


def _opened(duplicate: Any) -> Progress:
    progress = Progress.__new__(Progress)
    progress._file = duplicate.detach()
    return progress
