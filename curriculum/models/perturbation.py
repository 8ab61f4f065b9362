"""Does one optimizer step change a reading? A control for hops: their null hypothesis is that any step would do it.

Idea: a mode is a property of the data of a window, so a single step must leave the margin where it is (published: within
about .002 at learning rates up to 1e-2), while a hop changes it by one. A step is plain gradient descent with the
gradient clipped to length 1, as in most pre-training: at rate r the weights move by at most r. Alternatives: AdamW's step from
rest, offered as `optimizer="adamw"`: it moves every weight by nearly r whatever its gradient, the network as a whole by
r sqrt(weights); at 1e-2 that breaks a network (a testbed proxy's margin of .96 fell by .82, after plain descent it moved by
.01), so that the published bound cannot be meant for it. With the optimizer's true moments the answer would lie between,
but checkpoints for evaluation seldom carry them. The price: a short step is a mild test.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor, nn

from curriculum.errors import RunError, UserError
from curriculum.models.fine_tuning import check_examples, leave_gradients, trainable
from curriculum.models.network import NetworkModel
from curriculum.probe.fine_tuning import Example

Model = TypeVar("Model", bound=NetworkModel)
Optimizer = Literal["sgd", "adamw"]
LEARNING_RATES = (1e-5, 1e-4, 1e-3, 1e-2)
_CLIP = 1.0
_EPSILON = 1e-8  # AdamW's, under which a gradient counts as none


def one_step_changes(
    model: Model,
    examples: Sequence[Example],
    reading: Callable[[Model], float],
    *,
    learning_rates: Sequence[float] = LEARNING_RATES,
    optimizer: Optimizer = "sgd",
) -> list[float]:
    """Return by how much `reading` changes after one step on all `examples`, for every learning rate.

    Each step starts from the given weights. `model` itself is not changed: `reading` is asked of a copy, in float32 before and
    after. Raises UserError for a rate not above 0 or an example that does not fit the context, RunError where loss,
    gradient or reading is no number.
    """
    if optimizer not in get_args(Optimizer):
        raise UserError(f"wanted an optimizer of {', '.join(get_args(Optimizer))}, got {optimizer!r}")
    if not examples or not learning_rates or not all(0 < rate < math.inf for rate in learning_rates):
        raise UserError(
            f"one step: wanted examples, and learning rates above 0, got {len(examples)} and {list(learning_rates)}"
        )
    check_examples(examples, "example", model.context)
    moved = copy.deepcopy(model)
    with trainable(moved.module) as parameters:
        leave_gradients(moved, examples)
        directions = _directions(parameters, optimizer)
        start = _finite(reading(moved))
        at_rest = [parameter.detach().clone() for parameter in parameters]
        return [_after(moved, parameters, at_rest, directions, rate, reading) - start for rate in learning_rates]


def _directions(parameters: Sequence[nn.Parameter], optimizer: Optimizer) -> list[Tensor]:
    """Return what a step of rate 1 takes away from every parameter."""
    if optimizer == "sgd":
        nn.utils.clip_grad_norm_(parameters, _CLIP)
    gradients = [torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in parameters]
    if optimizer == "sgd":
        return [gradient.clone() for gradient in gradients]
    return [gradient / (gradient.abs() + _EPSILON) for gradient in gradients]


@torch.no_grad()
def _after(
    model: Model,
    parameters: Sequence[nn.Parameter],
    at_rest: Sequence[Tensor],
    directions: Sequence[Tensor],
    rate: float,
    reading: Callable[[Model], float],
) -> float:
    for parameter, start, direction in zip(parameters, at_rest, directions, strict=True):
        parameter.copy_(start - rate * direction)
    return _finite(reading(model))


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise RunError(f"the reading is {value}, no number; is the model trained, and whole?")
    return value
