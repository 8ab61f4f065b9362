"""The pictures of a study as matplotlib figures: schedules, trajectories, gains, trials, parameter importance.

Idea: a function a picture, from plain values (phases, trajectories, intervals), so that a notebook draws its own data as
well as a study's. matplotlib is imported when one is called. `width` is in inches: `WIDE` for a page, `NARROW` for a
phone, where panels stand below one another instead of beside. The price: wording and sizes are fixed here; whoever wants
others has the figure and its axes in hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from curriculum.errors import UserError
from curriculum.mix import Phase
from curriculum.mix.fields import nearest
from curriculum.plan.schedule import phase_ends, proportions
from curriculum.probe import Trajectory
from curriculum.probe.modes import HYSTERESIS
from curriculum.report.figures_style import (
    FAINT,
    INK,
    MODE_COLOURS,
    NARROW,
    PAPER,
    WIDE,
    stream_colour,
    stream_hatch,
    style,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
_NARROW_BELOW = 6.0  # inches
_LABEL_POINTS = 5.2  # width of a letter inside an area
_STRIP = 0.11  # inches a seed


def schedule_figure(schedules: Mapping[str, Sequence[Phase]], streams: Sequence[str], *, width: float = WIDE) -> Figure:
    """Return each named schedule as stacked areas: shares of the streams (the first on top) over the run."""
    from matplotlib.figure import Figure

    columns = min(len(schedules), 2 if width < _NARROW_BELOW else 4)
    rows = ceil(len(schedules) / columns)
    with style():
        figure = Figure(figsize=(width, 1.45 * rows + 0.75), layout="constrained")
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        panel = 72 * (width - 0.6) / columns
        for ax, (name, phases) in zip(axes, schedules.items(), strict=False):
            _draw_schedule(ax, phases, streams, panel)
            ax.set_title(_shortened(name, panel))
        for ax in axes[len(schedules) :]:
            ax.set_axis_off()
        for ax in axes[max(0, len(schedules) - columns) : len(schedules)]:
            ax.tick_params(labelbottom=True)
            for label, side in zip(ax.get_xticklabels(), ("left", "center", "right"), strict=True):
                label.set_horizontalalignment(side)
        _stream_legend(figure, streams, width)
        figure.supxlabel("share of the run", fontsize=9)
        figure.supylabel("share of the samples", fontsize=9)
    return figure


def _draw_schedule(ax: Axes, phases: Sequence[Phase], streams: Sequence[str], panel: float) -> None:
    ends, shares = schedule_points(phases, streams)
    top = 1.0 - np.cumsum(np.vstack([np.zeros(len(ends)), shares.T]), axis=0)
    for index in range(len(streams)):
        ax.fill_between(
            ends, top[index + 1], top[index],
            facecolor=stream_colour(index), edgecolor=PAPER, linewidth=0.6, hatch=stream_hatch(index) or None,
        )  # fmt: skip
    _label_areas(ax, ends, top, streams, panel)
    ax.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    ax.set_xticklabels(["0%", "50%", "100%"])
    ax.set_yticklabels(["0%", "50%", "100%"])


def schedule_points(phases: Sequence[Phase], streams: Sequence[str]) -> tuple[Array, Array]:
    """Return where shares change (points,), as fractions of the run, and the shares there (points, streams).

    A phase has a point at its begin and one at its end, so that a step is a wall.
    """
    stops = [float(end) for end in phase_ends(phases)]
    positions, rows = [], []
    for phase, start, stop in zip(phases, [0.0, *stops[:-1]], stops, strict=True):
        for place, weights in ((start, phase.weights), (stop, phase.to or phase.weights)):
            share = dict(zip(weights, map(float, proportions(weights)), strict=True))
            positions.append(place)
            rows.append([share.get(name, 0.0) for name in streams])
    return np.asarray(positions), np.asarray(rows)


def _label_areas(ax: Axes, ends: Array, top: Array, streams: Sequence[str], panel: float) -> None:
    """Write a stream's name into the widest part of its area that has room for it."""
    for index, name in enumerate(streams):
        places = []
        for left in range(0, len(ends), 2):
            lower, upper = top[index + 1, left : left + 2], top[index, left : left + 2]
            room = float(min(upper) - max(lower))
            if room > 0.14 and (ends[left + 1] - ends[left]) * panel > _LABEL_POINTS * len(name):
                places.append((room, (ends[left] + ends[left + 1]) / 2, (min(upper) + max(lower)) / 2))
        if places:
            _, x, y = max(places)
            ink = "#ffffff" if stream_colour(index) == "#0072B2" else "#000000"
            ax.text(x, y, name, ha="center", va="center", fontsize=7.5, color=ink)


def _stream_legend(figure: Figure, streams: Sequence[str], width: float) -> None:
    from matplotlib.patches import Patch

    patches = [
        Patch(facecolor=stream_colour(index), edgecolor=PAPER, hatch=stream_hatch(index) or None, label=name)
        for index, name in enumerate(streams)
    ]
    letters = max(len(name) for name in streams) + 6
    columns = max(1, min(len(streams), int(72 * width / (_LABEL_POINTS * letters))))
    figure.legend(handles=patches, loc="outside upper left", ncols=columns, handlelength=1.2, columnspacing=1.2)


def _shortened(name: str, points: float) -> str:
    most = max(8, int(points / 5.6))
    return name if len(name) <= most else f"{name[: most - 1]}…"


def trajectory_figure(
    runs: Mapping[str, Sequence[Trajectory]], probe: str, *, burn_in: float = 0.0, width: float = WIDE
) -> Figure:
    """Return one probe over the length of runs: each seed's margin and their mean above, each seed's modes below.

    `runs` holds trajectories by the curriculum's name; `burn_in` is a share of the run. A reading speaks for the stretch
    before it, so a mode's colour ends at its reading; a hop is marked where the new mode begins. Raises UserError for a probe
    that no run was asked.
    """
    from matplotlib.figure import Figure

    _check_probe(runs, probe)
    beside = width >= _NARROW_BELOW
    heights = [height for of in (list(runs.values())[:1] if beside else runs.values()) for height in (1.5, _strip(runs, of))]
    with style():
        figure = Figure(figsize=(width, sum(heights) + (0.9 if beside else 1.5)), layout="constrained")
        axes = figure.subplots(len(heights), len(runs) if beside else 1, sharex=True, squeeze=False, height_ratios=heights)
        for index, (name, of) in enumerate(runs.items()):
            above, below = axes[:2, index] if beside else axes[2 * index : 2 * index + 2, 0]
            tables = [_of_probe(trajectory, probe) for trajectory in of]
            tables = [table for table in tables if len(table)]
            _draw_margins(above, tables, burn_in)
            _draw_modes(below, tables)
            above.set_title(f"{name} ({len(tables)} {'seed' if len(tables) == 1 else 'seeds'})")
            if index == 0 or not beside:
                above.set_ylabel("margin")
                below.set_ylabel("seeds")
        for ax in axes[-1]:
            ax.set_xlabel("share of the run")
        _mode_legend(figure, width)
    return figure


def _check_probe(runs: Mapping[str, Sequence[Trajectory]], probe: str) -> None:
    tables = [trajectory.table for of in runs.values() for trajectory in of]
    known = list(dict.fromkeys(str(name) for table in tables for name in table["probe"]))
    if probe not in known:
        listed = f"their probes: {', '.join(known)}" if known else "they have no readings at all"
        raise UserError(f"no run was asked the probe {probe!r}{nearest(probe, known)}; {listed}")


def _strip(runs: Mapping[str, Sequence[Trajectory]], _: Sequence[Trajectory]) -> float:
    return max(0.3, _STRIP * max(len(of) for of in runs.values()))


def _of_probe(trajectory: Trajectory, probe: str) -> pd.DataFrame:
    table = trajectory.table
    found = table[table["probe"] == probe].copy()
    found["share"] = found["position"] / table["position"].max()
    return found


def _draw_margins(ax: Axes, tables: Sequence[pd.DataFrame], burn_in: float) -> None:
    for table in tables:
        ax.plot(table["share"], table["margin"], color=FAINT, linewidth=0.8, alpha=0.7)
    if tables and all(list(table["share"]) == list(tables[0]["share"]) for table in tables):
        mean = np.mean([table["margin"] for table in tables], axis=0)
        ax.plot(tables[0]["share"], mean, color=INK, linewidth=1.8)
    for threshold in (HYSTERESIS, -HYSTERESIS):
        ax.axhline(threshold, color=INK, linewidth=0.7, linestyle=(0, (4, 3)))
    if burn_in:
        ax.axvspan(0, burn_in, facecolor=FAINT, alpha=0.18, linewidth=0)
        ax.text(0.01, 0.97, "burn-in", fontsize=7.5, va="top")
    ax.set(xlim=(0, 1), ylim=(-1.02, 1.02), yticks=[-1, 0, 1])


def _draw_modes(ax: Axes, tables: Sequence[pd.DataFrame]) -> None:
    """Draw a row a seed, coloured by mode, with a triangle at each hop."""
    for row, table in enumerate(tables):
        stays = mode_stays(list(table["share"]), list(table["mode"]))
        for mode, start, stop in stays:
            ax.broken_barh([(start, stop - start)], (row + 0.06, 0.88), facecolor=MODE_COLOURS[mode], linewidth=0)
        formed = [stay for stay in stays if stay[0] != "unformed"]
        for (before, *_), (after, start, _) in pairwise(formed):
            if before != after:
                marker = "^" if after == "general" else "v"
                ax.plot(
                    [start], [row + 0.5], marker=marker, markersize=4.5, color="#ffffff",
                    markeredgecolor="#000000", markeredgewidth=0.7, clip_on=False,
                )  # fmt: skip
    ax.set(xlim=(0, 1), ylim=(max(1, len(tables)), 0), yticks=[], xticks=[0, 0.25, 0.5, 0.75, 1])
    ax.set_xticklabels(["0%", "25%", "50%", "75%", "100%"])
    ax.spines["left"].set_visible(False)


def mode_stays(ends: Sequence[float], modes: Sequence[str]) -> list[tuple[str, float, float]]:
    """Return (mode, start, stop) of the stretches of one mode; a reading speaks for the stretch before it."""
    stays: list[tuple[str, float, float]] = []
    start = 0.0
    for end, mode in zip(ends, modes, strict=True):
        if stays and stays[-1][0] == mode:
            stays[-1] = (mode, stays[-1][1], end)
        else:
            stays.append((mode, start, end))
        start = end
    return stays


def _mode_legend(figure: Figure, width: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Patch | Line2D] = [Patch(facecolor=colour, label=mode) for mode, colour in MODE_COLOURS.items()]
    for marker, words in (("^", "hop to general"), ("v", "hop to shallow")):
        look = {"marker": marker, "color": "none", "markerfacecolor": "#ffffff", "markeredgecolor": "#000000"}
        handles.append(Line2D([], [], label=words, markersize=5, **look))  # type: ignore[arg-type]
    handles.append(Line2D([], [], color=INK, linewidth=1.8, label="mean margin"))
    handles.append(Line2D([], [], color=INK, linewidth=0.7, linestyle=(0, (4, 3)), label=f"±{HYSTERESIS:g}"))
    columns = 2 if width < _NARROW_BELOW else len(handles)
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, handlelength=1.4, columnspacing=1.2)


__all__ = ["NARROW", "WIDE", "mode_stays", "schedule_figure", "schedule_points", "trajectory_figure"]
