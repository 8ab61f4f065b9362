"""How every picture looks, and how a matplotlib figure becomes a part of a page.

Idea: one way of drawing. Pictures in files, in notebooks and in the page are the same matplotlib figures; for the page the
SVG is rewritten a little: the few neutral colours become the page's own variables, so that the picture follows a dark
screen, text takes the page's font, ids get a prefix of their own, and points get titles to hover over. Alternatives:
writing SVG by hand (a second way of drawing), or a JavaScript library in the page (megabytes, and nothing without it).
The price: neutral colours must be the ones named here, exactly.
"""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curriculum.report.schedule_chart import STREAM_COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, FAINT, PAPER, BLANK = "#1b1c1e", "#8a8d91", "#fefefd", "#c9cbce"  # become the page's variables
MODE_COLOURS = {"general": "#0072B2", "shallow": "#E69F00", "unformed": BLANK}  # of Okabe and Ito; told apart in grey
LEADER, CONTROL = "#0072B2", "#D55E00"
HATCHES = ("", "///", "...", "xxx")  # beyond eight streams the colours come again, hatched
WIDE, NARROW = 9.0, 3.5  # inches: a page, a phone
DOTS = 150  # per inch of a PNG
_SVG = "http://www.w3.org/2000/svg"
_LINK = "http://www.w3.org/1999/xlink"
_STYLE: dict[Any, Any] = {  # matplotlib names every key in a type of its own, and only in its newest version
    "svg.fonttype": "none",
    "text.parse_math": False,  # names are text, also those with two dollars
    "svg.hashsalt": "curriculum",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "savefig.facecolor": PAPER,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    "hatch.linewidth": 0.6,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """A figure with what those need who cannot see it, and `hover` texts by the gid of a collection, one a point."""

    name: str
    title: str
    description: str
    figure: Figure
    hover: Mapping[str, Sequence[str]] = field(default_factory=dict)


@contextmanager
def style() -> Iterator[None]:
    """Draw in the house's style; matplotlib's settings are as before afterwards."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        yield


def stream_colour(stream: int) -> str:
    """Return the colour of the stream of this index: the one it has in the terminal."""
    return STREAM_COLOURS[stream % len(STREAM_COLOURS)]


def stream_hatch(stream: int) -> str:
    """Return the hatch of the stream of this index, none for the first eight."""
    return HATCHES[stream // len(STREAM_COLOURS) % len(HATCHES)]


def save(drawing: Drawing, folder: Path) -> tuple[Path, Path]:
    """Write a drawing as NAME.svg and NAME.png into `folder`, and return both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    vector, raster = folder / f"{drawing.name}.svg", folder / f"{drawing.name}.png"
    with style():
        drawing.figure.savefig(vector, metadata={"Date": None, "Title": drawing.title, "Description": drawing.description})
        drawing.figure.savefig(raster, dpi=DOTS, metadata={"Title": drawing.title, "Description": drawing.description})
    return vector, raster


def inline_svg(drawing: Drawing, prefix: str) -> str:
    """Return a drawing as an <svg> element for a page; `prefix` makes its ids unlike those of any other drawing."""
    buffer = io.BytesIO()
    with style():
        drawing.figure.savefig(buffer, format="svg", facecolor="none", metadata={"Date": None, "Creator": None, "Format": None})
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _LINK)
    root = ET.fromstring(buffer.getvalue())
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    _hover(root, drawing.hover)
    _prefix_ids(root, prefix)
    for element in root.iter():  # attributes alone: what a text says, its numbers too, stays as it is
        element.attrib |= {key: _themed(value) for key, value in element.attrib.items()}
    _describe(root, drawing, prefix)
    return ET.tostring(root, encoding="unicode")


def _describe(root: ET.Element, drawing: Drawing, prefix: str) -> None:
    """Give the picture its name, its words and its size in pixels, so that nothing moves when it appears."""
    _, _, width, height = (float(number) for number in str(root.get("viewBox")).split())
    root.attrib |= {"width": f"{width * 96 / 72:.0f}", "height": f"{height * 96 / 72:.0f}", "role": "img"}
    root.attrib |= {"aria-labelledby": f"{prefix}-title", "aria-describedby": f"{prefix}-desc"}
    title, description = ET.Element(f"{{{_SVG}}}title"), ET.Element(f"{{{_SVG}}}desc")
    title.text, description.text = drawing.title, drawing.description
    title.set("id", f"{prefix}-title")
    description.set("id", f"{prefix}-desc")
    root.insert(0, title)
    root.insert(1, description)


def _hover(root: ET.Element, hover: Mapping[str, Sequence[str]]) -> None:
    for group in root.iter(f"{{{_SVG}}}g"):
        texts = hover.get(group.get("id", ""), ())
        points = list(group.iter(f"{{{_SVG}}}use")) or list(group.iter(f"{{{_SVG}}}path"))  # a lone point is drawn as a path
        for point, text in zip(points, texts, strict=False):
            ET.SubElement(point, f"{{{_SVG}}}title").text = text


def _prefix_ids(root: ET.Element, prefix: str) -> None:
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{prefix}-{value}")
            elif key.endswith("href") and value.startswith("#"):
                element.set(key, f"#{prefix}-{value[1:]}")
            elif "url(#" in value:
                element.set(key, value.replace("url(#", f"url(#{prefix}-"))


def _themed(value: str) -> str:
    """Return an attribute with the page's colours and font, and with two decimals."""
    for colour, variable in ((INK, "ink"), (FAINT, "faint"), (PAPER, "paper"), (BLANK, "blank")):
        value = re.sub(colour, f"var(--{variable})", value, flags=re.IGNORECASE)
    value = re.sub(r"font-family: [^;]*(;|$)", "", value)
    value = re.sub(r"(font: (?:[\w.]+ )*[\d.]+px) [^;]*", r"\1 var(--font)", value)
    return re.sub(r"(\d+\.\d{2})\d+", r"\1", value)
