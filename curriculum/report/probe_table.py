"""Readings of checkpoints as tables: one model probe by probe, or many checkpoints family by family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from curriculum.probe import Trajectory
from curriculum.probe.ranking import Ranked

_COLOURS = {"general": "green", "shallow": "red", "unformed": "dim"}


def print_readings(trajectory: Trajectory, levels: dict[str, str], names: dict[int, str], console: Console) -> None:
    """Print each checkpoint's readings; `levels` by probe and `names` by position."""
    for position, readings in _by_checkpoint(trajectory):
        table = _table(escape(names[position]))
        for column in ("probe", "level", "accuracy", "margin (95 %)", "control", "mode"):
            table.add_column(
                column, justify="left" if column in ("probe", "level", "mode") else "right", no_wrap=column != "probe"
            )
        row: Any
        family = ""
        for row in readings.itertuples():
            if row.family not in (family, row.probe):
                family = row.family
                table.add_row(f"[bold]{escape(family)}[/]")
            table.add_row(
                escape(row.probe.removeprefix(f"{row.family}/")),
                levels.get(row.probe, ""),
                f"{row.accuracy:.2f}",
                _interval(row.margin, row.low, row.high),
                "none" if np.isnan(row.control_margin) else f"{row.control_margin:+.2f}",
                _coloured(row.mode),
            )
        console.print(table)


def print_course(trajectory: Trajectory, names: dict[int, str], console: Console) -> None:
    """Print one line a checkpoint: each family's mean margin, and how many of its probes are general."""
    families = list(dict.fromkeys(trajectory.table["family"]))
    table = _table("Mean margin (probes general / shallow / unformed)")
    table.add_column("checkpoint")
    for family in families:
        table.add_column(family.removesuffix("_answer"), justify="right", no_wrap=True)
    for position, readings in _by_checkpoint(trajectory):
        cells = [_cell(readings[readings["family"] == family]) for family in families]
        table.add_row(escape(names[position]), *cells)
    console.print(table)


def _by_checkpoint(trajectory: Trajectory) -> list[tuple[int, pd.DataFrame]]:
    positions = dict.fromkeys(int(position) for position in trajectory.table["position"])
    return [(position, trajectory.table[trajectory.table["position"] == position]) for position in positions]


def _cell(readings: pd.DataFrame) -> str:
    counts = "/".join(str(int((readings["mode"] == mode).sum())) for mode in _COLOURS)
    commonest = str(readings["mode"].mode().iloc[0])
    return f"[{_COLOURS[commonest]}]{readings['margin'].mean():+.2f}[/] ({counts})"


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:+.2f} \\[{low:+.2f}, {high:+.2f}]"


def _coloured(mode: str) -> str:
    return f"[{_COLOURS[mode]}]{mode}[/]"


def print_ranking(ranked: Sequence[Ranked], console: Console) -> None:
    """Print the checkpoints by behaviour, beside their rank by loss."""
    table = _table("Checkpoints by behaviour: mean margin over families")
    for column in ("#", "checkpoint", "score (95 %)", "hard", "behind (95 %)", "loss (rank)"):
        table.add_column(column, justify="left" if column == "checkpoint" else "right", no_wrap=True)
    for entry in ranked:
        table.add_row(
            str(entry.rank),
            escape(entry.name),
            _interval(entry.score, entry.low, entry.high),
            f"{entry.accuracy:.2f}",
            "" if entry.rank == 1 else _interval(entry.behind, entry.behind_low, entry.behind_high),
            _loss(entry),
        )
    console.print(table)


def _loss(entry: Ranked) -> str:
    if entry.loss is None:
        return "unknown"
    return f"{entry.loss:.3f}" + ("" if entry.loss_rank is None else f" ({entry.loss_rank})")


def _table(title: str) -> Table:
    """Return an empty table that is narrow enough for a terminal of 80 columns."""
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))


def ranking_words(ranked: Sequence[Ranked]) -> str:
    """Return in words what was chosen, and what loss alone and the calendar would have chosen."""
    first = ranked[0]
    level = [entry.name for entry in ranked[1:] if entry.level_with_first]
    words = [f"By behaviour: {first.name} (score {first.score:+.3f} [{first.low:+.3f}, {first.high:+.3f}])."]
    if level:
        words.append(f"Not to be told from it by these items: {', '.join(level)}.")
    by_loss = min(
        (entry for entry in ranked if entry.loss_rank is not None), key=lambda entry: entry.loss_rank or 0, default=None
    )
    if by_loss is None:
        words.append("By loss: unknown (name a file with --loss).")
    else:
        words.append(f"Loss alone would have chosen {_beside(by_loss)}.")
    last = max(ranked, key=lambda entry: entry.position)
    words.append(f"The last one is {_beside(last)}.")
    return " ".join(words)


def _beside(entry: Ranked) -> str:
    if entry.rank == 1:
        return f"{entry.name}, the same"
    return f"{entry.name}, {entry.behind:.3f} [{entry.behind_low:+.3f}, {entry.behind_high:+.3f}] behind"
