"""A proxy behind the probes' protocol: the log-probability of given answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from curriculum.probe.model import Numbers
from curriculum.proxy.model import Proxy

_ITEMS_AT_ONCE = 512


class ProxyAnswers:
    """Scores answers with one forward pass a prompt where all answers are one token long, else one an answer."""

    def __init__(self, model: Proxy) -> None:
        self.model = model

    @torch.no_grad()
    def answer_log_probabilities(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[Numbers]]:
        """Return the log-probability of every token of every answer (see `AnswerModel`)."""
        single = all(len(answer) == 1 for candidate in answers for answer in candidate)
        if single and len({len(prompt) for prompt in prompts}) == 1:
            return self._of_single_tokens(prompts, answers)
        return [
            [self._of_tokens(prompt, answer) for prompt, answer in zip(prompts, candidate, strict=True)]
            for candidate in answers
        ]

    def _of_single_tokens(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[Numbers]]:
        last = torch.tensor([len(prompts[0]) - 1])
        parts = [
            torch.log_softmax(self.model(part, last)[:, 0].double(), dim=-1)
            for part in torch.tensor(prompts).split(_ITEMS_AT_ONCE)
        ]
        logarithms = torch.cat(parts).numpy()
        rows = np.arange(len(prompts))
        return [list(logarithms[rows, [answer[0] for answer in candidate]][:, None]) for candidate in answers]

    def _of_tokens(self, prompt: Sequence[int], answer: Sequence[int]) -> Numbers:
        tokens = [*prompt, *answer]
        first = len(tokens) - len(answer)
        asked = torch.arange(first - 1, len(tokens) - 1)
        logits = self.model(torch.tensor([tokens]), asked)[0].double()
        chosen = torch.log_softmax(logits, dim=-1)[torch.arange(len(answer)), torch.tensor(answer)]
        return np.asarray(chosen, dtype=np.float64)
