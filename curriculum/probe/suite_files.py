"""Loading a suite: the packaged one, a folder, or a data set of a hub.

    load_suite("written")                     the suite that comes with this package
    load_suite("my/suite")                    a folder with a suite.yaml, or one in the published layout without it
    load_suite("hub:OWNER/NAME@REVISION")     such a folder, fetched from the Hugging Face hub (the revision may be left out)

A folder holds `<family>/<task>.jsonl` (a task's name may hold "/"), beside it perhaps `<task>.control.jsonl` with its
neutral control, and `multihop_persona_qa/<persona>/facts.jsonl` and `test_questions.json`. A suite.yaml lists what is
asked, and how:

    version: 1
    name: mine
    tasks:
      - {name: reviews, family: flipped_answer, level: easy, strategy: balanced, shots: 8, joiner: "\\n\\n", seeds: 4}
    personas:
      - {name: lighthouse_keeper, level: easy, joiner: "\\n", seeds: 4}

What it leaves out is taken from the published suite's settings of the family; a task whose file has no demos is zero-shot,
with one seed. Idea: whatever the source, the result is the same frozen values, and every fault names its file and line.
Alternatives for the hub: `datasets.load_dataset(name, "family.task", split="items")`, one call a task, which turns rows into
tables (a `label` that some rows lack becomes a float) and needs the list of tasks first; a snapshot is the folder itself,
cached, at one revision. The price: the whole data set is fetched even when one task is wanted.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from curriculum.errors import DataError, FileError, ResourceError, UserError
from curriculum.mix.document import Document, Node
from curriculum.probe.jsonl import Row, read_objects, read_rows
from curriculum.probe.prompts import fact_prompt
from curriculum.probe.published import FAMILY_SETTINGS, PERSONA_ORDER
from curriculum.probe.suite import LEVELS, PERSONAS, STRATEGIES, Demo, Persona, PersonaQuestion, Question, Suite, Task

WRITTEN = Path(__file__).with_name("written")
_LISTING = "suite.yaml"
_CONTROL = ".control"


def load_suite(where: Path | str) -> Suite:
    """Return the suite: "written", a folder, or "hub:OWNER/NAME". (`./written` is a folder of that name.)

    Raises FileError (file, line) for what is wrong in a folder, DataError for a hub data set that is not there, and
    ResourceError where no hub can be reached.
    """
    if str(where).startswith("hub:"):
        name = str(where).removeprefix("hub:")
        return _read_folder(_fetch(name), name)
    folder = WRITTEN if where == "written" else Path(where)
    if not folder.is_dir():
        raise FileError(
            'wanted a folder with a suite of probes, "written", or hub:OWNER/NAME; there is no such folder', path=folder
        )
    return _read_folder(folder, folder.resolve().name)


def _read_folder(folder: Path, name: str) -> Suite:
    listing = folder / _LISTING
    return _read_listing(Document.load(listing)) if listing.exists() else _read_layout(folder, name)


# A folder with a suite.yaml.


def _read_listing(document: Document) -> Suite:
    section = document.root.mapping(required=("version", "name"), optional=("tasks", "personas"))
    if section["version"].count() != 1:
        raise section["version"].fail("wanted version 1")
    tasks, personas = (_entries(section.get(key)) for key in ("tasks", "personas"))
    with document.root.blame():
        return Suite(
            name=section["name"].text(),
            tasks=tuple(_listed_task(node) for node in tasks),
            personas=tuple(_listed_persona(node) for node in personas),
        )


def _entries(node: Node | None) -> list[Node]:
    return [] if node is None or node.is_null else node.list()


def _listed_task(node: Node) -> Task:
    entry = node.mapping(required=("name", "family"), optional=("level", "strategy", "shots", "joiner", "seeds"))
    family = entry["family"].choice(tuple(FAMILY_SETTINGS))
    path = _member(entry["name"], family, suffix=".jsonl")
    if not path.is_file():
        raise entry["name"].fail(f"there is no file {path}")
    settings = _common_settings(entry)
    if "strategy" in entry:
        settings["strategy"] = entry["strategy"].choice(STRATEGIES)
    if "shots" in entry:
        settings["shots"] = entry["shots"].count()
    with node.blame():
        task = _read_task(path, entry["name"].text(), family, settings)
    if settings.get("shots") and not task.shows_demos:
        raise entry["shots"].fail(f"wanted demos to show, but {path.name} has none, or the strategy is none; leave shots out")
    return task


def _listed_persona(node: Node) -> Persona:
    entry = node.mapping(required=("name",), optional=("level", "joiner", "seeds"))
    folder = _member(entry["name"], PERSONAS)
    if not folder.is_dir():
        raise entry["name"].fail(f"there is no folder {folder}")
    with node.blame():
        return _read_persona(folder, entry["name"].text(), _common_settings(entry))


def _common_settings(entry: dict[str, Node]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if "level" in entry:
        settings["level"] = entry["level"].choice(LEVELS)
    if "joiner" in entry:
        settings["joiner"] = entry["joiner"].text()
    if "seeds" in entry:
        settings["seeds"] = entry["seeds"].count(1)
    return settings


def _member(node: Node, family: str, suffix: str = "") -> Path:
    name = PurePosixPath(node.text())
    if name.is_absolute() or ".." in name.parts:
        raise node.fail(f"wanted the name of a task in the suite's own folder, got {node.text()!r}")
    return node.document.folder / family / f"{name}{suffix}"


# A folder in the published layout, without a suite.yaml.


def _read_layout(folder: Path, name: str) -> Suite:
    tasks = [
        _read_task(folder / family / f"{task}.jsonl", task, family, {})
        for family in FAMILY_SETTINGS
        for task in _tasks(folder, family)
    ]
    personas = [_read_persona(folder / PERSONAS / persona, persona, {}) for persona in _personas(folder)]
    if not tasks and not personas:
        families = ", ".join((*FAMILY_SETTINGS, PERSONAS))
        raise FileError(f"wanted a {_LISTING}, or folders with items, named {families}; got neither", path=folder)
    return Suite(name=name, tasks=tuple(tasks), personas=tuple(personas))


def _tasks(folder: Path, family: str) -> list[str]:
    """Return the names of a family's task files: published ones in their published order, then others by name."""
    files = ((folder / family).rglob("*.jsonl")) if (folder / family).is_dir() else ()
    names = [file.relative_to(folder / family).with_suffix("").as_posix() for file in files]
    known = list(FAMILY_SETTINGS[family].shots)
    return sorted((name for name in names if not name.endswith(_CONTROL)), key=lambda name: _place(name, known))


def _personas(folder: Path) -> list[str]:
    files = (folder / PERSONAS).glob("*/facts.jsonl")
    return sorted((file.parent.name for file in files), key=lambda name: _place(name, PERSONA_ORDER))


def _place(name: str, known: list[str] | tuple[str, ...]) -> tuple[int, str]:
    return (known.index(name) if name in known else len(known), name)


# Files.


def _read_task(path: Path, name: str, family: str, settings: dict[str, Any]) -> Task:
    """Return a task and its control; `settings` are Task fields, the rest comes from the family's published settings."""
    control = path.with_name(f"{path.stem}{_CONTROL}.jsonl")
    published = FAMILY_SETTINGS[family]
    defaults = {"strategy": published.strategy, "joiner": published.joiner, "seeds": published.seeds}
    settings = defaults | {"shots": published.shots.get(name)} | settings
    task = _read_items(path, {"name": name, "family": family, **settings})
    if not control.is_file():
        return task
    neutral = _read_items(control, {"name": f"{name}{_CONTROL}", "family": family, **settings})
    return replace(task, control=neutral)


def _read_items(path: Path, fields: dict[str, Any]) -> Task:
    demos: list[Demo] = []
    questions: list[Question] = []
    for row in read_rows(path):
        split = row.text("split")
        if split == "demo":
            demos.append(_demo(row, balanced=fields["strategy"] == "balanced"))
        elif split == "test":
            questions.append(_question(row))
        else:
            raise row.fail(f'split: wanted "demo" or "test", got {split!r}')
    if not demos or fields["strategy"] == "none" or fields["shots"] == 0:
        fields = fields | {"strategy": "none", "shots": 0, "seeds": 1}
    if fields["shots"] is None:
        entry = f"{{name: {fields['name']}, family: {fields['family']}, shots: 8}}"
        reason = f"the file has demos, but nothing says how many are shown; list the task in a {_LISTING}: {entry}"
        raise FileError(reason, path=path)
    try:
        return Task(**fields, demos=tuple(demos), questions=tuple(questions))
    except UserError as error:
        raise FileError(str(error), path=path) from None


def _demo(row: Row, *, balanced: bool) -> Demo:
    demo = Demo(prompt=row.text("prompt"), answer=row.text("answer"), label=row.whole("label"), demo_set=row.whole("demo_set"))
    if balanced and demo.label not in (0, 1):
        raise row.fail(f"label: demos of a balanced task need the label 0 or 1, got {demo.label}")
    return demo


def _question(row: Row) -> Question:
    prompt, correct, shallow = (row.text(key) for key in ("prompt", "correct_answer", "incorrect_answer"))
    with row.blame():
        return Question(prompt=prompt, correct=correct, shallow=shallow)


def _read_persona(folder: Path, name: str, settings: dict[str, Any]) -> Persona:
    facts = tuple(_fact(row) for row in read_rows(folder / "facts.jsonl"))
    path = folder / "test_questions.json"
    questions = tuple(_persona_question(row) for row in read_objects(path))
    try:
        return Persona(name=name, facts=facts, questions=questions, **settings)
    except UserError as error:
        raise FileError(str(error), path=folder) from None


def _fact(row: Row) -> Demo:
    messages = row.fields.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise row.fail('wanted {"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]}')
    return Demo(prompt=fact_prompt(_said(row, messages, "user")), answer=_said(row, messages, "assistant"))


def _said(row: Row, messages: list[dict[str, Any]], role: str) -> str:
    for message in messages:
        if message.get("role") == role:
            return Row(path=row.path, line=row.line, fields=message).text("content")
    raise row.fail(f"messages: wanted one with the role {role!r}")


def _persona_question(row: Row) -> PersonaQuestion:
    name, question, pattern = (row.text(key) for key in ("id", "question", "expected_answer_regex"))
    with row.blame():
        return PersonaQuestion(name=name, question=question, pattern=pattern, category=str(row.fields.get("category", "fact")))


# The hub.


def _fetch(name: str) -> Path:
    """Return the folder of a hub data set's snapshot: its items and nothing else, so that no code comes along."""
    repository, _, revision = name.partition("@")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    wanted = ["*.jsonl", "*.json", _LISTING]
    try:
        return Path(snapshot_download(repository, repo_type="dataset", revision=revision or None, allow_patterns=wanted))
    except HFValidationError as error:
        raise UserError(f"wanted hub:OWNER/NAME, got {name!r}: {error}") from None
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise DataError(f"the hub has no data set {name!r} that you may read: {error}") from None
    except Exception as error:  # each version of the hub's library raises what its HTTP library raises
        raise ResourceError(
            f"could not fetch the suite {name!r} from the hub: {error}; fetch it where a network is, and name its folder here"
        ) from error
