"""litdata: a combined data set that draws each sample's stream by fixed weights.

Idea: the weights are the plan's own totals. `iterate_over_all=False` must be said, since weights raise without it; the
combined data set then ends with the first stream that ends, so a mix that repeats a stream ends early and is refused.
A schedule cannot be said at all: the weights are read once.

Checked with litdata 0.2.76 (streaming/combined.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from curriculum.export.deviation import deviations, largest
from curriculum.export.layout import head_of
from curriculum.export.places import ignored_orders, place_of
from curriculum.export.staircase import is_static, whole_run
from curriculum.export.target import Deviation, Outcome, Request
from curriculum.units import keyed_seed

_NEAREST = "--to mds, which plays the plan in order with any reader; or --nearest: one set of weights with the same totals"
_SAFE = 4  # standard deviations that a stream must have in store

_MODULE = '''"""Weights for litdata, as `mixed()`. {use}"""

from typing import Any

from litdata import CombinedStreamingDataset, StreamingDataset

SAMPLES = {samples}  # of the run; the data set itself goes on until its first stream ends
SEED = {seed}
# name: (place, weight); a weight is the stream's number of samples in the run
STREAMS: dict[str, tuple[str, int]] = {{
{streams}
}}


def mixed(**arguments: Any) -> CombinedStreamingDataset:
    """Return the combined data set; arguments are StreamingDataset's, such as shuffle=True."""
    datasets = [StreamingDataset(place, **arguments) for place, _ in STREAMS.values()]
    weights = [weight for _, weight in STREAMS.values()]
    return CombinedStreamingDataset(datasets, seed=SEED, weights=weights, iterate_over_all=False)
'''


def export(request: Request) -> Outcome:
    """Write a module with a function `mixed()`. Raises UserError (places, existing file)."""
    why = _impossible(request)
    if why and not request.nearest:
        return Outcome(verdict="impossible", why=why, nearest=_NEAREST)
    totals = request.plan.counts(0, request.plan.samples)
    stages = (whole_run(request.plan),)
    path = request.output.text(_module(request, totals))
    found = deviations(request, stages, randomness="drawn")
    return Outcome(
        verdict="impossible" if why else "approximated",
        why=(
            *why,
            largest(found),
            "each sample's stream is drawn at random, so counts vary by the spread shown",
            *_may_end_early(request, totals, found),
        ),
        nearest=_NEAREST if why else None,
        deviations=found,
        files=(path,),
        use=f"from {path.stem} import mixed; litdata.StreamingDataLoader(mixed(shuffle=True), batch_size=...)",
        notes=(
            *ignored_orders(request.mix),
            f"stop after {request.plan.samples:,} samples: it goes on until its first stream ends",
        ),
    )


def _impossible(request: Request) -> tuple[str, ...]:
    why = []
    if not is_static(request.mix):
        why.append("litdata draws by the same weights all through the run, and this mix changes them")
    totals = request.plan.counts(0, request.plan.samples)
    for name, size in request.sizes.items():
        if size is not None and totals[name] > size:
            share = totals[name] / request.plan.samples
            why.append(
                f"stream {name!r} has {size:,} samples and the run wants {totals[name]:,}: "
                f"litdata would end after about {size / share:,.0f} of {request.plan.samples:,} samples"
            )
    return tuple(why)


def _may_end_early(request: Request, totals: dict[str, int], found: Sequence[Deviation]) -> tuple[str, ...]:
    """Return in words which streams may be drawn out before the run is over, by chance or as far as is known."""
    said = []
    for name, size in request.sizes.items():
        spread = sqrt(sum(each.spread**2 for each in found if each.stream == name))
        if size is None and totals[name]:
            said.append(
                f"stream {name!r}: its size is unknown here; the run ends early if it has less than {totals[name]:,} samples"
            )
        elif size is not None and totals[name] <= size < totals[name] + _SAFE * spread:
            said.append(
                f"stream {name!r} has {size:,} samples for {totals[name]:,} +- {spread:,.0f} draws: the run may end early"
            )
    return tuple(said)


def _module(request: Request, totals: dict[str, int]) -> str:
    lines = [
        f"    {name!r}: ({place_of(request, name, reads='folders that litdata.optimize wrote')!r}, {totals[name]}),"
        for name in request.mix.streams
    ]
    body = _MODULE.format(
        use="Stop after SAMPLES samples.",
        samples=request.plan.samples,
        seed=keyed_seed(request.mix.seed, "litdata") % 2**31,
        streams="\n".join(lines),
    )
    return head_of(request.mix, "litdata") + body
