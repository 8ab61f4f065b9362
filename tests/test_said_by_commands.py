"""What commands say when they stop: a command that can be copied, and a refused page that leaves nothing behind."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from curriculum.commands.report import _write
from curriculum.commands.search import _interrupted_words, _same_command
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


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("python", ["python", ".venv/bin/python"])
def test_the_command_to_go_on_with_names_the_python_that_was_typed(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for program in ("/env/curriculum/__main__.py", "/env/curriculum/cli.py"):
        monkeypatch.setattr(sys, "argv", [program, "search", "my study.yaml"])
        monkeypatch.setattr(sys, "orig_argv", [python, "-m", "curriculum", "search", "my study.yaml"])
        assert _same_command() == f"{python} -m curriculum search 'my study.yaml'"


def test_the_command_to_go_on_with_is_one_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program is named alone only where its name alone would start it, not another of that name and not nothing."""
    found, other = executable(tmp_path / "bin/curriculum"), executable(tmp_path / ".venv/bin/curriculum")
    monkeypatch.chdir(tmp_path)
    for path, program, words in (
        (found.parent, str(found), "curriculum"),
        (found.parent, ".venv/bin/curriculum", ".venv/bin/curriculum"),
        (tmp_path, ".venv/bin/curriculum", ".venv/bin/curriculum"),
        (other.parent, str(other), "curriculum"),
    ):
        monkeypatch.setenv("PATH", str(path))
        monkeypatch.setattr(sys, "argv", [program, "search", "my study.yaml"])
        assert _same_command() == f"{words} search 'my study.yaml'"


def test_the_command_to_go_on_with_holds_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    address = "postgresql+psycopg://me:open-sesame@host/db"
    monkeypatch.setattr(sys, "argv", ["bin/curriculum", "search", "--storage", address, f"--storage={address}", "--runs=a=b"])
    words = _interrupted_words()
    hidden = "postgresql+psycopg://me:***@host/db"
    assert words.endswith(f"bin/curriculum search --storage '{hidden}' '--storage={hidden}' --runs=a=b")
    assert "open-sesame" not in words and "with the password in place of ***" in words
    monkeypatch.setattr(sys, "argv", ["bin/curriculum", "search", "--storage", "sqlite:///a.db"])
    assert "password" not in _interrupted_words() and "sqlite:///a.db" in _interrupted_words()


def test_a_page_that_cannot_be_written_is_named_and_leaves_the_old_one(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text("old")
    with files_of_at_most(1000), pytest.raises(ResourceError, match=r"could not write .*report\.html: .*--out"):
        _write(page, "new" * 1000)
    assert page.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
