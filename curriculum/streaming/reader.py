"""Samples of all streams by one number, many at once, from shards that are opened once and kept.

Idea: the sample numbers of all sources lie end to end, so a batch is an array of integers; they are grouped by shard and
each shard gathers its own. The price is memory: an open shard stays mapped, in pages that the operating system may take
back; 256 at most, since each holds a file descriptor, and none whose file was evicted, since its space must come free.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from curriculum.errors import ResourceError
from curriculum.streaming.shards import Integers, OpenShard, Source

_KEPT_OPEN = 256
_ATTEMPTS = 5  # a shard may be evicted between its download and its opening


class SampleReader:
    """Reads samples by number over all `sources`; open shards are dropped when it is pickled."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = tuple(sources)
        samples = [source.samples_per_shard for source in self.sources]
        self._shard_ends = np.cumsum(np.concatenate(samples), dtype=np.int64)
        self._source_ends = np.cumsum([len(each) for each in samples], dtype=np.int64)  # in shards
        self.stream_starts = np.cumsum([0, *(int(each.sum()) for each in samples)], dtype=np.int64)[:-1]
        self._open: OrderedDict[int, OpenShard] = OrderedDict()

    @property
    def samples(self) -> int:
        """Samples of all sources together."""
        return int(self._shard_ends[-1])

    def read(self, numbers: Integers, fetch: Callable[[int], None] | None = None) -> list[dict[str, Any]]:
        """Return the samples `numbers` (samples,), in that order; `fetch` brings a shard here (by default: now)."""
        groups = self._by_shard(numbers)
        if len(groups) == 1:
            shard = groups[0][0]
            return self._opened(shard, fetch).read(numbers - self._start(shard))
        samples: list[dict[str, Any]] = [{}] * len(numbers)
        for shard, places in groups:
            found = self._opened(shard, fetch).read(numbers[places] - self._start(shard))
            for place, sample in zip(places.tolist(), found, strict=True):
                samples[place] = sample
        return samples

    def shards_of(self, numbers: Integers) -> list[int]:
        """Return the shards that hold `numbers`, each once, in the order of their first use."""
        shards = np.searchsorted(self._shard_ends, numbers, side="right")
        return list(dict.fromkeys(shards.tolist()))

    def locate(self, shard: int) -> tuple[Source, int]:
        """Return the source of a shard and the shard's number within it."""
        source = int(np.searchsorted(self._source_ends, shard, side="right"))
        before = 0 if source == 0 else int(self._source_ends[source - 1])
        return self.sources[source], shard - before

    def fetch(self, shard: int) -> None:
        """See to it that a shard lies here. Raises DataError, ResourceError."""
        source, own = self.locate(shard)
        source.fetch(own)

    def evict(self, shard: int) -> None:
        """Remove a shard that can be fetched again."""
        source, own = self.locate(shard)
        source.evict(own)
        self._open.pop(shard, None)

    def is_open(self, shard: int) -> bool:
        """Whether the shard is open, so that nothing needs to be fetched."""
        return shard in self._open

    def drop(self, is_evicted: Callable[[int], bool]) -> None:
        """Close the open shards for which `is_evicted(shard)`."""
        for shard in [shard for shard in self._open if is_evicted(shard)]:
            del self._open[shard]

    def close(self) -> None:
        """Close all shards; the next read opens them anew."""
        self._open.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}

    def _start(self, shard: int) -> int:
        return 0 if shard == 0 else int(self._shard_ends[shard - 1])

    def _by_shard(self, numbers: Integers) -> list[tuple[int, Integers]]:
        """Return (shard, places in the batch) for every shard that the batch touches."""
        if not len(numbers):
            return []
        shards = np.searchsorted(self._shard_ends, numbers, side="right")
        order = np.argsort(shards, kind="stable")
        cuts = np.flatnonzero(np.diff(shards[order])) + 1
        return [(int(shards[places[0]]), places) for places in np.split(order, cuts)]

    def _opened(self, shard: int, fetch: Callable[[int], None] | None) -> OpenShard:
        known = self._open.get(shard)
        if known is not None:
            self._open.move_to_end(shard)
            return known
        source, own = self.locate(shard)
        for _ in range(_ATTEMPTS):
            (fetch or self.fetch)(shard)
            try:
                self._open[shard] = source.open(own)
            except FileNotFoundError:
                continue
            if len(self._open) > _KEPT_OPEN:
                self._open.popitem(last=False)
            return self._open[shard]
        raise ResourceError(
            f"stream {source.name!r}: shard {own} was evicted {_ATTEMPTS} times before it could be read; raise cache_limit"
        )
