"""A trainer of one's own as a run: what it must leave, and what becomes of a run whose trainer leaves something else."""

from __future__ import annotations

import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from workers_help import lives, wait_for

from curriculum.errors import RunError
from curriculum.mix import Mix, Phase, Stream
from curriculum.probe.specification import ProbeSpecification, SuiteSpecification
from curriculum.proxy.recipe import Recipe
from curriculum.proxy.run import RunRequest, perform
from curriculum.search.worker_process import attempt

RECIPE = Recipe(layers=1, width=16, heads=1, batch=16, readings=4)


@pytest.fixture
def mix() -> Mix:
    streams = {name: Stream(local=f"testbed:{name}") for name in ("arith", "facts")}
    phases = (Phase(until=Decimal(1), weights={"arith": Decimal(1), "facts": Decimal(3)}),)
    return Mix(name="m", streams=streams, phases=phases, samples=512, seed=4)


def outside(tmp_path: Path, mix: Mix, trajectory: dict[str, object], loss: dict[str, object]) -> RunRequest:
    program = tmp_path / "train.py"
    program.write_text(
        "import sys, pandas as pd\n"
        f"pd.DataFrame({trajectory!r}).to_parquet(sys.argv[1] + '/trajectory.parquet')\n"
        f"pd.DataFrame({loss!r}).to_parquet(sys.argv[1] + '/loss.parquet')\n"
    )
    command = f"{sys.executable} {program} {{out}} {{mix}} {{seed}}"
    probes = (ProbeSpecification(name="p", family="f", floor=0.0, builtin="testbed:flipped"),)
    return RunRequest(label="o", mix=mix, seed=1, samples=512, recipe=RECIPE, probes=probes, command=command)


GOOD = {
    **{"position": [512, 256], "step": [2, 1], "probe": ["p", "p"], "family": ["f", "f"], "accuracy": [1.0, 1.0]},
    **{"margin": [0.1, 0.4], "low": [0.0, 0.0], "high": [1.0, 1.0], "control_margin": [1.0, 1.0], "capable": [True, True]},
}
LOSSES = {"position": [512, 512], "stream": ["arith", "facts"], "loss": [1.0, 2.0]}


def test_a_program_of_ones_own_is_a_run(tmp_path: Path, mix: Mix) -> None:
    result = perform(outside(tmp_path, mix, GOOD, LOSSES), tmp_path / "runs")
    assert list(result.trajectory.table["mode"]) == ["general", "general"] and result.final_loss() == {
        "arith": 1.0,
        "facts": 2.0,
    }
    assert Mix.load(result.folder / "mix.yaml").samples == 512


@pytest.mark.parametrize(
    ("change", "loss", "message"),
    [
        ({"position": [16, 32]}, {}, "last position must be the run's end, sample 512, got 32"),
        ({"position": [512, -16]}, {}, "must be the run's end, sample 512, got -16"),
        (
            {"position": ["end", "middle"]},
            {},
            "trajectory.parquet: wanted the readings of the study's probes.*could not convert",
        ),
        ({"margin": ["high", "low"]}, {}, "trajectory.parquet: wanted the readings of the study's probes.*could not convert"),
        ({"probe": ["q", "q"]}, {}, r"wanted readings of the study's probes p \(family f\), got those of q \(family f\)"),
        ({"family": ["g", "g"]}, {}, r"wanted readings of the study's probes p \(family f\), got those of p \(family g\)"),
        ({"probe": ["p", "q"]}, {}, r"got those of p \(family f\), q \(family f\); .* would count in its objective"),
        ({"margin": [0.1, 3.0]}, {}, r"outside \[-1, 1\]"),
        ({"margin": [0.1, None]}, {}, "not a finite number"),
        ({"mode": ["general", "good"]}, {}, "wanted modes"),
        ({}, {"loss": [1.0, float("inf")]}, "finite loss"),
        ({}, {"stream": ["arith", "arith"]}, "finite loss of each of arith, facts"),
        ({}, {"loss": ["low", "lower"]}, "loss.parquet: wanted the streams' held-out losses.*could not convert"),
    ],
)
def test_nonsense_of_a_program_fails_its_run_in_words(
    tmp_path: Path, mix: Mix, change: dict[str, object], loss: dict[str, object], message: str
) -> None:
    request = outside(tmp_path, mix, {**GOOD, **change}, {**LOSSES, **loss})
    (tmp_path / "train.py").write_text((tmp_path / "train.py").read_text().replace("inf", "float('inf')"))
    with pytest.raises(RunError, match=message):
        perform(request, tmp_path / "runs")


@pytest.mark.parametrize("name", ["trajectory", "loss", "bits_per_byte"])
def test_a_file_that_is_no_table_fails_its_run_and_no_other(tmp_path: Path, mix: Mix, name: str) -> None:
    """The worker of a search says what went wrong with the run; anything else would end the search."""
    request = outside(tmp_path, mix, GOOD, LOSSES)
    request = replace(request, command_retries=0, suites=(SuiteSpecification(name="qa", file=tmp_path / "qa.jsonl"),))
    with (tmp_path / "train.py").open("a") as program:
        program.write("bits = pd.DataFrame(dict(position=[512], suite=['qa'], bits_per_byte=[1.0]))\n")
        program.write("bits.to_parquet(f'{sys.argv[1]}/bits_per_byte.parquet')\n")
        program.write(f"open(f'{{sys.argv[1]}}/{name}.parquet', 'w').write('nonsense')\n")
    runs = tmp_path / "runs"
    runs.mkdir()
    failure = attempt(request, runs, lambda _: None)
    assert failure is not None and f"{name}.parquet: wanted " in failure and "Parquet" in failure
    assert not list(runs.glob("*/run.json"))


def test_a_probe_without_a_reading_at_the_end_fails_its_run(tmp_path: Path, mix: Mix) -> None:
    """Another probe's reading at the end does not stand for it: nothing is known of the stretch that is judged."""
    request = outside(tmp_path, mix, {**GOOD, "probe": ["p", "q"], "position": [512, 64]}, LOSSES)
    both = tuple(replace(request.probes[0], name=name) for name in ("p", "q"))
    with pytest.raises(RunError, match="last reading of each probe must be at the run's end, sample 512; that of 'q' is at 64"):
        perform(replace(request, probes=both), tmp_path / "runs")


def test_a_program_that_hangs_is_stopped_with_its_children(tmp_path: Path, mix: Mix) -> None:
    request = outside(tmp_path, mix, GOOD, LOSSES)
    child = tmp_path / "child"
    (tmp_path / "train.py").write_text(
        "import subprocess\nchild = subprocess.Popen(['sleep', '3600'])\n"
        f"open({str(child)!r}, 'w').write(str(child.pid))\nchild.wait()\n"
    )
    with pytest.raises(RunError, match="longer than its timeout"):
        perform(replace(request, command_timeout=5.0, command_retries=0), tmp_path / "runs")
    wait_for(lambda: not lives(int(child.read_text())))
