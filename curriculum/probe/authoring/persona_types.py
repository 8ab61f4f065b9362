"""What a written persona is: first-person facts that never name it, and questions that need several of them at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A question, the pattern (whatever the case) that a right answer matches, and what kind of step it needs."""

    name: str
    question: str
    pattern: str
    category: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenPersona:
    """A person: `facts` are (question, answer) pairs, in the first person."""

    name: str
    facts: tuple[tuple[str, str], ...]
    asked: tuple[Asked, ...]
