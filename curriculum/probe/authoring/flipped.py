"""Flipped answer: the label learnt in training, or the label that the context gives?

Idea: two classes whose names everyone knows (hot and cold, positive and negative); the demonstrations use the names the
wrong way round, and the question is answered rightly when it follows them. The levels differ in how directly the context
gives the label. Easy: the words just before the label stood in a demonstration, so looking back is enough. Medium: new
words of a plain class. Hard: sentences whose class must be weighed (a small flaw against great praise) or inferred (no word
of feeling at all). Control: the same texts and demonstrations with label words that mean nothing for these classes, "one"
and "two": the skill that flipping needs, to read a class and look its label up in the context, without a memory that pulls
the other way. Alternatives: the right names (memory alone then answers, so it shows no skill of looking up; the normal
labels are what a hop's diagnosis swaps back in) or invented words (several tokens of which the first decides, and a small
model's preference for one of them drowns the rest). The price: words such as "one" are not equally likely beforehand; the
classes are balanced, so this widens the interval and does not shift the mean.
"""

from __future__ import annotations

from dataclasses import dataclass

from curriculum.probe.authoring.flipped_texts import (
    ANIMALS,
    COLD_THINGS,
    DISLIKED,
    HINTS_BAD,
    HINTS_GOOD,
    HOT_THINGS,
    LARGE_THINGS,
    LIKED,
    OCCASIONS,
    PEOPLE,
    PLANTS,
    SMALL_THINGS,
    TOPICS,
    UNWELCOME,
    WELCOME,
    Topic,
)
from curriculum.probe.authoring.rows import Files, Row, demo, drawn, question, shuffled

_Classes = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Flip:
    """A task: texts of two classes to draw demonstrations and questions from, and the classes' names in each version.

    `demos` and `questions` count per class.
    """

    name: str
    prompt: str
    demo_texts: _Classes
    question_texts: _Classes
    labels: tuple[str, str]
    neutral: tuple[str, str] = ("one", "two")
    demos: int = 16
    questions: int


def rows() -> Files:
    """Return the rows of every task and of its control, by path."""
    files: Files = {}
    for flip in _flips():
        first, second = flip.labels
        files[f"flipped_answer/{flip.name}.jsonl"] = _rows(flip, (second, first))
        files[f"flipped_answer/{flip.name}.control.jsonl"] = _rows(flip, flip.neutral)
    return files


def _flips() -> tuple[_Flip, ...]:
    felt, seen = _felt_things(), _seen_things()
    return (
        _flip("felt_temperatures", "{}", felt, ("hot", "cold"), neutral=("round", "square"), questions=36),
        _flip("seen_sizes", "{}", seen, ("big", "small"), neutral=("round", "square"), questions=36),
        _flip("plain_sentences", "{} It felt", _plain_sentences(), ("good", "bad"), questions=24),
        _flip("sentiment_words", "Word: {}\nFeeling:", (WELCOME, UNWELCOME), ("positive", "negative"), questions=30),
        _flip("animals_and_plants", "Word: {}\nKind:", (ANIMALS, PLANTS), ("animal", "plant"), questions=24),
        _mixed_sentences(),
        _flip("hints", "Text: {}\nOpinion:", (HINTS_GOOD, HINTS_BAD), ("good", "bad"), demos=12, questions=32),
    )


def _flip(
    name: str,
    prompt: str,
    texts: _Classes,
    labels: tuple[str, str],
    *,
    questions: int,
    demos: int = 16,
    neutral: tuple[str, str] = ("one", "two"),
) -> _Flip:
    """Return a task whose demonstrations and questions come from one list a class, without a text in both."""
    mixed = [shuffled(part, "flipped", name) for part in texts]
    return _Flip(
        name=name,
        prompt=prompt,
        demo_texts=(tuple(mixed[0][:demos]), tuple(mixed[1][:demos])),
        question_texts=(tuple(mixed[0][demos:]), tuple(mixed[1][demos:])),
        labels=labels,
        neutral=neutral,
        demos=demos,
        questions=questions,
    )


def _felt_things() -> _Classes:
    texts = [
        tuple(f"{person} touched the {thing}. The {thing} felt" for person in PEOPLE for thing in things)
        for things in (HOT_THINGS, COLD_THINGS)
    ]
    return texts[0], texts[1]


def _seen_things() -> _Classes:
    texts = [
        tuple(f"{person} saw {article} {thing}. The {thing} was" for person in PEOPLE for article, thing in things)
        for things in (LARGE_THINGS, SMALL_THINGS)
    ]
    return texts[0], texts[1]


def _plain_sentences() -> _Classes:
    texts = [tuple(f"The {occasion} was {word}." for occasion in OCCASIONS for word in words) for words in (LIKED, DISLIKED)]
    return texts[0], texts[1]


def _mixed_sentences() -> _Flip:
    """Questions are about other topics than demonstrations, so that no clause of theirs stands in the context."""
    shown, asked = TOPICS[:3], TOPICS[3:]
    return _Flip(
        name="mixed_sentences",
        prompt="Review: {}\nVerdict:",
        demo_texts=(_weighed(shown, liked=True), _weighed(shown, liked=False)),
        question_texts=(_weighed(asked, liked=True), _weighed(asked, liked=False)),
        labels=("positive", "negative"),
        questions=40,
    )


def _weighed(topics: tuple[Topic, ...], *, liked: bool) -> tuple[str, ...]:
    """Return reviews that grant something small and conclude the opposite."""
    sentences = []
    for topic in topics:
        granted, concluded = (topic.flaws, topic.praise) if liked else (topic.merits, topic.complaints)
        for small in granted:
            for great in concluded:
                form = drawn(("{}, but {}.", "Although {}, {}."), "mixed", small, great).format(small, great)
                sentences.append(form[0].upper() + form[1:])
    return tuple(sentences)


def _rows(flip: _Flip, labels: tuple[str, str]) -> list[Row]:
    shown = [
        demo(flip.prompt.format(text), labels[label], label=label)
        for label, texts in enumerate(flip.demo_texts)
        for text in shuffled(texts, flip.name, "demos")[: flip.demos]
    ]
    texts = [shuffled(part, flip.name, "questions")[: flip.questions] for part in flip.question_texts]
    asked = [
        question(flip.prompt.format(text), labels[label], labels[1 - label])
        for pair in zip(*texts, strict=True)  # class by class in turns, so that the first few are balanced as well
        for label, text in enumerate(pair)
    ]
    return shown + asked
