"""A mix being played: from a worker's positions to samples, with what is fetched ahead and what a checkpoint says.

Idea: every process computes its own share of the plan and reads it from mapped shards; nothing is handed out, so there
is no leader, no barrier and no array of the epoch. A rank's workers share one thing, the epoch that is played
(`progress`). Alternatives: Mosaic's iterator under another order (three threads that poll, a file lock and an open file
per sample: a quarter of the speed) or a central queue. The price is that what Mosaic's iterator did for caches and
prefetching is done here again (`cache`, `prefetch`).

Samples are read in groups, of a batch or more while they are small, so that numpy's overhead is shared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch.utils.data import get_worker_info

from curriculum.errors import UserError
from curriculum.mix import Mix
from curriculum.plan import Plan
from curriculum.streaming.history import History, history_of
from curriculum.streaming.place import Place
from curriculum.streaming.prefetch import Prefetcher
from curriculum.streaming.progress import Progress
from curriculum.streaming.reader import SampleReader
from curriculum.streaming.shards import Integers, Source
from curriculum.streaming.state import Identity
from curriculum.streaming.work import Kept, Share

_FIRST_CHUNK, _CHUNK = 256, 4096  # positions looked up at once: few for the first sample, then more for less overhead
_GROUP = 256  # samples read at once, if they are small
_GROUP_BYTES = 1 << 22


class PaddingSample(dict[str, Any]):
    """A sample repeated at the end of an epoch, so that all ranks yield equally many; leave it out of counts.

    A collate function can tell it by its type; torch's default one drops the mark. At most one a rank and epoch.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How a mix is played, as opposed to what: nothing here changes the order of samples."""

    batch_size: int | None
    predownload: int
    cache_limit: int | None = None
    most_ahead: int = 64  # shards that may wait, fetched, for their use: fewer where a cache_limit could evict them
    drop_last: bool = False
    with_positions: bool = False
    continues: bool = False  # on_change="continue"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """One epoch of the dataset: what is played, and which positions of it."""

    history: History
    kept: Kept

    @property
    def plan(self) -> Plan:
        """The plan of this epoch."""
        return self.history.plan


class Player:
    """Plays a mix over sources: `iterate`, `samples`, `state`, `load`."""

    def __init__(
        self,
        mix: Mix,
        sources: Sequence[Source],
        *,
        options: Options,
        place: Place,
        skip: Sequence[Sequence[int]],
        lanes: int | None,
    ) -> None:
        self.options = options
        self.place = place
        self.reader = SampleReader(sources)
        self.progress = Progress()
        self._passes_here = 0
        self._is_remote = any(source.has_remote for source in sources)
        self._sizes = {source.name: source.index.samples for source in sources}
        plan = mix.plan(sizes=self._sizes, lanes=lanes)
        self.identity = Identity.of(mix if lanes is None else replace(mix, lanes=lanes), plan, sources)
        history = History(epoch=0, position=0, plan=plan, segments=((0, self.identity.canonical),))
        self.first = Pass(history=history, kept=Kept.without(plan.samples, skip))

    @property
    def rows(self) -> int:
        """Samples that this rank gets in the first epoch, padding included."""
        return self._share(self.first, start=0, worker=0, workers=1).rows

    def iterate(self) -> Iterator[dict[str, Any]]:
        """Yield this worker's samples of the next pass, or of the rest of the one that was loaded."""
        if not isinstance(self.options.batch_size, int):
            raise UserError("StreamingDataset needs batch_size to be iterated: the same number as the DataLoader's")
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        self._passes_here += 1
        token = 0 if info is None else hash((info.seed - info.id, self._passes_here)) & (2**62 - 1) | 1
        moment = self.progress.begin(worker, token)
        playing = self._pass(moment.epoch)
        share = self._share(playing, start=playing.kept.number(moment.start), worker=worker, workers=workers)
        return self._play(playing, share)

    def numbers(self, plan: Plan, positions: Integers) -> Integers:
        """Return the sample numbers, over all streams, of a plan's `positions` (samples,)."""
        streams, _, samples = plan[positions]
        starts = self._starts(plan)
        numbers: Integers = starts[streams] + samples
        return numbers

    def samples(self, positions: Integers) -> list[dict[str, Any]]:
        """Return the samples at `positions` of the first pass, in that order. Raises IndexError, DataError."""
        self._drop_evicted()
        found = self.reader.read(self.numbers(self.first.plan, positions))
        return self._with_positions(found, positions)

    def state(self, rank_samples: int, from_beginning: bool) -> dict[str, Any]:
        """Return the state after every rank has seen `rank_samples` samples, of this pass or since it was resumed."""
        moment = self.progress.moment
        playing = self._pass(moment.epoch)
        begun = 0 if from_beginning else playing.kept.number(moment.start)
        number = min(begun + rank_samples * self.place.size, len(playing.kept))
        position = playing.kept.position(number)
        history = playing.history
        return {
            "epoch": history.epoch,
            "sample_in_epoch": position,
            "position": position,
            "samples": history.plan.samples,
            "segments": [list(segment) for segment in history.segments],
            "drawn": None if history.drawn is None else dict(history.drawn),
            "skipped": [list(each) for each in playing.kept.skipped],
            "fingerprint": self.identity.fingerprint,
            "streams": {**(history.past_streams or {}), **self.identity.data()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue at a saved state with the next pass. Raises ChangedError, and UserError after an iteration began."""
        self.identity.check(state, continues=self.options.continues)
        history = history_of(state, self.identity, self._sizes)
        kept = _kept(history, state, self.first.kept.skipped)
        self.progress.load(history.epoch, history.position)
        self.first = Pass(history=history, kept=kept)

    def origin(self, positions: Integers) -> dict[str, Any]:
        """Return columns that say where the samples at `positions` of the first pass come from."""
        plan = self.first.plan
        streams, epochs, samples = plan[positions]
        starts, stops = plan.windows(positions)
        names = np.asarray(plan.streams, dtype=object)[streams]
        return {
            "position": positions,
            "stream": names,
            "epoch": epochs,
            "sample": samples,
            "window_start": starts,
            "window_stop": stops,
        }

    def close(self) -> None:
        """Give back maps and the shared file; the player is of no use after."""
        self.reader.close()
        self.progress.close()

    def _pass(self, epoch: int) -> Pass:
        first = self.first.history
        if epoch == first.epoch:
            return replace(self.first, history=replace(first, plan=copy(first.plan)))  # its caches are not for two threads
        plan = first.plan.later_pass(epoch - first.epoch)
        history = History(
            epoch=epoch,
            position=0,
            plan=plan,
            segments=((0, self.identity.canonical),),
            drawn=_drawn_before(first, epoch),
            past_streams=first.past_streams,
        )
        return Pass(history=history, kept=Kept(plan.samples))

    def _share(self, playing: Pass, *, start: int, worker: int, workers: int) -> Share:
        return Share(
            start=start,
            stop=len(playing.kept),
            batch_size=self.options.batch_size or 1,
            nodes=self.place.nodes,
            node=self.place.node,
            ranks=self.place.ranks,
            rank=self.place.rank,
            workers=workers,
            worker=worker,
            drop_last=self.options.drop_last,
        )

    def _starts(self, plan: Plan) -> Integers:
        """Return the first sample number of each of the plan's streams; -1 for one that the mix no longer has."""
        known = dict(zip((source.name for source in self.reader.sources), self.reader.stream_starts.tolist(), strict=True))
        return np.asarray([known.get(name, -1) for name in plan.streams], dtype=np.int64)

    def _play(self, playing: Pass, share: Share) -> Iterator[dict[str, Any]]:
        groups = self._groups(playing, share)
        if not self._is_remote:
            for numbers, positions, padding in groups:
                yield from self._finished(self.reader.read(numbers), positions, padding)
            return
        prefetcher = Prefetcher(self.reader.fetch)
        try:
            for numbers, positions, padding in self._fetched_ahead(groups, prefetcher):
                self._drop_evicted()
                yield from self._finished(self.reader.read(numbers, prefetcher.wait), positions, padding)
        finally:
            prefetcher.close()

    def _groups(self, playing: Pass, share: Share) -> Iterator[tuple[Integers, Integers, Integers]]:
        """Yield (sample numbers, positions, places of padding) of this worker, group by group: small ones first."""
        most = self._group_size()
        size = min(most, self.options.batch_size or 1)
        for indices in _chunks(len(share)):
            kept, padding = share.positions(indices)
            positions = playing.kept.positions(kept)
            numbers = self.numbers(playing.plan, positions)
            first = 0
            while first < len(indices):
                part = slice(first, first + size)
                yield numbers[part], positions[part], np.flatnonzero(padding[part])
                first, size = first + size, min(most, 2 * size)

    def _group_size(self) -> int:
        """Return how many samples are read at once: fewer where they are large, or would wait for each other's shards."""
        largest = max((source.bytes_per_sample for source in self.reader.sources), default=1)
        most = (self.options.batch_size or 1) if self._is_remote else _GROUP
        return max(1, min(most, _GROUP_BYTES // max(1, largest)))

    def _fetched_ahead(self, groups: Iterator[Any], prefetcher: Prefetcher) -> Iterator[Any]:
        """Yield the groups, having announced the shards of those up to `predownload` samples ahead."""
        ahead: deque[Any] = deque()
        samples = 0
        for group in groups:
            ahead.append(group)
            samples += len(group[0])
            for shard in self.reader.shards_of(group[0]):
                if not self.reader.is_open(shard) and prefetcher.waiting < self.options.most_ahead:
                    prefetcher.want(shard)
            while samples > self.options.predownload and ahead:
                samples -= len(ahead[0][0])
                yield ahead.popleft()
        yield from ahead

    def _finished(self, samples: list[dict[str, Any]], positions: Integers, padding: Integers) -> list[dict[str, Any]]:
        samples = self._with_positions(samples, positions)
        for place in padding.tolist():
            samples[place] = PaddingSample(samples[place])
        return samples

    def _with_positions(self, samples: list[dict[str, Any]], positions: Integers) -> list[dict[str, Any]]:
        if self.options.with_positions:
            for sample, position in zip(samples, positions, strict=True):
                sample["position"] = position
        return samples

    def _drop_evicted(self) -> None:
        """Close shards whose files are gone: their space comes free when the last map goes."""
        if self.options.cache_limit is None:
            return

        def is_evicted(shard: int) -> bool:
            source, own = self.reader.locate(shard)
            return source.has_remote and not source.is_here(own)

        self.reader.drop(is_evicted)


def _chunks(length: int) -> Iterator[Integers]:
    """Yield the indices [0, length) in chunks that grow."""
    start, size = 0, _FIRST_CHUNK
    while start < length:
        yield np.arange(start, min(start + size, length), dtype=np.int64)
        start, size = start + size, min(_CHUNK, 2 * size)


def _kept(history: History, state: Mapping[str, Any], asked: Sequence[tuple[int, int]]) -> Kept:
    """Return the positions that are played: without what the state skipped and what is to be skipped from now on."""
    same_pass = history.epoch == int(state["epoch"])
    remembered = Kept.without(history.plan.samples, state.get("skipped", ()) if same_pass else ())
    for start, stop in asked:
        known = any(first <= start and stop <= last for first, last in remembered.skipped)
        if start < history.position and not known:
            raise UserError(
                f"skip=[({start}, {stop})] begins before position {history.position}, where the saved run goes on; "
                "load a checkpoint from before it, or begin the range at that position"
            )
    return Kept.without(history.plan.samples, [*remembered.skipped, *asked])


def _drawn_before(first: History, epoch: int) -> dict[str, Any] | None:
    """Return what each stream gave before `epoch`, or None if the mix of the segments alone tells it."""
    if first.drawn is None and len(first.segments) == 1:
        return None
    return first.plan.drawn_before_pass(epoch - first.epoch)
