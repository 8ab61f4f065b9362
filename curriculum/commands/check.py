"""`curriculum check`: is the file valid, and what will each stream really give, phase by phase?

Idea: the mix is compiled by the same plan that training plays, and the plan is asked; nothing is estimated. Sizes come
from what lies on disk (index.json), never from a download: a stream that is only remote has an unknown size, is counted
without epochs, and its order is not checked. The price is that its cap is checked only by the loader.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from curriculum.commands.known_streams import KnownStream, find_streams
from curriculum.errors import FileError, UserError
from curriculum.mix import Document, Mix, Order, Stream
from curriculum.mix.reading import read_mix

if TYPE_CHECKING:
    from curriculum.plan import Plan
    from curriculum.report.exposure import Exposure

_ENDLESS = 2**40  # stands for an unknown size: counts do not depend on sizes, only epochs and caps do
_STUDY_KEYS = ("space", "objective", "search", "probes")


def check(path: Path, *, as_json: bool = False, sizes: Mapping[str, int] | None = None) -> int:
    """Check a mix or study file and print what it will do; return the exit code.

    sizes: samples by stream name, instead of what lies on disk. Raises UserError (FileError with file and line).
    """
    document = Document.load(path)
    if document.root.is_mapping and any(key in document.root.items() for key in _STUDY_KEYS):
        from curriculum.commands.check_study import check_study

        return check_study(document, as_json=as_json, sizes=sizes or {})
    mix = read_mix(document)
    found = find_streams(mix.streams, document, sizes or {})
    exposure, plan = _measure(mix, found, document)
    if as_json:
        print(json.dumps(_as_json(path, exposure, found)))
    else:
        _print(Console(highlight=False), path, exposure, found, plan)
    return 0


def _measure(mix: Mix, found: Mapping[str, KnownStream], document: Document) -> tuple[Exposure, Plan]:
    from curriculum.report.exposure import measure_exposure

    streams = {name: _countable(stream, found[name]) for name, stream in mix.streams.items()}
    sizes = {name: entry.size for name, entry in found.items()}
    tokens = {name: entry.tokens_per_sample for name, entry in found.items()}
    if mix.unit == "tokens":
        _check_tokens(tokens, document)
    try:
        plan = replace(mix, streams=streams).plan({name: size or _ENDLESS for name, size in sizes.items()})
    except FileError:
        raise
    except UserError as error:
        line = _line_of(str(error), mix, document)
        raise FileError(str(error), path=document.path, line=line) from error
    return measure_exposure(mix, plan, sizes=sizes, tokens_per_sample=tokens), plan


def _check_tokens(tokens: Mapping[str, int | None], document: Document) -> None:
    for name, count in tokens.items():
        if count is None:
            raise document.root.find(("streams", name)).fail(
                "unit: tokens needs tokens_per_sample here, since the stream has no manifest.json that says it; "
                "add `tokens_per_sample: N`, or pack the stream with `curriculum pack`"
            )


def _countable(stream: Stream, found: KnownStream) -> Stream:
    """Return the stream as the plan can compile it: tokens filled in; order and cap only where an epoch's size is known."""
    stream = replace(stream, tokens_per_sample=found.tokens_per_sample)
    known = found.size is not None or stream.subset is not None
    return stream if known else replace(stream, order=Order(), max_epochs=None)


def _line_of(message: str, mix: Mix, document: Document) -> int:
    """Return the line of the stream that the plan's message names, or of the mix's beginning."""
    for name in mix.streams:
        if f"stream {name!r}" in message:
            field = ("subset",) if "subset asks for" in message else ()
            return document.root.find(("streams", name, *field)).line
    key = next((key for key in ("lanes", "samples") if f"{key}:" in message), "name")
    return document.root.find((key,)).line


def _as_json(path: Path, exposure: Exposure, found: Mapping[str, KnownStream]) -> dict[str, Any]:
    mix = exposure.mix
    return {
        "kind": "mix",
        "path": str(path),
        "valid": True,
        "name": mix.name,
        "fingerprint": mix.fingerprint(),
        "unit": mix.unit,
        "seed": mix.seed,
        "lanes": mix.lanes,
        "samples": exposure.total.stop,
        "streams": {name: asdict(entry) | _subset(mix.streams[name]) for name, entry in found.items()},
        **exposure.as_document(),
        "warnings": exposure.warnings(),
    }


def _subset(stream: Stream) -> dict[str, int]:
    return {} if stream.subset is None else {"subset": stream.subset.samples}


def _print(console: Console, path: Path, exposure: Exposure, found: Mapping[str, KnownStream], plan: Plan) -> None:
    from curriculum.report.exposure import exposure_tables, run_shares
    from curriculum.report.schedule_chart import chart_columns, schedule_chart

    mix = exposure.mix
    console.print(f"{path}: valid mix {mix.name!r}", style="bold", markup=False, soft_wrap=True)
    console.print(
        f"{exposure.total.stop:,} samples, weights count {mix.unit}, seed {mix.seed}; epochs count from the run's beginning\n",
        markup=False,
    )
    for table in exposure_tables(exposure, console.width):
        console.print(table)
    for name, entry in found.items():
        if entry.size is None:
            console.print(f"{name}: size {entry.source}; no epochs are shown", markup=False, soft_wrap=True)
    columns = min(chart_columns(console.width), exposure.total.stop)
    ends = [part.stop / exposure.total.stop for part in exposure.phases]
    utf = console.encoding.startswith("utf")
    coloured = console.color_system is not None and not console.no_color
    shares = run_shares(plan, columns)
    console.print("\nshares of samples over the run", style="bold")
    console.print(schedule_chart(list(mix.streams), shares, ends, colour=coloured and utf, ascii_only=not utf))
    for warning in exposure.warnings():
        console.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)
