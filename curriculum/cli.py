"""The command line: names and help. Each verb's code is imported when it is called, so that help costs no torch.

Exit codes: 0 done, 1 failed, 2 the user's mistake, 130 interrupted with all work kept.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from curriculum import __version__
from curriculum.errors import CurriculumError

_FILE = click.Path(path_type=Path)
_INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="curriculum")
def cli() -> None:
    """Find, prove and obey the data mix and order that keep a language model in the general mode.

    Begin with `curriculum search --budget 50`: it searches the embedded default study and writes a mix file.
    """


@cli.command()
@click.argument("study", type=_FILE, required=False)
@click.option("--budget", type=click.IntRange(1), default=50, show_default=True, help="Trials in all; resumed ones count.")
@click.option("--workers", type=click.IntRange(1), help="Processes that train. Default: one a core.")
@click.option("--runs", type=_FILE, default=Path("runs"), show_default=True, help="Where studies and runs are kept.")
@click.option("--out", type=_FILE, default=Path("mixes"), show_default=True, help="Where the winner's mix file is written.")
@click.option("--storage", help="Database URL of the trials. Default: SQLite in the study's folder.")
@click.option(
    "--executor",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Who trains: cores here, or Ray.",
)
@click.option(
    "--address", help="Of the Ray cluster: HOST:PORT of its head, or local for one here. Default: the one this machine is in."
)
@click.option("--reuse", type=_FILE, metavar="OLD", help="Folder of an older study whose trials are put to use.")
@click.option("--split", "splits", multiple=True, metavar="OLD=NEW,NEW", help="OLD study's stream is now these; repeatable.")
@click.option("--dry-run", is_flag=True, help="Say runs, tokens and time; search nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; progress goes to standard error.")
def search(study: Path | None, **options: Any) -> int:
    """Search a STUDY (default: the embedded one), prove the winner, write its mix file. The same command goes on."""
    options["splits"] = _splits(options["splits"])
    _check_together(options)
    for library in ("OMP", "OPENBLAS", "MKL"):  # before numpy and torch read it: every run, and the sampler, uses one thread
        os.environ[f"{library}_NUM_THREADS"] = "1"
    from curriculum.commands.search import search as command

    return command(study, **options)


def _splits(texts: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
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


def _check_together(options: dict[str, Any]) -> None:
    if options["address"] is not None and options["executor"] != "ray":
        raise click.UsageError("--address is that of a Ray cluster; add --executor ray, or leave it out")
    if options["splits"] and options["reuse"] is None:
        raise click.UsageError("--split says how streams of an older study were split; name that study's folder with --reuse")


def _looking(command: Any) -> Any:
    """Give a command the options that say which study is looked at."""
    options = (
        click.argument("study", type=_FILE, required=False),
        click.option("--runs", type=_FILE, default=Path("runs"), show_default=True, help="Where studies and runs are kept."),
        click.option("--storage", help="Database URL of the trials, if the search was given one."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@cli.command()
@_looking
@click.option("--sort", type=click.Choice(["number", "value"]), default="number", show_default=True, help="Value: best first.")
@click.option("--json", "as_json_document", is_flag=True, help="Print one JSON document.")
def trials(study: Path | None, **options: Any) -> int:
    """Show the trials of a STUDY (its folder, name or file; default: the embedded one), also while it is searched."""
    from curriculum.commands.trials import trials as command

    return command(study, **options)


@cli.command()
@_looking
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes any free one.")
def dashboard(study: Path | None, **options: Any) -> int:
    """Show a STUDY in a browser, with optuna-dashboard; it changes nothing, also while the study is searched."""
    from curriculum.commands.dashboard import dashboard as command

    return command(study, **options)


@cli.command()
@click.argument("path", metavar="MIX|STUDY", type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def check(path: Path, as_json: bool) -> int:
    """Validate a mix or study file; say what every stream will really give, phase by phase."""
    from curriculum.commands.check import check as command

    return command(path, as_json=as_json)


@cli.command()
@click.argument("mix", type=_FILE)
@click.option("--study", type=_FILE, help="Take proxy, probes and length from this study. Default: the embedded one.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the run.")
@click.option("--samples", type=click.IntRange(1), help="Length of the run. Default: the mix's, then the study's.")
@click.option("--runs", type=_FILE, default=Path("runs"), show_default=True, help="Where runs are kept.")
@click.option("--checkpoints", type=click.IntRange(1), default=1, show_default=True, help="How many to keep, evenly spaced.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; progress goes to standard error.")
def run(mix: Path, study: Path | None, **options: Any) -> int:
    """Train one proxy on MIX and show its trajectory."""
    from curriculum.commands.run import run as command

    return command(mix, study_path=study, **options)


def _asking(command: Any) -> Any:
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


def _asked(options: dict[str, Any]) -> dict[str, Any]:
    """Return the values of `_asking`'s options out of all, taking them away there."""
    names = ("suite", "study", "questions", "shots", "seeds", "samples", "tokens", "device", "folder", *_CHOICES)
    return {name: options.pop(name) for name in names}


@cli.command()
@_asking
@click.option("--hysteresis", default="0.15", show_default=True, help="A margin, or `auto`: from the readings' own noise.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; progress goes to standard error.")
def probe(hysteresis: str, as_json: bool, **options: Any) -> int:
    """Say which mode each MODEL is in: proxies, Hugging Face folders, GGUF files, python:FILE:FUNCTION.

    One folder with a run's checkpoints (runs/STUDY/RUN, or checkpoint-1000, checkpoint-2000, ...) gives a trajectory.
    Answers are kept as they come: the same command goes on where it was, and asks only what is new.
    """
    from curriculum.commands.asking import Asking
    from curriculum.commands.probe import probe as command

    return command(Asking(**_asked(options)), hysteresis=_threshold(hysteresis), as_json=as_json)


def _threshold(text: str) -> float | None:
    if text == "auto":
        return None
    try:
        value = float(text)
    except ValueError:
        raise click.BadParameter(f"wanted a margin between 0 and 1, or auto, got {text!r}", param_hint="--hysteresis") from None
    if not 0 < value < 1:
        raise click.BadParameter(f"wanted a margin between 0 and 1, or auto, got {text}", param_hint="--hysteresis")
    return value


@cli.command()
@_asking
@click.option("--loss", type=_FILE, help="Losses of the checkpoints: columns position, loss (.parquet, .csv, .jsonl).")
@click.option(
    "--weight", "weights", multiple=True, metavar="FAMILY=NUMBER", help="What a family counts. Default: all the same."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; progress goes to standard error.")
def select(loss: Path | None, weights: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Rank checkpoints by behaviour, beside what loss alone would have chosen. MODEL as for `probe`."""
    from curriculum.commands.asking import Asking
    from curriculum.commands.select import select as command

    return command(Asking(**_asked(options)), loss=loss, weights=weights, as_json=as_json)


@cli.command()
@_asking
@click.option("--probe", "probes", multiple=True, help="Only hops of this probe; may be given again. Default: of all.")
@click.option("--average", type=click.IntRange(2), default=5, show_default=True, help="Neighbouring checkpoints averaged.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; progress goes to standard error.")
def diagnose(probes: tuple[str, ...], average: int, as_json: bool, **options: Any) -> int:
    """Test every hop of a run's checkpoints against its controls: confirmed, unconfirmed or refuted, and why."""
    from curriculum.commands.asking import Asking
    from curriculum.commands.diagnose import diagnose as command

    return command(Asking(**_asked(options)), probes=probes, average=average, as_json=as_json)


@cli.command()
@click.argument("sources", nargs=-1, required=True)
@click.option("--out", type=_FILE, required=True, help="The stream's folder.")
@click.option("--name", help="Name of the stream. Default: the folder's.")
@click.option("--tokenizer", default="train", show_default=True, help="`train`, or a tokenizer.json.")
@click.option("--vocabulary", type=click.IntRange(257), default=1024, show_default=True, help="Of a trained tokenizer.")
@click.option("--sequence-length", type=click.IntRange(2), default=64, show_default=True, help="Tokens a sample.")
@click.option("--packing", type=click.Choice(["chunk", "best-fit"]), default="chunk", show_default=True)
@click.option("--end-of-text", type=click.Choice(["after", "none"]), default="after", show_default=True)
@click.option("--end-of-text-token", help="The token that ends a document, if it is no well-known one.")
@click.option("--heldout", type=float, default=0.02, show_default=True, help="Share of documents held out.")
@click.option("--documents", type=click.Choice(["file", "line", "blank-line"]), default="file", show_default=True)
@click.option("--text-column", default="text", show_default=True, help="Where JSONL, Parquet and datasets hold text.")
@click.option("--split", default="train", show_default=True, help="Split of a `datasets` dataset.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Decides which documents are held out.")
@click.option("--overwrite", is_flag=True, help="Replace another pack in the folder.")
@click.option("--json", "json_output", is_flag=True, help="Print one JSON document.")
def pack(sources: tuple[str, ...], **options: Any) -> int:
    """Pack text, JSONL, Parquet or a `datasets` name into a tokenised stream with a held-out split."""
    from curriculum.commands.pack import pack as command

    command(sources, **options)
    return 0


def main() -> None:
    """Run the command line and exit; the user's mistakes and the machine's refusals are said in words."""
    sys.exit(_guarded(lambda: cli(standalone_mode=False)))


def _guarded(command: Callable[[], Any]) -> int:
    try:
        return int(command() or 0)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except CurriculumError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; finished work is kept, the same command goes on", err=True)
        return _INTERRUPTED
    except OSError as error:
        return _refused(error)


def _refused(error: OSError) -> int:
    if isinstance(error, BrokenPipeError):  # the reader of a pipe went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    place = f" ({error.filename})" if error.filename else ""
    click.echo(f"error: the machine refused: {error.strerror or error}{place}; finished work is kept", err=True)
    return 1


if __name__ == "__main__":
    main()
