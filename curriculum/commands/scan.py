"""`curriculum scan`: how strongly streams and their windows pull towards the general mode, counted without training."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from rich.console import Console

from curriculum.errors import UserError

if TYPE_CHECKING:
    from curriculum.attribution.scan import ScanResult
    from curriculum.mix import Stream
    from curriculum.streaming.shards import Source

_STAGES = {"followers": "likely followers", "count": "counting"}


def scan(
    streams: Sequence[str],
    *,
    mix: Path | None = None,
    window: int | None = None,
    sequence_length: int | None = None,
    out: Path | None = None,
    picture: Path | None = None,
    as_json: bool = False,
) -> int:
    """Scan streams, print a table (or JSON), write what was asked for; returns the exit code.

    streams:          PLACE or NAME=PLACE; with `mix`, names of its streams (none: all of them)
    window:           samples; by default each stream's own in the mix, or the plan's default
    sequence_length:  tokens a sample of token files that no mix describes
    out, picture:     score file (Parquet), picture (.png, .svg, .pdf)

    Raises UserError, DataError, ResourceError.
    """
    from curriculum.attribution.scan import Kept
    from curriculum.attribution.scan import scan as scan_sources
    from curriculum.attribution.scan_scores import write_scores
    from curriculum.attribution.scan_streams import open_streams
    from curriculum.report.scan_chart import draw_scan, print_scan
    from curriculum.report.stage_progress import Stage, shown_stages

    _check_outputs(out, picture)
    named = _named_streams(streams, mix, sequence_length)
    sources = open_streams(named)
    began = monotonic()
    stages = {name: Stage(label=label, unit="tokens") for name, label in _STAGES.items()}
    with shown_stages(Console(stderr=True), stages) as progress:
        result = scan_sources(_windowed(named, sources, window), kept=Kept(folder=_kept_folder()), progress=progress)
    seconds = monotonic() - began
    if out is not None:
        write_scores(out, result)
    if picture is not None:
        draw_scan(result, picture)
    if as_json:
        print(json.dumps(_as_json(result, out=out, picture=picture, seconds=seconds), indent=1))
    else:
        print_scan(result, Console())
        _say_written(out, picture, mix)
    return 0


def _named_streams(given: Sequence[str], mix: Path | None, sequence_length: int | None) -> dict[str, Stream]:
    from curriculum.attribution.scan_streams import streams_at, streams_of_mix
    from curriculum.mix import Mix

    if mix is not None:
        if sequence_length is not None:
            raise UserError("--sequence-length is for token files on the command line; the mix states its streams' own")
        return streams_of_mix(Mix.load(mix), given)
    if not given:
        raise UserError("wanted streams to scan: PLACE ..., or --mix FILE for those of a mix")
    return streams_at(given, sequence_length)


def _windowed(streams: Mapping[str, Stream], sources: Sequence[Source], window: int | None) -> list[tuple[Source, int]]:
    """Return each source with its window: the one asked for, the stream's own in the mix, or the plan's default."""
    from curriculum.plan.windows import default_window

    found = []
    for source in sources:
        size = source.index.samples
        found.append((source, min(window or streams[source.name].order.window or default_window(size), size)))
    return found


def _kept_folder() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("curriculum") / "scan"


def _as_json(result: ScanResult, *, out: Path | None, picture: Path | None, seconds: float) -> dict[str, Any]:
    return {
        "streams": [asdict(pull) for pull in result.pulls],
        "scores": None if out is None else str(out),
        "picture": None if picture is None else str(picture),
        "tokens": sum(pull.tokens for pull in result.pulls),
        "seconds": round(seconds, 3),
    }


def _check_outputs(out: Path | None, picture: Path | None) -> None:
    """Raise UserError or ResourceError, before anything is counted, where what was asked for cannot be written."""
    from curriculum.report.outputs import check_file
    from curriculum.report.scan_chart import check_picture

    if out is not None:
        check_file(out, "--out")
    if picture is not None:
        check_picture(picture)
        check_file(picture, "--picture")


def _say_written(out: Path | None, picture: Path | None, mix: Path | None) -> None:
    if out is not None:
        print(f"scores: {out}; in {mix or 'a mix'}: order: {{scores: {_path_in(mix, out)}, direction: descending}}")
    if picture is not None:
        print(f"picture: {picture}")


def _path_in(mix: Path | None, file: Path) -> str:
    """Return the path that a mix names a file by: relative to the mix file, absolute where none is known."""
    place = file.absolute()
    return str(place) if mix is None else os.path.relpath(place, mix.absolute().parent)
