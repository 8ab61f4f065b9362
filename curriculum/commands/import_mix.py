"""`curriculum import`: another trainer's static mix as a mix file to start from.

Idea: the result is an ordinary mix file, written as a person would, with a note where it came from; what the other file
leaves open is asked for by name, and what a mix cannot say is told. Whether the data is there is `curriculum check`'s
business, so that a mix can be imported on a laptop and checked on the cluster.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from curriculum.errors import UserError
from curriculum.export.reading import Given, Imported, read_mix_of
from curriculum.mix import Mix


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Where the mix file goes, and what the other file leaves open; `paths` are texts NAME=PLACE."""

    out: Path
    samples: int | None = None
    sequence_length: int | None = None
    paths: tuple[str, ...] = ()
    overwrite: bool = False


def import_mix(path: Path, source: str, settings: Settings, *, as_json: bool = False) -> int:
    """Write the mix file; return the exit code. Raises UserError (FileError with file and line), ResourceError."""
    _check_out(settings.out)
    places = dict(_place(text) for text in settings.paths)
    given = Given(samples=settings.samples, sequence_length=settings.sequence_length, places=places)
    imported = read_mix_of(source, path, given)
    mix = imported.mix
    _check_names(places, mix)
    content = mix.dumps(settings.out)
    if settings.out.exists() and not settings.overwrite and settings.out.read_bytes() != content.encode():
        raise UserError(f"{settings.out} exists and holds something else; give another --out, or add --overwrite")
    mix.dump(settings.out)
    if as_json:
        print(json.dumps(_document(settings.out, source, imported)))
    else:
        _print(settings.out, source, imported)
    return 0


def _check_out(out: Path) -> None:
    if str(out) == "-" or out.is_dir():
        reason = (
            "a mix names its streams from the folder it lies in, so it is not printed"
            if str(out) == "-"
            else "this is a folder"
        )
        raise UserError(f"--out {out}: wanted the mix file to write, and {reason}; try --out mixes/imported.yaml")


def _document(out: Path, source: str, imported: Imported) -> dict[str, Any]:
    mix = imported.mix
    return {
        "kind": "import",
        "mix": str(out),
        "from": source,
        "streams": list(mix.streams),
        "samples": mix.samples,
        "notes": list(imported.notes),
    }


def _place(text: str) -> tuple[str, str]:
    name, _, place = text.partition("=")
    if not name or not place:
        raise UserError(f"--path {text!r}: wanted NAME=PLACE, or '*=/data/{{stream}}' for all streams")
    return name, place


def _check_names(places: dict[str, str], mix: Mix) -> None:
    for name in places:
        if name != "*" and name not in mix.streams:
            raise UserError(f"--path {name}=...: the file has no stream {name!r}; streams: {', '.join(mix.streams)}")


def _print(out: Path, source: str, imported: Imported) -> None:
    console, mix = Console(highlight=False), imported.mix
    phases = "one phase" if len(mix.phases) == 1 else f"{len(mix.phases)} phases"
    text = f"wrote {out}: {len(mix.streams)} streams, {phases}, {mix.samples:,} samples, from {source}"
    console.print(text, markup=False, soft_wrap=True)
    for note in imported.notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    console.print(f"next: curriculum check {out}", markup=False, soft_wrap=True)
