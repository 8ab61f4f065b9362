"""Files of intuitive_answer: riddles whose first answer is wrong, asked without demos, and plain stories as their control.

Three levels: `hinted` works riddles of all shapes out in a hint (can a model follow a reason against its first thought?),
`short` needs a careful reading, `classic` stands alone. The control of each asks plain stories in the same form, against a
wrong answer drawn like the right one, so that a model that guesses has margin 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from curriculum.errors import DataError
from curriculum.probe.authoring.intuitive_classic import CLASSIC
from curriculum.probe.authoring.intuitive_short import SHORT
from curriculum.probe.authoring.riddles import Riddle, Shape
from curriculum.probe.authoring.rows import Files, Row, question, shuffled

_QUESTIONS = 132  # a task; 12 of every classic shape
_TRIES = 50  # numbers tried for one new question, before a shape counts as exhausted


def rows() -> Files:
    """Return the three tasks and their controls."""
    return {
        **_task("hinted", (*CLASSIC, *SHORT), _hinted, start=1000),
        **_task("short", SHORT, _open, start=0),
        **_task("classic", CLASSIC, _open, start=0),
    }


def _task(name: str, shapes: Sequence[Shape], prompt: Callable[[Riddle], str], start: int) -> Files:
    traps = _riddles([shape.riddle for shape in shapes], start)
    plain = _riddles(list(dict.fromkeys(shape.plain for shape in shapes)), start)
    return {
        f"intuitive_answer/{name}.jsonl": _questions(name, traps, prompt),
        f"intuitive_answer/{name}.control.jsonl": _questions(name, plain, prompt),
    }


def _riddles(shapes: Sequence[Callable[[int], Riddle]], start: int) -> list[Riddle]:
    """Return different riddles, as many of every shape; `start` is the first number asked of each."""
    shares = [_QUESTIONS // len(shapes) + (place < _QUESTIONS % len(shapes)) for place in range(len(shapes))]
    return [riddle for shape, count in zip(shapes, shares, strict=True) for riddle in _different(shape, count, start)]


def _different(shape: Callable[[int], Riddle], count: int, start: int) -> list[Riddle]:
    found: dict[str, Riddle] = {}
    for index in range(start, start + count * _TRIES):
        riddle = shape(index)
        found.setdefault(riddle.question, riddle)
        if len(found) == count:
            return list(found.values())
    raise DataError(f"wanted {count} different questions of the shape {shape.__name__}, got {len(found)}; widen its numbers")


def _questions(name: str, riddles: Sequence[Riddle], prompt: Callable[[Riddle], str]) -> list[Row]:
    # Mixed, so that the first questions of a file, which a short reading takes, are of all shapes.
    mixed = shuffled(riddles, "intuitive", name)
    return [question(prompt(riddle), riddle.correct, riddle.intuitive) for riddle in mixed]


def _open(riddle: Riddle) -> str:
    return f"Q: {riddle.question}\nA:"


def _hinted(riddle: Riddle) -> str:
    return f"Q: {riddle.question}\nHint: {riddle.hint}\nA:"
