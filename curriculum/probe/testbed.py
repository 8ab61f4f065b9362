"""The embedded testbed: five synthetic streams and three probe families that pull against each other within seconds.

Idea: a sequence is eight items of three tokens, the third being the item's answer. General streams reward doing the
task (`arith`: modular sums of digits or differences of letters; `icl`: look-up of bindings made in the same sequence).
Shallow streams reward copying a pattern (`count`: answers go up; `repeat`: answers stay; both after meaningless words) or
reciting (`facts`: 32 fixed bindings). A probe puts both into one prompt and asks which wins:

    succession   sums whose answers happen to count up               correct: the sum          shallow: one more
    repetition   differences whose answers happen to be equal        correct: the difference   shallow: the same again
    flipped      facts whose labels were swapped among the demos     correct: the new label    shallow: the fact

Succession and repetition have tasks, operands and answers of their own, and of the shallow streams only `count` reaches
the first and only `repeat` the second; else they are one probe twice. In `flipped` the labels are permuted within the prompt, so
that every label is there once and copying just any of them earns nothing. Each family has a neutral control: the same task
without the temptation, with a wrong answer drawn exactly like the right one, so that a model without the capability
has an expected margin of zero. Every target follows from what precedes it: the attainable loss of each stream is zero.

Alternatives: a small natural corpus (slower by a factor of ten, and one cannot say what is true). The price: no filler text,
one vocabulary; what wins here need not win in a real pre-training, it only shows that the search finds what there is.
Numbers are made from PCG64's raw output alone, whose stream numpy guarantees over its versions (NEP 19).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curriculum.errors import UserError
from curriculum.probe.items import ItemSet
from curriculum.units import keyed_seed

STREAMS: tuple[str, ...] = ("arith", "count", "repeat", "facts", "icl")
GENERAL_STREAMS: tuple[str, ...] = ("arith", "icl")
FAMILIES: tuple[str, ...] = ("succession", "repetition", "flipped")

ITEMS = 8
SEQUENCE_LENGTH = 3 * ITEMS
_STREAM_SIZE = 65_536  # twice the samples of a default run: even a run of one stream alone repeats nothing

_Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Alphabet:
    """A contiguous range of tokens with an order that wraps around."""

    first: int
    size: int

    def token(self, index: _Ints) -> _Ints:
        """Return the tokens of symbols `index` (any shape), taken modulo the size."""
        return self.first + index % self.size


def _alphabets(*sizes: int) -> list[Alphabet]:
    starts = np.cumsum([0, *sizes])
    return [Alphabet(first=int(start), size=size) for start, size in zip(starts, sizes, strict=False)]


DIGITS, LETTERS, LADDER, WORDS, FACT_KEYS, LABELS, FREE_KEYS, MARK = _alphabets(10, 10, 16, 24, 32, 8, 24, 1)
VOCABULARY: int = MARK.first + MARK.size

_DEMOS = 4
_SUMMANDS = 6
_MINUENDS = 5


def _firsts(a):
    return _SUMMANDS if a is DIGITS else _MINUENDS


_TEMPTED = 0.05
_BOTH = 0.0
_FLIPPED_DEMOS = 6
_BOUND_KEYS = 4  # keys a sequence of `icl` binds
_REBOUND = 0.05  # share of `icl` sequences that bind fact keys anew: without any, `flipped` never leaves the shallow mode
_DISGUISED = 0.2  # share of those
_TEMPTING = 0.25  # share of `count` and `repeat` lists that use the answers of the probed tasks


class _Draws:
    """Uniform whole numbers, one row a sample; row i depends on the seed and i alone, so a longer draw only adds rows."""

    def __init__(self, rows: int, columns: int, *key: str | int) -> None:
        raw = np.random.PCG64(keyed_seed("testbed", *key)).random_raw(rows * columns)
        self._raw = (np.asarray(raw, dtype=np.uint64) >> np.uint64(32)).astype(np.int64).reshape(rows, columns)
        self._used = 0

    def _take(self, columns: int) -> _Ints:
        taken = self._raw[:, self._used : self._used + columns]
        self._used += columns
        return taken

    def below(self, bound: int, columns: int = 1) -> _Ints:
        """Return (rows, columns) numbers from 0 to bound - 1."""
        return (self._take(columns) * bound) >> 32

    def chance(self, share: float) -> NDArray[np.bool_]:
        """Return (rows, 1) booleans, true with probability `share`."""
        return self._take(1) < int(share * 2**32)

    def distinct(self, bound: int, columns: int) -> _Ints:
        """Return (rows, columns) numbers below `bound`, no two equal in a row."""
        return np.argsort(self._take(bound), axis=1, kind="stable")[:, :columns]


def stream_size(name: str) -> int:
    """Return how many training samples the stream has. Raises UserError for an unknown stream."""
    _known(name, STREAMS, "stream")
    return _STREAM_SIZE


def generate_samples(stream: str, count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return tokens (count, 24) and a mask (count, 24) that is 1 where the token is a target.

    Sample i depends on (stream, seed, i) alone. Raises UserError for an unknown stream.
    """
    _known(stream, STREAMS, "stream")
    items, is_target = _GENERATORS[stream](_Draws(count, 96, "samples", stream, seed))
    mask = np.zeros((count, ITEMS, 3), dtype=np.uint8)
    mask[:, :, 2] = is_target
    return items.astype(np.uint8).reshape(count, SEQUENCE_LENGTH), mask.reshape(count, SEQUENCE_LENGTH)


def probe_items(family: str, *, control: bool, count: int, seed: int) -> ItemSet:
    """Return `count` items of a probe family, or of its neutral control.

    A control's `shallow` answers are wrong answers drawn like the right ones. Raises UserError for an unknown family.
    """
    _known(family, FAMILIES, "probe family")
    draws = _Draws(count, 96, "probe", family, "control" if control else "probe", seed)
    prompts, correct, shallow = _PROBES[family](draws, control)
    return ItemSet(
        prompts=tuple(map(tuple, prompts.tolist())),
        correct=tuple((token,) for token in correct.tolist()),
        shallow=tuple((token,) for token in shallow.tolist()),
    )


def _known(name: str, names: tuple[str, ...], kind: str) -> None:
    if name not in names:
        raise UserError(f"the testbed has no {kind} {name!r}; it has {', '.join(names)}")


# Streams. Each returns items (count, 8, 3) and whether an item's answer is a target, (count, 8) or broadcastable to it.


def _arith(draws: _Draws) -> tuple[_Ints, _Ints]:
    digits = draws.chance(0.5)
    tempted = draws.chance(_TEMPTED) & (np.arange(ITEMS - 1) < 2 + draws.below(4))
    away = 2 + draws.below(DIGITS.size - 3, ITEMS - 1)
    steps = np.where(tempted, np.where(digits, 1, 0), away)
    answers = np.cumsum(np.concatenate([draws.below(DIGITS.size), steps], axis=1), axis=1)
    first = draws.below(1 << 16, ITEMS)
    sums = _sum_items(1 + first % _SUMMANDS, answers)
    differences = _difference_items(1 + first % _MINUENDS, answers)
    return np.where(digits[:, :, None], sums, differences), np.ones((1, ITEMS), dtype=np.int64)


def _sum_items(first: _Ints, answer: _Ints) -> _Ints:
    """Return items a, b, c of digits with a + b = c, modulo their number, for given a and c."""
    return np.stack([DIGITS.token(first), DIGITS.token(answer - first), DIGITS.token(answer)], axis=2)


def _difference_items(first: _Ints, answer: _Ints) -> _Ints:
    """Return items a, b, c of letters with a - b = c, modulo their number, for given a and c."""
    return np.stack([LETTERS.token(first), LETTERS.token(first - answer), LETTERS.token(answer)], axis=2)


def _count(draws: _Draws) -> tuple[_Ints, _Ints]:
    return _list_items(draws, DIGITS, step=1)


def _repeat(draws: _Draws) -> tuple[_Ints, _Ints]:
    return _list_items(draws, LETTERS, step=0)


def _list_items(draws: _Draws, probed: Alphabet, step: int) -> tuple[_Ints, _Ints]:
    """Two words and an answer, which follows from the two answers before it; the first two are no targets."""
    answers = draws.below(probed.size * LADDER.size) + step * np.arange(ITEMS)
    tempting = draws.chance(_TEMPTING)
    tokens = np.where(tempting, probed.token(answers), LADDER.token(answers))
    operands = np.stack([1 + draws.below(_firsts(probed), ITEMS), draws.below(probed.size, ITEMS)], axis=2)
    words = draws.below(WORDS.size, 2 * ITEMS).reshape(-1, ITEMS, 2)
    kind = draws.below(1 << 20, ITEMS)[:, :, None]
    one = (kind & 1) == np.arange(2)
    both = (kind >> 1) < _BOTH * (1 << 19)
    disguised = (one & (draws.chance(_DISGUISED)[:, :, None])) | both
    before = np.where(disguised & tempting[:, :, None], probed.token(operands), WORDS.token(words))
    return np.concatenate([before, tokens[:, :, None]], axis=2), np.array([[0, 0, 1, 1, 1, 1, 1, 1]])


def _facts(draws: _Draws) -> tuple[_Ints, _Ints]:
    keys = draws.below(FACT_KEYS.size, ITEMS)
    return _bound_items(FACT_KEYS.token(keys), keys), np.ones((1, ITEMS), dtype=np.int64)


def _icl(draws: _Draws) -> tuple[_Ints, _Ints]:
    """Keys with labels drawn for this sequence; an answer is a target once its key has been seen."""
    free, facts = draws.distinct(FREE_KEYS.size, _BOUND_KEYS), draws.distinct(FACT_KEYS.size, _BOUND_KEYS)
    keys = np.where(draws.chance(_REBOUND), FACT_KEYS.token(facts), FREE_KEYS.token(free))
    labels = draws.below(LABELS.size, _BOUND_KEYS)
    which = draws.below(_BOUND_KEYS, ITEMS)
    seen = np.tril(which[:, :, None] == which[:, None, :], -1).any(axis=2)
    return _bound_items(np.take_along_axis(keys, which, 1), np.take_along_axis(labels, which, 1)), seen.astype(np.int64)


def _bound_items(key_tokens: _Ints, labels: _Ints) -> _Ints:
    """Return items mark, key, label. Fact key i is truly bound to label i (mod 8)."""
    return np.stack([np.full_like(key_tokens, MARK.first), key_tokens, LABELS.token(labels)], axis=2)


# Probes. Each returns prompts (count, length), correct and shallow answer tokens (count,).


def _succession(draws: _Draws, control: bool) -> tuple[_Ints, _Ints, _Ints]:
    return _task_probe(draws, control, DIGITS, _sum_items, step=1)


def _repetition(draws: _Draws, control: bool) -> tuple[_Ints, _Ints, _Ints]:
    return _task_probe(draws, control, LETTERS, _difference_items, step=0)


def _task_probe(
    draws: _Draws, control: bool, alphabet: Alphabet, make: Callable[[_Ints, _Ints], _Ints], step: int
) -> tuple[_Ints, _Ints, _Ints]:
    size = alphabet.size
    steps = 2 + draws.below(size - 3, _DEMOS)  # a control's neighbouring answers are neither equal nor successive
    answers = draws.below(size) + np.cumsum(steps if control else np.full_like(steps, step), axis=1)
    shallow = draws.below(size) if control else answers[:, -1:] + step
    correct = shallow + 1 + draws.below(size - 1)
    items = make(1 + draws.below(_firsts(alphabet), _DEMOS + 1), np.concatenate([answers, correct], axis=1))
    return _prompts(items), alphabet.token(correct[:, 0]), alphabet.token(shallow[:, 0])


def _flipped(draws: _Draws, control: bool) -> tuple[_Ints, _Ints, _Ints]:
    true = draws.distinct(LABELS.size, _FLIPPED_DEMOS)
    facts = true + LABELS.size * draws.below(FACT_KEYS.size // LABELS.size, _FLIPPED_DEMOS)
    free = draws.distinct(FREE_KEYS.size, _FLIPPED_DEMOS)
    keys = FREE_KEYS.token(free) if control else FACT_KEYS.token(facts)
    shift = 1 + draws.below(_FLIPPED_DEMOS - 1)
    given = np.take_along_axis(true, (np.arange(_FLIPPED_DEMOS) + shift) % _FLIPPED_DEMOS, 1)
    asked = draws.below(_FLIPPED_DEMOS)
    keys, given = (np.concatenate([part, np.take_along_axis(part, asked, 1)], axis=1) for part in (keys, given))
    return (
        _prompts(_bound_items(keys, given)),
        LABELS.token(given[:, -1]),
        LABELS.token(np.take_along_axis(true, asked, 1)[:, 0]),
    )


def _prompts(items: _Ints) -> _Ints:
    """Return items (count, demos + 1, 3) as prompts that end before the last answer."""
    return items.reshape(len(items), -1)[:, :-1]


_GENERATORS: dict[str, Callable[[_Draws], tuple[_Ints, _Ints]]] = {
    "arith": _arith,
    "count": _count,
    "repeat": _repeat,
    "facts": _facts,
    "icl": _icl,
}
_PROBES: dict[str, Callable[[_Draws, bool], tuple[_Ints, _Ints, _Ints]]] = {
    "succession": _succession,
    "repetition": _repetition,
    "flipped": _flipped,
}
