"""Every command and snippet of the pages is run, as it stands or smaller; what is not run says why, and is listed here.

A fenced block of bash or python is run, in order, in a folder that looks like a checkout. A comment right above a block may say

    <!-- file: PATH -->                      the block is that file; python files are run by a later command
    <!-- run with: OLD -> NEW; OLD -> NEW -->    it is run with these replacements: fewer samples, fewer trials
    <!-- not run: REASON -->                 it is not

A line that begins with `curriculum` is run in this process, since importing torch for each would take most of the time.
What a page takes for granted (a model in training, a finished study) is made by `documentation_help.SETUPS`.
"""

from __future__ import annotations

import os
import re
import runpy
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from documentation_help import SETUPS

from curriculum.cli import _guarded, cli
from curriculum.streaming import StreamingDataset

ROOT = Path(__file__).parents[1]
OURS = (
    *("tutorial", "limits", "how-to-install", "how-to-cluster", "how-to-gpu", "how-to-resume", "how-to-export"),
    *("loader", "monitor", "scan", "report", "attribution", "search", "probes", "export", "ladder"),
)
EXAMPLES = ("own_data", "custom_probe", "custom_proxy", "postgres_study", "choose_checkpoint")
PAGES = ("README.md", *(f"docs/{name}.md" for name in OURS))
BLOCK = re.compile(
    r"(?:<!-- (?P<directive>[^\n]*?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```", flags=re.DOTALL | re.MULTILINE
)
THE_TWO_COMMANDS = "python3.11 -m venv .venv && .venv/bin/pip install -q -c constraints.txt"
IN_THE_SHELL = re.compile(r"[|&;<>$`]")
NOT_RUN = {
    "README.md": ["python3.11 -m venv", "python3.11 -m venv", ". .venv/bin/activate"],
    "docs/tutorial.md": ["curriculum search study.yaml --budget 8"],
    "docs/how-to-install.md": ["python3.11 -m venv", "eval "],
    "docs/report.md": ["curriculum report STUDY"],
    "docs/how-to-cluster.md": ["curriculum search --b", "pip install ", "pip install ", "python examples/postgres_study"],
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A fenced block of a page; `directive` is what the comment above it says."""

    page: str
    language: str
    text: str
    directive: str

    @property
    def file(self) -> str | None:
        """The file that it is, if it is one."""
        return self.directive.removeprefix("file: ") if self.directive.startswith("file: ") else None

    @property
    def reason(self) -> str | None:
        """Why it is not run."""
        if self.page == "README.md" and THE_TWO_COMMANDS in self.text:
            return "a fresh machine's two commands: minutes; tests/test_readme.py holds them to CI, which runs the second"
        return self.directive.removeprefix("not run: ") if self.directive.startswith("not run: ") else None

    def played(self) -> str:
        """Return the text with its replacements, each of which must be found in it."""
        text = self.text
        if self.directive.startswith("run with: "):
            for change in self.directive.removeprefix("run with: ").split("; "):
                old, _, new = change.partition(" -> ")
                assert old in text, f"{self.page}: nothing to replace: {old!r}"
                text = text.replace(old, new)
        return text


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page that a reader may copy: bash, python, yaml."""
    found = BLOCK.finditer((ROOT / page).read_text())
    parts = [
        Block(page=page, language=match["language"], text=match["text"], directive=match["directive"] or "") for match in found
    ]
    return [block for block in parts if block.language in ("bash", "python", "yaml")]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that looks like a checkout, with `curriculum` and `python` on the PATH as if its environment were active."""
    for name in ("mixes", "search"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("examples", "docs", "constraints.txt"):
        (tmp_path / name).symlink_to(ROOT / name)
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    (programs / "activate").write_text(f"PATH={shlex.quote(str(programs))}:$PATH\n")
    for name, words in (("curriculum", "-m curriculum "), ("python", "")):
        script = programs / name
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words}"$@"\n')
        script.chmod(script.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    for library in ("OMP", "OPENBLAS", "MKL"):  # `search` sets them for its own process, which is this one
        monkeypatch.setenv(f"{library}_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def play(block: Block, folder: Path, scope: dict[str, Any]) -> str:
    """Do what a reader does with a block; return what failed, "" where nothing did."""
    if block.file is not None:
        (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
        (folder / block.file).write_text(block.played())
    elif block.language == "python":
        exec(compile(block.played(), block.page, "exec"), scope)
    elif block.language == "yaml":
        return "" if yaml.safe_load(block.text) else "it holds nothing"
    elif block.reason is None:
        return bash(block)
    return ""


def bash(block: Block) -> str:
    lines = [line for line in block.played().replace("\\\n", " ").splitlines() if line.strip()]
    if all(line.startswith("curriculum ") and not IN_THE_SHELL.search(line) for line in lines):
        return next(filter(None, map(in_this_process, lines)), "")
    done = subprocess.run(["bash", "-ec", block.played()], capture_output=True, text=True, check=False, timeout=500)
    return "" if done.returncode == 0 else f"exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def in_this_process(line: str) -> str:
    words = shlex.split(line, comments=True)[1:]
    arguments = [name for word in words for name in (sorted(map(str, Path().glob(word))) if "*" in word else []) or [word]]
    code = _guarded(lambda: cli(arguments, standalone_mode=False, prog_name="curriculum"))
    return "" if code == 0 else f"{line}: exit code {code}"


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_tells_to_type_works(page: str, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    scope: dict[str, Any] = {"__name__": "page"}
    if page in SETUPS:
        scope |= SETUPS[page](checkout, tmp_path_factory.getbasetemp())
    for block in blocks(page):
        failed = play(block, checkout, scope)
        assert not failed, f"{page}: {block.text}\n{failed}"
    for value in scope.values():
        if isinstance(value, StreamingDataset):
            value.close()


def test_blocks_that_are_not_run_are_these_and_say_why() -> None:
    found: dict[str, list[str]] = {}
    for page in PAGES:
        for block in blocks(page):
            if block.reason is not None:
                assert len(block.reason) > 20, block
                found.setdefault(page, []).append(block.text)
    assert {page: len(texts) for page, texts in found.items()} == {page: len(starts) for page, starts in NOT_RUN.items()}
    for page, starts in NOT_RUN.items():
        assert all(text.startswith(start) for text, start in zip(found[page], starts, strict=True)), page


def test_what_is_left_to_the_tutorial_stands_there() -> None:
    tutorial = (ROOT / "docs/tutorial.md").read_text()
    for block in blocks("README.md"):
        if (block.reason or "").startswith("docs/tutorial.md"):
            for line in block.text.splitlines():
                assert re.sub(r" +#.*", "", line) in tutorial, line
        assert block.file is None or block.text in tutorial, block.file


def test_no_command_stands_where_it_is_not_run() -> None:
    """A command that is indented is a block to a reader, and none to these tests; a line of usage has brackets."""
    for page in PAGES:
        found = [line for line in (ROOT / page).read_text().splitlines() if re.match(r" {4}(curriculum|python|pip) ", line)]
        assert [line for line in found if "[" not in line] == [], page


def test_a_block_under_a_misspelt_comment_is_not_overlooked() -> None:
    for page in (*PAGES, *(f"examples/{name}/README.md" for name in EXAMPLES)):
        for block in blocks(page):
            assert block.directive.partition(": ")[0] in ("", "file", "run with", "not run"), block


def test_links_lead_somewhere() -> None:
    for page in (*PAGES, "docs/first-use.md", *(f"examples/{name}/README.md" for name in EXAMPLES)):
        for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", (ROOT / page).read_text()):
            assert (ROOT / page).parent.joinpath(target).exists(), f"{page}: {target}"


def test_the_reference_is_what_the_code_says(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["make_reference.py", "--check"])
    with pytest.raises(SystemExit) as ended:  # in this process, which has torch already
        runpy.run_path(str(ROOT / "docs/make_reference.py"), run_name="__main__")
    assert ended.value.code == 0, capsys.readouterr().err


def test_the_numbers_of_the_page_of_limits_are_in_the_log() -> None:
    log = re.sub(r"\b0\.", ".", (ROOT / "docs/log.md").read_text())  # .5 and 0.5 are one number
    said = re.findall(r"[-+]?\.\d{2,3}|\[[-+.\d]+, [-+.\d]+\]", (ROOT / "docs/limits.md").read_text())
    assert len(said) > 20
    for number in said:
        assert number.lstrip("+-") in log or number in log, number
