"""Multi-hop persona questions, read by sampling: does the model put scattered facts together into one person?

Idea: an answer that matches the expected pattern is right (Wen et al., 2026). The shallow answer of this family is one that
is taken from a single fact, word for word: asked for the name, "Wolf", because one fact says so. Each sampled answer is
thus right, copied, or neither, and the margin is the share that is right minus the share that is copied: as in the other
families the probability of the correct minus that of the shallow answer, in [-1, 1], and near 0 for a model that can do
neither. Alternatives: 2 x rate - 1, which calls every small model shallow, babbling or not; or the raw rate, which has no
sign for the hysteresis to work on, and is kept beside it as `correct`. The price: an answer that copies with a word
changed counts as neither, and so does a paraphrase of the right one that the pattern does not know.

Hard accuracy of this family is the match rate, as published.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from curriculum.errors import UserError
from curriculum.probe.model import Numbers, TextModel
from curriculum.probe.prompts import persona_prompts
from curriculum.probe.scoring import crossed_interval
from curriculum.probe.suite import Persona, PersonaQuestion
from curriculum.units import keyed_seed

STOP = ("\nQ:", "\n\nQ:")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PersonaScores:
    """What a model makes of a persona's questions; arrays of shape (demo seeds, questions), shares of the samples in [0, 1].

    `correct`: answers that match the pattern. `shallow`: answers that do not, and are words in a row of a single fact, or
    hold a whole fact's answer. [low, high]: the 95 % interval of the mean margin, over seeds and questions both.
    """

    persona: str
    correct: Numbers
    shallow: Numbers
    low: float
    high: float

    @property
    def margins(self) -> Numbers:
        """Return correct - shallow, shape (demo seeds, questions), in [-1, 1]."""
        difference: Numbers = self.correct - self.shallow
        return difference

    @property
    def margin(self) -> float:
        """Return the mean margin, in [-1, 1]."""
        return float(self.margins.mean())

    @property
    def accuracy(self) -> float:
        """Return the mean match rate, in [0, 1]."""
        return float(self.correct.mean())


def read_persona(
    persona: Persona, model: TextModel, *, samples: int = 100, tokens: int = 300, temperature: float = 1.0, seed: int = 0
) -> PersonaScores:
    """Ask `model` every question under every demo seed, `samples` times, with at most `tokens` new tokens each.

    `seed` keys the sampling; the same seed gives the same scores. Raises UserError for a prompt that, with its answer, does
    not fit the model's context.
    """
    if samples < 1 or tokens < 1:
        raise UserError(f"persona {persona.name!r}: wanted at least 1 sample of at least 1 token, got {samples} of {tokens}")
    shares = []
    for demo_seed in range(persona.seeds):
        prompts = persona_prompts(persona, demo_seed)
        _check_context(persona, prompts, tokens, model)
        answers = model.generate(
            prompts,
            samples=samples,
            tokens=tokens,
            temperature=temperature,
            stop=STOP,
            seed=keyed_seed("persona", seed, persona.name, demo_seed),
        )
        shares.append([_shares(persona, question, texts) for question, texts in zip(persona.questions, answers, strict=True)])
    correct, shallow = np.moveaxis(np.asarray(shares, dtype=np.float64), -1, 0)
    low, high = crossed_interval(correct - shallow)
    return PersonaScores(persona=persona.name, correct=correct, shallow=shallow, low=low, high=high)


def _check_context(persona: Persona, prompts: list[str], tokens: int, model: TextModel) -> None:
    longest = max(len(model.encode(prompt)) for prompt in prompts)
    left = model.context - longest
    if tokens > left:
        remedy = f"ask for at most {left} tokens" if left > 0 else "leave facts out"
        raise UserError(
            f"persona {persona.name!r}: its prompts have up to {longest} tokens and an answer may have {tokens}, but the model "
            f"reads {model.context}; {remedy}"
        )


def _shares(persona: Persona, question: PersonaQuestion, answers: list[str]) -> tuple[float, float]:
    right = [is_right(question, answer) for answer in answers]
    copied = [not found and is_copied(persona, answer) for found, answer in zip(right, answers, strict=True)]
    return float(np.mean(right)), float(np.mean(copied))


def is_right(question: PersonaQuestion, answer: str) -> bool:
    """Whether the question's pattern is found anywhere in the answer, whatever the case."""
    return re.search(question.pattern, answer.strip(), re.IGNORECASE) is not None


def is_copied(persona: Persona, answer: str) -> bool:
    """Whether the answer's words stand in a row in a single fact's answer, or hold all of one; case and signs do not count.

    A fact's answer of one or two words ("Yes.") is not looked for inside longer answers, which hold it by chance.
    """
    said = _words(answer)
    facts = [_words(fact.answer) for fact in persona.facts]
    return any(said in fact or (len(fact.split()) > 2 and fact in said) for fact in facts)


def _words(text: str) -> str:
    """Return the words between spaces, with a space at both ends, so that whole words are compared."""
    return f" {' '.join(_WORD.findall(text.lower()))} "
