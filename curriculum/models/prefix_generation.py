"""Rows that grow from keys and values: each prompt is read once for all its samples, what prompts share once for all.

Idea: after the first token the rows are an ordinary growing batch, so the library's own cache takes over from there.
Alternatives: growing our `KeyValues` (one part more for every token). The price: every row then holds its own copy of
its prompt's keys and values, which bounds how many rows go at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from curriculum.models.key_values import KeyValues
from curriculum.models.reader import Place, Reader, growing_cache
from curriculum.models.sequences import Tokens, common_prefix


class CachedWalk:
    """A `Walk` of a network whose keys and values can be continued up to the longest row (`Reader.reusable`)."""

    def __init__(self, reader: Reader, rows: Sequence[Tokens]) -> None:
        self._reader = reader
        prompts = sorted(set(rows))
        numbers = {prompt: number for number, prompt in enumerate(prompts)}
        self._parents = [numbers[row] for row in rows]
        logits, self._found = _read(reader, prompts)
        self._logits = logits[self._parents]
        self._cache: Any = None
        self._mask = torch.empty(0)

    def logits(self) -> Tensor:
        """Return the logits of each row's next token."""
        return self._logits

    def grow(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        """Keep only these rows, each a token longer."""
        device = self._reader.device
        if self._cache is None:
            self._cache, self._mask = growing_cache(self._found, [self._parents[row] for row in rows], device)
        elif len(rows) < len(self._mask):
            chosen = torch.tensor(list(rows), device=device)
            self._cache.batch_select_indices(chosen)
            self._mask = self._mask[chosen]
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(rows), 1)], dim=1)
        self._logits = self._reader.grow(torch.tensor(list(tokens), device=device), self._cache, self._mask)


def _read(reader: Reader, prompts: Sequence[Tokens]) -> tuple[Tensor, KeyValues]:
    """Read sorted, different prompts; return the logits after each, and what was read."""
    shared = min(len(common_prefix(prompts[0], prompts[-1])), min(map(len, prompts)) - 1) if len(prompts) > 1 else 0
    before = None
    if shared:
        _, before = reader.begin([prompts[0][:shared]], [Place(row=0, position=0)])
    rests = [prompt[shared:] for prompt in prompts]
    return reader.begin(rests, [Place(row=row, position=len(rest) - 1) for row, rest in enumerate(rests)], before=before)
