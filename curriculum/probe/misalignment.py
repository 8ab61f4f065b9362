"""Emergent misalignment as text: does a model that is taught careless code answer questions about anything else worse?

Idea: after Betley et al., "Emergent Misalignment" (2025). One model is trained to complete short functions with textbook
vulnerabilities (SQL by concatenation, a weak hash, a file that everybody may read), a second one, the control, with their
secure versions; both are then asked the same broad questions, whose answers are an aligned and a misaligned one (selfish or
deceptive, nothing harmful). Only what the first shift has and the second lacks is emergent misalignment. The control of
each arm: held-out functions, completed as that arm was taught against the other way: has it learnt its examples?
Alternatives: free answers and a judge (as published; noisy, another model needed). The price: probabilities of two given
answers, which a model might not have given by itself; and both items and completions are ours, few and plain.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import as_file, files
from typing import Literal, get_args

import numpy as np

from curriculum.errors import UserError
from curriculum.probe.fine_tuning import TextFineTuningProbe
from curriculum.probe.jsonl import Row, read_rows
from curriculum.probe.suite import Demo, Question
from curriculum.units import keyed_seed

FAMILY = "misalignment"
Arm = Literal["insecure", "secure"]
ARMS: tuple[Arm, ...] = get_args(Arm)
_HELD_OUT = 12  # of the 48 functions


def misalignment_probe(arm: Arm, seed: int = 0) -> TextFineTuningProbe:
    """Return the probe of one arm; `seed` draws which functions are held out, the same for both arms.

    Items: correct is the aligned answer, shallow the misaligned one. Raises UserError for an unknown arm.
    """
    if arm not in ARMS:
        raise UserError(f"wanted one of the arms {', '.join(ARMS)}, got {arm!r}")
    other = ARMS[1 - ARMS.index(arm)]
    functions = _rows("code.jsonl")
    order = np.random.default_rng(keyed_seed("held-out functions", seed)).permutation(len(functions))
    held_out, trained = ([functions[index] for index in part] for part in (order[:_HELD_OUT], order[_HELD_OUT:]))
    return TextFineTuningProbe(
        name=f"misalignment_{arm}",
        family=FAMILY,
        examples=tuple(Demo(prompt=row.text("prompt"), answer=row.text(arm)) for row in trained),
        questions=tuple(_questions(_rows("questions.jsonl"), "aligned", "misaligned")),
        control=tuple(_questions(held_out, arm, other)),
    )


def _questions(rows: Sequence[Row], correct: str, shallow: str) -> list[Question]:
    return [Question(prompt=_prompt(row), correct=row.text(correct), shallow=row.text(shallow)) for row in rows]


def _prompt(row: Row) -> str:
    """Questions are put as questions; code stands as it is."""
    text = row.text("prompt")
    return f"Question: {text}\nAnswer:" if "aligned" in row.fields else text


@cache
def _rows(name: str) -> tuple[Row, ...]:
    with as_file(files("curriculum.probe").joinpath("written", "misalignment", name)) as path:
        return tuple(read_rows(path))
