"""What a probe needs of a language model, and nothing more.

Idea: two small protocols. `AnswerModel` says how probable given answers are, in token ids; that is all five of the six
families, the modes and bits per byte need. `TextModel` adds a tokenizer and sampling, for items that are text and for
the persona family. A proxy, a Hugging Face checkpoint and a plain callable all stand behind them (see `models`).
Alternatives: one class with everything (then a callable must pretend to be a network). The price: whoever wants
gradients, activations or routing asks a model's own room, not the probe.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]


class AnswerModel(Protocol):
    """Whatever can say how probable given answers are: a proxy, a checkpoint, a plain callable in a class."""

    def answer_log_probabilities(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[Numbers]]:
        """Return the natural log-probability of every token of every answer.

        `answers[k][i]` is the k-th candidate answer to `prompts[i]`, both token ids; result `[k][i]`: shape (its tokens,).
        Raises UserError for a prompt whose answer does not fit the model's context, and RunError for values that are
        not numbers.
        """


class TextModel(AnswerModel, Protocol):
    """An AnswerModel with a tokenizer."""

    @property
    def context(self) -> int:
        """The longest sequence in tokens."""

    def encode(self, text: str) -> list[int]:
        """Return token ids, with the tokenizer's beginning-of-sequence token if it adds one and no end token."""

    def generate(
        self,
        prompts: Sequence[str],
        *,
        samples: int,
        tokens: int,
        temperature: float,
        stop: Sequence[str],
        seed: int,
    ) -> list[list[str]]:
        """Return `samples` continuations of every prompt: at most `tokens` new tokens, cut before the first stop string.

        `temperature` 0 takes the most probable token. The same seed gives the same text.
        """
