"""Many proxies trained in one loop: one forward and backward pass and one optimizer step for all.

Idea: what is minimised is the sum of the members' mean losses. A member's weights stand in its own term alone, so each gets
the gradient it would get by itself, and AdamW, which works number by number, makes the same step of it. Members of one
learning rate, schedule and weight decay lie side by side and are one parameter group. A member whose loss is not finite
spoils its own weights only: it goes on being computed, which costs nothing more, and is no longer read. The price: all
members advance in step, so the run that was asked for first ends with the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import torch
from torch import Tensor

from curriculum.errors import UserError
from curriculum.mix import Mix
from curriculum.probe import Probe
from curriculum.probe.bits_per_byte import Continuations, check_continuations
from curriculum.proxy.feed import Batch, batches, heldout_batches, vocabulary_of
from curriculum.proxy.population_checkpoint import load_population, save_population
from curriculum.proxy.population_model import ProxyStack, asked_columns, stack_losses
from curriculum.proxy.population_readings import Questions, read_members
from curriculum.proxy.precision import products_in
from curriculum.proxy.recipe import Recipe
from curriculum.proxy.start import check_start
from curriculum.proxy.training import Progress, context_of, diverged, first_model, losses_due, one_thread
from curriculum.streaming import StreamingDataset

_CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Computing:
    """Where and how a population is computed.

    `device` is torch's name of it. `compiler` names a backend of `torch.compile`, such as "inductor": it takes a minute, and
    then starts fewer operations. Only the plain settings on a CPU give the single run's numbers up to rounding.
    """

    device: str = "cpu"
    compiler: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One run of a population. `name` tells it from others, for checkpoints."""

    name: str
    mix: Mix
    recipe: Recipe
    seed: int


def train_together(
    members: Sequence[Member],
    *,
    samples: int,
    probes: Sequence[Probe],
    suites: Sequence[Continuations],
    checkpoint: Path,
    computing: Computing,
    observe: Callable[[int], None] = lambda _: None,
) -> list[Progress | str]:
    """Train all members and return what was measured of each, or why it failed. `observe` is told of every reading's position.

    All have one dense shape, batch, cadence of readings, and set of streams. Leaves a rolling checkpoint at `checkpoint`, at
    most every minute, and goes on from one that holds the same members. Raises UserError, DataError.
    """
    order = sorted(range(len(members)), key=lambda index: _rates(members[index].recipe))
    every = samples // members[0].recipe.readings
    with one_thread(), ExitStack() as opened:
        batch = members[0].recipe.batch
        datasets = [
            opened.enter_context(closing(StreamingDataset(mix=members[index].mix, batch_size=batch))) for index in order
        ]
        loop = _Loop([members[index] for index in order], datasets, samples, probes, suites, computing)
        loop.restore(checkpoint)
        written = monotonic()
        for position in range(loop.position, samples, every):
            loop.stretch(datasets, position, position + every)
            observe(loop.position)
            if len(loop.failures) == len(members):
                break
            if monotonic() - written > _CHECKPOINT_SECONDS and loop.position < samples:
                loop.save(checkpoint)
                written = monotonic()
    found = dict(zip(order, loop.outcomes(), strict=True))
    return [found[index] for index in range(len(members))]


def _rates(recipe: Recipe) -> tuple[float, str, float]:
    """Members for which this is equal are one parameter group."""
    return recipe.learning_rate, recipe.schedule, recipe.weight_decay


class StackOptimizer:
    """AdamW on stacked weights; members of equal `_rates` must stand side by side."""

    def __init__(self, stack: ProxyStack, recipes: Sequence[Recipe]) -> None:
        self.stack, self.spans = stack, _spans(recipes)
        groups = [
            {
                "params": [weight.detach()[start:stop].requires_grad_() for weight in stack.weights.values()],
                "weight_decay": recipe.weight_decay,
            }
            for start, stop, recipe in self.spans
        ]
        self.adamw = torch.optim.AdamW(groups, fused=True)

    def step(self, step: int, steps: int) -> None:
        """Move every member by its gradients, which are then dropped."""
        for (start, stop, recipe), group in zip(self.spans, self.adamw.param_groups, strict=True):
            group["lr"] = recipe.rate(step, steps)
            for weight, part in zip(self.stack.weights.values(), group["params"], strict=True):
                assert weight.grad is not None
                part.grad = weight.grad[start:stop]
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        for weight in self.stack.weights.values():
            weight.grad = None


def _spans(recipes: Sequence[Recipe]) -> list[tuple[int, int, Recipe]]:
    """Return (start, stop, one of them) for every stretch of recipes with equal rates."""
    starts = [index for index in range(len(recipes)) if not index or _rates(recipes[index]) != _rates(recipes[index - 1])]
    return [(start, stop, recipes[start]) for start, stop in zip(starts, [*starts[1:], len(recipes)], strict=True)]


class _Loop:
    """Models, optimizer and position of a population; members in the order of their rates."""

    def __init__(
        self,
        members: Sequence[Member],
        datasets: Sequence[StreamingDataset],
        samples: int,
        probes: Sequence[Probe],
        suites: Sequence[Continuations],
        computing: Computing,
    ) -> None:
        self.members, self.recipe, self.computing = members, members[0].recipe, computing
        self.steps = self.recipe.steps(samples)
        vocabulary, context = _one_reading(members, datasets)
        for suite in suites:
            check_continuations(suite, vocabulary=vocabulary, context=context)
        self.questions = Questions(probes=probes, suites=suites, heldout=heldout_batches(members[0].mix))
        self.device = torch.device(computing.device)
        for member in members:
            check_start(member.recipe.start, member.mix, context=context)
        models = [first_model(each.recipe, seed=each.seed, vocabulary=vocabulary, context=context) for each in members]
        self.stack = ProxyStack.of(models, self.device)
        self.optimizer = StackOptimizer(self.stack, [each.recipe for each in members])
        self.losses = stack_losses if computing.compiler is None else torch.compile(stack_losses, backend=computing.compiler)
        self.position = 0
        self.progress = [Progress() for _ in members]
        self.failures: dict[int, str] = {}
        self.bad_position = torch.full((len(members),), -1, device=self.device)
        self.bad_loss = torch.zeros(len(members), device=self.device)

    def stretch(self, datasets: Sequence[StreamingDataset], start: int, stop: int) -> None:
        """Train over positions [start, stop), then read the members that have not failed."""
        feeds = [batches(dataset, self.recipe.batch, start=start, stop=stop) for dataset in datasets]
        for parts in zip(*feeds, strict=True):
            self._step(parts)
        self._note_diverged()
        live = [member for member in range(len(self.members)) if member not in self.failures]
        step, due = self.position // self.recipe.batch, losses_due(self.position, self.recipe, self.steps)
        found = read_members(self.stack, self.questions, live, position=self.position, step=step, due=due)
        for member, read in found.items():
            if isinstance(read, str):
                self.failures[member] = read
            else:
                self.progress[member] = _joined(self.progress[member], read)

    def _step(self, parts: Sequence[Batch]) -> None:
        tokens, targets = torch.stack([part.tokens for part in parts]), torch.stack([part.targets for part in parts])
        columns = asked_columns(targets)
        with products_in(self.recipe.precision, self.device):
            losses = self.losses(self.stack, self._moved(tokens), self._moved(targets), self._moved(columns))
        fresh = ~torch.isfinite(losses.detach()) & (self.bad_position < 0)  # looked at after the stretch: no waiting for a GPU
        self.bad_position = torch.where(fresh, self.position, self.bad_position)
        self.bad_loss = torch.where(fresh, losses.detach().float(), self.bad_loss)
        losses.sum().backward()
        self.optimizer.step(self.position // self.recipe.batch, self.steps)
        self.position += self.recipe.batch

    def _moved(self, numbers: Tensor) -> Tensor:
        return numbers.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else numbers

    def _note_diverged(self) -> None:
        for member, (position, loss) in enumerate(zip(self.bad_position.tolist(), self.bad_loss.tolist(), strict=True)):
            if position >= 0:
                self.failures.setdefault(member, diverged(loss, position, self.members[member].recipe))

    def outcomes(self) -> list[Progress | str]:
        """Return each member's progress, or its failure."""
        return [self.failures.get(member, progress) for member, progress in enumerate(self.progress)]

    def save(self, folder: Path) -> None:
        """Write a checkpoint in place of the last."""
        names = [member.name for member in self.members]
        save_population(
            folder, self.stack, self.optimizer.adamw, names, self.progress, failures=self.failures, position=self.position
        )

    def restore(self, folder: Path) -> None:
        """Go on from the checkpoint, if it is there and holds these members."""
        found = load_population(folder, self.stack, self.optimizer.adamw, [member.name for member in self.members])
        if found is not None:
            self.position, self.progress, self.failures = found


def _one_reading(members: Iterable[Member], datasets: Iterable[StreamingDataset]) -> tuple[int, int]:
    """Return the vocabulary and the context of all members. Raises UserError when they differ."""
    found = {
        (vocabulary_of(member.mix), context_of(member.recipe, dataset))
        for member, dataset in zip(members, datasets, strict=True)
    }
    if len(found) > 1:
        raise UserError(
            f"population: wanted streams of one vocabulary and sample length, got {sorted(found)} (vocabulary, tokens); "
            "train these runs one by one"
        )
    return found.pop()


def _joined(before: Progress, now: Progress) -> Progress:
    return Progress(readings=before.readings + now.readings, losses=before.losses + now.losses, bits=before.bits + now.bits)
