"""What was consumed between readings, against walking the plan position by position."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum.attribution.consumption import COLUMNS, consumption, window_table
from curriculum.errors import UserError
from curriculum.mix import Mix, Order, Phase, Stream
from curriculum.mix.subset import Subset
from curriculum.plan import Plan

NAMES = ("web", "books", "code")
SIZES = {"web": 97, "books": 40, "code": 131}


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lists") / "listed.parquet"
    rows = [(name, start, start + 7) for name in NAMES for start in (21, 0, 7, 0)]
    pd.DataFrame(rows, columns=["stream", "start", "stop"]).to_parquet(path)
    return path


@st.composite
def mixes(draw: st.DrawFn, listed: Path) -> Mix:
    orders = (Order(), Order(window=9), Order(kind="sequential", window=16), Order(listed=str(listed)))
    streams = {}
    for name in NAMES:
        order = draw(st.sampled_from(orders))
        subset = draw(st.sampled_from([None, Subset(samples=36)])) if order.kind != "listed" else None
        streams[name] = Stream(local=f"/{name}", order=order, subset=subset)
    weights = st.fixed_dictionaries({name: st.integers(0, 4).map(Decimal) for name in NAMES}).filter(
        lambda found: any(found.values())
    )
    phases = [
        Phase(weights=draw(weights), to=draw(st.none() | weights), until=Decimal("0.4")),
        Phase(weights=draw(weights), until=Decimal(1)),
    ]
    return Mix(name="m", streams=streams, phases=tuple(phases), samples=600, seed=draw(st.integers(0, 9)))


def walked(plan: Plan, positions: list[int], since: int) -> dict[tuple[int, int, str, int, int], int]:
    """Count position by position."""
    everywhere = np.arange(plan.samples)
    streams = plan[everywhere][0]
    starts, stops = plan.windows(everywhere)
    found: Counter[tuple[int, int, str, int, int]] = Counter()
    for previous, position in zip([since, *positions], positions, strict=False):
        for place in range(previous, position):
            found[position, previous, plan.streams[streams[place]], int(starts[place]), int(stops[place])] += 1
    return dict(found)


def tabled(found: pd.DataFrame) -> dict[tuple[int, int, str, int, int], int]:
    names = ["position", "previous", "stream", "start", "stop"]
    return {tuple(row[:5]): row[5] for row in found[[*names, "samples"]].itertuples(index=False)}


@given(data=st.data(), lanes=st.sampled_from([1, 1, 3]), edited=st.booleans(), later=st.booleans())
@settings(max_examples=25)
def test_what_was_consumed_is_what_walking_finds(
    data: st.DataObject, lanes: int, edited: bool, later: bool, listed: Path
) -> None:
    plan = data.draw(mixes(listed)).plan(SIZES, lanes=lanes)
    if edited:
        plan = plan.continue_under(data.draw(mixes(listed)), at=data.draw(st.integers(1, 599)))
    plan = plan.later_pass(2) if later else plan
    cuts = sorted(data.draw(st.sets(st.integers(0, 600), min_size=2, max_size=5)))
    found = consumption(plan, cuts[1:], since=cuts[0])
    assert tabled(found) == walked(plan, cuts[1:], cuts[0])
    assert tuple(found.columns) == COLUMNS
    known = set(window_table(plan).itertuples(index=False, name=None))
    assert set(found[["stream", "window", "start", "stop"]].itertuples(index=False, name=None)) <= known


def test_a_run_of_a_billion_samples_is_tabled_without_walking_it(monkeypatch: pytest.MonkeyPatch) -> None:
    mix = Mix(
        name="m",
        streams={"web": Stream(local="/w")},
        phases=(Phase(weights={"web": Decimal(1)}, until=Decimal(1)),),
        samples=10**9,
    )
    plan = mix.plan({"web": 10**9})
    monkeypatch.setattr(Plan, "__getitem__", lambda *_: pytest.fail("walked"))
    found = consumption(plan, [10**8, 10**9])
    assert found["samples"].sum() == 10**9
    assert len(window_table(plan)) == -(-(10**9) // 65_536)


def test_windows_that_nobody_consumed_are_in_the_table_of_windows() -> None:
    mix = Mix(
        name="m",
        streams={"web": Stream(local="/w", order=Order(window=10))},
        phases=(Phase(weights={"web": Decimal(1)}, until=Decimal(1)),),
        samples=20,
    )
    plan = mix.plan({"web": 95})
    assert list(window_table(plan)["stop"]) == [*range(10, 100, 10)[:9], 95]
    assert len(consumption(plan, [20])) == 2


@pytest.mark.parametrize("positions", [[5, 5], [9, 3], [700], [-1]])
def test_positions_that_are_no_readings_are_refused(positions: list[int]) -> None:
    plan = Mix(
        name="m", streams={"w": Stream(local="/w")}, phases=(Phase(weights={"w": Decimal(1)}, until=Decimal(1)),), samples=600
    ).plan({"w": 9})
    with pytest.raises(UserError, match="positions"):
        consumption(plan, positions)
    assert np.array_equal(consumption(plan, [3])["samples"], [3])
