"""Reads study files (`search/*.yaml`). Imports neither torch nor Optuna, so that `curriculum check` stays quick."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from curriculum.mix import Order, Stream
from curriculum.mix.document import Document, Node
from curriculum.mix.reading import read_streams
from curriculum.probe.specification import ProbeSpecification, SuiteSpecification
from curriculum.proxy.recipe import Recipe
from curriculum.search.scan_start import read_pulls
from curriculum.search.study import (
    CONSTRAINTS,
    CORNERS,
    HAND_MADE,
    METRICS,
    PRUNERS,
    SAMPLERS,
    SCHEDULES,
    SHAPES,
    Command,
    Objective,
    SearchSettings,
    Space,
    Study,
    Target,
)
from curriculum.search.study_checks import check_together


def default_study() -> Path:
    """Return the path of the default study: inside an installed package, or in a checkout's `search/`."""
    packaged = Path(__file__).with_name("default.yaml")
    return packaged if packaged.exists() else Path(__file__).parents[2] / "search" / "default.yaml"


def load_study(path: Path | str | None = None) -> Study:
    """Read a study file (the default study without a path). Raises FileError with file and line."""
    document = Document.load(default_study() if path is None else path)
    section = document.root.mapping(
        required=("name", "streams", "length", "probes"),
        optional=(
            "version",
            "seed",
            "prepare",
            "bits_per_byte",
            "exposure",
            "exposure_shares",
            "target",
            "proxy",
            "controls",
            "space",
            "objective",
            "search",
        ),
    )
    if "version" in section and section["version"].count() != 1:
        raise section["version"].fail("wanted version 1")
    streams = read_streams(section["streams"])
    proxy, command = _read_proxy(section.get("proxy"))
    length = section["length"].mapping(required=("samples",))["samples"]
    study = Study(
        path=document.path,
        name=section["name"].text(),
        streams=streams,
        samples=length.count(1),
        probes=tuple(_read_probe(node) for node in section["probes"].list()),
        suites=tuple(_read_suite(node) for node in section["bits_per_byte"].list()) if "bits_per_byte" in section else (),
        recipe=proxy,
        population=_read_population(section.get("proxy")),
        command=command,
        exposure=section["exposure"].choice(("fixed", "free")) if "exposure" in section else "fixed",
        exposure_shares=_read_shares(section.get("exposure_shares"), streams),
        target=_read_target(section.get("target")),
        favour=_read_favour(section.get("controls"), streams),
        space=_read_space(section.get("space"), streams),
        objective=_read_objective(section.get("objective")),
        search=_read_search(section.get("search")),
        seed=section["seed"].count() if "seed" in section else 0,
        prepare=section["prepare"].text() if "prepare" in section else None,
        stated=_stated(section),
    )
    check_together(study, document.root, length)
    if study.search.scan is not None:
        read_pulls(study.search.scan, list(study.streams))
    return study


def _stated(section: Mapping[str, Node]) -> frozenset[str]:
    """Return the settings that a file states, as `search.finalists` or `probes[0].items`."""
    parts = {key: section[key] for key in ("proxy", "space", "objective", "search") if key in section}
    parts |= {f"probes[{index}]": node for index, node in enumerate(section["probes"].list())}
    return frozenset(f"{name}.{key}" for name, node in parts.items() for key in node.items())


def _read_proxy(node: Node | None) -> tuple[Recipe, Command | None]:
    if node is None:
        return Recipe(), None
    if "command" in node.items():
        from curriculum.proxy.external import check_command

        section = node.mapping(required=("command",), optional=("timeout", "retries", "batch", "readings"))
        with section["command"].blame():
            check_command(section["command"].text())
        command = Command(
            words=section["command"].text(),
            timeout=section["timeout"].number() if "timeout" in section else 3600.0,
            retries=section["retries"].count() if "retries" in section else 1,
        )
        return Recipe(), command
    section = node.mapping(optional=(*_RECIPE, "population"))
    values = {key: _RECIPE[key](entry) for key, entry in section.items() if key in _RECIPE}
    with node.blame():
        return Recipe(**values), None


def _read_population(node: Node | None) -> int | Literal["auto"]:
    entry = None if node is None else node.items().get("population")
    if entry is None:
        return 1
    return "auto" if entry.plain() == "auto" else entry.count(1)


def _start(node: Node) -> Path | None:
    return None if node.is_null else node.path()


_RECIPE: dict[str, Any] = {
    "model": lambda node: node.choice(("transformer",)),
    "layers": lambda node: node.count(1),
    "width": lambda node: node.count(1),
    "heads": lambda node: node.count(1),
    "context": lambda node: node.count(2),
    "batch": lambda node: node.count(1),
    "optimizer": lambda node: node.choice(("adamw",)),
    "learning_rate": lambda node: node.number(),
    "weight_decay": lambda node: float(node.decimal()),
    "schedule": lambda node: node.choice(("constant", "cosine", "wsd")),
    "start": _start,
    "readings": lambda node: node.count(2),
    "induction_initialisation": lambda node: node.boolean(),
    "experts": lambda node: node.count(),
    "active_experts": lambda node: node.count(1),
    "balance": lambda node: float(node.decimal()),
    "precision": lambda node: node.choice(("float32", "bfloat16")),
}


def _read_probe(node: Node) -> ProbeSpecification:
    section = node.mapping(required=("name", "family", "floor"), optional=("file", "builtin", "control", "items", "weight"))
    values: dict[str, Any] = {"name": section["name"].text(), "family": section["family"].text()}
    values["floor"] = section["floor"].number()
    for key in ("file", "control"):
        if key in section:
            values[key] = section[key].path()
    if "builtin" in section:
        values["builtin"] = section["builtin"].text()
    if "items" in section:
        values["items"] = section["items"].count(2)
    if "weight" in section:
        values["weight"] = section["weight"].number()
    with node.blame():
        return ProbeSpecification(**values)


def _read_suite(node: Node) -> SuiteSpecification:
    section = node.mapping(required=("name", "file"))
    return SuiteSpecification(name=section["name"].text(), file=section["file"].path())


def _read_shares(node: Node | None, streams: Mapping[str, Stream]) -> dict[str, Decimal] | None:
    if node is None:
        return None
    found = {name: weight.decimal() for name, weight in node.mapping(optional=tuple(streams)).items()}
    if not any(found.values()):
        raise node.fail("wanted at least one share above 0")
    return found


def _read_target(node: Node | None) -> Target | None:
    if node is None:
        return None
    section = node.mapping(optional=("samples", "tokens"))
    if len(section) != 1:
        raise node.fail("wanted how long the full run is: {samples: N} or {tokens: N}, one of the two")
    return Target(**{key: entry.count(1) for key, entry in section.items()})


def _read_favour(node: Node | None, streams: Mapping[str, Stream]) -> tuple[str, ...]:
    if node is None:
        return ()
    entry = node.mapping(required=("favour",))["favour"]
    found = tuple(item.choice(tuple(streams)) for item in entry.list())
    if not 0 < len(set(found)) < len(streams):
        raise entry.fail("wanted some of the streams, neither none nor all")
    return found


def _read_space(node: Node | None, streams: Mapping[str, Stream]) -> Space:
    if node is None:
        return Space()
    section = node.mapping(optional=("knots", "shape", "rank", "groups", "orders", "granularity"))
    values: dict[str, Any] = {}
    if "knots" in section:
        values["knots"] = section["knots"].count(2)
    if "shape" in section:
        values["shape"] = section["shape"].choice(SHAPES)
        if values["shape"] == "two-phase" and "knots" in section:
            raise section["knots"].fail("two phases have two rows and a searched switch; leave `knots` out")
    if "rank" in section:
        values["rank"] = None if section["rank"].is_null else section["rank"].count(1)
    if "groups" in section:
        values["groups"] = {name: _read_factor(factor, streams) for name, factor in _some(section["groups"]).items()}
    if "orders" in section:
        values["orders"] = tuple(item.choice(("shuffle", "sequential")) for item in _entries(section["orders"]))
    if "granularity" in section:
        values["granularity"] = tuple(item.count(1) for item in _entries(section["granularity"]))
    space = Space(**values)
    ordered = [name for name, stream in streams.items() if stream.order != Order()]
    if space.chooses_order and ordered:
        raise section["orders" if "orders" in section else "granularity"].fail(
            f"would replace the order that stream {ordered[0]!r} states; leave it out, or remove `order:` from the streams"
        )
    return space


def _entries(node: Node) -> list[Node]:
    """Return a list's items, of which there must be some."""
    found = node.list()
    if not found:
        raise node.fail("wanted at least one entry")
    return found


def _read_factor(node: Node, streams: Mapping[str, Stream]) -> dict[str, tuple[str, ...]]:
    """Read one way of grouping the streams: level -> streams, each stream in one level."""
    if ":" in str(node.trail[-1]):
        raise node.fail("wanted a name without ':'")
    found: dict[str, tuple[str, ...]] = {}
    for level, entry in _some(node).items():
        held: list[str] = []
        for item in entry.list():
            name = item.choice(tuple(streams))
            before = next((other for other, names in {**found, level: held}.items() if name in names), None)
            if before is not None:
                raise item.fail(f"stream {name!r} is in level {before!r} already; a factor holds every stream once")
            held.append(name)
        if not held:
            raise entry.fail("wanted at least one stream")
        found[level] = tuple(held)
    missing = [name for name in streams if not any(name in held for held in found.values())]
    if missing:
        raise node.fail(f"no level holds {', '.join(missing)}; a factor holds every stream once")
    return found


def _some(node: Node) -> dict[str, Node]:
    """Return a mapping's values by key, of which there must be some."""
    found = node.items()
    if not found:
        raise node.fail("wanted at least one entry, got none")
    return found


def _read_objective(node: Node | None) -> Objective:
    if node is None:
        return Objective()
    section = node.mapping(optional=("metric", "subject_to", "burn_in", "common_tail", "pareto", "target_schedule"))
    values: dict[str, Any] = {}
    if "pareto" in section:
        values["pareto"] = section["pareto"].choice(("loss",))
        values["subject_to"] = ("final_margin",)
    if "target_schedule" in section:
        values["target_schedule"] = section["target_schedule"].choice(SCHEDULES)
    if "metric" in section:
        values["metric"] = section["metric"].choice(METRICS)
    if "subject_to" in section:
        values["subject_to"] = tuple(item.choice(CONSTRAINTS) for item in section["subject_to"].list())
    for key in ("burn_in", "common_tail"):
        if key in section:
            values[key] = section[key].decimal()
            if values[key] >= 1:
                raise section[key].fail(f"wanted a share of the run below 1, got {values[key]}")
    return Objective(**values)


def _read_search(node: Node | None) -> SearchSettings:
    if node is None:
        return SearchSettings()
    counts = {"finalists": 1, "finalist_seeds": 2, "candidates": 1, "repeats": 1, "reference_seeds": 2, "ahead": 1}
    counts["most_seeds"] = 2
    section = node.mapping(optional=("sampler", "pruner", "enqueue", "start", *counts))
    values: dict[str, Any] = {key: section[key].count(least) for key, least in counts.items() if key in section}
    if "sampler" in section:
        values["sampler"] = section["sampler"].choice(SAMPLERS)
    if "pruner" in section:
        values["pruner"] = section["pruner"].choice(PRUNERS)
    if "enqueue" in section:
        values["enqueue"] = tuple(item.choice(("static", *HAND_MADE, CORNERS)) for item in section["enqueue"].list())
    if "start" in section:
        values["scan"] = section["start"].mapping(required=("scan",))["scan"].path()
    settings = SearchSettings(**values)
    if settings.finalists > settings.candidates:
        raise node.fail(f"wanted no more finalists than candidates, got {settings.finalists} > {settings.candidates}")
    return settings
