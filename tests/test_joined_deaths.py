"""Deaths of processes that share runs: what is counted against a run, for how long, and what becomes of it."""

from __future__ import annotations

import pytest
from postgres_help import PostgresServer
from test_joined import HOLDS, expire, process

from curriculum.search.shared_runs import BOLD, DEATHS, SharedRuns


@pytest.fixture
def study(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


def lose(server: PostgresServer, study: str, run_id: str, times: int) -> None:
    """Let processes go away while they train a run."""
    for _ in range(times):
        assert SharedRuns(server.url(), study, lease=0.01).claim(run_id) == "mine"
        expire(server, study)


def test_a_run_that_took_many_owners_with_it_has_failed(server: PostgresServer, study: str) -> None:
    """A machine's time may be over, or a spot machine be gone, more often than a worker may die of a run."""
    lose(server, study, "run", DEATHS)
    shared = SharedRuns(server.url(), study, lease=0.01)
    assert shared.claim("run") == "failed" and DEATHS > 3
    assert f"{DEATHS} processes died" in (shared.view(["run"])["run"].failure or "")


def test_a_run_that_some_owners_died_of_is_begun_by_who_has_nothing_else(server: PostgresServer, study: str) -> None:
    """So that what was beside the run to blame does not fail with it."""
    lose(server, study, "run", BOLD)
    shared = SharedRuns(server.url(), study, lease=0.01)
    assert shared.claim("other") == "mine" and shared.claim("run") == "busy"
    assert shared.view(["run"])["run"].state == "free", "another process may have it"
    assert shared.claim("other") == "mine"
    shared.release(["other"])
    assert shared.claim("run") == "mine" == shared.claim("run")
    lose(server, study, "beside", BOLD - 1)
    assert shared.claim("beside") == "mine"


def test_deaths_outlive_a_time_when_nobody_is_at_work_and_failures_do_not(server: PostgresServer, study: str) -> None:
    counted = "SELECT attempts FROM curriculum_runs WHERE study = :study"
    first, second = SharedRuns(server.url(), study), SharedRuns(server.url(), study)
    with process(HOLDS, server.url(), study, "-") as other:
        assert other.stdout is not None and other.stdout.readline() + other.stdout.readline() == "mine\nlocked\n"
        server.execute("UPDATE curriculum_runs SET attempts = :most WHERE study = :study", most=DEATHS, study=study)
        assert first.join() == 1
        first.leave()
        assert server.execute(counted, study=study)[0][0] == DEATHS, "somebody is at it, who may die of it"
        other.kill()
    assert second.join() == 0
    assert second.claim("run") == "failed", "a run that takes with it all who are at work must not be begun for ever"
    second.leave()
    assert first.join() == 0 and first.claim("run") == "mine" and server.execute(counted, study=study)[0][0] == 1
    first.leave()
    assert server.execute(counted, study=study)[0][0] == 0, "who leaves in order did not die"
