"""Counting alone: what can be said of a curriculum's outcome without training anything.

Idea: where order acts as recency, a curriculum's end is known from its file: the more of the favoured streams stands in the
last quarter, the more of what they teach is left. So every correlation of a ladder stands beside this count's, and a proxy
is worth its hours where it foretells a measure better than the count does. Alternatives: weights for each stream, fitted to
the runs (a predictor that has seen the outcome), or shares in every quarter (four numbers that a dozen curricula cannot tell
apart). The price: it knows streams that the study favours, and nothing of a study that favours none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from curriculum.mix import Mix

COUNTED = "share of favoured data in the last quarter"
_QUARTER = 4


def favoured_late(
    mixes: Iterable[Mix], sizes: Mapping[str, int], favour: Iterable[str], tail: Decimal = Decimal(0)
) -> tuple[float, ...] | None:
    """Return the share of the favoured streams that each curriculum asks for in the last quarter, None where none is favoured.

    `sizes` are the streams' samples. It is the exact share due, of which a run's draw is off by a few samples. Of runs whose
    last share `tail` is the same for all, the quarter before that.
    """
    favoured = set(favour)
    return tuple(_late(mix, sizes, favoured, tail) for mix in mixes) if favoured else None


def _late(mix: Mix, sizes: Mapping[str, int], favoured: set[str], tail: Decimal) -> float:
    plan = mix.plan(sizes)
    stop = round(plan.samples * (1 - tail))
    start = stop - max(1, stop // _QUARTER)
    before, after = plan.expected(start), plan.expected(stop)
    return float(sum(after[name] - before[name] for name in favoured) / (stop - start))


__all__ = ["COUNTED", "favoured_late"]
