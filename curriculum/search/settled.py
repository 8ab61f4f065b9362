"""The settings of a study that was begun, where its file leaves them to their defaults.

Idea: a file states some settings, and a default decides the others. A later version of curriculum with another default
must not turn a study that was begun into another one; so what a file leaves open is taken from the study's record, and
only what it states must be unchanged (see `folder`). The alternative, every default written into the file, would bury what
its author decided. The price: a setting that is taken out of the file of a study begun stays as it was, which is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, replace
from decimal import Decimal
from typing import Any, TypeVar

from curriculum.errors import UserError
from curriculum.search.study import Study

_SECTIONS = {"proxy": ("recipe", "command"), "space": ("space",), "objective": ("objective",), "search": ("search",)}
T = TypeVar("T")


def as_begun(study: Study, recorded: Mapping[str, Any] | None) -> tuple[Study, tuple[str, ...]]:
    """Return the study with the settings that its file leaves open as they were when it was begun, and a line for each.

    `recorded` is its study.json, None where it was not begun. A study made without a file is returned as it is.
    """
    begun = None if recorded is None else recorded.get("study")
    if study.stated is None or not isinstance(begun, Mapping):
        return study, ()
    words: list[str] = []
    parts: dict[str, Any] = {}
    for section, names in _SECTIONS.items():
        for name in names:
            parts[name] = _settled(getattr(study, name), begun.get(name), section, study.stated, words)
    probes = begun.get("probes")
    if isinstance(probes, list) and len(probes) == len(study.probes):
        parts["probes"] = tuple(
            _settled(probe, then, f"probes[{index}]", study.stated, words)
            for index, (probe, then) in enumerate(zip(study.probes, probes, strict=True))
        )
    return (replace(study, **parts), tuple(words)) if words else (study, ())


def _settled(part: T, then: object, section: str, stated: frozenset[str], words: list[str]) -> T:
    """Return a part of a study whose open settings are those of `then`, its record; `words` are told of each."""
    if part is None or not isinstance(then, Mapping):
        return part
    taken: dict[str, Any] = {}
    told: list[str] = []
    for each in fields(part):  # type: ignore[arg-type]
        path, now = f"{section}.{each.name}", getattr(part, each.name)
        if path in stated or each.name not in then or now is None or now != _default(each):
            continue
        try:
            value = _alike(then[each.name], now)
        except (TypeError, ValueError, ArithmeticError):
            continue  # a damaged record: whoever compares the study with it says so
        if value != now:
            taken[each.name] = value
            told.append(f"{path} is {_shown(value)} as when the study was begun (by default it would be {_shown(now)})")
    try:
        settled = replace(part, **taken) if taken else part  # type: ignore[type-var]
    except UserError:  # what the file states now does not go with it: a changed study, which `remember` describes
        return part
    words += told
    return settled


def _default(setting: Field[Any]) -> object:
    return setting.default_factory() if setting.default_factory is not MISSING else setting.default


def _alike(value: Any, now: object) -> object:
    """Return a value of the record as the kind of thing that `now` is; nothing stays nothing."""
    if value is None or not isinstance(now, Decimal | tuple):
        return value
    return Decimal(value) if isinstance(now, Decimal) else tuple(value)


def _shown(value: object) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else "null" if value is None else str(value)
