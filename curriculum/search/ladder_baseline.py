"""Counting alone: what can be said of a curriculum's outcome without training anything.

Idea: where order acts as recency, a curriculum's end is known from its file. Two counts of its last quarter: the share of
the favoured streams, whose margins are left the more of them stands there; and how far the shares of all streams lie from
static's, since a loss over all streams suffers from whatever end is one-sided. So every correlation of a ladder stands beside
those of the counts, and a proxy is worth its hours where it foretells a measure better than both do. Alternatives: weights
for each stream, fitted to the runs (a predictor that has seen the outcome), or shares in every quarter (four numbers that a
dozen curricula cannot tell apart). The price: two counts, of which the better is known afterwards only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction

from curriculum.mix import Mix

COUNTED = "share of favoured data in the last quarter"
DISTANCE = "distance of the last quarter's shares from static's"
_QUARTER = 4


def favoured_late(
    mixes: Iterable[Mix], sizes: Mapping[str, int], favour: Iterable[str], tail: Decimal = Decimal(0)
) -> tuple[float, ...] | None:
    """Return the share of the favoured streams that each curriculum asks for in the last quarter, None where none is favoured.

    `sizes` are the streams' samples. It is the exact share due, of which a run's draw is off by a few samples. Of runs whose
    last share `tail` is the same for all, the quarter before that.
    """
    favoured = set(favour)
    if not favoured:
        return None
    return tuple(float(sum(_late(mix, sizes, tail)[name] for name in favoured)) for mix in mixes)


def late_distance(
    mixes: Iterable[Mix], sizes: Mapping[str, int], shares: Mapping[str, Fraction], tail: Decimal = Decimal(0)
) -> tuple[float, ...]:
    """Return how far each curriculum's last quarter lies from static's `shares`: the sum over streams of what they differ by.

    From 0 (as static) to 2 (nothing in common). Of runs whose last share `tail` is the same for all, the quarter before that.
    """
    found = (_late(mix, sizes, tail) for mix in mixes)
    return tuple(float(sum(abs(late[name] - share) for name, share in shares.items())) for late in found)


def _late(mix: Mix, sizes: Mapping[str, int], tail: Decimal) -> dict[str, Fraction]:
    """Return each stream's share due in the last quarter, or in the quarter before the tail."""
    plan = mix.plan(sizes)
    stop = round(plan.samples * (1 - tail))
    start = stop - max(1, stop // _QUARTER)
    before, after = plan.expected(start), plan.expected(stop)
    return {name: Fraction(after[name] - before[name]) / (stop - start) for name in after}


__all__ = ["COUNTED", "DISTANCE", "favoured_late", "late_distance"]
