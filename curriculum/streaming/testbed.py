"""The embedded testbeds' streams as MDS folders, generated once into the cache.

Idea: a stranger's first search must need no data, and yet go through the same loader as real data. So the generator's
samples are written as ordinary MDS streams, once per stream and seed, and `local: testbed:NAME` in a mix or study
stands for the folder. Shipping the files instead would add tens of megabytes to the package; generating in memory would
be a side door around the loader. The price is a cache that must never lie: its folder is named after a hash of what the
generator yields, it is built beside its place and moved there whole, and it is rebuilt if a file has not its size.

    <cache>/testbed/<stream>-seed<seed>-<generator hash>/{index.json, shard.*.mds, manifest.json, heldout/...}
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from platformdirs import user_cache_path

from curriculum.errors import ResourceError, UserError
from curriculum.probe.testbeds import generate_samples, stream_size, testbed_of
from curriculum.streaming.mds import write_stream
from curriculum.units import keyed_seed

_FINISHED = "finished.json"  # written last: every file and its size
_PREFIX = "testbed:"
_HASHED_SAMPLES = 256
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def resolve_local(local: str | None) -> str | Path | None:
    """Return the folder that a mix's `local` means: of `testbed:NAME[@SEED]` the cached stream, else itself."""
    if local is None or not local.startswith(_PREFIX):
        return local
    match = re.fullmatch(r"([^@]+?)(?:@([0-9]+))?", local.removeprefix(_PREFIX))
    if match is None:
        raise UserError(f"wanted testbed:NAME or testbed:NAME@SEED with a whole number, got {local!r}")
    return testbed_folder(match[1], int(match[2] or 0))


def testbed_folder(name: str, seed: int = 0, cache: Path | None = None) -> Path:
    """Return the MDS folder of the testbed stream `name`, generating it if it is not in the cache.

    The folder holds the training samples, `heldout/` holds others (2048, or as many as the testbed says); both have the
    columns `tokens` and `loss_mask`, uint8 of shape (the testbed's sequence length,). `cache` is the cache's root (default:
    $XDG_CACHE_HOME/curriculum). Safe to call from several processes at once. Raises UserError (unknown name),
    ResourceError (the cache cannot be written).
    """
    testbed_of(name)
    root = (user_cache_path("curriculum") if cache is None else cache) / "testbed"
    folder = root / f"{name}-seed{seed}-{_generator_hash(name)}"
    if _is_finished(folder):
        return folder
    with _as_resource_error(folder):
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{folder.name}.lock"):
            if not _is_finished(folder):
                _build(folder, name, seed)
    return folder


@lru_cache
def _generator_hash(name: str) -> str:
    """Return a hash of what the generator yields: a changed generator, or numpy, never meets an old cache."""
    arrays = generate_samples(name, _HASHED_SAMPLES, 0)
    state = hashlib.sha256(f"{stream_size(name)} {testbed_of(name).heldout} shards with hashes".encode())
    for array in arrays:
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()[:12]


def _is_finished(folder: Path) -> bool:
    """Whether every file of the folder is there in full."""
    try:
        sizes: dict[str, int] = json.loads((folder / _FINISHED).read_text())
        return all((folder / file).stat().st_size == size for file, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def _build(folder: Path, name: str, seed: int) -> None:
    """Build the folder beside its place and move it there; the caller holds the lock, so leftovers are nobody's."""
    building = folder.with_name(f".{folder.name}.building")
    for leftover in (building, folder):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        _write(building, name, stream_size(name), seed)
        _write(building / "heldout", name, testbed_of(name).heldout, keyed_seed("heldout", seed))
        files = [path for path in sorted(building.rglob("*")) if path.is_file()]
        sizes = {str(path.relative_to(building)): path.stat().st_size for path in files}
        (building / _FINISHED).write_text(json.dumps(sizes, indent=1))
        building.replace(folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def _write(folder: Path, name: str, samples: int, seed: int) -> None:
    tokens, loss_mask = generate_samples(name, samples, seed)
    write_stream(folder, {"tokens": tokens, "loss_mask": loss_mask})
    manifest: dict[str, Any] = {
        "stream": name,
        "seed": seed,
        "samples": samples,
        "tokens_per_sample": int(tokens.shape[1]),
        "vocabulary": testbed_of(name).vocabulary,
        "generator": _generator_hash(name),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))


@contextmanager
def _as_resource_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = "the disk is full" if error.errno in _NO_SPACE else os.strerror(error.errno or errno.EIO)
        raise ResourceError(
            f"the testbed stream {folder.name} could not be written to {folder.parent}: {reason}; "
            "free some megabytes there, or set XDG_CACHE_HOME to a folder with space that you may write to"
        ) from error
