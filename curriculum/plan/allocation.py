"""Blocks of positions, and how many samples of each stream every block holds.

Idea: nominal positions are cut into blocks of B = max(256, the power of two >= 8 x streams), and also at phase ends.
By the end n of a block a stream has been given C_s = floor(W_s(n)) samples, so |C_s - W_s| < 1 there however many
blocks there are, and nothing starves: a weight of 1e-9 gets its sample when W_s reaches 1. The block then holds the
difference of
two such counts and begins at position sum_s C_s(start), which lags the nominal position by less than the number of
streams, so the block of a position is found by bisecting a bracket of that width. Alternatives: rounding each block on
its own (starves weights under 1 / B) or smooth weighted round robin (exact, but must be walked). The price is that
shares are met at block ends; inside a block the streams are interleaved by a keyed permutation.

This is the allocation of a run with one lane; `lanes` deals the same counts over several.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from curriculum.plan.permutation import shuffled
from curriculum.plan.schedule import Schedule
from curriculum.units import keyed_seed

Integers = npt.NDArray[np.int64]


def block_size(streams: int) -> int:
    """Return B = max(256, the smallest power of two >= 8 x streams)."""
    return max(256, 1 << (8 * streams - 1).bit_length())


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Positions [start, stop): `streams[i]` and `draws[i]` say which draw of which stream position start + i plays.

    `lane_draws[i]` is the number of that draw among those of its stream and of the position's lane. `drawn` is how many
    draws of each stream and lane, shape (streams, lanes), lie before the block.
    """

    start: int
    stop: int
    streams: Integers
    draws: Integers
    lane_draws: Integers
    drawn: Integers

    def drawn_before(self, position: int) -> Integers:
        """Return the draws of each stream and lane, shape (streams, lanes), before a position of this block."""
        streams, lanes = self.drawn.shape
        played = self.streams[: position - self.start] * lanes
        if lanes > 1:
            played += np.arange(self.start, position) % lanes
        before: Integers = self.drawn + np.bincount(played, minlength=streams * lanes).reshape(streams, lanes)
        return before


@dataclass(frozen=True, kw_only=True, slots=True)
class Allocation:
    """A schedule dealt out over positions [cursor, cursor + due).

    `carried` are the draws that each stream had before the cursor; `key` seeds the interleaving.
    """

    schedule: Schedule
    cursor: int
    carried: tuple[int, ...]
    key: int
    names: tuple[str, ...]
    exact_lag: bool
    lanes: int = 1

    def resumed(self, carried: Integers, key: int) -> Self:
        """Return this allocation after `carried` draws, shape (streams, lanes), interleaved under another key."""
        return replace(self, carried=tuple(carried.sum(axis=1).tolist()), key=key)

    @property
    def stop(self) -> int:
        """The position after the last."""
        return self.cursor + self.schedule.due

    def drawn(self, nominal: int) -> list[int]:
        """Return the draws of each stream before the block boundary `nominal`, carried ones included."""
        if nominal <= self.schedule.origin:
            return list(self.carried)
        due = self._final() if nominal >= self.schedule.samples else self.schedule.floors(nominal)
        return [before + count for before, count in zip(self.carried, due, strict=True)]

    def lane_drawn(self, nominal: int) -> Integers:
        """Return the draws of each stream and lane, shape (streams, lanes), before the block boundary `nominal`."""
        return np.asarray(self.drawn(nominal), dtype=np.int64)[:, None]

    def _final(self) -> list[int]:
        """Floors at the end of the run, and the remainder by largest fraction, streams that still have weight first."""
        exact = self.schedule.numerators(self.schedule.samples)
        counts = [numerator // denominator for numerator, denominator in exact]
        fractions = [value - count for value, count in zip(self.schedule.expected(self.schedule.samples), counts, strict=True)]
        takers = sorted(
            (index for index, fraction in enumerate(fractions) if fraction > 0),
            key=lambda index: (not self.schedule.final_weight[index], -fractions[index], self.names[index]),
        )
        for index in takers[: self.schedule.due - sum(counts)]:
            counts[index] += 1
        return counts

    def position(self, nominal: int) -> int:
        """Return the position at which the block boundary `nominal` lies."""
        return self.cursor + sum(self.drawn(nominal)) - sum(self.carried)

    def block_of(self, position: int) -> tuple[int, int]:
        """Return the nominal (start, end) of the block that holds `position`."""
        low, high = self._bracket(position)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.position(middle) <= position else (low, middle)
        return self.bounds(low)

    def block_of_draw(self, stream: int, draw: int) -> tuple[int, int]:
        """Return the nominal (start, end) of the block that holds draw number `draw` of a stream (or of the last)."""
        low, high = self.schedule.origin, self.schedule.samples
        wanted = draw - self.carried[stream]
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.schedule.floor_of(stream, middle) <= wanted else (low, middle)
        return self.bounds(low)

    def _bracket(self, position: int) -> tuple[int, int]:
        """Nominal low, high with position(low) <= position < position(high)."""
        schedule = self.schedule
        if not self.exact_lag:
            return schedule.origin, schedule.samples
        nominal = schedule.origin + position - self.cursor
        return nominal, min(schedule.samples, nominal + len(self.carried) + 1)

    def bounds(self, nominal: int) -> tuple[int, int]:
        """Return the nominal (start, end) of the block that holds the nominal position `nominal`."""
        size, origin = block_size(len(self.carried)), self.schedule.origin
        start = nominal - (nominal - origin) % size
        end = start + size
        for cut in self.schedule.cuts:
            if start < cut <= nominal:
                start = cut
            elif nominal < cut < end:
                end = cut
        return start, min(end, self.schedule.samples)

    def block(self, nominal_start: int, nominal_end: int) -> Block:
        """Compile one block: a keyed permutation interleaves the streams, each stream's draws stay in order."""
        drawn = self.lane_drawn(nominal_start)
        before = drawn[:, 0]
        counts = self.lane_drawn(nominal_end)[:, 0] - before
        start = self.cursor + int(before.sum()) - sum(self.carried)
        streams = np.repeat(np.arange(len(counts)), counts)
        streams = streams[shuffled(len(streams), keyed_seed(self.key, "block", nominal_start))]
        draws = np.empty(len(streams), dtype=np.int64)
        draws[np.argsort(streams, kind="stable")] = consecutive(before, counts)
        stop = start + len(streams)
        return Block(start=start, stop=stop, streams=streams, draws=draws, lane_draws=draws, drawn=drawn)


def consecutive(first: Integers, counts: Integers) -> Integers:
    """Return first[0], first[0] + 1, ... (counts[0] of them), then first[1], ... : shape (sum of counts,)."""
    ends = np.cumsum(counts)
    offsets: Integers = np.repeat(first - (ends - counts), counts)
    return np.arange(int(ends[-1])) + offsets
