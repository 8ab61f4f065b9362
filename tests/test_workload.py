"""How long a search takes, said beforehand: what is idle is not counted as at work, and what is left out is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from test_search_end_to_end import STUDY

from curriculum.cli import cli
from curriculum.errors import UserError
from curriculum.proxy.run import RunRequest
from curriculum.search import workload
from curriculum.search.coordinator import Coordinator, Means
from curriculum.search.populations import Populations
from curriculum.search.study import Study
from curriculum.search.study_file import load_study

RUN, MEMBER = 10.0, 2.0  # seconds


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study that proposes four trials ahead; its runs are not timed, but said to take so long."""
    (tmp_path / "tiny.yaml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)

    def timed(_: RunRequest, workers: int, population: int, device: str) -> float:
        return RUN if population == 1 else MEMBER

    monkeypatch.setattr(workload, "_seconds_of_a_run", timed)
    return load_study(Path("tiny.yaml"))


def seconds(study: Study, workers: int, populations: Populations | None = None) -> float | None:
    coordinator = Coordinator(study, Means(runs=Path("runs"), out=Path("mixes"), workers=workers))
    sample = coordinator.runner.request("timing", coordinator.runner.static, 0)
    return workload.estimate(study, 8, sample, workers, None, populations).seconds


def test_trials_take_as_long_as_those_proposed_ahead_take(study: Study) -> None:
    """Eight trials, of which four are under way at once whatever the number of workers; the rest fill all workers."""
    rest = workload.count_runs(study, 8).runs - 8
    assert study.search.ahead == 4 and rest == 20
    assert seconds(study, 2) == (8 + rest) * RUN / 2
    assert seconds(study, 4) == (8 + rest) * RUN / 4
    assert seconds(study, 16) == 8 * RUN / 4 + rest * RUN / 16


def test_trials_of_one_population_are_one_worker_s(study: Study) -> None:
    populations = Populations(size=64, device="cuda", trials=4)
    assert seconds(study, 2, populations) == 8 * MEMBER + 20 * MEMBER / 2


def test_idle_workers_are_told_with_what_would_use_them(study: Study) -> None:
    assert workload.idle_words(study, 4, Populations()) == ""
    words = workload.idle_words(study, 16, Populations())
    assert "of 16 workers at most 4 have trials at once" in words and "`search: {ahead: 16}`" in words
    together = workload.idle_words(study, 2, Populations(size=64, device="cuda", trials=4))
    assert "of 2 workers at most 1 has a trial" in together and "ahead: 2" not in together


def announced(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert not cli(["search", "tiny.yaml", "--budget", "5", "--dry-run", *arguments], standalone_mode=False)
    return capsys.readouterr().out


def test_a_dry_run_says_what_it_leaves_out(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Note" not in announced(capsys, "--workers", "4")
    assert json.loads(announced(capsys, "--workers", "4", "--json"))["notes"] == []
    assert "Note: of 8 workers at most 4 have trials at once" in announced(capsys, "--workers", "8")
    joined = announced(capsys, "--workers", "2", "--storage", "postgresql+psycopg://me@host/db")
    assert "Note: the time is for this process alone; others that join by --storage" in joined
    cluster = announced(capsys, "--executor", "ray")
    assert "the Ray cluster is not asked (reckoned with" in cluster and "say the cluster's with --workers" in cluster
    assert "reckoned" not in announced(capsys, "--executor", "ray", "--workers", "2")
    (note,) = json.loads(announced(capsys, "--executor", "ray", "--workers", "2", "--json"))["notes"]
    assert "the Ray cluster is not asked" in note


def test_a_dry_run_refuses_what_the_search_refuses(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="--executor ray has one coordinator"):
        announced(capsys, "--executor", "ray", "--storage", "postgresql+psycopg://me@host/db")


def test_a_search_says_that_workers_stay_idle(
    study: Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first run, which would take a while, so that the study can still be changed."""

    def stop(*_: object) -> None:
        raise UserError("enough")

    monkeypatch.setattr(Coordinator, "run", stop)
    for workers, is_told in (("4", False), ("8", True)):
        with pytest.raises(UserError, match="enough"):
            cli(["search", "tiny.yaml", "--budget", "5", "--workers", workers], standalone_mode=False)
        assert ("of 8 workers at most 4" in " ".join(capsys.readouterr().err.split())) == is_told


def test_the_surrogate_s_optimum_is_repeated_beside_the_few_trials_of_a_small_budget() -> None:
    study = load_study()
    search, front = study.search, replace(study, objective=replace(study.objective, pareto="loss"))
    assert workload.count_runs(study, 1).search == search.reference_seeds + 1 + 2 * search.repeats
    assert workload.count_runs(front, 1).search == search.reference_seeds + 1 + search.repeats


def test_static_and_every_finalist_may_be_asked_under_the_full_runs_schedule_on_all_pairs() -> None:
    study = load_study()
    targeted = replace(study, objective=replace(study.objective, target_schedule="wsd", common_tail=0))
    without = replace(targeted, objective=replace(targeted.objective, target_schedule=None))
    search, counts = study.search, workload.count_runs(targeted, 50)
    assert counts.schedule == 2 * search.finalist_seeds, "static's and the leader's are certain"
    asked = counts.schedule + counts.more - workload.count_runs(without, 50).more
    assert asked == (1 + search.finalists) * search.most_seeds
    few = replace(targeted, search=replace(search, finalist_seeds=5))
    assert workload.count_runs(few, 50).more == 0, "nobody can win, so that nobody else is asked"
