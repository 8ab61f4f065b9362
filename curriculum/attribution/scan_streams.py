"""What `scan` is given, as streams: places on the command line, or the streams of a mix.

Idea: a place says by what lies there which format it has, so that a folder, a Megatron prefix or an array can be scanned
before any mix names it. A mix says more (splits, remotes, token_dtype, windows), and then only its names are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from curriculum.errors import UserError
from curriculum.mix import Mix, Phase, Stream
from curriculum.mix.fields import EMBEDDED, is_url, nearest
from curriculum.streaming.shards import Source

_ARRAYS = (".npy", ".ds", ".bin")


def streams_of_mix(mix: Mix, names: Sequence[str]) -> dict[str, Stream]:
    """Return the mix's streams of these names (all, without any), whole and without their order. Raises UserError."""
    for name in names:
        if name not in mix.streams:
            raise UserError(
                f"mix {mix.name!r} has no stream {name!r}{nearest(name, mix.streams)}; streams: {', '.join(mix.streams)}"
            )
    return {name: stream for name, stream in mix.streams.items() if not names or name in names}


def streams_at(places: Sequence[str], sequence_length: int | None) -> dict[str, Stream]:
    """Return streams at PLACE or NAME=PLACE, by name. Raises UserError: nothing there, no length, a name twice."""
    found: dict[str, Stream] = {}
    for text in places:
        name, place = _named(text)
        if name in found:
            raise UserError(f"two streams are named {name!r}; name one of them: OTHER={place}")
        found[name] = _stream_at(name, place, sequence_length)
    return found


def open_streams(streams: dict[str, Stream]) -> list[Source]:
    """Return the streams, found and checked as for training. Raises UserError, DataError, ResourceError."""
    from curriculum.streaming.sources import Defaults, find_sources

    whole = {name: replace(stream, subset=None) for name, stream in streams.items()}
    mix = Mix(name="scan", samples=1, streams=whole, phases=(Phase(until=1, weights=dict.fromkeys(whole, 1)),))  # type: ignore[arg-type]
    defaults = Defaults(split=None, download_retry=2, download_timeout=60, validate_hash=None, keep_zip=False)
    return find_sources(mix, defaults=defaults, cache_limit=None, allow_unsafe_types=False, document_ids=False)


def _named(text: str) -> tuple[str, str]:
    name, equals, place = text.partition("=")
    if equals and name and place and "/" not in name:
        return name, place
    if text.startswith(EMBEDDED):
        return text.removeprefix(EMBEDDED), text
    path = Path(text)
    return (path.stem if path.suffix in _ARRAYS else path.name) or text, text


def _stream_at(name: str, place: str, sequence_length: int | None) -> Stream:
    if place.startswith(EMBEDDED):
        return Stream(local=place)
    if is_url(place):
        raise UserError(
            f"stream {name!r}: {place} is far away; name it in a mix with remote and local, and scan with --mix FILE"
        )
    path = Path(place).absolute()
    if (path / "index.json").exists():
        return Stream(local=str(path))
    prefix = str(path).removesuffix(".bin")
    if Path(f"{prefix}.idx").exists():
        return Stream(local=prefix, format="megatron", sequence_length=_length(name, "megatron", sequence_length))
    if _is_array(path):
        return Stream(local=str(path), format="npy", sequence_length=_length(name, "npy", sequence_length))
    raise UserError(
        f"stream {name!r}: no stream at {place}; wanted a folder with index.json, the prefix of a .bin and an .idx, an array "
        "(.npy, .ds, .bin) or a folder of them, or testbed:NAME"
    )


def _is_array(path: Path) -> bool:
    if path.is_dir():
        return any(file.suffix in _ARRAYS[:2] for file in path.iterdir())
    return path.suffix in _ARRAYS and path.exists()


def _length(name: str, kind: str, sequence_length: int | None) -> int:
    if sequence_length is None:
        raise UserError(f"stream {name!r} is of format {kind}; say how many tokens make a sample: --sequence-length N")
    return sequence_length
