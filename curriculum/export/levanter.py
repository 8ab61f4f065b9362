"""Levanter: weights by training step, obeyed block by block.

Idea: Levanter gives every block of `mixture_block_size` samples the same whole number of each stream, floor(weight x
block), and what is missing to the largest. So this export chooses these whole numbers itself, a stage at a time, such
that what a stage rounds away the next one gives back; written as weights they come out of Levanter's arithmetic as they
went in. Phases without a ramp are cut too, so that a share such as a third of a block comes out right over the phase. A
stage begins at a block and at a step, hence at a multiple of both. The price: a stream that is due less than a sample a
block gets none in some stages; one that never gets any is an error here, not a silence.

Checked with marin-levanter 0.2.20 (levanter/data/mixture.py). Levanter's own restart keeps a repeated stream going.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import groupby, pairwise
from math import floor, lcm
from typing import Any

import numpy as np

from curriculum.errors import UserError
from curriculum.export.deviation import deviations, largest
from curriculum.export.layout import Inline, head_of, yaml_text
from curriculum.export.places import ignored_orders, place_of
from curriculum.export.staircase import RAMP_STEPS, Stage, in_batches, left_over, staircase, starved
from curriculum.export.target import Deviation, Outcome, Request
from curriculum.plan.schedule import phase_ends

_BLOCK = 2048  # Levanter's default
_LARGEST_BLOCK = 2**16
_SMALLEST_BLOCK = 16  # that is proposed
_LARGE_SHARE = 0.05  # of the batch: from here on a smaller block is proposed
_TINY = 1e-6  # what floats leave of a whole number


def export(request: Request) -> Outcome:
    """Write the `data` section and the number of steps. Raises UserError (settings, places, existing file)."""
    batch, block = request.whole("batch_size"), request.whole("block_size", _BLOCK)
    if block >= _LARGEST_BLOCK:
        raise UserError(f"--block-size: Levanter wants a block below {_LARGEST_BLOCK}, got {block}")
    stop = in_batches(request.plan.samples, batch)
    stages, counts = _stages(request, batch, block)
    starving = starved(request.mix, request.plan, stages)
    if starving and not request.nearest:
        return _impossible(starving, block)
    path = request.output.text(yaml_text(_config(request, stages, counts, batch, block), _head(request, batch, block)))
    found = deviations(request, stages, randomness="dealt", deck=block)
    return Outcome(
        verdict="impossible" if starving else "approximated",
        why=(
            *_starving(starving, block),
            *_coarse(request, lcm(batch, block)),
            largest(found),
            "the order inside a block and inside a stream is Levanter's shuffle",
        ),
        deviations=found,
        files=(path,),
        use=f"merge {path.name} into the config of levanter.main.train_lm; its caches must lie where `cache_dir` says",
        notes=ignored_orders(request.mix)
        + left_over(request.plan.samples, stop)
        + _smaller_block(request, found, batch, block),
    )


def _stages(request: Request, batch: int, block: int) -> tuple[tuple[Stage, ...], list[dict[str, int]]]:
    """Return the stages as Levanter will play them, and each one's samples of every stream in a block."""
    unit, steps = lcm(batch, block), request.whole("ramp_steps", RAMP_STEPS)
    stop = in_batches(request.plan.samples, batch)
    found = staircase(request.mix, request.plan, unit=unit, stop=stop, ramp_steps=steps, static_steps=steps)
    due = tuple(_due(request, stage) for stage in found)
    due, counts = merged(due, block_counts(due, block))
    return tuple(_realised(stage, count, block) for stage, count in zip(due, counts, strict=True)), counts


def _smaller_block(request: Request, found: Sequence[Deviation], batch: int, block: int) -> tuple[str, ...]:
    """Return as a note the largest smaller block whose shares stray little, else the best one if it halves them."""
    share, best = _largest_share(found), None
    if share <= _LARGE_SHARE:
        return ()
    for size in _halves(block):
        stages, _ = _stages(request, batch, size)
        if starved(request.mix, request.plan, stages):
            break
        tried = deviations(request, stages, randomness="dealt", deck=size)
        if best is None or _largest_share(tried) < _largest_share(best[1]):
            best = size, tried
        if _largest_share(tried) <= _LARGE_SHARE:
            break
    if best is None or _largest_share(best[1]) > max(_LARGE_SHARE, share / 2):
        return ()
    strays = f"blocks of {block} samples stray by {100 * share:.2g} % of the batch"
    return (f"{strays}; try --block-size {best[0]}: {largest(best[1])}",)


def _halves(block: int) -> Iterator[int]:
    while (block := block // 2) >= _SMALLEST_BLOCK:
        yield block


def _largest_share(found: Sequence[Deviation]) -> float:
    return max(each.share for each in found)


def _due(request: Request, stage: Stage) -> Stage:
    """Return the stage with what is due before it is rounded to samples, where the plan can say so at a position."""
    if request.mix.unit == "tokens":
        return stage
    before, after = request.plan.expected(stage.start), request.plan.expected(stage.stop)
    return Stage(start=stage.start, stop=stage.stop, amounts={name: float(after[name] - before[name]) for name in before})


def block_counts(stages: tuple[Stage, ...], block: int) -> list[dict[str, int]]:
    """Return each stage's whole numbers per block: every stream's due rounded up or down, by what it is still owed."""
    owed: dict[str, float] = dict.fromkeys(stages[0].amounts, 0.0)
    found = []
    for stage in stages:
        blocks = stage.samples / block
        due = {name: amount / blocks for name, amount in stage.amounts.items()}
        counts = _rounded(due, {name: owed[name] / blocks for name in owed}, block)
        found.append(counts)
        owed = {name: owed[name] + stage.amounts[name] - counts[name] * blocks for name in owed}
    return found


def _rounded(due: Mapping[str, float], owed: Mapping[str, float], total: int) -> dict[str, int]:
    """Return `due` rounded so that it adds up to `total`: up for those with the largest rest, what is owed included."""
    counts = {name: floor(amount + _TINY) for name, amount in due.items()}
    rests = {name: due[name] - counts[name] + owed[name] for name in due if due[name] - counts[name] > _TINY}
    for name in sorted(rests, key=lambda name: (-rests[name], name))[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def merged(stages: tuple[Stage, ...], counts: list[dict[str, int]]) -> tuple[tuple[Stage, ...], list[dict[str, int]]]:
    """Return the stages with neighbours of the same counts made one."""
    groups = [list(group) for _, group in groupby(zip(stages, counts, strict=True), key=lambda pair: pair[1])]
    whole = tuple(
        Stage(
            start=group[0][0].start,
            stop=group[-1][0].stop,
            amounts={name: sum(stage.amounts[name] for stage, _ in group) for name in stages[0].amounts},
        )
        for group in groups
    )
    return whole, [group[0][1] for group in groups]


def loader_counts(weights: Mapping[str, int], block: int) -> dict[str, int]:
    """Return what Levanter makes of weights, in its own arithmetic: floor(weight / sum x block), the rest to the largest."""
    total = sum(float(weight) for weight in weights.values())
    names = [name for name, weight in weights.items() if weight > 0]
    counts = np.array([int(weights[name] / total * block) for name in names])
    counts[int(np.argmax(counts))] += block - int(counts.sum())
    found = dict.fromkeys(weights, 0)
    return found | dict(zip(names, counts.tolist(), strict=True))


def _realised(stage: Stage, weights: Mapping[str, int], block: int) -> Stage:
    counts = loader_counts(weights, block)
    return Stage(
        start=stage.start, stop=stage.stop, amounts={name: count * stage.samples / block for name, count in counts.items()}
    )


def _starving(names: list[str], block: int) -> tuple[str, ...]:
    if not names:
        return ()
    return (f"{', '.join(map(repr, names))} would never be seen: due less than one sample in a block of {block}",)


def _coarse(request: Request, unit: int) -> tuple[str, ...]:
    """Say so where a phase is shorter than what a stage must be a multiple of."""
    ends = [Fraction(0), *phase_ends(request.mix.phases)]
    shortest = min(stop - start for start, stop in pairwise(ends)) * request.plan.samples
    if shortest >= unit:
        return ()
    return (
        f"stages are multiples of {unit} samples and the shortest phase has {int(shortest)}; a smaller --block-size follows it",
    )


def _impossible(starving: list[str], block: int) -> Outcome:
    return Outcome(
        verdict="impossible",
        why=_starving(starving, block),
        nearest=f"a larger --block-size (below {_LARGEST_BLOCK}) or more --ramp-steps; or --nearest to write it all the same",
    )


def _head(request: Request, batch: int, block: int) -> str:
    return head_of(
        request.mix,
        "Levanter",
        f"Weights are whole samples in a block of {block}; stages begin at training steps of {batch} samples.",
    )


def _config(
    request: Request, stages: tuple[Stage, ...], counts: list[dict[str, int]], batch: int, block: int
) -> dict[str, Any]:
    names = list(request.mix.streams)
    places = {name: place_of(request, name, reads="its own token caches") for name in names}
    weights = [[stage.start // batch, Inline(count)] for stage, count in zip(stages, counts, strict=True)]
    return {
        "data": {
            "components": {name: Inline({"cache_dir": place}) for name, place in places.items()},
            "train_weights": weights if len(weights) > 1 else weights[0][1],
            "mixture_block_size": block,
            "stop_strategy": "restart",
            "shuffle": True,
        },
        "trainer": {"train_batch_size": batch, "num_train_steps": stages[-1].stop // batch},
    }
