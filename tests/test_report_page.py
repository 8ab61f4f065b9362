"""The page of `curriculum report` as a document: well formed, whole by itself, named and ordered for those who listen."""

from __future__ import annotations

import itertools
import re
import shlex
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from report_help import BUDGET, made_study, make_study, written_report

from curriculum.report import StudyReport, read_study, render
from curriculum.report import page as page_module
from curriculum.report.figures_style import MODE_COLOURS

html5lib = pytest.importorskip("html5lib")
MOMENT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
STREAM = "<facts> & more"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> StudyReport:
    return read_study(made_study(tmp_path_factory.getbasetemp()))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page as the command wrote it."""
    return (written_report(tmp_path_factory.getbasetemp()) / "new" / "page.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> ET.Element:
    return parsed(text)


def parsed(text: str) -> ET.Element:
    """Raises at the first thing that the standard calls a parse error: wrong nesting, an unclosed element, a double id."""
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)


def name_of(element: ET.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def named(root: ET.Element, *names: str) -> Iterator[ET.Element]:
    return (element for element in root.iter() if name_of(element) in names)


def words(element: ET.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def test_the_verdict_comes_first_and_in_words(page: ET.Element, report: StudyReport) -> None:
    assert report.result is not None
    first = next(named(page, "section"))
    assert words(next(named(first, "h2"))) == "Verdict"
    assert str(report.result["words"]) in words(first)


def test_headings_descend_one_by_one(page: ET.Element) -> None:
    levels = [int(name_of(heading)[1]) for heading in named(page, "h1", "h2", "h3", "h4")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_nothing_is_fetched(page: ET.Element, text: str) -> None:
    assert not list(named(page, "script", "link", "img", "iframe", "object", "embed", "image", "base"))
    for element in page.iter():
        for attribute, value in element.attrib.items():
            if str(attribute).rpartition("}")[2] in ("src", "href", "srcset", "data", "poster"):
                assert value.startswith("#"), (name_of(element), attribute, value)
    assert re.findall(r"url\((?!#)[^)]*", text) == [] and "@import" not in text and "@font-face" not in text


def test_ids_are_single_and_every_reference_leads_somewhere(page: ET.Element) -> None:
    ids = [element.get("id") for element in page.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    wanted: list[str] = []
    for element in page.iter():
        for attribute, value in element.attrib.items():
            plain = str(attribute).rpartition("}")[2]
            wanted += value.split() if plain in ("aria-labelledby", "aria-describedby") else []
            wanted += [value[1:]] if plain == "href" else re.findall(r"url\(#([^)]*)\)", value)
    assert len(wanted) > 50 and set(wanted) <= set(ids)


def test_pictures_have_names_words_and_sizes(page: ET.Element) -> None:
    pictures = list(named(page, "svg"))
    by_id = {element.get("id"): element for element in page.iter()}
    assert len(pictures) == 2 * 6  # for a page and for a phone
    for picture in pictures:
        assert picture.get("role") == "img" and int(picture.attrib["width"]) > 300 and int(picture.attrib["height"]) > 100
        assert all(words(by_id[picture.get(key)]) for key in ("aria-labelledby", "aria-describedby"))


def test_every_trial_says_its_numbers_when_hovered_over(page: ET.Element) -> None:
    titles = [words(title) for use in named(page, "use") for title in named(use, "title")]
    assert len(titles) == 2 * BUDGET and all("time general 0." in title or "time general 1." in title for title in titles)
    assert {title.split(":")[0].split(" ")[0] for title in titles} == {f"trial-{number}" for number in range(BUDGET)}


def test_tables_have_captions_and_headers(page: ET.Element) -> None:
    tables = list(named(page, "table"))
    assert len(tables) == 7
    for table in tables:
        assert words(next(named(table, "caption")))
        assert all(header.get("scope") in ("col", "row", "rowgroup") for header in named(table, "th"))
        columns = {sum(int(cell.get("colspan", "1")) for cell in named(row, "td", "th")) for row in named(table, "tr")}
        assert len(columns) == 1  # no row lacks a cell


def test_scrolled_tables_can_be_reached_by_keyboard_and_have_names(page: ET.Element) -> None:
    regions = [element for element in page.iter() if element.get("class") == "scroll"]
    assert regions and all(region.get("tabindex") == "0" and region.get("aria-label") for region in regions)


def test_names_are_text_and_never_markup(page: ET.Element) -> None:
    assert STREAM in words(page) and not list(named(page, "facts"))


def test_every_number_of_the_proof_leads_to_its_runs(page: ET.Element, report: StudyReport) -> None:
    rows = {row.get("id") for row in named(page, "tr") if row.get("id")}
    assert rows == {f"run-{run.folder.name}" for run in report.runs}
    table = next(named(page, "table"))
    assert all(next(named(row, "a")).get("href", "")[1:] in rows for row in named(next(named(table, "tbody")), "tr"))
    static = next(row for row in named(table, "tr") if words(row).startswith("static"))
    assert report.result is not None
    claimed = next(arm for arm in report.result["controls"] if arm["name"] == "static")["time_general"]
    assert f"{claimed['mean']:.3f} [{claimed['low']:.3f}, {claimed['high']:.3f}]" in words(static)


def test_what_is_needed_to_do_it_again_is_there(page: ET.Element, report: StudyReport) -> None:
    said = words(page)
    assert f"curriculum search made.yaml --budget {BUDGET} --runs {report.folder.parent}" in said
    assert all(digest in said for digest in report.data.values()) and "mosaicml-streaming" in said
    assert "favour:" in said and "finalist_seeds: 10" in said


def test_commands_can_be_pasted_whatever_the_folders_name(report: StudyReport) -> None:
    moved = replace(report, folder=Path("/my runs/$one"))
    for _, command in page_module._commands(moved):
        assert not {"/my", "runs/$one"} & set(shlex.split(command))
        if command.startswith("curriculum trials"):
            assert shlex.split(command) == ["curriculum", "trials", "/my runs/$one"]


def test_the_same_study_gives_the_same_page(report: StudyReport, text: str) -> None:
    again, said = render(report, created=MOMENT), f"{MOMENT:%Y-%m-%d %H:%M} UTC"
    assert again.count(said) == 1 and said not in text
    pattern = re.escape(again).replace(re.escape(said), r"\d{4}-\d\d-\d\d \d\d:\d\d UTC")
    assert re.fullmatch(pattern, text)


def test_an_unfinished_study_has_a_page_that_says_what_is_missing(tmp_path: Path) -> None:
    folder = make_study(tmp_path, until="search")
    page = parsed(render(read_study(folder), created=MOMENT))
    said = words(page)
    assert "No verdict yet: the study is not finished." in said and "0 of 0 trials begun have ended" in said
    assert "No trial has begun yet." in said and "Gain over static" not in said
    for run in folder.glob("*/run.json"):
        run.unlink()
    assert "No run is whole yet." in words(parsed(render(read_study(folder), created=MOMENT)))


def luminance(colour: str) -> float:
    colour = colour if len(colour) == 7 else "#" + "".join(2 * digit for digit in colour[1:])
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_text_can_be_read_on_light_and_on_dark(text: str) -> None:
    schemes = re.findall(r":root \{([^}]*--ink[^}]*)\}", text)
    assert len(schemes) == 3  # light, dark, printed
    for scheme in schemes:
        colours = dict(re.findall(r"--(\w+): (#\w+)", scheme))
        for name in ("ink", "faint", "link"):
            assert min(contrast(colours[name], colours[under]) for under in ("paper", "panel")) >= 4.5, (name, colours)


def test_modes_can_be_told_apart_in_grey() -> None:
    greys = sorted(luminance(colour) for colour in MODE_COLOURS.values())
    assert all((above + 0.05) / (below + 0.05) > 1.2 for below, above in itertools.pairwise(greys))
