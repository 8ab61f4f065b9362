"""Plan: run position -> (stream, epoch, sample), exact, by random access, in constant memory.

Idea: a plan is arithmetic, not a list. `plan[positions]` finds each position's block, the block tells stream and draw,
the stream's windows tell epoch and sample; so resume is one integer and a plan over 1e12 samples costs what a small one
does. Alternatives: an index array (Mosaic, Megatron: 8 bytes a sample, minutes of start-up) or a generator with saved
state (resume must replay). The price is some microseconds a sample when read in order.

Position p belongs to lane p mod `plan.lanes`. With one lane a draw's number is all that is asked; with several, the
lanes' own draws are followed through the run by its `ledger`.

The future may be edited: `plan.continue_under(mix, at=cursor)` keeps what was played and plays the new mix from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import replace
from fractions import Fraction
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from curriculum.errors import DataError, UserError
from curriculum.mix import Mix
from curriculum.plan.allocation import Block
from curriculum.plan.cache import Cache
from curriculum.plan.ledger import Ledger
from curriculum.plan.pages import Pages
from curriculum.plan.past import Carried, Past, RecordedPast, read_carried
from curriculum.plan.permutation import Integers
from curriculum.plan.schedule import run_samples, tokens_per_sample
from curriculum.plan.segment import Segment, compile_segment, lane_rows
from curriculum.units import keyed_seed

_REMEMBERED_POSITIONS = 2**18  # 24 bytes each
_REMEMBERED_PASSES = 4
_REMEMBERED = ("ledger", "_pages", "_blocks", "_passes_ahead", "_ends", "_whole")


class Plan:
    """The compiled mix. Made by `Mix.plan`; behaves like a read-only sequence of (stream, epoch, sample).

    `base` are the draws (lanes,) of each stream before this pass; `past` is the ledger that they, or the segments before
    an edit, are known by.
    """

    def __init__(
        self,
        segments: tuple[Segment, ...],
        streams: tuple[str, ...],
        *,
        passes: int = 0,
        base: Mapping[str, Integers] | None = None,
        past: Past | None = None,
        before_edit: Plan | None = None,
    ) -> None:
        self.segments = tuple(_reindexed(segment, streams) for segment in segments)
        self.streams = streams
        self.samples = segments[-1].allocation.stop
        self.lanes = segments[-1].allocation.lanes
        self.base = dict(base or {})
        self.past = past
        self._before_edit = before_edit
        self._passes = passes
        self._forget()

    @classmethod
    def compile(
        cls,
        mix: Mix,
        *,
        sizes: Mapping[str, int],
        samples: int | None = None,
        lanes: int | None = None,
        scores: Mapping[str, Any] | None = None,
        carried: Carried | None = None,
        passes: int = 0,
    ) -> Plan:
        """Compile `mix` for streams of `sizes` samples. Raises UserError, DataError (too little data), FileError.

        `lanes` overrides the mix's. `carried`, as `drawn_before_pass` gives it, is what streams gave in `passes`
        passes before.
        """
        length = run_samples(mix) if samples is None else samples
        lanes = mix.lanes if lanes is None else lanes
        if length < 1:
            raise UserError(f"a run needs at least one sample, got samples={length}")
        if lanes < 1:
            raise UserError(f"a run needs at least one lane, got lanes={lanes}")
        base = read_carried(carried or {}, lanes)
        segment = compile_segment(mix, sizes=sizes, samples=length, lanes=lanes, scores=scores, carried=base, passes=passes)
        past = RecordedPast(carried, lanes) if carried else None
        plan = cls((segment,), tuple(mix.streams), passes=passes, base=base, past=past)
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
        Lanes stay as they are: raises UserError if `mix` states others.
        """
        length = self.samples if samples is None else samples
        self._check_edit(mix, at, length)
        segment = compile_segment(
            mix,
            sizes={**self.segments[-1].sizes, **(sizes or {})},
            samples=length,
            lanes=self.lanes,
            scores=scores,
            carried=self.ledger.before(at),
            passes=self._passes,
            cursor=at,
            origin=self._nominal(mix, at, length),
        )
        before: Plan | None = self
        while before is not None and before.segments[-1].start >= at:
            before = before._before_edit
        plan = Plan(
            (*(before.segments if before else ()), segment),
            tuple(dict.fromkeys([*mix.streams, *self.streams])),
            passes=self._passes,
            base=self.base,
            past=before.ledger if before else self._past_of_pass(),
            before_edit=before,
        )
        plan._check_caps()
        return plan

    def later_pass(self, number: int) -> Plan:
        """Return the plan of the `number`-th further pass (0 is this one): same schedule, draws go on."""
        if number == 0:
            return self
        plan = self._further_pass(number)
        plan._check_caps()
        return plan

    def drawn_before_pass(self, number: int) -> dict[str, Any]:
        """Return what each stream gave before the `number`-th further pass, for `Plan.compile(carried=...)`.

        With one lane its draws, an int; with several a record, ready for JSON, of what each lane drew.
        """
        plan = self._further_pass(number) if number else self
        past = plan._past_of_pass()
        if past is None:
            return {}
        if self.lanes == 1:
            return {name: int(lanes[0]) for name, lanes in plan.base.items()}
        return {name: past.record(name, lanes) for name, lanes in plan.base.items()}

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
        flat = self._checked(asked)
        streams, epochs, samples = (np.empty_like(flat) for _ in range(3))
        for page, here, inside in self._pages.visit(flat):
            streams[here] = self.segments[page.index].indexes[page.streams[inside]]
            epochs[here], samples[here] = page.epochs[inside], page.samples[inside]
        if asked.ndim == 0:
            return int(streams[0]), int(epochs[0]), int(samples[0])
        return streams.reshape(asked.shape), epochs.reshape(asked.shape), samples.reshape(asked.shape)

    def windows(self, positions: npt.NDArray[Any] | list[int]) -> tuple[Integers, Integers]:
        """Return the window [start, stop), in samples of its stream, that each position's sample is played from.

        `positions` as for `plan[positions]`; both results have their shape. Raises IndexError outside [0, samples).
        """
        asked = np.asarray(positions)
        flat = self._checked(asked)
        starts, stops = np.empty_like(flat), np.empty_like(flat)
        for page, here, inside in self._pages.visit(flat):
            streams, windows = page.streams[inside], page.windows[inside]
            for own in np.unique(streams):
                chosen = streams == own
                found = self.segments[page.index].ranges(own, windows[chosen])
                starts[here[chosen]], stops[here[chosen]] = found
        return starts.reshape(asked.shape), stops.reshape(asked.shape)

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

    def block(self, index: int, nominal_start: int, nominal_end: int) -> Block:
        """Return a block of segment `index`, compiled once while it is remembered."""
        found = self._blocks.get((index, nominal_start))
        if found is None:
            found = self.segments[index].allocation.block(nominal_start, nominal_end)
            self._blocks.put((index, nominal_start), found, len(found.streams))
        return found

    def as_planned(self, index: int) -> Plan:
        """Return the plan whose last segment is `index`: this one, or that before a later edit."""
        plan = self
        while len(plan.segments) > index + 1 and plan._before_edit is not None:
            plan = plan._before_edit
        return plan

    def end(self, index: int) -> int:
        """Return the position at which segment `index` ends."""
        return self.segments[index + 1].start if index + 1 < len(self.segments) else self.samples

    def drawn_within(self, index: int, position: int) -> Integers:
        """Return the draws of segment `index`'s streams and lanes before `position`, earlier ones included."""
        if position == self.end(index) and index in self._ends:
            return self._ends[index]
        allocation = self.segments[index].allocation
        if position >= allocation.stop:
            drawn = allocation.lane_drawn(allocation.schedule.samples)
        else:
            drawn = self.block(index, *allocation.block_of(position)).drawn_before(position)
        if position == self.end(index):
            self._ends[index] = drawn
        return drawn

    def pass_of_draw(self, name: str, draw: int) -> Plan | None:
        """Return the further pass in which a stream comes to a draw that this pass does not reach, or None."""
        segment = self._whole_pass()
        own = segment.own(name)
        each = 0 if own is None else segment.allocation.drawn(segment.allocation.schedule.samples)[own]
        if each == 0:
            return None
        return self._further_pass(1 + (draw - int(self.ledger.before(self.samples)[name].sum())) // each)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is only remembered; a copy shares no memory with this plan, so another thread may use it."""
        kept = {name: value for name, value in self.__dict__.items() if name not in _REMEMBERED}
        before_edit = copy(self._before_edit)
        return {**kept, "_before_edit": before_edit, "past": before_edit.ledger if before_edit else copy(self.past)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def _forget(self) -> None:
        """Begin with nothing remembered."""
        self.ledger = Ledger(self)
        self._pages = Pages(self)
        self._blocks: Cache[tuple[int, int], Block] = Cache(_REMEMBERED_POSITIONS)
        self._passes_ahead: Cache[int, Plan] = Cache(_REMEMBERED_PASSES)
        self._ends: dict[int, Integers] = {}
        self._whole: Segment | None = None

    def _past_of_pass(self) -> Past | None:
        """The ledger of the passes before this one."""
        plan = self
        while plan._before_edit is not None:
            plan = plan._before_edit
        return plan.past

    def _whole_pass(self) -> Segment:
        """A pass under the current mix alone, from draw 0 on: what every further pass is but for its draws and key."""
        if self._whole is None:
            last = self.segments[-1]
            self._whole = replace(
                compile_segment(
                    last.mix,
                    sizes=last.sizes,
                    samples=self.samples,
                    lanes=self.lanes,
                    scores=last.scores,
                    carried={},
                    passes=0,
                ),
                windows=last.windows,
                owners=last.owners,
            )
        return self._whole

    def _further_pass(self, number: int) -> Plan:
        known = self._passes_ahead.get(number)
        if known is not None:
            return known
        whole, base = self._whole_pass(), self.ledger.before(self.samples)
        each = whole.allocation.lane_drawn(whole.allocation.schedule.samples)
        for name, drawn in zip(whole.mix.streams, each, strict=True):
            base[name] = base.get(name, 0) + (number - 1) * drawn
        passes = self._passes + number
        allocation = whole.allocation.resumed(
            lane_rows(whole.mix, base, self.lanes), keyed_seed(whole.mix.seed, "pass", passes)
        )
        segment = replace(whole, allocation=allocation)
        plan = Plan((segment,), tuple(whole.mix.streams), passes=passes, base=base, past=self.ledger)
        self._passes_ahead.put(number, plan)
        return plan

    def _checked(self, asked: npt.NDArray[Any]) -> Integers:
        if asked.size and not np.issubdtype(asked.dtype, np.integer):
            raise TypeError(f"positions must be integers, got {asked.dtype}")
        flat: Integers = np.atleast_1d(asked).astype(np.int64).ravel()
        outside = flat[(flat < 0) | (flat >= self.samples)]
        if len(outside):
            raise IndexError(f"position {outside[0]} lies outside the plan's [0, {self.samples})")
        return flat

    def _before(self, position: int) -> Integers:
        """Draws of each of the plan's streams in positions [0, position)."""
        totals = np.zeros(len(self.streams), dtype=np.int64)
        for index, segment in enumerate(self.segments):
            if segment.start >= position:
                break
            drawn = self.drawn_within(index, min(position, self.end(index))).sum(axis=1)
            np.add.at(totals, segment.indexes, drawn - np.asarray(segment.allocation.carried, dtype=np.int64))
        return totals

    def _check_edit(self, mix: Mix, at: int, length: int) -> None:
        if not 0 <= at <= self.samples:
            raise UserError(f"the cursor must lie in the run of {self.samples} samples, got {at}")
        if length <= at:
            raise UserError(f"the run of {length} samples would end before the cursor {at}; give a larger `samples`")
        if mix.lanes not in (self.lanes, self.segments[-1].mix.lanes):
            raise UserError(
                f"mix {mix.name!r}: lanes: {mix.lanes} differs from the {self.lanes} lanes of the run; who reads what would "
                f"change in the middle of an epoch. Leave lanes at {self.lanes}, or begin a new run"
            )

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
        drawn = self.ledger.before(self.samples)
        segment = self.segments[-1]
        for (name, stream), windows in zip(segment.mix.streams.items(), segment.windows, strict=True):
            wanted = int(drawn[name].sum())
            if stream.max_epochs is None or wanted <= stream.max_epochs * windows.length:
                continue
            allowed = stream.max_epochs * windows.length
            raise DataError(
                f"stream {name!r} would be asked for {wanted} samples ({wanted / windows.length:.2f} epochs), but "
                f"max_epochs: {stream.max_epochs} of its {windows.length} samples allows {allowed}; "
                "lower its weights, raise max_epochs, add data or shorten the run"
            )


def _reindexed(segment: Segment, streams: tuple[str, ...]) -> Segment:
    indexes = np.asarray([streams.index(name) for name in segment.mix.streams], dtype=np.int64)
    return replace(segment, indexes=indexes)
