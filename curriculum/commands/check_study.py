"""`curriculum check STUDY`: what a search will play, before anything is trained.

Idea: the same words as for a mix - streams, sizes, exposure, epochs - since a study's trials differ in order (or
ratios) alone. With a target, epochs stand beside those of the full run, so that one sees whether they agree. What a
search will cost is asked of `curriculum search --dry-run`, which measures it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from curriculum.commands.known_streams import KnownStream, find_streams
from curriculum.errors import DataError, FileError
from curriculum.mix import Document

if TYPE_CHECKING:
    from curriculum.search.study import Study


def check_study(document: Document, *, as_json: bool, sizes: Mapping[str, int]) -> int:
    """Check a study file and print what it will search; return the exit code. Raises FileError with file and line."""
    from curriculum.search.study_file import load_study
    from curriculum.search.target import target_samples

    study = load_study(document.path)
    found = _find(study, document, sizes)
    summary = {
        "kind": "study",
        "path": str(document.path),
        "valid": True,
        "name": study.name,
        "exposure": study.exposure,
        "knots": study.space.rows,
        "space": _space(study, found),
        "samples": study.samples,
        "target_samples": target_samples(study, _shared_tokens(found)),
        "streams": _streams(study, found),
        "probes": [probe.name for probe in study.probes],
        "metric": study.objective.metric,
    }
    _check_controls(study, found)
    _check_probes(study, found)  # last: what is wrong in the file has a line, and is found without drawing anything
    if as_json:
        print(json.dumps(summary))
    else:
        _print(Console(highlight=False), summary)
    return 0


def _find(study: Study, document: Document, sizes: Mapping[str, int]) -> dict[str, KnownStream]:
    """Return what is known of the study's streams. Raises FileError, which says what makes data that is not there."""
    try:
        return find_streams(study.streams, document, sizes)
    except FileError as error:
        if not isinstance(error.__cause__, DataError):
            raise
        raise FileError(str(study.way_out(error.__cause__)), path=error.path, line=error.line) from error


def _check_controls(study: Study, found: Mapping[str, KnownStream]) -> None:
    """Make sure that what a search begins with can be played, caps included. Raises UserError, DataError."""
    from curriculum.search.controls import check_playable
    from curriculum.search.target import with_target

    sizes = {name: entry.size for name, entry in found.items() if entry.size is not None}
    if len(sizes) == len(found):
        check_playable(with_target(study, sizes, _shared_tokens(found)), study.shares(sizes), sizes)


def _check_probes(study: Study, found: Mapping[str, KnownStream]) -> None:
    """Draw every probe's items as a run will, so that what it would refuse is said now. Raises UserError, FileError.

    Without all streams at hand there is perhaps no tokenizer to read items with; a trainer of one's own reads its own.
    """
    from curriculum.probe.specification import SEARCH_DRAW
    from curriculum.proxy.encoding import check_vocabulary, encoder_for
    from curriculum.search.controls import static

    if study.command is not None or any(entry.size is None for entry in found.values()):
        return
    mix = study.mix("static", static(dict.fromkeys(study.streams, Fraction(1, len(study.streams)))))
    check_vocabulary(study.probes, mix)
    encode = encoder_for(mix) if any(probe.file is not None for probe in study.probes) else None
    for probe in study.probes:
        probe.draw(SEARCH_DRAW, seed=study.seed, encode=encode)


def _streams(study: Study, found: Mapping[str, KnownStream]) -> dict[str, dict[str, Any]]:
    """Return what is known of each stream, and its epochs in a proxy run and in the full run at the study's exposure.

    Under free exposure that is the natural mix, which trials depart from.
    """
    from curriculum.search.target import subset_sizes, target_samples

    known = {name: entry.size for name, entry in found.items() if entry.size is not None}
    shares = study.shares(known) if study.exposure_shares is not None or len(known) == len(found) else {}
    tokens = _shared_tokens(found)
    played, full_run = subset_sizes(study, known, tokens), target_samples(study, tokens)
    return {
        name: {
            **asdict(entry),
            "share": float(shares[name]) if study.exposure == "fixed" and name in shares else None,
            "played": played.get(name),
            "epochs": _epochs(shares.get(name), study.samples, played.get(name)),
            "target_epochs": _epochs(shares.get(name), full_run, entry.size),
        }
        for name, entry in found.items()
    }


def _space(study: Study, found: Mapping[str, KnownStream]) -> dict[str, Any]:
    """Return the form of the space, and how many parameters it has. Raises DataError if epoch caps leave a run short."""
    from curriculum.search.space import SearchSpace
    from curriculum.search.target import subset_sizes

    known = {name: entry.size for name, entry in found.items() if entry.size is not None}
    facts: dict[str, Any] = {"shape": study.space.shape, "rank": study.space.rank, "parameters": None}
    facts["groups"] = {name: list(levels) for name, levels in (study.space.groups or {}).items()}
    if len(known) == len(found):
        sizes = subset_sizes(study, known, _shared_tokens(found))
        facts["parameters"] = SearchSpace(study, study.shares(known), sizes).count_parameters()
    return facts


def _space_in_words(space: Mapping[str, Any], knots: int) -> str:
    rows = "two phases and their switch" if space["shape"] == "two-phase" else f"{knots} knots ({space['shape']})"
    groups = "".join(f", {len(levels)} levels of {name}" for name, levels in space["groups"].items())
    rank = "all entries free" if space["rank"] is None else f"rank {space['rank']}"
    count = "" if space["parameters"] is None else f", {space['parameters']} parameters"
    return f"{rows}, {rank}{groups}{count}"


def _epochs(share: Fraction | None, samples: int | None, size: int | None) -> float | None:
    return float(share * samples / size) if share is not None and samples is not None and size else None


def _shared_tokens(found: Mapping[str, KnownStream]) -> int | None:
    """Return the tokens of a sample where all streams agree."""
    tokens = {entry.tokens_per_sample for entry in found.values()}
    return tokens.pop() if len(tokens) == 1 else None


def _aim(summary: Mapping[str, Any]) -> str:
    """Return what is searched for, and over what it is taken: probes, or where less is better what the study measures it on."""
    from curriculum.search.study import LESS_IS_BETTER

    over = {"loss": "streams with held-out data", "bits_per_byte": "suites"}.get(
        summary["metric"], ", ".join(summary["probes"])
    )
    aim = "minimises" if summary["metric"] in LESS_IS_BETTER else "maximises"
    return f"{aim} {summary['metric']} over {over}"


def _print(console: Console, summary: Mapping[str, Any]) -> None:
    full_run = summary["target_samples"]
    console.print(f"{summary['path']}: valid study {summary['name']!r}", style="bold", markup=False, soft_wrap=True)
    console.print(
        f"{summary['samples']:,} samples a run, {_space_in_words(summary['space'], summary['knots'])}, "
        f"exposure {summary['exposure']}, {_aim(summary)}\n",
        markup=False,
    )
    if full_run is not None:
        console.print(
            f"target: a full run of {full_run:,} samples; runs play a subset of each stream, repeated as often as there\n",
            markup=False,
        )
    if summary["exposure"] == "free":
        console.print("epochs are those of the natural mix, which trials depart from\n", markup=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    columns = ("stream", "exposure", "samples a run", "epochs", *(() if full_run is None else ("target epochs",)), "size")
    for column in columns:
        table.add_column(column, justify="left" if column == "stream" else "right")
    for name, stream in summary["streams"].items():
        row = _row(stream, summary["samples"])
        table.add_row(name, *row[:3], *(() if full_run is None else (_number(stream["target_epochs"]),)), row[3])
    console.print(table)


def _row(stream: Mapping[str, Any], samples: int) -> tuple[str, str, str, str]:
    """Return exposure, samples a run, epochs and size in words."""
    share, size, played = stream["share"], stream["size"], stream["played"]
    full = "unknown" if size is None else f"{size:,}"
    return (
        "searched" if share is None else f"{share:.2%}",
        "-" if share is None else f"{share * samples:,.0f}",
        _number(stream["epochs"]),
        full if played in (None, size) else f"{played:,} of {full}",
    )


def _number(epochs: float | None) -> str:
    return "-" if epochs is None else f"{epochs:.2f}"
