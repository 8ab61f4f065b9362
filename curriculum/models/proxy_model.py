"""A proxy behind the protocols of probes and monitors, from memory or from a checkpoint.

    model = ProxyModel.open(Path("runs/study/run/checkpoints/32000"))
    model = ProxyModel(proxy)                     # no tokenizer: token ids only

Idea: the proxy's own code does the reading; this adds text, sampling and a look inside. Generation reads every row again
for every token: contexts are short, and a cache for smeared keys would be a second implementation of attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from curriculum.errors import UserError
from curriculum.models import looking
from curriculum.models.evaluating import evaluating
from curriculum.models.generation import RereadWalk, Sampling, generate
from curriculum.models.hugging_face_files import chosen_device
from curriculum.models.sequences import Tokens
from curriculum.probe.model import Numbers
from curriculum.proxy.answers import ProxyAnswers
from curriculum.proxy.checkpoint import TOKENIZER_FILE, load_proxy
from curriculum.proxy.model import Proxy
from curriculum.streaming.tokenizer import TextTokenizer, load_tokenizer

_TOKENS_AT_ONCE = 16_384  # in one pass of generation


class ProxyModel:
    """A proxy as a `NetworkModel`; without `tokenizer` it takes token ids only."""

    def __init__(self, proxy: Proxy, tokenizer: TextTokenizer | None = None) -> None:
        self._proxy, self._answers = proxy, ProxyAnswers(proxy)
        self._codec = None if tokenizer is None else _Codec(tokenizer)

    @classmethod
    def open(cls, folder: Path, *, device: str = "auto") -> ProxyModel:
        """Open a checkpoint folder, with the tokenizer in it if there is one. Raises DataError when it is damaged."""
        tokenizer = folder / TOKENIZER_FILE
        proxy = load_proxy(folder).to(chosen_device(device)).eval()
        return cls(proxy, load_tokenizer(tokenizer) if tokenizer.exists() else None)

    @property
    def module(self) -> nn.Module:
        """The proxy itself."""
        return self._proxy

    @property
    def context(self) -> int:
        """The longest sequence in tokens."""
        return self._proxy.shape.context

    def encode(self, text: str) -> list[int]:
        """Return token ids. Raises UserError without tokenizer."""
        return self._tokenizer().encode(text)

    def answer_log_probabilities(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[Numbers]]:
        """Return the log-probability of every token of every answer (see `AnswerModel`)."""
        with evaluating(self._proxy):
            return self._answers.answer_log_probabilities(prompts, answers)

    def generate(
        self, prompts: Sequence[str], *, samples: int, tokens: int, temperature: float, stop: Sequence[str], seed: int
    ) -> list[list[str]]:
        """Return `samples` continuations of every prompt (see `TextModel`). Raises UserError without tokenizer."""
        sampling = Sampling(samples=samples, tokens=tokens, temperature=temperature, stop=tuple(stop), seed=seed)
        with evaluating(self._proxy):
            return generate(
                prompts,
                sampling,
                codec=self._tokenizer(),
                context=self.context,
                rows_at_once=lambda length: _TOKENS_AT_ONCE // length,
                start=lambda rows: RereadWalk(rows, self._last_logits),
            )

    def logits(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return next-token logits (batch, time, vocabulary); padding on the right changes nothing before it."""
        logits: Tensor = self._proxy(tokens)
        return logits.float()

    def hidden_states(self, tokens: Tensor, lengths: Tensor | None = None) -> Sequence[Tensor]:
        """Return what enters the first layer and leaves every layer, (batch, time, width)."""
        return looking.layer_outputs(self._proxy, lambda: self._proxy(tokens))

    def routing_weights(self, tokens: Tensor, lengths: Tensor | None = None) -> Sequence[Tensor]:
        """Return each layer's routing weights over all experts, (batch, time, experts); empty for a dense proxy."""
        return self._proxy.routing(tokens) if self.router_rows() else []

    def router_rows(self) -> Sequence[Tensor]:
        """Return each layer's router matrix, (experts, width); empty for a dense proxy."""
        return self._proxy.router_rows()

    @torch.no_grad()
    def _last_logits(self, rows: Sequence[Tokens]) -> Tensor:
        """Return the logits after each row's last token, (rows, vocabulary)."""
        lengths = [len(row) for row in rows]
        device = self._proxy.tokens.weight.device
        padded = torch.tensor([[*row, *[0] * (max(lengths) - len(row))] for row in rows], device=device)
        places = torch.arange(min(lengths) - 1, max(lengths), device=device)
        ends = torch.tensor(lengths, device=device) - min(lengths)
        logits: Tensor = self._proxy(padded, places)[torch.arange(len(rows), device=device), ends]
        return logits.float()

    def _tokenizer(self) -> _Codec:
        if self._codec is None:
            raise UserError(
                "this proxy has no tokenizer: its streams hold token ids only; ask it in token ids, or train it on streams "
                "packed from text"
            )
        return self._codec


class _Codec:
    """The streams' tokenizer as a `Codec`; nothing stands before a text, its end-of-text token ends one."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self.ends = frozenset() if tokenizer.end_of_text is None else frozenset([tokenizer.end_of_text])

    def encode(self, text: str) -> list[int]:
        return [int(token) for token in self._tokenizer.encode([text])[0]]

    def decode(self, tokens: Sequence[int]) -> str:
        return self._tokenizer.decode(tokens)
