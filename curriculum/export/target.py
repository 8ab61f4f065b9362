"""What an export is given, and what it says in return.

Idea: every target answers the same question in the same words: `lossless`, `approximated` (by how much, per stream and
phase) or `impossible` (why, and what comes nearest). The words are strict. Lossless: at every position of the run the
target plays a sample of the stream that the plan plays there. All else strays from the plan and says by how much.
Alternatives: a config and a warning in a log, which nobody reads. The price: targets must know what their loader does.

A package adds a target of its own with an entry point in the group `curriculum.exports` that names a `Target`:

    [project.entry-points."curriculum.exports"]
    my-trainer = "my_package.exports:target"

    target = Target(capability=Capability(name="my-trainer", ...), export=write_my_config)    # (Request) -> Outcome
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from curriculum.errors import UserError
from curriculum.export.output import Output
from curriculum.mix import Mix
from curriculum.plan import Plan

Verdict = Literal["lossless", "approximated", "impossible"]
Setting = Literal["batch_size", "sequence_length", "block_size", "ramp_steps", "path"]
Progress = Callable[[int, int, str], None]  # (done, of how many, of what)


@dataclass(frozen=True, kw_only=True, slots=True)
class Capability:
    """A target's row: one line of help, one line of the table in the documentation.

    name:       what `--to` takes
    trainer:    who reads it, with the version that the export was checked against
    expresses:  what of a mix it can say
    verdict:    what an export says at best
    writes:     what lies there afterwards; `suffix` ends the default name ("/" for a folder)
    cuts_alike: whether it cuts all streams at one sequence length, so that a sample of another length is none of its own
    needs:      options without which nothing can be written
    takes:      further options that change what is written
    """

    name: str
    trainer: str
    expresses: str
    verdict: str
    writes: str
    suffix: str
    cuts_alike: bool = False
    needs: tuple[Setting, ...] = ()
    takes: tuple[Setting, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Deviation:
    """How far one stream strays in one phase (`phase` counts from 1).

    planned:   samples that the plan gives in the phase
    expected:  samples that the target's loader is expected to give
    samples:   largest difference between what both have given since the run began, at any point of the phase
    share:     largest difference between both momentary shares of a batch, at any point of the phase
    spread:    one standard deviation of `expected`, where the target draws or shuffles at random; else 0
    """

    phase: int
    stream: str
    planned: int
    expected: float
    samples: float
    share: float
    spread: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of an export.

    why:      what is lost, or cannot be said (empty if lossless)
    nearest:  what comes nearest to the impossible
    use:      what to do with the files
    notes:    what a user should know besides
    """

    verdict: Verdict
    why: tuple[str, ...] = ()
    nearest: str | None = None
    deviations: tuple[Deviation, ...] = ()
    files: tuple[Path, ...] = ()
    use: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What is to be exported, and how.

    plan:             the compiled mix; where `sizes` has None, its samples (not its streams) are meaningless
    sizes:            samples that each stream has, None where unknown
    places:           where the target finds a stream, by name; "*" stands for all others, {stream} for the name
    batch_size:       samples of one step, over all ranks
    sequence_length:  tokens of a sample
    block_size:       samples of a block within which the target keeps its counts
    ramp_steps:       stages that a ramp becomes
    nearest:          write what comes nearest if the mix cannot be expressed
    """

    mix: Mix
    plan: Plan
    sizes: Mapping[str, int | None]
    output: Output
    places: Mapping[str, str] = field(default_factory=dict)
    batch_size: int | None = None
    sequence_length: int | None = None
    block_size: int | None = None
    ramp_steps: int | None = None
    nearest: bool = False
    progress: Progress = lambda _done, _total, _what: None

    def whole(self, setting: Setting, default: int | None = None) -> int:
        """Return a setting that is a number. Raises UserError if it was neither given nor has a default."""
        value: int | None = getattr(self, setting)
        if value is None and default is None:
            option = "--" + setting.replace("_", "-")
            raise UserError(f"this target needs {option}: {NEEDED[setting]}; add {option} NUMBER")
        return value or default or 0

    def known_sizes(self, why: str) -> dict[str, int]:
        """Return every stream's size. Raises UserError naming a stream whose size is unknown, and `why` it matters."""
        for name, size in self.sizes.items():
            if size is None:
                raise UserError(
                    f"the size of stream {name!r} is unknown: nothing of it lies here yet, and {why}; "
                    "download its index.json (or all of it) to the stream's `local` first"
                )
        return {name: size or 0 for name, size in self.sizes.items()}


NEEDED: Mapping[Setting, str] = {
    "batch_size": "samples of one training step, over all ranks",
    "sequence_length": "tokens of one sample",
    "block_size": "samples of a block within which the target keeps its counts",
    "ramp_steps": "stages that a ramp becomes",
    "path": "where the target finds each stream, NAME=PLACE or '*=/data/{stream}'",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A trainer that mixes can be exported to."""

    capability: Capability
    export: Callable[[Request], Outcome]


def as_document(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as JSON's own types."""
    from dataclasses import asdict

    return {**asdict(outcome), "files": [str(path) for path in outcome.files]}
