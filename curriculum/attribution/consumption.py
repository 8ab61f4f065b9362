"""Which windows of data a run consumed between two readings: a table, exact, from the plan alone.

Idea: a run's order is arithmetic, so what was consumed need not be logged: it is asked of the plan afterwards, also of a run
that was stopped, resumed or continued under another mix. With one lane a stream's draws follow one another, a window is a
stretch of them, and only the draws at which one can end are looked at: a run of 10^9 samples is tabled in a second. With
several lanes many windows are open at once, and positions are walked, vectorised. A stream of which a subset is played is cut
into stretches from each of which the subset takes its samples evenly; these are its windows, and nothing lies between them. The
alternative, a log written while training, costs disk, is lost with the machine, and must be believed. The price: the mix and
the streams' sizes must still be known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from curriculum.errors import DataError, UserError
from curriculum.mix import Mix
from curriculum.plan import Plan
from curriculum.plan.permutation import Integers
from curriculum.plan.windows import Tabled, Windows
from curriculum.proxy.folders import stream_folder
from curriculum.proxy.run import load_run
from curriculum.streaming.index import read_index
from curriculum.streaming.token_files import find_tokens

COLUMNS = ("position", "previous", "stream", "window", "start", "stop", "samples")
_AT_ONCE = 2**18  # positions
_FIRST = 64  # windows of a stream, by which an order is known again


def consumption(plan: Plan, positions: Iterable[int], *, since: int = 0) -> pd.DataFrame:
    """Return what was consumed between readings: position, previous, stream, window, start, stop, samples.

    A row says that of the positions [previous, position) `samples` fell into the window [start, stop) of the stream;
    `window` is its number by start (see `window_table`). `positions` are those of the readings, ascending; the first one's
    `previous` is `since`. Raises UserError where they do not ascend or lie outside the plan.
    """
    readings = _checked([since, *positions], plan.samples)
    parts = [part for segment in range(len(plan.segments)) for part in _of_segment(plan, segment, readings)]
    keys = ["position", "number", "start", "stop"]
    table = pd.DataFrame(np.concatenate([np.zeros((0, 5), dtype=np.int64), *parts]), columns=[*keys, "samples"])
    found = table.groupby(keys)["samples"].sum().reset_index()  # sorted by them, so by position, stream and window
    previous = dict(zip(readings[1:], readings[:-1], strict=True))
    found["previous"] = found["position"].map(previous).astype(np.int64)
    found["stream"] = [plan.streams[number] for number in found["number"]]
    found = found.merge(window_table(plan), on=["stream", "start", "stop"], how="left")
    return found[list(COLUMNS)]


def window_table(plan: Plan) -> pd.DataFrame:
    """Return all windows of the plan's streams, consumed or not: stream, window, start, stop.

    Windows are numbered by start, then stop; where an edit changed a stream's windows, the old and the new ones are there.
    """
    tables = []
    for name in plan.streams:
        found: set[tuple[int, int]] = set()
        for segment in plan.segments:
            own = segment.own(name)
            if own is not None:
                starts, stops = segment.ranges(own, np.arange(_count(segment.windows[own])))
                found |= set(zip(starts.tolist(), stops.tolist(), strict=True))
        ranges = np.asarray(sorted(found), dtype=np.int64).reshape(-1, 2)
        table = pd.DataFrame({"stream": name, "window": np.arange(len(ranges)), "start": ranges[:, 0], "stop": ranges[:, 1]})
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def consumed_by_run(folder: Path) -> pd.DataFrame:
    """Return what the run in `folder` consumed before each of its readings. Raises DataError, FileError."""
    result = load_run(folder)
    if result is None:
        raise DataError(f"{folder} holds no whole run (run.json, mix.yaml, trajectory.parquet); name one of `curriculum run`")
    return consumption(plan_of_run(folder), sorted(set(result.trajectory.table["position"].astype(int))))


def plan_of_run(folder: Path) -> Plan:
    """Return the plan of the run in `folder`, of the mix as it was played. Raises FileError, DataError."""
    mix = Mix.load(folder / "mix.yaml")
    return mix.plan(sizes=sizes_of(mix))


def play_order(plan: Plan) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return the starts of the first windows of each stream in the order in which the plan plays them.

    Runs for which it is the same (of one seed, or of listed windows) consume the same windows at about the same time.
    """
    segment, found = plan.segments[0], []
    for own, number in enumerate(segment.indexes):
        windows = segment.windows[own]
        played, _ = _stretches(windows, 0, min(windows.length, _FIRST * _width(windows)))
        found.append((plan.streams[number], tuple(segment.ranges(own, played)[0].tolist())))
    return tuple(found)


def sizes_of(mix: Mix) -> dict[str, int]:
    """Return how many samples each stream has, from its index. Raises DataError."""
    sizes = {}
    for name, stream in mix.streams.items():
        mosaic = stream.format == "mds"
        sizes[name] = (read_index(name, stream_folder(name, stream)) if mosaic else find_tokens(name, stream).index).samples
    return sizes


def _checked(readings: list[int], samples: int) -> list[int]:
    for before, after in pairwise(readings):
        if after <= before:
            raise UserError(f"wanted positions of readings in ascending order, got {after} after {before}")
    if readings[0] < 0 or readings[-1] > samples:
        raise UserError(f"wanted positions within the run of {samples} samples, got {readings[0]} to {readings[-1]}")
    return readings


def _of_segment(plan: Plan, index: int, readings: list[int]) -> Iterator[Integers]:
    """Yield what each stretch consumed under one mix: rows of position, stream's number, start, stop, samples."""
    segment, end = plan.segments[index], plan.end(index)
    for before, position in pairwise(readings):
        start, stop = max(before, segment.start), min(position, end)
        if start >= stop:
            continue
        for rows in _by_draws(plan, index, start, stop) if plan.lanes == 1 else _by_walking(plan, start, stop):
            yield np.column_stack([np.full(len(rows), position), rows])


def _by_draws(plan: Plan, index: int, start: int, stop: int) -> Iterator[Integers]:
    """With one lane: each stream's draws of the stretch, cut where its windows end."""
    segment = plan.segments[index]
    first, last = plan.drawn_within(index, start)[:, 0], plan.drawn_within(index, stop)[:, 0]
    for own in np.flatnonzero(first < last).tolist():
        windows, samples = _stretches(segment.windows[own], int(first[own]), int(last[own]))
        yield np.column_stack([np.full(len(windows), segment.indexes[own]), *segment.ranges(own, windows), samples])


def _stretches(windows: Windows, first: int, last: int) -> tuple[Integers, Integers]:
    """Return the windows that the draws [first, last) come from, and how many of them come from each; one may return."""
    cuts = _possible_cuts(windows, first, last)
    _, _, found = windows.locate(cuts)
    return found, np.diff(np.append(cuts, last))


def _possible_cuts(windows: Windows, first: int, last: int) -> Integers:
    """Return `first`, and every draw before `last` at which a window can begin: an epoch's short one lies anywhere."""
    if isinstance(windows, Tabled):
        ends = np.cumsum(windows.stops - windows.starts)
        within = np.insert(ends[:-1], 0, 0)
    else:
        width = _width(windows)
        within = np.arange(0, windows.length, width)
        within = np.unique(np.concatenate([within, within + windows.length % width]))
    epochs = np.arange(first // windows.length, (last - 1) // windows.length + 1)
    cuts = (epochs[:, None] * windows.length + within[within < windows.length]).ravel()
    return np.insert(cuts[(cuts > first) & (cuts < last)], 0, first)


def _by_walking(plan: Plan, start: int, stop: int) -> Iterator[Integers]:
    for begin in range(start, stop, _AT_ONCE):
        positions = np.arange(begin, min(stop, begin + _AT_ONCE))
        windows, counts = np.unique(np.column_stack([plan[positions][0], *plan.windows(positions)]), axis=0, return_counts=True)
        yield np.column_stack([windows, counts])


def _width(windows: Windows) -> int:
    """Return how many samples a window of an even division has."""
    starts, stops = windows.ranges(np.asarray([0]))
    return int(stops[0] - starts[0])


def _count(windows: Windows) -> int:
    """Return how many windows an epoch has."""
    return len(windows.starts) if isinstance(windows, Tabled) else -(-windows.length // _width(windows))
