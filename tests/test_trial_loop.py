"""The loop of trials: hopeless ones are stopped by their prefix, a resume comes to the same, an older study is built on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_search_end_to_end import STUDY

from curriculum.proxy.run import RunRequest, load_run, perform
from curriculum.search.conclusion import Trial
from curriculum.search.executor import Outcome
from curriculum.search.objective import reference_of
from curriculum.search.observer import Silent
from curriculum.search.proposals import Proposals
from curriculum.search.runner import Runner, stream_sizes
from curriculum.search.space import SearchSpace
from curriculum.search.study import Study
from curriculum.search.study_file import load_study
from curriculum.search.trial_loop import TrialLoop

BUDGET = 18


class Here:
    """An executor that trains in this process, when it is asked for the result."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self.trained: list[str] = []

    def submit(self, request: RunRequest) -> None:
        if load_run(self.runs / request.run_id()) is None:
            self.trained.append(request.run_id())
            perform(request, self.runs)

    def result(self, request: RunRequest) -> Outcome:
        self.submit(request)
        return Outcome(request=request, result=load_run(self.runs / request.run_id()))

    def results(self, requests: list[RunRequest]) -> list[Outcome]:
        return [self.result(request) for request in requests]

    def drain(self) -> None:
        pass

    def kill(self) -> None:
        pass


def tried(folder: Path, study: Study, budget: int = BUDGET) -> tuple[list[Trial], Here]:
    folder.mkdir(exist_ok=True)
    here = Here(folder)
    sizes, _ = stream_sizes(study)
    shares = study.shares(sizes)
    space = SearchSpace(study, shares, sizes)
    runner = Runner(study=study, space=space, shares=shares, sizes=sizes, executor=here, observer=Silent())
    reference = reference_of(runner.scores([runner.request("static", runner.static, seed) for seed in (1, 2)]))
    return TrialLoop(runner=runner, proposals=Proposals(study, space, folder), reference=reference).run(budget), here


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study in which trials are pruned; readings often enough for a prefix."""
    file = tmp_path_factory.mktemp("study") / "tiny.yaml"
    file.write_text(
        STUDY.replace("readings: 4", "readings: 8").replace("search: {", "search: {pruner: percentile-75, ahead: 2, ")
    )
    return load_study(file)


@pytest.fixture(scope="module")
def first(study: Study, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Trial], Here]:
    return tried(tmp_path_factory.mktemp("first"), study)


def told(trials: list[Trial]) -> list[object]:
    return [(trial.proposal.phases, trial.value, trial.stopped) for trial in trials]


def test_a_hopeless_trial_is_stopped_and_told_as_such(study: Study, first: tuple[list[Trial], Here]) -> None:
    trials, here = first
    stopped = [trial for trial in trials if trial.stopped is not None]
    assert 0 < len(stopped) <= BUDGET // 2
    whole = [trial.value for trial in trials if trial.score is not None]
    for trial in stopped:
        assert trial.request is not None and trial.score is None and trial.proposal.number >= 8
        result = load_run(here.runs / trial.request.run_id())
        assert result is not None and result.stopped == trial.stopped
        assert study.samples / 4 <= (trial.stopped or 0) < study.samples
        assert trial.value <= sorted(whole)[len(whole) // 2]
    again, second = tried(here.runs, study)
    assert told(again) == told(trials) and not second.trained


def test_without_a_pruner_none_is_stopped_and_run_ids_are_what_they_were(study: Study, tmp_path: Path) -> None:
    plain = replace(study, search=replace(study.search, pruner="none"))
    trials, _ = tried(tmp_path / "plain", plain, budget=10)
    assert all(trial.stopped is None and trial.score is not None for trial in trials)
    requests = [trial.request for trial in trials if trial.request is not None]
    assert all(request.stop is None and "stop" not in request.identity() for request in requests)


def test_a_grown_budget_comes_to_what_a_whole_search_does(
    study: Study, first: tuple[list[Trial], Here], tmp_path: Path
) -> None:
    tried(tmp_path / "grown", study, budget=12)
    grown, _ = tried(tmp_path / "grown", study)
    assert told(grown) == told(first[0])
