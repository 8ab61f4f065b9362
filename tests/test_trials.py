"""`curriculum trials` and `curriculum dashboard`: a study is seen as it is, and is left as it was."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from filelock import FileLock
from rich.console import Console

from curriculum.cli import cli
from curriculum.commands.dashboard import dashboard
from curriculum.errors import CurriculumError, DataError, UserError
from curriculum.mix import Phase
from curriculum.proxy.run import RunRequest, perform
from curriculum.report.trials_table import best_trial, print_trials, strip_shares
from curriculum.search.objective import score_run
from curriculum.search.study import Study
from curriculum.search.study_file import load_study
from curriculum.search.trials import open_storage, read_trials

STUDY = """\
version: 1
name: tiny
streams:
  arith: {local: "testbed:arith"}
  facts: {local: "testbed:facts"}
length: {samples: 128}
exposure_shares: {arith: 1, facts: 1}
proxy: {layers: 1, width: 8, heads: 1, batch: 16, readings: 4}
probes:
  - {name: flipped, family: flipped, builtin: "testbed:flipped", floor: 0.0, items: 4}
objective: {burn_in: 0.3}
"""
RAMP = (Phase(until=Decimal(1), weights={"arith": 3, "facts": 1}, to={"arith": 1, "facts": 3}),)
needs_proc = pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux says who holds a lock")


def request(study: Study, number: int) -> RunRequest:
    return RunRequest(
        label=f"trial-{number:03d}", mix=study.mix(f"trial-{number}", RAMP), seed=number, samples=study.samples,
        recipe=study.recipe, probes=study.probes,
    )  # fmt: skip


def write_study(root: Path) -> None:
    """Trial 0 done, 1 failed, 2 asked and half trained, 3 waiting: as a search leaves them in the middle."""
    (root / "tiny.yaml").write_text(STUDY)
    study, folder = load_study(root / "tiny.yaml"), root / "runs" / "tiny"
    folder.mkdir(parents=True)
    (folder / "study.json").write_text(json.dumps({"study": study.canonical(), "data": {}}))
    (folder / ".lock").touch()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}")
    found = optuna.create_study(storage=storage, study_name="tiny", direction="maximize")
    sqlite3.connect(folder / "study.db").execute("PRAGMA journal_mode = WAL")
    found.enqueue_trial({"u": 0.5}, user_attrs={"name": "static"})
    for _ in range(3):
        found.ask().suggest_float("u", 0, 1)
    perform(request(study, 0), folder)
    trial = optuna.trial.Trial(found, found.trials[0]._trial_id)
    trial.set_constraint("final_margin", -0.25)
    trial.set_constraint("loss_facts", 0.125)
    found.tell(0, 0.625)
    found.tell(1, state=optuna.trial.TrialState.FAIL)
    (folder / request(study, 2).run_id()).mkdir()
    found.enqueue_trial({"u": 0.75}, user_attrs={"name": "ramp-up"})
    storage.engine.dispose()


def tell(root: Path, number: int, value: float) -> None:
    """What the search's own process does meanwhile."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{root / 'runs/tiny/study.db'}")
    optuna.load_study(storage=storage, study_name="tiny").tell(number, value)
    storage.engine.dispose()


def call(*arguments: str) -> int:
    """The command line in this process, its errors raised."""
    return int(cli([*arguments], standalone_mode=False) or 0)


def everything(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@needs_proc
def test_every_state_is_told_while_a_search_is_at_work(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = everything(root)
    with FileLock(root / "runs/tiny/.lock"):
        assert call("trials", "tiny.yaml", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [trial["state"] for trial in found["trials"]] == ["done", "failed", "running", "waiting"]
    assert [trial["name"] for trial in found["trials"]] == [
        "trial-0 (near static)",
        "trial-1",
        "trial-2",
        "trial-3 (near ramp-up)",
    ]
    assert found["at_work"] is True and found["metric"] == "time_general"
    assert [trial["run"] is None for trial in found["trials"]] == [False, True, False, True]
    assert all(trial["feasible"] is None and trial["value"] is None for trial in found["trials"][1:])
    assert everything(root) == before


def test_a_trial_is_shown_with_the_run_that_gave_its_value(root: Path) -> None:
    """A search that was begun anew beside kept runs numbers its trials alike, and may play others."""
    study, folder = load_study(root / "tiny.yaml"), root / "runs/tiny"
    other = perform(replace(request(study, 0), seed=10), folder).folder
    named = [path.name for path in folder.glob("trial-000-s*/")]
    for name in named:
        storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}")
        trial = optuna.load_study(storage=storage, study_name="tiny").trials[0]
        with storage.engine.begin() as connection:
            connection.execute(
                sa.text(
                    "INSERT OR REPLACE INTO trial_user_attributes (trial_id, key, value_json) VALUES (:trial, 'run', :run)"
                ),
                {"trial": trial._trial_id, "run": json.dumps(name)},
            )
        storage.engine.dispose()
        assert read_trials(folder).trials[0].run == folder / name
    assert other.name in named and len(named) == 2


def test_a_done_trial_has_its_measures_from_its_run(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("trials", str(root / "runs" / "tiny"), "--json") == 0
    trial = json.loads(capsys.readouterr().out)["trials"][0]
    study = load_study(root / "tiny.yaml")
    result = perform(request(study, 0), root / "runs/tiny")
    measures = score_run(study, result).measures
    assert (trial["time_general"], trial["area"], trial["final_margin"]) == (
        measures.time_general,
        measures.area,
        measures.final_margin,
    )
    assert (trial["value"], trial["worst_constraint"], trial["excess"], trial["feasible"]) == (
        0.625,
        "loss_facts",
        0.125,
        False,
    )
    assert trial["seconds"] == result.seconds and Path(trial["run"]).name == result.folder.name


@needs_proc
def test_after_a_kill_nothing_runs(root: Path) -> None:
    found = read_trials(root / "runs/tiny")
    assert found.at_work is False and [trial.state for trial in found.trials] == ["done", "failed", "waiting", "waiting"]


def test_a_trial_whose_run_is_whole_and_not_told_yet_is_called_trained(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    perform(request(load_study(root / "tiny.yaml"), 2), root / "runs/tiny")
    for held in (FileLock(root / "runs/tiny/.lock"), nullcontext()):
        with held:
            states = [trial.state for trial in read_trials(root / "runs/tiny").trials]
        assert states == ["done", "failed", "trained", "waiting"]
    assert call("trials", "tiny.yaml") == 0
    assert "1 done, 1 trained, 1 failed, 1 waiting" in capsys.readouterr().out
    tell(root, 2, 0.5)
    assert read_trials(root / "runs/tiny").trials[2].state == "done"


CUT_OFF = """\
import os, sqlite3
base = sqlite3.connect("runs/tiny/study.db", isolation_level=None)
base.execute("PRAGMA journal_mode = {mode}")
base.execute("UPDATE trials SET state = 'FAIL' WHERE number = 2")
base.execute("PRAGMA cache_size = 1")
base.execute("BEGIN IMMEDIATE")
base.execute("UPDATE trials SET state = 'RUNNING'")
base.execute("CREATE TABLE filler (text)")
for _ in range(200): base.execute("INSERT INTO filler VALUES (?)", ("x" * 500,))
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(("mode", "left"), [("DELETE", "study.db-journal"), ("WAL", "study.db-wal")])
def test_what_was_committed_before_a_kill_is_seen_and_nothing_else(root: Path, mode: str, left: str) -> None:
    subprocess.run([sys.executable, "-c", CUT_OFF.format(mode=mode)], cwd=root, check=False)
    assert (root / "runs/tiny" / left).stat().st_size > 0
    assert [trial.state for trial in read_trials(root / "runs/tiny").trials] == ["done", "failed", "failed", "waiting"]


def test_a_study_in_a_folder_that_may_not_be_written_to_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    made: list[str] = []
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *found, **options: made.append(found[0]) or connect(*found, **options))
    assert len(read_trials(root / "runs/tiny").trials) == 4
    assert made and all("mode=ro&immutable=1" in address for address in made)


def test_trials_are_sorted_by_value_and_the_best_keeps_constraints(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tell(root, 2, 0.75)
    assert call("trials", "tiny", "--sort", "value", "--json") == 0
    assert [trial["number"] for trial in json.loads(capsys.readouterr().out)["trials"]] == [2, 0, 1, 3]
    trials = read_trials(root / "runs/tiny").trials
    assert best_trial(trials) is trials[2]
    worse = [replace(trials[2], excess=0.5, worst="loss_facts"), trials[0]]
    assert best_trial(worse) is trials[0] and best_trial(trials[1:2]) is None


def shown(root: Path, *, width: int, terminal: bool) -> str:
    text = io.StringIO()
    found = read_trials(root / "runs/tiny")
    print_trials(found, found.trials, Console(file=text, width=width, force_terminal=terminal, color_system=None))
    return text.getvalue()


def test_the_table_fits_the_terminal_and_draws_where_there_is_room(root: Path) -> None:
    narrow, wide, plain = (shown(root, width=w, terminal=t) for w, t in ((80, True), (140, True), (80, False)))
    for text in (narrow, wide, plain):
        assert all(word in text for word in ("0.625", "loss_facts", "+0.125", "no", "failed", "1 done", "1 failed", "waiting"))
    tables = [text.partition("\nStudy")[0].splitlines() for text in (narrow, wide)]
    assert max(map(len, tables[0])) <= 80 and max(map(len, tables[1])) <= 140
    assert "████" in wide and "░░░░" in wide and "curriculum: █ arith  ░ facts" in wide
    assert "█" not in narrow and "█" not in plain
    assert request(load_study(root / "tiny.yaml"), 0).run_id() in plain


def test_the_picture_shows_steps_and_ramps() -> None:
    steps = (Phase(until=Decimal("0.5"), weights={"a": 1}), Phase(until=Decimal(1), weights={"b": 3, "a": 1}))
    assert strip_shares(steps, ["a", "b"], 4) == [[1.0, 0.0], [1.0, 0.0], [0.25, 0.75], [0.25, 0.75]]
    ramp = (Phase(until=Decimal(1), weights={"a": 1, "b": 0}, to={"a": 0, "b": 2}),)
    assert strip_shares(ramp, ["a", "b"], 4) == [[0.875, 0.125], [0.625, 0.375], [0.375, 0.625], [0.125, 0.875]]
    assert strip_shares((), ["a"]) == []


def test_a_study_that_has_only_begun_has_no_trials(root: Path) -> None:
    base = root / "runs/tiny/study.db"
    base.unlink()
    assert read_trials(base.parent).trials == () and not base.exists()
    base.touch()
    assert read_trials(base.parent).trials == ()
    sqlite3.connect(base).execute("CREATE TABLE studies (study_id INTEGER)")  # killed between two tables
    assert read_trials(base.parent).trials == ()
    assert "no trial yet" in shown(root, width=80, terminal=True)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:40960] = b"\x55" * (40960 - 4096)
    path.write_bytes(content)


def foreign(path: Path) -> None:
    path.unlink()
    sqlite3.connect(path).execute("CREATE TABLE cats (name TEXT)")


@pytest.mark.parametrize(
    ("break_it", "name", "words"),
    [
        (lambda folder: (folder / "study.db").write_text("no database at all" * 99), "tiny", "cannot be read"),
        (lambda folder: damage(folder / "study.db"), "tiny", "cannot be read"),
        (lambda folder: foreign(folder / "study.db"), "tiny", "something else.*cats"),
        (lambda folder: (folder / "study.json").write_text("{"), "tiny", "study.json is damaged"),
        (lambda folder: (folder / "study.json").unlink(), "tiny", "no study is in"),
        (lambda folder: None, "tyni", "no study 'tyni'.*there are tiny"),
        (lambda folder: None, "runs/tiny/study.db", "is no study"),
    ],
)
def test_no_study_and_a_broken_one_are_told_in_words(root: Path, break_it: object, name: str, words: str) -> None:
    break_it(root / "runs/tiny")  # type: ignore[operator]
    with pytest.raises(DataError, match=words) as caught:
        call("trials", name)
    assert caught.value.exit_code == 2


def test_another_database_can_be_named(root: Path) -> None:
    shutil.move(root / "runs/tiny/study.db", root / "else where.db")
    found = read_trials(root / "runs/tiny", f"sqlite:///{root / 'else where.db'}")
    assert [trial.number for trial in found.trials] == [0, 1, 2, 3]
    optuna.create_study(storage="sqlite:///other.db", study_name="another")
    with pytest.raises(DataError, match="no study 'tiny', but another"):
        read_trials(root / "runs/tiny", "sqlite:///other.db")


def test_nothing_can_be_written_through_what_is_opened(root: Path) -> None:
    opened, content = open_storage(root / "runs/tiny"), dump(root)
    assert opened is not None
    with pytest.raises(optuna.exceptions.StorageInternalError):
        opened.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "mine")
    with pytest.raises(optuna.exceptions.StorageInternalError):
        opened.set_trial_user_attr(opened.get_all_trials(1)[2]._trial_id, "note", "mine")
    opened.engine.dispose()
    assert dump(root) == content


# The dashboard.


@pytest.fixture
def served(root: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    pytest.importorskip("optuna_dashboard")
    process = subprocess.Popen(
        [sys.executable, "-m", "curriculum.cli", "dashboard", "tiny", "--port", "0"],
        cwd=root, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )  # fmt: skip
    assert process.stderr is not None
    try:
        said = process.stderr.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+", said)
        assert address is not None, said + process.stderr.read()
        yield process, address[0]
    finally:
        process.kill()
        process.communicate()


def dump(root: Path) -> list[str]:
    with closing(sqlite3.connect(root / "runs/tiny/study.db")) as base:
        return list(base.iterdump())


def fetch(address: str, method: str = "GET") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method=method), timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_dashboard_shows_a_study_as_it_grows_and_changes_nothing(
    root: Path, served: tuple[subprocess.Popen[str], str]
) -> None:
    process, address = served
    content = dump(root)
    code, page = fetch(f"{address}/dashboard")
    assert code == 200 and "<html" in page
    studies = json.loads(fetch(f"{address}/api/studies")[1])["study_summaries"]
    assert [study["study_name"] for study in studies] == ["tiny"]
    detail = f"{address}/api/studies/{studies[0]['study_id']}"
    assert len(json.loads(fetch(detail)[1])["trials"]) == 4
    for method, place in (("DELETE", detail), ("POST", f"{detail}/rename"), ("POST", f"{address}/api/trials/3/tell")):
        assert fetch(place, method)[0] == 403
    assert dump(root) == content
    tell(root, 2, 0.875)
    while json.loads(fetch(detail)[1])["trials"][2]["state"] != "Complete":  # it asks the database every two seconds
        time.sleep(0.1)
    content = dump(root)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 0 and "Traceback" not in errors and "POST" not in errors
    assert dump(root) == content and not list(root.rglob("study.db-*"))


def test_the_dashboard_offers_nothing_that_it_refuses(served: tuple[subprocess.Popen[str], str]) -> None:
    _, address = served
    with urllib.request.urlopen(f"{address}/dashboard", timeout=30) as answer:
        page = answer.read()
        assert answer.status == 200 and len(page) == int(answer.headers["Content-Length"])
    assert page.count(b"Read only: a study of curriculum") == 1 and page.rstrip().endswith(b"</html>")
    asked = urllib.request.Request(f"{address}/dashboard", headers={"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert answer.status == 200 and answer.read() == page


def test_no_button_that_would_change_a_study_is_seen(served: tuple[subprocess.Popen[str], str]) -> None:
    browsers = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    with browsers.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"], timeout=300_000
        )
        page = browser.new_page()
        page.set_default_timeout(300_000)
        page.goto(f"{served[1]}/dashboard")
        page.get_by_role("button", name="Reload").wait_for()
        page.get_by_text("tiny").first.wait_for()
        for button in ('button:has-text("Create")', '[aria-label="delete study"]', '[aria-label="rename study"]'):
            assert page.locator(button).count() == 1 and not page.locator(button).is_visible()
        assert "Read only" in page.evaluate("getComputedStyle(document.body, '::after').content")
        browser.close()


def test_a_taken_port_is_told(root: Path) -> None:
    pytest.importorskip("optuna_dashboard")
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UserError, match=r"in use.*--port"):
        dashboard(Path("tiny"), port=taken.getsockname()[1])


def test_without_the_package_the_command_says_how_to_get_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    with pytest.raises(UserError, match=r"pip install 'curriculum\[dashboard\]'"):
        dashboard(Path("tiny"))


def test_a_dashboard_of_nothing_is_refused(root: Path) -> None:
    pytest.importorskip("optuna_dashboard")
    (root / "runs/tiny/study.db").unlink()
    for run in (root / "runs/tiny").glob("*/run.json"):
        run.unlink()  # else the trials of these runs would be somewhere
    with pytest.raises(CurriculumError, match="no trial yet"):
        dashboard(Path("tiny"))
    assert not (root / "runs/tiny/study.db").exists()
