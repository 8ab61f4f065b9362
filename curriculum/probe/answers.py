"""What a model answered, one row an item; readings, modes and comparisons all follow from it.

Columns: part (`probe` or `control`), seed (of the demos), item, correct, shallow (mean probability of the answer's tokens),
correct_log, shallow_log (sums of log-probabilities). For a persona, which is answered by sampling, correct and shallow are
shares of the samples, and there are no logarithms.

Idea: a reading forgets which item it was that changed, and two checkpoints are compared best item by item. So the answers
are what is kept, and a `Reading` is a function of them. Alternatives: keeping readings only (no paired comparison, no
other score later). The price: some 40 bytes an item.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from curriculum.errors import UserError
from curriculum.probe.encoding import encode_task
from curriculum.probe.items import ItemSet
from curriculum.probe.model import AnswerModel, Numbers, TextModel
from curriculum.probe.neutral import persona_control
from curriculum.probe.persona import read_persona
from curriculum.probe.scoring import Probe, Reading, crossed_interval, score_items
from curriculum.probe.suite import PERSONAS, Persona, Task

if TYPE_CHECKING:
    import pandas as pd

SCORES = ("correct", "shallow", "correct_log", "shallow_log")
TASK_FLOOR = 0.0  # of a text task's control; its interval must lie above


def ask_items(parts: dict[str, list[ItemSet]], model: AnswerModel) -> pd.DataFrame:
    """Return the answers to each part's items, one item set a demo seed."""
    import pandas as pd

    tables = []
    for part, of_seeds in parts.items():
        for seed, items in enumerate(of_seeds):
            scores = score_items(items, model)
            columns = {name: getattr(scores, name) for name in SCORES}
            tables.append(pd.DataFrame({"part": part, "seed": seed, "item": np.arange(len(items)), **columns}))
    return pd.concat(tables, ignore_index=True)


def ask_probe(probe: Probe, model: AnswerModel) -> pd.DataFrame:
    """Ask every item of a probe in token ids, and of its control."""
    return ask_items({"probe": [probe.items], "control": [probe.control]}, model)


def ask_task(task: Task, model: TextModel) -> pd.DataFrame:
    """Ask every question of a task under each of its demo seeds, and of its control if it has one."""
    parts = {"probe": [encode_task(task, seed, model) for seed in range(task.seeds)]}
    if task.control is not None:
        parts["control"] = [encode_task(task.control, seed, model) for seed in range(task.control.seeds)]
    return ask_items(parts, model)


def ask_persona(persona: Persona, model: TextModel, *, samples: int, tokens: int, seed: int = 0) -> pd.DataFrame:
    """Sample every question's answers under each demo seed; `correct` and `shallow` are shares of the samples.

    The control asks for the facts themselves, by probability (see `neutral.persona_control`).
    """
    import pandas as pd

    scores = read_persona(persona, model, samples=samples, tokens=tokens, seed=seed)
    rows = [
        {"part": "probe", "seed": demo_seed, "item": item, "correct": right, "shallow": float(scores.shallow[demo_seed, item])}
        for (demo_seed, item), right in np.ndenumerate(scores.correct)
    ]
    sampled = pd.DataFrame(rows).assign(correct_log=np.nan, shallow_log=np.nan)
    control = persona_control(persona).task
    if control is None:
        return sampled
    asked = ask_items({"control": [encode_task(control, demo_seed, model) for demo_seed in range(control.seeds)]}, model)
    return pd.concat([sampled, asked], ignore_index=True)


def margins_of(answers: pd.DataFrame, part: str = "probe") -> Numbers:
    """Return P(correct) - P(shallow), shape (demo seeds, items). Raises UserError where the part was not asked."""
    chosen = answers[answers["part"] == part]
    if chosen.empty:
        raise UserError(f"these answers hold no {part}")
    wide = chosen.assign(margin=chosen["correct"] - chosen["shallow"]).pivot(index="seed", columns="item", values="margin")
    margins: Numbers = wide.to_numpy(dtype=np.float64)
    return margins


def reading_of(answers: pd.DataFrame, *, probe: str, family: str, floor: float = TASK_FLOOR) -> Reading:
    """Return the reading that answers amount to.

    Without a control nothing is known of the capability: `control_margin` is then NaN and the model counts as capable.
    Hard accuracy is the share of items whose correct answer is the more probable one; of personas, the match rate.
    """
    margins = margins_of(answers)
    low, high = crossed_interval(margins)
    control_margin, capable = np.nan, True
    if (answers["part"] == "control").any():
        control = margins_of(answers, "control")
        control_margin, capable = float(control.mean()), crossed_interval(control)[0] > floor
    accuracy = answers.loc[answers["part"] == "probe", "correct"].mean() if family == PERSONAS else (margins > 0).mean()
    return Reading(
        probe=probe,
        family=family,
        accuracy=float(accuracy),
        margin=float(margins.mean()),
        low=low,
        high=high,
        control_margin=control_margin,
        capable=capable,
    )


def paired_difference(first: pd.DataFrame, second: pd.DataFrame) -> tuple[float, float, float]:
    """Return the mean of first's margins minus second's over the same items, and its 95 % interval.

    Raises UserError when the two were not asked the same items.
    """
    one, other = margins_of(first), margins_of(second)
    if one.shape != other.shape:
        raise UserError(
            f"wanted answers to the same items, got {one.shape} and {other.shape} (seeds, items); probe both with one suite"
        )
    low, high = crossed_interval(one - other)
    return float((one - other).mean()), low, high
