"""Where an export is written: whole or not at all, and never over what somebody else may need.

Idea: everything is written beside its place and moved there when it is complete, so a full disk or a killed process
leaves the old file or none. What exists stays, unless it is the same already or the user said --overwrite; so a command
that is run twice is not an error. Under --overwrite what an earlier export wrote into the folder, and this one does not, is
removed (curriculum.export.record). The price is that large arrays need their space twice while they are replaced.
"""

from __future__ import annotations

import errno
import filecmp
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curriculum.errors import ResourceError, UserError
from curriculum.export.record import clear, enter
from curriculum.mix import write_atomically

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """The place of one export: a file, or a folder of them; `written` are the files that lie there in the end."""

    path: Path
    overwrite: bool = False
    written: list[Path] = field(default_factory=list)

    def text(self, content: str, name: str | None = None) -> Path:
        """Write a text file: the place itself, or `name` in it. Raises UserError (other content there), ResourceError."""
        path = self._place(name)
        holds = self._holds(path, content)
        if not holds:
            self._refuse_existing(path)
        self._enter(name)
        if not holds:
            write_atomically(path, content)
        self.written.append(path)
        return path

    def arrays(
        self, kinds: Mapping[str, str], length: int, parts: Iterable[tuple[npt.NDArray[Any], ...]], *, raw: bool = False
    ) -> None:
        """Write arrays (length,), `kinds` by file name, from parts of all of them, as .npy (`raw`: without its header).

        Raises UserError if a file is there with other contents, ResourceError before the first byte if the disk has too
        little room.
        """
        places = {self._place(name): np.dtype(kind) for name, kind in kinds.items()}
        folder = next(iter(places)).parent
        with full_disk_said(folder):
            folder.mkdir(parents=True, exist_ok=True)
            check_room(folder, length * sum(dtype.itemsize for dtype in places.values()))
            temporary = {path: path.with_name(f".{path.name}.{os.getpid()}.part") for path in places}
            try:
                _write_arrays([(temporary[path], dtype) for path, dtype in places.items()], length, parts, raw=raw)
                for path, part in temporary.items():
                    if not (path.exists() and filecmp.cmp(path, part, shallow=False)):
                        self._refuse_existing(path)
                self._enter(*kinds)
                for path, part in temporary.items():
                    part.replace(path)
            finally:
                for part in temporary.values():
                    part.unlink(missing_ok=True)
        self.written.extend(places)

    def clear(self) -> tuple[str, ...]:
        """Remove what earlier exports wrote into the folder and this one did not, if --overwrite is given; return the names."""
        if not self.overwrite or not self.written or self.written == [self.path]:
            return ()
        with full_disk_said(self.path):
            return clear(self.path, [str(path.relative_to(self.path)) for path in self.written])

    def _enter(self, *names: str | None) -> None:
        """Enter files of a folder in its list; a single file has none."""
        found = [name for name in names if name is not None]
        if found:
            enter(self.path, found, overwrite=self.overwrite)

    def _place(self, name: str | None) -> Path:
        if name is None:
            if self.path.is_dir():
                raise UserError(f"{self.path} is a folder; this target writes one file: give its name with --out")
            return self.path
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file; this target writes a folder: give another name with --out")
        return self.path / name

    def _holds(self, path: Path, content: str) -> bool:
        try:
            return path.read_text(encoding="utf-8") == content
        except (OSError, UnicodeDecodeError):
            return False

    def _refuse_existing(self, path: Path) -> None:
        if path.exists() and not self.overwrite:
            raise UserError(f"{path} exists and holds something else; give another place with --out, or add --overwrite")


_write_header: Any = np.lib.format.write_array_header_1_0  # numpy leaves it untyped


def _write_arrays(
    places: Sequence[tuple[Path, np.dtype[Any]]], length: int, parts: Iterable[tuple[npt.NDArray[Any], ...]], *, raw: bool
) -> None:
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("wb")) for path, _ in places]
        for file, (_, dtype) in zip(files, places, strict=True):
            if not raw:
                _write_header(file, {"descr": dtype.str, "fortran_order": False, "shape": (length,)})
        for part in parts:
            for file, (_, dtype), values in zip(files, places, part, strict=True):
                file.write(values.astype(dtype).tobytes())
        for file in files:
            file.flush()
            os.fsync(file.fileno())


def check_room(folder: Path, needed: int) -> None:
    """Raise ResourceError unless the disk of `folder` has `needed` bytes left."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ResourceError(
            f"{folder}: {needed / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} MB are free; make room, or give another --out"
        )


@contextmanager
def full_disk_said(path: Path) -> Iterator[None]:
    """Turn what the system says about a full disk or a forbidden place into our errors."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise ResourceError(f"{path}: the disk is full; free some space and run the same command again") from error
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"{path}: cannot be written ({reason}); choose another place with --out") from error
