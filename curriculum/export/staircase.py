"""A schedule as stages of constant weights, cut where a target can cut.

Idea: a stage's weights are the samples that the plan itself gives between its two ends, so a stage gives every stream
what it is due and only the slope inside a stage is lost. Cuts lie at phase ends and, within ramps, evenly; each is moved
to the nearest multiple of the target's unit (a batch, a block). Alternatives: weights at a stage's middle (wrong by the
curvature of nothing, but wrong by rounding) or cuts that follow the slope (hard to read). The price: a phase shorter than
half a unit vanishes into its neighbours, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from curriculum.errors import UserError
from curriculum.mix import Mix, Phase
from curriculum.plan import Plan
from curriculum.plan.schedule import proportions

RAMP_STEPS = 16  # stages of a ramp, if nobody says otherwise
NOT_STARVING = "a smaller --batch-size, or --samples of whole batches; or --nearest to write it all the same"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Positions [start, stop) of a run under constant weights; `amounts` are the samples expected of each stream."""

    start: int
    stop: int
    amounts: Mapping[str, float]

    @property
    def samples(self) -> int:
        """Its length."""
        return self.stop - self.start


def is_ramp(phase: Phase) -> bool:
    """Whether a phase's proportions change."""
    return phase.to is not None and proportions(phase.to) != proportions(phase.weights)


def is_static(mix: Mix) -> bool:
    """Whether the proportions are the same all through the run."""
    first = proportions(mix.phases[0].weights)
    return all(not is_ramp(phase) and proportions(phase.weights) == first for phase in mix.phases)


def in_batches(samples: int, batch: int) -> int:
    """Return how many of `samples` whole batches hold. Raises UserError if there is not one."""
    if samples < batch:
        raise UserError(
            f"--batch-size {batch:,} is more than all {samples:,} samples; give a smaller batch, or more with --samples"
        )
    return samples // batch * batch


def whole_run(plan: Plan) -> Stage:
    """Return the run as one stage: what a target with one set of weights plays."""
    return Stage(start=0, stop=plan.samples, amounts=plan.counts(0, plan.samples))


def left_over(samples: int, stop: int) -> tuple[str, ...]:
    """Return what there is to say of samples behind the last whole batch, which ends at `stop`."""
    rest = samples - stop
    return (f"the last {rest} samples fill no batch and are not played",) if rest else ()


def cuts(mix: Mix, plan: Plan, *, unit: int, stop: int, ramp_steps: int, static_steps: int = 1) -> list[int]:
    """Return where stages begin and end: 0, multiples of `unit`, `stop`; phases without a ramp have `static_steps`."""
    found, start = {0, stop}, 0
    for phase, end in zip(mix.phases, plan.phase_ends, strict=True):
        steps = ramp_steps if is_ramp(phase) else static_steps
        marks = [start + (end - start) * step // steps for step in range(1, steps + 1)]
        found.update((mark + unit // 2) // unit * unit for mark in marks)
        start = end
    return sorted(cut for cut in found if cut <= stop)


def staircase(mix: Mix, plan: Plan, *, unit: int, stop: int, ramp_steps: int, static_steps: int = 1) -> tuple[Stage, ...]:
    """Return the stages of a run that ends at `stop`; amounts are the plan's own counts, whole numbers."""
    bounds = [0, stop] if is_static(mix) and static_steps == 1 else []
    bounds = bounds or cuts(mix, plan, unit=unit, stop=stop, ramp_steps=ramp_steps, static_steps=static_steps)
    return tuple(Stage(start=begin, stop=end, amounts=plan.counts(begin, end)) for begin, end in pairwise(bounds))


def starving_words(names: list[str]) -> tuple[str, ...]:
    """Return in words what whole batches leave out; nothing for no names."""
    return (f"{', '.join(map(repr, names))} would never be seen: due only behind the last whole batch",) if names else ()


def starved(mix: Mix, plan: Plan, stages: tuple[Stage, ...]) -> list[str]:
    """Return the streams that the plan plays and these stages never do."""
    planned = plan.counts(0, plan.samples)
    return [name for name in mix.streams if planned[name] and not any(stage.amounts[name] for stage in stages)]
