"""What stopping trials early saves and costs, on the trials of real searches.

    python benchmarks/pruning.py runs/live [--searches 500]

Reads the studies that `benchmarks/live_studies.py` leaves and trains nothing. First: how well the beginning of a trial
foretells the whole (Spearman over the trials of a random search, the mean of such searches). Then: searches of 50 trials drawn
from those of one random search (its hand-made ones first, as in any search), each trial stopped or not by a true prefix of
its own run, against the trials told by then. Such proposals are random, so what a sampler loses by stopped trials is not in
it. Last: guided searches trial by trial in their own order, as if each rule had been on; what the sampler would have proposed
instead is not known. Regret is the best value among the feasible trials minus the best among those of them that reached the
end, or the worst where none did; a search has lost its best where that was stopped. Searches without a feasible trial are
left out of both. Values and constraints are of single runs, as a search sees them.

How to read it: drawn searches share trials, so a table of few knows few best ones, and the testbed's best curricula lead
from the beginning, which flatters the harsher rules; a curriculum that overtakes late is what they would lose. What is saved
is a part of the search, itself half of a study's runs. Hence the default, none.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from setting import publish, table

from curriculum.proxy.run import load_run
from curriculum.search.pruning import WARM_UP, Elder, elders_of, limits, prefix_values
from curriculum.search.study import Study
from curriculum.search.study_file import load_study
from curriculum.search.trials import TrialRecord, read_trials
from curriculum.units import keyed_seed

TRIALS = 50
HAND_MADE = 4  # trials with which every search begins
SHARES = (0.25, 0.5, 0.75)
WHOLE = ("search value", "time_general", "area", "final_margin")
GUIDED, RANDOM = "tpe-then-gp", "random"


@dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    """A trial: its prefixes' values by position (see `prefix_values`), their areas from the run's start, and its measures."""

    samples: int
    prefix: Mapping[int, float]
    area: Mapping[int, float]
    whole: Mapping[str, float]
    is_feasible: bool


def load(study: Study, trial: TrialRecord) -> Played | None:
    """Return a trial that reached its end, None of one that has no whole run."""
    result = load_run(trial.run) if trial.run is not None and trial.value is not None else None
    if result is None or trial.value is None:
        return None
    weights = {probe.family: probe.weight for probe in study.probes}
    stops = [int(share * result.samples) for share in SHARES]
    return Played(
        samples=result.samples,
        prefix=prefix_values(study, result.trajectory, result.samples),
        area={stop: result.trajectory.measures(start=0, stop=stop, weights=weights).area for stop in stops},
        whole={name: trial.measures[name] for name in WHOLE[1:]} | {"search value": trial.value},
        is_feasible=trial.feasible is True,
    )


def searches_of(study: Study, runs: Path, exposure: str, method: str) -> Iterator[tuple[str, list[Played]]]:
    """Yield the name and the trials, in their order, of each search by `method` in the folder."""
    for folder in sorted(runs.glob(f"{study.name}-{exposure}-*-{method}")):
        if (folder / "study.db").exists():
            found = [load(replace(study, exposure=exposure), trial) for trial in read_trials(folder).trials]  # type: ignore[arg-type]
            yield folder.name, [trial for trial in found if trial is not None]


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a rule did to a search: shares of compute used and of trials stopped; regret and what was lost, None where no
    trial was feasible."""

    used: float
    stopped: float
    regret: float | None
    lost_best: bool | None
    lost_all: bool | None


def search(runs: Sequence[Played], rule: Rule, ahead: int) -> Outcome:
    """Return what a rule does to a search of these trials, in their order."""
    done: list[tuple[Played, int | None]] = []
    for number, run in enumerate(runs):
        done.append((run, rule(run, [done[elder] for elder in elders_of(number, ahead)])))
    used = float(np.mean([1.0 if stop is None else stop / run.samples for run, stop in done]))
    stopped = float(np.mean([stop is not None for _, stop in done]))
    feasible = [(run.whole["search value"], stop) for run, stop in done if run.is_feasible]
    if not feasible:
        return Outcome(used=used, stopped=stopped, regret=None, lost_best=None, lost_all=None)
    (best, stop_of_best), kept = max(feasible), [value for value, stop in feasible if stop is None]
    regret = best - max(kept, default=min(value for value, _ in feasible))
    return Outcome(used=used, stopped=stopped, regret=regret, lost_best=stop_of_best is not None, lost_all=not kept)


def foretelling(searches: Sequence[Sequence[Played]]) -> str:
    """Return the table of rank correlations, each the mean over searches."""
    rows = []
    for name, prefix in (("search value from the burn-in", "prefix"), ("area from the start", "area")):
        for share in SHARES:
            found = [correlations(trials, prefix, share) for trials in searches]
            rows.append([f"{name}, {share:.0%}", *(f"{value:+.2f}" for value in np.mean(found, axis=0))])
    return table(["prefix", *WHOLE], rows)


def correlations(trials: Sequence[Played], prefix: str, share: float) -> list[float]:
    """Return the rank correlation of a prefix with each measure of the whole run."""
    first = [getattr(trial, prefix)[int(share * trial.samples)] for trial in trials]
    return [float(spearmanr(first, [trial.whole[measure] for trial in trials]).statistic) for measure in WHOLE]


def costs(found: Sequence[Sequence[Played]], searches: int, ahead: int) -> str:
    """Return the table of what each rule saves and costs where `searches` searches are drawn from each of those found."""
    rows = []
    for name, rule in RULES.items():
        drawn, shares = [], []
        for which, trials in enumerate(found):
            spread = float(np.std([trial.whole["search value"] for trial in trials]))
            for number in range(searches):
                random = np.random.default_rng(keyed_seed("pruned search", which, number))
                later = HAND_MADE + random.permutation(len(trials) - HAND_MADE)[: TRIALS - HAND_MADE]
                drawn.append(search([*trials[:HAND_MADE], *(trials[index] for index in later)], rule, ahead))
                shares += [] if drawn[-1].regret is None else [drawn[-1].regret / spread]
        used, stopped = np.mean([(each.used, each.stopped) for each in drawn], axis=0)
        judged = [each for each in drawn if each.regret is not None]
        regret, best, everything = np.mean([(each.regret, each.lost_best, each.lost_all) for each in judged], axis=0)
        rows.append(
            [
                name,
                f"{used:.2f}",
                f"{stopped:.0%}",
                f"{regret:.4f}",
                f"{np.mean(shares):.3f}",
                f"{best:.1%}",
                f"{everything:.1%}",
            ]
        )
    header = [
        "rule",
        "compute",
        "trials stopped",
        "regret",
        "regret in sd of trials",
        "lost their best",
        "lost all feasible ones",
    ]
    return table(header, rows)


def guided(found: Sequence[tuple[str, Sequence[Played]]], ahead: int) -> str:
    """Return the table of what each rule would have stopped of searches as they were."""
    rows = []
    for name, trials in found:
        for label, rule in RULES.items():
            of = search(trials, rule, ahead)
            rows.append([name, label, f"{of.used:.2f}", f"{of.stopped:.0%}", "-" if of.regret is None else f"{of.regret:.4f}"])
    return table(["search", "rule", "compute", "trials stopped", "regret"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--searches", type=int, default=500)
    arguments = parser.parse_args()
    study = load_study()
    parts = [(__doc__ or "").split("\n\n", 2)[2].strip()]
    for exposure in ("fixed", "free"):
        found = [trials for _, trials in searches_of(study, arguments.runs, exposure, RANDOM)]
        if not found:
            continue
        every = [trial for trials in found for trial in trials]
        feasible = sum(trial.is_feasible for trial in every)
        parts += [
            f"## Exposure {exposure}: {len(every)} trials of random searches ({len(found)}), {feasible} of them feasible",
            "Rank correlation of a prefix's value with the whole run's measures:",
            foretelling(found),
            f"Searches of {TRIALS} trials, {arguments.searches:,} drawn from each; compute 1.00 is every trial to its end:",
            costs(found, arguments.searches, study.search.ahead),
            "Guided searches as they were:",
            guided(list(searches_of(study, arguments.runs, exposure, GUIDED)), study.search.ahead),
        ]
    publish(Path(__file__).with_suffix(".md"), "Stopping trials early", parts)


if __name__ == "__main__":
    main()
