"""Do a proof's intervals hold for other probe items? Gains over static, by seed and by draw of items.

    python benchmarks/item_draws.py [--study FILE] [--mixes mixes/default.yaml ...] [--hand-made hold-then-low ramp-up]
                                    [--seeds 10] [--draws 8] [--workers 1] [--runs runs/item-draws]

All pairs of a proof are read with one draw of items, so that its interval speaks of seeds. What another draw would say is asked
here: every run is read with several draws side by side, which costs readings and no training. The gain over static of each
seed and draw is taken apart (two-way analysis of variance, one value a cell): a part of the seed, one of the draw, which
all pairs of a proof have in common, and a rest, which differs from pair to pair. The interval of ten pairs knows seed and
rest; the draw's part it cannot see. Alternative: proofs repeated whole with other draws (as many runs again). The price: with
eight draws the draw's variance is itself known to a factor of two.

Runs are kept under `--runs`, so a second call only prints.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

import numpy as np
from setting import publish, table

from curriculum.errors import UserError
from curriculum.mix import Mix
from curriculum.probe import Trajectory
from curriculum.probe.specification import PROOF_DRAW
from curriculum.proxy.run import RunRequest, RunResult
from curriculum.search import controls
from curriculum.search.runner import request_of, required, stream_sizes
from curriculum.search.statistics import FloatArray
from curriculum.search.study import HAND_MADE, Study
from curriculum.search.study_file import load_study
from curriculum.search.workers import Workers
from curriculum.units import keyed_seed

MEASURES = ("time_general", "area", "final_margin")
PAIRS = 10
_MARK = "@"  # between a probe's name and the number of its draw


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """A mean over seeds and draws, and the standard deviations of what seed, draw and the rest add to a value."""

    mean: float
    seed: float
    draw: float
    rest: float

    def quoted(self, pairs: int) -> float:
        """Return the standard error that so many pairs of one draw show."""
        return float(np.sqrt((self.seed**2 + self.rest**2) / pairs))

    def whole(self, pairs: int) -> float:
        """Return what it is with the draw, which all of them have in common."""
        return float(np.hypot(self.quoted(pairs), self.draw))

    def fresh(self, pairs: int) -> float:
        """Return what it would be if every pair were read with a draw of its own."""
        return float(np.sqrt((self.seed**2 + self.rest**2 + self.draw**2) / pairs))


def parts_of(values: FloatArray) -> Parts:
    """Take (seeds, draws) apart, one value a cell; a part that comes out below zero is none."""
    seeds, draws = values.shape
    rows, columns = values.mean(axis=1), values.mean(axis=0)
    rest = values - rows[:, None] - columns[None, :] + values.mean()
    left = float((rest**2).sum() / ((seeds - 1) * (draws - 1)))
    of_seed = float(rows.var(ddof=1)) - left / draws
    of_draw = float(columns.var(ddof=1)) - left / seeds
    return Parts(mean=float(values.mean()), seed=max(0.0, of_seed) ** 0.5, draw=max(0.0, of_draw) ** 0.5, rest=left**0.5)


def with_draws(study: Study, draws: int) -> Study:
    """Return the study whose runs are read with so many draws of every probe."""
    probes = [replace(probe, name=f"{probe.name}{_MARK}{draw}") for draw in range(draws) for probe in study.probes]
    return replace(study, probes=tuple(probes))


def measured(study: Study, result: RunResult, draws: int) -> dict[str, list[float]]:
    """Return each measure of a run, a value a draw, as the study's objective takes it."""
    start, weights = ceil(study.objective.burn_in * result.samples), {probe.family: probe.weight for probe in study.probes}
    rows = result.trajectory.table
    number = rows["probe"].str.rpartition(_MARK)[2].astype(int)
    each = [
        Trajectory(rows[number == draw]).measures(start=start, stop=result.samples, weights=weights) for draw in range(draws)
    ]
    return {measure: [float(getattr(of_draw, measure)) for of_draw in each] for measure in MEASURES}


def mixes_of(study: Study, files: Sequence[Path], hand_made: Sequence[str]) -> dict[str, Mix]:
    """Return static, the files' mixes and the hand-made ones, of equal exposure. Raises UserError for one of another study."""
    sizes, _ = stream_sizes(study)
    shares = study.shares(sizes)
    found = {"static": study.mix("static", controls.static(shares))}
    for path in files:
        mix = Mix.load(path)
        if mix.streams.keys() != study.streams.keys():
            raise UserError(f"{path} mixes {', '.join(mix.streams)}, the study {', '.join(study.streams)}")
        found[f"{path.stem} (found)"] = study.mix(path.stem, mix.phases)
    return found | {name: study.mix(name, controls.hand_made(name, shares, study.favour)) for name in hand_made}


def train(study: Study, mixes: Mapping[str, Mix], seeds: int, draws: int, runs: Path, workers: int) -> dict[str, FloatArray]:
    """Return the measures of every mix, shape (measures, seeds, draws)."""
    asked = with_draws(study, draws)
    numbers = [keyed_seed("item draws", study.seed, index) % 10**6 for index in range(seeds)]
    requests: dict[str, list[RunRequest]] = {
        name: [request_of(asked, mix.name.replace(" ", "-"), mix, seed, PROOF_DRAW) for seed in numbers]
        for name, mix in mixes.items()
    }
    pool = Workers(runs=runs, count=workers)
    try:
        pool.results([request for each in zip(*requests.values(), strict=True) for request in each])
        results = {name: [required(pool.result(request)) for request in each] for name, each in requests.items()}
    finally:
        pool.kill()
    return {
        name: np.asarray([[measured(study, result, draws)[measure] for result in each] for measure in MEASURES])
        for name, each in results.items()
    }


def rows_of(name: str, values: FloatArray) -> list[list[str]]:
    """Return a row of the table a measure; `values` is (measures, seeds, draws)."""
    rows = []
    for measure, of_measure in zip(MEASURES, values, strict=True):
        parts = parts_of(of_measure)
        quoted, whole = parts.quoted(PAIRS), parts.whole(PAIRS)
        numbers = [parts.seed, parts.draw, parts.rest, quoted, whole, parts.fresh(PAIRS)]
        ratio = f"{whole / quoted:.2f}" if quoted > 0 else "-"
        rows.append([name, measure, f"{parts.mean:+.3f}", *(f"{number:.3f}" for number in numbers), ratio])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path)
    parser.add_argument("--mixes", type=Path, nargs="*", default=[Path("mixes/default.yaml")])
    parser.add_argument("--hand-made", nargs="*", choices=HAND_MADE, default=["hold-then-low", "ramp-up"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs/item-draws"))
    options = parser.parse_args()
    study = load_study() if options.study is None else load_study(options.study)
    mixes = mixes_of(study, options.mixes, options.hand_made)
    values = train(study, mixes, options.seeds, options.draws, options.runs, options.workers)
    header = ["", "measure", "mean", "sd of the seed", "of the draw", "of the rest"]
    header += [f"error quoted with {PAIRS} pairs", "with the draw's part", "a draw for each pair", "with / quoted"]
    gains = [row for name in mixes if name != "static" for row in rows_of(f"{name} - static", values[name] - values["static"])]
    levels = [row for name in mixes for row in rows_of(name, values[name])]
    about = f"Study `{study.name}`: {options.seeds} seeds, {options.draws} draws of {study.probes[0].items} items a probe."
    publish(
        Path(__file__).with_suffix(".md"),
        "Seeds and draws of items",
        [about, "## Gains over static, paired by seed and draw", table(header, gains), "## Levels", table(header, levels)],
    )


if __name__ == "__main__":
    main()
