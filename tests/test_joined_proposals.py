"""Trials of several processes on one database that goes away while one of them is put."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from postgres_help import postgres_server
from test_reuse import space_of, study_of

from curriculum.search.proposals import Proposals
from curriculum.search.shared_runs import SharedRuns

DROP_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'curriculum'"


def test_a_trial_is_put_once_though_the_database_goes_away_with_the_lock(tmp_path: Path) -> None:
    """Optuna puts it again by itself, when another process may have come before."""
    study = study_of("ab")
    with postgres_server() as server:

        def joined() -> Proposals:
            shared = SharedRuns(server.url(), study.name)
            return Proposals(study, space_of(study), tmp_path, server.url(), shared=shared)

        one, other = joined(), joined()
        dropped: list[str] = []

        def drop(_: object, __: object, statement: str, *___: object) -> None:
            if statement.startswith("INSERT INTO trials ") and not dropped:
                dropped.append(statement)
                server.execute(DROP_ALL)
                other.propose(0)

        backend: Any = one._optuna._storage
        sa.event.listen(backend._backend.engine, "before_cursor_execute", drop)
        assert one.propose(0) == other.propose(0) and dropped
        assert server.execute("SELECT count(*) FROM trials")[0][0] == 1
