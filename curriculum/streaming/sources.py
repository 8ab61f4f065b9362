"""From a mix's streams to sources: what is passed on, what is refused, what is checked before a run begins.

Idea: a run that would fail after an hour for a missing shard fails here, in its first second, and names stream, path
and way out. Streams with a `remote` are checked as far as they lie here: what is missing is downloaded later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from curriculum.errors import UserError
from curriculum.mix import Mix, Stream
from curriculum.streaming import mosaic
from curriculum.streaming.cache import Room
from curriculum.streaming.index import read_manifest
from curriculum.streaming.mds_source import MDSSource
from curriculum.streaming.shards import Source
from curriculum.streaming.testbed import resolve_local
from curriculum.streaming.token_files import find_tokens

# Mosaic's arguments that say what the mix already says, and what to do instead.
REFUSED_WITH_MIX: Mapping[str, str] = {
    "streams": "the mix names the streams, and its weights replace their proportion, repeat and choose",
    "remote": "the mix names every stream's remote",
    "local": "the mix names every stream's local",
    "epoch_size": "the mix's `samples` is the length of the run",
    "sampling_method": "the mix's weights decide what is sampled",
    "sampling_granularity": "the `window` of a stream's order decides how many neighbours stay together",
    "partition_algo": "the order under a mix depends on no partition",
    "shuffle": "the `order` of each stream decides",
    "shuffle_algo": "the `order` of each stream decides",
    "shuffle_seed": "the mix's `seed` decides",
    "shuffle_block_size": "the `window` of a stream's order decides",
    "batching_method": "batches are consecutive samples of the plan",
}


def refuse_arguments(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raise UserError if an argument that the mix decides was given another value than its default."""
    for name, reason in REFUSED_WITH_MIX.items():
        value = given[name]
        if value is None or value is defaults[name] or value == defaults[name]:
            continue
        raise UserError(f"{name}={value!r} cannot be given together with a mix: {reason}; remove it, or the mix")


def refuse_mix(mix: Mix) -> None:
    """Raise UserError if two streams of the mix share a folder: their samples would silently count twice."""
    places: dict[tuple[str | None, str], str] = {}
    for name, stream in mix.streams.items():
        place = (stream.local or stream.remote, stream.split or "")
        if place in places:
            raise UserError(
                f"streams {places[place]!r} and {name!r} lie in the same folder {place[0]}; "
                "every stream needs its own: copy one, or make them one stream"
            )
        places[place] = name


@dataclass(frozen=True, kw_only=True, slots=True)
class Defaults:
    """The arguments of the dataset that are defaults for its streams."""

    split: str | None
    download_retry: int
    download_timeout: float
    validate_hash: str | None
    keep_zip: bool


def find_sources(
    mix: Mix, *, defaults: Defaults, cache_limit: int | None, allow_unsafe_types: bool, document_ids: bool
) -> list[Source]:
    """Return the mix's streams, found, in its order. Raises UserError, DataError, ResourceError."""
    streams = {name: _mosaic_stream(name, stream, defaults) for name, stream in mix.streams.items() if stream.format == "mds"}
    far = [Path(str(each.local)) / str(each.split) for each in streams.values() if each.remote not in (None, each.local)]
    room = Room(cache_limit, far)
    sources: list[Source] = []
    for name, stream in mix.streams.items():
        if name in streams:
            _refuse_document_ids(name, document_ids)
            sources.append(MDSSource(name, streams[name], room=room, allow_unsafe_types=allow_unsafe_types))
        else:
            sources.append(find_tokens(name, stream, document_ids=document_ids))
    _check_limit(cache_limit, sources)
    return sources


def with_tokens_per_sample(mix: Mix, sources: Sequence[Source]) -> Mix:
    """Return the mix with tokens_per_sample filled in, from manifest.json or sequence_length, where weights count tokens."""
    if mix.unit != "tokens":
        return mix
    found = {source.name: source for source in sources}
    return replace(mix, streams={name: _counted(stream, found[name]) for name, stream in mix.streams.items()})


def _counted(stream: Stream, source: Source) -> Stream:
    if stream.tokens_per_sample is not None:
        return stream
    if not isinstance(source, MDSSource):
        return replace(stream, tokens_per_sample=stream.sequence_length)
    tokens = read_manifest(source.folder).get("tokens_per_sample")
    return stream if tokens is None else replace(stream, tokens_per_sample=tokens)


def _mosaic_stream(name: str, stream: Stream, defaults: Defaults) -> Any:
    local = resolve_local(stream.local)
    try:
        made = mosaic.Stream(
            remote=stream.remote,
            local=None if local is None else str(local),
            split=stream.split,
            download_retry=stream.download_retry,
            download_timeout=stream.download_timeout,
            validate_hash=stream.validate_hash,
            keep_zip=stream.keep_zip,
        )
        made.apply_default(asdict(defaults))
    except (ValueError, FileExistsError) as error:  # an unknown kind of remote; a remote without local, used before
        raise UserError(f"stream {name!r}: {error}") from error
    return made


def _refuse_document_ids(name: str, document_ids: bool) -> None:
    if document_ids:
        raise UserError(
            f"document_ids=True needs token files, but stream {name!r} has format: mds; "
            "write the ids as a column of its samples, or drop document_ids"
        )


def _check_limit(limit: int | None, sources: Sequence[Source]) -> None:
    """A limit below four shards would have workers evict what others are about to read."""
    if limit is None:
        return
    for source in sources:
        if isinstance(source, MDSSource) and source.has_remote and limit < 4 * source.largest_shard:
            raise UserError(
                f"cache_limit of {limit} bytes is too low: stream {source.name!r} has shards of {source.largest_shard} bytes, "
                f"and four of the largest must fit; give at least {4 * source.largest_shard}"
            )
