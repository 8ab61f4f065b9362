"""A stream's index.json and manifest.json, read and checked without torch.

Idea: everything that must be known before training - how many samples, is every shard there and whole, is it still the
same data - stands in these two small files and in the shards' sizes. Checking contents would mean reading all data;
the price is that a flipped byte of a shard written without hashes is not noticed here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curriculum.errors import DataError

_PARTS = ("raw_data", "zip_data", "raw_meta", "zip_meta")  # the files a shard may consist of


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamIndex:
    """What index.json says: samples, shards, and a sha256 over every shard's samples, sizes in bytes and hashes."""

    samples: int
    shards: int
    digest: str


def read_index(name: str, folder: Path) -> StreamIndex:
    """Return the index of stream `name` in `folder`. Raises DataError: missing, unreadable, or without samples."""
    shards = _shards(name, folder)
    samples = sum(int(shard["samples"]) for shard in shards)
    if samples == 0:
        raise DataError(f"stream {name!r}: {folder / 'index.json'} lists no samples; pack it again or drop the stream")
    lines = [[shard["samples"], [[part["bytes"], part.get("hashes")] for part in _parts(shard)]] for shard in shards]
    digest = hashlib.sha256(json.dumps(lines, sort_keys=True).encode()).hexdigest()
    return StreamIndex(samples=samples, shards=len(shards), digest=digest)


def check_shards(name: str, folder: Path) -> None:
    """Raise DataError unless every shard of stream `name` lies whole in `folder`, raw or compressed."""
    for shard in _shards(name, folder):
        if any(_is_whole(shard, folder, form) for form in ("raw", "zip")):
            continue
        raise DataError(f"stream {name!r}: {_what_is_wrong(shard, folder)}; copy or pack it again, or give a remote")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return manifest.json beside the index, or {} if there is none. Raises DataError."""
    path = folder / "manifest.json"
    if not path.exists():
        return {}
    try:
        manifest = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); pack the stream again") from error
    if not isinstance(manifest, dict):
        raise DataError(f"{path}: wanted a mapping, got {type(manifest).__name__}; pack the stream again")
    return manifest


def _shards(name: str, folder: Path) -> list[Mapping[str, Any]]:
    path = folder / "index.json"
    try:
        index = json.loads(path.read_text())
        shards = list(index["shards"])
        for shard in shards:
            int(shard["samples"]), _parts(shard)[0]["bytes"]
    except FileNotFoundError as error:
        raise DataError(
            f"stream {name!r}: no index.json in {folder}; correct the stream's `local` (or `split`), or give a `remote`"
        ) from error
    except OSError as error:
        raise DataError(f"stream {name!r}: {path} cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(
            f"stream {name!r}: {path} is damaged ({type(error).__name__}: {error}); copy or pack the stream again"
        ) from error
    return shards


def _parts(shard: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [shard[part] for part in _PARTS if shard.get(part)]


def _is_whole(shard: Mapping[str, Any], folder: Path, form: str) -> bool:
    parts = [shard[part] for part in _PARTS if part.startswith(form) and shard.get(part)]
    return bool(parts) and all(_size(folder / part["basename"]) == part["bytes"] for part in parts)


def _what_is_wrong(shard: Mapping[str, Any], folder: Path) -> str:
    for part in _parts(shard):
        size = _size(folder / part["basename"])
        if size is not None and size != part["bytes"]:
            return f"shard {folder / part['basename']} has {size} bytes, its index.json says {part['bytes']}"
    return f"shard {folder / _parts(shard)[0]['basename']} is missing"


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
