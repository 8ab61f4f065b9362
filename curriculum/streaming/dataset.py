"""StreamingDataset: Mosaic's class, playing a mix.

Idea: one class with Mosaic's arguments. With `mix=...` it plays the plan from mapped shards (`player`); without, it is
Mosaic's own, sample for sample, under names of shared memory that cannot go stale (`shared`). Alternatives: playing the
plan through Mosaic's iterator (its threads and locks cost three quarters of the speed, and its shared memory leaks) or
one dataset per phase (LLM-Foundry: piecewise constant, each phase from the beginning). The price is that under a mix
only the public face of Mosaic's class is there, not its machinery.

    StreamingDataset(mix="mixes/winner.yaml", batch_size=8)    the mix, obeyed to the sample
    StreamingDataset(local="...", batch_size=8)                Mosaic, sample for sample
    dataset.__getitems__(positions)                            whole batches by plan position, without a DataLoader

Under a mix one pass over its samples is an epoch; later epochs play the schedule again and continue the draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from curriculum.errors import DataError, UserError
from curriculum.mix import Mix
from curriculum.plan import Plan
from curriculum.streaming import mosaic
from curriculum.streaming.place import find_place, ranks_here
from curriculum.streaming.player import Options, PaddingSample, Player
from curriculum.streaming.shared import own_names, release
from curriculum.streaming.sources import Defaults, find_sources, refuse_arguments, refuse_mix, with_tokens_per_sample
from curriculum.streaming.state import refuse_without_mix

__all__ = ["PaddingSample", "StreamingDataset"]

Integers = npt.NDArray[np.int64]


class StreamingDataset(mosaic.StreamingDataset):  # type: ignore[misc]  # Mosaic ships no types
    """Mosaic's StreamingDataset with one more argument, `mix`: a Mix, or the path of a mix file.

    With a mix, the arguments that it decides (see `sources.REFUSED_WITH_MIX`) must stay at their defaults; all others
    keep their meaning, those of streams as defaults for the mix's streams, and `num_canonical_nodes` overrides the mix's
    lanes. Without a mix nothing differs from Mosaic. For a mix only:

    data_parallel_rank, data_parallel_size: which share of the samples this process gets, instead of what RANK,
        WORLD_SIZE and LOCAL_WORLD_SIZE say; replicas (tensor, pipeline, context parallel) pass the same rank.
    drop_last: leave out the samples at the end that do not fill a batch on every rank, instead of padding.
    skip: (start, stop) ranges of positions to leave out of the pass that begins or is resumed; states remember them.
    on_change: "refuse" to load a state of another mix, seed or data, or "continue" from its position with this mix.
    positions: add to each sample its plan position, as "position"; `origin(positions)` says where those come from.
    document_ids: add "document_ids" to samples of token files, for masks within documents.

    Raises UserError (arguments, mix), DataError (a stream is missing, empty, damaged or too small), ResourceError.
    """

    def __init__(
        self,
        *,
        mix: Mix | str | Path | None = None,
        data_parallel_rank: int | None = None,
        data_parallel_size: int | None = None,
        drop_last: bool = False,
        skip: Sequence[tuple[int, int]] = (),
        on_change: Literal["refuse", "continue"] = "refuse",
        positions: bool = False,
        document_ids: bool = False,
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
        arguments = {name: value for name, value in locals().items() if name not in ("self", "mix", "__class__")}
        given = {name: arguments[name] for name in _DEFAULTS}
        self.mix = None if mix is None else mix if isinstance(mix, Mix) else Mix.load(mix)
        self._player: Player | None = None
        self._seen: set[int] = set()
        if self.mix is None:
            self._failure: BaseException | None = None
            _refuse_without_mix(arguments)
            with own_names(self):
                super().__init__(**given)
            return
        refuse_arguments(given, _DEFAULTS)
        refuse_mix(self.mix)
        if on_change not in ("refuse", "continue"):
            raise UserError(f'on_change must be "refuse" or "continue", got {on_change!r}')
        self.__dict__.update(given)  # readable under Mosaic's names
        self.predownload = predownload or 8 * (batch_size or 8)
        self.cache_limit = None if cache_limit is None else mosaic.bytes_to_int(cache_limit)
        self._find(arguments)

    def _find(self, arguments: dict[str, Any]) -> None:
        """Find the streams of the mix, compile it for them, and make what plays it."""
        assert self.mix is not None
        sources = find_sources(
            self.mix,
            defaults=Defaults(**{name: arguments[name] for name in Defaults.__slots__}),
            cache_limit=self.cache_limit,
            allow_unsafe_types=self.allow_unsafe_types,
            document_ids=arguments["document_ids"],
        )
        self.mix = with_tokens_per_sample(self.mix, sources)
        largest = max((getattr(source, "largest_shard", 0) for source in sources), default=0)
        ahead = 64 if self.cache_limit is None else max(1, self.cache_limit // (4 * max(1, largest) * ranks_here()))
        self._player = Player(
            self.mix,
            sources,
            options=Options(
                batch_size=self.batch_size,
                predownload=self.predownload,
                cache_limit=self.cache_limit,
                most_ahead=min(64, ahead),
                drop_last=arguments["drop_last"],
                with_positions=arguments["positions"],
                continues=arguments["on_change"] == "continue",
            ),
            place=find_place(
                data_parallel_rank=arguments["data_parallel_rank"],
                data_parallel_size=arguments["data_parallel_size"],
                replication=self.replication,
            ),
            skip=arguments["skip"],
            lanes=self.num_canonical_nodes,
        )
        self._describe(sources)

    def _describe(self, sources: Sequence[Any]) -> None:
        """Set what Mosaic's users read of a dataset."""
        player = self._playing()
        self.streams = [getattr(source, "stream", source) for source in sources]
        self.num_streams = len(sources)
        self.shards = [reader for source in sources for reader in getattr(source, "readers", ())]
        self.samples_per_stream = np.asarray([source.index.samples for source in sources], dtype=np.int64)
        self.sample_offset_per_stream = player.reader.stream_starts
        self.num_samples = player.reader.samples
        self.epoch_size = len(player.first.kept)
        self.num_canonical_nodes = player.identity.mix.lanes
        self.length = player.rows

    @property
    def plan(self) -> Plan:
        """The compiled mix, of the first epoch (or of the one that was loaded). Raises UserError without a mix."""
        return self._playing("this dataset has no plan").first.plan

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield this worker's samples of the next epoch, or of the rest of the one that was loaded."""
        return self._iterate_as_mosaic() if self._player is None else self._player.iterate()

    def _iterate_as_mosaic(self) -> Iterator[dict[str, Any]]:
        try:
            yield from super().__iter__()
        except RuntimeError:
            if self._failure is None:
                raise  # else it says no more than that a thread failed, which is told better below
        # Mosaic's class ends the epoch here as if it were complete, having only logged what its threads met.
        if self._failure is not None:
            raise DataError(
                f"reading ahead failed ({type(self._failure).__name__}: {self._failure}); fetch or write that shard again"
            ) from self._failure

    def on_exception(self, future: Any) -> None:
        """Keep what a thread of Mosaic's met, for the iteration to raise.

        Such a thread leaves without counting itself out. The end of the epoch waits for two of its three threads, so that
        with both downloading ones gone it would wait for ever; hence it is counted out here.
        """
        failure = future.exception()
        if failure is not None:
            self._failure = failure
            self._iterator.on_exit()
        super().on_exception(future)

    def sample_ids(self, positions: Sequence[int] | Integers) -> Integers:
        """Return Mosaic's global sample ids of plan `positions` (samples,); without a mix a position is its own id."""
        asked = np.asarray(positions, dtype=np.int64)
        if self._player is not None:
            return self._player.numbers(self.plan, asked)
        outside = asked[(asked < 0) | (asked >= self.num_samples)]
        if len(outside):
            raise IndexError(f"position {outside[0]} lies outside the dataset's [0, {self.num_samples})")
        return asked

    def __getitems__(self, positions: Sequence[int] | Integers) -> list[dict[str, Any]]:
        """Return the samples at plan `positions` (of the first epoch), in that order; arrays may share memory.

        Without a mix, positions are sample ids. Raises IndexError outside the plan, DataError for a damaged shard.
        """
        if self._player is not None:
            return self._player.samples(np.asarray(positions, dtype=np.int64))
        return [self[sample_id] for sample_id in self.sample_ids(positions).tolist()]

    def origin(self, positions: Sequence[int] | Integers) -> pd.DataFrame:
        """Return where the samples at plan `positions` come from: a row for each, in that order.

        Columns: position, stream (name), epoch (of the stream), sample (in the stream), window_start, window_stop (the
        samples of the window that it was drawn from). Raises UserError without a mix.
        """
        player = self._playing("a sample's origin is known under a mix only")
        return pd.DataFrame(player.origin(np.asarray(positions, dtype=np.int64)))

    def get_item(self, sample_id: int, retry: int = 7) -> Any:
        """Return the sample of a global sample id."""
        if self._player is None:
            return super().get_item(sample_id, retry)
        return self._player.reader.read(np.asarray([sample_id], dtype=np.int64))[0]

    def prepare_shard(self, shard_id: int, blocking: bool = True) -> None:
        """Download a shard if need be.

        Mosaic takes a file lock for every sample read ahead (128 microseconds), to know which shard to evict. Where no
        `cache_limit` can evict any, a shard that this process has once seen here is passed over.
        """
        if self._player is not None:
            self._player.reader.fetch(shard_id)
            return
        if not blocking and shard_id in self._seen and self._shard_states[shard_id] == _LOCAL:
            return
        super().prepare_shard(shard_id, blocking)
        if not self.cache_limit and self._shard_states[shard_id] == _LOCAL:
            self._seen.add(shard_id)

    def evict_shard(self, shard_id: int) -> None:
        """Remove a shard that can be downloaded again."""
        if self._player is None:
            super().evict_shard(shard_id)
        else:
            self._player.reader.evict(shard_id)

    @property
    def next_epoch(self) -> int:
        """The epoch that the next iteration begins."""
        if self._player is None:
            return int(super().next_epoch)
        moment = self._player.progress.moment
        return moment.epoch + moment.begun

    @next_epoch.setter
    def next_epoch(self, next_epoch: int) -> None:
        mosaic.StreamingDataset.next_epoch.fset(self, next_epoch)

    def state_dict(self, num_samples: int, from_beginning: bool) -> dict[str, Any]:
        """Return the state after `num_samples` samples of all ranks together, counted as Mosaic does.

        Under a mix it also says what was played (see `state`), and padding does not count. An explicit
        data-parallel size is taken for the number of ranks that read different samples, whatever the launcher started.
        """
        if self._player is None:
            state: dict[str, Any] = super().state_dict(num_samples, from_beginning)
            return state
        return self._player.state(num_samples // self._counted_ranks(), from_beginning)

    def load_state_dict(self, obj: dict[str, Any]) -> None:
        """Continue at a saved state with the next iteration.

        Raises ChangedError under another mix, seed or data, UserError if this dataset was iterated already.
        """
        if self._player is None:
            refuse_without_mix(obj)
            super().load_state_dict(obj)
            return
        self._player.load(obj)
        self._describe(self._player.reader.sources)

    def close(self) -> None:
        """Give back shared memory and maps now instead of when the process exits; the dataset is of no use after."""
        if self._player is None:
            release(self)
        else:
            self._player.close()

    def _counted_ranks(self) -> int:
        """Ranks over which StreamingDataLoader has summed: those of the launcher, less replicas."""
        ranks = int(mosaic.World.detect().num_ranks)
        return max(1, ranks // (self.replication or 1))

    def _playing(self, complaint: str = "this needs a mix") -> Player:
        if self._player is None:
            raise UserError(f"{complaint}, since it was made without a mix; give it one: mix=...")
        return self._player


def _refuse_without_mix(arguments: dict[str, Any]) -> None:
    """Raise UserError for an argument that means nothing without a mix."""
    for name in ("data_parallel_rank", "data_parallel_size", "drop_last", "skip", "positions", "document_ids"):
        if arguments[name] not in (None, False, (), []):
            raise UserError(f"{name} needs a mix; give one, or drop it (Mosaic's own way is `replication` for ranks)")


_LOCAL = mosaic.ShardState.LOCAL
_DEFAULTS = {name: parameter.default for name, parameter in signature(mosaic.StreamingDataset).parameters.items()}
