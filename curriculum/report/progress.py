"""How a search goes on, for a person: one status line that changes in a terminal, plain lines elsewhere.

    search: 23/50 done, 4 running, 1 failed, best .71 +- .04 (predicted .74), 12 min left

Idea: the line says what is known and nothing else: a number that nobody has told yet is left out. What is left is counted
in all runs that were announced, those of the proof included, at the pace of the runs made so far by the clock on the wall,
so that a slow sampler or a crowded machine shows. The price: in the first minute the estimate is rough.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from rich.console import Console
from rich.text import Text

from curriculum.search.executor import Outcome
from curriculum.units import format_seconds

_PLAIN_SECONDS = 15.0  # without a terminal, at most one line in this time (and two at each stage)


class SearchProgress:
    """Counts runs against the announced number and estimates what is left; a `search.observer.Observer`.

    `workers` train side by side; it may be set once it is known. `clock` returns seconds that only grow.
    """

    def __init__(self, console: Console, total_runs: int, workers: int = 1, *, clock: Callable[[], float] = monotonic) -> None:
        self._console, self._total, self.workers, self._clock = console, total_runs, workers, clock
        self._status = console.status("starting the workers") if console.is_terminal else None
        self._stage, self._stage_runs, self._stage_done = "", 0, 0
        self._failed = self._before = self._made = self._running = 0
        self._made_seconds = 0.0
        self._began: float | None = None
        self._best: float | None = None
        self._belief: tuple[float, float, float | None] | None = None
        self._printed = -_PLAIN_SECONDS

    def __enter__(self) -> SearchProgress:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def stage(self, name: str, runs: int) -> None:
        """A stage of `runs` runs begins."""
        self._before += self._stage_runs
        self._stage, self._stage_runs, self._stage_done = name, runs, 0
        self._show(now=True)

    def running(self, count: int) -> None:
        """So many runs are being trained now."""
        if count and self._began is None:
            self._began = self._clock()
        if count != self._running:
            self._running = count
            self._show()

    def finished(self, outcome: Outcome) -> None:
        """A run has ended."""
        self._stage_done += 1
        if outcome.failure is not None:
            self._failed += 1
            self.notice(f"run {outcome.request.run_id()} failed: {outcome.failure}")
        elif outcome.result is not None and not outcome.found:
            self._made += 1
            self._made_seconds += outcome.result.seconds
            if self._began is None:
                self._began = self._clock() - outcome.result.seconds
        self._show(now=self._stage_done == self._stage_runs)

    def trial(self, number: int, name: str, value: float | None) -> None:
        """A trial has been told its value."""
        if value is not None and (self._best is None or value > self._best):
            self._best = value

    def believed(self, best: float, deviation: float, predicted: float | None = None) -> None:
        """The surrogate's view: the best trial's expected value and its standard deviation, the best it expects to find."""
        self._belief = (best, deviation, predicted)
        self._show()

    def interrupted(self) -> None:
        """Ctrl-C: the runs that have begun are being finished."""
        self.notice("finishing the runs that have begun (Ctrl-C again stops at once)")

    def notice(self, text: str) -> None:
        """Something a person should know."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _show(self, *, now: bool = False) -> None:
        line = self.line()
        if self._status is not None:
            self._status.update(Text(line, no_wrap=True, overflow="ellipsis"))  # two lines would leave one behind
        elif now or self._clock() - self._printed >= _PLAIN_SECONDS:
            self._printed = self._clock()
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def line(self) -> str:
        """Return the status line."""
        parts = [f"{self._stage}: {self._stage_done}/{self._stage_runs} done"]
        if self._running:
            parts.append(f"{self._running} running")
        if self._failed:
            parts.append(f"{self._failed} failed")
        parts += self._best_words()
        left = self.seconds_left()
        if left is not None:
            parts.append(f"{format_seconds(left)} left")
        return ", ".join(parts)

    def _best_words(self) -> list[str]:
        """What is believed of the best trial says more than its one noisy value."""
        if self._belief is None:
            return [] if self._best is None else [f"best {_short(self._best, _decimals(self._best))}"]
        best, deviation, predicted = self._belief
        decimals = _decimals(best)
        words = f"best {_short(best, decimals)} +- {_short(deviation, decimals)}"
        return [words if predicted is None else f"{words} (predicted {_short(predicted, decimals)})"]

    def seconds_left(self) -> float | None:
        """Return the time until the verdict, all announced stages counted; None before a run was made."""
        if not self._made or self._began is None:
            return None
        here = self._stage_runs - self._stage_done  # a close comparison's further pairs were not announced
        left = max(here, self._total - self._before - self._stage_done, 0)
        if self._made < self.workers:  # the first ones end together: their own time says more than the clock's
            return left * self._made_seconds / self._made / self.workers
        return left * (self._clock() - self._began) / (self._made + self._running / 2)


def _decimals(best: float) -> int:
    """Return how many decimals tell trials apart: of small margins, and of nats and bits, thousandths do."""
    return 2 if 0.2 <= abs(best) <= 1 else 3


def _short(value: float, decimals: int) -> str:
    """Return a number without the zero before the point: .71, -.05, -4.155."""
    text = f"{value:.{decimals}f}"
    text = text.removeprefix("-") if float(text) == 0 else text
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text
