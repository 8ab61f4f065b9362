"""Several proxies of one dense shape as one model: every weight has one dimension more, the member.

Idea: a proxy is so small that a step spends much of its time on starting operations, and a GPU spends nearly all of it so.
Stacked, each operation is started once for all members: matrix products become batched ones, attention takes (member, batch)
as its batch. Written out here instead of `torch.func.vmap` over `Proxy`: on one core that takes 7 % longer a step of 8 members
and 75 % longer of 32, since attention has no batching rule there. The price: the forward pass of a dense `Proxy` stands in two
places, which tests hold together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from curriculum.errors import UserError
from curriculum.proxy.model import ModelShape, Proxy
from curriculum.proxy.precision import attend


class ProxyStack:
    """The weights of several proxies, each (members, ...), under the names that they have in a `Proxy`; all are leaves."""

    def __init__(self, shape: ModelShape, weights: Mapping[str, Tensor], mask: Tensor) -> None:
        self.shape, self.weights, self.mask = shape, dict(weights), mask

    @classmethod
    def of(cls, models: Sequence[Proxy], device: torch.device) -> ProxyStack:
        """Stack dense proxies of one shape. Raises UserError for others."""
        shape = models[0].shape
        if any(model.shape != shape for model in models) or shape.experts:
            raise UserError(f"population: wanted dense proxies of one shape, got {[model.shape for model in models]}")
        states = [model.state_dict() for model in models]
        weights = {
            name: torch.stack([state[name] for state in states]).to(device).requires_grad_()
            for name, _ in models[0].named_parameters()
        }
        return cls(shape, weights, models[0].mask.to(device))

    @property
    def members(self) -> int:
        """How many proxies there are."""
        return len(self.weights["tokens.weight"])

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.mask.device

    def slice(self, start: int, stop: int) -> ProxyStack:
        """Return members [start, stop), without gradients: the same memory, not a copy."""
        return ProxyStack(self.shape, {name: weight.detach()[start:stop] for name, weight in self.weights.items()}, self.mask)

    def member(self, index: int) -> Proxy:
        """Return a copy of one member on the CPU."""
        model = Proxy(self.shape, torch.Generator())
        model.load_state_dict({name: weight.detach()[index] for name, weight in self.weights.items()})
        return model

    def __call__(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """Return every member's next-token logits, (members, batch, asked, vocabulary); asked is time without `positions`.

        `tokens`: int64 (members, batch, time), or (batch, time) when all members read the same. `positions`: int64 (asked,),
        the same for all.
        """
        time = tokens.shape[-1]
        if time > self.shape.context:
            raise UserError(f"population: a sequence of {time} tokens does not fit the context of {self.shape.context}")
        first_rows = torch.arange(self.members, device=self.device)[:, None, None] * self.shape.vocabulary
        hidden = functional.embedding(tokens + first_rows, self.weights["tokens.weight"].flatten(0, 1))
        hidden = hidden + self.weights["places.weight"][:, None, :time]
        mask = self.mask[:time, :time]
        for layer in range(self.shape.layers - 1):
            hidden = self._layer(layer, hidden, mask, None)
        hidden = self._layer(self.shape.layers - 1, hidden, mask if positions is None else mask[positions], positions)
        return _linear(_normalise(hidden), self.weights["unembedding.weight"])

    def _layer(self, layer: int, hidden: Tensor, mask: Tensor, positions: Tensor | None) -> Tensor:
        """Return (members, batch, asked, width); see `model.Layer`."""
        name = f"layers.{layer}"
        read = self._attention(f"{name}.attention", _normalise(hidden), mask, positions)
        hidden = (hidden if positions is None else hidden[:, :, positions]) + read
        widened = functional.silu(_linear(_normalise(hidden), self.weights[f"{name}.widen.weight"]))
        return hidden + _linear(widened, self.weights[f"{name}.narrow.weight"])

    def _attention(self, name: str, hidden: Tensor, mask: Tensor, positions: Tensor | None) -> Tensor:
        """Return (members, batch, asked, width); see `model.Attention`. Members and batch are one dimension in between."""
        members, batch, _, width = hidden.shape
        heads, joint = self.shape.heads, self.weights[f"{name}.query_key_value.weight"]
        if positions is None:
            query, key, value = self._heads(_linear(hidden, joint), 3)
        else:
            (query,) = self._heads(_linear(hidden[:, :, positions], joint[:, :width]), 1)
            key, value = self._heads(_linear(hidden, joint[:, width:]), 2)
        before = functional.pad(key[:, :, :-1], (0, 0, 1, 0)).unflatten(0, (members, batch))
        key = key + (self.weights[f"{name}.smear"][:, None] * before).flatten(0, 1)
        read = attend(query, key, value, mask)
        read = read.transpose(1, 2).reshape(members, batch, -1, heads * query.shape[-1])
        return _linear(read, self.weights[f"{name}.output.weight"])

    def _heads(self, rows: Tensor, parts: int) -> tuple[Tensor, ...]:
        """Return `parts` tensors (members x batch, heads, time, depth) of (members, batch, time, parts x width)."""
        split = rows.flatten(0, 1).unflatten(-1, (parts * self.shape.heads, -1)).transpose(1, 2)
        return cast(tuple[Tensor, ...], split.split(self.shape.heads, dim=1))


def stack_losses(stack: ProxyStack, tokens: Tensor, targets: Tensor, columns: Tensor) -> Tensor:
    """Return every member's mean cross-entropy of its target tokens in nats, (members,); see `training.next_token_loss`.

    `tokens`, `targets`: (members, batch, time). `columns`: int64, the positions before any member's targets (`asked_columns`).
    """
    logits = stack(tokens[..., :-1], columns)
    wanted, counted = tokens[..., columns + 1], targets[..., columns + 1]
    each = functional.cross_entropy(logits.flatten(0, -2), wanted.flatten(), reduction="none").view(counted.shape)
    return (each * counted).sum(dim=(1, 2)) / counted.sum(dim=(1, 2))


def asked_columns(targets: Tensor) -> Tensor:
    """Return the positions whose next token is a target of any row; on the CPU, so that a GPU need not be waited for."""
    return targets[..., 1:].flatten(0, -2).any(dim=0).nonzero()[:, 0]


def _linear(hidden: Tensor, weight: Tensor) -> Tensor:
    """Return (members, batch, time, out) from `hidden` (members, batch, time, width) and `weight` (members, out, width)."""
    return cast(Tensor, torch.bmm(hidden.flatten(1, 2), weight.transpose(1, 2)).unflatten(1, hidden.shape[1:3]))


def _normalise(hidden: Tensor) -> Tensor:
    return functional.rms_norm(hidden, hidden.shape[-1:])
