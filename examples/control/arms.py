"""The three arms: one checkpoint, continued on random, shallow-selected and general-selected windows.

Idea: windows are split in two halves by a key. Runs that are attributed play the one half only; what is selected comes from
the other, of which no run has seen a sample, so a window is chosen for what it holds and not for what was seen to follow
it. All of them continue one base run, trained on a stream of its own until all three tasks can be done: before that,
windows teach capabilities, and what is attributed is learning, not modes. All arms have one length, the same samples of
each stream in the same places, and one seed plays the same tail in each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import pandas as pd
from streams import WINDOW, make_streams

from curriculum.attribution.branches import Growing, Trunk, branch_request, trained
from curriculum.attribution.consumption import sizes_of, window_table
from curriculum.attribution.effects import Effects, estimate
from curriculum.attribution.effects_data import Evidence, gather, held_out_windows
from curriculum.attribution.effects_features import Features, content_features, no_features
from curriculum.attribution.selection import in_keyed_order, in_pool, select_windows, selected_mix, write_table
from curriculum.mix import Mix, Phase, Stream
from curriculum.probe.specification import ProbeSpecification
from curriculum.proxy.recipe import Recipe
from curriculum.proxy.run import RunRequest, RunResult, perform

WEIGHTS = {"web": Decimal(2), "books": Decimal(1)}
BASE = 20_480  # samples of the run that all others continue
CHECKPOINTS = range(BASE // 8, BASE + 1, BASE // 8)  # where it keeps one
CHECKPOINT = 15_360  # the one that is continued: all three tasks can be done by then, and the mode is not yet settled
SAMPLES = 20_480  # of an attributed run
LENGTH = 7_680  # of an arm
READINGS = 20  # of an arm; every fifth is one of the four "later readings"
TAIL = 0.4  # of an arm, the same windows for all
RUNS = 4
SHARE = 0.25  # of a stream's held-out windows that an arm may play
ARMS = ("random", "shallow-only", "general-only")
_RECIPE = Recipe(batch=32, learning_rate=4e-3, schedule="constant", readings=40)
_FAMILIES = ("succession", "repetition", "flipped")


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """The run that all others continue, and the position of the checkpoint that they continue."""

    run: Path
    position: int = CHECKPOINT

    @property
    def checkpoint(self) -> Path:
        """The checkpoint's folder."""
        return self.run / "checkpoints" / str(self.position)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Attribution:
    """What the runs showed, and what was made of it: every window with effect, low, high, known, consumed."""

    evidence: Evidence
    features: Features
    effects: Effects
    windows: pd.DataFrame


def base_mix(folder: Path) -> Mix:
    """Return the mix that all runs share, but for the windows they play."""
    phases = (Phase(weights=WEIGHTS, until=Decimal(1)),)
    return Mix(name="random", streams=make_streams(folder / "data"), phases=phases, samples=SAMPLES)


def probes(folder: Path) -> tuple[ProbeSpecification, ...]:
    """Return the testbed's probes, from the files beside the streams."""
    files = {name: folder / "data" / f"{name}.jsonl" for name in _FAMILIES}
    return tuple(
        ProbeSpecification(name=name, family=name, floor=0.2, file=file, control=file.with_suffix(".control.jsonl"))
        for name, file in files.items()
    )


def halves(mix: Mix) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the windows that runs are attributed on, and those held out: stream, start, stop."""
    every = window_table(mix.plan(sizes_of(mix)))[["stream", "start", "stop"]]
    held_out = held_out_windows(every, 0.5)
    both = every.merge(held_out, how="left", indicator=True)
    return every[(both["_merge"] == "left_only").to_numpy()], held_out


def base_run(folder: Path, *, seed: int = 0, position: int = CHECKPOINT) -> Base:
    """Train the run that is continued, on the primer; `position` is one of `CHECKPOINTS`."""
    make_streams(folder / "data")
    stream = {"primer": Stream(local=str(folder / "data" / "primer"))}
    mix = Mix(name="base", streams=stream, phases=(Phase(weights={"primer": Decimal(1)}, until=Decimal(1)),), samples=BASE)
    request = RunRequest(label="base", mix=mix, seed=seed, samples=BASE, recipe=_RECIPE, probes=probes(folder))
    return Base(run=perform(request, folder / "runs", keep=len(CHECKPOINTS)).folder, position=position)


def trunk_of(base: Base, folder: Path) -> Trunk:
    """Return what the arms grow from: the base run's intermediate checkpoint, under the mix of the two streams."""
    return replace(Trunk.of_run(base.run, position=base.position), mix=base_mix(folder))


def attributed_runs(base: Base, folder: Path, count: int, growing: Growing) -> list[Path]:
    """Continue the base run on the first half of the windows, `count` times in other orders: what is attributed."""
    recipe = replace(_RECIPE, start=base.checkpoint)
    requests = [_request(folder, seed, recipe) for seed in range(count)]
    alone = replace(growing, population=1)  # so few runs are sooner done side by side than as one computation
    return [result.folder for result in trained(requests, alone, folder / "runs")]


def _request(folder: Path, seed: int, recipe: Recipe) -> RunRequest:
    mix = base_mix(folder)
    file = folder / "windows" / f"attributed-s{seed}.parquet"
    write_table(in_keyed_order(halves(mix)[0], seed, "attributed"), file)
    chosen = selected_mix(mix, file, name="attributed")
    return RunRequest(label="attributed", mix=chosen, seed=seed, samples=SAMPLES, recipe=recipe, probes=probes(folder))


def attribute_runs(runs: Sequence[Path], folder: Path, *, content: bool = True) -> Attribution:
    """Return the effects of all windows, also of those held out, which no run has consumed."""
    evidence = gather(runs, held_out=halves(base_mix(folder))[1])
    kinds = content_features if content else _nothing
    features = kinds(evidence.windows, evidence.streams, evidence.sizes)
    effects = estimate(evidence.design(features.values), streams=len(evidence.streams))
    windows = pd.concat([evidence.windows, effects.windows], axis=1)
    return Attribution(evidence=evidence, features=features, effects=effects, windows=windows)


def _nothing(windows: pd.DataFrame, *_: object) -> Features:
    return no_features(len(windows))


def grown_arms(
    base: Base, windows: pd.DataFrame, seeds: Sequence[int], growing: Growing, folder: Path, *, tail: float = 0.0
) -> dict[str, list[RunResult]]:
    """Continue the base run on the windows of each arm; the last `tail` of it is the same for all."""
    trunk = trunk_of(base, folder)
    lists = select_windows(windows, share=SHARE, pool="held-out")
    held_out = in_pool(windows, "held-out")
    requests = []
    for arm in ARMS:
        for seed in seeds:
            pool = held_out if arm == "random" else lists[arm]
            played = _played(pool, held_out, seed, arm, tail)
            requests.append(branch_request(trunk, f"{arm}-tail" if tail else arm, played, seed, growing, folder))
    results = iter(trained(requests, growing, folder / "runs"))
    return {arm: [next(results) for _ in seeds] for arm in ARMS}


def _played(pool: pd.DataFrame, everyone: pd.DataFrame, seed: int, arm: str, tail: float) -> pd.DataFrame:
    """Return an arm's windows in play order: its own ones, then those of the common tail."""
    counts = {name: int(LENGTH * weight / sum(WEIGHTS.values())) // WINDOW for name, weight in WEIGHTS.items()}
    parts = []
    for name, count in counts.items():
        own = round((1 - tail) * count)
        common = in_keyed_order(everyone[everyone["stream"] == name], seed, "tail").head(count - own)
        chosen = in_keyed_order(pool[pool["stream"] == name], seed, arm)
        spare = chosen.merge(common, how="left", indicator=True).query("_merge == 'left_only'").drop(columns="_merge")
        parts += [spare.head(own), common]
    return pd.concat(parts, ignore_index=True)
