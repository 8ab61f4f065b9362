"""Per-example activations of every layer, as Gram matrices.

Idea: one forward pass a batch of items; of every layer one vector an item is kept, at the last position of the prompt
(where the answer is decided) or the mean over the item's tokens. Items of equal length go together, so that no padding
is needed and nothing rests on how a model treats it. Alternatives: hooks on submodules (other names in every library).
The price: items of many lengths make small batches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from curriculum.errors import RunError, UserError
from curriculum.models.evaluating import evaluating
from curriculum.models.network import NetworkModel
from curriculum.probe.items import ItemSet
from curriculum.probe.model import Numbers

Place = Literal["last", "mean"]
BEFORE_LAYERS = "before the layers"


def activation_grams(model: NetworkModel, items: ItemSet, *, place: Place = "last", batch: int = 64) -> dict[str, Numbers]:
    """Return the Gram matrix A A^T of the items' activations, (items, items), float64, for every hidden state.

    Keys: "before the layers" (the embeddings), "layer 0" and so on (what leaves the layer). `place` "last": the
    activation at the prompt's last token. "mean": the mean over the tokens of prompt and correct answer. `batch`: items
    that pass through the network together. Not centred: the mean activation is part of the spectrum.
    Raises UserError for an item that does not fit the model's context, RunError for an activation that is no number.
    """
    rows: list[Tensor] = []
    with evaluating(model.module), torch.no_grad():
        for same_length in _by_length(model, items, place).values():
            for first in range(0, len(same_length), batch):
                chosen = same_length[first : first + batch]
                rows = _filled(rows, _activations(model, items, chosen, place), chosen, len(items))
    names = [BEFORE_LAYERS, *(f"layer {number}" for number in range(len(rows) - 1))]
    return {name: _gram(name, row) for name, row in zip(names, rows, strict=True)}


def _by_length(model: NetworkModel, items: ItemSet, place: Place) -> Mapping[int, list[int]]:
    lengths: dict[int, list[int]] = defaultdict(list)
    for index in range(len(items)):
        length = len(_tokens(items, index, place))
        if length > model.context:
            raise UserError(f"probe item {index}: {length} tokens do not fit the model's context of {model.context}")
        lengths[length].append(index)
    return lengths


def _tokens(items: ItemSet, index: int, place: Place) -> tuple[int, ...]:
    return items.prompts[index] if place == "last" else items.prompts[index] + items.correct[index]


def _activations(model: NetworkModel, items: ItemSet, chosen: Sequence[int], place: Place) -> list[Tensor]:
    """Return one (chosen, width) tensor for every hidden state."""
    device = next(model.module.parameters()).device
    tokens = torch.tensor([_tokens(items, index, place) for index in chosen], device=device)
    states = model.hidden_states(tokens)
    return [(state[:, -1] if place == "last" else state.double().mean(dim=1)).double().cpu() for state in states]


def _filled(rows: list[Tensor], found: list[Tensor], chosen: Sequence[int], items: int) -> list[Tensor]:
    rows = rows or [torch.empty(items, state.shape[1], dtype=torch.float64) for state in found]
    for row, state in zip(rows, found, strict=True):
        row[list(chosen)] = state
    return rows


def _gram(name: str, rows: Tensor) -> Numbers:
    finite = torch.isfinite(rows).all(dim=1)
    if not bool(finite.all()):
        raise RunError(f"{name}: the activation of probe item {int((~finite).nonzero()[0])} is not finite")
    gram: Numbers = (rows @ rows.T).numpy()
    return gram
