"""The README's commands and snippets are true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from curriculum.cli import cli
from curriculum.mix import Mix

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_ci_runs_the_second_command_word_by_word() -> None:
    search, tests = blocks("bash")[:2]
    assert tests.strip() in (ROOT / ".ci/run").read_text()
    assert search.count("\n") == tests.count("\n") == 1 and "curriculum search --budget 50" in search


def test_the_mix_of_the_readme_loads(tmp_path: Path) -> None:
    (tmp_path / "mix.yaml").write_text(blocks("yaml")[0])
    assert Mix.load(tmp_path / "mix.yaml").phases[1].to is not None


def test_the_python_of_the_readme_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (loads,) = blocks("python")
    scope: dict[str, Any] = {}
    exec(loads, scope)
    assert scope["dataset"].plan.samples == 32_000
    scope["dataset"].close()


def test_the_plan_of_the_tutorial_is_the_default_mixs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "docs/tutorial.md").read_text(), flags=re.DOTALL)
    (plans,) = [snippet for snippet in snippets if "plan.counts" in snippet]
    scope: dict[str, Any] = {}
    exec(plans, scope)
    assert len(scope["plan"]) == 32_000 and scope["stream"] in range(5)


def test_the_python_of_the_probes_page_runs() -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/probes.md").read_text(), flags=re.DOTALL)
    scope: dict[str, Any] = {}
    exec(snippet, scope)
    assert [inquiry.level for inquiry in scope["inquiries"]] == ["easy"] and len(scope["suite"].tasks[0].questions) == 20


def test_the_commands_of_the_probes_page_exist() -> None:
    page = (ROOT / "docs/probes.md").read_text() + README
    for name in re.findall(r"^curriculum (\w+)", page, flags=re.MULTILINE):
        assert name in cli.commands
    for option in re.findall(r"`(--[a-z-]+)", page):
        assert any(option in parameter.opts for command in cli.commands.values() for parameter in command.params), option


@pytest.mark.parametrize("path", sorted((ROOT / "mixes").glob("*.yaml")), ids=lambda path: path.name)
def test_every_mix_file_of_the_project_loads(path: Path) -> None:
    assert Mix.load(path).streams


def test_the_readme_says_what_to_use_when_and_names_the_soak() -> None:
    for word in ("--executor ray", "[ray]", "--storage postgresql+psycopg://", "[postgres]", "benchmarks/soak.py --kills 100"):
        assert word in README
    assert (ROOT / "benchmarks/soak.py").exists() and (ROOT / "benchmarks/soak.md").exists()
