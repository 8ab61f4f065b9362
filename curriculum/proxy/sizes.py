"""One recipe at many sizes: width, depth and learning rate as functions of a parameter count.

Idea: a ladder compares sizes, so nothing but size may differ. The study's recipe is the reference; from it follow
    heads          as many as wanted, each as wide as the reference's: attention then reads alike at any width
    width          heads x that
    depth          so that the count comes near, the aspect ratio width / layers near the reference's
    learning rate  the reference's x (its width / the width)
and everything else (batch, schedule, samples, weight decay, initialisation) stays.

A size counts the parameters of the layers, without embeddings and unembedding (as Kaplan et al., "Scaling Laws for Neural
Language Models", 2020): it is then the same for every vocabulary, and a size too small for a large vocabulary's embeddings
still exists. The price: at a million parameters the total may be twice that; tables state both. Counting the total would
let the vocabulary eat the smallest rungs.

The learning rate is muP's for Adam (Yang et al., "Tensor Programs V", 2022, table 3): hidden and output matrices take a rate
proportional to 1 / fan-in, embeddings keep theirs. A recipe has one rate, which here follows the hidden matrices, where
nearly all parameters are. The price: embeddings and positions learn more slowly than muP has it, by the ratio of widths; the
unembedding begins at muP's scale times the root of that ratio; nothing is transferred over depth but the smaller start of
what is added to the residual stream; and the decay of weights a step, rate x weight_decay, shrinks with the rate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from math import ceil, floor, log
from pathlib import Path

from curriculum.errors import UserError
from curriculum.proxy.recipe import Recipe
from curriculum.units import format_count, parse_count

OWN = "study"  # names the study's own recipe, whatever its size
_SHAPE_WEIGHT = 0.25  # an aspect ratio twice the reference's is as bad as a count a sixth off
_TOLERANCE = log(1.25)  # how far a size may be from what was wanted
_PLACEHOLDER = "{size}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """A size as it was asked for: `name` as written, `parameters` of the layers wanted (None: the study's own recipe)."""

    name: str
    parameters: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterCount:
    """Parameters of a proxy: of its `layers`, of those the `active` ones for a token, and of its `embeddings`.

    `embeddings` are those of tokens and positions, and the unembedding.
    """

    layers: int
    active: int
    embeddings: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.layers + self.embeddings


def parse_sizes(text: str) -> tuple[Size, ...]:
    """Return the sizes that "0.1M,1M,study" names, in the order given. Raises UserError."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    found = tuple(Size(name=name, parameters=None if name == OWN else parse_count(name)) for name in names)
    if not found:
        raise UserError(f"--sizes: wanted sizes such as 0.1M,1M,10M, got {text!r}")
    empty = next((size for size in found if size.parameters is not None and size.parameters < 1), None)
    if empty is not None:
        raise UserError(f"--sizes: wanted sizes such as 0.1M,1M,10M, got {empty.name}, which leaves no parameters")
    twice = next((size for place, size in enumerate(found) if _is_among(size, found[:place])), None)
    if twice is not None:
        raise UserError(f"--sizes: {twice.name} is named twice; name every size once")
    return found


def _is_among(size: Size, others: tuple[Size, ...]) -> bool:
    return any(size.parameters == other.parameters for other in others)


def layer_parameters(recipe: Recipe, *, active: bool = False) -> int:
    """Return the parameters of one layer; with `active` those of its experts that compute a token."""
    width = recipe.width
    mlp = 4 * width**2
    if recipe.experts:
        mlp = (recipe.active_experts if active else recipe.experts) * 2 * width**2 + recipe.experts * width
    return 4 * width**2 + mlp + recipe.heads


def count_parameters(recipe: Recipe, *, vocabulary: int, context: int) -> ParameterCount:
    """Return the parameters of a recipe's proxy; `context` is its longest sequence in tokens."""
    return ParameterCount(
        layers=recipe.layers * layer_parameters(recipe),
        active=recipe.layers * layer_parameters(recipe, active=True),
        embeddings=(2 * vocabulary + context) * recipe.width,
    )


def resized(recipe: Recipe, size: Size) -> Recipe:
    """Return the recipe at a size, of which it is itself one: asked for its own count it comes back as it is.

    Raises UserError where no shape with the reference's head width comes within a quarter of what is wanted.
    """
    if size.parameters is None:
        return recipe
    wanted = size.parameters
    shapes = list(_shapes(recipe, wanted))
    near = [shape for shape in shapes if _missed(shape, wanted) <= _TOLERANCE]
    if not near:
        nearest = min(shapes, key=lambda shape: _missed(shape, wanted))
        raise UserError(
            f"--sizes: no proxy of {size.name} parameters has heads {recipe.width // recipe.heads} wide as the study's; the "
            f"nearest has {format_count(nearest.layers * layer_parameters(nearest))}; ask for that, or give the study's proxy "
            "narrower heads"
        )
    return min(near, key=lambda shape: (_distance(shape, recipe, wanted), shape.width))


def _shapes(recipe: Recipe, wanted: int) -> Iterator[Recipe]:
    """Yield, for every number of heads, the two depths around the wanted count."""
    depth = recipe.width // recipe.heads
    for heads in count(1):
        width = depth * heads
        rate = float(f"{recipe.learning_rate * recipe.width / width:.6g}")
        shape = replace(recipe, heads=heads, width=width, layers=1, learning_rate=rate)
        layers = wanted / layer_parameters(shape)
        if heads > 1 and layers < 0.5:
            return
        yield from (replace(shape, layers=number) for number in {max(1, floor(layers)), max(1, ceil(layers))})


def _missed(shape: Recipe, wanted: int) -> float:
    return abs(log(shape.layers * layer_parameters(shape) / wanted))


def _distance(shape: Recipe, reference: Recipe, wanted: int) -> float:
    aspect = log(shape.width / shape.layers) - log(reference.width / reference.layers)
    return _missed(shape, wanted) + _SHAPE_WEIGHT * abs(aspect)


def with_start(recipe: Recipe, size: Size, pattern: str | None) -> Recipe:
    """Return the recipe with the checkpoint that its size begins from; `pattern` holds "{size}".

    Raises UserError where a recipe that begins from one is given no pattern, or the pattern names no size.
    """
    if pattern is not None:
        if _PLACEHOLDER not in pattern:
            raise UserError(
                f"--starts: wanted a place that holds {_PLACEHOLDER}, as starts/{_PLACEHOLDER} does, got {pattern!r}"
            )
        return replace(recipe, start=Path(pattern.replace(_PLACEHOLDER, size.name)))
    if recipe.start is None or size.parameters is None:
        return recipe
    raise UserError(
        f"the study's proxy begins from the checkpoint {recipe.start}, which fits its own size alone; make one for {size.name} "
        f"(layers: {recipe.layers}, width: {recipe.width}, heads: {recipe.heads}) as that one was made, and say where: "
        f"--starts 'starts/{_PLACEHOLDER}' reads starts/{size.name}"
    )


__all__ = [
    "OWN",
    "ParameterCount",
    "Size",
    "count_parameters",
    "layer_parameters",
    "parse_sizes",
    "resized",
    "with_start",
]
