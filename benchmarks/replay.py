"""Samplers and published peers compared on real runs that are already there (benchmarks/replay_runs.py makes them).

    python benchmarks/replay.py benchmarks/replay_runs.csv [--replicates 20] > benchmarks/replay.md

Every method proposes with the code of a search, on the default study's space (under free exposure: with that), `ahead`
trials at once. A proposal is mapped to the nearest row of the table that was not used yet (distance of square-rooted
proportions in five slices), whose measured value and constraints are told. A replicate sees a random 80 % of the rows;
those who propose static mixes are mapped to static rows. All winners are named in the same way: the highest posterior
mean of the surrogate on what the method has seen, among those it holds feasible. What a winner is worth is the
posterior mean of the surrogate on the whole table, which no method saw; and, where it was run on several seeds, their
mean. A peer that plans for a budget is run anew for each; other methods are looked at underway. Nothing is enqueued.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time

import numpy as np
import numpy.typing as npt
import optuna
import pandas as pd

from curriculum.probe import RunMeasures
from curriculum.search.acquisition import merit
from curriculum.search.baselines import PEERS
from curriculum.search.objective import Reference, Score, reference_of, search_value, violations
from curriculum.search.proposer import Evidence
from curriculum.search.samplers import make_proposer
from curriculum.search.space import SearchSpace
from curriculum.search.study import STATIC_SAMPLERS, Study
from curriculum.search.study_file import load_study
from curriculum.search.surrogate import Array, Surrogate, inputs, one_thread
from curriculum.units import keyed_seed

METHODS = ("random", "tpe", "gp", "tpe-then-gp", "cmaes", "regmix-d", "regmix", "olmix")
BUDGETS = (10, 25, 50)
EVERYTHING = 10**6  # of random, for reference: every row that a replicate sees
SEEN = 0.8  # share of the rows that a replicate may be mapped to
KNOTS = 5
MEASURES = ("time_general", "area", "final_margin", "longest_stay", "hops", "worst_probe")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Table:
    """The rows of one kind of exposure, as trials of a study in a space."""

    study: Study
    space: SearchSpace
    roots: Array  # (rows, streams * slices), as the surrogate sees curricula
    trials: tuple[Evidence, ...]
    is_static: npt.NDArray[np.bool_]
    curricula: npt.NDArray[np.int64]

    def truth(self) -> tuple[Array, npt.NDArray[np.bool_], Array]:
        """Return each row's smoothed value, whether it is then feasible, and its curriculum's mean over seeds (or NaN)."""
        with one_thread():
            surrogate = Surrogate.fit(self.space, self.trials)
            points = surrogate.points([trial.parameters for trial in self.trials])
            values, _ = surrogate.posterior(points)
            feasible = surrogate.feasibility(points) >= 0.5
        measured = pd.Series([trial.value for trial in self.trials], dtype=float).groupby(self.curricula)
        means = measured.mean().where(measured.count() > 1)
        return values, feasible, means.reindex(self.curricula.tolist()).to_numpy()

    def noise(self) -> float:
        """Return the standard deviation over seeds of the value of one curriculum (root mean square over curricula)."""
        measured = pd.Series([trial.value for trial in self.trials], dtype=float).groupby(self.curricula)
        return float(np.sqrt(measured.var().dropna().mean()))


def score_of(row: pd.Series) -> Score:
    """Return a row's measures as a search sees them."""
    measures = RunMeasures(**{name: float(row[name]) for name in MEASURES})
    loss = {str(name).removeprefix("loss_"): float(row[name]) for name in row.index if str(name).startswith("loss_")}
    return Score(measures=measures, tail=measures, loss=loss, bits={})


def tables_of(frame: pd.DataFrame) -> dict[str, Table]:
    """Return the table's halves by their exposure; static's rows are the constraints' reference."""
    scores = [score_of(row) for _, row in frame.iterrows()]
    is_reference = ((frame.exposure == "fixed") & (frame.kind == "static")).to_numpy()
    reference = reference_of([score for score, counts in zip(scores, is_reference, strict=True) if counts])
    found = {}
    for exposure in ("fixed", "free"):
        rows = np.flatnonzero((frame.exposure == exposure).to_numpy())
        found[exposure] = table_of(frame.iloc[rows], [scores[row] for row in rows], reference, exposure)
    return found


def table_of(frame: pd.DataFrame, scores: Sequence[Score], reference: Reference, exposure: str) -> Table:
    default = load_study()
    study = replace(default, exposure=exposure)  # type: ignore[arg-type]
    space = SearchSpace(study, study.shares(dict.fromkeys(study.streams, 1)))
    names = [f"{stream}_{knot}" for knot in range(KNOTS) for stream in study.streams]
    matrices = frame[names].to_numpy(dtype=np.float64).reshape(len(frame), KNOTS, -1)
    trials = [
        Evidence(
            number=index,
            parameters=space.parameters(matrix),
            value=search_value(study, score),
            excess=violations(study, score, reference),
        )
        for index, (matrix, score) in enumerate(zip(matrices, scores, strict=True))
    ]
    roots = (np.sqrt(matrices) / np.sqrt(KNOTS)).transpose(0, 2, 1).reshape(len(frame), -1)
    return Table(
        study=study,
        space=space,
        roots=roots,
        trials=tuple(trials),
        is_static=np.ptp(matrices, axis=1).max(axis=1) < 1e-3,
        curricula=frame.curriculum.to_numpy(dtype=np.int64),
    )


def rows_seen(table: Table, replicate: int) -> npt.NDArray[np.bool_]:
    """Return which rows the methods of a replicate may be mapped to, shape (rows,)."""
    return np.random.default_rng(keyed_seed("replicate", replicate)).random(len(table.trials)) < SEEN


def replayed(table: Table, method: str, budget: int, replicate: int) -> list[int]:
    """Return the rows that a method was mapped to, in order; fewer than `budget` where the table has no more."""
    free = rows_seen(table, replicate)
    if method in STATIC_SAMPLERS:
        free &= table.is_static
    study = replace(table.study, search=replace(table.study.search, sampler=method))  # type: ignore[arg-type]
    proposer = make_proposer(study, table.space, budget)
    used: list[int] = []
    for number in range(min(budget, int(free.sum()))):
        evidence = seen_by(table, used, ahead=study.search.ahead)
        seed = keyed_seed("replay", method, replicate, number)
        proposal = inputs(table.space, [proposer.propose(number, evidence, seed=seed)]).reshape(-1)
        distances = ((table.roots - proposal) ** 2).sum(axis=1)
        used.append(int(np.argmin(np.where(free, distances, np.inf))))
        free[used[-1]] = False
    return used


def seen_by(table: Table, used: Sequence[int], *, ahead: int) -> list[Evidence]:
    """Return the rows used so far as trials, the last of which still run."""
    known = len(used) - ahead
    return [
        replace(table.trials[row], number=number)
        if number <= known
        else Evidence(number=number, parameters=table.trials[row].parameters, excess={})
        for number, row in enumerate(used)
    ]


def named(table: Table, used: Sequence[int]) -> int:
    """Return the row that is named the winner of those used."""
    with one_thread():
        surrogate = Surrogate.fit(table.space, seen_by(table, used, ahead=0))
        scores = merit(surrogate)(surrogate.points([table.trials[row].parameters for row in used]))
    return used[int(np.argmax(scores))]


def winners(table: Table, method: str, replicate: int) -> dict[int, int]:
    """Return the row named at each budget."""
    budgets = (*BUDGETS, EVERYTHING) if method == "random" else BUDGETS
    if method in PEERS:
        return {budget: named(table, replayed(table, method, budget, replicate)) for budget in budgets}
    used = replayed(table, method, max(budgets), replicate)
    return {budget: named(table, used[:budget]) for budget in budgets}


def lines_of(table: Table, exposure: str, replicates: int) -> list[str]:
    values, feasible, means = table.truth()
    seen = sorted(int(rows_seen(table, replicate).sum()) for replicate in range(replicates))
    best = int(np.argmax(np.where(feasible, values, -np.inf)))
    best_runs = int((table.curricula == table.curricula[best]).sum())
    lines = [
        f"## Exposure {exposure}: {len(table.trials)} rows of {len(set(table.curricula.tolist()))} curricula",
        "",
        f"Smoothed value: median row {np.median(values):.3f}, best feasible row {values[feasible].max():.3f}; "
        f"{feasible.mean():.0%} of the rows feasible; noise of one run (sd over seeds) {table.noise():.3f}. A replicate sees "
        f"{seen[0]} to {seen[-1]} rows (median {int(np.median(seen))}); the best feasible row is one of {best_runs} "
        "run(s) of its curriculum.",
        "",
        "| method | at 10 | at 25 | at 50 | all rows seen | feasible at 25, 50 | at 50, mean over seeds | s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for method in METHODS:
        if method in STATIC_SAMPLERS and exposure == "fixed":
            continue
        began = process_time()
        found = [winners(table, method, replicate) for replicate in range(replicates)]
        seconds = (process_time() - began) / replicates
        at = {budget: np.asarray([of[budget] for of in found]) for budget in found[0]}
        cells = [quartiles(values[at[budget]]) if budget in at else "" for budget in (*BUDGETS, EVERYTHING)]
        repeated = means[at[50]][~np.isnan(means[at[50]])]
        over_seeds = f"{np.median(repeated):.3f} ({len(repeated)})" if len(repeated) else "-"
        holds = f"{feasible[at[25]].mean():.0%}, {feasible[at[50]].mean():.0%}"
        lines.append(f"| {method} | {' | '.join(cells)} | {holds} | {over_seeds} | {seconds:.1f} |")
        print(lines[-1], file=sys.stderr, flush=True)
    return [*lines, ""]


def quartiles(values: Array) -> str:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return f"{middle:.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--replicates", type=int, default=20)
    arguments = parser.parse_args()
    os.nice(10)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    frame = pd.read_csv(arguments.table)
    print(f"# Samplers and peers on {len(frame)} real runs\n")
    print(f"    python benchmarks/replay.py {arguments.table} --replicates {arguments.replicates}\n")
    print(
        f"What the winner that each method names is worth: median [quartiles] over {arguments.replicates} replicates, as the "
        "surrogate on the whole table holds it (the kind of model that the default searches with; beside it means over seeds, "
        "where there are several). The value is what the search maximises, (time_general + area) / 2. How: the docstring of "
        "benchmarks/replay.py.\n"
    )
    for exposure, table in tables_of(frame).items():
        print("\n".join(lines_of(table, exposure, arguments.replicates)), flush=True)


if __name__ == "__main__":
    main()
