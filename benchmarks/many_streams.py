"""64 streams: does searching over groups of them (topic x quality) beat searching over all of them, at equal tokens?

    python benchmarks/many_streams.py [--study search/many.yaml] [--replicates 3] [--exposures free] [--budget 50]
                                      [--workers 1] [--runs runs/many] [--results benchmarks/many_streams.csv]
    python benchmarks/live_table.py benchmarks/many_streams.csv --against ungrouped-random > benchmarks/many_streams.md

Three searches a replicate: the default sampler over groups, random search over groups, and random search over the ungrouped
streams. Everything else is benchmarks/live_studies.py's: the same static reference, hand-made curricula first, equal trials
and repeats, one rule that names the winner, and winner and static on ten seeds and probe items that no search saw. Random
over groups tells what the grouping alone is worth, the default sampler what is learnt on top. Nothing is lost by stopping:
the same command goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from live_studies import Job, train

from curriculum.search.study import Study
from curriculum.search.study_file import load_study
from curriculum.units import format_count, keyed_seed

METHODS = ("tpe-then-gp", "ungrouped-random", "random")
_UNGROUPED = "ungrouped-"


@dataclass(frozen=True, kw_only=True, slots=True)
class ManyJob(Job):
    """A search over groups, or over streams where the method's name begins with `ungrouped-`."""

    def of(self, study: Study) -> Study:
        """Return the study that is searched."""
        space = replace(study.space, groups=None) if self.method.startswith(_UNGROUPED) else study.space
        search = replace(study.search, sampler=self.method.removeprefix(_UNGROUPED))  # type: ignore[arg-type]
        seed = keyed_seed("live", self.study, self.replicate) % 10**6
        exposure = self.exposure
        return replace(study, name=self.name, exposure=exposure, seed=seed, search=search, space=space)  # type: ignore[arg-type]


def jobs(study: str, replicates: int, exposures: Sequence[str], budget: int) -> Iterator[ManyJob]:
    """Yield all searches, replicate by replicate, so that whatever is done is comparable."""
    for replicate in range(replicates):
        for exposure in exposures:
            for method in METHODS:
                yield ManyJob(study=study, exposure=exposure, replicate=replicate, method=method, budgets=(budget,))


def count_runs(study: Study, found: Sequence[ManyJob], seeds: int = 10) -> int:
    """Return how many runs the searches need, at most: reference and hand-made ones are shared within a replicate."""
    settings = study.search
    alone = sum(max(job.budgets) + settings.candidates * settings.repeats + seeds for job in found)
    once = len({(job.exposure, job.replicate) for job in found})
    shared = settings.reference_seeds + seeds + len(settings.enqueue)
    return alone - len(found) * len(settings.enqueue) + once * shared


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path("search/many.yaml"))
    parser.add_argument("--replicates", type=int, default=3)
    parser.add_argument("--exposures", nargs="+", choices=("free", "fixed"), default=["free"])
    parser.add_argument("--budget", type=int, default=50)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs/many"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/many_streams.csv"))
    options = parser.parse_args()
    study = load_study(options.study)
    found = list(jobs(study.name, options.replicates, options.exposures, options.budget))
    print(
        f"{len(found)} searches, at most {count_runs(study, found)} runs of {format_count(study.samples)} samples", flush=True
    )
    train(study, found, options.runs, options.results, options.workers)


if __name__ == "__main__":
    main()
