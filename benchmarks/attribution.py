"""How far can window effects be trusted that were read off runs? Against branches, by number of runs; windows against ratios.

    python examples/control/run.py --out control-runs        (its runs are used; they are made if they are not there)
    python benchmarks/attribution.py --out control-runs

1. groups of windows that no run consumed, ordered by predicted effect, each trained from the same checkpoint (branches):
   rank correlation of the prediction with the margin at the branches' end, for predictions from 1, 2, 3 and 4 runs, with
   content features and with window identity alone (which cannot speak of windows that no run consumed)
2. choosing windows at the given ratio of streams, against choosing the ratio at random windows
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
from setting import publish, table

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "control"))

import arms as control
from shown import margins
from streams import WINDOW

from curriculum.attribution.branches import Growing, agreement, branch, branch_request, groups_by_effect, trained
from curriculum.attribution.selection import in_keyed_order, in_pool, select_windows
from curriculum.mix import Phase
from curriculum.proxy.run import RunResult
from curriculum.search.statistics import claim_interval, mean_interval

_COUNTS = (1, 2, 3, 4)
_BRANCH = 3_840  # samples
_RATIOS = {"2:1": (2, 1), "1:0": (1, 0), "0:1": (0, 1)}
_ARMS = (("2:1", "random"), ("2:1", "general-only"), ("1:0", "random"), ("0:1", "random"))  # web to books, windows


def predicted(runs: Sequence[Path], out: Path, *, content: bool = True) -> pd.DataFrame:
    """Return all windows with their effects, from these runs."""
    found = control.attribute_runs(runs, out, content=content)
    return found.windows.assign(skill=found.effects.skill, identified=found.effects.identified)


def foretold(windows: pd.DataFrame, sets: Mapping[str, pd.DataFrame]) -> dict[str, float]:
    """Return the mean effect of every set, a stream counting as much as a branch plays of it."""
    found = {}
    for name, own in sets.items():
        both = own[["stream", "start", "stop"]].merge(windows, on=["stream", "start", "stop"])
        means = both.groupby("stream")["effect"].mean()
        found[name] = float(np.average(means, weights=[float(control.WEIGHTS[str(stream)]) for stream in means.index]))
    return found


def agreements(base: control.Base, runs: Sequence[Path], out: Path, groups: int, seeds: int, workers: int) -> list[str]:
    """Compare predictions with branches."""
    every = predicted(runs, out)
    held_out = in_pool(every, "held-out")
    sets = groups_by_effect(held_out, groups)
    growing = Growing(samples=_BRANCH, readings=4, workers=workers)
    found = branch(control.trunk_of(base, out), sets, range(seeds), growing, out / "branches")
    rows = []
    for content in (True, False):
        for count in _COUNTS:
            windows = predicted(runs[:count], out, content=content)
            rank = agreement(foretold(windows, sets), found)
            what = "content, streams, windows" if content else "streams, windows"
            told = np.isfinite(rank.correlation)
            words = f"{rank.correlation:+.2f} [{rank.low:+.2f}, {rank.high:+.2f}]" if told else "all groups are foretold alike"
            cells = (words, f"{windows['skill'].iloc[0]:.2f}")
            rows.append((what, str(count), *cells, f"{windows['identified'].iloc[0]:.1f}"))
    skill = "skill in runs left out, beyond drift and return"
    header = ("effects by", "runs", "rank correlation with branches (95 %)", skill, "numbers determined")
    ends = [
        (name, f"{foretold(every, sets)[name]:+.3f}", str(mean_interval([float(row[-1]) for row in margins(found[name])])))
        for name in sets
    ]
    return [
        f"{groups} groups of {len(held_out)} windows that no run consumed, by predicted effect; each trained {seeds} times "
        f"for {_BRANCH:,} samples from one checkpoint, its windows in another order every time, probes with fresh items.",
        table(("group", "predicted, 4 runs", "margin at the branches' end"), ends),
        table(header, rows),
    ]


def ratios(base: control.Base, runs: Sequence[Path], out: Path, seeds: int, workers: int) -> list[str]:
    """Compare choosing windows with choosing ratios, every arm of one length."""
    windows = predicted(runs, out)
    chosen = select_windows(windows, share=control.SHARE, pool="held-out")
    pools = {"random": in_pool(windows, "held-out"), "general-only": chosen["general-only"]}
    growing = Growing(samples=_BRANCH, readings=4, workers=workers)
    trunk = control.trunk_of(base, out)
    requests, names = [], []
    for ratio, pool in _ARMS:
        weights = dict(zip(trunk.mix.streams, map(Decimal, _RATIOS[ratio]), strict=True))
        mix = replace(trunk.mix, phases=(Phase(weights=weights, until=Decimal(1)),))
        for seed in range(seeds):
            label = f"ratio-{ratio.replace(':', '-')}-{pool}"
            played = in_keyed_order(pools[pool], seed, pool)
            requests.append(branch_request(trunk, label, played, seed, growing, out / "branches", base=mix))
            names.append((ratio, pool))
    found: dict[tuple[str, str], list[RunResult]] = {}
    for name, result in zip(names, trained(requests, growing, out / "branches"), strict=True):
        found.setdefault(name, []).append(result)
    area = {name: margins(results).mean(axis=1) for name, results in found.items()}
    given = area[_ARMS[0]]
    rows = [
        (ratio, pool, str(mean_interval(values)), str(claim_interval(values - given)) if values is not given else "")
        for (ratio, pool), values in area.items()
    ]
    within = windows.groupby("stream")["effect"].var().mean()
    between = windows.groupby("stream")["effect"].mean().var()
    return [
        f"Mean margin over {_BRANCH:,} samples, {seeds} seeds an arm, windows of {WINDOW} samples that no run consumed. "
        f"Of the variance of predicted effects, {between / (between + within):.0%} lies between the streams.",
        table(("ratio web:books", "windows", "mean margin", "against random windows at the given ratio"), rows),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("control-runs"))
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=10, help="seeds of an arm of a ratio")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    growing = Growing(samples=control.LENGTH, readings=control.READINGS, workers=given.workers)
    base = control.base_run(given.out)
    runs = control.attributed_runs(base, given.out, control.RUNS, growing)
    parts = ["## Predictions against branches", *agreements(base, runs, given.out, given.groups, given.seeds, given.workers)]
    parts += ["## Windows against ratios", *ratios(base, runs, given.out, given.pairs, given.workers)]
    publish(Path(__file__).with_suffix(".md"), "Window effects: cheap predictions and causal branches", parts)


if __name__ == "__main__":
    main()
