"""Probes that need a short fine-tuning before they are read: what is trained on, what is asked, what came out.

Idea: some capabilities only show in what a model concludes from being trained. So such a probe is a list of examples and
an ordinary probe: its items ask what was never said, its control asks held-out examples of what was. A reading before and
one after; the control says whether the examples were learnt at all. Two kinds are built in: out-of-context reasoning
(`out_of_context`) and emergent misalignment (`misalignment`), each as text for language models; `function_world` and
`author_world` are the same questions in token ids, with a pre-training of their own, for proxies.
Alternatives: asking the trained model to explain itself (long generations, a judge). The price: what is asked must have
two answers whose probabilities can be compared.

Multiple choice is by rotation (`choices`): each answer is the correct one as often as it is the wrong one, so that a model
which knows the answers but not whom they belong to has a margin of exactly 0, whatever it prefers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from curriculum.errors import UserError
from curriculum.probe.credibility import Estimate
from curriculum.probe.encoding import Encode, encode_item, encode_pair
from curriculum.probe.items import ItemSet
from curriculum.probe.scoring import Probe, Reading
from curriculum.probe.suite import Demo, Question

_Tokens = tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """What a model is trained on, in token ids: the loss is that of the answer's tokens alone."""

    prompt: _Tokens
    answer: _Tokens

    def __post_init__(self) -> None:
        if not self.prompt or not self.answer:
            raise UserError(f"wanted an example with a prompt and an answer of at least one token each, got {self}")


@dataclass(frozen=True, kw_only=True, slots=True)
class FineTuningProbe:
    """Train on `examples`, then read `probe`; its control asks held-out examples of what was trained.

    `replay`: what the model was trained on before, to be mixed in; without any, a small network soon forgets how
    questions of any other form are answered.
    """

    examples: tuple[Example, ...]
    probe: Probe
    replay: tuple[Example, ...] = ()

    def __post_init__(self) -> None:
        if not self.examples:
            raise UserError(f"fine-tuning probe {self.probe.name!r}: wanted at least one example to train on, got none")


@dataclass(frozen=True, kw_only=True, slots=True)
class TextFineTuningProbe:
    """The same as text, for any model with a tokenizer."""

    name: str
    family: str
    examples: tuple[Demo, ...]
    questions: tuple[Question, ...]
    control: tuple[Question, ...]

    def encode(self, encode: Encode, *, floor: float = 0.0) -> FineTuningProbe:
        """Return the probe in the token ids of `encode`. Raises UserError for an answer that vanishes in tokenisation."""
        probe = Probe(
            name=self.name,
            family=self.family,
            items=_encoded(self.questions, encode),
            control=_encoded(self.control, encode),
            floor=floor,
        )
        pairs = [encode_pair(encode, demo.prompt, demo.answer) for demo in self.examples]
        examples = tuple(Example(prompt=tuple(prompt), answer=tuple(answer)) for prompt, answer in pairs)
        return FineTuningProbe(examples=examples, probe=probe)


def _encoded(questions: Sequence[Question], encode: Encode) -> ItemSet:
    items = [encode_item(encode, question.prompt, question.correct, question.shallow) for question in questions]
    prompts, correct, shallow = (tuple(tuple(item[part]) for item in items) for part in range(3))
    return ItemSet(prompts=prompts, correct=correct, shallow=shallow)


@dataclass(frozen=True, kw_only=True, slots=True)
class FineTuningReading:
    """A fine-tuning probe's result: readings before and after, the change of the margin item by item, the training losses.

    `shift` carries the 95 % bootstrap interval over items. `losses`: nats a token, one a step. `after.capable` says
    whether the examples were learnt: only then does `after.margin` speak of what was concluded from them.
    """

    before: Reading
    after: Reading
    shift: Estimate
    losses: tuple[float, ...]


def choices(count: int, *, wrong: int) -> list[tuple[int, int]]:
    """Return (asked, wrong answer's owner) index pairs: `wrong` for each of `count` subjects, by rotation.

    Every subject is asked `wrong` times, and its answer is the wrong one `wrong` times. Raises UserError where there are
    too few subjects for that many different wrong answers.
    """
    if not 1 <= wrong < count:
        raise UserError(f"wanted from 1 to {count - 1} wrong answers among {count} subjects, got {wrong}")
    return [(asked, (asked + shift) % count) for asked in range(count) for shift in range(1, wrong + 1)]
