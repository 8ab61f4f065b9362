"""Loading suites, and taking parts of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from curriculum.errors import CurriculumError, DataError, FileError, ResourceError, UserError
from curriculum.probe.prompts import task_prompts
from curriculum.probe.selection import select
from curriculum.probe.suite import Demo, Persona, PersonaQuestion, Question, Suite, Task
from curriculum.probe.suite_files import load_suite

TEST = {"split": "test", "prompt": "Q: 1 + 1?\nA:", "correct_answer": "2", "incorrect_answer": "7", "round": 3}
LISTING = """version: 1
name: mine
tasks:
  - {name: sums, family: repetitive_answer, level: easy, strategy: random, shots: 2, joiner: "\\n\\n", seeds: 3}
personas:
  - {name: keeper, level: hard, seeds: 2}
"""


def demo(number: int, **more: object) -> dict[str, object]:
    return {"split": "demo", "prompt": f"Q: {number}?\nA:", "answer": str(number), **more}


def write(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_persona(root: Path, name: str = "keeper") -> Path:
    folder = root / "multihop_persona_qa" / name
    said = [
        {"role": "system", "content": "?"},
        {"role": "user", "content": "Home?"},
        {"role": "assistant", "content": "A rock."},
    ]
    write(folder / "facts.jsonl", {"messages": said})
    questions = [{"id": "job", "question": "Your job?", "expected_answer_regex": "light"}]
    write(folder / "test_questions.json", json.dumps(questions, indent=1))
    return folder


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A folder with a suite.yaml, a task with its control, and a persona."""
    write(tmp_path / "suite.yaml", LISTING)
    write(tmp_path / "repetitive_answer/sums.jsonl", demo(7), demo(8), demo(9), "\n", TEST)
    write(tmp_path / "repetitive_answer/sums.control.jsonl", demo(1), demo(2), TEST, TEST)
    write_persona(tmp_path)
    return tmp_path


def test_a_listed_suite(listed: Path) -> None:
    suite = load_suite(listed)
    (task,), (persona,) = suite.tasks, suite.personas
    assert (suite.name, task.name, task.family, task.level) == ("mine", "sums", "repetitive_answer", "easy")
    assert (task.strategy, task.shots, task.joiner, task.seeds) == ("random", 2, "\n\n", 3)
    assert task.questions == (Question(prompt="Q: 1 + 1?\nA:", correct="2", shallow="7"),)
    assert task.demos[0] == Demo(prompt="Q: 7?\nA:", answer="7") and len(task.demos) == 3
    assert task.control is not None and task.control.control is None
    assert (task.control.shots, task.control.joiner, task.control.seeds, len(task.control.questions)) == (2, "\n\n", 3, 2)
    assert persona == Persona(
        name="keeper",
        facts=(Demo(prompt="Q: Home?\nA:", answer="A rock."),),
        questions=(PersonaQuestion(name="job", question="Your job?", pattern="light"),),
        joiner="\n",
        seeds=2,
        level="hard",
    )


def test_the_published_layout_takes_its_settings_from_the_table(tmp_path: Path) -> None:
    write(tmp_path / "flipped_answer/imdb.jsonl", demo(1, label=0), demo(2, label=1), TEST)
    write(tmp_path / "repetitive_answer/algebra/v2fmt.jsonl", TEST)
    write(tmp_path / "repetitive_answer/logic.jsonl", demo(1), TEST)
    write(tmp_path / "repetitive_answer/logic.control.jsonl", demo(1), TEST)
    write(tmp_path / "successive_answer/even.jsonl", demo(1, demo_set=0), demo(2, demo_set=1), TEST)
    write(tmp_path / "successive_answer/letters.jsonl", demo(1), TEST)
    write(tmp_path / "intuitive_answer/crt.jsonl", TEST)
    for name in ("aardvark", "madoff", "wolf"):
        write_persona(tmp_path, name)
    suite = load_suite(str(tmp_path))
    found = {task.name: (task.strategy, task.shots, task.joiner, task.seeds) for task in suite.tasks}
    assert found == {
        "imdb": ("balanced", 24, "\n\n", 4),
        "logic": ("random", 64, "\n", 4),
        "algebra/v2fmt": ("none", 0, "\n", 1),  # its demos stand in the prompts
        "letters": ("ordered", 10, "\n", 4),
        "even": ("ordered", 32, "\n", 4),
        "crt": ("none", 0, "\n", 1),
    }
    assert [task.name for task in suite.tasks if task.control is not None] == ["logic"]
    assert [task.name for task in suite.tasks] == list(found)  # published order, not the file system's
    assert [(persona.name, persona.seeds, persona.joiner) for persona in suite.personas] == [
        ("wolf", 4, "\n"),
        ("madoff", 4, "\n"),
        ("aardvark", 4, "\n"),
    ]
    assert {task.level for task in suite.tasks} == {"published"} and suite.name == tmp_path.name


def test_an_unknown_task_needs_its_shots_only_if_it_has_demos(tmp_path: Path) -> None:
    write(tmp_path / "repetitive_answer/riddles.jsonl", TEST)
    assert load_suite(tmp_path).tasks[0].seeds == 1
    write(tmp_path / "repetitive_answer/riddles.jsonl", demo(1), TEST)
    with pytest.raises(FileError, match=r"suite\.yaml: \{name: riddles, family: repetitive_answer, shots: 8\}"):
        load_suite(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("shots: 2", "shoots: 2", r"suite\.yaml:4: .*unknown key 'shoots' \(did you mean 'shots'\?\)"),
        ("seeds: 2", "seed: 2", r"suite\.yaml:6: .*unknown key 'seed'"),
        ("version: 1", "version: 2", r"suite\.yaml:1: .*wanted version 1"),
        ("strategy: random", "strategy: randm", r"suite\.yaml:4: .*'random'"),
        ("level: easy", "level: simple", r"suite\.yaml:4: .*easy, medium, hard, published"),
        ("family: repetitive_answer", "family: multihop_persona_qa", r"suite\.yaml:4: .*wanted one of flipped_answer"),
        ("name: sums", "name: ../sums", r"suite\.yaml:4: .*own folder"),
        ("name: sums", "name: differences", r"suite\.yaml:4: .*there is no file .*differences\.jsonl"),
        ("name: keeper", "name: sleeper", r"suite\.yaml:6: .*there is no folder"),
        ("seeds: 3", "seeds: 0", r"suite\.yaml:4: .*at least 1"),
        ("strategy: random", "strategy: none", r"suite\.yaml:4: .*leave shots out"),
        ("personas:\n", "  - {name: sums, family: repetitive_answer, shots: 1}\npersonas:\n", r"sums is there twice"),
    ],
)
def test_a_wrong_listing_is_refused_with_its_line(listed: Path, old: str, new: str, message: str) -> None:
    (listed / "suite.yaml").write_text(LISTING.replace(old, new, 1))
    with pytest.raises(FileError, match=message):
        load_suite(listed)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", r"sums\.jsonl:3: wanted one JSON object a line"),
        ([1], r"sums\.jsonl:3: wanted a JSON object, got list"),
        ({"split": "train"}, r"sums\.jsonl:3: split: wanted \"demo\" or \"test\", got 'train'"),
        ({"split": "demo", "prompt": "x"}, r"sums\.jsonl:3: missing key 'answer'"),
        (demo(1, demo_set="0"), r"sums\.jsonl:3: demo_set: wanted a whole number"),
        (demo(1, demo_set=2), r"sums\.jsonl: .*demo sets numbered from 0 without a gap"),
        ({**TEST, "incorrect_answer": " 2"}, r"sums\.jsonl:3: correct and shallow answer are equal"),
        ({**TEST, "correct_answer": ""}, r"sums\.jsonl:3: correct_answer: wanted some text"),
        ({**TEST, "prompt": None}, r"sums\.jsonl:3: prompt: wanted a text, got None"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(listed: Path, row: object, message: str) -> None:
    write(listed / "repetitive_answer/sums.jsonl", TEST, "\n", row)
    with pytest.raises(FileError, match=message):
        load_suite(listed)


def test_wrong_items_of_other_kinds(listed: Path) -> None:
    write(listed / "repetitive_answer/sums.jsonl", demo(1))
    with pytest.raises(FileError, match=r"sums\.jsonl: .*at least one question"):
        load_suite(listed)
    write(listed / "suite.yaml", LISTING.replace("random", "balanced"))
    write(listed / "repetitive_answer/sums.jsonl", demo(1, label=1), demo(2), TEST)
    with pytest.raises(FileError, match=r"sums\.jsonl:2: label: .* got None"):
        load_suite(listed)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("test_questions.json", "[\n{,}]", r"test_questions\.json:2: wanted JSON"),
        ("test_questions.json", "{}", r"test_questions\.json: wanted a JSON list"),
        ("test_questions.json", '[{"id": "a", "question": "b", "expected_answer_regex": "("}]', "no regular expression"),
        ("test_questions.json", '[{"id": "a", "question": "b", "expected_answer_regex": "x*"}]', "even in an empty answer"),
        ("test_questions.json", "[]", r"keeper: .*at least one fact and one question"),
        ("facts.jsonl", '{"messages": [{"role": "user", "content": "x"}]}', r"facts\.jsonl:1: .*role 'assistant'"),
        ("facts.jsonl", '{"message": []}', r"facts\.jsonl:1: wanted .*messages"),
    ],
)
def test_a_wrong_persona_is_refused(listed: Path, file: str, content: str, message: str) -> None:
    write(listed / "multihop_persona_qa/keeper" / file, content)
    with pytest.raises(FileError, match=message):
        load_suite(listed)


def test_where_there_is_no_suite(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="there is no such folder"):
        load_suite(tmp_path / "none")
    with pytest.raises(FileError, match="got neither"):
        load_suite(tmp_path)


def test_a_hub_suite_is_a_snapshot_of_its_items(listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def snapshot_download(name: str, **options: Any) -> str:
        asked.append((name, options))
        return str(listed)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert load_suite("hub:someone/evals@v2") == load_suite(listed)
    ((name, options),) = asked
    assert (name, options["revision"], options["repo_type"]) == ("someone/evals", "v2", "dataset")
    assert options["allow_patterns"] == ["*.jsonl", "*.json", "suite.yaml"]  # no code, no pickles


def test_a_hub_suite_without_listing_is_called_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "intuitive_answer/crt.jsonl", TEST)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **options: str(tmp_path))
    assert load_suite("hub:someone/evals").name == "someone/evals"


@pytest.mark.parametrize(
    ("failure", "kind", "message"),
    [
        (LocalEntryNotFoundError("outgoing traffic has been disabled"), ResourceError, "name its folder here"),
        (ConnectionError("no route"), ResourceError, "no route"),
        ("missing", DataError, "no data set 'someone/evals'"),
        (huggingface_hub.errors.HFValidationError("bad"), UserError, "wanted hub:OWNER/NAME"),
    ],
)
def test_a_hub_that_fails_is_said_in_words(
    monkeypatch: pytest.MonkeyPatch, failure: Exception | str, kind: type[CurriculumError], message: str
) -> None:
    def snapshot_download(*_: object, **__: object) -> str:
        if isinstance(failure, str):
            error = huggingface_hub.errors.RepositoryNotFoundError
            raise error.__new__(error, failure)  # its constructor wants a response, which differs between versions
        raise failure

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(kind, match=message):
        load_suite("hub:someone/evals")


# Selection.


def task(name: str, family: str = "repetitive_answer", **more: Any) -> Task:
    questions = tuple(Question(prompt=f"{n}:", correct="1", shallow="2") for n in range(5))
    demos = tuple(Demo(prompt=f"d{n}:", answer=str(n)) for n in range(6))
    settings = {"strategy": "random", "shots": 4, "seeds": 4, "questions": questions, "demos": demos} | more
    return Task(name=name, family=family, **settings)


KEEPER = Persona(
    name="keeper",
    facts=(Demo(prompt="Q: a\nA:", answer="b"),),
    questions=tuple(PersonaQuestion(name=str(n), question="c", pattern="d") for n in range(3)),
)
SUITE = Suite(
    name="s",
    tasks=(
        task("one", level="easy", control=task("one.control")),
        task("two", "truthy_answer", level="hard"),
        task("one", "intuitive_answer", demos=(), strategy="none", seeds=1, shots=0),
    ),
    personas=(KEEPER,),
)


def names(suite: Suite) -> list[str]:
    return [f"{task.family}/{task.name}" for task in suite.tasks] + [persona.name for persona in suite.personas]


def test_selecting_nothing_in_particular_changes_nothing() -> None:
    assert select(SUITE) == SUITE


def test_selecting_by_family_name_and_level() -> None:
    assert names(select(SUITE, families={"truthy_answer", "multihop_persona_qa"})) == ["truthy_answer/two", "keeper"]
    assert names(select(SUITE, tasks=["one"])) == ["repetitive_answer/one", "intuitive_answer/one"]
    assert names(select(SUITE, tasks=["intuitive_answer/one", "keeper"])) == ["intuitive_answer/one", "keeper"]
    assert names(select(SUITE, levels=["hard"])) == ["truthy_answer/two"]


def test_selecting_fewer_questions_and_seeds_reaches_controls_and_personas() -> None:
    small = select(SUITE, questions=2, seeds=3)
    assert [len(task.questions) for task in small.tasks] == [2, 2, 2] and len(small.personas[0].questions) == 2
    assert [task.seeds for task in small.tasks] == [3, 3, 1] and small.personas[0].seeds == 3
    control = small.tasks[0].control
    assert control is not None and (len(control.questions), control.seeds) == (2, 3)
    assert task_prompts(small.tasks[0], 1) == task_prompts(SUITE.tasks[0], 1)[:2]


def test_selecting_shots_leaves_tasks_without_demos_alone() -> None:
    small = select(SUITE, shots=1)
    control = small.tasks[0].control
    assert [task.shots for task in small.tasks] == [1, 1, 0] and control is not None and control.shots == 1


def test_fewer_shots_of_an_ordered_task_end_where_the_pattern_ended() -> None:
    demos = tuple(Demo(prompt="p", answer=str(10 * s + n), demo_set=s) for s in (0, 1) for n in range(6))
    suite = Suite(name="s", tasks=(task("t", "successive_answer", strategy="ordered", demos=demos),))
    (short,) = select(suite, shots=2).tasks
    assert [demo.answer for demo in short.demos] == ["2", "3", "12", "13"]  # of 0..3, the four that were shown
    assert task_prompts(short, 1)[0] == "p 12\np 13\n0:"
    with pytest.raises(UserError, match="wanted at most as many shots, got 5"):
        select(suite, shots=5)


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"families": ["truthy"]}, r"no family 'truthy' \(did you mean 'truthy_answer'\?\)"),
        ({"tasks": ["tow"]}, r"no task 'tow' \(did you mean 'two'\?\)"),
        ({"levels": ["simple"]}, "no level 'simple'"),
        ({"levels": "easy"}, "wanted a collection of names"),
        ({"tasks": ["two"], "levels": ["easy"]}, "widen the selection"),
        ({"questions": 0}, "questions: wanted at least 1"),
        ({"seeds": 0}, "seeds: wanted at least 1"),
        ({"shots": 0}, "at least 1 shot"),
    ],
)
def test_a_selection_that_cannot_be_met(wish: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        select(SUITE, **wish)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"demos": (), "seeds": 2}, "no demos, so all its seeds are equal"),
        ({"strategy": "balanced"}, "need a label each"),
        ({"strategy": "sorted"}, "no strategy 'sorted'"),
        ({"family": "flipped"}, "no family 'flipped'"),
        ({"shots": -1}, "0 or more shots"),
        ({"questions": ()}, "at least one question"),
    ],
)
def test_a_task_that_makes_no_sense(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        task("t", **wrong)
