"""A trajectory in the terminal: one line of modes and one of margins per probe."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from curriculum.probe import Trajectory

_GLYPHS = {"general": "█", "shallow": "▒", "unformed": "·"}
_COLOURS = {"general": "green", "shallow": "red", "unformed": "bright_black"}
_LEVELS = "▁▂▃▄▅▆▇█"


def print_trajectory(trajectory: Trajectory, console: Console) -> None:
    """Print each probe's modes (█ general, ▒ shallow, · unformed) and margins (▁ -1 to █ +1) over the run."""
    table = trajectory.table
    width = max(len(str(name)) for name in table["probe"])
    console.print(Text.assemble("modes: ", *(_legend(mode) for mode in _GLYPHS), " margin: ▁ -1 to █ +1"))
    for name, probe in table.groupby("probe", sort=False):
        modes = [str(mode) for mode in probe["mode"]]
        cells = [(_GLYPHS[mode], _COLOURS[mode]) for mode in modes]
        console.print(Text.assemble(f"{name!s:>{width}} ", *cells), soft_wrap=True)
        margins = "".join(_level(float(margin)) for margin in probe["margin"])
        console.print(Text.assemble(" " * (width + 1), margins), soft_wrap=True)


def _legend(mode: str) -> tuple[str, str]:
    return (f"{_GLYPHS[mode]} {mode}  ", _COLOURS[mode])


def _level(margin: float) -> str:
    return _LEVELS[min(len(_LEVELS) - 1, int((margin + 1) / 2 * len(_LEVELS)))]
