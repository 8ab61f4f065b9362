"""Lanes: counts as without them, every sample once, windows that stay with their lane; through passes and edits."""

from __future__ import annotations

import json
import pickle
from copy import copy
from dataclasses import replace
from decimal import Decimal
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum.errors import UserError
from curriculum.mix import Mix, Order, Phase, Stream
from curriculum.plan import Plan
from curriculum.plan.allocation import Allocation
from curriculum.plan.lanes import LaneAllocation
from curriculum.plan.ownership import dealt_table, exchange, ownership_of
from curriculum.plan.permutation import Integers
from curriculum.plan.schedule import compile_schedule
from curriculum.plan.windows import Sequential, Shuffled, Tabled, Windows

LANES = st.sampled_from([2, 3, 5, 8, 64])
WEIGHTS = st.one_of(st.integers(0, 9).map(Decimal), st.sampled_from([Decimal("0.0001"), Decimal("0.37")]))
ORDERS = st.sampled_from(
    [
        Order(),
        Order(window=7),
        Order(window=40),
        Order(kind="sequential"),
        Order(kind="sequential", window=3),
        Order(by="score"),
    ]
)
SIZES = st.sampled_from([3, 70, 330, 2500])


def make_mix(phases: list[Phase], orders: dict[str, Order], **changes: object) -> Mix:
    streams = {name: Stream(local=f"/data/{name}", order=order) for name, order in orders.items()}
    return Mix(**{"name": "m", "streams": streams, "phases": tuple(phases), **changes})  # type: ignore[arg-type]


def plain_mix(weights: dict[str, object], samples: int, **changes: object) -> Mix:
    return make_mix([Phase(until=1, weights=weights)], dict.fromkeys(weights, Order()), samples=samples, **changes)


@st.composite
def mixes(draw: st.DrawFn, *, streams: int = 9, lanes: int | None = None) -> Mix:
    names = [f"s{index}" for index in range(draw(st.integers(1, streams)))]
    ends = sorted({Decimal(draw(st.integers(1, 999))) / 1000 for _ in range(draw(st.integers(0, 3)))} | {Decimal(1)})

    def weights() -> dict[str, Decimal]:
        found = {name: draw(WEIGHTS) for name in names}
        return found if any(found.values()) else {**found, names[-1]: Decimal(1)}

    phases = [Phase(until=end, weights=weights(), to=weights() if draw(st.booleans()) else None) for end in ends]
    orders = {name: draw(ORDERS) for name in names}
    return make_mix(
        phases, orders, samples=draw(st.integers(1, 6000)), lanes=lanes or draw(LANES), seed=draw(st.integers(0, 9))
    )


def uneven_windows(size: int) -> dict[str, Integers]:
    """Windows of 5, 17, 9 and 30 samples in turn that cover `size`, with jumbled scores."""
    ends = np.cumsum(np.resize([5, 17, 9, 30], size))
    ends = np.append(ends[ends < size], size)
    starts = np.concatenate([[0], ends[:-1]])
    return {"start": starts, "stop": ends, "score": np.sin(starts)}


def plan_of(mix: Mix, size: int, **changes: object) -> Plan:
    sizes = {f"s{index}": size + 41 * index for index in range(9)}
    return mix.plan(sizes, scores={name: uneven_windows(sizes[name]) for name in mix.streams}, **changes)  # type: ignore[arg-type]


def play(plan: Plan, start: int = 0, stop: int | None = None) -> Integers:
    """Rows of (number in the name of the stream, epoch, sample)."""
    streams, epochs, samples = plan[np.arange(start, len(plan) if stop is None else stop)]
    numbers = np.asarray([int(name[1:]) for name in plan.streams])
    return np.stack([numbers[streams], epochs, samples], axis=1)


def assert_every_sample_once(played: Integers, size: int) -> None:
    for stream in np.unique(played[:, 0]):
        epochs, samples = played[played[:, 0] == stream, 1:].T
        length = size + 41 * int(stream)
        assert (epochs == np.arange(len(epochs)) // length).all()
        assert len(np.unique(epochs * length + samples)) == len(samples)
        assert samples.min() >= 0 and samples.max() < length


@settings(max_examples=80)
@given(mixes(), SIZES)
def test_every_sample_is_played_once_an_epoch_and_epochs_are_exhausted_in_order(mix: Mix, size: int) -> None:
    plan = plan_of(mix, size)
    played = play(plan)
    assert plan.lanes == mix.lanes and len(played) == mix.samples
    assert_every_sample_once(played, size)
    assert plan.counts(0, len(plan)) == plan_of(mix, size, lanes=1).counts(0, len(plan))
    starts, stops = plan.windows(np.arange(len(plan)))
    assert (starts <= played[:, 2]).all() and (played[:, 2] < stops).all()


@settings(max_examples=25)
@given(mixes(), st.integers(1, 40))
def test_counts_are_exact_at_block_ends_and_close_to_the_ramp_within(mix: Mix, longer: int) -> None:
    plan = plan_of(mix, 10**6, samples=(mix.samples or 0) * longer)
    previous = 0
    for nominal, position in islice(plan.block_ends(), 8):
        due, counts = plan.expected(nominal), plan.counts(0, position)
        assert all(abs(counts[name] - due[name]) < 1 for name in counts)
        middle = (previous + nominal) // 2
        due, counts = plan.expected(middle), plan.counts(0, min(middle, len(plan)))
        assert all(abs(counts[name] - due[name]) <= 6 + plan.lanes / 4 for name in counts)
        previous = nominal


@settings(max_examples=60)
@given(mixes(), st.integers(1, 200), st.integers(0, 5000))
def test_the_deal_is_exact_monotone_and_within_its_proven_bound(mix: Mix, longer: int, cursor: int) -> None:
    due, lanes, names = (mix.samples or 0) * longer, mix.lanes, tuple(mix.streams)
    schedule = compile_schedule(mix, samples=due + cursor, origin=cursor, due=due)
    plain = Allocation(schedule=schedule, cursor=cursor, carried=(7,) * len(names), key=1, names=names, exact_lag=True)
    deal = LaneAllocation.deal(plain, lanes, np.zeros((len(names), lanes), dtype=np.int64))
    widest = np.ones(len(names), dtype=np.int64)
    for stretch in deal.stretches:
        counts = np.asarray(plain.drawn(stretch.stop)) - plain.drawn(stretch.start)
        part = 0 if stretch.blocks == 1 else 2 * -(-int((counts > 0).sum()) // stretch.absorbers)
        before = deal.lane_drawn(stretch.start)
        for number in sorted({*range(min(stretch.blocks, 12)), stretch.blocks - 1}):
            _, end = deal.bounds(stretch.start + number * stretch.size)
            drawn, absorbs = deal.lane_drawn(end), np.zeros(len(names), dtype=np.int64)
            absorbs[np.argsort(-stretch.rates(end), kind="stable")[: stretch.absorbers]] = 1
            assert (drawn.sum(axis=1) + 7 == plain.drawn(end)).all()
            assert (drawn.sum(axis=0) == np.bincount(np.arange(cursor, plain.position(end)) % lanes, minlength=lanes)).all()
            assert (drawn >= before).all()
            assert (np.ptp(drawn, axis=1) <= widest + part * absorbs + (stretch.blocks == 1)).all()
            before = drawn
        widest += part * absorbs + (stretch.blocks == 1)
        assert end == stretch.stop


@settings(max_examples=20)
@given(mixes(), SIZES, st.randoms(use_true_random=False))
def test_random_access_equals_walking(mix: Mix, size: int, random: object) -> None:
    walked = play(plan_of(mix, size))
    asked = np.random.default_rng(random.randrange(2**32)).integers(0, len(walked), 20)  # type: ignore[attr-defined]
    for position in asked[:3].tolist():
        assert (play(plan_of(mix, size), position, position + 1) == walked[position]).all()
    other = plan_of(mix, size)
    streams, epochs, samples = other[asked]
    assert (np.stack([epochs, samples], axis=1) == walked[asked, 1:]).all()
    copied = pickle.loads(pickle.dumps(other))
    assert (np.stack(copied[asked]) == np.stack([streams, epochs, samples])).all()


@settings(max_examples=40)
@given(mixes(lanes=5), mixes(lanes=5), mixes(lanes=5), SIZES, st.lists(st.integers(0, 10**6), min_size=2, max_size=2))
def test_edits_and_later_passes_lose_and_repeat_nothing(
    first: Mix, second: Mix, third: Mix, size: int, cuts: list[int]
) -> None:
    orders = {**third.streams, **second.streams, **first.streams}
    first, second, third = (
        replace(mix, seed=1, streams={name: orders[name] for name in mix.streams}) for mix in (first, second, third)
    )
    scores = {f"s{index}": uneven_windows(size + 41 * index) for index in range(9)}
    sizes = {f"s{index}": size + 41 * index for index in range(9)}
    plan = plan_of(first, size)
    history = [play(plan)]
    plan = plan.later_pass(1)
    begin = min(cuts[0] % len(plan), len(plan) - 1)
    edited = plan.continue_under(second, at=begin, sizes=sizes, scores=scores)
    assert (play(edited, 0, begin) == play(plan, 0, begin)).all()
    at_once = edited.continue_under(third, at=begin, sizes=sizes, scores=scores)
    assert (play(at_once) == play(plan.continue_under(third, at=begin, sizes=sizes, scores=scores))).all()
    again = begin + cuts[1] % (len(plan) - begin)
    twice = edited.continue_under(third, at=again, sizes=sizes, scores=scores)
    assert (play(twice, 0, again) == play(edited, 0, again)).all()
    assert (play(copy(twice)) == play(twice)).all()
    history += [play(twice), play(twice.later_pass(1)), play(twice.later_pass(2))]
    assert_every_sample_once(np.concatenate(history), size)
    carried = json.loads(json.dumps(twice.drawn_before_pass(1)))
    anew = Plan.compile(third, sizes=sizes, scores=scores, samples=len(plan), carried=carried, passes=2)
    assert (play(anew) == history[2]).all() and (play(anew.later_pass(1)) == history[3]).all()
    other = Plan.compile(first, sizes=sizes, scores=scores, carried=carried, passes=2)
    assert_every_sample_once(np.concatenate([*history[:2], play(other), play(other.later_pass(1))]), size)


def test_an_epoch_over_many_passes_and_one_that_never_ends() -> None:
    mix = plain_mix({"s0": 1, "s1": Decimal("0.01")}, 700, lanes=8)
    sizes = {"s0": 500, "s1": 200}
    plan = mix.plan(sizes)
    passes = np.concatenate([play(plan.later_pass(number)) for number in range(40)])
    rare = passes[passes[:, 0] == 1]
    assert len(np.unique(rare[:, 2])) == 200 and len(rare) > 200
    assert len(np.unique(rare[:200, 2])) == 200 and (rare[:200, 1] == 0).all() and (rare[200:, 1] == 1).all()
    phases = [Phase(until=Decimal("0.5"), weights={"s0": 1}), Phase(until=1, weights={"s1": 1})]
    stopped = make_mix(phases, {"s0": Order(), "s1": Order()}, samples=700, lanes=8).plan(sizes)
    future = plain_mix({"s1": 1}, 700, lanes=8)
    ended = stopped.continue_under(future, at=400)
    assert len(np.unique(play(ended)[:, [0, 2]], axis=0)) == 350 + 200


@pytest.mark.parametrize("lanes", [2, 8, 64])
def test_windows_stay_with_their_lane_over_epochs(lanes: int) -> None:
    window, count = 50, 64 * 20
    mix = plain_mix({"s0": 7, "s1": 2, "s2": 1}, 200_000, lanes=lanes)
    mix = replace(mix, streams={**mix.streams, "s0": Stream(local="/d", order=Order(window=window))})
    plan = mix.plan({"s0": window * count, "s1": 3000, "s2": 3000})
    streams, epochs, samples = plan[np.arange(len(plan))]
    shared, owners = [], []
    for epoch in (0, 1):
        positions = np.flatnonzero((streams == 0) & (epochs == epoch))
        table = np.zeros((count, lanes), dtype=int)
        np.add.at(table, (samples[positions] // window, positions % lanes), 1)
        assert (table.sum(axis=1) == window).all()
        shared.append(set(np.flatnonzero((table > 0).sum(axis=1) > 1).tolist()))
        owners.append(table.argmax(axis=1))
        assert table.max(axis=1).sum() >= 0.995 * window * count
    assert all(len(each) <= 1.5 * lanes for each in shared)
    assert (owners[0] != owners[1]).sum() <= 2 * lanes
    chosen = [(streams == 0) & (epochs == epoch) & (np.arange(len(plan)) % lanes == 1) for epoch in (0, 1)]
    first, second = (samples[each][: window * count // lanes - 20] // window for each in chosen)
    assert (first != second).mean() > 0.4


def test_small_streams_do_not_starve_in_many_lanes() -> None:
    names = [f"s{index}" for index in range(64)]
    plan = plain_mix(dict.fromkeys(names, 1), 819, lanes=64).plan(dict.fromkeys(names, 1000))
    assert set(plan.counts(0, 819).values()) == {12, 13}
    plan = plain_mix({"s0": 1, "s1": Decimal("0.0001")}, 10**6, lanes=64).plan({"s0": 10**6, "s1": 1000})
    assert plan.counts(0, 10**6)["s1"] in (99, 100)
    positions = np.flatnonzero(plan[np.arange(10**6)][0] == 1)
    per_lane = np.bincount(positions % 64, minlength=64)
    assert per_lane.min() >= 1 and per_lane.max() <= 2
    assert np.abs(positions - (np.arange(len(positions)) + 0.5) * 10**4).max() < 10**4


def test_ordered_streams_are_played_round_by_round_and_whole_orders_are_kept_with_few_windows() -> None:
    orders = {"s0": Order(by="score", window=10), "s1": Order(kind="sequential", window=10), "s2": Order(kind="sequential")}
    mix = make_mix([Phase(until=1, weights=dict.fromkeys(orders, 1))], orders, samples=4800, lanes=8)
    scores = {"s0": np.argsort(np.argsort(np.sin(np.arange(160))))}
    streams, _, samples = mix.plan({"s0": 1600, "s1": 1600, "s2": 320}, scores=scores)[np.arange(4800)]
    ranks = scores["s0"][samples[streams == 0] // 10]
    assert np.abs(ranks * 10 - np.arange(1600)).max() <= 120
    assert np.abs(samples[streams == 1] - np.arange(1600)).max() <= 120
    assert np.abs(samples[streams == 2] - np.arange(1600) % 320).max() <= 40


def test_windows_are_those_that_are_played_even_if_listed_windows_overlap(tmp_path: object) -> None:
    import pandas

    path = f"{tmp_path}/windows.parquet"
    listed = {"stream": ["s0"] * 3, "start": [0, 20, 10], "stop": [60, 70, 90]}
    pandas.DataFrame(listed).to_parquet(path)
    orders = {"s0": Order(listed=path), "s1": Order(kind="sequential", window=30), "s2": Order(window=32)}
    mix = make_mix([Phase(until=1, weights=dict.fromkeys(orders, 1))], orders, samples=570)
    for lanes in (1, 2, 3):
        plan = mix.plan({"s0": 100, "s1": 100, "s2": 100}, lanes=lanes)
        streams, _, samples = plan[np.arange(570)]
        starts, stops = plan.windows(np.arange(570))
        assert plan.windows([5])[0] == starts[5]
        ranges = np.stack([starts, stops], axis=1)
        assert {tuple(each) for each in ranges[streams == 0].tolist()} == {(0, 60), (20, 70), (10, 90)}
        for start, stop in ((0, 60), (20, 70), (10, 90)):
            chosen = (streams == 0) & (starts == start)
            assert sorted(samples[chosen]) == list(range(start, stop))
        for stream, size in ((1, 30), (2, 32)):
            here = streams == stream
            assert (starts[here] == samples[here] // size * size).all()
            assert (stops[here] == np.minimum(starts[here] + size, 100)).all()


@given(st.integers(2, 70), st.integers(1, 3000), st.integers(1, 90), st.integers(0, 3), st.integers(0, 5))
@settings(max_examples=150)
def test_lanes_own_every_sample_once_and_about_equally(lanes: int, size: int, window: int, kind: int, epoch: int) -> None:
    window = min(window, size)
    table = uneven_windows(size)
    windows: Windows = [
        Shuffled(length=size, window=window, key=7),
        Sequential(length=size, window=window),
        Tabled(starts=table["start"], stops=table["stop"], key=7),
        Tabled(starts=np.arange(0, size, window), stops=np.minimum(np.arange(0, size, window) + window, size), key=7),
    ][kind]
    owner = ownership_of(windows, lanes)
    if owner is None:
        assert size < max(64, lanes)
        return
    sizes = owner.sizes()
    owned = np.repeat(np.arange(lanes), sizes)
    numbers = np.concatenate([np.arange(each) for each in sizes])
    samples, found = owner.locate(epoch, owned, numbers)
    starts, stops = windows.ranges(found)
    assert np.unique(samples).tolist() == list(range(size)) and len(samples) == size
    assert ((starts <= samples) & (samples < stops)).all()
    assert np.ptp(sizes) <= (1 if kind < 2 else 30 if kind == 2 else window)


def test_windows_of_a_table_differ_by_one_window_at_most_however_uneven() -> None:
    sizes = np.random.default_rng(0).integers(1, 1000, 5003)
    ends = np.cumsum(sizes)
    dealt = dealt_table(Tabled(starts=ends - sizes, stops=ends, key=0), 64)
    assert np.ptp(dealt.loads) <= 1000 and dealt.loads.sum() == ends[-1]
    assert sorted(dealt.order.tolist()) == list(range(5003))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_exchange_is_one_to_one_and_keeps_beginnings(lengths: list[tuple[int, int]], random: object) -> None:
    given_, wanted = np.asarray(lengths, dtype=np.int64).T
    wanted = np.append(wanted, max(0, given_.sum() - wanted.sum()))
    given_ = np.append(given_, wanted.sum() - given_.sum())
    lanes, numbers = np.repeat(np.arange(len(wanted)), wanted), np.concatenate([np.arange(each) for each in wanted])
    whose, which = exchange(given_, wanted, lanes, numbers)
    assert len(set(zip(whose.tolist(), which.tolist(), strict=True))) == len(whose)
    assert ((which >= 0) & (which < given_[whose])).all()
    kept = numbers < np.minimum(given_, wanted)[lanes]
    assert (whose[kept] == lanes[kept]).all() and (which[kept] == numbers[kept]).all()


def test_tokens_as_the_unit_and_more_lanes_than_samples() -> None:
    streams = {"s0": Stream(local="/l", tokens_per_sample=4096), "s1": Stream(local="/s", tokens_per_sample=512)}
    phases = (Phase(until=Decimal("0.3"), weights={"s0": 1}), Phase(until=1, weights={"s0": 1, "s1": 2}, to={"s1": 1}))
    mix = Mix(name="t", streams=streams, phases=phases, unit="tokens", samples=90_000, lanes=8)
    plan = mix.plan({"s0": 5000, "s1": 5041})
    assert_every_sample_once(play(plan), 5000)
    assert plan.counts(0, 90_000) == mix.plan({"s0": 5000, "s1": 5041}, lanes=1).counts(0, 90_000)
    tiny = plain_mix({"s0": 1, "s1": 1}, 5, lanes=64).plan({"s0": 100, "s1": 141})
    assert_every_sample_once(play(tiny), 100)


def test_a_terabyte_run_with_many_lanes_is_found_at_random() -> None:
    weights = {f"s{index}": 1 + index % 5 for index in range(64)}
    mix = make_mix([Phase(until=1, weights=weights, to={**weights, "s3": 90})], dict.fromkeys(weights, Order()), samples=10**12)
    plan = mix.plan(dict.fromkeys(weights, 10**10), lanes=64)
    start = 7 * 10**11
    first = np.stack(plan[np.arange(start, start + 50)])
    assert (first == np.stack(mix.plan(dict.fromkeys(weights, 10**10), lanes=64)[np.arange(start, start + 50)])).all()
    assert first[1].max() >= 1 and first[2].max() > 10**9


def test_lanes_are_refused_where_they_cannot_be() -> None:
    mix = plain_mix({"s0": 1}, 900, lanes=4)
    plan = mix.plan({"s0": 300})
    with pytest.raises(UserError, match="lanes: 8 differs from the 4 lanes"):
        plan.continue_under(replace(mix, lanes=8), at=100)
    overridden = mix.plan({"s0": 300}, lanes=8)
    assert overridden.continue_under(mix, at=100).lanes == 8
    with pytest.raises(UserError, match="at least one lane, got lanes=0"):
        mix.plan({"s0": 300}, lanes=0)
    with pytest.raises(UserError, match=r"stream 's0'.*each of 4 lanes.*a total"):
        Plan.compile(mix, sizes={"s0": 300}, carried={"s0": 10})
    single = mix.plan({"s0": 300}, lanes=1)
    assert single.drawn_before_pass(2) == {"s0": 1800}
    carried = Plan.compile(mix, sizes={"s0": 300}, lanes=1, carried={"s0": 1800}, passes=2)
    assert (play(carried) == play(single.later_pass(2))).all() and (
        play(single.later_pass(1).later_pass(1)) == play(carried)
    ).all()
