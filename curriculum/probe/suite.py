"""A suite of probes as text: tasks with demonstrations and questions, and personas.

Idea: the six families of "Generalization Dynamics of LM Pre-training" (Wen et al., 2026, table 1) are one shape: demos, questions
whose correct and shallow answers differ, a way of choosing demos, and a string that joins them. What differs between
families is data, not code; the exception, personas, is answered by sampling and a pattern. A task may carry its neutral
control, a task of the same shape without the temptation. Alternatives: a class a family (six copies of one loop). The
price: a family with another shape needs a new type here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from curriculum.errors import UserError

Strategy = Literal["none", "random", "ordered", "balanced"]
Level = Literal["easy", "medium", "hard", "published"]
FAMILIES = (
    "flipped_answer",
    "repetitive_answer",
    "successive_answer",
    "truthy_answer",
    "intuitive_answer",
    "multihop_persona_qa",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Demo:
    """A demonstration, shown as `"{prompt} {answer}"`. `label` is its class (balanced tasks), `demo_set` its set (ordered)."""

    prompt: str
    answer: str
    label: int | None = None
    demo_set: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A test prompt, the right answer, and the answer that a shallow mode gives."""

    prompt: str
    correct: str
    shallow: str

    def __post_init__(self) -> None:
        for name in ("prompt", "correct", "shallow"):
            if not getattr(self, name).strip():
                raise UserError(
                    f"wanted a {name.replace('correct', 'correct answer')} with some text in it, got {getattr(self, name)!r}"
                )
        if self.correct.strip() == self.shallow.strip():
            raise UserError(
                f"the correct and the shallow answer are equal ({self.correct!r}); such an item shows no mode, change or drop it"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One probe of a suite: `shots` demos chosen by `strategy` from `demos`, once for each of `seeds` demo seeds.

    `control` is the same task without the temptation: its correct answer against a wrong one.
    """

    name: str
    family: str
    questions: tuple[Question, ...]
    demos: tuple[Demo, ...] = ()
    strategy: Strategy = "none"
    shots: int = 0
    joiner: str = "\n"
    seeds: int = 1
    level: Level = "published"
    control: Task | None = None

    def __post_init__(self) -> None:
        if not self.questions:
            raise UserError(f"task {self.name!r}: wanted at least one question, got none")
        if self.family not in FAMILIES:
            raise UserError(f"task {self.name!r}: no family {self.family!r}; there are {', '.join(FAMILIES)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class PersonaQuestion:
    """A question whose sampled answers are right when `pattern` is found in them, whatever the case."""

    name: str
    question: str
    pattern: str
    category: str = "fact"

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise UserError(f"persona question {self.name!r}: {self.pattern!r} is no regular expression: {error}") from None


@dataclass(frozen=True, kw_only=True, slots=True)
class Persona:
    """Facts about one unnamed person, all shown in an order drawn per seed, and questions that need two of them at once."""

    name: str
    facts: tuple[Demo, ...]
    questions: tuple[PersonaQuestion, ...]
    joiner: str = "\n"
    seeds: int = 4
    level: Level = "published"


@dataclass(frozen=True, kw_only=True, slots=True)
class Suite:
    """Tasks and personas under one name."""

    name: str
    tasks: tuple[Task, ...] = ()
    personas: tuple[Persona, ...] = ()
