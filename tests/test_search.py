"""Study file, exposure, space, controls, verdict: everything of a search but the runs."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum.errors import FileError, RunError, UserError
from curriculum.mix import Mix, Phase, Stream
from curriculum.probe import RunMeasures
from curriculum.probe.specification import SuiteSpecification
from curriculum.search import controls
from curriculum.search.exposure import exact_rows, scale_to_exposure
from curriculum.search.objective import Reference, Score, reference_of, search_value, violations
from curriculum.search.space import SearchSpace
from curriculum.search.study import Space, Study
from curriculum.search.study_file import default_study, load_study
from curriculum.search.verdict import Arm, broken_constraints, judge, leader, mean_interval
from curriculum.search.workload import count_runs

ROOT = Path(__file__).parents[1]
SMALL = """\
version: 1
name: small
streams:
  a: {local: "testbed:arith"}
  b: {local: "testbed:facts"}
  c: {local: "testbed:icl"}
length: {samples: 1280}
exposure_shares: {a: 2, b: 5, c: 3}
proxy: {batch: 16, readings: 8}
probes:
  - {name: p, family: f, builtin: "testbed:flipped", floor: 0.1}
controls: {favour: [a, c]}
"""


@pytest.fixture
def study(tmp_path: Path) -> Study:
    (tmp_path / "small.yaml").write_text(SMALL)
    return load_study(tmp_path / "small.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "search").glob("*.yaml")), ids=lambda path: path.name)
def test_every_study_file_of_the_project_loads(path: Path) -> None:
    assert load_study(path).probes


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: small", "nmae: small", r"small.yaml:2: unknown key 'nmae'"),
        ("samples: 1280", "samples: 1281", r"small.yaml:7: .*multiple of batch x readings = 16 x 8 = 128.*try 1280"),
        ("batch: 16", "batch: 0", r"small.yaml:9: .*batch"),
        ("floor: 0.1", "floor: 1.5", r"floor"),
        ("testbed:flipped", "testbed:fliped", r"small.yaml:11: .*no built-in probe 'testbed:fliped'"),
        ("favour: [a, c]", "favour: [a, d]", r"small.yaml:12: .*'d'"),
        ("favour: [a, c]", "favour: [a, b, c]", r"small.yaml:12: .*neither none nor all"),
        ("{a: 2, b: 5, c: 3}", "{a: 0, b: 0}", r"small.yaml:8: .*above 0"),
        ("probes:", "seed: 1\nseed: 2\nprobes:", r"small.yaml:11: duplicate key 'seed'"),
        ("name: small", "name: a/b", r"small.yaml:2: .*folder"),
        ("{batch: 16, readings: 8}", '{command: "train.sh {mix}"}', r"small.yaml:9: .*lacks \{seed\}"),
        ("controls:", "search: {finalists: 9, candidates: 3}\ncontrols:", r"small.yaml:12: .*no more finalists"),
    ],
)
def test_a_wrong_study_is_refused_with_file_and_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in SMALL
    path = tmp_path / "small.yaml"
    path.write_text(SMALL.replace(old, new))
    with pytest.raises((FileError, UserError), match=message):
        study = load_study(path)
        study.probes[0].draw(0, seed=0)


positive = st.floats(1e-3, 1.0)


@settings(max_examples=60)
@given(st.integers(2, 6), st.integers(2, 6), st.data())
def test_exposure_is_exact_whatever_is_proposed(knots: int, streams: int, data: st.DataObject) -> None:
    matrix = np.asarray(
        data.draw(st.lists(st.lists(positive, min_size=streams, max_size=streams), min_size=knots, max_size=knots))
    )
    durations = data.draw(st.lists(st.integers(1, 9), min_size=knots, max_size=knots))
    weights = data.draw(st.lists(st.integers(1, 9), min_size=streams, max_size=streams))
    shares = [Fraction(weight, sum(weights)) for weight in weights]
    scaled = scale_to_exposure(matrix, durations, shares)
    rows = exact_rows(scaled, durations, shares)
    for index, share in enumerate(shares):
        exposure = sum(Fraction(row[index], sum(row)) * length for row, length in zip(rows, durations, strict=True))
        assert exposure == share * sum(durations)
    found = np.asarray([[value / sum(row) for value in row] for row in rows])
    assert np.abs(found - scaled).max() < 1e-3


@settings(max_examples=40)
@given(st.sampled_from(["steps", "ramps"]), st.sampled_from([None, 1, 2]), st.integers(2, 7), st.integers(0, 999))
def test_every_proposal_and_every_control_has_equal_counts(shape: str, rank: int | None, knots: int, seed: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.yaml"
        path.write_text(SMALL)
        study = replace(load_study(path), space=Space(knots=knots, shape=shape, rank=rank))  # type: ignore[arg-type]
    sizes = {"a": 500, "b": 400, "c": 300}
    shares = study.shares(sizes)
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()
    phases, _ = SearchSpace(study, shares).propose(trial)
    mixes = [study.mix("found", phases), study.mix("static", controls.static(shares))]
    mixes += [
        study.mix(name, controls.hand_made(name, shares, study.favour)) for name in ("hold-then-low", "ramp-down", "ramp-up")
    ]
    mixes += [study.mix("reversed", controls.reversed_in_time(phases))]
    mixes += [study.mix("shuffled", controls.shuffled_in_time(phases, seed))]
    mixes += [study.mix("tail", controls.with_common_tail(phases, shares, Decimal("0.2")))]
    assert controls.check_equal_exposure(mixes, sizes) == {"a": 256, "b": 640, "c": 384}


def test_unequal_exposure_stops_the_study(study: Study) -> None:
    sizes = {"a": 500, "b": 400, "c": 300}
    other = study.mix("other", (Phase(until=1, weights={"a": 1, "b": 1}),))
    with pytest.raises(RunError, match="'other'"):
        controls.check_equal_exposure([study.mix("static", controls.static(study.shares(sizes))), other], sizes)


def proportions_at(phases: tuple[Phase, ...], progress: float) -> dict[str, float]:
    start = 0.0
    for phase in phases:
        end = float(phase.until or 1)
        if progress <= end:
            ratio = (progress - start) / (end - start)
            last = phase.to or phase.weights
            first_sum, last_sum = float(sum(phase.weights.values())), float(sum(last.values()))
            return {
                name: (1 - ratio) * float(phase.weights[name]) / first_sum + ratio * float(last[name]) / last_sum
                for name in phase.weights
            }
        start = end
    raise AssertionError


def test_controls_are_what_their_names_say(study: Study) -> None:
    shares = study.shares({})
    hold = controls.hand_made("hold-then-low", shares, ("a", "c"))
    assert proportions_at(hold, 0.2)["b"] == pytest.approx(0.05) and proportions_at(hold, 0.5)["b"] == pytest.approx(
        0.692857, abs=1e-5
    )
    down, up = (controls.hand_made(name, shares, ("a", "c")) for name in ("ramp-down", "ramp-up"))
    assert proportions_at(down, 0.01)["b"] < proportions_at(down, 0.99)["b"]
    for progress in (0.1, 0.4, 0.8):
        assert proportions_at(up, progress) == pytest.approx(proportions_at(down, 1 - progress))
        assert proportions_at(controls.reversed_in_time(hold), progress) == pytest.approx(proportions_at(hold, 1 - progress))
    shuffled = controls.shuffled_in_time(down, 1)
    assert shuffled != controls.shuffled_in_time(down, 2) and len(shuffled) > 3
    tailed = controls.with_common_tail(hold, shares, Decimal("0.2"))
    assert proportions_at(tailed, 0.16) == pytest.approx(proportions_at(hold, 0.2))
    assert proportions_at(tailed, 0.9) == pytest.approx({"a": 0.2, "b": 0.5, "c": 0.3})


@pytest.mark.parametrize("rank", [None, 1])
def test_baselines_come_back_from_their_parameters(study: Study, rank: int | None) -> None:
    space = SearchSpace(replace(study, space=Space(knots=5, rank=rank)), study.shares({}))
    for name in ("hold-then-low", "ramp-down", "ramp-up"):
        matrix = controls.knot_matrix(controls.hand_made(name, study.shares({}), study.favour), space.ends, ramps=False)
        phases, _ = space.propose(optuna.trial.FixedTrial(space.parameters(matrix)))
        found = controls.knot_matrix(phases, space.ends, ramps=False)
        assert np.abs(found - matrix).max() < 0.02


def score(
    time_general: float, final: float = 0.5, loss: float = 1.0, tail: float = 0.0, bits: dict[str, float] | None = None
) -> Score:
    def measures(time: float) -> RunMeasures:
        return RunMeasures(time_general=time, area=time / 2, final_margin=final, longest_stay=time, hops=0, worst_probe=time)

    return Score(measures=measures(time_general), tail=measures(tail), loss={"a": loss}, bits=bits or {})


def arm(name: str, values: list[float], **changes: float) -> Arm:
    scores = tuple(score(value, **changes) for value in values)
    return Arm(name=name, scores=scores, tail=scores)


LOW = [0.30, 0.32, 0.28, 0.31, 0.33] * 2
HIGH = [0.80, 0.85, 0.78, 0.82, 0.84] * 2


def test_the_interval_is_students(study: Study) -> None:
    interval = mean_interval([1.0, 2.0, 3.0])
    assert (interval.mean, interval.high - interval.mean) == (2.0, pytest.approx(4.302653 / 3**0.5, abs=1e-5))
    assert mean_interval([1.0, 2.0, 3.0], 1 - 0.05 / 2).high > interval.high


def test_verdicts(study: Study) -> None:
    static = arm("static", LOW)
    lasting = Arm(name="x", scores=arm("x", HIGH).scores, tail=tuple(score(0, tail=t) for t in (0.5, 0.6, 0.7, 0.6, 0.5) * 2))
    fading = replace(lasting, tail=tuple(score(0, tail=t) for t in (0.1, 0.0, -0.1, 0.0, 0.0) * 2))
    plain = replace(static, tail=tuple(score(0) for _ in LOW))
    assert judge(study, lasting, plain, 2).kind == "winner"
    assert judge(study, fading, plain, 2).kind == "transient"
    assert judge(study, arm("x", [0.31, 0.31, 0.30, 0.31, 0.32] * 2), static, 2).kind == "tie"
    wide = judge(study, arm("x", [0.9, 0.1, 0.2, 0.8, 0.5] * 2), static, 2)
    assert wide.kind == "none" and "No curriculum beat the static mix" in wide.words
    shallow_end = judge(study, arm("x", HIGH, final=-0.2), static, 2)
    assert shallow_end.kind == "none" and "final margin is under static's by -0.700" in shallow_end.words
    uncertain = Arm(name="x", scores=tuple(score(0.8, final=0.5 + d) for d in (0.26, -0.34) * 5), tail=lasting.tail)
    assert (
        judge(study, uncertain, plain, 2).kind == "winner"
        and "final margin -0.040 [" in judge(study, uncertain, plain, 2).words
    )
    assert judge(study, arm("x", HIGH, loss=1.2), static, 2).kind == "none"
    worse = judge(study, arm("x", [value - 0.01 for value in LOW]), static, 2)
    assert worse.kind == "none" and worse.gain.high < 0


def test_nothing_is_claimed_from_fewer_than_ten_pairs(study: Study) -> None:
    few = judge(study, arm("x", HIGH[:9], tail=0.5), arm("static", LOW[:9]), 1)
    assert few.gain.low > 0 and few.kind == "none" and "needs at least 10 seeds" in few.words


def test_correction_for_several_finalists_widens_the_interval(study: Study) -> None:
    slight = arm("x", [0.36, 0.33, 0.34, 0.31, 0.38] * 2)
    assert judge(study, slight, arm("static", LOW), 1).gain.low > judge(study, slight, arm("static", LOW), 4).gain.low


def test_the_leader_keeps_the_constraints_if_any_finalist_does(study: Study) -> None:
    static, best, kept = arm("static", LOW), arm("best", HIGH, final=-1.0), arm("kept", [0.5] * 10)
    assert leader(study, [best, kept], static).name == "kept"
    assert leader(study, [best], static).name == "best"
    assert broken_constraints(study, arm("x", HIGH, loss=1.04), static) == ()


def test_bits_per_byte_can_be_the_objective_or_break_a_claim(study: Study) -> None:
    by_bits = replace(study, objective=replace(study.objective, metric="bits_per_byte", subject_to=()))
    static, better = arm("static", LOW, bits={"qa": 2.0}), arm("x", LOW, bits={"qa": 1.5})
    verdict = judge(by_bits, better, static, 1)
    assert verdict.gain.mean == pytest.approx(0.5) and "bits_per_byte 1.500 against static's 2.000" in verdict.words
    limited = replace(study, objective=replace(study.objective, subject_to=("bits_per_byte",)))
    assert broken_constraints(limited, better, static) == ()
    assert "bits per byte of qa 2.000 are over their limit 1.520" in broken_constraints(limited, static, better)[0]


def test_a_bits_per_byte_lead_must_last_in_bits(study: Study) -> None:
    by_bits = replace(study, objective=replace(study.objective, metric="bits_per_byte", subject_to=()))
    static, better = arm("static", LOW, bits={"qa": 2.0}), arm("x", LOW, bits={"qa": 1.5})
    assert judge(by_bits, better, static, 1).kind == "winner"
    gone = replace(better, tail=static.tail)
    assert judge(by_bits, gone, static, 1).kind == "transient"


def test_the_loss_can_be_the_objective_and_its_lead_must_last(study: Study) -> None:
    by_loss = replace(study, objective=replace(study.objective, metric="loss", subject_to=()))
    static, better = arm("static", HIGH, loss=1.2), arm("x", LOW, loss=1.0)
    verdict = judge(by_loss, better, static, 1)
    assert verdict.kind == "winner" and verdict.gain.mean == pytest.approx(0.2)
    assert "loss 1.000 against static's 1.200" in verdict.words
    assert judge(by_loss, static, better, 1).kind == "none"
    gone = replace(better, tail=static.tail)
    assert judge(by_loss, gone, static, 1).kind == "transient"
    assert search_value(by_loss, better.scores[0]) == pytest.approx(-1.0) and better.scores[0].shown("loss") == pytest.approx(
        1.0
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("metric: loss, pareto: loss", "with `pareto: loss` the loss is the other objective already"),
        ("metric: loss}\nsearch: {pruner: percentile-75", "loss is known at the end of a run"),
    ],
)
def test_what_cannot_be_had_with_the_loss_as_objective_is_refused(given: str, said: str, tmp_path: Path) -> None:
    lines = default_study().read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("objective:", "search:"))]
    path = tmp_path / "s.yaml"
    path.write_text("\n".join([*kept, "objective: {metric: loss}"]))
    assert load_study(path).objective.metric == "loss"
    path.write_text("\n".join([*kept, f"objective: {{{given}}}"]))
    with pytest.raises(FileError, match=said):
        load_study(path)


def test_a_study_states_its_suites(tmp_path: Path) -> None:
    text = default_study().read_text()
    given = text.replace("space:", "bits_per_byte: [{name: qa, file: qa.jsonl}]\nspace:").replace(
        "subject_to: [final_margin, loss]", "subject_to: [bits_per_byte]"
    )
    (tmp_path / "s.yaml").write_text(given)
    assert load_study(tmp_path / "s.yaml").suites == (SuiteSpecification(name="qa", file=tmp_path / "qa.jsonl"),)
    (tmp_path / "s.yaml").write_text(text.replace("metric: time_general", "metric: bits_per_byte"))
    with pytest.raises(FileError, match=r"s\.yaml:\d+: objective: bits per byte need a suite"):
        load_study(tmp_path / "s.yaml")
    twice = "bits_per_byte: [{name: qa, file: a.jsonl}, {name: qa, file: b.jsonl}]\nspace:"
    (tmp_path / "s.yaml").write_text(text.replace("space:", twice))
    with pytest.raises(FileError, match="a suite named 'qa' is already there"):
        load_study(tmp_path / "s.yaml")


def test_constraints_and_search_value(study: Study) -> None:
    reference = reference_of([score(0.3, final=0.4, loss=1.0), score(0.3, final=0.6, loss=1.2)])
    assert reference.final_margin == pytest.approx(0.5) and reference.loss_limit["a"] == pytest.approx(
        1.1 + 2 * 0.141421, abs=1e-5
    )
    assert reference_of([score(0.3), score(0.3)]).loss_limit["a"] == pytest.approx(1.05)
    limits = Reference(final_margin=0.5, final_margin_sd=0.1, loss_limit={"a": 1.0}, bits_limit={})
    excess = violations(study, score(0.5, final=0.1, loss=1.5), limits)
    assert excess == {"final_margin": pytest.approx(0.3), "loss_a": pytest.approx(0.5)}
    assert violations(study, score(0.5, final=0.1), limits, slack=0.0)["final_margin"] == pytest.approx(0.35)
    steady = replace(limits, final_margin_sd=0.01)
    assert (
        violations(study, score(0.5, final=0.46), steady)["final_margin"]
        < 0
        < violations(study, score(0.5, final=0.44), steady)["final_margin"]
    )
    assert search_value(study, score(0.6)) == pytest.approx(0.45)
    bits = replace(study, objective=replace(study.objective, metric="bits_per_byte", subject_to=("bits_per_byte",)))
    static = reference_of([score(0.3, bits={"qa": 2.0}), score(0.3, bits={"qa": 2.0})])
    assert violations(bits, score(0.9, bits={"qa": 2.5}), static) == {"bits_qa": pytest.approx(0.48)}
    assert search_value(bits, score(0.9, bits={"qa": 2.5})) < search_value(bits, score(0.1, bits={"qa": 2.0}))
    area = replace(study, objective=replace(study.objective, metric="area"))
    assert search_value(area, score(0.6)) == pytest.approx(0.3)


def test_the_workload_is_counted(study: Study) -> None:
    workload = count_runs(study, 50)
    assert (workload.search, workload.proof, workload.tail) == (8 + 50 + 10, 80, 10)
    assert count_runs(replace(study, favour=()), 50).proof == 50


def test_fractions_of_streams_are_exact(study: Study) -> None:
    assert study.shares({}) == {"a": Fraction(1, 5), "b": Fraction(1, 2), "c": Fraction(3, 10)}
    by_size = replace(study, exposure_shares=None).shares({"a": 1, "b": 1, "c": 2})
    assert by_size == {"a": Fraction(1, 4), "b": Fraction(1, 4), "c": Fraction(1, 2)}


def test_the_mix_of_a_study_is_a_mix_file(study: Study, tmp_path: Path) -> None:
    mix = study.mix("m", controls.static(study.shares({})))
    mix.dump(tmp_path / "m.yaml")
    assert Mix.load(tmp_path / "m.yaml") == mix and isinstance(mix.streams["a"], Stream)
