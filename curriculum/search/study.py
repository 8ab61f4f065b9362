"""A study as a value: what is searched, how, and what counts. `study_file` reads one from its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from curriculum.mix import Mix, Order, Phase, Stream
from curriculum.probe.specification import ProbeSpecification, SuiteSpecification
from curriculum.proxy.recipe import Recipe

Exposure = Literal["fixed", "free"]
Metric = Literal["time_general", "area", "final_margin", "longest_stay", "worst_probe", "bits_per_byte"]
Shape = Literal["steps", "ramps"]
Sampler = Literal["tpe", "gp", "random", "tpe-then-gp"]
METRICS: tuple[Metric, ...] = ("time_general", "area", "final_margin", "longest_stay", "worst_probe", "bits_per_byte")
DEFAULT_CONSTRAINTS = ("final_margin", "loss")
CONSTRAINTS = (*DEFAULT_CONSTRAINTS, "bits_per_byte")
HAND_MADE = ("hold-then-low", "ramp-down", "ramp-up")


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """What is searched: `knots` rows of proportions, `rank` None for all entries free, else a low-rank form.

    `steps`: a phase per knot. `ramps`: linear between knots. `orders` and `granularity` (windows, in samples) are
    choices for all streams; one entry means that it is not searched.
    """

    knots: int = 5
    shape: Shape = "steps"
    rank: int | None = 1
    orders: tuple[Literal["shuffle", "sequential"], ...] = ("shuffle",)
    granularity: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """What is maximised (bits per byte: minimised), under which constraints; the last two are shares of the run."""

    metric: Metric = "time_general"
    subject_to: tuple[str, ...] = DEFAULT_CONSTRAINTS
    burn_in: Decimal = Decimal("0.2")
    common_tail: Decimal = Decimal("0.2")


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSettings:
    """How it is searched and proven.

    `ahead`: proposals made before their elders are known; fixed, so that the number of workers changes nothing.
    `candidates` x `repeats`: best trials repeated before finalists are chosen. `reference_seeds`: static runs that set
    the constraints. `enqueue`: curricula tried first.
    """

    sampler: Sampler = "tpe-then-gp"
    finalists: int = 2
    finalist_seeds: int = 10
    candidates: int = 5
    repeats: int = 2
    reference_seeds: int = 4
    ahead: int = 4
    enqueue: tuple[str, ...] = ("static", *HAND_MADE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A trainer of the user's own in place of our proxy."""

    words: str
    timeout: float = 3600.0
    retries: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """A search, as its file states it. `suites` are what bits per byte are taken over. `exposure_shares` None means by size;
    `favour` names the streams that the hand-made controls favour (without it only static, shuffled and reversed are made)."""

    path: Path
    name: str
    streams: Mapping[str, Stream]
    samples: int
    probes: tuple[ProbeSpecification, ...]
    suites: tuple[SuiteSpecification, ...] = ()
    recipe: Recipe = field(default_factory=Recipe)
    command: Command | None = None
    exposure: Exposure = "fixed"
    exposure_shares: Mapping[str, Decimal] | None = None
    favour: tuple[str, ...] = ()
    space: Space = field(default_factory=Space)
    objective: Objective = field(default_factory=Objective)
    search: SearchSettings = field(default_factory=SearchSettings)
    seed: int = 0

    def shares(self, sizes: Mapping[str, int]) -> dict[str, Fraction]:
        """Return each stream's share of the exposure, exact; by size unless the file states them."""
        weights = {name: Fraction(size) for name, size in sizes.items()}
        if self.exposure_shares is not None:
            weights = {name: Fraction(self.exposure_shares.get(name, Decimal(0))) for name in self.streams}
        total = sum(weights.values())
        return {name: weights[name] / total for name in self.streams}

    def mix(self, name: str, phases: tuple[Phase, ...], *, order: Order | None = None) -> Mix:
        """Return a mix of this study's streams."""
        streams = dict(self.streams)
        if order is not None:
            streams = {key: Stream(**{**_fields(stream), "order": order}) for key, stream in streams.items()}
        return Mix(name=name, streams=streams, phases=phases, samples=self.samples, seed=self.seed)

    def canonical(self) -> dict[str, Any]:
        """Return everything that decides the study's result, as JSON: what a resumed search must find unchanged."""
        content = {name: getattr(self, name) for name in self.__slots__ if name not in ("path", "name")}
        found: dict[str, Any] = json.loads(json.dumps(_jsonable(content)))
        return found


def _fields(stream: Stream) -> dict[str, Any]:
    return {name: getattr(stream, name) for name in Stream.__slots__}


def _jsonable(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return _jsonable(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _jsonable(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [_jsonable(entry) for entry in value]
    return str(value) if isinstance(value, Path | Decimal) else value


def changed_study(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return readable lines for what differs between two canonical studies."""
    from curriculum.mix.canonical import describe_difference

    return describe_difference(dict(old), dict(new))
