"""The folder of a study: one owner at a time, and what the study was when it was begun."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from curriculum import __version__
from curriculum.errors import ChangedError, DataError, ResourceError, UserError
from curriculum.search.populations import Populations
from curriculum.search.study import Study, changed_study

_SHOWN_CHANGES = 12


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """`path` holds study.json, study.db, result.json and the runs."""

    path: Path

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Hold the study. Raises UserError when another process does, ResourceError when it cannot be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock")
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"another search is at work on {self.path}; wait for it, stop it, or use another --runs folder "
                "(each process that joins by a database needs one of its own)"
            ) from None
        except OSError as error:
            raise ResourceError(f"{self.path} cannot be written: {error.strerror}; choose another --runs folder") from None
        try:
            yield
        finally:
            lock.release()

    def recorded(self) -> dict[str, Any] | None:
        """Return what study.json holds, None where the study was not begun. Raises DataError when it is damaged."""
        path = self.path / "study.json"
        try:
            found = json.loads(path.read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise _damaged(path, error) from None
        if not isinstance(found, dict):
            raise _damaged(path, "no mapping")
        return found

    def result(self) -> dict[str, Any] | None:
        """Return what result.json holds: what the search last found, None where it has not ended yet (or a damaged file)."""
        try:
            found = json.loads((self.path / "result.json").read_text())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def remember(
        self,
        study: Study,
        data: Mapping[str, str],
        populations: Populations | None = None,
        files: Mapping[str, str] | None = None,
    ) -> str:
        """Write down the study, digests of its data and other `files`, and `populations`; or make sure that all but the
        last are unchanged. Returns when the study was begun.

        Files are not compared with a record that holds none: it was written when records did not have them.

        Raises ChangedError with the difference, DataError when the record is damaged.
        """
        path = self.path / "study.json"
        now = {"study": study.canonical(), "data": dict(data)}
        if not path.exists():
            created = datetime.now(UTC).isoformat(timespec="seconds")
            settled = {} if populations is None else populations.as_json()
            beside = {} if files is None else {"files": dict(files)}
            write_json(path, {**now, **beside, **settled, "created": created, "versions": {"curriculum": __version__}})
            return created
        try:
            old = json.loads(path.read_text())
            changes = changed_study({"study": old["study"], "data": old["data"]}, now)
            if files is not None and "files" in old:
                changes += changed_study({"files": old["files"]}, {"files": dict(files)})
            created = str(old["created"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(path, error) from None
        if changes:
            listed = "\n  ".join(changes[:_SHOWN_CHANGES])
            raise ChangedError(
                f"the study {study.name!r} was begun with other settings ({self.path}):\n  {listed}\n"
                "undo the change, give the study another name, or remove that folder"
            )
        return created


def _damaged(path: Path, error: object) -> DataError:
    return DataError(f"{path} is damaged ({error}); remove it: runs and trials beside it are kept and used")


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all, also across a power cut."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w") as file:
        json.dump(document, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
