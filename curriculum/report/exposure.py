"""What every stream really gives, phase by phase: the numbers behind `curriculum check`.

Idea: requested shares come from the mix's weights, realised ones are counted by the compiled plan, so that the table
would show it if the two parted. Shares are of what the mix's weights count (samples or tokens). The price of counting:
shares of very short phases are coarse, as they are in the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.table import Table

from curriculum.mix import Mix, Phase, Stream
from curriculum.plan import Plan
from curriculum.plan.schedule import proportions
from curriculum.units import format_count

_GAP = 2  # columns of the terminal between two of a table
_SHORTEST_NAME = 6
MANY_EPOCHS = 4  # up to here repeated data is nearly as good as new (Muennighoff et al., 2023)


@dataclass(frozen=True, kw_only=True, slots=True)
class Gift:
    """What one stream gives in a part of the run.

    requested_start, requested_stop:  its share at the beginning and end of the part (None for the whole run)
    requested, realised:              its mean share of the unit, as asked for and as counted
    samples, tokens:                  how much that is (tokens None where unknown)
    epochs:                           passes over the stream, or the subset of it that is played, from the run's
                                      beginning to the part's end (None: unknown)
    """

    requested_start: float | None
    requested_stop: float | None
    requested: float
    realised: float
    samples: int
    tokens: int | None
    epochs: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Positions [start, stop) of the run: a phase, or all of it."""

    start: int
    stop: int
    streams: Mapping[str, Gift]


@dataclass(frozen=True, kw_only=True, slots=True)
class Exposure:
    """A mix's phases and its whole run; `sizes` (samples) and `tokens_per_sample` are None where unknown."""

    mix: Mix
    sizes: Mapping[str, int | None]
    tokens_per_sample: Mapping[str, int | None]
    phases: tuple[Part, ...]
    total: Part

    def warnings(self) -> list[str]:
        """Return what is allowed but probably not meant."""
        found = []
        for name, gift in self.total.streams.items():
            if gift.samples == 0:
                reason = "no phase gives it weight" if gift.requested == 0 else "its weight is too small for this run"
                found.append(f"stream {name!r} gives no sample: {reason}")
            if gift.epochs is not None and gift.epochs > MANY_EPOCHS:
                found.append(
                    f"stream {name!r} is repeated {gift.epochs:.2f} times; beyond {MANY_EPOCHS} epochs repeated data "
                    "teaches much less than new data: lower its weights, cap it with max_epochs, or add data"
                )
            stream = self.mix.streams[name]
            if self.sizes[name] is None and stream.subset is None and stream.max_epochs is not None:
                found.append(f"stream {name!r} has a max_epochs that cannot be checked while its size is unknown")
        return found

    def as_document(self) -> dict[str, Any]:
        """Return phases and total as JSON's own types."""
        return {"phases": [asdict(part) for part in self.phases], "total": asdict(self.total)}


def measure_exposure(
    mix: Mix, plan: Plan, *, sizes: Mapping[str, int | None], tokens_per_sample: Mapping[str, int | None]
) -> Exposure:
    """Count what `plan`, the compiled `mix`, gives of every stream."""
    counter = _Counter(mix=mix, plan=plan, sizes=sizes, tokens=tokens_per_sample)
    bounds = list(zip((0, *plan.phase_ends[:-1]), plan.phase_ends, strict=True))
    phases = tuple(counter.phase(phase, *bound) for phase, bound in zip(mix.phases, bounds, strict=True))
    return Exposure(mix=mix, sizes=sizes, tokens_per_sample=tokens_per_sample, phases=phases, total=counter.whole(phases))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Counter:
    """Counts parts of one plan."""

    mix: Mix
    plan: Plan
    sizes: Mapping[str, int | None]
    tokens: Mapping[str, int | None]

    def phase(self, phase: Phase, start: int, stop: int) -> Part:
        first = [float(share) for share in proportions(phase.weights)]
        last = first if phase.to is None else [float(share) for share in proportions(phase.to)]
        asked = {name: (first[index], last[index]) for index, name in enumerate(self.mix.streams)}
        means = {name: (begin + end) / 2 for name, (begin, end) in asked.items()}
        return self._part(start, stop, asked, means)

    def whole(self, phases: tuple[Part, ...]) -> Part:
        means = dict.fromkeys(self.mix.streams, 0.0)
        for part, length in zip(phases, self._lengths(), strict=True):
            for name, gift in part.streams.items():
                means[name] += length * gift.requested
        return self._part(0, self.plan.samples, None, means)

    def _lengths(self) -> list[float]:
        ends = [float(phase.until or phase.until_tokens or 0) for phase in self.mix.phases]
        return [(end - start) / ends[-1] for start, end in zip([0.0, *ends[:-1]], ends, strict=True)]

    def _part(self, start: int, stop: int, asked: Mapping[str, tuple[float, float]] | None, means: Mapping[str, float]) -> Part:
        counts, used = self.plan.counts(start, stop), self.plan.counts(0, stop)
        tokens = {name: _times(count, self.tokens[name]) for name, count in counts.items()}
        amounts = {name: (tokens[name] or 0) if self.mix.unit == "tokens" else counts[name] for name in counts}
        total = sum(amounts.values())
        gifts = {}
        for name in self.mix.streams:
            size = epoch_samples(self.mix.streams[name], self.sizes[name])
            gifts[name] = Gift(
                requested_start=None if asked is None else asked[name][0],
                requested_stop=None if asked is None else asked[name][1],
                requested=means[name],
                realised=amounts[name] / total if total else 0.0,
                samples=counts[name],
                tokens=tokens[name],
                epochs=used[name] / size if size else None,
            )
        return Part(start=start, stop=stop, streams=gifts)


def epoch_samples(stream: Stream, size: int | None) -> int | None:
    """Return how many samples an epoch of a stream of `size` samples has: all or its subset; None where unknown."""
    return stream.played(size or 0) or None


def _times(count: int, tokens: int | None) -> int | None:
    return None if tokens is None else count * tokens


def run_shares(plan: Plan, columns: int) -> list[list[float]]:
    """Return each stream's exact share of samples in `columns` equal slices of the run: shape (columns, streams)."""
    shares = []
    for column in range(columns):
        start = min(column * plan.samples // columns, plan.samples - 1)
        stop = max((column + 1) * plan.samples // columns, start + 1)
        before, after = plan.expected(start), plan.expected(stop)
        due = [float(after[name] - before[name]) for name in plan.streams]
        shares.append([amount / sum(due) for amount in due])
    return shares


def exposure_tables(exposure: Exposure, width: int) -> Iterator[Table]:
    """Yield a table for each phase and one for the whole run, for a terminal of `width` columns."""
    for table in _tables(exposure):
        yield _with_whole_words(table, width)


def _tables(exposure: Exposure) -> Iterator[Table]:
    start = 0.0
    for number, (phase, part) in enumerate(zip(exposure.mix.phases, exposure.phases, strict=True), start=1):
        stop = float(phase.until) if phase.until is not None else part.stop / exposure.total.stop
        title = f"phase {number} of {len(exposure.phases)}: {100 * start:.4g}% to {100 * stop:.4g}% of the run"
        yield _phase_table(f"{title}, {part.stop - part.start:,} samples", part)
        start = stop
    yield _total_table(exposure)


def shown_size(stream: Stream, size: int | None) -> str:
    """Return a stream's size in words: 1,000, or 40 of 1,000 where a subset is played."""
    full = "unknown" if size is None else f"{size:,}"
    return full if stream.subset is None else f"{stream.subset.samples:,} of {full}"


def _phase_table(title: str, part: Part) -> Table:
    ramp = any(gift.requested_start != gift.requested_stop for gift in part.streams.values())
    columns = ("from", "to") if ramp else ()
    table = _table(title, "stream", *columns, "requested", "realised", "samples", "tokens", "epochs")
    for name, gift in part.streams.items():
        ends = (_share(gift.requested_start or 0), _share(gift.requested_stop or 0)) if ramp else ()
        table.add_row(name, *ends, _share(gift.requested), _share(gift.realised), f"{gift.samples:,}", *_common(gift))
    return table


def _total_table(exposure: Exposure) -> Table:
    title = f"whole run: {exposure.total.stop:,} samples, shares of {exposure.mix.unit}"
    table = _table(title, "stream", "requested", "realised", "samples", "tokens", "epochs", "cap", "size")
    for name, gift in exposure.total.streams.items():
        stream = exposure.mix.streams[name]
        size, cap = shown_size(stream, exposure.sizes[name]), stream.max_epochs
        places = size, "-" if cap is None else str(cap)
        row = _share(gift.requested), _share(gift.realised), f"{gift.samples:,}", *_common(gift), places[1], places[0]
        many = gift.epochs is not None and gift.epochs > MANY_EPOCHS
        table.add_row(name, *row, style="yellow" if many else None)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    return table


def _with_whole_words(table: Table, width: int) -> Table:
    """Let names give way to headers and numbers, where there is room for these; else all fold, and nothing is cut off."""
    needed = [max(map(len, (str(column.header), *map(str, column.cells)))) for column in table.columns[1:]]
    if sum(needed) + _GAP * len(table.columns) + _SHORTEST_NAME <= width:
        for column, least in zip(table.columns[1:], needed, strict=True):
            column.min_width = least
    return table


def _common(gift: Gift) -> tuple[str, str]:
    tokens = "-" if gift.tokens is None else format_count(gift.tokens)
    return tokens, "-" if gift.epochs is None else f"{gift.epochs:.2f}"


def _share(share: float) -> str:
    return f"{share:.2%}" if share >= 0.001 or share == 0 else f"{share:.2g}"
