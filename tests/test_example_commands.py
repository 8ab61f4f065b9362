"""Every command that an example's README tells to type exists, with its options and arguments; the long ones are not run.

Commands stand in indented or fenced blocks, or in a sentence as code. A script's arguments are parsed by its own parser, and
there it ends; those of `curriculum` by the command's. Of a command that is only mentioned, verb and options are looked up.
What is short is run as well: see test_documentation.py and its peers.
"""

from __future__ import annotations

import argparse
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from curriculum.cli import cli

ROOT = Path(__file__).parents[1]
READMES = sorted((ROOT / "examples").glob("*/README.md"))
PROGRAMS = ("curriculum", "python", "torchrun", "pip")
COMMAND = re.compile(rf"^(?: {{4}})?((?:{'|'.join(PROGRAMS)}) .*)$", flags=re.MULTILINE)
IN_A_SENTENCE = re.compile(r"`((?:curriculum|python|torchrun) [^`]+)`")


class ParsedError(Exception):
    """A script has read its arguments."""


def commands(page: Path) -> list[str]:
    return [command for line in COMMAND.findall(page.read_text()) for command in line.split(" && ")]


def mentions(page: Path) -> list[str]:
    found = IN_A_SENTENCE.findall(COMMAND.sub("", page.read_text()))
    return [command for command in found if not command.startswith("python -c ")]


@pytest.fixture
def only_parsing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a script end where it has read its arguments, and forget what it imported from beside it."""
    parse = argparse.ArgumentParser.parse_args

    def ended(parser: argparse.ArgumentParser, *given: Any, **named: Any) -> Any:
        parse(parser, *given, **named)
        raise ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", ended)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(ROOT / "examples") in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def check_script(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (at, *_) = (index for index, word in enumerate(words) if word.endswith(".py"))
    script = ROOT / words[at]
    assert script.is_file(), f"no {words[at]}"
    with monkeypatch.context() as patched:
        patched.syspath_prepend(str(script.parent))
        patched.setattr(sys, "argv", words[at:])
        with pytest.raises(ParsedError):
            runpy.run_path(str(script), run_name="__main__")


def check_command(words: list[str]) -> None:
    assert words[0] in cli.commands, f"no `curriculum {words[0]}`"
    command = cli.commands[words[0]]
    command.make_context(words[0], list(words[1:]), parent=click.Context(cli))


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.parent.name)
@pytest.mark.usefixtures("only_parsing")
def test_commands_of_an_example_exist_as_they_are_written(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = commands(page)
    assert found, f"{page}: no command"
    for command in found:
        program, *words = shlex.split(command, comments=True)
        if program == "pip":
            assert words[0] in ("install", "uninstall"), command
        elif program == "curriculum":
            check_command(words)
        else:
            check_script(words, monkeypatch)


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.parent.name)
@pytest.mark.usefixtures("only_parsing")
def test_commands_that_an_example_mentions_exist(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for program, *words in map(shlex.split, mentions(page)):
        if program != "curriculum":
            check_script(words, monkeypatch)
            continue
        assert words[0] in cli.commands, words
        known = {option for parameter in cli.commands[words[0]].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, words


@pytest.mark.usefixtures("only_parsing")
def test_a_command_that_does_not_exist_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit):  # the parser's own refusal
        check_script(["examples/control/run.py", "--oot", "runs"], monkeypatch)
    with pytest.raises(AssertionError, match="no examples/control/walk"):
        check_script(["examples/control/walk.py"], monkeypatch)
    for words in (["runn", "MIX"], ["run", "MIX", "--chekpoints", "4"]):
        with pytest.raises((AssertionError, click.UsageError)):
            check_command(words)
