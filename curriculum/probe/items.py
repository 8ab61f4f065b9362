"""Probe items: prompts with a correct and a shallow answer, from a file or from a generator.

Idea: one flat value of token ids, whatever the probe. Scoring then knows nothing of families, and a built-in probe, an
official suite's file and a user's own rows take the same road. Alternatives: keeping text and tokenising while scoring
(the answer's boundaries then depend on the tokenizer's merges). The price: a file is bound to one tokenizer when loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from curriculum.errors import FileError, UserError
from curriculum.probe.jsonl import Row, read_rows

_KEYS = ("prompt", "correct_answer", "incorrect_answer")
_Tokens = tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemSet:
    """Items of one probe, as token ids: prompt i, its correct answer, and the answer a shallow mode would give.

    Raises UserError when the three differ in length, or an item has an empty part or two equal answers.
    """

    prompts: tuple[_Tokens, ...]
    correct: tuple[_Tokens, ...]
    shallow: tuple[_Tokens, ...]

    def __post_init__(self) -> None:
        lengths = (len(self.prompts), len(self.correct), len(self.shallow))
        if len(set(lengths)) > 1:
            raise UserError(f"probe items: wanted as many prompts as answers, got {lengths} (prompts, correct, shallow)")
        for index, item in enumerate(zip(self.prompts, self.correct, self.shallow, strict=True)):
            fault = _fault(*item)
            if fault is not None:
                raise UserError(f"probe item {index}: {fault}")

    def __len__(self) -> int:
        return len(self.prompts)

    def first(self, count: int | None) -> ItemSet:
        """Return the first `count` items, all without a count."""
        return ItemSet(prompts=self.prompts[:count], correct=self.correct[:count], shallow=self.shallow[:count])


def load_items(path: Path | str, *, encode: Callable[[str], list[int]] | None = None) -> ItemSet:
    """Return the test items of a JSONL file.

    Each row is `{"split": "test", "prompt": ..., "correct_answer": ..., "incorrect_answer": ...}`; the three are lists of
    token ids, or strings, for which `encode` is needed. Rows of another split (demos) are passed over. Raises FileError
    with the line for malformed JSON, missing keys, empty or equal answers, and for a file without test items.
    """
    source = Path(path)
    items = [_item(row, encode) for row in read_rows(source) if _split(row) == "test"]
    if not items:
        raise FileError('wanted at least one row with "split": "test", got none', path=source)
    prompts, correct, shallow = zip(*items, strict=True)
    return ItemSet(prompts=prompts, correct=correct, shallow=shallow)


def _split(row: Row) -> object:
    if "split" not in row.fields:
        raise row.fail('missing key "split" (wanted "test", or "demo" to pass a row over)')
    return row.fields["split"]


def _item(row: Row, encode: Callable[[str], list[int]] | None) -> tuple[_Tokens, _Tokens, _Tokens]:
    missing = [key for key in _KEYS if key not in row.fields]
    if missing:
        raise row.fail(f"missing key {', '.join(map(repr, missing))}")
    try:
        prompt, correct, shallow = (_token_ids(row.fields[key], key, encode) for key in _KEYS)
    except ValueError as error:
        raise row.fail(str(error)) from error
    fault = _fault(prompt, correct, shallow)
    if fault is not None:
        raise row.fail(fault)
    return prompt, correct, shallow


def _token_ids(value: object, key: str, encode: Callable[[str], list[int]] | None) -> _Tokens:
    if isinstance(value, str):
        if encode is None:
            raise ValueError(f"{key} is text, which needs a tokenizer; name one or write token ids")
        return tuple(encode(value))
    if isinstance(value, list) and all(type(token) is int and token >= 0 for token in value):
        return tuple(value)
    raise ValueError(f"{key}: wanted a string or a list of token ids (whole numbers from 0), got {value!r}")


def _fault(prompt: _Tokens, correct: _Tokens, shallow: _Tokens) -> str | None:
    """Return what is wrong with an item, or None."""
    if not prompt or not correct or not shallow:
        return "wanted a prompt and two answers of at least one token each, got an empty one"
    if correct == shallow:
        return f"the correct and the shallow answer are equal ({list(correct)}); such an item shows no mode, change or drop it"
    return None
