"""Options that several verbs share, and options that are more than one value: parsed before any verb's code is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

_FILE = click.Path(path_type=Path)


def splits(texts: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return what `--split OLD=NEW,NEW` says, by old stream."""
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        old, _, news = text.partition("=")
        names = tuple(name.strip() for name in news.split(","))
        if not old.strip() or not all(names) or len(set(names)) < len(names):
            raise click.BadParameter(f"wanted OLD=NEW,NEW with streams' names, got {text!r}", param_hint="--split")
        if old.strip() in found:
            raise click.BadParameter(f"stream {old.strip()!r} is split twice; name all its parts in one", param_hint="--split")
        found[old.strip()] = names
    return found


def targets(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """Return the targets of `export` that complete what was typed; read only when a shell asks."""
    from curriculum.export.finding import target_names

    return [name for name in target_names() if name.startswith(typed)]


def formats(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """Return the formats of `import` that complete what was typed; read only when a shell asks."""
    from curriculum.export.reading import FORMATS

    return [name for name in FORMATS if name.startswith(typed)]


def check_together(options: dict[str, Any]) -> None:
    """Refuse options of a search that mean nothing without another. Raises UsageError."""
    if options["address"] is not None and options["executor"] != "ray":
        raise click.UsageError("--address is that of a Ray cluster; add --executor ray, or leave it out")
    if options["splits"] and options["reuse"] is None:
        raise click.UsageError("--split says how streams of an older study were split; name that study's folder with --reuse")


def looking(command: Any) -> Any:
    """Give a command the options that say which study is looked at."""
    options = (
        click.argument("study", type=_FILE, required=False),
        click.option("--runs", type=_FILE, default=Path("runs"), show_default=True, help="Where studies and runs are kept."),
        click.option("--storage", help="Database URL of the trials, if the search was given one."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def asking(command: Any) -> Any:
    """Give a command the options that say which models are asked which probes."""
    options = (
        click.argument("places", nargs=-1, required=True, metavar="MODEL..."),
        click.option("--suite", help="`written` (ours), a folder in the published layout, or hub:OWNER/NAME."),
        click.option("--study", type=_FILE, help="Ask this study's probes instead. Default for proxies without a tokenizer."),
        click.option("--family", "families", multiple=True, help="Only this family; may be given again."),
        click.option("--task", "tasks", multiple=True, help="Only this task; may be given again."),
        click.option("--level", "levels", multiple=True, help="Only this level: easy, medium, hard; may be given again."),
        click.option("--questions", type=click.IntRange(2), help="At most so many questions a task."),
        click.option("--shots", type=click.IntRange(1), help="So many demos instead of each task's own number."),
        click.option("--seeds", type=click.IntRange(1), help="So many demo seeds instead of each task's own number."),
        click.option(
            "--samples", type=click.IntRange(1), default=100, show_default=True, help="Answers to a persona's question."
        ),
        click.option("--tokens", type=click.IntRange(1), default=300, show_default=True, help="Longest answer of a persona."),
        click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, ..."),
        click.option("--answers", "folder", type=_FILE, help="Where answers are kept. Default: runs/probes/<name of MODEL>."),
    )
    for option in reversed(options):
        command = option(command)
    return command


_CHOICES = ("places", "families", "tasks", "levels")


def asked(options: dict[str, Any]) -> dict[str, Any]:
    """Return the values of `asking`'s options out of all, taking them away there."""
    names = ("suite", "study", "questions", "shots", "seeds", "samples", "tokens", "device", "folder", *_CHOICES)
    return {name: options.pop(name) for name in names}


def threshold(text: str) -> float | None:
    """Return the margin that `--hysteresis` names, None for `auto`. Raises BadParameter."""
    if text == "auto":
        return None
    try:
        value = float(text)
    except ValueError:
        raise click.BadParameter(f"wanted a margin between 0 and 1, or auto, got {text!r}", param_hint="--hysteresis") from None
    if not 0 < value < 1:
        raise click.BadParameter(f"wanted a margin between 0 and 1, or auto, got {text}", param_hint="--hysteresis")
    return value
