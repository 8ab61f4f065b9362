"""A scan as a table in the terminal and as a picture.

Idea: two questions, two panels. Which stream pulls how strongly: a dot with its interval, strongest on top. Is a stream of
one piece: its windows' scores in the order in which they are stored, as a strip of colours, since only where that varies
can an order by score do anything. Both panels share their rows. A histogram a stream would show the spread as well, but not
that neighbouring windows are alike, which is what decides how an order by score reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from curriculum.attribution.scan import ScanResult
from curriculum.attribution.scan_pull import Numbers, StreamPull
from curriculum.errors import ResourceError, UserError
from curriculum.units import format_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SUFFIXES = (".png", ".svg", ".pdf")
_LEVELS = "▁▂▃▄▅▆▇█"
_STRIP = 16  # characters
_WIDE = 100  # characters of a terminal, from which strips fit
_COLUMNS = 256  # of a strip in the picture


def check_picture(path: Path) -> None:
    """Raise UserError unless a picture of this name can be drawn; before the scan, which takes longer."""
    if path.suffix.lower() not in _SUFFIXES:
        raise UserError(f"wanted a picture named *.png, *.svg or *.pdf, got {path}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UserError("a picture needs matplotlib; `pip install matplotlib`, or leave out --picture") from None


def print_scan(result: ScanResult, console: Console) -> None:
    """Print one line a stream, strongest pull first."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("stream", overflow="fold", min_width=6)
    for column in ("tokens", "conflicts", "ratio", "pull, 95 % interval", "windows"):
        table.add_column(column, justify="right", no_wrap=True)
    has_strips = console.encoding.startswith("utf") and console.width >= _WIDE
    if has_strips:
        table.add_column("windows in turn", no_wrap=True)
    lowest, highest = _range(result)
    for number in ranked(result):
        strips = [terminal_strip(result.scores[number], lowest, highest)] if has_strips else []
        table.add_row(*_row(result.pulls[number]), *strips)
    console.print(table)
    console.print(
        "pull: of the tokens that only a reader of the context or only a parrot foretells, the reader's share, to be compared "
        "within one scan alone; ratio: the same at conflicts, of B and C; windows: 10th to 90th percentile of their scores",
        style="dim",
        highlight=False,
    )


def ranked(result: ScanResult) -> list[int]:
    """Return the streams' numbers, strongest pull first, those without evidence last."""
    pulls = result.pulls
    return sorted(range(len(pulls)), key=lambda at: (pulls[at].pull is None, -(pulls[at].pull or 0.0), pulls[at].name))


def _row(pull: StreamPull) -> tuple[str, ...]:
    return (
        pull.name,
        format_count(pull.tokens),
        format_count(pull.conflicts),
        _share(pull.data_ratio),
        f"{_share(pull.pull)} [{pull.low:.3f}, {pull.high:.3f}]",
        f"{pull.low_window:.3f}-{pull.high_window:.3f}",
    )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def terminal_strip(scores: Numbers, lowest: float, highest: float, width: int = _STRIP) -> str:
    """Return the scores (windows,) as at most `width` characters, each the mean of a stretch of windows."""
    means = strip(scores, width)
    levels = (means - lowest) / max(highest - lowest, 1e-12) * len(_LEVELS)
    return "".join(_LEVELS[min(len(_LEVELS) - 1, max(0, int(level)))] for level in levels)


def strip(scores: Numbers, columns: int) -> Numbers:
    """Return the means of at most `columns` stretches of equally many windows, (columns,)."""
    count = min(columns, len(scores))
    edges = np.arange(count + 1) * len(scores) // count
    sums = np.add.reduceat(scores, edges[:-1])
    means: Numbers = sums / np.diff(edges)
    return means


def _range(result: ScanResult) -> tuple[float, float]:
    """Return the lowest and highest mean that any strip shows."""
    ends = [(float(strip(scores, _STRIP).min()), float(strip(scores, _STRIP).max())) for scores in result.scores]
    return min(low for low, _ in ends), max(high for _, high in ends)


def draw_scan(result: ScanResult, path: Path) -> None:
    """Draw the picture; needs matplotlib (see `check_picture`). Raises ResourceError if it cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    order = ranked(result)
    figure = Figure(figsize=(9.5, 1.6 + 0.38 * len(order)), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1.4))
    _draw_pulls(left, [result.pulls[number] for number in order])
    image = _draw_strips(right, [result.scores[number] for number in order])
    figure.colorbar(image, ax=right, label="score", pad=0.02)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise ResourceError(f"could not write {path}: {error.strerror or error}; give --picture another place") from error


def _draw_pulls(axes: Axes, pulls: list[StreamPull]) -> None:
    rows = np.arange(len(pulls))
    middles = np.asarray([np.nan if pull.pull is None else pull.pull for pull in pulls])
    axes.hlines(rows, [p.low_window for p in pulls], [p.high_window for p in pulls], color="#56B4E9", linewidth=1.5)
    axes.hlines(rows, [pull.low for pull in pulls], [pull.high for pull in pulls], color="#0072B2", linewidth=6)
    axes.plot(middles, rows, "o", color="white", markeredgecolor="#0072B2", markersize=4)
    axes.set_yticks(rows, [pull.name.replace("$", r"\$") for pull in pulls])  # else two dollars are a formula
    axes.set_ylim(len(pulls) - 0.5, -0.5)
    axes.set_xlim(-0.03, 1.03)
    axes.set_xlabel("pull (0: parrot alone, 1: reader alone)")
    axes.set_title("streams: 95 % interval; thin: 10-90 % of windows", fontsize=10)
    axes.grid(axis="x", alpha=0.3)


def _draw_strips(axes: Axes, scores: list[Numbers]) -> Any:
    """Draw a row of colours a stream; the ends of the scale are the lowest and highest score drawn."""
    rows = np.stack([np.interp((np.arange(_COLUMNS) + 0.5) / _COLUMNS, *_steps(strip(own, _COLUMNS))) for own in scores])
    image = axes.imshow(
        rows, aspect="auto", cmap="cividis", extent=(0.0, 1.0, len(scores) - 0.5, -0.5), interpolation="nearest"
    )
    axes.set_xlabel("place in the stream (0: its first sample, 1: its last)")
    axes.set_title("windows, in the order in which they are stored", fontsize=10)
    for row in range(1, len(scores)):
        axes.axhline(row - 0.5, color="white", linewidth=3)
    axes.tick_params(axis="y", left=False)
    return image


def _steps(means: Numbers) -> tuple[Numbers, Numbers]:
    """Return points whose interpolation is a step a window."""
    edges = np.repeat(np.arange(len(means) + 1) / len(means), 2)[1:-1]
    return edges, np.repeat(means, 2)
