"""Where the target finds each stream.

Idea: a stream that lies in a format the target reads is named as it is; any other needs a place from the user
(--path NAME=PLACE, or one pattern for all), since a config that points at unreadable data fails an hour later, on the
cluster. The price is one more option for trainers with a format of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from curriculum.errors import UserError
from curriculum.export.target import Request
from curriculum.mix import Mix, Stream
from curriculum.mix.fields import EMBEDDED, nearest


def read_places(texts: Collection[str], mix: Mix) -> dict[str, str]:
    """Return what --path NAME=PLACE says, by name. Raises UserError: no such stream, no place."""
    found: dict[str, str] = {}
    for text in texts:
        name, _, place = text.partition("=")
        if not name or not place:
            raise UserError(f"--path {text!r}: wanted NAME=PLACE, or '*=/data/{{stream}}' for all streams")
        if name != "*" and name not in mix.streams:
            raise UserError(
                f"--path {text!r}: no stream {name!r}{nearest(name, mix.streams)}; streams: {', '.join(mix.streams)}"
            )
        if name == "*" and "{stream}" not in place and len(mix.streams) > 1:
            raise UserError(f"--path {text!r} gives all streams one place; write {{stream}} where the name belongs")
        found[name] = place
    return found


def given_place(places: Mapping[str, str], name: str) -> str | None:
    """Return the place that the user gave a stream, or None."""
    place = places.get(name, places.get("*"))
    return None if place is None else place.replace("{stream}", name)


def place_of(request: Request, name: str, *, reads: str, formats: Collection[str] = ()) -> str:
    """Return the place of a stream for a target that `reads` something and understands our `formats`. Raises UserError."""
    given = given_place(request.places, name)
    if given is not None:
        return given
    stream = request.mix.streams[name]
    own = stream.local or stream.remote or ""
    if stream.format in formats and not own.startswith(EMBEDDED):
        return own
    raise UserError(
        f"stream {name!r} lies {_lies(stream)}, and this target reads {reads}; say where it finds the stream: "
        f"--path {name}=PLACE, or for all streams --path '*=/data/{{stream}}'"
    )


def _lies(stream: Stream) -> str:
    if (stream.local or "").startswith(EMBEDDED):
        return "in the embedded testbed"
    return f"in {stream.format} format"


def ignored_orders(mix: Mix) -> tuple[str, ...]:
    """Return in words which streams have an order of their own that a target with its own shuffling will not follow."""
    listed = [name for name, stream in mix.streams.items() if stream.order.kind != "shuffle"]
    subsets = [name for name, stream in mix.streams.items() if stream.subset is not None]
    said = []
    if listed:
        said.append(f"the order inside {', '.join(map(repr, listed))} is not carried over: the trainer shuffles its own way")
    if subsets:
        said.append(f"the subset of {', '.join(map(repr, subsets))} is not carried over: the trainer sees the whole stream")
    return tuple(said)
