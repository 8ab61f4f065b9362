"""A whole search by two processes on one database, each with a runs folder of its own: the same as by one process alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from postgres_help import PostgresServer, postgres_server
from test_search_end_to_end import CURRICULUM, STUDY, wait_for, what_was_found, workers_of

SMALL = "\n".join(line for line in STUDY.splitlines() if not line.startswith("controls")) + "\n"


def begin(folder: Path, *arguments: str, study: str = SMALL) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    (folder / "tiny.yaml").write_text(study)
    command = [*CURRICULUM, "search", "tiny.yaml", "--budget", "5", "--json", *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str]) -> dict[str, object]:
    out, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    document: dict[str, object] = json.loads(out)
    return what_was_found(document)


def runs_of(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in (folder / "runs/tiny").glob("*/run.json")}


def test_two_processes_find_what_one_finds_through_a_restart_and_a_death(server: PostgresServer, tmp_path: Path) -> None:
    together = ("--storage", server.url(), "--workers", "1")
    searches = [begin(tmp_path / name, *together) for name in ("a", "b")]
    wait_for(lambda: len(runs_of(tmp_path / "a")) >= 3 and runs_of(tmp_path / "b"))
    server.stop(signal.SIGQUIT)
    server.start()
    wait_for(lambda: len(runs_of(tmp_path / "b")) >= 6)
    searches[1].kill()
    searches[1].communicate()
    late = begin(tmp_path / "late", *together)
    found = [end(searches[0]), end(late)]
    alone = end(begin(tmp_path / "alone", "--workers", "2"))
    assert found == [alone, alone]
    assert set(runs_of(tmp_path / "a")) == set(runs_of(tmp_path / "alone")) and len(runs_of(tmp_path / "a")) >= 15
    assert runs_of(tmp_path / "a") == runs_of(tmp_path / "late"), "each run was trained once, and sent to the other"
    rows = server.execute("SELECT state, count(*) FROM curriculum_runs GROUP BY state")
    assert [tuple(row) for row in rows] == [("done", len(runs_of(tmp_path / "a")))]


def test_a_process_whose_time_is_over_gives_up_its_runs_and_none_of_them_fails(tmp_path: Path) -> None:
    """SIGTERM is how Slurm and Kubernetes say so: to the process, or to its workers as well, as here."""
    waits = "proxy: {command: \"sh -c 'sleep 3600' {mix} {seed} {out}\", timeout: 7200, retries: 0}"
    study = "\n".join(waits if line.startswith("proxy") else line for line in SMALL.splitlines())
    with postgres_server() as server:
        for _ in range(2):
            search = begin(tmp_path, "--storage", server.url(), "--workers", "2", study=study)
            try:
                wait_for(lambda: len(owners(server)) == 2 and len(workers_of(search.pid)) == 2)  # noqa: B023
                for pid in (search.pid, *workers_of(search.pid)):
                    with suppress(ProcessLookupError):  # the search may have ended its workers meanwhile
                        os.kill(pid, signal.SIGTERM)
                _, errors = search.communicate(timeout=400)
            finally:
                search.kill()
            assert search.returncode == 130, errors
            assert "search tiny.yaml --budget 5" in errors and "Traceback" not in errors
            rows = server.execute("SELECT state, owner, attempts FROM curriculum_runs")
            assert [tuple(row) for row in rows] == [("claimed", "", 0)] * 2
            assert not server.execute("SELECT 1 FROM curriculum_processes")


def owners(server: PostgresServer) -> list[str]:
    """Who is at which run; nobody before the tables are there."""
    (there,) = server.execute("SELECT to_regclass('curriculum_runs')")
    return [] if there[0] is None else [row[0] for row in server.execute("SELECT owner FROM curriculum_runs WHERE owner <> ''")]
