"""What pathways need of a mixture-of-experts model: each sample's routing, averaged over its tokens, and its loss.

Idea: samples pass through the network once, padded to the longest of their batch; the average leaves the padding out. Any
`NetworkModel` will do. Alternatives: the average inside the network by hooks (saves memory that small routing tables
do not need). The price: routing and losses are two passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from curriculum.errors import UserError
from curriculum.models.network import NetworkModel
from curriculum.probe.model import Numbers

_Samples = Sequence[Sequence[int]]


@torch.no_grad()
def average_routing(model: NetworkModel, samples: _Samples, *, batch: int = 64) -> list[Numbers]:
    """Return every sample's routing weights averaged over its tokens: a list of (samples, experts), one a layer.

    `samples`: token ids. This is what `probe.pathways` reads. Raises UserError for a dense model, for no or empty samples
    and for one that exceeds the model's context.
    """
    parts: list[list[Numbers]] = []
    for tokens, lengths in _padded(model, samples, batch):
        layers = model.routing_weights(tokens, lengths)
        if not layers:
            raise UserError("pathways need a mixture-of-experts model; this one is dense (a proxy becomes one by experts: 8)")
        parts.append([_token_mean(layer, lengths) for layer in layers])
    return [np.concatenate(layer) for layer in zip(*parts, strict=True)]


def _token_mean(weights: Tensor, lengths: Tensor) -> Numbers:
    real = torch.arange(weights.shape[1], device=weights.device) < lengths[:, None]
    total = weights.double().masked_fill(~real[:, :, None], 0).sum(dim=1)
    found: Numbers = (total / lengths[:, None]).cpu().numpy()
    return found


def router_matrices(model: NetworkModel) -> list[Numbers]:
    """Return each layer's router matrix, (experts, width), float64."""
    return [rows.detach().double().cpu().numpy() for rows in model.router_rows()]


@torch.no_grad()
def sample_losses(
    model: NetworkModel, samples: _Samples, targets: Sequence[Sequence[bool]] | None = None, *, batch: int = 64
) -> Numbers:
    """Return every sample's mean next-token cross-entropy in nats, (samples,).

    One row of what `probe.pathways.memorised_at` is told. `targets` says which tokens count: by default all but the first,
    which nothing precedes. Raises UserError as `average_routing` does, and for a sample without a target.
    """
    counted = [[True] * len(sample) for sample in samples] if targets is None else targets
    marks = _padded(model, [[int(mark) for mark in row] for row in counted], batch)
    found = []
    for (tokens, lengths), (marked, marked_lengths) in zip(_padded(model, samples, batch), marks, strict=True):
        if not torch.equal(lengths, marked_lengths):
            raise UserError("wanted as many targets as tokens in every sample")
        wanted = marked[:, 1:].bool()
        if not bool(wanted.any(dim=1).all()):
            raise UserError("a sample has no target token after its first, so it has no loss")
        logits = model.logits(tokens, lengths)[:, :-1]
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
        found.append((losses.masked_fill(~wanted, 0).sum(dim=1) / wanted.sum(dim=1)).cpu().numpy())
    return np.concatenate(found)


def _padded(model: NetworkModel, rows: _Samples, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield tokens (batch, longest), zeros behind each sample's end, and lengths (batch,), on the model's device."""
    lengths = [len(row) for row in rows]
    if not lengths or min(lengths) == 0:
        raise UserError("wanted at least one sample, and none without tokens")
    if max(lengths) > model.context:
        longest = max(lengths)
        raise UserError(
            f"sample {lengths.index(longest)}: {longest} tokens do not fit the model's context of {model.context}; cut it"
        )
    device = next(model.module.parameters()).device
    for first in range(0, len(rows), batch):
        part = lengths[first : first + batch]
        tokens = torch.zeros(len(part), max(part), dtype=torch.int64)
        for row, place in zip(rows[first : first + batch], tokens, strict=True):
            place[: len(row)] = torch.as_tensor(row)
        yield tokens.to(device), torch.tensor(part, device=device)
