"""The first use is typed as a stranger types it, and the pages that begin there say the same; pictures show what tables say."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import stat
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FIRST_USE = ROOT / "docs/first-use.md"
ACTIVATE = ". .venv/bin/activate"
PYTHON = r"""
mkdir -p .venv/bin
echo 'PATH="$PWD/.venv/bin:$PATH"' > .venv/bin/activate
for name in pip python curriculum; do
    printf '#!/bin/sh\necho "out of %s: $*"\n' $name > .venv/bin/$name
    chmod +x .venv/bin/$name
done
"""


@pytest.fixture
def first_use() -> ModuleType:
    spec = importlib.util.spec_from_file_location("first_use", ROOT / "examples/own_data/first_use.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def stranger(tmp_path: Path) -> dict[str, str]:
    """An environment with git and python3.11, which make what is needed, and neither `curriculum`, `pip` nor `python`."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, script in (("git", "mkdir -p curriculum mixes; touch mixes/static.yaml"), ("python3.11", PYTHON)):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(stat.S_IRWXU)
    for name in ("sh", "bash", "mkdir", "touch", "chmod", "cat", "sleep"):
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    return {"PATH": str(programs)}


def test_what_is_typed_is_enough(first_use: ModuleType, stranger: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    with first_use.terminal(folder, stranger) as shell:
        steps = [shell.perform(command) for command in first_use.commands(8)]
    assert [step.command for step in steps] == first_use.commands(8)
    assert steps[-2].output == "out of curriculum: search study.yaml --budget 8"


@pytest.mark.parametrize("left_out", ["git clone", "python3.11"])
def test_without_a_step_the_next_ones_fail(
    left_out: str, first_use: ModuleType, stranger: dict[str, str], tmp_path: Path
) -> None:
    typed = [command.replace(f" && {ACTIVATE}", "") for command in first_use.commands(8)]
    typed = [command for command in typed if left_out == "python3.11" or not command.startswith(left_out)]
    with first_use.terminal(tmp_path, stranger) as shell, pytest.raises(SystemExit, match="ended with exit code"):
        for command in typed:
            shell.perform(command)


def test_a_command_that_ends_the_shell_is_said(first_use: ModuleType, tmp_path: Path) -> None:
    with first_use.terminal(tmp_path, os.environ) as shell:
        assert shell.perform("printf 'one\\ntwo'; read line || echo three").output == "one\ntwothree"
        with pytest.raises(SystemExit, match="said"):
            shell.perform("echo said >&2; exit 3")


def test_an_environment_that_has_the_command_already_is_refused(first_use: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "curriculum").touch(mode=0o755)
    with pytest.raises(SystemExit, match="deactivate"):
        first_use.a_users({"PATH": str(tmp_path)})
    clean: dict[str, str] = first_use.a_users({"PATH": "/nowhere", "PYTHONPATH": "/x", "VIRTUAL_ENV": "/y"})
    assert clean["PATH"] == "/nowhere" and not {"PYTHONPATH", "VIRTUAL_ENV"} & set(clean)


def test_the_log_is_of_what_is_typed_today_and_keeps_its_promise(first_use: ModuleType) -> None:
    log = FIRST_USE.read_text()
    assert re.findall(r"^\| `(.+)` \|", log, flags=re.MULTILINE) == first_use.commands(8)
    found = re.search(r"\*\*([\d.]+) minutes in all: ([\d.]+) of the machine and ([\d.]+) of typing and reading\.\*\*", log)
    assert found is not None
    whole, _, hands = map(float, found.groups())
    assert whole < 15 and hands < 3


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md", "docs/how-to-install.md"])
def test_a_bare_command_stands_behind_the_activation(page: str) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    first = next(index for index, line in enumerate(lines) if re.match(r"(curriculum|python|pip) ", line))
    assert ACTIVATE in lines[:first], page


def test_pages_expect_the_verdict_that_came() -> None:
    (verdict,) = re.findall(r"^    (Winner|Transient|Tie|No curriculum)\b.*", FIRST_USE.read_text(), flags=re.MULTILINE)
    for page in ("docs/tutorial.md", "examples/own_data/README.md"):
        assert f'"{verdict}' in (ROOT / page).read_text(), page


def picture() -> dict[str, str]:
    """Return each curriculum's gain and interval as the README's picture shows it, by name."""
    text = (ROOT / "docs/default-study.svg").read_text()
    found = re.search(r"<dc:description>[^:]*: (.*?)\.</dc:description>", text)
    assert found is not None
    return dict(re.findall(r"([\w-]+) ([+-][\d.]+ \[[^]]+\])", found[1]))


def test_the_readmes_picture_shows_what_its_table_says_and_how_it_is_made() -> None:
    page = (ROOT / "benchmarks/default_study.md").read_text()
    rows: dict[str, Any] = {}
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 7 and "[" in cells[3]:
            rows.setdefault(cells[0].partition(" ")[0], re.findall(r"-?[\d.]+", cells[3]))  # the first table's
    shown = {name: [str(float(number)) for number in re.findall(r"[+-][\d.]+", text)] for name, text in picture().items()}
    assert shown and shown == {name: [str(float(number)) for number in rows[name]] for name in shown}
    assert "curriculum report" in page and "--figures" in page and "gains.svg" in page
    assert "default-study.svg" in page and "docs/default-study.svg" in (ROOT / "README.md").read_text()


def test_the_readme_names_one_length_of_the_default_study() -> None:
    """The README's time is that of a table, and no other time stands beside it."""
    readme, page = (ROOT / "README.md").read_text(), (ROOT / "benchmarks/default_study.md").read_text()
    assert "study in an hour" not in readme
    said = re.findall(r"about (\d+) minutes", readme)
    assert len(said) == 1 and f"about {said[0]} minutes" in page


def test_the_readme_is_short() -> None:
    """One screen that sells, the two commands, own data: the rest is a table of links."""
    text = (ROOT / "README.md").read_text()
    parts = re.split(r"^## ", text, flags=re.MULTILINE)
    assert [part.splitlines()[0] for part in parts[1:]] == ["Two commands", "Your own data, in five minutes", "Where to go on"]
    assert len(parts[0].split()) < 200 and len(text.split()) < 740
