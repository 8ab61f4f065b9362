"""The embedded testbed: streams obey their rules, probes ask what they say, and probe files are refused with a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from curriculum.errors import FileError, UserError
from curriculum.probe import testbed
from curriculum.probe.items import ItemSet, load_items

COUNT = 512


def _items(stream: str, seed: int = 1) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return items (COUNT, 8, 3) and the mask of their answers (COUNT, 8)."""
    tokens, mask = testbed.generate_samples(stream, COUNT, seed)
    return tokens.reshape(COUNT, 8, 3).astype(np.int64), mask.reshape(COUNT, 8, 3)[:, :, 2].astype(np.int64)


def _symbols(tokens: NDArray[np.int64], alphabet: testbed.Alphabet) -> NDArray[np.int64]:
    """Return symbol numbers, and fail if a token is not of the alphabet."""
    symbols = tokens - alphabet.first
    assert ((symbols >= 0) & (symbols < alphabet.size)).all()
    return symbols


def _is_of(tokens: NDArray[np.int64], alphabet: testbed.Alphabet) -> NDArray[np.bool_]:
    return (tokens >= alphabet.first) & (tokens < alphabet.first + alphabet.size)


def _true_answer(item: Sequence[int]) -> int:
    """Do the task by hand: a sum of digits, or a difference of letters."""
    a, b = item[0], item[1]
    if a < testbed.LETTERS.first:
        return (a + b) % 10
    return testbed.LETTERS.first + (a - b) % 10


@pytest.mark.parametrize("stream", testbed.STREAMS)
def test_samples_have_the_stated_form(stream: str) -> None:
    tokens, mask = testbed.generate_samples(stream, COUNT, 1)
    assert tokens.shape == mask.shape == (COUNT, testbed.SEQUENCE_LENGTH)
    assert tokens.dtype == mask.dtype == np.uint8
    assert tokens.max() < testbed.VOCABULARY
    assert mask.reshape(COUNT, 8, 3)[:, :, :2].sum() == 0
    assert (mask.sum(axis=1) > 0).mean() > 0.99


@pytest.mark.parametrize("stream", testbed.STREAMS)
def test_samples_depend_on_seed_and_row_alone(stream: str) -> None:
    tokens, mask = testbed.generate_samples(stream, COUNT, 1)
    again, mask_again = testbed.generate_samples(stream, 2 * COUNT, 1)
    np.testing.assert_array_equal(tokens, again[:COUNT])
    np.testing.assert_array_equal(mask, mask_again[:COUNT])
    other, _ = testbed.generate_samples(stream, COUNT, 2)
    assert not (tokens == other).all(axis=1).any()
    assert len(np.unique(tokens, axis=0)) == COUNT


def test_arith_is_right_uses_both_tasks_and_shows_no_pattern() -> None:
    items, mask = _items("arith")
    assert all(_true_answer(item) == item[2] for item in items.reshape(-1, 3).tolist())
    is_sum = _is_of(items, testbed.DIGITS)
    assert (is_sum.all(axis=(1, 2)) | _is_of(items, testbed.LETTERS).all(axis=(1, 2))).all()
    assert 0.4 < is_sum.all(axis=(1, 2)).mean() < 0.6
    steps = np.diff(items[:, :, 2], axis=1) % 10
    assert not np.isin(steps, (0, 1)).any()
    assert mask.all()


@pytest.mark.parametrize(("stream", "alphabet", "step"), [("count", testbed.DIGITS, 1), ("repeat", testbed.LETTERS, 0)])
def test_lists_count_or_repeat_after_operands_that_mean_nothing(stream: str, alphabet: testbed.Alphabet, step: int) -> None:
    items, mask = _items(stream)
    answers = _symbols(items[:, :, 2], alphabet)
    assert (np.diff(answers, axis=1) % 10 == step).all()
    operands = _is_of(items[:, :, :2], alphabet).sum(axis=2)
    words = _is_of(items[:, :, :2], testbed.WORDS).sum(axis=2)
    assert (operands + words == 2).all()
    assert set(np.unique(operands)) == {1, 2}
    assert 0.1 < (operands == 2).mean() < 0.3
    np.testing.assert_array_equal(mask, np.tile([0, 0, 1, 1, 1, 1, 1, 1], (COUNT, 1)))


def test_facts_bind_each_key_to_one_label() -> None:
    items, mask = _items("facts")
    keys, labels = _symbols(items[:, :, 1], testbed.FACT_KEYS), _symbols(items[:, :, 2], testbed.LABELS)
    np.testing.assert_array_equal(labels, keys % 8)
    assert len(np.unique(keys)) == 32
    assert mask.all()


def test_icl_answers_are_targets_once_the_sequence_has_bound_their_key() -> None:
    items, mask = _items("icl")
    rebound = 0
    for sequence, targets in zip(items.tolist(), mask.tolist(), strict=True):
        bound: dict[int, int] = {}
        for (_, key, label), is_target in zip(sequence, targets, strict=True):
            assert is_target == (key in bound)
            assert bound.setdefault(key, label) == label
        rebound += sequence[0][1] < testbed.FREE_KEYS.first
        assert len(bound) <= 4
    assert 0 < rebound / COUNT < 0.1


@pytest.mark.parametrize("control", [False, True])
@pytest.mark.parametrize("family", testbed.FAMILIES)
def test_probe_items_are_keyed_by_seed_and_never_have_equal_answers(family: str, control: bool) -> None:
    items = testbed.probe_items(family, control=control, count=COUNT, seed=3)
    assert len(items) == COUNT
    assert items == testbed.probe_items(family, control=control, count=COUNT, seed=3)
    assert all(right != wrong for right, wrong in zip(items.correct, items.shallow, strict=True))
    other = testbed.probe_items(family, control=control, count=COUNT, seed=4)
    assert len(set(items.prompts) | set(other.prompts)) > 0.98 * 2 * COUNT  # a fresh seed means fresh items
    assert len({len(prompt) for prompt in items.prompts}) == 1


@pytest.mark.parametrize(("family", "step"), [("succession", 1), ("repetition", 0)])
@pytest.mark.parametrize("control", [False, True])
def test_task_probes_pit_the_task_against_the_demos_pattern(family: str, step: int, control: bool) -> None:
    probe = testbed.probe_items(family, control=control, count=COUNT, seed=3)
    first = (testbed.DIGITS if family == "succession" else testbed.LETTERS).first
    for prompt, correct, shallow in zip(probe.prompts, probe.correct, probe.shallow, strict=True):
        demos = [prompt[start : start + 3] for start in range(0, 12, 3)]
        assert all(_true_answer(demo) == demo[2] for demo in demos)
        assert _true_answer(prompt[12:]) == correct[0]
        answers = [demo[2] - first for demo in demos] + ([] if control else [shallow[0] - first])
        steps = np.diff(answers) % 10
        assert not np.isin(steps, (0, 1)).any() if control else (steps == step).all()


@pytest.mark.parametrize("control", [False, True])
def test_flipped_asks_for_a_label_of_the_prompt_while_another_demo_holds_the_shallow_one(control: bool) -> None:
    probe = testbed.probe_items("flipped", control=control, count=COUNT, seed=3)
    for prompt, correct, shallow in zip(probe.prompts, probe.correct, probe.shallow, strict=True):
        keys, labels, asked = prompt[1:-2:3], prompt[2::3], prompt[-1]
        assert len(set(keys)) == len(set(labels)) == len(labels) == 6
        assert dict(zip(keys, labels, strict=True))[asked] == correct[0]
        assert shallow[0] in labels
        if not control:
            assert shallow[0] - testbed.LABELS.first == (asked - testbed.FACT_KEYS.first) % 8
        else:
            assert asked >= testbed.FREE_KEYS.first


def test_a_controls_wrong_answers_are_drawn_like_its_right_ones() -> None:
    for family in testbed.FAMILIES:
        control = testbed.probe_items(family, control=True, count=8192, seed=5)
        right, wrong = (np.array(part)[:, 0] for part in (control.correct, control.shallow))
        last = np.array(control.prompts)[:, -3]
        assert abs((right == last).mean() - (wrong == last).mean()) < 0.03
        low = right.min()
        assert np.abs(np.bincount(right - low) - np.bincount(wrong - low)).max() < 0.03 * 8192


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="no stream 'web'; it has arith"):
        testbed.generate_samples("web", 1, 1)
    with pytest.raises(UserError, match="no stream"):
        testbed.stream_size("web")
    with pytest.raises(UserError, match="no probe family 'truthy'"):
        testbed.probe_items("truthy", control=False, count=1, seed=1)
    assert all(testbed.stream_size(stream) >= 64_000 for stream in testbed.STREAMS)


ROW = {"split": "test", "prompt": [1, 2], "correct_answer": [3], "incorrect_answer": [4]}


def _write(folder: Path, *rows: object) -> Path:
    path = folder / "probe.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return path


def test_items_load_from_token_ids_and_from_text(tmp_path: Path) -> None:
    text = {"split": "test", "prompt": "ab", "correct_answer": "c", "incorrect_answer": "d"}
    demo = {"split": "demo", "prompt": "x", "answer": "y"}
    items = load_items(_write(tmp_path, ROW, "", demo, text), encode=lambda part: [ord(letter) for letter in part])
    assert items == ItemSet(prompts=((1, 2), (97, 98)), correct=((3,), (99,)), shallow=((4,), (100,)))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{oops", r":2: .*JSON"),
        ("[1, 2]", r":2: .*object, got list"),
        ({"split": "test", "prompt": [1]}, r":2: missing key 'correct_answer', 'incorrect_answer'"),
        ({"prompt": [1]}, r':2: missing key "split"'),
        (ROW | {"incorrect_answer": [3]}, r":2: .*equal"),
        (ROW | {"prompt": []}, r":2: .*empty"),
        (ROW | {"prompt": "text"}, r":2: prompt is text, which needs a tokenizer"),
        (ROW | {"prompt": [1, -2]}, r":2: prompt: wanted a string or a list of token ids"),
        (ROW | {"prompt": [True]}, r":2: prompt: wanted"),
    ],
)
def test_bad_rows_are_refused_with_file_and_line(tmp_path: Path, bad: object, message: str) -> None:
    with pytest.raises(FileError, match=message):
        load_items(_write(tmp_path, ROW, bad))


def test_files_without_test_items_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="at least one row"):
        load_items(_write(tmp_path, {"split": "demo"}))
    with pytest.raises(FileError, match="no such file"):
        load_items(tmp_path / "absent.jsonl")


def test_item_sets_name_the_item_at_fault() -> None:
    with pytest.raises(UserError, match=r"probe item 1: .*equal"):
        ItemSet(prompts=((1,), (2,)), correct=((1,), (5,)), shallow=((2,), (5,)))
    with pytest.raises(UserError, match="as many prompts as answers"):
        ItemSet(prompts=((1,),), correct=((1,), (5,)), shallow=((2,),))
