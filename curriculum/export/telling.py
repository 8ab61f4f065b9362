"""What became of an export, for a person: the verdict first, then by how much each stream strays in each phase."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from curriculum.export.target import Capability, Deviation, Outcome

_STYLES = {"lossless": "green", "approximated": "yellow", "impossible": "red"}
_SHOWN = 60  # rows
_FILES = 6


def print_outcome(console: Console, mix: Path, capability: Capability, outcome: Outcome) -> None:
    """Print verdict, reasons, deviations, files and what to do with them."""
    _say(console, f"{mix} for {capability.trainer}: {outcome.verdict}", f"bold {_STYLES[outcome.verdict]}")
    for reason in outcome.why:
        _say(console, f"  {reason}")
    if outcome.nearest is not None:
        _say(console, f"  nearest: {outcome.nearest}")
    if outcome.verdict != "lossless" and outcome.deviations:
        console.print(_table(outcome.deviations))
    for line in _files(outcome.files):
        _say(console, f"wrote {line}")
    if outcome.use:
        _say(console, f"use:  {outcome.use}")
    for note in outcome.notes:
        _say(console, f"note: {note}")


def _files(files: Sequence[Path]) -> list[str]:
    if len(files) <= _FILES:
        return [str(file) for file in files]
    return [str(files[0]), f"{files[-1]} and {len(files) - 2} between"]


def _say(console: Console, text: str, style: str | None = None) -> None:
    console.print(text, style=style, markup=False, soft_wrap=True)


def _table(deviations: Sequence[Deviation]) -> Table:
    """Return the deviations as a table; of very many, the largest."""
    shown = list(deviations)
    if len(shown) > _SHOWN:
        shown = sorted(shown, key=lambda each: -each.samples)[:_SHOWN]
        shown.sort(key=lambda each: each.phase)
    random = any(each.spread for each in shown)
    title = "largest deviations in each phase"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("stream", overflow="fold")
    columns = ("phase", "planned", "expected", *(("+-",) if random else ()), "samples", "share")
    for name in columns:
        table.add_column(name, justify="right")
    for each in shown:
        spread = (f"{each.spread:,.1f}",) if random else ()
        numbers = f"{each.planned:,}", f"{each.expected:,.1f}", *spread, f"{each.samples:,.1f}", f"{100 * each.share:.2f} %"
        table.add_row(each.stream, str(each.phase), *numbers)
    if len(deviations) > len(shown):
        table.caption = f"the {len(shown)} largest of {len(deviations)}; all of them with --json"
    return table
