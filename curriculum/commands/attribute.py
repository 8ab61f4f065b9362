"""`curriculum attribute`: which windows of data moved a run's margins which way; window lists that hold a mode."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rich.console import Console

from curriculum.errors import DataError, UserError
from curriculum.report.stage_progress import counted

if TYPE_CHECKING:
    from curriculum.attribution.branches import Agreement, Growing, Trunk
    from curriculum.attribution.effects import Effects
    from curriculum.attribution.effects_data import Evidence
    from curriculum.attribution.effects_features import Features
    from curriculum.report.stage_progress import StageProgress
    from curriculum.search.executor import Outcome

_LISTED = 20  # windows of either sign in the JSON document
_BRANCH_READINGS = 4
_PREDICTED = (("", "effect"), ("_low", "low"), ("_high", "high"))  # a group's interval as wide as its windows' on average
_LEAST_GROUPS = 6  # whose resamples say how far a rank correlation can be trusted


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
    evidence, features, effects = _estimated(runs, settings, progress)
    windows = pd.concat([evidence.windows, effects.windows], axis=1)
    document = _document(evidence, features, effects, windows)
    document["warnings"] = _warnings(document, settings)
    document |= _written(evidence, effects, windows, settings)
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
    from curriculum.report.outputs import check_file, check_folder
    from curriculum.report.scan_chart import check_picture

    check_folder(settings.out, "--out")
    if settings.select is not None:
        check_folder(settings.select, "--select")
    if settings.picture is not None:
        check_picture(settings.picture)
        check_file(settings.picture, "--picture")
    if settings.pool == "held-out" and not settings.hold_out:
        raise UserError("--from held-out needs --hold-out SHARE, the share of windows that must not inform the effects")
    if "none" in settings.features and len(settings.features) > 1:
        raise UserError("--features none leaves out all features; give it alone, or leave it out")


def _estimated(runs: Sequence[Path], settings: Settings, console: Console) -> tuple[Evidence, Features, Effects]:
    """Return what the runs show, what their windows hold, and the effects; the long way of it with its progress."""
    from curriculum.attribution.effects import estimate
    from curriculum.report.stage_progress import Stage, shown_stages

    stages = {
        "runs": Stage(label="reading runs", unit="runs"),
        "windows": Stage(label="reading windows", unit="windows"),
        "fits": Stage(label="estimating effects", unit="fits"),
    }
    with shown_stages(console, stages) as show:
        _say(console, f"reading {counted(len(runs), 'run')}")
        evidence = _evidence(runs, settings, show)
        features = _features(evidence, settings.features, console, show)
        _say(console, f"estimating effects from {counted(len(evidence.stretches), 'change')}")
        design = evidence.design(features.values)
        streams = len(evidence.streams)
        effects = estimate(design, streams=streams, progress=lambda done, total: show("fits", done, total))
    return evidence, features, effects


def _evidence(runs: Sequence[Path], settings: Settings, show: StageProgress) -> Evidence:
    from curriculum.attribution.effects_data import gather, held_out_windows, without_windows

    evidence = gather(runs, probes=settings.probes, progress=lambda done, total: show("runs", done, total))
    if not settings.hold_out:
        return evidence
    return without_windows(evidence, held_out_windows(evidence.windows, settings.hold_out, seed=settings.seed))


def _features(evidence: Evidence, kinds: Sequence[str], console: Console, show: StageProgress) -> Features:
    from curriculum.attribution.effects_features import content_features, no_features, table_features

    def tell(done: int, total: int) -> None:
        show("windows", done, total)

    windows = evidence.windows
    found = no_features(len(windows))
    for kind in kinds:
        if kind == "content":
            _say(console, f"reading what {counted(len(windows), 'window')} hold{'s' if len(windows) == 1 else ''}")
            found = found.beside(content_features(windows, evidence.streams, evidence.sizes, progress=tell))
        elif kind != "none":
            found = found.beside(table_features(windows, Path(kind)))
    return found


def _document(evidence: Evidence, features: Features, effects: Effects, windows: pd.DataFrame) -> dict[str, Any]:
    from curriculum.report.effects_chart import as_rows

    names = list(evidence.streams)
    counts = windows.groupby("stream").agg(windows=("start", "size"), consumed=("consumed", "sum")).loc[names]
    streams = pd.concat([counts.reset_index(), effects.streams], axis=1)
    ranked = windows.sort_values("effect")
    return {
        "run_folders": [str(run) for run in evidence.runs],
        "runs": effects.runs,
        "runs_unused": [str(run) for run in evidence.unused],
        "readings": effects.readings,
        "readings_in_a_mode": int(evidence.stretches["in_mode"].sum()),
        "left_out": effects.left_out,
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


def _warnings(document: Mapping[str, Any], settings: Settings) -> list[str]:
    """Return what keeps the numbers from meaning what they seem to."""
    found = []
    if document["runs_unused"]:
        found.append(
            f"no change of {', '.join(document['runs_unused'])} was used: no probe was capable at two readings in a row, or "
            "held-out windows had a part in every change"
        )
    if not document["readings_in_a_mode"]:
        found.append(
            "at no reading that was used was a probe general or shallow: the effects are of margins too small to be a mode, "
            "and lists made by them need not hold one"
        )
    if settings.select is not None and document["skill"] <= 0:
        found.append("the effects predict nothing, so the lists that were written are no better than random ones")
    return found


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
    rank = _rank(agreement(predicted, found)) if settings.groups > 3 else None
    return {
        "checkpoint": str(trunk.checkpoint),
        "samples": growing.samples,
        "seeds": settings.branches,
        "groups": settings.groups,
        "difference": compare(found, names[-1], names[0]).as_json(),
        "sets": [
            {
                "name": name,
                **{f"predicted{end}": round(float(sets[name][column].mean()), 6) for end, column in _PREDICTED},
                "margin": mean_interval(finals[name]).as_json(),
            }
            for name in names
        ],
        "rank_correlation": rank,
    }


def _rank(found: Agreement) -> dict[str, float | None]:
    """Return a rank correlation as JSON; no interval where resampling cannot give one: few groups, or ranks all alike."""
    values = {name: _finite(value) for name, value in asdict(found).items()}
    if found.sets < _LEAST_GROUPS or abs(found.correlation) > 1 - 1e-9:
        values |= {"low": None, "high": None}
    return values


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
