"""Bits per byte over prompt/continuation suites."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from curriculum.errors import FileError, RunError, UserError
from curriculum.probe.bits_per_byte import bits_per_byte, check_continuations, load_continuations


class Letters:
    """A model of single characters: every character has probability 1/8, whatever stands before it."""

    def __init__(self, probability: float = 1 / 8) -> None:
        self.probability = probability

    @staticmethod
    def encode(text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def answer_log_probabilities(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[np.ndarray]]:
        return [[np.full(len(answer), np.log(self.probability)) for answer in of] for of in answers]


def written(folder: Path, *rows: str) -> Path:
    path = folder / "suite.jsonl"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_bits_are_summed_over_tokens_and_divided_by_bytes(tmp_path: Path) -> None:
    path = written(tmp_path, '{"prompt": "ab", "continuation": " cd"}', "", '{"prompt": "x", "continuation": " é"}')
    suite = load_continuations(path, encode=Letters.encode)
    assert suite.name == "suite" and suite.sizes == (3, 3) and suite.continuations == ((32, 99, 100), (32, 233))
    found = bits_per_byte(suite, Letters())
    assert found.value == pytest.approx(3 * 5 / 6) and found.low == pytest.approx(2.0) and found.high == pytest.approx(3.0)
    assert bits_per_byte(suite, Letters(1.0)).value == 0


def test_text_is_joined_as_it_stands(tmp_path: Path) -> None:
    suite = load_continuations(written(tmp_path, '{"prompt": "1,", "continuation": "2"}'), encode=Letters.encode)
    assert suite.continuations == ((50,),) and suite.sizes == (1,)


def test_token_ids_need_no_tokenizer(tmp_path: Path) -> None:
    suite = load_continuations(written(tmp_path, '{"prompt": [1], "continuation": [2, 3], "bytes": 3}'), name="ids")
    assert suite.name == "ids" and bits_per_byte(suite, Letters()).value == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", r"suite\.jsonl:2: wanted one JSON object"),
        ('{"prompt": "a"}', ":2: missing key 'continuation'"),
        ('{"prompt": "a", "continuation": "  "}', ":2: wanted a prompt and a continuation with some text"),
        ('{"prompt": "", "continuation": "a"}', ":2: wanted a prompt and a continuation with some text"),
        ('{"prompt": [1], "continuation": [], "bytes": 1}', ":2: .*non-empty lists of token ids"),
        ('{"prompt": [1], "continuation": [true], "bytes": 1}', ":2: .*non-empty lists of token ids"),
        ('{"prompt": [1], "continuation": [2]}', ':2: .*needs "bytes"'),
        ('{"prompt": "a", "continuation": [2], "bytes": 1}', ":2: wanted prompt and continuation as texts"),
    ],
)
def test_malformed_rows_are_named(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(FileError, match=message):
        load_continuations(written(tmp_path, '{"prompt": "a", "continuation": "b"}', row), encode=Letters.encode)


def test_files_that_hold_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="at least one"):
        load_continuations(written(tmp_path, ""), encode=Letters.encode)
    with pytest.raises(FileError, match="no such file"):
        load_continuations(tmp_path / "none.jsonl")
    with pytest.raises(FileError, match=":1: the row is text, which needs a tokenizer"):
        load_continuations(written(tmp_path, '{"prompt": "a", "continuation": "b"}'))


def test_what_a_model_cannot_read_is_named_before_it_is_asked(tmp_path: Path) -> None:
    rows = ('{"prompt": [1], "continuation": [2], "bytes": 1}', '{"prompt": [1, 2], "continuation": [9], "bytes": 1}')
    suite = load_continuations(written(tmp_path, *rows))
    check_continuations(suite, vocabulary=10, context=3)
    with pytest.raises(UserError, match="row 2: token id 9 is none of the model's 9"):
        check_continuations(suite, vocabulary=9, context=3)
    with pytest.raises(UserError, match="row 2: 3 tokens, but the model reads 2"):
        check_continuations(suite, vocabulary=10, context=2)


def test_what_is_no_probability_is_refused(tmp_path: Path) -> None:
    suite = load_continuations(written(tmp_path, '{"prompt": "a", "continuation": "b"}'), encode=Letters.encode)
    with pytest.raises(RunError, match="suite 'suite', row 1"):
        bits_per_byte(suite, Letters(float("nan")))
