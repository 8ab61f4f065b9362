"""Checkpoints ranked by behaviour, beside the rank by loss.

Idea: a checkpoint's score is its mean margin over probes, averaged over families so that a family with many tasks does
not outvote the others; two checkpoints answered the same items, so their difference is taken item by item, which leaves a
much narrower interval than two scores apart. Published case for it: of two checkpoints 400B tokens apart the one that
scored higher generalised better after post-training than the other, and than the last (Wen et al., 2026). Alternatives:
the lowest loss, the last checkpoint (both printed beside it), an average (see `models.averaging`). The price: a score is
about these families; where they are far from the use the model is for, weigh or choose them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from curriculum.errors import UserError
from curriculum.probe.answers import margins_of
from curriculum.probe.model import Numbers

if TYPE_CHECKING:
    import pandas as pd

_RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointAnswers:
    """One checkpoint's answers by probe, the family of each, and its loss where that is known."""

    name: str
    position: int
    answers: Mapping[str, pd.DataFrame]
    families: Mapping[str, str]
    loss: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranked:
    """A checkpoint in the ranking. `behind`: how far its score lies below the first one's, with a 95 % interval (paired).

    `loss_rank` is 1 for the lowest loss, None where losses are unknown.
    """

    name: str
    position: int
    score: float
    low: float
    high: float
    accuracy: float
    behind: float
    behind_low: float
    behind_high: float
    rank: int
    loss: float | None
    loss_rank: int | None

    @property
    def level_with_first(self) -> bool:
        """Return whether the difference from the first one may be zero."""
        return self.behind_low <= 0


def rank_checkpoints(
    checkpoints: Sequence[CheckpointAnswers], *, weights: Mapping[str, float] | None = None, seed: int = 0
) -> list[Ranked]:
    """Return the checkpoints, best first. `weights` are the families' (default: all the same).

    Intervals resample items within every probe, the same items for all checkpoints. Raises UserError for fewer than two
    checkpoints, and for checkpoints that were not asked the same probes and items.
    """
    if len(checkpoints) < 2:
        raise UserError(f"wanted at least two checkpoints to choose from, got {len(checkpoints)}")
    _check_same_items(checkpoints)
    share = _shares(checkpoints[0], weights or {})
    values = np.asarray([_score(checkpoint, share) for checkpoint in checkpoints])
    draws = _resampled_scores(checkpoints, share, seed)
    order = [int(index) for index in np.argsort(-values, kind="stable")]
    loss_ranks = _loss_ranks(checkpoints)
    return [
        _ranked(
            checkpoints[index],
            rank=rank,
            score=float(values[index]),
            behind=float(values[order[0]] - values[index]),
            draws=draws[index],
            draws_behind=draws[order[0]] - draws[index],
            share=share,
            loss_rank=loss_ranks.get(index),
        )
        for rank, index in enumerate(order, start=1)
    ]


def _ranked(
    checkpoint: CheckpointAnswers,
    *,
    rank: int,
    score: float,
    behind: float,
    draws: Numbers,
    draws_behind: Numbers,
    share: Mapping[str, float],
    loss_rank: int | None,
) -> Ranked:
    low, high = np.quantile(draws, [0.025, 0.975])
    behind_low, behind_high = np.quantile(draws_behind, [0.025, 0.975])
    return Ranked(
        name=checkpoint.name,
        position=checkpoint.position,
        score=score,
        low=float(low),
        high=float(high),
        accuracy=sum(part * float((margins_of(checkpoint.answers[probe]) > 0).mean()) for probe, part in share.items()),
        behind=behind,
        behind_low=float(behind_low),
        behind_high=float(behind_high),
        rank=rank,
        loss=checkpoint.loss,
        loss_rank=loss_rank,
    )


def _shares(checkpoint: CheckpointAnswers, weights: Mapping[str, float]) -> dict[str, float]:
    """Return each probe's share of the score: families by weight, their probes alike."""
    of_probe = {probe: checkpoint.families[probe] for probe in checkpoint.answers}
    families = list(dict.fromkeys(of_probe.values()))
    unknown = sorted(set(weights) - set(families))
    if unknown:
        raise UserError(f"no family {unknown[0]!r} was probed; there are {', '.join(families)}")
    of_family = {family: weights.get(family, 1.0) for family in families}
    total = sum(of_family.values())
    if min(of_family.values()) < 0 or not total > 0:
        raise UserError(f"wanted weights of at least 0, one of them above, got {of_family}")
    count = {family: list(of_probe.values()).count(family) for family in families}
    return {probe: of_family[family] / total / count[family] for probe, family in of_probe.items()}


def _score(checkpoint: CheckpointAnswers, share: Mapping[str, float]) -> float:
    return sum(part * float(margins_of(checkpoint.answers[probe]).mean()) for probe, part in share.items())


def _resampled_scores(checkpoints: Sequence[CheckpointAnswers], share: Mapping[str, float], seed: int) -> Numbers:
    """Return bootstrap scores (checkpoints, resamples); a resample takes the same seeds and items of all checkpoints."""
    total: Numbers = np.zeros((len(checkpoints), _RESAMPLES))
    for number, (probe, part) in enumerate(share.items()):
        margins = np.stack([margins_of(checkpoint.answers[probe]) for checkpoint in checkpoints])
        generator = np.random.default_rng([seed, number])
        _, seeds, items = margins.shape
        by_seed = generator.integers(0, seeds, size=(_RESAMPLES, seeds))
        by_item = generator.integers(0, items, size=(_RESAMPLES, items))
        for draw in range(_RESAMPLES):
            total[:, draw] += part * margins[:, by_seed[draw]][:, :, by_item[draw]].mean(axis=(1, 2))
    return total


def _check_same_items(checkpoints: Sequence[CheckpointAnswers]) -> None:
    wanted = {probe: margins_of(answers).shape for probe, answers in checkpoints[0].answers.items()}
    for checkpoint in checkpoints[1:]:
        found = {probe: margins_of(answers).shape for probe, answers in checkpoint.answers.items()}
        if found != wanted:
            different = sorted(set(wanted.items()) ^ set(found.items()))
            raise UserError(
                f"checkpoint {checkpoint.name} was not asked what {checkpoints[0].name} was (first difference: "
                f"{different[0][0]}); probe all with the same suite and settings"
            )


def _loss_ranks(checkpoints: Sequence[CheckpointAnswers]) -> dict[int, int]:
    known = [(checkpoint.loss, index) for index, checkpoint in enumerate(checkpoints) if checkpoint.loss is not None]
    if len(known) < len(checkpoints):
        return {}
    return {index: rank for rank, (_, index) in enumerate(sorted(known), start=1)}
