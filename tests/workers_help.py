"""Runs that die, hang or meet a full disk, for the tests of executors; workers import this, so it imports little."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pandas as pd

from curriculum.errors import FileError
from curriculum.mix import Mix, Phase, Stream
from curriculum.probe.specification import ProbeSpecification
from curriculum.proxy.recipe import Recipe
from curriculum.proxy.run import RunRequest
from curriculum.search import worker_process
from curriculum.search.run_queue import Ended, Job

DEADLY, HANGING, SLOW, FULL, FAULTY, ODD, DIVERGING, HUGE = 13, 14, 15, 16, 17, 18, 19, 20
Observe = Callable[[int], None]


def request(seed: int) -> RunRequest:
    streams = {name: Stream(local=f"testbed:{name}") for name in ("arith", "facts")}
    mix = Mix(name="m", streams=streams, phases=(Phase(until=Decimal(1), weights={"arith": 1, "facts": 1}),), samples=128)
    probe = ProbeSpecification(name="p", family="f", floor=0.0, items=4, builtin="testbed:flipped")
    recipe = Recipe(layers=1, width=8, heads=1, batch=16, readings=2)
    return RunRequest(label="r", mix=mix, seed=seed, samples=128, recipe=recipe, probes=(probe,))


def command(seed: int, words: str) -> RunRequest:
    return replace(request(seed), command=f"sh -c '{words}' {{mix}} {{seed}} {{out}}", command_retries=0)


def quick_name(request: RunRequest) -> str:
    """Name a run without the digests of its data, for which torch would be imported."""
    beside = "" if request.population is None else f"-of-{len(request.population.members)}"
    return f"{request.label}-s{request.seed}{beside}"


class OddError(Exception):
    def __init__(self, one: str, other: str) -> None:
        super().__init__(one + other)


def misbehave(request: RunRequest, runs: Path, observe: Observe) -> str | None:
    """What a worker does here: leave a run, unless the seed says to die as if memory were out, to hang, to meet a full disk."""
    RunRequest.run_id = quick_name  # type: ignore[method-assign]  # in this worker
    with (runs / "tries").open("a") as file:
        file.write(f"{request.seed} {os.getpid()}\n")
    if request.seed == DEADLY:
        os.kill(os.getpid(), signal.SIGKILL)
    if request.seed == HANGING:
        observe(64)
        time.sleep(3600)
    if request.seed == SLOW:
        for position in range(20):
            time.sleep(0.2)
            observe(position)
    if request.seed == FULL:
        worker_process.perform = meet_a_full_disk
    if request.seed == FAULTY:
        raise FileError("torn", path="probes.jsonl", line=3)
    if request.seed == ODD:
        raise OddError("cannot ", "travel")
    if request.command is not None or request.seed == FULL:
        return worker_process.attempt(request, runs, observe)
    leave_run(request, runs)
    return None


def misbehave_together(job: Job, runs: Path, observe: Observe) -> Ended:
    """What a worker does here with a population: leave its runs, unless one's seed says to die, or to need too much memory."""
    RunRequest.run_id = quick_name  # type: ignore[method-assign]  # in this worker
    seeds = [request.seed for request in job.requests]
    with (runs / "together").open("a") as file:
        file.write(f"{' '.join(map(str, seeds))}\n")
    if DEADLY in seeds:
        os.kill(os.getpid(), signal.SIGKILL)
    if HUGE in seeds:
        return Ended(too_much="out of memory")
    for request in job.requests:
        if request.seed != DIVERGING and not (runs / quick_name(request) / "run.json").exists():
            leave_run(request, runs)
    return Ended(failures=tuple("the loss became nan" if seed == DIVERGING else None for seed in seeds))


def tries_together(runs: Path) -> list[list[int]]:
    """The seeds of each try at a population."""
    lines = (runs / "together").read_text().splitlines() if (runs / "together").exists() else []
    return [[int(word) for word in line.split()] for line in lines]


def meet_a_full_disk(*_: object, **__: object) -> None:
    """What `perform` does then."""
    raise OSError(28, "No space left on device")


def leave_run(request: RunRequest, runs: Path) -> None:
    """Leave what a run leaves, without the seconds that torch takes to import."""
    folder = runs / quick_name(request)
    folder.mkdir(exist_ok=True)
    row = {"position": 128, "step": 8, "probe": "p", "family": "f", "accuracy": 1.0, "margin": 0.0, "low": 0.0, "high": 0.0}
    row |= {"control_margin": 0.0, "capable": True, "mode": "unformed"}
    pd.DataFrame([row]).to_parquet(folder / "trajectory.parquet")
    pd.DataFrame([{"position": 128, "stream": "arith", "loss": 1.0}]).to_parquet(folder / "loss.parquet")
    pd.DataFrame({"position": [], "suite": [], "bits_per_byte": []}).to_parquet(folder / "bits_per_byte.parquet")
    (folder / "run.json").write_text('{"samples": 128, "seconds": 1.0}')


def tries(runs: Path, seed: int) -> list[int]:
    """The processes that tried a seed."""
    lines = (runs / "tries").read_text().splitlines() if (runs / "tries").exists() else []
    return [int(line.split()[1]) for line in lines if int(line.split()[0]) == seed]


def wait_for(condition: Callable[[], object]) -> None:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < 180, "nothing happened for three minutes"
        time.sleep(0.02)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
