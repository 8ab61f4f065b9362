"""What came before a pass or an edit: other plans, or what was written down of them.

Idea: with one lane a stream's past is one integer. With several it is the draws of each lane, and of the epoch in
progress where the lanes stood when it began and under which demands it was played (see `ledger`): enough to go on
without losing or repeating a sample, and small, a few numbers a stream and lane. So a pass may begin from a record where
the plans before it cannot be compiled any more. The alternative, to keep the mixes of all passes for ever, grows with the
run and needs every file they named. The price is a record that only we can read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from curriculum.errors import UserError
from curriculum.plan.permutation import Integers
from curriculum.plan.windows import Windows, order_key

Carried = Mapping[str, Any]  # per stream an int (one lane) or what `record` returns


class Demand:
    """What each lane draws of one epoch: `start` (lanes,) draws came before it, it has `least` (lanes,) or more."""

    def __init__(self, start: Integers, least: Integers, find: Callable[[], Integers]) -> None:
        self.start = start
        self.least = least
        self._find = find
        self._wanted: Integers | None = None

    @property
    def wanted(self) -> Integers:
        """The exact number of draws of each lane, shape (lanes,)."""
        if self._wanted is None:
            self._wanted = self._find()
        return self._wanted


class Past(Protocol):
    """What came before a plan: other plans, or the record of them."""

    def lanes_at(self, name: str, draw: int) -> Integers:
        """Return how many of the first `draw` draws of a stream each lane had, shape (lanes,)."""

    def demands(self, name: str, epoch: int, windows: Windows) -> list[Demand]:
        """Return the demands under which an epoch was begun, oldest first; empty if `windows` are not how it was played."""

    def record(self, name: str, lanes: Integers) -> dict[str, Any]:
        """Return, ready for JSON, how a stream that has drawn `lanes` (lanes,) by its end goes on (see `recorded`)."""


def record(lanes: Integers, windows: Windows, demands: list[Demand]) -> dict[str, Any]:
    """Return, ready for JSON, what a stream's `lanes` (lanes,) draws and its epoch in progress leave to those after."""
    return {
        "lanes": lanes.tolist(),
        "order": order_key(windows),
        "began": demands[-1].start.tolist(),
        "demands": [demand.wanted.tolist() for demand in demands],
    }


def read_carried(carried: Carried, lanes: int) -> dict[str, Integers]:
    """Return the draws (lanes,) of each stream. Raises UserError for a record that is not of this many lanes."""
    found: dict[str, Integers] = {}
    for name, given in carried.items():
        draws = given.get("lanes") if isinstance(given, Mapping) else [given] if lanes == 1 else None
        if draws is None or len(draws) != lanes:
            came = "a total" if draws is None else f"{len(draws)} lanes"
            raise UserError(
                f"stream {name!r}: wanted what each of {lanes} lanes drew before this pass, got {came}; "
                "give what `plan.drawn_before_pass` of the plan before returned, and leave `lanes` as it was"
            )
        found[name] = np.asarray(draws, dtype=np.int64)
    return found


class RecordedPast:
    """A past (see `ledger.Past`) as it was written down."""

    def __init__(self, carried: Carried, lanes: int) -> None:
        self._draws = read_carried(carried, lanes)
        self._records = {name: given for name, given in carried.items() if isinstance(given, Mapping)}

    def lanes_at(self, name: str, draw: int) -> Integers:
        """Return how many of the first `draw` draws each lane had; in proportion where that was not written down."""
        began = self._records[name].get("began")
        if began is not None and sum(began) == draw:
            return np.asarray(began, dtype=np.int64)
        ends = np.concatenate([[0], np.cumsum(self._draws[name])])
        cuts = [int(end) * draw // max(1, int(ends[-1])) for end in ends]
        return np.diff(np.asarray(cuts, dtype=np.int64))

    def record(self, name: str, lanes: Integers) -> dict[str, Any]:
        """Return, ready for JSON, how a stream goes on after `lanes` draws; what was written down, if it drew nothing since."""
        return dict(self._records.get(name, {"lanes": lanes.tolist()}))

    def demands(self, name: str, epoch: int, windows: Windows) -> list[Demand]:
        """Return the demands under which the epoch in progress was begun; empty if `windows` are not how."""
        known = self._records.get(name, {})
        if known.get("order") != order_key(windows) or sum(known["began"]) != epoch * windows.length:
            return []
        start = np.asarray(known["began"], dtype=np.int64)
        return [_demand(start, np.asarray(wanted, dtype=np.int64)) for wanted in known["demands"]]


def _demand(start: Integers, wanted: Integers) -> Demand:
    return Demand(start, wanted, lambda: wanted)
