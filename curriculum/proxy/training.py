"""The training loop: batches in, readings out.

Idea: a run is a pure function of (mix, recipe, seed, probes, samples): one thread, seeded initialisation, data by plan
position. So a run that was killed is done again, or goes on from its last checkpoint, to the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from curriculum.errors import RunError, UserError
from curriculum.mix import Mix
from curriculum.probe import Probe, Reading, Trajectory, read_probe
from curriculum.probe.bits_per_byte import Continuations, bits_per_byte, check_continuations
from curriculum.proxy.answers import ProxyAnswers
from curriculum.proxy.checkpoint import load_checkpoint, load_weights, save_checkpoint
from curriculum.proxy.encoding import tokenizer_of
from curriculum.proxy.feed import Batch, batches, heldout_batches, vocabulary_of
from curriculum.proxy.mixture import balance_loss, recorded_routing
from curriculum.proxy.model import ModelShape, Proxy
from curriculum.proxy.precision import products_in
from curriculum.proxy.recipe import Precision, Recipe
from curriculum.proxy.start import check_start
from curriculum.proxy.stopping import StopRule
from curriculum.streaming import StreamingDataset
from curriculum.units import keyed_seed

LOSS_EVERY = 8  # readings between two measurements of held-out loss
_CHECKPOINT_SECONDS = 60.0  # shorter runs are simply done again after a kill
HELDOUT_BATCH = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class LossRow:
    """Mean held-out cross-entropy of a stream, in nats a target token, after `position` samples."""

    position: int
    stream: str
    loss: float


@dataclass(frozen=True, kw_only=True, slots=True)
class BitsRow:
    """Bits per byte of a suite's continuations after `position` samples."""

    position: int
    suite: str
    bits_per_byte: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """What a run has measured so far: (position, step, reading) triples, losses, and bits per byte."""

    readings: tuple[tuple[int, int, Reading], ...] = ()
    losses: tuple[LossRow, ...] = ()
    bits: tuple[BitsRow, ...] = ()


def train(
    mix: Mix,
    recipe: Recipe,
    *,
    seed: int,
    samples: int,
    probes: Sequence[Probe],
    suites: Sequence[Continuations] = (),
    checkpoints: Path,
    observe: Callable[[int], None] = lambda _: None,
    watch: Callable[[Progress], None] = lambda _: None,
    keep: int = 0,
    stop: StopRule | None = None,
) -> Progress:
    """Train one proxy and return what was measured. After every stretch `observe` is told the position, `watch` all so far.

    A run that `stop` ends returns what was measured by then.

    Leaves a rolling checkpoint under `checkpoints` at most every minute and goes on from the newest one it finds there.
    `keep` checkpoints stay as `checkpoints/<position>`, each at a reading, as evenly spaced as those are, the last at the
    end. Raises RunError when the loss is not finite, UserError when there are fewer readings than checkpoints to keep.
    """
    steps = recipe.steps(samples)
    kept = kept_positions(samples, recipe.readings, keep)
    with one_thread():
        dataset = StreamingDataset(mix=mix, batch_size=recipe.batch)
        try:
            context = context_of(recipe, dataset)
            loop = _Loop(mix, recipe, seed=seed, steps=steps, probes=probes, suites=suites, context=context, kept=kept)
            progress = loop.restore(checkpoints)
            written = monotonic()
            for position in range(loop.position, samples, samples // recipe.readings):
                progress = loop.stretch(dataset, position, position + samples // recipe.readings, progress)
                observe(loop.position)
                watch(progress)
                if stop is not None and stop.ends(Trajectory.of(progress.readings), loop.position):
                    break
                due = monotonic() - written > _CHECKPOINT_SECONDS and loop.position < samples
                if due or loop.position in kept:
                    loop.save(checkpoints, progress)
                    written = monotonic()
        finally:
            dataset.close()
    return progress


def kept_positions(samples: int, readings: int, keep: int) -> frozenset[int]:
    """Return the positions of `keep` readings as evenly spaced as possible, the last one always among them.

    Raises UserError when there are fewer readings.
    """
    if keep > readings:
        raise UserError(
            f"wanted at most as many checkpoints as readings, got {keep} of {readings}; give the proxy more readings"
        )
    return frozenset(samples // readings * -(-readings * number // keep) for number in range(1, keep + 1))


def first_model(recipe: Recipe, *, seed: int, vocabulary: int, context: int) -> Proxy:
    """Return the proxy with which a run begins. Raises DataError when its `start` is missing, damaged or of another shape."""
    shape = ModelShape(
        vocabulary=vocabulary,
        layers=recipe.layers,
        width=recipe.width,
        heads=recipe.heads,
        context=context,
        induction_initialisation=recipe.induction_initialisation,
        experts=recipe.experts,
        active_experts=recipe.active_experts,
    )
    model = Proxy(shape, torch.Generator().manual_seed(keyed_seed("model", seed)))
    if recipe.start is not None:
        load_weights(recipe.start, model)
    return model


def context_of(recipe: Recipe, dataset: StreamingDataset) -> int:
    """Return the longest sequence of a run's proxy in tokens: what the recipe says, else the length of its samples."""
    return recipe.context or len(dataset.__getitems__([0])[0]["tokens"])


def losses_due(position: int, recipe: Recipe, steps: int) -> bool:
    """Say whether held-out losses and bits per byte are measured at the reading of this position."""
    step = position // recipe.batch
    return step * recipe.readings // steps % LOSS_EVERY == 0 or step == steps


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums differ in their last bits with the number of threads; a run always uses one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Loop:
    """Model, optimizer and position of one run."""

    def __init__(
        self,
        mix: Mix,
        recipe: Recipe,
        *,
        seed: int,
        steps: int,
        probes: Sequence[Probe],
        suites: Sequence[Continuations],
        context: int,
        kept: frozenset[int],
    ) -> None:
        self.recipe, self.steps, self.probes, self.suites, self.kept = recipe, steps, probes, suites, kept
        for suite in suites:
            check_continuations(suite, vocabulary=vocabulary_of(mix), context=context)
        check_start(recipe.start, mix, context=context)
        self.tokenizer = tokenizer_of(mix)
        self.model = first_model(recipe, seed=seed, vocabulary=vocabulary_of(mix), context=context)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
        self.heldout = heldout_batches(mix)
        self.position = 0

    def stretch(self, dataset: StreamingDataset, start: int, stop: int, progress: Progress) -> Progress:
        """Train over positions [start, stop), then read the probes."""
        for batch in batches(dataset, self.recipe.batch, start=start, stop=stop):
            self._step(batch)
        step = self.position // self.recipe.batch
        model = ProxyAnswers(self.model)
        readings = tuple((self.position, step, read_probe(probe, model)) for probe in self.probes)
        due = losses_due(self.position, self.recipe, self.steps) or self.position in self.kept
        return Progress(
            readings=progress.readings + readings,
            losses=progress.losses + (self.losses() if due else ()),
            bits=progress.bits + (self.bits(model) if due else ()),
        )

    def _step(self, batch: Batch) -> None:
        rate = self.recipe.rate(self.position // self.recipe.batch, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = training_loss(self.model, batch, balance=self.recipe.balance, precision=self.recipe.precision)
        if not torch.isfinite(loss):
            raise RunError(diverged(loss.item(), self.position, self.recipe))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.position += len(batch.tokens)

    @torch.no_grad()
    def losses(self) -> tuple[LossRow, ...]:
        """Measure the held-out loss of every stream now."""
        return tuple(
            LossRow(position=self.position, stream=name, loss=_mean_loss(self.model, batch))
            for name, batch in self.heldout.items()
        )

    def bits(self, model: ProxyAnswers) -> tuple[BitsRow, ...]:
        """Measure every suite's bits per byte now."""
        return tuple(
            BitsRow(position=self.position, suite=suite.name, bits_per_byte=bits_per_byte(suite, model).value)
            for suite in self.suites
        )

    def save(self, checkpoints: Path, progress: Progress) -> None:
        """Write a checkpoint and drop the older ones, except those to be kept."""
        state = {"position": self.position, **progress_state(progress)}
        save_checkpoint(checkpoints / str(self.position), self.model, self.optimizer, state, tokenizer=self.tokenizer)
        for old in _saved(checkpoints)[:-1]:
            if int(old.name) not in self.kept:
                _remove(old)

    def restore(self, checkpoints: Path) -> Progress:
        """Go on from the newest checkpoint, if there is one."""
        saved = _saved(checkpoints)
        held = {int(folder.name) for folder in saved}
        lacking = min((position for position in self.kept if position not in held), default=None)
        if lacking is not None:  # a checkpoint that is wanted now was not kept then: begin before it
            saved = [folder for folder in saved if int(folder.name) < lacking]
        if not saved:
            return Progress()
        state = load_checkpoint(saved[-1], self.model, self.optimizer)
        self.position = int(state["position"])
        return progress_of(state)


def diverged(loss: float, position: int, recipe: Recipe) -> str:
    """Return what to say of a run whose training loss is not finite."""
    return f"the training loss became {loss} at sample {position}; lower the learning_rate (now {recipe.learning_rate})"


def next_token_loss(model: Proxy, batch: Batch) -> Tensor:
    """Return the mean cross-entropy of the target tokens given those before them, in nats."""
    columns = batch.targets[:, 1:].any(dim=0).nonzero()[:, 0]
    logits = model(batch.tokens[:, :-1], columns)
    wanted, counted = batch.tokens[:, columns + 1], batch.targets[:, columns + 1]
    if bool(counted.all()):
        return functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())
    each = functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none")
    return (each * counted.flatten()).sum() / counted.sum()


def training_loss(model: Proxy, batch: Batch, *, balance: float, precision: Precision = "float32") -> Tensor:
    """Return what is minimised: the cross-entropy in nats, and for a mixture of experts `balance` times its balance loss.

    That is taken over the tokens each layer computes: in the last one, those whose next token is a target.
    """
    with products_in(precision, batch.tokens.device):
        if not (model.shape.experts and balance):
            return next_token_loss(model, batch)
        with recorded_routing(model) as routing:
            loss = next_token_loss(model, batch)
        return loss + balance * balance_loss(routing, model.shape.active_experts)


def _mean_loss(model: Proxy, batch: Batch) -> float:
    total, counted = 0.0, 0
    for tokens, targets in zip(batch.tokens.split(HELDOUT_BATCH), batch.targets.split(HELDOUT_BATCH), strict=True):
        part = Batch(tokens=tokens, targets=targets)
        asked = int(targets[:, 1:].sum())
        total += float(next_token_loss(model, part)) * asked
        counted += asked
    return total / counted


def _saved(checkpoints: Path) -> list[Path]:
    if not checkpoints.is_dir():
        return []
    return sorted((path for path in checkpoints.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))


def _remove(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


def progress_state(progress: Progress) -> dict[str, Any]:
    """Return progress as JSON; `progress_of` reads it."""
    return {
        "readings": [[position, step, asdict(reading)] for position, step, reading in progress.readings],
        "losses": [asdict(row) for row in progress.losses],
        "bits": [asdict(row) for row in progress.bits],
    }


def progress_of(state: Mapping[str, Any]) -> Progress:
    """Return the progress that `progress_state` wrote."""
    return Progress(
        readings=tuple((position, step, Reading(**reading)) for position, step, reading in state["readings"]),
        losses=tuple(LossRow(**row) for row in state["losses"]),
        bits=tuple(BitsRow(**row) for row in state.get("bits", [])),
    )
