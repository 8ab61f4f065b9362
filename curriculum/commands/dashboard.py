"""`curriculum dashboard`: optuna-dashboard on a study, as it grows.

Idea: the pages are optuna-dashboard's own, served on the loopback from a database that they cannot change: a button pressed
there (delete, tell, rename) would spoil a search that is the same to the bit however often it is stopped. Such a request
is answered with 403. optuna-dashboard has no mode that only shows (0.21 has none), so its page is sent with a line at its
foot that says so, and with the buttons hidden that it is known to have for making, naming and deleting studies; those that
a later version has under other names stay in sight, and are answered with 403 all the same. The price is that notes cannot
be kept in the dashboard either. From another machine: `ssh -L 8080:localhost:8080 MACHINE`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from rich.console import Console

from curriculum.commands.trials import check_is_here, study_folder
from curriculum.errors import DataError, UserError
from curriculum.search.trials import open_storage, read_trials

HOST = "127.0.0.1"
_Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
_PARTIAL = ("HTTP_IF_MODIFIED_SINCE", "HTTP_IF_NONE_MATCH", "HTTP_RANGE")  # what may be answered without the whole page
_STYLE = b"""<style>
button:has([data-testid="AddBoxIcon"]), [aria-label="rename study"], [aria-label="delete study"], [aria-label="skip trial"]
{display: none !important}
body::after {content: "Read only: a study of curriculum. Nothing can be made, changed or deleted here."; position: fixed;
bottom: 0; right: 0; z-index: 9999; padding: 2px 8px; background: #444; color: #fff; font: 12px sans-serif}
</style></head>"""


class _Server(ThreadingMixIn, WSGIServer):
    """A page asks for several things at once; what is still being answered does not hold up the end."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    """No line a request."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def dashboard(study: Path | None, *, runs: Path = Path("runs"), storage: str | None = None, port: int = 8080) -> int:
    """Serve a study's pages until Ctrl-C; returns the exit code. `port` 0 takes any free one; `study` as for `trials`.

    Raises UserError when optuna-dashboard is missing or the port is taken, DataError when there is no such study.
    """
    folder = study_folder(study, runs, storage)
    check_is_here(read_trials(folder, storage, from_afar=True))  # says what is wrong with a study before a server begins
    pages = _pages()
    opened = open_storage(folder, storage)
    if opened is None:
        raise DataError(f"the study in {folder} has no trial yet; try again when its search has asked for one")
    try:
        server = make_server(HOST, port, read_only(pages(opened)), server_class=_Server, handler_class=_Quiet)
    except OSError as error:
        raise UserError(
            f"port {port} cannot be served: {error.strerror or error}; name another with --port (0 takes any free one)"
        ) from None
    console = Console(stderr=True)
    with server:
        address = f"http://{HOST}:{server.server_port}/dashboard"
        console.print(f"Study {folder.name!r} is shown at {address} (read only; Ctrl-C ends).", markup=False, highlight=False)
        _serve(server)
    opened.engine.dispose()
    return 0


def _serve(server: WSGIServer) -> None:
    """Serve until Ctrl-C or SIGTERM."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        server.serve_forever(poll_interval=0.25)
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGTERM, before)


def _pages() -> Callable[[Any], _Application]:
    """Return what makes an application of a storage."""
    try:
        found: Callable[[Any], _Application] = import_module("optuna_dashboard").wsgi
    except ImportError as error:
        raise UserError(
            f"the dashboard is not installed ({error}); pip install 'curriculum[dashboard]', or pip install "
            "optuna-dashboard. Without it `curriculum trials` shows the same trials as a table"
        ) from None
    return found


def read_only(application: _Application) -> _Application:
    """Return the application without requests that would change something, and with a page that says so."""

    def guarded(environment: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environment["REQUEST_METHOD"] == "GET" and environment.get("PATH_INFO", "").startswith("/dashboard"):
            return _with_style(application, environment, start_response)
        if environment["REQUEST_METHOD"] in ("GET", "HEAD"):
            return application(environment, start_response)
        start_response("403 Forbidden", [("Content-Type", "application/json")])
        return [b'{"reason": "this dashboard shows a study of curriculum, and changes nothing in it"}']

    return guarded


def _with_style(application: _Application, environment: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with the page of the application, whole, that our style was added to."""
    whole = {key: value for key, value in environment.items() if key not in _PARTIAL}
    answer: list[Any] = []
    body = application(whole, lambda *given: answer.extend(given[:2]))
    try:
        styled = b"".join(body).replace(b"</head>", _STYLE, 1)
    finally:
        getattr(body, "close", lambda: None)()  # a file, where it is one
    status, headers = answer
    length = [("Content-Length", str(len(styled)))]
    start_response(status, [entry for entry in headers if entry[0].lower() != "content-length"] + length)
    return [styled]
