"""`curriculum ladder`: the same curricula at several sizes of a study's proxy, and what each size foretells of the others."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from math import inf
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from curriculum.errors import ResourceError, UserError
from curriculum.proxy.sizes import Size, count_parameters, parse_sizes
from curriculum.proxy.throughput import (
    PEAK_FLOPS,
    UTILISATION,
    Device,
    RunShape,
    parse_device,
    run_parts,
    timed_seconds,
    work_of,
)
from curriculum.report.ladder_chart import ladder_drawing, ladder_markdown
from curriculum.report.ladder_progress import LadderProgress
from curriculum.search.folder import write_json
from curriculum.search.ladder import Ladder, LadderRow, Rung, row_as_json, rungs_of
from curriculum.search.ladder_baseline import COUNTED, DISTANCE
from curriculum.search.ladder_statistics import compare
from curriculum.search.observer import Observer
from curriculum.search.study import Study
from curriculum.search.study_file import load_study
from curriculum.units import format_count, format_seconds

INTERRUPTED = 130
_HERE = "a core of this machine"
_ANYWHERE = "{size}"
_UNCOUNTED = "Not counted: the checkpoints that runs begin from, made once a size."


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The options of a ladder, as they were given. `curricula` are drawn at random, besides static and the controls; `seeds`:
    how many for all sizes, or one number for each of `sizes`, as "10,5,1"."""

    sizes: str
    curricula: int = 12
    seeds: int | str = 2
    trials: int = 0
    mixes: tuple[Path, ...] = ()
    starts: str | None = None
    tail: float | None = None
    runs: Path = Path("runs")
    out: Path | None = None
    workers: int | None = None
    dry_run: bool = False
    price: float | None = None
    device: str | None = None
    utilisation: float | None = None


def ladder(study_path: Path | None, settings: Settings, *, as_json: bool = False) -> int:
    """Play the curricula at every size, write ladder.json, .csv, .md, .svg and .png; return the exit code.

    Going on is the same call again. Raises UserError, DataError, RunError, ResourceError.
    """
    _check(settings)
    study = load_study(study_path)
    sizes = parse_sizes(settings.sizes)
    if settings.dry_run:  # a plan says what checkpoints must be made, so it can do without them
        rungs = rungs_of(study, sizes, settings.starts or (_ANYWHERE if study.recipe.start is not None else None))
        return _announce(_made(study, settings, rungs, None), settings, as_json=as_json)
    rungs = rungs_of(study, sizes, settings.starts)
    if len(rungs) < 2:
        raise UserError(
            f"--sizes: wanted at least two sizes to compare, got {settings.sizes} alone; name another, such as study,1M "
            "(a plan, --dry-run, may have one)"
        )
    planned = _made(study, settings, rungs, None)
    shape = _shape(planned)
    runs = {rung.recipe: len(planned.curricula) * planned.seeds[rung.size.name] for rung in rungs}
    work = {rung.recipe: work_of(rung.recipe, shape).flops for rung in rungs}
    console = Console(stderr=True)
    try:
        with (
            LadderProgress(console, runs, work, planned.workers) as progress,
            _made(study, settings, rungs, progress) as made,
        ):
            progress.notice(f"Study {study.name!r}: {made.total} runs, {len(made.curricula)} curricula at {len(rungs)} sizes.")
            rows, failed = made.run()
    except KeyboardInterrupt:
        console.print("\nInterrupted; every finished run is kept, the same command goes on.", markup=False, highlight=False)
        return INTERRUPTED
    document = _document(made, rows, failed, shape)
    folder = settings.out or made.place.path
    text = _write(document, folder)
    print(json.dumps(document, indent=1) if as_json else f"{text}\nWritten to {folder}: ladder.json, .csv, .md, .svg, .png")
    return 0


def parse_seeds(text: str, sizes: Sequence[Size]) -> dict[str, int]:
    """Return how many seeds each size has: one number for all, or one for each in the order of `sizes`. Raises UserError."""
    numbers = [int(part) if part.strip().isdecimal() else 0 for part in text.split(",")]
    if min(numbers) < 1 or len(numbers) not in (1, len(sizes)):
        raise UserError(
            f"--seeds: wanted a whole number of at least 1, or {len(sizes)} of them, one for each of --sizes, got {text!r}"
        )
    of_all = numbers * len(sizes) if len(numbers) == 1 else numbers
    return {size.name: number for size, number in zip(sizes, of_all, strict=True)}


def _check(settings: Settings) -> None:
    if settings.price is not None and not 0 <= settings.price < inf:
        raise UserError(f"--price: wanted US dollars an hour, 0 or more, got {settings.price}")
    if settings.tail is not None and not 0 < settings.tail < 1:
        raise UserError(f"--tail: wanted a share of the run above 0 and below 1, got {settings.tail}")
    _check_out(settings.out)
    given = {"--price": settings.price, "--device": settings.device, "--utilisation": settings.utilisation}
    if not settings.dry_run:
        alone = next((name for name, value in given.items() if value is not None), None)
        if alone is not None:
            raise UserError(f"{alone} is for a plan; add --dry-run, or leave it out")
    if settings.utilisation is not None and (settings.device or "cpu").lower() == "cpu":
        raise UserError("--utilisation is of a device elsewhere; name it with --device, or leave it out: this machine is timed")


def _check_out(out: Path | None) -> None:
    """Raise UserError, before anything is trained, where tables cannot be written to `out`."""
    there = None if out is None else next((place for place in (out, *out.absolute().parents) if place.exists()), None)
    if there is not None and not there.is_dir():
        raise UserError(f"--out: wanted a folder, got {out}, where {there} is a file; give another")
    if there is not None and not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"--out: {there} cannot be written; give another folder")


def _made(study: Study, settings: Settings, rungs: Sequence[Rung], observer: Observer | None) -> Ladder:
    return Ladder(
        study,
        rungs,
        runs=settings.runs,
        random=settings.curricula,
        seeds=parse_seeds(str(settings.seeds), parse_sizes(settings.sizes)),
        trials=settings.trials,
        mixes=settings.mixes,
        tail=None if settings.tail is None else Decimal(str(settings.tail)),
        workers=settings.workers,
        observer=observer,
    )


def _shape(made: Ladder) -> RunShape:
    return run_parts(made.sample(made.rungs[0])).shape


def _document(made: Ladder, rows: Sequence[LadderRow], failed: Mapping[str, str], shape: RunShape) -> dict[str, Any]:
    """Return what `ladder.json` holds."""
    tables = made.tables(rows)
    return {
        "study": made.study.name,
        "folder": str(made.place.path),
        "samples": made.study.samples,
        "seeds": max(made.seeds.values()),
        "tail": None if made.tail is None else float(made.tail),
        "counting": _counting(made),
        "distances": {"counts": DISTANCE, "of": {name: round(far, 6) for name, far in made.distances().items()}},
        "schedule": made.study.recipe.schedule,
        "precision": made.study.recipe.precision,
        "sizes": [
            _size(rung, shape) | {"seeds": made.seeds[rung.size.name], "seconds": _mean_seconds(rows, rung)}
            for rung in made.rungs
        ],
        "curricula": list(tables.curricula),
        "failed": dict(failed),
        **compare(tables),
        "rows": [row_as_json(row) for row in rows],
    }


def _counting(made: Ladder) -> dict[str, Any] | None:
    """Return what the predictor that trains nothing counts, and what it finds of every curriculum."""
    counted = made.counted()
    if counted is None:
        return None
    shares = {name: round(share, 6) for name, share in counted.items()}
    return {"counts": COUNTED, "favoured": list(made.study.favour), "shares": shares}


def _mean_seconds(rows: Sequence[LadderRow], rung: Rung) -> float:
    own = [row.seconds for row in rows if row.size == rung.size.name]
    return round(sum(own) / len(own), 3)


def _size(rung: Rung, shape: RunShape) -> dict[str, Any]:
    recipe = rung.recipe
    parameters = count_parameters(recipe, vocabulary=shape.vocabulary, context=shape.context)
    work = work_of(recipe, shape)
    return {
        "name": rung.size.name,
        **{name: getattr(recipe, name) for name in ("layers", "width", "heads", "learning_rate", "precision")},
        "start": None if recipe.start is None else str(recipe.start),
        "parameters": asdict(parameters) | {"total": parameters.total},
        "tokens": work.tokens,
        "training_flops": work.training,
        "reading_flops": work.reading,
        "flops": work.flops,
    }


def _write(document: Mapping[str, Any], folder: Path) -> str:
    """Write all files of a ladder; return its Markdown."""
    from curriculum.report.figures_style import save

    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "ladder.json", document)  # first: whatever may go wrong in words and pictures, numbers are kept
        _frame(document).to_csv(folder / "ladder.csv", index=False)
        text = ladder_markdown(document, "ladder.svg")
        (folder / "ladder.md").write_text(text, encoding="utf-8")
        save(ladder_drawing(document), folder)
    except OSError as error:
        raise ResourceError(f"could not write {folder}: {error.strerror or error}; make room, or give another --out") from error
    return text


def _frame(document: Mapping[str, Any]) -> pd.DataFrame:
    """Return the measured rows, with what is counted of their curricula, where something is."""
    rows = pd.DataFrame(document["rows"])
    if document["counting"] is not None:
        rows["favoured_late"] = rows["curriculum"].map(document["counting"]["shares"])
    rows["late_distance"] = rows["curriculum"].map(document["distances"]["of"])
    return rows


def _announce(made: Ladder, settings: Settings, *, as_json: bool) -> int:
    """Print what a ladder would cost, size by size."""
    share = UTILISATION if settings.utilisation is None else settings.utilisation
    device = None if settings.device is None else parse_device(settings.device, share)
    if device is None:
        print("timing a few steps at each size", file=sys.stderr)
    plan = plan_of(made, device, settings.price)
    print(json.dumps(plan, indent=1) if as_json else _plan_words(plan))
    return 0


def plan_of(made: Ladder, device: Device | None, price: float | None) -> dict[str, Any]:
    """Return what every size costs: parameters, tokens, FLOPs, device hours, and money at `price` (US dollars an hour).

    `device` None: this machine, timed.
    """
    parts = run_parts(made.sample(made.rungs[0]))
    recipes = [rung.recipe for rung in made.rungs]
    runs = {rung.size.name: len(made.curricula) * made.seeds[rung.size.name] for rung in made.rungs}
    seconds = timed_seconds(parts, recipes) if device is None else [device.seconds(recipe, parts.shape) for recipe in recipes]
    sizes = [
        _size(rung, parts.shape)
        | {
            "seeds": made.seeds[rung.size.name],
            "runs": runs[rung.size.name],
            "seconds": of_run,
            "device_hours": runs[rung.size.name] * of_run / 3600,
        }
        for rung, of_run in zip(made.rungs, seconds, strict=True)
    ]
    hours = sum(size["device_hours"] for size in sizes)
    return {
        "study": made.study.name,
        "curricula": len(made.curricula),
        "seeds": max(made.seeds.values()),
        "runs": made.total,
        "device": _HERE if device is None else device.name,
        "precision": made.study.recipe.precision,
        "peak_flops": None if device is None else device.flops,
        "utilisation": None if device is None else device.utilisation,
        "price": price,
        "sizes": sizes,
        "device_hours": hours,
        "money": None if price is None else price * hours,
        "workers": made.workers if device is None else None,
        "starts": _starts(made, parts.shape, sizes, device),
    }


def _starts(made: Ladder, shape: RunShape, sizes: Sequence[Mapping[str, Any]], device: Device | None) -> dict[str, Any] | None:
    """Return what the checkpoints cost from which runs begin, which the plan leaves out; None where they begin from none.

    A start is taken to be as long as the study's own, and to be fed samples such as a run's; its readings are left out.
    """
    if made.study.recipe.start is None and made.rungs[0].recipe.start is None:
        return None
    trained = trained_samples(made.study.recipe.start)
    if trained is None:
        return {"samples": None, "sizes": []}
    as_runs = trained / (shape.steps * shape.batch.rows)
    flops = {size["name"]: size["training_flops"] * as_runs for size in sizes}
    seconds = {size["name"]: _training_seconds(size, device) * as_runs for size in sizes}
    return {"samples": trained, "sizes": [{"name": name, "flops": flops[name], "seconds": seconds[name]} for name in flops]}


def _training_seconds(size: Mapping[str, Any], device: Device | None) -> float:
    """Return what of a run's seconds is training: here by its share of the FLOPs; elsewhere all but the readings' work, since a
    step may be no shorter than its launching."""
    if device is None:
        return float(size["seconds"] * size["training_flops"] / size["flops"])
    return float(size["seconds"] - size["reading_flops"] / (device.flops * device.utilisation))


def trained_samples(start: Path | None) -> int | None:
    """Return how many samples a checkpoint was trained on, None where it does not say."""
    try:
        return None if start is None else int(json.loads((start / "state.json").read_text())["position"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _plan_words(plan: Mapping[str, Any]) -> str:
    """Return the plan as a table for a person."""
    head = (
        "size",
        "layers x width, heads",
        "parameters",
        "with embeddings",
        "runs",
        "tokens each",
        "FLOPs",
        "time",
        "device hours",
    )
    priced = () if plan["price"] is None else ("US dollars",)
    rows = [(*head, *priced), *(_plan_row(size, plan["price"]) for size in plan["sizes"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([*lines, "", _plan_total(plan), *_start_words(plan["starts"])])


def _start_words(starts: Mapping[str, Any] | None) -> list[str]:
    if starts is None:
        return []
    if starts["samples"] is None:
        return [f"{_UNCOUNTED} How long they were trained is not known here."]
    listed = ", ".join(f"{of['name']} {of['flops']:.3g} FLOPs ({format_seconds(of['seconds'])})" for of in starts["sizes"])
    return [
        f"{_UNCOUNTED} One of {starts['samples']:,} samples, as the study's, takes about (the same formula, without readings): "
        f"{listed}."
    ]


def _plan_row(size: Mapping[str, Any], price: float | None) -> tuple[str, ...]:
    return (
        size["name"],
        f"{size['layers']} x {size['width']}, {size['heads']}",
        format_count(size["parameters"]["layers"]),
        format_count(size["parameters"]["total"]),
        str(size["runs"]),
        format_count(size["tokens"]),
        f"{size['flops']:.3g}",
        format_seconds(size["seconds"]) if size["seconds"] >= 10 else f"{size['seconds']:.2g} s",
        f"{size['device_hours']:.3g}",
        *((f"{price * size['device_hours']:.2f}",) if price is not None else ()),
    )


def _plan_total(plan: Mapping[str, Any]) -> str:
    seeds = [size["seeds"] for size in plan["sizes"]]
    told = f"{seeds[0]} seeds a size" if len(set(seeds)) == 1 else f"{', '.join(map(str, seeds))} seeds"
    runs = f"{plan['runs']} runs ({plan['curricula']} curricula x {told})"
    if plan["utilisation"] is None:
        wall = format_seconds(3600 * plan["device_hours"] / plan["workers"])
        how = f"timed over a few steps; {wall} with {plan['workers']} at once"
    else:
        how = f"at {plan['utilisation']:.0%} of {plan['peak_flops']:.3g} FLOPs a second, a stated utilisation"
        if plan["precision"] == "float32" and plan["device"] in PEAK_FLOPS:
            how += " (the peak is that of bfloat16 products, and this study trains in float32: rather several times as long)"
    money = "" if plan["money"] is None else f"; {plan['money']:.2f} US dollars at {plan['price']:g} an hour"
    return f"{runs}: {plan['device_hours']:.3g} hours of {plan['device']}, {how}{money}."
