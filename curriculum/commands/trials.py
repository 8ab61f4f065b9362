"""`curriculum trials`: what a study has tried so far, also while a search is at work on it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console

from curriculum.errors import DataError
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

    `study` is a study's folder, its name (then it lies in `runs`), or its file; the default study without one.
    """
    found = read_trials(study_folder(study, runs), storage)
    ordered = _sorted(found, sort)
    if as_json_document:
        print(json.dumps(as_json(found, ordered), indent=1))
    else:
        from curriculum.report.trials_table import print_trials

        print_trials(found, ordered, Console())
    return 0


def study_folder(study: Path | None, runs: Path) -> Path:
    """Return the folder that a user means by a folder, a name, a study file, or nothing (the default study)."""
    if study is None:
        return runs / load_study().name
    if study.is_dir():
        return study.resolve()
    if study.is_file():
        if study.suffix not in (".yaml", ".yml"):
            raise DataError(f"{study} is no study: wanted its folder (runs/NAME), its name, or its .yaml file")
        return runs / load_study(study).name
    named = runs / study
    if named.is_dir():
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
