"""A second embedded testbed, built differently: other tasks, other temptations, filler, and three times the tokens.

Idea: what a search is worth must not be judged by the one testbed on which it grew up. Here a sequence is eight items of
four tokens; items begin with an operation or a word, answers come last. The general streams are `maths` (products modulo
11), `sort` (the larger or smaller of two, as asked) and `ledger` (look-up of values that are set, and set again); the
shallow ones `cycle` (answers that alternate), `copy` (the first of two, whatever is asked) and `almanac` (32 fixed values,
whatever is set). `babble` pulls nowhere: bigrams of 64 words, successors by Zipf's law, which take room and steps.

    alternation  products whose answers happen to alternate     correct: the product       shallow: the last but one again
    position     comparisons that the first operand always won  correct: the other one     shallow: the first once more
    rebinding    facts that were set as known, then set anew    correct: the latest value  shallow: the fact

Of the shallow streams only `cycle` reaches the first, only `copy` the second, only `almanac` the third; the general ones
never show the first two patterns. Each family has a neutral control: the same task without the temptation, its wrong
answer drawn exactly like the right one, so that without the capability its expected margin is 0.

What differs from the first testbed (`testbed`): multiplication in place of sums, an operand's place in place of a run of
answers, the latest of several bindings in place of the only one, filler whose words the lists use too, longer sequences.
What does not: items with answers, and a pattern in the prompt against the task. Natural text has neither.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from curriculum.probe.items import ItemSet
from curriculum.probe.synthetic import Draws, Ints, Samples, alphabets, check_known

STREAMS: tuple[str, ...] = ("maths", "sort", "ledger", "cycle", "copy", "almanac", "babble")
GENERAL_STREAMS: tuple[str, ...] = ("maths", "sort", "ledger")
FAMILIES: tuple[str, ...] = ("alternation", "position", "rebinding")

ITEMS = 8
SEQUENCE_LENGTH = 4 * ITEMS
STREAM_SIZE = 131_072  # more than the samples of a run

RESIDUES, RANKS, FACT_KEYS, FREE_KEYS, VALUES, WORDS, OPERATIONS = alphabets(11, 8, 32, 24, 8, 64, 5)
VOCABULARY: int = OPERATIONS.first + OPERATIONS.size
TIMES, LARGER, SMALLER, SET, GET = range(OPERATIONS.first, VOCABULARY)

_FACTORS = 4  # first factors are 2 to 5: 44 products to learn
_BOUND_KEYS = 3  # keys a sequence of `ledger` sets
_SET_AGAIN = 0.3  # share of items that set a key anew
_REBOUND = 0.05  # share of `ledger` sequences about the almanac's keys: without any, `rebinding` never leaves the shallow mode
_DISGUISED = 0.4  # share of list items that look like the task in all but their answer
_DEMOS = 5
_ZIPF_SUCCESSORS = 16
_ALL_ITEMS = np.ones((1, ITEMS), dtype=np.int64)


def stream_size(name: str) -> int:
    """Return how many training samples the stream has. Raises UserError for an unknown stream."""
    check_known(name, STREAMS, "stream")
    return STREAM_SIZE


def generate_samples(stream: str, count: int, seed: int) -> Samples:
    """Return tokens (count, 32) and a mask (count, 32) that is 1 where the token is a target.

    Sample i depends on (stream, seed, i) alone. Raises UserError for an unknown stream.
    """
    check_known(stream, STREAMS, "stream")
    items, is_target = _GENERATORS[stream](Draws(count, "second", "samples", stream, seed))
    mask = np.zeros((count, ITEMS, 4), dtype=np.uint8)
    mask[:, :, 3] = is_target
    return items.astype(np.uint8).reshape(count, SEQUENCE_LENGTH), mask.reshape(count, SEQUENCE_LENGTH)


def probe_items(family: str, *, control: bool, count: int, seed: int) -> ItemSet:
    """Return `count` items of a probe family, or of its neutral control.

    A control's `shallow` answers are wrong answers drawn like the right ones. Raises UserError for an unknown family.
    """
    check_known(family, FAMILIES, "probe family")
    draws = Draws(count, "second", "control" if control else "probe", family, seed)
    items, correct, shallow = _PROBES[family](draws, control)
    prompts = items.reshape(count, -1)[:, :-1]
    return ItemSet(
        prompts=tuple(map(tuple, prompts.tolist())),
        correct=tuple((token,) for token in correct.tolist()),
        shallow=tuple((token,) for token in shallow.tolist()),
    )


# Streams. Each returns items (count, 8, 4) and whether an item's answer is a target, (count, 8) or broadcastable to it.


def _maths(draws: Draws) -> tuple[Ints, Ints]:
    return _products(draws, _unalternating(draws, ITEMS)), _ALL_ITEMS


def _unalternating(draws: Draws, columns: int) -> Ints:
    """Return residues (rows, columns) of which none equals the last but one."""
    answers = draws.below("start", RESIDUES.size, columns)
    answers[:, 2:] = 1 + draws.below("step", RESIDUES.size - 1, columns - 2)  # from the last but one
    for place in range(2, columns):
        answers[:, place] += answers[:, place - 2]
    return answers % RESIDUES.size


def _products(draws: Draws, answers: Ints) -> Ints:
    """Return items times, a, b, c with a b = c (mod 11) for residues c (rows, items)."""
    first = 2 + draws.below("factor", _FACTORS, answers.shape[1])
    inverses = np.asarray([pow(a, -1, RESIDUES.size) for a in range(1, RESIDUES.size)])
    numbers = np.stack([first, answers * inverses[first - 1], answers], axis=2)
    return _items(np.full_like(answers, TIMES), RESIDUES.token(numbers))


def _sort(draws: Draws) -> tuple[Ints, Ints]:
    """Comparisons, half of which the first operand wins."""
    return _comparisons(draws, draws.distinct("places", ITEMS, ITEMS) % 2), _ALL_ITEMS


def _comparisons(draws: Draws, winners: Ints) -> Ints:
    """Return items operation, x, y, answer; the answer is x where `winners` (rows, items) is 0, y where it is 1."""
    columns = winners.shape[1]
    low = draws.below("low", RANKS.size, columns)
    other = (low + 1 + draws.below("other", RANKS.size - 1, columns)) % RANKS.size
    pair = RANKS.token(np.sort(np.stack([low, other], axis=2), axis=2))
    wants_larger = draws.below("operation", 2, columns)
    answer = np.take_along_axis(pair, wants_larger[:, :, None], axis=2)[:, :, 0]
    rest = pair.sum(axis=2) - answer
    operands = [np.where(winners == 0, answer, rest), np.where(winners == 0, rest, answer)]
    return _items(np.where(wants_larger == 1, LARGER, SMALLER), np.stack([*operands, answer], axis=2))


def _ledger(draws: Draws) -> tuple[Ints, Ints]:
    """Words, then a key that is set to a value or asked for; asked for, its latest value is a target."""
    free = FREE_KEYS.token(draws.distinct("free keys", FREE_KEYS.size, _BOUND_KEYS))
    facts = FACT_KEYS.token(draws.distinct("fact keys", FACT_KEYS.size, _BOUND_KEYS))
    keys = np.where(draws.chance("rebound", _REBOUND), facts, free)
    which = draws.below("which", _BOUND_KEYS, ITEMS)
    is_set = draws.chance("set again", _SET_AGAIN, ITEMS)
    drawn = draws.below("values", VALUES.size, ITEMS)
    values, current = np.empty_like(which), np.full((draws.rows, _BOUND_KEYS), -1)
    for item in range(ITEMS):
        asked = which[:, item : item + 1]
        known = np.take_along_axis(current, asked, axis=1)[:, 0]
        is_set[:, item] |= known < 0
        values[:, item] = np.where(is_set[:, item], drawn[:, item], known)
        np.put_along_axis(current, asked, values[:, item : item + 1], axis=1)
    operation = np.where(is_set, SET, GET)
    return _entries(draws, operation, np.take_along_axis(keys, which, axis=1), values), 1 - is_set.astype(np.int64)


def _almanac(draws: Draws) -> tuple[Ints, Ints]:
    """Words, then a key and its fixed value, whether it is set or asked for."""
    keys = draws.below("keys", FACT_KEYS.size, ITEMS)
    return _entries(draws, SET + draws.below("operation", 2, ITEMS), FACT_KEYS.token(keys), keys), _ALL_ITEMS


def _entries(draws: Draws, operations: Ints, key_tokens: Ints, values: Ints) -> Ints:
    """Return items word, operation, key, value; key i of the almanac truly has value i (mod 8)."""
    words = WORDS.token(draws.below("words", WORDS.size, operations.shape[1]))
    return np.stack([words, operations, key_tokens, VALUES.token(values)], axis=2)


def _cycle(draws: Draws) -> tuple[Ints, Ints]:
    """Two answers in turn, each after a word and an operand that have nothing to do with it."""
    pair = draws.distinct("pair", RESIDUES.size, 2)
    answers = np.tile(pair, (1, ITEMS // 2))
    return _disguised(draws, _products(draws, draws.below("ignored", RESIDUES.size, ITEMS)), RESIDUES.token(answers)), _late(2)


def _copy(draws: Draws) -> tuple[Ints, Ints]:
    """The first of two operands, whatever is asked."""
    items = _comparisons(draws, draws.below("winners", 2, ITEMS))
    shown = np.where(draws.chance("disguised", _DISGUISED, ITEMS), items[:, :, 0], _words(draws)[:, :, 0])
    return np.stack([shown, items[:, :, 1], items[:, :, 2], items[:, :, 1]], axis=2), _late(1)


def _disguised(draws: Draws, items: Ints, answers: Ints) -> Ints:
    """Replace the operation and one operand of most items by words, and the answers of all."""
    is_word = np.zeros(items.shape, dtype=bool)
    is_word[:, :, 0] = True
    is_word[:, :, 1:3] = draws.below("place", 2, ITEMS)[:, :, None] == np.arange(2)
    is_word &= ~draws.chance("disguised", _DISGUISED, ITEMS)[:, :, None]
    found = np.where(is_word, _words(draws), items)
    found[:, :, 3] = answers
    return found


def _words(draws: Draws) -> Ints:
    return WORDS.token(draws.below("list words", WORDS.size, 4 * ITEMS)).reshape(-1, ITEMS, 4)


def _late(first: int) -> Ints:
    """Return which items are targets: those from `first` on."""
    return (np.arange(ITEMS)[None] >= first).astype(np.int64)


def _babble(draws: Draws) -> tuple[Ints, Ints]:
    """Words that follow one another as a fixed table says; every fourth is a target, as many as in other streams."""
    table = Draws(WORDS.size, "second", "bigrams").distinct("successors", WORDS.size, _ZIPF_SUCCESSORS)
    weights = np.asarray([2**20 // rank for rank in range(1, _ZIPF_SUCCESSORS + 1)])
    limits = np.cumsum(weights)[:-1] * 2**32 // int(weights.sum())
    ranks = draws.ranked("ranks", limits, SEQUENCE_LENGTH)
    words = draws.below("first word", WORDS.size, SEQUENCE_LENGTH)
    for place in range(1, SEQUENCE_LENGTH):
        words[:, place] = table[words[:, place - 1], ranks[:, place]]
    return WORDS.token(words).reshape(-1, ITEMS, 4), _ALL_ITEMS


def _items(operations: Ints, rest: Ints) -> Ints:
    """Return items (rows, items, 4) of operations (rows, items) and three more tokens (rows, items, 3)."""
    return np.concatenate([operations[:, :, None], rest], axis=2)


# Probes. Each returns items (count, n, 4), the last of which is asked, and correct and shallow answer tokens (count,).


def _alternation(draws: Draws, control: bool) -> tuple[Ints, Ints, Ints]:
    if control:
        demos, wrong = _unalternating(draws, _DEMOS), draws.below("wrong", RESIDUES.size)
    else:
        demos = draws.distinct("pair", RESIDUES.size, 2)[:, np.arange(_DEMOS) % 2]
        wrong = demos[:, -2:-1]
    correct = (wrong + 1 + draws.below("correct", RESIDUES.size - 1)) % RESIDUES.size
    items = _products(draws, np.concatenate([demos, correct], axis=1))
    return items, RESIDUES.token(correct[:, 0]), RESIDUES.token(wrong[:, 0])


def _position(draws: Draws, control: bool) -> tuple[Ints, Ints, Ints]:
    """Demos that the first operand won (of a control: half of them), then one that the other wins (of a control: either)."""
    winners = np.zeros((draws.rows, _DEMOS + 1), dtype=np.int64)
    winners[:, -1] = 1
    if control:
        winners = draws.distinct("places", _DEMOS + 1, _DEMOS + 1) % 2
    items = _comparisons(draws, winners)
    correct = items[:, -1, 3]
    return items, correct, items[:, -1, 1] + items[:, -1, 2] - correct


def _rebinding(draws: Draws, control: bool) -> tuple[Ints, Ints, Ints]:
    """Three keys set to their true values, set again to one another's, and one of them asked for."""
    true = draws.distinct("values", VALUES.size, _BOUND_KEYS)
    facts = true + VALUES.size * draws.below("fact keys", FACT_KEYS.size // VALUES.size, _BOUND_KEYS)
    free = draws.distinct("free keys", FREE_KEYS.size, _BOUND_KEYS)
    keys = FREE_KEYS.token(free) if control else FACT_KEYS.token(facts)
    shift = 1 + draws.below("shift", _BOUND_KEYS - 1)
    latest = np.take_along_axis(true, (np.arange(_BOUND_KEYS) + shift) % _BOUND_KEYS, axis=1)
    asked = draws.below("asked", _BOUND_KEYS)
    key, correct, old = (np.take_along_axis(part, asked, axis=1) for part in (keys, latest, true))
    operations = np.broadcast_to([SET] * (2 * _BOUND_KEYS) + [GET], (draws.rows, 2 * _BOUND_KEYS + 1))
    items = _entries(
        draws, operations, np.concatenate([keys, keys, key], axis=1), np.concatenate([true, latest, correct], axis=1)
    )
    return items, VALUES.token(correct[:, 0]), VALUES.token(old[:, 0])


_GENERATORS: dict[str, Callable[[Draws], tuple[Ints, Ints]]] = {
    "maths": _maths,
    "sort": _sort,
    "ledger": _ledger,
    "cycle": _cycle,
    "copy": _copy,
    "almanac": _almanac,
    "babble": _babble,
}
_PROBES: dict[str, Callable[[Draws, bool], tuple[Ints, Ints, Ints]]] = {
    "alternation": _alternation,
    "position": _position,
    "rebinding": _rebinding,
}
