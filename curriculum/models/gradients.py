"""Per-example gradients of every layer, as Gram matrices.

Idea: the gradient of an example's answer loss has as many numbers as the network has weights, its products with the
other examples' gradients only as many as there are examples. So gradients are made a block of examples at a time, only
their products are kept, and `memory` bounds what is alive at once. When not all examples fit, blocks are made again for
every pair: exact, at a cost that grows with the square of the number of blocks. For large networks `projection` instead
folds each gradient, as soon as it is made, into a few thousand numbers whose products are right on average (a count
sketch, Charikar et al., 2002, with one shift a row of weights in place of one bucket a weight: nothing need be stored).

Gradients of many examples are made at once by `torch.func.vmap(grad)` where that works and gives what autograd gives,
which is tried on the first examples; else one by one. Routed experts, for one, cannot be vectorised. The price of that
trial is two examples' time.

A caution: a gradient of the correct answer's loss is as long as that answer is improbable, and a margin is made of the
same probability. What gradients say of a margin must be held against the answers' loss itself, not against nothing.

Alternatives: products from each linear layer's inputs and output gradients (no gradient is ever made, but only `Linear`
modules are seen, and not the proxy's own key smearing or a library's fused weights); one float a weight in a file.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from curriculum.errors import RunError, UserError
from curriculum.models.evaluating import evaluating
from curriculum.models.network import NetworkModel
from curriculum.probe.items import ItemSet
from curriculum.probe.model import Numbers
from curriculum.units import keyed_seed

OUTSIDE = "outside the layers"
_AT_ONCE = 32  # examples vectorised together: more is no faster on one core
_AT_ONCE_BYTES = 2**26  # of their gradients: a network of more than that by two examples keeps a processor busy alone
_AGREEMENT = 1e-3  # relative distance of vectorised gradients from autograd's; bfloat16 differs by more, and goes one by one
_COLUMNS = 2**14  # of two blocks, multiplied in float64 at a time
_Tensors = dict[str, Tensor]
_Groups = Mapping[str, Mapping[str, nn.Parameter]]


def layers_of(module: nn.Module) -> tuple[str, nn.ModuleList]:
    """Return the name and list of the network's layers: its longest `ModuleList` that lies in no other.

    Lists inside a layer (its experts, say) may be longer. Raises UserError for a network without such a list.
    """
    lists = {name: part for name, part in module.named_modules() if isinstance(part, nn.ModuleList)}
    outermost = {name: part for name, part in lists.items() if not any(_is_inside(name, other) for other in lists)}
    if not outermost:
        raise UserError(f"{type(module).__name__} has no ModuleList, so its layers cannot be told; wanted one that holds them")
    return max(outermost.items(), key=lambda entry: len(entry[1]))


def _is_inside(name: str, other: str) -> bool:
    return name != other and (other == "" or name.startswith(f"{other}."))


def parameter_groups(module: nn.Module, *, outside: bool = True) -> dict[str, dict[str, nn.Parameter]]:
    """Return the network's parameters by layer, {"layer 0": {name: parameter}, ...}.

    "outside the layers" holds the rest: embeddings, final normalisation, unembedding. A parameter that several places
    share counts where it stands first; a layer without one of its own is left out.
    """
    path, layers = layers_of(module)
    groups: dict[str, dict[str, nn.Parameter]] = {f"layer {number}": {} for number in range(len(layers))}
    prefix = f"{path}." if path else ""
    rest = {}
    for name, parameter in module.named_parameters():
        if name.startswith(prefix):
            groups[f"layer {name.removeprefix(prefix).split('.')[0]}"][name] = parameter
        else:
            rest[name] = parameter
    found = {**groups, OUTSIDE: rest} if outside else groups
    return {name: group for name, group in found.items() if group}


def gradient_grams(
    model: NetworkModel,
    items: ItemSet,
    *,
    outside: bool = False,
    projection: int | None = None,
    memory: int = 2**30,
    vectorise: bool = True,
) -> dict[str, Numbers]:
    """Return the Gram matrix of the items' gradients, (items, items), float64, for every layer.

    A gradient is that of the mean cross-entropy, in nats, of the correct answer's tokens given the prompt, with the
    network in evaluation mode. `outside` adds the group "outside the layers". The whole network's matrix is the groups'
    sum. `memory`: bytes that gradients may take at once (at least two examples' are kept); it does not change the result.
    `projection`: numbers kept of each layer's gradient instead of all; products then have a standard error of at most 2,
    usually 1, / sqrt(projection) of the product of lengths. Ranks near `projection` cannot be told apart: take many times
    the number of items. `vectorise` False makes gradients one by one.
    Raises UserError for an item that does not fit the model's context, RunError for a gradient that is no number.
    """
    examples = [
        _Example(tokens=prompt + answer, answer=len(answer))
        for prompt, answer in zip(items.prompts, items.correct, strict=True)
    ]
    for index, example in enumerate(examples):
        if len(example.tokens) > model.context:
            raise UserError(
                f"probe item {index}: {len(example.tokens)} tokens do not fit the model's context of {model.context}"
            )
    groups = parameter_groups(model.module, outside=outside)
    with _ready(model.module, groups):
        maker = _Maker(model, examples, groups, projection, memory, vectorise=vectorise)
        return _products(maker, len(examples))


def summed(grams: Mapping[str, Numbers]) -> Numbers:
    """Return the Gram matrix of all groups' gradients together."""
    whole: Numbers = np.sum(list(grams.values()), axis=0)
    return whole


@dataclass(frozen=True, kw_only=True, slots=True)
class _Example:
    """Prompt and answer; the last `answer` tokens are the answer."""

    tokens: tuple[int, ...]
    answer: int


@contextmanager
def _ready(module: nn.Module, groups: _Groups) -> Iterator[None]:
    """Put the network into evaluation mode with gradients for the groups' parameters, and back."""
    frozen = [weight for group in groups.values() for weight in group.values() if not weight.requires_grad]
    for weight in frozen:
        weight.requires_grad_(True)
    try:
        with evaluating(module):
            yield
    finally:
        for weight in frozen:
            weight.requires_grad_(False)


def _products(maker: _Maker, examples: int) -> dict[str, Numbers]:
    """Multiply every block of examples with itself and with those after it."""
    grams = {name: np.zeros((examples, examples)) for name in maker.sizes}
    edges = [*range(0, examples, maker.block), examples]
    blocks = [range(start, stop) for start, stop in pairwise(edges)]
    for number, first in enumerate(blocks):
        rows = maker.rows(first)
        for second in blocks[number:]:
            others = rows if second is first else maker.rows(second)
            for name, gram in grams.items():
                product = _product(rows[name], others[name])
                gram[first.start : first.stop, second.start : second.stop] = product
                gram[second.start : second.stop, first.start : first.stop] = product.T
    return grams


def _product(rows: Tensor, others: Tensor) -> Numbers:
    """Return rows x others^T in float64, without a float64 copy of either."""
    product = torch.zeros(len(rows), len(others), dtype=torch.float64, device=rows.device)
    for left, right in zip(rows.split(_COLUMNS, dim=1), others.split(_COLUMNS, dim=1), strict=True):
        wide = left.double()
        product += wide @ (wide if others is rows else right.double()).T
    numbers: Numbers = product.cpu().numpy()
    return numbers


class _AnswerLoss(nn.Module):
    """Mean cross-entropy of the last `answer` tokens of one sequence (time,); holds the network as `network`."""

    def __init__(self, model: NetworkModel) -> None:
        super().__init__()
        self.network = model.module
        self._logits = model.logits

    def forward(self, tokens: Tensor, answer: int) -> Tensor:
        logits = self._logits(tokens[None, :-1])[0, -answer:]
        return functional.cross_entropy(logits.float(), tokens[-answer:])


class _Maker:
    """Makes the examples' gradients, a block of rows at a time."""

    def __init__(
        self,
        model: NetworkModel,
        examples: Sequence[_Example],
        groups: _Groups,
        projection: int | None,
        memory: int,
        *,
        vectorise: bool,
    ) -> None:
        self._examples, self._projection = examples, projection
        self._loss = _AnswerLoss(model)
        self._groups = groups
        self._parameters = {name: weight for group in groups.values() for name, weight in group.items()}
        self._device = next(iter(self._parameters.values())).device
        full = {name: sum(weight.numel() for weight in group.values()) for name, group in groups.items()}
        self.sizes = {name: min(size, projection or size) for name, size in full.items()}
        third = memory // (3 * 4)  # two blocks of rows, and the gradients being made
        self.block = max(1, third // sum(self.sizes.values()))
        self._at_once = min(_AT_ONCE, max(1, min(third, _AT_ONCE_BYTES // 4) // sum(full.values())))
        self._vectorised = vectorise and self._at_once > 1 and self._can_be_vectorised()

    def rows(self, indices: range) -> _Tensors:
        """Return the gradients of these examples, (examples, size) float32, for every group."""
        made = {name: torch.empty(len(indices), size, device=self._device) for name, size in self.sizes.items()}
        for chosen in self._together(indices):
            gradients = self._gradients(chosen)
            places = [index - indices.start for index in chosen]
            for name, group in self._groups.items():
                made[name][places] = self._row(name, [gradients[weight] for weight in group])
        for name, rows in made.items():
            finite = torch.isfinite(rows).all(dim=1)
            if not bool(finite.all()):
                item = indices[int((~finite).nonzero()[0])]
                raise RunError(f"{name}: the gradient of probe item {item} is not finite; is the model trained and whole?")
        return made

    def _together(self, indices: range) -> Iterator[list[int]]:
        """Yield the examples by shape, a few at a time; one by one when nothing is vectorised."""
        at_once = self._at_once if self._vectorised else 1
        for alike in self._by_shape(indices):
            yield from (alike[first : first + at_once] for first in range(0, len(alike), at_once))

    def _by_shape(self, indices: range) -> list[list[int]]:
        alike: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index in indices:
            example = self._examples[index]
            alike[len(example.tokens), example.answer].append(index)
        return list(alike.values())

    def _row(self, group: str, parts: Sequence[Tensor]) -> Tensor:
        """Return a group's gradients (examples, size) from those of its parameters, (examples, ...) each."""
        whole = torch.cat([part.flatten(1).float() for part in parts], dim=1)
        size = self.sizes[group]
        return whole if whole.shape[1] == size else folded(whole, size, group)

    def _can_be_vectorised(self) -> bool:
        """Try it on two examples of one shape; without such a pair it would gain nothing."""
        pair = next((alike[:2] for alike in self._by_shape(range(len(self._examples))) if len(alike) > 1), None)
        if pair is None:
            return False
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # operators that are vectorised slowly, even if they then refuse
                found = self._gradients_at_once(pair)
        except Exception:  # each operator refuses in its own way; a true fault shows again in the gradients one by one
            return False
        wanted = self._gradients_of_one(pair[1])
        distance = sum(float((found[name][1:] - wanted[name]).float().square().sum()) for name in wanted)
        length = sum(float(gradient.float().square().sum()) for gradient in wanted.values())
        return distance <= _AGREEMENT**2 * length

    def _gradients(self, chosen: list[int]) -> _Tensors:
        return self._gradients_at_once(chosen) if self._vectorised else self._gradients_of_one(chosen[0])

    def _gradients_at_once(self, chosen: list[int]) -> _Tensors:
        """Return the gradient of every parameter, (chosen, ...), of examples of one shape."""
        answer = self._examples[chosen[0]].answer

        def loss(weights: dict[str, Tensor], tokens: Tensor) -> Tensor:
            named = {f"network.{name}": weight for name, weight in weights.items()}
            return cast(Tensor, functional_call(self._loss, named, (tokens, answer)))

        weights = {name: weight.detach() for name, weight in self._parameters.items()}
        tokens = torch.tensor([self._examples[index].tokens for index in chosen], device=self._device)
        # the fused attention kernels would be called example by example; `grad` works inside no_grad, and leaves no graph
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            return cast(_Tensors, vmap(grad(loss), in_dims=(None, 0))(weights, tokens))

    def _gradients_of_one(self, index: int) -> _Tensors:
        """Return the gradient of every parameter, (1, ...), of one example; zeros where the loss does not depend on it."""
        example = self._examples[index]
        with torch.enable_grad():
            loss = self._loss(torch.tensor(example.tokens, device=self._device), example.answer)
        found = torch.autograd.grad(loss, list(self._parameters.values()), allow_unused=True, materialize_grads=True)
        return {name: gradient[None] for name, gradient in zip(self._parameters, found, strict=True)}


def folded(rows: Tensor, size: int, key: str) -> Tensor:
    """Return `rows` (examples, numbers) folded into (examples, size), their products kept on average.

    The numbers are laid out in lines of `size`; every line is shifted around by a distance of its own, every line and
    every column gets a sign, and the lines are added up. Shifts and signs are drawn from `key`. The square error of
    <x, y> is on average at most 4 |x|^2 |y|^2 / size.
    """
    generator = torch.Generator().manual_seed(keyed_seed("fold", key))
    signs = (torch.randint(0, 2, (size,), generator=generator) * 2 - 1).to(rows)
    lines = rows.split(size, dim=1)
    shifts = torch.randint(0, size, (len(lines),), generator=generator).tolist()
    directions = (torch.randint(0, 2, (len(lines),), generator=generator) * 2 - 1).tolist()
    total = rows.new_zeros(len(rows), size)
    for line, shift, direction in zip(lines, shifts, directions, strict=True):
        signed = line * signs[: line.shape[1]]
        kept = min(signed.shape[1], size - shift)
        total[:, shift : shift + kept].add_(signed[:, :kept], alpha=direction)
        total[:, : signed.shape[1] - kept].add_(signed[:, kept:], alpha=direction)
    return total
