"""How much of what a curriculum gains is order, how much is ratio? Decomposed at matched exposure, on paired seeds.

    python benchmarks/decomposition.py [--mixes mixes/default.yaml ...] [--hand-made hold-then-low ...] [--favoured-share .6]
                                       [--study FILE] [--seeds 10] [--workers 1] [--runs runs/decomposition]

A curriculum found under free exposure differs from static in two things at once. Each is put in alone:

    static       the study's own shares throughout
    ratio only   the curriculum's overall shares throughout: the very samples it plays, without its order
    order only   the curriculum's rows scaled (Sinkhorn) to the study's own shares: its order, on static's samples
    both         the curriculum as it is

Counts are checked to be equal, to the sample, where they are said to be. The interaction is what both do together beyond
the sum of what each does alone; the order's part of the whole gain is the mean of what order adds at either ratio
(Shapley value). Seeds and probe items are those of no search. Alternatives: shuffled windows of the curriculum as "ratio
only" (they keep some of the order), or a regression over many mixes (it needs many mixes). The price is four runs a seed,
and that scaling to another exposure bends the order a little: it keeps cross-ratios, not differences.

Runs are kept under `--runs`, so a second call only prints.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from math import lcm
from pathlib import Path

import numpy as np
from setting import publish, table

from curriculum.errors import UserError
from curriculum.mix import Mix, Phase
from curriculum.plan.schedule import phase_ends, proportions
from curriculum.probe.specification import PROOF_DRAW
from curriculum.proxy.run import RunRequest
from curriculum.search import controls
from curriculum.search.exposure import exact_rows, scale_to_exposure
from curriculum.search.objective import Score, score_run, search_value
from curriculum.search.runner import request_of, required, stream_sizes
from curriculum.search.statistics import FloatArray, claim_interval
from curriculum.search.study import HAND_MADE, Study
from curriculum.search.study_file import load_study
from curriculum.search.workers import Workers
from curriculum.units import keyed_seed

ARMS = ("static", "ratio only", "order only", "both")
EFFECTS = {  # weights of the arms, in their order
    "ratio alone": (-1.0, 1.0, 0.0, 0.0),
    "order alone": (-1.0, 0.0, 1.0, 0.0),
    "order, at its own ratio": (0.0, -1.0, 0.0, 1.0),
    "both": (-1.0, 0.0, 0.0, 1.0),
    "interaction": (1.0, -1.0, -1.0, 1.0),
    "order's part of both (Shapley)": (-0.5, -0.5, 0.5, 0.5),
}
MEASURES = ("time_general", "area", "value")
Shares = Mapping[str, Fraction]


@dataclass(frozen=True, kw_only=True, slots=True)
class Timed:
    """A curriculum's rows of exact proportions: a phase's, or the two ends of a ramp, each of which counts half of it."""

    rows: tuple[tuple[Fraction, ...], ...]
    lengths: tuple[Fraction, ...]

    @classmethod
    def of(cls, phases: Sequence[Phase]) -> Timed:
        """Return the rows of phases."""
        ends = [Fraction(0), *phase_ends(phases)]
        rows, lengths = [], []
        for phase, (start, stop) in zip(phases, pairwise(ends), strict=True):
            weights = [phase.weights] if phase.to is None else [phase.weights, phase.to]
            rows += [tuple(proportions(each)) for each in weights]
            lengths += [(stop - start) / len(weights)] * len(weights)
        return cls(rows=tuple(rows), lengths=tuple(lengths))

    def shares(self) -> list[Fraction]:
        """Return the exact share of each stream in the whole run."""
        pairs = list(zip(self.lengths, self.rows, strict=True))
        return [sum((length * row[s] for length, row in pairs), Fraction(0)) for s in range(len(self.rows[0]))]

    def durations(self) -> list[int]:
        """Return the lengths as whole numbers."""
        common = lcm(*(length.denominator for length in self.lengths))
        return [int(length * common) for length in self.lengths]


def overall_shares(phases: Sequence[Phase]) -> dict[str, Fraction]:
    """Return each stream's exact share in a run of these phases."""
    return dict(zip(phases[0].weights, Timed.of(phases).shares(), strict=True))


def at_shares(phases: Sequence[Phase], shares: Shares) -> tuple[Phase, ...]:
    """Return the phases with their rows scaled to other overall shares, which they then have exactly."""
    timed, names = Timed.of(phases), list(phases[0].weights)
    wanted, durations = [shares[name] for name in names], timed.durations()
    if timed.shares() == wanted:
        return tuple(phases)
    matrix = np.asarray([[float(part) for part in row] for row in timed.rows])
    rows = iter(exact_rows(scale_to_exposure(matrix, durations, wanted), durations, wanted))
    return tuple(
        replace(phase, weights=_named(names, next(rows)), to=None if phase.to is None else _named(names, next(rows)))
        for phase in phases
    )


def _named(names: Sequence[str], row: Sequence[int]) -> dict[str, Decimal]:
    return dict(zip(names, map(Decimal, row), strict=True))


def tilted(shares: Shares, favour: Sequence[str], share: Fraction) -> dict[str, Fraction]:
    """Return shares of which the favoured streams together have `share`, ratios among them and among the others kept."""
    mean = sum((shares[name] for name in favour), Fraction(0))
    factors = {True: share / mean, False: (1 - share) / (1 - mean)}
    return {name: part * factors[name in favour] for name, part in shares.items()}


def arms_of(study: Study, shares: Shares, phases: tuple[Phase, ...]) -> dict[str, Mix]:
    """Return the four mixes of a curriculum. Raises UserError where it is one of other streams."""
    if set(phases[0].weights) != set(study.streams):
        raise UserError(
            f"wanted a mix of the study's streams ({', '.join(study.streams)}), got {', '.join(phases[0].weights)}; "
            "name its study with --study"
        )
    ratio = controls.static(overall_shares(phases))
    found = dict(zip(ARMS, (controls.static(shares), ratio, at_shares(phases, shares), phases), strict=True))
    return {name: study.mix(name.replace(" ", "-"), each) for name, each in found.items()}


def check(arms: Mapping[str, Mix], sizes: Mapping[str, int]) -> None:
    """Make sure of what the arms' names say. Raises RunError."""
    controls.check_equal_exposure([arms["static"], arms["order only"]], sizes)
    controls.check_equal_exposure([arms["ratio only"], arms["both"]], sizes)


def requests_of(study: Study, arms: Mapping[str, Mix], seeds: int) -> dict[str, list[RunRequest]]:
    """Return the runs of every arm, on the same seeds; arms of equal schedules are the same runs."""
    numbers = [keyed_seed("decomposition", study.seed, index) % 10**6 for index in range(seeds)]
    return {
        name: [request_of(study, "decomposition", replace(mix, name="decomposition"), seed, PROOF_DRAW) for seed in numbers]
        for name, mix in arms.items()
    }


def measured(study: Study, scores: Sequence[Score], measure: str) -> FloatArray:
    """Return a measure of runs; `value` is what the search maximises."""
    if measure == "value":
        return np.asarray([search_value(study, score) for score in scores])
    return np.asarray([score.metric(measure) for score in scores])


def effects(values: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Return what ratio and order do on each seed, from the arms' values on the same seeds."""
    return {
        name: np.sum([weight * values[arm] for weight, arm in zip(weights, ARMS, strict=True)], axis=0)
        for name, weights in EFFECTS.items()
    }


def section(study: Study, title: str, arms: Mapping[str, Mix], scores: Mapping[str, Sequence[Score]]) -> str:
    """Return a curriculum's part of the document."""
    shares = overall_shares(arms["both"].phases)
    listed = ", ".join(f"{name} {float(share):.2f}" for name, share in shares.items())
    found = {m: effects({arm: measured(study, scores[arm], m) for arm in ARMS}) for m in MEASURES}
    rows = [[name, *(str(claim_interval(found[m][name])) for m in MEASURES)] for name in EFFECTS]
    return "\n\n".join(
        [
            f"## {title}",
            f"Its overall shares: {listed}.",
            table(["arm", *MEASURES, "final margin", "mean loss"], [_arm_row(study, arm, scores[arm]) for arm in ARMS]),
            table(["effect", *MEASURES], rows),
        ]
    )


def _arm_row(study: Study, arm: str, scores: Sequence[Score]) -> list[str]:
    columns = [measured(study, scores, name) for name in (*MEASURES, "final_margin")]
    losses = [float(np.mean(list(score.loss.values()))) for score in scores]
    return [arm, *(f"{values.mean():.3f} ± {values.std(ddof=1):.3f}" for values in columns), f"{np.mean(losses):.3f}"]


def curricula(study: Study, shares: Shares, options: argparse.Namespace) -> dict[str, tuple[Phase, ...]]:
    """Return what is decomposed, by its title. Raises UserError."""
    found = {f"Found: {path}": Mix.load(path).phases for path in options.mixes}
    for name in options.hand_made:
        free = tilted(shares, study.favour, options.favoured_share)
        title = f"By hand: {name}, favoured streams at {float(options.favoured_share):g}"
        found[title] = controls.hand_made(name, free, study.favour)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path)
    parser.add_argument("--mixes", type=Path, nargs="*", default=[Path("mixes/default.yaml")])
    parser.add_argument("--hand-made", nargs="*", choices=HAND_MADE, default=["hold-then-low"])
    parser.add_argument("--favoured-share", type=Fraction, default=Fraction(6, 10))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs/decomposition"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/decomposition.md"))
    options = parser.parse_args()
    study = load_study() if options.study is None else load_study(options.study)
    sizes, _ = stream_sizes(study)
    shares = study.shares(sizes)
    found = {title: arms_of(study, shares, phases) for title, phases in curricula(study, shares, options).items()}
    for arms in found.values():
        check(arms, sizes)
    wanted = {title: requests_of(study, arms, options.seeds) for title, arms in found.items()}
    workers = Workers(runs=options.runs, count=options.workers)
    try:
        workers.results(request for of in wanted.values() for asked in of.values() for request in asked)
        parts = []
        for title, of in wanted.items():
            scores = {
                arm: [score_run(study, required(outcome)) for outcome in workers.results(asked)] for arm, asked in of.items()
            }
            parts.append(section(study, title, found[title], scores))
    finally:
        workers.kill()
    about = (
        f"Study {study.name}, {study.samples:,} samples a run, {options.seeds} paired seeds; mean ± sd of an arm; effects with "
        "95 % intervals (the wider of Student's and of sign flips). `value` is what a search maximises. How: the docstring of "
        "benchmarks/decomposition.py."
    )
    publish(options.out, "Order and ratio, each alone", [about, *parts])


if __name__ == "__main__":
    main()
