"""The mix: streams, schedule, orders, seed.

Idea: one frozen value that is the same whether it was written in Python or read from a file, and that checks itself.
Weights are completed here, so that every phase names every stream in the same order and nobody below asks again what
a missing stream means. The price is that a dumped file may say `code: 0` where the hand-written one said nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from curriculum.mix.fields import FieldError, nearest, one_of, optional_whole, plain_value, text, whole
from curriculum.mix.phase import Phase
from curriculum.mix.stream import Stream

if TYPE_CHECKING:
    from curriculum.plan import Plan

Unit = Literal["samples", "tokens"]
VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Mix:
    """Streams + schedule + orders + seed + lanes + provenance.

    `samples` is the run's length (None only with phases in tokens); `unit` is what weights count; `provenance` is any
    nesting of mappings with text keys, lists, texts, finite numbers, booleans and None. Raises UserError.
    """

    name: str
    streams: Mapping[str, Stream]
    phases: tuple[Phase, ...]
    samples: int | None = None
    unit: Unit = "samples"
    seed: int = 0
    lanes: int = 1
    version: int = 1
    provenance: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        text(self.name, "name")
        one_of(self.unit, get_args(Unit), "unit")
        if self.version != VERSION:
            raise FieldError(f"wanted version {VERSION}, got {self.version}; a newer Curriculum may read it", "version")
        object.__setattr__(self, "samples", optional_whole(self.samples, 1, "samples"))
        object.__setattr__(self, "seed", whole(self.seed, 0, "seed"))
        object.__setattr__(self, "lanes", whole(self.lanes, 1, "lanes"))
        object.__setattr__(self, "streams", checked_streams(self.streams))
        object.__setattr__(self, "phases", _completed(self.phases, tuple(self.streams)))
        _check_ends(self)
        if self.provenance is not None:
            if not isinstance(self.provenance, Mapping):
                raise FieldError(f"wanted a mapping, got {self.provenance!r}", "provenance")
            object.__setattr__(self, "provenance", plain_value(self.provenance, "provenance"))

    @classmethod
    def load(cls, path: str | Path) -> Mix:
        """Read a mix file. Raises FileError with file and line."""
        from curriculum.mix.document import Document
        from curriculum.mix.reading import read_mix

        return read_mix(Document.load(path))

    @classmethod
    def loads(cls, content: str, path: str | Path | None = None) -> Mix:
        """Read a mix from a text; relative paths are relative to `path`'s folder, else to the working folder."""
        from curriculum.mix.document import Document
        from curriculum.mix.reading import read_mix

        return read_mix(Document.loads(content, path))

    def dumps(self, path: str | Path | None = None) -> str:
        """Return the mix as YAML; paths near `path` become relative to its folder."""
        from curriculum.mix.writing import mix_text

        return mix_text(self, None if path is None else Path(path))

    def dump(self, path: str | Path) -> None:
        """Write the mix file, whole or not at all. Raises UserError (no permission), ResourceError (disk full)."""
        from curriculum.mix.writing import write_atomically

        write_atomically(Path(path), self.dumps(path))

    def canonical(self, digests: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return all that decides the order, ready for JSON; `digests` spares hashing files again (path -> sha256)."""
        from curriculum.mix.canonical import canonical

        return canonical(self, digests or {})

    def fingerprint(self) -> str:
        """Return the sha256 (hex) of the canonical mix. Raises DataError if a file it names cannot be read."""
        from curriculum.mix.canonical import fingerprint

        return fingerprint(self.canonical())

    def plan(
        self,
        sizes: Mapping[str, int],
        samples: int | None = None,
        lanes: int | None = None,
        scores: Any = None,
    ) -> Plan:
        """Compile the mix for streams of these sizes (in samples); None takes the mix's own `samples` and `lanes`."""
        from curriculum.plan import Plan

        return Plan.compile(self, sizes=sizes, samples=samples, lanes=lanes, scores=scores)


def checked_streams(streams: object) -> dict[str, Stream]:
    """Return named streams in their order; at least one. Raises FieldError under `streams`."""
    if not isinstance(streams, Mapping) or not streams:
        raise FieldError("wanted at least one stream", "streams")
    for name, stream in streams.items():
        text(name, "streams")
        if not isinstance(stream, Stream):
            raise FieldError(f"wanted a Stream, got {stream!r}", "streams", name)
    return dict(streams)


def _completed(phases: object, names: tuple[str, ...]) -> tuple[Phase, ...]:
    if not isinstance(phases, (tuple, list)) or not phases:
        raise FieldError("wanted at least one phase", "phases")
    whole_phases = []
    for index, phase in enumerate(phases):
        if not isinstance(phase, Phase):
            raise FieldError(f"wanted a Phase, got {phase!r}", "phases", index)
        weights = _all_streams(phase.weights, names, "phases", index, "weights")
        to = None if phase.to is None else _all_streams(phase.to, names, "phases", index, "to")
        whole_phases.append(replace(phase, weights=weights, to=to))
    return tuple(whole_phases)


def _all_streams(weights: Mapping[str, Decimal], names: tuple[str, ...], *path: str | int) -> dict[str, Decimal]:
    for name in weights:
        if name not in names:
            known = ", ".join(names)
            raise FieldError(f"no stream has this name{nearest(name, names)}; streams: {known}", *path, name)
    return {name: weights.get(name, Decimal(0)) for name in names}


def _check_ends(mix: Mix) -> None:
    in_tokens = [phase.until_tokens is not None for phase in mix.phases]
    if any(in_tokens) != all(in_tokens):
        odd = in_tokens.index(not in_tokens[0])
        raise FieldError("all phases must end in tokens, or all in fractions of the run", "phases", odd, "until")
    _check_increasing(mix.phases)
    if in_tokens[0]:
        if mix.unit != "tokens":
            raise FieldError("phases that end in tokens need `unit: tokens`", "phases", 0, "until")
        return
    last = len(mix.phases) - 1
    if mix.phases[last].until != 1:
        reason = f"the last phase must end at 1, got {mix.phases[last].until}; the rest of the run would have no mix"
        raise FieldError(reason, "phases", last, "until")
    if mix.samples is None:
        raise FieldError("missing: how many samples the run has (phases are fractions of it)", "samples")


def _check_increasing(phases: tuple[Phase, ...]) -> None:
    ends = [phase.until_tokens or phase.until or 0 for phase in phases]
    for index in range(1, len(ends)):
        if ends[index] <= ends[index - 1]:
            reason = f"wanted more than {ends[index - 1]}, where the phase before ends, got {ends[index]}"
            raise FieldError(reason, "phases", index, "until")
