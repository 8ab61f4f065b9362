"""The wheel, installed by pip into an empty environment: what is in it, what starts without torch, what a type checker sees.

The environment takes its dependencies from the one that runs the tests, since those are gigabytes; README and
docs/how-to-install.md say how they come from a registry.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REFUSED = ("torch", "optuna", "matplotlib", "streaming", "transformers", "pandas")
REFUSAL = f"""\
import sys
class Refusal:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {REFUSED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Refusal())
"""
MYPY = """\
[mypy]
follow_imports = skip
[mypy-curriculum.*]
follow_imports = silent
"""
OUTSIDE = """\
from curriculum import Mix
from curriculum.units import parse_count
reveal_type(parse_count("2B"))
reveal_type(Mix.load("mix.yaml").seed)
parse_count(None)
"""


def run(command: list[str | Path], *, code: int = 0, **variables: str) -> str:
    """Run a command away from the checkout, with nothing on Python's path but what is installed."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}
    done = subprocess.run(
        command, cwd="/", env={**kept, **variables}, capture_output=True, text=True, check=False, timeout=400
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the checkout, as a fresh clone has it."""
    source, out = (tmp_path_factory.mktemp(name) for name in ("source", "wheel"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("curriculum", "search"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)], cwd=source, check=True, capture_output=True
    )
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty virtual environment into which pip has installed the wheel."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    run([sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-index", "--no-deps", wheel])
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


@pytest.fixture(scope="module")
def without_torch(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder for PYTHONPATH under which torch and what needs it cannot be imported."""
    folder = tmp_path_factory.mktemp("without")
    (folder / "sitecustomize.py").write_text(REFUSAL)
    return str(folder)


def test_the_wheel_holds_the_package_its_types_and_its_data_and_no_more(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {"curriculum/py.typed", "curriculum/search/default.yaml", "curriculum/__main__.py"} <= set(names)
    assert "curriculum/probe/written/suite.yaml" in names and any(name.endswith(".jsonl") for name in names)
    assert {name.partition("/")[0] for name in names} == {"curriculum", f"{wheel.name.partition('-py3')[0]}.dist-info"}


def test_the_command_the_module_and_the_default_study_work(environment: Path) -> None:
    python, where = environment / "bin" / "python", "import curriculum; print(curriculum.__file__)"
    assert str(environment) in run([python, "-c", where])
    version = run([environment / "bin" / "curriculum", "--version"])
    assert version == run([python, "-m", "curriculum", "--version"]) and version.startswith("curriculum, version ")
    study = "from curriculum.search.study_file import load_study; print(load_study().name)"
    assert run([python, "-c", study]) == "default\n"


def test_help_check_and_plans_need_no_torch(environment: Path, without_torch: str) -> None:
    python = environment / "bin" / "python"
    run([python, "-c", "import torch"], code=1, PYTHONPATH=without_torch)
    assert "Usage: " in run([python, "-m", "curriculum", "--help"], PYTHONPATH=without_torch)
    checked = run([python, "-m", "curriculum", "check", str(ROOT / "tests/data/ramp.yaml")], PYTHONPATH=without_torch)
    assert "valid mix" in checked
    plan = "from curriculum import Mix; print(len(Mix.load('{}').plan(sizes=dict.fromkeys({}, 1000))))"
    mix = ROOT / "mixes/default.yaml"
    streams = ("arith", "icl", "count", "repeat", "facts")
    assert run([python, "-c", plan.format(mix, streams)], PYTHONPATH=without_torch) == "32000\n"


@pytest.mark.parametrize(("shell", "registers"), [("bash", "complete "), ("zsh", "compdef "), ("fish", "complete ")])
def test_completion_is_printed_for_each_shell(environment: Path, without_torch: str, shell: str, registers: str) -> None:
    command = environment / "bin" / "curriculum"
    script = run([command], _CURRICULUM_COMPLETE=f"{shell}_source", PYTHONPATH=without_torch)
    assert registers in script and "_CURRICULUM_COMPLETE" in script


def test_a_half_typed_verb_is_completed(environment: Path, without_torch: str) -> None:
    command, typed = environment / "bin" / "curriculum", "curriculum se"
    words = run(
        [command], _CURRICULUM_COMPLETE="bash_complete", COMP_WORDS=typed, COMP_CWORD="1", PYTHONPATH=without_torch
    )  # fmt: skip
    assert {"plain,search", "plain,select"} <= set(words.split())


def test_a_type_checker_outside_sees_the_types(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text(OUTSIDE)
    (tmp_path / "mypy.ini").write_text(MYPY)  # what the package itself imports is not looked into: torch takes a minute
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file",
        str(tmp_path / "mypy.ini"),
        "--cache-dir",
        str(tmp_path / "cache"),
    ]
    options = ["--python-executable", str(environment / "bin" / "python"), str(tmp_path / "outside.py")]
    found = run([*command, *options], code=1).splitlines()
    assert "error" not in found[0] and 'Revealed type is "int"' in found[0].replace("builtins.", "")
    assert 'Revealed type is "int"' in found[1].replace("builtins.", "")
    assert 'Argument 1 to "parse_count" has incompatible type "None"' in found[2] and len(found) == 4


def test_every_extra_stands_in_the_page() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    page = (ROOT / "docs/how-to-install.md").read_text()
    assert set(re.findall(r"`\[(\w+)\]`", page)) == set(extras)
