"""Runs that several machines share through a database.

Idea: every process that joins a search runs the same deterministic coordinator and so wants the same runs; the database
only says who trains which, and carries the finished ones (some 20 kB each) to the others. A claim is a lease by the
database's clock, renewed while its owner lives; a dead owner's run is taken over. The first result of a run that arrives
counts for everybody, so all processes see the same bits even if two trained it. The alternative, a queue with one
master, needs somebody to outlive it. The price: the runs of a dead machine wait out their lease, one minute; those of a
dead process on a machine where another lives are free within seconds, since that one sees it dead.

A run whose worker dies is tried again by its process, and fails for all after three tries (see `run_queue`). Deaths of
whole processes are counted here: a run may be to blame (memory that takes the node down), but a machine may as well have been
taken away, so ten are borne. Runs beside one to blame are blamed too, so after three a run is begun by who has nothing else.
Who leaves in order, by Ctrl-C or SIGTERM, does not count. Counts outlive a time when nobody is at work, since a run may take
with it all that are; what has failed by then is tried again.

Time during which the server was down counts for no lease: nobody could renew then.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import uuid
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects.postgresql import insert

from curriculum.errors import ResourceError
from curriculum.search.run_archive import pack, unpack
from curriculum.search.storage import STUDIES_TABLE, Guard, first_contact, is_away, reason_of, shared_engine, shown_url
from curriculum.units import keyed_seed

T = TypeVar("T")
Claim = Literal["mine", "busy", "done", "failed"]
State = Literal["free", "busy", "done", "failed"]
DEATHS = 10  # of processes that were at a run, until it counts as failed
BOLD = 3  # deaths until a process that has other runs keeps off it
LEASE_SECONDS = 60.0
_RENEWALS = 4  # in the time of a lease
_LEAVE_SECONDS = 2.0  # that a renewal under way is waited for
_LOCK_MILLISECONDS = 250  # of waiting for a lock, between two looks whether the user wants to stop

_TABLES = sa.MetaData()
_RUNS = sa.Table(
    "curriculum_runs",
    _TABLES,
    sa.Column("study", sa.Text, primary_key=True),
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),  # claimed, done, failed
    sa.Column("owner", sa.Text, nullable=False),  # host:pid:token, empty once released
    sa.Column("lease_until", sa.Double, nullable=False),  # seconds since 1970, by the database's clock
    sa.Column("attempts", sa.Integer, nullable=False),  # claims that were not given up: deaths, and a living owner
    sa.Column("failure", sa.Text),
    sa.Column("digest", sa.Text),
    sa.Column("payload", sa.LargeBinary),
    sa.Column("finished", sa.Double),
)
_PROCESSES = sa.Table(
    "curriculum_processes",
    _TABLES,
    sa.Column("study", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("lease_until", sa.Double, nullable=False),
)
_STUDIES = sa.Table(
    STUDIES_TABLE,
    _TABLES,
    sa.Column("study", sa.Text, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
)
_NOW = sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Double)
_SERVER_START = sa.cast(sa.extract("epoch", sa.func.pg_postmaster_start_time()), sa.Double)


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """What the table says of a run; `failure` in words if it failed."""

    state: State
    failure: str | None = None


class SharedRuns:
    """The shared runs of one study, as one process sees them.

    Creating it connects and creates the tables. All methods may be called from one thread; a second one of its own, from
    `join` to `leave`, renews leases. Every method outlives a restart of the server and raises ResourceError when that
    takes longer than `patience` seconds.
    """

    def __init__(
        self,
        url: str,
        study: str,
        *,
        patience: float = 300.0,
        lease: float = LEASE_SECONDS,
        heed: Callable[[], None] = lambda: None,
        notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.study, self.lease = study, lease
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
        self.guard = Guard(url=url, patience=patience, heed=heed, notice=notice)
        self._engine = shared_engine(url)
        self._locks = shared_engine(url, pooled=False)
        self._held: set[str] = set()
        self._stop = threading.Event()
        self._renewing: threading.Thread | None = None
        first_contact(self._engine)
        self._guarded(self._create_tables)

    def join(self) -> int:
        """Begin to take part; return how many other processes do. The first one gives failed runs another chance."""
        self._guarded(self._bury)
        others = self._guarded(self._join)
        self._stop.clear()
        self._renewing = threading.Thread(target=self._keep_renewing, daemon=True)
        self._renewing.start()
        return others

    def leave(self) -> None:
        """Give up all claims and take part no longer; does not wait for a database that is away: leases end by themselves."""
        if self._renewing is None:
            return
        self._stop.set()
        self._renewing.join(timeout=_LEAVE_SECONDS)
        self._renewing = None
        try:
            self._release(None)
            with self._engine.begin() as connection:
                connection.execute(sa.delete(_PROCESSES).where(self._me(_PROCESSES)))
        except exc.SQLAlchemyError as error:
            if not is_away(error):
                raise self._unusable(error) from None
        self._held.clear()
        self._engine.dispose()

    def agree(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the study was when the first process began it: `document` itself for that process."""
        new = insert(_STUDIES).values(study=self.study, document=json.dumps(document)).on_conflict_do_nothing()
        here = _STUDIES.c.study == self.study

        def attempt() -> str:
            with self._engine.begin() as connection:
                connection.execute(new)
                return str(connection.execute(sa.select(_STUDIES.c.document).where(here)).scalar_one())

        return dict(json.loads(self._guarded(attempt)))

    def claim(self, run_id: str) -> Claim:
        """Claim a run for this process, unless it is done, has failed, or another one is at it. Atomic.

        `busy` is also said of a run that three processes died of, while this one has others.
        """
        found = self._guarded(lambda: self._claim(run_id))
        if found == "mine":
            self._held.add(run_id)
        return found

    def renew(self, run_ids: Iterable[str]) -> None:
        """Prolong this process's claims, and its membership, by a lease from now."""
        listed = list(run_ids)
        self._guarded(lambda: self._renew(listed))

    def release(self, run_ids: Iterable[str]) -> None:
        """Give up claims, so that others need not wait for the leases; it does not count as a death."""
        listed = list(run_ids)
        self._guarded(lambda: self._release(listed))
        self._held.difference_update(listed)

    def view(self, run_ids: Iterable[str]) -> dict[str, View]:
        """Return how runs stand; `free` if somebody may claim them, whether or not anybody has seen them before."""
        listed = list(run_ids)
        return self._guarded(lambda: self._view(listed))

    def finished(self, prefix: str) -> set[str]:
        """Return the ids of the runs that are done and begin with `prefix`."""
        done = (_RUNS.c.study == self.study) & (_RUNS.c.state == "done")
        query = sa.select(sa.func.array_agg(_RUNS.c.run_id)).where(done, _RUNS.c.run_id.startswith(prefix, autoescape=True))
        return set(self._guarded(lambda: self._first(query))[0] or ())

    def finish(self, run_id: str, folder: Path) -> bool:
        """Hand a whole run folder to the others; return False if a different end of this run was there before.

        Claimed or not: a folder from an earlier search may be offered too. Raises OSError if it cannot be read.
        """
        payload, digest = pack(folder)
        done = self._guarded(lambda: self._end(run_id, state="done", digest=digest, payload=payload))
        self._held.discard(run_id)
        return done

    def fail(self, run_id: str, text: str) -> bool:
        """Say to everybody that a run failed; return False if it had ended otherwise before."""
        failed = self._guarded(lambda: self._end(run_id, state="failed", failure=text))
        self._held.discard(run_id)
        return failed

    def fetch(self, run_id: str, folder: Path) -> None:
        """Write the folder of a run that is done, its record last. Raises ResourceError if it is not done or damaged."""
        query = sa.select(_RUNS.c.payload, _RUNS.c.digest).where(self._is(run_id), _RUNS.c.state == "done")
        row = self._guarded(lambda: self._first(query))
        if row is None:
            raise ResourceError(f"run {run_id} of study {self.study!r} is not in the database any more; was a table emptied?")
        try:
            unpack(bytes(row.payload), folder, row.digest)
        except (ValueError, zipfile.BadZipFile) as error:
            raise ResourceError(
                f"what the database holds of run {run_id} is damaged ({error}); delete its row in table curriculum_runs"
            ) from None

    def locked(self, name: str, operation: Callable[[Callable[[], None]], T]) -> T:
        """Do `operation` under a lock of the study; all of it again if the server went away. It must be harmless when repeated.

        It is given a function that makes sure that the lock is held still, to be called right before anything is written.
        """

        def attempt() -> T:
            with self.lock(name) as confirm:
                return operation(confirm)

        return self._guarded(attempt)

    @contextmanager
    def lock(self, name: str) -> Iterator[Callable[[], None]]:
        """Hold a lock of this study, one process at a time; the server frees it when its holder dies.

        Yields a function that raises sqlalchemy's OperationalError if the lock's connection, and so the lock, was lost.
        """
        connection = self._guarded(lambda: self._acquire(keyed_seed("lock", self.study, name)))
        try:
            yield lambda: _ping(connection)
        finally:
            _unlock(connection)

    def _acquire(self, key: int) -> sa.Connection:
        connection = self._locks.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            connection.execute(sa.text(f"SET lock_timeout = {_LOCK_MILLISECONDS}"))
            while True:
                try:
                    connection.execute(sa.select(sa.func.pg_advisory_lock(key)))
                    return connection
                except exc.OperationalError as error:
                    if getattr(error.orig, "sqlstate", None) != "55P03":  # lock_not_available: somebody holds it still
                        raise
                    self.guard.heed()
        except BaseException:
            connection.close()
            raise

    def _guarded(self, operation: Callable[[], T]) -> T:
        try:
            return self.guard(operation)
        except exc.SQLAlchemyError as error:
            raise self._unusable(error) from None

    def _unusable(self, error: exc.SQLAlchemyError) -> ResourceError:
        return ResourceError(
            f"the database {shown_url(self.guard.url)} refuses: {reason_of(error)}; check the user's rights and the tables "
            "curriculum_*, and run the same command again: what is done is kept"
        )

    def _create_tables(self) -> None:
        with self._engine.begin() as connection:  # two that create at once would collide in the server's own catalogue
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(keyed_seed("lock", "tables"))))
            _TABLES.create_all(connection)

    def _bury(self) -> None:
        """Free what dead processes of this machine had claimed.

        Two machines of one name may bury each other's living: then a run is trained twice, and the first result counts.
        """
        here = _PROCESSES.c.owner.startswith(f"{socket.gethostname()}:", autoescape=True)
        with self._engine.begin() as connection:
            found = connection.execute(sa.select(_PROCESSES.c.owner).where(_PROCESSES.c.study == self.study, here))
            dead = [owner for owner in found.scalars() if not _is_alive(int(owner.split(":")[1]))]
            if not dead:
                return
            lost = (_RUNS.c.study == self.study) & (_RUNS.c.state == "claimed") & _RUNS.c.owner.in_(dead)
            connection.execute(sa.update(_RUNS).where(lost).values(owner=""))
            gone = (_PROCESSES.c.study == self.study) & _PROCESSES.c.owner.in_(dead)
            connection.execute(sa.delete(_PROCESSES).where(gone))

    def _join(self) -> int:
        here = _PROCESSES.c.study == self.study
        with self._engine.begin() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(keyed_seed("lock", self.study, "processes"))))
            connection.execute(sa.delete(_PROCESSES).where(here, self._expired(_PROCESSES)))
            count = sa.select(sa.func.count()).where(here, _PROCESSES.c.owner != self.owner)
            others = int(connection.execute(count).scalar_one())
            if not others:
                ours = _RUNS.c.study == self.study
                connection.execute(sa.delete(_RUNS).where(ours, _RUNS.c.state == "failed"))
            member = insert(_PROCESSES).values(study=self.study, owner=self.owner, lease_until=_NOW + self.lease)
            connection.execute(member.on_conflict_do_nothing())
        return others

    def _claim(self, run_id: str) -> Claim:
        lease = {"owner": self.owner, "lease_until": _NOW + self.lease}
        mine, free = _RUNS.c.owner == self.owner, (_RUNS.c.owner == "") | self._expired(_RUNS)
        claimed, bound = self._is(run_id) & (_RUNS.c.state == "claimed"), BOLD if self._held - {run_id} else DEATHS
        with self._engine.begin() as connection:
            new = insert(_RUNS).values(study=self.study, run_id=run_id, state="claimed", attempts=1, **lease)
            if connection.execute(new.on_conflict_do_nothing().returning(_RUNS.c.run_id)).first() is not None:
                return "mine"
            again = sa.update(_RUNS).where(claimed, mine | (free & (_RUNS.c.attempts < bound)))
            attempts = _RUNS.c.attempts + sa.case((mine, 0), else_=1)
            if connection.execute(again.values(attempts=attempts, **lease).returning(_RUNS.c.run_id)).first() is not None:
                return "mine"
            text = f"{DEATHS} processes died or went away while they trained it (out of memory? killed?)"
            fatal = claimed & free & (_RUNS.c.attempts >= DEATHS)
            connection.execute(sa.update(_RUNS).where(fatal).values(state="failed", failure=text, finished=_NOW))
            state = connection.execute(sa.select(_RUNS.c.state).where(self._is(run_id))).scalar_one()
        return "busy" if state == "claimed" else "done" if state == "done" else "failed"

    def _renew(self, run_ids: list[str]) -> None:
        until = {"lease_until": _NOW + self.lease}
        mine = self._me(_RUNS) & (_RUNS.c.state == "claimed") & _RUNS.c.run_id.in_(run_ids)
        member = insert(_PROCESSES).values(study=self.study, owner=self.owner, **until)
        with self._engine.begin() as connection:
            connection.execute(sa.update(_RUNS).where(mine).values(**until))
            connection.execute(member.on_conflict_do_update(index_elements=["study", "owner"], set_=until))

    def _release(self, run_ids: list[str] | None) -> None:
        mine = self._me(_RUNS) & (_RUNS.c.state == "claimed")
        if run_ids is not None:
            mine &= _RUNS.c.run_id.in_(run_ids)
        with self._engine.begin() as connection:
            left = sa.func.greatest(_RUNS.c.attempts - 1, 0)
            connection.execute(sa.update(_RUNS).where(mine).values(owner="", attempts=left))

    def _view(self, run_ids: list[str]) -> dict[str, View]:
        free = (_RUNS.c.owner == "") | self._expired(_RUNS)
        claimed = sa.case((free, "free"), else_="busy")
        state = sa.case((_RUNS.c.state == "claimed", claimed), else_=_RUNS.c.state).label("state")
        asked = (_RUNS.c.study == self.study) & _RUNS.c.run_id.in_(run_ids)
        with self._engine.begin() as connection:
            rows = connection.execute(sa.select(_RUNS.c.run_id, state, _RUNS.c.failure).where(asked)).all()
        known = {row.run_id: View(state=row.state, failure=row.failure) for row in rows}
        return {run_id: known.get(run_id, View(state="free")) for run_id in run_ids}

    def _end(self, run_id: str, **values: Any) -> bool:
        ended = {"owner": self.owner, "finished": _NOW, **values}
        seen = sa.select(_RUNS.c.state, _RUNS.c.digest).where(self._is(run_id))
        with self._engine.begin() as connection:
            row = connection.execute(seen).first()
            if row is None or row.state == "claimed":
                new = insert(_RUNS).values(study=self.study, run_id=run_id, lease_until=_NOW, attempts=1, **ended)
                claimed = _RUNS.c.state == "claimed"
                connection.execute(new.on_conflict_do_update(index_elements=["study", "run_id"], set_=ended, where=claimed))
                row = connection.execute(seen).one()
        return bool(row.state == values["state"] and row.digest == values.get("digest"))

    def _first(self, query: sa.Select[Any]) -> Any:
        with self._engine.begin() as connection:
            return connection.execute(query).first()

    def _keep_renewing(self) -> None:
        pause = self.lease / _RENEWALS
        while not self._stop.wait(pause):
            try:
                self._renew(list(self._held))
                self._bury()
                pause = self.lease / _RENEWALS
            except exc.SQLAlchemyError:
                pause = min(1.0, self.lease / _RENEWALS)  # whoever needs the database says so; leases stand while it is down

    def _is(self, run_id: str) -> sa.ColumnElement[bool]:
        return (_RUNS.c.study == self.study) & (_RUNS.c.run_id == run_id)

    def _me(self, table: sa.Table) -> sa.ColumnElement[bool]:
        return (table.c.study == self.study) & (table.c.owner == self.owner)

    def _expired(self, table: sa.Table) -> sa.ColumnElement[bool]:
        return (table.c.lease_until < _NOW) & (_SERVER_START + self.lease < _NOW)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)  # it may be somebody else's
    return True


def _ping(connection: sa.Connection) -> None:
    connection.execute(sa.text("SELECT 1"))


def _unlock(connection: sa.Connection) -> None:
    try:
        connection.execute(sa.select(sa.func.pg_advisory_unlock_all()))
    except exc.SQLAlchemyError:
        pass  # it went with its connection
    finally:
        connection.close()
