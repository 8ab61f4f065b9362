"""The pool: deaths are charged to whom they may concern, results are found in their folders."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from curriculum.mix import Mix, Phase, Stream
from curriculum.probe.specification import ProbeSpecification
from curriculum.proxy.recipe import Recipe
from curriculum.proxy.run import RunRequest
from curriculum.search import workers as module
from curriculum.search.executor import Outcome
from curriculum.search.workers import Workers

DEADLY = 13


def request(seed: int) -> RunRequest:
    streams = {name: Stream(local=f"testbed:{name}") for name in ("arith", "facts")}
    mix = Mix(name="m", streams=streams, phases=(Phase(until=Decimal(1), weights={"arith": 1, "facts": 1}),), samples=128)
    probe = ProbeSpecification(name="p", family="f", floor=0.0, items=4, builtin="testbed:flipped")
    recipe = Recipe(layers=1, width=8, heads=1, batch=16, readings=2)
    return RunRequest(label="r", mix=mix, seed=seed, samples=128, recipe=recipe, probes=(probe,))


def die_on_thirteen(request: RunRequest, runs: Path) -> str | None:
    """What a worker does here: train, or be killed as by the system when memory is out."""
    with (runs / "tries").open("a") as file:
        file.write(f"{request.seed}\n")
    if request.seed == DEADLY:
        os.kill(os.getpid(), signal.SIGKILL)
    return module.perform(request, runs) and None


def test_a_deadly_run_fails_alone_after_three_tries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_work", die_on_thirteen)
    told: list[Outcome] = []
    pool = Workers(runs=tmp_path, count=2, on_finished=told.append)
    outcomes = pool.results([request(seed) for seed in (1, DEADLY, 2, 3)])
    pool.drain()
    assert [outcome.failure is None for outcome in outcomes] == [True, False, True, True]
    assert "died 3 times" in str(outcomes[1].failure) and len(told) == 4
    assert (tmp_path / "tries").read_text().split().count(str(DEADLY)) == 3


def test_results_are_found_and_damaged_ones_made_again(tmp_path: Path) -> None:
    told: list[Outcome] = []
    first = Workers(runs=tmp_path, count=1, on_finished=told.append)
    folder = first.result(request(1)).result.folder  # type: ignore[union-attr]
    assert first.result(request(1)) is told[0] and len(told) == 1
    second = Workers(runs=tmp_path, count=1, on_finished=told.append)
    assert second.result(request(1)).found and second._pool is None
    (folder / "trajectory.parquet").write_bytes(b"cut off")
    third = Workers(runs=tmp_path, count=1, on_finished=told.append)
    assert third.result(request(1)).result is not None and not told[-1].found
    diverging = replace(request(1), recipe=replace(request(1).recipe, learning_rate=1e18))
    assert "learning_rate" in str(third.result(diverging).failure)
    first.drain()
    third.drain()


@pytest.mark.parametrize("running", [False, True])
def test_a_worker_that_dies_between_two_runs_costs_nothing(tmp_path: Path, running: bool) -> None:
    """Between the last look at the pool and the next run a worker may die; then it is `submit` that meets it."""
    pool = Workers(runs=tmp_path, count=2 if running else 1)
    assert pool.result(request(1)).result is not None
    assert pool._pool is not None
    if running:
        pool.submit(request(2))
    for process in list(pool._pool._processes.values()):
        process.kill()
    while not pool._pool._broken:
        time.sleep(0.01)
    assert all(outcome.result is not None for outcome in pool.results([request(3), request(2)]))
    pool.drain()
