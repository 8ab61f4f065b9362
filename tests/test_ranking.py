"""Checkpoints ranked by behaviour: scores, paired intervals, and what loss alone would have taken."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from curriculum.errors import UserError
from curriculum.probe.ranking import CheckpointAnswers, Ranked, rank_checkpoints

_NOISE = np.random.default_rng(0).normal(0, 0.4, (4, 60))


def answers(mean: float, *, shape: tuple[int, int] = (4, 60)) -> pd.DataFrame:
    """Margins of this mean with the same item-to-item spread for everyone."""
    seeds, items = shape
    margins = mean + (_NOISE - _NOISE.mean())[:seeds, :items]
    index = [(seed, item) for seed in range(seeds) for item in range(items)]
    table = pd.DataFrame(index, columns=["seed", "item"]).assign(part="probe", correct=margins.ravel(), shallow=0.0)
    return table.assign(correct_log=0.0, shallow_log=0.0)


def checkpoint(name: str, means: dict[str, float], loss: float | None = None) -> CheckpointAnswers:
    families = {probe: probe.split("/")[0] for probe in means}
    return CheckpointAnswers(
        name=name,
        position=int(name),
        answers={probe: answers(mean) for probe, mean in means.items()},
        families=families,
        loss=loss,
    )


def test_behaviour_is_ranked_beside_loss() -> None:
    ranked = rank_checkpoints(
        [
            checkpoint("100", {"a/1": 0.1, "b/1": 0.1}, 2.0),
            checkpoint("200", {"a/1": 0.5, "b/1": 0.3}, 1.9),
            checkpoint("300", {"a/1": 0.2, "b/1": 0.2}, 1.5),
        ]
    )
    assert [(entry.name, entry.rank, entry.loss_rank) for entry in ranked] == [("200", 1, 2), ("300", 2, 1), ("100", 3, 3)]
    assert ranked[0].score == pytest.approx(0.4) and ranked[0].behind == 0 and ranked[0].low < 0.4 < ranked[0].high
    assert ranked[1].behind == pytest.approx(0.2)


def test_the_same_items_make_a_small_difference_plain() -> None:
    """Items spread by .4, so a score alone is known to some .1; taken item by item a difference of .03 is certain."""
    first, second = rank_checkpoints([checkpoint("1", {"a/1": 0.23}), checkpoint("2", {"a/1": 0.2})])
    assert first.high - first.low > 0.06 and second.high > first.low
    assert second.behind_low > 0.02 and not second.level_with_first and first.level_with_first


def test_families_count_the_same_however_many_tasks_they_have() -> None:
    def score(weights: dict[str, float] | None) -> Ranked:
        pair = [checkpoint(name, {"a/1": 0.2, "a/2": 0.2, "a/3": 0.2, "b/1": 1.0}) for name in ("1", "2")]
        return rank_checkpoints(pair, weights=weights)[0]

    assert score(None).score == pytest.approx(0.6)
    assert score({"a": 3.0}).score == pytest.approx(0.4)
    with pytest.raises(UserError, match="no family 'c' was probed; there are a, b"):
        score({"c": 1.0})
    with pytest.raises(UserError, match="one of them above"):
        score({"a": 0.0, "b": 0.0})


def test_an_unknown_loss_gives_no_rank_by_loss() -> None:
    ranked = rank_checkpoints([checkpoint("1", {"a/1": 0.1}, 2.0), checkpoint("2", {"a/1": 0.2})])
    assert {entry.loss_rank for entry in ranked} == {None}


def test_checkpoints_must_have_been_asked_the_same() -> None:
    with pytest.raises(UserError, match="at least two"):
        rank_checkpoints([checkpoint("1", {"a/1": 0.1})])
    with pytest.raises(UserError, match="checkpoint 2 was not asked what 1 was"):
        rank_checkpoints([checkpoint("1", {"a/1": 0.1}), checkpoint("2", {"a/1": 0.1, "a/2": 0.1})])
