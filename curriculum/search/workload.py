"""How much work a search is, said beforehand: runs, tokens, time.

Idea: every run of a study has the same length, so the time is a product; the seconds of one run are measured by training
a tenth of one on all workers at once, since two runs side by side are slower than one alone; likewise those of a member of a
population, which trials may not be. Trials keep no more workers at work than are proposed ahead; that a run beside fewer
others is somewhat faster, and that a last population leaves workers idle, is not reckoned with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from curriculum.errors import RunError
from curriculum.proxy.population_groups import in_populations
from curriculum.proxy.run import RunRequest
from curriculum.search.populations import Populations
from curriculum.search.proof import has_other_schedule
from curriculum.search.study import HAND_MADE, Study
from curriculum.search.verdict import LEAST_PAIRS
from curriculum.search.workers import Workers
from curriculum.units import format_count, format_seconds

_SHORT = 10  # a timing run is a run's tenth


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """Runs of each stage (`trials` are part of `search`); `tokens` and `seconds` are of all of them, but for the `more` at most
    where it is close, or a leader does not last.
    """

    trials: int
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

    @property
    def listed(self) -> int:
        """The runs that are known many at once, which is all but the trials."""
        return self.runs - self.trials

    def words(self) -> str:
        """Return the announcement."""
        text = (
            f"{self.runs} runs: {self.search} of search (reference and repeats included), {self.proof} of proof, "
            f"{self.tail} with the common tail"
        )
        text += f", {self.schedule} under the full run's learning-rate schedule" if self.schedule else ""
        text += f" (up to {self.more} more where it is close or a leader does not last)" if self.more else ""
        text += "" if self.tokens is None else f"; {format_count(self.tokens)} tokens"
        return text + ("" if self.seconds is None else f"; about {format_seconds(self.seconds)}")


def count_runs(study: Study, budget: int) -> Workload:
    """Return how many runs a search of `budget` trials makes, from the first reference to the last proof."""
    settings = study.search
    arms = 1 + settings.finalists + 2 + (len(HAND_MADE) if study.favour else 0)
    tail, schedule = study.objective.common_tail > 0, has_other_schedule(study)
    known = budget + (study.objective.pareto is None)  # the surrogate's optimum, never tried, is a candidate too
    pairs, finalists = settings.finalist_seeds, settings.finalists
    most = max(pairs, settings.most_seeds) if pairs >= LEAST_PAIRS else pairs
    asked = finalists if pairs >= LEAST_PAIRS else 1  # at most; with fewer pairs nobody wins, so that no other is asked
    more_of_all = (1 + finalists) * (most - pairs)
    more_asked = tail * (asked * most - pairs) + schedule * ((1 + asked) * most - 2 * pairs)
    return Workload(
        trials=budget,
        search=settings.reference_seeds + budget + settings.repeats * min(settings.candidates, known),
        proof=arms * settings.finalist_seeds,
        tail=settings.finalist_seeds if tail else 0,
        schedule=2 * settings.finalist_seeds if schedule else 0,
        more=more_of_all + more_asked,
    )


def estimate(
    study: Study,
    budget: int,
    sample: RunRequest,
    workers: int,
    tokens_per_sample: int | None,
    populations: Populations | None = None,
) -> Workload:
    """Return the workload with tokens and time; trains a tenth of a run, or of a population's, on every worker.

    Raises RunError.
    """
    workload = count_runs(study, budget)
    tokens = None if tokens_per_sample is None else workload.runs * study.samples * tokens_per_sample
    if study.command is not None:
        return replace(workload, tokens=tokens)
    populations = populations or Populations()
    apart = populations.trials != populations.size
    listed = _seconds_of_a_run(sample, workers, populations.size, populations.device)
    trials = _seconds_of_a_run(sample, workers, populations.trials, populations.device) if apart else listed
    seconds = workload.trials * trials / trials_at_once(study, workers, populations) + workload.listed * listed / workers
    return replace(workload, tokens=tokens, seconds=seconds)


def trials_at_once(study: Study, workers: int, populations: Populations) -> int:
    """Return how many of `workers` the trials keep at work: `ahead` are proposed at a time, perhaps as one population."""
    return min(workers, max(1, study.search.ahead // populations.trials))


def idle_words(study: Study, workers: int, populations: Populations) -> str:
    """Return what to say where trials leave workers idle; empty where they do not."""
    busy = trials_at_once(study, workers, populations)
    if busy == workers:
        return ""
    text = (
        f"of {workers} workers at most {busy} {'has a trial' if busy == 1 else 'have trials'} at once, since the study "
        f"proposes {study.search.ahead} ahead; the other stages use all of them"
    )
    if populations.trials > 1:
        return text
    return f"{text} (raise `search: {{ahead: {workers}}}` in a study not begun yet; proposals then know fewer results)"


def _seconds_of_a_run(sample: RunRequest, workers: int, population: int, device: str) -> float:
    """Return the seconds that a worker takes for a run, an equal share of its population's, while all are at work."""
    readings = max(1, sample.recipe.readings // _SHORT)
    steps = sample.recipe.steps(sample.samples) // sample.recipe.readings * readings
    recipe = replace(sample.recipe, readings=readings)
    short = replace(sample, recipe=recipe, samples=steps * recipe.batch, label="timing")
    count = workers * population
    with TemporaryDirectory() as folder:
        pool = Workers(runs=Path(folder), count=workers)
        try:
            pool.results(_alike(short, range(workers), 1, device))  # imports and caches
            started = monotonic()
            outcomes = pool.results(_alike(short, range(workers, workers + count), population, device))
            elapsed = monotonic() - started
        finally:
            pool.kill()
    for outcome in outcomes:
        if outcome.failure is not None:
            raise RunError(f"the timing run failed: {outcome.failure}")
    return elapsed / population * sample.samples / short.samples


def _alike(short: RunRequest, seeds: range, population: int, device: str) -> list[RunRequest]:
    return in_populations([replace(short, seed=seed) for seed in seeds], population, device)
