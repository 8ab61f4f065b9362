"""Pages: runs of blocks whose draws were located once, so that the batches which share them only look them up.

Idea: a stream's draws in neighbouring blocks are neighbours too, so the draws of several blocks are located at once, and
a call of numpy serves thousands of positions instead of a few dozen. How many blocks make a page follows from what is
asked: one for a position out of the blue, more if the positions go on, or go on from the page before. The alternative, a
fixed number, makes the first sample and a random one late. The price is memory, bounded by `_REMEMBERED_POSITIONS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from curriculum.plan.allocation import Block
from curriculum.plan.cache import Cache
from curriculum.plan.permutation import Integers

if TYPE_CHECKING:
    from curriculum.plan.plan import Plan

_REMEMBERED_POSITIONS = 2**19  # 32 bytes each
_PAGE = 4096  # positions, or what gives each stream this many draws:
_DRAWS = 256


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Page:
    """Positions [start, stop) of segment `index`: the segment's stream, epoch, sample and number of the window of each."""

    index: int
    start: int
    stop: int
    streams: Integers
    epochs: Integers
    samples: Integers
    windows: Integers


class Pages:
    """Compiles and remembers the pages of one plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._known: Cache[tuple[int, int], Page] = Cache(_REMEMBERED_POSITIONS)

    def visit(self, positions: Integers) -> Iterator[tuple[Page, Integers, Integers]]:
        """Yield (page, which of the `positions` (k,) it holds, their places in it), every page once."""
        ranks = np.argsort(positions, kind="stable")
        ordered = positions[ranks]
        done = 0
        while done < len(ordered):
            page = self._at(ordered[done:])
            after = int(np.searchsorted(ordered, page.stop))
            yield page, ranks[done:after], ordered[done:after] - page.start
            done = after

    def _at(self, ordered: Integers) -> Page:
        """The page that holds the first of the positions."""
        first = int(ordered[0])
        for page in self._known.newest_first():
            if page.start <= first < page.stop:
                return page
        index = max(number for number, segment in enumerate(self._plan.segments) if segment.start <= first)
        page = self._located(index, self._blocks(index, ordered))
        self._known.put((page.start, page.stop), page, len(page.streams))
        return page

    def _blocks(self, index: int, ordered: Integers) -> list[Block]:
        """The block of the first position, and those after it that are asked for too or will be next."""
        plan, allocation = self._plan, self._plan.segments[index].allocation
        start, end = allocation.block_of(int(ordered[0]))
        blocks = [plan.block(index, start, end)]
        goes_on = any(page.stop == blocks[0].start for page in self._known.newest_first())
        length, wanted = len(blocks[0].streams), max(_PAGE, _DRAWS * len(allocation.names))
        while length < wanted and blocks[-1].stop < plan.end(index):
            after = int(np.searchsorted(ordered, blocks[-1].stop))
            if not goes_on and (after == len(ordered) or ordered[after] >= blocks[-1].stop + len(blocks[-1].streams)):
                break
            start, end = allocation.bounds(end)
            blocks.append(plan.block(index, start, end))
            length += len(blocks[-1].streams)
        return blocks

    def _located(self, index: int, blocks: list[Block]) -> Page:
        plan = self._plan.as_planned(index)
        segment, start = plan.segments[index], blocks[0].start
        streams, draws, lane_draws = (
            np.concatenate([getattr(block, name) for block in blocks]) for name in ("streams", "draws", "lane_draws")
        )
        epochs, samples, windows = (np.empty_like(draws) for _ in range(3))
        order = np.argsort(streams, kind="stable")
        ends = np.cumsum(np.bincount(streams, minlength=len(segment.windows))).tolist()
        for own, (first, last) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            if first == last:
                continue
            chosen, owner = order[first:last], segment.owners[own]
            if owner is None:
                located = segment.windows[own].locate(draws[chosen])
            else:
                lanes = (start + chosen) % plan.lanes
                located = plan.ledger.locate(own, draws[chosen], lanes, lane_draws[chosen], owner)
            epochs[chosen], windows[chosen] = located[0], located[2]
            samples[chosen] = segment.in_stream(own, located[1])
        stop = min(blocks[-1].stop, self._plan.end(index))
        return Page(index=index, start=start, stop=stop, streams=streams, epochs=epochs, samples=samples, windows=windows)
