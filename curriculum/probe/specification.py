"""The `probes:` of a study as values, and the items they stand for.

Idea: a probe's items come in draws. Draw 0 is what the search sees, draw 1 what the proof sees, draw 2 what branches of an
attribution see; they share no item, so that a winner cannot owe its lead to lucky items. A built-in probe makes each draw from
its own seed; a file is shuffled once by a key and dealt out.

A probe of another package (`builtin: "plugin:NAME"`, see `plugins`) is a function that makes items like the testbed's own:

    def parity(*, control: bool, count: int, seed: int, encode: Callable[[str], list[int]] | None) -> ItemSet:
        '''Return `count` items of the probe or of its neutral control; the same for the same arguments.'''

`encode` is the streams' tokenizer, None where they carry none. Another seed must give other items: the proof's are fresh.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from curriculum.errors import FileError, UserError
from curriculum.plan.permutation import shuffled
from curriculum.plugins import Plugin, find_plugin, plugin_name
from curriculum.probe.items import ItemSet, load_items
from curriculum.probe.scoring import Probe
from curriculum.probe.testbeds import FAMILIES, probe_items
from curriculum.units import keyed_seed

SEARCH_DRAW, PROOF_DRAW, BRANCH_DRAW = 0, 1, 2


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteSpecification:
    """A JSONL suite of prompts and continuations, over which a study takes bits per byte (see `bits_per_byte`)."""

    name: str
    file: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeSpecification:
    """One probe as a study names it: `builtin` ("testbed:FAMILY" or "plugin:NAME"), or `file` with its `control` file."""

    name: str
    family: str
    floor: float
    items: int = 128
    weight: float = 1.0
    builtin: str | None = None
    file: Path | None = None
    control: Path | None = None

    def __post_init__(self) -> None:
        if self.items < 2:
            raise UserError(f"probe {self.name!r}: wanted at least 2 items, got {self.items}")
        if (self.builtin is None) == (self.file is None):
            raise UserError(f"probe {self.name!r}: give either builtin: testbed:FAMILY or file: ITEMS.jsonl")
        if self.file is not None and self.control is None:
            raise UserError(f"probe {self.name!r}: a probe from a file needs control: FILE.jsonl, its neutral control")
        if self.plugin is not None:
            find_plugin("curriculum.probes", self.plugin)
        elif self.builtin is not None and self.builtin.removeprefix("testbed:") not in FAMILIES:
            known = ", ".join(f"testbed:{family}" for family in FAMILIES)
            raise UserError(f"probe {self.name!r}: no built-in probe {self.builtin!r}; there are {known}, plugin:NAME")

    @property
    def plugin(self) -> str | None:
        """The name of the plugin that makes the items, if one does."""
        return plugin_name(self.builtin or "")

    @property
    def speaks_testbed(self) -> bool:
        """Whether the items are in the testbed's vocabulary, which models of other streams do not know."""
        return self.builtin is not None and self.plugin is None

    def draw(self, number: int, *, seed: int, encode: Callable[[str], list[int]] | None = None) -> Probe:
        """Return the probe with the items of one draw. Raises FileError where a file has too few."""
        if self.file is not None and self.control is not None:
            items = _deal(self.file, self.items, number, seed, encode)
            control = _deal(self.control, self.items, number, seed, encode)
        else:
            make = self._maker(encode)
            key = keyed_seed("items", self.name, number, seed)
            items = make(control=False, count=self.items, seed=key)
            control = make(control=True, count=self.items, seed=key)
        return Probe(name=self.name, family=self.family, items=items, control=control, floor=self.floor, weight=self.weight)

    def _maker(self, encode: Callable[[str], list[int]] | None) -> Callable[..., ItemSet]:
        """Return what makes the items of a built-in probe or of a plugin. Raises UserError."""
        if self.plugin is None:
            return partial(probe_items, (self.builtin or "").removeprefix("testbed:"))
        plugin = find_plugin("curriculum.probes", self.plugin)
        return partial(_asked, plugin, plugin.function(), encode=encode)


def plugin_identity(name: str) -> str:
    """Return what tells a probe plugin from a changed one. Raises UserError if it is not installed."""
    return find_plugin("curriculum.probes", name).identity()


def _asked(plugin: Plugin, function: Callable[..., Any], *, count: int, **arguments: Any) -> ItemSet:
    """Call a plugin for items. Raises UserError where it fails, or gives something else than so many items."""
    try:
        found = function(count=count, **arguments)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{plugin.what} failed: {type(error).__name__}: {error}; tell its authors") from error
    if not isinstance(found, ItemSet) or len(found) != count:
        came = f"{len(found)} items" if isinstance(found, ItemSet) else repr(type(found).__name__)
        raise UserError(f"{plugin.what}: wanted an ItemSet of {count} items, got {came}; tell its authors")
    return found


def _deal(path: Path, count: int, number: int, seed: int, encode: Callable[[str], list[int]] | None) -> ItemSet:
    items = load_items(path, encode=encode)
    if len(items) < max(2, number + 1) * count:
        raise FileError(
            f"wanted at least {max(2, number + 1) * count} items ({count} for the search and {count} fresh ones for each "
            f"further draw), got {len(items)}; add items or lower the probe's items to {len(items) // max(2, number + 1)}",
            path=path,
        )
    chosen = shuffled(len(items), keyed_seed("deal", seed))[number * count : (number + 1) * count].tolist()
    return ItemSet(
        prompts=tuple(items.prompts[index] for index in chosen),
        correct=tuple(items.correct[index] for index in chosen),
        shallow=tuple(items.shallow[index] for index in chosen),
    )
