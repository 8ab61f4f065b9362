"""What is known of streams without downloading or training anything: how many samples, how many tokens a sample.

Idea: small files beside the data say it (index.json, manifest.json). What is not here yet stays unknown and is said to
be; a stream that should be here and is not is the user's mistake, told at its line in the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from curriculum.errors import FileError, UserError
from curriculum.mix import Document, FieldError, Node, Stream
from curriculum.mix.fields import EMBEDDED, is_url, nearest


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownStream:
    """What is known of a stream without downloading: samples (None: unknown), tokens a sample, and from where."""

    size: int | None
    tokens_per_sample: int | None
    source: str


def find_streams(streams: Mapping[str, Stream], document: Document, sizes: Mapping[str, int]) -> dict[str, KnownStream]:
    """Return what is known of each stream. Raises FileError at the stream's line: missing, empty, damaged."""
    for name in sizes:
        if name not in streams:
            known = ", ".join(streams)
            raise UserError(f"a size was given for stream {name!r}{nearest(name, streams)}; streams: {known}")
    found = {}
    for name, stream in streams.items():
        with _at(document.root.find(("streams", name))):
            found[name] = _given(stream, sizes[name]) if name in sizes else find_stream(name, stream)
    return found


def find_stream(name: str, stream: Stream) -> KnownStream:
    """Return what is known of one stream without downloading. Raises DataError, UserError."""
    if stream.local is not None and stream.local.startswith(EMBEDDED):
        return _find_embedded(stream.local.removeprefix(EMBEDDED))
    if stream.format != "mds":
        return _find_tokens(name, stream)
    folder = _folder_with_index(stream)
    if folder is None:
        reason = "unknown: not downloaded yet; give its size, or read it once"
        return KnownStream(size=None, tokens_per_sample=stream.tokens_per_sample, source=reason)
    return _find_mds(name, stream, folder)


def _given(stream: Stream, size: int) -> KnownStream:
    if size < 1:
        raise UserError(f"a stream's size must be at least 1 sample, got {size}")
    tokens = stream.tokens_per_sample or (stream.sequence_length if stream.format != "mds" else None)
    return KnownStream(size=size, tokens_per_sample=tokens, source="given")


def _find_embedded(name: str) -> KnownStream:
    from curriculum.probe.testbeds import testbed_of

    found = testbed_of(name)
    return KnownStream(size=found.size(name), tokens_per_sample=found.sequence_length, source="embedded testbed")


def _find_mds(name: str, stream: Stream, folder: Path) -> KnownStream:
    from curriculum.streaming.index import check_shards, read_index, read_manifest

    size = read_index(name, folder).samples
    if stream.remote is None:
        check_shards(name, folder)
    tokens = stream.tokens_per_sample or read_manifest(folder).get("tokens_per_sample")
    return KnownStream(size=size, tokens_per_sample=tokens, source=str(folder / "index.json"))


def _find_tokens(name: str, stream: Stream) -> KnownStream:
    from curriculum.streaming.token_files import find_tokens

    samples = find_tokens(name, stream).index.samples
    tokens = stream.tokens_per_sample or stream.sequence_length
    return KnownStream(size=samples, tokens_per_sample=tokens, source=f"{stream.format} files at {stream.local}")


def _folder_with_index(stream: Stream) -> Path | None:
    """Return where index.json lies or, if nothing can be downloaded, should lie; None if it is still far away."""
    places = [Path(place) for place in (stream.local, stream.remote) if place is not None and not is_url(place)]
    folders = [place / (stream.split or "") for place in places]
    for folder in folders:
        if (folder / "index.json").exists():
            return folder
    return None if stream.remote is not None and is_url(stream.remote) else folders[-1]


@contextmanager
def _at(node: Node) -> Iterator[None]:
    """Give errors about data the file and line of the stream that names the data."""
    try:
        yield
    except FieldError as error:
        raise node.find(error.path).fail(error.reason) from None
    except UserError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(str(error), path=node.document.path, line=node.line) from error
