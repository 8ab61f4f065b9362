"""Stacked proxies: what they compute, how they step, and what is read of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from curriculum.errors import UserError
from curriculum.probe.specification import ProbeSpecification
from curriculum.proxy import training
from curriculum.proxy.feed import Batch
from curriculum.proxy.model import ModelShape, Proxy
from curriculum.proxy.population_model import ProxyStack, asked_columns, stack_losses
from curriculum.proxy.population_readings import Questions, read_members
from curriculum.proxy.population_training import StackOptimizer
from curriculum.proxy.recipe import Recipe

SHAPE = ModelShape(vocabulary=40, layers=2, width=16, heads=2, context=9)
RECIPE = Recipe(layers=2, width=16, heads=2, batch=16, readings=4, schedule="cosine")
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with training.one_thread():
        yield


def models(count: int = 3, **changes: Any) -> list[Proxy]:
    return [Proxy(replace(SHAPE, **changes), torch.Generator().manual_seed(number)) for number in range(count)]


def tokens_of(*size: int, seed: int = 0) -> Tensor:
    return torch.randint(0, SHAPE.vocabulary, size, generator=torch.Generator().manual_seed(seed))


def targets_of(*size: int) -> Tensor:
    """Targets at other positions for every member; the first has a row without any."""
    targets = torch.zeros(size, dtype=torch.bool)
    for member in range(size[0]):
        targets[member, :, 1 + 2 * member :: 4 + member] = True
    targets[0, 0] = False
    return targets


@pytest.mark.parametrize("changes", [{}, {"layers": 1, "heads": 1}, {"induction_initialisation": True, "layers": 3}])
def test_a_stack_computes_what_each_of_its_members_computes(changes: dict[str, Any]) -> None:
    members = models(**changes)
    stack = ProxyStack.of(members, CPU)
    tokens, positions = tokens_of(3, 5, 8), torch.tensor([1, 4, 6])
    for asked in (None, positions):
        logits = stack(tokens, asked)
        alike = stack(tokens[0], asked)
        for index, member in enumerate(members):
            torch.testing.assert_close(logits[index], member(tokens[index], asked), rtol=0, atol=1e-6)
            torch.testing.assert_close(alike[index], member(tokens[0], asked), rtol=0, atol=1e-6)
    assert torch.equal(stack.member(1)(tokens[1]), members[1](tokens[1]))
    with pytest.raises(UserError, match="10 tokens does not fit the context of 9"):
        stack(tokens_of(3, 1, 10))


def test_what_is_no_dense_proxy_of_one_shape_is_not_stacked() -> None:
    with pytest.raises(UserError, match="wanted dense proxies of one shape"):
        ProxyStack.of([*models(1), *models(1, layers=1)], CPU)
    with pytest.raises(UserError, match="wanted dense proxies of one shape"):
        ProxyStack.of(models(2, experts=4), CPU)


@pytest.mark.parametrize("everything", [False, True])
def test_losses_and_gradients_are_those_of_each_member_alone(everything: bool) -> None:
    members = models()
    stack = ProxyStack.of(members, CPU)
    tokens = tokens_of(3, 5, 9)
    targets = torch.ones_like(tokens, dtype=torch.bool) if everything else targets_of(3, 5, 9)
    losses = stack_losses(stack, tokens, targets, asked_columns(targets))
    losses.sum().backward()
    for index, member in enumerate(members):
        loss = training.next_token_loss(member, Batch(tokens=tokens[index], targets=targets[index]))
        loss.backward()
        torch.testing.assert_close(losses[index], loss, rtol=0, atol=1e-6)
        for name, weight in member.named_parameters():
            gradient = stack.weights[name].grad
            assert gradient is not None and weight.grad is not None and weight.grad.abs().max() > 0
            assert (gradient[index] - weight.grad).abs().max() < 1e-5 * weight.grad.abs().max()


def test_steps_are_those_of_each_member_alone_with_its_own_rate_schedule_and_decay() -> None:
    members = models()
    recipes = [
        replace(RECIPE, learning_rate=1e-3),
        replace(RECIPE, learning_rate=1e-2, schedule="wsd"),
        replace(RECIPE, learning_rate=1e-2, schedule="wsd", weight_decay=0.5),
    ]
    stack = ProxyStack.of(members, CPU)
    optimizer = StackOptimizer(stack, recipes)
    alone = [
        torch.optim.AdamW(member.parameters(), weight_decay=recipe.weight_decay)
        for member, recipe in zip(members, recipes, strict=True)
    ]
    targets = targets_of(3, 5, 9)
    for step in range(6):
        tokens = tokens_of(3, 5, 9, seed=step)
        stack_losses(stack, tokens, targets, asked_columns(targets)).sum().backward()
        optimizer.step(step, 6)
        for index, (member, adamw, recipe) in enumerate(zip(members, alone, recipes, strict=True)):
            adamw.param_groups[0]["lr"] = recipe.rate(step, 6)
            adamw.zero_grad()
            training.next_token_loss(member, Batch(tokens=tokens[index], targets=targets[index])).backward()
            adamw.step()
    for index, member in enumerate(members):
        for name, weight in member.named_parameters():
            torch.testing.assert_close(stack.weights[name].detach()[index], weight.detach(), rtol=0, atol=2e-5)
    first = Proxy(SHAPE, torch.Generator().manual_seed(0)).unembedding.weight
    assert (members[0].unembedding.weight - first).abs().max() > 1e-3  # there was something to compare


def test_members_of_one_rate_are_one_parameter_group() -> None:
    recipes = [replace(RECIPE, learning_rate=rate) for rate in (1e-3, 1e-3, 4e-3)]
    optimizer = StackOptimizer(ProxyStack.of(models(), CPU), recipes)
    assert [(start, stop) for start, stop, _ in optimizer.spans] == [(0, 2), (2, 3)]


def test_a_member_without_probabilities_fails_alone() -> None:
    members = models(vocabulary=200, context=24)
    probe = ProbeSpecification(name="p", family="p", floor=0.0, items=8, builtin="testbed:succession")
    questions = Questions(probes=[probe.draw(0, seed=1)], suites=[], heldout={})
    whole = read_members(ProxyStack.of(members, CPU), questions, [0, 1, 2], position=16, step=1, due=False)
    with torch.no_grad():
        members[1].unembedding.weight.fill_(torch.nan)
    read = read_members(ProxyStack.of(members, CPU), questions, [0, 1, 2], position=16, step=1, due=False)
    assert "the model gave no probability" in str(read[1])
    assert read[0] == whole[0] and read[2] == whole[2] != whole[1]
