"""YAML that remembers its lines.

Idea: a file is composed into PyYAML's node graph, which knows the line of every key and value, and is then read by
asking each node for what it should be: `section["samples"].count()`. Whoever asks for the wrong thing gets a FileError
that names file, line, what came and what was wanted. The alternative, yaml.safe_load, loses lines, lets duplicate keys
overwrite each other and turns 0.1 into a binary fraction. Anchors, aliases and tags are refused: a mix has no use for
them, and a few lines of them can fill the memory.

    document = Document.load(path)
    section = document.root.mapping(required=("name", "streams"), optional=("seed",))
    seed = section["seed"].count() if "seed" in section else 0
    raise section["name"].fail("wanted a name nobody uses yet")
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import yaml

from curriculum.errors import FileError, UserError
from curriculum.mix.fields import FieldError, FieldPath, exact_decimal, field_name, location, nearest
from curriculum.units import parse_count

_Option = TypeVar("_Option", bound=str)
_DEEPEST = 40  # nesting; deeper than any file of ours, far above where Python's own stack would end
_LARGEST_BYTES = 16 * 2**20
_TAG = "tag:yaml.org,2002:"
_SCALARS = frozenset(_TAG + name for name in ("null", "bool", "int", "float", "str", "timestamp", "merge", "value"))
_NUMBER = re.compile(r"[+-]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9][0-9_]*)([eE][+-]?[0-9]{1,4})?")
_TRUE, _FALSE = frozenset(("true", "yes", "on")), frozenset(("false", "no", "off"))


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML file (or text): where it came from, and its topmost node."""

    path: Path
    folder: Path
    tree: yaml.Node

    @property
    def root(self) -> Node:
        """The topmost node."""
        return Node(document=self, node=self.tree)

    @classmethod
    def load(cls, path: str | Path) -> Document:
        """Read and compose the file. Raises FileError: missing, a folder, not UTF-8, not YAML, empty."""
        path = Path(path)
        return cls._compose(_read_text(path), path)

    @classmethod
    def loads(cls, content: str, path: str | Path | None = None) -> Document:
        """Compose a text; `path` is what messages call it and what relative paths start from."""
        return cls._compose(content, Path("<text>") if path is None else Path(path))

    @classmethod
    def _compose(cls, content: str, path: Path) -> Document:
        try:
            tree = yaml.compose(content, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            reason = ", ".join(part for part in (error.problem, error.context) if part)
            hint = "; look at the indentation of this line and the ones before" if "block" in reason else ""
            raise FileError(f"not YAML: {reason}{hint}", path=path, line=mark.line + 1 if mark else None) from None
        except yaml.reader.ReaderError as error:
            line = content.count("\n", 0, error.position) + 1
            raise FileError(f"not YAML: unreadable character U+{error.character:04X}", path=path, line=line) from None
        if tree is None:
            raise FileError("the file is empty", path=path, line=1)
        return cls(path=path, folder=path.absolute().parent, tree=tree)


class _Loader(yaml.SafeLoader):
    """Composes nodes, but no anchors, and nothing deeper than `_DEEPEST`."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it open
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            problem = "anchors and aliases (& and *) are not read; write the value out, or put quotes around the text"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        if self.depth > _DEEPEST:
            raise yaml.MarkedYAMLError(problem=f"nested deeper than {_DEEPEST}", problem_mark=event.start_mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
    except FileNotFoundError:
        raise FileError("no such file", path=path) from None
    except IsADirectoryError:
        raise FileError("wanted a YAML file, got a folder", path=path) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise FileError(f"cannot be read: {getattr(error, 'strerror', None) or error}", path=path) from None
    if len(content) > _LARGEST_BYTES:
        raise FileError(f"larger than {_LARGEST_BYTES >> 20} MiB; is it really a YAML file?", path=path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FileError("wanted text in UTF-8, got other bytes; save the file as UTF-8", path=path, line=line) from None


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A value in a document. Every accessor returns the value wanted or raises FileError at this node's line."""

    document: Document
    node: yaml.Node
    trail: FieldPath = ()

    @property
    def line(self) -> int:
        """The line this value begins on, from 1."""
        return int(self.node.start_mark.line) + 1

    @property
    def is_null(self) -> bool:
        """Whether nothing (or `null`, or `~`) is written here."""
        return str(self.node.tag) == _TAG + "null"

    @property
    def is_mapping(self) -> bool:
        """Whether this is a mapping."""
        return isinstance(self.node, yaml.MappingNode)

    def fail(self, reason: str, line: int | None = None) -> FileError:
        """Return (to be raised) an error about this value."""
        where = f"{field_name(self.trail)}: " if self.trail else ""
        return FileError(where + reason, path=self.document.path, line=line or self.line)

    @contextmanager
    def blame(self) -> Iterator[None]:
        """Turn errors of what is built from this node into FileErrors, at the line of the field they name."""
        try:
            yield
        except FileError:
            raise
        except FieldError as error:
            culprit = self.find(error.path)
            missing = error.path[len(culprit.trail) - len(self.trail) :]
            reason = f"{field_name(missing)}: {error.reason}" if missing else error.reason
            raise culprit.fail(reason) from None
        except UserError as error:
            raise self.fail(str(error)) from None

    def find(self, path: FieldPath) -> Node:
        """Return the node at `path` below this one, or the deepest one there is on the way."""
        here = self
        for part in path:
            below = here._child(part)
            if below is None:
                return here
            here = below
        return here

    def _child(self, part: str | int) -> Node | None:
        if isinstance(self.node, yaml.SequenceNode) and isinstance(part, int) and part < len(self.node.value):
            return self._below(self.node.value[part], part)
        if isinstance(self.node, yaml.MappingNode):
            for key, value in self.node.value:
                if key.value == part:
                    return self._below(value, part)
        return None

    def _below(self, node: yaml.Node, part: str | int) -> Node:
        return Node(document=self.document, node=node, trail=(*self.trail, part))

    def items(self) -> dict[str, Node]:
        """Return a mapping's values by key, whatever the keys are; duplicate keys raise."""
        if not isinstance(self.node, yaml.MappingNode) or self.node.tag != _TAG + "map":
            raise self.fail(f"wanted a mapping (key: value), got {self._what()}")
        found: dict[str, Node] = {}
        for key_node, value in self.node.value:
            line = int(key_node.start_mark.line) + 1
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag not in _SCALARS:
                raise self.fail("wanted a key that is a plain text", line)
            key = str(key_node.value)
            if key in found:
                raise self.fail(f"duplicate key {key!r}, first on line {found[key].line}; keep one", line)
            found[key] = self._below(value, key)
        return found

    def mapping(
        self,
        *,
        required: Collection[str] = (),
        optional: Collection[str] = (),
        refused: Mapping[str, str] | None = None,
    ) -> dict[str, Node]:
        """Return a mapping's values by key; unknown and missing keys raise, `refused` ones with their explanation."""
        found = self.items()
        known = (*required, *optional)
        for key_node, _ in self.node.value:
            key, line = str(key_node.value), int(key_node.start_mark.line) + 1
            if key in (refused or {}):
                raise self.fail(f"{key!r} is not allowed here: {(refused or {})[key]}", line)
            if key not in known:
                raise self.fail(f"unknown key {key!r}{nearest(key, known)}; known keys: {', '.join(known)}", line)
        for key in required:
            if key not in found:
                raise self.fail(f"missing key {key!r}; wanted: {', '.join(required)}")
        return found

    def list(self) -> list[Node]:
        """Return a list's items."""
        if not isinstance(self.node, yaml.SequenceNode) or self.node.tag != _TAG + "seq":
            raise self.fail(f"wanted a list, got {self._what()}")
        return [self._below(item, index) for index, item in enumerate(self.node.value)]

    def text(self) -> str:
        """Return a scalar's text as it is written: `2024` and `no` are texts too, nothing is not."""
        content = self._scalar("a text")
        if not content:
            raise self.fail("wanted a text, got an empty one")
        return content

    def choice(self, options: Sequence[_Option]) -> _Option:
        """Return the one of `options` that is written here."""
        content = self._scalar(f"one of {', '.join(options)}")
        for option in options:
            if option == content:
                return option
        raise self.fail(f"wanted one of {', '.join(options)}, got {content!r}{nearest(content, options)}")

    def count(self, least: int = 0) -> int:
        """Return a whole number of at least `least`: 12, 2_000_000, 2M."""
        content = self._scalar("a whole number")
        try:
            number = parse_count(content)
        except UserError as error:
            raise self.fail(str(error)) from None
        if number < least:
            raise self.fail(f"wanted a whole number of at least {least}, got {content}")
        return number

    def decimal(self) -> Decimal:
        """Return a finite number that is not negative, exactly as it is written."""
        content = self._scalar("a number")
        if _NUMBER.fullmatch(content) is None:
            raise self.fail(f"wanted a finite number such as 0.25, got {content!r}")
        with self.blame():
            return exact_decimal(content)

    def number(self) -> float:
        """Return a finite number of either sign, as the nearest float."""
        content = self._scalar("a number")
        if _NUMBER.fullmatch(content) is None or (number := float(content)) in (float("inf"), -float("inf")):
            raise self.fail(f"wanted a finite number such as 0.25, got {content!r}")
        return number

    def boolean(self) -> bool:
        """Return true or false."""
        content = self._scalar("true or false").lower()
        if content not in _TRUE | _FALSE:
            raise self.fail(f"wanted true or false, got {content!r}")
        return content in _TRUE

    def location(self) -> str:
        """Return a URL or `testbed:NAME` as written, and any other path absolute, from the file's folder."""
        content = self.text()
        with self.blame():
            return location(content, folder=self.document.folder)

    def path(self) -> Path:
        """Return an absolute path; relative ones start from the file's folder."""
        return Path(self.location())

    def plain(self) -> Any:
        """Return the value as nested dict, list, str, int, finite float, bool, None; dates stay texts."""
        if isinstance(self.node, yaml.MappingNode):
            return {key: value.plain() for key, value in self.items().items()}
        if isinstance(self.node, yaml.SequenceNode):
            return [item.plain() for item in self.list()]
        if self.is_null:
            return None
        content, kind = self._scalar("a value"), str(self.node.tag).removeprefix(_TAG)
        if kind == "bool":
            return self.boolean()
        if kind == "float":
            return self.number()
        return self._integer(content) if kind == "int" else content

    def _integer(self, content: str) -> int | str:
        try:
            return int(content)
        except ValueError:  # YAML 1.1 also reads 0x1f and 1:30 as numbers; people mean a text
            return content

    def _scalar(self, wanted: str) -> str:
        if not isinstance(self.node, yaml.ScalarNode) or self.is_null:
            raise self.fail(f"wanted {wanted}, got {self._what()}")
        if self.node.tag not in _SCALARS:
            raise self.fail(f"wanted {wanted}, got the tag {self.node.tag}; tags are not read")
        return str(self.node.value)

    def _what(self) -> str:
        if isinstance(self.node, yaml.MappingNode):
            return "a mapping"
        if isinstance(self.node, yaml.SequenceNode):
            return "a list"
        return "nothing" if self.is_null else repr(self.node.value)
