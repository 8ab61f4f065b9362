"""All of the experiment, one after another, and what it leaves.

Idea: every step asks for runs by what decides them, and a run that is there is not done again; so going on after an
interruption is doing all of it once more. Judged are windows that no attributed run has seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

import pandas as pd
from natural_arms import (
    Attribution,
    Runs,
    attribute_runs,
    attributed_runs,
    groups,
    grown_arms,
    grown_branches,
    grown_ratios,
    judged_windows,
    scanned,
)
from natural_stage import Stage

from curriculum.attribution.branches import POPULATION, Growing
from curriculum.search.executor import Outcome


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Results:
    """What the experiment leaves: attributions from more and more runs, held-out windows, and the runs by kind and name."""

    found: Sequence[Attribution]
    windows: pd.DataFrame
    pulls: Mapping[str, float]
    arms: Mapping[float, Runs]
    sets: Mapping[str, pd.DataFrame]
    branches: Runs
    ratios: Runs


def experiment(stage: Stage, workers: int) -> Results:
    """Do what is not done yet, and return all of it."""
    scale = stage.scale
    tell = Told(total=scale.runs + scale.seeds * 9 + 2 * scale.groups * scale.branch_seeds)
    alone = Growing(samples=scale.length, readings=scale.readings, workers=workers, population=1, observe=tell)
    growing = Growing(samples=scale.length, readings=scale.readings, workers=workers, population=POPULATION, observe=tell)
    few = Growing(samples=scale.length, readings=2, workers=workers, population=POPULATION, observe=tell)
    found = attribute_runs(stage, attributed_runs(stage, alone))
    scores, pulls = scanned(stage)
    windows = judged_windows(stage, found[-1], scores)
    arms = {tail: grown_arms(stage, windows, growing, tail=tail) for tail in (0.0, scale.tail)}
    sets = groups(stage, windows)
    branches = grown_branches(stage, sets, few)
    ratios = grown_ratios(stage, windows, pulls, growing)
    return Results(found=found, windows=windows, pulls=pulls, arms=arms, sets=sets, branches=branches, ratios=ratios)


class Told:
    """Says which run is done, and about how long the rest will take."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._trained, self._began = total, 0, 0, monotonic()

    def __call__(self, outcome: Outcome) -> None:
        """Say so."""
        self._done += 1
        self._trained += not outcome.found
        name, spent = f"{outcome.request.label} s{outcome.request.seed}", monotonic() - self._began
        minutes = (self._total - self._done) * spent / max(1, self._trained) / 60
        rest = f"; about {minutes:.0f} min left" if self._trained else ""  # what was there already says nothing of it
        print(f"{spent:6.0f} s  run {self._done} of {self._total}: {name}{rest}", flush=True)
