"""Score files and lists of windows: Parquet with columns stream, start, stop (and score).

Idea: a window is a range [start, stop) of samples of one stream, so any tool can write such a file. Scores order all of
a stream's windows, hence must cover it once, or data would vanish unnoticed; a list may leave windows out or repeat
them, since choosing is its purpose. Scores may also be handed over as arrays, or come from an installed function (see
`order_plugins`), one score a window.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curriculum.errors import FileError, UserError
from curriculum.mix import Order, Stream
from curriculum.plan.order_plugins import plugin_scores
from curriculum.plan.permutation import Integers
from curriculum.plan.windows import Sequential, Shuffled, Tabled, Windows, default_window
from curriculum.plugins import plugin_name

Numbers = npt.NDArray[np.float64]


def windows_of(name: str, stream: Stream, *, size: int, key: int, scores: Mapping[str, Any] | None) -> Windows:
    """Return how `stream` plays its `size` samples. Raises FileError or UserError for tables that do not fit it."""
    order = stream.order
    if order.window is not None and order.window > size and order.kind != "shuffle":
        raise UserError(f"stream {name!r}: order asks for windows of {order.window} samples, but it has only {size}")
    window = min(order.window or default_window(size), size)
    if order.kind == "sequential":
        return Sequential(length=size, window=window)
    if order.kind == "shuffle":
        return Shuffled(length=size, window=window, key=key)
    if order.kind == "listed":
        table = _read_table(Path(order.listed or ""), name, scored=False)
        _check_ranges(table, name, size, order.listed)
        return Tabled(starts=table["start"], stops=table["stop"], key=key)
    return _scored(name, stream, size=size, window=window, key=key, given=(scores or {}).get(name))


def _scored(name: str, stream: Stream, *, size: int, window: int, key: int, given: Any) -> Tabled:
    order = stream.order
    plugin = plugin_name(order.by or "")
    if given is None and plugin is not None:
        given = plugin_scores(plugin, name, stream, size=size, window=window)
    if given is None:
        path = _score_file(name, stream)
        table, source = _read_table(path, name, scored=True), str(path)
    else:
        table, source = _given_table(name, given, size=size, window=window), f"scores given for {name!r}"
    _check_ranges(table, name, size, source)
    _check_cover(table, name, size, source)
    starts, stops, values = table["start"], table["stop"], table["score"].astype(np.float64)
    if order.window is not None and given is None:
        starts, stops, values = _average(starts, stops, values, size=size, window=window)
    ranks = np.lexsort((starts, values if order.direction == "ascending" else -values))
    return Tabled(starts=starts[ranks], stops=stops[ranks], key=key)


def _score_file(name: str, stream: Stream) -> Path:
    order: Order = stream.order
    if order.scores is not None:
        return Path(order.scores)
    if stream.local is None or "://" in stream.local:
        raise UserError(f"stream {name!r}: order by {order.by!r} needs a score file; name one with order: {{scores: FILE}}")
    return Path(stream.local) / f"{order.by}.parquet"


def _given_table(name: str, given: Any, *, size: int, window: int) -> dict[str, npt.NDArray[Any]]:
    if hasattr(given, "keys"):
        missing = [column for column in ("start", "stop", "score") if column not in given]
        if missing:
            raise UserError(f"scores for stream {name!r} lack {missing[0]!r}; wanted start, stop, score or one score a window")
        return {column: np.asarray(given[column]) for column in ("start", "stop", "score")}
    values = np.asarray(given, dtype=np.float64)
    starts = np.arange(0, size, window, dtype=np.int64)
    if values.shape != starts.shape:
        raise UserError(
            f"scores for stream {name!r}: wanted one for each of its {len(starts)} windows of {window} samples, "
            f"got shape {values.shape}"
        )
    return {"start": starts, "stop": np.minimum(starts + window, size), "score": values}


def _read_table(path: Path, name: str, *, scored: bool) -> dict[str, npt.NDArray[Any]]:
    """Read the rows of stream `name` (all rows, where the file has no column `stream`)."""
    from pyarrow import ArrowException
    from pyarrow.parquet import read_table

    try:
        table = read_table(path)
    except FileNotFoundError:
        raise FileError(
            f"stream {name!r} takes its order from this file, which does not exist; write it (Parquet with the columns stream, "
            f"start, stop{', score' if scored else ''}), for example by `curriculum {'scan' if scored else 'attribute'}`",
            path=path,
        ) from None
    except (ArrowException, OSError) as error:
        raise FileError(f"wanted a Parquet file with columns stream, start, stop: {error}", path=path) from None
    wanted = ["start", "stop", *(["score"] if scored else [])]
    missing = [column for column in wanted if column not in table.column_names]
    if missing:
        raise FileError(f"wanted the columns stream, {', '.join(wanted)}; {missing[0]!r} is missing", path=path)
    columns = {column: table[column].to_numpy() for column in wanted}
    if "stream" in table.column_names:
        rows = np.asarray(table["stream"].to_pylist(), dtype=object) == name
        columns = {column: values[rows] for column, values in columns.items()}
    if len(columns["start"]) == 0:
        raise FileError(f"no window of stream {name!r} in it; wanted rows whose column stream is {name!r}", path=path)
    return columns


def _check_ranges(table: dict[str, npt.NDArray[Any]], name: str, size: int, source: str | None) -> None:
    for column in ("start", "stop"):
        if not np.issubdtype(table[column].dtype, np.integer):
            raise FileError(f"column {column!r} must hold whole numbers, got {table[column].dtype}", path=source)
        table[column] = table[column].astype(np.int64)
    wrong = np.flatnonzero((table["start"] < 0) | (table["stop"] > size) | (table["start"] >= table["stop"]))
    if len(wrong):
        row = int(wrong[0])
        raise FileError(
            f"row {row}: window [{table['start'][row]}, {table['stop'][row]}) is not a range within the {size} samples "
            f"of stream {name!r}",
            path=source,
        )


def _check_cover(table: dict[str, npt.NDArray[Any]], name: str, size: int, source: str | None) -> None:
    if not np.isfinite(table["score"].astype(np.float64)).all():
        raise FileError(f"stream {name!r} has a score that is not a finite number", path=source)
    ranks = np.argsort(table["start"], kind="stable")
    starts, stops = table["start"][ranks], table["stop"][ranks]
    gaps = np.flatnonzero(np.append(starts, size) != np.insert(stops, 0, 0))
    if len(gaps):
        at = int(np.append(starts, size)[gaps[0]])
        raise FileError(
            f"the windows of stream {name!r} must cover its {size} samples exactly once; they do not at sample {at} "
            "(to leave windows out on purpose, use order: {listed: FILE})",
            path=source,
        )


def _average(
    starts: Integers, stops: Integers, values: Numbers, *, size: int, window: int
) -> tuple[Integers, Integers, Numbers]:
    """Return windows of `window` samples with the mean score of their samples."""
    ranks = np.argsort(starts, kind="stable")
    edges = np.concatenate([[0], stops[ranks]])
    integral = np.concatenate([[0.0], np.cumsum(values[ranks] * (stops - starts)[ranks])])
    new_starts = np.arange(0, size, window, dtype=np.int64)
    new_stops = np.minimum(new_starts + window, size)
    sums = np.interp(new_stops, edges, integral) - np.interp(new_starts, edges, integral)
    return new_starts, new_stops, sums / (new_stops - new_starts)
