"""Where `curriculum report` is told to write: what cannot be meant is refused before a study is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from curriculum.cli import cli
from curriculum.errors import DataError, UserError


def report(tmp_path: Path, *words: str) -> None:
    """Report on a study that is not there: whoever gets as far as reading it raises DataError."""
    cli(["report", "none", "--runs", str(tmp_path / "runs"), *words], standalone_mode=False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--out", "{}/page.pdf"), r"--out .*page\.pdf: the page is HTML.*such as .*page\.html; .*--figures DIR"),
        (("--out", "{}/page"), r"the page is HTML.*such as .*page\.html"),
        (("--out", "{}"), r"is a folder; wanted the page's file, such as .*report\.html"),
        (("--figures", "{}/trials.PNG"), r"--figures .*trials\.PNG: wanted a folder.*has the name of a file; try trials/"),
        (("--figures", "{}/here"), r"--figures .*here: wanted a folder.*is a file"),
        (("--tensorboard", "{}/here"), r"--tensorboard .*here: wanted a folder for event files, and this is a file"),
    ],
)
def test_a_place_that_cannot_be_meant_is_refused(words: tuple[str, str], message: str, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("")
    with pytest.raises(UserError, match=message) as refused:
        report(tmp_path, words[0], words[1].format(tmp_path))
    assert not isinstance(refused.value, DataError) and not (tmp_path / "runs").exists()


def test_places_that_can_be_meant_are_not(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    for words in (("--out", "page.HTM"), ("--out", "v1.2/page.html"), ("--figures", "figures.v2"), ("--figures", "old")):
        with pytest.raises(DataError, match="none"):
            report(tmp_path, words[0], str(tmp_path / words[1]))
