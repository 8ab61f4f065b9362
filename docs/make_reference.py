"""Writes docs/reference/: commands, the keys of mix and study files, and the Python API, out of the code itself.

    python docs/make_reference.py            # write
    python docs/make_reference.py --check    # exit code 1 and a list of the pages that are not what the code says

Idea: three sources that the code keeps true anyway. Commands come from click's own description of itself; keys from what the
readers accept, asked for by giving each section a key that it cannot know; types, defaults and words from the dataclasses that
the keys become. The alternative, Sphinx or pdoc, would bring a theme and a server for what fits on four pages. The price: what
a docstring does not say is not in the reference.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click

from curriculum.cli import cli
from curriculum.errors import FileError
from curriculum.mix import Mix, Order, Phase, Stream
from curriculum.mix.subset import Subset
from curriculum.probe.specification import ProbeSpecification, SuiteSpecification
from curriculum.proxy.recipe import Recipe
from curriculum.search.study import Command, Objective, SearchSettings, Space, Study, Target
from curriculum.search.study_file import load_study

FOLDER = Path(__file__).parent / "reference"
NOTE = "<!-- Made by `python docs/make_reference.py` out of the code; changes here are overwritten. -->\n"
UNKNOWN = "no_such_key"
STUDY = """\
name: reference
streams: {a: {local: /data/a}, b: {local: /data/b}}
length: {samples: 25_600}
probes: [{name: p, family: f, floor: 0, file: p.jsonl, control: c.jsonl}]
"""
MODULES = (
    ("curriculum", "The names most programs need."),
    ("curriculum.mix", "The mix file."),
    ("curriculum.plan", "A mix compiled for given streams: position to sample."),
    ("curriculum.streaming", "The loader."),
    ("curriculum.probe", "What is asked of a model, and how answers become modes."),
    ("curriculum.callbacks", "Probes inside a training loop."),
    ("curriculum.models", "Models to be probed."),
    ("curriculum.export", "Mixes for other trainers."),
    ("curriculum.report", "Pages, tables and figures."),
    ("curriculum.plugins", "Probes, orders and exports of other packages."),
    ("curriculum.errors", "What can be raised."),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A mapping in a file: where it stands, the type it becomes, and a text of it with one key too many.

    `renamed` are keys whose field has another name.
    """

    title: str
    type: type
    broken: str
    renamed: Mapping[str, str]

    def known(self) -> list[str]:
        """Return the keys that the reader knows, as it says itself when it meets one that it does not."""
        try:
            _read(self.broken)
        except FileError as error:
            known = re.search(r"known keys: (.*)$", str(error))
            assert known is not None, f"{self.title}: {error}"
            return known[1].split(", ")
        raise AssertionError(f"{self.title}: the reader took the key {UNKNOWN!r}")


def _read(text: str) -> None:
    if text.startswith("mix:"):
        Mix.loads(text.removeprefix("mix:"), "mix.yaml")
        return
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder) / "study.yaml"
        path.write_text(text)
        load_study(path)


def _in_stream(key: str) -> str:
    return f"mix:name: m\nsamples: 10\nphases: [{{until: 1, weights: {{a: 1}}}}]\nstreams: {{a: {{local: /a, {key}}}}}\n"


def _in_phase(phase: str) -> str:
    return f"mix:name: m\nsamples: 10\nstreams: {{a: {{local: /a}}}}\nphases: [{phase}]\n"


def _in_study(line: str, without: str = "nothing") -> str:
    return "".join(f"{kept}\n" for kept in STUDY.splitlines() if not kept.startswith(without)) + line + "\n"


def _section(title: str, kind: type, broken: str, **renamed: str) -> Section:
    return Section(title=title, type=kind, broken=broken, renamed=renamed)


_BAD = f"{UNKNOWN}: 1"
MIX = (
    _section("The file", Mix, f"mix:name: m\nstreams: {{a: {{local: /a}}}}\nphases: []\n{_BAD}\n"),
    _section("`streams: {NAME: {...}}`", Stream, _in_stream(_BAD)),
    _section("`streams: {NAME: {order: {...}}}`", Order, _in_stream(f"order: {{{_BAD}}}")),
    _section("`streams: {NAME: {subset: {...}}}`", Subset, _in_stream(f"subset: {{samples: 1, {_BAD}}}")),
    _section("`phases: [{...}]`", Phase, _in_phase(f"{{until: 1, weights: {{a: 1}}, {_BAD}}}")),
)
STUDY_SECTIONS = (
    _section("The file", Study, _in_study(_BAD), length="samples", bits_per_byte="suites", proxy="recipe", controls="favour"),
    _section("`length: {...}`", Study, _in_study(f"length: {{{_BAD}}}", "length")),
    _section("`target: {...}`", Target, _in_study(f"target: {{{_BAD}}}")),
    _section("`proxy: {...}`", Recipe, _in_study(f"proxy: {{{_BAD}}}")),
    _section("`proxy: {command: ...}`", Command, _in_study(f"proxy: {{command: x, {_BAD}}}"), command="words"),
    _section(
        "`probes: [{...}]`", ProbeSpecification, _in_study(f"probes: [{{name: p, family: f, floor: 0, {_BAD}}}]", "probes")
    ),
    _section("`bits_per_byte: [{...}]`", SuiteSpecification, _in_study(f"bits_per_byte: [{{name: a, file: b, {_BAD}}}]")),
    _section("`controls: {...}`", Study, _in_study(f"controls: {{favour: [a], {_BAD}}}")),
    _section("`space: {...}`", Space, _in_study(f"space: {{{_BAD}}}")),
    _section("`objective: {...}`", Objective, _in_study(f"objective: {{{_BAD}}}")),
    _section("`search: {...}`", SearchSettings, _in_study(f"search: {{{_BAD}}}")),
)


def keys_page(title: str, words: str, sections: Iterable[Section]) -> str:
    """Return a page of tables: key, type, default, and what the type's docstring says."""
    parts = [NOTE, f"# {title}", "", words]
    described: set[type] = set()
    sections = tuple(sections)
    opened = {match[1] for match in (re.match(r"`(\w+): ", section.title) for section in sections) if match}
    for section in sections:
        parts += ["", f"## {section.title}", ""]
        if section.type not in described:
            parts += [_docstring(section.type), ""]
        described.add(section.type)
        of_type = {field.name: field for field in fields(section.type)}
        hints = get_type_hints(section.type)
        parts += ["| key | type | default |", "|---|---|---|"]
        for key in section.known():
            name = section.renamed.get(key, key)
            below = section.title == "The file" and key in opened
            parts.append(_key_row(key, of_type.get(name), "see below" if below else _words(hints.get(name))))
    return "\n".join(parts) + "\n"


def _key_row(key: str, field: Field[Any] | None, kind: str) -> str:
    if field is None:
        return f"| `{key}` | {kind if kind == 'see below' else ''} | |"
    return f"| `{key}` | {kind} | {'' if kind == 'see below' else _default(field)} |"


_SIMPLE = {str: "text", int: "whole number", float: "number", bool: "true, false", Decimal: "number", Path: "path"}


def _words(kind: Any) -> str:
    """Return a type as people say it in a file."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inside)
    if type(None) in inside:
        return f"{_words(next(part for part in inside if part is not type(None)))}, or null"
    if origin is tuple:
        return f"list of {_words(inside[0])}"
    if inside:  # the only others are mappings by name
        return f"{{name: {_words(inside[1])}}}"
    return _SIMPLE.get(kind, "see below" if is_dataclass(kind) else "anything plain")


def _default(field: Field[Any]) -> str:
    if field.default is not MISSING:
        return _value(field.default)
    if field.default_factory is MISSING:
        return "needed"
    made = field.default_factory()
    return "" if is_dataclass(made) else _value(made)


def _value(value: object) -> str:
    if value in (None, ()):
        return "none"
    return f"`{', '.join(map(str, value)) if isinstance(value, tuple) else str(value)}`"


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _docstring(thing: object) -> str:
    return (inspect.getdoc(thing) or "").strip()


def commands_page() -> str:
    """Return every command with its arguments and options, as click describes them."""
    parts = [NOTE, "# Commands", "", inspect.cleandoc(cli.help or ""), "", _EXIT_CODES]
    for name in sorted(cli.commands):
        command = cli.commands[name]
        context = click.Context(command, info_name=f"curriculum {name}")
        usage = " ".join(["curriculum", name, *command.collect_usage_pieces(context)])
        parts += ["", f"## `{usage}`", "", inspect.cleandoc(command.help or "")]
        options = [parameter for parameter in command.get_params(context) if isinstance(parameter, click.Option)]
        parts += ["", "| option | |", "|---|---|"]
        parts += [_option_row(option, context) for option in options if "--help" not in option.opts]
    return "\n".join(parts) + "\n"


_EXIT_CODES = "Exit codes: 0 done, 1 failed, 2 the user's mistake, 130 interrupted with all work kept."


def _option_row(option: click.Option, context: click.Context) -> str:
    shown = option.get_help_record(context)
    names, words = shown if shown is not None else (", ".join(option.opts), option.help or "")
    return f"| {_code(names)} | {words.replace('|', chr(92) + '|')} |"


def python_page() -> str:
    """Return the public names of the public rooms: signature and docstring."""
    parts = [NOTE, "# Python", "", "What is named here is public; other names may change without notice."]
    for module_name, words in MODULES:
        module = import_module(module_name)
        names = public_names(module_name)
        if names:
            parts += ["", f"## `{module_name}`", "", words]
        for name in names:
            parts += ["", *_described(name, getattr(module, name))]
    return "\n".join(parts) + "\n"


def public_names(module_name: str) -> list[str]:
    """Return what a module offers: its `__all__`, else what it defines itself without an underscore."""
    module = import_module(module_name)
    declared = getattr(module, "__all__", None)
    if declared is not None:
        return [name for name in declared if not name.startswith("__")]
    own = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    return [name for name, value in own.items() if getattr(value, "__module__", None) == module_name]


def _described(name: str, thing: object) -> list[str]:
    lines = [f"### `{name}{_signature(thing)}`", "", _docstring(thing)]
    if not inspect.isclass(thing) or issubclass(thing, BaseException):
        return lines
    for method, function in vars(thing).items():
        found = inspect.getattr_static(thing, method)
        if method.startswith("_") or not (callable(getattr(thing, method, None)) or isinstance(found, property)):
            continue
        if not inspect.getdoc(getattr(thing, method)) or inspect.isclass(function):
            continue
        shown = "" if isinstance(found, property) else _signature(getattr(thing, method))
        lines += ["", f"- **`{method}{shown}`** {' '.join(_docstring(found).split())}"]
    return lines


def _signature(thing: object) -> str:
    """Return a signature, or nothing for what is no function or has only one line's worth of noise."""
    if not callable(thing):
        return ""
    try:
        text = str(inspect.signature(thing))
    except (TypeError, ValueError):
        return ""
    text = re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", text).replace("'", "")
    text = re.sub(r"<(?:function|object|factory)[^>]*>", "...", text)
    return text if len(text) < 400 else "(...)"


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands_page,
    "mix.md": lambda: keys_page("Mix files", _MIX_WORDS, MIX),
    "study.md": lambda: keys_page("Study files", _STUDY_WORDS, STUDY_SECTIONS),
    "python.md": python_page,
}
_MIX_WORDS = "`mixes/*.yaml`. Paths are relative to the file. `curriculum check MIX` says what is wrong, with its line."
_STUDY_WORDS = (
    "`search/*.yaml`. Streams are those of a [mix](mix.md). `curriculum check STUDY` says what is wrong, with its line; what "
    "the settings do is told in [search.md](../search.md)."
)


def main() -> int:
    """Write the pages, or compare them with those that are there; return the exit code."""
    parser = argparse.ArgumentParser(description="Write docs/reference/ out of the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; say which pages are out of date")
    if not parser.parse_args().check:
        FOLDER.mkdir(exist_ok=True)
        for name, make in PAGES.items():
            (FOLDER / name).write_text(make())
        return 0
    stale = [name for name, make in PAGES.items() if not (FOLDER / name).exists() or (FOLDER / name).read_text() != make()]
    if stale:
        print(f"out of date: {', '.join(stale)}; run python docs/make_reference.py", file=sys.stderr)
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
