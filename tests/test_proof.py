"""What a leader is asked beyond the proof, and who is asked when it does not last: scores are scripted, nothing is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from test_search_end_to_end import STUDY
from test_trial_loop import finalist
from test_verdict import WOBBLE, score

from curriculum.errors import RunError
from curriculum.mix import Mix, Order
from curriculum.proxy.run import RunRequest
from curriculum.search import proof as proof_module
from curriculum.search.executor import Outcome
from curriculum.search.objective import Reference, Score, reference_of
from curriculum.search.observer import Silent
from curriculum.search.proof import Proof, Prover
from curriculum.search.runner import Runner, stream_sizes
from curriculum.search.space import SearchSpace
from curriculum.search.study import Study
from curriculum.search.study_file import load_study
from curriculum.search.verdict import judge
from curriculum.search.workload import count_runs

STATIC = {"proof-static": score(0.4, tail=0.4)}
LASTS = 0.9  # time general within the tail, where static has .4


class Scripted:
    """An executor whose runs are done at once; what they come to is looked up by their label."""

    def __init__(self) -> None:
        self.runs = dict[str, str]()
        self.mixes = dict[str, Mix]()

    def results(self, requests: list[RunRequest]) -> list[Outcome]:
        self.runs |= {request.run_id(): request.label for request in requests}
        self.mixes |= {request.label: request.mix for request in requests}
        return [Outcome(request=request, result=request, failure=None) for request in requests]  # type: ignore[arg-type]

    def finished(self, prefix: str) -> set[str]:
        return set()


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A study whose claims need ten pairs, and ask for no more."""
    file = tmp_path / "tiny.yaml"
    file.write_text(STUDY)
    study = load_study(file)
    search = replace(study.search, finalists=2, finalist_seeds=10, most_seeds=10)
    return replace(study, search=search, objective=replace(study.objective, subject_to=(), common_tail=Decimal("0.2")))


def proven(
    study: Study, script: Mapping[str, Score], monkeypatch: pytest.MonkeyPatch, reference: Reference | None = None
) -> tuple[Proof, Counter[str], dict[str, Mix]]:
    """Prove ramp-up-found and ramp-down-found; return how many runs each label had, and its mix.

    All runs of a label come to its score, but for a wobble from seed to seed.
    """
    here, sizes = Scripted(), stream_sizes(study)[0]
    shares = study.shares(sizes)
    runner = Runner(
        study=study,
        space=SearchSpace(study, shares, sizes),
        shares=shares,
        sizes=sizes,
        executor=here,  # type: ignore[arg-type]
        observer=Silent(),
    )
    seeds = [runner.seed("proof", index) for index in range(10)]

    def scored(_: Study, request: RunRequest) -> Score:
        found = script.get(request.label, score(0.1, tail=0.1))
        wobble = float(WOBBLE[(seeds.index(request.seed) + len(request.label)) % 10])

        def shaken(value: float) -> float:
            return value if value == 1 else value + wobble

        return replace(
            found,
            measures=replace(found.measures, time_general=shaken(found.measures.time_general)),
            tail=replace(found.tail, time_general=shaken(found.tail.time_general)),
        )

    monkeypatch.setattr(proof_module, "score_run", scored)
    made = Prover(runner=runner, reference=reference).prove(
        [finalist(study, runner, name) for name in ("ramp-up", "ramp-down")]
    )
    return made, Counter(here.runs.values()), here.mixes


def kind(study: Study, made: Proof, name: str) -> str:
    return judge(study, made.arms[name], made.arms["static"], made.compared).kind


def test_where_the_leader_s_lead_does_not_last_the_next_is_asked_and_leads_if_its_does(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = STATIC | {
        "proof-ramp-up-found": score(0.9),
        "proof-ramp-down-found": score(0.7),
        "tail-ramp-up-found": score(0.9, tail=0.4),
        "tail-ramp-down-found": score(0.7, tail=LASTS),
    }
    made, asked, _ = proven(study, script, monkeypatch)
    assert made.leader == "ramp-down-found" and set(made.finalists) == {"ramp-up-found", "ramp-down-found"}
    assert [kind(study, made, name) for name in ("ramp-up-found", "ramp-down-found")] == ["transient", "winner"]
    assert asked["tail-ramp-up-found"] == asked["tail-ramp-down-found"] == 10
    assert asked["controls-shuffled"] == asked["controls-reversed"] == 10, "one leader's own controls"
    assert asked.total() <= count_runs(study, 0).proof + count_runs(study, 0).tail + count_runs(study, 0).more


def test_a_leader_that_lasts_is_asked_alone(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    script = STATIC | {
        "proof-ramp-up-found": score(0.9),
        "proof-ramp-down-found": score(0.7),
        "tail-ramp-up-found": score(0.9, tail=LASTS),
    }
    made, asked, _ = proven(study, script, monkeypatch)
    assert made.leader == "ramp-up-found" and kind(study, made, made.leader) == "winner"
    assert "tail-ramp-down-found" not in asked and not made.arms["ramp-down-found"].tail


@pytest.mark.parametrize("beaten", [0.41, 0.2])
def test_who_did_not_beat_static_is_not_asked_to_last(study: Study, monkeypatch: pytest.MonkeyPatch, beaten: float) -> None:
    script = STATIC | {"proof-ramp-up-found": score(0.9), "proof-ramp-down-found": score(beaten)}
    made, asked, _ = proven(study, script, monkeypatch)
    assert made.leader == "ramp-up-found" and kind(study, made, made.leader) == "transient"
    assert "tail-ramp-down-found" not in asked


def test_where_no_lead_can_last_nobody_else_is_asked(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Static is always general within the tail: whoever is beside it there has no lead."""
    script = {
        "proof-static": score(0.4, tail=1.0),
        "proof-ramp-up-found": score(0.9),
        "proof-ramp-down-found": score(0.7),
        "tail-ramp-up-found": score(0.9, tail=1.0),
    }
    made, asked, _ = proven(study, script, monkeypatch)
    assert made.leader == "ramp-up-found" and kind(study, made, made.leader) == "transient"
    assert "tail-ramp-down-found" not in asked


def test_of_two_that_do_not_last_the_leader_is_spoken_of(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    script = STATIC | {"proof-ramp-up-found": score(0.9), "proof-ramp-down-found": score(0.7)}
    made, asked, _ = proven(study, script, monkeypatch)
    assert made.leader == "ramp-up-found" and asked["tail-ramp-down-found"] == 10
    assert {kind(study, made, name) for name in made.finalists} == {"transient"}


def test_where_the_leader_s_rank_flips_under_the_full_run_s_schedule_the_next_is_asked(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "cosine" if study.recipe.schedule != "cosine" else "constant"
    targeted = replace(study, objective=replace(study.objective, target_schedule=other))  # type: ignore[arg-type]
    script = STATIC | {
        "proof-ramp-up-found": score(0.9),
        "proof-ramp-down-found": score(0.7),
        "tail-ramp-up-found": score(0.9, tail=LASTS),
        "tail-ramp-down-found": score(0.7, tail=0.4),
        "schedule-static": score(0.4),
        "schedule-ramp-up-found": score(0.3),
        "schedule-ramp-down-found": score(0.8),
    }
    made, asked, _ = proven(targeted, script, monkeypatch)
    assert kind(targeted, made, "ramp-up-found") == "none"
    assert made.leader == "ramp-down-found" and kind(targeted, made, made.leader) == "transient"  # better than nothing
    assert asked.total() <= count_runs(targeted, 0).runs - count_runs(targeted, 0).search + count_runs(targeted, 0).more


def test_the_leader_s_own_controls_play_each_stream_in_its_own_order(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    first = next(iter(study.streams))
    ordered = replace(study.streams[first], order=Order(kind="sequential"))
    mixed = replace(study, streams={**study.streams, first: ordered})
    script = STATIC | {"proof-ramp-up-found": score(0.9), "tail-ramp-up-found": score(0.9, tail=LASTS)}
    made, _, mixes = proven(mixed, script, monkeypatch)
    assert made.leader == "ramp-up-found"
    for label in ("proof-static", "controls-shuffled", "controls-reversed"):
        assert mixes[label].streams == mixes["proof-ramp-up-found"].streams == mixed.streams


def test_a_finalist_whose_runs_lack_losses_that_static_s_had_is_left_out(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = reference_of([score(0.4), score(0.4)])
    script = STATIC | {
        "proof-ramp-up-found": replace(score(0.9), loss={}),
        "proof-ramp-down-found": score(0.7),
        "tail-ramp-down-found": score(0.7, tail=LASTS),
    }
    made, _, _ = proven(study, script, monkeypatch, whole)
    assert made.finalists == ("ramp-down-found",) and made.leader == "ramp-down-found"
    without = {"proof-static": replace(score(0.4), loss={})}
    with pytest.raises(RunError, match=r"static cannot be compared: .* of a, as static's had in the search"):
        proven(study, script | without, monkeypatch, whole)
