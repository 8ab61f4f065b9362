"""What a search costs beside its runs, and what a second worker brings.

    python benchmarks/coordinator_overhead.py [--trials 50] [--seconds 1.0] [--study FILE] [--busy] [--out FILE]

Idea: the runs are replaced by an external command that sleeps for a known time (or, with --busy, computes for it) and
writes a made-up trajectory, so that everything else is the search itself: asking, fitting the surrogate, telling, reading
results, scheduling. What one run takes is what its worker measured, the command's own start and end included; the rest of
the wall time is overhead. A fixed cost a run weighs less the longer a run is: the share is also given for the default
study's runs (`--run-seconds`). Two workers are compared with one at the same trials; sleeping runs show what scheduling
alone loses (results are told in order), --busy ones what two cores give.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, process_time

from curriculum.search.coordinator import Coordinator, Means
from curriculum.search.executor import Outcome
from curriculum.search.observer import Silent
from curriculum.search.study import Command, Objective, Study
from curriculum.search.study_file import load_study

TRAINER = """\
import hashlib, shutil, sys, time
mix, seed, out, template, seconds, busy = sys.argv[1:7]
stop = time.process_time if busy == "busy" else time.monotonic
until = stop() + float(seconds)
while stop() < until:
    if busy == "busy":
        sum(range(1000))
    else:
        time.sleep(max(0.0, until - stop()))
variant = int(hashlib.sha256(open(mix, "rb").read() + seed.encode()).hexdigest(), 16) % 16
for name in ("trajectory", "loss"):
    shutil.copy(f"{template}/{name}-{variant}.parquet", f"{out}/{name}.parquet")
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One search: wall seconds of the search stage, seconds of its runs added up, processor seconds of the coordinator."""

    workers: int
    trials: int
    wall: float
    runs: float
    own: float

    @property
    def overhead(self) -> float:
        """Wall seconds that no worker's run explains."""
        return self.wall - self.runs / self.workers


class Stopwatch(Silent):
    """Times the search stage alone."""

    def __init__(self) -> None:
        self.name = ""
        self.begun = self.own_begun = self.wall = self.own = self.runs = 0.0
        self.count = 0

    def stage(self, name: str, runs: int) -> None:
        """The stage before has ended."""
        if self.name == "search":
            self.wall, self.own = monotonic() - self.begun, process_time() - self.own_begun
        self.name, self.begun, self.own_begun = name, monotonic(), process_time()

    def finished(self, outcome: Outcome) -> None:
        """Count what the run took."""
        if self.name == "search" and outcome.result is not None:
            self.runs += outcome.result.seconds
            self.count += 1


def templates(study: Study, folder: Path) -> None:
    """Write made-up trajectories and losses, one of which every run is given."""
    import numpy as np
    import pandas as pd

    positions = [study.samples * (reading + 1) // study.recipe.readings for reading in range(study.recipe.readings)]
    for variant in range(16):
        random = np.random.default_rng(variant)
        rows = []
        for probe in study.probes:
            margins = np.clip(np.cumsum(random.normal(0, 0.2, len(positions))), -1, 1)
            rows += [
                {"position": p, "step": p, "probe": probe.name, "family": probe.family, "accuracy": 0.5, "margin": m,
                 "low": m - 0.1, "high": m + 0.1, "control_margin": 1.0, "capable": True}
                for p, m in zip(positions, margins, strict=True)
            ]  # fmt: skip
        pd.DataFrame(rows).to_parquet(folder / f"trajectory-{variant}.parquet")
        losses = [{"position": study.samples, "stream": name, "loss": 3 + random.normal(0, 0.1)} for name in study.streams]
        pd.DataFrame(losses).to_parquet(folder / f"loss-{variant}.parquet")


def made_up(study: Study, folder: Path, seconds: float, *, busy: bool) -> Study:
    """Return the study with the sleeping command as its trainer, and the least proof there can be."""
    (folder / "train.py").write_text(TRAINER)
    templates(study, folder)
    words = [sys.executable, "-S", str(folder / "train.py"), "{mix}", "{seed}", "{out}", str(folder), str(seconds)]
    command = shlex.join([*words, "busy" if busy else "sleep"]).replace("'{", "{").replace("}'", "}")
    settings = replace(study.search, finalists=1, finalist_seeds=2, candidates=1, repeats=1, reference_seeds=2)
    objective = replace(study.objective, common_tail=Objective().common_tail * 0)
    return replace(study, command=Command(words=command, retries=0), search=settings, objective=objective, favour=study.favour)


def measure(study: Study, trials: int, workers: int) -> Measured:
    """Search with the made-up trainer; return what the search stage took."""
    watch = Stopwatch()
    with TemporaryDirectory() as folder:
        place = Path(folder)
        means = Means(runs=place / "runs", out=place / "mixes", workers=workers)
        with Coordinator(study, means, watch) as coordinator:
            coordinator.run(trials)
    if watch.count < trials:
        raise SystemExit(f"only {watch.count} of {trials} runs succeeded")
    return Measured(workers=workers, trials=trials, wall=watch.wall, runs=watch.runs, own=watch.own)


def report(found: list[Measured], run_seconds: float) -> str:
    """Return the Markdown table."""
    lines = [
        "| workers | trials | wall s | a run, s | overhead, s a trial | of the wall time | coordinator's processor, s a trial |"
        f" overhead at runs of {run_seconds:g} s | trials an hour |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        each = one.overhead / one.trials
        share = each / (each + run_seconds / one.workers)
        lines.append(
            f"| {one.workers} | {one.trials} | {one.wall:.1f} | {one.runs / one.trials:.3f} | {each:.3f} | "
            f"{one.overhead / one.wall:.1%} | {one.own / one.trials:.3f} | {share:.2%} | {3600 * one.trials / one.wall:.0f} |"
        )
    base = next((one for one in found if one.workers == 1), None)
    for one in found:
        if base is not None and one.workers > 1:
            lines.append(f"\n{one.workers} workers do {base.wall / one.wall:.2f} times what one does.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Overhead of the coordinator and its sampler; throughput of two workers.")
    parser.add_argument("--study", type=Path, help="default: the embedded study")
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a made-up run")
    parser.add_argument("--run-seconds", type=float, default=7.0, help="of a real run, for which the share is worked out")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--busy", action="store_true", help="runs compute instead of sleeping")
    parser.add_argument("--out", type=Path, help="also write the numbers as JSON")
    arguments = parser.parse_args()
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    with TemporaryDirectory() as folder:
        study = made_up(load_study(arguments.study), Path(folder), arguments.seconds, busy=arguments.busy)
        found = [measure(study, arguments.trials, workers) for workers in arguments.workers]
    print(report(found, arguments.run_seconds))
    if arguments.out is not None:
        numbers = [{"workers": m.workers, "trials": m.trials, "wall": m.wall, "runs": m.runs, "own": m.own} for m in found]
        arguments.out.write_text(json.dumps(numbers, indent=1))


if __name__ == "__main__":
    main()
