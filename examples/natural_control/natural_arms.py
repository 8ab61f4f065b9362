"""What is trained: runs to attribute, three arms, branches by groups of windows, and other ratios of domains.

Idea: everything continues one checkpoint, for one length, under one schedule of domains (but for the ratios), so that runs
of one seed differ in which windows they play and in nothing else. Lists and groups take as many windows of every domain.
Groups are made twice, by predicted effect and by the scan's score, so that neither is judged only on groups which the other
one chose.

Other ratios are the upper and the lower half of the domains by the scan's pull, at equal size: the same number of samples,
of fewer domains. Ratios by attribution there are none: in static runs the domains' shares never vary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
from natural_stage import Stage

from curriculum.attribution.branches import Growing, branch, branch_request, groups_by_effect, trained
from curriculum.attribution.effects import Effects, estimate
from curriculum.attribution.effects_data import gather
from curriculum.attribution.effects_features import Features, content_features
from curriculum.attribution.scan import scan
from curriculum.attribution.scan_streams import open_streams
from curriculum.attribution.selection import in_keyed_order, select_windows
from curriculum.mix import Mix, Phase, Stream
from curriculum.proxy.run import RunRequest, RunResult

ARMS = ("random", "shallow-only", "general-only")
KINDS = ("effect", "score")
RATIOS = (("upper", "random"), ("lower", "random"), ("upper", "general-only"))  # domains, windows
_KEYS = ["stream", "start", "stop"]
Runs = Mapping[str, Sequence[RunResult]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Attribution:
    """What was made of the first `runs` runs: `windows` with effect, low, high, known, consumed, held_out.

    `continued`: one of the content features by itself, how often a pair of tokens stood before in its sample (scaled).
    """

    runs: int
    effects: Effects
    windows: pd.DataFrame


def attributed_runs(stage: Stage, growing: Growing) -> list[Path]:
    """Return the folders of ordinary runs, each on other windows of the half that may be attributed."""
    requests = [stage.attributed_request(seed) for seed in range(stage.scale.runs)]
    return [result.folder for result in trained(requests, growing, stage.folder / "runs")]


def attribute_runs(stage: Stage, runs: Sequence[Path]) -> list[Attribution]:
    """Return the effects found from the first 1, 2, 4, ... of the runs, and from all of them."""
    counts = sorted({min(2**power, len(runs)) for power in range(len(runs).bit_length() + 1)})
    features: Features | None = None
    found = []
    for count in counts:
        evidence = gather(runs[:count], held_out=stage.held_out)
        features = features or content_features(evidence.windows, evidence.streams, evidence.sizes)
        effects = estimate(evidence.design(features.values), streams=len(evidence.streams))
        continued = features.values[:, features.names.index("continued")]
        windows = pd.concat([evidence.windows, effects.windows], axis=1).assign(continued=continued)
        found.append(Attribution(runs=count, effects=effects, windows=windows))
    return found


def scanned(stage: Stage) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return every window's score (stream, start, stop, score) and every domain's pull, by counting."""
    sources = open_streams({name: Stream(local=str(path)) for name, path in stage.streams.items()})
    result = scan([(source, stage.scale.window) for source in sources])
    tables = [
        pd.DataFrame({"stream": stream.name, "start": stream.starts, "stop": stream.stops, "score": scores})
        for stream, scores in zip(result.counts, result.scores, strict=True)
    ]
    return pd.concat(tables, ignore_index=True), {pull.name: pull.pull or 0.0 for pull in result.pulls}


def judged_windows(stage: Stage, found: Attribution, scores: pd.DataFrame) -> pd.DataFrame:
    """Return the held-out windows with effect and score, none of which an attributed run has consumed."""
    held_out = stage.held_out.merge(found.windows, on=_KEYS).merge(scores, on=_KEYS)
    assert (held_out["consumed"] == 0).all()
    return held_out


def grown_arms(stage: Stage, windows: pd.DataFrame, growing: Growing, *, tail: float = 0.0) -> dict[str, list[RunResult]]:
    """Return the arms' runs, by arm, one a seed; the last `tail` of them is the same for all."""
    lists = select_windows(windows, share=stage.scale.share)
    pools = {"random": windows, **{arm: lists[arm] for arm in ARMS[1:]}}
    requests = []
    for arm in ARMS:
        label = f"{arm}-tail" if tail else arm
        for seed in range(stage.scale.seeds):
            order = played(stage, pools[arm], windows, seed, arm, tail)
            requests.append(branch_request(stage.trunk, label, order, seed, growing, stage.folder))
    return _by_name(ARMS, requests, growing, stage)


def played(stage: Stage, pool: pd.DataFrame, everyone: pd.DataFrame, seed: int, arm: str, tail: float) -> pd.DataFrame:
    """Return an arm's windows in play order: its own ones, then those of the common tail."""
    count = stage.scale.length // len(stage.streams) // stage.scale.window
    own = round((1 - tail) * count)
    parts = []
    for name in stage.streams:
        common = in_keyed_order(everyone[everyone["stream"] == name], seed, "tail").head(count - own)
        chosen = in_keyed_order(pool[pool["stream"] == name], seed, arm)
        spare = chosen.merge(common, how="left", indicator=True).query("_merge == 'left_only'").drop(columns="_merge")
        parts += [spare.head(own), common]
    return pd.concat(parts, ignore_index=True)


def grown_ratios(
    stage: Stage, windows: pd.DataFrame, pulls: Mapping[str, float], growing: Growing
) -> dict[str, list[RunResult]]:
    """Return runs of half of the domains, by "<domains>, <windows>", one a seed."""
    pools = {"random": windows, "general-only": select_windows(windows, share=stage.scale.share)["general-only"]}
    requests = []
    for half, pool in RATIOS:
        mix = of_half(stage.mix, pulls, half)
        for seed in range(stage.scale.seeds):
            order = in_keyed_order(pools[pool], seed, pool)
            requests.append(branch_request(stage.trunk, f"{half}-{pool}", order, seed, growing, stage.folder, base=mix))
    return _by_name([f"{half}, {pool}" for half, pool in RATIOS], requests, growing, stage)


def of_half(mix: Mix, pulls: Mapping[str, float], half: str) -> Mix:
    """Return the mix with weight for the upper or the lower half of the domains by pull alone."""
    ranked = sorted(mix.streams, key=lambda name: -pulls[name])
    chosen = ranked[: len(ranked) // 2] if half == "upper" else ranked[-(len(ranked) // 2) :]
    weights = {name: Decimal(int(name in chosen)) for name in mix.streams}
    return replace(mix, phases=(Phase(weights=weights, until=Decimal(1)),))


def groups(stage: Stage, windows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return groups of held-out windows by effect (effect-1, the lowest, ...), and as many by score (score-1, ...)."""
    found: dict[str, pd.DataFrame] = {}
    for kind in KINDS:
        ranked = groups_by_effect(windows.assign(effect=windows[kind]), stage.scale.groups)
        found |= {name.replace("group", kind): own for name, own in ranked.items()}
    return found


def grown_branches(stage: Stage, sets: Mapping[str, pd.DataFrame], growing: Growing) -> dict[str, list[RunResult]]:
    """Return the runs on every group of windows, by group, one a seed."""
    return branch(stage.trunk, sets, range(stage.scale.branch_seeds), growing, stage.folder / "branches")


def foretold(windows: pd.DataFrame, sets: Mapping[str, pd.DataFrame], column: str = "effect") -> dict[str, float]:
    """Return the mean of a column over every set, domains counting alike."""
    keyed = windows[[*_KEYS, column]]
    means = {name: own[_KEYS].merge(keyed, on=_KEYS).groupby("stream")[column].mean() for name, own in sets.items()}
    return {name: float(np.mean(mean)) for name, mean in means.items()}


def _by_name(
    names: Sequence[str], requests: Sequence[RunRequest], growing: Growing, stage: Stage
) -> dict[str, list[RunResult]]:
    results = iter(trained(requests, growing, stage.folder / "runs"))
    return {name: [next(results) for _ in range(stage.scale.seeds)] for name in names}
