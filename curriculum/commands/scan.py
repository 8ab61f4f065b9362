"""`curriculum scan`: how strongly streams and their windows pull towards the general mode, counted without training."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from rich.console import Console

from curriculum.errors import UserError
from curriculum.units import format_count, format_seconds

if TYPE_CHECKING:
    from curriculum.attribution.scan import Progress, ScanResult
    from curriculum.mix import Stream
    from curriculum.streaming.shards import Source

_PLAIN_SECONDS = 15.0  # without a terminal, one line in this time
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
    from curriculum.report.scan_chart import check_picture, draw_scan, print_scan

    if picture is not None:
        check_picture(picture)
    named = _named_streams(streams, mix, sequence_length)
    sources = open_streams(named)
    began = monotonic()
    with _shown_progress() as progress:
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
        _say_written(out, picture)
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


def _say_written(out: Path | None, picture: Path | None) -> None:
    if out is not None:
        print(f"scores: {out}; in a mix: order: {{scores: {out}, direction: descending}}")
    if picture is not None:
        print(f"picture: {picture}")


@contextmanager
def _shown_progress() -> Iterator[Progress]:
    """Show stage, tokens and time left on standard error: a bar in a terminal, a line now and then elsewhere."""
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    lines = _Lines(console)
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(_STAGES[stage], total=total)
            bar.update(tasks[stage], completed=done)
            if not console.is_terminal:
                lines.show(stage, done, total)

        yield show


class _Lines:
    """Progress in plain lines: not before some seconds have gone, and not often."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed = monotonic()
        self._stage, self._began, self._first = "", 0.0, 0

    def show(self, stage: str, done: int, total: int) -> None:
        now = monotonic()
        if stage != self._stage:
            self._stage, self._began, self._first = stage, now, done
        if now - self._printed < _PLAIN_SECONDS or done <= self._first:
            return
        self._printed = now
        left = (total - done) * (now - self._began) / (done - self._first)
        self._console.print(
            f"{_STAGES[stage]}: {format_count(done)} of {format_count(total)} tokens, {format_seconds(left)} left",
            highlight=False,
            markup=False,
        )
