"""Live searches, several times over: the default sampler against random search and a published peer, at equal proxy tokens.

    python benchmarks/live_studies.py [--study FILE] [--replicates 3] [--exposures fixed free] [--most 200]
                                      [--workers 1] [--runs runs/live] [--results benchmarks/live_studies.csv]
    python benchmarks/live_table.py benchmarks/live_studies.csv > benchmarks/live_studies.md

A replicate is a seed of its own: other runs, other probe items, other proposals. Every method of a replicate gets the same
static reference, the same hand-made curricula first, the same number of trials and of repeats, and names its winner by the
same rule (posterior mean and repeats together). That winner is then trained on ten seeds, and read with items, that no
search saw, the same for all methods of the replicate and for static; so differences are paired by seed. Random search is
looked at after 50 trials and goes on to 200 (`--most 50` leaves that out). Whether constraints are kept is judged by the mean
over those ten seeds, static's limits being taken from its own ten. Nothing is lost by stopping: the same command goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from curriculum.mix import Mix
from curriculum.probe.specification import PROOF_DRAW
from curriculum.search.coordinator import Coordinator, Means
from curriculum.search.objective import search_value
from curriculum.search.study import Study
from curriculum.search.study_file import load_study
from curriculum.units import keyed_seed

SEEDS = 10
METHODS = {  # by exposure; in the order in which they are run
    "fixed": (("tpe-then-gp", (50,)), ("regmix-d", (50,)), ("random", (50, 200))),
    "free": (("tpe-then-gp", (50,)), ("regmix-d", (50,)), ("random", (50, 200))),  # peers of static mixes: see replay.py
}
MEASURES = ("time_general", "area", "final_margin")


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One search of one replicate, looked at after each of `budgets` trials."""

    study: str
    exposure: str
    replicate: int
    method: str
    budgets: tuple[int, ...]

    @property
    def name(self) -> str:
        """The study's name, and its folder's."""
        return f"{self.study}-{self.exposure}-{self.replicate}-{self.method}"

    def of(self, study: Study) -> Study:
        """Return the study that is searched."""
        search = replace(study.search, sampler=self.method)  # type: ignore[arg-type]
        seed = keyed_seed("live", self.study, self.replicate) % 10**6
        return replace(study, name=self.name, exposure=self.exposure, seed=seed, search=search)  # type: ignore[arg-type]


def jobs(study: str, replicates: int, exposures: Sequence[str], most: int = 200) -> Iterator[Job]:
    """Yield all searches, replicate by replicate, so that whatever is done is comparable; none of more than `most` trials."""
    for replicate in range(replicates):
        for exposure in exposures:
            for method, budgets in METHODS[exposure]:
                looks = tuple(budget for budget in budgets if budget <= most)
                yield Job(study=study, exposure=exposure, replicate=replicate, method=method, budgets=looks)


def train(study: Study, found: Sequence[Job], runs: Path, results: Path, workers: int) -> None:
    """Do what is not yet done; every look at a search appends its rows to `results`."""
    for job in found:
        for budget in job.budgets:
            done = pd.read_csv(results) if results.exists() else pd.DataFrame(columns=["study", "budget"])
            if ((done.study == job.name) & (done.budget == budget)).any():
                continue
            share_runs(runs, job)
            rows = look(job, job.of(study), budget, runs, workers)
            pd.concat([done, rows]).to_csv(results, index=False) if len(done) else rows.to_csv(results, index=False)
            print(f"{job.name} at {budget}: done", file=sys.stderr, flush=True)


def share_runs(runs: Path, job: Job) -> None:
    """Link runs of the same replicate's other searches (static, hand-made, evaluated ones), which are this one's to the bit."""
    home = runs / job.name
    home.mkdir(parents=True, exist_ok=True)
    for run in runs.glob(f"{job.study}-*-{job.replicate}-*/*/run.json"):
        target = home / run.parent.name
        if not target.exists():
            target.symlink_to(run.parent.resolve())


def look(job: Job, study: Study, budget: int, runs: Path, workers: int) -> pd.DataFrame:
    """Search, and train the winner and static on fresh seeds; return a row a seed and mix."""
    with Coordinator(study, Means(runs=runs, out=runs, workers=workers)) as search:
        winner = search.nominate(budget)[0]
        assert winner.request is not None
        mixes = {"winner": winner.request.mix, "static": search.runner.static}
        rows = [row for name, mix in mixes.items() for row in evaluated(search, name, mix)]
    frame = pd.DataFrame(rows)
    about = {
        "study": job.name,
        "base": job.study,
        "exposure": job.exposure,
        "replicate": job.replicate,
        "method": job.method,
        "budget": budget,
        "trial": winner.proposal.name,
    }
    return pd.concat([pd.DataFrame([about] * len(frame)), frame], axis=1)


def evaluated(search: Coordinator, name: str, mix: Mix) -> Iterator[dict[str, object]]:
    """Yield the measures of a mix on each of the fresh seeds."""
    runner, label = search.runner, "static" if name == "static" else "evaluate"
    seeds = [runner.seed("proof", index) for index in range(SEEDS)]
    scores = runner.scores([runner.request(f"proof-{label}", mix, seed, PROOF_DRAW) for seed in seeds])
    for index, score in enumerate(scores):
        yield {
            "arm": name,
            "seed": index,
            "value": search_value(runner.study, score),
            **{measure: score.metric(measure) for measure in MEASURES},
            **{f"loss_{stream}": loss for stream, loss in score.loss.items()},
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path)
    parser.add_argument("--exposures", nargs="+", default=["fixed", "free"])
    parser.add_argument("--replicates", type=int, default=3)
    parser.add_argument("--most", type=int, default=200, help="trials of the longest search; 50 leaves out random search's 200")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs/live"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/live_studies.csv"))
    options = parser.parse_args()
    study = load_study() if options.study is None else load_study(options.study)
    found = list(jobs(study.name, options.replicates, options.exposures, options.most))
    train(study, found, options.runs, options.results, options.workers)


if __name__ == "__main__":
    main()
