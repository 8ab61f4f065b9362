"""What a network has read: keys and values of every layer, and chosen rows of them made ready to be continued.

Idea: rows are read with their padding on the right, where no token can see it, and are moved to the right only when they
are continued, so that what follows stands in one column for all. A prefix with which all rows begin is stored once, as a
single row, and is expanded for one layer at a time while that layer runs. Alternatives: the library's caches, which hold
a copy for every row (a prefix of 1,000 tokens under 64 rows of a 135M model is 3 GB). The price: a copy a layer for
every pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class KeyValues:
    """Keys and values of every layer, each (rows, heads, time, depth); row r holds `lengths[r]` tokens, then padding.

    `before`: a single row with which all of these begin.
    """

    layers: list[tuple[Tensor, Tensor]]
    lengths: tuple[int, ...]
    before: KeyValues | None = None

    def length(self, row: int) -> int:
        """Return all tokens of a row, those before it included."""
        return self.lengths[row] + (self.before.lengths[0] if self.before else 0)


class Past:
    """Rows of `KeyValues` (repeats allowed), moved to the right: the last of `width` columns is every row's last token."""

    def __init__(self, found: KeyValues, rows: Sequence[int], device: torch.device) -> None:
        own = [found.lengths[row] for row in rows]
        self._found, self._count, self._own_width = found, len(rows), max(own)
        self._ragged = min(own) < max(own)
        self._rows = None if len(found.lengths) == 1 else torch.tensor(list(rows), device=device)
        self.width = max(found.length(row) for row in rows)
        self.lengths = torch.tensor([found.length(row) for row in rows], device=device)

    def mask(self) -> Tensor | None:
        """Return which columns are tokens, bool (rows, width), or None if all are."""
        if not self._ragged:
            return None
        return torch.arange(self.width, device=self.lengths.device) >= (self.width - self.lengths)[:, None]

    def layer(self, number: int) -> tuple[Tensor, Tensor]:
        """Return a layer's keys and values, each (rows, heads, width, depth)."""
        keys, values = self._found.layers[number]
        before = self._found.before
        if before is None:
            return self._moved(self._chosen(keys)), self._moved(self._chosen(values))
        first_keys, first_values = (states.expand(self._count, -1, -1, -1) for states in before.layers[number])
        return (
            self._moved(torch.cat([first_keys, self._chosen(keys)], dim=2)),
            self._moved(torch.cat([first_values, self._chosen(values)], dim=2)),
        )

    def _chosen(self, states: Tensor) -> Tensor:
        states = states[:, :, : self._own_width]
        return states.expand(self._count, -1, -1, -1) if self._rows is None else states[self._rows]

    def _moved(self, states: Tensor) -> Tensor:
        if not self._ragged:
            return states
        columns = torch.arange(self.width, device=states.device) - (self.width - self.lengths)[:, None]
        rows, heads, _, depth = states.shape
        return states.gather(2, columns.clamp(min=0)[:, None, :, None].expand(rows, heads, self.width, depth))


class LayerCache:
    """One layer's cache as the transformers library calls it: gives out past and new states, stores the new ones at most.

    The methods are those of its `CacheLayerMixin`, of which a model calls these.
    """

    is_sliding = False
    is_compileable = False
    is_initialized = True

    def __init__(self, past: Past | None, number: int, *, keep: bool) -> None:
        self._past, self._number, self._keep = past, number, keep
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def update(self, keys: Tensor, values: Tensor, _options: Any = None) -> tuple[Tensor, Tensor]:
        """Return all keys and values, past and new, (rows, heads, width + time, depth)."""
        if self._keep:
            self.keys, self.values = keys, values
        if self._past is None:
            return keys, values
        past_keys, past_values = self._past.layer(self._number)
        return torch.cat([past_keys, keys], dim=2), torch.cat([past_values, values], dim=2)

    def get_seq_length(self) -> int:
        """Return the columns of the past."""
        return 0 if self._past is None else self._past.width

    def get_mask_sizes(self, cache_position: Tensor) -> tuple[int, int]:
        """Return how many columns the attention sees, and the number of the first."""
        return self.get_seq_length() + cache_position.shape[0], 0

    def get_max_cache_shape(self) -> int:
        """Return the largest number of columns; -1 is none."""
        return -1
