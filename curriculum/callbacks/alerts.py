"""When a mode changed and the loss did not show it.

Idea: the training losses between two readings are one window; a mode change lies between two windows. The loss is said to
show nothing when the means of the two differ by no more than 2 %, or by less than 3 standard errors of their difference
(each window's standard deviation over the square root of its count). Falling counts like rising: the question is whether
whoever looked at the curve would have looked twice. Where no loss was given there was nothing to see, and the alert stands.
Alternatives: a change-point test over all losses (more sensitive, but it says nothing of this reading). The price:
neighbouring losses are taken as independent; where they are not, the error is too small and the loss is believed
to show a little more than it does, which the 2 % make up for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curriculum.errors import UserError
from curriculum.probe.modes import Mode


@dataclass(frozen=True, kw_only=True, slots=True)
class LossWindow:
    """Training losses between two readings: how many, their mean, their standard deviation (NaN for fewer than two)."""

    count: int
    mean: float
    deviation: float

    @classmethod
    def of(cls, losses: Sequence[float]) -> LossWindow | None:
        """Return the window of `losses`, None where there are none."""
        if not losses:
            return None
        values = np.asarray(losses, dtype=np.float64)
        deviation = float(values.std(ddof=1)) if len(values) > 1 else math.nan
        return cls(count=len(values), mean=float(values.mean()), deviation=deviation)

    @property
    def error(self) -> float:
        """Return the standard error of the mean; NaN for fewer than two losses."""
        return self.deviation / math.sqrt(self.count)


@dataclass(frozen=True, kw_only=True, slots=True)
class LossRule:
    """What counts as a change of the loss: more than `relative` of it and more than `errors` standard errors."""

    relative: float = 0.02
    errors: float = 3.0

    def __post_init__(self) -> None:
        for name in ("relative", "errors"):
            if not getattr(self, name) >= 0:
                raise UserError(f"loss rule: wanted {name} of at least 0, got {getattr(self, name)}")

    def shows(self, before: LossWindow | None, after: LossWindow | None) -> bool:
        """Say whether the loss changed between two windows. A loss that is not finite shows everything."""
        if before is None or after is None:
            return False
        change = abs(after.mean - before.mean)  # not a number, or infinite, where a loss is: then every comparison fails
        if change <= self.relative * abs(before.mean):
            return False
        error = math.hypot(before.error, after.error)
        return not change < self.errors * error


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """A probe's mode changed between two readings, and the training loss did not show it.

    `margin` with its 95 % interval [low, high] is of the reading that changed, `margin_before` of the one before it; the
    losses are means over the stretches that ended with the two readings, None where none were given.
    """

    step: int
    position: int
    probe: str
    family: str
    before: Mode
    after: Mode
    margin_before: float
    margin: float
    low: float
    high: float
    loss_before: float | None
    loss_after: float | None

    @property
    def is_hop(self) -> bool:
        """Say whether it is a change between general and shallow: capability was there before and after."""
        return "unformed" not in (self.before, self.after)

    def __str__(self) -> str:
        loss = "no training loss was given"
        if self.loss_before is not None and self.loss_after is not None:
            loss = f"training loss {self.loss_before:.4g} -> {self.loss_after:.4g} does not show it"
        return (
            f"probe {self.probe!r} went from {self.before} to {self.after} at step {self.step} (sample {self.position}): "
            f"margin {self.margin_before:+.3f} -> {self.margin:+.3f} [{self.low:+.3f}, {self.high:+.3f}]; {loss}"
        )
