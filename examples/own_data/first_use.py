"""A new user's time: from an empty folder with three JSONL files to a mix file, every command run and measured.

    python examples/own_data/first_use.py [--log docs/first-use.md] [--budget 8] [--no-install]

In a folder of its own that holds this checkout, as a clone would, and three JSONL files (texts.py). The install is into an
empty environment, without pip's cache. Typing and reading are not measured but reckoned, at a slow 200 characters and 200
words a minute, over all that is typed and all that is printed.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

ROOT = Path(__file__).parents[2]
CHARACTERS_A_MINUTE, WORDS_A_MINUTE = 200, 200
INSTALL = "python3.11 -m venv .venv && .venv/bin/pip install -q -c curriculum/constraints.txt ./curriculum"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A command that was run: how long it took, and what it printed on standard output."""

    command: str
    seconds: float
    output: str


def commands(budget: int) -> list[str]:
    """Return what is typed after the install, in order."""
    return [
        "python curriculum/examples/own_data/prepare.py texts/*.jsonl",
        "curriculum check study.yaml",
        f"curriculum search study.yaml --budget {budget}",
        "curriculum check mixes/static.yaml",
    ]


def perform(command: str, folder: Path, environment: dict[str, str]) -> Step:
    """Run a command in bash; ends this program with the command's own words if it fails."""
    print(f"$ {command}", file=sys.stderr, flush=True)
    started = monotonic()
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{command}\nended with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
    return Step(command=command, seconds=monotonic() - started, output=done.stdout.rstrip())


def first_use(folder: Path, budget: int, *, install: bool) -> list[Step]:
    """Do everything in `folder`; without `install`, with the packages of this Python."""
    shutil.copytree(ROOT, folder / "curriculum", ignore=shutil.ignore_patterns(".*", "runs", "data", "__pycache__"))
    subprocess.run([sys.executable, str(Path(__file__).with_name("texts.py")), str(folder / "texts")], check=True)
    environment = os.environ | {"PIP_NO_CACHE_DIR": "1", "COLUMNS": "110"}
    steps = []
    if install:
        steps.append(perform(INSTALL, folder, environment))
        environment["PATH"] = f"{folder / '.venv/bin'}{os.pathsep}{environment['PATH']}"
        environment.pop("PYTHONPATH", None)
    return steps + [perform(command, folder, environment) for command in commands(budget)]


def report(steps: Sequence[Step], load: float) -> str:
    """Return the log as Markdown; `load` is the machine's load average when it began."""
    machine = sum(step.seconds for step in steps) / 60
    typing = sum(len(step.command) for step in steps) / CHARACTERS_A_MINUTE
    words = [word for step in steps for word in step.output.split() if any(map(str.isalnum, word))]  # not a chart's blocks
    reading = len(words) / WORDS_A_MINUTE
    rows = "\n".join(f"| `{step.command}` | {step.seconds:.0f} s |" for step in steps)
    shown = "\n\n".join(f"$ {step.command}\n{step.output}".rstrip() for step in steps)
    return TEMPLATE.format(
        minutes=machine + typing + reading,
        machine=machine,
        hands=typing + reading,
        typing=typing,
        reading=reading,
        characters=CHARACTERS_A_MINUTE,
        words=WORDS_A_MINUTE,
        cores=os.cpu_count(),
        load=load,
        load_after=os.getloadavg()[1],
        python=platform.python_version(),
        rows=rows,
        shown="\n".join(f"    {line}".rstrip() for line in shown.splitlines()),
    )


TEMPLATE = """\
# First use: from three JSONL files to a mix file

Written by `python examples/own_data/first_use.py --log docs/first-use.md`: every command below was run as it stands, one
after the other, in a folder that held a clone of this repository (`curriculum/`) and three JSONL files of real text (`texts/`,
from [texts.py](../examples/own_data/texts.py)).

**{minutes:.1f} minutes in all: {machine:.1f} of the machine and {hands:.1f} of typing and reading.** The machine has
{cores} cores, which other work shared (load average {load:.1f} when it began, {load_after:.1f} when it ended); Python {python};
nothing in pip's cache. Typing is reckoned at {characters} characters a minute for what is typed ({typing:.1f}), reading at
{words} words a minute for what is printed ({reading:.1f}).

| typed | took |
|---|---|
{rows}

What was seen:

{shown}

What next: the [tutorial](tutorial.md) goes through the same steps and says what each one means.
"""


def main() -> None:
    """Do it, and write or print the log."""
    parser = argparse.ArgumentParser(description="Measure a new user's way from three JSONL files to a mix file.")
    parser.add_argument("--log", type=Path, help="Markdown file to write; default: standard output")
    parser.add_argument("--budget", type=int, default=8)
    parser.add_argument("--no-install", action="store_true", help="use the packages of this Python")
    given = parser.parse_args()
    load = os.getloadavg()[1]
    with tempfile.TemporaryDirectory(prefix="first-use-") as folder:
        text = report(first_use(Path(folder), given.budget, install=not given.no_install), load)
    if given.log is None:
        print(text)
    else:
        given.log.write_text(text)


if __name__ == "__main__":
    main()
