"""Rows of a JSON Lines file with their line numbers, and the fields of a row: every fault is a FileError at its line.

Idea: one reader, so that every file of items fails with the same words. Lines end at a newline alone; Python's
`splitlines` would also cut at characters that JSON strings may hold. The price: a file is read into memory whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curriculum.errors import FileError, UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One JSON object of a file; `line` is None where the file is one JSON document."""

    path: Path
    line: int | None
    fields: dict[str, Any]

    def fail(self, reason: str) -> FileError:
        """Return (to be raised) an error about this row."""
        return FileError(reason, path=self.path, line=self.line)

    @contextmanager
    def blame(self) -> Iterator[None]:
        """Turn errors of what is built from this row into FileErrors at its line."""
        try:
            yield
        except FileError:
            raise
        except UserError as error:
            raise self.fail(str(error)) from None

    def text(self, key: str) -> str:
        """Return a field that is a text or a number, as text. Raises FileError where it is missing, empty or something else."""
        if key not in self.fields:
            raise self.fail(f"missing key {key!r}")
        value = self.fields[key]
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.fail(f"{key}: wanted a text, got {value!r}")
        if not str(value).strip():
            raise self.fail(f"{key}: wanted some text, got {value!r}")
        return str(value)

    def whole(self, key: str) -> int | None:
        """Return a field that is a whole number from 0, or None where there is none."""
        value = self.fields.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            raise self.fail(f"{key}: wanted a whole number from 0, got {value!r}")
        return value


def read_rows(path: Path) -> list[Row]:
    """Return a JSON Lines file's objects; blank lines are passed over. Raises FileError."""
    lines = enumerate(read_text(path).split("\n"), start=1)
    return [_row(text, path, number) for number, text in lines if text.strip()]


def read_text(path: Path) -> str:
    """Return a UTF-8 file's text, without a byte order mark. Raises FileError."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise FileError("there is no such file", path=path) from None
    except UnicodeDecodeError as error:
        raise FileError(f"wanted text in UTF-8, got other bytes at {error.start}", path=path) from None
    except OSError as error:
        raise FileError(f"cannot be read: {error.strerror or error}", path=path) from None


def _row(text: str, path: Path, number: int) -> Row:
    try:
        fields = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise FileError(f"wanted one JSON object a line: {error}", path=path, line=number) from None
    if not isinstance(fields, dict):
        raise FileError(f"wanted a JSON object, got {type(fields).__name__}", path=path, line=number)
    return Row(path=path, line=number, fields=fields)


def read_objects(path: Path) -> list[Row]:
    """Return the objects of a file that is one JSON list. Raises FileError."""
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise FileError(f"wanted JSON: {error.msg}", path=path, line=error.lineno) from None
    except RecursionError as error:
        raise FileError(f"wanted JSON: {error}", path=path) from None
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise FileError("wanted a JSON list of objects", path=path)
    return [Row(path=path, line=None, fields=entry) for entry in content]
