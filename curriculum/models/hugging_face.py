"""Any causal language model of the transformers library, behind the probes' protocol and the monitors'.

    model = HuggingFaceModel.open(Path("checkpoints/step1000"))            # config.json, *.safetensors, a tokenizer
    model = HuggingFaceModel(network, tokenizer)                           # one that is in memory, in training too

Idea: everything is said in token ids, and the network is used as it is; what makes it quick (prefixes read once, logits
only where wanted) is in `reader` and `prefix_scoring` and knows no architecture. Alternatives: a serving engine (faster
still, on GPUs only, and with numbers of its own). The price: a pass of Python per layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from curriculum.errors import UserError
from curriculum.models import hugging_face_files, looking, prefix_scoring
from curriculum.models.evaluating import evaluating
from curriculum.models.generation import RereadWalk, Sampling, Walk, generate
from curriculum.models.prefix_generation import CachedWalk
from curriculum.models.reader import Place, Reader
from curriculum.models.sequences import Tokens
from curriculum.probe.model import Numbers

_CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length", "max_sequence_length")
_EXPERT_NAMES = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_NO_LIMIT = 2**20  # tokens, for networks without places, such as state-space models
_BATCH_TOKENS = {"cpu": 2048}
_BATCH_TOKENS_OF_GPU = 16_384
_ROWS_TO_CONTINUE = 4  # times the tokens of a batch, prompts' and new ones', are under way together in generation


class HuggingFaceModel:
    """A causal language model of the transformers library; implements `NetworkModel`.

    `network`: an `AutoModelForCausalLM`. `tokenizer`: None if no text is ever given. `batch_tokens`: tokens in one pass,
    padding included (2,048 on a CPU, 16,384 on a GPU unless given). Raises UserError for a network that is not causal.
    """

    def __init__(self, network: nn.Module, tokenizer: Any = None, *, batch_tokens: int | None = None) -> None:
        self._network = network
        self._codec = None if tokenizer is None else TokenizerCodec(tokenizer, network)
        self._context = _context(network, tokenizer)
        with evaluating(network):
            self._reader = Reader(network, context=self._context)
        self._batch_tokens = batch_tokens or _BATCH_TOKENS.get(self._reader.device.type, _BATCH_TOKENS_OF_GPU)

    @classmethod
    def open(
        cls,
        source: str | Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        revision: str | None = None,
        batch_tokens: int | None = None,
    ) -> HuggingFaceModel:
        """Open a folder, a `.gguf` file, or (as str) a model of the hub; see `hugging_face_files.load`."""
        loaded = hugging_face_files.load(source, device=device, dtype=dtype, revision=revision)
        return cls(loaded.network, loaded.tokenizer, batch_tokens=batch_tokens)

    @property
    def module(self) -> nn.Module:
        """The network itself."""
        return self._network

    @property
    def context(self) -> int:
        """The longest sequence in tokens."""
        return self._context

    @property
    def reusable(self) -> int:
        """The longest sequence, in tokens, for which prefixes are read once; 0 where the network does not allow it."""
        return self._reader.reusable

    def encode(self, text: str) -> list[int]:
        """Return token ids, with a beginning-of-sequence token if the tokenizer adds one. UserError without tokenizer."""
        return self._tokenizer().encode(text)

    def answer_log_probabilities(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[Numbers]]:
        """Return the log-probability of every token of every answer (see `AnswerModel`)."""
        with evaluating(self._network):
            return prefix_scoring.answer_log_probabilities(
                self._reader, prompts, answers, batch_tokens=self._batch_tokens, spell=self._spell
            )

    def generate(
        self, prompts: Sequence[str], *, samples: int, tokens: int, temperature: float, stop: Sequence[str], seed: int
    ) -> list[list[str]]:
        """Return `samples` continuations of every prompt (see `TextModel`).

        Raises UserError without tokenizer and for prompts that leave no room, RunError for logits that are no numbers.
        """
        sampling = Sampling(samples=samples, tokens=tokens, temperature=temperature, stop=tuple(stop), seed=seed)
        with evaluating(self._network):
            return generate(
                prompts,
                sampling,
                codec=self._tokenizer(),
                context=self._context,
                rows_at_once=lambda length: _ROWS_TO_CONTINUE * self._batch_tokens // length,
                start=lambda rows: self._walk(rows, tokens),
            )

    def logits(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return next-token logits (batch, time, vocabulary), float32, differentiable (see `NetworkModel`)."""
        return cast(Tensor, self._run(tokens, lengths).logits.float())

    def hidden_states(self, tokens: Tensor, lengths: Tensor | None = None) -> Sequence[Tensor]:
        """Return what enters the first layer and leaves every layer, before any final normalisation."""
        return looking.layer_outputs(self._network, lambda: self._run(tokens, lengths))

    def routing_weights(self, tokens: Tensor, lengths: Tensor | None = None) -> Sequence[Tensor]:
        """Return each router's softmax over all experts, (batch, time, experts); empty for a dense model."""
        routers = self._routers()
        if not routers:
            return []
        return looking.routing_weights(routers, lambda: self._run(tokens, lengths), (tokens.shape[0], tokens.shape[1]))

    def router_rows(self) -> Sequence[Tensor]:
        """Return each router's matrix, (experts, width); empty for a dense model."""
        return looking.router_rows(self._routers())

    def _run(self, tokens: Tensor, lengths: Tensor | None) -> Any:
        options: dict[str, Any] = {"use_cache": False}
        if lengths is not None:
            options["attention_mask"] = (torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]).long()
        return self._network(input_ids=tokens, **options)

    def _walk(self, rows: Sequence[Tokens], new_tokens: int) -> Walk:
        if max(map(len, rows)) + new_tokens <= self._reader.reusable:
            return CachedWalk(self._reader, rows)
        return RereadWalk(rows, self._last_logits)

    def _last_logits(self, rows: Sequence[Tokens]) -> Tensor:
        return self._reader.extend(rows, [Place(row=row, position=len(tokens) - 1) for row, tokens in enumerate(rows)])

    def _routers(self) -> list[nn.Module]:
        experts = _configured(self._network, _EXPERT_NAMES)
        if experts is None or experts < 2:
            return []
        routers = looking.routers_of(self._network, experts)
        if not routers:
            raise UserError(
                f"{type(self._network).__name__} has {experts} experts, but no module named gate or router with a weight of so "
                "many rows; its pathways cannot be read"
            )
        return routers

    def _tokenizer(self) -> TokenizerCodec:
        if self._codec is None:
            raise UserError("this model came without a tokenizer; put its tokenizer.json beside the weights, or give token ids")
        return self._codec

    def _spell(self, tokens: Tokens) -> str:
        return str(list(tokens)) if self._codec is None else self._codec.decode(tokens)


class TokenizerCodec:
    """A tokenizer of the transformers library as a `Codec`: begins as it begins texts, never ends them."""

    def __init__(self, tokenizer: Any, network: nn.Module) -> None:
        self._tokenizer = tokenizer
        self._opening = _opening(tokenizer)
        self.ends = _ends(tokenizer, network)

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, with the tokens that the tokenizer puts before a text and none of those after it."""
        return [*self._opening, *_plain(self._tokenizer, text)]

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of `tokens`, without special tokens."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _plain(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _opening(tokenizer: Any) -> list[int]:
    """Return the ids that the tokenizer puts before every text, found by trying."""
    whole, plain = list(tokenizer("a")["input_ids"]), _plain(tokenizer, "a")
    starts = [place for place in range(len(whole) - len(plain) + 1) if whole[place : place + len(plain)] == plain]
    return whole[: starts[0]] if starts else []


def _ends(tokenizer: Any, network: nn.Module) -> frozenset[int]:
    """Return every id by which tokenizer, configuration or generation settings say that a text ends."""
    settings = (tokenizer, getattr(network, "config", None), getattr(network, "generation_config", None))
    found = [getattr(setting, "eos_token_id", None) for setting in settings]
    return frozenset(end for ends in found for end in (ends if isinstance(ends, list) else [ends]) if end is not None)


def _configured(network: nn.Module, names: Sequence[str]) -> int | None:
    """Return the first of these settings that the network's configuration has."""
    config = cast(Any, network).config.get_text_config()
    found = (getattr(config, name, None) for name in names)
    return next((value for value in found if isinstance(value, int) and value > 0), None)


def _context(network: nn.Module, tokenizer: Any) -> int:
    """Return the longest sequence by the network's configuration, else by its tokenizer, else a million tokens."""
    configured = _configured(network, _CONTEXT_NAMES)
    if configured is not None:
        return configured
    stated = getattr(tokenizer, "model_max_length", None)
    return stated if isinstance(stated, int) and 0 < stated < _NO_LIMIT else _NO_LIMIT
