"""The database of a search: its address, its engine, and patience when it is away.

Idea: a database that several machines share is restarted now and then, and a search of days must not die of that. So
every use of it goes through a `Guard`, which does the whole use again until it succeeds or `patience` is over. The
price is a rule for whoever uses it: an operation must be harmless when done twice, since a connection may die after the
server has committed and before it has said so. What is wrong at the very beginning (address, password, driver) is not
waited for: `first_contact` says it in words at once.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc

from curriculum.errors import ResourceError, UserError

T = TypeVar("T")
STUDIES_TABLE = "curriculum_studies"  # what processes that share a database agreed on, by study (see `shared_runs`)
PATIENCE = 300.0  # seconds: a restart, a failover, a short maintenance
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds between two attempts, doubling
_HEED_SECONDS = 0.25
# SQLSTATEs of a server that goes away, comes back or is full: 08 connection, 53 resources, 57P0 shutdown and start-up,
# 40 a transaction that lost against another.
_PASSING_STATES = ("08", "53", "57P0", "40")
_PASSWORD = re.compile(r"(://[^:@/]*:).*(?=@)")  # to the last @: rather too much is hidden than too little
_OPTION = re.compile(r"(password=)[^&]*", re.IGNORECASE)
_USERS_FAULT = ("authentication", "does not exist", "no password", "pg_hba", "permission denied")


def database_url(url: str) -> str:
    """Return the address as SQLAlchemy wants it: `postgres://` and `postgresql://` mean psycopg here. Raises UserError."""
    for scheme in ("postgres://", "postgresql://"):
        if url.startswith(scheme):
            url = "postgresql+psycopg://" + url.removeprefix(scheme)
    try:
        sa.make_url(url)
    except (exc.ArgumentError, ValueError):  # the latter for a port that is no number
        raise UserError(
            f"--storage wants the address of a database, such as postgresql+psycopg://user@host/database; got "
            f"{shown_url(url)!r}"
        ) from None
    return url


def file_url(path: Path) -> str:
    """Return the address of an SQLite file, whatever characters its path has."""
    return sa.URL.create("sqlite", database=str(path)).render_as_string()


def shown_url(url: str) -> str:
    """Return the address without its password, for messages; also one that is no address, or has it among its options."""
    return _OPTION.sub(r"\1***", _PASSWORD.sub(r"\1***", url))


def is_shared(url: str | None) -> bool:
    """Whether this storage is one that processes on other machines can join."""
    return url is not None and url.startswith(("postgres://", "postgresql://", "postgresql+"))


def engine_options(url: str) -> dict[str, Any]:
    """Return arguments of `create_engine`: patient with SQLite's one lock, wary of PostgreSQL's dead connections.

    A process holds about three connections in all, so a server's usual hundred serve thirty processes.
    """
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": 60}}
    if not is_shared(url):
        return {"pool_pre_ping": True}
    options: dict[str, Any] = {"pool_pre_ping": True, "pool_size": 2, "max_overflow": 2}
    arguments = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
    if sa.make_url(database_url(url)).drivername == "postgresql+psycopg":
        # Statements prepared on one connection are unknown on another behind a connection pooler.
        options["connect_args"] = {**arguments, "application_name": "curriculum", "prepare_threshold": None}
    return options


def shared_engine(url: str, *, pooled: bool = True) -> sa.Engine:
    """Return an engine for a PostgreSQL address, without connecting; not `pooled`: every connection is closed after use.

    Raises UserError for other databases and for a missing driver.
    """
    if not is_shared(url):
        raise UserError(
            f"only PostgreSQL can be shared by several processes, got {shown_url(url)}; name it as "
            "postgresql+psycopg://user@host/database"
        )
    options = engine_options(url)
    if not pooled:
        options = {"connect_args": options.get("connect_args", {}), "poolclass": sa.NullPool}
    try:
        return sa.create_engine(database_url(url), **options)
    except ImportError as error:
        raise UserError(
            f"PostgreSQL needs its driver, which is not installed ({error}); pip install 'curriculum[postgres]'"
        ) from None
    except exc.SQLAlchemyError as error:
        raise UserError(f"the address {shown_url(url)} cannot be used: {error}") from None


def first_contact(engine: sa.Engine) -> None:
    """Connect once. Raises UserError for a wrong name or password, ResourceError for a server that is not there."""
    try:
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1"))
    except exc.SQLAlchemyError as error:
        reason = reason_of(error)
        kind = UserError if any(word in reason for word in _USERS_FAULT) else ResourceError
        address = shown_url(engine.url.render_as_string(hide_password=False))
        raise kind(
            f"the database {address} cannot be used: {reason}; check that the "
            "server runs and takes connections from this machine, and user, password (also PGPASSWORD and ~/.pgpass) and "
            "database in the address"
        ) from None


@dataclass(frozen=True, kw_only=True, slots=True)
class Guard:
    """Does an operation again while the database is away, for `patience` seconds.

    `heed` is called several times a second while waiting and may raise; `notice` is told once when waiting begins.
    """

    url: str
    patience: float = PATIENCE
    heed: Callable[[], None] = lambda: None
    notice: Callable[[str], None] = lambda _: None

    def __call__(self, operation: Callable[[], T]) -> T:
        """Return what `operation` returns; it must be harmless when done twice. Raises ResourceError after `patience`."""
        began: float | None = None
        pause = _FIRST_PAUSE
        while True:
            try:
                return operation()
            except Exception as error:
                if not is_away(error):
                    raise
                now = time.monotonic()
                began = self._begin(error, now) if began is None else began
                if now - began >= self.patience:
                    raise ResourceError(
                        f"the database {shown_url(self.url)} has been away for {self.patience:.0f} s: {reason_of(error)}; "
                        "start it and run the same command again: what is done is kept"
                    ) from None
            self._sleep(min(pause, began + self.patience - now))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _begin(self, error: Exception, now: float) -> float:
        self.notice(f"the database does not answer ({reason_of(error)}); trying again for {self.patience:.0f} s")
        return now

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.heed()
            time.sleep(min(left, _HEED_SECONDS))


def is_away(error: BaseException) -> bool:
    """Whether an error, or what it was raised from, says that PostgreSQL does not answer now but may later."""
    return any(_says_away(link) for link in _chain(error))


def reason_of(error: BaseException) -> str:
    """Return the driver's own words, on one line."""
    links = list(_chain(error))
    found = next((link.orig for link in links if isinstance(link, exc.DBAPIError) and link.orig), links[-1])
    return (str(found).strip() or type(found).__name__).splitlines()[0]


def _says_away(error: BaseException) -> bool:
    if isinstance(error, exc.TimeoutError | exc.PendingRollbackError):
        return True
    if not isinstance(error, exc.DBAPIError) or not type(error.orig).__module__.startswith("psycopg"):
        return False  # SQLite is a file: it does not go away and come back
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None)
    if state is None:  # the connection itself failed, so there was no answer that could carry one
        return isinstance(error, exc.OperationalError | exc.InterfaceError)
    return str(state).startswith(_PASSING_STATES)


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__
