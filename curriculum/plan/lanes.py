"""Lanes: the counts of an allocation dealt over L lanes, so that each part of the data is read by one node.

Position p belongs to lane p mod L, and node n of N (N divides L) plays the lanes that are n modulo N, so a lane's
positions are given and only the labels can be chosen: of the C_s(b) draws that stream s has had by block end b, d[s, l]
go to lane l. The rows must add up to C_s(b), the columns to the lane's positions, d must never fall, every d[s, l] should
be C_s(b) / L give or take a little, and all this without walking to b.

Idea: nearly every stream is dealt to the lanes in turn, which is exact for it at any time; what the columns then lack or
have too much of, D_l = positions_l - sum_s turns[s, l], sums to zero and stays small, and a few large streams, the
absorbers, take it. D depends on b alone, not on how b was reached, so nothing is walked. Alternatives: flooring each
share (64 lanes starve a stream of 12.8 samples), the counts of one lane with labels left where they fall (a random walk,
to be walked), or colouring the bipartite graph of draws and positions (within 1 everywhere, but walked as well). The price
is longer blocks: 8 streams in 64 lanes, under a ramp, have blocks of some 4,000 positions, 64 streams of some 30,000.

Construction. A stretch is what a phase has of the run after the cursor. Its base d[., .] at its beginning is found by
going over the stretches before it, never over their blocks. Draw number c of stream s since then goes to the lane whose
place in the stream's own order of lanes is c mod L; the order lists lanes by their base, those behind first, ties by key.
At a block end the q streams with the largest proportions there share D: the positive and the negative units of D are
listed lane by lane, and unit i of each list goes to absorber i mod q, so each takes zero in sum and, of D_l, at most
ceil(|D_l| / q). A stretch that is one block is instead laid out by stream, stream s the interval [P, P + c_s), P counting
on from the block's first position, and x in it goes to lane x mod L.

Rows and columns are exact by construction. Small: let S be the streams with draws in the stretch. A turn count differs
from c_s / L by less than 1 and so does a lane's share of P consecutive positions from P / L, hence |D_l| < S + 1, so
|D_l| <= S. Monotone: only an absorber can fall. From one block end to the next its turns grow by floor(c_s / L) or more
while its parts of D are at most ceil(S / q) at either end, so c_s >= 2 L ceil(S / q) in every block next to an end where s
absorbs is enough. Let m_q be the least value in the stretch of the q-th largest proportion. A stream among the q largest
at a block end has proportion w >= m_q there, and over the adjoining block, being linear and not negative, an average of
w / 2 at least (w itself if there is no ramp). With c_s > integral - 1, and at most one nominal position of the block in
the next phase, the block size B = 1 + (2 L ceil(S / q) + 1) / m_q, the fraction doubled under a ramp, is enough; q is what
makes B smallest. The last block of a stretch has B to 2 B. (The draws that the end of the run adds only help.)

Bound: by a block end max_l d[s, l] - min_l d[s, l], hence every |d[s, l] - C_s / L|, is at most
1 + (stretches of one block) + 2 sum over the stretches in which s absorbs of ceil(S / q). For turns taken by those behind
first never widen a range of 1 or more, and leave at most 1; one block widens it by at most 1; D by what it gives.

Inside a block, lane l's labels are laid out evenly in time: label i of its m of stream s is due when (i + u) / m of the
stream's share of the block is due, u keyed in [0, 1); a lane plays its labels as they fall due. So the mix and its
ramps are met closely inside these longer blocks too: within a few samples a lane.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, fields, replace
from math import floor

import numpy as np
import numpy.typing as npt

from curriculum.plan.allocation import Allocation, Block, block_size, consecutive
from curriculum.plan.permutation import Integers, mix_bits, shuffled
from curriculum.plan.schedule import Piece
from curriculum.units import keyed_seed

Numbers = npt.NDArray[np.float64]

_GRID_CELLS = 32
_LATEST = 1 - 2.0**-30  # a time of day that, added to a lane's number, stays within the lane


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Stretch:
    """Nominal positions [start, stop) of one phase, in `blocks` blocks of `size` (the last one longer).

    `position` is the lane position at the start, `counts` (streams,) and `base` (streams, lanes) the draws since the
    cursor; `places` (streams, lanes) says when each lane has its turn. `last` is the last nominal position at which
    the phase's proportions hold; `absorbers` is how many streams even out the lanes.
    """

    start: int
    stop: int
    last: int
    piece: Piece
    size: int
    blocks: int
    absorbers: int
    position: int
    counts: Integers
    base: Integers
    places: Integers

    def rates(self, nominal: int) -> Numbers:
        """Return every stream's samples per nominal position at `nominal`, shape (streams,)."""
        at = min(nominal, self.last)
        return np.asarray([(2 * a * at + b) / d for a, b, _, d in self.piece.coefficients])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LaneAllocation(Allocation):
    """An allocation over several lanes; `carried_lanes` (streams, lanes) are the draws before the cursor."""

    carried_lanes: Integers
    stretches: tuple[Stretch, ...] = ()

    @classmethod
    def deal(cls, plain: Allocation, lanes: int, carried: Integers) -> LaneAllocation:
        """Deal the counts of `plain` over `lanes` lanes; `carried` has shape (streams, lanes)."""
        own = {field.name: getattr(plain, field.name) for field in fields(plain)}
        dealt = cls(**{**own, "lanes": lanes}, carried_lanes=carried)
        start = dealt.schedule.origin
        for piece, cut in zip(dealt.schedule.pieces, dealt.schedule.cuts, strict=True):
            if cut > start:
                dealt = replace(dealt, stretches=(*dealt.stretches, dealt._stretch(piece, start, cut)))
                start = cut
        return dealt

    def resumed(self, carried: Integers, key: int) -> LaneAllocation:
        """Return this allocation after `carried` draws, shape (streams, lanes), interleaved under another key."""
        totals = tuple(carried.sum(axis=1).tolist())
        return replace(self, carried=totals, carried_lanes=carried, key=key)

    def lane_drawn(self, nominal: int) -> Integers:
        """Return the draws of each stream and lane, shape (streams, lanes), before the block boundary `nominal`."""
        if nominal <= self.schedule.origin:
            return self.carried_lanes
        return self.carried_lanes + self._dealt(self.stretches[self._stretch_before(nominal)], nominal)

    def bounds(self, nominal: int) -> tuple[int, int]:
        """Return the nominal (start, end) of the block that holds the nominal position `nominal`."""
        stretch = self.stretches[self._stretch_before(nominal + 1)]
        number = min((nominal - stretch.start) // stretch.size, stretch.blocks - 1)
        start = stretch.start + number * stretch.size
        return start, stretch.stop if number == stretch.blocks - 1 else start + stretch.size

    def block(self, nominal_start: int, nominal_end: int) -> Block:
        """Compile one block: each lane's labels evenly spread over its positions, each stream's draws in order."""
        drawn = self.lane_drawn(nominal_start)
        counts = self.lane_drawn(nominal_end) - drawn
        stretch = self.stretches[self._stretch_before(nominal_end)]
        first, last = stretch.rates(nominal_start), stretch.rates(nominal_end)
        key = keyed_seed(self.key, "block", nominal_start)
        start = self.cursor + int(drawn.sum()) - sum(self.carried)
        streams = _interleaved(counts, start, first, last, key)
        draws, lane_draws = np.empty_like(streams), np.empty_like(streams)
        draws[np.argsort(streams, kind="stable")] = consecutive(drawn.sum(axis=1), counts.sum(axis=1))
        groups = streams * self.lanes + np.arange(start, start + len(streams)) % self.lanes
        lane_draws[np.argsort(groups, kind="stable")] = consecutive(drawn.ravel(), counts.ravel())
        return Block(start=start, stop=start + len(streams), streams=streams, draws=draws, lane_draws=lane_draws, drawn=drawn)

    def _dealt(self, stretch: Stretch, nominal: int) -> Integers:
        """Draws of each stream and lane between the cursor and a block end (or the start) of `stretch`."""
        counts = self._counts(nominal) - stretch.counts
        position = self.position(nominal)
        lacking = _positions_before(position, self.lanes) - _positions_before(stretch.position, self.lanes)
        if stretch.blocks == 1:
            edges = stretch.position + np.concatenate([[0], np.cumsum(counts)])
            laid_out: Integers = np.diff(_positions_before(edges[:, None], self.lanes), axis=0)
            return stretch.base + laid_out
        turns, rest = np.divmod(counts, self.lanes)
        dealt: Integers = stretch.base + turns[:, None] + (stretch.places < rest[:, None])
        lacking -= (dealt - stretch.base).sum(axis=0)
        absorbers = np.argsort(-stretch.rates(nominal), kind="stable")[: stretch.absorbers]
        dealt[absorbers] += _parts(lacking, stretch.absorbers)
        return dealt

    def _counts(self, nominal: int) -> Integers:
        """Draws of each stream between the cursor and `nominal`."""
        return np.asarray(self.drawn(nominal), dtype=np.int64) - np.asarray(self.carried, dtype=np.int64)

    def _stretch(self, piece: Piece, start: int, stop: int) -> Stretch:
        last = min(floor(piece.stop), stop)
        counts, base = self._counts(start), self.lane_drawn(start) - self.carried_lanes
        drawing = int((self._counts(stop) > counts).sum())
        stretch = Stretch(
            start=start,
            stop=stop,
            last=last,
            piece=piece,
            size=stop - start,
            blocks=1,
            absorbers=1,
            position=self.position(start),
            counts=counts,
            base=base,
            places=_places(base, self.names),
        )
        size, absorbers = _blocks_of(stretch.rates(start), stretch.rates(last), drawing, self.lanes)
        return replace(stretch, size=size, blocks=max(1, (stop - start) // size), absorbers=absorbers)

    def _stretch_before(self, nominal: int) -> int:
        ends = [stretch.stop for stretch in self.stretches]
        return bisect_left(ends, nominal)


def _positions_before(position: Integers | int, lanes: int) -> Integers:
    """Return how many of the positions [0, position) each lane has; a trailing axis of lanes."""
    found: Integers = (position + np.arange(lanes - 1, -1, -1)) // lanes
    return found


def _places(base: Integers, names: tuple[str, ...]) -> Integers:
    """Return each lane's place in its streams' orders: those behind first, ties keyed, so that no lane is always first."""
    places = np.empty_like(base)
    for row, name in enumerate(names):
        ties = shuffled(base.shape[1], keyed_seed("lanes in turn", name))
        places[row, np.lexsort((ties, base[row]))] = np.arange(base.shape[1])
    return places


def _parts(units: Integers, absorbers: int) -> Integers:
    """Split `units` (lanes,), which sum to zero, into rows (absorbers, lanes) that each sum to zero, as even as can be."""
    parts = np.zeros((absorbers, len(units)), dtype=np.int64)
    for sign in (1, -1):
        lanes = np.repeat(np.arange(len(units)), np.maximum(sign * units, 0))
        np.add.at(parts, (np.arange(len(lanes)) % absorbers, lanes), sign)
    return parts


def _blocks_of(first: Numbers, last: Numbers, drawing: int, lanes: int) -> tuple[int, int]:
    """Return (block size, absorbers) of a stretch whose proportions go linearly from `first` to `last`.

    A line is nowhere in a cell of the grid below the lesser of its ends, which bounds the q-th largest from below.
    """
    ramp = bool((first != last).any())
    cells = max(_GRID_CELLS, 2 * len(first)) if ramp else 1
    progress = np.arange(cells + 1)[:, None] / cells
    lines = first * (1 - progress) + last * progress
    lesser = np.sort(np.minimum(lines[:-1], lines[1:]), axis=1)[:, ::-1].min(axis=0)
    absorbers = np.arange(1, len(first) + 1)
    wanted = (2 * lanes * -(-drawing // absorbers) + 1) * (2 if ramp else 1)
    sizes = np.divide(wanted, lesser, out=np.full(len(first), np.inf), where=lesser > 0)
    best = int(np.argmin(sizes))
    margin = 1 + 2**-20  # far above the rounding of floats, far below what a sample is worth
    return max(block_size(len(first)), int(sizes[best] * margin) + 2), best + 1


def _interleaved(counts: Integers, start: int, first: Numbers, last: Numbers, key: int) -> Integers:
    """Return the stream of each position from `start` on, for `counts` (streams, lanes) labels, each lane's evenly spread.

    `first` and `last` are the streams' proportions at both ends of the block.
    """
    by_lane = counts.T.ravel()
    lanes, streams = np.divmod(np.repeat(np.arange(by_lane.size), by_lane), len(counts))
    total = np.repeat(by_lane, by_lane)
    words = mix_bits(np.arange(1, len(total) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key))
    jitter = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    shares = (consecutive(np.zeros_like(by_lane), by_lane) + jitter) / total
    times = np.minimum(_due(shares, streams, first, last), _LATEST)
    order = np.argsort(lanes + times, kind="stable")
    within = consecutive(np.zeros(counts.shape[1], dtype=np.int64), counts.sum(axis=0))
    places = (lanes - start) % counts.shape[1] + within * counts.shape[1]
    found = np.empty_like(streams)
    found[places] = streams[order]
    return found


def _due(shares: Numbers, streams: Integers, first: Numbers, last: Numbers) -> Numbers:
    """Return when, in [0, 1] of a block, a linear ramp from `first` to `last` has given `shares` of a stream's samples."""
    if (first == last).all():
        return shares
    total = first + last
    slopes = np.divide(last - first, total, out=np.zeros_like(total), where=total > 0)[streams]
    # The root of (1 - r) t + r t^2 = share, in the form that does not cancel.
    root = np.sqrt(np.maximum((1 - slopes) ** 2 + 4 * slopes * shares, 0))
    times: Numbers = 2 * shares / np.maximum(1 - slopes + root, 2.0**-60)
    return times
