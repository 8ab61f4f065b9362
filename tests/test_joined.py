"""Searching from several machines: a real PostgreSQL server, claimed and shared runs, restarts and deaths in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from joined_help import contents, run_folder
from postgres_help import PASSWORD, PostgresServer

from curriculum.errors import ChangedError, CurriculumError, ResourceError, UserError
from curriculum.search.run_archive import pack, unpack
from curriculum.search.shared_runs import DEATHS, SharedRuns
from curriculum.search.shared_study import remember_together
from curriculum.search.storage import database_url, engine_options, is_shared, shared_engine, shown_url
from curriculum.search.study_file import load_study

PROCESS = """\
import random, sys
from pathlib import Path
from curriculum.search.shared_runs import SharedRuns
url, study, out = sys.argv[1:4]
"""
TRAINS_ALL = (
    PROCESS
    + """\
import time
shared = SharedRuns(url, study)
shared.join()
print("joined", flush=True)
while not Path(sys.argv[6] + ".go").exists():
    time.sleep(0.01)
names = [f"run-{number}" for number in range(int(sys.argv[4]))]
random.shuffle(names)
while True:
    views = shared.view(names)
    if all(view.state == "done" for view in views.values()):
        break
    for name in names:
        if shared.claim(name) != "mine":
            continue
        folder = Path(out) / name
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(name + shared.owner)
        time.sleep(float(sys.argv[5]))
        with open(sys.argv[6], "a") as log:
            log.write(name + "\\n")
        assert shared.finish(name, folder)
shared.leave()
"""
)
HOLDS = (
    PROCESS
    + """\
import time
shared = SharedRuns(url, study)
shared.join()
print(shared.claim("run"), flush=True)
with shared.lock("proposals"):
    print("locked", flush=True)
    time.sleep(600)
"""
)


@pytest.fixture
def study(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


def process(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def begin_together(at_work: Sequence[subprocess.Popen[str]], log: Path) -> None:
    """Let processes begin once all have joined: a first contact is not tried again, so a restart must not meet one."""
    for each in at_work:
        assert each.stdout is not None and each.stdout.readline() == "joined\n"
    Path(f"{log}.go").touch()


def wait_for(condition: Callable[[], object]) -> None:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < 300, "nothing happened for long"
        time.sleep(0.05)


def expire(server: PostgresServer, study: str) -> None:
    """Let a lease's time go by."""
    server.execute("UPDATE curriculum_runs SET lease_until = lease_until - 1000 WHERE study = :study", study=study)


# Claims


def test_four_processes_do_each_of_fifty_runs_once(server: PostgresServer, study: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    at_work = [process(TRAINS_ALL, server.url(), study, tmp_path / str(number), 50, 0, log) for number in range(4)]
    begin_together(at_work, log)
    assert [each.wait(300) for each in at_work] == [0] * 4
    assert sorted(log.read_text().split()) == sorted(f"run-{number}" for number in range(50))
    assert server.execute("SELECT count(*) FROM curriculum_processes WHERE study = :study", study=study)[0][0] == 0


def test_a_claim_is_busy_for_others_and_repeated_by_its_owner_without_counting(server: PostgresServer, study: str) -> None:
    one, other = SharedRuns(server.url(), study), SharedRuns(server.url(), study)
    assert other.view(["run"])["run"].state == "free"
    assert [one.claim("run") for _ in range(5)] == ["mine"] * 5
    assert other.claim("run") == "busy" and other.view(["run"])["run"].state == "busy"
    assert SharedRuns(server.url(), study + "-other").claim("run") == "mine", "another study has runs of its own"


def test_a_released_run_is_free_at_once_however_often(server: PostgresServer, study: str) -> None:
    one, other = SharedRuns(server.url(), study), SharedRuns(server.url(), study)
    for _ in range(2 * DEATHS):
        assert one.claim("run") == "mine" and other.claim("run") == "busy"
        one.release(["run"])
        assert other.claim("run") == "mine"
        other.release(["run"])


def test_a_dead_owners_run_is_taken_over_when_its_lease_is_over(server: PostgresServer, study: str) -> None:
    with process(HOLDS, server.url(), study, "-") as dead:
        assert dead.stdout is not None and dead.stdout.readline() == "mine\n"
        dead.kill()
    shared = SharedRuns(server.url(), study, lease=0.5)
    assert shared.claim("run") == "busy"
    expire(server, study)
    assert shared.view(["run"])["run"].state == "free" and shared.claim("run") == "mine"


def test_a_process_that_is_seen_dead_need_not_be_waited_for(server: PostgresServer, study: str) -> None:
    with process(HOLDS, server.url(), study, "-") as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "mine\n"
        shared = SharedRuns(server.url(), study)
        assert shared.join() == 1 and shared.claim("run") == "busy", "it lives"
        shared.leave()
        holder.kill()
        holder.wait()
        assert shared.join() == 0 and shared.claim("run") == "mine"
        shared.leave()


def test_leases_are_renewed_while_their_owner_lives(server: PostgresServer, study: str) -> None:
    one, other = SharedRuns(server.url(), study, lease=4), SharedRuns(server.url(), study)
    one.join()
    assert one.claim("run") == "mine"
    expire(server, study)
    until = "SELECT 1 FROM curriculum_runs WHERE study = :study AND lease_until > extract(epoch FROM clock_timestamp())"
    wait_for(lambda: server.execute(until, study=study))
    assert other.claim("run") == "busy"
    one.leave()
    assert other.claim("run") == "mine", "who leaves gives up its claims"


def test_time_without_a_server_counts_for_no_lease(server: PostgresServer, study: str) -> None:
    assert SharedRuns(server.url(), study).claim("run") == "mine"
    expire(server, study)
    server.stop()
    server.start()
    assert SharedRuns(server.url(), study, lease=600).claim("run") == "busy"
    assert SharedRuns(server.url(), study, lease=0.001).claim("run") == "mine"


def test_failed_runs_get_another_chance_when_nobody_is_at_work(server: PostgresServer, study: str) -> None:
    one, other = SharedRuns(server.url(), study), SharedRuns(server.url(), study)
    assert one.join() == 0
    assert one.fail("run", "no such device")
    assert other.join() == 1 and other.claim("run") == "failed"
    one.leave()
    other.leave()
    assert one.join() == 0 and one.claim("run") == "mine"
    one.leave()


# What is handed over


def test_a_run_comes_out_as_it_went_in(server: PostgresServer, study: str, tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "here")
    (folder / "command-1.log").write_text("stays here")
    shared = SharedRuns(server.url(), study)
    assert shared.finish("run", folder) and shared.finish("run", folder), "twice is once"
    assert shared.claim("run") == "done"
    shared.fetch("run", tmp_path / "there")
    wanted = {name: content for name, content in contents(folder).items() if name != "command-1.log"}
    assert contents(tmp_path / "there") == wanted and len(wanted) == 5


def test_the_first_end_of_a_run_counts(server: PostgresServer, study: str, tmp_path: Path) -> None:
    one, other = SharedRuns(server.url(), study), SharedRuns(server.url(), study)
    assert one.finish("run", run_folder(tmp_path / "one", 0.1))
    assert not other.finish("run", run_folder(tmp_path / "other", 0.2)) and not other.fail("run", "too late")
    other.fetch("run", tmp_path / "other")
    assert contents(tmp_path / "other") == contents(tmp_path / "one")
    assert one.fail("broken", "loss is not finite") and not other.finish("broken", tmp_path / "other")


def test_the_record_is_written_last_and_an_old_one_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    payload, digest = pack(run_folder(tmp_path / "new", 0.9))
    old = run_folder(tmp_path / "old", 0.1)
    monkeypatch.setattr(Path, "replace", lambda self, target: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space"):
        unpack(payload, old, digest)
    assert not (old / "run.json").exists()
    names: list[str] = []
    monkeypatch.setattr(Path, "replace", lambda self, target: names.append(target.name))
    unpack(payload, old, digest)
    assert names[-1] == "run.json" and len(names) == 5


def test_a_damaged_run_is_refused_in_words(server: PostgresServer, study: str, tmp_path: Path) -> None:
    shared = SharedRuns(server.url(), study)
    assert shared.finish("run", run_folder(tmp_path / "run"))
    damage = "overlay(payload placing 'x'::bytea from 60)"
    server.execute(f"UPDATE curriculum_runs SET payload = {damage} WHERE study = :study", study=study)
    with pytest.raises(ResourceError, match="is damaged"):
        shared.fetch("run", tmp_path / "there")
    assert shared.finish("other", tmp_path / "run")
    server.execute("UPDATE curriculum_runs SET digest = 'another' WHERE run_id = 'other'")
    with pytest.raises(ResourceError, match="its digest is another one"):
        shared.fetch("other", tmp_path / "there")
    assert not (tmp_path / "there").exists()
    with pytest.raises(ResourceError, match="not in the database"):
        shared.fetch("third", tmp_path / "there")


def test_a_study_that_differs_from_the_others_is_refused(server: PostgresServer) -> None:
    one = replace(load_study(None), name="together")
    moved = {name: replace(stream, local=f"/elsewhere/{name}") for name, stream in one.streams.items()}
    first, second = SharedRuns(server.url(), one.name), SharedRuns(server.url(), one.name)
    begun = remember_together(first, one, {"web": "digest"})
    assert remember_together(second, replace(one, streams=moved), {"web": "digest"}) == begun
    with pytest.raises(ChangedError, match=rf"study\.seed: {one.seed} -> 99"):
        remember_together(second, replace(one, seed=99), {"web": "digest"})
    with pytest.raises(ChangedError, match=r"data\.web: digest -> another"):
        remember_together(second, one, {"web": "another"})


# The lock


def test_the_lock_is_held_by_one_at_a_time(server: PostgresServer, study: str, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")

    def count(_: int) -> None:
        shared = SharedRuns(server.url(), study)
        for _ in range(10):
            with shared.lock("proposals"):
                found = int(counter.read_text())
                time.sleep(0.002)
                counter.write_text(str(found + 1))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(count, range(4)))
    assert counter.read_text() == "40"


def test_the_lock_of_a_killed_process_is_free(server: PostgresServer, study: str) -> None:
    looks: list[int] = []

    def heed() -> None:
        looks.append(1)
        holder.kill()

    with process(HOLDS, server.url(), study, "-") as holder:
        assert holder.stdout is not None and holder.stdout.readline() + holder.stdout.readline() == "mine\nlocked\n"
        with SharedRuns(server.url(), study, heed=heed).lock("proposals"):
            assert looks, "it was held until its holder died"


def test_a_lost_lock_is_noticed_and_the_operation_done_again(server: PostgresServer, study: str) -> None:
    shared = SharedRuns(server.url(), study)
    tries: list[int] = []

    def operation(confirm: Callable[[], None]) -> str:
        tries.append(1)
        confirm()
        if len(tries) == 1:
            server.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
            confirm()
        return "done"

    assert shared.locked("proposals", operation) == "done" and len(tries) == 2
    tries.clear()
    with pytest.raises(sa.exc.OperationalError), shared.lock("proposals") as confirm:
        operation(confirm)
    with shared.lock("proposals") as confirm:
        confirm()


# A server that goes away


def test_restarts_in_the_middle_are_outlived(server: PostgresServer, study: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    at_work = [process(TRAINS_ALL, server.url(), study, tmp_path / str(number), 40, 0.02, log) for number in range(2)]
    begin_together(at_work, log)
    for finished, how in ((5, signal.SIGQUIT), (15, signal.SIGKILL)):
        wait_for(lambda: log.exists() and len(log.read_text().split()) >= finished)  # noqa: B023
        server.stop(how)
        time.sleep(0.3)
        server.start()
    assert [each.wait(300) for each in at_work] == [0, 0]
    assert sorted(log.read_text().split()) == sorted(f"run-{number}" for number in range(40))


def test_a_server_that_stays_away_is_said_in_words_and_ctrl_c_is_heeded(server: PostgresServer, study: str) -> None:
    notices: list[str] = []
    shared = SharedRuns(server.url(), study, patience=0.5, notice=notices.append)

    def interrupt() -> None:
        raise KeyboardInterrupt

    impatient = SharedRuns(server.url(), study, heed=interrupt)
    impatient.join()
    server.stop()
    try:
        with pytest.raises(ResourceError, match="has been away") as caught:
            shared.claim("run")
        assert len(notices) == 1 and PASSWORD not in notices[0] + str(caught.value)
        with pytest.raises(KeyboardInterrupt):
            impatient.claim("run")
        impatient.leave()
    finally:
        server.start()
    assert shared.claim("run") == "mine"


def test_wrong_addresses_are_refused_in_words(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusal(url: str, kind: type[CurriculumError], words: str) -> None:
        with pytest.raises(kind, match=words) as caught:
            SharedRuns(url, "study")
        assert PASSWORD not in str(caught.value) and "sqlalche.me" not in str(caught.value)

    refusal(server.url(password="wrong"), UserError, "password authentication failed")
    refusal(server.url(database="nowhere"), UserError, 'database "nowhere" does not exist')
    refusal(f"postgresql://postgres:{PASSWORD}@127.0.0.1:1/postgres", ResourceError, "refused")
    refusal("postgresql+psycopg://postgres@nowhere.invalid/postgres", ResourceError, "resolve|translate|known")
    refusal("sqlite:///study.db", UserError, "only PostgreSQL can be shared")
    refusal("study.db", UserError, "only PostgreSQL can be shared")
    with pytest.raises(UserError, match="wants the address of a database"):
        database_url("study.db")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    refusal(server.url(), UserError, r"pip install 'curriculum\[postgres\]'")


def test_addresses_and_their_options() -> None:
    assert database_url("postgres://a@b/c") == database_url("postgresql://a@b/c") == "postgresql+psycopg://a@b/c"
    assert is_shared("postgresql+psycopg://a@b/c") and not is_shared("sqlite:///a.db") and not is_shared(None)
    for address in ("a:secret@b/c", "a:se/cr:secret@secret@b:port/c", "b/c?user=a&password=secret&sslmode=require"):
        assert "secret" not in shown_url(f"postgresql+psycopg://{address}") and "***" in shown_url(f"://{address}")
    assert shown_url("sqlite:////a@b/c.db") == "sqlite:////a@b/c.db"
    assert engine_options("sqlite:///a.db") == {"connect_args": {"timeout": 60}}
    assert engine_options("postgresql://a@b/c")["pool_pre_ping"] is True
    assert isinstance(shared_engine("postgresql://a@b/c", pooled=False).pool, sa.NullPool)
