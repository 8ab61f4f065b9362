"""The written truthy items: the labels are true to their claims, and no constant label pays."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from curriculum.probe.authoring import WRITTEN, truthy
from curriculum.probe.authoring.rows import Files, Row, as_text
from curriculum.probe.suite import Task
from curriculum.probe.suite_files import load_suite

FILES: Files = truthy.rows()
TASKS = [task for task in load_suite("written").tasks if task.family == "truthy_answer"]
LABELS = {"True", "False"}


def _split(rows: list[Row], name: str) -> list[Row]:
    return [row for row in rows if row["split"] == name]


def test_the_files_are_what_the_program_writes() -> None:
    committed = {path: (WRITTEN / path).read_text(encoding="utf-8") for path in FILES}
    assert committed == {path: as_text(path, rows) for path, rows in FILES.items()}
    written = {f"truthy_answer/{path.name}" for path in (WRITTEN / "truthy_answer").iterdir()}
    assert written == set(FILES)


@pytest.mark.parametrize("path", FILES)
def test_rows_are_well_formed(path: str) -> None:
    prompts = [str(row["prompt"]) for row in FILES[path]]
    assert len(set(prompts)) == len(prompts), "a question stands among the demos, or a row is there twice"
    assert all(prompt == prompt.strip() and prompt.endswith(".") for prompt in prompts)
    assert {row["answer"] for row in _split(FILES[path], "demo")} == LABELS
    for row in _split(FILES[path], "test"):
        assert {row["correct_answer"], row["incorrect_answer"]} == LABELS


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_shallow_answer_is_the_demos_majority(task: Task) -> None:
    (shallow,) = {question.shallow for question in task.questions}
    shares = Counter(demo.answer for demo in task.demos)
    assert shares.most_common(1)[0][0] == shallow
    assert 0.6 < shares[shallow] / len(task.demos) < 0.7
    assert len(task.questions) >= 60


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_constant_label_gains_nothing_on_a_control(task: Task) -> None:
    assert task.control is not None
    assert Counter(question.correct for question in task.control.questions) == {"True": 36, "False": 36}
    assert len(set(Counter(demo.answer for demo in task.control.demos).values())) == 1
    assert (task.control.shots, task.control.strategy) == (task.shots, task.strategy)


def test_both_labels_are_shallow_somewhere_on_every_level() -> None:
    shallow = {
        level: {task.questions[0].shallow for task in TASKS if task.level == level} for level in ("easy", "medium", "hard")
    }
    assert shallow == {"easy": LABELS, "medium": LABELS, "hard": LABELS}


def test_every_claim_has_one_truth() -> None:
    truths: dict[str, set[object]] = {}
    for rows in FILES.values():
        for row in rows:
            claim = str(row["prompt"]).rpartition("Claim: ")[2]
            truths.setdefault(claim, set()).add(row["answer"] if row["split"] == "demo" else row["correct_answer"])
    assert [claim for claim, seen in truths.items() if len(seen) > 1] == []


def test_a_stated_claim_is_true_when_it_repeats_the_fact() -> None:
    stated = [row for path, rows in FILES.items() if "/stated" in path for row in rows]
    assert stated
    for row in stated:
        fact, _, claim = str(row["prompt"]).removeprefix("Fact: ").partition(" Claim: ")
        label = row["answer"] if row["split"] == "demo" else row["correct_answer"]
        assert label == str(fact == claim), json.dumps(row)
