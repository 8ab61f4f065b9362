"""The embedded testbed: five synthetic streams and three probe families that pull against each other within seconds.

Idea: a sequence is eight items of three tokens, the third being the item's answer. General streams reward doing the
task (`arith`: modular sums of digits or differences of letters; `icl`: look-up of bindings made in the same sequence).
Shallow streams reward copying a pattern (`count`: answers go up; `repeat`: answers stay; both after a word and an
operand that have nothing to do with them) or reciting (`facts`: 32 fixed bindings). A probe puts both into one prompt:

    succession   sums whose answers happen to count up               correct: the sum          shallow: one more
    repetition   differences whose answers happen to be equal        correct: the difference   shallow: the same again
    flipped      facts whose labels were swapped among the demos     correct: the new label    shallow: the fact

Succession and repetition have a task, operands and answers of their own, and of the shallow streams only `count` reaches
the first and only `repeat` the second; else they are one probe twice. `arith` never shows either pattern, so that nothing
tells a model beforehand which of the two ought to win. In `flipped` the labels are permuted within the prompt: every
label is there once, and copying just any of them earns nothing. Each family has a neutral control: the same task without
the temptation, its wrong answer drawn exactly like the right one, so that without the capability its expected margin is 0.

Alternatives: a small natural corpus (slower by a factor of ten, and nobody can say what is true in it). The price: no
filler text, one vocabulary; what wins here need not win in real pre-training, it only shows that a search finds what there is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curriculum.probe.items import ItemSet
from curriculum.probe.synthetic import Alphabet, Draws, Ints, alphabets, check_known

STREAMS: tuple[str, ...] = ("arith", "count", "repeat", "facts", "icl")
GENERAL_STREAMS: tuple[str, ...] = ("arith", "icl")
FAMILIES: tuple[str, ...] = ("succession", "repetition", "flipped")

ITEMS = 8
SEQUENCE_LENGTH = 3 * ITEMS
_STREAM_SIZE = 65_536  # twice the samples of a default run: even a run of one stream alone repeats nothing

DIGITS, LETTERS, WORDS, FACT_KEYS, LABELS, FREE_KEYS, MARK = alphabets(10, 10, 24, 32, 8, 24, 1)
VOCABULARY: int = MARK.first + MARK.size


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A probed task: items a, b, c over one alphabet with a + b = c (`sign` 1) or a - b = c (`sign` -1), modulo its size.

    a is one of 1 to `firsts`: the number of pairs to learn sets how much of `arith` the capability takes. `step` is what
    the tempting pattern adds from answer to answer.
    """

    alphabet: Alphabet
    sign: int
    firsts: int
    step: int

    def operands(self, draws: Draws, answers: Ints) -> Ints:
        """Return tokens a, b (rows, items, 2) that make `answers` (rows, items) right."""
        first = 1 + draws.below("first", self.firsts, answers.shape[1])
        return self.alphabet.token(np.stack([first, self.sign * (answers - first)], axis=2))

    def items(self, draws: Draws, answers: Ints) -> Ints:
        """Return items a, b, c (rows, items, 3) for `answers` (rows, items)."""
        return np.concatenate([self.operands(draws, answers), self.alphabet.token(answers)[:, :, None]], axis=2)


SUMS = Task(alphabet=DIGITS, sign=1, firsts=4, step=1)
DIFFERENCES = Task(alphabet=LETTERS, sign=-1, firsts=4, step=0)

_DEMOS = 4
_FLIPPED_DEMOS = 6
_BOUND_KEYS = 4  # keys a sequence of `icl` binds
_REBOUND = 0.03  # share of `icl` sequences that bind fact keys anew: without any, `flipped` never leaves the shallow mode
_DISGUISED = 0.2  # share of list items with two operands, a true conflict: near none, a model is never capable and shallow


def stream_size(name: str) -> int:
    """Return how many training samples the stream has. Raises UserError for an unknown stream."""
    check_known(name, STREAMS, "stream")
    return _STREAM_SIZE


def generate_samples(stream: str, count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return tokens (count, 24) and a mask (count, 24) that is 1 where the token is a target.

    Sample i depends on (stream, seed, i) alone. Raises UserError for an unknown stream.
    """
    check_known(stream, STREAMS, "stream")
    items, is_target = _GENERATORS[stream](Draws(count, "samples", stream, seed))
    mask = np.zeros((count, ITEMS, 3), dtype=np.uint8)
    mask[:, :, 2] = is_target
    return items.astype(np.uint8).reshape(count, SEQUENCE_LENGTH), mask.reshape(count, SEQUENCE_LENGTH)


def probe_items(family: str, *, control: bool, count: int, seed: int) -> ItemSet:
    """Return `count` items of a probe family, or of its neutral control.

    A control's `shallow` answers are wrong answers drawn like the right ones. Raises UserError for an unknown family.
    """
    check_known(family, FAMILIES, "probe family")
    draws = Draws(count, "control" if control else "probe", family, seed)
    prompts, correct, shallow = _PROBES[family](draws, control)
    return ItemSet(
        prompts=tuple(map(tuple, prompts.tolist())),
        correct=tuple((token,) for token in correct.tolist()),
        shallow=tuple((token,) for token in shallow.tolist()),
    )


# Streams. Each returns items (count, 8, 3) and whether an item's answer is a target, (count, 8) or broadcastable to it.


def _arith(draws: Draws) -> tuple[Ints, Ints]:
    """Sums or differences, a sequence of one kind; neighbouring answers are neither equal nor successive."""
    answers = _patternless(draws, DIGITS.size, ITEMS)
    is_sum = draws.chance("task", 0.5)[:, :, None]
    return np.where(is_sum, SUMS.items(draws, answers), DIFFERENCES.items(draws, answers)), np.ones((1, ITEMS), np.int64)


def _patternless(draws: Draws, size: int, columns: int) -> Ints:
    """Return answers (rows, columns) whose neighbours are at least two symbols apart, either way around."""
    steps = 2 + draws.below("step", size - 3, columns)
    answers: Ints = draws.below("start", size) + np.cumsum(steps, axis=1)
    return answers


def _count(draws: Draws) -> tuple[Ints, Ints]:
    return _list_items(draws, SUMS)


def _repeat(draws: Draws) -> tuple[Ints, Ints]:
    return _list_items(draws, DIFFERENCES)


def _list_items(draws: Draws, task: Task) -> tuple[Ints, Ints]:
    """A word and an operand (or two operands), then an answer that follows from the two before it.

    The operand makes the pattern reach the probe, while most lists can still be told from the task by their words.
    """
    answers = draws.below("start", task.alphabet.size) + task.step * np.arange(ITEMS)
    operands = task.operands(draws, draws.below("ignored", task.alphabet.size, ITEMS))
    words = WORDS.token(draws.below("words", WORDS.size, 2 * ITEMS)).reshape(operands.shape)
    is_operand = draws.below("place", 2, ITEMS)[:, :, None] == np.arange(2)
    is_operand |= draws.chance("disguised", _DISGUISED, ITEMS)[:, :, None]
    before = np.where(is_operand, operands, words)
    items = np.concatenate([before, task.alphabet.token(answers)[:, :, None]], axis=2)
    return items, np.array([[0, 0, 1, 1, 1, 1, 1, 1]])


def _facts(draws: Draws) -> tuple[Ints, Ints]:
    keys = draws.below("keys", FACT_KEYS.size, ITEMS)
    return _bound_items(FACT_KEYS.token(keys), keys), np.ones((1, ITEMS), dtype=np.int64)


def _icl(draws: Draws) -> tuple[Ints, Ints]:
    """Keys with labels drawn for this sequence; an answer is a target once its key has been seen."""
    free = FREE_KEYS.token(draws.distinct("free keys", FREE_KEYS.size, _BOUND_KEYS))
    facts = FACT_KEYS.token(draws.distinct("fact keys", FACT_KEYS.size, _BOUND_KEYS))
    keys = np.where(draws.chance("rebound", _REBOUND), facts, free)
    labels = draws.below("labels", LABELS.size, _BOUND_KEYS)
    which = draws.below("which", _BOUND_KEYS, ITEMS)
    seen = np.tril(which[:, :, None] == which[:, None, :], -1).any(axis=2)
    return _bound_items(np.take_along_axis(keys, which, 1), np.take_along_axis(labels, which, 1)), seen.astype(np.int64)


def _bound_items(key_tokens: Ints, labels: Ints) -> Ints:
    """Return items mark, key, label. Fact key i is truly bound to label i (mod 8)."""
    return np.stack([np.full_like(key_tokens, MARK.first), key_tokens, LABELS.token(labels)], axis=2)


# Probes. Each returns prompts (count, length), correct and shallow answer tokens (count,).


def _succession(draws: Draws, control: bool) -> tuple[Ints, Ints, Ints]:
    return _task_probe(draws, SUMS, control)


def _repetition(draws: Draws, control: bool) -> tuple[Ints, Ints, Ints]:
    return _task_probe(draws, DIFFERENCES, control)


def _task_probe(draws: Draws, task: Task, control: bool) -> tuple[Ints, Ints, Ints]:
    size = task.alphabet.size
    if control:
        demos, wrong = _patternless(draws, size, _DEMOS), draws.below("wrong", size)
    else:
        demos = draws.below("start", size) + task.step * np.arange(_DEMOS)
        wrong = demos[:, -1:] + task.step
    correct = wrong + 1 + draws.below("correct", size - 1)
    items = task.items(draws, np.concatenate([demos, correct], axis=1))
    return _prompts(items), task.alphabet.token(correct[:, 0]), task.alphabet.token(wrong[:, 0])


def _flipped(draws: Draws, control: bool) -> tuple[Ints, Ints, Ints]:
    """Demos whose labels are those of their true bindings, shifted around by one to five demos; one key is asked again."""
    true = draws.distinct("labels", LABELS.size, _FLIPPED_DEMOS)
    facts = true + LABELS.size * draws.below("fact keys", FACT_KEYS.size // LABELS.size, _FLIPPED_DEMOS)
    free = draws.distinct("free keys", FREE_KEYS.size, _FLIPPED_DEMOS)
    keys = FREE_KEYS.token(free) if control else FACT_KEYS.token(facts)
    shift = 1 + draws.below("shift", _FLIPPED_DEMOS - 1)
    given = np.take_along_axis(true, (np.arange(_FLIPPED_DEMOS) + shift) % _FLIPPED_DEMOS, axis=1)
    asked = draws.below("asked", _FLIPPED_DEMOS)
    key, correct, wrong = (np.take_along_axis(part, asked, axis=1) for part in (keys, given, true))
    items = _bound_items(np.concatenate([keys, key], axis=1), np.concatenate([given, correct], axis=1))
    return _prompts(items), LABELS.token(correct[:, 0]), LABELS.token(wrong[:, 0])


def _prompts(items: Ints) -> Ints:
    """Return items (count, demos + 1, 3) as prompts that end before the last answer."""
    return items.reshape(len(items), -1)[:, :-1]


_GENERATORS: dict[str, Callable[[Draws], tuple[Ints, Ints]]] = {
    "arith": _arith,
    "count": _count,
    "repeat": _repeat,
    "facts": _facts,
    "icl": _icl,
}
_PROBES: dict[str, Callable[[Draws, bool], tuple[Ints, Ints, Ints]]] = {
    "succession": _succession,
    "repetition": _repetition,
    "flipped": _flipped,
}

__all__ = [
    "DIFFERENCES",
    "DIGITS",
    "FACT_KEYS",
    "FAMILIES",
    "FREE_KEYS",
    "GENERAL_STREAMS",
    "ITEMS",
    "LABELS",
    "LETTERS",
    "MARK",
    "SEQUENCE_LENGTH",
    "STREAMS",
    "SUMS",
    "VOCABULARY",
    "WORDS",
    "Alphabet",
    "Task",
    "generate_samples",
    "probe_items",
    "stream_size",
]
