"""`curriculum export`: a mix in another trainer's own words, and what was lost on the way.

Idea: the mix is compiled as for training, the target is asked to write itself, and what it says is shown in the same
table whoever the target is. What cannot be said is not written, unless the user asks for the nearest thing.
"""

from __future__ import annotations

import json
import keyword
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

from rich.console import Console

from curriculum.commands.known_streams import KnownStream, find_streams
from curriculum.errors import FileError, UserError
from curriculum.export.finding import find_target
from curriculum.export.lengths import uneven_lengths
from curriculum.export.output import Output
from curriculum.export.places import read_places
from curriculum.export.target import Capability, Outcome, Progress, Request, as_document
from curriculum.mix import Document, Mix, Order, Stream
from curriculum.mix.reading import read_mix
from curriculum.units import format_seconds

_ENDLESS = 2**40  # stands for an unknown size: the order between streams does not depend on sizes
_IMPOSSIBLE = 2
_PLAIN_SECONDS = 15.0
_NAMED = 4  # files in a note


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a user may say about an export; None: not said. `paths` are texts NAME=PLACE."""

    out: Path | None = None
    batch_size: int | None = None
    sequence_length: int | None = None
    block_size: int | None = None
    ramp_steps: int | None = None
    paths: tuple[str, ...] = ()
    samples: int | None = None
    nearest: bool = False
    overwrite: bool = False


def export(path: Path, target_name: str, settings: Settings, *, as_json: bool = False) -> int:
    """Export the mix at `path`; return the exit code (2 if it cannot be expressed and nothing was written).

    Raises UserError (FileError with file and line), DataError, ResourceError.
    """
    target = find_target(target_name)
    document = Document.load(path)
    mix = read_mix(document)
    found = find_streams(mix.streams, document, {})
    with progress_bar() as progress:
        request = _request(mix, found, settings, path, target.capability, progress)
        refused = uneven_lengths(request.sequence_length, _lengths(mix, found)) if target.capability.cuts_alike else None
        outcome = refused or _with_removed(_with_lost_caps(target.export(request), request), request.output.clear())
    if as_json:
        print(json.dumps(_document(path, request, target.capability, outcome)))
    else:
        from curriculum.export.telling import print_outcome

        print_outcome(Console(highlight=False), path, target.capability, outcome)
    return _IMPOSSIBLE if outcome.verdict == "impossible" and not outcome.files else 0


def _request(
    mix: Mix, found: Mapping[str, KnownStream], settings: Settings, path: Path, capability: Capability, progress: Progress
) -> Request:
    sizes = {name: entry.size for name, entry in found.items()}
    mix = replace(_counting_tokens(mix, found), samples=settings.samples or mix.samples)
    compiled = replace(mix, streams={name: _countable(stream, sizes[name]) for name, stream in mix.streams.items()})
    try:
        plan = compiled.plan({name: size or _ENDLESS for name, size in sizes.items()})
    except FileError:
        raise
    except UserError as error:
        raise FileError(str(error), path=path) from error
    return Request(
        mix=mix,
        plan=plan,
        sizes=sizes,
        output=Output(path=_place(settings.out, path, capability), overwrite=settings.overwrite),
        places=read_places(settings.paths, mix),
        batch_size=settings.batch_size,
        sequence_length=settings.sequence_length or _shared_length(mix, found),
        block_size=settings.block_size,
        ramp_steps=settings.ramp_steps,
        nearest=settings.nearest,
        progress=progress,
    )


def _counting_tokens(mix: Mix, found: Mapping[str, KnownStream]) -> Mix:
    """Return the mix with tokens_per_sample where weights count tokens, as the loader has it; else as its file says it."""
    if mix.unit != "tokens":
        return mix
    streams = {name: replace(stream, tokens_per_sample=found[name].tokens_per_sample) for name, stream in mix.streams.items()}
    return replace(mix, streams=streams)


def _with_lost_caps(outcome: Outcome, request: Request) -> Outcome:
    """Return the outcome with the caps that the plan could not keep: those of streams whose size is unknown."""
    streams = request.mix.streams
    lost = [
        name for name, stream in streams.items() if stream.max_epochs is not None and not _is_known(stream, request.sizes[name])
    ]
    if not lost:
        return outcome
    said = f"max_epochs of {', '.join(map(repr, lost))} is not kept, its size is unknown here; bring its index.json to `local`"
    verdict = "approximated" if outcome.verdict == "lossless" else outcome.verdict
    return replace(outcome, verdict=verdict, why=(*outcome.why, said))


def _with_removed(outcome: Outcome, removed: Sequence[str]) -> Outcome:
    """Return the outcome with what was cleared away of an earlier export."""
    if not removed:
        return outcome
    shown = ", ".join(removed[:_NAMED]) + (f" and {len(removed) - _NAMED} more" if len(removed) > _NAMED else "")
    files = "1 file" if len(removed) == 1 else f"{len(removed)} files"
    return replace(outcome, notes=(*outcome.notes, f"removed {files} of an earlier export: {shown}"))


def _is_known(stream: Stream, size: int | None) -> bool:
    return size is not None or stream.subset is not None


def _countable(stream: Stream, size: int | None) -> Stream:
    """Return the stream as the plan can compile it: order and cap only where an epoch's size is known."""
    return stream if _is_known(stream, size) else replace(stream, order=Order(), max_epochs=None)


def _shared_length(mix: Mix, found: Mapping[str, KnownStream]) -> int | None:
    """Return how many tokens a sample has, if all streams say the same."""
    lengths = set(_lengths(mix, found).values())
    return lengths.pop() if len(lengths) == 1 else None


def _lengths(mix: Mix, found: Mapping[str, KnownStream]) -> dict[str, int | None]:
    """Return how many tokens a sample of each stream has, None where nothing says so."""
    return {name: found[name].tokens_per_sample or stream.sequence_length for name, stream in mix.streams.items()}


def default_place(path: Path, capability: Capability) -> Path:
    """Return where an export is written if nobody says: in the working folder, named after mix and target."""
    if capability.suffix == ".py":
        return Path(_importable(f"{path.stem}_{capability.name}") + ".py")
    return Path(f"{path.stem}.{capability.name}{capability.suffix.rstrip('/')}")


def _place(out: Path | None, mix: Path, capability: Capability) -> Path:
    """Return where an export is written. Raises UserError for a name that is none, or a module's that cannot be imported."""
    if out is None:
        return default_place(mix, capability)
    if str(out) == "-":
        raise UserError(f"--out -: wanted a name, and nothing is printed; try --out {default_place(mix, capability)}")
    if capability.suffix == ".py" and (out.suffix != ".py" or not _is_importable(out.stem)):
        stem = out.stem if out.suffix == ".py" else out.name
        better = out.with_name(_importable(stem) + ".py")
        raise UserError(f"--out {out}: this target writes a Python module, and {out.name!r} cannot be imported; try {better}")
    return out


def _is_importable(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name)


def _importable(name: str) -> str:
    """Return a name as near as can be that Python can import."""
    word = re.sub(r"\W", "_", name)
    if word[:1].isdigit():
        return f"_{word}"
    return f"{word}_" if keyword.iskeyword(word) else word


def _document(path: Path, request: Request, capability: Capability, outcome: Outcome) -> dict[str, Any]:
    return {
        "kind": "export",
        "mix": str(path),
        "fingerprint": request.mix.fingerprint(),
        "target": capability.name,
        "trainer": capability.trainer,
        "samples": request.plan.samples,
        "phase_ends": list(request.plan.phase_ends),
        **as_document(outcome),
    }


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Yield a function that shows (done, total, of what) on standard error: a bar in a terminal, else a line now and then."""
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield _PlainProgress(console)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        tasks: dict[str, Any] = {}

        def show(done: int, total: int, what: str) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        yield show


class _PlainProgress:
    """A line every quarter of a minute, with what is left at the pace so far."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed = monotonic()
        self._first: tuple[int, float] | None = None

    def __call__(self, done: int, total: int, what: str) -> None:
        now = monotonic()
        if self._first is None:
            self._first = done, now
        begun, began = self._first
        if now - self._printed < _PLAIN_SECONDS or done == begun:
            return
        self._printed = now
        left = (total - done) * (now - began) / (done - begun)
        self._console.print(f"{done:,} of {total:,} {what}, {format_seconds(left)} left", highlight=False)
