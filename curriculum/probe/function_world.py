"""Out-of-context reasoning in token ids, with the pre-training that makes it possible: for proxies.

Idea: a world of names, each standing for one of a few functions on ten digits. Documents are of two kinds, never both in
one: a name and an input, answered by the output; a name and "?", answered by the function's description (a token). A model
pre-trained on both kinds about many names may come to hold one thing per name, the function, and to read both answers off
it. Then a new name, fine-tuned on input-output pairs alone, has a description nobody wrote. `bound=False` is the control
world: descriptions are dealt out anew, so that pairs say nothing about them; what a reading shows there is not reasoning.
Alternatives: natural text (`out_of_context`: needs a language model). The price: one token is one name, so that "which
function is it?" has a place to be written into.

Tokens, in this order: ten inputs, ten outputs, the descriptions, "?", the names, the new names last.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from curriculum.errors import UserError
from curriculum.probe.fine_tuning import Example, FineTuningProbe, choices
from curriculum.probe.items import ItemSet
from curriculum.probe.scoring import Probe
from curriculum.units import keyed_seed

_DIGITS = 10
_STEPS = (1, 3, 7, 9)  # multipliers under which x -> a x + b is one-to-one modulo ten
_DESCRIPTION_COPIES = 4  # a description-document for every 2.5 pairs-documents: it is the rarer kind, and one answer a name
SEQUENCE_LENGTH = 3


@dataclass(frozen=True, kw_only=True)  # not slotted: what was drawn is kept with it
class FunctionWorld:
    """`names` names seen in pre-training, `new_names` kept for fine-tuning, `functions` (2 to 40) dealt over them evenly.

    `seed` draws which functions there are, who has which, and which inputs of a new name are held out.
    """

    seed: int = 0
    names: int = 384
    new_names: int = 32
    functions: int = 16
    held_out: int = 4
    bound: bool = True

    def __post_init__(self) -> None:
        if not 2 <= self.functions <= _DIGITS * len(_STEPS):
            raise UserError(f"wanted from 2 to {_DIGITS * len(_STEPS)} functions, got {self.functions}")
        if not 0 < self.held_out < _DIGITS:
            raise UserError(f"wanted from 1 to {_DIGITS - 1} held-out inputs, got {self.held_out}")

    @property
    def vocabulary(self) -> int:
        """How many tokens there are."""
        return self._first_name + self.names + self.new_names

    def documents(self) -> tuple[Example, ...]:
        """Return every document of the pre-training: ten pairs of each name, and its description four times over."""
        pairs = [self._pair(name, x) for name in range(self.names) for x in range(_DIGITS)]
        described = [self._described(name, int(self._written[name])) for name in range(self.names)]
        return tuple(pairs + described * _DESCRIPTION_COPIES)

    def probe(self, *, wrong: int = 3) -> FineTuningProbe:
        """Return the probe: new names' pairs to train on, their descriptions as items, held-out pairs as control.

        `wrong`: items a name. The wrong description is another new name's, the wrong output too; `replay` is the documents.
        """
        new = range(self.names, self.names + self.new_names)
        probe = Probe(
            name="out_of_context_names", family="out_of_context", items=self._items(wrong), control=self._control(), floor=0.0
        )
        pairs = [self._pair(name, int(x)) for name in new for x in self._inputs[name - self.names, self.held_out :]]
        return FineTuningProbe(examples=tuple(pairs), replay=self.documents(), probe=probe)

    def _items(self, wrong: int) -> ItemSet:
        functions = self._function[self.names :]
        return _item_set(
            (self._described(self.names + one, int(functions[one])), self._described(self.names + one, int(functions[other])))
            for one, other in choices(self.new_names, wrong=wrong)
            if functions[one] != functions[other]
        )

    def _control(self) -> ItemSet:
        asked = [
            (self._pair(self.names + name, int(x)), self._pair(self.names + (name + 1 + place) % self.new_names, int(x)))
            for name in range(self.new_names)
            for place, x in enumerate(self._inputs[name, : self.held_out])
        ]
        return _item_set((right, wrong) for right, wrong in asked if right.answer != wrong.answer)

    def _pair(self, name: int, x: int) -> Example:
        output = int(self._tables[self._function[name], x])
        return Example(prompt=(self._first_name + name, x), answer=(_DIGITS + output,))

    def _described(self, name: int, function: int) -> Example:
        question = self._first_name - 1
        return Example(prompt=(self._first_name + name, question), answer=(2 * _DIGITS + function,))

    @property
    def _first_name(self) -> int:
        return 2 * _DIGITS + self.functions + 1

    def _draws(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng(keyed_seed("function world", purpose, self.seed))

    @cached_property
    def _tables(self) -> NDArray[np.int64]:
        """Outputs (functions, inputs)."""
        every = [[(step * x + shift) % _DIGITS for x in range(_DIGITS)] for step in _STEPS for shift in range(_DIGITS)]
        chosen: NDArray[np.int64] = np.asarray(every)[self._draws("functions").permutation(len(every))[: self.functions]]
        return chosen

    @cached_property
    def _function(self) -> NDArray[np.int64]:
        """The function of every name; new names in turn, so that neighbours differ."""
        old = self._draws("names").permutation(np.arange(self.names) % self.functions)
        return np.concatenate([old, np.arange(self.new_names) % self.functions])

    @cached_property
    def _written(self) -> NDArray[np.int64]:
        """The function that each pre-trained name's description names."""
        true = self._function[: self.names]
        return true if self.bound else self._draws("unbound").permutation(true)

    @cached_property
    def _inputs(self) -> NDArray[np.int64]:
        """Inputs of every new name in an order of its own (new_names, ten); the first `held_out` are held out."""
        return np.argsort(self._draws("inputs").random((self.new_names, _DIGITS)), axis=1)


def _item_set(asked: Iterable[tuple[Example, Example]]) -> ItemSet:
    rows = list(asked)
    return ItemSet(
        prompts=tuple(right.prompt for right, _ in rows),
        correct=tuple(right.answer for right, _ in rows),
        shallow=tuple(wrong.answer for _, wrong in rows),
    )
