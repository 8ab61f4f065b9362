"""`curriculum trials`: what a study has tried so far, also while a search is at work on it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console

from curriculum.errors import DataError
from curriculum.search.storage import is_shared
from curriculum.search.study_file import load_study
from curriculum.search.trials import StudyTrials, TrialRecord, as_json, read_trials

Sort = Literal["number", "value"]


def trials(
    study: Path | None,
    *,
    runs: Path = Path("runs"),
    storage: str | None = None,
    sort: Sort = "number",
    as_json_document: bool = False,
) -> int:
    """Print a study's trials; changes nothing. Returns the exit code. Raises DataError for no study, FileError for a bad file.

    `study` is a study's folder, its name (then it lies in `runs`), or its file; the default study without one. In a PostgreSQL
    database, its name or file will do, also where no search was.
    """
    found = read_trials(study_folder(study, runs, storage), storage, from_afar=True)
    check_is_here(found)
    ordered = _sorted(found, sort)
    if as_json_document:
        print(json.dumps(as_json(found, ordered), indent=1))
    else:
        from curriculum.report.trials_table import print_trials

        print_trials(found, ordered, Console())
    return 0


def check_is_here(found: StudyTrials) -> None:
    """Raise DataError for a study whose trials are in a database that was not named, so that none were found."""
    if found.elsewhere:
        raise DataError(
            f"{found.folder} holds runs, but no study.db: the trials are in the database that the search was given; name it "
            "here too, with --storage (if study.db was removed, run the same search again: finished runs are kept and found)"
        )


def study_folder(study: Path | None, runs: Path, storage: str | None = None) -> Path:
    """Return the folder that a user means by a folder, a name, a study file, or nothing (the default study).

    With `storage`, a database that machines share, a name need have no folder here.
    """
    if study is None:
        return runs / load_study().name
    if study.is_dir():
        return study.resolve()
    if study.is_file():
        if study.suffix not in (".yaml", ".yml"):
            raise DataError(f"{study} is no study: wanted its folder (runs/NAME), its name, or its .yaml file")
        return runs / load_study(study).name
    named = runs / study
    if named.is_dir() or is_shared(storage):
        return named
    known = sorted(path.parent.name for path in runs.glob("*/study.json"))
    there = f"there are {', '.join(known)}" if known else "there is no study yet"
    raise DataError(
        f"there is no study {str(study)!r}: wanted a study's folder, its file, or its name in {runs} ({there}); "
        "begin one with `curriculum search`, or name the folder of runs with --runs"
    )


def _sorted(found: StudyTrials, sort: Sort) -> Sequence[TrialRecord]:
    if sort == "number":
        return found.trials
    return sorted(found.trials, key=lambda trial: -math.inf if trial.value is None else trial.value, reverse=True)
