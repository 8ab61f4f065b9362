"""Successive answer: go on counting as the demonstrations do, or do the task?

Idea: the demonstrations of an item are right, and their answers happen to follow one another (c, d, e, f or three, four,
five), because their subjects were chosen so; the question's answer lies elsewhere in the row, and the shallow answer is the
next one. Every item carries its own demonstrations, with its own place to start, so that the shallow answer changes from
item to item. The levels differ in how sure of the answer a small model is without the row: easy, small letters to capitals,
first letters, digits to words; medium, ordinals, months and sums of one digit; hard, the letter before or after, counting
marks and subtracting. Control: the same question after the same demonstrations in an order in which no answer follows on
the one before, and a wrong answer drawn like the right one from those not shown. Alternatives: ordered demonstration sets,
one chosen by a seed (all questions of a task then share one shallow answer, whose prior probability is the reading). The
price: no two items share a prefix that a cache could keep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from string import ascii_lowercase, ascii_uppercase

from curriculum.probe.authoring.rows import Files, Row, drawn, joined, question, shuffled

# In the order of the row: an answer, and the prompts that it answers.
_Ladder = Mapping[str, Sequence[str]]
_Example = tuple[str, str]
_VARIANTS = 4


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_NUMBERS = _words("one two three four five six seven eight nine ten eleven twelve")
_ORDINALS = _words("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth")
_MONTHS = _words("January February March April May June July August September October November December")
_BY_LETTER = _words("""
    apple ant arrow ball bear boat cat cake car dog door duck egg ear eagle fish fox farm goat girl garden hat horse house
    ink ice island jam jar job key king kite lamp lion leaf moon mouse milk nest nose night owl ocean oven pen pig plate
    queen quilt quiz rain ring river sun ship snow tree table tiger uncle umbrella uniform van violin voice wolf water wind
    xylophone yard yoga year zebra zoo zone""")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Count:
    """A task: its ladder, how many rungs an item's demonstrations climb, and how many items there are."""

    name: str
    ladder: _Ladder
    shots: int
    items: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cell:
    """An item to be: the rung its demonstrations start on, the rung its answer stands on, and which of its variants it is."""

    start: int
    asked: int
    variant: int


def rows() -> Files:
    """Return the rows of every task and of its control, by path."""
    files: Files = {}
    for counting in _counts():
        task, control = _items(counting)
        files[f"successive_answer/{counting.name}.jsonl"] = task
        files[f"successive_answer/{counting.name}.control.jsonl"] = control
    return files


def _counts() -> tuple[_Count, ...]:
    return (
        _Count(name="capital_letters", ladder=_capitals(), shots=5, items=48),
        _Count(name="first_letters", ladder=_first_letters(), shots=5, items=60),
        _Count(name="number_words", ladder=_number_words(), shots=4, items=36),
        _Count(name="ordinals", ladder=_ordinals(), shots=4, items=48),
        _Count(name="months", ladder=_next_of("The month after {} is", _MONTHS), shots=4, items=48),
        _Count(name="rising_sums", ladder=_sums(), shots=4, items=48),
        _Count(name="next_letters", ladder=_next_of("The letter after {} is", ascii_lowercase), shots=5, items=36),
        _Count(name="previous_letters", ladder=_previous_letters(), shots=5, items=36),
        _Count(name="marks", ladder=_marks(), shots=4, items=36),
        _Count(name="differences", ladder=_differences(), shots=4, items=36),
    )


def _items(counting: _Count) -> tuple[list[Row], list[Row]]:
    """Return the questions after demonstrations that count up, and the same after those in a mixed order."""
    answers = list(counting.ladder)
    cells = [
        _Cell(start=start, asked=asked, variant=variant)
        for start in range(len(answers) - counting.shots)
        for asked in range(len(answers))
        if not start <= asked <= start + counting.shots
        for variant in range(_VARIANTS)
    ]
    task: dict[str, Row] = {}
    control: list[Row] = []
    for cell in shuffled(cells, "successive", counting.name):
        examples, prompt = _shown(counting, cell), _asked(counting, cell)
        text = joined(examples, prompt)
        if text in task or len(task) == counting.items:
            continue
        task[text] = question(text, answers[cell.asked], answers[cell.start + counting.shots])
        control.append(_control(counting, cell, examples, prompt))
    return list(task.values()), control


def _shown(counting: _Count, cell: _Cell) -> list[_Example]:
    answers = list(counting.ladder)[cell.start : cell.start + counting.shots]
    return [(drawn(counting.ladder[answer], counting.name, str(cell)), answer) for answer in answers]


def _asked(counting: _Count, cell: _Cell) -> str:
    return drawn(list(counting.ladder.values())[cell.asked], counting.name, "asked", str(cell))


def _control(counting: _Count, cell: _Cell, examples: Sequence[_Example], prompt: str) -> Row:
    """The wrong answer neither stands in the demonstrations nor follows on the last of them."""
    answers = list(counting.ladder)
    mixed = _mixed(examples, answers, f"{counting.name} {cell}")
    shown = {answer for _, answer in examples}
    following = answers[answers.index(mixed[-1][1]) + 1]
    wrong = [answer for answer in answers if answer not in {*shown, answers[cell.asked], following}]
    return question(joined(mixed, prompt), answers[cell.asked], drawn(wrong, counting.name, "wrong", str(cell)))


def _mixed(examples: Sequence[_Example], answers: Sequence[str], key: str) -> list[_Example]:
    """Return `examples` in the first keyed order in which no answer follows on the one before."""
    orders = (shuffled(examples, key, attempt) for attempt in count())
    return next(order for order in orders if not _follows([answers.index(answer) for _, answer in order]))


def _follows(places: Sequence[int]) -> bool:
    return any(after == before + 1 for before, after in pairwise(places))


def _capitals() -> _Ladder:
    letters = zip(ascii_uppercase, ascii_lowercase, strict=True)
    return {capital: [f"The capital form of {small} is"] for capital, small in letters}


def _first_letters() -> _Ladder:
    ladder: dict[str, list[str]] = {}
    for word in _BY_LETTER:
        ladder.setdefault(word[0], []).append(f"{word} begins with")
    return ladder


def _number_words() -> _Ladder:
    return {word: [f"The number {number} is written as"] for number, word in enumerate(_NUMBERS, start=1)}


def _ordinals() -> _Ladder:
    return {ordinal: [f"Number {word} is the"] for ordinal, word in zip(_ORDINALS, _NUMBERS, strict=True)}


def _next_of(template: str, names: Sequence[str]) -> _Ladder:
    return {after: [template.format(before)] for before, after in pairwise(names)}


def _previous_letters() -> _Ladder:
    return {before: [f"The letter before {after} is"] for before, after in pairwise(ascii_lowercase)}


def _sums() -> _Ladder:
    """Answers of one digit: a tokenizer that cuts numbers into digits would else average a sure digit in."""
    return {str(total): [f"{first} + {total - first} =" for first in range(1, total)] for total in range(2, 10)}


def _marks() -> _Ladder:
    counted = enumerate(_NUMBERS[:10], start=1)
    return {word: [f"{' '.join(mark * number)} The number of marks is" for mark in "x*#o"] for number, word in counted}


def _differences() -> _Ladder:
    """Two numbers of two digits whose difference has one digit."""
    return {str(difference): [f"{low + difference} - {low} =" for low in range(11, 90, 7)] for difference in range(1, 10)}
