"""Two objectives: fronts, their area, directions keyed by trial, and what is said of a front at the end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_search_end_to_end import STUDY, search
from test_trial_loop import Here, runner_of

from curriculum.errors import FileError, UserError
from curriculum.mix import Order
from curriculum.probe import RunMeasures
from curriculum.search.candidates import Candidates
from curriculum.search.conclusion import Trial, winning_mix
from curriculum.search.coordinator import Coordinator, Means
from curriculum.search.objective import Score, reference_of
from curriculum.search.pareto import (
    describe_front,
    front_candidates,
    front_words,
    hypervolume,
    non_dominated,
    objectives,
    scalarised,
    seen_by,
)
from curriculum.search.proportions import Given
from curriculum.search.proposals import Proposal
from curriculum.search.proposer import Evidence
from curriculum.search.runner import Runner
from curriculum.search.study import Study
from curriculum.search.study_file import default_study, load_study
from curriculum.search.verdict import Arm, judge

grid = st.integers(0, 8).map(float)
clouds = st.lists(st.tuples(grid, grid), min_size=1, max_size=12).map(lambda rows: np.asarray(rows, dtype=np.float64))


@settings(max_examples=100)
@given(clouds)
def test_the_front_is_what_nobody_beats(points: np.ndarray) -> None:
    for index, kept in enumerate(non_dominated(points)):
        beaten = any((other >= points[index]).all() and (other > points[index]).any() for other in points)
        assert kept == (not beaten)


@settings(max_examples=100)
@given(clouds)
def test_hypervolume_is_the_cells_that_are_dominated(points: np.ndarray) -> None:
    cells = [(x + 0.5, y + 0.5) for x in range(1, 9) for y in range(1, 9)]
    count = sum(any(px > x and py > y for px, py in points) for x, y in cells)
    assert hypervolume(points, (1.0, 1.0)) == pytest.approx(count)
    assert hypervolume(points[non_dominated(points)], (1.0, 1.0)) == pytest.approx(count)


@settings(max_examples=100)
@given(clouds, st.integers(0, 99))
def test_every_direction_agrees_with_dominance(points: np.ndarray, number: int) -> None:
    values = scalarised(points, number, seed=1)
    for index, other in np.ndindex(len(points), len(points)):
        if (points[index] >= points[other]).all() and (points[index] > points[other]).any():
            assert values[index] > values[other]
    assert (values == scalarised(points, number, seed=1)).all()


def test_directions_differ_from_trial_to_trial_and_reach_the_whole_front() -> None:
    angle = np.linspace(0, np.pi / 2, 11)
    concave = 1 - np.stack([np.cos(angle), np.sin(angle)], axis=1)  # no weighted sum finds its middle
    found = {int(scalarised(concave, number, seed=0).argmax()) for number in range(200)}
    assert len(found) >= 9 and found & {4, 5, 6}
    assert len({int(scalarised(concave, 3, seed=seed).argmax()) for seed in range(20)}) > 3


def test_a_trial_sees_its_elders_in_its_own_direction_and_no_more_of_them() -> None:
    values = {0: (0.9, -2.0), 1: (0.5, -1.0), 2: (0.1, -0.5), 3: (1.0, 0.0)}
    evidence = [
        Evidence(number=n, parameters={}, value=None if n == 3 else 0.0, excess={"final_margin": 0.1}) for n in range(4)
    ]
    seen = seen_by(7, evidence, values, seed=2)
    assert [trial.value for trial in seen[:3]] == scalarised(np.asarray([values[n] for n in range(3)]), 7, seed=2).tolist()
    assert seen[3] == evidence[3] and seen[0].excess == evidence[0].excess
    assert {max(seen_by(n, evidence, values, seed=2)[:3], key=lambda t: t.value or 0).number for n in range(40)} == {0, 1, 2}
    assert seen_by(7, evidence[3:], values, seed=2) == evidence[3:]


def test_candidates_are_spread_over_the_front() -> None:
    front = [[0.0, 10.0], [9.8, 0.1], [10.0, 0.0], [6.0, 6.0], [5.9, 6.05]]
    points = np.asarray([*front, [1.0, 1.0], [5.0, 5.0]])
    assert front_candidates(points, 3)[0] == 3 and set(front_candidates(points, 3)) <= {0, 1, 2, 3}
    assert sorted(front_candidates(points, 99)) == [0, 1, 2, 3, 4]
    assert front_candidates(points[5:6], 3) == [0]


def score(time: float, loss: float) -> Score:
    measures = RunMeasures(time_general=time, area=time, final_margin=0.5, longest_stay=time, hops=0, worst_probe=time)
    return Score(measures=measures, tail=measures, loss={"a": loss, "b": loss + 1}, bits={})


def arm(name: str, time: float, loss: float) -> Arm:
    wobble = np.tile([-0.02, -0.01, 0.0, 0.01, 0.02], 2)
    return Arm(name=name, scores=tuple(score(time + w, loss - w / 2) for w in wobble))


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return changed(tmp_path, "metric: time_general, subject_to: [final_margin, loss]", "metric: time_general, pareto: loss")


def changed(tmp_path: Path, old: str, new: str) -> Study:
    text = default_study().read_text()
    assert old in text
    (tmp_path / "study.yaml").write_text(text.replace(old, new))
    return load_study(tmp_path / "study.yaml")


def test_a_study_of_two_objectives(study: Study, tmp_path: Path) -> None:
    assert study.objective.pareto == "loss" and study.objective.subject_to == ("final_margin",)
    assert objectives(study, score(0.7, 1.0)) == (0.7, -1.5)
    assert "pareto" not in load_study().canonical()["objective"]
    with pytest.raises(FileError, match=r"study.yaml:\d+: .*cannot be a constraint"):
        changed(tmp_path, "metric: time_general,", "metric: time_general, pareto: loss,")
    with pytest.raises(FileError, match=r"study.yaml:\d+: .*'bits'"):
        changed(tmp_path, "metric: time_general,", "metric: time_general, pareto: bits,")


def test_the_front_is_given_with_intervals(study: Study) -> None:
    arms = {a.name: a for a in (arm("static", 0.4, 1.0), arm("x", 0.9, 1.4), arm("y", 0.6, 0.8), arm("z", 0.55, 1.2))}
    front = describe_front(study, arms, ["x", "y", "z"], 3)
    assert [point["name"] for point in front] == ["x", "y"]
    x, y = front
    assert not x["dominates_static"] and y["dominates_static"]
    assert x["time_general"]["mean"] == pytest.approx(0.9) and x["mean_loss"]["mean"] == pytest.approx(1.9)
    assert x["loss_saved_over_static"]["high"] < 0 < x["gain_over_static"]["low"] <= x["gain_over_static"]["high"]
    equal = arm("equal", 0.4001, 1.0)
    unshown = Arm(name="equal", scores=equal.scores[::-1])
    assert describe_front(study, arms | {"equal": unshown}, ["equal"], 1)[0]["dominates_static"] is False
    words = front_words(front)
    assert "Front of 2: x, y." in words and words.endswith("not worse on the other: y.")
    assert [point["name"] for point in describe_front(study, arms, ["z"], 1)] == ["static", "z"]


def test_a_front_is_corrected_for_the_finalists_of_earlier_proofs(study: Study) -> None:
    static, found = arm("static", 0.5, 1.0), arm("x", 0.52, 1.0)
    found = Arm(name="x", scores=found.scores[1:] + found.scores[:1])  # differences of many sizes
    once, often = (describe_front(study, {"static": static, "x": found}, ["x"], compared)[0] for compared in (1, 3))
    assert once["gain_over_static"]["low"] > often["gain_over_static"]["low"]


def test_a_lucky_run_does_not_displace_the_front(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty curricula trade time general for loss, evenly; one run in the middle beats them all on both, by luck alone."""
    runner = runner_of(study, Here(tmp_path))
    shares = np.asarray([float(share) for share in runner.shares.values()])
    trials, evidence, truth = [], [], {}
    for number, early in enumerate(np.linspace(0.2, 1.8, 20)):
        tilt = np.asarray([early, early, 1, 1, 1]) * shares
        matrix = np.stack([tilt / tilt.sum(), shares])
        parameters = runner.space.parameters(matrix)
        phases, order = runner.space.propose(Given(parameters))
        name = f"trial-{number:03d}"
        truth[name] = score(0.2 + 0.3 * early, 1.0 + 0.3 * early)
        seen = score(0.95, 0.9) if number == 9 else truth[name]
        request = runner.request(name, study.mix(name, phases), 1)
        proposal = Proposal(number=number, name=name, phases=phases, order=order)
        trials.append(Trial(proposal=proposal, request=request, score=seen, value=seen.metric("time_general"), excess=0.0))
        evidence.append(Evidence(number=number, parameters=parameters, value=trials[-1].value, excess={"final_margin": -1.0}))
    asked: list[str] = []

    def repeated(_: Candidates, picked: list[Trial]) -> dict[str, list[Score]]:
        asked.extend(trial.proposal.name for trial in picked)
        return {trial.proposal.name: [truth[trial.proposal.name]] * 2 for trial in picked}

    monkeypatch.setattr(Candidates, "_repeated", repeated)
    reference = reference_of([score(0.5, 1.3), score(0.5, 1.3)])
    found = Candidates(runner=runner, reference=reference, evidence=evidence).finalists(trials)
    assert len(set(asked)) == study.search.candidates
    assert len(found) == study.search.finalists and "trial-009" not in [trial.proposal.name for trial in found]


def test_a_search_for_the_loss_claims_in_the_loss(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(STUDY + "objective: {metric: loss}\n")
    search(tmp_path)
    document = json.loads((tmp_path / "runs/tiny/result.json").read_text())
    losses = {arm["name"]: np.mean(list(arm["loss"].values())) for arm in [*document["finalists"], *document["controls"]]}
    saved = losses["static"] - losses[document["leader"]]
    assert document["gain_over_static"]["mean"] == pytest.approx(saved, abs=2e-6)
    assert f"loss {losses[document['leader']]:.3f} against static's {losses['static']:.3f}" in document["words"]


def test_a_winner_says_its_loss_as_it_is(study: Study, tmp_path: Path) -> None:
    """Within a search more is better, and losses are negative; nobody reads them so."""
    by_loss = replace(study, objective=replace(study.objective, metric="loss", pareto=None, subject_to=()))
    found, static = (Arm(name=name, scores=(score(0.5, loss),) * 10) for name, loss in (("x", 1.0), ("static", 1.2)))
    runner = runner_of(study, Here(tmp_path))
    proposal = Proposal(number=7, name="trial-007", phases=runner.static.phases, order=Order())
    request = runner.request("trial-007", runner.static, 1)
    trial = Trial(proposal=proposal, request=request, score=found.scores[0], value=-1.5, excess=0.0)
    arms = {"x": found, "static": static}
    mix = winning_mix(by_loss, trial, judge(by_loss, found, static, 1), arms, seeds=range(10), created="today")
    assert mix.provenance is not None
    assert mix.provenance["score"]["loss"]["mean"] == pytest.approx(1.5)  # the mean of a's 1.0 and b's 2.0
    assert mix.provenance["control"]["loss"]["mean"] == pytest.approx(1.7)
    assert mix.provenance["score"]["gain"]["mean"] == pytest.approx(0.2)


@pytest.mark.parametrize("asked", ["metric: loss", "pareto: loss"])
def test_losses_cannot_be_the_objective_of_runs_that_have_none(
    asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.yaml").write_text(STUDY + f"objective: {{{asked}}}\n")
    coordinator = Coordinator(
        load_study(tmp_path / "tiny.yaml"), Means(runs=tmp_path / "runs", out=tmp_path / "mixes", workers=1)
    )
    bare = replace(score(0.5, 1.0), loss={})
    monkeypatch.setattr(Runner, "scores", lambda self, requests: [bare for _ in requests])
    with pytest.raises(
        UserError, match=f"objective: {asked} needs held-out losses, and the runs have none; .* or drop {asked}"
    ):
        coordinator.run(1)


def test_a_search_for_a_front_ends_in_one(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(STUDY.replace("finalists: 1", "finalists: 2") + "objective: {pareto: loss}\n")
    search(tmp_path)
    document = json.loads((tmp_path / "runs/tiny/result.json").read_text())
    assert document["front"] and {point["name"] for point in document["front"]} <= {
        "static", *(arm["name"] for arm in document["finalists"])
    }  # fmt: skip
    assert f"Front of {len(document['front'])}" in document["words"]
