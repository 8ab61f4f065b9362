"""Plan: run position -> (stream, epoch, sample), exact, by random access, in constant memory.

Idea: a plan is arithmetic, not a list. `plan[positions]` finds each position's block, the block tells stream and draw,
the stream's windows tell epoch and sample; so resume is one integer and a plan over 1e12 samples costs what a small one
does. Alternatives: an index array (Mosaic, Megatron: 8 bytes a sample, minutes of start-up) or a generator with saved
state (resume must replay). The price is one to three microseconds a sample when read in order.

The future may be edited: `plan.continue_under(mix, at=cursor)` keeps what was played and plays the new mix from there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from curriculum.errors import DataError, UserError
from curriculum.mix import Mix
from curriculum.plan.allocation import Allocation, Block
from curriculum.plan.permutation import Integers
from curriculum.plan.schedule import compile_schedule, run_samples, tokens_per_sample
from curriculum.plan.window_files import windows_of
from curriculum.plan.windows import Windows
from curriculum.units import keyed_seed

_CACHED_BLOCKS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A stretch of the run under one mix, from `start` on."""

    start: int
    mix: Mix
    sizes: Mapping[str, int]
    scores: Mapping[str, Any] | None
    allocation: Allocation
    windows: tuple[Windows, ...]
    indexes: Integers  # this mix's streams -> the plan's


@dataclass(frozen=True, kw_only=True, slots=True)
class PlayedBlock:
    """A block with the epoch and the sample of each of its draws."""

    block: Block
    epochs: Integers
    samples: Integers


class Plan:
    """The compiled mix. Made by `Mix.plan`; behaves like a read-only sequence of (stream, epoch, sample)."""

    def __init__(self, segments: tuple[Segment, ...], streams: tuple[str, ...], passes: int = 0) -> None:
        self.segments = segments
        self.streams = streams
        self.samples = segments[-1].allocation.stop
        self._passes = passes
        self._blocks: OrderedDict[tuple[int, int], PlayedBlock] = OrderedDict()

    @classmethod
    def compile(
        cls,
        mix: Mix,
        *,
        sizes: Mapping[str, int],
        samples: int | None = None,
        lanes: int | None = None,
        scores: Mapping[str, Any] | None = None,
    ) -> Plan:
        """Compile `mix` for streams of `sizes` samples. Raises UserError, DataError (too little data), FileError."""
        if (lanes or mix.lanes) != 1:
            raise UserError(f"mix {mix.name!r}: lanes: {lanes or mix.lanes} is not supported yet; leave lanes at 1")
        length = run_samples(mix) if samples is None else samples
        if length < 1:
            raise UserError(f"a run needs at least one sample, got samples={length}")
        segment = _segment(mix, sizes=sizes, samples=length, scores=scores)
        plan = cls((segment,), tuple(mix.streams))
        plan._check_caps()
        return plan

    def continue_under(
        self,
        mix: Mix,
        *,
        at: int,
        sizes: Mapping[str, int] | None = None,
        samples: int | None = None,
        scores: Mapping[str, Any] | None = None,
    ) -> Plan:
        """Return a plan that equals this one before position `at` and plays `mix` from there on.

        Fractions of the new mix refer to the whole run; every stream's draws go on where they were
        (under the same seed no sample of an epoch is lost or repeated; a new seed draws a new order from there on).
        """
        if not 0 <= at <= self.samples:
            raise UserError(f"the cursor must lie in the run of {self.samples} samples, got {at}")
        length = self.samples if samples is None else samples
        if length <= at:
            raise UserError(f"the run of {length} samples would end before the cursor {at}; give a larger `samples`")
        drawn = self.counts(0, at)
        base = {name: self._carried(name) for name in self.streams}
        carried = {name: base.get(name, 0) + drawn.get(name, 0) for name in {*mix.streams, *self.streams}}
        segment = _segment(
            mix,
            sizes={**self.segments[-1].sizes, **(sizes or {})},
            samples=length,
            scores=scores,
            cursor=at,
            origin=self._nominal(mix, at, length),
            carried=carried,
        )
        kept = tuple(old for old in self.segments if old.start < at)
        plan = Plan((*kept, segment), tuple(dict.fromkeys([*mix.streams, *self.streams])), self._passes)
        plan.segments = tuple(_reindexed(one, plan.streams) for one in plan.segments)
        plan._check_caps()
        return plan

    def later_pass(self, number: int) -> Plan:
        """Return the plan of the `number`-th further pass (0 is this one): same schedule, draws go on."""
        if number == 0:
            return self
        last = self.segments[-1]
        first = self.counts(0, self.samples)
        whole = Plan.compile(last.mix, sizes=last.sizes, samples=self.samples, scores=last.scores)
        each = whole.counts(0, self.samples)
        carried = {name: first.get(name, 0) + (number - 1) * each[name] for name in last.mix.streams}
        segment = _segment(last.mix, sizes=last.sizes, samples=self.samples, scores=last.scores, carried=carried, passes=number)
        plan = Plan((segment,), tuple(last.mix.streams), number)
        plan._check_caps()
        return plan

    def __len__(self) -> int:
        return self.samples

    @overload
    def __getitem__(self, positions: int) -> tuple[int, int, int]: ...
    @overload
    def __getitem__(self, positions: npt.NDArray[Any] | list[int]) -> tuple[Integers, Integers, Integers]: ...
    def __getitem__(self, positions: Any) -> Any:
        """Return (stream, epoch, sample) of one position or of an int64 array of them.

        `stream` indexes `plan.streams`, `sample` counts within it. Raises IndexError outside [0, samples).
        """
        if isinstance(positions, slice):
            raise TypeError("a plan takes an integer or an array of integers; use numpy.arange for a range")
        asked = np.asarray(positions)
        if asked.size and not np.issubdtype(asked.dtype, np.integer):
            raise TypeError(f"positions must be integers, got {asked.dtype}")
        flat = np.atleast_1d(asked).astype(np.int64).ravel()
        outside = flat[(flat < 0) | (flat >= self.samples)]
        if len(outside):
            raise IndexError(f"position {outside[0]} lies outside the plan's [0, {self.samples})")
        streams, epochs, samples = self._look_up(flat)
        if asked.ndim == 0:
            return int(streams[0]), int(epochs[0]), int(samples[0])
        return streams.reshape(asked.shape), epochs.reshape(asked.shape), samples.reshape(asked.shape)

    def counts(self, start: int, stop: int) -> dict[str, int]:
        """Return how many samples of each stream positions [start, stop) hold, without walking them."""
        if not 0 <= start <= stop <= self.samples:
            raise IndexError(f"wanted 0 <= start <= stop <= {self.samples}, got start={start}, stop={stop}")
        totals = self._before(stop) - self._before(start)
        return {name: int(total) for name, total in zip(self.streams, totals, strict=True)}

    @property
    def sizes(self) -> dict[str, int]:
        """Samples each stream of the current mix has."""
        return {name: self.segments[-1].sizes[name] for name in self.segments[-1].mix.streams}

    @property
    def phase_ends(self) -> tuple[int, ...]:
        """Positions at which the phases of the current mix end; the last is the plan's length."""
        allocation = self.segments[-1].allocation
        return tuple(allocation.position(max(cut, allocation.schedule.origin)) for cut in allocation.schedule.cuts)

    def block_ends(self) -> Iterator[tuple[int, int]]:
        """Yield (nominal end, position) of every block of the current segment: where |counts - W| < 1 holds."""
        allocation = self.segments[-1].allocation
        end = allocation.schedule.origin
        while end < allocation.schedule.samples:
            _, end = allocation.bounds(end)
            yield end, allocation.position(end)

    def expected(self, nominal: int) -> dict[str, Fraction]:
        """Return W_s(nominal), the exact number of samples due since the current segment began."""
        segment = self.segments[-1]
        return dict(zip(segment.mix.streams, segment.allocation.schedule.expected(nominal), strict=True))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_blocks": OrderedDict()}

    def _segment_at(self, position: int) -> int:
        return max(index for index, segment in enumerate(self.segments) if segment.start <= position)

    def _block(self, position: int) -> tuple[int, PlayedBlock]:
        for (index, _), played in reversed(self._blocks.items()):
            block = played.block
            if max(block.start, self.segments[index].start) <= position < min(block.stop, self._end(index)):
                return index, played
        index = self._segment_at(position)
        start, end = self.segments[index].allocation.block_of(position)
        played = _play(self.segments[index], start, end)
        self._blocks[index, start] = played
        if len(self._blocks) > _CACHED_BLOCKS:
            self._blocks.popitem(last=False)
        return index, played

    def _end(self, index: int) -> int:
        return self.segments[index + 1].start if index + 1 < len(self.segments) else self.samples

    def _look_up(self, positions: Integers) -> tuple[Integers, Integers, Integers]:
        """Return (stream, epoch, sample) of each position, visiting every block once."""
        streams, epochs, samples = (np.empty_like(positions) for _ in range(3))
        ranks = np.argsort(positions, kind="stable")
        ordered = positions[ranks]
        done = 0
        while done < len(ordered):
            index, played = self._block(int(ordered[done]))
            after = int(np.searchsorted(ordered, min(played.block.stop, self._end(index))))
            here, inside = ranks[done:after], ordered[done:after] - played.block.start
            streams[here] = self.segments[index].indexes[played.block.streams[inside]]
            epochs[here], samples[here] = played.epochs[inside], played.samples[inside]
            done = after
        return streams, epochs, samples

    def _before(self, position: int) -> Integers:
        """Draws of each of the plan's streams in positions [0, position)."""
        totals = np.zeros(len(self.streams), dtype=np.int64)
        for index, segment in enumerate(self.segments):
            if segment.start >= position:
                break
            drawn = self._drawn_within(segment, min(position, self._end(index)))
            np.add.at(totals, segment.indexes, drawn - np.asarray(segment.allocation.carried, dtype=np.int64))
        return totals

    def _drawn_within(self, segment: Segment, position: int) -> Integers:
        allocation = segment.allocation
        if position >= allocation.stop:
            return np.asarray(allocation.drawn(allocation.schedule.samples), dtype=np.int64)
        block = allocation.block(*allocation.block_of(position))
        played = np.bincount(block.streams[: position - block.start], minlength=len(block.drawn))
        return block.drawn + played

    def _carried(self, name: str) -> int:
        first = self.segments[0]
        return dict(zip(first.mix.streams, first.allocation.carried, strict=True)).get(name, 0)

    def _nominal(self, mix: Mix, at: int, length: int) -> int:
        """The nominal position of the cursor in the new mix: by samples, or by the tokens that were consumed."""
        if mix.unit == "samples":
            return at
        past = self.segments[-1].mix
        weights = dict(zip(past.streams, tokens_per_sample(past), strict=True))
        weights.update(zip(mix.streams, tokens_per_sample(mix), strict=True))
        consumed = sum(weights.get(name, 0) * count for name, count in self.counts(0, at).items())
        total = sum(weights.get(name, 0) * count for name, count in self.counts(0, self.samples).items())
        return min(length - 1, length * consumed // total)

    def _check_caps(self) -> None:
        """No stream may be asked for more epochs than its cap, nor a stream without samples for any."""
        played = self.counts(0, self.samples)
        segment = self.segments[-1]
        for (name, stream), windows in zip(segment.mix.streams.items(), segment.windows, strict=True):
            wanted = self._carried(name) + played[name]
            if stream.max_epochs is None or wanted <= stream.max_epochs * windows.length:
                continue
            allowed = stream.max_epochs * windows.length
            raise DataError(
                f"stream {name!r} would be asked for {wanted} samples ({wanted / windows.length:.2f} epochs), but "
                f"max_epochs: {stream.max_epochs} of its {windows.length} samples allows {allowed}; "
                "lower its weights, raise max_epochs, add data or shorten the run"
            )


def _segment(
    mix: Mix,
    *,
    sizes: Mapping[str, int],
    samples: int,
    scores: Mapping[str, Any] | None,
    cursor: int = 0,
    origin: int = 0,
    carried: Mapping[str, int] | None = None,
    passes: int = 0,
) -> Segment:
    _check_sizes(mix, sizes)
    schedule = compile_schedule(mix, samples=samples, origin=origin, due=samples - cursor)
    allocation = Allocation(
        schedule=schedule,
        cursor=cursor,
        carried=tuple((carried or {}).get(name, 0) for name in mix.streams),
        key=keyed_seed(mix.seed, "pass", passes),
        names=tuple(mix.streams),
        exact_lag=mix.unit == "samples",
    )
    windows = tuple(
        windows_of(name, stream, size=max(sizes[name], 1), key=keyed_seed(mix.seed, "stream", name), scores=scores)
        for name, stream in mix.streams.items()
    )
    return Segment(
        start=cursor,
        mix=mix,
        sizes=dict(sizes),
        scores=scores,
        allocation=allocation,
        windows=windows,
        indexes=np.arange(len(mix.streams)),
    )


def _play(segment: Segment, nominal_start: int, nominal_end: int) -> PlayedBlock:
    """Locate a block's draws once, so that the batches which share it only look them up."""
    block = segment.allocation.block(nominal_start, nominal_end)
    epochs, samples = np.empty_like(block.draws), np.empty_like(block.draws)
    for own, windows in enumerate(segment.windows):
        chosen = np.flatnonzero(block.streams == own)
        if len(chosen):
            epochs[chosen], samples[chosen] = windows.locate(block.draws[chosen])
    return PlayedBlock(block=block, epochs=epochs, samples=samples)


def _reindexed(segment: Segment, streams: tuple[str, ...]) -> Segment:
    indexes = np.asarray([streams.index(name) for name in segment.mix.streams], dtype=np.int64)
    fields = {name: getattr(segment, name) for name in Segment.__slots__}
    return Segment(**{**fields, "indexes": indexes})


def _check_sizes(mix: Mix, sizes: Mapping[str, int]) -> None:
    for name in mix.streams:
        if name not in sizes:
            raise UserError(f"no size given for stream {name!r} of mix {mix.name!r}; sizes has {', '.join(sizes) or 'none'}")
        if int(sizes[name]) != sizes[name] or sizes[name] < 0:
            raise UserError(f"the size of stream {name!r} must be a whole number of samples, got {sizes[name]!r}")
        if sizes[name] == 0 and any(phase.weights[name] or (phase.to or phase.weights)[name] for phase in mix.phases):
            raise DataError(f"stream {name!r} is empty but has weight; remove it, give it weight 0, or add data")
