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

import numpy as np
import numpy.typing as npt

from curriculum.errors import RunError, UserError
from curriculum.probe.items import ItemSet
from curriculum.probe.model import AnswerModel, Numbers

_RESAMPLES = 400
_CONFIDENCE = 0.95


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
    margins = score_items(probe.items, model).margins
    control = score_items(probe.control, model).margins
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


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ItemScores:
    """What a model makes of every item, each of shape (items,).

    `correct`, `shallow`: mean probability of the answer's tokens. `correct_log`, `shallow_log`: sum of their
    log-probabilities.
    """

    correct: Numbers
    shallow: Numbers
    correct_log: Numbers
    shallow_log: Numbers

    @property
    def margins(self) -> Numbers:
        """Return P(correct) - P(shallow) of every item, in [-1, 1]."""
        difference: Numbers = self.correct - self.shallow
        return difference


def score_items(items: ItemSet, model: AnswerModel) -> ItemScores:
    """Ask `model` for both answers of every item. Raises RunError when it gives something that is no probability."""
    correct, shallow = model.answer_log_probabilities(items.prompts, (items.correct, items.shallow))
    (correct_mean, correct_log), (shallow_mean, shallow_log) = _scores(correct), _scores(shallow)
    wrong = np.flatnonzero(~np.isfinite(correct_mean + shallow_mean))
    if len(wrong):
        raise RunError(
            f"probe item {wrong[0]}: the model gave no probability (NaN or infinite logits); is it trained, and loaded in a "
            "number format that holds its activations (bfloat16 or float32)?"
        )
    return ItemScores(correct=correct_mean, shallow=shallow_mean, correct_log=correct_log, shallow_log=shallow_log)


def _scores(answers: Sequence[Numbers]) -> tuple[Numbers, Numbers]:
    """Return each answer's mean token probability and summed log-probability, (items,) both."""
    lengths = np.asarray([len(tokens) for tokens in answers])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    flat = np.concatenate(answers)
    return np.add.reduceat(np.exp(flat), starts) / lengths, np.add.reduceat(flat, starts)


def bootstrap_interval(values: Numbers) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the mean, from resamples fixed by the number of values."""
    means = values[_resamples(len(values))].mean(axis=1)
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def crossed_interval(values: Numbers) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean of `values` (demo seeds, items), resampling seeds and items both.

    A seed's demos move all its items together and an item is hard under every seed, so that treating the values as
    independent would make the interval too narrow (the pigeonhole bootstrap; Owen, 2007).
    """
    seeds, items = values.shape
    if seeds == 1:
        return bootstrap_interval(values[0])
    by_item = _resamples(items)
    by_seed = np.random.default_rng([seeds, items, 1]).integers(0, seeds, size=(_RESAMPLES, seeds))
    means = np.asarray([values[np.ix_(chosen, some)].mean() for chosen, some in zip(by_seed, by_item, strict=True)])
    low, high = np.quantile(means, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return float(low), float(high)


@lru_cache(maxsize=8)
def _resamples(count: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(count).integers(0, count, size=(_RESAMPLES, count))
