"""The stage: real texts in windows, graded probe items, and one checkpoint from which everything else is continued.

Idea: `examples/real_text` gives streams, probe items and a warm-up that makes a model copy. Chunks shown twice, of which half
of that warm-up is made, push harder than any text; so its checkpoint is continued on text alone until the margin rests, and
that is the base. Windows are 64 samples as they lie in a packed stream: about one document of code, twenty articles of an
encyclopedia. They are split in two halves by a key: the one is played by the base and by the runs that are attributed, what
is selected comes from the other.

Items are graded by how far back the answer stands: `near` is the nearer half of each domain's items, `far` the other.

The price: the warm-up has shown every window in part (a quarter of the text, and chunks of it), both halves alike.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from curriculum.attribution.branches import Trunk
from curriculum.attribution.consumption import sizes_of, window_table
from curriculum.attribution.effects_data import held_out_windows
from curriculum.attribution.selection import in_keyed_order, selected_mix, write_table
from curriculum.mix import Mix, Order, Phase, Stream
from curriculum.probe.specification import ProbeSpecification
from curriculum.proxy.recipe import Recipe
from curriculum.proxy.run import RunRequest, perform

sys.path.insert(0, str(Path(__file__).parents[1] / "real_text"))  # whose texts, items and warm-up these are

GRADES = ("near", "far")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """How much is done. Lengths are in samples; `settling`: of the base run; `samples`: of an attributed run; `length`: of
    an arm and of a branch, the arm read `readings` times; `share`: of a domain's held-out windows that a list holds."""

    window: int = 64
    settling: int = 7_680
    runs: int = 8
    settling_readings: int = 10
    samples: int = 10_240
    attributed_readings: int = 40
    length: int = 3_840
    readings: int = 5
    seeds: int = 10
    groups: int = 8
    branch_seeds: int = 4
    share: float = 0.25
    tail: float = 0.4
    items: int = 150


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Streams (of training text), probes and the recipe of every run, under `folder`; `warm` is the warm-up's checkpoint."""

    folder: Path
    streams: Mapping[str, Path]
    probes: tuple[ProbeSpecification, ...]
    warm: Path
    recipe: Recipe
    scale: Scale

    @cached_property
    def mix(self) -> Mix:
        """The static mix: every domain gives as many samples."""
        streams = {name: Stream(local=str(path), order=Order(window=self.scale.window)) for name, path in self.streams.items()}
        phases = (Phase(weights=dict.fromkeys(streams, Decimal(1)), until=Decimal(1)),)
        return Mix(name="static", streams=streams, phases=phases, samples=self.scale.samples)

    @cached_property
    def windows(self) -> pd.DataFrame:
        """All windows of full length: stream, start, stop."""
        every = window_table(self.mix.plan(sizes_of(self.mix)))[["stream", "start", "stop"]]
        whole: pd.DataFrame = every[every["stop"] - every["start"] == self.scale.window].reset_index(drop=True)
        return whole

    @cached_property
    def held_out(self) -> pd.DataFrame:
        """The half of the windows that no attributed run plays."""
        return held_out_windows(self.windows, 0.5)

    @cached_property
    def played(self) -> pd.DataFrame:
        """The other half."""
        both = self.windows.merge(self.held_out, how="left", indicator=True)
        return self.windows[(both["_merge"] == "left_only").to_numpy()]

    @cached_property
    def base(self) -> Path:
        """The folder of the run that settles the warm-up's checkpoint; trained if it is not there."""
        recipe = replace(self.recipe, start=self.warm, readings=self.scale.settling_readings)
        request = self.request("base", 0, self.scale.settling, recipe)
        return perform(request, self.folder / "runs", keep=1).folder

    @property
    def trunk(self) -> Trunk:
        """What arms and branches grow from; they are asked items that no attributed run was asked."""
        return replace(Trunk.of_run(self.base), mix=self.mix)

    def attributed_request(self, seed: int) -> RunRequest:
        """Return an ordinary run of the static mix on the windows that may be attributed."""
        recipe = replace(self.recipe, start=self.trunk.checkpoint, readings=self.scale.attributed_readings)
        return self.request("attributed", seed, self.scale.samples, recipe)

    def request(self, label: str, seed: int, samples: int, recipe: Recipe) -> RunRequest:
        """Return a run on the half of the windows that is not held out, in an order of its own."""
        file = self.folder / "windows" / f"{label}-s{seed}.parquet"
        write_table(in_keyed_order(self.played, seed, label), file)
        mix = selected_mix(self.mix, file, name=label, samples=samples)
        return RunRequest(label=label, mix=mix, seed=seed, samples=samples, recipe=recipe, probes=self.probes)


def real_stage(data: Path, folder: Path, domains: Sequence[str], scale: Scale) -> Stage:
    """Return the stage of real texts, fetching and training what is missing; texts and warm-up lie in `data`."""
    from run import prepare
    from study import RECIPE, warm_up

    prepared = prepare(data, domains)
    warm = warm_up(data, prepared.streams, prepared.probes)
    probes = graded_probes(prepared.probes["natural"], folder / "probes", len(domains), scale.items)
    return Stage(folder=folder, streams=prepared.streams, probes=probes, warm=warm, recipe=RECIPE, scale=scale)


def graded_probes(file: Path, folder: Path, domains: int, items: int) -> tuple[ProbeSpecification, ...]:
    """Write the nearer and the farther half of each domain's items as probes of one family; the control is that of all.

    `file`: items of `domains` domains in turn; beside it lies `<name>-control.jsonl`.
    """
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    halves: dict[str, list[dict[str, Any]]] = {grade: [] for grade in GRADES}
    for domain in range(domains):
        own = sorted(rows[domain::domains], key=lambda row: distance(row["prompt"]))
        halves["near"] += own[: len(own) // 2]
        halves["far"] += own[len(own) // 2 :]
    folder.mkdir(parents=True, exist_ok=True)
    probes = []
    for grade, chosen in halves.items():
        path = folder / f"{grade}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in chosen), encoding="utf-8")
        control = file.with_name(f"{file.stem}-control.jsonl")
        probes.append(ProbeSpecification(name=grade, family="natural", floor=0.0, items=items, file=path, control=control))
    return tuple(probes)


def distance(prompt: Sequence[int]) -> int:
    """Return how many tokens ago the prompt's last token stood there before; its answer then is one token nearer."""
    return next(back for back in range(1, len(prompt)) if prompt[-1 - back] == prompt[-1])
