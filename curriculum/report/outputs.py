"""Whether what was asked for can be written where it was asked for: said before the work, not after it.

Idea: the nearest place that exists decides. The price: a disk that fills up meanwhile is still met at the end.
"""

from __future__ import annotations

import os
from pathlib import Path

from curriculum.errors import ResourceError, UserError


def check_file(path: Path, option: str) -> None:
    """Make sure that a file can be written at `path`, as `option` asks for. Raises UserError, ResourceError."""
    if path.is_dir():
        raise UserError(f"{option}: wanted a file to write, got {path}, which is a folder; name a file in it")
    _check_place(path, path.absolute().parent, option)


def check_folder(path: Path, option: str) -> None:
    """Make sure that files can be written in a folder at `path`, as `option` asks for. Raises UserError, ResourceError."""
    if path.exists() and not path.is_dir():
        raise UserError(f"{option}: wanted a folder, got {path}, which is a file; name another place")
    _check_place(path, path.absolute(), option)


def _check_place(path: Path, folder: Path, option: str) -> None:
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        raise ResourceError(f"could not write {path}: {there} is a file; give another {option}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ResourceError(f"could not write {path}: no permission to write in {there}; give another {option}")
