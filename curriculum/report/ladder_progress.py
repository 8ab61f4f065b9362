"""How a ladder goes on: the search's status line, with an estimate that knows that large proxies take longer.

Idea: what is left is counted run by run: one of a size that was trained already takes what those took on average, one of
another size what its work is worth at the pace of the size next to it. The price: until each size has been trained once,
which is what a ladder does first, the estimate leans on FLOPs, in which small proxies look quicker than they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic

from rich.console import Console

from curriculum.proxy.recipe import Recipe
from curriculum.report.progress import SearchProgress
from curriculum.search.executor import Outcome


class LadderProgress(SearchProgress):
    """Counts runs by size; a `search.observer.Observer`.

    `runs` is how many runs each recipe has, `work` the FLOPs of one.
    """

    def __init__(
        self,
        console: Console,
        runs: Mapping[Recipe, int],
        work: Mapping[Recipe, float],
        workers: int,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__(console, sum(runs.values()), workers, clock=clock)
        self._left, self._work = dict(runs), dict(work)
        self._took: dict[Recipe, list[float]] = {}

    def finished(self, outcome: Outcome) -> None:
        """A run has ended."""
        recipe = outcome.request.recipe
        self._left[recipe] -= 1
        if outcome.result is not None and not outcome.found:
            self._took.setdefault(recipe, []).append(outcome.result.seconds)
        super().finished(outcome)

    def seconds_left(self) -> float | None:
        """Return the time until the last run; None before a run was made."""
        if not self._took:
            return None
        return sum(count * self._expected(recipe) for recipe, count in self._left.items()) / self.workers

    def _expected(self, recipe: Recipe) -> float:
        """Return the seconds of one run."""
        own = self._took.get(recipe)
        if own is not None:
            return sum(own) / len(own)
        nearest = min(self._took, key=lambda known: abs(self._work[known] - self._work[recipe]))
        return self._expected(nearest) * self._work[recipe] / self._work[nearest]
