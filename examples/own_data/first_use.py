"""A new user's time: from an empty folder with three JSONL files to a mix file, every command run and measured.

    python examples/own_data/first_use.py [--log docs/first-use.md] [--budget 8]

In a folder of its own that holds three JSONL files (texts.py) and nothing else, every command is typed into one shell, as a
person would: what a command leaves there, such as an activated environment, the next one finds, and nothing else helps it.
The clone is of this repository's last commit, under an address that stands for the real one; pip's cache is not used. Typing
and reading are not measured but reckoned, at a slow 200 characters and 200 words a minute, over all that is typed and all
that is printed.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import IO

ROOT = Path(__file__).parents[2]
CHARACTERS_A_MINUTE, WORDS_A_MINUTE = 200, 200
ADDRESS = "https://git.example.org/curriculum"  # git is told that this is the checkout
COLUMNS = 110
_ENDED = "ended with exit code "
_NOT_A_USERS = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A command that was run: how long it took, and what it printed on standard output."""

    command: str
    seconds: float
    output: str


def commands(budget: int) -> list[str]:
    """Return what is typed, in order, from an empty terminal to the mix file."""
    return [
        f"git clone -q {ADDRESS}",
        "python3.11 -m venv .venv && . .venv/bin/activate",
        "pip install -q -c curriculum/constraints.txt ./curriculum",
        "python curriculum/examples/own_data/prepare.py texts/*.jsonl",
        "curriculum check study.yaml",
        f"curriculum search study.yaml --budget {budget}",
        "cat mixes/static.yaml",
    ]


class Terminal:
    """One shell into which commands are typed: what one of them sets, such as the PATH, the next one finds."""

    def __init__(self, shell: subprocess.Popen[str], errors: IO[str]) -> None:
        self._shell, self._errors = shell, errors

    def perform(self, command: str) -> Step:
        """Run a command; ends this program with the command's own words if it fails."""
        print(f"$ {command}", file=sys.stderr, flush=True)
        assert self._shell.stdin is not None and self._shell.stdout is not None
        started = monotonic()
        self._shell.stdin.write(f"{{ {command}\n}} < /dev/null; printf '\\n{_ENDED}%d\\n' $?\n")
        self._shell.stdin.flush()
        lines = []
        for line in self._shell.stdout:
            if line.startswith(_ENDED):
                break
            lines.append(line)
        else:
            line = f"{_ENDED}{self._shell.wait()}"
        output = "".join(lines)
        if line.strip() != f"{_ENDED}0":
            self._errors.seek(0)
            sys.exit(f"{command}\n{line.strip()}:\n{output}{self._errors.read()}")
        return Step(command=command, seconds=monotonic() - started, output=output.rstrip())


@contextmanager
def terminal(folder: Path, environment: Mapping[str, str]) -> Iterator[Terminal]:
    """Open a shell in `folder`; it ends with the block."""
    with tempfile.TemporaryFile("w+") as errors:
        shell = subprocess.Popen(
            ["bash"], cwd=folder, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
        try:
            yield Terminal(shell, errors)
        finally:
            shell.kill()
            shell.communicate()


def a_users(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment as somebody has it who never saw this project; git finds the checkout at ADDRESS."""
    kept = {name: value for name, value in environment.items() if name not in _NOT_A_USERS}
    if shutil.which("curriculum", path=kept["PATH"]) is not None:
        sys.exit("`curriculum` is on the PATH before it is installed; deactivate that environment first")
    git = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{ROOT}.insteadOf", "GIT_CONFIG_VALUE_0": ADDRESS}
    return kept | git | {"PIP_NO_CACHE_DIR": "1", "COLUMNS": str(COLUMNS)}


def first_use(folder: Path, typed: Sequence[str], environment: Mapping[str, str]) -> list[Step]:
    """Type everything into one shell in `folder`, beside three files of text."""
    subprocess.run([sys.executable, str(Path(__file__).with_name("texts.py")), str(folder / "texts")], check=True)
    with terminal(folder, environment) as shell:
        return [shell.perform(command) for command in typed]


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
        columns=COLUMNS,
        rows=rows,
        shown="\n".join(f"    {line}".rstrip() for line in shown.splitlines()),
    )


TEMPLATE = """\
# First use: from three JSONL files to a mix file

Written by `python examples/own_data/first_use.py --log docs/first-use.md`: every command below was typed as it stands into one
shell, one after the other, in a folder that held three JSONL files of real text (`texts/`, from
[texts.py](../examples/own_data/texts.py)) and nothing else. The address of the clone stands for the repository's own: it was
cloned from this disk.

**{minutes:.1f} minutes in all: {machine:.1f} of the machine and {hands:.1f} of typing and reading.** The machine has
{cores} cores, which other work shared (load average {load:.1f} when it began, {load_after:.1f} when it ended); Python {python};
nothing in pip's cache. Typing is reckoned at {characters} characters a minute for what is typed ({typing:.1f}), reading at
{words} words a minute for what is printed ({reading:.1f}), in a terminal of {columns} columns.

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
    given = parser.parse_args()
    load = os.getloadavg()[1]
    with tempfile.TemporaryDirectory(prefix="first-use-") as folder:
        text = report(first_use(Path(folder), commands(given.budget), a_users(os.environ)), load)
        if given.log is None:
            print(text)
        else:
            given.log.write_text(text)


if __name__ == "__main__":
    main()
