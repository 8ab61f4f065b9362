"""What commands say when they stop: a command that can be copied, and a refused page that leaves nothing behind."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from curriculum.commands.report import _write
from curriculum.commands.search import _same_command
from curriculum.errors import ResourceError


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes; Python turns the signal into an OSError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("program", "words"),
    [("/env/curriculum/__main__.py", "python -m curriculum"), ("/env/bin/curriculum", "curriculum")],
)
def test_the_command_to_go_on_with_is_one_that_runs(program: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [program, "search", "my study.yaml"])
    assert _same_command() == f"{words} search 'my study.yaml'"


def test_a_page_that_cannot_be_written_is_named_and_leaves_the_old_one(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text("old")
    with files_of_at_most(1000), pytest.raises(ResourceError, match=r"could not write .*report\.html: .*--out"):
        _write(page, "new" * 1000)
    assert page.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
