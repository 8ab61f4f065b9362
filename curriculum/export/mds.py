"""The plan written out: a data set whose samples lie in the order of the run.

Idea: any reader that plays a data set from its first sample to its last then plays the mix, ramps and orders included,
and shuffles nothing. Samples are written by Mosaic's own MDSWriter with the encodings they had. They are written in
parts, each a small data set that is moved to its place when it is whole; a run that was stopped, killed or met a full
disk goes on with the first part that is missing. In the end one index.json names the shards of all parts. The price is
a copy of everything that is played, repeats included, and a reader that must not shuffle.

    OUT/export.json, part-00000/{index.json, shard.00000.mds, ...}, part-00001/..., index.json (written last)
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from curriculum.errors import ChangedError, UserError
from curriculum.export.deviation import exact
from curriculum.export.output import check_room, full_disk_said
from curriculum.export.record import RECORD, is_list
from curriculum.export.target import Outcome, Request
from curriculum.mix import write_atomically

_PART_BYTES = 1 << 28
_LEAST_PART, _LARGEST_PART = 256, 65_536  # samples
_AT_ONCE = 1024


def export(request: Request) -> Outcome:
    """Write the data set, or go on writing it. Raises UserError, DataError, ChangedError, ResourceError."""
    request.known_sizes("its samples are copied")
    folder = request.output.path
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; this target writes a folder: give another name with --out")
    played = _open(request)
    columns = _columns(request, played)
    per_part = _samples_per_part(played, request.plan.samples)
    _begin(request, folder, played, columns, per_part)
    if not (folder / "index.json").exists():
        _write_parts(request, folder, played, columns, per_part)
    return Outcome(
        verdict="lossless",
        deviations=exact(request),
        files=(folder / "index.json",),
        use=(
            f"StreamingDataset(local={str(folder)!r}, shuffle=False, num_canonical_nodes=1, batch_size=...), "
            "or any reader of MDS, in order"
        ),
        notes=("keep shuffling off, and one canonical node: else each node of several begins at another place of the run",),
    )


def _open(request: Request) -> Any:
    """Return the mix as the loader plays it."""
    from curriculum.streaming import StreamingDataset

    return StreamingDataset(mix=request.mix, batch_size=1)


def _columns(request: Request, played: Any) -> dict[str, str]:
    """Return the columns that all streams share, with their encodings. Raises UserError where streams differ."""
    found: dict[str, dict[str, str]] = {name: _columns_of(request, played, name) for name in request.mix.streams}
    first, *others = found
    for name in others:
        if found[name] != found[first]:
            raise UserError(
                f"streams {first!r} and {name!r} have different columns, {found[first]} and {found[name]}; "
                "one data set needs one kind of sample: pack them alike, or export to grain, which reads streams apart"
            )
    return found[first]


def _columns_of(request: Request, played: Any, name: str) -> dict[str, str]:
    stream = request.mix.streams[name]
    if stream.format != "mds":
        dtype = _first_sample(request, played, name)["tokens"].dtype
        return {"tokens": f"ndarray:{dtype.name}:{stream.sequence_length}"}
    from curriculum.streaming.testbed import resolve_local

    place = Path(resolve_local(stream.local) or stream.remote or "") / (stream.split or "")
    shard = json.loads((place / "index.json").read_text())["shards"][0]
    return dict(zip(shard["column_names"], shard["column_encodings"], strict=True))


def _first_sample(request: Request, played: Any, name: str) -> Mapping[str, Any]:
    """Return one sample of a token stream."""
    from curriculum.streaming.token_files import find_tokens

    source = find_tokens(name, request.mix.streams[name])
    return source.open(0).read(np.zeros(1, dtype=np.int64))[0]


def _samples_per_part(played: Any, samples: int) -> int:
    """Return how many samples make a part: some 256 MB, judging by the first ones, and some seconds of writing at most."""
    looked_at = played.__getitems__(np.arange(min(16, samples)))
    size = max(sum(np.asarray(value).nbytes for value in sample.values()) for sample in looked_at)
    return max(_LEAST_PART, min(_LARGEST_PART, _PART_BYTES // max(size, 1)))


def _begin(request: Request, folder: Path, played: Any, columns: dict[str, str], per_part: int) -> None:
    """Record what is written here, or see that it is the same. Raises ChangedError, UserError."""
    data = played.state_dict(0, True)["streams"]
    record = {
        "fingerprint": request.mix.fingerprint(),
        "samples": request.plan.samples,
        "sizes": dict(request.sizes),
        "data": {name: data[name]["digest"] for name in request.mix.streams},
        "columns": columns,
        "samples_per_part": per_part,
    }
    path = folder / RECORD
    was = _read_record(path)
    if was == record:
        return
    if is_list(was):
        raise UserError(f"{folder} holds an export to another target; give another place with --out, or remove it first")
    if path.exists() and not request.output.overwrite:
        changed = ", ".join(key for key in record if was.get(key) != record[key])
        raise ChangedError(
            f"{folder} holds the export of another mix or of other data ({changed}); give another --out, or add --overwrite"
        )
    if folder.exists() and any(folder.iterdir()) and not path.exists():
        raise UserError(f"{folder} is not empty and was not written by this command; give another place with --out")
    with full_disk_said(folder):
        _clear(folder)
        folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(record, indent=1))


def _clear(folder: Path) -> None:
    """Remove what this target writes, and nothing else; the record goes last, so that a stopped removal can go on."""
    (folder / "index.json").unlink(missing_ok=True)
    for part in (*folder.glob("part-" + "[0-9]" * 5), *folder.glob(".part-*.part")):
        shutil.rmtree(part)
    (folder / RECORD).unlink(missing_ok=True)


def _read_record(path: Path) -> dict[str, Any]:
    """Return what was written here; nothing if there is no record, or a damaged one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_parts(request: Request, folder: Path, played: Any, columns: dict[str, str], per_part: int) -> None:
    samples = request.plan.samples
    parts = []
    for number, start in enumerate(range(0, samples, per_part)):
        stop = min(start + per_part, samples)
        part = folder / f"part-{number:05}"
        if not (part / "index.json").exists():
            with full_disk_said(part):
                _write_part(request, part, played, columns, start, stop)
        request.progress(stop, samples, "samples")
        parts.append(part)
    write_atomically(folder / "index.json", json.dumps(_whole_index(parts)))


def _write_part(request: Request, part: Path, played: Any, columns: dict[str, str], start: int, stop: int) -> None:
    """Write positions [start, stop) beside their place and move them there; what a killed run left is removed."""
    from streaming import MDSWriter

    temporary = part.with_name(f".{part.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    first = played.__getitems__(np.array([start]))[0]
    check_room(part.parent, (stop - start) * sum(np.asarray(first[name]).nbytes for name in columns))
    try:
        with MDSWriter(out=str(temporary), columns=columns, progress_bar=False) as writer:
            for begin in range(start, stop, _AT_ONCE):
                end = min(begin + _AT_ONCE, stop)
                for sample in played.__getitems__(np.arange(begin, end)):
                    writer.write({name: sample[name] for name in columns})
                request.progress(end, request.plan.samples, "samples")
        temporary.replace(part)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _whole_index(parts: list[Path]) -> dict[str, Any]:
    """Return one index over the shards of all parts, as Mosaic's merge_index makes it."""
    shards = []
    for part in parts:
        for shard in json.loads((part / "index.json").read_text())["shards"]:
            for kind in ("raw_data", "zip_data"):
                if shard.get(kind):
                    shard[kind]["basename"] = f"{part.name}/{shard[kind]['basename']}"
            shards.append(shard)
    return {"version": 2, "shards": shards}
