"""The proxy: a transformer small enough that a thousand of its steps take seconds on one core.

Idea: the plainest pre-norm decoder (RMSNorm, causal attention, MLP of twice the width, learned positions) with one
addition: each head smears its keys, k_t <- k_t + a k_{t-1}. Copying from the context needs "what followed this token
before?"; a plain transformer spends two layers and hundreds of steps on composing that, smeared keys give it to a single
layer, so that in-context look-up forms within a run of seconds. Alternatives: a plain transformer with an induction-like
initialisation (offered too, for natural text), a larger model (a run then takes minutes). The price: a proxy finds
copying easier than a plain model of its size, so its time scales are not those of a large model.

Speed comes from doing less: where the caller names the positions it wants, the last layer computes queries, MLP and
unembedding only there. That is exact, not an approximation, since later layers are the only readers of the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from curriculum.errors import UserError
from curriculum.proxy.mixture import Mixture, recorded_routing, router_rows
from curriculum.proxy.precision import attend
from curriculum.proxy.recipe import ACTIVE_EXPERTS, check_experts

_EMBEDDING_SCALE = 0.03  # look-up reaches a margin of .8 after 100 steps; at .1 after 150, at .3 after 200, at 1.0 after 250
_SMEAR_AT_START = 1.0  # at .5 look-up takes half as long again
_INDUCTION_NOISE = 0.1  # relative distance of W_k from W_q under `induction_initialisation`


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelShape:
    """The numbers that make a proxy.

    `context` is the longest sequence in tokens. `experts` above 0 makes every layer's MLP a mixture of that many, of which
    `active_experts` compute a token (see `mixture`). `induction_initialisation` starts each layer's key matrix near its query
    matrix, so that a token attends from the start to what followed its like: natural text needs it (otherwise
    nothing copies within a million tokens), the testbed does not.
    """

    vocabulary: int
    layers: int = 2
    width: int = 64
    heads: int = 2
    context: int = 24
    induction_initialisation: bool = False
    experts: int = 0
    active_experts: int = ACTIVE_EXPERTS

    def __post_init__(self) -> None:
        for name in ("vocabulary", "layers", "width", "heads", "context"):
            if getattr(self, name) < 1:
                raise UserError(f"proxy: wanted {name} of at least 1, got {getattr(self, name)}")
        check_experts(self.experts, self.active_experts)
        if self.width % self.heads:
            raise UserError(f"proxy: wanted a width that its heads divide, got width {self.width}, heads {self.heads}")


class Attention(nn.Module):
    """Causal attention over smeared keys; one matrix holds query, key and value rows, in this order."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.query_key_value = nn.Linear(shape.width, 3 * shape.width, bias=False)
        self.output = nn.Linear(shape.width, shape.width, bias=False)
        self.smear = nn.Parameter(torch.empty(shape.heads, 1, 1))

    def forward(self, hidden: Tensor, mask: Tensor, positions: Tensor | None) -> Tensor:
        """Return what each asked position reads: (batch, asked, width) from `hidden` (batch, time, width).

        `mask` (asked, time) is added to the scores.
        """
        query, key, value = self._split(hidden, positions)
        key = key + self.smear * functional.pad(key[:, :, :-1], (0, 0, 1, 0))
        read = attend(query, key, value, mask)
        return cast(Tensor, self.output(read.transpose(1, 2).flatten(2)))

    def _split(self, hidden: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (batch, heads, asked, depth), keys and values (batch, heads, time, depth)."""
        batch, time, width = hidden.shape
        depth = width // self.heads
        if positions is None:
            joint = self.query_key_value(hidden).view(batch, time, 3 * self.heads, depth).transpose(1, 2)
            query, key, value = joint.split(self.heads, dim=1)
            return query, key, value
        of_query, of_others = self.query_key_value.weight.split((width, 2 * width))
        query = functional.linear(hidden[:, positions], of_query).view(batch, -1, self.heads, depth).transpose(1, 2)
        joint = functional.linear(hidden, of_others).view(batch, time, 2 * self.heads, depth).transpose(1, 2)
        key, value = joint.split(self.heads, dim=1)
        return query, key, value


class Layer(nn.Module):
    """Attention, then an MLP of twice the width or a mixture of experts, each after an RMSNorm and added to its input."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.attention = Attention(shape)
        self.mixture = Mixture(shape.width, shape.experts, shape.active_experts) if shape.experts else None
        if self.mixture is None:
            self.widen = nn.Linear(shape.width, 2 * shape.width, bias=False)
            self.narrow = nn.Linear(2 * shape.width, shape.width, bias=False)

    def forward(self, hidden: Tensor, mask: Tensor, positions: Tensor | None) -> Tensor:
        """Return (batch, asked, width) from `hidden` (batch, time, width); asked is all of time without `positions`."""
        read = self.attention(_normalise(hidden), mask, positions)
        hidden = (hidden if positions is None else hidden[:, positions]) + read
        if self.mixture is not None:
            return cast(Tensor, hidden + self.mixture(_normalise(hidden)))
        return cast(Tensor, hidden + self.narrow(functional.silu(self.widen(_normalise(hidden)))))


class Proxy(nn.Module):
    """A small causal language model; two proxies of the same shape and generator seed are equal to the bit."""

    mask: Tensor

    def __init__(self, shape: ModelShape, generator: torch.Generator) -> None:
        super().__init__()
        self.shape = shape
        with torch.random.fork_rng(devices=[]):  # torch's own initialisation, overwritten below, draws from a global state
            self.tokens = nn.Embedding(shape.vocabulary, shape.width)
            self.places = nn.Embedding(shape.context, shape.width)
            self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
            self.unembedding = nn.Linear(shape.width, shape.vocabulary, bias=False)
        causal = torch.full((shape.context, shape.context), -torch.inf).triu(1)
        self.register_buffer("mask", causal, persistent=False)
        self._initialise(generator)

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """Return next-token logits.

        `tokens`: int64 (batch, time), time at most the context. `positions`: int64 (asked,), the same for the whole
        batch; logits are then (batch, asked, vocabulary) instead of (batch, time, vocabulary), at a fraction of the cost.
        """
        time = tokens.shape[1]
        if time > self.shape.context:
            raise UserError(f"proxy: a sequence of {time} tokens does not fit its context of {self.shape.context}")
        hidden = self.tokens(tokens) + self.places.weight[:time]
        mask = self.mask[:time, :time]
        for layer in self.layers[:-1]:
            hidden = layer(hidden, mask, None)
        hidden = self.layers[-1](hidden, mask if positions is None else mask[positions], positions)
        return cast(Tensor, self.unembedding(_normalise(hidden)))

    def routing(self, tokens: Tensor) -> list[Tensor]:
        """Return each layer's routing weights over all experts, (batch, time, experts); empty for a dense model.

        `tokens`: int64 (batch, time). The softmax before any expert is dropped, differentiable.
        """
        with recorded_routing(self) as found:
            self(tokens)
        return found

    def router_rows(self) -> list[Tensor]:
        """Return each layer's router matrix (experts, width); empty for a dense model."""
        return router_rows(self)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        """Draw every weight from `generator`, in the order of definition; outputs into the residual start smaller."""
        into_residual = 1 / math.sqrt(2 * self.shape.layers)
        for name, weight in self.named_parameters():
            if name.endswith("smear"):
                weight.fill_(_SMEAR_AT_START)
            elif name.startswith(("tokens", "places")):
                weight.normal_(0.0, _EMBEDDING_SCALE, generator=generator)
            else:
                scale = into_residual if name.endswith(("output.weight", "narrow.weight", "mixture.narrow")) else 1.0
                weight.normal_(0.0, scale / math.sqrt(weight.shape[-1]), generator=generator)
        if self.shape.induction_initialisation:
            self._match_keys_to_queries()

    def _match_keys_to_queries(self) -> None:
        for layer in self.layers:
            query, key, _ = cast(Layer, layer).attention.query_key_value.weight.chunk(3)
            key.mul_(_INDUCTION_NOISE).add_(query)


def _normalise(hidden: Tensor) -> Tensor:
    """RMSNorm without gain: the matrix that follows can learn it, and a step takes 8 % less time."""
    return functional.rms_norm(hidden, hidden.shape[-1:])
