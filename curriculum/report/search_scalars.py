"""A search as TensorBoard scalars while it goes on: every run when it has ended, and the incumbent over trials.

Idea: an observer that stands between a search and whoever watches it. The coordinator alone writes, when it learns of an
end, so that workers, on this machine or on others, need neither the package nor the folder. A search tells all of its past
again when it goes on, so its own curves are begun afresh each time, while runs whose curves are there already are left
alone. The price: some tens of milliseconds of the coordinator a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from curriculum.callbacks.loggers import TensorBoardLogger
from curriculum.proxy.run import RunResult
from curriculum.report.run_scalars import write_scalars
from curriculum.search.executor import Outcome
from curriculum.search.objective import score_run, search_value
from curriculum.search.observer import Observer
from curriculum.search.study import Study


class SearchScalars:
    """An observer that writes event files under `folder` and tells `beside` all that it is told. Close it, or use `with`.

    `folder`/<study> holds, by trial: trial/value (what the sampler maximises), search/incumbent (the highest value so far,
    constraints not looked at); and by trials told search/expected_best, search/expected_best_deviation and
    search/predicted_best, the surrogate's view, for which constraints count. `folder`/<run> holds a run's curves as
    `write_scalars` writes them, with run/value and run/time_general unless it was stopped early. What cannot be written is
    said once, and the search goes on.
    """

    def __init__(self, study: Study, folder: Path, beside: Observer) -> None:
        self.folder, self._study, self._beside = folder, study, beside
        self._best, self._told = -math.inf, 0
        self._logger: TensorBoardLogger | None = None
        self._is_writing = True

    def __enter__(self) -> SearchScalars:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the event file of the search."""
        if self._logger is not None:
            self._guarded(self._logger.close)

    def stage(self, name: str, runs: int) -> None:
        """A stage of `runs` runs begins."""
        self._beside.stage(name, runs)

    def running(self, count: int) -> None:
        """So many runs are being trained now."""
        self._beside.running(count)

    def finished(self, outcome: Outcome) -> None:
        """A run has ended: write its curves."""
        self._beside.finished(outcome)
        result = outcome.result
        if result is not None:
            self._guarded(lambda: write_scalars(result, self.folder, _summary(self._study, result)))

    def trial(self, number: int, name: str, value: float | None) -> None:
        """A trial has its value: write it, and the incumbent."""
        self._beside.trial(number, name, value)
        self._told = number + 1
        if value is not None and math.isfinite(value):
            self._best = max(self._best, value)
            self._write({"trial/value": value, "search/incumbent": self._best}, number)

    def believed(self, best: float, deviation: float, predicted: float | None = None) -> None:
        """The surrogate's view: write it."""
        self._beside.believed(best, deviation, predicted)
        values = {"search/expected_best": best, "search/expected_best_deviation": deviation}
        self._write(values | ({} if predicted is None else {"search/predicted_best": predicted}), self._told)

    def interrupted(self) -> None:
        """Ctrl-C: the runs that have begun are being finished."""
        self._beside.interrupted()

    def notice(self, text: str) -> None:
        """Something a person should know."""
        self._beside.notice(text)

    def _write(self, values: Mapping[str, float], step: int) -> None:
        def write() -> None:
            if self._logger is None:  # not before: a search that is refused must not hide the curves of the one at work
                self._logger = TensorBoardLogger(self.folder / self._study.name, afresh=True)
            for name, value in values.items():
                self._logger.scalar(name, value, step)

        self._guarded(write)

    def _guarded(self, write: Callable[[], object]) -> None:
        if not self._is_writing:
            return
        try:
            write()
        except OSError as error:
            self._is_writing = False
            self._beside.notice(f"no more curves in {self.folder}: {error.strerror or error}; the search goes on without them")


def _summary(study: Study, result: RunResult) -> dict[str, float]:
    """Return what a run is judged by; nothing of one that was stopped early."""
    if result.stopped is not None:
        return {}
    score = score_run(study, result)
    found = {"value": search_value(study, score), "time_general": score.measures.time_general}
    return {name: value for name, value in found.items() if math.isfinite(value)}


__all__ = ["SearchScalars"]
