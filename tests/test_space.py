"""The space of a study: whatever is proposed can be played, and parameters and proportions agree in both directions."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from curriculum.commands.check import check
from curriculum.errors import DataError, FileError, UserError
from curriculum.mix import Order, Phase, Stream
from curriculum.search import controls
from curriculum.search.caps import Caps
from curriculum.search.exposure import Matrix, exact_rows, scale_all_to_exposure, scale_to_exposure
from curriculum.search.proportions import Drawn, Given, unit_rows
from curriculum.search.space import SLICES, SearchSpace
from curriculum.search.study import SHAPES, Space, Study
from curriculum.search.study_file import load_study
from curriculum.search.timing import even_timing, knot_ends, nearest_switch, switch_timing

TOPIC = {"math": ("s0", "s1"), "code": ("s2",), "web": ("s3", "s4")}
QUALITY = {"high": ("s0", "s2", "s3"), "low": ("s1", "s4")}
GROUPS = {"topic": TOPIC, "quality": QUALITY}
SAMPLES = 4000


def study_of(streams: int, space: Space, *, exposure: Any = "fixed", caps: dict[str, int] | None = None) -> Study:
    named = {f"s{index}": Stream(local=f"/data/{index}", max_epochs=(caps or {}).get(f"s{index}")) for index in range(streams)}
    return Study(
        path=Path("study.yaml"), name="study", streams=named, samples=SAMPLES, probes=(), exposure=exposure, space=space
    )


def sizes_of(streams: int, seed: int = 0) -> dict[str, int]:
    random = np.random.default_rng(seed)
    return {f"s{index}": int(10 ** random.uniform(2, 4)) for index in range(streams)}


def space_of(study: Study, sizes: dict[str, int]) -> SearchSpace:
    return SearchSpace(study, study.shares(sizes), sizes)


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    shape: Any = draw(st.sampled_from(SHAPES))
    groups = draw(st.sampled_from([None, GROUPS]))
    return Space(shape=shape, knots=draw(st.integers(2, 7)), rank=draw(st.sampled_from([None, 1, 2])), groups=groups)


class Extreme:
    """A trial of the box's corners and whatever lies between them."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.parameters: dict[str, float | str] = {}

    def suggest_float(self, name: str, low: float, high: float) -> float:
        found = float(self.random.choice([low, high, self.random.uniform(low, high)]))
        self.parameters[name] = found
        return found

    def suggest_categorical(self, name: str, choices: Any) -> str:
        return str(choices[0])


def drawn(space: SearchSpace, seed: int, *, extreme: bool) -> dict[str, float | str]:
    if not extreme:
        return space.draw(np.random.default_rng(seed))
    trial = Extreme(seed)
    space.propose(trial)
    return trial.parameters


def counted(study: Study, phases: tuple[Phase, ...], sizes: dict[str, int]) -> Matrix:
    """Counts of what a plan plays in SLICES slices, shape (SLICES, streams)."""
    plan = study.mix("mix", phases).plan(sizes)
    edges = [index * SAMPLES // SLICES for index in range(SLICES + 1)]
    return np.asarray([list(plan.counts(start, stop).values()) for start, stop in pairwise(edges)], float)


@settings(max_examples=120)
@given(spaces(), st.integers(0, 10**6), st.booleans())
def test_fixed_exposure_is_exact_in_every_form(form: Space, seed: int, extreme: bool) -> None:
    study, sizes = study_of(5, form), sizes_of(5, seed)
    space = space_of(study, sizes)
    phases = space.phases(drawn(space, seed, extreme=extreme))
    assert all(weight > 0 for phase in phases for row in (phase.weights, phase.to or phase.weights) for weight in row.values())
    mixes = [study.mix("found", phases), study.mix("static", controls.static(study.shares(sizes)))]
    assert sum(controls.check_equal_exposure(mixes, sizes).values()) == SAMPLES


@settings(max_examples=80)
@given(spaces(), st.sampled_from(["fixed", "free"]), st.integers(0, 10**6))
def test_features_are_what_the_plan_counts(form: Space, exposure: str, seed: int) -> None:
    caps = {"s1": 2, "s4": 3} if exposure == "free" else {}
    study, sizes = study_of(5, form, exposure=exposure, caps=caps), sizes_of(5, seed)
    space = space_of(study, sizes)
    parameters = space.draw(np.random.default_rng(seed))
    features = space.features(parameters).reshape(SLICES, 5)
    assert features.sum(axis=1) == pytest.approx(np.ones(SLICES))
    counts = counted(study, space.phases(parameters), sizes)
    # within a block of 256 samples streams are interleaved at random: up to whole runs, counts are exact to a sample
    assert np.abs(np.cumsum(features * SAMPLES / SLICES, axis=0)[-1] - counts.sum(axis=0)).max() <= 1.01
    assert np.abs(np.cumsum(features * SAMPLES / SLICES - counts, axis=0)).max() < 70


@settings(max_examples=60)
@given(spaces(), st.sampled_from(["fixed", "free"]), st.booleans(), st.integers(0, 10**6))
def test_curricula_worked_out_together_are_those_of_each_by_itself(form: Space, exposure: str, capped: bool, seed: int) -> None:
    caps = {"s1": 2, "s4": 3} if capped and exposure == "free" else {}
    space = space_of(study_of(5, form, exposure=exposure, caps=caps), sizes_of(5, seed))
    asked = [drawn(space, seed + index, extreme=index % 3 == 0) for index in range(9)]
    together = space.features_of(asked)
    assert together.tobytes() == np.stack([space.features(entry) for entry in asked]).tobytes()
    assert space.features_of(asked[::-1])[::-1].tobytes() == together.tobytes()
    assert space.features_of([]).shape == (0, together.shape[1])


@pytest.mark.parametrize("streams", [1, 3, 5, 9, 64])
@pytest.mark.parametrize("knots", [2, 5])
def test_scaling_many_is_to_the_bit_scaling_each_as_the_definition_says(streams: int, knots: int) -> None:
    random = np.random.default_rng(streams + knots)
    weights = [Fraction(int(value)) for value in random.integers(1, 40, streams)]
    shares = [weight / sum(weights) for weight in weights]
    tilts = np.exp(3 * random.uniform(-1, 1, (40, knots, 1)) * random.uniform(-1, 1, (40, 1, streams)))
    flat = -np.log(random.uniform(1e-6, 1, (20, knots, streams)))
    matrices = unit_rows(np.concatenate([tilts, flat]))
    durations = random.integers(100, 900, (60, knots)).tolist()
    wanted = [swept(matrix, lengths, shares) for matrix, lengths in zip(matrices, durations, strict=True)]
    found = scale_all_to_exposure(matrices, durations, shares)
    assert found.tobytes() == np.stack([matrix for matrix, _ in wanted]).tobytes()
    assert streams == 1 or len({sweeps for _, sweeps in wanted}) > 5  # they end at their own times
    singly = [scale_to_exposure(matrix, lengths, shares) for matrix, lengths in zip(matrices, durations, strict=True)]
    assert found.tobytes() == np.stack(singly).tobytes()
    alike = scale_all_to_exposure(matrices, durations[0], shares)
    assert alike.tobytes() == scale_all_to_exposure(matrices, [durations[0]] * 60, shares).tobytes()


def swept(matrix: Matrix, durations: list[int], shares: list[Fraction]) -> tuple[Matrix, int]:
    """Sinkhorn and Knopp for one matrix, a sweep at a time; and how many it took."""
    weights, targets = np.asarray(durations, float) / sum(durations), np.asarray([float(share) for share in shares])
    for sweep in range(500):
        matrix = matrix * (targets / (weights @ matrix))
        matrix = matrix / matrix.sum(axis=1, keepdims=True)
        if (np.abs(weights @ matrix - targets) <= 1e-10 * targets).all():
            return matrix, sweep
    return matrix, 500


@settings(max_examples=80)
@given(spaces(), st.sampled_from(["fixed", "free"]), st.integers(0, 10**6))
def test_a_proposal_comes_back_from_its_proportions(form: Space, exposure: str, seed: int) -> None:
    assume(form.rank in (None, 1))
    study, sizes = study_of(5, form, exposure=exposure), sizes_of(5, seed)
    space = space_of(study, sizes)
    features = space.features(space.draw(np.random.default_rng(seed)))
    found = space.features(space.parameters(features.reshape(SLICES, 5)))
    assert np.abs(found - features).max() < (1e-6 if form.rank is None else 5e-3)


@pytest.mark.parametrize("exposure", ["fixed", "free"])
def test_corners_of_the_box_come_back(exposure: str) -> None:
    sizes = {"s0": 100, "s1": 300, "s2": 200, "s3": 150}
    low_rank = space_of(study_of(4, Space(knots=3, rank=1), exposure=exposure), sizes)
    tilted = {"time_0_0": 1.0, "time_0_1": -1.0, "time_0_2": -1.0, "stream_0_s0": 1.0}
    tilted |= {f"stream_0_s{index}": -1.0 for index in (1, 2, 3)} | {f"base_s{index}": 0.5 for index in range(4)}
    full = space_of(study_of(4, Space(knots=3, rank=None), exposure=exposure), sizes)
    uneven = {f"u_{row}_s{index}": 0.3 for row in range(3) for index in range(4)} | {"u_0_s0": 1e-6, "u_1_s0": 1 - 1e-6}
    uneven |= {"u_0_s1": 1 - 1e-6}
    for space, parameters in ((low_rank, tilted), (full, uneven)):
        features = space.features(parameters)
        found = space.parameters(features.reshape(SLICES, 4))
        assert np.log(space.features(found)) == pytest.approx(np.log(features), abs=1e-6)
        assert all(-1 <= float(value) <= 1 for value in found.values())


def test_no_weight_is_lost_in_rounding() -> None:
    matrix = np.asarray([[1e-17, 0.3, 0.7 - 1e-17], [0.2, 0.5, 0.3]])
    shares = [Fraction(1, 10), Fraction(4, 10), Fraction(5, 10)]
    rows = exact_rows(matrix, [1, 1], shares)
    assert all(part > 0 for row in rows for part in row)
    assert [sum(Fraction(row[index], sum(row)) for row in rows) / 2 for index in range(3)] == shares


@pytest.mark.parametrize("shape", ["steps", "ramps", "two-phase"])
@pytest.mark.parametrize("slices", [1, 3, 5, 20])
def test_static_mixes_are_in_the_low_rank_form_of_free_exposure(shape: Any, slices: int) -> None:
    study, sizes = study_of(4, Space(shape=shape, rank=1), exposure="free"), sizes_of(4)
    space = space_of(study, sizes)
    for mix in ([0.7, 0.1, 0.15, 0.05], [0.0004, 0.9986, 0.0005, 0.0005]):
        phases = space.phases(space.parameters(np.tile(mix, (slices, 1))))
        assert len(phases) == 1 and phases[0].to is None
        total = float(sum(phases[0].weights.values()))
        assert [float(weight) / total for weight in phases[0].weights.values()] == pytest.approx(mix, abs=2e-6)


def test_the_static_mix_is_proposed_exactly_under_fixed_exposure() -> None:
    sizes = {"s0": 333, "s1": 1000, "s2": 77}
    study = study_of(3, Space(rank=1))
    space = space_of(study, sizes)
    matrix = [[float(share) for share in study.shares(sizes).values()]]
    assert space.phases(space.parameters(np.asarray(matrix))) == controls.static(study.shares(sizes))


def test_two_low_rank_terms_come_near() -> None:
    study, sizes = study_of(6, Space(rank=2)), sizes_of(6)
    space = space_of(study, sizes)
    one = space_of(study_of(6, Space(rank=1)), sizes)
    missed = []
    for seed in range(20):
        features = space.features(space.draw(np.random.default_rng(seed))).reshape(SLICES, 6)
        missed.append([np.abs(form.features(form.parameters(features)) - features.ravel()).mean() for form in (space, one)])
    two, single = np.mean(missed, axis=0)
    assert two < 0.01 and two < single / 3


@settings(max_examples=60)
@given(st.integers(100, 900), st.floats(0.05, 0.45), st.floats(0.55, 0.95))
def test_a_switch_is_found_to_the_thousandth(switch: int, first: float, second: float) -> None:
    rows = np.asarray([[first, 1 - first], [second, 1 - second]])
    matrix = switch_timing(switch / 1000).weights(SLICES) @ rows
    assert nearest_switch(matrix) == Decimal(switch) / 1000
    assert switch_timing(switch / 1000).fit(matrix) == pytest.approx(rows, abs=1e-9)


def test_two_phases_switch_where_the_parameter_says() -> None:
    study, sizes = study_of(3, Space(shape="two-phase", rank=None)), sizes_of(3)
    space = space_of(study, sizes)
    parameters = space.draw(np.random.default_rng(1)) | {"switch": 0.23449}
    assert [phase.until for phase in space.phases(parameters)] == [Decimal("0.234"), Decimal(1)]
    assert space.count_parameters() == 2 * 3 + 1


@pytest.mark.parametrize("ramps", [False, True])
def test_slices_are_means_of_the_rows(ramps: bool) -> None:
    timing = even_timing(4, ramps=ramps)
    weights = timing.weights(6)
    assert weights.mean(axis=0) == pytest.approx(np.asarray(timing.durations) / 2000, abs=1e-9)
    random = np.random.default_rng(0)
    phases = timing.phases(["a", "b"], random.integers(1, 9, (4, 2)).tolist())
    rows = [phases[0].weights, *(phase.to or phase.weights for phase in phases)] if ramps else [p.weights for p in phases]
    matrix = np.asarray([[float(value) for value in row.values()] for row in rows])
    fine = controls.knot_matrix(phases, knot_ends(6), ramps=False)
    assert weights @ (matrix / matrix.sum(axis=1, keepdims=True)) == pytest.approx(fine, abs=2e-3)


def test_hand_made_curricula_are_met_by_slices() -> None:
    study, sizes = study_of(3, Space(knots=5, rank=1)), {"s0": 200, "s1": 500, "s2": 300}
    shares = study.shares(sizes)
    for shape, least in (("steps", 0.07), ("ramps", 0.12), ("two-phase", 0.13)):
        space = space_of(study_of(3, Space(knots=5, rank=1, shape=shape)), sizes)  # type: ignore[arg-type]
        for name in ("hold-then-low", "ramp-down", "ramp-up"):
            wanted = controls.knot_matrix(controls.hand_made(name, shares, ("s0", "s2")), knot_ends(SLICES), ramps=False)
            found = space.features(space.parameters(wanted)).reshape(SLICES, 3)
            assert np.abs(found - wanted).mean() < least, (shape, name)


@settings(max_examples=100)
@given(spaces(), st.integers(0, 10**6), st.lists(st.one_of(st.none(), st.integers(1, 4)), min_size=5, max_size=5))
def test_caps_are_kept_by_every_proposal(form: Space, seed: int, epochs: list[int | None]) -> None:
    caps = {f"s{index}": cap for index, cap in enumerate(epochs) if cap is not None}
    study, sizes = study_of(5, form, exposure="free", caps=caps), sizes_of(5, seed)
    allowed = sum(min(SAMPLES, caps.get(name, SAMPLES) * size) for name, size in sizes.items())
    if allowed < SAMPLES:
        with pytest.raises(DataError, match=rf"may give {allowed} samples in all, but a run has {SAMPLES}: s0 .*max_epochs"):
            space_of(study, sizes)
        return
    space = space_of(study, sizes)
    for extreme in (False, True):
        parameters = drawn(space, seed, extreme=extreme)
        plan = study.mix("mix", space.phases(parameters)).plan(sizes)  # raises DataError over a cap
        counts = plan.counts(0, SAMPLES)
        played = space.features(parameters).reshape(SLICES, 5).mean(axis=0) * SAMPLES
        assert np.abs(played - list(counts.values())).max() <= 1.01


def test_caps_that_leave_no_choice_are_used_up() -> None:
    study = study_of(3, Space(rank=1), exposure="free", caps={"s0": 1, "s1": 2, "s2": 4})
    sizes = {"s0": 2000, "s1": 500, "s2": 250}
    space = space_of(study, sizes)
    for seed in range(20):
        counts = study.mix("mix", space.phases(space.draw(np.random.default_rng(seed)))).plan(sizes).counts(0, SAMPLES)
        assert counts == {"s0": 2000, "s1": 1000, "s2": 1000}


def test_a_cap_touches_only_what_is_over_it() -> None:
    free, sizes = study_of(3, Space(rank=None), exposure="free"), {"s0": 400, "s1": 5000, "s2": 5000}
    capped = study_of(3, Space(rank=None), exposure="free", caps={"s0": 1})
    even = np.asarray([[0.05, 0.45, 0.5]])
    over = np.asarray([[0.4, 0.2, 0.4]])
    for matrix, wanted in ((even, even), (over, np.asarray([[0.1, 0.3, 0.6]]))):
        parameters = space_of(free, sizes).parameters(matrix)
        assert space_of(capped, sizes).features(parameters).reshape(SLICES, 3)[0] == pytest.approx(wanted[0])


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 3000), st.floats(1e-6, 1.0)), min_size=2, max_size=8))
def test_capped_exposure_is_a_whole_run_and_never_over(streams: list[tuple[int, float]]) -> None:
    assume(sum(count for count, _ in streams) >= SAMPLES)
    caps = Caps(shares=tuple(Fraction(min(count, SAMPLES), SAMPLES) for count, _ in streams))
    matrix = unit_rows(np.asarray([[weight for _, weight in streams], [weight**2 for _, weight in streams]]))
    kept = caps.kept(matrix, [3, 1])
    assert kept.sum(axis=1) == pytest.approx([1, 1]) and (kept > 0).all()
    exposure = caps.exposure(kept, [3, 1])
    assert sum(exposure) == 1 and all(0 < share <= cap for share, cap in zip(exposure, caps.shares, strict=True))
    assert [float(share) for share in exposure] == pytest.approx(list(np.asarray([0.75, 0.25]) @ kept), abs=1e-8)


def test_caps_need_sizes() -> None:
    study = study_of(2, Space(), exposure="free", caps={"s1": 1})
    with pytest.raises(UserError, match=r"max_epochs of s1: .*sizes are needed"):
        SearchSpace(study, {"s0": Fraction(1, 2), "s1": Fraction(1, 2)})


def test_a_group_moves_its_streams_together() -> None:
    study, sizes = study_of(5, Space(rank=1, groups=GROUPS), exposure="free"), sizes_of(5)
    space = space_of(study, sizes)
    parameters = space.draw(np.random.default_rng(0))
    assert len(parameters) == space.count_parameters() == 5 + 2 * (3 + 2)
    shares = np.asarray([float(share) for share in study.shares(sizes).values()])
    logs = np.log(space.features(parameters).reshape(SLICES, 5) / shares)
    # math has s0 (high) and s1 (low), web s3 (high) and s4 (low): what parts high from low is the same in both
    assert logs[:, 0] - logs[:, 1] == pytest.approx(logs[:, 3] - logs[:, 4], abs=1e-4)
    changed = {name: 0.0 if name.startswith("stream") else value for name, value in parameters.items()}
    factors = {name: -np.log(float(parameters[f"base_{name}"])) for name in space_names(parameters)}
    levels = [
        next(factors[f"topic:{name}"] for name, held in TOPIC.items() if stream in held)
        * next(factors[f"quality:{name}"] for name, held in QUALITY.items() if stream in held)
        for stream in study.streams
    ]
    base = shares * levels / (shares * levels).sum()
    assert space.features(changed).reshape(SLICES, 5) == pytest.approx(np.tile(base, (SLICES, 1)))


def space_names(parameters: dict[str, float | str]) -> list[str]:
    return [name.removeprefix("base_") for name in parameters if name.startswith("base_")]


@pytest.mark.parametrize("rank", [None, 1])
def test_sixty_four_streams_in_groups_are_exact(rank: int | None) -> None:
    numbers = range(8)
    topic = {f"t{one}": tuple(f"s{one * 8 + other}" for other in numbers) for one in numbers}
    quality = {f"q{one}": tuple(f"s{other * 8 + one}" for other in numbers) for one in numbers}
    study, sizes = study_of(64, Space(rank=rank, groups={"topic": topic, "quality": quality})), sizes_of(64)
    space = space_of(study, sizes)
    assert space.count_parameters() == (5 + 16 if rank else 5 * 16)
    mixes = [study.mix("static", controls.static(study.shares(sizes)))]
    for seed in range(3):
        mixes.append(study.mix(f"mix {seed}", space.phases(space.draw(np.random.default_rng(seed)))))
    assert sum(controls.check_equal_exposure(mixes, sizes).values()) == SAMPLES


def test_a_draw_is_what_an_unguided_sampler_suggests() -> None:
    space = space_of(study_of(3, Space(orders=("shuffle", "sequential"), granularity=(64, 128))), sizes_of(3))
    parameters = space.draw(np.random.default_rng(3))
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    space.propose(trial)
    assert set(trial.params) == set(parameters)
    assert parameters == space.draw(np.random.default_rng(3)) != space.draw(np.random.default_rng(4))
    assert space.propose(optuna.trial.FixedTrial(parameters)) == space.propose(Given(parameters))
    orders = {space.draw(np.random.default_rng(seed))["order"] for seed in range(20)}
    assert orders == {"shuffle", "sequential"}


def test_a_stream_without_a_share_gets_nothing() -> None:
    shares = [Fraction(1, 3), Fraction(2, 3), Fraction(0)]
    matrix = scale_to_exposure(np.asarray([[0.2, 0.3, 0.5], [0.4, 0.3, 0.3]]), [1, 1], shares)
    rows = exact_rows(matrix, [1, 1], shares)
    assert [row[2] for row in rows] == [0, 0] and all(sum(row) > 0 for row in rows)


STUDY = """\
version: 1
name: small
streams:
  a: {local: "testbed:arith"}
  b: {local: "testbed:facts", max_epochs: 1}
  c: {local: "testbed:icl", max_epochs: 1}
length: {samples: 1280}
proxy: {batch: 16, readings: 8}
probes:
  - {name: p, family: f, builtin: "testbed:flipped", floor: 0.1}
space:
  shape: two-phase
  rank: null
  groups:
    topic:
      left: [a, b]
      right: [c]
    quality:
      high: [a]
      low: [b, c]
"""


def test_a_file_states_groups_and_two_phases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(STUDY)
    space = load_study(path).space
    assert (space.shape, space.rank, space.rows) == ("two-phase", None, 2)
    assert space.groups == {"topic": {"left": ("a", "b"), "right": ("c",)}, "quality": {"high": ("a",), "low": ("b", "c")}}
    assert check(path) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "two phases and their switch, all entries free, 2 levels of topic, 2 levels of quality, 9 parameters" in words


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("left: [a, b]", "left: [a, d]", r"small.yaml:16: space.groups.topic.left\[1\]: .*'d'"),
        ("left: [a, b]", "left: [a]", r"small.yaml:16: space.groups.topic: no level holds b; a factor holds every stream once"),
        ("low: [b, c]", "low: [b, a, c]", r"small.yaml:20: .*'a' is in level 'high' already"),
        ("low: [b, c]", "low: [b, b, c]", r"small.yaml:20: .*'b' is in level 'low' already"),
        ("right: [c]", "right: []", r"small.yaml:17: .*at least one stream"),
        ("quality:", "'q:y':", r"without ':'"),
        ("shape: two-phase", "shape: two-phase\n  knots: 2", r"small.yaml:13: space.knots: .*leave `knots` out"),
        ("shape: two-phase", "shape: two-phase\n  orders: []", r"small.yaml:13: space.orders: .*at least one entry"),
        ("shape: two-phase", "shape: two-phase\n  granularity: []", r"small.yaml:13: space.granularity: .*at least one entry"),
    ],
)
def test_a_wrong_space_is_refused_with_file_and_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in STUDY
    path = tmp_path / "small.yaml"
    path.write_text(STUDY.replace(old, new))
    with pytest.raises(FileError, match=message):
        load_study(path)


def test_an_older_study_says_the_same_as_before(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(STUDY)
    assert "groups" in load_study(path).canonical()["space"]
    path.write_text(STUDY[: STUDY.index("  groups")])
    assert "groups" not in load_study(path).canonical()["space"]


@pytest.mark.parametrize(
    ("settled", "order"),
    [
        ("orders: [sequential]", Order(kind="sequential")),
        ("granularity: [32]", Order(kind="shuffle", window=32)),
        ("orders: [shuffle]", None),
        ("orders: [shuffle, sequential]", None),
        ("granularity: [32, 64]", None),
    ],
)
def test_an_order_that_is_not_searched_is_everybody_s(tmp_path: Path, settled: str, order: Order | None) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(STUDY.replace("shape: two-phase", f"shape: two-phase\n  {settled}"))
    study = load_study(path)
    shares = study.shares(dict.fromkeys(study.streams, 1))
    static = study.mix("static", controls.static(shares))
    assert {stream.order for stream in static.streams.values()} == {order or Order()}
    sizes = dict.fromkeys(study.streams, 2000)
    proposed = SearchSpace(study, shares, sizes).propose(Drawn(np.random.default_rng(0)))[1]
    assert order is None or proposed == order


def test_an_order_of_the_space_and_one_of_a_stream_are_refused_together(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    ordered = STUDY.replace('a: {local: "testbed:arith"}', 'a: {local: "testbed:arith", order: sequential}')
    path.write_text(ordered)
    assert load_study(path).streams["a"].order.kind == "sequential"
    path.write_text(ordered.replace("shape: two-phase", "shape: two-phase\n  orders: [shuffle, sequential]"))
    with pytest.raises(FileError, match=r"small.yaml:13: space.orders: .*stream 'a' states"):
        load_study(path)
