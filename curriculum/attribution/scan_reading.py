"""A stream's samples as arrays of tokens, a batch at a time, whatever the stream's format.

Idea: what the loader reads is what is counted: shards are fetched and opened as for training, and a column `tokens` (or
`input_ids`) with, if there is one, a `loss_mask`. About a million tokens are held at once. The price: samples of unequal
length are padded to the longest of their batch (padding is no target, and stands behind all that is read).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from curriculum.attribution.conflict_counts import Batch
from curriculum.errors import DataError
from curriculum.streaming.shards import OpenShard, Source

BATCH_TOKENS = 2**20
_COLUMNS = ("tokens", "input_ids")


class SampleBatches:
    """Reads ranges of one source's samples; the shard last read stays open."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._ends = np.cumsum(source.samples_per_shard)
        self._open: tuple[int, OpenShard] | None = None
        self._length: int | None = None

    @property
    def samples(self) -> int:
        """Samples of the stream."""
        return int(self._ends[-1])

    def tokens_per_sample(self) -> int:
        """Return the length of the first sample. Raises DataError if it has no tokens."""
        if self._length is None:
            self._length = max(2, self._read(0, 1).tokens.shape[1])
        return self._length

    def between(self, start: int, stop: int) -> Iterator[tuple[int, Batch]]:
        """Yield (number of its first sample, batch) over samples [start, stop), in order, no batch across shards."""
        rows = max(1, BATCH_TOKENS // self.tokens_per_sample())
        while start < stop:
            shard = int(np.searchsorted(self._ends, start, side="right"))
            end = min(stop, start + rows, int(self._ends[shard]))
            yield start, self._read(start, end)
            start = end

    def _read(self, start: int, stop: int) -> Batch:
        shard = int(np.searchsorted(self._ends, start, side="right"))
        before = 0 if shard == 0 else int(self._ends[shard - 1])
        if self._open is None or self._open[0] != shard:
            self.source.fetch(shard)
            self._open = shard, self.source.open(shard)
        return _batch(self.source.name, self._open[1].read(np.arange(start - before, stop - before)))


def _batch(name: str, samples: Sequence[dict[str, Any]]) -> Batch:
    column = next((column for column in _COLUMNS if column in samples[0]), None)
    if column is None or not isinstance(samples[0][column], np.ndarray):
        held = ", ".join(f"{key} ({type(value).__name__})" for key, value in samples[0].items())
        raise DataError(
            f"stream {name!r}: wanted samples with an array of token ids in a column `tokens`, got {held}; pack the text with "
            "`curriculum pack`"
        )
    rows = [sample[column] for sample in samples]
    lengths = {len(row) for row in rows}
    try:
        if len(lengths) > 1:
            return _padded(rows, [sample.get("loss_mask") for sample in samples])
        tokens = np.stack(rows).astype(np.int32)
        masks = np.stack([sample["loss_mask"] for sample in samples]) if "loss_mask" in samples[0] else None
        targets = np.ones(tokens.shape, np.bool_) if masks is None else masks.astype(np.bool_)
        return Batch(tokens=tokens, targets=targets)
    except DataError as error:
        raise DataError(f"stream {name!r}: {error}") from None


def _padded(rows: Sequence[np.ndarray[Any, Any]], masks: Sequence[np.ndarray[Any, Any] | None]) -> Batch:
    shape = len(rows), max(len(row) for row in rows)
    tokens, targets = np.zeros(shape, np.int32), np.zeros(shape, np.bool_)
    for number, (row, mask) in enumerate(zip(rows, masks, strict=True)):
        tokens[number, : len(row)] = row
        targets[number, : len(row)] = True if mask is None else mask
    return Batch(tokens=tokens, targets=targets)
