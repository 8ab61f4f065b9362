"""From a mix to its file.

Idea: the file is laid out as a person would: one line a stream, one line a phase, numbers as they were written. The
node graph is built by hand and left to PyYAML to quote, since quoting YAML by hand goes wrong. The price is a line here
for every field of the types; a test reads back whatever can be built.

Paths in the file's folder or in its parent are written relative, so that a project can be moved as a whole.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from curriculum.errors import CurriculumError, ResourceError, UserError
from curriculum.mix.fields import EMBEDDED, decimal_text, is_url
from curriculum.mix.mix import Mix
from curriculum.mix.order import Order
from curriculum.mix.phase import Phase
from curriculum.mix.stream import Stream
from curriculum.mix.subset import Subset

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_RESOLVER: Any = yaml.resolver.Resolver()
_REPRESENTER: Any = yaml.representer.SafeRepresenter()
_WIDTH = 2**20  # a stream and a phase stay on one line each, however long


class _Dumper(yaml.SafeDumper):
    """Indents the items of a list below their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def mix_text(mix: Mix, path: Path | None) -> str:
    """Return the mix as YAML, with paths near `path` relative to its folder (None: all absolute)."""
    folder = None if path is None else path.absolute().parent
    tree = _block(_mix_fields(mix, folder))
    return str(yaml.serialize(tree, Dumper=_Dumper, allow_unicode=True, width=_WIDTH))


def write_atomically(path: Path, content: str) -> None:
    """Write `content` to `path`, whole or not at all; the folder is made. Raises UserError, ResourceError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write_through(temporary, content)
            os.replace(temporary, path)  # noqa: PTH105 - the one call that is atomic by promise
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _writing_failed(path, error) from error


def _write_through(path: Path, content: str) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _writing_failed(path: Path, error: OSError) -> CurriculumError:
    if error.errno in _FULL:
        return ResourceError(f"{path}: the disk is full, nothing was written; free some space and run it again")
    reason = error.strerror or str(error)
    return UserError(f"{path}: cannot be written ({reason.lower()}); nothing was changed, choose another place")


def _mix_fields(mix: Mix, folder: Path | None) -> dict[str, yaml.Node | None]:
    return {
        "version": _scalar(str(mix.version)),
        "name": _text(mix.name),
        "samples": None if mix.samples is None else _scalar(f"{mix.samples:_}"),
        "unit": _scalar(mix.unit),
        "seed": _scalar(str(mix.seed)),
        "lanes": None if mix.lanes == 1 else _scalar(str(mix.lanes)),
        "streams": _block({name: _stream(stream, folder) for name, stream in mix.streams.items()}),
        "phases": yaml.SequenceNode("tag:yaml.org,2002:seq", [_phase(phase) for phase in mix.phases], flow_style=False),
        "provenance": None if mix.provenance is None else _provenance(mix.provenance),
    }


def _stream(stream: Stream, folder: Path | None) -> yaml.Node:
    return _flow(
        {
            "format": None if stream.format == "mds" else _scalar(stream.format),
            "remote": _path(stream.remote, folder),
            "local": _path(stream.local, folder),
            "split": _text(stream.split),
            "sequence_length": _number(stream.sequence_length),
            "token_dtype": _text(stream.token_dtype),
            "eos_token": _number(stream.eos_token),
            "tokens_per_sample": _number(stream.tokens_per_sample),
            "max_epochs": _number(stream.max_epochs),
            "order": _order(stream.order, folder),
            "subset": _subset(stream.subset),
            "download_retry": _number(stream.download_retry),
            "download_timeout": None if stream.download_timeout is None else _plain(stream.download_timeout),
            "validate_hash": _text(stream.validate_hash),
            "keep_zip": None if stream.keep_zip is None else _plain(stream.keep_zip),
        }
    )


def _order(order: Order, folder: Path | None) -> yaml.Node | None:
    if order == Order():
        return None
    if order == Order(kind="sequential"):
        return _scalar("sequential")
    return _flow(
        {
            "kind": _scalar("sequential") if order.kind == "sequential" else None,
            "by": _text(order.by),
            "scores": _path(order.scores, folder),
            "listed": _path(order.listed, folder),
            "direction": _scalar(order.direction) if order.kind == "scored" else None,
            "window": _number(order.window),
        }
    )


def _subset(subset: Subset | None) -> yaml.Node | None:
    if subset is None or subset.seed == 0:
        return None if subset is None else _scalar(str(subset.samples))
    return _flow({"samples": _scalar(str(subset.samples)), "seed": _scalar(str(subset.seed))})


def _phase(phase: Phase) -> yaml.Node:
    until = _tokens(phase.until_tokens) if phase.until is None else decimal_text(phase.until)
    to = None if phase.to is None else _weights(phase.to)
    return _flow({"until": _scalar(until), "weights": _weights(phase.weights), "to": to})


def _tokens(tokens: int | None) -> str:
    count = tokens or 0
    return f"{count // 10**9}B tokens" if count % 10**9 == 0 else f"{count:_} tokens"


def _weights(weights: Mapping[str, Decimal]) -> yaml.Node:
    return _flow({name: _scalar(decimal_text(weight)) for name, weight in weights.items()})


def _path(location: str | None, folder: Path | None) -> yaml.Node | None:
    if location is None or folder is None or is_url(location) or location.startswith(EMBEDDED):
        return _text(location)
    near = folder.parent if folder.parent != Path(folder.anchor) else folder
    if near == Path(near.anchor) or not Path(location).is_relative_to(near):
        return _text(location)
    relative = os.path.relpath(location, folder)
    ambiguous = relative.startswith((EMBEDDED, "~", "dbfs:"))
    return _text(f"./{relative}" if ambiguous else relative)


def _provenance(provenance: Mapping[str, Any]) -> yaml.Node:
    return _block({key: _plain(value) for key, value in provenance.items()})


def _plain(value: Any) -> yaml.Node:
    if isinstance(value, Mapping):
        return _flow({key: _plain(item) for key, item in value.items()})
    if isinstance(value, Sequence) and not isinstance(value, str):
        return yaml.SequenceNode("tag:yaml.org,2002:seq", [_plain(item) for item in value], flow_style=True)
    if isinstance(value, str):
        return _quotable(value)
    node: yaml.Node = _REPRESENTER.represent_data(value)
    return node


def _text(value: str | None) -> yaml.Node | None:
    return None if value is None else _quotable(value)


def _quotable(value: str) -> yaml.Node:
    """Double quotes, the only style that escapes, where characters do not print; PyYAML's own choice loses U+0085."""
    return yaml.ScalarNode("tag:yaml.org,2002:str", value, style=None if value.isprintable() else '"')


def _number(value: int | None) -> yaml.Node | None:
    return None if value is None else _scalar(str(value))


def _scalar(value: str) -> yaml.Node:
    return yaml.ScalarNode(_RESOLVER.resolve(yaml.ScalarNode, value, (True, False)), value)


def _flow(fields: Mapping[str, yaml.Node | None]) -> yaml.Node:
    return _mapping(fields, flow=True)


def _block(fields: Mapping[str, yaml.Node | None]) -> yaml.Node:
    return _mapping(fields, flow=False)


def _mapping(fields: Mapping[str, yaml.Node | None], *, flow: bool) -> yaml.Node:
    pairs = [(_text(key), node) for key, node in fields.items() if node is not None]
    return yaml.MappingNode("tag:yaml.org,2002:map", pairs, flow_style=flow)
