"""What is trained, and how: the `proxy:` section of a study as a value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from curriculum.errors import UserError

RateSchedule = Literal["constant", "cosine", "wsd"]
Precision = Literal["float32", "bfloat16"]
_WARM_UP = 0.05  # of the run, under cosine and wsd
_WSD_DECAY = 0.2  # the last part of the run, over which wsd goes to zero
_COSINE_FLOOR = 0.1  # of the peak rate
ACTIVE_EXPERTS = 2
_BALANCE = 0.01  # Switch's and OLMoE's


def check_experts(experts: int, active: int) -> None:
    """Raise UserError unless `experts` is 0 (dense) or `active` of them, at least one, can be chosen."""
    if experts < 0:
        raise UserError(f"proxy: wanted experts of at least 1, or 0 for a dense model, got {experts}")
    if active < 1 or (experts and active > experts):
        raise UserError(f"proxy: wanted active_experts from 1 to experts, got {active} of {experts or 'no'} experts")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A proxy with its training recipe. `batch` and lengths are in samples, `context` in tokens.

    `experts` above 0 makes each MLP a mixture of that many, of which `active_experts` compute a token; `balance` is what the
    load-balancing loss counts beside the cross-entropy, in training alone: no loss that is reported contains it.
    `precision` is that of matrix products in training; all that is kept or read is float32 (see `precision`).
    `start` names a checkpoint folder to continue from (weights only; the optimizer starts afresh), None is from scratch.
    """

    model: Literal["transformer"] = "transformer"
    layers: int = 2
    width: int = 64
    heads: int = 2
    context: int | None = None
    batch: int = 32
    optimizer: Literal["adamw"] = "adamw"
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    schedule: RateSchedule = "constant"
    start: Path | None = None
    readings: int = 40
    induction_initialisation: bool = False
    experts: int = 0
    active_experts: int = ACTIVE_EXPERTS
    balance: float = _BALANCE
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        for name in ("layers", "width", "heads", "batch", "readings"):
            if getattr(self, name) < 1:
                raise UserError(f"proxy: wanted {name} of at least 1, got {getattr(self, name)}")
        if self.width % self.heads:
            raise UserError(f"proxy: wanted a width that its heads divide, got width {self.width}, heads {self.heads}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise UserError(f"proxy: wanted a learning_rate above 0, got {self.learning_rate}")
        if self.schedule not in get_args(RateSchedule):
            raise UserError(f"proxy: wanted schedule constant, cosine or wsd, got {self.schedule!r}")
        if self.precision not in get_args(Precision):
            raise UserError(f"proxy: wanted precision float32 or bfloat16, got {self.precision!r}")
        check_experts(self.experts, self.active_experts)
        if not (math.isfinite(self.balance) and self.balance >= 0):
            raise UserError(f"proxy: wanted a balance of at least 0, got {self.balance}")
        if not self.experts and (self.active_experts, self.balance) != (ACTIVE_EXPERTS, _BALANCE):
            raise UserError("proxy: active_experts and balance mean nothing to a dense model; give experts too, such as 8")

    def steps(self, samples: int) -> int:
        """Return the optimizer steps of a run. Raises UserError if `samples` is no multiple of batch x readings."""
        if samples % self.batch or (samples // self.batch) % self.readings:
            unit = self.batch * self.readings
            raise UserError(
                f"wanted a run of whole batches between readings: samples a multiple of batch x readings = {self.batch} x "
                f"{self.readings} = {unit}, got {samples}; try {max(unit, round(samples / unit) * unit)}"
            )
        return samples // self.batch

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of `step` (from 0) in a run of `steps`.

        cosine: warm-up over 5 %, then to a tenth. wsd: warm-up over 5 %, stable, linear to zero over the last 20 %
        (warm-up-stable-decay; Hu et al., "MiniCPM", 2024, section 4).
        """
        if self.schedule == "constant":
            return self.learning_rate
        warm = max(1, round(_WARM_UP * steps))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        if self.schedule == "cosine":
            progress = (step - warm) / max(1, steps - warm)
            scale = _COSINE_FLOOR + (1 - _COSINE_FLOOR) * (1 + math.cos(math.pi * progress)) / 2
            return self.learning_rate * scale
        return self.learning_rate * min(1.0, (steps - step) / max(1, round(_WSD_DECAY * steps)))
