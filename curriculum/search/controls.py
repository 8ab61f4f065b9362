"""Curricula made to be compared with, all of the same exposure.

    static          the same proportions throughout
    shuffled        the winner's pieces in another order: its mixtures without its order
    reversed        the winner backwards
    hold-then-low   much of the favoured streams for 30 % of the run, then less: what a person would try first
    ramp-down       the favoured streams' share falling linearly; ramp-up: rising

Every one is exact: shares are fractions, phases are cut and permuted with their own lengths, so `plan.counts` over the
whole run is that of the winner (`check_equal_exposure` makes sure).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from math import lcm

import numpy as np

from curriculum.errors import RunError, UserError
from curriculum.mix import Mix, Phase
from curriculum.plan.permutation import shuffled
from curriculum.plan.schedule import phase_ends, proportions
from curriculum.search.exposure import Matrix
from curriculum.search.study import HAND_MADE, Study
from curriculum.units import keyed_seed

HOLD = Decimal("0.3")
_PIECES = 5  # each phase is cut into so many before they are shuffled
_LARGEST = Fraction(95, 100)
_SPREAD = Fraction(8, 10)

Shares = Mapping[str, Fraction]


def static(shares: Shares) -> tuple[Phase, ...]:
    """Return one phase of constant proportions."""
    return (Phase(until=Decimal(1), weights=_weights(shares)),)


def hand_made(name: str, shares: Shares, favour: Iterable[str]) -> tuple[Phase, ...]:
    """Return a hand-made curriculum around `favour`ed streams, by name."""
    mean = sum((shares[stream] for stream in set(favour)), Fraction(0))
    if not 0 < mean < 1:
        raise UserError(
            f"controls: the favoured streams ({', '.join(favour)}) hold {float(mean):.0%} of the exposure, so that no order "
            "of them can be favoured; name other streams or change exposure_shares"
        )
    room = min(mean, 1 - mean)
    if name == "hold-then-low":
        high = min(mean + room, _LARGEST)
        low = (mean - Fraction(HOLD) * high) / (1 - Fraction(HOLD))
        first, last = _tilted(shares, favour, high), _tilted(shares, favour, low)
        return (Phase(until=HOLD, weights=first), Phase(until=Decimal(1), weights=last))
    spread = _SPREAD * room if name == "ramp-down" else -_SPREAD * room
    first, last = _tilted(shares, favour, mean + spread), _tilted(shares, favour, mean - spread)
    return (Phase(until=Decimal(1), weights=first, to=last),)


def of_study(study: Study, shares: Shares, name: str) -> tuple[Phase, ...] | None:
    """Return a baseline of a study by name, None for a hand-made one where nothing is favoured. Raises UserError."""
    if name == "static":
        return static(shares)
    return hand_made(name, shares, study.favour) if study.favour else None


def check_playable(study: Study, shares: Shares, sizes: Mapping[str, int]) -> None:
    """Make sure that static and the hand-made curricula can be played on streams of `sizes`. Raises UserError, DataError."""
    for name in ("static", *HAND_MADE):
        phases = of_study(study, shares, name)
        if phases is not None:
            study.mix(name, phases).plan(sizes)


def reversed_in_time(phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
    """Return the same phases played backwards."""
    return _joined([(length, phase.to or phase.weights, phase.weights) for length, phase in reversed(_pieces(phases))])


def shuffled_in_time(phases: tuple[Phase, ...], seed: int) -> tuple[Phase, ...]:
    """Return the phases cut into pieces that are played in a keyed order."""
    cut = [piece for length, phase in _pieces(phases) for piece in _cut(length, phase)]
    order = shuffled(len(cut), keyed_seed("shuffled control", seed))
    return _joined([cut[index] for index in order.tolist()])


def with_common_tail(phases: tuple[Phase, ...], shares: Shares, tail: Decimal) -> tuple[Phase, ...]:
    """Return the phases in the first 1 - tail of the run, then constant proportions: exposure stays what it was."""
    body = 1 - tail
    shorter = tuple(Phase(until=(phase.until or Decimal(1)) * body, weights=phase.weights, to=phase.to) for phase in phases)
    return (*shorter, Phase(until=Decimal(1), weights=_weights(shares)))


def knot_matrix(phases: tuple[Phase, ...], ends: list[Decimal], *, ramps: bool) -> Matrix:
    """Return proportions (knots, streams) that come nearest to `phases`: means over steps, or values at ramp knots."""
    grid = 1000
    progress = (np.arange(grid) + 0.5) / grid
    curve = _curve(phases, progress)
    edges = [0, *(int(end * grid) for end in ends)]
    if ramps:
        return curve[[min(edge, grid - 1) for edge in edges]]
    return np.stack([curve[start:stop].mean(axis=0) for start, stop in pairwise(edges)])


def check_equal_exposure(mixes: Iterable[Mix], sizes: Mapping[str, int]) -> dict[str, int]:
    """Return the counts that all mixes share. Raises RunError naming the first that differs."""
    reference: tuple[str, dict[str, int]] | None = None
    for mix in mixes:
        plan = mix.plan(sizes)
        counts = plan.counts(0, plan.samples)
        if reference is None:
            reference = (mix.name, counts)
        elif counts != reference[1]:
            raise RunError(
                f"exposure differs: {mix.name!r} has {counts}, {reference[0]!r} has {reference[1]}; controls must see the "
                "same samples, so the study stops here"
            )
    if reference is None:
        raise RunError("no mix to compare")
    return reference[1]


def _tilted(shares: Shares, favour: Iterable[str], favoured_share: Fraction) -> dict[str, Decimal]:
    favoured = set(favour)
    mean = sum((shares[stream] for stream in favoured), Fraction(0))
    factors = {True: favoured_share / mean, False: (1 - favoured_share) / (1 - mean)}
    return _weights({stream: share * factors[stream in favoured] for stream, share in shares.items()})


def _weights(shares: Shares) -> dict[str, Decimal]:
    common = lcm(*(share.denominator for share in shares.values()))
    return {stream: Decimal(int(share * common)) for stream, share in shares.items()}


_Piece = tuple[Decimal, Mapping[str, Decimal], Mapping[str, Decimal]]


def _pieces(phases: tuple[Phase, ...]) -> list[tuple[Decimal, Phase]]:
    """Return each phase with its length as a share of the run."""
    ends = [Decimal(0), *(phase.until or Decimal(1) for phase in phases)]
    return [(stop - start, phase) for (start, stop), phase in zip(pairwise(ends), phases, strict=True)]


def _joined(pieces: list[_Piece]) -> tuple[Phase, ...]:
    """Put pieces one after another; neighbours that go on as they were become one phase."""
    phases: list[Phase] = []
    end = Decimal(0)
    for index, (length, first, last) in enumerate(pieces):
        end = Decimal(1) if index == len(pieces) - 1 else end + length
        constant = first == last
        if phases and constant and phases[-1].to is None and phases[-1].weights == first:
            phases.pop()
        phases.append(Phase(until=end, weights=first, to=None if constant else last))
    return tuple(phases)


def _cut(length: Decimal, phase: Phase) -> list[_Piece]:
    """Cut a phase into equal pieces; a ramp's pieces begin and end at exact fractions of it."""
    names = list(phase.weights)
    first, last = proportions(phase.weights), proportions(phase.to or phase.weights)
    bounds = [
        _weights({n: p + (q - p) * Fraction(cut, _PIECES) for n, p, q in zip(names, first, last, strict=True)})
        for cut in range(_PIECES + 1)
    ]
    return [(length / _PIECES, begin, end) for begin, end in pairwise(bounds)]


def _curve(phases: tuple[Phase, ...], progress: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Matrix:
    """Return proportions at each progress, shape (progress, streams)."""
    found = np.empty((len(progress), len(phases[0].weights)))
    start = 0.0
    for phase, exact_end in zip(phases, phase_ends(phases), strict=True):
        end = float(exact_end)
        inside = (progress >= start) & (progress <= end)
        first = np.asarray([float(value) for value in proportions(phase.weights)])
        last = np.asarray([float(value) for value in proportions(phase.to or phase.weights)])
        ratio = ((progress[inside] - start) / (end - start))[:, None]
        found[inside] = first + (last - first) * ratio
        start = end
    return found
