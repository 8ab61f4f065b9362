"""Does a search that starts from a scan need fewer trials? Replayed many times on real runs that are already there.

    python benchmarks/scan_replay.py train [--workers 2] > benchmarks/scan_replay.csv          (15 runs: the scan's curricula)
    python benchmarks/scan_replay.py table [--replicates 40] > benchmarks/scan_replay.md
    python benchmarks/scan_replay.py unconstrained [--replicates 40] >> benchmarks/scan_replay.md

The table is that of benchmarks/replay_runs.py (211 runs of the default study's exposure) and the scan's own three
curricula, each run on five seeds. As in benchmarks/replay.py the default sampler proposes with the code of a search, a
proposal is mapped to the nearest row that was not used yet, of a random 80 %, and its measured value and constraints are
told. Both methods begin with static, as search/default-unaided.yaml does; the one with a scan tries the scan's three
curricula before it, one random run of each, and they count as trials. Nothing else differs: equal rows, equal seeds of
proposals. After so many trials the winner is named by the highest posterior mean among those held feasible; and all again
as if the study had no constraints. What it is worth is the posterior mean of the surrogate on the whole table; whether it
is feasible, too. The price: rows are few, so that a proposal may be played by another curriculum than it meant, and all
replicates share one table; benchmarks/scan_search.py asks live.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import optuna
import pandas as pd
from replay import SEEN, Table, named, score_of, seen_by, table_of
from replay_runs import EXTRA_SEEDS, SIZES, Row, print_table, request
from scan_start import scanned_study
from setting import command, table

from curriculum.search import controls
from curriculum.search.objective import reference_of
from curriculum.search.samplers import make_proposer
from curriculum.search.scan_start import scan_start
from curriculum.search.space import SLICES, SearchSpace
from curriculum.search.statistics import mean_interval
from curriculum.search.surrogate import inputs
from curriculum.search.workers import Workers
from curriculum.units import keyed_seed

LOOKS = (5, 10, 15, 20, 25, 30)
SCANS = ("scan-first", "scan-falling", "scan-rising")
METHODS = {"unaided": ("static",), "scan": (*SCANS, "static")}
_FIRST = -101  # number of the first of the scan's curricula, in the table
Numbers = npt.NDArray[np.float64]


def train(workers: int) -> None:
    """Run the scan's curricula as a search plays them; print their rows."""
    with TemporaryDirectory() as folder:
        study = scanned_study(Path(folder))
        shares = study.shares(SIZES)
        space = SearchSpace(study, shares)
        rows = []
        for place, (name, matrix) in enumerate(scan_start(study, shares, SLICES).items()):
            phases = space.phases(space.parameters(matrix))
            played = controls.knot_matrix(phases, space.ends, ramps=False)
            rows += [
                Row(exposure="fixed", kind=name, curriculum=_FIRST - place, repeat=repeat, matrix=played, phases=phases)
                for repeat in range(1 + EXTRA_SEEDS)
            ]
        pool = Workers(runs=Path("runs") / "replay", count=workers)
        outcomes = pool.results([request(study, row) for row in rows])
        pool.drain()
    print_table(study, [(row, of.result) for row, of in zip(rows, outcomes, strict=True) if of.result is not None])


def replayed(found: Table, kinds: Sequence[str], method: str, budget: int, replicate: int) -> list[int]:
    """Return the rows that a search was mapped to, in order; `kinds` (rows,) says what each row is."""
    random = np.random.default_rng(keyed_seed("replicate", replicate))
    free = random.random(len(kinds)) < SEEN
    of = np.asarray(kinds)
    used = [int(random.permutation(np.flatnonzero(of == name))[0]) for name in METHODS["scan"]]
    used = used[-len(METHODS[method]) :]
    free &= ~np.isin(of, SCANS)
    free[used] = False
    proposer = make_proposer(found.study, found.space, budget)
    for number in range(len(used), budget):
        evidence = seen_by(found, used, ahead=found.study.search.ahead)
        seed = keyed_seed("scan replay", replicate, number)
        proposal = inputs(found.space, [proposer.propose(number, evidence, seed=seed)]).reshape(-1)
        distances = ((found.roots - proposal) ** 2).sum(axis=1)
        used.append(int(np.argmin(np.where(free, distances, np.inf))))
        free[used[-1]] = False
    return used


def document(frame: pd.DataFrame, replicates: int) -> Iterator[str]:
    """Yield the document's parts."""
    found, kinds = _table(frame)
    values, feasible, _ = found.truth()
    yield (
        f"# Searches that start from a scan, replayed\n\n`{command()}`: {replicates} replicates on {len(frame)} real runs; "
        "means and 95 % intervals over replicates, which share these runs. How: the program's docstring."
    )
    rows = [_curriculum(kind, frame, values, feasible) for kind in ("static", *SCANS)]
    yield table(("curriculum", "runs", "time general", "final margin", "value", "value, whole table", "feasible"), rows)
    static = float(values[np.asarray(kinds) == "static"].mean())
    yield (
        "`value` is what the search maximises, (time general + area) / 2, of the named winner on the whole table; `usable`: "
        "the same, but static's value where the named winner is not feasible, since such a one is not proven. Best feasible "
        f"row: {values[feasible].max():.3f}, best row: {values.max():.3f}, static: {static:.3f}."
    )
    yield "## Under the study's constraints"
    yield from _compared(found, kinds, replicates, values, feasible, static)


def unconstrained(frame: pd.DataFrame, replicates: int) -> Iterator[str]:
    """Yield what both methods name where the value alone counts."""
    found, kinds = _table(frame)
    values, _, _ = found.truth()
    trials = tuple(replace(trial, excess={}) for trial in found.trials)
    study = replace(found.study, objective=replace(found.study.objective, subject_to=()))
    yield f"## Without constraints\n\n`{command()}`: {replicates} replicates."
    everything, static = np.ones(len(values), dtype=np.bool_), float(values[np.asarray(kinds) == "static"].mean())
    yield from _compared(replace(found, trials=trials, study=study), kinds, replicates, values, everything, static)


def _table(frame: pd.DataFrame) -> tuple[Table, list[str]]:
    """Return the rows as trials of the default study, and what kind each is."""
    scores, kinds = [score_of(row) for _, row in frame.iterrows()], frame["kind"].tolist()
    reference = reference_of([score for score, kind in zip(scores, kinds, strict=True) if kind == "static"])
    return table_of(frame, scores, reference, "fixed"), kinds


def _compared(
    found: Table, kinds: Sequence[str], replicates: int, values: Numbers, feasible: npt.NDArray[np.bool_], static: float
) -> Iterator[str]:
    """Yield what both methods name after so many trials, and how often that is a curriculum of the scan's."""
    rows = {
        method: np.asarray(
            [
                [named(found, used[:look]) for look in LOOKS]
                for used in (replayed(found, kinds, method, max(LOOKS), replicate) for replicate in range(replicates))
            ]
        )
        for method in METHODS
    }
    worth = {method: np.where(feasible[of], values[of], static) for method, of in rows.items()}
    yield table(
        ("trials", "value, unaided", "value, scan", "difference", "feasible, unaided", "feasible, scan", "usable, difference"),
        [_look(place, rows, values, feasible, worth) for place in range(len(LOOKS))],
    )
    shares = np.isin(np.asarray(kinds)[rows["scan"]], SCANS).mean(axis=0)
    each = ", ".join(f"{share:.0%}" for share in shares)
    yield f"Of the winners named with a scan, so many are the scan's own curricula, look by look: {each}."


def _curriculum(kind: str, frame: pd.DataFrame, values: Numbers, feasible: npt.NDArray[np.bool_]) -> list[str]:
    """Return a row: what a curriculum that is tried first is worth."""
    own = (frame["kind"] == kind).to_numpy()
    rows = frame[own]
    general, final, area = (float(rows[name].mean()) for name in ("time_general", "final_margin", "area"))
    cells = [f"{number:.3f}" for number in (general, final, (general + area) / 2, float(values[own].mean()))]
    return [kind, str(len(rows)), *cells, "yes" if feasible[own].all() else "no"]


def _look(
    place: int,
    rows: dict[str, npt.NDArray[np.int64]],
    values: Numbers,
    feasible: npt.NDArray[np.bool_],
    worth: dict[str, Numbers],
) -> list[str]:
    """Return a row: both methods after equally many trials."""
    at = {method: of[:, place] for method, of in rows.items()}
    means = [f"{values[at[method]].mean():.3f}" for method in METHODS]
    holds = [f"{feasible[at[method]].mean():.0%}" for method in METHODS]
    difference = mean_interval((values[at["scan"]] - values[at["unaided"]]).tolist())
    usable = mean_interval((worth["scan"][:, place] - worth["unaided"][:, place]).tolist())
    return [str(LOOKS[place]), *means, str(difference), *holds, str(usable)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("train", "table", "unconstrained"))
    parser.add_argument("--replicates", type=int, default=40)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    if options.verb == "train":
        train(options.workers)
        return
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    here = Path(__file__).parent
    both = pd.concat([pd.read_csv(here / name) for name in ("replay_runs.csv", "scan_replay.csv")], ignore_index=True)
    frame = both[both["exposure"] == "fixed"].reset_index(drop=True)
    for part in (document if options.verb == "table" else unconstrained)(frame, options.replicates):
        print(f"{part}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
