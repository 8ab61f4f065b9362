"""All members of a population asked the same questions at once.

Idea: probes, suites and held-out samples are the same for all members, so the rows to read are laid out once and each
forward pass answers for several members; each member then is scored from its own numbers by the code that scores a single
run. A member whose numbers are no probabilities fails alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from curriculum.errors import RunError
from curriculum.probe import Probe, read_probe
from curriculum.probe.bits_per_byte import Continuations, bits_per_byte
from curriculum.probe.model import Numbers
from curriculum.proxy.answers import read_answers
from curriculum.proxy.feed import Batch
from curriculum.proxy.population_model import ProxyStack, asked_columns, stack_losses
from curriculum.proxy.training import HELDOUT_BATCH, BitsRow, LossRow, Progress

_NUMBERS_AT_ONCE = {"cpu": 2**19, "cuda": 2**28}  # of a hidden state: on a CPU more would leave its caches and take longer
_Answers = Sequence[Sequence[Sequence[int]]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Questions:
    """What every member is asked; `heldout` by stream."""

    probes: Sequence[Probe]
    suites: Sequence[Continuations]
    heldout: Mapping[str, Batch]


@dataclass(kw_only=True, slots=True, eq=False)
class JointAnswers:
    """The answers of a stack as it is now; what one member is asked is answered for all, and kept."""

    stack: ProxyStack
    _known: dict[object, list[list[Numbers]]] = field(default_factory=dict)

    def of(self, prompts: Sequence[Sequence[int]], answers: _Answers) -> list[list[Numbers]]:
        """Return the log-probabilities as of `AnswerModel`, but each of shape (members, an answer's tokens)."""
        key = (tuple(prompts), tuple(map(tuple, answers)))
        if key not in self._known:
            self._known[key] = read_answers(self._logarithms, self.stack.shape.vocabulary, prompts, answers)
        return self._known[key]

    def _logarithms(self, tokens: Tensor, positions: Tensor) -> Numbers:
        device = self.stack.device
        parts = []
        for part in parts_of(self.stack, tokens.numel()):
            logits = part(tokens.to(device), positions.to(device))
            parts.append(torch.log_softmax(logits.double(), dim=-1).cpu().numpy())
        return np.concatenate(parts)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MemberAnswers:
    """One member behind the probes' protocol."""

    joint: JointAnswers
    member: int

    def answer_log_probabilities(self, prompts: Sequence[Sequence[int]], answers: _Answers) -> list[list[Numbers]]:
        """Return the log-probability of every token of every answer (see `AnswerModel`)."""
        return [[numbers[self.member] for numbers in each] for each in self.joint.of(prompts, answers)]


@torch.no_grad()
def read_members(
    stack: ProxyStack, questions: Questions, live: Sequence[int], *, position: int, step: int, due: bool
) -> dict[int, Progress | str]:
    """Return what is measured now of each of the `live` members, or why it cannot be; `due`: losses and bits too."""
    joint = JointAnswers(stack=stack)
    losses = {name: heldout_losses(stack, batch) for name, batch in questions.heldout.items()} if due else {}
    found: dict[int, Progress | str] = {}
    for member in live:
        model = MemberAnswers(joint=joint, member=member)
        rows = tuple(LossRow(position=position, stream=name, loss=each[member]) for name, each in losses.items())
        try:
            readings = tuple((position, step, read_probe(probe, model)) for probe in questions.probes)
            bits = tuple(
                BitsRow(position=position, suite=suite.name, bits_per_byte=bits_per_byte(suite, model).value)
                for suite in questions.suites
                if due
            )
        except RunError as error:
            found[member] = str(error)
            continue
        found[member] = Progress(readings=readings, losses=rows, bits=bits)
    return found


@torch.no_grad()
def heldout_losses(stack: ProxyStack, batch: Batch) -> list[float]:
    """Return every member's mean cross-entropy over the held-out samples of a stream, in nats a target token."""
    totals, counted = [0.0] * stack.members, 0
    for tokens, targets in zip(batch.tokens.split(HELDOUT_BATCH), batch.targets.split(HELDOUT_BATCH), strict=True):
        asked = int(targets[:, 1:].sum())
        losses = [loss for part in parts_of(stack, tokens.numel()) for loss in _losses(part, tokens, targets)]
        totals = [total + loss * asked for total, loss in zip(totals, losses, strict=True)]
        counted += asked
    return [total / counted for total in totals]


def _losses(stack: ProxyStack, tokens: Tensor, targets: Tensor) -> list[float]:
    columns = asked_columns(targets).to(stack.device)
    alike = (stack.members, *tokens.shape)
    found: list[float] = stack_losses(
        stack, tokens.to(stack.device).expand(alike), targets.to(stack.device).expand(alike), columns
    ).tolist()
    return found


def parts_of(stack: ProxyStack, tokens: int) -> Iterator[ProxyStack]:
    """Yield the stack in slices of members that read `tokens` tokens each without filling the memory."""
    at_once = max(1, _NUMBERS_AT_ONCE.get(stack.device.type, 2**19) // (tokens * stack.shape.width))
    for start in range(0, stack.members, at_once):
        yield stack.slice(start, min(start + at_once, stack.members))
