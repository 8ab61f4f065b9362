"""How much work a search is, said beforehand: runs, tokens, time.

Idea: every run of a study has the same length, so the time is a product; the seconds of one run are measured by training
a tenth of one on all workers at once, since two runs side by side are slower than one alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from curriculum.errors import RunError
from curriculum.proxy.run import RunRequest
from curriculum.search.proof import has_other_schedule
from curriculum.search.study import HAND_MADE, Study
from curriculum.search.verdict import LEAST_PAIRS
from curriculum.search.workers import Workers
from curriculum.units import format_count, format_seconds

_SHORT = 10  # a timing run is a run's tenth


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """Runs of each stage; `tokens` and `seconds` are of all of them, but for the `more` at most where it is close."""

    search: int
    proof: int
    tail: int
    schedule: int
    more: int
    tokens: int | None = None
    seconds: float | None = None

    @property
    def runs(self) -> int:
        """All runs that are certain."""
        return self.search + self.proof + self.tail + self.schedule

    def words(self) -> str:
        """Return the announcement."""
        text = (
            f"{self.runs} runs: {self.search} of search (reference and repeats included), {self.proof} of proof, "
            f"{self.tail} with the common tail"
        )
        text += f", {self.schedule} under the full run's learning-rate schedule" if self.schedule else ""
        text += f" (up to {self.more} more where it is close)" if self.more else ""
        text += "" if self.tokens is None else f"; {format_count(self.tokens)} tokens"
        return text + ("" if self.seconds is None else f"; about {format_seconds(self.seconds)}")


def count_runs(study: Study, budget: int) -> Workload:
    """Return how many runs a search of `budget` trials makes, from the first reference to the last proof."""
    settings = study.search
    arms = 1 + settings.finalists + 2 + (len(HAND_MADE) if study.favour else 0)
    tail = study.objective.common_tail > 0
    more = max(0, settings.most_seeds - settings.finalist_seeds) if settings.finalist_seeds >= LEAST_PAIRS else 0
    return Workload(
        search=settings.reference_seeds + budget + settings.repeats * min(settings.candidates, budget),
        proof=arms * settings.finalist_seeds,
        tail=settings.finalist_seeds if tail else 0,
        schedule=2 * settings.finalist_seeds if has_other_schedule(study) else 0,
        more=more * (1 + settings.finalists + tail),
    )


def estimate(study: Study, budget: int, sample: RunRequest, workers: int, tokens_per_sample: int | None) -> Workload:
    """Return the workload with tokens and time; trains a tenth of a run on every worker. Raises RunError."""
    workload = count_runs(study, budget)
    tokens = None if tokens_per_sample is None else workload.runs * study.samples * tokens_per_sample
    if study.command is not None:
        return replace(workload, tokens=tokens)
    seconds = workload.runs * _seconds_of_a_run(sample, workers) / workers
    return replace(workload, tokens=tokens, seconds=seconds)


def _seconds_of_a_run(sample: RunRequest, workers: int) -> float:
    readings = max(1, sample.recipe.readings // _SHORT)
    steps = sample.recipe.steps(sample.samples) // sample.recipe.readings * readings
    recipe = replace(sample.recipe, readings=readings)
    short = replace(sample, recipe=recipe, samples=steps * recipe.batch, label="timing")
    with TemporaryDirectory() as folder:
        pool = Workers(runs=Path(folder), count=workers)
        try:
            pool.results([replace(short, seed=seed) for seed in range(workers)])  # imports and caches
            started = monotonic()
            outcomes = pool.results([replace(short, seed=workers + seed) for seed in range(workers)])
            elapsed = monotonic() - started
        finally:
            pool.kill()
    for outcome in outcomes:
        if outcome.failure is not None:
            raise RunError(f"the timing run failed: {outcome.failure}")
    return elapsed * sample.samples / short.samples
