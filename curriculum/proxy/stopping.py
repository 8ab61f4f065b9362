"""Ending a run early where its beginning is hopeless.

Idea: the bounds are fixed when the run is asked for and are part of what decides it, so a run that is stopped is as
reproducible as a whole one. Who sets them, and why, is the search's affair (see `search.pruning`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from curriculum.probe import RunMeasures, Trajectory


@dataclass(frozen=True, kw_only=True, slots=True)
class StopRule:
    """A run ends at the reading at a limit's position, in samples, if the value of its prefix is below the limit's least.

    A prefix begins at `start` (the burn-in's end, in samples); its value is that of `metric`, probe families weighted by
    `weights`.
    """

    limits: tuple[tuple[int, float], ...]
    metric: str
    start: int
    weights: Mapping[str, float]

    def ends(self, trajectory: Trajectory, position: int) -> bool:
        """Say whether a run that has been read up to `position` ends there."""
        least = dict(self.limits).get(position)
        if least is None:
            return False
        measures = trajectory.measures(start=self.start, stop=position, weights=self.weights)
        return prefix_value(measures, self.metric) < least

    def as_json(self) -> dict[str, Any]:
        """Return the rule as it enters a run's identity."""
        return {
            "limits": [list(limit) for limit in self.limits],
            "metric": self.metric,
            "start": self.start,
            "weights": dict(self.weights),
        }


def prefix_value(measures: RunMeasures, metric: str) -> float:
    """Return what a search maximises, of a run or of its beginning.

    time_general ties most losers at the same value while the mean margin still separates them (76 % of pairs against
    65 %), so it is taken as the mean of both; any other metric as it is.
    """
    found = float(getattr(measures, metric))
    return (found + measures.area) / 2 if metric == "time_general" else found
