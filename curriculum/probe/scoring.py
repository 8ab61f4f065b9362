"""A probe asked of a model: one reading.

Idea: a score is the mean probability of an answer's tokens; hard accuracy is how often the correct answer scores above
the shallow one, the soft margin is how far on average (Wen et al., "Generalization Dynamics of LM Pre-training", 2026).
Beside each probe stands a neutral control, the same task without the temptation: only when the control's margin lies
above its floor, interval included, is a low margin a mode and not plain inability. Alternatives: sampling answers
(noisy, needs parsing) or sums of log-probabilities (dominated by the longer answer). The price: P(correct) + P(shallow)
may both be small; the control and the accuracy tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from curriculum.errors import UserError
from curriculum.probe.items import ItemSet

Numbers = npt.NDArray[np.float64]
_RESAMPLES = 400
_CONFIDENCE = 0.95


class AnswerModel(Protocol):
    """Whatever can say how probable given answers are: a proxy, a checkpoint, a plain callable in a class."""

    def answer_probabilities(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[Numbers]]:
        """Return the probability of every token of every answer.

        `answers[k][i]` is the k-th candidate answer to `prompts[i]`; result `[k][i]`: shape (its tokens,).
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """Items of one family beside their neutral control; `floor` is what the control's margin must exceed."""

    name: str
    family: str
    items: ItemSet
    control: ItemSet
    floor: float
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.floor < 1:
            raise UserError(f"probe {self.name!r}: wanted a floor from 0 to below 1, got {self.floor}")
        if not self.weight > 0:
            raise UserError(f"probe {self.name!r}: wanted a weight above 0, got {self.weight}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """One probe's result: accuracy in [0, 1]; margins in [-1, 1]; [low, high] is the 95 % interval of the margin."""

    probe: str
    family: str
    accuracy: float
    margin: float
    low: float
    high: float
    control_margin: float
    capable: bool


def read_probe(probe: Probe, model: AnswerModel) -> Reading:
    """Ask `model` every item of `probe` and of its control."""
    margins = item_margins(probe.items, model)
    control = item_margins(probe.control, model)
    low, high = bootstrap_interval(margins)
    control_low, _ = bootstrap_interval(control)
    return Reading(
        probe=probe.name,
        family=probe.family,
        accuracy=float((margins > 0).mean()),
        margin=float(margins.mean()),
        low=low,
        high=high,
        control_margin=float(control.mean()),
        capable=control_low > probe.floor,
    )


def item_margins(items: ItemSet, model: AnswerModel) -> Numbers:
    """Return P(correct) - P(shallow) of every item, shape (items,)."""
    correct, shallow = model.answer_probabilities(items.prompts, (items.correct, items.shallow))
    scores = [np.asarray([float(tokens.mean()) for tokens in answers]) for answers in (correct, shallow)]
    difference: Numbers = scores[0] - scores[1]
    return difference


def bootstrap_interval(values: Numbers) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the mean, from resamples fixed by the number of values."""
    means = values[_resamples(len(values))].mean(axis=1)
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


@lru_cache(maxsize=8)
def _resamples(count: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(count).integers(0, count, size=(_RESAMPLES, count))
