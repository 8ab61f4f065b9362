"""The ledger of lanes: which sample each lane's draw is.

Idea: an epoch of a stream ends for all lanes at one draw, wherever in a block that is, and how many of its draws fall to
each lane follows from the allocation: the draws before any draw of a stream are those before its block, in closed form,
and those within, by compiling that one block. What a lane draws in an epoch and what it owns (`ownership`) differ by a
few samples, which `exchange` moves; that matters only to the end of a lane's epoch, so a block far from there never
asks how the epoch ends. An epoch cut off by the end of the run goes on in the passes that would follow, which are as
determined as this one; if it never ends, what is missing is dealt evenly.

An edit changes how an epoch in progress will end. The lanes then exchange again: from the lists of the plan before the
edit to what they draw under the new one. What was played stays, since a lane keeps the beginning of its list; so no sample
is lost or repeated. Alternatives: dealing every epoch anew (shards change hands) or ending epochs lane by lane (small
streams would repeat samples before others were seen). The price is that two blocks may have to be compiled to open an
epoch at random, and that plans remember the plans before them.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from curriculum.plan.cache import Cache
from curriculum.plan.ownership import Ownership, exchange
from curriculum.plan.past import Demand, Past, record
from curriculum.plan.permutation import Integers
from curriculum.plan.windows import Located, Windows, same_order

if TYPE_CHECKING:
    from curriculum.plan.plan import Plan

_REMEMBERED_EPOCHS = 512


class Ledger:
    """Follows the draws of one plan's streams over lanes, through its segments, its past and the passes after it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._dealings: Cache[tuple[str, int], _Dealing] = Cache(_REMEMBERED_EPOCHS)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is only remembered, of the plan as well."""
        return {"_plan": copy(self._plan)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_plan"])  # type: ignore[misc]

    def before(self, position: int) -> dict[str, Integers]:
        """Return the draws of each stream and lane before `position`, earlier passes included."""
        found = dict(self._plan.base)
        for index, segment in enumerate(self._plan.segments):
            if index and segment.start >= position:
                break
            drawn = self._plan.drawn_within(index, min(position, self._plan.end(index)))
            found.update(zip(segment.allocation.names, drawn, strict=True))
        return found

    def locate(self, own: int, draws: Integers, lanes: Integers, lane_draws: Integers, owner: Ownership) -> Located:
        """Return (epoch, sample, window) of consecutive draws of a stream of the last segment; all shapes (draws,)."""
        segment = self._plan.segments[-1]
        name, length = segment.allocation.names[own], segment.windows[own].length
        epochs, samples, windows = draws // length, np.empty_like(draws), np.empty_like(draws)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
            chosen = slice(max(0, epoch * length - int(draws[0])), (epoch + 1) * length - int(draws[0]))
            dealing = self._dealing(name, own, epoch)
            traced = dealing.trace(lanes[chosen], lane_draws[chosen])
            samples[chosen], windows[chosen] = owner.locate(epoch, *traced)
        return epochs, samples, windows

    def lanes_at(self, name: str, draw: int) -> Integers:
        """Return how many of the first `draw` draws of a stream each lane had, shape (lanes,)."""
        found = self._holder(name, draw)
        if isinstance(found, tuple):
            return _lanes_at(*found, name, draw)
        if found is None:
            raise IndexError(f"stream {name!r} never comes to draw {draw}")
        return found.lanes_at(name, draw)

    def demands(self, name: str, epoch: int, windows: Windows) -> list[Demand]:
        """Return the demands under which an epoch was begun and went on, oldest first; empty if it played other windows."""
        plan = self._plan
        own = plan.segments[-1].own(name)
        if own is None:
            return plan.past.demands(name, epoch, windows) if plan.past else []
        if not same_order(plan.segments[-1].windows[own], windows):
            return []
        began_before = epoch * windows.length < plan.segments[-1].allocation.carried[own]
        older = plan.past.demands(name, epoch, windows) if plan.past and began_before else []
        return [*older, self._demand(name, epoch, windows.length)]

    def record(self, name: str, lanes: Integers) -> dict[str, Any]:
        """Return, ready for JSON, how a stream that has drawn `lanes` (lanes,) goes on (see `recorded`)."""
        own = self._plan.segments[-1].own(name)
        if own is None and self._plan.past is not None:
            return self._plan.past.record(name, lanes)
        windows = None if own is None else self._plan.segments[-1].windows[own]
        epoch, rest = (0, 0) if windows is None else divmod(int(lanes.sum()), windows.length)
        if windows is None or rest == 0:
            return {"lanes": lanes.tolist()}
        return record(lanes, windows, self.demands(name, epoch, windows))

    def _dealing(self, name: str, own: int, epoch: int) -> _Dealing:
        known = self._dealings.get((name, epoch))
        if known is not None:
            return known
        segment = self._plan.segments[-1]
        owner = segment.owners[own]
        assert owner is not None
        dealing = _Dealing(owner.sizes(), self.demands(name, epoch, segment.windows[own]))
        self._dealings.put((name, epoch), dealing)
        return dealing

    def _demand(self, name: str, epoch: int, length: int) -> Demand:
        start, end = self.lanes_at(name, epoch * length), (epoch + 1) * length
        found = self._holder(name, end)
        if found is None:
            wanted = self._never_ending(name, start, length)
            return Demand(start, wanted, lambda: wanted)
        if not isinstance(found, tuple):
            raise AssertionError(f"epoch {epoch} of stream {name!r} ended before this plan")
        least = _lanes_before_block_of(*found, name, end) - start
        return Demand(start, least, lambda: _lanes_at(*found, name, end) - start)

    def _never_ending(self, name: str, start: Integers, length: int) -> Integers:
        """What the lanes will have drawn of an epoch that no pass completes, and the rest dealt evenly."""
        drawn = self.before(self._plan.samples)[name] - start
        each, rest = divmod(length - int(drawn.sum()), len(drawn))
        even: Integers = drawn + each + (np.arange(len(drawn)) < rest)
        return even

    def _holder(self, name: str, draw: int) -> tuple[Plan, int] | Past | None:
        """Which plan and segment hold a draw: this one's, a later pass's, the past, or None if it never comes."""
        plan = self._plan
        for index in reversed(range(len(plan.segments))):
            own = plan.segments[index].own(name)
            if own is None or plan.segments[index].allocation.carried[own] > draw:
                continue
            if draw <= int(plan.drawn_within(index, plan.end(index))[own].sum()):
                return plan, index
            later = plan.pass_of_draw(name, draw)
            return None if later is None else (later, 0)
        return plan.past


class _Dealing:
    """One epoch of one stream: from the draws of the lanes to what they own."""

    def __init__(self, owned: Integers, demands: Sequence[Demand]) -> None:
        self._owned = owned
        self._demands = demands
        self._start = demands[-1].start
        self._kept = np.min([owned, *(demand.least for demand in demands)], axis=0)

    def trace(self, lanes: Integers, lane_draws: Integers) -> tuple[Integers, Integers]:
        """Return the (lane, number) that owns each draw; a lane keeps its own until its list may be cut."""
        numbers = lane_draws - self._start[lanes]
        if (numbers < self._kept[lanes]).all():
            return lanes, numbers
        lists = [self._owned, *(demand.wanted for demand in self._demands)]
        for given, wanted in reversed(list(pairwise(lists))):
            lanes, numbers = exchange(given, wanted, lanes, numbers)
        return lanes, numbers


def _lanes_at(plan: Plan, index: int, name: str, draw: int) -> Integers:
    """How many of the first `draw` draws each lane had; the draw lies in segment `index` of the plan, or ends it."""
    allocation, own = plan.segments[index].allocation, plan.segments[index].allocation.names.index(name)
    block = plan.block(index, *allocation.block_of_draw(own, draw))
    within = block.start + np.flatnonzero((block.streams == own) & (block.draws < draw))
    lanes: Integers = block.drawn[own] + np.bincount(within % allocation.lanes, minlength=allocation.lanes)
    return lanes


def _lanes_before_block_of(plan: Plan, index: int, name: str, draw: int) -> Integers:
    """The draws of each lane before the block that holds the draw: no more than at the draw, and found at once."""
    allocation, own = plan.segments[index].allocation, plan.segments[index].allocation.names.index(name)
    start, _ = allocation.block_of_draw(own, draw)
    lanes: Integers = allocation.lane_drawn(start)[own]
    return lanes
