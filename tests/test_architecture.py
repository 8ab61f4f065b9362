"""The floors, the linters, and what the command line may import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
HEAVY = ("torch", "optuna", "matplotlib", "streaming", "pandas", "datasets")


@pytest.mark.parametrize(
    "command",
    [["lint-imports"], ["ruff", "check"], ["ruff", "format", "--check"], ["mypy", "--strict", "curriculum"]],
    ids=["floors", "ruff", "format", "mypy"],
)
def test_linters_pass(command: list[str]) -> None:
    done = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def imported_by(arguments: list[str]) -> set[str]:
    code = (
        "import sys\nfrom curriculum import cli\n"
        f"sys.argv = ['curriculum', *{arguments!r}]\n"
        "try:\n    cli.main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "print('IMPORTED', *sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.rsplit("IMPORTED", 1)[1].split())


def test_help_imports_nothing_heavy() -> None:
    assert not imported_by(["--help"]) & {*HEAVY, "numpy"}


@pytest.mark.parametrize("file", ["search/default.yaml", "tests/data/ramp.yaml"])
def test_check_imports_neither_torch_nor_optuna(file: str) -> None:
    assert not imported_by(["check", file]) & set(HEAVY)
