"""The programs that write our own item set (`curriculum/probe/written`), one a family.

Idea: nothing in the set is collected; it is composed from word lists and sentences written for it, by programs that give
the same files on any machine, so every item can be traced and the set can be written anew with other choices. The files
are committed as well: a reading depends on them, not on these programs. Alternatives: only files (no one could check how
they came to be) or only programs (a changed program would silently change a probe). The price: a test that holds both
together. `python -m curriculum.probe.authoring` writes all files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from curriculum.errors import DataError
from curriculum.probe.authoring import flipped, intuitive, persona, repetitive, successive, truthy
from curriculum.probe.authoring.rows import Files, as_text

WRITTEN = Path(__file__).parents[1] / "written"
# Each returns {path below WRITTEN: its rows}; a new family adds its function here.
AUTHORS: tuple[Callable[[], Files], ...] = (
    flipped.rows,
    repetitive.rows,
    successive.rows,
    truthy.rows,
    intuitive.rows,
    persona.rows,
)


def all_files() -> Files:
    """Return the rows of every file of the written set by its path. Raises DataError when two authors write one file."""
    files: Files = {}
    for author in AUTHORS:
        for path, rows in author().items():
            if path in files:
                raise DataError(f"wanted one author a file, got two for {path}; rename the task in {author.__module__}")
            files[path] = rows
    return files


def write(folder: Path = WRITTEN) -> list[Path]:
    """Write every file below `folder` and return their paths."""
    paths = []
    for path, rows in sorted(all_files().items()):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(as_text(path, rows), encoding="utf-8", newline="\n")
        paths.append(target)
    return paths
