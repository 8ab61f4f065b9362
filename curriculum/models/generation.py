"""Text sampled from a model, the same for the same seed however prompts are batched.

Idea: every sample of every prompt has its own random numbers, keyed by (seed, prompt, sample); number t decides token t
by the inverse of the cumulative distribution. What a model must offer is a `Walk`: rows that grow by a token at a time.
Alternatives: a library's `generate` (one random stream for a whole batch, so that the batch decides the text). The price:
a sum over the vocabulary for every token, small beside the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from curriculum.errors import RunError, UserError
from curriculum.models.sequences import Tokens
from curriculum.units import keyed_seed

_ANCHOR = 4  # tokens of the prompt decoded with what follows, since some tokenizers drop a text's first space


class Codec(Protocol):
    """Text to token ids and back."""

    @property
    def ends(self) -> frozenset[int]:
        """The ids that end a text."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, with what begins a text and without what ends one."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of ids."""


class Walk(Protocol):
    """Rows of tokens under way."""

    def logits(self) -> Tensor:
        """Return the logits of each row's next token, (rows, vocabulary), float32."""

    def grow(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        """Keep only these rows, each a token longer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How to sample: see `TextModel.generate`. Raises UserError for values that make no sense."""

    samples: int
    tokens: int
    temperature: float
    stop: tuple[str, ...]
    seed: int

    def __post_init__(self) -> None:
        for name in ("samples", "tokens"):
            if getattr(self, name) < 1:
                raise UserError(f"generation: wanted {name} of at least 1, got {getattr(self, name)}")
        if not self.temperature >= 0:
            raise UserError(f"generation: wanted a temperature of at least 0, got {self.temperature}")
        if "" in self.stop:
            raise UserError("generation: wanted stop strings with some text in them, got an empty one")

    def numbers(self, prompt: str, sample: int) -> Tensor:
        """Return the random numbers in [0, 1) of one sample, one a token."""
        generator = torch.Generator().manual_seed(keyed_seed("generation", self.seed, prompt, sample))
        return torch.rand(self.tokens, generator=generator, dtype=torch.float64)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Sample:
    """One continuation under way."""

    prompt: str
    tokens: Tokens
    numbers: Tensor
    found: list[int] = field(default_factory=list)


def generate(
    prompts: Sequence[str],
    sampling: Sampling,
    *,
    codec: Codec,
    context: int,
    rows_at_once: Callable[[int], int],
    start: Callable[[Sequence[Tokens]], Walk],
) -> list[list[str]]:
    """Return `sampling.samples` continuations of every prompt.

    `rows_at_once`: how many rows of so many tokens may be under way together. Raises UserError for a prompt that is empty
    or leaves no room in the `context` for the tokens asked for, and RunError for logits that are not numbers.
    """
    encoded = [_fitting(number, prompt, codec, sampling.tokens, context) for number, prompt in enumerate(prompts)]
    under_way = [
        [_Sample(prompt=prompt, tokens=tokens, numbers=sampling.numbers(prompt, sample)) for sample in range(sampling.samples)]
        for prompt, tokens in zip(prompts, encoded, strict=True)
    ]
    for batch in _batches([sample for of_prompt in under_way for sample in of_prompt], sampling.tokens, rows_at_once):
        _walk(batch, start([sample.tokens for sample in batch]), sampling, codec)
    return [[_text(sample, codec, sampling.stop) for sample in of_prompt] for of_prompt in under_way]


def _fitting(number: int, prompt: str, codec: Codec, tokens: int, context: int) -> Tokens:
    encoded = tuple(codec.encode(prompt))
    if not encoded:
        raise UserError(f"prompt {number}: wanted at least one token to continue, got none from {prompt!r}")
    if len(encoded) + tokens > context:
        raise UserError(
            f"prompt {number}: its {len(encoded)} tokens and {tokens} more do not fit the model's context of {context}; "
            "shorten the prompt or ask for fewer tokens"
        )
    return encoded


def _batches(samples: Sequence[_Sample], tokens: int, rows_at_once: Callable[[int], int]) -> Iterator[list[_Sample]]:
    """Yield samples in batches; those of one prompt stay neighbours, so that it is read once or twice."""
    order = sorted(samples, key=lambda sample: (-len(sample.tokens), sample.tokens))
    while order:
        size = max(1, rows_at_once(len(order[0].tokens) + tokens))
        yield order[:size]
        order = order[size:]


def _walk(samples: Sequence[_Sample], walk: Walk, sampling: Sampling, codec: Codec) -> None:
    """Let samples grow until each has ended, met a stop string, or is long enough."""
    going = list(samples)
    while True:
        drawn = _drawn(walk.logits(), going, sampling.temperature)
        keep = []
        for row, (sample, token) in enumerate(zip(going, drawn, strict=True)):
            if token in codec.ends:
                continue
            sample.found.append(token)
            if len(sample.found) < sampling.tokens and not _stopped(sample, codec, sampling.stop):
                keep.append(row)
        if not keep:
            return
        walk.grow(keep, [drawn[row] for row in keep])
        going = [going[row] for row in keep]


def _drawn(logits: Tensor, samples: Sequence[_Sample], temperature: float) -> list[int]:
    broken = torch.isnan(logits).any(dim=1).nonzero().flatten().tolist()
    if broken:
        raise RunError(
            f"the prompt that ends in {samples[broken[0]].prompt[-60:]!r}: the model's logits are not numbers; is it trained, "
            "and loaded in a number format that holds its activations (bfloat16 or float32)?"
        )
    if temperature == 0:
        return [int(token) for token in logits.argmax(dim=1).tolist()]
    exact = torch.float32 if logits.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
    cumulative = torch.softmax(logits.to(exact) / temperature, dim=1).cumsum(dim=1)
    numbers = torch.stack([sample.numbers[len(sample.found)] for sample in samples]).to(logits.device, exact)
    found = torch.searchsorted(cumulative, numbers[:, None] * cumulative[:, -1:], right=True)
    return [int(token) for token in found.clamp(max=logits.shape[1] - 1).flatten().tolist()]


def _stopped(sample: _Sample, codec: Codec, stop: Sequence[str]) -> bool:
    """Say whether a stop string stands in what was sampled, looking at its end only; each token holds a byte or more."""
    if not stop:
        return False
    reach = max(len(text.encode()) for text in stop) + _ANCHOR
    end = codec.decode(sample.found[-reach:])
    return any(text in end for text in stop) and _text(sample, codec, ()) != _text(sample, codec, stop)


def _text(sample: _Sample, codec: Codec, stop: Sequence[str]) -> str:
    """Return what was sampled, cut before the first stop string."""
    anchor = list(sample.tokens[-_ANCHOR:])
    head, whole = codec.decode(anchor), codec.decode([*anchor, *sample.found])
    text = whole[len(head) :] if whole.startswith(head) else codec.decode(sample.found)
    return text[: min((text.find(mark) for mark in stop if mark in text), default=len(text))]


class RereadWalk:
    """A walk that reads every row from its beginning for every token: right for any model, and slow.

    `read`: tokens of every row -> logits after each row's last token, (rows, vocabulary), float32.
    """

    def __init__(self, rows: Sequence[Tokens], read: Callable[[Sequence[Tokens]], Tensor]) -> None:
        self._rows, self._read = list(rows), read

    def logits(self) -> Tensor:
        """Return the logits of each row's next token."""
        return self._read(self._rows)

    def grow(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        """Keep only these rows, each a token longer."""
        self._rows = [(*self._rows[row], token) for row, token in zip(rows, tokens, strict=True)]
