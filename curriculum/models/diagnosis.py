"""A hop put to its controls: the two checkpoints are asked again, differently, changed a little, and averaged.

Idea: what a control concludes is in `probe.credibility`; here is only how its numbers are got from models. Every table of
answers is kept like a survey's, so that a diagnosis that was cut off goes on where it was. Alternatives: asking all controls
of all checkpoints (they matter at hops only). The price: a hop costs about ten readings of its probe, more than the
survey that found it where checkpoints are few.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from curriculum.errors import UserError
from curriculum.models.averaging import average_checkpoints
from curriculum.models.network import NetworkModel
from curriculum.models.opening import open_model
from curriculum.models.perturbation import one_step_changes
from curriculum.models.survey import (
    Checkpoint,
    Inquiry,
    PersonaSampling,
    Survey,
    ask_inquiry,
    inquiry_of_persona,
    inquiry_of_probe,
    inquiry_of_task,
)
from curriculum.probe import Probe, Trajectory
from curriculum.probe.answers import TASK_FLOOR, margins_of, paired_difference
from curriculum.probe.credibility import (
    Diagnosis,
    Estimate,
    Finding,
    Hop,
    averaging_finding,
    constant_label_finding,
    hard_and_soft_finding,
    interval_finding,
    normal_label_finding,
    not_run,
    one_step_finding,
    paraphrase_finding,
)
from curriculum.probe.encoding import encode_task
from curriculum.probe.fine_tuning import Example
from curriculum.probe.items import ItemSet
from curriculum.probe.model import TextModel
from curriculum.probe.modes import HYSTERESIS
from curriculum.probe.neutral import constant_label_control, with_control
from curriculum.probe.paraphrase import paraphrases
from curriculum.probe.scoring import crossed_interval, score_items
from curriculum.probe.suite import Persona, Task

LEARNING_RATES = (1e-5, 1e-4, 1e-3, 1e-2)  # of the single step; published up to 1e-2
_STEP_ITEMS = 64  # items that train the single step, and as many that read its effect


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A probe that can be diagnosed: what to ask for each control, None or nothing where that control cannot be made.

    `wordings` are other forms of the same probe, `form` what they are called. `answers`: correct and shallow answer of
    every item. `step_items` makes, for a model, the items in token ids that are read after the single step, and those that
    it is taken on: the control's, being ordinary data; None where answers are sampled.
    """

    inquiry: Inquiry
    answers: tuple[tuple[object, object], ...] = ()
    constant_label: Inquiry | None = None
    wordings: tuple[Inquiry, ...] = ()
    form: str = "other wordings"
    step_items: Callable[[TextModel], tuple[ItemSet, ItemSet]] | None = None


def subject_of_task(task: Task) -> Subject:
    """Return a suite's task with the controls that its rows allow."""
    task = with_control(task)
    mirrored = constant_label_control(task).task
    return Subject(
        inquiry=inquiry_of_task(task),
        answers=tuple((question.correct, question.shallow) for question in task.questions),
        constant_label=None if mirrored is None else inquiry_of_task(mirrored),
        wordings=tuple(inquiry_of_task(replace(other, control=None)) for other in paraphrases(task)),
        step_items=lambda model: (encode_task(task, 0, model), encode_task(task.control or task, 0, model)),
    )


def subject_of_persona(persona: Persona, sampling: PersonaSampling) -> Subject:
    """Return a persona: its answers are sampled, so that neither labels nor a step can be tried."""
    return Subject(inquiry=inquiry_of_persona(persona, sampling))


def subject_of_probe(draws: Sequence[Probe]) -> Subject:
    """Return a probe in token ids; its further draws of items stand in for other wordings."""
    first, *others = draws
    return Subject(
        inquiry=inquiry_of_probe(first),
        answers=tuple(zip(first.items.correct, first.items.shallow, strict=True)),
        wordings=tuple(inquiry_of_probe(other) for other in others),
        form="other draws of items",
        step_items=lambda model: (first.items, first.control),
    )


def hops_of(trajectory: Trajectory, hysteresis: float = HYSTERESIS) -> list[Hop]:
    """Return every change between general and shallow, in order of position.

    A hop is from the last reading that lies beyond the old mode's threshold to the first beyond the new one's: readings in
    between keep the old mode by hysteresis only, and a stretch without a mode does not count as one.
    """
    found = []
    for name, table in trajectory.table.groupby("probe", sort=False):
        rows: list[Any] = [row for row in table.itertuples() if str(row.mode) != "unformed"]
        sure = [row for row in rows if abs(row.margin) > hysteresis]
        found += [_hop(str(name), before, after) for before, after in itertools.pairwise(sure) if before.mode != after.mode]
    return sorted(found, key=lambda hop: (hop.after_position, hop.probe))


def _hop(probe: str, before: Any, after: Any) -> Hop:
    """Make a hop of two rows of a trajectory."""
    return Hop(
        probe=probe,
        family=str(before.family),
        before_position=int(before.position),
        after_position=int(after.position),
        before=before.mode,
        after=after.mode,
        margin_before=Estimate(value=float(before.margin), low=float(before.low), high=float(before.high)),
        margin_after=Estimate(value=float(after.margin), low=float(after.low), high=float(after.high)),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Laboratory:
    """Where a run's checkpoints are asked further: its survey, how to open its models, and where answers are kept."""

    survey: Survey
    folder: Path
    device: str = "auto"
    average: int = 5

    def at(self, position: int) -> Checkpoint:
        """Return the checkpoint of a position."""
        return next(checkpoint for checkpoint in self.survey.checkpoints if checkpoint.position == position)

    def answers(self, inquiry: Inquiry, position: int) -> pd.DataFrame:
        """Return what one checkpoint answers, asking only if that is not known."""
        return ask_inquiry(self.at(position), inquiry, self.folder, device=self.device)

    def neighbours(self, hop: Hop) -> tuple[tuple[Checkpoint, ...], tuple[Checkpoint, ...]]:
        """Return up to `average` checkpoints that end before the hop, and as many that begin after it."""
        ordered = sorted(self.survey.checkpoints, key=lambda checkpoint: checkpoint.position)
        before = [checkpoint for checkpoint in ordered if checkpoint.position <= hop.before_position][-self.average :]
        after = [checkpoint for checkpoint in ordered if checkpoint.position >= hop.after_position][: self.average]
        return tuple(before), tuple(after)


def diagnose_hop(
    hop: Hop, subject: Subject, laboratory: Laboratory, observe: Callable[[str], None] = lambda _: None
) -> Diagnosis:
    """Put a hop to every control. `observe` is told each control's name before it is run."""
    controls: dict[str, Callable[[Hop, Subject, Laboratory], Finding]] = {
        "interval": lambda hop, *_: interval_finding(hop),
        "hard_and_soft": _hard_and_soft,
        "normal_labels": _normal_labels,
        "constant_label": _constant_label,
        "paraphrases": _paraphrases,
        "averaging": _averaging,
        "one_step": _one_step,
    }
    findings = []
    for name, control in controls.items():
        observe(name)
        try:
            findings.append(control(hop, subject, laboratory))
        except UserError as error:  # a wording that does not fit the context, models that are no folders, ...
            findings.append(not_run(name, str(error)))
    return Diagnosis(hop=hop, findings=tuple(findings))


def _both(inquiry: Inquiry, hop: Hop, laboratory: Laboratory) -> tuple[pd.DataFrame, pd.DataFrame]:
    return laboratory.answers(inquiry, hop.before_position), laboratory.answers(inquiry, hop.after_position)


def _hard_and_soft(hop: Hop, subject: Subject, laboratory: Laboratory) -> Finding:
    before, after = _both(subject.inquiry, hop, laboratory)
    accuracies = [float((margins_of(table) > 0).mean()) for table in (before, after)]
    return hard_and_soft_finding(hop, *accuracies)


def _normal_labels(hop: Hop, subject: Subject, laboratory: Laboratory) -> Finding:
    before, after = _both(subject.inquiry, hop, laboratory)
    if not (before["part"] == "control").any():
        return not_run("normal_labels", "this probe has no neutral control, and none can be derived")
    levels = [_estimate(margins_of(table, "control")) for table in (before, after)]
    change = _estimate(margins_of(after, "control") - margins_of(before, "control"))
    return normal_label_finding(hop, levels[0], levels[1], change, floor=subject.inquiry.floor or TASK_FLOOR)


def _constant_label(hop: Hop, subject: Subject, laboratory: Laboratory) -> Finding:
    if not subject.answers:
        return Finding(
            control="constant_label", outcome="passed", reason="answers are sampled, so there are no labels to prefer"
        )
    reachable = reachable_by_one_label(subject.answers)
    if reachable < abs(hop.change) / 2:
        reason = f"one answer for everything reaches a margin of at most {reachable:.2f} here, the hop is {hop.change:+.2f}"
        return Finding(control="constant_label", outcome="passed", reason=reason)
    if subject.constant_label is None:
        return not_run(
            "constant_label", f"one answer for everything reaches {reachable:.2f} here, and no mirrored questions can be made"
        )
    before, after = _both(subject.constant_label, hop, laboratory)
    return constant_label_finding(hop, _difference(after, before))


def reachable_by_one_label(answers: Sequence[tuple[object, object]]) -> float:
    """Return the largest |margin| of a model that always gives one and the same answer, whatever it is asked."""
    correct, shallow = Counter(item[0] for item in answers), Counter(item[1] for item in answers)
    return max(abs(correct[label] - shallow[label]) for label in correct | shallow) / len(answers)


def _paraphrases(hop: Hop, subject: Subject, laboratory: Laboratory) -> Finding:
    differences = []
    for inquiry in subject.wordings:
        before, after = _both(inquiry, hop, laboratory)
        differences.append(_difference(after, before))
    return paraphrase_finding(hop, differences, form=subject.form)


def _averaging(hop: Hop, subject: Subject, laboratory: Laboratory) -> Finding:
    sides = laboratory.neighbours(hop)
    fewest = min(len(side) for side in sides)
    if fewest < 2:
        return not_run("averaging", f"only {fewest} checkpoint on one side of the hop; keep more")
    before = _ask_average(sides[0][-fewest:], subject.inquiry, laboratory)
    after = _ask_average(sides[1][:fewest], subject.inquiry, laboratory)
    return averaging_finding(hop, _difference(after, before), averaged=fewest)


def _ask_average(checkpoints: Sequence[Checkpoint], inquiry: Inquiry, laboratory: Laboratory) -> pd.DataFrame:
    return inquiry.ask(average_checkpoints([checkpoint.where for checkpoint in checkpoints], device=laboratory.device))


def _one_step(hop: Hop, subject: Subject, laboratory: Laboratory) -> Finding:
    if subject.step_items is None:
        return not_run("one_step", "sampled answers are too noisy and too slow to read after a step")
    changes: list[float] = []
    for position in (hop.before_position, hop.after_position):
        model = open_model(laboratory.at(position).where, device=laboratory.device)
        if not isinstance(model, NetworkModel):
            return not_run("one_step", "a plain callable has no weights to step")
        changes += _changes_of_a_step(model, *subject.step_items(model))
    return one_step_finding(hop, changes)


def _changes_of_a_step(model: NetworkModel, asked: ItemSet, trained_on: ItemSet) -> list[float]:
    examples = [
        Example(prompt=prompt, answer=answer)
        for prompt, answer in zip(trained_on.prompts[:_STEP_ITEMS], trained_on.correct[:_STEP_ITEMS], strict=True)
    ]
    read = ItemSet(
        prompts=asked.prompts[:_STEP_ITEMS], correct=asked.correct[:_STEP_ITEMS], shallow=asked.shallow[:_STEP_ITEMS]
    )
    return one_step_changes(
        model, examples, lambda changed: float(score_items(read, changed).margins.mean()), learning_rates=LEARNING_RATES
    )


def probe_correlations(trajectory: Trajectory) -> pd.DataFrame:
    """Return the correlations (Pearson) of the probes' margins over the checkpoints, a square table.

    Raises UserError for fewer than three checkpoints.
    """
    margins = trajectory.table.pivot(index="position", columns="probe", values="margin")
    if len(margins) < 3:
        raise UserError(f"wanted at least three checkpoints to correlate probes over, got {len(margins)}")
    return margins.corr()


def _difference(after: pd.DataFrame, before: pd.DataFrame) -> Estimate:
    mean, low, high = paired_difference(after, before)
    return Estimate(value=mean, low=low, high=high)


def _estimate(margins: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Estimate:
    low, high = crossed_interval(margins)
    return Estimate(value=float(margins.mean()), low=low, high=high)
