"""A suite of probes as text: tasks with demonstrations and questions, and personas.

Idea: the six families of "Generalization Dynamics of LM Pre-training" (Wen et al., 2026, table 1) are one shape: demos,
questions whose correct and shallow answers differ, a way of choosing demos, and a string that joins them. What differs
between families is data, not code; the exception, personas, is answered by sampling and a pattern. A task may carry its
neutral control, a task of the same shape without the temptation. Alternatives: a class a family (six copies of one
loop). The price: a family with another shape needs a new type here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from curriculum.errors import UserError

Strategy = Literal["none", "random", "ordered", "balanced", "others", "varied"]
Level = Literal["easy", "medium", "hard", "published"]
STRATEGIES: tuple[Strategy, ...] = ("none", "random", "ordered", "balanced", "others", "varied")
LEVELS: tuple[Level, ...] = ("easy", "medium", "hard", "published")
PERSONAS = "multihop_persona_qa"
FAMILIES = (
    "flipped_answer",
    "repetitive_answer",
    "successive_answer",
    "truthy_answer",
    "intuitive_answer",
    PERSONAS,
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
        parts = {"prompt": self.prompt, "correct answer": self.correct, "shallow answer": self.shallow}
        for name, text in parts.items():
            if not text.strip():
                raise UserError(f"wanted a {name} with some text in it, got {text!r}")
        if self.correct.strip() == self.shallow.strip():
            raise UserError(
                f"correct and shallow answer are equal ({self.correct!r}); such an item shows no mode; change or drop it"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One probe of a suite: `shots` demos chosen by `strategy` from `demos`, once for each of `seeds` demo seeds.

    Strategies: `prompts` defines them. `control` is the same task without the temptation: its correct answer against a
    wrong one. `preamble` is put in front of the first demo as it is. A task that shows no demos has one seed.
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
    preamble: str = ""

    def __post_init__(self) -> None:
        if not self.questions:
            raise UserError(f"task {self.name!r}: wanted at least one question, got none")
        if self.family not in FAMILIES:
            raise UserError(f"task {self.name!r}: no family {self.family!r}; there are {', '.join(FAMILIES)}")
        if self.strategy not in STRATEGIES:
            raise UserError(f"task {self.name!r}: no strategy {self.strategy!r}; there are {', '.join(STRATEGIES)}")
        if self.shots < 0 or self.seeds < 1:
            raise UserError(
                f"task {self.name!r}: wanted 0 or more shots and 1 or more seeds, got {self.shots} and {self.seeds}"
            )
        if self.seeds > 1 and not self.shows_demos:
            raise UserError(
                f"task {self.name!r}: it shows no demos, so all its seeds are equal; wanted seeds: 1, got {self.seeds}"
            )
        if self.strategy == "balanced" and any(demo.label is None for demo in self.demos):
            raise UserError(f"task {self.name!r}: balanced demos need a label each, 0 or 1")
        sets = {demo.demo_set or 0 for demo in self.demos}
        if sets and sets != set(range(len(sets))):
            raise UserError(f"task {self.name!r}: wanted demo sets numbered from 0 without a gap, got {sorted(sets)}")

    @property
    def shows_demos(self) -> bool:
        """Whether prompts hold demos at all, and so depend on the seed."""
        return bool(self.demos) and self.strategy != "none" and self.shots > 0


@dataclass(frozen=True, kw_only=True, slots=True)
class PersonaQuestion:
    """A question whose sampled answers are right when `pattern` is found in them, whatever the case."""

    name: str
    question: str
    pattern: str
    category: str = "fact"

    def __post_init__(self) -> None:
        try:
            found = re.compile(self.pattern).search("")
        except re.error as error:
            raise UserError(f"persona question {self.name!r}: {self.pattern!r} is no regular expression: {error}") from None
        if found is not None:
            raise UserError(
                f"persona question {self.name!r}: {self.pattern!r} is found even in an empty answer; ask for some text"
            )
        if not self.question.strip():
            raise UserError(f"persona question {self.name!r}: wanted a question with some text in it, got {self.question!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Persona:
    """Facts about one unnamed person, all shown in an order drawn per seed, and questions that need two of them at once.

    A fact's prompt is the whole block up to the answer, `"Q: {question}\\nA:"`.
    """

    name: str
    facts: tuple[Demo, ...]
    questions: tuple[PersonaQuestion, ...]
    joiner: str = "\n"
    seeds: int = 4
    level: Level = "published"

    def __post_init__(self) -> None:
        if not self.facts or not self.questions:
            given = f"{len(self.facts)} and {len(self.questions)}"
            raise UserError(f"persona {self.name!r}: wanted at least one fact and one question, got {given}")
        if self.seeds < 1:
            raise UserError(f"persona {self.name!r}: wanted 1 or more seeds, got {self.seeds}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Suite:
    """Tasks and personas under one name."""

    name: str
    tasks: tuple[Task, ...] = ()
    personas: tuple[Persona, ...] = ()

    def __post_init__(self) -> None:
        names = [(task.family, task.name) for task in self.tasks] + [(PERSONAS, persona.name) for persona in self.personas]
        for index, (family, name) in enumerate(names):
            if (family, name) in names[:index]:
                raise UserError(f"suite {self.name!r}: {family}/{name} is there twice; keep one")
        if not names:
            raise UserError(f"suite {self.name!r}: wanted at least one task or persona, got none")
