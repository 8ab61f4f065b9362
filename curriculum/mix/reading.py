"""From a document to a mix, and to the streams that mix files and study files share.

Idea: this module only knows the words of the file; whether a value makes sense is the domain types' own business, and
`Node.blame` finds the line for what they say.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, get_args

from curriculum.mix.document import Document, Node
from curriculum.mix.fields import text
from curriculum.mix.mix import Mix, Unit
from curriculum.mix.order import Direction, Order, OrderKind
from curriculum.mix.phase import Phase
from curriculum.mix.stream import Stream, StreamFormat, TokenDtype
from curriculum.mix.subset import Subset
from curriculum.units import parse_count

_Reader = Callable[[Node], Any]
_TOKENS = re.compile(r"(.*\S)\s*tokens?")
_AMOUNTS = "a mix's phases set how much of each stream is used; give the stream a weight in `phases` instead"
_REFUSED = {"proportion": _AMOUNTS, "repeat": _AMOUNTS, "choose": _AMOUNTS}


def read_mix(document: Document) -> Mix:
    """Return the mix a document holds. Raises FileError with file and line."""
    root = document.root
    section = root.mapping(required=("name", "streams", "phases"), optional=_MIX_OPTIONAL)
    values = _values(section, _MIX_OPTIONAL)
    streams = read_streams(section["streams"])
    phases = tuple(_read_phase(node) for node in section["phases"].list())
    with root.blame():
        return Mix(name=section["name"].text(), streams=streams, phases=phases, **values)


def read_streams(node: Node) -> dict[str, Stream]:
    """Return the streams of a `streams:` section (of a mix or a study) by name, in the file's order."""
    found = {}
    for name, entry in node.items().items():
        with entry.blame():
            text(name)
        found[name] = _read_stream(entry)
    if not found:
        raise node.fail("wanted at least one stream, such as web: {local: /data/web}")
    return found


def _read_stream(node: Node) -> Stream:
    section = node.mapping(optional=_STREAM, refused=_REFUSED)
    values = _values(section, _STREAM)
    with node.blame():
        return Stream(**values)


def _read_order(node: Node) -> Order:
    if not node.is_mapping:
        kinds = tuple(kind for kind in get_args(OrderKind) if kind in ("shuffle", "sequential"))
        return Order(kind=node.choice(kinds))
    section = node.mapping(optional=_ORDER)
    values = _values(section, _ORDER)
    with node.blame():
        return Order(**values)


def _read_subset(node: Node) -> Subset:
    if not node.is_mapping:
        return Subset(samples=node.count(1))
    section = node.mapping(required=("samples",), optional=("seed",))
    seed = section["seed"].count() if "seed" in section else 0
    return Subset(samples=section["samples"].count(1), seed=seed)


def _read_phase(node: Node) -> Phase:
    section = node.mapping(required=("until", "weights"), optional=("to",))
    weights = _read_weights(section["weights"])
    to = _read_weights(section["to"]) if "to" in section else None
    until = section["until"]
    in_tokens = None if until.is_null else _TOKENS.fullmatch(until.text())
    with node.blame():
        if in_tokens is None:
            return Phase(weights=weights, to=to, until=until.decimal())
        with until.blame():
            tokens = parse_count(in_tokens[1])
        return Phase(weights=weights, to=to, until_tokens=tokens)


def _read_weights(node: Node) -> dict[str, Any]:
    return {name: weight.decimal() for name, weight in node.items().items()}


def _read_provenance(node: Node) -> Any:
    node.items()
    return node.plain()


def _values(section: dict[str, Node], readers: dict[str, _Reader]) -> dict[str, Any]:
    return {key: readers[key](node) for key, node in section.items() if key in readers}


_ORDER: dict[str, _Reader] = {
    "kind": lambda node: node.choice(get_args(OrderKind)),
    "by": Node.text,
    "scores": Node.location,
    "listed": Node.location,
    "direction": lambda node: node.choice(get_args(Direction)),
    "window": Node.count,
}
_STREAM: dict[str, _Reader] = {
    "remote": Node.location,
    "local": Node.location,
    "split": Node.text,
    "format": lambda node: node.choice(get_args(StreamFormat)),
    "sequence_length": Node.count,
    "token_dtype": lambda node: node.choice(get_args(TokenDtype)),
    "eos_token": Node.count,
    "tokens_per_sample": Node.count,
    "max_epochs": Node.count,
    "order": _read_order,
    "subset": _read_subset,
    "download_retry": Node.count,
    "download_timeout": Node.number,
    "validate_hash": Node.text,
    "keep_zip": Node.boolean,
}
_MIX_OPTIONAL: dict[str, _Reader] = {
    "version": Node.count,
    "samples": Node.count,
    "unit": lambda node: node.choice(get_args(Unit)),
    "seed": Node.count,
    "lanes": Node.count,
    "provenance": _read_provenance,
}
