"""The end of a search as a table: finalists and controls beside each other, then the verdict in words."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor, log10
from typing import Any

from rich.console import Console
from rich.table import Table

from curriculum.report.metric_words import gain_words

_MOST_DIGITS = 4


def print_search(document: Mapping[str, Any], console: Console) -> None:
    """Print what `search --json` holds, for a person."""
    table = Table(title="Proof: same exposure, fresh seeds, fresh probe items", title_justify="left")
    metric = document.get("metric")  # results of before it was written have none
    gained = f"{'gain' if metric is None else gain_words(metric)} over static ({document['confidence']:.1%})"
    digits = _digits(document)
    for column in ("curriculum", "pairs", "time general (95 %)", gained, "area", "final margin", "mean loss"):
        table.add_column(column, justify="left" if column == "curriculum" else "right")
    for arm in sorted([*document["finalists"], *document["controls"]], key=lambda arm: -arm["gain_over_static"]["mean"]):
        found = arm in document["finalists"]
        table.add_row(
            f"[bold]{arm['name']}[/bold] (found)" if found else arm["name"],
            str(arm["pairs"]),
            _interval(arm["time_general"]),
            "" if arm["name"] == "static" else _interval(arm["gain_over_static"], digits),
            f"{arm['area']:.{digits}f}",
            f"{arm['final_margin']:.{digits}f}",
            f"{_mean(arm['loss']):.3f}",
        )
    console.print(table)
    _print_tail(document, console)
    _print_schedule(document, console)
    _print_front(document, console)
    console.print(document["words"], markup=False, highlight=False)
    if document["best_hand_made"] is not None:
        gain = document["gain_over_best_hand_made"]
        console.print(
            f"Against the best hand-made control, {document['best_hand_made']}: {_interval(gain, digits)}.", highlight=False
        )
    if document["mix"] is not None:
        console.print(f"Mix file: {document['mix']}", markup=False, highlight=False)


def _print_tail(document: Mapping[str, Any], console: Console) -> None:
    arms = [arm for arm in [*document["finalists"], *document["controls"]] if arm["after_tail"] is not None]
    if not arms:
        return
    table = Table(title="With a common tail: the last part of the run is the same for all", title_justify="left")
    for column in ("curriculum", "time general within the tail", "final margin", "mean loss"):
        table.add_column(column, justify="left" if column == "curriculum" else "right")
    for arm in arms:
        tail = arm["after_tail"]
        table.add_row(
            arm["name"],
            _interval(tail["time_general_in_tail"]),
            f"{tail['final_margin']:.{_digits(document)}f}",
            f"{_mean(tail['loss']):.3f}",
        )
    console.print(table)


def _print_schedule(document: Mapping[str, Any], console: Console) -> None:
    arms = [arm for arm in [*document["finalists"], *document["controls"]] if arm["under_target_schedule"] is not None]
    if not arms:
        return
    table = Table(title=f"Under the full run's schedule, {document['target_schedule']}", title_justify="left")
    for column in ("curriculum", "pairs", "gain over static (95 %)"):
        table.add_column(column, justify="left" if column == "curriculum" else "right")
    for arm in arms:
        under = arm["under_target_schedule"]
        gain = "" if arm["name"] == "static" else _interval(under["gain_over_static"], _digits(document))
        table.add_row(arm["name"], str(under["pairs"]), gain)
    console.print(table)


def _print_front(document: Mapping[str, Any], console: Console) -> None:
    if document["front"] is None:
        return
    table = Table(title="Front: no other is as good in both and better in one", title_justify="left")
    columns = ("curriculum", "pairs", "gain over static", "mean loss (95 %)", "loss saved", "dominates static")
    for column in columns:
        table.add_column(column, justify="left" if column == "curriculum" else "right")
    for point in document["front"]:
        compared = [point["gain_over_static"], point["loss_saved_over_static"]]
        gain, saved = ("" if point["name"] == "static" else _interval(found, 3) for found in compared)
        better = "yes" if point["dominates_static"] else ""
        table.add_row(point["name"], str(point["pairs"]), gain, _interval(point["mean_loss"], 3), saved, better)
    console.print(table)


def _digits(document: Mapping[str, Any]) -> int:
    """Return the decimals of gains: two, or as many as show the difference that would count as equal."""
    return min(_MOST_DIGITS, max(2, floor(-log10(document["equal_within"] or 0.01)) + 1))


def _interval(found: Mapping[str, float | None], digits: int = 2) -> str:
    """Return a mean with its interval; a missing end is one that the pairs are too few for."""
    low, high = (f"{end:.{digits}f}" if end is not None else "?" for end in (found["low"], found["high"]))
    return f"{found['mean']:.{digits}f} \\[{low}, {high}]"


def _mean(losses: Mapping[str, float]) -> float:
    return sum(losses.values()) / len(losses) if losses else float("nan")
