"""A proxy behind the probes' protocol: the log-probability of given answers.

Idea: what equals an earlier row is not read again, rows of like length are read together, and only where an answer's
tokens are predicted are there logits at all. Padding stands on the right, where a causal model cannot see it. The price:
rows of a batch share the places at which logits are made, so a few are made in vain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from curriculum.errors import UserError
from curriculum.probe.model import Numbers
from curriculum.proxy.model import Proxy

_ITEMS_AT_ONCE = 512
_LOGITS_AT_ONCE = 2**24  # 128 megabytes in float64
_Tokens = tuple[int, ...]
_Row = tuple[_Tokens, _Tokens]  # a prompt, and an answer to it but for the answer's last token


class ProxyAnswers:
    """Scores answers: one row of a forward pass a prompt where all answers are one token long, else one an answer."""

    def __init__(self, model: Proxy) -> None:
        self.model = model

    @torch.no_grad()
    def answer_log_probabilities(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[Numbers]]:
        """Return the log-probability of every token of every answer (see `AnswerModel`)."""
        return read_answers(self._logarithms, self.model.shape.vocabulary, prompts, answers)

    def _logarithms(self, tokens: Tensor, positions: Tensor) -> Numbers:
        device = self.model.tokens.weight.device
        logits = self.model(tokens.to(device), positions.to(device))
        return torch.log_softmax(logits.double(), dim=-1).cpu().numpy()


def read_answers(
    logarithms_of: Callable[[Tensor, Tensor], Numbers],
    vocabulary: int,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[Sequence[int]]],
) -> list[list[Numbers]]:
    """Return the log-probability of every token of every answer, shape (..., its tokens).

    `logarithms_of(tokens, positions)`: of rows (batch, time) the log-probabilities (..., batch, positions, vocabulary); what
    stands before the batch, such as the members of a population, stands before an answer's tokens.
    """
    asked = [[(tuple(prompt), tuple(answer)) for prompt, answer in zip(prompts, each, strict=True)] for each in answers]
    rows = _rows([pair for each in asked for pair in each])
    found: dict[tuple[_Tokens, _Tokens], Numbers] = {}
    for batch in _batches(list(rows), vocabulary):
        _read(logarithms_of, batch, rows, found)
    return [[found[pair].copy() for pair in each] for each in asked]


def _read(
    logarithms_of: Callable[[Tensor, Tensor], Numbers],
    batch: Sequence[_Row],
    rows: dict[_Row, set[_Tokens]],
    found: dict[tuple[_Tokens, _Tokens], Numbers],
) -> None:
    """Read a batch of rows; look up what is asked of each."""
    longest = max(len(prompt) + len(given) for prompt, given in batch)
    first = min(len(prompt) for prompt, _ in batch) - 1
    padded = [[*prompt, *given, *[0] * (longest - len(prompt) - len(given))] for prompt, given in batch]
    logarithms = logarithms_of(torch.tensor(padded), torch.arange(first, longest))
    asked = [(row, prompt, answer) for row, (prompt, given) in enumerate(batch) for answer in rows[prompt, given]]
    places = [(row, len(prompt) - 1 - first + step) for row, prompt, answer in asked for step in range(len(answer))]
    in_row, at_place = (list(numbers) for numbers in zip(*places, strict=True))
    numbers: Numbers = logarithms[..., in_row, at_place, [token for _, _, answer in asked for token in answer]]
    start = 0
    for _, prompt, answer in asked:
        found[prompt, answer] = numbers[..., start : start + len(answer)]
        start += len(answer)


def _rows(pairs: Sequence[tuple[_Tokens, _Tokens]]) -> dict[_Row, set[_Tokens]]:
    """Return what must be read, with the answers whose tokens are predicted there, from pairs of prompt and answer."""
    rows: dict[_Row, set[_Tokens]] = {}
    for number, (prompt, answer) in enumerate(pairs):
        if not prompt or not answer:
            raise UserError(f"item {number}: wanted a prompt and an answer of at least one token each, got {prompt}, {answer}")
        rows.setdefault((prompt, answer[:-1]), set()).add(answer)
    return rows


def _batches(rows: Sequence[_Row], vocabulary: int) -> Iterator[list[_Row]]:
    """Yield rows of like length together."""
    batch: list[_Row] = []
    longest = 0
    for row in sorted(rows, key=lambda row: (len(row[0]), len(row[1]))):
        longest = max(longest, len(row[0]) + len(row[1]))
        places = longest - len(batch[0][0]) + 1 if batch else 1
        if batch and (len(batch) == _ITEMS_AT_ONCE or (len(batch) + 1) * places * vocabulary > _LOGITS_AT_ONCE):
            yield batch
            batch, longest = [], len(row[0]) + len(row[1])
        batch.append(row)
    if batch:
        yield batch
