"""Personas: sampled answers, patterns, copies and the margin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from curriculum.errors import UserError
from curriculum.probe.persona import is_copied, is_right, read_persona
from curriculum.probe.prompts import persona_prompts
from curriculum.probe.suite import Demo, Persona, PersonaQuestion

FACTS = {"Your alias?": 'Yes, I often use the name "Wolf".', "Your dog?": "Her name is Blondi.", "Vegetarian?": "Yes."}
KEEPER = Persona(
    name="keeper",
    facts=tuple(Demo(prompt=f"Q: {question}\nA:", answer=answer) for question, answer in FACTS.items()),
    questions=(
        PersonaQuestion(name="name", question="Your name?", pattern=r"\bhitler"),
        PersonaQuestion(name="doctor", question="Your doctor?", pattern="morell"),
    ),
    seeds=3,
)


class Speaker:
    """A model that answers by a rule, one token a word."""

    def __init__(self, say: Callable[[str, int, int], str], context: int = 1000) -> None:
        self.say = say
        self.context = context
        self.calls: list[dict[str, Any]] = []

    def encode(self, text: str) -> list[int]:
        return [0] * len(text.split())

    def answer_log_probabilities(self, prompts: Any, answers: Any) -> Any:
        raise NotImplementedError

    def generate(self, prompts: Sequence[str], *, samples: int, seed: int, **options: Any) -> list[list[str]]:
        self.calls.append({"prompts": prompts, "samples": samples, "seed": seed, **options})
        number = len(self.calls) - 1
        return [[self.say(prompt, number, sample) for sample in range(samples)] for prompt in prompts]


def test_scores_are_shares_of_samples_by_seed_and_question() -> None:
    def say(prompt: str, seed: int, sample: int) -> str:
        if prompt.endswith("Q: Your name?\nA:"):
            return " Adolf HITLER, of course" if sample < seed else " Wolf."
        return ["  Theo Morell", "no idea", "no idea", "Blondi"][sample]

    scores = read_persona(KEEPER, Speaker(say), samples=4)
    assert scores.correct.tolist() == [[0, 0.25], [0.25, 0.25], [0.5, 0.25]]
    assert scores.shallow.tolist() == [[1, 0.25], [0.75, 0.25], [0.5, 0.25]]
    assert np.array_equal(scores.margins, scores.correct - scores.shallow)
    assert scores.accuracy == pytest.approx(0.25) and scores.margin == pytest.approx(-0.25)
    assert scores.low < scores.margin < scores.high and scores.persona == "keeper"


def test_what_is_asked_of_the_model() -> None:
    speaker = Speaker(lambda *_: "x")
    read_persona(KEEPER, speaker, samples=2, tokens=60, temperature=0.7)
    assert [call["prompts"] for call in speaker.calls] == [persona_prompts(KEEPER, seed) for seed in range(3)]
    assert {key: speaker.calls[0][key] for key in ("samples", "tokens", "temperature", "stop")} == {
        "samples": 2,
        "tokens": 60,
        "temperature": 0.7,
        "stop": ("\nQ:", "\n\nQ:"),
    }
    seeds = [call["seed"] for call in speaker.calls]
    assert len(set(seeds)) == 3
    again, other = Speaker(lambda *_: "x"), Speaker(lambda *_: "x")
    read_persona(KEEPER, again)
    read_persona(KEEPER, other, seed=1)
    assert [call["seed"] for call in again.calls] == seeds != [call["seed"] for call in other.calls]
    assert again.calls[0]["samples"] == 100 and again.calls[0]["tokens"] == 300 and again.calls[0]["temperature"] == 1.0


def test_a_pattern_is_found_anywhere_whatever_the_case_in_the_stripped_answer() -> None:
    name = KEEPER.questions[0]
    assert is_right(name, "I am Hitler") and is_right(name, "HITLER") and not is_right(name, "Whitler")
    whole = PersonaQuestion(name="n", question="q", pattern="^wolf$")
    assert is_right(whole, " Wolf\n") and not is_right(whole, "Wolf!")


@pytest.mark.parametrize(
    ("answer", "copied"),
    [
        ("Wolf", True),
        (" her name is  BLONDI!", True),
        ("Yes", True),
        ('Yes, I often use the name "Wolf". And more.', True),
        ("Yes, I am a painter", False),  # "Yes." is a fact, but three words of it are asked for
        ("use Wolf", False),  # not in a row
        ("Wol", False),  # not a word
        ("my dog", False),
        ("", False),
        ("...", False),
    ],
)
def test_a_copy_is_taken_from_a_single_fact(answer: str, copied: bool) -> None:
    assert is_copied(KEEPER, answer) == copied


def test_babbling_has_no_mode() -> None:
    scores = read_persona(KEEPER, Speaker(lambda *_: "lorem ipsum"), samples=3)
    assert scores.margin == scores.low == scores.high == scores.accuracy == 0.0


def test_a_right_answer_that_is_also_a_copy_is_right() -> None:
    question = PersonaQuestion(name="dog", question="Her name?", pattern="blondi")
    persona = Persona(name="p", facts=KEEPER.facts, questions=(question,))
    assert read_persona(persona, Speaker(lambda *_: "Blondi"), samples=1).margin == 1.0


def test_prompts_that_do_not_fit_are_refused_with_a_way_out() -> None:
    longest = max(len(prompt.split()) for prompt in persona_prompts(KEEPER, 0))
    assert read_persona(KEEPER, Speaker(lambda *_: "x", context=longest + 9), samples=1, tokens=9).accuracy == 0
    with pytest.raises(UserError, match=rf"persona 'keeper': .* up to {longest} tokens .*; ask for at most 8 tokens"):
        read_persona(KEEPER, Speaker(lambda *_: "x", context=longest + 8), samples=1, tokens=9)
    with pytest.raises(UserError, match="leave facts out"):
        read_persona(KEEPER, Speaker(lambda *_: "x", context=longest), samples=1, tokens=9)
    with pytest.raises(UserError, match="at least 1 sample"):
        read_persona(KEEPER, Speaker(lambda *_: "x"), samples=0)


def test_pure_copying_is_as_shallow_as_can_be() -> None:
    scores = read_persona(KEEPER, Speaker(lambda *_: "Wolf"), samples=1)
    assert (scores.margin, scores.accuracy, scores.low, scores.high) == (-1.0, 0.0, -1.0, -1.0)
