"""The curricula of a ladder that come from elsewhere (a search's trials, mix files), and what all of them must have in common.

Idea: a name is a curriculum's for good, since rows, pictures and later calls go by it; so a name that the ladder gives
itself is refused, also where this call draws fewer. And all must have seen the same samples, which is said in a plan already.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from curriculum.errors import UserError
from curriculum.mix import Mix
from curriculum.search.controls import Shares, with_common_tail
from curriculum.search.study import HAND_MADE, Study
from curriculum.search.trials import TrialRecord, read_trials

STATIC = "static"
RANDOM, TRIAL = "random-", "trial-"
_OWN = re.compile(rf"({RANDOM}|{TRIAL})\d+")


def random_name(index: int) -> str:
    """Return the name of the `index`-th curriculum that is drawn."""
    return f"{RANDOM}{index + 1:02d}"


def best_trials(folder: Path, count: int) -> dict[str, Mix]:
    """Return the mixes that the best `count` trials of the search in `folder` played: those that keep the constraints first.

    Raises DataError where there is no such search, UserError where it has not tried so many.
    """
    if not count:
        return {}
    tried = [trial for trial in read_trials(folder).trials if trial.value is not None and trial.phases]
    if len(tried) < count:
        raise UserError(f"--trials: wanted the best {count} trials of the search in {folder}, which has tried {len(tried)}")
    best = sorted(tried, key=_standing)[:count]
    return {f"{TRIAL}{trial.number}": Mix.load(trial.run / "mix.yaml") for trial in best if trial.run is not None}


def _standing(trial: TrialRecord) -> tuple[bool, float]:
    return (not trial.feasible, -(trial.value or 0.0))


def named_mixes(paths: Sequence[Path]) -> dict[str, Mix]:
    """Return mixes by their names. Raises FileError, UserError for a name that another curriculum has or would have."""
    found: dict[str, Mix] = {}
    for path in paths:
        mix = Mix.load(path)
        if mix.name in found or mix.name in (STATIC, *HAND_MADE):
            raise UserError(
                f"--mix: {path} is named {mix.name!r}, as another curriculum of the ladder; give it a name of its own"
            )
        if _OWN.fullmatch(mix.name):
            raise UserError(
                f"--mix: {path} is named {mix.name!r}; random-N and trial-N are the ladder's names for what it draws and for "
                "what a search tried: give it a name of its own"
            )
        found[mix.name] = mix
    return found


def of_study(study: Study, name: str, mix: Mix) -> Mix:
    """Return a curriculum as one of the study: its phases and orders, the study's length and seed. Raises UserError."""
    if mix.streams.keys() != study.streams.keys():
        raise UserError(
            f"{name} mixes the streams {', '.join(mix.streams)}, the study {study.name!r} has {', '.join(study.streams)}; "
            "wanted a curriculum of the same streams"
        )
    if any(phase.until is None for phase in mix.phases):
        raise UserError(f"phases of {name!r} end after a number of tokens; wanted ends that are shares of the run")
    streams = {key: replace(stream, order=mix.streams[key].order) for key, stream in study.streams.items()}
    return replace(study.mix(name, mix.phases), streams=streams)


def with_tail(mix: Mix, shares: Shares, tail: Decimal | None) -> Mix:
    """Return a curriculum whose last share `tail` is at constant `shares`, what it was being played before that."""
    return mix if tail is None else replace(mix, phases=with_common_tail(mix.phases, shares, tail))


def check_exposure(curricula: Mapping[str, Mix], sizes: Mapping[str, int]) -> None:
    """Raise UserError naming the first curriculum that does not see the samples that static sees."""
    counted = {name: _counts(mix, sizes) for name, mix in curricula.items()}
    for name, counts in counted.items():
        if counts != counted[STATIC]:
            raise UserError(
                f"{name!r} plays {counts}, static {counted[STATIC]}; a ladder of a study with equal exposure compares orders "
                "of the same samples: leave that curriculum out, or make one whose shares over the whole run are the study's"
            )


def _counts(mix: Mix, sizes: Mapping[str, int]) -> dict[str, int]:
    plan = mix.plan(sizes)
    return plan.counts(0, plan.samples)


__all__ = [
    "RANDOM",
    "STATIC",
    "TRIAL",
    "best_trials",
    "check_exposure",
    "named_mixes",
    "of_study",
    "random_name",
    "with_tail",
]
