"""Where does order matter on the testbed? Static against hold-then-low at equal exposure, over mean shares of .1 to .9.

    python benchmarks/phase_diagram.py [--seeds 3] [--workers 2] > benchmarks/phase_diagram.md

`g` is the mean share of the general streams {arith, icl} (half each) against {count, repeat, facts} (a third, a sixth,
a half). Everything else is the default study's: proxy, probes, burn-in. Runs are kept under `runs/phase-diagram`, so a
second call only prints.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from curriculum.mix import Phase
from curriculum.probe.specification import PROOF_DRAW
from curriculum.proxy.run import RunRequest
from curriculum.search import controls
from curriculum.search.objective import Score, score_run
from curriculum.search.study import Study
from curriculum.search.study_file import load_study
from curriculum.search.workers import Workers

GENERAL = {"arith": Fraction(1, 2), "icl": Fraction(1, 2)}
SHALLOW = {"count": Fraction(1, 3), "repeat": Fraction(1, 6), "facts": Fraction(1, 2)}
CURRICULA = ("static", "hold-then-low")


def shares_at(mean: Fraction) -> dict[str, Fraction]:
    """Return the exposure with mean share `mean` of the general streams."""
    return {name: mean * part for name, part in GENERAL.items()} | {n: (1 - mean) * part for n, part in SHALLOW.items()}


def phases_of(curriculum: str, shares: dict[str, Fraction]) -> tuple[Phase, ...]:
    """Return one of the two curricula."""
    return controls.static(shares) if curriculum == "static" else controls.hand_made(curriculum, shares, GENERAL)


def request(study: Study, curriculum: str, mean: Fraction, seed: int) -> RunRequest:
    """Return one run of the diagram."""
    mix = study.mix(curriculum, phases_of(curriculum, shares_at(mean)))
    label = f"{curriculum}-{mean.numerator}-{mean.denominator}"
    return RunRequest(
        label=label, mix=mix, seed=seed, samples=study.samples, recipe=study.recipe, probes=study.probes,
        draw=PROOF_DRAW, item_seed=study.seed,
    )  # fmt: skip


def cell(values: Sequence[float]) -> str:
    """Return mean and standard deviation."""
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"


def row(study: Study, mean: Fraction, scores: dict[str, list[Score]]) -> str:
    """Return one line of the table."""
    families = [f"{cell([score.measures.time_general for score in scores[name]])}" for name in CURRICULA]
    gain = np.subtract(
        [score.measures.time_general for score in scores["hold-then-low"]],
        [score.measures.time_general for score in scores["static"]],
    )
    finals = [cell([score.measures.final_margin for score in scores[name]]) for name in CURRICULA]
    losses = [f"{np.mean([np.mean(list(score.loss.values())) for score in scores[name]]):.3f}" for name in CURRICULA]
    return f"| {float(mean):.1f} | {' | '.join([*families, f'{gain.mean():+.2f}', *finals, *losses])} |"


def main() -> None:
    """Run the diagram and print it as Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    study = load_study()
    means = [Fraction(tenth, 10) for tenth in range(1, 10)]
    workers = Workers(runs=arguments.runs / "phase-diagram", count=arguments.workers)
    wanted = {(m, c, s): request(study, c, m, 1000 + s) for m in means for c in CURRICULA for s in range(arguments.seeds)}
    workers.results(wanted.values())
    print("# Static and hold-then-low over the mean share of general streams\n")
    print(f"`python benchmarks/phase_diagram.py --seeds {arguments.seeds}`; mean ± sd, 20 % burn-in.\n")
    print("| g | time general, static | hold | gain | final margin, static | hold | mean loss, static | hold |")
    print("|---|---|---|---|---|---|---|---|")
    for mean in means:
        scores = {}
        for curriculum in CURRICULA:
            found = [workers.result(wanted[mean, curriculum, seed]).result for seed in range(arguments.seeds)]
            scores[curriculum] = [score_run(study, result) for result in found if result is not None]
        print(row(study, mean, scores))
    workers.drain()


if __name__ == "__main__":
    main()
