"""Many samples at once, by sample id: mapped shards where possible, Mosaic's way where not.

Idea: ids are grouped by shard, and shards of one layout are gathered into one table of records that is decoded once.
Mosaic's way (`dataset[sample_id]`, which downloads and decompresses) serves whatever is not an uncompressed MDS file on
this disk, and every shard when a `cache_limit` may evict it. The price is memory: a shard once read stays mapped, in
pages that the operating system may take back; 256 maps at most, since each holds a file descriptor.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curriculum.streaming import mosaic
from curriculum.streaming.mds import Layout, MappedShard, decode, fixed_layout

Integers = npt.NDArray[np.int64]
_KEPT_MAPS = 256


class BatchReader:
    """Reads samples by global sample id from Mosaic's shard readers; maps are dropped when it is pickled."""

    def __init__(self, shards: Sequence[Any]) -> None:
        self._shards = shards
        self._ends = np.cumsum([shard.samples for shard in shards], dtype=np.int64)
        self._layouts: dict[tuple[str, ...], Layout | None] = {}
        self._maps: OrderedDict[int, MappedShard] = OrderedDict()

    def read(self, sample_ids: Integers, one_by_one: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the samples of `sample_ids` (samples,) in that order; `one_by_one` reads what cannot be mapped."""
        samples: list[dict[str, Any]] = [{}] * len(sample_ids)
        tables: dict[Layout, list[tuple[Integers, npt.NDArray[np.uint8]]]] = {}
        for shard, places in self._by_shard(sample_ids):
            mapped = self._mapped(shard)
            if mapped is None:
                for place in places.tolist():
                    samples[place] = one_by_one(int(sample_ids[place]))
                continue
            indices = sample_ids[places] - (self._ends[shard] - self._shards[shard].samples)
            if mapped.layout is not None:
                tables.setdefault(mapped.layout, []).append((places, mapped.records(indices)))
                continue
            for place, index in zip(places.tolist(), indices.tolist(), strict=True):
                samples[place] = self._shards[shard].decode_sample(mapped.sample_bytes(index))
        for layout, parts in tables.items():
            _place(samples, layout, parts)
        return samples

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": OrderedDict()}

    def close(self) -> None:
        """Drop the maps; the next read maps anew."""
        self._maps.clear()

    def _by_shard(self, sample_ids: Integers) -> list[tuple[int, Integers]]:
        """Return (shard, places in the batch) for every shard the batch touches."""
        if not len(sample_ids):
            return []
        shards = np.searchsorted(self._ends, sample_ids, side="right")
        order = np.argsort(shards, kind="stable")
        cuts = np.flatnonzero(np.diff(shards[order])) + 1
        return [(int(shards[places[0]]), places) for places in np.split(order, cuts)]

    def _mapped(self, shard: int) -> MappedShard | None:
        """Return the mapped shard, or None if it does not lie here as one uncompressed MDS file of the right size."""
        known = self._maps.get(shard)
        if known is not None:
            self._maps.move_to_end(shard)
            return known
        reader = self._shards[shard]
        if not isinstance(reader, mosaic.MDSReader):
            return None
        path = Path(reader.dirname) / reader.split / reader.raw_data.basename
        if not path.is_file() or path.stat().st_size != reader.raw_data.bytes:
            return None
        mapped = MappedShard(path, samples=reader.samples, layout=self._layout(reader))
        self._maps[shard] = mapped
        if len(self._maps) > _KEPT_MAPS:
            self._maps.popitem(last=False)
        return mapped

    def _layout(self, reader: Any) -> Layout | None:
        """Return the reader's layout; the same object for all shards with the same columns."""
        key = (*reader.column_names, *reader.column_encodings)
        if key not in self._layouts:
            self._layouts[key] = fixed_layout(reader.column_names, reader.column_encodings)
        return self._layouts[key]


def _place(samples: list[dict[str, Any]], layout: Layout, parts: list[tuple[Integers, npt.NDArray[np.uint8]]]) -> None:
    """Decode all records of one layout together and put each sample in its place."""
    places = np.concatenate([places for places, _ in parts])
    records = np.concatenate([records for _, records in parts])
    for place, sample in zip(places.tolist(), decode(layout, records), strict=True):
        samples[place] = sample
