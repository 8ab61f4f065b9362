"""What a monitor asks: probes in token ids, or tasks of a suite, made token ids once, before the first step.

Idea: whatever the probe, a reading in the middle of a training is a forward pass over token ids made beforehand, the same
ones every time; only then is a change the model's. Alternatives: encoding at every reading (slow, and a tokenizer's
settings may change under way). The price: a persona, which is answered by sampling, cannot be asked while a model trains.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from torch import nn

from curriculum.errors import UserError
from curriculum.probe.answers import TASK_FLOOR, ask_items, reading_of
from curriculum.probe.encoding import encode_task
from curriculum.probe.items import ItemSet
from curriculum.probe.model import AnswerModel, TextModel
from curriculum.probe.scoring import Probe, Reading, read_probe
from curriculum.probe.suite import Suite, Task

_log = logging.getLogger(__name__)

Encode = Callable[[str], list[int]]
Asked = Probe | Task | Suite


class Tokenizer(Protocol):
    """A Hugging Face tokenizer, as far as it is needed."""

    def __call__(self, text: str, **options: Any) -> Any:
        """Return a mapping whose `input_ids` are the text's token ids."""

    def decode(self, token_ids: list[int], **options: Any) -> str:
        """Return the text of token ids."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenProbe:
    """A probe whose items are token ids from the start."""

    probe: Probe

    @property
    def name(self) -> str:
        """Return the probe's name."""
        return self.probe.name

    @property
    def digest(self) -> str:
        """Return what stands for its items and floor."""
        return _digest(self.probe.floor, [self.probe.items], [self.probe.control])

    def read(self, model: AnswerModel) -> Reading:
        """Ask `model` all of it."""
        return read_probe(self.probe, model)


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedTask:
    """A task of a suite as token ids: one item set a demo seed, of the task and of its control."""

    name: str
    family: str
    items: tuple[ItemSet, ...]
    control: tuple[ItemSet, ...]

    @property
    def digest(self) -> str:
        """Return what stands for its items."""
        return _digest(TASK_FLOOR, self.items, self.control)

    def read(self, model: AnswerModel) -> Reading:
        """Ask `model` all of it."""
        parts = {"probe": list(self.items)} | ({"control": list(self.control)} if self.control else {})
        return reading_of(ask_items(parts, model), probe=self.name, family=self.family)


ReadyProbe = TokenProbe | EncodedTask


def prepared(probes: Asked | Iterable[Asked], encode: Encode | None, *, context: int | None) -> tuple[ReadyProbe, ...]:
    """Return the probes ready to be asked. A suite stands for its tasks; its personas are left out, with a word in the log.

    Raises UserError for two of one name, for text without `encode`, and where there is nothing to ask.
    """
    ready: dict[str, ReadyProbe] = {}
    for probe in _flat(probes):
        if probe.name in ready:
            raise UserError(f"monitor: two probes are called {probe.name!r}; readings are told apart by name, so rename one")
        ready[probe.name] = TokenProbe(probe=probe) if isinstance(probe, Probe) else _encoded(probe, encode, context)
    if not ready:
        raise UserError("monitor: wanted at least one probe, got none")
    return tuple(ready.values())


def encode_with(tokenizer: Tokenizer | Encode) -> Encode:
    """Return a function from text to token ids: the one given, or a tokenizer's, without end tokens. Raises UserError."""
    if not callable(tokenizer):
        raise UserError(f"monitor: wanted a tokenizer or a function from text to token ids, got {type(tokenizer).__name__}")
    if not hasattr(tokenizer, "decode"):
        return tokenizer
    from curriculum.models.hugging_face import TokenizerCodec

    return TokenizerCodec(tokenizer, nn.Identity()).encode


def _flat(probes: Asked | Iterable[Asked]) -> Iterable[Probe | Task]:
    for probe in [probes] if isinstance(probes, Probe | Task | Suite) else probes:
        if isinstance(probe, Suite):
            yield from probe.tasks
            for persona in probe.personas:
                _log.warning(
                    "persona %r is not asked while a model trains: it takes sampling; see `curriculum probe`", persona.name
                )
        else:
            yield probe


def _encoded(task: Task, encode: Encode | None, context: int | None) -> EncodedTask:
    if encode is None:
        raise UserError(f"monitor: task {task.name!r} is text, which needs a tokenizer: Monitor(model, tokenizer, ...)")
    reader = cast(TextModel, _Reader(encode=encode, context=sys.maxsize if context is None else context))
    return EncodedTask(name=task.name, family=task.family, items=_items(task, reader), control=_items(task.control, reader))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reader:
    """All that encoding asks of a TextModel."""

    encode: Encode
    context: int


def _items(task: Task | None, reader: TextModel) -> tuple[ItemSet, ...]:
    return () if task is None else tuple(encode_task(task, seed, reader) for seed in range(task.seeds))


def _digest(floor: float, *parts: Sequence[ItemSet]) -> str:
    text = repr((floor, [[(items.prompts, items.correct, items.shallow) for items in part] for part in parts]))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
