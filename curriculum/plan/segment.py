"""A stretch of the run under one mix: its counts, its windows, and who owns them.

Idea: whatever a mix decides is compiled once, here; `plan` strings segments together and `ledger` follows the draws
through them. The alternative, to ask the mix again at every block, would read score files again and again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from curriculum.errors import DataError, UserError
from curriculum.mix import Mix
from curriculum.plan.allocation import Allocation
from curriculum.plan.lanes import LaneAllocation
from curriculum.plan.ownership import Ownership, ownership_of
from curriculum.plan.permutation import Integers
from curriculum.plan.schedule import compile_schedule
from curriculum.plan.subset import Chosen, chosen_of
from curriculum.plan.window_files import windows_of
from curriculum.plan.windows import Windows
from curriculum.units import keyed_seed


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Segment:
    """A stretch of the run under one mix, from `start` on; `indexes` maps this mix's streams to the plan's.

    `owners` has an entry per stream: None where all lanes share the stream as if they were one. So has `chosen`: None
    where all of the stream is played; else windows are of the subset's own samples, which it maps to the stream's.
    """

    start: int
    mix: Mix
    sizes: Mapping[str, int]
    scores: Mapping[str, Any] | None
    allocation: Allocation
    windows: tuple[Windows, ...]
    owners: tuple[Ownership | None, ...]
    chosen: tuple[Chosen | None, ...]
    indexes: Integers

    def own(self, name: str) -> int | None:
        """Return the number of stream `name` in this mix, or None if the mix has no such stream."""
        names = self.allocation.names
        return names.index(name) if name in names else None

    def in_stream(self, own: int, samples: Integers) -> Integers:
        """Return, of samples that stream `own`'s windows gave, their numbers in the stream."""
        chosen = self.chosen[own]
        return samples if chosen is None else chosen.samples(samples)

    def ranges(self, own: int, windows: Integers) -> tuple[Integers, Integers]:
        """Return the samples [start, stop) of stream `own` that windows are drawn from; shapes as `windows`."""
        starts, stops = self.windows[own].ranges(windows)
        chosen = self.chosen[own]
        return (starts, stops) if chosen is None else (chosen.starts(starts), chosen.starts(stops))


def compile_segment(
    mix: Mix,
    *,
    sizes: Mapping[str, int],
    samples: int,
    lanes: int,
    scores: Mapping[str, Any] | None,
    carried: Mapping[str, Integers],
    passes: int,
    cursor: int = 0,
    origin: int = 0,
) -> Segment:
    """Compile `mix` for positions [cursor, samples); `carried` are the draws (lanes,) each stream had before.

    Raises UserError (sizes), DataError (an empty stream with weight), FileError (a table that does not fit).
    """
    _check_sizes(mix, sizes)
    before = lane_rows(mix, carried, lanes)
    allocation = Allocation(
        schedule=compile_schedule(mix, samples=samples, origin=origin, due=samples - cursor),
        cursor=cursor,
        carried=tuple(before.sum(axis=1).tolist()),
        key=keyed_seed(mix.seed, "pass", passes),
        names=tuple(mix.streams),
        exact_lag=mix.unit == "samples",
    )
    chosen = tuple(chosen_of(name, stream, sizes[name]) for name, stream in mix.streams.items())
    windows = tuple(
        windows_of(
            name,
            stream,
            size=max(stream.played(sizes[name]), 1),
            key=keyed_seed(mix.seed, "stream", name),
            scores=scores,
        )
        for name, stream in mix.streams.items()
    )
    return Segment(
        start=cursor,
        mix=mix,
        sizes=dict(sizes),
        scores=scores,
        allocation=allocation if lanes == 1 else LaneAllocation.deal(allocation, lanes, before),
        windows=windows,
        owners=tuple(None if lanes == 1 else ownership_of(each, lanes) for each in windows),
        chosen=chosen,
        indexes=np.arange(len(mix.streams)),
    )


def lane_rows(mix: Mix, draws: Mapping[str, Integers], lanes: int) -> Integers:
    """Return the draws of the mix's streams as one array (streams, lanes), zeros where none are given."""
    return np.stack([draws.get(name, np.zeros(lanes, dtype=np.int64)) for name in mix.streams])


def _check_sizes(mix: Mix, sizes: Mapping[str, int]) -> None:
    for name in mix.streams:
        if name not in sizes:
            raise UserError(f"no size given for stream {name!r} of mix {mix.name!r}; sizes has {', '.join(sizes) or 'none'}")
        if int(sizes[name]) != sizes[name] or sizes[name] < 0:
            raise UserError(f"the size of stream {name!r} must be a whole number of samples, got {sizes[name]!r}")
        if sizes[name] == 0 and any(phase.weights[name] or (phase.to or phase.weights)[name] for phase in mix.phases):
            raise DataError(f"stream {name!r} is empty but has weight; remove it, give it weight 0, or add data")
