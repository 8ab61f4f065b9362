"""The loop of trials: hopeless ones are stopped by their prefix, a resume comes to the same, an older study is built on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_search_end_to_end import STUDY

from curriculum.errors import ChangedError, RunError
from curriculum.proxy.run import RunRequest, load_run, perform
from curriculum.search.candidates import Candidates
from curriculum.search.conclusion import Trial
from curriculum.search.executor import Outcome
from curriculum.search.objective import Reference, reference_of
from curriculum.search.observer import Silent
from curriculum.search.populations import Populations
from curriculum.search.proof import Prover
from curriculum.search.proposals import Proposal, Proposals
from curriculum.search.runner import Runner, stream_sizes
from curriculum.search.space import SearchSpace
from curriculum.search.study import Study
from curriculum.search.study_file import load_study
from curriculum.search.trial_loop import TrialLoop

BUDGET = 18


class Here:
    """An executor that trains in this process; runs whose label begins with one of `failing` fail."""

    def __init__(self, runs: Path, failing: tuple[str, ...] = ()) -> None:
        self.runs, self.failing = runs, failing
        self.trained: list[str] = []

    def submit(self, request: RunRequest) -> None:
        if not request.label.startswith(self.failing or ("none",)) and load_run(self.runs / request.run_id()) is None:
            self.trained.append(request.run_id())
            perform(request, self.runs)

    def result(self, request: RunRequest) -> Outcome:
        self.submit(request)
        result = load_run(self.runs / request.run_id())
        return Outcome(request=request, result=result, failure=None if result else "it was made to fail")

    def results(self, requests: list[RunRequest]) -> list[Outcome]:
        return [self.result(request) for request in requests]

    def finished(self, prefix: str) -> set[str]:
        return {path.parent.name for path in self.runs.glob(f"{prefix}*/run.json")}

    def drain(self) -> None:
        pass

    def kill(self) -> None:
        pass


def runner_of(study: Study, here: Here) -> Runner:
    sizes, _ = stream_sizes(study)
    shares = study.shares(sizes)
    space = SearchSpace(study, shares, sizes)
    return Runner(study=study, space=space, shares=shares, sizes=sizes, executor=here, observer=Silent())


def reference(runner: Runner) -> Reference:
    return reference_of(runner.scores([runner.request("static", runner.static, seed) for seed in (1, 2)]))


def tried(folder: Path, study: Study, budget: int = BUDGET) -> tuple[list[Trial], Here]:
    folder.mkdir(exist_ok=True)
    here = Here(folder)
    runner = runner_of(study, here)
    proposals = Proposals(study, runner.space, folder)
    return TrialLoop(runner=runner, proposals=proposals, reference=reference(runner)).run(budget), here


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


class Believing(Silent):
    """Keeps what it is told that the surrogate believes."""

    def __init__(self) -> None:
        self.beliefs: list[tuple[float, float, float | None]] = []

    def believed(self, best: float, deviation: float, predicted: float | None = None) -> None:
        self.beliefs.append((best, deviation, predicted))


def test_what_is_believed_comes_with_what_the_surrogate_would_stake_on(
    study: Study, first: tuple[list[Trial], Here], tmp_path: Path
) -> None:
    observer = Believing()
    runner = replace(runner_of(study, first[1]), observer=observer)
    TrialLoop(runner=runner, proposals=Proposals(study, runner.space, tmp_path), reference=reference(runner)).run(BUDGET)
    assert len(observer.beliefs) == BUDGET // 5
    for best, deviation, predicted in observer.beliefs:
        assert deviation > 0 and predicted is not None and predicted >= best - 1e-9


def by_two(folder: Path, study: Study, budget: int, here: Here) -> list[Trial]:
    """Try trials two at a time, as one population each."""
    runner = replace(runner_of(study, here), populations=Populations(size=2, trials=2))
    proposals = Proposals(study, runner.space, folder)
    return TrialLoop(runner=runner, proposals=proposals, reference=reference(runner)).run(budget)


def beside(trial: Trial) -> list[str]:
    assert trial.request is not None
    return [] if trial.request.population is None else [each.label for each in trial.request.population.members]


def test_trials_of_a_population_are_asked_for_together_whatever_failed_and_whatever_is_known(
    study: Study, tmp_path: Path
) -> None:
    plain = replace(study, search=replace(study.search, pruner="none"))
    trials = by_two(tmp_path, plain, 5, Here(tmp_path, failing=("trial-002",)))
    assert [trial.score is None for trial in trials] == [False, False, True, False, False]
    assert beside(trials[1]) == ["trial-000", "trial-001"] and beside(trials[3]) == ["trial-002", "trial-003"]
    assert beside(trials[4]) == [], "the budget ended"
    resumed = Here(tmp_path, failing=("trial-002",))
    again = by_two(tmp_path, plain, 5, resumed)
    assert not resumed.trained and told(again) == told(trials) and beside(again[3]) == beside(trials[3])
    grown = Here(tmp_path)
    more = by_two(tmp_path, plain, 6, grown)
    assert beside(more[5]) == beside(more[4]) == ["trial-004", "trial-005"] and len(grown.trained) == 2


def test_repeats_and_proof_are_asked_for_in_populations(study: Study, tmp_path: Path) -> None:
    plain = replace(study, search=replace(study.search, pruner="none"))
    here = Here(tmp_path)
    runner = replace(runner_of(plain, here), populations=Populations(size=3))
    proposals, limit = Proposals(plain, runner.space, tmp_path), reference(runner)
    trials = TrialLoop(runner=runner, proposals=proposals, reference=limit).run(4)
    finalists = Candidates(runner=runner, reference=limit, evidence=proposals.evidence(4)).finalists(trials)
    proof = Prover(runner=runner).prove(finalists)
    assert all(len(arm.scores) == 2 for arm in proof.arms.values())
    assert proof.compared == len(proof.finalists), "a member of a population is one run, under one name"
    records = {path.parent.name: json.loads(path.read_text()) for path in tmp_path.glob("*/run.json")}
    kinds = {name.split("-")[0]: len(record.get("trained_with", {}).get("members", ())) for name, record in records.items()}
    assert (kinds["trial"], kinds["static"]) == (0, 2) and kinds["proof"] in (2, 3)


def test_trials_that_all_fail_end_in_words(study: Study, tmp_path: Path) -> None:
    runner = runner_of(study, Here(tmp_path, failing=("trial-",)))
    proposals, limit = Proposals(study, runner.space, tmp_path), reference(runner)
    trials = TrialLoop(runner=runner, proposals=proposals, reference=limit).run(7)
    assert all(trial.score is None and trial.stopped is None for trial in trials)
    with pytest.raises(RunError, match=r"not tried again.*another name"):
        Candidates(runner=runner, reference=limit, evidence=proposals.evidence(7)).finalists(trials)


@pytest.mark.parametrize("name", ["what? is=this", "a%20b", "#1", "[x]*"])
def test_any_folder_holds_a_study(study: Study, tmp_path: Path, name: str) -> None:
    space, folder = runner_of(study, Here(tmp_path)).space, tmp_path / name
    folder.mkdir()
    (folder / "study.json").write_text(json.dumps({"study": {"name": study.name}}))
    proposals = Proposals(study, space, folder)
    proposals.enqueue({"static": space.parameters(np.ones((1, 3)))})
    proposals.close()
    assert [path.name for path in tmp_path.iterdir()] == [name] and (folder / "study.db").exists()
    assert len(Proposals(study, space, folder).evidence()) == 1


def test_trials_of_other_settings_in_the_same_storage_are_refused(study: Study, tmp_path: Path) -> None:
    space = runner_of(study, Here(tmp_path)).space
    storage = f"sqlite:///{tmp_path}/elsewhere.db"
    Proposals(study, space, tmp_path, storage)
    Proposals(study, space, tmp_path, storage)
    changed = replace(study, objective=replace(study.objective, metric="area"))
    with pytest.raises(ChangedError, match=r"objective\.metric: time_general -> area"):
        Proposals(changed, space, tmp_path, storage)


def finalist(study: Study, runner: Runner, name: str) -> Trial:
    phases = runner.control(name)
    assert phases is not None
    request = runner.request(name, study.mix(f"{name}-found", phases), 1)
    proposal = Proposal(number=0, name=f"{name}-found", phases=phases, order=None)
    return Trial(proposal=proposal, request=request, score=None, value=0.0, excess=0.0)


def test_finalists_of_earlier_proofs_count_as_compared(study: Study, tmp_path: Path) -> None:
    runner = runner_of(study, Here(tmp_path))
    up, down = (finalist(study, runner, name) for name in ("ramp-up", "ramp-down"))
    first = Prover(runner=runner).prove([up])
    assert first.compared == 1 == Prover(runner=runner).prove([up]).compared  # going on is no second question
    assert Prover(runner=runner).prove([down]).compared == 2
    assert Prover(runner=runner).prove([up, down]).compared == 2
    assert Prover(runner=runner_of(study, Here(tmp_path / "afresh"))).prove([down]).compared == 1


def test_a_leader_whose_tail_fails_gives_way_to_the_next(study: Study, tmp_path: Path) -> None:
    runner = runner_of(study, Here(tmp_path))
    finalists = [finalist(study, runner, name) for name in ("ramp-up", "ramp-down")]
    unharmed = Prover(runner=runner).prove(finalists)
    assert set(unharmed.finalists) == {"ramp-up-found", "ramp-down-found"} and unharmed.arms[unharmed.leader].tail
    (other,) = set(unharmed.finalists) - {unharmed.leader}
    tail = f"tail-{unharmed.leader}"
    for folder in tmp_path.glob(f"{tail}-s*"):
        (folder / "run.json").unlink()
    harmed = Prover(runner=runner_of(study, Here(tmp_path, failing=(tail,)))).prove(finalists)
    assert harmed.leader == other and harmed.finalists == (other,) and harmed.compared == unharmed.compared == 2
    with pytest.raises(RunError, match="every finalist failed with the common tail"):
        Prover(runner=runner_of(study, Here(tmp_path / "again", failing=("tail-",)))).prove(finalists)
