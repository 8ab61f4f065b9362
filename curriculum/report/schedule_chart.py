"""The schedule as stacked areas in the terminal.

Idea: every column is a slice of the run, split among the streams by their share; a step shows as a wall, a ramp as a
slope. With colours, a cell holds two streams (an eighth block over a background), so a share of one hundredth is still
seen; without, each stream has a glyph of its own. Names stand inside their areas where they fit, so that nobody has to
tell eight colours apart. The alternative, a line per stream, crosses and hides; the price is that shares of the middle
streams are read as thicknesses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.style import Style
from rich.text import Text

# Okabe and Ito's palette: told apart by colour-blind people too.
STREAM_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#999999")
_GLYPHS = "█░▓·▒#o+=x"
_ASCII_GLYPHS = "#.o:+=x*%@"
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_EIGHTHS = " ▁▂▃▄▅▆▇"
_MARGIN = 6  # "100% " and the axis


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One character of the picture: `upper` and `lower` stream, and how many eighths of it (0 to 7) are `lower`."""

    upper: int
    lower: int
    eighths: int

    @property
    def most(self) -> int:
        """The stream that fills more of the cell."""
        return self.lower if self.eighths > 4 else self.upper


def chart_columns(width: int) -> int:
    """Return how many columns of data fit into a terminal of `width` characters."""
    return max(10, min(width, 160) - _MARGIN - 1)


def schedule_chart(
    names: Sequence[str],
    shares: Sequence[Sequence[float]],
    ends: Sequence[float],
    *,
    height: int = 12,
    colour: bool = True,
    ascii_only: bool = False,
) -> Text:
    """Return the picture with axes and legend, the first stream on top.

    shares: (columns, streams), each row adding up to 1; ends: where phases end, as fractions of the run, the last is 1.
    """
    rows = _rows(shares, height)
    labels = _labels(names, rows)
    palette = _Palette(colour=colour, ascii_only=ascii_only)
    picture = Text()
    for number, row in enumerate(rows):
        mark = {0: "100% ", height // 2: " 50% ", height - 1: "  0% "}.get(number, "     ")
        picture.append(mark + ("|" if ascii_only else "┤" if mark.strip() else "│"))
        for column, cell in enumerate(row):
            picture.append(*palette.draw(cell, labels.get((number, column))))
        picture.append("\n")
    picture.append(_axis(ends, len(shares), ascii_only=ascii_only))
    picture.append(palette.legend(names, shares))
    return picture


def schedule_strip(shares: Sequence[Sequence[float]], *, colour: bool = True, ascii_only: bool = False) -> Text:
    """Return the picture as one line without axes, each column showing its two largest streams; shares as above."""
    palette = _Palette(colour=colour, ascii_only=ascii_only)
    strip = Text()
    for cell in _rows(shares, 1)[0]:
        strip.append(*palette.draw(cell, None))
    return strip


def strip_legend(names: Sequence[str], *, colour: bool = True, ascii_only: bool = False) -> Text:
    """Return one line that says which colour (or glyph) is which stream."""
    palette, text = _Palette(colour=colour, ascii_only=ascii_only), Text()
    for stream, name in enumerate(names):
        text.append("  " if stream else "").append(*palette.draw(Cell(upper=stream, lower=stream, eighths=0), None))
        text.append(f" {name}")
    return text


def _rows(shares: Sequence[Sequence[float]], height: int) -> list[list[Cell]]:
    columns = [[_cell(column, row / height, (row + 1) / height) for row in range(height)] for column in shares]
    return [[column[row] for column in columns] for row in range(height)]


def _cell(column: Sequence[float], top: float, bottom: float) -> Cell:
    """Return the two streams that fill most of the column between `top` and `bottom` (fractions from the top)."""
    overlaps, start = [], 0.0
    for share in column:
        overlaps.append(max(0.0, min(bottom, start + share) - max(top, start)))
        start += share
    most = sorted(range(len(overlaps)), key=lambda stream: -overlaps[stream])[:2]
    upper, lower = min(most), max(most)
    eighths = round(8 * overlaps[lower] / max(overlaps[upper] + overlaps[lower], 1e-12))
    if eighths == 8:
        upper, eighths = lower, 0
    return Cell(upper=upper, lower=lower, eighths=eighths)


def _labels(names: Sequence[str], rows: Sequence[Sequence[Cell]]) -> dict[tuple[int, int], str]:
    """Return characters of the names by (row, column), each name in the longest stretch of its area."""
    placed = {}
    for stream, name in enumerate(names):
        stretches = [_stretch(cells, stream) for cells in rows]
        longest = max(length for length, _ in stretches)
        if longest < len(name) + 4:
            continue
        candidates = [row for row, (length, _) in enumerate(stretches) if length == longest]
        row = candidates[len(candidates) // 2]
        begin = stretches[row][1] + (longest - len(name) - 2) // 2
        placed.update({(row, begin + offset): character for offset, character in enumerate(f" {name} ")})
    return placed


def _stretch(cells: Sequence[Cell], stream: int) -> tuple[int, int]:
    """Return (length, start) of the longest stretch of cells that hold `stream` alone."""
    best, start = (0, 0), 0
    for column, cell in enumerate([*cells, Cell(upper=-1, lower=-1, eighths=0)]):
        if cell.upper != stream or cell.eighths:
            best = max(best, (column - start, start))
            start = column + 1
    return best


@dataclass(frozen=True, kw_only=True, slots=True)
class _Palette:
    """How streams look: by colour, or by glyph where there is none."""

    colour: bool
    ascii_only: bool

    def draw(self, cell: Cell, label: str | None) -> tuple[str, Style | None]:
        if not self.colour:
            return label or self._glyph(cell.most), None
        background = _colour(cell.upper)
        if label is not None:
            return label, Style(color=_ink(cell.upper), bgcolor=background, bold=True)
        return _EIGHTHS[cell.eighths], Style(color=_colour(cell.lower), bgcolor=background)

    def legend(self, names: Sequence[str], shares: Sequence[Sequence[float]]) -> Text:
        text = Text()
        arrow = "->" if self.ascii_only else "→"
        width = max(len(name) for name in names)
        for stream, name in enumerate(names):
            sample = ("  ", Style(bgcolor=_colour(stream))) if self.colour else (self._glyph(stream) * 2, None)
            text.append("\n" + " " * _MARGIN).append(*sample)
            text.append(f" {name.ljust(width)} {shares[0][stream]:6.1%} {arrow} {shares[-1][stream]:.1%}")
        return text

    def _glyph(self, stream: int) -> str:
        glyphs = (_ASCII_GLYPHS if self.ascii_only else _GLYPHS) + _LETTERS
        return glyphs[stream % len(glyphs)]


def _colour(stream: int) -> str:
    return STREAM_COLOURS[stream % len(STREAM_COLOURS)]


def _ink(stream: int) -> str:
    return "white" if _colour(stream) == "#0072B2" else "black"


def _axis(ends: Sequence[float], columns: int, *, ascii_only: bool) -> str:
    """Return the axis with a tick where each phase ends, and its progress below, as far as there is room."""
    corner, line, tick = ("+", "-", "+") if ascii_only else ("└", "─", "┴")
    ticks = {max(0, round(end * columns) - 1): end for end in ends}
    bar = "".join(tick if column in ticks else line for column in range(columns))
    marks = "0%".ljust(columns + 2)
    for column, end in sorted(ticks.items(), reverse=True):
        label = f"{100 * end:.4g}%"
        start = max(0, min(column - len(label) // 2 + 1, columns + 1 - len(label)))
        if not marks[max(0, start - 1) : start + len(label) + 1].strip():
            marks = marks[:start] + label + marks[start + len(label) :]
    return f"{'':5}{corner}{bar}\n{'':5}{marks.rstrip()}"
