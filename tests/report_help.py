"""A whole study in seconds: the real search, its runs invented instead of trained.

A run becomes general the sooner, the more of the stream `arith` is played in its first part; so a curriculum that begins
with it must win, for reasons that a report can be checked against.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from click.testing import CliRunner

from curriculum.cli import cli
from curriculum.plan.schedule import proportions
from curriculum.probe import Reading, Trajectory
from curriculum.proxy.run import BITS_COLUMNS, RunRequest, load_run, write_run
from curriculum.search.coordinator import Coordinator, Means
from curriculum.search.executor import Executor, Outcome
from curriculum.search.observer import Silent
from curriculum.search.study_file import load_study

STUDY = """\
version: 1
name: made
seed: 3
streams:
  arith: {local: "testbed:arith"}
  icl: {local: "testbed:icl"}
  "<facts> & more": {local: "testbed:facts"}
length: {samples: 1600}
exposure_shares: {arith: 1, icl: 1, "<facts> & more": 2}
proxy: {layers: 1, width: 8, heads: 1, batch: 16, readings: 10}
probes:
  - {name: succession, family: succession, builtin: "testbed:succession", floor: 0.0, items: 4}
  - {name: flipped, family: flipped, builtin: "testbed:flipped", floor: 0.0, items: 4}
controls: {favour: [arith]}
space: {knots: 4, rank: 1}
search: {finalists: 1, finalist_seeds: 10, most_seeds: 10, candidates: 2, repeats: 1, reference_seeds: 2, sampler: random}
"""
BUDGET = 12


class Inventing:
    """An executor that trains nothing."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs

    def submit(self, request: RunRequest) -> None:
        self.result(request)

    def result(self, request: RunRequest) -> Outcome:
        folder = self.runs / request.run_id()
        found = load_run(folder)
        if found is None:
            folder.mkdir(parents=True, exist_ok=True)
            write_run(request, folder, invented(request), 1.5)
        return Outcome(request=request, result=load_run(folder), found=found is not None)

    def results(self, requests: Iterable[RunRequest]) -> list[Outcome]:
        return [self.result(request) for request in requests]

    def finished(self, prefix: str) -> set[str]:
        return {path.parent.name for path in self.runs.glob(f"{prefix}*/run.json")}

    def drain(self) -> None:
        pass

    def kill(self) -> None:
        pass


def invented(request: RunRequest) -> tuple[Trajectory, pd.DataFrame, pd.DataFrame]:
    first = request.mix.phases[0]
    early = float(dict(zip(first.weights, proportions(first.weights), strict=True))["arith"])
    random = np.random.default_rng([request.seed, request.draw])
    onset = 0.9 - 0.9 * early + random.normal(0, 0.03)
    readings = []
    for step in range(1, request.recipe.readings + 1):
        progress = step / request.recipe.readings
        margin = float(np.clip(np.tanh(6 * (progress - onset)) + random.normal(0, 0.02), -1, 1))
        for probe in request.probes:
            numbers = {"accuracy": 0.5 + margin / 2, "margin": margin, "low": margin - 0.1, "high": margin + 0.1}
            reading = Reading(probe=probe.name, family=probe.family, **numbers, control_margin=0.5, capable=step > 1)
            readings.append((step * request.samples // request.recipe.readings, 10 * step, reading))
    losses = [
        {"position": position, "stream": name, "loss": float(loss + random.uniform(0, 0.01))}
        for position, loss in ((request.samples // 2, 2.0), (request.samples, 1.0))
        for name in request.mix.streams
    ]
    return Trajectory.of(readings), pd.DataFrame(losses), pd.DataFrame(columns=list(BITS_COLUMNS))


class Pretending(Coordinator):
    """The real coordinator with invented runs."""

    def _executor(self) -> Executor:
        return Inventing(self._place.path)


class Stopping(Silent):
    """Breaks a search off when a stage begins."""

    def __init__(self, at: str | None) -> None:
        self.at = at

    def stage(self, name: str, runs: int) -> None:
        if name == self.at:
            raise KeyboardInterrupt


def make_study(root: Path, *, until: str | None = None) -> Path:
    """Search `made` in `root`, broken off where stage `until` begins; return the study's folder."""
    file = root / "made.yaml"
    file.write_text(STUDY)
    means = Means(runs=root / "runs", out=root / "mixes", workers=1)
    try:
        with Pretending(load_study(file), means, Stopping(until)) as search:
            search.run(BUDGET)
    except KeyboardInterrupt:
        assert until is not None
    return root / "runs" / "made"


def made_study(base: Path) -> Path:
    """Return the folder of a finished study under `base`, made by the first test that asks for it."""
    root = base / "report-study"
    if not (root / "runs" / "made" / "result.json").exists():
        root.mkdir()
        make_study(root)
    return root / "runs" / "made"


def written_report(base: Path) -> Path:
    """Return the folder of what `curriculum report` wrote of that study, once for all who look at it.

    It holds new/page.html, figures/ and, where tensorboard is installed, curves/.
    """
    root = base / "report-written"
    if not (root / "done").exists():
        study = made_study(base)
        words = ["report", "made", "--runs", str(study.parent), "--out", str(root / "new" / "page.html")]
        words += ["--figures", str(root / "figures")]
        words += ["--tensorboard", str(root / "curves")] if find_spec("tensorboard") else []
        before = sorted(path.name for path in study.iterdir())
        done = CliRunner().invoke(cli, words, catch_exceptions=False)
        assert done.exit_code == 0 and sorted(path.name for path in study.iterdir()) == before
        (root / "done").write_text(done.stdout)
    return root
