"""A mixture of experts in place of a layer's MLP: of many small MLPs each token passes through the few its router picks.

Idea: the router is a softmax over all experts, the `active` best are computed and weighted by their probability as it is.
That is OLMoE's form, and Switch's for one active expert; Mixtral and Qwen3-MoE divide the weights by their sum first.
Not dividing keeps the loss's gradient on the router at one active expert too, whose weight would else be 1 whatever the
router says. Each expert is as wide as the model, half a dense layer's MLP, so two active ones compute what a dense one does.

Speed: assignments are sorted by expert, so that each expert is two matrix products over a contiguous slice. The alternative,
all experts at once by one wide product and a mask, takes 4.7 ms instead of 1.8 (forward and backward, 8 experts, width 64,
768 tokens, one core; 1.5 against 0.9 at 256 tokens). The price: routing is discrete, and the balance loss a second wish
besides the cross-entropy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional


class Router(nn.Linear):
    """Routing weights: the softmax over all experts, before any is dropped. `weight`: (experts, width)."""

    def __init__(self, width: int, experts: int) -> None:
        super().__init__(width, experts, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return (..., experts), each row of sum 1, from `hidden` (..., width)."""
        with torch.autocast(hidden.device.type, enabled=False):  # in bfloat16 some tokens would go to other experts
            return functional.softmax(super().forward(hidden), dim=-1)


class Mixture(nn.Module):
    """`experts` MLPs, `active` of them a token. The weights are left to the model that owns the layer to initialise."""

    def __init__(self, width: int, experts: int, active: int) -> None:
        super().__init__()
        self.active = active
        self.router = Router(width, experts)
        self.widen = nn.Parameter(torch.empty(experts, width, width))
        self.narrow = nn.Parameter(torch.empty(experts, width, width))

    def forward(self, hidden: Tensor) -> Tensor:
        """Return (batch, time, width): each token's active experts, weighted by their probability."""
        weights, chosen = self.router(hidden).flatten(0, -2).topk(self.active, dim=-1)
        by_expert = chosen.flatten().argsort(stable=True)
        token = by_expert // self.active
        counts = chosen.flatten().bincount(minlength=len(self.widen)).tolist()
        flat = hidden.flatten(0, -2)
        parts = flat.index_select(0, token).split(counts)
        outputs = torch.cat(
            [
                functional.linear(functional.silu(functional.linear(part, widen)), narrow)
                for part, widen, narrow in zip(parts, self.widen.unbind(), self.narrow.unbind(), strict=True)
            ]
        )
        weighted = outputs * weights.flatten().index_select(0, by_expert).unsqueeze(1)
        return torch.zeros_like(flat).index_add(0, token, weighted).view_as(hidden)


def balance_loss(routing: Sequence[Tensor], active: int) -> Tensor:
    """Return the load-balancing loss: the mean over layers of experts x sum_i f_i P_i.

    `routing`: each layer's routing weights (..., experts). f_i is the share of all choices (tokens x active) that fell on
    expert i, P_i its mean weight. 1 when both are uniform, up to experts / active when all tokens choose the same
    (Switch, equation 4; OLMoE and transformers count f_i per token, and report `active` times this number).
    """
    losses = []
    for weights in routing:
        flat = weights.flatten(0, -2)
        chosen = flat.topk(active, dim=-1).indices.flatten()
        experts = flat.shape[1]
        shares = chosen.bincount(minlength=experts) / len(chosen)
        losses.append(experts * (shares * flat.mean(dim=0)).sum())
    return torch.stack(losses).mean()


@contextmanager
def recorded_routing(model: nn.Module) -> Iterator[list[Tensor]]:
    """Within the block, every forward pass appends each mixture's routing weights to the list, in the order of layers."""
    found: list[Tensor] = []

    def record(_module: nn.Module, _inputs: object, weights: Tensor) -> None:
        found.append(weights)

    handles = [part.register_forward_hook(record) for part in model.modules() if isinstance(part, Router)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def router_rows(model: nn.Module) -> list[Tensor]:
    """Return each mixture's router matrix (experts, width), in the order of layers."""
    return [part.weight for part in model.modules() if isinstance(part, Router)]
