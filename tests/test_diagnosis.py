"""Hops put to their controls: models made to be in a mode, to prefer a label, or to have lost a capability."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from test_survey import DEMOS, QUESTIONS

from curriculum.commands.asking import Asking
from curriculum.commands.diagnose import diagnose
from curriculum.commands.run import run
from curriculum.errors import DataError, UserError
from curriculum.models import diagnosis as diagnosing
from curriculum.models import survey as surveying
from curriculum.models.diagnosis import (
    Laboratory,
    Subject,
    diagnose_hop,
    hops_of,
    probe_correlations,
    reachable_by_one_label,
    subject_of_task,
)
from curriculum.models.survey import Checkpoint, ask_all
from curriculum.probe import Trajectory
from curriculum.probe.credibility import Diagnosis
from curriculum.probe.suite import Demo, Question, Task

NAMES = ("Rome", "Oslo", "Lima", "Bonn", "Kyiv", "Bern", "Doha", "Male", "Riga", "Suva", "Apia", "Baku")
SUMS = Task(name="sums", family="repetitive_answer", questions=QUESTIONS, demos=DEMOS, strategy="random", shots=2, seeds=2)
CALM = Task(
    name="calm",
    family="truthy_answer",
    questions=tuple(Question(prompt=f"{name} plainly is a city.", correct="True", shallow="False") for name in NAMES),
)
TRUTHS = Task(
    name="truths",
    family="truthy_answer",
    questions=tuple(Question(prompt=f"{name} is on the moon.", correct="False", shallow="True") for name in NAMES),
    demos=tuple(Demo(prompt=f"{name} is a city.", answer="True") for name in NAMES)
    + tuple(Demo(prompt=f"{name} is a fish.", answer="False") for name in NAMES[:3]),
    strategy="random",
    shots=4,
    seeds=2,
    control=CALM,
)


class Minded:
    """A text model by characters that scores an item by what stands in its prompt, with a little noise of its own."""

    context = 10_000

    def __init__(self, tempted: float, plain: float, label: str | None = None) -> None:
        self.tempted, self.plain, self.label = tempted, plain, label

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def answer_log_probabilities(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[np.ndarray]]:
        found: list[list[np.ndarray]] = [[], []]
        for prompt, correct, shallow in zip(prompts, *answers, strict=True):
            margin = self._margin("".join(map(chr, prompt)), "".join(map(chr, correct)).strip())
            margin += 0.02 * np.sin(len(prompt) + sum(correct))
            for side, answer, sign in ((0, correct, 1), (1, shallow, -1)):
                found[side].append(np.full(len(answer), np.log(0.5 + sign * margin / 2)))
        return found

    def _margin(self, prompt: str, correct: str) -> float:
        if self.label is not None and "plainly" not in prompt:
            return 0.7 if correct == self.label else -0.7
        tempted = prompt.count(" 7") >= 2 or "moon" in prompt
        return self.tempted if tempted else self.plain


def laboratory_of(models: Sequence[Minded], folder: Path, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> Laboratory:
    """A run whose checkpoints are `models`; averages have the mean inclination, one step changes little."""
    places = {f"m{number}": model for number, model in enumerate(models)}

    def averaged(names: Sequence[str], device: str) -> Minded:
        chosen = [places[name] for name in names]
        return Minded(*(float(np.mean([getattr(model, part) for model in chosen])) for part in ("tempted", "plain")))

    for module in (surveying, diagnosing):
        monkeypatch.setattr(module, "open_model", lambda where, device: places[where])
    monkeypatch.setattr(diagnosing, "average_checkpoints", averaged)
    monkeypatch.setattr(diagnosing, "_changes_of_a_step", lambda model, asked, trained_on: [0.001])
    monkeypatch.setattr(diagnosing, "NetworkModel", Minded)
    checkpoints = [Checkpoint(name=name, position=number, where=name) for number, name in enumerate(places)]
    return Laboratory(survey=ask_all(checkpoints, [subject.inquiry], folder), folder=folder, average=3)


def diagnoses(models: Sequence[Minded], task: Task, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Diagnosis]:
    subject = subject_of_task(task)
    laboratory = laboratory_of(models, folder, subject, monkeypatch)
    return [diagnose_hop(hop, subject, laboratory) for hop in hops_of(laboratory.survey.trajectory())]


SHALLOW, GENERAL = Minded(-0.6, 0.6), Minded(0.6, 0.6)


def outcomes(diagnosis: Diagnosis) -> dict[str, str]:
    return {finding.control: finding.outcome for finding in diagnosis.findings}


def test_a_change_of_mode_is_confirmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    up, down = diagnoses([SHALLOW] * 3 + [GENERAL] * 3 + [SHALLOW] * 3, SUMS, tmp_path, monkeypatch)
    assert (up.hop.before_position, up.hop.after_position, up.hop.after) == (2, 3, "general")
    assert (down.hop.before_position, down.hop.after_position, down.hop.after) == (5, 6, "shallow")
    assert up.verdict == down.verdict == "confirmed", (outcomes(up), outcomes(down))
    assert up.hop.change == pytest.approx(1.2, abs=0.05)


def test_a_lost_capability_is_no_hop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unable = Minded(0.0, 0.05)
    assert diagnoses([GENERAL] * 3 + [unable] * 3, SUMS, tmp_path, monkeypatch) == []
    (diagnosis,) = diagnoses([Minded(-0.2, 0.12)] * 3 + [Minded(0.6, 0.8)] * 3, SUMS, tmp_path / "b", monkeypatch)
    assert outcomes(diagnosis)["normal_labels"] == "open" and diagnosis.verdict == "unconfirmed"


def test_a_single_odd_checkpoint_is_averaged_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = [Minded(0.3, 0.6)] * 3 + [SHALLOW] + [Minded(0.9, 0.6)] * 3
    down, up = diagnoses(models, SUMS, tmp_path, monkeypatch)
    assert outcomes(down)["averaging"] == "failed" and down.verdict == "refuted"
    assert up.hop.after == "general"


def test_one_label_for_everything_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Truthy's shallow answer is constant: a model that turns from `True` to `False` altogether scores like a hop."""
    yes, no = Minded(0.0, 0.6, label="True"), Minded(0.0, 0.6, label="False")
    (diagnosis,) = diagnoses([yes] * 3 + [no] * 3, TRUTHS, tmp_path, monkeypatch)
    assert outcomes(diagnosis)["constant_label"] == "failed" and diagnosis.verdict == "refuted"
    (real,) = diagnoses([SHALLOW] * 3 + [GENERAL] * 3, TRUTHS, tmp_path / "b", monkeypatch)
    assert outcomes(real)["constant_label"] == "passed"
    assert reachable_by_one_label([("False", "True")] * 4) == 1.0
    assert reachable_by_one_label([("a", "b"), ("b", "a")]) == 0.0


def test_a_gradual_hop_is_measured_between_readings_that_are_sure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = [Minded(margin, 0.6) for margin in (0.8, 0.8, -0.1, -0.1, -0.8, -0.8)]
    (diagnosis,) = diagnoses(models, SUMS, tmp_path, monkeypatch)
    assert (diagnosis.hop.before_position, diagnosis.hop.after_position) == (1, 4)
    assert diagnosis.hop.change == pytest.approx(-1.6, abs=0.05)


def test_a_control_that_cannot_be_run_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = subject_of_task(SUMS)
    laboratory = laboratory_of([SHALLOW] * 2 + [GENERAL] * 2, tmp_path, subject, monkeypatch)

    def no_folder(names: Sequence[str], device: str) -> Minded:
        raise DataError("there is no checkpoint folder m0")

    monkeypatch.setattr(diagnosing, "average_checkpoints", no_folder)
    (hop,) = hops_of(laboratory.survey.trajectory())
    diagnosis = diagnose_hop(hop, subject, laboratory)
    assert outcomes(diagnosis)["averaging"] == "not run" and diagnosis.verdict == "unconfirmed"
    assert "no checkpoint folder" in diagnosis.reasons[0]


def test_too_few_checkpoints_leave_a_hop_unconfirmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (diagnosis,) = diagnoses([SHALLOW, GENERAL, GENERAL], SUMS, tmp_path, monkeypatch)
    assert outcomes(diagnosis)["averaging"] == "not run" and diagnosis.verdict == "unconfirmed"
    assert diagnosis.reasons == ("averaging: only 1 checkpoint on one side of the hop; keep more",)


def test_correlations_need_three_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    laboratory = laboratory_of([SHALLOW, GENERAL], tmp_path, subject_of_task(SUMS), monkeypatch)
    with pytest.raises(UserError, match="at least three"):
        probe_correlations(laboratory.survey.trajectory())


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A short real run of a tiny proxy with checkpoints."""
    folder = tmp_path_factory.mktemp("played")
    (folder / "mix.yaml").write_text(
        'version: 1\nname: m\nsamples: 512\nstreams:\n  facts: {local: "testbed:facts"}\n  icl: {local: "testbed:icl"}\n'
        "phases:\n  - {until: 1, weights: {facts: 1, icl: 1}}\n"
    )
    (folder / "study.yaml").write_text(
        'version: 1\nname: s\nstreams:\n  facts: {local: "testbed:facts"}\n  icl: {local: "testbed:icl"}\n'
        "length: {samples: 512}\nproxy: {layers: 1, width: 16, heads: 1, batch: 16, readings: 4}\n"
        'probes:\n  - {name: flipped, family: flipped, builtin: "testbed:flipped", floor: 0.0, items: 16}\n'
    )
    assert run(folder / "mix.yaml", study_path=folder / "study.yaml", runs=folder / "runs", checkpoints=4) == 0
    yield folder


def asking(played: Path, **options: object) -> Asking:
    (run_folder,) = (played / "runs" / "m").iterdir()
    return Asking(places=(str(run_folder),), study=played / "study.yaml", folder=played / "kept", **options)


def test_real_checkpoints_are_diagnosed_without_a_hop(played: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert diagnose(asking(played), as_json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["hops"] == [] and document["probe_correlations"] == {"flipped": {"flipped": 1.0}}
    assert diagnose(asking(played)) == 0 and "No probe changes" in capsys.readouterr().out
    with pytest.raises(UserError, match="no probe 'x' was asked; there are flipped"):
        diagnose(asking(played), probes=["x"])


def test_a_real_hop_goes_through_every_control(
    played: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tiny run has no hop of its own: readings are called shallow and general in turns, and none of it is confirmed."""
    original = surveying.Survey.trajectory

    def alternating(self: surveying.Survey, hysteresis: float = 0.15) -> Trajectory:
        table = original(self, hysteresis).table
        is_general = np.arange(len(table)) % 2 == 1
        margin = np.where(is_general, 0.5, -0.5)
        mode = np.where(is_general, "general", "shallow")
        return Trajectory(table.assign(mode=mode, margin=margin, low=margin - 0.1, high=margin + 0.1))

    monkeypatch.setattr(surveying.Survey, "trajectory", alternating)
    assert diagnose(asking(played), as_json=True) == 0
    hops = json.loads(capsys.readouterr().out)["hops"]
    assert hops and all(hop["verdict"] != "confirmed" for hop in hops)
    assert {finding["control"] for finding in hops[0]["findings"]} == {
        *("interval", "hard_and_soft", "normal_labels", "constant_label", "paraphrases", "averaging", "one_step")
    }
