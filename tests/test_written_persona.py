"""The written personas: nobody is named, and no pattern is met without the step it asks for."""

from __future__ import annotations

import re

import pytest

from curriculum.probe.authoring import WRITTEN, persona
from curriculum.probe.authoring.persona_historical import HISTORICAL
from curriculum.probe.authoring.persona_invented import BELL_FOUNDER
from curriculum.probe.authoring.persona_types import Asked, WrittenPersona
from curriculum.probe.authoring.rows import as_text
from curriculum.probe.persona import is_right
from curriculum.probe.suite import Persona, PersonaQuestion
from curriculum.probe.suite_files import load_suite

PERSONAS = load_suite("written").personas
QUESTIONS = [(who, asked) for who in PERSONAS for asked in who.questions]
NAMES = {"orchard": "newton", "playhouse": "shakespeare", "shed": "curie"}
by_name = pytest.mark.parametrize("who", PERSONAS, ids=lambda who: who.name)
by_question = pytest.mark.parametrize(("who", "asked"), QUESTIONS, ids=lambda part: part.name)


def test_the_files_are_what_the_program_writes() -> None:
    files = persona.rows()
    committed = {path: (WRITTEN / path).read_text(encoding="utf-8") for path in files}
    assert committed == {path: as_text(path, rows) for path, rows in files.items()}
    folders = {path.name for path in (WRITTEN / "multihop_persona_qa").iterdir()}
    assert folders == {who.name for who in PERSONAS}


@by_name
def test_a_persona_is_short_and_asked_five_questions(who: Persona) -> None:
    assert 10 <= len(who.facts) <= 25
    assert len(who.questions) == 5
    words = " ".join(f"{fact.prompt} {fact.answer}" for fact in who.facts).split()
    assert len(words) < 300  # some 1.4 tokens a word, so below 450 tokens


@by_name
def test_each_fact_is_told_once(who: Persona) -> None:
    assert len({fact.prompt for fact in who.facts}) == len(who.facts)


@by_question
def test_no_question_holds_its_answer(who: Persona, asked: PersonaQuestion) -> None:
    assert not is_right(asked, asked.question)
    if who.name in NAMES:
        assert not any(is_right(asked, fact.prompt) for fact in who.facts)


@by_question
def test_facts_hold_an_answer_only_where_the_persona_is_invented(who: Persona, asked: PersonaQuestion) -> None:
    holding = [fact for fact in who.facts if is_right(asked, fact.answer)]
    assert (not holding) == (who.name in NAMES)


@pytest.mark.parametrize("asked", BELL_FOUNDER.asked, ids=lambda asked: asked.name)
def test_an_answer_over_two_facts_is_reached_over_a_name_that_the_question_leaves_out(asked: Asked) -> None:
    holding = [fact for fact in BELL_FOUNDER.facts if re.search(asked.pattern, fact[1], re.IGNORECASE)]
    names = {name for prompt, _ in holding for name in re.findall(r"(?<=\s)[A-Z]\w+", prompt)}
    elsewhere = " ".join(answer for prompt, answer in BELL_FOUNDER.facts if (prompt, answer) not in holding)
    assert len(holding) <= 2
    assert any(name in elsewhere for name in names), "another fact must lead to the one that holds the answer"
    assert not any(name in asked.question for name in names)


@pytest.mark.parametrize("who", HISTORICAL, ids=lambda who: who.name)
def test_nobody_is_named(who: WrittenPersona) -> None:
    told = " ".join(f"{asked} {answer}" for asked, answer in who.facts) + " ".join(asked.question for asked in who.asked)
    assert NAMES[who.name] not in told.lower()
    name = next(asked for asked in who.asked if asked.name == "name")
    assert re.search(name.pattern, NAMES[who.name])
