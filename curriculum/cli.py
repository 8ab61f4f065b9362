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
from curriculum.cli_options import asked, asking, check_together, formats, looking, splits, targets, threshold
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
@click.option("--scan", type=_FILE, metavar="SCORES", help="Score file of `scan`: curricula after it are tried first.")
@click.option("--split", "splits", multiple=True, metavar="OLD=NEW,NEW", help="OLD study's stream is now these; repeatable.")
@click.option("--tensorboard", type=_FILE, metavar="DIR", help="Write curves of trials and runs there as they end.")
@click.option("--dry-run", is_flag=True, help="Say runs, tokens and time; search nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; progress goes to standard error.")
def search(study: Path | None, **options: Any) -> int:
    """Search a STUDY (default: the embedded one), prove the winner, write its mix file. The same command goes on."""
    options["splits"] = splits(options["splits"])
    check_together(options)
    for library in ("OMP", "OPENBLAS", "MKL"):  # before numpy and torch read it: every run, and the sampler, uses one thread
        os.environ[f"{library}_NUM_THREADS"] = "1"
    from curriculum.commands.search import search as command

    return command(study, **options)


@cli.command()
@click.argument("study", type=_FILE, required=False)
@click.option("--sizes", required=True, metavar="0.1M,1M,10M", help="Parameters without embeddings; `study`: its own recipe.")
@click.option("--curricula", type=click.IntRange(0), default=12, show_default=True, help="Drawn at random, besides controls.")
@click.option("--seeds", default="2", show_default=True, metavar="N[,N...]", help="Runs a curriculum; or one number a size.")
@click.option("--trials", type=click.IntRange(0), default=0, show_default=True, help="Best trials of the study's search, too.")
@click.option("--mix", "mixes", type=_FILE, multiple=True, help="A mix file of the study's streams, too, such as its winner's.")
@click.option("--starts", metavar="PATTERN", help="Checkpoints that runs begin from, with {size}: 'starts/{size}'.")
@click.option("--tail", type=float, metavar="SHARE", help="End all runs alike, by this share: what is left of order then?")
@click.option("--runs", type=_FILE, default=Path("runs"), show_default=True, help="Where studies and runs are kept.")
@click.option("--out", type=_FILE, help="Where tables and picture are written. Default: with the runs, in STUDY-ladder.")
@click.option("--workers", type=click.IntRange(1), help="Processes that train. Default: one a core.")
@click.option("--dry-run", is_flag=True, help="Say parameters, tokens, FLOPs, device hours and money; train nothing.")
@click.option("--price", type=click.FloatRange(0), help="US dollars an hour of the device, for --dry-run.")
@click.option("--device", help="For --dry-run: cpu (this machine, timed), A100, H100, ..., or NAME=FLOPS a second.")
@click.option("--utilisation", type=float, help="Share of the device's FLOPs that a run gets. Default: 0.3.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; progress goes to standard error.")
def ladder(study: Path | None, as_json: bool, **options: Any) -> int:
    """Play the same curricula at several sizes of a STUDY's proxy: which conclusions survive? The same command goes on."""
    for library in ("OMP", "OPENBLAS", "MKL"):  # as for `search`
        os.environ[f"{library}_NUM_THREADS"] = "1"
    from curriculum.commands.ladder import Settings
    from curriculum.commands.ladder import ladder as command

    return command(study, Settings(**options), as_json=as_json)


@cli.command()
@looking
@click.option("--sort", type=click.Choice(["number", "value"]), default="number", show_default=True, help="Value: best first.")
@click.option("--json", "as_json_document", is_flag=True, help="Print one JSON document.")
def trials(study: Path | None, **options: Any) -> int:
    """Show the trials of a STUDY (its folder, name or file; default: the embedded one), also while it is searched."""
    from curriculum.commands.trials import trials as command

    return command(study, **options)


@cli.command()
@looking
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes any free one.")
def dashboard(study: Path | None, **options: Any) -> int:
    """Show a STUDY in a browser, with optuna-dashboard; it changes nothing, also while the study is searched."""
    from curriculum.commands.dashboard import dashboard as command

    return command(study, **options)


@cli.command()
@looking
@click.option("--out", type=_FILE, help="The page. Default: report.html in the study's folder.")
@click.option("--figures", type=_FILE, metavar="DIR", help="Write the pictures there too, as SVG and PNG.")
@click.option("--tensorboard", type=_FILE, metavar="DIR", help="Write every run's curves there, for TensorBoard.")
def report(study: Path | None, **options: Any) -> int:
    """Write a STUDY, finished or not, as one HTML page that opens without a network: the verdict and what it rests on."""
    from curriculum.commands.report import report as command

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
@click.option("--tensorboard", type=_FILE, metavar="DIR", help="Write the run's curves there while it trains.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; progress goes to standard error.")
def run(mix: Path, study: Path | None, **options: Any) -> int:
    """Train one proxy on MIX and show its trajectory."""
    from curriculum.commands.run import run as command

    return command(mix, study_path=study, **options)


@cli.command()
@asking
@click.option("--hysteresis", default="0.15", show_default=True, help="A margin, or `auto`: from the readings' own noise.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; progress goes to standard error.")
def probe(hysteresis: str, as_json: bool, **options: Any) -> int:
    """Say which mode each MODEL is in: proxies, Hugging Face folders, GGUF files, python:FILE:FUNCTION.

    One folder with a run's checkpoints (runs/STUDY/RUN, or checkpoint-1000, checkpoint-2000, ...) gives a trajectory.
    Answers are kept as they come: the same command goes on where it was, and asks only what is new.
    """
    from curriculum.commands.asking import Asking
    from curriculum.commands.probe import probe as command

    return command(Asking(**asked(options)), hysteresis=threshold(hysteresis), as_json=as_json)


@cli.command()
@asking
@click.option("--loss", type=_FILE, help="Losses of the checkpoints: columns position, loss (.parquet, .csv, .jsonl).")
@click.option(
    "--weight", "weights", multiple=True, metavar="FAMILY=NUMBER", help="What a family counts. Default: all the same."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; progress goes to standard error.")
def select(loss: Path | None, weights: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Rank checkpoints by behaviour, beside what loss alone would have chosen. MODEL as for `probe`."""
    from curriculum.commands.asking import Asking
    from curriculum.commands.select import select as command

    return command(Asking(**asked(options)), loss=loss, weights=weights, as_json=as_json)


@cli.command()
@asking
@click.option("--probe", "probes", multiple=True, help="Only hops of this probe; may be given again. Default: of all.")
@click.option("--average", type=click.IntRange(2), default=5, show_default=True, help="Neighbouring checkpoints averaged.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; progress goes to standard error.")
def diagnose(probes: tuple[str, ...], average: int, as_json: bool, **options: Any) -> int:
    """Test every hop of a run's checkpoints against its controls: confirmed, unconfirmed or refuted, and why."""
    from curriculum.commands.asking import Asking
    from curriculum.commands.diagnose import diagnose as command

    return command(Asking(**asked(options)), probes=probes, average=average, as_json=as_json)


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


class _ExportCommand(click.Command):
    """Ends its help with the table of targets, read only when help is asked for."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from curriculum.export.capabilities import help_lines

        with formatter.section("Targets (what an export says at best, and of what)"):
            formatter.write("".join(f"  {line}\n" for line in help_lines()))


@cli.command(cls=_ExportCommand)
@click.argument("mix", type=_FILE)
@click.option(
    "--to",
    "target",
    required=True,
    metavar="TARGET",
    shell_complete=targets,
    help="One of the targets below, or of an installed package.",
)
@click.option("--out", type=_FILE, help="File or folder to write. Default: named after mix and target, here.")
@click.option("--batch-size", type=click.IntRange(1), help="Samples of one training step, over all ranks.")
@click.option("--sequence-length", type=click.IntRange(1), help="Tokens of a sample. Default: what the streams say.")
@click.option("--block-size", type=click.IntRange(1), help="Levanter's mixture_block_size. Default: 2048.")
@click.option("--ramp-steps", type=click.IntRange(1), help="Stages that a ramp becomes. Default: 16.")
@click.option(
    "--path", "paths", multiple=True, metavar="NAME=PLACE", help="Where the target finds a stream; '*=/data/{stream}' for all."
)
@click.option("--samples", type=click.IntRange(1), help="Length of the run. Default: the mix's.")
@click.option("--nearest", is_flag=True, help="Write what comes nearest to a mix that the target cannot express.")
@click.option("--overwrite", is_flag=True, help="Replace what lies at --out.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; progress goes to standard error.")
def export(mix: Path, target: str, as_json: bool, **options: Any) -> int:
    """Write MIX for another trainer, and say what is lost: lossless, approximated (by how much), or impossible (why)."""
    from curriculum.commands.export import Settings
    from curriculum.commands.export import export as command

    return command(mix, target, Settings(**options), as_json=as_json)


@cli.command(name="import")
@click.argument("file", type=_FILE)
@click.option(
    "--from",
    "source",
    required=True,
    metavar="FORMAT",
    shell_complete=formats,
    help="llm-foundry, olmo-core, megatron or regmix.",
)
@click.option("--out", type=_FILE, required=True, help="The mix file to write.")
@click.option("--samples", type=click.IntRange(1), help="Length of the run. Default: what FILE says.")
@click.option("--sequence-length", type=click.IntRange(1), help="Tokens of a sample. Default: what FILE says.")
@click.option("--path", "paths", multiple=True, metavar="NAME=PLACE", help="Where a stream lies; '*=/data/{stream}' for all.")
@click.option("--overwrite", is_flag=True, help="Replace the file at --out.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def import_(file: Path, source: str, as_json: bool, **options: Any) -> int:
    """Read another trainer's static mix from FILE as a mix to start from."""
    from curriculum.commands.import_mix import Settings
    from curriculum.commands.import_mix import import_mix as command

    return command(file, source, Settings(**options), as_json=as_json)


@cli.command()
@click.argument("streams", nargs=-1, metavar="STREAM...")
@click.option("--mix", type=_FILE, help="Scan this mix's streams, or those named of them.")
@click.option("--window", type=click.IntRange(1), help="Samples a window. Default: the mix's, then the plan's own.")
@click.option("--sequence-length", type=click.IntRange(2), help="Tokens a sample of token files that no mix describes.")
@click.option("--out", type=_FILE, help="Score file to write (Parquet), for `order: {scores: FILE}` and `search --scan`.")
@click.option("--picture", type=_FILE, help="Picture to draw: .png, .svg or .pdf.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; progress goes to standard error.")
def scan(streams: tuple[str, ...], **options: Any) -> int:
    """Count, without training, how strongly each STREAM and window pulls towards the general mode.

    STREAM is a place (a folder with index.json, the prefix of Megatron files, arrays of tokens, testbed:NAME), NAME=PLACE,
    or with --mix the name of a stream. A scan that was stopped goes on where it was.
    """
    from curriculum.commands.scan import scan as command

    return command(streams, **options)


@cli.command()
@click.argument("runs", nargs=-1, required=True, type=_FILE, metavar="RUN...")
@click.option("--probe", "probes", multiple=True, help="Only margins of this probe; may be given again. Default: all.")
@click.option(
    "--features", multiple=True, default=("content",), metavar="KIND", help="content (default), none, or a Parquet of windows."
)
@click.option("--hold-out", type=click.FloatRange(0, 0.9), default=0.0, help="Share of windows that must not inform effects.")
@click.option("--out", type=_FILE, default=Path("attribution"), show_default=True, help="Where effects and scores are written.")
@click.option("--picture", type=_FILE, help="Draw effects: .png, .svg or .pdf.")
@click.option("--select", type=_FILE, metavar="DIR", help="Write general-only, shallow-only and random lists and mixes there.")
@click.option("--share", type=click.FloatRange(0.001, 0.5), default=0.25, show_default=True, help="Of windows, a list.")
@click.option(
    "--from",
    "pool",
    type=click.Choice(["all", "consumed", "unseen", "held-out"]),
    default="all",
    show_default=True,
    help="Windows that are selected from, and branched on.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of held-out windows and of lists' order.")
@click.option("--branches", type=click.IntRange(0), default=0, help="Causal check: seeds a group of windows is trained with.")
@click.option("--groups", type=click.IntRange(2), default=2, show_default=True, help="Groups of windows, by effect.")
@click.option("--checkpoint", type=click.IntRange(0), help="Position to branch from. Default: the middle one kept.")
@click.option("--length", type=click.IntRange(1), help="Samples of a branch (default: a quarter run), and of the mixes.")
@click.option("--workers", type=click.IntRange(1), help="Processes that train branches. Default: one a core.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; progress goes to standard error.")
def attribute(runs: tuple[Path, ...], as_json: bool, **options: Any) -> int:
    """Say which windows of data pushed the margins of RUNs which way; RUN is a run's folder, or a study's: all its runs."""
    from curriculum.commands.attribute import Settings
    from curriculum.commands.attribute import attribute as command

    return command(runs, Settings(**options), as_json=as_json)


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
