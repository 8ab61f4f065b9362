"""Does a search that starts from a scan need fewer trials? Live searches with and without `--scan`, at equal seeds.

    python benchmarks/scan_search.py train [--replicates 3] [--looks 5 10 15 20 25] [--seeds 5] [--workers 1]
    python benchmarks/scan_search.py table > benchmarks/scan_search.md

The study is search/default-unaided.yaml, which enqueues the static mix alone: no curriculum that a person made. Both methods
of a replicate get the same static reference, seeds and probe items; the one with a scan tries its three curricula first, and
they count as trials. After each of `--looks` trials the search names a winner: the tried curriculum of the highest
posterior mean among the likely feasible ones, which is the search's own rule without the repeats that it trains before
a proof (`candidates: 1, repeats: 0`; with repeats every look would cost ten runs). Whatever is named is then trained on
`--seeds` seeds, and read with items, that no search saw, the same for both methods and for static. A replicate is the unit of
all intervals. Nothing is lost by stopping: the same command goes on, and a longer one, too. With one replicate there are no
intervals, and it is an example; benchmarks/scan_replay.py asks the same of many replicates that train nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from live_studies import Job, share_runs
from live_table import Look, cell, differences, kept, looks_of, means
from setting import command, table

from curriculum.attribution.scan import scan
from curriculum.attribution.scan_scores import write_scores
from curriculum.attribution.scan_streams import open_streams
from curriculum.mix import Mix
from curriculum.plan.windows import default_window
from curriculum.probe.specification import PROOF_DRAW
from curriculum.proxy.run import RunRequest
from curriculum.search.coordinator import Coordinator, Means
from curriculum.search.objective import Score, search_value
from curriculum.search.runner import Runner
from curriculum.search.scan_start import with_scan
from curriculum.search.study import Study
from curriculum.search.study_file import load_study
from curriculum.units import keyed_seed

METHODS = ("unaided", "scan")
MEASURES = ("time_general", "area", "final_margin")
STUDY = Path("search/default-unaided.yaml")


def study_of(study: Study, job: Job, scores: Path) -> Study:
    """Return the study that a job searches."""
    search = replace(study.search, candidates=1, finalists=1, repeats=0)
    seed = keyed_seed("scan search", job.replicate) % 10**6
    named = replace(study, name=job.name, seed=seed, search=search)
    return with_scan(named, scores) if job.method == "scan" else named


def scanned(study: Study, path: Path) -> Path:
    """Return the score file of the study's streams, written unless it is there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        sources = open_streams(dict(study.streams))
        write_scores(path, scan([(source, default_window(source.index.samples)) for source in sources]))
    return path


def train(study: Study, found: Sequence[Job], runs: Path, results: Path, *, seeds: int, workers: int) -> None:
    """Do what is not yet done; every finished search puts its rows into `results`."""
    scores = scanned(study, runs / "scores.parquet")
    for job in found:
        done = pd.read_csv(results) if results.exists() else pd.DataFrame(columns=["study", "budget", "seed"])
        own = done[done.study == job.name]
        if {(budget, seeds - 1) for budget in job.budgets} <= set(zip(own.budget, own.seed, strict=True)):
            continue
        share_runs(runs, job)
        rows, others = looked(job, study_of(study, job, scores), runs, seeds, workers), done[done.study != job.name]
        (pd.concat([others, rows]) if len(others) else rows).to_csv(results, index=False, float_format="%.6g")
        print(f"{job.name}: done", file=sys.stderr, flush=True)


def looked(job: Job, study: Study, runs: Path, seeds: int, workers: int) -> pd.DataFrame:
    """Search, and return a row for every look, arm and fresh seed."""
    with Coordinator(study, Means(runs=runs, out=runs, workers=workers)) as search:
        search.nominate(max(job.budgets))
        named = {budget: search.nominate(budget)[0] for budget in job.budgets}  # of the trials that are there already
        mixes = {"static": search.runner.static}
        for trial in named.values():
            assert trial.request is not None
            mixes[trial.proposal.name] = trial.request.mix
        scores = evaluated(search.runner, mixes, seeds)
    rows = [
        {**about(job, budget), "trial": trial.proposal.name, "arm": arm, "seed": seed, **measured(study, score)}
        for budget, trial in named.items()
        for arm, mix in (("winner", trial.proposal.name), ("static", "static"))
        for seed, score in enumerate(scores[mix])
    ]
    return pd.DataFrame(rows)


def evaluated(runner: Runner, mixes: Mapping[str, Mix], seeds: int) -> dict[str, list[Score]]:
    """Return each mix's scores on the fresh seeds and items."""
    fresh = [runner.seed("proof", index) for index in range(seeds)]
    requests: dict[str, list[RunRequest]] = {}
    for name, mix in mixes.items():
        label = "static" if name == "static" else "evaluate"
        requests[name] = [runner.request(f"proof-{label}", mix, seed, PROOF_DRAW) for seed in fresh]
    found = iter(runner.scores([request for of in requests.values() for request in of]))
    return {name: [next(found) for _ in of] for name, of in requests.items()}


def about(job: Job, budget: int) -> dict[str, object]:
    """Return what a row is about."""
    return {
        "study": job.name,
        "base": job.study,
        "exposure": job.exposure,
        "replicate": job.replicate,
        "method": job.method,
        "budget": budget,
    }


def measured(study: Study, score: Score) -> dict[str, float]:
    """Return a score as columns."""
    losses = {f"loss_{stream}": loss for stream, loss in score.loss.items()}
    return {"value": search_value(study, score), **{name: score.metric(name) for name in MEASURES}, **losses}


def document(study: Study, rows: pd.DataFrame) -> str:
    """Return the tables: each method's named winners by number of trials, and their difference at equal numbers."""
    found = {(look.method, look.budget): look for look in looks_of(rows)}
    replicates, seeds = rows["replicate"].nunique(), rows["seed"].nunique()
    parts = [
        f"# Does a search that starts from a scan need fewer trials?\n\n`{command()}`; how: the program's docstring. "
        f"{replicates} replicate{'s' if replicates > 1 else ''}, {seeds} fresh seeds a named winner; means over replicates, "
        "with 95 % intervals where there are several. `value` is what the search maximises (mean of time general and area); a "
        "gain is over static on the same seeds.",
        table(
            ("trials", "value, unaided", "value, scan", "scan minus unaided, value", "time general", "final margin"),
            [compared(found, budget) for method, budget in found if method == "scan"],
        ),
        table(
            ("method", "trials", "gain over static, value", "time general", "keep the constraints", "named, by replicate"),
            [worth(study, look, rows) for look in found.values()],
        ),
        f"The first look that came within .02 of the best value that either method reached in its replicate: {reached(found)}.",
    ]
    return "\n\n".join(parts)


def compared(found: Mapping[tuple[str, int], Look], budget: int) -> list[str]:
    """Return a row: both methods after equally many trials."""
    unaided, started = found["unaided", budget], found["scan", budget]
    pairs = [differences(started.winners, unaided.winners, name) for name in ("value", "time_general", "final_margin")]
    both = [cell(means(look.winners, "value")) for look in (unaided, started)]
    return [str(budget), *both, *(cell(values, signed=True) for values in pairs)]


def worth(study: Study, look: Look, rows: pd.DataFrame) -> list[str]:
    """Return a row: what a method names after so many trials."""
    gains = [cell(differences(look.winners, look.statics, name), signed=True) for name in ("value", "time_general")]
    own = rows[(rows.method == look.method) & (rows.budget == look.budget)]
    names = own.groupby("replicate")["trial"].first()
    return [look.method, str(look.budget), *gains, kept(study, look), "; ".join(map(str, names))]


def reached(found: Mapping[tuple[str, int], Look], within: float = 0.02) -> str:
    """Return, method by method and replicate by replicate, after how many trials the value stood near the best of both."""
    best: dict[int, float] = {}
    for look in found.values():
        for replicate, value in zip(look.winners, means(look.winners, "value"), strict=True):
            best[replicate] = max(value, best.get(replicate, value))
    parts = []
    for method in METHODS:
        looks = [look for (name, _), look in found.items() if name == method]
        firsts = [
            next((str(look.budget) for look in looks if _value(look, replicate) >= top - within), "never")
            for replicate, top in best.items()
        ]
        parts.append(f"{method} {', '.join(firsts)}")
    return "; ".join(parts)


def _value(look: Look, replicate: int) -> float:
    return float(look.winners[replicate]["value"].mean()) if replicate in look.winners else float("-inf")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("train", "table"))
    parser.add_argument("--replicates", type=int, default=3)
    parser.add_argument("--looks", type=int, nargs="+", default=[5, 10, 15, 20, 25], help="after how many trials")
    parser.add_argument("--seeds", type=int, default=5, help="fresh ones, of what is named")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs/scan-search"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/scan_search.csv"))
    options = parser.parse_args()
    study = load_study(STUDY)
    if options.verb == "table":
        print(document(study, pd.read_csv(options.results)))
        return
    jobs = [
        Job(study=study.name, exposure=study.exposure, replicate=replicate, method=method, budgets=tuple(options.looks))
        for replicate in range(options.replicates)
        for method in METHODS
    ]
    train(study, jobs, options.runs, options.results, seeds=options.seeds, workers=options.workers)


if __name__ == "__main__":
    main()
