"""What `time_general` counts on the natural testbed: when modes are formed, whether they change, and what moves together.

    python examples/natural/prepare.py --size study,0.3M
    curriculum ladder search/natural.yaml --sizes study,0.3M --curricula 8 --seeds 10 \\
        --starts 'examples/natural/data/starts/{size}' --workers 1
    python benchmarks/natural_modes.py [--ladder runs/natural-ladder] [--factors examples/natural/data/runs/factors]
        [--of ladder_natural]     # the table it goes with: natural_modes.md, of another ladder natural_modes_10m.md
        [--study search/natural-binding.yaml]     # whose probes the ladder asked

Nothing is trained: the readings of the ladder's runs, and of the first part of `natural_factors.py`, are looked at again. A
probe whose margin never left the band around zero is `unformed`, as is one that is not capable: the two are told apart here.
Runs are read from their first reading on; the start itself is read here, at the same items, to say what that leaves out.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import lcm
from pathlib import Path

import pandas as pd
from natural_factors import STUDY, finished, larger_cells, order_cells, request_of
from setting import publish, table

from curriculum.probe import Reading, Trajectory, read_probe
from curriculum.probe.modes import HYSTERESIS, modes_of
from curriculum.probe.specification import PROOF_DRAW
from curriculum.proxy.answers import ProxyAnswers
from curriculum.proxy.checkpoint import load_proxy
from curriculum.proxy.sizes import parse_sizes
from curriculum.search.study import Study
from curriculum.search.study_file import load_study

ROOT = Path(__file__).parents[1]
LARGER = "0.3M"
BURN_IN = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Runs of one size: `readings` with a column `run`, what the ladder says of each run (rows of `ladder.csv`), and the
    reading of the `start` by probe."""

    size: str
    start: Mapping[str, Reading]
    readings: pd.DataFrame
    rows: pd.DataFrame

    def at(self, position: int) -> pd.DataFrame:
        """Return the readings at a position."""
        return self.readings[self.readings["position"] == position]

    @property
    def ends(self) -> tuple[int, int]:
        """Return the positions of the first and the last reading."""
        return int(self.readings["position"].min()), int(self.readings["position"].max())


def groups_of(ladder: Path, read_start: Callable[[str], Mapping[str, Reading]]) -> list[Group]:
    """Read a ladder's runs, size by size, and their starts."""
    rows = pd.read_csv(ladder / "ladder.csv")
    found = []
    for size, of_size in rows.groupby("size", sort=False):
        trajectories = {run: Trajectory.load(ladder / run / "trajectory.parquet") for run in of_size["run"]}
        readings = joined(trajectories)
        found.append(Group(size=str(size), start=read_start(str(size)), readings=readings, rows=of_size))
    return found


def read_proof_items(study: Study, start: Path) -> dict[str, Reading]:
    """Return the reading of a checkpoint at the items that a ladder asks, by probe."""
    model = ProxyAnswers(load_proxy(start))
    return {probe.name: read_probe(probe.draw(PROOF_DRAW, seed=study.seed), model) for probe in study.probes}


def joined(trajectories: Mapping[str, Trajectory]) -> pd.DataFrame:
    """Return the readings of many runs as one table with the column `run`."""
    parts = [trajectory.table.assign(run=run) for run, trajectory in trajectories.items()]
    return pd.concat(parts, ignore_index=True)


def probe_rows(group: Group) -> Iterator[tuple[str, ...]]:
    """Yield a row a probe: margins and controls at both ends, how many runs are beyond the band, modes, changes."""
    first, last = group.ends
    for probe, of_probe in group.readings.groupby("probe", sort=False):
        begin, end = (of_probe[of_probe["position"] == position] for position in (first, last))
        left = of_probe[of_probe["capable"] & (of_probe["mode"] == "unformed")]
        yield (
            str(probe),
            f"{group.start[str(probe)].margin:+.3f} ({group.start[str(probe)].control_margin:.2f})",
            *(f"{part['margin'].mean():+.3f} ({part['control_margin'].mean():.2f})" for part in (begin, end)),
            *(f"{(part['margin'].abs() > HYSTERESIS).sum()}" for part in (begin, end)),
            *(general(part["mode"]) for part in (begin, end)),
            f"{len(left) / len(of_probe):.0%}",
            f"{1 - of_probe['capable'].mean():.1%}",
            said(changes(of_probe)),
        )


def general(modes: pd.Series[str]) -> str:
    """Return how many are general, and how many shallow where any is."""
    shallow = (modes == "shallow").sum()
    return f"{(modes == 'general').sum()}" + (f" ({shallow} shallow)" if shallow else "")


def shares_of(readings: pd.DataFrame) -> int:
    """Return of how many equal parts a `time_general` is made that is 0 or 1 for every probe: families weigh alike."""
    probes = readings.groupby("family")["probe"].nunique()
    return len(probes) * lcm(*probes.tolist())


def changes(readings: pd.DataFrame) -> Counter[tuple[str, str]]:
    """Count how often a mode became another, over runs and probes."""
    found: Counter[tuple[str, str]] = Counter()
    for _, of_run in readings.sort_values("position", kind="stable").groupby(["run", "probe"]):
        found.update(pair for pair in pairwise(of_run["mode"]) if pair[0] != pair[1])
    return found


def said(counted: Mapping[tuple[str, str], int]) -> str:
    """Return "31 unformed to general", or "none"."""
    return ", ".join(f"{count} {before} to {after}" for (before, after), count in sorted(counted.items())) or "none"


def time_general(group: Group, *, from_start: bool) -> list[float]:
    """Return each run's time_general; with `from_start` as if the start had been read too, at position 0.

    A reading speaks for the stretch before it, so that one at position 0 counts for none: it only says what a mode was.
    """
    last, found = group.ends[1], []
    for _, of_run in group.readings.groupby("run", sort=False):
        table_of_run = of_run.sort_values("position", kind="stable").copy()
        for probe, rows in table_of_run.groupby("probe"):
            before = [group.start[str(probe)]] if from_start else []
            margins = [*(reading.margin for reading in before), *rows["margin"]]
            capable = [*(reading.capable for reading in before), *rows["capable"]]
            table_of_run.loc[rows.index, "mode"] = modes_of(margins, capable)[len(before) :]
        found.append(Trajectory(table_of_run).measures(start=int(BURN_IN * last), stop=last).time_general)
    return found


def commonest(values: Sequence[float], shares: int) -> str:
    """Return how many values there are, and the commonest as parts of `shares`."""
    counted = Counter(round(value * shares, 2) for value in values)
    listed = ", ".join(f"{value:g}/{shares} in {count}" for value, count in counted.most_common(4))
    return f"{sum(values) / len(values):.3f} on average, {len(counted)} different in {len(values)} runs: {listed}"


def correlations(readings: pd.DataFrame, *, last: int, curricula: Mapping[str, str] | None = None) -> list[str]:
    """Return the correlation of every two families' margins at `last` and in the mean after the burn-in.

    Over runs, or where `curricula` says each run's, over the means of curricula.
    """
    cells = []
    for part in (readings[readings["position"] == last], readings[readings["position"] > BURN_IN * last]):
        means = part.groupby(["run", "family"])["margin"].mean().unstack()
        if curricula is not None:
            means = means.groupby(means.index.map(dict(curricula))).mean()
        cells += [f"{means[one].corr(means[other]):+.2f}" for one, other in combinations(means.columns, 2)]
    return cells


def factor_readings(runs: Path) -> dict[str, pd.DataFrame]:
    """Return the readings of the first part of `natural_factors.py` that are there, by size: their body alone."""
    study = load_study(STUDY)
    found: dict[str, dict[str, Trajectory]] = {}
    for cell in (*order_cells(), *larger_cells(parse_sizes(LARGER))):
        run = finished(request_of(study, cell), runs)
        if run is not None:
            found.setdefault(cell.size.name, {})[run.folder.name] = run.trajectory
    return {size: joined(trajectories) for size, trajectories in found.items()}


def report(groups: Sequence[Group], factors: Mapping[str, pd.DataFrame], ladder: str = "ladder_natural") -> list[str]:
    """Return the parts of the document."""
    first, last = groups[0].ends
    head = (
        "probe",
        "margin (control's) at the start",
        f"at {first:,}",
        f"at {last:,}",
        f"runs beyond {HYSTERESIS} at {first:,}",
        f"at {last:,}",
        f"runs general at {first:,}",
        f"at {last:,}",
        "readings unformed though capable",
        "not capable",
        "changes of mode",
    )
    parts = [
        f"{groups[0].rows['curriculum'].nunique()} orders of equal exposure at {len(groups)} sizes (`{ladder}.md`), items that "
        f"no search has seen, 64 of each probe; the burn-in ends at {BURN_IN * last:,.0f} samples."
    ]
    for group in groups:
        parts += [f"## {group.size}, {group.readings['run'].nunique()} runs", table(head, list(probe_rows(group)))]
    kinds = (("as it is", False), ("were the start read too", True))
    counted = [
        f"- {group.size}, {kind}: {commonest(time_general(group, from_start=whether), shares_of(group.readings))}"
        for group in groups
        for kind, whether in kinds
    ]
    parts += ["## time_general", "\n".join(counted)]
    names = [f"{one}, {other}" for one, other in combinations(sorted(groups[0].readings["family"].unique()), 2)]
    if not names:
        return parts
    rows = [list(row) for row in correlation_rows(groups, factors)]
    return [
        *parts,
        "## What moves together",
        "Correlation of the families' mean margins at the end, and in the mean after the burn-in. The runs of "
        "`natural_factors.py` are read up to the end of the body; its arms `only favoured` and `only others` are not of equal "
        "exposure.",
        table(["over", "n", *(f"{name}: end" for name in names), *(f"{name}: mean" for name in names)], rows),
    ]


def correlation_rows(groups: Sequence[Group], factors: Mapping[str, pd.DataFrame]) -> Iterator[list[str]]:
    """Yield what the families' margins have in common, in several sets of runs."""
    for group in groups:
        curricula = dict(zip(group.rows["run"], group.rows["curriculum"], strict=True))
        last = group.ends[1]
        yield [f"ladder, {group.size}: runs", str(len(curricula)), *correlations(group.readings, last=last)]
        means = correlations(group.readings, last=last, curricula=curricula)
        yield [f"ladder, {group.size}: means of curricula", str(len(set(curricula.values()))), *means]
    for size, readings in factors.items():
        body = readings[readings["position"] <= 0.75 * readings["position"].max()]
        equal = body[~body["run"].str.contains("only")]
        for label, part in (("all arms", body), ("equal exposure", equal)):
            cells = correlations(part, last=int(body["position"].max()))
            yield [f"factors, {size}: {label}", str(part["run"].nunique()), *cells]


def main() -> None:
    """Read, and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ladder", type=Path, default=ROOT / "runs/natural-ladder")
    parser.add_argument("--factors", type=Path, default=ROOT / "examples/natural/data/runs/factors")
    parser.add_argument("--starts", default=str(ROOT / "examples/natural/data/starts/{size}"))
    parser.add_argument("--of", default="ladder_natural", help="the ladder's table")
    parser.add_argument("--study", type=Path, default=STUDY)
    arguments = parser.parse_args()
    study = load_study(arguments.study)
    groups = groups_of(arguments.ladder, lambda size: read_proof_items(study, Path(arguments.starts.format(size=size))))
    factors = factor_readings(arguments.factors)
    suffix = arguments.of.removeprefix("ladder_natural")
    place = Path(__file__).with_name(f"natural_modes{suffix}.md")
    publish(place, "When modes are formed on natural text", report(groups, factors, arguments.of))


if __name__ == "__main__":
    main()
