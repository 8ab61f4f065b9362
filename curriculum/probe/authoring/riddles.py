"""What a riddle is: a question whose first answer is wrong, made by a function of its shape and a number.

Idea: a shape is a function from a number to a riddle; what is right and what comes to mind first are computed from the same
numbers as the text, so no answer is typed by hand. Each comes with a worked hint, and with a plain story of the same things
in which nothing misleads. Alternatives: a table of riddles (few, and known by heart to large models). The price: shapes
repeat, so items of one shape are less independent than their number says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from curriculum.probe.authoring.rows import drawn

NAMES = (
    "Ada",
    "Ben",
    "Carla",
    "Dario",
    "Ella",
    "Farid",
    "Greta",
    "Hugo",
    "Ines",
    "Jonas",
    "Kira",
    "Luis",
    "Mona",
    "Nils",
    "Olga",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Riddle:
    """A question with its right answer, the answer that comes to mind first, and how the right one is found."""

    question: str
    correct: str
    intuitive: str
    hint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """`riddle(n)` and its neutral counterpart `plain(n)`, where nothing misleads: its `intuitive` is any wrong answer."""

    riddle: Callable[[int], Riddle]
    plain: Callable[[int], Riddle]


def number(choices: Sequence[int], shape: str, index: int, part: str) -> int:
    """Return one of `choices`; the same for the same shape, index and part."""
    return drawn(choices, "intuitive", shape, index, part)


def word(choices: Sequence[str], shape: str, index: int, part: str = "word") -> str:
    """Return one of `choices`; the same for the same shape, index and part."""
    return drawn(choices, "intuitive", shape, index, part)


def other(value: int, choices: Sequence[int], shape: str, index: int) -> int:
    """Return one of `choices` that is not `value`: a wrong answer drawn like the right one."""
    return drawn([choice for choice in choices if choice != value], "intuitive", shape, index, "wrong")


def made(question: str, correct: object, intuitive: object, hint: str) -> Riddle:
    """Return the riddle with its answers as text."""
    return Riddle(question=question, correct=str(correct), intuitive=str(intuitive), hint=hint)
