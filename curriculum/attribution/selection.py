"""Windows that hold a mode: general-only, shallow-only and random lists of equal size and equal exposure.

Idea: every stream gives the same number of windows to every list, all of one length, so three runs under one schedule of
streams see the same samples of each stream and differ in which windows these come from. A list is an ordinary window list
(Parquet: stream, start, stop, in play order), a mix around it an ordinary mix. Windows may be chosen among those that no run
consumed, whose own readings nobody has seen; that asks for effects by content. The price: a stream that lacks good windows
must still give its share of the best it has.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pandas as pd

from curriculum.errors import DataError, ResourceError
from curriculum.mix import Mix, Order
from curriculum.units import keyed_seed

Pool = Literal["all", "consumed", "unseen", "held-out"]
POOLS: tuple[Pool, ...] = ("all", "consumed", "unseen", "held-out")
LISTS = ("general-only", "shallow-only", "random")
_WINDOW = ["stream", "start", "stop"]


def select_windows(windows: pd.DataFrame, *, share: float = 0.25, pool: Pool = "all", seed: int = 0) -> dict[str, pd.DataFrame]:
    """Return the lists by name: stream, start, stop, in a keyed play order, `share` of each stream's windows of the pool.

    `windows`: stream, start, stop, effect, consumed, held_out. `unseen` are those that no run consumed. Raises DataError
    where a stream has too few windows for two lists without a window in common.
    """
    chosen: dict[str, list[pd.DataFrame]] = {name: [] for name in LISTS}
    for name in dict.fromkeys(windows["stream"]):
        own = _whole(in_pool(windows[windows["stream"] == name], pool))
        count = round(share * len(own))
        if count < 1 or 2 * count > len(own):
            raise DataError(
                f"stream {name!r} has {len(own)} whole windows to select from ({pool}), of which a share of {share:g} makes "
                f"{count}; wanted at least 1 a list and two lists without a window in common: change the share or the pool"
            )
        ranked = own.sort_values(["effect", "start"])
        chosen["general-only"].append(ranked.tail(count))
        chosen["shallow-only"].append(ranked.head(count))
        chosen["random"].append(in_keyed_order(own, seed, "random").head(count))
    return {name: in_keyed_order(pd.concat(parts), seed, "play") for name, parts in chosen.items()}


def in_pool(windows: pd.DataFrame, pool: Pool) -> pd.DataFrame:
    """Return the windows that may be chosen: all, those that runs consumed, those that none did, those held out."""
    if pool == "consumed":
        return windows[windows["consumed"] > 0]
    if pool == "unseen":
        return windows[windows["consumed"] == 0]
    return windows[windows["held_out"]] if pool == "held-out" else windows


def in_keyed_order(windows: pd.DataFrame, seed: int, purpose: str = "play") -> pd.DataFrame:
    """Return stream, start, stop in an order that depends on seed, purpose and the windows alone."""
    keys = [keyed_seed("window", purpose, seed, *window) for window in windows[_WINDOW].itertuples(index=False, name=None)]
    return windows.assign(key=keys).sort_values("key")[_WINDOW].reset_index(drop=True)


def selected_mix(base: Mix, file: Path, *, name: str, samples: int | None = None) -> Mix:
    """Return `base` with its streams playing the windows listed in `file`, over `samples` (None: as many as `base`).

    Whole windows are played, also where `base` plays a subset: its samples stand for the windows that they were taken from.
    """
    streams = {
        stream: replace(source, order=Order(listed=str(file.absolute())), subset=None)
        for stream, source in base.streams.items()
    }
    return replace(base, name=name, streams=streams, samples=samples or base.samples, provenance=None)


def write_selection(base: Mix, lists: Mapping[str, pd.DataFrame], folder: Path, *, samples: int | None = None) -> list[Path]:
    """Write each list as `<name>.parquet` and a mix around it as `<name>.yaml`; return the mixes' paths.

    Raises UserError, ResourceError (the folder cannot be written).
    """
    paths = []
    for name, windows in lists.items():
        file = folder / f"{name}.parquet"
        write_table(windows, file)
        selected_mix(base, file, name=name, samples=samples).dump(folder / f"{name}.yaml")
        paths.append(folder / f"{name}.yaml")
    return paths


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet, whole or not at all; its folder is made. Raises ResourceError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_parquet(temporary, index=False)
        temporary.replace(path)
    except OSError as error:
        raise ResourceError(
            f"{path} cannot be written: {error.strerror or error}; free space or choose another place"
        ) from error
    finally:
        with suppress(OSError):  # a place where nothing can be written has nothing to remove either
            temporary.unlink()


def _whole(windows: pd.DataFrame) -> pd.DataFrame:
    """Return the windows of full length: the last of a stream may be shorter, and would spoil equal sizes.

    Windows of a subset differ by a sample: where more than that last one is shorter, the odd sample is cut off.
    """
    lengths = windows["stop"] - windows["start"]
    full = int(lengths.max()) if len(lengths) else 0
    if (lengths < full).sum() > 1:
        full -= 1
    whole = windows[lengths >= full]
    return whole.assign(stop=whole["start"] + full)


def score_table(windows: pd.DataFrame, sizes: Mapping[str, int], by_stream: Mapping[str, float]) -> pd.DataFrame:
    """Return effects as scores that cover every stream once (stream, start, stop, score): `order: {scores: FILE}` takes it.

    What no window covers gets the stream's effect. `windows`: stream, start, stop, effect, without overlaps.
    """
    rows = []
    for name, size in sizes.items():
        own = windows[windows["stream"] == name].sort_values("start")
        at = 0
        for start, stop, effect in own[["start", "stop", "effect"]].itertuples(index=False, name=None):
            rows += [(name, at, int(start), by_stream[name])] if at < start else []
            rows.append((name, int(start), int(stop), float(effect)))
            at = int(stop)
        rows += [(name, at, size, by_stream[name])] if at < size else []
    return pd.DataFrame(rows, columns=[*_WINDOW, "score"])
