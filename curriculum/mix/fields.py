"""Turning what a person wrote into exact values, and saying which field was wrong.

Idea: the domain types check themselves, once, whether they were built in Python or read from a file. A check that fails
names the field by its path, ("phases", 1, "weights", "web"); the file reader follows the same path through the YAML
nodes and finds the line. The alternative, a second set of "config" types that knows about lines, validates twice and
drifts apart. The price: paths must use the words of the file.
"""

from __future__ import annotations

import difflib
import math
import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from curriculum.errors import UserError

FieldPath = tuple[str | int, ...]
EMBEDDED = "testbed:"  # `local: testbed:arith` names an embedded stream, not a folder
_LARGEST_EXPONENT = 100  # a weight of 1e999999999 is exact too, and fills the memory


class FieldError(UserError):
    """A value is wrong; `path` says which, `reason` says why without repeating the path."""

    def __init__(self, reason: str, *path: str | int) -> None:
        self.reason = reason
        self.path: FieldPath = path
        super().__init__(f"{field_name(path)}: {reason}" if path else reason)

    def __reduce__(self) -> tuple[type[FieldError], tuple[str | int, ...]]:
        return type(self), (self.reason, *self.path)


def field_name(path: FieldPath) -> str:
    """Return a path as people write it: phases[1].weights.web."""
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return name.removeprefix(".")


@contextmanager
def within(*prefix: str | int) -> Iterator[None]:
    """Put `prefix` before the path of every FieldError raised inside."""
    try:
        yield
    except FieldError as error:
        raise FieldError(error.reason, *prefix, *error.path) from None


def nearest(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean ...?)" for a misspelt `name`, or nothing if none of `known` is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def exact_decimal(value: object, *path: str | int) -> Decimal:
    """Return `value` (int, float, str, Decimal, numpy scalar) as the decimal it is written as; finite, >= 0."""
    number = _decimal(value)
    if number is None or not number.is_finite():
        raise FieldError(f"wanted a finite number, got {value!r}", *path)
    if number < 0:
        raise FieldError(f"wanted a number that is not negative, got {value}", *path)
    if number.is_zero():
        return Decimal(0)
    if abs(number.adjusted()) > _LARGEST_EXPONENT or len(number.as_tuple().digits) > _LARGEST_EXPONENT:
        raise FieldError(f"wanted 0 or a number between 1e-100 and 1e100, got {value}", *path)
    return number


def _decimal(value: object) -> Decimal | None:
    if isinstance(value, Decimal):
        return value
    if isinstance(value, bool) or not isinstance(value, (str, Real)):
        return None
    try:
        return Decimal(int(value)) if isinstance(value, Integral) else Decimal(str(value).replace("_", ""))
    except InvalidOperation:
        return None


def decimal_text(number: Decimal) -> str:
    """Return the shortest exact text of `number` without an exponent: 7, 0.25."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def whole(value: object, least: int, *path: str | int) -> int:
    """Return `value` as an int of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise FieldError(f"wanted a whole number, got {value!r}", *path)
    if value < least:
        raise FieldError(f"wanted a whole number of at least {least}, got {value}", *path)
    return int(value)


def optional_whole(value: object, least: int, *path: str | int) -> int | None:
    """Return None for None, else `whole(...)`."""
    return None if value is None else whole(value, least, *path)


def text(value: object, *path: str | int) -> str:
    """Return `value`, a text that is not empty and has no control characters."""
    if not isinstance(value, str) or not value:
        raise FieldError(f"wanted a text that is not empty, got {value!r}", *path)
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
        raise FieldError(f"wanted a text without control characters, got {value!r}", *path)
    return value


def one_of(value: object, options: Iterable[str], *path: str | int) -> None:
    """Raise unless `value` is one of `options`."""
    known = list(options)
    if value not in known:
        raise FieldError(f"wanted one of {', '.join(known)}, got {value!r}{nearest(str(value), known)}", *path)


def is_url(location: str) -> bool:
    """Return whether `location` is left to the downloader: s3://..., hf://..., dbfs:/..."""
    return "://" in location or location.startswith("dbfs:/")


def location(value: object, *path: str | int, folder: Path | None = None) -> str:
    """Return a URL or an embedded stream's name as it is, and any other path absolute (from `folder`, else here)."""
    place = text(value, *path)
    if is_url(place) or place.startswith(EMBEDDED):
        return place
    home = os.path.expanduser(place)  # noqa: PTH111 - Path turns ./~x into ~x
    return os.path.abspath((folder or Path.cwd()) / home)  # noqa: PTH100 - resolve() follows links


def plain_value(value: Any, *path: str | int) -> Any:
    """Return a deep copy of nested mappings, lists, str, int, finite float, bool, None; anything else raises."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        if math.isfinite(number := float(value)):
            return number
        raise FieldError(f"wanted a finite number, got {value}", *path)
    if isinstance(value, (list, tuple)):
        return [plain_value(item, *path, index) for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {_plain_key(key, *path): plain_value(item, *path, str(key)) for key, item in value.items()}
    raise FieldError(f"wanted text, numbers, booleans, lists or mappings, got {type(value).__name__}", *path)


def _plain_key(key: object, *path: str | int) -> str:
    if isinstance(key, str):
        return key
    raise FieldError(f"wanted keys that are texts, got {key!r}", *path)
