"""What the loader asks of a stream's data: shards that are fetched, opened whole and read many samples at once.

Idea: MDS folders, Megatron's token files and plain token arrays differ in how bytes become samples and in nothing else.
So a stream that was found is a `Source`: a table of shards with their sample counts and a digest of its data. Order,
batches, downloads, resume know only this. Alternatives: a dataset class per format (Mosaic's readers open, seek and read
for every sample) or repacking into one format. The price is that a new format must say what its shards are.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from curriculum.streaming.index import StreamIndex

Integers = npt.NDArray[np.int64]


class OpenShard(Protocol):
    """A shard that lies here, mapped or opened for reading."""

    def read(self, indices: Integers) -> list[dict[str, Any]]:
        """Return the samples at `indices` (samples,) within the shard, in that order. Raises DataError."""


class Source(Protocol):
    """A stream of a mix, found: its index is here, its shards may still be far away."""

    @property
    def name(self) -> str:
        """The stream's name in the mix."""

    @property
    def index(self) -> StreamIndex:
        """Samples, shards and the digest that a saved state is compared with."""

    @property
    def samples_per_shard(self) -> Integers:
        """Samples of each shard (shards,), in the order of the stream's sample numbers."""

    @property
    def has_remote(self) -> bool:
        """Whether shards may have to be fetched from elsewhere."""

    @property
    def bytes_per_sample(self) -> int:
        """Bytes of a sample, roughly: how many are read at once depends on it."""

    def is_here(self, shard: int) -> bool:
        """Whether the shard lies here, ready to be opened."""

    def fetch(self, shard: int) -> None:
        """See to it that the shard lies here, whole. Raises DataError, ResourceError naming stream and shard."""

    def evict(self, shard: int) -> None:
        """Remove a shard that can be fetched again; any other stays."""

    def open(self, shard: int) -> OpenShard:
        """Open a shard that was fetched. Raises DataError, FileNotFoundError if it was evicted meanwhile."""
