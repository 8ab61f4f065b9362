"""A study as a value: what is searched, how, and what counts. `study_file` reads one from its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from curriculum.errors import DataError
from curriculum.mix import Mix, Order, Phase, Stream
from curriculum.mix.canonical import file_digest
from curriculum.plugins import find_plugin, plugin_name
from curriculum.probe.specification import ProbeSpecification, SuiteSpecification
from curriculum.proxy.recipe import Recipe

Exposure = Literal["fixed", "free"]
Metric = Literal["time_general", "area", "final_margin", "longest_stay", "worst_probe", "bits_per_byte", "loss"]
Shape = Literal["steps", "ramps", "two-phase"]
SHAPES: tuple[Shape, ...] = ("steps", "ramps", "two-phase")
Sampler = Literal["tpe", "gp", "tpe-then-gp", "cmaes", "random", "regmix", "olmix", "regmix-d"]
SAMPLERS: tuple[Sampler, ...] = ("tpe", "gp", "tpe-then-gp", "cmaes", "random", "regmix", "olmix", "regmix-d")
STATIC_SAMPLERS = ("regmix", "olmix")  # propose static mixes, of which a fixed exposure leaves only one
METRICS: tuple[Metric, ...] = ("time_general", "area", "final_margin", "longest_stay", "worst_probe", "bits_per_byte", "loss")
DEFAULT_CONSTRAINTS = ("final_margin", "loss")
CONSTRAINTS = (*DEFAULT_CONSTRAINTS, "bits_per_byte")
END_STATES = ("final_margin", "bits_per_byte", "loss")  # metrics of the run's end, which no prefix of it foretells
LESS_IS_BETTER = ("bits_per_byte", "loss")  # a search takes them negative; people read them as they are
Schedule = Literal["constant", "cosine", "wsd"]
SCHEDULES: tuple[Schedule, ...] = ("constant", "cosine", "wsd")
Pruner = Literal["none", "percentile-75"]
PRUNERS: tuple[Pruner, ...] = ("none", "percentile-75")
HAND_MADE = ("hold-then-low", "ramp-down", "ramp-up")
CORNERS = "corners"


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """What is searched: rows of proportions, `rank` None for all entries free, else a low-rank form.

    `steps`: a phase per knot. `ramps`: linear between knots. `two-phase`: two rows and the switch between them (`knots` is
    not used). `groups` (factor -> level -> streams; each factor holds every stream once): levels have parameters in place
    of streams. `orders` and `granularity` (windows, in samples) are choices for all streams; one entry means that it is
    not searched: then it holds for static and the hand-made curricula too.
    """

    knots: int = 5
    shape: Shape = "steps"
    rank: int | None = 1
    groups: Mapping[str, Mapping[str, tuple[str, ...]]] | None = None
    orders: tuple[Literal["shuffle", "sequential"], ...] = ("shuffle",)
    granularity: tuple[int, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows of proportions a curriculum has."""
        return 2 if self.shape == "two-phase" else self.knots

    @property
    def chooses_order(self) -> bool:
        """Whether the space has a say in how streams are ordered; if not, each stream keeps the order it states."""
        return self.orders != ("shuffle",) or bool(self.granularity)

    def order(self, kind: str, window: int | None) -> Order | None:
        """Return one choice as the order of all streams, None for the default: each stream's own."""
        if kind == "sequential":
            return Order(kind="sequential")
        return None if window is None else Order(kind="shuffle", window=window)

    @property
    def settled_order(self) -> Order | None:
        """The order of everybody's streams where no order is searched; None where each stream keeps its own."""
        if len(self.orders) > 1 or len(self.granularity) > 1:
            return None
        return self.order(self.orders[0], next(iter(self.granularity), None))


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """What is maximised (bits per byte: minimised), under which constraints; `burn_in` and `common_tail` are shares of the run.

    `pareto`: the loss is a second objective (see `pareto`). `target_schedule`: the learning-rate schedule of the full run,
    under which a claim must hold too; None if the proxies' own is to be trusted.
    """

    metric: Metric = "time_general"
    subject_to: tuple[str, ...] = DEFAULT_CONSTRAINTS
    burn_in: Decimal = Decimal("0.2")
    common_tail: Decimal = Decimal("0.2")
    pareto: Literal["loss"] | None = None
    target_schedule: Schedule | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSettings:
    """How it is searched and proven.

    `ahead`: proposals made before their elders are known; fixed, so that the number of workers changes nothing.
    `candidates` x `repeats`: best trials repeated before finalists are chosen. `reference_seeds`: static runs that set
    the constraints. `enqueue`: curricula tried first; `corners` are each stream early and late, under free exposure also much
    and little throughout (of at most 16 streams). `pruner`: which trials are stopped early (see `pruning`). `most_seeds`:
    up to how many pairs a close comparison is given, after the first `finalist_seeds`. `scan`: a score file whose curricula
    are tried before all others (see `scan_start`).
    """

    sampler: Sampler = "tpe-then-gp"
    finalists: int = 2
    finalist_seeds: int = 10
    candidates: int = 5
    repeats: int = 2
    reference_seeds: int = 8
    ahead: int = 4
    enqueue: tuple[str, ...] = ("static", *HAND_MADE)
    pruner: Pruner = "none"
    most_seeds: int = 30
    scan: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A trainer of the user's own in place of our proxy."""

    words: str
    timeout: float = 3600.0
    retries: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """How long the full run is that the proxies stand for: in `samples` or in `tokens`, one of the two (see `target`)."""

    samples: int | None = None
    tokens: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """A search, as its file states it. `suites` are what bits per byte are taken over. `exposure_shares` None means by size;
    `favour` names the streams that the hand-made controls favour (without it only static, shuffled and reversed are made).
    `population`: how many runs are trained as one computation (see `populations`). `prepare`: the command that makes the
    study's data, for whoever has none of it yet. `stated`: the settings that the file states, as "search.finalists"; None for a
    study without a file, of which every setting is meant."""

    path: Path
    name: str
    streams: Mapping[str, Stream]
    samples: int
    probes: tuple[ProbeSpecification, ...]
    suites: tuple[SuiteSpecification, ...] = ()
    recipe: Recipe = field(default_factory=Recipe)
    population: int | Literal["auto"] = 1
    command: Command | None = None
    exposure: Exposure = "fixed"
    exposure_shares: Mapping[str, Decimal] | None = None
    target: Target | None = None
    favour: tuple[str, ...] = ()
    space: Space = field(default_factory=Space)
    objective: Objective = field(default_factory=Objective)
    search: SearchSettings = field(default_factory=SearchSettings)
    seed: int = 0
    prepare: str | None = None
    stated: frozenset[str] | None = None

    def way_out(self, error: DataError) -> DataError:
        """Return an error about missing data that names what makes the data, where the study says it."""
        return error if self.prepare is None else DataError(f"{error}. What makes this study's data: {self.prepare}")

    def shares(self, sizes: Mapping[str, int]) -> dict[str, Fraction]:
        """Return each stream's share of the exposure, exact; by size unless the file states them."""
        weights = {name: Fraction(size) for name, size in sizes.items()}
        if self.exposure_shares is not None:
            weights = {name: Fraction(self.exposure_shares.get(name, Decimal(0))) for name in self.streams}
        total = sum(weights.values())
        return {name: weights[name] / total for name in self.streams}

    def mix(self, name: str, phases: tuple[Phase, ...], *, order: Order | None = None) -> Mix:
        """Return a mix of this study's streams, all of them in `order`, or in the space's own where that is not searched."""
        streams, order = dict(self.streams), order or self.space.settled_order
        if order is not None:
            streams = {key: Stream(**{**_fields(stream), "order": order}) for key, stream in streams.items()}
        return Mix(name=name, streams=streams, phases=phases, samples=self.samples, seed=self.seed)

    def canonical(self) -> dict[str, Any]:
        """Return everything that decides the study's result, as JSON: what a resumed search must find unchanged."""
        content = {name: getattr(self, name) for name in self.__slots__ if name not in ("path", "name", "prepare", "stated")}
        found: dict[str, Any] = json.loads(json.dumps(_jsonable(content)))
        found, plugins = _without_unset(found), self._plugins()
        if self.search.scan is not None:  # what it says decides, wherever it lies on this machine
            found["search"]["scan"] = file_digest(self.search.scan)
        return found | ({"plugins": plugins} if plugins else {})

    def _plugins(self) -> dict[str, str]:
        """Return what tells the plugins of this study from changed ones. Raises UserError if one is not installed."""
        found = [find_plugin("curriculum.probes", probe.plugin) for probe in self.probes if probe.plugin is not None]
        orders = [plugin_name(stream.order.by or "") for stream in self.streams.values()]
        found += [find_plugin("curriculum.orders", name) for name in orders if name is not None]
        return {f"{plugin.group}.{plugin.name}": plugin.identity() for plugin in found}


def _fields(stream: Stream) -> dict[str, Any]:
    return {name: getattr(stream, name) for name in Stream.__slots__}


def _without_unset(study: dict[str, Any]) -> dict[str, Any]:
    """Leave out what studies could not always say and this one does not, so that older ones can be resumed."""
    streams = {
        name: {key: value for key, value in stream.items() if key != "subset" or value is not None}
        for name, stream in study["streams"].items()
    }
    space = {key: value for key, value in study["space"].items() if key != "groups" or value is not None}
    objective = {key: value for key, value in study["objective"].items() if value is not None}
    since = {"pruner": "none", "most_seeds": SearchSettings().most_seeds, "scan": None}
    search = {key: value for key, value in study["search"].items() if key not in since or value != since[key]}
    recipe = {key: value for key, value in study["recipe"].items() if key != "precision" or value != "float32"}
    found = {**study, "streams": streams, "space": space, "recipe": recipe, "objective": objective, "search": search}
    unset = {"target": None, "population": 1}
    return {key: value for key, value in found.items() if key not in unset or value != unset[key]}


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
