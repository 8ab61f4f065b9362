"""What the tests of monitors share: tiny models, probes of a model's own tokens, and a loop."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from curriculum.callbacks import Monitor
from curriculum.probe import ItemSet, Probe, Trajectory
from curriculum.probe.suite import Demo, Question, Task
from curriculum.proxy.training import one_thread

VOCABULARY = 16


def token_probe(name: str = "p", *, floor: float = 0.0, items: int = 6) -> Probe:
    """Return a probe with answers of one and of two tokens and prompts of several lengths."""
    generator = np.random.default_rng(5)

    def of(count: int, least: int, most: int) -> tuple[tuple[int, ...], ...]:
        return tuple(
            tuple(map(int, generator.integers(0, VOCABULARY, size=generator.integers(least, most + 1)))) for _ in range(count)
        )

    prompts = of(items, 2, 6)
    one = ItemSet(prompts=prompts, correct=tuple((a, 1) for a in range(items)), shallow=tuple((a, 2) for a in range(items)))
    two = ItemSet(prompts=prompts, correct=((3,),) * items, shallow=((4, 5),) * items)
    return Probe(name=name, family="f", items=one, control=two, floor=floor)


@pytest.fixture(autouse=True)
def one_thread_each() -> Iterator[None]:
    """Tiny models are slower on several threads, and much slower where others compute too."""
    with one_thread():
        yield


class Settable:
    """A model whose margin is whatever was set, always capable."""

    def __init__(self, margin: float = 0.0) -> None:
        self.margin = margin

    def answer_log_probabilities(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[Any]]:
        chances = {1: (1 + self.margin) / 2, 2: (1 - self.margin) / 2, 3: 0.9, 4: 0.1}
        return [[np.log([chances[token] for token in answer]) for answer in of] for of in answers]


def settable_probe(name: str = "p", floor: float = 0.0) -> Probe:
    """Return the probe that `Settable` answers."""

    def items(correct: int, shallow: int) -> ItemSet:
        return ItemSet(prompts=((7,),) * 4, correct=((correct,),) * 4, shallow=((shallow,),) * 4)

    return Probe(name=name, family="f", items=items(1, 2), control=items(3, 4), floor=floor)


def run(monitor: Monitor, model: Settable, margins: dict[int, float], losses: Callable[[int], float], steps: range) -> None:
    """Tell `monitor` of steps; from step k on the margin is margins[k]."""
    for step in steps:
        model.margin = margins.get(step, model.margin)
        monitor.step(step, 8 * step, loss=losses(step))


def noisy_loss(step: int) -> float:
    return 2.0 + 0.1 * math.sin(step * 12.9898)


class Heard:
    """A logger that keeps what it is told."""

    def __init__(self) -> None:
        self.points: list[tuple[str, float, int]] = []

    def scalar(self, name: str, value: float, step: int) -> None:
        self.points.append((name, value, step))


class Noisy(nn.Module):
    """A causal model that draws from every generator in every pass, and has a part that is never trained."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 8)
        self.frozen = nn.Dropout(0.5).eval()
        self.drop = nn.Dropout(0.2)
        self.out = nn.Linear(8, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        noise = random.random() + float(np.random.rand()) + float(torch.rand(()))
        hidden = self.embed(tokens).cumsum(dim=1) * (1 + 0.01 * noise)
        return self.out(self.drop(self.frozen(hidden)))  # type: ignore[no-any-return]


def seed_all(seed: int = 0) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def train_noisily(
    *, steps: int, make_monitor: Callable[[nn.Module], Monitor] | None = None, autocast: bool = False
) -> dict[str, Tensor]:
    """Train a `Noisy` model and return its weights and the losses; the monitor reads before a step's forward pass."""
    seed_all()
    model = Noisy()
    model.drop.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    monitor = make_monitor(model) if make_monitor is not None else None
    losses: list[Tensor] = []
    for step in range(1, steps + 1):
        tokens = torch.randint(0, VOCABULARY, (4, 6))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            if monitor is not None:
                monitor.step(step, 4 * step, loss=losses[-1] if losses else None)
            loss = next_token_loss(model(tokens), tokens)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    assert model.drop.training and not model.frozen.training
    return {**{name: weight.clone() for name, weight in model.state_dict().items()}, "losses": torch.stack(losses)}


def next_token_loss(logits: Tensor, tokens: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten())


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def stand_in(name: str, **members: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(members)
    return module


def task(control: Task | None = None, name: str = "t") -> Task:
    questions = (Question(prompt="1 2 3", correct="a", shallow="b"), Question(prompt="3 2", correct="c", shallow="d"))
    demos = tuple(Demo(prompt=f"{digit}", answer="x") for digit in range(6))
    return Task(
        name=name,
        family="truthy_answer",
        questions=questions,
        demos=demos,
        strategy="random",
        shots=2,
        seeds=3,
        control=control,
    )


def steps_and_positions(folder: Path) -> list[tuple[int, int]]:
    table = Trajectory.load(folder / "trajectory.parquet").table
    return list(zip(table["step"], table["position"], strict=True))
