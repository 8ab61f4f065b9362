"""Which samples of a stream belong to which lane, and in which order a lane plays its own.

Idea: an epoch's samples are dealt to the lanes by whole windows, the same in every epoch, so that a node reads its own
shards only, epoch after epoch. Even windows (shuffled and sequential orders) go round the lanes; the windows that do not
fill a round, and the short last one, are cut into one contiguous piece a lane, played at the end. Windows of a table
(scores, lists) go round in play order, the largest of a round to the lane with the fewest samples. For two lanes with
loads a <= b that get windows v >= w, the gap changes from b - a to (b - a) - (v - w), a difference of two numbers
between 0 and the largest window; so no two lanes ever differ by more than that window.

What a lane owns and what the plan draws on it differ a little (see `ledger`): `exchange` lets lanes that own more than
they draw give the ends of their lists to those that draw more than they own. An order by score or in sequence is kept
round by round: with L lanes, L windows are played at a time. An ordered stream of fewer windows than lanes would lose
its order that way, so there every sample goes to the next lane instead; and a stream of less than 64 samples, or than
one a lane, belongs to all. Alternatives: cutting rounds by samples (uneven windows are all shared) or dealing shards
(finer, but the plan would depend on how data is stored). The price is that up to about two windows a lane and epoch are
read by a second lane.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from curriculum.plan.permutation import Integers, combine_keys, permute
from curriculum.plan.windows import Sequential, Shuffled, Tabled, Windows
from curriculum.units import keyed_seed

_SMALLEST = 64  # samples; no stream's default window is smaller


class Ownership(Protocol):
    """What each lane owns of an epoch."""

    def sizes(self) -> Integers:
        """Return how many samples of an epoch each lane owns, shape (lanes,)."""

    def locate(self, epoch: int, lanes: Integers, numbers: Integers) -> tuple[Integers, Integers]:
        """Return (sample, number of its window) of the samples that `lanes` play as their `numbers`-th of the epoch."""


def ownership_of(windows: Windows, lanes: int) -> Ownership | None:
    """Return how `lanes` share the stream, or None if it is so small that it belongs to all."""
    if windows.length < max(lanes, _SMALLEST):
        return None
    if isinstance(windows, Tabled):
        return dealt_table(windows, lanes) if len(windows.starts) >= lanes else Turns(windows=windows, lanes=lanes)
    if isinstance(windows, Sequential):
        if windows.length // windows.window < lanes:
            return Turns(windows=windows, lanes=lanes)
        return EvenWindows(length=windows.length, window=windows.window, lanes=lanes, key=None)
    if isinstance(windows, Shuffled):
        return EvenWindows(length=windows.length, window=windows.window, lanes=lanes, key=windows.key)
    raise TypeError(f"wanted one of the known orders, got {windows!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvenWindows:
    """Windows of one size, round by round; with a key (shuffled) which lane owns which is keyed, and so is the order."""

    length: int
    window: int
    lanes: int
    key: int | None

    def sizes(self) -> Integers:
        """Return how many samples of an epoch each lane owns."""
        own: Integers = self._rounds * self.window + np.diff(self._cuts(np.arange(self.lanes + 1)))
        return own

    def locate(self, epoch: int, lanes: Integers, numbers: Integers) -> tuple[Integers, Integers]:
        """Return (sample, window) of the samples that `lanes` play as their `numbers`-th of the epoch."""
        samples, windows = np.empty_like(numbers), np.empty_like(numbers)
        whole = numbers < self._rounds * self.window
        for chosen, find in ((whole, self._in_rounds), (~whole, self._in_pieces)):
            if chosen.any():
                samples[chosen], windows[chosen] = find(epoch, lanes[chosen], numbers[chosen])
        return samples, windows

    @property
    def _rounds(self) -> int:
        return self.length // self.window // self.lanes

    def _cuts(self, lanes: Integers) -> Integers:
        """Where the piece of each lane begins among the samples that are left after the rounds."""
        return (self.length - self._rounds * self.lanes * self.window) * lanes // self.lanes

    def _in_rounds(self, epoch: int, lanes: Integers, numbers: Integers) -> tuple[Integers, Integers]:
        rounds, inside = np.divmod(numbers, self.window)
        if self.key is None:
            windows = rounds * self.lanes + lanes
            return windows * self.window + inside, windows
        key = keyed_seed(self.key, "epoch", epoch)
        windows = self._owned(lanes, rounds, key)
        return windows * self.window + permute(inside, self.window, combine_keys(key, windows)), windows

    def _owned(self, lanes: Integers, rounds: Integers, key: int) -> Integers:
        """The windows that lanes play in their rounds; neighbouring draws share one, so each is looked up once."""
        pairs, places = np.unique(lanes * self._rounds + rounds, return_inverse=True)
        own, turns = np.divmod(pairs, self._rounds)
        turns = permute(turns, self._rounds, combine_keys(key, own))
        windows: Integers = self._window_at(turns * self.lanes + own)[places.ravel()]
        return windows

    def _window_at(self, places: Integers) -> Integers:
        """The window at each place of the order of ownership, which no epoch changes; the short window is last."""
        full = self.length // self.window
        if self.key is None:
            return places
        windows = places.copy()
        even = places < full
        windows[even] = permute(places[even], max(full, 1), keyed_seed(self.key, "owners"))
        return windows

    def _in_pieces(self, epoch: int, lanes: Integers, numbers: Integers) -> tuple[Integers, Integers]:
        first, last = self._cuts(lanes), self._cuts(lanes + 1)
        at = first + numbers - self._rounds * self.window
        number = at // self.window
        windows = self._window_at(self._rounds * self.lanes + number)
        if self.key is None:
            return windows * self.window + at - number * self.window, windows
        start = np.maximum(first, number * self.window)
        stop = np.minimum(last, (number + 1) * self.window)
        keys = combine_keys(keyed_seed(self.key, "epoch", epoch), windows * self.lanes + lanes)
        inside = start - number * self.window + permute(at - start, stop - start, keys)
        return windows * self.window + inside, windows


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DealtTable:
    """Whole windows of a table: `order` lists them lane by lane, `ends` adds up their sizes, `loads` (lanes,) the lanes'."""

    windows: Tabled
    order: Integers
    ends: Integers
    loads: Integers

    def sizes(self) -> Integers:
        """Return how many samples of an epoch each lane owns."""
        return self.loads

    def locate(self, epoch: int, lanes: Integers, numbers: Integers) -> tuple[Integers, Integers]:
        """Return (sample, window) of the samples that `lanes` play as their `numbers`-th of the epoch."""
        at = (np.cumsum(self.loads) - self.loads)[lanes] + numbers
        rows = np.searchsorted(self.ends, at, side="right")
        windows = self.order[rows]
        starts, stops = self.windows.ranges(windows)
        inside = at - (self.ends[rows] - (stops - starts))
        keys = combine_keys(keyed_seed(self.windows.key, "epoch", epoch), windows)
        return starts + permute(inside, stops - starts, keys), windows


def dealt_table(windows: Tabled, lanes: int) -> DealtTable:
    """Deal a table's windows in play order, of every `lanes` the largest to the lane with the least so far."""
    sizes = windows.stops - windows.starts
    rounds = -(-len(sizes) // lanes)
    padded = np.zeros(rounds * lanes, dtype=np.int64)
    padded[: len(sizes)] = sizes
    owners, loads = np.empty(rounds * lanes, dtype=np.int64), np.zeros(lanes, dtype=np.int64)
    for start in range(0, rounds * lanes, lanes):
        largest = start + np.argsort(-padded[start : start + lanes], kind="stable")
        owners[largest] = least = np.argsort(loads, kind="stable")
        loads[least] += padded[largest]
    order = np.argsort(owners[: len(sizes)], kind="stable")
    return DealtTable(windows=windows, order=order, ends=np.cumsum(sizes[order]), loads=loads)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Turns:
    """Fewer windows than lanes, in an order to be kept: the samples of the order go to the lanes in turn."""

    windows: Windows
    lanes: int

    def sizes(self) -> Integers:
        """Return how many samples of an epoch each lane owns."""
        own: Integers = (self.windows.length + np.arange(self.lanes - 1, -1, -1)) // self.lanes
        return own

    def locate(self, epoch: int, lanes: Integers, numbers: Integers) -> tuple[Integers, Integers]:
        """Return (sample, window) of the samples that `lanes` play as their `numbers`-th of the epoch."""
        _, samples, windows = self.windows.locate(epoch * self.windows.length + numbers * self.lanes + lanes)
        return samples, windows


def exchange(given: Integers, wanted: Integers, lanes: Integers, numbers: Integers) -> tuple[Integers, Integers]:
    """Return whose sample it is that a lane plays, as (lane, number) among lists of `given` lengths, both (lanes,).

    `lanes` and `numbers` index lists of `wanted` lengths of the same total. A lane keeps what it can; the ends that are
    given up go, in the order of lanes, to those that want more. So the map is one to one, and what was played under
    `given` lengths, when the rest is wanted otherwise, stays as it was.
    """
    kept = np.minimum(given, wanted)
    moved = np.flatnonzero(numbers >= kept[lanes])
    if not len(moved):
        return lanes, numbers
    more, spare_ends = wanted - kept, np.cumsum(given - kept)
    unit = (np.cumsum(more) - more - kept)[lanes[moved]] + numbers[moved]
    owners = np.searchsorted(spare_ends, unit, side="right")
    lanes, numbers = lanes.copy(), numbers.copy()
    lanes[moved] = owners
    numbers[moved] = kept[owners] + unit - (spare_ends - (given - kept))[owners]
    return lanes, numbers
