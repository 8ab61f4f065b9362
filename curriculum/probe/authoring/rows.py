"""The rows of a written item file, and the choices that are made while writing one.

Idea: every choice is the order of a keyed hash (`shuffled`, `drawn`), so that adding a word changes the items that hold it
and few others, and no generator's version matters. Alternatives: one seeded generator a file (one more word then changes
every later item). The price: a hash a choice, some microseconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from curriculum.errors import DataError
from curriculum.units import keyed_seed

Row = Mapping[str, object]
Files = dict[str, list[Row]]
Item = TypeVar("Item")


def demo(prompt: str, answer: str, *, label: int | None = None) -> Row:
    """Return a demonstration's row; `label` is its class (balanced tasks)."""
    row: dict[str, object] = {"split": "demo", "prompt": prompt, "answer": answer}
    if label is not None:
        row["label"] = label
    return row


def question(prompt: str, correct: str, shallow: str) -> Row:
    """Return a question's row: its prompt, the right answer, and the answer that a shallow mode gives."""
    return {"split": "test", "prompt": prompt, "correct_answer": correct, "incorrect_answer": shallow}


def shuffled(items: Iterable[Item], *key: str | int) -> list[Item]:
    """Return `items` in an order that depends on `key` and on each item's own text alone."""
    return sorted(items, key=lambda item: keyed_seed(*key, str(item)))


def drawn(items: Iterable[Item], *key: str | int) -> Item:
    """Return one of `items`, chosen by `key`."""
    return min(items, key=lambda item: keyed_seed(*key, str(item)))


def joined(examples: Sequence[tuple[str, str]], prompt: str, joiner: str = "\n") -> str:
    """Return a prompt that carries its own demonstrations: `examples` are (prompt, answer) pairs."""
    return joiner.join([*(f"{asked} {answer}" for asked, answer in examples), prompt])


def as_text(path: str, rows: Sequence[Row]) -> str:
    """Return a file's text: JSON Lines, or one JSON array where `path` ends in .json. Raises DataError for another ending."""
    if path.endswith(".jsonl"):
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if path.endswith(".json"):
        return json.dumps(list(rows), ensure_ascii=False, indent=1) + "\n"
    raise DataError(f"wanted a path ending in .jsonl or .json, got {path!r}; name the file so")
