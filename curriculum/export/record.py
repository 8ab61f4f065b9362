"""The list of what exports wrote into a folder, so that one that replaces another clears away what it does not write.

Idea: a loader takes what it finds. An index file of a second epoch, or the fifth of five stages, that an earlier and longer
export left is played as part of the mix of today. So a folder holds `export.json`, which names every file that an export of
ours wrote there; a name is entered before the file is written, so that a stopped export is cleared away too. Only listed
files inside the folder are ever removed, and only under --overwrite. The alternative, names by pattern, would take others'
files for ours. The price: files of exports that were made before there was a list stay.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from curriculum.errors import UserError
from curriculum.mix import write_atomically

RECORD = "export.json"
_KIND = "files of curriculum export"


def is_list(content: object) -> bool:
    """Whether a record's content is such a list (that of `mds`, which says what samples lie there, is not)."""
    return isinstance(content, dict) and content.get("kind") == _KIND and isinstance(content.get("files"), list)


def listed(folder: Path) -> tuple[str, ...]:
    """Return the files that exports wrote into a folder, relative to it; none where there is no list of ours."""
    content = _read(folder)
    return tuple(map(str, content["files"])) if isinstance(content, dict) and is_list(content) else ()


def enter(folder: Path, names: Iterable[str], *, overwrite: bool) -> None:
    """Add names to the list, before their files are written. Raises UserError where another's export.json lies."""
    path, content = folder / RECORD, _read(folder)
    if isinstance(content, dict) and "samples_per_part" in content:
        raise UserError(f"{folder} holds the samples of an export to mds; give another place with --out, or remove it first")
    if path.exists() and not is_list(content) and not overwrite:
        raise UserError(f"{path} exists and holds something else; give another place with --out, or add --overwrite")
    _write(folder, {*listed(folder), *names})


def clear(folder: Path, keep: Iterable[str]) -> tuple[str, ...]:
    """Remove the listed files but those to keep, and folders that are empty then; return their names, sorted."""
    kept = set(keep)
    stale = sorted(name for name in listed(folder) if name not in kept and _is_inside(folder, name))
    removed = tuple(name for name in stale if (folder / name).exists())
    for name in stale:
        (folder / name).unlink(missing_ok=True)
        for parent in (folder / name).parents:
            if parent == folder:
                break
            with suppress(OSError):  # somebody's file is in it
                parent.rmdir()
    _write(folder, kept)
    return removed


def _is_inside(folder: Path, name: str) -> bool:
    """Whether a listed name is a file below the folder: a list may have been edited."""
    place = folder / name
    inside = place.resolve().is_relative_to(folder.resolve()) and ".." not in Path(name).parts
    return inside and not Path(name).is_absolute() and not place.is_dir()


def _read(folder: Path) -> object:
    try:
        found: object = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return found


def _write(folder: Path, names: Iterable[str]) -> None:
    content = json.dumps({"kind": _KIND, "files": sorted(names)}, indent=1) + "\n"
    with suppress(FileNotFoundError):
        if (folder / RECORD).read_bytes() == content.encode():
            return
    write_atomically(folder / RECORD, content)
