"""What stopping trials early saves and costs, on real runs.

    python benchmarks/pruning.py runs/replay [--searches 2000]

Reads run folders as `benchmarks/replay_runs.py` leaves them and trains nothing. First: how well the beginning of a run
foretells the whole (Spearman over runs). Then: searches of 50 trials drawn from the runs, each trial stopped or not by a true
prefix of its own run, against the trials told by then. The proposals are random, so what a sampler loses by stopped trials
is not in it. Regret is the best value among the feasible trials of the 50 minus the best among those of them that reached
the end; values and constraints are of single runs, as a search sees them.

How to read it: searches share runs, so a table of few runs knows few best ones, and the testbed's best curricula lead from
the beginning, which flatters the harsher rules; a curriculum that overtakes late is what they would lose. What is saved is
a part of the search, itself half of a study's runs, and a guided search, whose trials soon beat their elders, stops fewer.
Hence the default, none.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from setting import publish, table

from curriculum.proxy.run import load_run
from curriculum.search.objective import Reference, reference_of, score_run, search_value, violations
from curriculum.search.pruning import WARM_UP, Elder, elders_of, limits, prefix_values
from curriculum.search.study import Study
from curriculum.search.study_file import load_study
from curriculum.units import keyed_seed

TRIALS = 50
SHARES = (0.25, 0.5, 0.75)
WHOLE = ("search value", "time_general", "area", "final_margin")


@dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    """A run: its prefixes' values by position (see `prefix_values`), their areas from the run's start, and its measures."""

    exposure: str
    samples: int
    prefix: Mapping[int, float]
    area: Mapping[int, float]
    whole: Mapping[str, float]
    is_feasible: bool


def limits_of(study: Study, folders: Sequence[Path]) -> Reference:
    """Return the constraints that the table's static runs set."""
    results = [load_run(folder) for folder in folders if folder.name.startswith("fixed--1-")]
    return reference_of([score_run(study, result) for result in results if result is not None])


def load(study: Study, reference: Reference, folder: Path) -> Played | None:
    """Return a run of the table, None if the folder holds no whole one."""
    label = re.match(r"(fixed|free)-", folder.name)
    result = load_run(folder) if label else None
    if label is None or result is None:
        return None
    weights = {probe.family: probe.weight for probe in study.probes}
    score = score_run(study, result)
    whole = {name: score.metric(name) for name in WHOLE[1:]} | {"search value": search_value(study, score)}
    stops = [int(share * result.samples) for share in SHARES]
    return Played(
        exposure=label[1],
        samples=result.samples,
        prefix=prefix_values(study, result.trajectory, result.samples),
        area={stop: result.trajectory.measures(start=0, stop=stop, weights=weights).area for stop in stops},
        whole=whole,
        is_feasible=max([0.0, *violations(study, score, reference).values()]) <= 0,
    )


Rule = Callable[[Played, Sequence[tuple[Played, int | None]]], int | None]


def never(_: Played, __: Sequence[tuple[Played, int | None]]) -> int | None:
    """Let every trial through."""
    return None


def percentile(run: Played, elders: Sequence[tuple[Played, int | None]]) -> int | None:
    """Return where the project's own rule stops a run."""
    told = [
        Elder(
            prefix={position: value for position, value in elder.prefix.items() if stop is None or position <= stop},
            value=elder.whole["search value"],
            was_stopped=stop is not None,
        )
        for elder, stop in elders
    ]
    bounds = limits(told, list(run.prefix), run.samples)
    return next((bound.position for bound in bounds if run.prefix[bound.position] < bound.least), None)


def median(run: Played, elders: Sequence[tuple[Played, int | None]]) -> int | None:
    """Return where a run is below the median of the elders that reached the same position (Optuna's MedianPruner)."""
    for position in sorted(run.prefix):
        reached = [elder.prefix[position] for elder, stop in elders if stop is None or stop >= position]
        early = position < WARM_UP * run.samples or position >= run.samples
        if not early and len(reached) >= 5 and run.prefix[position] < np.median(reached):
            return position
    return None


def halving(run: Played, elders: Sequence[tuple[Played, int | None]]) -> int | None:
    """Return the rung (a quarter or a half of the run) where a run is not in the upper half of those that reached it."""
    for position in (run.samples // 4, run.samples // 2):
        reached = [elder.prefix[position] for elder, stop in elders if stop is None or stop >= position]
        if reached and run.prefix[position] < np.median(reached):
            return position
    return None


RULES: Mapping[str, Rule] = {"none": never, "percentile-75": percentile, "median": median, "successive halving": halving}


def search(runs: Sequence[Played], rule: Rule, ahead: int) -> tuple[float, float, float]:
    """Return the share of compute used, the share of trials stopped, and the regret."""
    done: list[tuple[Played, int | None]] = []
    for number, run in enumerate(runs):
        done.append((run, rule(run, [done[elder] for elder in elders_of(number, ahead)])))
    used = float(np.mean([1.0 if stop is None else stop / run.samples for run, stop in done]))
    stopped = float(np.mean([stop is not None for _, stop in done]))
    feasible = [(run.whole["search value"], stop) for run, stop in done if run.is_feasible]
    if not feasible:
        return used, stopped, 0.0
    floor = min(value for value, _ in feasible)  # what a search is left with that stopped all its feasible trials
    return (
        used,
        stopped,
        max(value for value, _ in feasible) - max([floor, *(value for value, stop in feasible if stop is None)]),
    )


def foretelling(runs: Sequence[Played]) -> str:
    """Return the table of rank correlations."""
    rows = []
    for name, prefix in (("search value from the burn-in", "prefix"), ("area from the start", "area")):
        for share in SHARES:
            first = [getattr(run, prefix)[int(share * run.samples)] for run in runs]
            found = [f"{spearmanr(first, [run.whole[measure] for run in runs]).statistic:+.2f}" for measure in WHOLE]
            rows.append([f"{name}, {share:.0%}", *found])
    return table(["prefix", *WHOLE], rows)


def costs(runs: Sequence[Played], searches: int, ahead: int) -> str:
    """Return the table of what each rule saves and costs."""
    spread = float(np.std([run.whole["search value"] for run in runs]))
    rows = []
    for name, rule in RULES.items():
        found = []
        for number in range(searches):
            order = np.random.default_rng(keyed_seed("pruned search", number)).permutation(len(runs))[:TRIALS]
            found.append(search([runs[index] for index in order], rule, ahead))
        used, stopped, regret = np.mean(found, axis=0)
        lost = np.mean([regret > 0 for _, _, regret in found])
        error = np.std([regret for *_, regret in found]) / np.sqrt(searches)
        rows.append(
            [name, f"{used:.2f}", f"{stopped:.0%}", f"{regret:.4f} +- {error:.4f}", f"{regret / spread:.3f}", f"{lost:.1%}"]
        )
    header = ["rule", "compute", "trials stopped", "regret", "regret in sd of trials", "searches that lost their best"]
    return table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--searches", type=int, default=2000)
    arguments = parser.parse_args()
    study = load_study()
    folders = sorted(arguments.runs.iterdir())
    reference = limits_of(study, folders)
    found = [load(study, reference, folder) for folder in folders]
    parts = [(__doc__ or "").split("\n\n", 2)[2].strip()]
    for exposure in ("fixed", "free"):
        runs = [run for run in found if run is not None and run.exposure == exposure]
        parts += [
            f"## Exposure {exposure}: {len(runs)} runs, {sum(run.is_feasible for run in runs)} of them feasible",
            "Rank correlation of a prefix's value with the whole run's measures:",
            foretelling(runs),
            f"{arguments.searches:,} searches of {min(TRIALS, len(runs))} trials; compute 1.00 is every trial to its end:",
            costs(runs, arguments.searches, study.search.ahead),
        ]
    publish(Path(__file__).with_suffix(".md"), "Stopping trials early", parts)


if __name__ == "__main__":
    main()
