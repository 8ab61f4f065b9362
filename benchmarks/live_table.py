"""What live searches found, as a document: reads the rows that benchmarks/live_studies.py and many_streams.py write.

    python benchmarks/live_table.py RESULTS.csv [--against random] [--studies search/*.yaml] > benchmarks/live_studies.md

A replicate is the unit: the ten seeds of its winner are averaged first (differences on the same seed are taken before
that), and means and 95 % intervals (Student's t) are over replicates. Seeds are not pooled: ten runs of one winner say how
good that winner is, not how good a method's next winner will be. The price: with three replicates intervals are wide, and
with one there are none. A winner keeps the constraints if its mean over the seeds does, the limits being those of the
study's objective, set by static on the same seeds, without slack. Partial results are shown as far as they go.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from setting import command, table

from curriculum.commands.known_streams import find_stream
from curriculum.errors import UserError
from curriculum.probe import RunMeasures
from curriculum.search.objective import Score, reference_of, violations
from curriculum.search.statistics import mean_interval
from curriculum.search.study import Study
from curriculum.search.study_file import load_study
from curriculum.units import format_count

MEASURES = ("time_general", "value")
_COLUMNS = ("base", "exposure", "replicate", "method", "budget", "arm", "seed", *MEASURES, "final_margin")
_LOSS = "loss_"
ABOUT = (
    "Winner and static on ten seeds and probe items that no search saw; means and 95 % intervals over replicates, differences "
    "paired by seed; value is what a search maximises; feasible: winners whose mean keeps all constraints; claimable: a winner "
    "that breaks one counts as static, since a proof claims none such (a search proves two finalists and leads with one that "
    "keeps them, these tables know the first alone). regmix-d is a regression on schedules after RegMix-D, not its authors' "
    "program (curriculum/search/baselines/regmix_d.py says what differs). How: the docstrings of this and of the program that "
    "made the rows, {made_by}."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """A method looked at after `budget` trials: its winners and static, by replicate, over the same seeds."""

    method: str
    budget: int
    winners: Mapping[int, pd.DataFrame]
    statics: Mapping[int, pd.DataFrame]

    @property
    def name(self) -> str:
        """Return how it is called in tables."""
        return f"{self.method}@{self.budget}"


def looks_of(rows: pd.DataFrame) -> list[Look]:
    """Return the looks of one study and exposure, in the order in which they came."""
    found = []
    for (method, budget), of in rows.groupby(["method", "budget"], sort=False):
        arms = {
            arm: {int(str(replicate)): one.set_index("seed").sort_index() for replicate, one in each.groupby("replicate")}
            for arm, each in of.groupby("arm")
        }
        found.append(Look(method=str(method), budget=int(str(budget)), winners=arms["winner"], statics=arms["static"]))
    return found


def differences(left: Mapping[int, pd.DataFrame], right: Mapping[int, pd.DataFrame], measure: str) -> list[float]:
    """Return the mean difference, paired by seed, of every replicate that both have."""
    return [float((left[replicate][measure] - right[replicate][measure]).mean()) for replicate in left if replicate in right]


def means(frames: Mapping[int, pd.DataFrame], measure: str) -> list[float]:
    """Return the mean over seeds of every replicate."""
    return [float(frame[measure].mean()) for frame in frames.values()]


def cell(values: Sequence[float], *, signed: bool = False) -> str:
    """Return the mean over replicates and, where there are several, its interval."""
    if not values:
        return "-"
    sign = "+" if signed else ""
    found = mean_interval(values)
    return f"{found.mean:{sign}.3f}" + (f" [{found.low:{sign}.3f}, {found.high:{sign}.3f}]" if len(values) > 1 else "")


def score_of(row: Mapping[str, float]) -> Score:
    """Return a score that holds what constraints ask for."""
    measures = RunMeasures(
        time_general=row["time_general"],
        area=row["area"],
        final_margin=row["final_margin"],
        longest_stay=np.nan,
        hops=np.nan,
        worst_probe=np.nan,
    )
    loss = {name.removeprefix(_LOSS): row[name] for name in row if name.startswith(_LOSS) and np.isfinite(row[name])}
    return Score(measures=measures, tail=measures, loss=loss, bits={})


def overstepped(study: Study, winner: pd.DataFrame, static: pd.DataFrame) -> list[str]:
    """Return the constraints that the winner's mean over its seeds breaks."""
    reference = reference_of([score_of(row) for row in _records(static)])
    found = violations(study, score_of(_records(winner.mean(numeric_only=True).to_frame().T)[0]), reference, slack=0.0)
    return [name for name, excess in found.items() if excess > 0]


def _records(frame: pd.DataFrame) -> list[dict[str, float]]:
    numbers = frame.select_dtypes("number")
    return [dict(zip(map(str, numbers.columns), map(float, row), strict=True)) for row in numbers.to_numpy()]


def claimable(study: Study, look: Look, measure: str) -> list[float]:
    """Return every replicate's mean gain over static, none where the winner breaks a constraint."""
    gains = differences(look.winners, look.statics, measure)
    broken = [overstepped(study, frame, look.statics[replicate]) for replicate, frame in look.winners.items()]
    return [0.0 if of else gain for gain, of in zip(gains, broken, strict=True)]


def kept(study: Study, look: Look) -> str:
    """Return how many winners keep all constraints, and what the others break."""
    broken = [overstepped(study, frame, look.statics[replicate]) for replicate, frame in look.winners.items()]
    names = sorted({name for of in broken for name in of})
    return f"{sum(not of for of in broken)} of {len(broken)}" + (f" (broken: {', '.join(names)})" if names else "")


def by_replicate(study: Study, found: Sequence[Look]) -> str:
    """Return each replicate's winners: time general / value, with a star where a constraint is broken."""
    numbers = sorted({replicate for look in found for replicate in look.winners})

    def shown(look: Look, replicate: int) -> str:
        if replicate not in look.winners:
            return "-"
        star = "*" if overstepped(study, look.winners[replicate], look.statics[replicate]) else ""
        return " / ".join(f"{look.winners[replicate][measure].mean():.3f}" for measure in MEASURES) + star

    header = ["time general / value; *: breaks a constraint", *(f"replicate {number + 1}" for number in numbers)]
    return table(header, [[look.name, *(shown(look, number) for number in numbers)] for look in found])


def tokens_of(study: Study, budget: int) -> int:
    """Return the proxy tokens of a search without proof: reference, trials, and repeats (at most)."""
    known = {name: find_stream(name, stream).tokens_per_sample for name, stream in study.streams.items()}
    if None in known.values() or len(set(known.values())) > 1:
        raise UserError(f"study {study.name}: wanted streams of one known number of tokens a sample, got {known}")
    settings = study.search
    runs = settings.reference_seeds + budget + settings.candidates * settings.repeats
    return runs * study.samples * int(next(iter(known.values())) or 0)


def section(study: Study, title: str, found: Sequence[Look], against: str) -> str:
    """Return one study's tables under one exposure; others are compared with the method `against` at its longest budget."""
    replicates = len({replicate for look in found for replicate in look.winners})
    long = max((look for look in found if look.method == against), key=lambda look: look.budget, default=None)
    worth = [
        [
            look.name,
            str(len(look.winners)),
            *(cell(means(look.winners, measure)) for measure in MEASURES),
            *(cell(differences(look.winners, look.statics, measure), signed=True) for measure in MEASURES),
            kept(study, look),
            *(cell(claimable(study, look, measure), signed=True) for measure in MEASURES),
            format_count(tokens_of(study, look.budget)),
        ]
        for look in found
    ]
    header = ["method", "replicates", "time general", "value", "gain, time general", "gain, value", "feasible"]
    header += ["claimable gain, time general", "claimable gain, value", "proxy tokens"]
    parts = [
        f"## {title}: {replicates} replicate{'s' if replicates != 1 else ''}",
        table(header, worth),
        by_replicate(study, found),
    ]
    if long is not None:
        parts.append(table(["method", f"minus {long.name}, time general", "value", "pairs"], _against(found, long)))
    return "\n\n".join(parts)


def _against(found: Sequence[Look], long: Look) -> Iterator[list[str]]:
    for look in found:
        if look is not long:
            columns = [differences(look.winners, long.winners, measure) for measure in MEASURES]
            yield [look.name, *(cell(column, signed=True) for column in columns), str(len(columns[0]))]


def document(rows: pd.DataFrame, studies: Mapping[str, Study], against: str = "random") -> str:
    """Return the whole document. Raises UserError for columns that are missing or a study that is not known."""
    missing = [name for name in _COLUMNS if name not in rows]
    if missing:
        raise UserError(f"wanted the columns of benchmarks/live_studies.py, got none named {', '.join(missing)}")
    parts = []
    for (base, exposure), of in rows.groupby(["base", "exposure"], sort=False):
        if base not in studies:
            raise UserError(f"no study file is named {base!r}; give it with --studies")
        parts.append(section(studies[str(base)], f"{base}, exposure {exposure}", looks_of(of), against))
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--against", default="random", help="the method that all others are compared with")
    parser.add_argument("--made-by", default="benchmarks/live_studies.py", help="the command that made the rows")
    parser.add_argument("--studies", type=Path, nargs="+", default=sorted(Path("search").glob("*.yaml")))
    options = parser.parse_args()
    studies = {study.name: study for study in map(load_study, options.studies)}
    print("# Live searches\n")
    print(f"`{command()}`. {ABOUT.format(made_by=f'`{options.made_by}`')}\n")
    print(document(pd.read_csv(options.results), studies, options.against))


if __name__ == "__main__":
    main()
