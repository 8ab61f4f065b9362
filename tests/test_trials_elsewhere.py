"""Trials in a database that lies elsewhere: asked for where they are not named, and shown where no search ever was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from postgres_help import PASSWORD, PostgresServer, postgres_server
from test_trials import call

from curriculum.errors import DataError
from curriculum.report import read_study
from curriculum.search.shared_runs import SharedRuns
from curriculum.search.study_file import load_study
from curriculum.search.trials import read_trials


def test_trials_in_a_database_that_is_not_named_are_asked_for(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not "no trial yet", which would be false: there are runs."""
    shutil.move(root / "runs/tiny/study.db", root / "elsewhere.db")
    for verb in ("trials", "dashboard"):
        with pytest.raises(DataError, match=r"holds runs, but no study\.db.*--storage") as caught:
            call(verb, "tiny")
        assert caught.value.exit_code == 2
    assert "in the database that the search was given" in read_study(root / "runs/tiny").missing[0]
    assert call("trials", "tiny", "--storage", f"sqlite:///{root / 'elsewhere.db'}") == 0
    assert "1 done" in capsys.readouterr().out
    shutil.rmtree(next((root / "runs/tiny").glob("trial-000-*")))
    assert call("trials", "tiny") == 0, "nothing has been trained: the search has only begun"


@pytest.fixture(scope="module")
def server(written: Path) -> Iterator[PostgresServer]:
    """A server with the study as machines that search it together leave it there: one trial told, one asked for."""
    with postgres_server() as running:
        study = load_study(written / "tiny.yaml")
        SharedRuns(running.url(), "tiny").agree({"study": study.canonical(), "data": {}, "version": "1", "created": "now"})
        storage = optuna.storages.RDBStorage(running.url())
        found = optuna.create_study(storage=storage, study_name="tiny", direction="maximize")
        for _ in range(2):
            found.ask().suggest_float("u", 0, 1)
        optuna.trial.Trial(found, found.trials[0]._trial_id).set_constraint("loss_facts", 0.125)
        found.tell(0, 0.625)
        storage.engine.dispose()
        yield running


def test_a_machine_that_took_no_part_is_shown_a_shared_study(
    root: Path, server: PostgresServer, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(root / "runs")
    for named in ("tiny", "tiny.yaml"):
        assert call("trials", named, "--storage", server.url(), "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["name"], found["metric"], found["at_work"]) == ("tiny", "time_general", None)
        assert [(trial["state"], trial["value"], trial["feasible"]) for trial in found["trials"]] == [
            ("done", 0.625, False),
            ("running", None, None),
        ]
        assert all(trial["run"] is None and trial["area"] is None for trial in found["trials"])
    assert call("trials", "tiny", "--storage", server.url()) == 0 and "loss_facts" in capsys.readouterr().out
    assert not (root / "runs").exists()


def test_a_study_that_the_database_does_not_know_is_told(root: Path, server: PostgresServer) -> None:
    shutil.rmtree(root / "runs")
    with pytest.raises(DataError, match="know of a study 'tyni', but of tiny") as caught:
        call("trials", "tyni", "--storage", server.url())
    assert PASSWORD not in str(caught.value)
    engine = sa.create_engine(server.url(), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("CREATE DATABASE empty"))
    engine.dispose()
    with pytest.raises(DataError, match=r"no study is in .*nor does the database .* know of a study 'tiny'; wanted"):
        call("trials", "tiny", "--storage", server.url(database="empty"))


def test_only_who_asks_for_trials_alone_does_without_the_record(root: Path, server: PostgresServer) -> None:
    """A report is of the runs, so that a folder without a study stays an error there."""
    shutil.rmtree(root / "runs")
    with pytest.raises(DataError, match="no study is in"):
        read_trials(root / "runs/tiny", server.url())
