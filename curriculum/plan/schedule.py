"""W_s(n): how many samples of stream s are due by nominal position n, as an exact rational number.

Idea: proportions are piecewise linear in progress, so their integral is piecewise quadratic, in closed form. Every
weight is a decimal text, hence a rational, hence W_s is (a n^2 + b n + c) / d with integers a, b, c, d per phase and
stream: one multiplication each to evaluate anywhere, no drift at position 1e12. Alternatives: floats (integer parts go
wrong near 1e12: p * p * N overflows int64 and rounds in float64) or a running error accumulator (exact, but must be
walked to). The price is Python integers: about a microsecond per stream and evaluation, paid once a block.

With `unit: tokens` weights count tokens, so progress is measured in tokens: a stream whose samples hold t_s tokens owes
W_s = T P_s(n / N) / t_s samples by nominal position n, where P_s is the integral of its token proportion and T, the
run's tokens, is what makes the samples add up to N.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import lcm

from curriculum.errors import UserError
from curriculum.mix import Mix, Phase


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """One phase: W_s(n) = (a n^2 + b n + c) / d for nominal positions up to `stop`; one (a, b, c, d) per stream."""

    stop: Fraction
    coefficients: tuple[tuple[int, int, int, int], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """The closed form over nominal positions [origin, samples); W is 0 at `origin` and adds up to `due` at the end.

    `cuts` are the phase ends as positions (rounded up, so that a block after a cut lies wholly in its phase).
    `final_weight` says which streams still have weight at the very end of the run.
    """

    samples: int
    origin: int
    due: int
    pieces: tuple[Piece, ...]
    cuts: tuple[int, ...]
    final_weight: tuple[bool, ...]

    def numerators(self, nominal: int) -> list[tuple[int, int]]:
        """Return W_s(nominal) for every stream as (numerator, denominator)."""
        for piece in self.pieces:
            if nominal <= piece.stop:
                break
        return [((a * nominal + b) * nominal + c, d) for a, b, c, d in piece.coefficients]

    def floors(self, nominal: int) -> list[int]:
        """Return floor(W_s(nominal)) for every stream."""
        return [numerator // denominator for numerator, denominator in self.numerators(nominal)]

    def floor_of(self, stream: int, nominal: int) -> int:
        """Return floor(W_s(nominal)) for one stream."""
        for piece in self.pieces:
            if nominal <= piece.stop:
                break
        a, b, c, d = piece.coefficients[stream]
        return ((a * nominal + b) * nominal + c) // d

    def expected(self, nominal: int) -> list[Fraction]:
        """Return W_s(nominal) for every stream."""
        return [Fraction(numerator, denominator) for numerator, denominator in self.numerators(nominal)]


def proportions(weights: Mapping[str, Decimal]) -> list[Fraction]:
    """Return each stream's normalised share of `weights`, in their order."""
    exact = [Fraction(weight) for weight in weights.values()]
    total = sum(exact)
    return [weight / total for weight in exact]


def phase_ends(phases: Sequence[Phase]) -> list[Fraction]:
    """Return where each phase ends, as a fraction of the run; the last is 1."""
    if phases[-1].until_tokens is not None:
        return [Fraction(phase.until_tokens or 0, phases[-1].until_tokens) for phase in phases]
    return [Fraction(phase.until or 0) for phase in phases]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ramp:
    """Token or sample proportions of one phase over progress [start, stop], and their integrals up to `start`."""

    start: Fraction
    stop: Fraction
    first: list[Fraction]
    last: list[Fraction]
    before: list[Fraction]

    def integral(self, progress: Fraction) -> list[Fraction]:
        x = progress - self.start
        return [
            before + first * x + (last - first) * x * x / (2 * (self.stop - self.start))
            for before, first, last in zip(self.before, self.first, self.last, strict=True)
        ]


def _ramps(phases: Sequence[Phase]) -> list[_Ramp]:
    ramps: list[_Ramp] = []
    start, before = Fraction(0), [Fraction(0)] * len(phases[0].weights)
    for phase, stop in zip(phases, phase_ends(phases), strict=True):
        first = proportions(phase.weights)
        last = first if phase.to is None else proportions(phase.to)
        ramp = _Ramp(start=start, stop=stop, first=first, last=last, before=before)
        ramps.append(ramp)
        start, before = stop, ramp.integral(stop)
    return ramps


def _integral(ramps: Sequence[_Ramp], progress: Fraction) -> list[Fraction]:
    ramp = next(ramp for ramp in ramps if progress <= ramp.stop)
    return ramp.integral(progress)


def _coefficients(ramp: _Ramp, samples: int, scales: Sequence[Fraction], offsets: Sequence[Fraction]) -> Piece:
    """Expand scale * P(n / samples) - offset into integer polynomials of n."""
    found = []
    for first, last, before, scale, offset in zip(ramp.first, ramp.last, ramp.before, scales, offsets, strict=True):
        curve = (last - first) / (2 * (ramp.stop - ramp.start))
        constant = scale * (before - first * ramp.start + curve * ramp.start**2) - offset
        linear = scale * (first - 2 * curve * ramp.start) / samples
        square = scale * curve / samples**2
        d = lcm(square.denominator, linear.denominator, constant.denominator)
        found.append((int(square * d), int(linear * d), int(constant * d), d))
    return Piece(stop=ramp.stop * samples, coefficients=tuple(found))


def tokens_per_sample(mix: Mix) -> list[int]:
    """Return what one sample of each stream weighs: 1 under `unit: samples`, else its tokens. Raises UserError."""
    if mix.unit == "samples":
        return [1] * len(mix.streams)
    missing = [name for name, stream in mix.streams.items() if stream.tokens_per_sample is None]
    if missing:
        raise UserError(
            f"mix {mix.name!r} has unit: tokens, but stream {missing[0]!r} does not say how many tokens a sample "
            "holds; add tokens_per_sample to it, or pack it with `curriculum pack`, which writes it"
        )
    return [stream.tokens_per_sample or 0 for stream in mix.streams.values()]


def run_samples(mix: Mix) -> int:
    """Return the run's length in samples that the mix itself states (or implies by `until: ... tokens`)."""
    if mix.samples is not None:
        return mix.samples
    last = mix.phases[-1].until_tokens
    if last is None:
        raise UserError(f"mix {mix.name!r} states no `samples`; add it, or give the length: mix.plan(sizes, samples=...)")
    return int(last * _samples_per_unit(_ramps(mix.phases), tokens_per_sample(mix)))


def _samples_per_unit(ramps: Sequence[_Ramp], weights: Sequence[int], start: Fraction = Fraction(0)) -> Fraction:
    """Return how many samples one unit of run length holds on average from progress `start` to the end."""
    totals = zip(_integral(ramps, Fraction(1)), _integral(ramps, start), weights, strict=True)
    return sum(((end - begin) / weight for end, begin, weight in totals), Fraction(0))


def compile_schedule(mix: Mix, *, samples: int, origin: int = 0, due: int | None = None) -> Schedule:
    """Compile a mix's phases for a run of `samples`, of which `due` are still to come from nominal `origin` on.

    A fresh run has origin 0 and due = samples; an edited future begins at its cursor.
    """
    due = samples if due is None else due
    weights, ramps = tokens_per_sample(mix), _ramps(mix.phases)
    start = Fraction(origin, samples)
    units = Fraction(due) / _samples_per_unit(ramps, weights, start)
    scales = [units / weight for weight in weights]
    offsets = [scale * past for scale, past in zip(scales, _integral(ramps, start), strict=True)]
    ends = [-(-ramp.stop * samples // 1) for ramp in ramps]
    return Schedule(
        samples=samples,
        origin=origin,
        due=due,
        pieces=tuple(_coefficients(ramp, samples, scales, offsets) for ramp in ramps),
        cuts=tuple(int(end) for end in ends),
        final_weight=tuple(first > 0 or last > 0 for first, last in zip(ramps[-1].first, ramps[-1].last, strict=True)),
    )
