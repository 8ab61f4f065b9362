"""A study's trials as a table: what was tried, what came of it, and a small picture of each curriculum.

Idea: one line a trial that fits into 100 columns, so that a search can be watched with `watch`; the picture is added where
the terminal has room for it. What a trial lacks (it runs, it failed) is left empty, never shown as 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from curriculum.mix import Phase
from curriculum.plan.schedule import phase_ends, proportions
from curriculum.report.schedule_chart import schedule_strip, strip_legend
from curriculum.search.study import LESS_IS_BETTER
from curriculum.search.trials import StudyTrials, TrialRecord

_COLOURS = {"done": "", "stopped": "", "trained": "", "running": "cyan", "failed": "red", "waiting": "dim"}
_STRIP = 20  # columns of the picture
_SECONDS_WIDTH, _PICTURE_WIDTH, _FOLDER_WIDTH = 105, 130, 165  # of a terminal that has room for these columns too
_MEASURES = ("time_general", "area", "final_margin")


def print_trials(found: StudyTrials, trials: Sequence[TrialRecord], console: Console) -> None:
    """Print the trials in the order given, then how many there are of each state and where the runs lie."""
    colour, ascii_only = console.color_system is not None, console.encoding.lower() not in ("utf-8", "utf8")
    pictured = console.is_terminal and console.width >= _PICTURE_WIDTH
    timed = not console.is_terminal or console.width >= _SECONDS_WIDTH
    table = _table(timed=timed)
    if pictured:
        table.add_column("curriculum", no_wrap=True)
    foldered = not console.is_terminal or console.width >= _FOLDER_WIDTH
    if foldered:
        table.add_column("run", no_wrap=True)
    for trial in trials:
        cells = _cells(trial, timed=timed)
        if pictured:
            shares = strip_shares(trial.phases, found.streams)
            cells.append(schedule_strip(shares, colour=colour, ascii_only=ascii_only) if shares else Text())
        if foldered:
            cells.append(Text(trial.run.name if trial.run else ""))
        table.add_row(*cells)
    _print_whole(table, console)
    if pictured and any(trial.phases for trial in trials):
        console.print(Text("curriculum: ").append_text(strip_legend(found.streams, colour=colour, ascii_only=ascii_only)))
    console.print(_summary(found), markup=False, highlight=False, soft_wrap=True)


def _table(*, timed: bool) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("trial", "state", "value", "time\ngeneral", "area", "final\nmargin", "kept", "worst\nconstraint"):
        words = column in ("trial", "state", "kept", "worst\nconstraint")
        foldable = column in ("trial", "worst\nconstraint")
        table.add_column(column, justify="left" if words else "right", no_wrap=not foldable, overflow="fold")
    if timed:
        table.add_column("seconds", justify="right", no_wrap=True)
    return table


def _print_whole(table: Table, console: Console) -> None:
    """Print a table; without a terminal no line is cut, whatever the run folders are called."""
    if not console.is_terminal:
        width = table.__rich_measure__(console, console.options.update(max_width=10_000)).maximum
        console = Console(file=console.file, width=width)
    console.print(table)


def _cells(trial: TrialRecord, *, timed: bool) -> list[Text]:
    value = _number(trial.value) if trial.foretold is None else f"~{trial.foretold:.3f}"
    kept = {None: "", True: "yes", False: "no"}[trial.feasible]
    worst = "" if trial.worst is None else f"{trial.worst} {trial.excess:+.3f}"
    return [
        Text(trial.name.removeprefix("trial-")),
        Text(trial.state, style=_COLOURS[trial.state]),
        *(Text(cell) for cell in (value, *(_number(trial.measures.get(name)) for name in _MEASURES))),
        Text(kept, style="yellow" if kept == "no" else ""),
        Text(worst),
        *([Text("" if trial.seconds is None else f"{trial.seconds:.1f}")] if timed else []),
    ]


def _number(number: float | None) -> str:
    return "" if number is None else f"{number:.3f}"


def strip_shares(phases: Sequence[Phase], streams: Sequence[str], columns: int = _STRIP) -> list[list[float]]:
    """Return the shares (columns, streams) in the middle of each of `columns` equal slices of the run; [] without phases."""
    if not phases:
        return []
    ends = phase_ends(phases)
    return [_shares_at(Fraction(2 * column + 1, 2 * columns), phases, ends, streams) for column in range(columns)]


def _shares_at(progress: Fraction, phases: Sequence[Phase], ends: Sequence[Fraction], streams: Sequence[str]) -> list[float]:
    index = next(index for index, end in enumerate(ends) if progress <= end)
    phase, start = phases[index], ends[index - 1] if index else Fraction(0)
    way = (progress - start) / (ends[index] - start)
    first = dict(zip(phase.weights, proportions(phase.weights), strict=True))
    last = first if phase.to is None else dict(zip(phase.to, proportions(phase.to), strict=True))
    none = Fraction(0)
    return [float(first.get(name, none) * (1 - way) + last.get(name, none) * way) for name in streams]


def _summary(found: StudyTrials) -> str:
    counts = Counter[str](trial.state for trial in found.trials)
    states = ", ".join(f"{counts[state]} {state}" for state in _COLOURS if counts[state]) or "no trial yet"
    work = {True: "a search is at work on it", False: "no search is at work on it", None: ""}[found.at_work]
    less = " (minus it: more is better)" if found.metric in LESS_IS_BETTER else ""
    lines = [f"Study {found.name!r}, value from {found.metric}{less}: {states}" + (f"; {work}" if work else "") + "."]
    best = best_trial(found.trials)
    if best is not None:
        lines.append(
            f"Best single trial: {best.number}, value {best.value:.3f} (one noisy run; a winner is named by the proof)."
        )
    if any(trial.state == "stopped" for trial in found.trials):
        lines.append("~: what the part foretells that a stopped trial has played; of its whole run nothing is known.")
    return "\n".join([*lines, f"Run folders: {found.folder}"])


def best_trial(trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """Return the feasible trial of highest value (of lowest excess, if none is feasible), of those that were not stopped."""
    told = [trial for trial in trials if trial.value is not None]
    return min(told, key=lambda trial: (max(0.0, trial.excess or 0.0), -(trial.value or 0.0), trial.number), default=None)


__all__ = ["best_trial", "print_trials", "strip_shares"]
