"""Runs whose windows' effects are known: folders as `perform` leaves them, margins by a formula."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd

from curriculum.attribution.consumption import consumption, sizes_of
from curriculum.mix import Mix, Order, Phase, Stream
from curriculum.probe import Reading, Trajectory
from curriculum.proxy.recipe import Recipe
from curriculum.streaming.mds import write_stream

WINDOW, WINDOWS, TIME = 32, 24, 12
SAMPLES, READINGS, BATCH = 1536, 32, 8


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """Two streams; a window's tokens below 8 are its good ones, and their share, made from its number, is its effect."""

    folder: Path
    streams: dict[str, Stream]
    truth: pd.DataFrame  # stream, start, stop, effect a thousand samples

    def mix(self, seed: int) -> Mix:
        phases = (Phase(weights=dict.fromkeys(self.streams, Decimal(1)), until=Decimal(1)),)
        return Mix(name="m", streams=self.streams, phases=phases, samples=SAMPLES, seed=seed)


def make_world(folder: Path, *, scale: float = 12.0) -> World:
    random = np.random.default_rng(7)
    truth = []
    for name in ("web", "books"):
        share = random.uniform(0.1, 0.9, WINDOWS)
        good = random.random((WINDOWS * WINDOW, TIME)) < np.repeat(share, WINDOW)[:, None]
        tokens = np.where(good, random.integers(0, 8, good.shape), random.integers(8, 16, good.shape)).astype(np.uint8)
        write_stream(folder / name, {"tokens": tokens})
        manifest = {"samples": len(tokens), "tokens_per_sample": TIME, "vocabulary": 16}
        (folder / name / "manifest.json").write_text(json.dumps(manifest))
        truth += [(name, n * WINDOW, (n + 1) * WINDOW, scale * (share[n] - 0.5)) for n in range(WINDOWS)]
    streams = {name: Stream(local=str(folder / name), order=Order(window=WINDOW)) for name in ("web", "books")}
    return World(folder=folder, streams=streams, truth=pd.DataFrame(truth, columns=["stream", "start", "stop", "effect"]))


def make_run(
    world: World,
    seed: int,
    *,
    noise: float = 0.02,
    drift: float = 0.0,
    schedule: str = "constant",
    spoiled: pd.DataFrame | None = None,
) -> Path:
    """Write a run; `spoiled`: windows whose stretches get margins that have nothing to do with anything."""
    mix = world.mix(seed)
    recipe = Recipe(batch=BATCH, schedule=schedule, readings=READINGS)  # type: ignore[arg-type]
    positions = [SAMPLES // READINGS * number for number in range(1, READINGS + 1)]
    table = consumption(mix.plan(sizes_of(mix)), positions).merge(world.truth, on=["stream", "start", "stop"])
    rates = np.asarray([recipe.rate(step, SAMPLES // BATCH) for step in range(SAMPLES // BATCH)]) / recipe.learning_rate
    random = np.random.default_rng([seed, 1])
    margin, rows = 0.0, []
    bad = set() if spoiled is None else set(spoiled.itertuples(index=False, name=None))
    for position, own in table.groupby("position"):
        previous = int(position) - SAMPLES // READINGS
        rate = float(rates[previous // BATCH : int(position) // BATCH].mean())
        pulled = float((own["samples"] / 1000 * own["effect"]).sum())
        margin += rate * (pulled - 0.5 * margin * own["samples"].sum() / 1000) + drift + noise * random.standard_normal()
        if bad & set(own[["stream", "start", "stop"]].itertuples(index=False, name=None)):
            margin += 0.5 * random.standard_normal()
        rows.append((int(position), int(position) // BATCH, _reading(margin)))
    return _write(world, mix, recipe, rows, seed)


def _reading(margin: float) -> Reading:
    return Reading(
        probe="p",
        family="p",
        accuracy=0.5,
        margin=margin,
        low=margin - 0.1,
        high=margin + 0.1,
        control_margin=0.9,
        capable=True,
    )


def _write(world: World, mix: Mix, recipe: Recipe, rows: list[tuple[int, int, Reading]], seed: int) -> Path:
    folder = world.folder / "runs" / f"run-{seed}"
    folder.mkdir(parents=True)
    mix.dump(folder / "mix.yaml")
    Trajectory.of(rows).save(folder / "trajectory.parquet")
    pd.DataFrame({"position": [SAMPLES], "stream": ["web"], "loss": [1.0]}).to_parquet(folder / "loss.parquet")
    pd.DataFrame(columns=["position", "suite", "bits_per_byte"]).to_parquet(folder / "bits_per_byte.parquet")
    record = {"samples": SAMPLES, "seconds": 1.0, "seed": seed, "proxy": {**asdict(recipe), "start": None}, "items": [0, 0]}
    record["probes"] = [{"name": "p", "family": "p", "floor": 0.2, "items": 4, **write_items(world.folder)}]
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def write_items(folder: Path) -> dict[str, str]:
    """Write probe items in the world's tokens: enough for two draws."""
    rows = [{"split": "test", "prompt": [n % 16, 3], "correct_answer": [1], "incorrect_answer": [9]} for n in range(16)]
    for name in ("items", "control"):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return {"file": str(folder / "items.jsonl"), "control": str(folder / "control.jsonl")}


def smaller(world: World, folder: Path, share: float) -> World:
    """Return the world with lists of the first `share` of its windows: the others are never consumed."""
    file = folder / "listed.parquet"
    kept = world.truth[world.truth["start"] < share * WINDOWS * WINDOW]
    kept[["stream", "start", "stop"]].to_parquet(file)
    streams = {name: replace(stream, order=Order(listed=str(file))) for name, stream in world.streams.items()}
    return replace(world, streams=streams, folder=folder)
