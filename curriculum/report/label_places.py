"""Names beside points of a picture, none of them on another.

Idea: the picture is laid out once, so that it is known how large every name and how large the axes are. Then each name, in
the order given, takes the nearest of some places around its point that lies inside the axes, on no other name and on no
other named point; among equally near ones the place that hides the fewest points. A name that stands apart is tied to its
point by a thin line; one that finds no place is left out, and the table below the picture has it. Alternatives: springs
between names (adjustText: another dependency, and another picture with every version). The price: a second layout, some
twenty milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import cos, hypot, pi, sin
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from curriculum.report.figures_style import FAINT, PAPER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

_DIRECTIONS = 16
_DISTANCES = (3.0, 8.0, 14.0, 22.0, 32.0, 44.0, 58.0, 74.0, 92.0)  # points, from a point's edge to its name
_MARK = 5.0  # points: half the width of a named mark, with air
_TIED_FROM = 10.0  # points: a name further away than this is tied to its point
_POINT = 2.5  # points: half the width of a point that had better not be hidden
_OTHER_FONTS = 1.12  # a page's own letters may be that much wider than those measured here
_HIDING = 3.0  # points of distance that one hidden point is worth
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """A name and the place of its point, in the data's own units."""

    name: str
    x: float
    y: float
    bold: bool = False


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in points."""

    left: float
    bottom: float
    right: float
    top: float

    def overlaps(self, other: Box) -> bool:
        """Whether both share more than an edge."""
        return self.left < other.right and other.left < self.right and self.bottom < other.top and other.bottom < self.top

    def lies_in(self, other: Box) -> bool:
        """Whether no part of it is outside of the other."""
        return other.left <= self.left and self.right <= other.right and other.bottom <= self.bottom and self.top <= other.top

    def holds(self, points: Floats) -> int:
        """Return how many points (any number, 2) it hides, in whole or in part."""
        x, y = points[:, 0], points[:, 1]
        across = (self.left - _POINT < x) & (x < self.right + _POINT)
        return int((across & (self.bottom - _POINT < y) & (y < self.top + _POINT)).sum())


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a name stands, in points: its middle is so far to the `right` of its point and `above` it."""

    box: Box
    right: float
    above: float
    distance: float


def place_labels(ax: Axes, labels: Sequence[Label], points: Sequence[tuple[float, float]] = ()) -> list[str]:
    """Write names into `ax`, the most important first, and return those that found a place.

    Call it last: scales and limits must be final. `points` (data units) had better not be hidden: trials, intervals.
    """
    texts = [_written(ax, label) for label in labels]
    figure = ax.get_figure(root=True)
    if figure is None or not labels:
        return []
    figure.draw_without_rendering()
    to_points = 72 / figure.dpi
    extents = [text.get_window_extent() for text in texts]
    boxes = free_places(
        ax.transData.transform([(label.x, label.y) for label in labels]) * to_points,
        [(extent.width * to_points * _OTHER_FONTS, extent.height * to_points) for extent in extents],
        Box(*(float(end) * to_points for end in ax.bbox.extents)),
        ax.transData.transform(np.reshape(points, (-1, 2))) * to_points,
    )
    for text, place in zip(texts, boxes, strict=True):
        _show(text, place)
    return [label.name for label, place in zip(labels, boxes, strict=True) if place is not None]


def free_places(marks: Floats, sizes: Sequence[tuple[float, float]], frame: Box, seen: Floats) -> list[Place | None]:
    """Return a place for every name of these sizes (width, height), None where there is none; all in points.

    `marks` (names, 2) are the named points, `seen` (any number, 2) those that had better not be hidden.
    """
    taken = [Box(x - _MARK, y - _MARK, x + _MARK, y + _MARK) for x, y in marks.tolist()]
    found: list[Place | None] = []
    for (x, y), size in zip(marks.tolist(), sizes, strict=True):
        place = _best_place((x, y), size, frame, taken, seen)
        taken += [] if place is None else [place.box]
        found.append(place)
    return found


def _written(ax: Axes, label: Label) -> Annotation:
    text = ax.annotate(
        label.name, (label.x, label.y), (0, 0), textcoords="offset points", ha="center", va="center",
        fontsize=8.5, fontweight="bold" if label.bold else "normal", zorder=5,
        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.6, "alpha": 0.8},
        arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 3},
    )  # fmt: skip
    text.set_in_layout(False)  # names stand inside the axes, and must not make them smaller
    return text


def _best_place(
    mark: tuple[float, float], size: tuple[float, float], frame: Box, taken: Sequence[Box], seen: Floats
) -> Place | None:
    free = [
        place
        for place in _places(mark, size)
        if place.box.lies_in(frame) and not any(place.box.overlaps(other) for other in taken)
    ]
    return min(free, key=lambda place: place.distance + _HIDING * place.box.holds(seen), default=None)


def _places(mark: tuple[float, float], size: tuple[float, float]) -> Iterator[Place]:
    """Yield places around a mark: first to the right, then all around, ever further."""
    width, height = size
    for distance in _DISTANCES:
        for step in range(_DIRECTIONS):
            angle = 2 * pi * (step if step % 2 == 0 else -step - 1) / (2 * _DIRECTIONS)
            across, up = cos(angle), sin(angle)
            reach = _MARK + distance + _half_size(across, up, width, height)
            right, above = across * reach, up * reach
            x, y = mark[0] + right, mark[1] + above
            box = Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            yield Place(box=box, right=right, above=above, distance=distance)


def _half_size(across: float, up: float, width: float, height: float) -> float:
    """Return how far a box's edge is from its middle in a direction."""
    return min(width / 2 / max(abs(across), 1e-9), height / 2 / max(abs(up), 1e-9), hypot(width, height) / 2)


def _show(text: Annotation, place: Place | None) -> None:
    if place is None:
        text.remove()
        return
    text.set_position((place.right, place.above))
    if text.arrow_patch is not None and place.distance <= _TIED_FROM:
        text.arrow_patch.set_visible(False)


__all__ = ["Box", "Label", "Place", "free_places", "place_labels"]
