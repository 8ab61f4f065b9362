"""A study's trials as seen from outside, also while a search is at work on it and after kills.

Idea: the database says what was asked and told, each run's folder what came out; both are only looked at. The database is
opened so that SQL cannot change it, no table is made or migrated, and the study's lock is left alone: SQLite's readers and
its writer do not hold each other up. What a kill left in SQLite's journals is put in order by whoever opens it next, be it
a reader; that is SQLite's own recovery, and changes no committed word. The alternative, a copy of the database, would be
stale at once. The price: whether a search is at work can only be said on the machine (a Linux) where it runs.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import optuna
import sqlalchemy as sa
from optuna.trial import FrozenTrial, TrialState

from curriculum.errors import CurriculumError, DataError
from curriculum.mix import Mix, Phase
from curriculum.proxy.run import RunResult, load_run
from curriculum.search.storage import STUDIES_TABLE, database_url, engine_options, file_url, is_shared, reason_of, shown_url

State = Literal["done", "stopped", "running", "failed", "trained", "waiting"]
_SHOWN_MEASURES = ("time_general", "area", "final_margin")
_OPTUNA_TABLES = frozenset({"studies", "trials", "version_info", "alembic_version"})
_BUSY_SECONDS = 60.0  # how long SQLite's writer is waited for


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRecord:
    """One trial. `running`: asked for, not ended, and a search is at work; `trained`: its run is whole, and counts as soon as
    the trials before it have ended, since results are told in order; `waiting`: for a search to begin or go on with it;
    `stopped`: its run was ended early by the pruner, at `stopped` samples.

    `values` holds a number an objective, none before the trial has ended. `excess` is by how much the constraint `worst`
    is overstepped (at most 0: feasible). `measures`, `seconds` and `phases` are of its run, None before that is whole.
    Of a stopped one nothing was measured over the whole run: it has `foretold` (what its proposer was told in place of the
    first objective's value, see `pruning`), and neither values nor measures nor constraints.
    """

    number: int
    name: str
    state: State
    values: tuple[float, ...] = ()
    foretold: float | None = None
    stopped: int | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    worst: str | None = None
    excess: float | None = None
    seconds: float | None = None
    run: Path | None = None
    phases: tuple[Phase, ...] = ()

    @property
    def value(self) -> float | None:
        """The first objective's value, more being better."""
        return self.values[0] if self.values else None

    @property
    def feasible(self) -> bool | None:
        """Whether it keeps every constraint; None without a result."""
        return None if self.excess is None else self.excess <= 0


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyTrials:
    """A study's trials in order of their numbers; `at_work`: whether a search is (None: that cannot be said here).

    `elsewhere`: the folder holds runs but no database, so that there are trials, in one that was not named.
    """

    folder: Path
    name: str
    metric: str
    streams: tuple[str, ...]
    at_work: bool | None
    trials: tuple[TrialRecord, ...]
    elsewhere: bool = False


def read_trials(folder: Path, storage: str | None = None, *, from_afar: bool = False) -> StudyTrials:
    """Return the trials of the study in `folder`, whose database is `storage` (default: SQLite in the folder).

    A study that has only just begun has none. `from_afar`: where the folder holds no study, as on a machine that never took
    part, the database's own record of it will do; then nothing is known of runs. Changes nothing. Raises DataError for a
    missing, foreign or damaged study.
    """
    shared = storage if from_afar and is_shared(storage) and not (folder / "study.json").exists() else None
    study = _read_record(folder) if shared is None else _read_shared_record(folder, shared)
    at_work = None if storage is not None else is_at_work(folder)
    frozen = _frozen_trials(folder, storage)
    return StudyTrials(
        folder=folder,
        name=folder.name,
        metric=str(study["objective"]["metric"]),
        streams=tuple(study["streams"]),
        at_work=at_work,
        trials=tuple(_record(trial, folder, study, at_work=at_work is not False) for trial in frozen),
        elsewhere=storage is None and not (folder / "study.db").exists() and any(folder.glob("*/run.json")),
    )


def open_storage(folder: Path, storage: str | None = None) -> optuna.storages.RDBStorage | None:
    """Return the study's database, through which nothing can be changed; None if the search has not made its tables yet.

    Raises DataError when it is missing, foreign or damaged.
    """
    if storage is None and not (folder / "study.db").exists():
        return None
    url, options = _address(folder, storage)
    shown = shown_url(storage) if storage is not None else str(folder / "study.db")
    with _in_words(shown):
        if not _is_initialised(url, options, shown):
            return None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        return optuna.storages.RDBStorage(url, engine_kwargs=options, skip_compatibility_check=True, skip_table_creation=True)


def is_at_work(folder: Path) -> bool | None:
    """Whether some process owns the study, without touching its lock; None where the system does not tell."""
    try:
        held, inode = Path("/proc/locks").read_text(), (folder / ".lock").stat().st_ino
    except FileNotFoundError:
        return None if not Path("/proc/locks").exists() else False
    except OSError:
        return None
    return any(fields[1] == "FLOCK" and fields[5].endswith(f":{inode}") for fields in map(str.split, held.splitlines()))


def _read_record(folder: Path) -> dict[str, Any]:
    path = folder / "study.json"
    if not path.exists():
        raise DataError(
            f"no study is in {folder} (it has no study.json); wanted a study that `curriculum search` has begun: its "
            "folder (runs/NAME), its name, or its file together with --runs"
        )
    try:
        return _study_of(path.read_text())
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is damaged ({type(error).__name__}: {error}); remove it and run the same search again, which writes it "
            "anew: runs and trials beside it are kept"
        ) from None


def _study_of(document: str) -> dict[str, Any]:
    """Return the study in a record. Raises ValueError, KeyError, TypeError for a damaged one."""
    study: dict[str, Any] = json.loads(document)["study"]
    study["objective"]["metric"], study["objective"]["burn_in"], study["probes"], study["streams"]
    return study


def _read_shared_record(folder: Path, storage: str) -> dict[str, Any]:
    """Return what the processes that share the database agreed on. Raises DataError where there is no such study."""
    url, options = _address(folder, storage)
    shown = shown_url(storage)
    with _in_words(shown):
        engine = sa.create_engine(url, **options)
        try:
            there = sa.inspect(engine).has_table(STUDIES_TABLE)
            with engine.connect() as connection:
                rows = connection.execute(sa.text(f"SELECT study, document FROM {STUDIES_TABLE}")).all() if there else []
        finally:
            engine.dispose()
    known = {str(row.study): str(row.document) for row in rows}
    if folder.name not in known:
        others = f", but of {', '.join(sorted(known))}" if known else ""
        raise DataError(
            f"no study is in {folder}, nor does the database {shown} know of a study {folder.name!r}{others}; wanted a study "
            "that `curriculum search` has begun, by its name, its file or its folder"
        )
    try:
        return _study_of(known[folder.name])
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"what {shown} holds of the study {folder.name!r} is damaged ({reason})") from None


def _address(folder: Path, storage: str | None) -> tuple[str, dict[str, Any]]:
    """Return the database's address, and the options of its engine that make it read-only."""
    url = file_url(folder / "study.db") if storage is None else database_url(storage)
    options = engine_options(url)
    if is_shared(url):
        options.setdefault("connect_args", {})["options"] = "-c default_transaction_read_only=on"
    elif url.startswith("sqlite:///"):
        path = folder / "study.db" if storage is None else Path(str(sa.make_url(url).database))
        options["creator"] = lambda: _connect(path)
    return url, options


def _connect(path: Path) -> sqlite3.Connection:
    """Open an SQLite file that must be there, for reading.

    Where the folder may not be written to, and nothing waits in a log, the file alone is read: no lock can be taken there.
    """
    alone = not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists()
    address = f"file:{quote(str(path.resolve()))}?mode={'ro&immutable=1' if alone else 'rw'}"
    connection = sqlite3.connect(address, uri=True, timeout=_BUSY_SECONDS, check_same_thread=False)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _is_initialised(url: str, options: Mapping[str, Any], shown: str) -> bool:
    engine = sa.create_engine(url, **options)
    try:
        tables = set(sa.inspect(engine).get_table_names())
        if not tables & _OPTUNA_TABLES and tables:
            raise DataError(f"{shown} is the database of something else: it has no trials, but {', '.join(sorted(tables)[:3])}")
        if not tables >= _OPTUNA_TABLES:
            return False
        with engine.connect() as connection:
            return all(
                connection.execute(sa.text(f"SELECT 1 FROM {name}")).first() for name in ("version_info", "alembic_version")
            )
    finally:
        engine.dispose()


def _frozen_trials(folder: Path, storage: str | None) -> list[FrozenTrial]:
    opened = open_storage(folder, storage)
    if opened is None:
        return []
    shown = shown_url(storage) if storage is not None else str(folder / "study.db")
    try:
        with _in_words(shown):
            studies = {study.study_name: study._study_id for study in opened.get_all_studies()}
            if not studies:
                return []
            if folder.name not in studies and (storage is not None or len(studies) > 1):
                raise DataError(f"{shown} has no study {folder.name!r}, but {', '.join(sorted(studies))}")
            study = studies.get(folder.name, next(iter(studies.values())))  # a folder of its own may have been renamed
            return opened.get_all_trials(study, deepcopy=False)
    finally:
        opened.engine.dispose()


@contextmanager
def _in_words(shown: str) -> Iterator[None]:
    try:
        yield
    except (sa.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, sqlite3.Error, ImportError) as error:
        raise DataError(
            f"the study's database {shown} cannot be read: {reason_of(error)}; if it is damaged, move it away and run the "
            "same search again: finished runs are kept and found"
        ) from None


def _record(trial: FrozenTrial, folder: Path, study: Mapping[str, Any], *, at_work: bool) -> TrialRecord:
    path, result = _run_of(folder, trial.number, trial.user_attrs.get("run"))
    name = trial.user_attrs.get("name")
    found = TrialRecord(
        number=trial.number,
        name=f"trial-{trial.number}" + (f" (near {name})" if name else ""),
        state=_state(trial, is_whole=result is not None, at_work=at_work),
        seconds=None if result is None else result.seconds,
        run=path,
        phases=() if path is None else _phases(path),
    )
    values = tuple(trial.values or ()) if trial.state == TrialState.COMPLETE else ()
    if result is not None and result.stopped is not None and found.state != "failed":
        return replace(found, state="stopped", stopped=result.stopped, foretold=values[0] if values else None)
    excesses = trial.constraints
    worst = max(excesses, key=lambda name: excesses[name], default=None)
    return replace(
        found,
        values=values,
        measures={} if result is None else _measures(result, study),
        worst=worst,
        excess=excesses[worst] if worst is not None else 0.0 if values else None,
    )


def _state(trial: FrozenTrial, *, is_whole: bool, at_work: bool) -> State:
    if trial.state.is_finished():
        return "failed" if trial.state == TrialState.FAIL else "done"
    if is_whole:
        return "trained"
    return "running" if trial.state == TrialState.RUNNING and at_work else "waiting"


def _run_of(folder: Path, number: int, told: str | None) -> tuple[Path | None, RunResult | None]:
    """Return the trial's run folder (a whole one if there is), and what it holds if it is whole.

    `told` is the name of the one that gave the trial's value, None where it has none yet (or was told by an older version).
    """
    found: Path | None = None
    named = [] if told is None else [path for path in (folder / told,) if path.exists()]
    for path in [*named, *sorted(folder.glob(f"trial-{number:03d}-s*"))]:
        result = load_run(path)
        if result is not None:
            return path, result
        found = path
    return found, None


def _measures(result: RunResult, study: Mapping[str, Any]) -> dict[str, float]:
    weights = {probe["family"]: float(probe["weight"]) for probe in study["probes"]}
    start = ceil(float(study["objective"]["burn_in"]) * result.samples)
    measures = result.trajectory.measures(start=start, stop=result.samples, weights=weights)
    return {name: float(getattr(measures, name)) for name in _SHOWN_MEASURES}


def _phases(folder: Path) -> tuple[Phase, ...]:
    try:
        return Mix.load(folder / "mix.yaml").phases
    except (CurriculumError, OSError):
        return ()  # not written yet, or not by us: the picture is left out


def as_json(found: StudyTrials, trials: Sequence[TrialRecord]) -> dict[str, Any]:
    """Return what `trials --json` prints, in the order given."""
    return {
        "study": str(found.folder),
        "name": found.name,
        "metric": found.metric,
        "at_work": found.at_work,
        "trials": [
            {
                "number": trial.number,
                "name": trial.name,
                "state": trial.state,
                "value": trial.value,
                "values": list(trial.values),
                "foretold": trial.foretold,
                "stopped": trial.stopped,
                **{name: trial.measures.get(name) for name in _SHOWN_MEASURES},
                "worst_constraint": trial.worst,
                "excess": trial.excess,
                "feasible": trial.feasible,
                "seconds": trial.seconds,
                "run": None if trial.run is None else str(trial.run),
            }
            for trial in trials
        ],
    }


__all__ = ["StudyTrials", "TrialRecord", "as_json", "is_at_work", "open_storage", "read_trials"]
