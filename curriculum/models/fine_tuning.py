"""A short fine-tuning from a checkpoint, for the probes that need one.

Idea: AdamW on the answers' tokens, linear warm-up over a tenth of the steps and linear decay to zero, gradients clipped to
length 1; the usual recipe, so that its few numbers are all there is to say. It works on a copy: the model given is never
changed. Networks of less than 32 bits a weight are trained in 32 bits and cast back, since a step of 1e-5 is lost in
bfloat16. Dropout stays off, so that seed, examples and machine decide everything.
Alternatives: a trainer library (three more dependencies to know), low-rank adapters (other weights move than in the
published experiments). The price: a second copy of the weights, and two more for the optimizer.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from curriculum.errors import RunError, UserError
from curriculum.models.network import NetworkModel
from curriculum.probe.answers import ask_probe, paired_difference, reading_of
from curriculum.probe.credibility import Estimate
from curriculum.probe.fine_tuning import Example, FineTuningProbe, FineTuningReading
from curriculum.units import keyed_seed

Model = TypeVar("Model", bound=NetworkModel)
_WARM_UP = 0.1  # of the steps
_CLIP = 1.0  # longest gradient
_BETAS = (0.9, 0.98)
_AT_ONCE = 4096  # tokens, padding included, that the network reads together; their logits weigh most


@dataclass(frozen=True, kw_only=True, slots=True)
class FineTuned(Generic[Model]):
    """A fine-tuned copy, and the training loss of every step in nats an answer token."""

    model: Model
    losses: tuple[float, ...]


def fine_tune(
    model: Model,
    examples: Sequence[Example],
    *,
    steps: int,
    learning_rate: float,
    batch: int,
    seed: int,
    replay: Sequence[Example] = (),
    replay_share: float = 0.5,
    weight_decay: float = 0.0,
) -> FineTuned[Model]:
    """Return a copy of `model` after `steps` steps of AdamW on `examples`.

    `batch`: examples a step; `learning_rate`: the highest. Examples are taken in an order drawn anew every epoch, keyed by
    `seed`. Where `replay` is given, `replay_share` of each batch is taken from it in the same way.
    Raises UserError for settings out of range and for an example that does not fit the model's context, RunError for a loss
    or weight that is no number.
    """
    _check_settings(steps=steps, learning_rate=learning_rate, batch=batch, share=replay_share, replay=bool(replay))
    if not examples:
        raise UserError("wanted at least one example to fine-tune on, got none")
    for kind, part in (("example", examples), ("replayed example", replay)):
        check_examples(part, kind, model.context)
    of_replay = round(batch * replay_share) if replay else 0
    sources = [_endless(examples, batch - of_replay, "examples", seed)]
    if of_replay:
        sources.append(_endless(replay, of_replay, "replay", seed))
    tuned = copy.deepcopy(model)
    losses = _train(tuned, sources, steps, learning_rate, weight_decay)
    return FineTuned(model=tuned, losses=tuple(losses))


@dataclass(frozen=True, kw_only=True, slots=True)
class FineTuning:
    """How a fine-tuning probe trains: what `fine_tune` takes, as a value."""

    steps: int = 200
    learning_rate: float = 1e-4
    batch: int = 32
    seed: int = 0
    replay_share: float = 0.5
    weight_decay: float = 0.0


def read_fine_tuning(model: NetworkModel, probe: FineTuningProbe, settings: FineTuning) -> FineTuningReading:
    """Read the probe, fine-tune a copy of `model` on its examples, read again. Raises as `fine_tune` does."""
    before = ask_probe(probe.probe, model)
    tuned = fine_tune(model, probe.examples, replay=probe.replay, **asdict(settings))
    after = ask_probe(probe.probe, tuned.model)
    shift, low, high = paired_difference(after, before)
    readings = [
        reading_of(answers, probe=probe.probe.name, family=probe.probe.family, floor=probe.probe.floor)
        for answers in (before, after)
    ]
    return FineTuningReading(
        before=readings[0], after=readings[1], shift=Estimate(value=shift, low=low, high=high), losses=tuned.losses
    )


def leave_gradients(model: NetworkModel, examples: Sequence[Example]) -> float:
    """Leave the gradient of the examples' mean answer loss in the parameters' `grad`; return the loss in nats a token.

    The network reads some thousand tokens at a time, so that the logits of many long examples need not fit the memory together.
    Raises RunError when the loss is no number.
    """
    model.module.zero_grad(set_to_none=True)
    tokens = sum(len(example.answer) for example in examples)
    total = 0.0
    for part in _parts(examples):
        with torch.enable_grad():
            loss = _summed_loss(model, part) / tokens
        if not torch.isfinite(loss):
            raise RunError(f"the loss is {loss.item()}; is the model trained and whole, and the learning rate not too high?")
        loss.backward()
        total += loss.item()
    return total


def _parts(examples: Sequence[Example]) -> Iterator[list[Example]]:
    """Yield the examples in order, as many at a time as `_AT_ONCE` allows with their padding, at least one."""
    part: list[Example] = []
    longest = 0
    for example in examples:
        longest = max(longest, len(example.prompt) + len(example.answer))
        if part and (len(part) + 1) * longest > _AT_ONCE:
            yield part
            part, longest = [], len(example.prompt) + len(example.answer)
        part.append(example)
    yield part


def _summed_loss(model: NetworkModel, examples: Sequence[Example]) -> Tensor:
    """Return the summed cross-entropy of the answers' tokens."""
    sequences = [example.prompt + example.answer for example in examples]
    longest = max(len(sequence) for sequence in sequences)
    device = next(model.module.parameters()).device
    padded = torch.tensor([sequence + (0,) * (longest - len(sequence)) for sequence in sequences], device=device)
    lengths = torch.tensor([len(sequence) - 1 for sequence in sequences], device=device)
    prompts = torch.tensor([len(example.prompt) for example in examples], device=device)
    places = torch.arange(longest - 1, device=device)
    is_answer = (places >= prompts[:, None] - 1) & (places < lengths[:, None])
    logits = model.logits(padded[:, :-1], lengths)[is_answer]
    return functional.cross_entropy(logits.float(), padded[:, 1:][is_answer], reduction="sum")


@contextmanager
def trainable(module: nn.Module) -> Iterator[list[nn.Parameter]]:
    """Yield the network's parameters in float32 (or more), asking for gradients, dropout off; put all back but the values."""
    asked = {parameter: parameter.requires_grad for parameter in module.parameters()}
    narrow = {tensor: tensor.dtype for tensor in _tensors(module) if tensor.is_floating_point() and tensor.itemsize < 4}
    training = {part: part.training for part in module.modules()}
    module.eval()
    for tensor in narrow:
        tensor.data = tensor.data.float()
    for parameter in asked:
        parameter.requires_grad_(parameter.is_floating_point())
    try:
        yield [parameter for parameter in asked if parameter.requires_grad]
    finally:
        for parameter, was_asked in asked.items():
            parameter.grad = None
            parameter.requires_grad_(was_asked)
        for tensor, dtype in narrow.items():
            tensor.data = tensor.data.to(dtype)
        for part, was_training in training.items():
            part.training = was_training


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _train(
    model: NetworkModel, sources: Sequence[Iterator[list[Example]]], steps: int, peak: float, weight_decay: float
) -> list[float]:
    losses = []
    with trainable(model.module) as parameters:
        optimizer = torch.optim.AdamW(parameters, lr=peak, betas=_BETAS, weight_decay=weight_decay)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = _rate(step, steps, peak)
            try:
                losses.append(leave_gradients(model, [example for source in sources for example in next(source)]))
            except RunError as error:
                raise RunError(f"fine-tuning, step {step} of {steps} at learning_rate {peak}: {error}") from None
            nn.utils.clip_grad_norm_(parameters, _CLIP)
            optimizer.step()
        if not all(bool(torch.isfinite(parameter).all()) for parameter in parameters):
            raise RunError(f"fine-tuning left a weight that is no number; lower the learning_rate (now {peak})")
    return losses


def _rate(step: int, steps: int, peak: float) -> float:
    warm_up = max(1, round(steps * _WARM_UP))
    return peak * min((step + 1) / warm_up, (steps - step) / max(1, steps - warm_up))


def _endless(examples: Sequence[Example], count: int, *key: str | int) -> Iterator[list[Example]]:
    """Yield `count` examples at a time, every one once an epoch, in an order drawn for each epoch."""
    waiting: list[Example] = []
    epoch = 0
    while True:
        while len(waiting) < count:
            order = np.random.default_rng(keyed_seed("fine-tuning", *key, epoch)).permutation(len(examples))
            waiting.extend(examples[index] for index in order)
            epoch += 1
        yield waiting[:count]
        del waiting[:count]


def check_examples(examples: Sequence[Example], kind: str, context: int) -> None:
    """Raise UserError, naming the example, where one does not fit the model's context."""
    for index, example in enumerate(examples):
        tokens = len(example.prompt) + len(example.answer)
        if tokens > context:
            raise UserError(f"{kind} {index}: {tokens} tokens do not fit the model's context of {context}; shorten or drop it")


def _check_settings(*, steps: int, learning_rate: float, batch: int, share: float, replay: bool) -> None:
    if steps < 1 or batch < 1:
        raise UserError(f"fine-tuning: wanted at least one step and one example a step, got steps {steps}, batch {batch}")
    if not 0 < learning_rate < float("inf"):
        raise UserError(f"fine-tuning: wanted a learning_rate above 0, got {learning_rate}")
    if not 0 <= share < 1:
        raise UserError(f"fine-tuning: wanted a replay_share from 0 to below 1, got {share}")
    if replay and share and not 0 < round(batch * share) < batch:
        raise UserError(f"fine-tuning: a batch of {batch} cannot hold a replay_share of {share}; make the batch larger")
