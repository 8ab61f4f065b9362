"""From a mix's streams to Mosaic's: what is passed on, what is refused, what is checked before a run begins.

Idea: a run that would fail after an hour for a missing shard fails here, in its first second, and names stream, path
and way out. Streams with a `remote` are checked as far as they lie here: what is missing is downloaded later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from curriculum.errors import CurriculumError, DataError, UserError
from curriculum.mix import Mix, Stream
from curriculum.streaming import mosaic
from curriculum.streaming.index import check_shards, read_index, read_manifest
from curriculum.streaming.testbed import resolve_local

# Mosaic's arguments that say what the mix already says, and what to do instead.
REFUSED_WITH_MIX: Mapping[str, str] = {
    "streams": "the mix names the streams, and its weights replace their proportion, repeat and choose",
    "remote": "the mix names every stream's remote",
    "local": "the mix names every stream's local",
    "epoch_size": "the mix's `samples` is the length of the run",
    "sampling_method": "the mix's weights decide what is sampled",
    "sampling_granularity": "the `window` of a stream's order decides how many neighbours stay together",
    "partition_algo": "the order under a mix depends on no partition",
    "num_canonical_nodes": "the order of a mix has its `lanes`, and lanes other than 1 are not supported yet",
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
    """Raise UserError if the mix asks for what this loader cannot do: formats other than MDS, folders shared by streams."""
    places: dict[tuple[str | None, str], str] = {}
    for name, stream in mix.streams.items():
        if stream.format != "mds":
            raise UserError(
                f"stream {name!r} has format: {stream.format}, but StreamingDataset reads mds only; "
                "pack it with `curriculum pack`, or train with another exporter's loader"
            )
        place = (stream.local or stream.remote, stream.split or "")
        if place in places:
            raise UserError(
                f"streams {places[place]!r} and {name!r} lie in the same folder {place[0]}; "
                "every stream needs its own: copy one, or make them one stream"
            )
        places[place] = name


class NamedStream(mosaic.Stream):  # type: ignore[misc]  # Mosaic ships no types
    """Mosaic's Stream, knowing its name in the mix, so that whatever is wrong with its data is told by that name."""

    def __init__(self, name: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.name = name

    @property
    def folder(self) -> Path:
        """Where index.json lies (after a download, if there is a remote)."""
        return Path(str(self.local)) / str(self.split)

    def get_shards(self, world: mosaic.World, allow_unsafe_types: bool) -> list[Any]:
        """Return the shard readers, as Mosaic's does. Raises DataError if something is missing, empty or damaged."""
        if self.remote is None:
            read_index(self.name, self.folder)
            check_shards(self.name, self.folder)
        try:
            shards: list[Any] = super().get_shards(world, allow_unsafe_types)
        except CurriculumError:
            raise
        except Exception as error:  # a cloud provider's client may raise anything
            raise DataError(
                f"stream {self.name!r}: no usable index.json from {self.remote or self.folder} "
                f"({type(error).__name__}: {error}); correct its `remote`, `local` or `split`"
            ) from error
        read_index(self.name, self.folder)
        return shards


def mosaic_streams(mix: Mix) -> list[NamedStream]:
    """Return Mosaic streams for the mix's, in its order. Raises UserError, DataError."""
    return [_mosaic_stream(name, stream) for name, stream in mix.streams.items()]


def with_tokens_per_sample(mix: Mix, streams: list[NamedStream]) -> Mix:
    """Return the mix with tokens_per_sample filled in from the streams' manifest.json where weights count tokens."""
    if mix.unit != "tokens":
        return mix
    named = {stream.name: stream for stream in streams}
    return replace(mix, streams={name: _counted(stream, named[name].folder) for name, stream in mix.streams.items()})


def _counted(stream: Stream, folder: Path) -> Stream:
    tokens = read_manifest(folder).get("tokens_per_sample") if stream.tokens_per_sample is None else None
    return stream if tokens is None else replace(stream, tokens_per_sample=tokens)


def _mosaic_stream(name: str, stream: Stream) -> NamedStream:
    local = resolve_local(stream.local)
    try:
        return NamedStream(
            name,
            remote=stream.remote,
            local=None if local is None else str(local),
            split=stream.split,
            download_retry=stream.download_retry,
            download_timeout=stream.download_timeout,
            validate_hash=stream.validate_hash,
            keep_zip=stream.keep_zip,
        )
    except (ValueError, FileExistsError) as error:  # an unknown kind of remote; a remote without local, used before
        raise UserError(f"stream {name!r}: {error}") from error
