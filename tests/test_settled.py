"""A study that was begun goes on as it was, whatever the defaults are by now; and a search that ended stands."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from curriculum.commands.search import search
from curriculum.errors import ChangedError
from curriculum.probe.specification import ProbeSpecification, SuiteSpecification
from curriculum.proxy.recipe import Recipe
from curriculum.search.coordinator import Coordinator, Means
from curriculum.search.folder import StudyFolder, write_json
from curriculum.search.runner import file_digests, stream_digests
from curriculum.search.settled import as_begun
from curriculum.search.study import Objective, SearchSettings, Space, Study
from curriculum.search.study_file import load_study

STUDY = """\
version: 1
name: tiny
streams:
  arith: {local: "testbed:arith"}
  facts: {local: "testbed:facts"}
length: {samples: 256}
exposure_shares: {arith: 1, facts: 1}
proxy: {layers: 1, width: 16, heads: 1, batch: 16, readings: 2}
probes:
  - {name: flipped, family: flipped, builtin: "testbed:flipped", floor: 0.1}
search: {finalists: 1, candidates: 2, sampler: random}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(STUDY)
    return tmp_path / "tiny.yaml"


def begun(study: Study, change: Callable[[dict[str, Any]], None]) -> None:
    """Leave the record of a study that was begun with other settings."""
    content = study.canonical()
    change(content)
    Path("runs/tiny").mkdir(parents=True, exist_ok=True)
    write_json(Path("runs/tiny/study.json"), {"study": content, "data": digests(study), "created": "2026-01-01"})


def digests(study: Study) -> dict[str, str]:
    return stream_digests(study)


def test_a_study_goes_on_with_the_files_that_it_was_begun_with(file: Path) -> None:
    Path("runs/tiny").mkdir(parents=True)
    for name in ("items.jsonl", "control.jsonl", "suite.jsonl", "start/weights.safetensors"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(f"{name} of then")
    (probe,) = load_study(file).probes
    study = replace(
        load_study(file),
        recipe=Recipe(layers=1, width=16, heads=1, batch=16, readings=2, start=Path("start").resolve()),
        probes=(replace(probe, builtin=None, file=Path("items.jsonl"), control=Path("control.jsonl")),),
        suites=(SuiteSpecification(name="sums", file=Path("suite.jsonl")),),
    )
    folder = StudyFolder(Path("runs/tiny"))
    folder.remember(study, digests(study), None, file_digests(study))
    folder.remember(study, digests(study), None, file_digests(study))
    for name, words in (
        ("items.jsonl", "flipped, items"),
        ("control.jsonl", "flipped, control"),
        ("suite.jsonl", "sums, suite"),
        ("start/weights.safetensors", "start, weights"),
    ):
        Path(name).write_text("another one")
        with pytest.raises(ChangedError, match=words):
            folder.remember(study, digests(study), None, file_digests(study))
        with pytest.raises(ChangedError, match=words):
            coordinator(study).run(1)
        Path(name).write_text(f"{name} of then")
    before = json.loads(Path("runs/tiny/study.json").read_text())
    del before["files"]  # a record of before they were in it
    write_json(Path("runs/tiny/study.json"), before)
    folder.remember(study, digests(study), None, file_digests(study))


def coordinator(study: Study) -> Coordinator:
    return Coordinator(study, Means(runs=Path("runs"), out=Path("mixes"), workers=1))


def other_defaults(content: dict[str, Any]) -> None:
    content["search"]["reference_seeds"] = 4
    content["search"]["enqueue"] = ["static"]
    content["objective"]["burn_in"] = "0.1"
    content["space"]["rank"] = None
    content["recipe"]["learning_rate"] = 0.5
    content["probes"][0]["items"] = 16


def test_what_no_longer_goes_together_is_a_changed_study(file: Path) -> None:
    def wider(content: dict[str, Any]) -> None:
        content["recipe"] |= {"width": 64, "heads": 4}

    file.write_text(STUDY.replace("width: 16, heads: 1", "width: 30"))
    study = load_study(file)
    begun(study, wider)
    settled, words = as_begun(study, StudyFolder(Path("runs/tiny")).recorded())
    assert settled.recipe == study.recipe and words == ()
    with pytest.raises(ChangedError, match="width"):
        coordinator(study).run(1)


def test_settings_that_the_file_leaves_open_are_those_the_study_was_begun_with(file: Path) -> None:
    study = load_study(file)
    begun(study, other_defaults)
    opened = coordinator(study)
    assert opened.study.search == replace(study.search, reference_seeds=4, enqueue=("static",))
    assert opened.study.objective == replace(Objective(), burn_in=Decimal("0.1"))
    assert opened.study.space == replace(Space(), rank=None) and opened.study.recipe.learning_rate == 0.5
    assert opened.study.probes[0].items == 16 and ProbeSpecification.__dataclass_fields__["items"].default == 128
    StudyFolder(Path("runs/tiny")).remember(opened.study, digests(study))  # raises ChangedError
    again, words = as_begun(study, StudyFolder(Path("runs/tiny")).recorded())
    assert again == opened.study and len(words) == 6
    wanted = "search.reference_seeds is 4 as when the study was begun (by default it would be "
    assert any(line.startswith(wanted + str(SearchSettings().reference_seeds)) for line in words)
    assert as_begun(again, StudyFolder(Path("runs/tiny")).recorded()) == (again, ())


@pytest.mark.parametrize("stated", [4, SearchSettings().reference_seeds, 6])
def test_what_the_file_states_must_be_unchanged(stated: int, file: Path) -> None:
    begun(load_study(file), other_defaults)
    file.write_text(STUDY.replace("sampler: random", f"sampler: random, reference_seeds: {stated}"))
    study = coordinator(load_study(file)).study
    assert study.search.reference_seeds == stated and study.search.enqueue == ("static",)
    folder = StudyFolder(Path("runs/tiny"))
    if stated == 4:
        folder.remember(study, digests(study))
        return
    with pytest.raises(ChangedError, match=rf"search\.reference_seeds: 4 -> {stated}\n"):
        folder.remember(study, digests(study))


def test_a_setting_given_by_code_is_meant(file: Path) -> None:
    study = load_study(file)
    begun(study, other_defaults)
    given = replace(study, recipe=Recipe(layers=1, width=16, heads=1, batch=16, readings=2, learning_rate=0.25))
    assert coordinator(given).study.recipe.learning_rate == 0.25
    assert coordinator(replace(study, stated=None)).study.search.reference_seeds == SearchSettings().reference_seeds


def test_an_unchanged_study_and_one_not_begun_are_as_they_are(file: Path) -> None:
    study = load_study(file)
    assert as_begun(study, None) == (study, ())
    begun(study, lambda _: None)
    assert as_begun(study, StudyFolder(Path("runs/tiny")).recorded()) == (study, ())


@pytest.mark.parametrize("damage", ["text", 3, {"search": "x", "probes": 1}, {"objective": {"burn_in": "x"}}])
def test_a_damaged_record_is_left_to_whoever_compares(damage: object, file: Path) -> None:
    study = load_study(file)
    assert as_begun(study, {"study": damage}) == (study, ())


def test_a_budget_below_a_finished_one_prints_the_result_that_stands(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(load_study(file), lambda _: None)
    found = {"verdict": "none", "trials": 8, "words": "No curriculum beat the static mix."}
    write_json(Path("runs/tiny/result.json"), found)
    monkeypatch.setattr(Coordinator, "run", lambda *_: pytest.fail("the search was done again"))
    assert search(file, budget=5, workers=1, as_json=True) == 0
    told = capsys.readouterr()
    assert json.loads(told.out) == found
    assert "8 trials are done, more than --budget 5: the study's result stands" in told.err and "above 8" in told.err
    assert coordinator(load_study(file)).standing(8) is None
    file.write_text(STUDY.replace("candidates: 2", "candidates: 3"))
    with pytest.raises(ChangedError, match=r"search\.candidates: 2 -> 3"):
        search(file, budget=5, workers=1, as_json=True)
    assert not list(Path("runs/tiny").glob("*/run.json"))


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_result_that_cannot_be_read_does_not_stand(content: str | None, file: Path) -> None:
    begun(load_study(file), lambda _: None)
    if content is not None:
        Path("runs/tiny/result.json").write_text(content)
    assert coordinator(load_study(file)).standing(1) is None


def test_a_result_without_a_record_of_its_study_does_not_stand(file: Path) -> None:
    Path("runs/tiny").mkdir(parents=True)
    write_json(Path("runs/tiny/result.json"), {"verdict": "none", "trials": 8})
    assert coordinator(load_study(file)).standing(5) is None
    assert not Path("runs/tiny/study.json").exists()
