"""StreamingDataset: Mosaic's class, playing a mix.

Idea: Mosaic's class does downloads, caches, eviction, barriers and state well, and is known; what it cannot do is let
the mix change along the run. All it asks of an order is a sequence of sample ids per worker and epoch, so that one
method, `_get_work`, is the seam: it returns positions of the plan instead of a shuffled array. Alternatives: an own
loader (all of the above again), or one dataset per phase (LLM-Foundry: piecewise constant, each phase from the
beginning). The price is a private method, hence the pinned version.

    StreamingDataset(mix="mixes/winner.yaml", batch_size=8)    the mix, obeyed to the sample
    StreamingDataset(local="...", batch_size=8)                Mosaic, sample for sample
    dataset.__getitems__(positions)                            whole batches by plan position, without a DataLoader

Under a mix one pass over its samples is an epoch; later epochs play the schedule again and continue the draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curriculum.errors import UserError
from curriculum.mix import Mix
from curriculum.plan import Plan
from curriculum.streaming import mosaic
from curriculum.streaming.batches import BatchReader
from curriculum.streaming.index import read_index
from curriculum.streaming.shared import claiming_names, release
from curriculum.streaming.sources import mosaic_streams, refuse_arguments, refuse_mix, with_tokens_per_sample
from curriculum.streaming.state import MOSAIC_FIELDS, Identity, refuse_without_mix
from curriculum.streaming.work import LazyWork, PaddingId, Share

Integers = npt.NDArray[np.int64]


class PaddingSample(dict[str, Any]):
    """A sample repeated at the end of an epoch, so that all ranks yield equally many; leave it out of counts.

    A collate function can tell it by its type; torch's default one drops the mark. At most one a rank and epoch.
    """


class StreamingDataset(mosaic.StreamingDataset):  # type: ignore[misc]  # Mosaic ships no types
    """Mosaic's StreamingDataset with one more argument, `mix`: a Mix, or the path of a mix file.

    With a mix, the arguments that it decides (see `sources.REFUSED_WITH_MIX`) must stay at their defaults; all others
    keep their meaning, those of streams as defaults for the mix's streams. Without a mix nothing differs from Mosaic.
    Raises UserError (arguments, mix), DataError (a stream is missing, empty, damaged or too small).
    """

    def __init__(
        self,
        *,
        mix: Mix | str | Path | None = None,
        streams: Sequence[mosaic.Stream] | None = None,
        remote: str | None = None,
        local: str | None = None,
        split: str | None = None,
        download_retry: int = 2,
        download_timeout: float = mosaic.DEFAULT_TIMEOUT,
        validate_hash: str | None = None,
        keep_zip: bool = False,
        epoch_size: int | str | None = None,
        predownload: int | None = None,
        cache_limit: int | str | None = None,
        sampling_method: str = "balanced",
        sampling_granularity: int = 1,
        partition_algo: str = "relaxed",
        num_canonical_nodes: int | None = None,
        batch_size: int | None = None,
        shuffle: bool = False,
        shuffle_algo: str = "py1e",
        shuffle_seed: int = 9176,
        shuffle_block_size: int | None = None,
        batching_method: str = "random",
        allow_unsafe_types: bool = False,
        replication: int | None = None,
        stream_name: str = "stream",
        stream_config: dict[str, Any] | None = None,
    ) -> None:
        # First statement, so that locals() holds the arguments and nothing else.
        given = {name: value for name, value in locals().items() if name not in ("self", "mix", "__class__")}
        self.mix = None if mix is None else mix if isinstance(mix, Mix) else Mix.load(mix)
        if self.mix is not None:
            refuse_arguments(given, _DEFAULTS)
            refuse_mix(self.mix)
            given |= {"streams": mosaic_streams(self.mix), "num_canonical_nodes": 1}
        with claiming_names():
            super().__init__(**given)
        self._batches = BatchReader(self.shards)
        self._seen: set[int] = set()  # shards that lie here and stay
        if self.mix is not None:
            try:
                self._play(with_tokens_per_sample(self.mix, self.streams))
            except BaseException:
                self.close()
                raise

    def _play(self, mix: Mix) -> None:
        """Compile the mix for the streams that were found."""
        names = list(mix.streams)
        self.mix = mix
        self._plan = mix.plan(sizes=dict(zip(names, self.samples_per_stream.tolist(), strict=True)))
        self._identity = Identity(
            canonical=mix.canonical(),
            fingerprint=mix.fingerprint(),
            samples=self._plan.samples,
            streams={stream.name: read_index(stream.name, stream.folder) for stream in self.streams},
        )
        self.epoch_size = self._plan.samples
        self.length = -(-self._plan.samples // self._parallel_rank_world.num_ranks)

    @property
    def plan(self) -> Plan:
        """The compiled mix (of the first epoch). Raises UserError without a mix."""
        if self.mix is None:
            raise UserError("this dataset has no plan, since it was made without a mix; give it one: mix=...")
        return self._plan

    def sample_ids(self, positions: Sequence[int] | Integers) -> Integers:
        """Return Mosaic's global sample ids of plan `positions` (samples,); without a mix a position is its own id."""
        asked = np.asarray(positions, dtype=np.int64)
        if self.mix is not None:
            return self._ids(self._plan, asked)
        outside = asked[(asked < 0) | (asked >= self.num_samples)]
        if len(outside):
            raise IndexError(f"position {outside[0]} lies outside the dataset's [0, {self.num_samples})")
        return asked

    def __getitems__(self, positions: Sequence[int] | Integers) -> list[dict[str, Any]]:
        """Return the samples at plan `positions` (of the first epoch), in that order; arrays may share memory.

        Without a mix, positions are sample ids. Raises IndexError outside the plan, DataError for a damaged shard.
        """
        ids = self.sample_ids(positions)
        if self.cache_limit:  # an evicted file must not stay mapped: its space would not come free
            return [self[sample_id] for sample_id in ids.tolist()]
        return self._batches.read(ids, self.__getitem__)

    def get_item(self, sample_id: int, retry: int = 7) -> Any:
        """Return the sample of a global sample id; a padding sample is marked by its type."""
        sample = super().get_item(sample_id, retry)
        return PaddingSample(sample) if isinstance(sample_id, PaddingId) else sample

    def prepare_shard(self, shard_id: int, blocking: bool = True) -> None:
        """Download a shard if need be, as Mosaic's does.

        Mosaic takes a file lock per sample read ahead (128 microseconds), to count accesses for eviction. Under a mix,
        without a `cache_limit` that could evict it, a shard once seen here whole is passed over.
        """
        if not blocking and shard_id in self._seen and self._shard_states[shard_id] == _LOCAL:
            return
        super().prepare_shard(shard_id, blocking)
        if self.mix is not None and not self.cache_limit and self._shard_states[shard_id] == _LOCAL:
            self._seen.add(shard_id)

    def state_dict(self, num_samples: int, from_beginning: bool) -> dict[str, Any]:
        """Return the state after `num_samples` samples of all ranks together, counted as Mosaic does.

        Under a mix it also says what was played (see `state`), and padding does not count.
        """
        state: dict[str, Any] = super().state_dict(num_samples, from_beginning)
        if self.mix is None:
            return state
        position = min(int(state["sample_in_epoch"]), self._plan.samples)
        progress = {"epoch": max(0, int(state["epoch"])), "sample_in_epoch": position}
        return {**state, **progress, **self._identity.state(position)}

    def load_state_dict(self, obj: dict[str, Any]) -> None:
        """Continue at a saved state with the next iteration. Raises ChangedError under another mix, seed or data."""
        if self.mix is None:
            refuse_without_mix(obj)
            super().load_state_dict(obj)
            return
        self._identity.check(obj)
        super().load_state_dict({field: obj[field] for field in MOSAIC_FIELDS if field in obj})
        # Mosaic ignores a state older than the epoch it has reached; here a loaded state always counts.
        self.next_epoch = obj["epoch"]

    def close(self) -> None:
        """Give back shared memory and maps now instead of when the process exits; the dataset is of no use after."""
        self._batches.close()
        release(self)

    def _get_work(self, epoch: int, sample_in_epoch: int) -> Any:
        """Return this worker's sample ids from `sample_in_epoch` on: the plan's, or without a mix Mosaic's."""
        if self.mix is None:
            return super()._get_work(epoch, sample_in_epoch)
        if not isinstance(self.batch_size, int):
            raise UserError("StreamingDataset needs batch_size to be iterated: the same number as the DataLoader's")
        # Nobody may begin the next epoch before the local leader has counted this one (Mosaic's own barrier, kept).
        self._shared_barrier(self._unique_worker_world.workers_per_node)
        plan = copy(self._plan) if epoch == 0 else self._plan.later_pass(epoch)  # its caches are not for two threads
        world = self._parallel_worker_world
        share = Share(
            start=sample_in_epoch,
            stop=plan.samples,
            batch_size=self.batch_size,
            nodes=world.num_nodes,
            node=world.node,
            ranks=world.ranks_per_node,
            rank=world.rank_of_node,
            workers=world.workers_per_rank,
            worker=world.worker_of_rank,
        )
        return LazyWork(share, lambda positions: self._ids(plan, positions))

    def _ids(self, plan: Plan, positions: Integers) -> Integers:
        streams, _, samples = plan[positions]
        ids: Integers = self.sample_offset_per_stream[streams] + samples
        return ids


_LOCAL = mosaic.ShardState.LOCAL
_DEFAULTS = {name: parameter.default for name, parameter in signature(mosaic.StreamingDataset).parameters.items()}
