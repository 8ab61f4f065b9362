"""Real runs of random curricula on the default testbed, to replay samplers and peers on without training anything.

    python benchmarks/replay_runs.py [--curricula 200] [--repeated 15] [--workers 2] > benchmarks/replay_runs.csv
    python benchmarks/replay_runs.py --finished                 trains nothing: what there is so far

Half of the table has the default study's exposure (`fixed`: random rank-one curricula of its space and its hand-made
ones), half has any (`free`: static mixes drawn uniformly from the simplex, and the like with a rank-one tilt over time).
Each curriculum is run on a seed of its own; `--repeated` of each half on four more, which gives the noise. Weights are
the proportions of knot k and stream s. Runs are kept under `runs/replay`, so a second call goes on, or only prints.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd

from curriculum.mix import Mix, Phase
from curriculum.proxy.run import RunRequest, RunResult, load_run
from curriculum.search import controls
from curriculum.search.exposure import Matrix, exact_rows, scale_to_exposure
from curriculum.search.objective import Score, score_run
from curriculum.search.space import SearchSpace, knot_ends
from curriculum.search.study import HAND_MADE, Study
from curriculum.search.study_file import load_study
from curriculum.search.workers import Workers
from curriculum.units import keyed_seed

KNOTS = 5
EXTRA_SEEDS = 4
TILT = 3.0  # proportions may be tilted by exp(3) over time, as in the default space
MEASURES = ("time_general", "area", "final_margin", "longest_stay", "hops", "worst_probe")
SIZES = dict.fromkeys(("arith", "icl", "count", "repeat", "facts"), 1)  # the study states its exposure


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Row:
    """One run of the table: `matrix` (knots, streams) holds proportions; `kind` says how it was drawn."""

    exposure: str
    kind: str
    curriculum: int
    repeat: int
    matrix: Matrix
    phases: tuple[Phase, ...]


def drawn(study: Study, exposure: str, number: int) -> tuple[str, Matrix]:
    """Return how curriculum `number` is made, and its proportions (knots, streams)."""
    random = np.random.default_rng(keyed_seed("replay", exposure, number))
    shares = np.asarray([float(share) for share in study.shares(SIZES).values()])
    tilt = np.exp(TILT * np.outer(random.uniform(-1, 1, KNOTS), random.uniform(-1, 1, len(shares))))
    if exposure == "fixed":
        return "rank-one", unit_rows(shares * tilt)
    base = random.dirichlet(np.ones(len(shares)))
    return ("static", unit_rows(base * np.ones_like(tilt))) if number % 2 else ("tilted", unit_rows(base * tilt))


def unit_rows(matrix: Matrix) -> Matrix:
    """Return the matrix with rows that sum to one, none of whose entries is negligible."""
    rows = np.clip(matrix / matrix.sum(axis=1, keepdims=True), 1e-4, None)
    found: Matrix = rows / rows.sum(axis=1, keepdims=True)
    return found


def phases_of(study: Study, exposure: str, matrix: Matrix) -> tuple[Phase, ...]:
    """Return five phases of equal length; under fixed exposure exactly of it."""
    shares = study.shares(SIZES)
    if exposure == "fixed":
        durations = [1] * KNOTS
        rows = exact_rows(scale_to_exposure(matrix, durations, list(shares.values())), durations, list(shares.values()))
    else:
        rows = [[round(value * 10**6) for value in row] for row in matrix]
    weights = [dict(zip(study.streams, map(Decimal, row), strict=True)) for row in rows]
    return tuple(Phase(until=end, weights=row) for end, row in zip(knot_ends(KNOTS), weights, strict=True))


def hand_made(study: Study) -> Iterator[tuple[str, tuple[Phase, ...]]]:
    """Yield static and the hand-made curricula."""
    shares = study.shares(SIZES)
    yield "static", controls.static(shares)
    for name in HAND_MADE:
        yield name, controls.hand_made(name, shares, study.favour)


def rows_of(study: Study, curricula: int, repeated: int) -> list[Row]:
    """Return the table's runs, the halves in turns, so that a table cut short is a table."""
    ends = SearchSpace(study, study.shares(SIZES)).ends
    found = []
    for number, (kind, phases) in enumerate(hand_made(study)):
        matrix = controls.knot_matrix(phases, ends, ramps=False)
        found += [
            Row(exposure="fixed", kind=kind, curriculum=-1 - number, repeat=repeat, matrix=matrix, phases=phases)
            for repeat in range(1 + EXTRA_SEEDS)
        ]
    for number in range(curricula):
        for exposure in ("fixed", "free"):
            kind, matrix = drawn(study, exposure, number)
            phases = phases_of(study, exposure, matrix)
            exact = controls.knot_matrix(phases, ends, ramps=False)
            found += [
                Row(exposure=exposure, kind=kind, curriculum=number, repeat=repeat, matrix=exact, phases=phases)
                for repeat in range(1 + EXTRA_SEEDS * (number < repeated))
            ]
    return found


def request(study: Study, row: Row) -> RunRequest:
    """Return the run of a row."""
    seed = keyed_seed("replay seed", row.exposure, row.curriculum, row.repeat) % 10**6
    return RunRequest(
        label=label(row), mix=study.mix("replayed", row.phases), seed=seed,
        samples=study.samples, recipe=study.recipe, probes=study.probes, item_seed=study.seed,
    )  # fmt: skip


def as_line(row: Row, score: Score, streams: Sequence[str]) -> Mapping[str, object]:
    """Return a row of the table."""
    weights = {
        f"{name}_{knot}": round(float(row.matrix[knot, index]), 5)
        for knot in range(KNOTS)
        for index, name in enumerate(streams)
    }
    measures = {name: round(score.metric(name), 5) for name in MEASURES}
    loss = {f"loss_{name}": round(value, 5) for name, value in score.loss.items()}
    return (
        {"exposure": row.exposure, "kind": row.kind, "curriculum": row.curriculum, "repeat": row.repeat}
        | measures
        | loss
        | weights
    )


def finished(study: Study, folder: Path, row: Row) -> tuple[Row, RunResult] | None:
    """Return a row's run, whichever version trained it, with the proportions that it played by its own mix file."""
    for place in sorted(folder.glob(f"{label(row)}-s*")):
        result = load_run(place)
        if result is not None:
            phases = Mix.load(place / "mix.yaml").phases
            ends = SearchSpace(study, study.shares(SIZES)).ends
            return replace(row, phases=phases, matrix=controls.knot_matrix(phases, ends, ramps=False)), result
    return None


def label(row: Row) -> str:
    """Return what the run folder of a row begins with."""
    return f"{row.exposure}-{row.curriculum}-{row.repeat}"


def print_table(study: Study, found: Sequence[tuple[Row, RunResult]]) -> None:
    """Print the rows that have a run."""
    lines = [as_line(row, score_run(study, result), list(study.streams)) for row, result in found]
    pd.DataFrame(lines).to_csv(sys.stdout, index=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curricula", type=int, default=200)
    parser.add_argument("--repeated", type=int, default=15)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--finished", action="store_true")
    arguments = parser.parse_args()
    study = load_study()
    folder = Path("runs") / "replay"
    folder.mkdir(parents=True, exist_ok=True)
    rows = rows_of(study, arguments.curricula, arguments.repeated)
    if arguments.finished:
        print_table(study, [of for of in (finished(study, folder, row) for row in rows) if of is not None])
        return
    done = 0

    def report(_: object) -> None:
        nonlocal done
        done += 1
        print(f"{done} of {len(rows)}", file=sys.stderr, flush=True)

    workers = Workers(runs=folder, count=arguments.workers, on_finished=report)
    outcomes = workers.results([request(study, row) for row in rows])
    workers.drain()
    print_table(study, [(row, of.result) for row, of in zip(rows, outcomes, strict=True) if of.result is not None])


if __name__ == "__main__":
    main()
