"""From run folders to what is regressed: margin changes between readings, beside what was consumed meanwhile.

Idea: a run folder says all of it: the trajectory its margins, the mix its windows, the recipe its learning rates. A probe
counts from the first time it was capable at two readings in a row: what happens before is learning, but a model that lost
the capability again to shallow data shows just what is looked for. Margins are averaged over families. A window is known by
stream, start and stop, so runs under any mixes of the same streams, whole or listed windows, go together.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from curriculum.attribution.consumption import consumption, play_order, sizes_of, window_table
from curriculum.attribution.effects import Design
from curriculum.attribution.effects_folds import Numbers
from curriculum.errors import DataError, UserError
from curriculum.mix import Mix, Stream
from curriculum.probe import Trajectory
from curriculum.proxy.recipe import Recipe
from curriculum.proxy.run import RECORD, load_run
from curriculum.units import keyed_seed

_WINDOW = ["stream", "start", "stop"]
_MODES = ("general", "shallow")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evidence:
    """What runs show. `windows`: stream, start, stop, consumed (samples, all runs), held_out; also windows never consumed.

    `stretches`: run, order (which runs share that play their windows in one order), previous, position, progress, change,
    before, rate, in_mode (whether a probe was general or shallow at either end). `consumed` (stretches, windows): samples.
    `dropped` stretches consumed held-out windows and are left out.
    """

    windows: pd.DataFrame
    stretches: pd.DataFrame
    consumed: Numbers
    streams: dict[str, Stream]
    sizes: dict[str, int]
    runs: tuple[Path, ...]
    dropped: int = 0

    @property
    def unused(self) -> tuple[Path, ...]:
        """Return the runs of which no stretch is used."""
        used = set(self.stretches["run"])
        return tuple(run for number, run in enumerate(self.runs) if number not in used)

    def design(self, features: Numbers) -> Design:
        """Return the regression over all stretches; `features` (windows, F)."""
        names = list(self.streams)
        rate = self.stretches["rate"].to_numpy(dtype=np.float64)
        return Design(
            change=self.stretches["change"].to_numpy(dtype=np.float64),
            before=self.stretches["before"].to_numpy(dtype=np.float64),
            rate=rate / rate.mean(),
            progress=self.stretches["progress"].to_numpy(dtype=np.float64),
            run=self.stretches["run"].to_numpy(dtype=np.int64),
            order=self.stretches["order"].to_numpy(dtype=np.int64),
            consumed=self.consumed / 1000,
            stream=np.asarray([names.index(name) for name in self.windows["stream"]], dtype=np.int64),
            features=features,
        )


def find_runs(places: Iterable[Path]) -> list[Path]:
    """Return the run folders among or below the places (a study's folder: all its runs). Raises DataError."""
    found: dict[Path, None] = {}
    for place in places:
        below = [place] if (place / RECORD).exists() else sorted(record.parent for record in place.rglob(RECORD))
        if not below:
            raise DataError(
                f"{place} holds no run; name a folder with {RECORD}, such as `curriculum run` leaves, or one above it"
            )
        found |= dict.fromkeys(below)
    return list(found)


def gather(
    runs: Sequence[Path],
    *,
    probes: Sequence[str] = (),
    held_out: pd.DataFrame | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evidence:
    """Return what the runs in these folders show; only of `probes`, if any are named. `progress` is told of runs read.

    `held_out`: windows that must not inform the effects (see `without_windows`). Raises DataError, UserError: runs without two
    capable readings in a row, of different data, of overlapping windows.
    """
    stretches, tables, parts = [], [], []
    streams: dict[str, Stream] = {}
    orders: dict[object, int] = {}
    for number, folder in enumerate(runs):
        progress(number, len(runs))
        mix = Mix.load(folder / "mix.yaml")
        _check_same_data(streams, mix, folder)
        streams |= {name: stream for name, stream in mix.streams.items() if name not in streams}
        plan = mix.plan(sizes=sizes_of(mix))
        order = orders.setdefault(play_order(plan), len(orders))
        found = _stretches(folder, probes).assign(run=number, order=order)
        stretches.append(found)
        tables.append(window_table(plan)[_WINDOW])
        parts.append(_consumed_in(consumption(plan, _positions(folder)), found).assign(run=number))
    sizes = sizes_of(Mix(name="all", streams=streams, phases=mix.phases, samples=mix.samples, unit=mix.unit))
    windows = _all_windows(pd.concat(tables), sizes)
    evidence = _evidence(windows, pd.concat(stretches, ignore_index=True), pd.concat(parts), streams, sizes, tuple(runs))
    return evidence if held_out is None else without_windows(evidence, held_out)


def held_out_windows(windows: pd.DataFrame, share: float, *, seed: int = 0) -> pd.DataFrame:
    """Return a keyed share of each stream's windows (stream, start, stop)."""
    keys = [keyed_seed("held out", seed, *window) for window in windows[_WINDOW].itertuples(index=False, name=None)]
    ranks = pd.Series(keys, index=windows.index).groupby(windows["stream"]).rank(method="first")
    sizes = windows.groupby("stream")["start"].transform("size")
    return windows.loc[ranks <= (share * sizes).round(), _WINDOW].reset_index(drop=True)


def _positions(folder: Path) -> list[int]:
    return sorted(set(_trajectory(folder)["position"].astype(int)))


def _trajectory(folder: Path) -> pd.DataFrame:
    return Trajectory.load(folder / "trajectory.parquet").table


def _stretches(folder: Path, probes: Sequence[str]) -> pd.DataFrame:
    """Return previous, position, progress, change, before, rate, in_mode of each stretch over which any probe counts."""
    result = load_run(folder)
    if result is None:
        raise DataError(f"{folder} holds no whole run (run.json, mix.yaml, trajectory.parquet); let it finish first")
    table = _chosen(result.trajectory.table, probes, folder)
    families = dict(zip(table["probe"], table["family"], strict=True))
    margins = table.pivot(index="position", columns="probe", values="margin")
    capable = table.pivot(index="position", columns="probe", values="capable").astype(bool)
    in_mode = table.pivot(index="position", columns="probe", values="mode").isin(_MODES)
    formed = {probe: _formed(capable[probe]) for probe in margins}
    rate = _rates(folder, result.samples)
    rows = []
    for previous, position in pairwise(margins.index):
        able = [probe for probe in margins if formed[probe] <= previous]
        if not able:
            continue
        means = margins.loc[[previous, position], able].T.groupby(families).mean().mean()
        change, before = float(means[position] - means[previous]), float(means[previous])
        progress = (previous + position) / 2 / result.samples
        moded = bool(in_mode.loc[[previous, position], able].any(axis=None))
        rows.append((int(previous), int(position), progress, change, before, rate(int(previous), int(position)), moded))
    return pd.DataFrame(rows, columns=["previous", "position", "progress", "change", "before", "rate", "in_mode"])


def _formed(capable: pd.Series[bool]) -> float:
    """Return the position of the first capable reading that another follows; infinite if there is none."""
    both = capable & capable.shift(-1, fill_value=False)
    return float(capable.index[both][0]) if bool(both.any()) else float("inf")


def _chosen(table: pd.DataFrame, probes: Sequence[str], folder: Path) -> pd.DataFrame:
    known = list(dict.fromkeys(table["probe"]))
    unknown = [probe for probe in probes if probe not in known]
    if unknown:
        raise UserError(f"{folder} has no probe {unknown[0]!r}; it has {', '.join(known)}")
    return table[table["probe"].isin(list(probes) or known)]


def _rates(folder: Path, samples: int) -> Any:
    """Return a function of two positions: the mean learning rate between them; 1 for a trainer of the user's own."""
    proxy = json.loads((folder / RECORD).read_text()).get("proxy", {})
    if "learning_rate" not in proxy:
        return lambda previous, position: 1.0
    recipe = Recipe(batch=proxy["batch"], learning_rate=proxy["learning_rate"], schedule=proxy["schedule"])
    steps = samples // recipe.batch
    rates = np.asarray([recipe.rate(step, steps) for step in range(steps)])
    return lambda previous, position: float(rates[previous // recipe.batch : position // recipe.batch].mean())


def _check_same_data(known: dict[str, Stream], mix: Mix, folder: Path) -> None:
    for name, stream in mix.streams.items():
        if name in known and (known[name].local, known[name].split) != (stream.local, stream.split):
            raise UserError(
                f"stream {name!r} of {folder} lies at {stream.local}, in another run at {known[name].local}; "
                "attribute runs of one set of data together, others by themselves"
            )


def _consumed_in(table: pd.DataFrame, stretches: pd.DataFrame) -> pd.DataFrame:
    """Return stream, start, stop, samples and the `row` of the stretch (-1: none) that consumed them."""
    rows = dict(zip(stretches["position"], range(len(stretches)), strict=True))
    return table.assign(row=table["position"].map(rows).fillna(-1).astype(int))[[*_WINDOW, "samples", "row"]]


def _all_windows(tables: pd.DataFrame, sizes: dict[str, int]) -> pd.DataFrame:
    """Return every window of the runs' plans, and those of the same width that lists left out, where they fit together.

    A subset's windows are stretches of the whole stream and leave nothing out: none is unseen because it is not of the subset.
    """
    found = []
    for name, size in sizes.items():
        own = set(tables.loc[tables["stream"] == name, ["start", "stop"]].itertuples(index=False, name=None))
        if not own:
            continue
        width = max(stop - start for start, stop in own)
        even = {(start, min(start + width, size)) for start in range(0, size, width)}
        ranges = sorted(even if own <= even else own)
        clash = next((pair for pair in pairwise(ranges) if pair[1][0] < pair[0][1]), None)
        if clash is not None:
            raise UserError(
                f"stream {name!r}: windows of the runs overlap: {list(clash[0])} and {list(clash[1])}; "
                "attribute runs with the same windows together (`order: {window: N}`, and one `subset`, in their mixes)"
            )
        found += [(name, start, stop) for start, stop in ranges]
    return pd.DataFrame(found, columns=_WINDOW)


def _evidence(
    windows: pd.DataFrame,
    stretches: pd.DataFrame,
    parts: pd.DataFrame,
    streams: dict[str, Stream],
    sizes: dict[str, int],
    runs: tuple[Path, ...],
) -> Evidence:
    if stretches.empty:
        raise DataError(
            "no run has two readings in a row at which a probe is capable; its margins say nothing of modes yet: train longer, "
            "or start from a checkpoint that can do the task"
        )
    numbers = windows.assign(window=np.arange(len(windows)))
    parts = parts.merge(numbers, on=_WINDOW)
    firsts = stretches.drop_duplicates("run")
    first = dict(zip(firsts["run"], firsts.index, strict=True))
    consumed = np.zeros((len(stretches), len(windows)))
    inside = parts[parts["row"] >= 0]
    np.add.at(consumed, (inside["run"].map(first) + inside["row"], inside["window"]), inside["samples"])
    total = np.zeros(len(windows), dtype=np.int64)
    np.add.at(total, parts["window"], parts["samples"])
    windows = windows.assign(consumed=total, held_out=False)
    return Evidence(windows=windows, stretches=stretches, consumed=consumed, streams=streams, sizes=sizes, runs=runs)


def without_windows(evidence: Evidence, held_out: pd.DataFrame) -> Evidence:
    """Return the evidence without the stretches that consumed any of `held_out` (stream, start, stop). Raises DataError."""
    out = {tuple(window) for window in held_out[_WINDOW].itertuples(index=False, name=None)}
    windows = evidence.windows.copy()
    windows["held_out"] = [tuple(window) in out for window in windows[_WINDOW].itertuples(index=False, name=None)]
    clean = evidence.consumed[:, windows["held_out"].to_numpy()].sum(axis=1) == 0
    if not clean.any():
        raise DataError(
            "every stretch between readings consumed a held-out window, so nothing is left to learn from; hold out fewer, or "
            "make the runs of listed windows (order: {listed: FILE}) and select from those they never consumed"
        )
    return Evidence(
        windows=windows,
        stretches=evidence.stretches[clean].reset_index(drop=True),
        consumed=evidence.consumed[clean],
        streams=evidence.streams,
        sizes=evidence.sizes,
        runs=evidence.runs,
        dropped=int((~clean).sum()),
    )
