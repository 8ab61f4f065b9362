"""The causal check: from one checkpoint, train on one set of windows or on another, and compare.

Idea: a regression over a run sees windows as they came, and what came together stays together. A branch changes the windows and
nothing else: the same weights, length, learning rate, stream exposure and seeds, probes with items that no attribution has
seen: of a draw of their own, so that a proof of the same study finds its items unused. Branches of all sets and seeds are
independent runs, so they train side by side, and several as one computation where that is faster (see `population_groups`). The
optimizer starts afresh, in every branch alike. The price: a branch costs a run, so sets of windows are compared, not single
windows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from curriculum.attribution.consumption import sizes_of
from curriculum.attribution.selection import in_keyed_order, selected_mix, write_table
from curriculum.errors import DataError, FileError, UserError
from curriculum.mix import Mix
from curriculum.probe.specification import BRANCH_DRAW, PROOF_DRAW, ProbeSpecification
from curriculum.proxy.encoding import encoder_for
from curriculum.proxy.population_groups import in_populations
from curriculum.proxy.recipe import Recipe
from curriculum.proxy.run import RECORD, RunRequest, RunResult, questions
from curriculum.search.executor import Outcome
from curriculum.search.runner import required
from curriculum.search.statistics import Interval, claim_interval
from curriculum.search.workers import Workers
from curriculum.units import keyed_seed

POPULATION = 8  # branches that are trained as one: a quarter less time on one core


@dataclass(frozen=True, kw_only=True, slots=True)
class Trunk:
    """What branches grow from: a checkpoint, the run's mix, recipe (its learning rate as it was there) and probes.

    `draw`: the probes' items that branches are asked: their own, or the proof's where files hold no third set of items.
    """

    checkpoint: Path
    mix: Mix
    recipe: Recipe
    probes: tuple[ProbeSpecification, ...]
    item_seed: int = 0
    draw: int = BRANCH_DRAW

    @classmethod
    def of_run(cls, run: Path, *, position: int | None = None) -> Trunk:
        """Return the trunk of a run at its checkpoint of `position` (None: the middle one of those kept).

        Raises DataError without checkpoints, UserError for a run of another trainer and for a position that was not kept.
        """
        record = _record(run)
        if "learning_rate" not in record["proxy"]:
            raise UserError(f"{run} was trained by a command of your own, which cannot be started from our checkpoints")
        kept = sorted(int(folder.name) for folder in (run / "checkpoints").glob("[0-9]*"))
        if not kept:
            raise DataError(f"{run} kept no checkpoint to branch from; run it again with --checkpoints 4, say")
        at = kept[(len(kept) - 1) // 2] if position is None else position
        if at not in kept:
            raise UserError(f"{run} kept no checkpoint at {at}; wanted one of {', '.join(map(str, kept))}")
        recipe = _recipe(record["proxy"])
        rate = recipe.rate(min(at, record["samples"] - 1) // recipe.batch, record["samples"] // recipe.batch)
        mix, probes = Mix.load(run / "mix.yaml"), tuple(_probe(probe) for probe in record["probes"])
        return cls(
            checkpoint=run / "checkpoints" / str(at),
            mix=mix,
            recipe=replace(recipe, learning_rate=rate, schedule="constant", start=run / "checkpoints" / str(at)),
            probes=probes,
            item_seed=int(record["items"][1]),
            draw=_draw(probes, mix),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Growing:
    """How branches are trained: each of `samples`, read `readings` times, on `workers` processes, `population` as one."""

    samples: int
    readings: int
    workers: int = 1
    population: int = POPULATION
    observe: Callable[[Outcome], None] = lambda _: None


def branch(
    trunk: Trunk, sets: Mapping[str, pd.DataFrame], seeds: Sequence[int], growing: Growing, folder: Path
) -> dict[str, list[RunResult]]:
    """Train a branch for every set of windows and seed; return their runs by set, in the order of `seeds`.

    `sets`: windows (stream, start, stop); each seed plays them in an order of its own. Branches lie under `folder`, and
    those that are there are not trained again. Raises RunError, DataError, UserError.
    """
    requests = {
        name: [branch_request(trunk, name, in_keyed_order(windows, seed, name), seed, growing, folder) for seed in seeds]
        for name, windows in sets.items()
    }
    results = iter(trained([request for each in requests.values() for request in each], growing, folder))
    return {name: [next(results) for _ in each] for name, each in requests.items()}


def branch_request(
    trunk: Trunk, name: str, windows: pd.DataFrame, seed: int, growing: Growing, folder: Path, *, base: Mix | None = None
) -> RunRequest:
    """Return one branch as a run, writing its list of windows (in play order); `base` has other phases than the trunk's mix.

    Branches of one seed play their streams in the same places, so what they share, such as a tail, is played alike.
    """
    file = folder / "windows" / f"{name}-s{seed}.parquet"
    write_table(windows, file)
    base = replace(base or trunk.mix, samples=growing.samples)
    return _request(trunk, f"branch-{name}", selected_mix(base, file, name=f"branch-{name}"), seed, growing)


def _request(trunk: Trunk, label: str, mix: Mix, seed: int, growing: Growing) -> RunRequest:
    return RunRequest(
        label=label,
        mix=mix,
        seed=seed,
        samples=growing.samples,
        recipe=replace(trunk.recipe, readings=growing.readings),
        probes=trunk.probes,
        draw=trunk.draw,
        item_seed=trunk.item_seed,
    )


def check_growing(trunk: Trunk, growing: Growing) -> None:
    """Make sure that branches can be grown like this, before windows are read: their length, their probes' items.

    Raises UserError (a length that is not of whole batches between readings), FileError (too few items for two draws).
    """
    request = _request(trunk, "branch", trunk.mix, 0, growing)
    request.recipe.steps(request.samples)
    questions(request)


def trained(requests: Sequence[RunRequest], growing: Growing, folder: Path) -> list[RunResult]:
    """Return the results of runs in the order given, those of one kind trained as populations.

    All are planned before any is trained. Raises RunError, and DataError where the windows do not last for a run.
    """
    for request in requests:
        request.recipe.steps(request.samples)
        request.played_mix().plan(sizes_of(request.mix))
    workers = Workers(count=growing.workers, runs=folder, on_finished=growing.observe)
    try:
        outcomes = workers.results(in_populations(requests, growing.population))
    except BaseException:
        workers.kill()
        raise
    workers.drain()
    return [required(outcome) for outcome in outcomes]


def margins_of(result: RunResult) -> pd.Series:
    """Return the margin at each reading, by position: mean over families of the mean over their probes."""
    table = result.trajectory.table
    families = table.groupby(["position", "family"])["margin"].mean()
    return families.groupby("position").mean()


def compare(branches: Mapping[str, Sequence[RunResult]], one: str, other: str) -> Interval:
    """Return by how much set `one` leaves the final margin above `other`'s: mean over seeds, 95 % interval."""
    finals = {name: [float(margins_of(result).iloc[-1]) for result in branches[name]] for name in (one, other)}
    return claim_interval(np.subtract(finals[one], finals[other]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Spearman's correlation of predicted effects of sets with the final margins of their branches, and its interval."""

    correlation: float
    low: float
    high: float
    sets: int
    seeds: int


def agreement(predicted: Mapping[str, float], branches: Mapping[str, Sequence[RunResult]], *, seed: int = 0) -> Agreement:
    """Compare predictions with branches; the interval resamples sets, and seeds for all sets alike (95 %, 1,000 times)."""
    names = list(branches)
    finals = np.asarray([[float(margins_of(result).iloc[-1]) for result in branches[name]] for name in names])
    foretold = np.asarray([predicted[name] for name in names])
    random = np.random.default_rng(keyed_seed("agreement", seed))
    drawn = []
    for _ in range(1000):
        sets = random.integers(len(names), size=len(names))
        columns = random.integers(finals.shape[1], size=finals.shape[1])
        if len(set(sets.tolist())) > 2:
            drawn.append(_spearman(foretold[sets], finals[sets][:, columns].mean(axis=1)))
    known = [value for value in drawn if np.isfinite(value)]
    low, high = np.quantile(known, [0.025, 0.975]) if known else (np.nan, np.nan)
    return Agreement(
        correlation=_spearman(foretold, finals.mean(axis=1)),
        low=float(low),
        high=float(high),
        sets=len(names),
        seeds=finals.shape[1],
    )


def groups_by_effect(windows: pd.DataFrame, groups: int) -> dict[str, pd.DataFrame]:
    """Return `groups` sets of windows, from the lowest effects to the highest, each stream giving every set as many.

    `windows`: stream, start, stop, effect. Raises DataError where a stream has fewer windows than there are sets.
    """
    if windows.empty:
        raise DataError("there is no window to branch on; choose windows otherwise (--from all, or --hold-out with held-out)")
    parts: dict[str, list[pd.DataFrame]] = {f"group-{number + 1}": [] for number in range(groups)}
    for name, own in windows.groupby("stream", sort=False):
        each = len(own) // groups
        if each < 1:
            raise DataError(f"stream {name!r} has {len(own)} windows, too few for {groups} sets; ask for fewer --groups")
        ranked = own.sort_values(["effect", "start"])
        for number, rows in enumerate(parts.values()):
            rows.append(ranked.iloc[number * each : (number + 1) * each])
    return {name: pd.concat(rows) for name, rows in parts.items()}


def _spearman(one: Any, other: Any) -> float:
    if len(set(np.asarray(one).tolist())) < 2 or len(set(np.asarray(other).tolist())) < 2:
        return float("nan")
    return float(spearmanr(one, other).statistic)


def _draw(probes: Sequence[ProbeSpecification], mix: Mix) -> int:
    """Return the draw of branches, or the proof's where some probe's file has too few items for a third."""
    encode = encoder_for(mix)
    try:
        for probe in probes:
            probe.draw(BRANCH_DRAW, seed=0, encode=encode)
    except FileError:
        return PROOF_DRAW
    return BRANCH_DRAW


def _record(run: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads((run / RECORD).read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{run / RECORD} cannot be read ({error}); name the folder of a finished run") from None
    return record


def _recipe(written: Mapping[str, Any]) -> Recipe:
    known = {field.name for field in fields(Recipe)}
    said = {name: value for name, value in written.items() if name in known and name != "start"}
    return Recipe(**{"precision": "float32", **said})  # which older records could not say


def _probe(written: Mapping[str, Any]) -> ProbeSpecification:
    known = {field.name for field in fields(ProbeSpecification)}
    given = {name: value for name, value in written.items() if name in known}
    paths = {name: Path(given[name]) for name in ("file", "control") if given.get(name) is not None}
    return ProbeSpecification(**(given | paths))
