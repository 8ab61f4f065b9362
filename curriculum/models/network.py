"""A language model whose network is at hand: for what needs activations, gradients, routing or a few more steps.

Idea: monitors and fine-tuning probes are written once, against this protocol; a proxy and a Hugging Face model each say
in one file how they answer to it. Alternatives: monitors that know every library's output classes. The price: what a
library offers beyond these few methods stays unused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from curriculum.probe.model import TextModel


@runtime_checkable
class NetworkModel(TextModel, Protocol):
    """A TextModel made of a torch module. Sequences in a batch are padded on the right; `lengths` are their true lengths."""

    @property
    def module(self) -> nn.Module:
        """The network itself: its parameters are what fine-tuning changes and gradients are taken of."""

    def logits(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return next-token logits (batch, time, vocabulary), float32, differentiable, for int64 `tokens` (batch, time).

        `lengths`: int64 (batch,); what stands after a sequence's length is padding and its logits mean nothing.
        """

    def hidden_states(self, tokens: Tensor, lengths: Tensor | None = None) -> Sequence[Tensor]:
        """Return what enters the first layer and what leaves every layer: layers + 1 tensors (batch, time, width)."""

    def routing_weights(self, tokens: Tensor, lengths: Tensor | None = None) -> Sequence[Tensor]:
        """Return each mixture-of-experts layer's softmax routing weights over all experts, (batch, time, experts).

        An empty sequence for a dense model.
        """

    def router_rows(self) -> Sequence[Tensor]:
        """Return each mixture-of-experts layer's router matrix, (experts, width); empty for a dense model."""
