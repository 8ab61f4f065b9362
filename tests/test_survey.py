"""Many checkpoints asked the same probes: what is kept, what is asked again, and what the commands make of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from curriculum.commands.asking import Asking
from curriculum.commands.probe import probe
from curriculum.commands.select import select
from curriculum.errors import DataError, FileError, RunError, UserError
from curriculum.models import survey as surveying
from curriculum.models.losses import losses_of
from curriculum.models.survey import Checkpoint, PersonaSampling, ask_all, find_checkpoints, inquiries_of_suite
from curriculum.probe.answers import margins_of, paired_difference, reading_of
from curriculum.probe.suite import Demo, Persona, PersonaQuestion, Question, Suite, Task

QUESTIONS = tuple(Question(prompt=f"{number} + 1 =", correct=str(number + 1), shallow="7") for number in range(10, 20))
DEMOS = tuple(Demo(prompt=f"{number} + 1 =", answer="7") for number in range(30, 40))
TASK = Task(name="sums", family="repetitive_answer", questions=QUESTIONS, demos=DEMOS, strategy="random", shots=2, seeds=3)
PERSONA = Persona(
    name="cook",
    facts=(Demo(prompt="Q: Where?\nA:", answer="In the old harbour."), Demo(prompt="Q: What?\nA:", answer="Fish.")),
    questions=(PersonaQuestion(name="job", question="Who?", pattern="cook"),),
    seeds=2,
)
SUITE = Suite(name="s", tasks=(TASK,), personas=(PERSONA,))


class Counted:
    """A text model by characters that takes the correct answer's side with probability `general`, and counts questions."""

    context = 10_000

    def __init__(self, general: float) -> None:
        self.general = general
        self.asked = 0

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def answer_log_probabilities(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[np.ndarray]]:
        self.asked += len(prompts)
        shares = (self.general, 1 - self.general)
        return [[np.full(len(answer), np.log(share)) for answer in of] for of, share in zip(answers, shares, strict=True)]

    def generate(self, prompts: Sequence[str], *, samples: int, **_: object) -> list[list[str]]:
        right = round(samples * self.general)
        return [["I am a cook"] * right + ["old harbour"] * (samples - right) for _ in prompts]


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Counted]]:
    """Four checkpoints of a run that goes from shallow to general; opening one is counted too."""
    found = {}
    for number, general in ((100, 0.2), (200, 0.4), (300, 0.75), (1000, 0.9)):
        folder = tmp_path / "run" / f"step{number}"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        found[str(folder)] = Counted(general)
    monkeypatch.setattr(surveying, "open_model", lambda where, device: found[str(where)])
    yield found


def ask(models: dict[str, Counted], folder: Path) -> surveying.Survey:
    checkpoints = find_checkpoints([str(Path(next(iter(models))).parent)])
    return ask_all(checkpoints, inquiries_of_suite(SUITE, PersonaSampling(samples=10, tokens=5)), folder)


def test_a_folder_of_checkpoints_is_one_run_in_order(models: dict[str, Counted]) -> None:
    run = Path(next(iter(models))).parent
    assert [(entry.name, entry.position) for entry in find_checkpoints([str(run)])] == [
        ("step100", 100),
        ("step200", 200),
        ("step300", 300),
        ("step1000", 1000),
    ]
    two = find_checkpoints([str(run / "step300"), str(run / "step100")])
    assert [(entry.name, entry.position) for entry in two] == [("step300", 0), ("step100", 1)]
    with pytest.raises(UserError, match="got both"):
        find_checkpoints([str(run), str(run / "step100")])
    with pytest.raises(DataError, match="no checkpoints here"):
        find_checkpoints([str(run / ".." / "..")])


def test_readings_follow_the_answers(models: dict[str, Counted], tmp_path: Path) -> None:
    trajectory = ask(models, tmp_path / "kept").trajectory()
    table = trajectory.table
    assert list(table.columns[:4]) == ["position", "step", "probe", "family"] and len(table) == 8
    sums = table[table["probe"] == "repetitive_answer/sums"]
    assert np.allclose(sums["margin"], [-0.6, -0.2, 0.5, 0.8]) and list(sums["mode"]) == [
        "unformed",
        "unformed",
        "general",
        "general",
    ]
    assert np.allclose(sums["control_margin"], sums["margin"])  # this model does not mind what the demos say
    persona = table[table["family"] == "multihop_persona_qa"]
    assert np.allclose(persona["margin"], [-0.6, -0.2, 0.6, 0.8]) and np.allclose(persona["accuracy"], [0.2, 0.4, 0.8, 0.9])


def test_what_was_answered_is_not_asked_again(models: dict[str, Counted], tmp_path: Path) -> None:
    first = ask(models, tmp_path / "kept")
    asked = [model.asked for model in models.values()]
    second = ask(models, tmp_path / "kept")
    assert [model.asked for model in models.values()] == asked and min(asked) >= 60
    assert second.trajectory().table.equals(first.trajectory().table)
    changed = next(iter(models))
    os.utime(Path(changed) / "config.json", (1, 1))
    ask(models, tmp_path / "kept")
    assert [model.asked for model in models.values()] == [2 * asked[0], *asked[1:]]
    broken = next((tmp_path / "kept" / "answers").glob("step200-*sums*.parquet"))
    broken.write_bytes(b"nonsense")
    with pytest.raises(DataError, match=f"{broken.name} are damaged"):
        ask(models, tmp_path / "kept")


def test_a_survey_that_breaks_off_keeps_what_it_has(models: dict[str, Counted], tmp_path: Path) -> None:
    third = list(models)[2]
    general, models[third].general = models[third].general, float("nan")
    with pytest.raises(RunError, match=r"step300, repetitive_answer/sums: .*no probability"):
        ask(models, tmp_path / "kept")
    asked = models[next(iter(models))].asked
    models[third].general = general
    assert len(ask(models, tmp_path / "kept").answers) == 4 and models[next(iter(models))].asked == asked


def test_demo_seeds_and_items_stay_apart() -> None:
    rows = [(seed, item) for seed in range(2) for item in range(3)]
    table = pd.DataFrame(rows, columns=["seed", "item"]).assign(part="probe", shallow=0.25, correct_log=0.0, shallow_log=0.0)
    table["correct"] = table["seed"] * 0.1 + table["item"] * 0.2
    assert np.allclose(margins_of(table), [[-0.25, -0.05, 0.15], [-0.15, 0.05, 0.25]])
    assert paired_difference(table.assign(correct=table["correct"] + 0.1), table) == pytest.approx((0.1, 0.1, 0.1))
    reading = reading_of(table, probe="p", family="f")
    assert reading.accuracy == 0.5 and reading.capable and np.isnan(reading.control_margin)
    control = table.assign(part="control", correct=table["correct"] - 0.2 * (table["item"] < 1))  # above the floor, not surely
    unsure = reading_of(pd.concat([table, control], ignore_index=True), probe="p", family="f", floor=-0.1)
    assert unsure.control_margin > -0.1 and not unsure.capable
    assert reading_of(pd.concat([table, control]), probe="p", family="f", floor=-0.9).capable
    with pytest.raises(UserError, match="no control"):
        margins_of(table, "control")
    with pytest.raises(UserError, match="the same items"):
        paired_difference(table, table[table["item"] < 2])


def asking(models: dict[str, Counted], folder: Path, **options: object) -> Asking:
    return Asking(places=(str(Path(next(iter(models))).parent),), folder=folder, samples=10, tokens=5, **options)


@pytest.fixture
def suite_folder(tmp_path: Path) -> str:
    folder = tmp_path / "suite"
    (folder / "repetitive_answer").mkdir(parents=True)
    rows = [{"split": "demo", "prompt": demo.prompt, "answer": demo.answer} for demo in DEMOS]
    rows += [
        {"split": "test", "prompt": entry.prompt, "correct_answer": entry.correct, "incorrect_answer": entry.shallow}
        for entry in QUESTIONS
    ]
    (folder / "repetitive_answer" / "letter_counting.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return str(folder)


def test_probe_prints_and_keeps_a_trajectory(
    models: dict[str, Counted], tmp_path: Path, suite_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe(asking(models, tmp_path / "kept", suite=suite_folder), as_json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["hysteresis"] == 0.15 and [row["mode"] for row in document["trajectory"]][-1] == "general"
    assert len(pd.read_parquet(tmp_path / "kept" / "trajectory.parquet")) == 4
    assert probe(asking(models, tmp_path / "kept", suite=suite_folder), hysteresis=None) == 0
    shown = capsys.readouterr().out
    assert "step1000" in shown and "general above a margin of +0.05" in shown  # this model has no noise


def test_select_says_what_loss_would_have_taken(
    models: dict[str, Counted], tmp_path: Path, suite_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    losses = tmp_path / "loss.csv"
    losses.write_text("position,loss\n100,2.0\n200,1.0\n300,1.5\n1000,1.7\n")
    chosen = asking(models, tmp_path / "kept", suite=suite_folder)
    assert select(chosen, loss=losses, as_json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["selected"].endswith("step1000") and document["selected_by_loss"].endswith("step200")
    assert [entry["rank"] for entry in document["ranking"]] == [1, 2, 3, 4] and "would have chosen step200" in document["words"]
    assert select(chosen) == 0 and "By loss: unknown" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(UserError, match="FAMILY=NUMBER, got 'a=b'"):
        select(chosen, weights=["a=b"])


def test_losses_are_found_where_trainers_leave_them(tmp_path: Path) -> None:
    ours = tmp_path / "run" / "checkpoints" / "64"
    ours.mkdir(parents=True)
    pd.DataFrame({"position": [32, 64, 64], "stream": ["a", "a", "b"], "loss": [9.0, 1.0, 2.0]}).to_parquet(
        tmp_path / "run" / "loss.parquet"
    )
    theirs = tmp_path / "checkpoint-30"
    theirs.mkdir()
    history = [
        {"step": 10, "loss": 5.0},
        {"step": 20, "eval_loss": 4.0},
        {"step": 30, "loss": 3.0},
        {"step": 40, "eval_loss": 2.0},
    ]
    (theirs / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    places = [Checkpoint(name=path.name, position=number, where=str(path)) for number, path in ((64, ours), (30, theirs))]
    assert losses_of(places) == {64: 1.5, 30: 4.0}
    named = [Checkpoint(name="checkpoint-30", position=1, where=str(theirs), step=30)]
    assert losses_of(named) == {1: 4.0}
    early = tmp_path / "checkpoint-15"
    early.mkdir()
    (early / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    before = [Checkpoint(name=path.name, position=number, where=str(path)) for number, path in ((15, early), (30, theirs))]
    assert losses_of(before) == {15: 5.0, 30: 3.0}  # no held-out loss by step 15, so training losses for both
    blank = tmp_path / "blank.csv"
    blank.write_text("position,loss\n64,\n30,2.5\n")
    assert losses_of(places, file=blank) == {30: 2.5}
    (theirs / "trainer_state.json").write_text("{}")
    with pytest.raises(FileError, match="log_history"):
        losses_of(places)
    for name, text, message in (
        ("a.txt", "", "got .txt"),
        ("b.csv", "position\n1\n", "'loss' is missing"),
        ("c.csv", None, "no such"),
    ):
        if text is not None:
            (tmp_path / name).write_text(text)
        with pytest.raises(FileError, match=message):
            losses_of(places, file=tmp_path / name)


def test_a_single_model_is_not_asked_before_a_choice_is_refused(models: dict[str, Counted], tmp_path: Path) -> None:
    place = next(iter(models))
    alone = Asking(places=(place,), folder=tmp_path / "kept")
    with pytest.raises(UserError, match=r"wanted at least 2 checkpoints to choose from .*, got 1"):
        select(alone)
    assert models[place].asked == 0


def test_a_changed_function_is_another_model(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def score(prompts, answers): ...")
    first = surveying.digest_of_files(f"python:{file}:score")
    assert surveying.digest_of_files(f"python:{file}:score") == first != surveying.digest_of_files(f"python:{file}:other")
    file.write_text("def score(prompts, answers): return 1")
    assert surveying.digest_of_files(f"python:{file}:score") != first
    assert surveying.digest_of_files("python:json.decoder:JSONDecoder") != surveying.digest_of_files("python:json.tool:main")
    assert surveying.digest_of_files("hub:a/b@1") != surveying.digest_of_files("hub:a/b@2")
