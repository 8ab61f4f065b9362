"""`curriculum check STUDY`: what a search will play, before anything is trained.

Idea: the same words as for a mix - streams, sizes, exposure, epochs - since a study's trials differ in order (or
ratios) alone. What a search will cost is asked of `curriculum search --dry-run`, which measures it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from curriculum.commands.known_streams import find_streams
from curriculum.mix import Document


def check_study(document: Document, *, as_json: bool, sizes: Mapping[str, int]) -> int:
    """Check a study file and print what it will search; return the exit code. Raises FileError with file and line."""
    from curriculum.search.study_file import load_study

    study = load_study(document.path)
    found = find_streams(study.streams, document, sizes)
    known = {name: entry.size for name, entry in found.items() if entry.size is not None}
    shares = study.shares(known) if study.exposure_shares is not None or len(known) == len(found) else {}
    streams: dict[str, dict[str, Any]] = {}
    for name, entry in found.items():
        share = float(shares[name]) if study.exposure == "fixed" and name in shares else None
        epochs = None if share is None or entry.size is None else share * study.samples / entry.size
        streams[name] = {**asdict(entry), "share": share, "epochs": epochs}
    summary = {
        "kind": "study",
        "path": str(document.path),
        "valid": True,
        "name": study.name,
        "exposure": study.exposure,
        "knots": study.space.knots,
        "samples": study.samples,
        "streams": streams,
        "probes": [probe.name for probe in study.probes],
        "metric": study.objective.metric,
    }
    if as_json:
        print(json.dumps(summary))
    else:
        _print(Console(highlight=False), summary)
    return 0


def _print(console: Console, summary: Mapping[str, Any]) -> None:
    console.print(f"{summary['path']}: valid study {summary['name']!r}", style="bold", markup=False, soft_wrap=True)
    console.print(
        f"{summary['samples']:,} samples a run, {summary['knots']} knots, exposure {summary['exposure']}, "
        f"maximises {summary['metric']} over {', '.join(summary['probes'])}\n",
        markup=False,
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("stream", "exposure", "samples a run", "epochs", "size"):
        table.add_column(column, justify="left" if column == "stream" else "right")
    for name, stream in summary["streams"].items():
        share, epochs, size = stream["share"], stream["epochs"], stream["size"]
        table.add_row(
            name,
            "searched" if share is None else f"{share:.2%}",
            "-" if share is None else f"{share * summary['samples']:,.0f}",
            "-" if epochs is None else f"{epochs:.2f}",
            "unknown" if size is None else f"{size:,}",
        )
    console.print(table)
