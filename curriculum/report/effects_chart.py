"""Effects of windows as tables in the terminal and as a picture.

Idea: no effect without its interval, and no long list of windows of which nothing is known: streams all, windows only the
strongest of either sign, and in words how much the readings can tell at all. The picture shows windows at once, from the
one that pulls most to the shallow mode to the one that pulls most to the general: where intervals leave zero, something is
known. Windows of which nothing is known only repeat their stream and content, and a thousand intervals are one blot, so
those that something is known of are drawn, and of many the strongest of either end. A row a window, as in a usual forest
plot, would be metres long; the price is that windows are not named there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from curriculum.errors import ResourceError
from curriculum.report.schedule_chart import STREAM_COLOURS
from curriculum.report.stage_progress import counted

_SHOWN = 8  # windows of either sign
_DRAWN = 60  # windows of either end that a picture has room for
_KNOWN = 0.05  # the share of the prior variance from which a window's own interval says something


def print_effects(document: Mapping[str, Any], console: Console) -> None:
    """Print what `attribute --json` holds, for a person."""
    console.print(_streams(document["streams"]))
    console.print(_windows(document["top"], "Windows that pull most to the general mode"))
    console.print(_windows(document["bottom"], "Windows that pull most to the shallow mode"))
    console.print(effects_words(document), markup=False, highlight=False)
    for warning in document["warnings"]:
        console.print(f"warning: {warning}", markup=False, highlight=False, soft_wrap=True, style="yellow")
    for line in _branch_words(document.get("branches")):
        console.print(line, markup=False, highlight=False)
    for name in ("scores", "table", "picture"):
        if document.get(name):
            console.print(f"{name}: {document[name]}", markup=False, highlight=False, soft_wrap=True)
    if document.get("selection"):
        console.print(f"selection: {', '.join(document['selection'])}", markup=False, highlight=False, soft_wrap=True)


def effects_words(document: Mapping[str, Any]) -> str:
    """Return in words what was regressed, and how much of it can be known."""
    sources = "their content and their stream" if document["features"] else "their stream"
    words = [
        f"Effect: change of the margin by 1,000 samples at the mean learning rate, against the average sample consumed; "
        f"{document['confidence']:.0%} intervals.",
        f"{counted(document['readings'], 'change')} between readings of {counted(document['runs'], 'run')}; "
        f"{counted(document['windows'], 'window')}, {document['consumed']:,} of them consumed.",
        f"The readings determine about {counted(round(document['identified']), 'independent number')}; the rest is filled in "
        f"from {sources}.",
    ]
    left_out = document["left_out"]
    if document["skill"] <= 0:
        words.append(
            f"In {left_out} left out the effects predict no better than none: take them for noise, and give more runs or "
            "readings."
        )
    else:
        words.append(
            f"In {left_out} left out they predict {document['skill']:.0%} of the variance of changes that drift and return "
            "leave."
        )
    if document["dropped"]:
        words.append(f"Left out because held-out windows had a part: {counted(document['dropped'], 'change')}.")
    return " ".join(words)


def drawn_windows(windows: pd.DataFrame) -> pd.DataFrame:
    """Return the windows of a picture, by effect: those that something is known of (all, if none), the strongest of many."""
    known = windows[windows["known"] > _KNOWN]
    ranked = (known if len(known) else windows).sort_values("effect")
    if len(ranked) > 2 * _DRAWN:
        ranked = pd.concat([ranked.head(_DRAWN), ranked.tail(_DRAWN)])
    return ranked.reset_index(drop=True)


def draw_effects(windows: pd.DataFrame, path: Path) -> None:
    """Draw windows' effects and intervals, ranked (see `drawn_windows`); needs matplotlib.

    `windows`: stream, effect, low, high, known. Raises ResourceError if the picture cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    ranked = drawn_windows(windows)
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for number, name in enumerate(dict.fromkeys(windows["stream"])):
        own = ranked[ranked["stream"] == name]
        colour = STREAM_COLOURS[number % len(STREAM_COLOURS)]
        axes.vlines(own.index, own["low"], own["high"], color=colour, alpha=0.35, linewidth=1.5)
        axes.plot(own.index, own["effect"], ".", color=colour, markersize=5, label=str(name).replace("$", r"\$"))
    axes.axhline(0, color="0.5", linewidth=0.8)
    if len(ranked) == 2 * _DRAWN:
        axes.axvline(_DRAWN - 0.5, color="0.5", linewidth=0.8, linestyle=":")
    axes.set_title(_picture_title(len(ranked), windows), fontsize=9)
    axes.set_xticks([])
    axes.set_xlabel("windows, by effect")
    axes.set_ylabel("change of margin\nby 1,000 samples")
    figure.legend(frameon=False, loc="outside right upper", fontsize=8)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise ResourceError(f"could not write {path}: {error.strerror or error}; give --picture another place") from error


def _picture_title(drawn: int, windows: pd.DataFrame) -> str:
    known = int((windows["known"] > _KNOWN).sum())
    if known == 0:
        said = f"of no window more than {_KNOWN:.0%} is known"
    else:
        said = f"{known:,} of {counted(len(windows), 'window')} known to more than {_KNOWN:.0%}"
    return f"{said}; drawn: the {_DRAWN} at either end" if drawn < (known or len(windows)) else said


def _streams(rows: list[Mapping[str, Any]]) -> Table:
    table = _table("Streams")
    for column in ("stream", "windows", "samples", "effect", "95 %", "known"):
        table.add_column(column, justify="left" if column == "stream" else "right", no_wrap=True)
    for row in rows:
        counts = (f"{row['windows']:,}", f"{row['consumed']:,}")
        table.add_row(escape(row["stream"]), *counts, *_numbers(row))
    return table


def _windows(rows: list[Mapping[str, Any]], title: str) -> Table:
    table = _table(title)
    for column in ("stream", "samples of it", "consumed", "effect", "95 %", "known"):
        table.add_column(column, justify="left" if column == "stream" else "right", no_wrap=True)
    for row in rows[:_SHOWN]:
        table.add_row(escape(row["stream"]), f"{row['start']:,}-{row['stop']:,}", f"{row['consumed']:,}", *_numbers(row))
    return table


def _numbers(row: Mapping[str, Any]) -> tuple[str, str, str]:
    colour = "green" if row["low"] > 0 else "red" if row["high"] < 0 else "dim"
    return f"[{colour}]{row['effect']:+.3f}[/]", f"\\[{row['low']:+.3f}, {row['high']:+.3f}]", f"{row['known']:.0%}"


def _branch_words(branches: Mapping[str, Any] | None) -> list[str]:
    if not branches:
        return []
    found = branches["difference"]
    words = [
        f"Branches from {branches['checkpoint']}, {branches['samples']:,} samples, {branches['seeds']} seeds, fresh items:",
        f"  the highest of {branches['groups']} groups of windows leaves the margin {abs(found['mean']):.3f} "
        f"{'above' if found['mean'] >= 0 else 'below'} the lowest (difference: {_ends(found)})",
    ]
    for row in branches["sets"]:
        margin = row["margin"]
        words.append(
            f"  {row['name']}: effect {row['predicted']:+.3f}, margin at the end {margin['mean']:+.3f} ({_ends(margin)})"
        )
    if max(row["predicted_low"] for row in branches["sets"]) <= min(row["predicted_high"] for row in branches["sets"]):
        words.append("  the groups' predictions lie within each other's intervals, so their order says little")
    return [*words, *_rank_words(branches.get("rank_correlation"))]


def _rank_words(rank: Mapping[str, Any] | None) -> list[str]:
    if not rank:
        return []
    if rank["correlation"] is None:
        return ["  rank correlation of predictions with branches: none, for one of them is the same in all groups"]
    low, high = rank["low"], rank["high"]
    sure = f"no interval can be given from {rank['sets']} groups" if low is None else f"95 % {low:+.2f} to {high:+.2f}"
    return [f"  rank correlation of predictions with branches {rank['correlation']:+.2f} ({sure})"]


def _ends(interval: Mapping[str, float | None]) -> str:
    low, high = interval["low"], interval["high"]
    return "too few seeds for an interval" if low is None or high is None else f"95 % {low:+.3f} to {high:+.3f}"


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)


def as_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table as JSON's rows, floats to six digits; what is not finite is null."""
    rounded = table.round(6).replace({np.nan: None, np.inf: None, -np.inf: None})
    return [
        {str(name): value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
        for row in rounded.to_dict("records")
    ]
