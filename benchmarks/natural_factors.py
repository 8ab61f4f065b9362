"""Does the order of real text matter, and what makes the effect large? Evidence on `search/natural.yaml`.

    python examples/natural/prepare.py --size study,0.3M
    nice -n 10 python benchmarks/natural_factors.py [--larger 0.3M] [--share 1/2] [--runs FOLDER] [--report-only]

Order: every curriculum plays the same counts of six domains over the first three quarters of a run (the body), then all
play the static mix (the common tail). At a constant learning rate the body is also a run without a tail, so one run answers
both. Beside them two mixes that are not of equal exposure, only the favoured domains and only the others: how far data can
move the margins at all.

Factors: the contrast of hold-then-low (favoured domains early) against the same backwards, in a half fraction of
2^4 (length, learning-rate schedule, passes over the data, starting point): of resolution IV, so that no main effect is
confounded with an interaction of two. The number of probe items is varied within each run, by reading both. An effect is
the mean difference between the two arms, paired by seed, in standard deviations of seeds within an arm.

Which domains are favoured is counted before anything is trained (the data ratio of `examples/real_text`). Finished
runs are kept: the same command goes on after an interruption, and `--report-only` makes the table of what is there.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from functools import cache
from itertools import product
from pathlib import Path

for library in ("OMP", "OPENBLAS", "MKL"):  # before numpy: a proxy this small is slower on more threads
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

import numpy as np  # noqa: E402
from setting import publish, table  # noqa: E402
from variance import paired_ratio, seed_deviation, variance_ratio  # noqa: E402

from curriculum.mix import Mix, Phase  # noqa: E402
from curriculum.mix.subset import Subset  # noqa: E402
from curriculum.probe.modes import RunMeasures  # noqa: E402
from curriculum.proxy.run import RECORD, RunRequest, RunResult, load_run, perform  # noqa: E402
from curriculum.proxy.sizes import OWN, Size, parse_sizes, resized, with_start  # noqa: E402
from curriculum.search import controls  # noqa: E402
from curriculum.search.exposure import exact_rows, scale_to_exposure  # noqa: E402
from curriculum.search.runner import stream_sizes  # noqa: E402
from curriculum.search.study import Study  # noqa: E402
from curriculum.search.study_file import load_study  # noqa: E402
from curriculum.units import keyed_seed  # noqa: E402

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "search" / "natural.yaml"
TAIL = Decimal("0.25")
BURN_IN = 0.2  # of the body
SEEDS = 3
FACTOR_SEEDS = 3
RANDOM = 4
KNOTS = 4
FACTORS = {
    "run length": ("1x", "2x"),
    "learning rate": ("constant", "cosine"),
    "passes over the data": ("below one", "4"),
    "start": ("65,536 samples", "32,768"),
}
MEASURES = ("time_general", "area", "final_margin")
ASKED = (  # of the factors: measure, whether in the tail, family ("" for all)
    ("time_general", False, ""),
    ("area", False, ""),
    ("final_margin", False, ""),
    ("final_margin", False, "induction"),
    ("final_margin", True, ""),
    ("final_margin", True, "induction"),
)
OWN_SIZE = Size(name=OWN, parameters=None)
LARGER_SEEDS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A run to be done: the arm it belongs to, the levels (0 or 1) of the four factors, and the size of the proxy."""

    arm: str
    seed: int
    levels: tuple[int, ...] = (0, 0, 0, 0)
    part: str = "order"
    size: Size = OWN_SIZE


def main() -> int:
    """Do what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=Path, default=ROOT / "examples/natural/data/runs/factors")
    parser.add_argument("--share", default="1/1", help="1/2: of the runs every second one, for another process to do the rest")
    parser.add_argument("--larger", type=parse_sizes, default=(), help="sizes such as 0.3M: order there too, with fewer seeds")
    parser.add_argument("--report-only", action="store_true")
    arguments = parser.parse_args()
    study = load_study(STUDY)
    cells = [*order_cells(), *factor_cells(), *larger_cells(arguments.larger)]
    check_exposure(study)
    if not arguments.report_only:
        number, of = (int(part) for part in arguments.share.split("/"))
        train_all(study, cells[number - 1 :: of], arguments.runs)
    found = {cell: run for cell in cells if (run := finished(request_of(study, cell), arguments.runs)) is not None}
    publish(Path(__file__).with_suffix(".md"), "Order on natural text, and what makes its effect large", report(study, found))
    return 0


def order_cells() -> list[Cell]:
    """Return the runs of the first part, seed by seed, so that an early stop leaves whole seeds."""
    arms = ("static", "hold-then-low", "reversed", "ramp-up", "ramp-down", *(f"random-{n}" for n in range(1, RANDOM + 1)))
    extremes = ("only favoured", "only others")
    return [Cell(arm=arm, seed=seed) for seed in range(SEEDS) for arm in (*arms, *(extremes if seed < 2 else ()))]


def larger_cells(sizes: Sequence[Size]) -> list[Cell]:
    """Return the runs of larger proxies: without random schedules."""
    arms = [cell.arm for cell in order_cells() if cell.seed == 0 and not cell.arm.startswith("random")]
    return [Cell(arm=arm, seed=seed, size=size) for size in sizes for seed in range(LARGER_SEEDS) for arm in arms]


def factor_cells() -> list[Cell]:
    """Return the runs of the second part: eight of sixteen combinations, the last level the parity of the others."""
    designs = [(*levels, sum(levels) % 2) for levels in product((0, 1), repeat=3)]
    arms = ("hold-then-low", "reversed")
    return [
        Cell(arm=arm, seed=seed, levels=levels, part="factors")
        for seed in range(FACTOR_SEEDS)
        for levels in designs
        for arm in arms
    ]


def check_exposure(study: Study) -> None:
    """Make sure that all arms but the extremes play the same samples. Raises RunError, DataError."""
    sizes, _ = stream_sizes(study)
    equal = [request_of(study, cell).played_mix() for cell in order_cells() if not cell.arm.startswith("only")]
    controls.check_equal_exposure(equal, sizes)


def request_of(study: Study, cell: Cell) -> RunRequest:
    """Return the run of a cell."""
    longer, cosine, repeated, earlier = cell.levels
    samples = study.samples * (1 + longer)
    streams = study.streams
    if repeated:
        share = samples // len(streams) // 4
        streams = {name: replace(stream, subset=Subset(samples=share)) for name, stream in streams.items()}
    reference = study.recipe
    if cell.size.parameters is not None and reference.start is not None:
        reference = with_start(resized(reference, cell.size), cell.size, f"{reference.start.parent}/{{size}}")
    start = reference.start
    if earlier and start is not None:
        start = start.with_name(f"{start.name}-earlier")
    order = cell.part == "order"
    recipe = replace(reference, schedule="cosine" if cosine else "constant", start=start)
    mix = Mix(
        name=cell.arm.replace(" ", "-"), streams=streams, phases=phases_of(study, cell.arm), samples=samples, seed=study.seed
    )
    probes = study.probes
    if not order:
        middle = {probe.family: probe for probe in study.probes}.values()  # the last, that is the hardest, level of a family
        probes = tuple(replace(probe, name=f"{probe.name}@{n}", items=n) for probe in middle for n in (64, 256))
    label = f"{cell.part}-{mix.name}"
    return RunRequest(label=label, mix=mix, seed=cell.seed, samples=samples, recipe=recipe, probes=probes, item_seed=study.seed)


def phases_of(study: Study, arm: str) -> tuple[Phase, ...]:
    """Return an arm's schedule, the common tail included."""
    body = body_of(study, arm)
    if arm == "static" or arm.startswith("only"):
        return body
    return controls.with_common_tail(body, study.shares({}), TAIL)


def body_of(study: Study, arm: str) -> tuple[Phase, ...]:
    """Return an arm's schedule without the common tail."""
    shares = study.shares({})
    if arm.startswith("only"):
        chosen = [name for name in shares if (name in study.favour) == (arm == "only favoured")]
        return controls.static({name: Fraction(int(name in chosen), len(chosen)) for name in shares})
    if arm == "static":
        return controls.static(shares)
    if arm == "reversed":
        return controls.reversed_in_time(controls.hand_made("hold-then-low", shares, study.favour))
    if arm.startswith("random"):
        return _random(shares, int(arm.split("-")[1]))
    return controls.hand_made(arm, shares, study.favour)


def _random(shares: Mapping[str, Fraction], number: int) -> tuple[Phase, ...]:
    """Return four steps whose proportions are drawn log-normally, then scaled to the exposure."""
    random = np.random.default_rng(keyed_seed("random schedule", number))
    durations = [1] * KNOTS
    matrix = scale_to_exposure(np.exp(1.2 * random.normal(size=(KNOTS, len(shares)))), durations, list(shares.values()))
    rows = exact_rows(matrix, durations, list(shares.values()))
    return tuple(
        Phase(
            until=Decimal(knot + 1) / KNOTS, weights={name: Decimal(weight) for name, weight in zip(shares, row, strict=True)}
        )
        for knot, row in enumerate(rows)
    )


def finished(request: RunRequest, runs: Path) -> RunResult | None:
    """Return a run if it is done."""
    folder = runs / request.run_id()
    return load_run(folder) if (folder / RECORD).exists() else None


def train_all(study: Study, cells: Sequence[Cell], runs: Path) -> None:
    """Do every run that is not done."""
    for number, cell in enumerate(cells, start=1):
        result = perform(request_of(study, cell), runs)
        said = f"{cell.part} {cell.arm} seed {cell.seed} {cell.levels}, {result.seconds:.0f} s"
        print(f"{number} of {len(cells)}: {said}", file=sys.stderr, flush=True)


def measures(run: RunResult, *, tail: bool, probes: Callable[[str], bool] = lambda _: True) -> dict[str, float]:
    """Return the measures over the body (after the burn-in) or over the common tail; families weigh the same."""
    of_probe = {name: value for name, value in _by_probe(run, tail).items() if probes(name)}
    families = sorted({family_of(name) for name in of_probe})
    return {
        measure: float(
            np.mean(
                [
                    np.mean([getattr(value, measure) for name, value in of_probe.items() if family_of(name) == family])
                    for family in families
                ]
            )
        )
        for measure in MEASURES
    }


@cache
def _by_probe(run: RunResult, tail: bool) -> dict[str, RunMeasures]:
    body = int(run.samples * (1 - TAIL))
    start, stop = (body, run.samples) if tail else (int(BURN_IN * body), body)
    return run.trajectory.by_probe(start=start, stop=stop)


def family_of(probe: str) -> str:
    """Return the family of a probe, which its name begins with."""
    return probe.split("-", maxsplit=1)[0]


def report(study: Study, found: Mapping[Cell, RunResult]) -> list[str]:
    """Return the parts of the document."""
    sizes = list(dict.fromkeys(cell.size for cell in found if cell.part == "order"))
    made = (
        f"{len(found)} runs of `search/natural.yaml`, made by `python examples/natural/prepare.py --size study,0.3M` and "
        "`python benchmarks/natural_factors.py --larger 0.3M`, which goes on where it was; what is read out of them: "
        "[examples/natural](../examples/natural/README.md)."
    )
    return [made, *(part for size in sizes for part in _order_part(study, found, size)), *_factor_part(found)]


def _order_part(study: Study, found: Mapping[Cell, RunResult], size: Size) -> Iterator[str]:
    runs = {cell: run for cell, run in found.items() if cell.part == "order" and cell.size == size}
    by_arm = {
        arm: {cell.seed: run for cell, run in runs.items() if cell.arm == arm} for arm in dict.fromkeys(c.arm for c in runs)
    }
    recipe = request_of(study, next(iter(runs))).recipe
    yield f"## Order, {recipe.layers} layers of width {recipe.width}"
    yield (
        f"{len(runs)} runs; {study.samples:,} samples, the last {float(TAIL):.0%} the same for all; favoured: "
        f"{', '.join(study.favour)}. Mean (standard deviation over seeds)."
    )
    yield table(
        [
            "curriculum",
            "seeds",
            *(f"{measure}, body" for measure in MEASURES),
            *(f"{measure}, tail" for measure in MEASURES),
            "mean loss at the end",
        ],
        [_arm_row(arm, list(of_arm.values())) for arm, of_arm in by_arm.items()],
    )
    equal = {arm: of_arm for arm, of_arm in by_arm.items() if not arm.startswith("only")}
    seeds = set.intersection(*(set(of_arm) for of_arm in equal.values())) if equal else set()
    yield (
        f"Effect of order against noise, over the {len(equal)} curricula of equal exposure and {len(seeds)} seeds: the ratio "
        "of variances F (between curricula / between seeds; 1 is no effect), the share of variance that order explains, and "
        "F (with its p) when runs of one seed, which draw the same samples, are compared with one another."
    )
    complete = {arm: [of_arm[seed] for seed in sorted(seeds)] for arm, of_arm in equal.items()}
    yield table(["measure", "part of the run", "F", "share explained", "F, paired", "p"], list(_ratio_rows(complete)))
    yield "Margin at the end of the body, by probe: mean over the seeds."
    probes = [probe.name for probe in study.probes]
    ends = [[arm, *(f"{_end_margin(list(of_arm.values()), probe):+.3f}" for probe in probes)] for arm, of_arm in by_arm.items()]
    yield table(["curriculum", *probes], ends)


def _arm_row(arm: str, runs: Sequence[RunResult]) -> list[str]:
    parts = ([measures(run, tail=tail) for run in runs] for tail in (False, True))
    spreads = [_spread([values[measure] for values in part]) for part in parts for measure in MEASURES]
    loss = np.mean([np.mean(list(run.final_loss().values())) for run in runs])
    return [arm, str(len(runs)), *spreads, f"{loss:.3f}"]


def _end_margin(runs: Sequence[RunResult], probe: str) -> float:
    return float(np.mean([_by_probe(run, False)[probe].final_margin for run in runs]))


def _ratio_rows(by_arm: Mapping[str, Sequence[RunResult]]) -> Iterator[list[str]]:
    families = sorted({family_of(probe) for runs in by_arm.values() for probe in runs[0].trajectory.table["probe"].unique()})
    asked: list[tuple[str, str, Callable[[str], bool]]] = [(measure, measure, lambda _: True) for measure in MEASURES]
    asked += [(f"final_margin of {f}", "final_margin", lambda name, f=f: family_of(name) == f) for f in families]  # type: ignore[misc]
    for label, measure, chosen in asked:
        for tail in (False, True):
            groups = [[measures(run, tail=tail, probes=chosen)[measure] for run in runs] for runs in by_arm.values()]
            ratio, share = variance_ratio(groups)
            paired, chance = paired_ratio(groups)
            yield [
                label,
                "tail" if tail else "body",
                f"{ratio:.1f}",
                f"{share:.2f}",
                f"{paired:.1f}",
                "<.001" if chance < 0.001 else f"{chance:.3f}",
            ]


def _factor_part(found: Mapping[Cell, RunResult]) -> Iterator[str]:
    runs = {cell: run for cell, run in found.items() if cell.part == "factors"}
    pairs = [(cell, replace(cell, arm="reversed")) for cell in runs if cell.arm == "hold-then-low"]
    pairs = [pair for pair in pairs if pair[1] in runs]
    yield "## Factors"
    yield (
        f"Hold-then-low minus the same backwards, {len(pairs)} pairs; families at their hardest level, 256 items. "
        "A row holds the pairs at one level of a factor: their mean difference in standard deviations of seeds at that level "
        "(pooled over arms and combinations) +- its standard error over pairs, and as it is. Positive: favoured domains early "
        "are better."
    )
    if len(pairs) < 4:
        yield "Too few pairs are finished."
        return
    yield table(["factor", "level", "pairs", *(_heading(*one) for one in ASKED)], list(_factor_rows(runs, pairs)))


def _heading(measure: str, tail: bool, family: str) -> str:
    return f"{measure}{f' of {family}' if family else ''}, {'tail' if tail else 'body'}"


_Pairs = Sequence[tuple[Cell, Cell]]


def _factor_rows(runs: Mapping[Cell, RunResult], pairs: _Pairs) -> Iterator[list[str]]:
    groups = [("all", "", 256, pairs)]
    for index, (factor, names) in enumerate(FACTORS.items()):
        groups += [(factor, name, 256, [p for p in pairs if p[0].levels[index] == level]) for level, name in enumerate(names)]
    for factor, level, items, some in [*groups, ("probe items", "64 (all others 256)", 64, pairs)]:
        yield [factor, level, str(len(some)), *(_effect(runs, some, items, *one) for one in ASKED)]


def _effect(runs: Mapping[Cell, RunResult], pairs: _Pairs, items: int, measure: str, tail: bool, family: str) -> str:
    """Return the mean difference of the pairs in standard deviations of seeds, with its error, and as it is."""

    def value(cell: Cell) -> float:
        def chosen(name: str) -> bool:
            return name.startswith(family) and name.endswith(f"@{items}")

        return measures(runs[cell], tail=tail, probes=chosen)[measure]

    noise = seed_deviation([[value(cell) for cell in group] for group in _repeats(pairs)])
    differences = np.asarray([value(hold) - value(back) for hold, back in pairs])
    if len(differences) < 2 or not noise > 0:
        return "-"
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    return f"{differences.mean() / noise:+.1f} +- {error / noise:.1f} ({differences.mean():+.3f})"


def _repeats(pairs: _Pairs) -> list[list[Cell]]:
    """Return the cells that differ in their seed alone, together."""
    groups: dict[tuple[str, tuple[int, ...]], list[Cell]] = {}
    for cell in (cell for pair in pairs for cell in pair):
        groups.setdefault((cell.arm, cell.levels), []).append(cell)
    return list(groups.values())


def _spread(values: Sequence[float]) -> str:
    deviation = f" ({np.std(values, ddof=1):.3f})" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{deviation}"


if __name__ == "__main__":
    sys.exit(main())
