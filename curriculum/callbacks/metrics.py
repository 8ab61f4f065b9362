"""What `curriculum.probe` measures, as `torchmetrics.Metric`s.

Idea: a metric is what training code expects for a number that gathers over batches and ranks: `update`, `compute`, `reset`,
states that are summed or joined over ranks. The formulas are `curriculum.probe`'s own; only the gathering is here. They
stand among the callbacks, since both serve other people's loops and both bring in a package that nothing else needs.
Alternatives: metrics that ask the model themselves (a metric then owns data and a device). The price: intervals, which
need every item's margin, stay with `read_probe`.

This module needs torchmetrics, and is imported by nobody else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from curriculum.errors import UserError
from curriculum.probe.modes import HYSTERESIS, RunMeasures, measure_run, modes_of
from curriculum.streaming.torchvision_guard import torchvision_or_stand_in

with torchvision_or_stand_in():
    from torchmetrics import Metric
    from torchmetrics.utilities import dim_zero_cat

_ROUNDING = 1e-3  # of probabilities in bfloat16


class SoftMargin(Metric):
    """The mean of P(correct) - P(shallow) over items, in [-1, 1]; NaN without items."""

    is_differentiable = True
    higher_is_better = True
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, correct: Tensor, shallow: Tensor) -> None:
        """Add items: the mean probability of each one's correct and shallow answer's tokens, of one shape. Raises UserError."""
        _check_probabilities(correct, shallow)
        self.total = self.total + (correct.double() - shallow.double()).sum()
        self.count = self.count + correct.numel()

    def compute(self) -> Tensor:
        """Return the mean so far, float64."""
        return self.total / self.count


class HardAccuracy(Metric):
    """The share of items whose correct answer is more probable than the shallow one (equal is not); NaN without items."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    right: Tensor
    count: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("right", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, correct: Tensor, shallow: Tensor) -> None:
        """Add items: the mean probability of each one's correct and shallow answer's tokens, of one shape. Raises UserError."""
        _check_probabilities(correct, shallow)
        self.right = self.right + (correct > shallow).sum()
        self.count = self.count + correct.numel()

    def compute(self) -> Tensor:
        """Return the share so far, float64."""
        return self.right.double() / self.count


class BitsPerByte(Metric):
    """-log2 P(text) divided by its bytes; NaN without any."""

    is_differentiable = True
    higher_is_better = False
    full_state_update = False
    nats: Tensor
    size: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("nats", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("size", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, log_probabilities: Tensor, size: Tensor | int) -> None:
        """Add text: natural log-probabilities of its tokens, of any shape, and its bytes, all together or text by text.

        Raises UserError for sizes below 1.
        """
        sizes = torch.as_tensor(size, device=self.size.device)
        if not bool((sizes >= 1).all()):
            raise UserError(f"bits per byte: wanted texts of at least 1 byte, got {size}")
        self.nats = self.nats - log_probabilities.double().sum()
        self.size = self.size + sizes.sum()

    def compute(self) -> Tensor:
        """Return bits per byte so far, float64."""
        return self.nats / self.size / math.log(2)


class _OverReadings(Metric):
    """What one probe's readings over a run amount to: positions (samples), margins and whether the model was capable.

    Readings may come in any order and from any rank. `start`: where the burn-in ends; `stop`: the end, by default the last
    reading. NaN while no reading lies between them.
    """

    is_differentiable = False
    full_state_update = False
    positions: list[Tensor]
    margins: list[Tensor]
    capable: list[Tensor]

    def __init__(self, *, hysteresis: float = HYSTERESIS, start: int = 0, stop: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.hysteresis, self.start, self.stop = hysteresis, start, stop
        for name in ("positions", "margins", "capable"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(
        self,
        position: Tensor | int | Sequence[int],
        margin: Tensor | float | Sequence[float],
        capable: Tensor | bool | Sequence[bool] = True,
    ) -> None:
        """Add one reading, or several of one length. Raises UserError for different lengths."""
        positions = torch.as_tensor(position, dtype=torch.int64, device=self.device).reshape(-1)
        margins = torch.as_tensor(margin, dtype=torch.float64, device=self.device).reshape(-1)
        able = torch.as_tensor(capable, dtype=torch.bool, device=self.device).reshape(-1).expand(len(positions))
        if len(positions) != len(margins):
            raise UserError(f"wanted as many margins as positions, got {len(margins)} and {len(positions)}")
        self.positions.append(positions)
        self.margins.append(margins)
        self.capable.append(able)

    def _measures(self) -> RunMeasures | None:
        if len(self.positions) == 0:
            return None
        positions = dim_zero_cat(self.positions)
        order = torch.argsort(positions, stable=True)
        ordered = positions[order].tolist()
        margins = dim_zero_cat(self.margins)[order].tolist()
        modes = modes_of(margins, dim_zero_cat(self.capable)[order].tolist(), self.hysteresis)
        stop = ordered[-1] if self.stop is None else self.stop
        if not any(begin < stop and end > self.start for begin, end in zip([0, *ordered], ordered, strict=False)):
            return None
        return measure_run(ordered, margins, modes, start=self.start, stop=stop)


class TimeGeneral(_OverReadings):
    """The share of samples after `start` that was spent in the general mode (see `curriculum.probe.modes`)."""

    higher_is_better = True

    def compute(self) -> Tensor:
        """Return the share, float64."""
        return _as_tensor(self._measures(), "time_general")


class Hops(_OverReadings):
    """How often the mode changed between general and shallow after `start`."""

    higher_is_better = False

    def compute(self) -> Tensor:
        """Return the number, float64."""
        return _as_tensor(self._measures(), "hops")


def _as_tensor(measures: RunMeasures | None, name: str) -> Tensor:
    return torch.tensor(math.nan if measures is None else getattr(measures, name), dtype=torch.float64)


def _check_probabilities(correct: Tensor, shallow: Tensor) -> None:
    if correct.shape != shallow.shape:
        raise UserError(
            f"wanted one probability of the correct and one of the shallow answer an item, got shapes {tuple(correct.shape)} "
            f"and {tuple(shallow.shape)}"
        )
    for name, values in (("correct", correct), ("shallow", shallow)):
        if not bool(((values >= 0) & (values <= 1 + _ROUNDING)).all()):
            raise UserError(f"wanted probabilities from 0 to 1, but {name} holds others (log-probabilities? NaN?)")
