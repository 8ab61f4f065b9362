"""`curriculum attribute`: which windows of data moved a run's margins which way; window lists that hold a mode."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rich.console import Console

from curriculum.errors import DataError, UserError

if TYPE_CHECKING:
    from curriculum.attribution.branches import Growing, Trunk
    from curriculum.attribution.effects import Effects
    from curriculum.attribution.effects_data import Evidence
    from curriculum.attribution.effects_features import Features
    from curriculum.search.executor import Outcome

_LISTED = 20  # windows of either sign in the JSON document
_BRANCH_READINGS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The options of `attribute`, as the command line names them (see `curriculum attribute --help`)."""

    probes: tuple[str, ...] = ()
    features: tuple[str, ...] = ("content",)
    hold_out: float = 0.0
    out: Path = Path("attribution")
    picture: Path | None = None
    select: Path | None = None
    share: float = 0.25
    pool: str = "all"
    seed: int = 0
    branches: int = 0
    groups: int = 2
    checkpoint: int | None = None
    length: int | None = None
    workers: int | None = None


def attribute(places: Sequence[Path], settings: Settings, *, as_json: bool = False) -> int:
    """Attribute margin changes to windows, select and branch as asked; print tables or JSON; returns the exit code.

    `places`: run folders, or folders above them. Raises UserError, DataError, ResourceError, RunError.
    """
    from curriculum.attribution.effects_data import find_runs

    _check(settings)
    progress = Console(stderr=True)
    runs = find_runs(places)
    grown = _grown(runs, settings, progress) if settings.branches else None
    evidence = _evidence(runs, settings, progress)
    features = _features(evidence, settings.features, progress)
    effects, windows = _effects(evidence, features)
    document = _document(evidence, features, effects, windows) | _written(evidence, effects, windows, settings)
    if settings.select is not None:
        document["selection"] = _selected(evidence, windows, settings)
    if grown is not None:
        document["branches"] = _branches(*grown, windows, settings)
    if as_json:
        print(json.dumps(document, indent=1))
    else:
        from curriculum.report.effects_chart import print_effects

        print_effects(document, Console())
    return 0


def _check(settings: Settings) -> None:
    if settings.picture is not None:
        from curriculum.report.scan_chart import check_picture

        check_picture(settings.picture)
    if settings.pool == "held-out" and not settings.hold_out:
        raise UserError("--from held-out needs --hold-out SHARE, the share of windows that must not inform the effects")
    if "none" in settings.features and len(settings.features) > 1:
        raise UserError("--features none leaves out all features; give it alone, or leave it out")


def _evidence(runs: Sequence[Path], settings: Settings, progress: Console) -> Evidence:
    from curriculum.attribution.effects_data import gather, held_out_windows

    _say(progress, f"reading {len(runs)} runs")
    evidence = gather(runs, probes=settings.probes)
    if not settings.hold_out:
        return evidence
    held_out = held_out_windows(evidence.windows, settings.hold_out, seed=settings.seed)
    return gather(runs, probes=settings.probes, held_out=held_out)


def _features(evidence: Evidence, kinds: Sequence[str], progress: Console) -> Features:
    from curriculum.attribution.effects_features import content_features, no_features, table_features

    found = no_features(len(evidence.windows))
    for kind in kinds:
        if kind == "content":
            _say(progress, f"reading what {len(evidence.windows)} windows hold")
            found = found.beside(content_features(evidence.windows, evidence.streams, evidence.sizes))
        elif kind != "none":
            found = found.beside(table_features(evidence.windows, Path(kind)))
    return found


def _effects(evidence: Evidence, features: Features) -> tuple[Effects, pd.DataFrame]:
    from curriculum.attribution.effects import estimate

    effects = estimate(evidence.design(features.values), streams=len(evidence.streams))
    return effects, pd.concat([evidence.windows, effects.windows], axis=1)


def _document(evidence: Evidence, features: Features, effects: Effects, windows: pd.DataFrame) -> dict[str, Any]:
    from curriculum.report.effects_chart import as_rows

    names = list(evidence.streams)
    counts = windows.groupby("stream").agg(windows=("start", "size"), consumed=("consumed", "sum")).loc[names]
    streams = pd.concat([counts.reset_index(), effects.streams], axis=1)
    ranked = windows.sort_values("effect")
    return {
        "run_folders": [str(run) for run in evidence.runs],
        "runs": effects.runs,
        "readings": effects.readings,
        "dropped": evidence.dropped,
        "confidence": effects.confidence,
        "features": list(features.names),
        "windows": len(windows),
        "consumed": int((windows["consumed"] > 0).sum()),
        "held_out": int(windows["held_out"].sum()),
        "identified": round(effects.identified, 3),
        "skill": round(effects.skill, 6),
        "returning": round(effects.returning, 6),
        "noise": round(effects.noise, 6),
        "penalties": {"shared": effects.shared, "own": effects.own},
        "streams": as_rows(streams),
        "top": as_rows(ranked.iloc[::-1].head(_LISTED)),
        "bottom": as_rows(ranked.head(_LISTED)),
    }


def _written(evidence: Evidence, effects: Effects, windows: pd.DataFrame, settings: Settings) -> dict[str, str]:
    """Write the table of effects, the scores and the picture; return where."""
    from curriculum.attribution.selection import score_table, write_table

    table, scores = settings.out / "effects.parquet", settings.out / "scores.parquet"
    write_table(windows, table)
    by_stream = dict(zip(evidence.streams, effects.streams["effect"], strict=True))
    write_table(score_table(windows, evidence.sizes, by_stream), scores)
    found = {"table": str(table), "scores": str(scores)}
    if settings.picture is not None:
        from curriculum.report.effects_chart import draw_effects

        draw_effects(windows, settings.picture)
        found["picture"] = str(settings.picture)
    return found


def _selected(evidence: Evidence, windows: pd.DataFrame, settings: Settings) -> list[str]:
    from curriculum.attribution.consumption import plan_of_run
    from curriculum.attribution.selection import POOLS, select_windows, write_selection

    pool = next(known for known in POOLS if known == settings.pool)
    lists = select_windows(windows, share=settings.share, pool=pool, seed=settings.seed)
    base = plan_of_run(evidence.runs[0]).segments[-1].mix
    folder = settings.select or settings.out
    return [str(path) for path in write_selection(base, lists, folder, samples=settings.length)]


def _branches(trunk: Trunk, growing: Growing, windows: pd.DataFrame, settings: Settings) -> dict[str, Any]:
    from curriculum.attribution.branches import agreement, branch, compare, groups_by_effect, margins_of
    from curriculum.attribution.selection import in_pool
    from curriculum.search.statistics import mean_interval

    pool = in_pool(windows, settings.pool)  # type: ignore[arg-type]  # the command line offers the pools alone
    sets = groups_by_effect(pool, settings.groups)
    found = branch(trunk, sets, range(settings.branches), growing, settings.out / "branches")
    names, predicted = list(sets), {name: float(own["effect"].mean()) for name, own in sets.items()}
    finals = {name: [float(margins_of(result).iloc[-1]) for result in found[name]] for name in names}
    rank = agreement(predicted, found) if settings.groups > 3 else None
    return {
        "checkpoint": str(trunk.checkpoint),
        "samples": growing.samples,
        "seeds": settings.branches,
        "groups": settings.groups,
        "difference": compare(found, names[-1], names[0]).as_json(),
        "sets": [
            {"name": name, "predicted": round(predicted[name], 6), "margin": mean_interval(finals[name]).as_json()}
            for name in names
        ],
        "rank_correlation": None if rank is None else {name: _finite(value) for name, value in asdict(rank).items()},
    }


def _grown(runs: Sequence[Path], settings: Settings, progress: Console) -> tuple[Trunk, Growing]:
    """Return what branches grow from and how, once it is sure that they can: minutes before the first of them is trained."""
    from curriculum.attribution.branches import check_growing
    from curriculum.probe.specification import PROOF_DRAW

    trunk = _trunk(runs, settings)
    growing = _growing(settings, trunk, progress)
    check_growing(trunk, growing)
    if trunk.draw == PROOF_DRAW:
        _say(progress, "a probe's file has items for two draws only: branches are asked those of a proof of the same study")
    return trunk, growing


def _trunk(runs: Sequence[Path], settings: Settings) -> Trunk:
    from curriculum.attribution.branches import Trunk

    kept = [run for run in runs if any((run / "checkpoints").glob("[0-9]*"))]
    if not kept:
        raise DataError(
            "none of the runs kept a checkpoint to branch from; make one again with `curriculum run --checkpoints 4`"
        )
    return Trunk.of_run(kept[0], position=settings.checkpoint)


def _growing(settings: Settings, trunk: Trunk, progress: Console) -> Growing:
    """Return how branches are trained: by default a quarter of the run they grow from."""
    import os

    from curriculum.attribution.branches import Growing

    total, done = settings.branches * settings.groups, 0

    def observe(outcome: Outcome) -> None:
        nonlocal done
        done += 1
        _say(progress, f"branches: {done}/{total} done")

    unit = trunk.recipe.batch * _BRANCH_READINGS
    if settings.length is not None and settings.length % unit:
        nearest = max(1, round(settings.length / unit)) * unit
        raise UserError(
            f"--length: wanted a multiple of {unit} samples, so that branches have whole batches of {trunk.recipe.batch} "
            f"between their {_BRANCH_READINGS} readings, got {settings.length}; try {nearest}"
        )
    samples = settings.length or max(1, (trunk.mix.samples or 0) // 4 // unit) * unit
    workers = settings.workers or len(os.sched_getaffinity(0))
    return Growing(samples=samples, readings=_BRANCH_READINGS, workers=workers, observe=observe)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _say(progress: Console, words: str) -> None:
    progress.print(words, markup=False, highlight=False)
    sys.stderr.flush()
