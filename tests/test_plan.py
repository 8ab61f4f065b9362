"""The plan: exact, random-access, complete; against a reference that walks."""

from __future__ import annotations

import pickle
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum.errors import DataError, UserError
from curriculum.mix import Mix, Order, Phase, Stream
from curriculum.plan import Plan, default_window
from curriculum.plan.allocation import block_size
from curriculum.plan.permutation import permute

WEIGHTS = st.one_of(st.integers(0, 9).map(Decimal), st.decimals("0", "3", places=4), st.just(Decimal("0.000001")))


def make_mix(phases: list[dict[str, object]], names: list[str], **changes: object) -> Mix:
    streams = {name: Stream(local=f"/data/{name}") for name in names}
    arguments = {"name": "m", "streams": streams, "phases": tuple(Phase(**phase) for phase in phases), **changes}
    return Mix(**arguments)  # type: ignore[arg-type]


@st.composite
def mixes(draw: st.DrawFn) -> Mix:
    names = [f"s{index}" for index in range(draw(st.integers(1, 6)))]
    ends = sorted({Decimal(draw(st.integers(1, 999))) / 1000 for _ in range(draw(st.integers(0, 3)))} | {Decimal(1)})

    def weights() -> dict[str, Decimal]:
        found = {name: draw(WEIGHTS) for name in names}
        return found if any(found.values()) else {**found, names[-1]: Decimal(1)}

    phases = [{"until": end, "weights": weights(), "to": weights() if draw(st.booleans()) else None} for end in ends]
    return make_mix(phases, names, samples=draw(st.integers(1, 5000)), seed=draw(st.integers(0, 99)))


def sizes_of(mix: Mix, size: int = 97) -> dict[str, int]:
    return {name: size + 13 * index for index, name in enumerate(mix.streams)}


def reference_due(mix: Mix, samples: int, nominal: int) -> dict[str, Fraction]:
    """W_s by summing trapezoids over phases, independently of the closed form."""
    due = dict.fromkeys(mix.streams, Fraction(0))
    start, progress = Fraction(0), Fraction(nominal, samples)
    for phase in mix.phases:
        stop = Fraction(phase.until or 0)
        first_total, last = sum(map(Fraction, phase.weights.values())), phase.to or phase.weights
        last_total = sum(map(Fraction, last.values()))
        upto = min(progress, stop)
        for name in due:
            p, q = Fraction(phase.weights[name]) / first_total, Fraction(last[name]) / last_total
            at = p + (q - p) * (upto - start) / (stop - start)
            due[name] += max(upto - start, Fraction(0)) * (p + at) / 2 * samples
        start = stop
        if progress <= stop:
            break
    return due


@settings(max_examples=60)
@given(mixes())
def test_every_draw_of_every_stream_is_played_exactly_once_and_epochs_are_exhausted_in_order(mix: Mix) -> None:
    plan = mix.plan(sizes_of(mix))
    streams, epochs, samples = plan[np.arange(len(plan))]
    for index, name in enumerate(plan.streams):
        chosen, size = streams == index, plan.sizes[name]
        played = sorted(zip(epochs[chosen].tolist(), samples[chosen].tolist(), strict=True))
        full, rest = divmod(len(played), size)
        assert played[: full * size] == [(epoch, sample) for epoch in range(full) for sample in range(size)]
        assert len(set(played[full * size :])) == rest
        assert (np.diff(epochs[chosen]) >= 0).all()
    assert sum(plan.counts(0, len(plan)).values()) == mix.samples


@settings(max_examples=60)
@given(mixes())
def test_counts_stay_within_one_of_the_exact_integral_at_every_block_end(mix: Mix) -> None:
    plan = mix.plan(sizes_of(mix))
    ends = list(plan.block_ends())
    assert ends[-1] == (mix.samples, mix.samples)
    assert {nominal for nominal, _ in ends} >= set(
        range(block_size(len(mix.streams)), mix.samples, block_size(len(mix.streams)))
    )
    for nominal, position in ends:
        due, counts = reference_due(mix, mix.samples or 0, nominal), plan.counts(0, position)
        assert due == plan.expected(nominal)
        assert all(abs(counts[name] - due[name]) < 1 for name in counts)
        if nominal < (mix.samples or 0):
            assert counts == {name: int(value) for name, value in due.items()}


@settings(max_examples=40)
@given(mixes(), st.randoms(use_true_random=False))
def test_random_access_equals_walking(mix: Mix, random: object) -> None:
    plan, other = mix.plan(sizes_of(mix)), mix.plan(sizes_of(mix))
    walked = np.stack(plan[np.arange(len(plan))])
    asked = np.random.default_rng(random.randrange(2**32)).integers(0, len(plan), 50)  # type: ignore[attr-defined]
    assert (np.stack([np.asarray(other[int(position)]) for position in asked], axis=1) == walked[:, asked]).all()
    assert (np.stack(other[asked]) == walked[:, asked]).all()
    for position in asked[:10]:
        passed = np.bincount(walked[0, :position], minlength=len(plan.streams))
        assert list(other.counts(0, int(position)).values()) == passed.tolist()


@settings(max_examples=40)
@given(mixes(), mixes(), st.integers(0, 10**6), st.integers(0, 10**6))
def test_an_edit_of_the_future_keeps_the_past_and_every_streams_draws(mix: Mix, new: Mix, first: int, second: int) -> None:
    sizes = {f"s{index}": 61 + index for index in range(6)}
    new = replace(new, seed=mix.seed)
    plan = mix.plan(sizes)
    cursor = first % len(plan)
    edited = plan.continue_under(new, at=cursor)
    assert len(edited) == len(plan)
    before, after = plan[np.arange(cursor)], edited[np.arange(len(plan))]
    names = np.asarray(edited.streams)
    assert (np.asarray(plan.streams)[before[0]] == names[after[0][:cursor]]).all()
    assert (before[1] == after[1][:cursor]).all() and (before[2] == after[2][:cursor]).all()
    for name in edited.streams:
        chosen = names[after[0]] == name
        assert len(set(zip(after[1][chosen].tolist(), after[2][chosen].tolist(), strict=True))) == chosen.sum()
        due = reference_due(new, len(plan), len(plan)).get(name, 0) - reference_due(new, len(plan), cursor).get(name, 0)
        assert abs(edited.counts(cursor, len(plan))[name] - due) < 1
    later = second % (len(plan) - cursor) + cursor
    again = edited.continue_under(new, at=later)
    assert again.counts(0, later) == {name: edited.counts(0, later).get(name, 0) for name in again.streams}


def test_a_tiny_weight_does_not_starve() -> None:
    phase = {"until": 1, "weights": {"big": 1, "tiny": Decimal("0.0001")}}
    plan = make_mix([phase], ["big", "tiny"], samples=100_000).plan({"big": 1000, "tiny": 10})
    assert plan.counts(0, 100_000)["tiny"] in (9, 10)
    many = make_mix([{"until": 1, "weights": {f"s{i}": 1 for i in range(64)}}], [f"s{i}" for i in range(64)], samples=819)
    assert set(many.plan({f"s{i}": 100 for i in range(64)}).counts(0, 819).values()) == {12, 13}


def test_the_remainder_goes_to_the_largest_fraction_then_by_name_and_not_to_a_stream_that_has_ended() -> None:
    tie = make_mix([{"until": 1, "weights": {"b": 1, "a": 1}}], ["b", "a"], samples=11)
    assert tie.plan({"a": 50, "b": 50}).counts(0, 11) == {"b": 5, "a": 6}
    ended = make_mix(
        [{"until": Decimal("0.5"), "weights": {"a": 1}}, {"until": 1, "weights": {"b": 1}}], ["a", "b"], samples=11
    )
    assert ended.plan({"a": 50, "b": 50}).counts(0, 11) == {"a": 5, "b": 6}


def test_a_stream_without_weight_is_not_played_in_that_phase() -> None:
    phases = [{"until": Decimal("0.4"), "weights": {"a": 1}}, {"until": 1, "weights": {"b": 2, "c": 1}}]
    plan = make_mix(phases, ["a", "b", "c"], samples=3001).plan({"a": 99, "b": 99, "c": 99})
    streams, _, _ = plan[np.arange(3001)]
    boundary = plan.phase_ends[0]
    assert set(streams[:boundary]) == {0} and set(streams[boundary:]) == {1, 2}
    assert plan.phase_ends == (1200, 3001)


def test_seeds_change_the_order_but_not_the_counts() -> None:
    phases = [{"until": 1, "weights": {"a": 2, "b": 1}}]
    plans = [make_mix(phases, ["a", "b"], samples=2000, seed=seed).plan({"a": 640, "b": 640}) for seed in (1, 1, 2)]
    played = [np.stack(plan[np.arange(2000)]) for plan in plans]
    assert (played[0] == played[1]).all() and (played[0] != played[2]).any()
    assert plans[0].counts(0, 2000) == plans[2].counts(0, 2000)


def test_tokens_as_the_unit_meet_token_shares() -> None:
    streams = {"long": Stream(local="/l", tokens_per_sample=4096), "short": Stream(local="/s", tokens_per_sample=512)}
    phases = (
        Phase(until=Decimal("0.5"), weights={"long": 1, "short": 1}),
        Phase(until=Decimal(1), weights={"short": 1}),
    )
    mix = Mix(name="t", streams=streams, phases=phases, unit="tokens", samples=9000)
    plan = mix.plan({"long": 10_000, "short": 10_000})
    counts = plan.counts(0, 9000)
    tokens = {"long": 4096 * counts["long"], "short": 512 * counts["short"]}
    assert abs(tokens["long"] / sum(tokens.values()) - 0.25) < 0.001
    walked = np.bincount(plan[np.arange(9000)][0], minlength=2)
    assert walked.tolist() == [counts["long"], counts["short"]]
    absolute = replace(
        mix,
        samples=None,
        phases=(Phase(until_tokens=10**6, weights={"long": 1}), Phase(until_tokens=2 * 10**6, weights={"short": 1})),
    ).plan({"long": 10**4, "short": 10**4})
    assert absolute.counts(0, absolute.samples) == {"long": 244, "short": 1953}
    with pytest.raises(UserError, match="tokens_per_sample"):
        replace(mix, streams={name: Stream(local="/x") for name in streams}).plan({"long": 9, "short": 9})


def test_a_terabyte_run_is_found_at_random_and_edited() -> None:
    phases = [{"until": 1, "weights": {"a": 3, "b": Decimal("0.37")}, "to": {"a": Decimal("0.001"), "b": 5}}]
    mix = make_mix(phases, ["a", "b"], samples=10**12)
    plan = mix.plan({"a": 10**11, "b": 10**12})
    positions = np.asarray([0, 1, 10**11 + 7, 5 * 10**11, 10**12 - 1])
    streams, epochs, samples = plan[positions]
    due = reference_due(mix, 10**12, 5 * 10**11)
    assert all(abs(plan.counts(0, 5 * 10**11)[name] - due[name]) < 512 for name in due)
    assert ((samples >= 0) & (samples < 10**12)).all() and plan[10**12 - 1] == (streams[4], epochs[4], samples[4])
    with pytest.raises(IndexError):
        plan[10**12]
    with pytest.raises(IndexError):
        plan[-1]


def test_orders() -> None:
    def played(order: Order, scores: object = None) -> np.ndarray:
        mix = Mix(
            name="o",
            samples=250,
            streams={"a": Stream(local="/a", order=order)},
            phases=(Phase(until=1, weights={"a": 1}),),
        )
        return mix.plan({"a": 100}, scores=scores)[np.arange(250)][2]

    assert (played(Order(kind="sequential")) == np.arange(250) % 100).all()
    windows = played(Order(window=30))[:100] // 30
    assert sorted(windows.tolist()) == sorted((np.arange(100) // 30).tolist()) and (np.diff(windows) != 0).sum() == 3
    scored = Order(kind="scored", by="difficulty", window=25)
    assert (played(scored, {"a": [3, 1, 2, 0]})[:100] // 25 == np.repeat([3, 1, 2, 0], 25)).all()
    down = replace(scored, direction="descending")
    table = {"start": [0, 10, 50], "stop": [10, 50, 100], "score": [0.5, 2.0, 1.0]}
    assert (
        np.searchsorted([10, 50], played(down, {"a": table})[:100], side="right") == np.repeat([1, 2, 0], [40, 50, 10])
    ).all()


def test_score_files_and_lists_are_read_and_checked(tmp_path: object) -> None:
    import pandas

    def plan_with(frame: dict[str, object], order: dict[str, object]) -> Plan:
        path = f"{tmp_path}/windows.parquet"
        pandas.DataFrame(frame).to_parquet(path)
        key = next(iter(order))
        stream = Stream(local="/a", order=Order(**{**order, key: path}))  # type: ignore[arg-type]
        return Mix(name="o", samples=60, streams={"a": stream}, phases=(Phase(until=1, weights={"a": 1}),)).plan({"a": 100})

    listed = {"stream": ["a", "b", "a"], "start": [40, 0, 10], "stop": [60, 9, 20]}
    samples = plan_with(listed, {"listed": 1, "kind": "listed"})[np.arange(60)][2]
    assert sorted(samples[:20]) == list(range(40, 60)) and sorted(samples[20:30]) == list(range(10, 20))
    assert sorted(samples[30:50]) == list(range(40, 60))
    whole = {"start": [0, 50], "stop": [50, 100], "score": [2.0, 1.0]}
    assert (plan_with(whole, {"scores": 1, "kind": "scored"})[np.arange(50)][2] >= 50).all()
    for frame, word in [
        ({**whole, "stop": [50, 101]}, "not a range"),
        ({**whole, "start": [0, 60]}, "exactly once"),
        ({**whole, "score": [1.0, float("nan")]}, "finite"),
        ({"start": [0], "stop": [9]}, "'score' is missing"),
        ({**whole, "stream": ["b", "b"]}, "no window of stream 'a'"),
    ]:
        with pytest.raises(UserError, match=word):
            plan_with(frame, {"scores": 1, "kind": "scored"})


def test_caps_sizes_and_empty_streams_are_refused() -> None:
    phases = [{"until": 1, "weights": {"a": 1, "b": 1}}]
    mix = make_mix(phases, ["a", "b"], samples=100)
    with pytest.raises(UserError, match="no size given for stream 'b'"):
        mix.plan({"a": 10})
    with pytest.raises(DataError, match="stream 'b' is empty"):
        mix.plan({"a": 10, "b": 0})
    capped = replace(mix, streams={**mix.streams, "b": Stream(local="/b", max_epochs=4)})
    assert capped.plan({"a": 10, "b": 13}).counts(0, 100) == {"a": 50, "b": 50}
    with pytest.raises(DataError, match=r"stream 'b'.*50 samples.*max_epochs: 4 of its 12"):
        capped.plan({"a": 10, "b": 12})
    with pytest.raises(DataError, match="stream 'b'"):
        capped.plan({"a": 10, "b": 13}).later_pass(1)


def test_a_later_pass_replays_the_schedule_and_continues_the_draws() -> None:
    phases = [{"until": Decimal("0.5"), "weights": {"a": 1}}, {"until": 1, "weights": {"a": 1, "b": 1}}]
    plan = make_mix(phases, ["a", "b"], samples=400).plan({"a": 1000, "b": 1000})
    second = plan.later_pass(1)
    first_draws = set(zip(*(part.tolist() for part in plan[np.arange(400)]), strict=True))
    second_draws = set(zip(*(part.tolist() for part in second[np.arange(400)]), strict=True))
    assert not first_draws & second_draws and second.counts(0, 200) == {"a": 200, "b": 0}
    assert plan.later_pass(0) is plan


def test_a_plan_survives_pickling() -> None:
    plan = make_mix([{"until": 1, "weights": {"a": 1}}], ["a"], samples=300).plan({"a": 70})
    plan[np.arange(300)]
    copy = pickle.loads(pickle.dumps(plan))
    assert (np.stack(copy[np.arange(300)]) == np.stack(plan[np.arange(300)])).all()


@given(st.integers(1, 400), st.integers(0, 2**63))
def test_permutations_are_bijections(size: int, key: int) -> None:
    assert sorted(permute(np.arange(size), size, key)) == list(range(size))


def test_permutations_spread_evenly() -> None:
    keys = np.arange(20_000).astype(np.uint64)
    for size in (2, 3, 5, 7):
        images = permute(np.zeros(20_000, dtype=np.int64), size, keys)
        expected = 20_000 / size
        assert ((np.bincount(images, minlength=size) - expected) ** 2 / expected).sum() < 30


def test_default_windows() -> None:
    assert [default_window(size) for size in (1, 50, 10_000, 10**6, 10**9)] == [1, 50, 64, 3906, 65_536]
