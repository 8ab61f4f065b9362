"""What a mix says about the order of samples, and nothing else.

Idea: a run may move its data to another disk, rename its mix or change a download time-out and still be the same run;
it may not change a weight. So the canonical form leaves out names, places and provenance, and takes score files and
window lists by what is in them, not by where they lie. Hashing the file's text instead would refuse a resume over a
comment. The price: 7:1 and 14:2, which give the same order, count as different.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curriculum.errors import DataError
from curriculum.mix.fields import decimal_text, field_name, is_url
from curriculum.mix.mix import Mix
from curriculum.mix.order import Order
from curriculum.mix.phase import Phase
from curriculum.mix.stream import Stream
from curriculum.mix.subset import Subset
from curriculum.plugins import find_plugin, plugin_name

_ABSENT = object()


def canonical(mix: Mix, digests: Mapping[str, str]) -> dict[str, Any]:
    """Return all that decides the order, as JSON's own types. `digests` maps files to their known sha256.

    Raises DataError if a score file or window list cannot be read, UserError if an order's plugin is not installed.
    """
    return {
        "version": mix.version,
        "unit": mix.unit,
        "seed": mix.seed,
        "lanes": mix.lanes,
        "samples": mix.samples,
        "streams": {name: _stream(name, stream, digests) for name, stream in mix.streams.items()},
        "phases": [_phase(phase) for phase in mix.phases],
    }


def fingerprint(content: Mapping[str, Any]) -> str:
    """Return the sha256 (hex) of `content` as JSON without spaces; the order of streams counts, as in the plan."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def mix_from_canonical(content: Mapping[str, Any], known: Mix) -> Mix:
    """Return a mix that shares its streams out as the canonical `content` says: what a saved run played before.

    Places are not in the canonical form, nor are score files and window lists: where `known` has the same stream with
    the same order it lends both, else the order is a plain shuffle, which changes no count. Raises UserError.
    """
    there = canonical(known, {})["streams"]
    streams = {
        name: known.streams[name] if there.get(name) == stream else _stream_of(stream)
        for name, stream in content["streams"].items()
    }
    fields = {name: content[name] for name in ("version", "unit", "seed", "lanes", "samples")}
    return Mix(name="past", streams=streams, phases=tuple(Phase(**phase) for phase in content["phases"]), **fields)


def _stream_of(content: Mapping[str, Any]) -> Stream:
    fields = {name: content[name] for name in ("format", "sequence_length", "tokens_per_sample", "max_epochs")}
    order = content["order"]
    subset = Subset(**content["subset"]) if "subset" in content else None
    window = order["window"] if order["kind"] == "shuffle" else None
    return Stream(local="past", order=Order(window=window), subset=subset, **fields)


def describe_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return a line for each thing that differs between two canonical mixes: `phases[0].weights.web: 7 -> 5`."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    paths = [*before, *(path for path in after if path not in before)]
    lines = []
    for path in paths:
        was, now = before.get(path, _ABSENT), after.get(path, _ABSENT)
        if was != now:
            lines.append(f"{field_name(path)}: {_shown(was)} -> {_shown(now)}")
    order = [list(mapping.get("streams", ())) for mapping in (old, new)]
    if order[0] != order[1] and sorted(order[0]) == sorted(order[1]):
        lines.append(f"streams, their order: {', '.join(order[0])} -> {', '.join(order[1])}")
    return lines


def file_digest(path: str | Path) -> str:
    """Return the sha256 (hex) of a file's bytes. Raises DataError if it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); the mix names it, so it must be there") from None


def _stream(name: str, stream: Stream, digests: Mapping[str, str]) -> dict[str, Any]:
    fields = {
        "format": stream.format,
        "sequence_length": stream.sequence_length,
        "token_dtype": stream.token_dtype,
        "tokens_per_sample": stream.tokens_per_sample,
        "max_epochs": stream.max_epochs,
        "order": _order(name, stream, digests),
    }
    if stream.token_dtype is None:  # mixes that do not say it keep the fingerprint they had before it could be said
        del fields["token_dtype"]
    if stream.subset is not None:  # likewise
        fields["subset"] = {"samples": stream.subset.samples, "seed": stream.subset.seed}
    return fields


def _order(name: str, stream: Stream, digests: Mapping[str, str]) -> dict[str, Any]:
    order = stream.order
    plugin = plugin_name(order.by or "")
    return {
        "kind": order.kind,
        "window": order.window,
        "by": order.by,
        "direction": order.direction,
        "scores": _digest(name, order.scores or _named_scores(stream), digests),
        "listed": _digest(name, order.listed, digests),
        **({} if plugin is None else {"plugin": find_plugin("curriculum.orders", plugin).identity()}),
    }


def _named_scores(stream: Stream) -> str | None:
    """Return the score file that `order: {by: NAME}` finds in the stream's folder, if it lies there."""
    by = stream.order.by
    if by is None or plugin_name(by) is not None or stream.local is None or is_url(stream.local):
        return None
    path = Path(stream.local) / f"{by}.parquet"
    return str(path) if path.is_file() else None


def _digest(name: str, path: str | None, digests: Mapping[str, str]) -> str | None:
    if path is None:
        return None
    if path in digests:
        return digests[path]
    try:
        return file_digest(path)
    except DataError as error:
        raise DataError(f"streams.{name}.order: {error}") from None


def _phase(phase: Phase) -> dict[str, Any]:
    return {
        "until": None if phase.until is None else decimal_text(phase.until),
        "until_tokens": phase.until_tokens,
        "weights": {name: decimal_text(weight) for name, weight in phase.weights.items()},
        "to": None if phase.to is None else {name: decimal_text(weight) for name, weight in phase.to.items()},
    }


def _leaves(value: Any, *path: str | int) -> list[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, Mapping):
        return [leaf for key, item in value.items() for leaf in _leaves(item, *path, str(key))]
    if isinstance(value, list):
        return [leaf for index, item in enumerate(value) for leaf in _leaves(item, *path, index)]
    return [(path, value)]


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    return "not set" if value is None else str(value)
