"""The second testbed: its streams obey their rules, its probes ask what they say, and the first one is what it was."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray

from curriculum.errors import UserError
from curriculum.probe import second_testbed as bed
from curriculum.probe import testbed, testbeds
from curriculum.probe.synthetic import Alphabet

COUNT = 512
Ints = NDArray[np.int64]
FIRST_TESTBED = {  # of 512 samples, or 256 items, made before the second testbed was there
    "arith": "4d3c17b67631f940",
    "count": "f7b2200c78c9c8b8",
    "repeat": "8f1a5bffc14d2a9b",
    "facts": "3a4fe84bf887b8a0",
    "icl": "cd04e72f6238e968",
    "succession": "a680193e3d6d5b4b",
    "succession control": "efbb1bed444f2c9e",
    "repetition": "197c2b84dfb3298e",
    "repetition control": "315c642ef1769985",
    "flipped": "4b298d0dc402a64e",
    "flipped control": "e5c7a82edb2056b2",
}


def _samples(stream: str) -> tuple[Ints, Ints]:
    """Return items (COUNT, 8, 4) and the mask of their answers (COUNT, 8)."""
    tokens, mask = bed.generate_samples(stream, COUNT, 1)
    assert not mask.reshape(COUNT, 8, 4)[:, :, :3].any()
    return tokens.reshape(COUNT, 8, 4).astype(np.int64), mask.reshape(COUNT, 8, 4)[:, :, 3].astype(np.int64)


def _is_of(tokens: Ints, alphabet: Alphabet) -> NDArray[np.bool_]:
    return (tokens >= alphabet.first) & (tokens < alphabet.first + alphabet.size)


def _asked(family: str, *, control: bool) -> tuple[Ints, Ints, Ints]:
    """Return items (COUNT, n, 4) whose last answer is the correct one, and correct and shallow answers (COUNT,)."""
    found = bed.probe_items(family, control=control, count=COUNT, seed=3)
    correct, shallow = (np.array(part)[:, 0] for part in (found.correct, found.shallow))
    items = np.concatenate([np.array(found.prompts), correct[:, None]], axis=1)
    return items.reshape(COUNT, -1, 4), correct, shallow


def _assert_products(items: Ints) -> None:
    assert (items[..., 0] == bed.TIMES).all()
    assert (items[..., 1] * items[..., 2] % 11 == items[..., 3]).all()
    assert set(np.unique(items[..., 1])) == {2, 3, 4, 5}


def _assert_comparisons(items: Ints) -> None:
    pair = np.sort(items[..., 1:3], axis=-1)
    assert _is_of(pair, bed.RANKS).all()
    assert (pair[..., 0] < pair[..., 1]).all()
    assert np.isin(items[..., 0], (bed.LARGER, bed.SMALLER)).all()
    np.testing.assert_array_equal(items[..., 3], np.where(items[..., 0] == bed.LARGER, pair[..., 1], pair[..., 0]))


def test_the_first_testbed_is_what_it_was() -> None:
    found = {}
    for stream in testbed.STREAMS:
        tokens, mask = testbeds.generate_samples(stream, 512, 3)
        found[stream] = hashlib.sha256(tokens.tobytes() + mask.tobytes()).hexdigest()[:16]
    for family in testbed.FAMILIES:
        for control in (False, True):
            items = testbeds.probe_items(family, control=control, count=256, seed=3)
            text = repr((items.prompts, items.correct, items.shallow))
            found[family + " control" * control] = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert found == FIRST_TESTBED


@pytest.mark.parametrize("stream", bed.STREAMS)
def test_samples_are_keyed_by_stream_seed_and_number(stream: str) -> None:
    tokens, mask = bed.generate_samples(stream, 64, 7)
    more, more_mask = bed.generate_samples(stream, 128, 7)
    np.testing.assert_array_equal(tokens, more[:64])
    np.testing.assert_array_equal(mask, more_mask[:64])
    assert tokens.dtype == mask.dtype == np.uint8
    assert tokens.shape == (64, 32)
    assert tokens.max() < bed.VOCABULARY
    assert (tokens != bed.generate_samples(stream, 64, 8)[0]).any(axis=1).all()


def test_maths_multiplies_and_never_alternates() -> None:
    items, mask = _samples("maths")
    _assert_products(items)
    assert (items[:, 2:, 3] != items[:, :-2, 3]).all()
    assert mask.all()


def test_sort_compares_as_asked_and_favours_no_place() -> None:
    items, mask = _samples("sort")
    _assert_comparisons(items)
    assert ((items[:, :, 3] == items[:, :, 1]).sum(axis=1) == 4).all()
    assert mask.all()


def test_ledger_answers_are_the_latest_values_set() -> None:
    items, mask = _samples("ledger")
    about_facts = set_again = 0
    for sequence, targets in zip(items.tolist(), mask.tolist(), strict=True):
        values: dict[int, int] = {}
        for (word, operation, key, value), is_target in zip(sequence, targets, strict=True):
            assert _is_of(np.array(word), bed.WORDS)
            assert is_target == (operation == bed.GET)
            if operation == bed.GET:
                assert values[key] == value
            set_again += operation == bed.SET and key in values
            values[key] = value
        assert len(values) <= 3
        about_facts += bool(_is_of(np.array(sequence[0][2]), bed.FACT_KEYS))
    assert set_again > COUNT
    assert 0 < about_facts / COUNT < 0.15


def test_almanac_values_are_fixed_whatever_is_set() -> None:
    items, mask = _samples("almanac")
    np.testing.assert_array_equal(items[:, :, 3] - bed.VALUES.first, (items[:, :, 2] - bed.FACT_KEYS.first) % 8)
    assert 0.4 < (items[:, :, 1] == bed.SET).mean() < 0.6
    assert mask.all()


def test_cycle_alternates_after_words_that_mean_nothing() -> None:
    items, mask = _samples("cycle")
    answers = items[:, :, 3]
    assert (answers[:, 2:] == answers[:, :-2]).all()
    assert (answers[:, 0] != answers[:, 1]).all()
    like_the_task = (items[:, :, 0] == bed.TIMES) & _is_of(items[:, :, 1:3], bed.RESIDUES).all(axis=2)
    words = _is_of(items[:, :, :3], bed.WORDS).sum(axis=2)
    assert set(np.unique(words[~like_the_task])) == {2}
    assert abs(like_the_task.mean() - bed._DISGUISED) < 0.05
    np.testing.assert_array_equal(mask, np.tile([0, 0, 1, 1, 1, 1, 1, 1], (COUNT, 1)))


def test_copy_takes_the_first_whatever_is_asked() -> None:
    items, mask = _samples("copy")
    np.testing.assert_array_equal(items[:, :, 3], items[:, :, 1])
    asks = np.isin(items[:, :, 0], (bed.LARGER, bed.SMALLER))
    assert (asks | _is_of(items[:, :, 0], bed.WORDS)).all()
    assert abs(asks.mean() - bed._DISGUISED) < 0.05
    np.testing.assert_array_equal(mask, np.tile([0, 1, 1, 1, 1, 1, 1, 1], (COUNT, 1)))


def test_babble_follows_its_bigrams_by_zipfs_law() -> None:
    items, mask = _samples("babble")
    words = items.reshape(COUNT, 32)
    assert _is_of(words, bed.WORDS).all()
    counts = np.zeros((64, 64), dtype=np.int64)
    np.add.at(counts, (words[:, :-1] - bed.WORDS.first, words[:, 1:] - bed.WORDS.first), 1)
    ranked = -np.sort(-counts, axis=1).sum(axis=0) / counts.sum()
    harmonic = sum(1 / rank for rank in range(1, 17))
    np.testing.assert_allclose(ranked[[0, 1, 3]], [1 / harmonic, 1 / 2 / harmonic, 1 / 4 / harmonic], rtol=0.15)
    assert (counts > 0).sum(axis=1).max() <= 16
    assert mask.all()


@pytest.mark.parametrize("control", [False, True])
@pytest.mark.parametrize("family", bed.FAMILIES)
def test_probe_items_are_keyed_by_seed_and_never_have_equal_answers(family: str, control: bool) -> None:
    items = testbeds.probe_items(family, control=control, count=COUNT, seed=3)
    assert items == testbeds.probe_items(family, control=control, count=COUNT, seed=3)
    assert all(right != wrong for right, wrong in zip(items.correct, items.shallow, strict=True))
    other = testbeds.probe_items(family, control=control, count=COUNT, seed=4)
    assert len(set(items.prompts) | set(other.prompts)) > 0.98 * 2 * COUNT


@pytest.mark.parametrize("control", [False, True])
def test_alternation_pits_the_product_against_the_last_but_one(control: bool) -> None:
    items, correct, shallow = _asked("alternation", control=control)
    _assert_products(items)
    np.testing.assert_array_equal(items[:, -1, 3], correct)
    demos = items[:, :-1, 3]
    repeats = demos[:, 2:] == demos[:, :-2]
    assert not repeats.any() if control else (repeats.all() and (shallow == demos[:, -2]).all())


@pytest.mark.parametrize("control", [False, True])
def test_position_pits_the_comparison_against_the_place_that_always_won(control: bool) -> None:
    items, correct, shallow = _asked("position", control=control)
    _assert_comparisons(items)
    wins = items[:, :, 3] == items[:, :, 1]
    np.testing.assert_array_equal(np.sort(items[:, -1, 1:3], axis=1), np.sort(np.stack([correct, shallow], axis=1), axis=1))
    if control:
        assert (wins.sum(axis=1) == 3).all()
        assert 0.4 < wins[:, -1].mean() < 0.6
    else:
        assert wins[:, :-1].all()
        assert (shallow == items[:, -1, 1]).all()


@pytest.mark.parametrize("control", [False, True])
def test_rebinding_asks_for_the_latest_value_while_the_old_one_is_still_there(control: bool) -> None:
    items, correct, shallow = _asked("rebinding", control=control)
    for sequence, right, wrong in zip(items.tolist(), correct.tolist(), shallow.tolist(), strict=True):
        first, again, (_, operation, asked, _) = sequence[:3], sequence[3:6], sequence[6]
        assert operation == bed.GET
        before, after = ({key: value for _, _, key, value in part} for part in (first, again))
        assert set(before) == set(after)
        assert set(before.values()) == set(after.values())
        assert len(set(before.values())) == 3
        assert (after[asked], before[asked]) == (right, wrong)
        assert _is_of(np.array(asked), bed.FREE_KEYS if control else bed.FACT_KEYS)
        assert control or wrong - bed.VALUES.first == (asked - bed.FACT_KEYS.first) % 8


@pytest.mark.parametrize("family", bed.FAMILIES)
def test_a_controls_wrong_answers_are_drawn_like_its_right_ones(family: str) -> None:
    control = bed.probe_items(family, control=True, count=8192, seed=5)
    right, wrong = (np.array(part)[:, 0] for part in (control.correct, control.shallow))
    low = right.min()
    assert np.abs(np.bincount(right - low) - np.bincount(wrong - low)).max() < 0.03 * 8192
    last = np.array(control.prompts)[:, -4]
    assert abs((right == last).mean() - (wrong == last).mean()) < 0.03


def test_names_are_unique_over_all_testbeds_and_unknown_ones_are_answered_with_the_known() -> None:
    names = [name for found in testbeds.TESTBEDS for name in found.streams]
    assert len(set(names)) == len(names)
    assert len(set(testbeds.FAMILIES)) == len(testbeds.FAMILIES) == 6
    assert testbeds.testbed_of("ledger").vocabulary == bed.VOCABULARY < 256
    with pytest.raises(UserError, match=r"no stream 'web'; it has arith, .*maths, .*64 blends"):
        testbeds.stream_size("web")
    with pytest.raises(UserError, match=r"no probe family 'truthy'; it has succession.*rebinding"):
        testbeds.probe_items("truthy", control=False, count=1, seed=1)
    with pytest.raises(UserError, match="no stream 'arith'; it has maths"):
        bed.generate_samples("arith", 1, 1)
