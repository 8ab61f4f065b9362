"""What is trained, and how: the `proxy:` section of a study as a value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from curriculum.errors import UserError

RateSchedule = Literal["constant", "cosine", "wsd"]
_WARM_UP = 0.05  # of the run, under cosine and wsd
_WSD_DECAY = 0.2  # the last part of the run, over which wsd goes to zero
_COSINE_FLOOR = 0.1  # of the peak rate


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A proxy with its training recipe. `batch` and lengths are in samples, `context` in tokens.

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

    def __post_init__(self) -> None:
        for name in ("layers", "width", "heads", "batch", "readings"):
            if getattr(self, name) < 1:
                raise UserError(f"proxy: wanted {name} of at least 1, got {getattr(self, name)}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise UserError(f"proxy: wanted a learning_rate above 0, got {self.learning_rate}")
        if self.schedule not in get_args(RateSchedule):
            raise UserError(f"proxy: wanted schedule constant, cosine or wsd, got {self.schedule!r}")

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
