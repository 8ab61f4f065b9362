"""The written item set: its files as a whole, and what makes a flipped, repetitive or successive item one."""

from __future__ import annotations

import calendar
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from string import ascii_uppercase

import pytest

from curriculum.errors import DataError
from curriculum.probe import authoring
from curriculum.probe.authoring import WRITTEN, all_files, flipped, repetitive, successive, write
from curriculum.probe.authoring.rows import Files, as_text, drawn, shuffled
from curriculum.probe.suite import Task
from curriculum.probe.suite_files import load_suite

FILES: Files = all_files()
ITEM_FILES = [path for path in FILES if path.endswith(".jsonl") and not path.endswith("facts.jsonl")]
TASKS = {(task.family, task.name): task for task in load_suite("written").tasks}
FLIPPED = [task for task in TASKS.values() if task.family == "flipped_answer"]
REPETITIVE = [task for task in TASKS.values() if task.family == "repetitive_answer"]
SUCCESSIVE = [task for task in TASKS.values() if task.family == "successive_answer"]
LARGEST = 1_500_000  # bytes of all files together: they travel in the wheel


def of_split(path: str, split: str) -> list[dict[str, str]]:
    return [{key: str(value) for key, value in row.items()} for row in FILES[path] if row["split"] == split]


def examples(prompt: str, task: Task) -> list[tuple[str, str]]:
    """Return the demonstrations in a prompt that carries its own, as (prompt, answer)."""
    parts = [line.rsplit(" ", 1) for line in prompt.split(task.joiner)[:-1]]
    return [(asked, answer) for asked, answer in parts]


def carried(task: Task) -> list[list[str]]:
    """Return the answers of the demonstrations in every question's prompt."""
    return [[answer for _, answer in examples(question.prompt, task)] for question in task.questions]


def named(task: Task) -> str:
    return task.name


# The set as a whole


def test_the_files_are_what_the_programs_write(tmp_path: Path) -> None:
    paths = write(tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in paths} == set(FILES)
    for path in paths:
        committed = WRITTEN / path.relative_to(tmp_path)
        is_stale = committed.read_bytes() != path.read_bytes()  # never shown as a difference: that takes minutes and gigabytes
        assert not is_stale, f"{committed} is stale: python -m curriculum.probe.authoring"
    assert sum(path.stat().st_size for path in paths) < LARGEST


def test_every_item_file_is_a_task_or_its_control_and_the_other_way_round() -> None:
    tasks = {f"{family}/{name}{part}.jsonl" for family, name in TASKS for part in ("", ".control")}
    assert set(ITEM_FILES) == tasks
    assert {path.relative_to(WRITTEN).as_posix() for family in {task.family for task in TASKS.values()}
            for path in (WRITTEN / family).iterdir()} == tasks  # fmt: skip


@pytest.mark.parametrize("path", ITEM_FILES)
def test_items_have_text_and_differ(path: str) -> None:
    asked, shown = of_split(path, "test"), of_split(path, "demo")
    assert asked
    for text in [value for row in asked + shown for value in row.values()]:
        assert text
        assert text == text.strip(), "a text is the prompt, a space and the answer: neither brings another space"
    prompts = [row["prompt"] for row in asked + shown]
    assert [prompt for prompt, number in Counter(prompts).items() if number > 1] == []
    assert [row for row in asked if row["correct_answer"] == row["incorrect_answer"]] == []


@pytest.mark.parametrize("task", TASKS.values(), ids=named)
def test_a_task_has_enough_demonstrations_and_a_control_asked_alike(task: Task) -> None:
    control = task.control
    assert control is not None
    for each in (task, control):
        sides = Counter(demo.label for demo in each.demos)
        enough = min(sides[0], sides[1]) * 2 if each.strategy == "balanced" else len(each.demos)
        assert enough >= each.shots
    assert (control.shots, control.strategy, control.joiner, control.seeds) == (
        task.shots, task.strategy, task.joiner, task.seeds)  # fmt: skip


@pytest.mark.parametrize("family", ["flipped_answer", "repetitive_answer", "successive_answer"])
def test_every_level_has_enough_questions_for_its_interval(family: str) -> None:
    levels: Counter[str] = Counter()
    for task in TASKS.values():
        if task.family == family:
            levels[task.level] += len(task.questions)
    assert set(levels) == {"easy", "medium", "hard"}
    assert min(levels.values()) >= 120
    assert sum(levels.values()) >= 400


# Flipped answer


@pytest.mark.parametrize("task", FLIPPED, ids=named)
def test_flipped_demos_and_questions_agree_on_one_flip(task: Task) -> None:
    assert {(demo.label, demo.answer) for demo in task.demos} == {(0, task.demos[0].answer), (1, task.demos[-1].answer)}
    names = {task.demos[0].answer, task.demos[-1].answer}
    sides = Counter((question.correct, question.shallow) for question in task.questions)
    assert all({correct, shallow} == names for correct, shallow in sides)
    assert len(set(sides.values())) == 1, "unequal classes let a constant answer pay"
    firsts = [question.correct for question in task.questions]
    assert all(one != other for one, other in pairwise(firsts)), "any even number of first questions is balanced"


@pytest.mark.parametrize("task", FLIPPED, ids=named)
def test_a_flipped_control_differs_in_its_labels_alone(task: Task) -> None:
    control = task.control
    assert control is not None
    assert [(demo.prompt, demo.label) for demo in control.demos] == [(demo.prompt, demo.label) for demo in task.demos]
    assert [question.prompt for question in control.questions] == [question.prompt for question in task.questions]
    neutral = {demo.answer for demo in control.demos}
    assert neutral.isdisjoint(demo.answer for demo in task.demos)
    of_class = {demo.label: demo.answer for demo in control.demos}
    flips = {demo.answer: of_class[demo.label] for demo in task.demos}
    assert [flips[question.correct] for question in task.questions] == [question.correct for question in control.questions]


def test_the_labels_are_flipped_and_not_the_learnt_ones() -> None:
    demos = {demo.prompt: demo.answer for task in FLIPPED for demo in task.demos}
    questions = {question.prompt: question.correct for task in FLIPPED for question in task.questions}
    stated = demos | questions
    assert stated["Word: wonderful\nFeeling:"] == "negative"
    assert stated["Word: terrible\nFeeling:"] == "positive"
    assert {stated[text] for text in stated if text.endswith("The fire felt")} == {"cold"}
    assert {stated[text] for text in stated if text.endswith("The mouse was")} == {"big"}
    assert stated["Word: tulip\nKind:"] == "animal"


def test_no_clause_of_a_mixed_question_stands_in_a_demonstration() -> None:
    task = TASKS["flipped_answer", "mixed_sentences"]
    shown = " ".join(demo.prompt for demo in task.demos).lower()
    for question in task.questions:
        text = question.prompt.removeprefix("Review: ").removesuffix(".\nVerdict:").removeprefix("Although ").lower()
        clauses = text.replace(", but ", ", ").split(", ")
        assert len(clauses) == 2
        assert [clause for clause in clauses if clause in shown] == []


# Repetitive answer


@pytest.mark.parametrize("task", REPETITIVE, ids=named)
def test_repetitive_demos_all_say_the_shallow_answer(task: Task) -> None:
    for question, answers in zip(task.questions, carried(task), strict=True):
        assert len(answers) >= 3
        assert set(answers) == {question.shallow}
    assert len({question.shallow for question in task.questions}) >= 5, "few constants make a reading hang on their words"


@pytest.mark.parametrize("task", REPETITIVE, ids=named)
def test_a_repetitive_control_shows_neither_answer_and_no_repetition(task: Task) -> None:
    control = task.control
    assert control is not None
    for question, answers, tempted in zip(control.questions, carried(control), task.questions, strict=True):
        assert {question.correct, question.shallow}.isdisjoint(answers)
        assert Counter(answers).most_common(1)[0][1] <= 2
        assert len(answers) == len(carried(task)[0])
        assert question.prompt.split("\n")[-1] == tempted.prompt.split("\n")[-1]
        assert question.correct == tempted.correct


@pytest.mark.parametrize("task", [*REPETITIVE, *SUCCESSIVE], ids=named)
def test_no_item_shows_one_demonstration_twice_or_its_own_question(task: Task) -> None:
    for each in (task, task.control):
        assert each is not None
        for question in each.questions:
            asked = [shown for shown, _ in examples(question.prompt, each)]
            assert len({*asked, question.prompt.split("\n")[-1]}) == len(asked) + 1


@pytest.mark.parametrize("task", [*REPETITIVE, *SUCCESSIVE], ids=named)
def test_one_prompt_has_one_right_answer_everywhere(task: Task) -> None:
    right: dict[str, set[str]] = {}
    for each in (task, task.control):
        assert each is not None
        for question in each.questions:
            for asked, answer in [*examples(question.prompt, each), (question.prompt.split("\n")[-1], question.correct)]:
                right.setdefault(asked, set()).add(answer)
    assert {asked: answers for asked, answers in right.items() if len(answers) > 1} == {}


def sums(text: str) -> int:
    left, sign, right, _ = text.split()
    return int(left) + int(right) if sign == "+" else int(left) - int(right)


def code(text: str) -> int:
    start, step = (int(part) for part in text.replace("x = x + ", "").replace("x = ", "").replace("; x is", "").split(";"))
    return start + step


COMPUTED = {"equal_sums": sums, "rising_sums": sums, "differences": sums, "code_steps": code}


@pytest.mark.parametrize("name", COMPUTED)
def test_computed_answers_are_right(name: str) -> None:
    (task,) = (task for task in [*REPETITIVE, *SUCCESSIVE] if task.name == name)
    for each in (task, task.control):
        assert each is not None
        for question in each.questions:
            assert str(COMPUTED[name](question.prompt.split("\n")[-1])) == question.correct
            assert all(str(COMPUTED[name](asked)) == answer for asked, answer in examples(question.prompt, each))


# Successive answer


def ladder(task: Task) -> list[str]:
    """Return the row that a task's answers follow: its answers in the order in which demonstrations put them."""
    after = {before: after for question, answers in zip(task.questions, carried(task), strict=True)
             for before, after in pairwise([*answers, question.shallow])}  # fmt: skip
    (first,) = set(after) - set(after.values())
    row = [first]
    while row[-1] in after and after[row[-1]] not in row:
        row.append(after[row[-1]])
    return row


@pytest.mark.parametrize("task", SUCCESSIVE, ids=named)
def test_successive_demos_climb_one_ladder_to_the_shallow_answer(task: Task) -> None:
    row = ladder(task)
    for question, answers in zip(task.questions, carried(task), strict=True):
        start = row.index(answers[0])
        assert [*answers, question.shallow] == row[start : start + len(answers) + 1]
        assert question.correct not in answers
    assert len({question.shallow for question in task.questions}) >= 4, "few places to start make a reading hang on a word"


def test_the_ladders_are_numbers_letters_and_months_in_their_order() -> None:
    rows = {task.name: ladder(task) for task in SUCCESSIVE}
    assert rows["first_letters"] == list("abcdefghijklmnopqrstuvwxyz")
    assert "".join(rows["capital_letters"]) in ascii_uppercase
    assert rows["months"] == [calendar.month_name[number] for number in range(2, 13)]
    assert rows["differences"] == list("123456789")
    assert rows["ordinals"][:4] == ["first", "second", "third", "fourth"]


@pytest.mark.parametrize("task", SUCCESSIVE, ids=named)
def test_a_successive_control_mixes_the_same_demos(task: Task) -> None:
    control, row = task.control, ladder(task)
    assert control is not None
    for question, tempted in zip(control.questions, task.questions, strict=True):
        mixed, counted = examples(question.prompt, control), examples(tempted.prompt, task)
        assert sorted(mixed) == sorted(counted)
        assert question.prompt.split("\n")[-1] == tempted.prompt.split("\n")[-1]
        places = [row.index(answer) for _, answer in mixed]
        assert all(after != before + 1 for before, after in pairwise(places))
        assert question.shallow not in [answer for _, answer in mixed]
        assert question.shallow != row[places[-1] + 1]


# How files are written


def test_an_order_depends_on_key_and_text_alone() -> None:
    words = [f"word{number}" for number in range(30)]
    assert shuffled(words, "a") == shuffled(reversed(words), "a") != shuffled(words, "b")
    shorter = [word for word in shuffled(words, "a") if word != "word7"]
    assert shuffled([word for word in words if word != "word7"], "a") == shorter
    assert drawn(words, "a") == shuffled(words, "a")[0]


def test_two_authors_of_one_file_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authoring, "AUTHORS", (flipped.rows, repetitive.rows, successive.rows, flipped.rows))
    with pytest.raises(DataError, match="one author a file"):
        all_files()


def test_a_file_is_json_lines_or_one_array() -> None:
    rows = [{"split": "test", "prompt": "é"}, {"split": "demo"}]
    assert [json.loads(line) for line in as_text("a.jsonl", rows).splitlines()] == rows
    assert json.loads(as_text("a.json", rows)) == rows
    with pytest.raises(DataError, match=r"jsonl or \.json"):
        as_text("a.csv", rows)
