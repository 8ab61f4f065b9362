"""Populations: the numbers and folders of single runs, from one computation; nobody disturbs a neighbour."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from curriculum.errors import RunError, UserError
from curriculum.mix import Mix, Order, Phase, Stream
from curriculum.probe.specification import PROOF_DRAW, ProbeSpecification, SuiteSpecification
from curriculum.proxy import population_readings, population_training, training
from curriculum.proxy.population import population_key, train_population
from curriculum.proxy.population_model import stack_losses
from curriculum.proxy.population_training import Computing
from curriculum.proxy.recipe import Recipe
from curriculum.proxy.run import RunRequest, RunResult, load_run, perform
from curriculum.proxy.stopping import StopRule

RECIPE = Recipe(layers=2, width=16, heads=2, batch=16, readings=4, schedule="cosine")
PROBES = (
    ProbeSpecification(name="succession", family="succession", floor=0.0, items=8, builtin="testbed:succession"),
    ProbeSpecification(name="flipped", family="flipped", floor=0.0, items=8, builtin="testbed:flipped"),
)
RATES = (1e-3, 4e-3, 1e-3)  # members of one rate do not stand side by side
SAMPLES = 512


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with training.one_thread():
        yield


def mix_of(*weights: int, order: Order | None = None) -> Mix:
    streams = {name: Stream(local=f"testbed:{name}", order=order or Order()) for name in ("arith", "facts")}
    phases = (
        Phase(until=Decimal("0.5"), weights=dict(zip(streams, map(Decimal, weights), strict=True))),
        Phase(until=Decimal(1), weights=dict.fromkeys(streams, Decimal(1))),
    )
    return Mix(name="m", streams=streams, phases=phases, samples=SAMPLES, seed=4)


def requests(suites: tuple[SuiteSpecification, ...] = ()) -> list[RunRequest]:
    """Three runs that differ in mix, seed and learning rate."""
    return [
        RunRequest(
            label=f"r{number}",
            mix=mix_of(1 + number, 3),
            seed=number,
            samples=SAMPLES,
            recipe=replace(RECIPE, learning_rate=rate),
            probes=PROBES,
            suites=suites,
        )
        for number, rate in enumerate(RATES)
    ]


def found(runs: Path, request: RunRequest) -> RunResult:
    result = load_run(runs / request.run_id())
    assert result is not None
    return result


def assert_same(one: RunResult, other: RunResult, *, tolerance: float = 0.0) -> None:
    exact: dict[str, Any] = {"check_exact": True} if not tolerance else {"rtol": 0.0, "atol": tolerance}
    pd.testing.assert_frame_equal(one.trajectory.table, other.trajectory.table, **exact)
    pd.testing.assert_frame_equal(one.loss, other.loss, **exact)
    pd.testing.assert_frame_equal(one.bits, other.bits, **exact)


# Runs.


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a population's runs."""
    runs = tmp_path_factory.mktemp("together")
    assert train_population(requests(), runs) == [None, None, None]
    return runs


def test_a_population_leaves_the_folders_and_numbers_of_its_runs_alone(together: Path, tmp_path: Path) -> None:
    for request in requests():
        alone, member = perform(request, tmp_path), found(together, request)
        assert_same(member, alone, tolerance=1e-5)  # on most machines 0: sums of float32 in another order
        assert [path.name for path in sorted(member.folder.iterdir())] == [path.name for path in sorted(alone.folder.iterdir())]
        records = [json.loads((run.folder / "run.json").read_text()) for run in (alone, member)]
        assert records[1].pop("population") == 3 and "population" not in records[0]
        assert records[0].pop("seconds") > 0 and records[1].pop("seconds") > 0 and records[0] == records[1]
        assert (alone.folder / "mix.yaml").read_text() == (member.folder / "mix.yaml").read_text()
    assert sorted(path.name for path in together.iterdir()) == sorted(request.run_id() for request in requests())
    margins = [found(together, request).trajectory.table["margin"].to_numpy() for request in requests()]
    assert np.abs(margins[0] - margins[2]).max() > 1e-3  # the runs do differ


def test_a_member_owes_nothing_to_the_others(together: Path, tmp_path: Path) -> None:
    first, second, third = requests()
    other = replace(second, mix=mix_of(7, 1), seed=11, recipe=replace(second.recipe, learning_rate=2e-3))
    train_population([first, other, third], tmp_path)
    for request in (first, third):
        assert_same(found(tmp_path, request), found(together, request))
    changed = found(tmp_path, other).trajectory.table["margin"] - found(together, second).trajectory.table["margin"]
    assert changed.abs().max() > 1e-3


def test_the_order_of_requests_is_that_of_the_answers_only(together: Path, tmp_path: Path) -> None:
    diverging = replace(requests()[1], recipe=replace(RECIPE, learning_rate=1e18))
    failures = train_population([requests()[2], diverging, requests()[0]], tmp_path)
    assert [failure is None for failure in failures] == [True, False, True]
    for request in (requests()[2], requests()[0]):
        assert_same(found(tmp_path, request), found(together, request))


def test_a_run_that_diverges_fails_alone_and_with_the_single_runs_words(tmp_path: Path) -> None:
    wild = replace(requests()[1], recipe=replace(RECIPE, learning_rate=1e18))
    with pytest.raises(RunError) as alone:
        perform(wild, tmp_path / "alone")
    damaged = tmp_path / wild.run_id() / "run.json"
    damaged.parent.mkdir()
    damaged.write_text("{}")
    failures = train_population([requests()[0], wild], tmp_path)
    assert failures == [None, str(alone.value)] and "lower the learning_rate (now 1e+18)" in str(alone.value)
    assert not damaged.exists()
    assert np.isfinite(found(tmp_path, requests()[0]).trajectory.table["margin"]).all()


def test_a_population_whose_members_have_all_failed_ends(tmp_path: Path) -> None:
    wild = [replace(request, recipe=replace(RECIPE, learning_rate=1e18)) for request in requests()]
    seen: list[int] = []
    assert all(train_population(wild, tmp_path, observe=seen.append)) and seen == [128]


def test_members_are_read_alike_in_whatever_slices(together: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(population_readings, "_NUMBERS_AT_ONCE", {"cpu": 1})
    train_population(requests(), tmp_path)
    for request in requests():
        assert_same(found(tmp_path, request), found(together, request), tolerance=1e-6)


def test_suites_are_taken_and_starts_are_begun_from(tmp_path: Path) -> None:
    file = tmp_path / "suite.jsonl"
    file.write_text('{"prompt": [3, 4], "continuation": [5, 6], "bytes": 4}\n')
    first = requests((SuiteSpecification(name="s", file=file),))[:2]
    start = perform(first[0], tmp_path / "start", keep=1).folder / "checkpoints" / str(SAMPLES)
    asked = [first[0], replace(first[1], recipe=replace(first[1].recipe, start=start))]
    train_population(asked, tmp_path / "together")
    for request in asked:
        member, alone = found(tmp_path / "together", request), perform(request, tmp_path / "alone")
        assert_same(member, alone, tolerance=1e-5)
        assert member.final_bits().keys() == {"s"}


def test_what_is_done_is_left_alone_and_what_is_asked_twice_is_done_once(
    together: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is trained with the others all the same: without it they would be other computations."""
    done = perform(requests()[0], tmp_path)
    (tmp_path / requests()[1].run_id() / "checkpoints" / "128").mkdir(parents=True)  # of a single run that was cut off
    monkeypatch.setattr("curriculum.proxy.population.monotonic", iter((100.0, 106.0)).__next__)
    before = (done.folder / "run.json").stat().st_mtime_ns
    assert train_population([*requests(), requests()[2]], tmp_path) == [None] * 4
    assert (done.folder / "run.json").stat().st_mtime_ns == before
    for request in requests()[1:]:
        record = json.loads((tmp_path / request.run_id() / "run.json").read_text())
        assert (record["population"], record["seconds"]) == (3, 2.0)
        assert_same(found(tmp_path, request), found(together, request))
        assert not (tmp_path / request.run_id() / "checkpoints").exists()
    monkeypatch.setattr("curriculum.proxy.population.train_together", None)  # nothing is left to train
    assert train_population(requests(), tmp_path) == [None] * 3
    assert train_population([], tmp_path) == []


# Kills.


@pytest.fixture
def cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs of a population that was killed after its checkpoint at 256."""
    monkeypatch.setattr(population_training, "_CHECKPOINT_SECONDS", -1.0)

    def stop(position: int) -> None:
        if position == 384:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_population(requests(), tmp_path, observe=stop)
    return tmp_path


def test_a_population_goes_on_from_its_checkpoint_to_the_same_bits(together: Path, cut_off: Path) -> None:
    assert all(load_run(cut_off / request.run_id()) is None for request in requests())
    seen: list[int] = []
    assert train_population(requests(), cut_off, observe=seen.append) == [None] * 3 and seen == [384, 512]
    for request in requests():
        assert_same(found(cut_off, request), found(together, request))
    assert sorted(path.name for path in cut_off.iterdir()) == sorted(request.run_id() for request in requests())


def test_runs_that_ended_after_the_checkpoint_do_not_make_it_useless(together: Path, cut_off: Path) -> None:
    """As when it was killed while the folders were written."""
    ended = requests()[0].run_id()
    shutil.copytree(together / ended, cut_off / ended, dirs_exist_ok=True)
    before = (cut_off / ended / "run.json").stat().st_mtime_ns
    seen: list[int] = []
    train_population(requests(), cut_off, observe=seen.append)
    assert seen == [384, 512] and (cut_off / ended / "run.json").stat().st_mtime_ns == before
    for request in requests():
        assert_same(found(cut_off, request), found(together, request))


def test_a_damaged_checkpoint_is_passed_over(together: Path, cut_off: Path) -> None:
    (folder,) = cut_off.glob(".population-*")
    (folder / "population.safetensors").write_bytes(b"cut off")
    seen: list[int] = []
    train_population(requests(), cut_off, observe=seen.append)
    assert seen == [128, 256, 384, 512]
    for request in requests():
        assert_same(found(cut_off, request), found(together, request))


def test_a_failure_before_the_checkpoint_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wild = replace(requests()[1], recipe=replace(RECIPE, learning_rate=1e18))
    whole = train_population([requests()[0], wild], tmp_path / "whole")
    monkeypatch.setattr(population_training, "_CHECKPOINT_SECONDS", -1.0)

    def stop(position: int) -> None:
        if position == 384:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_population([requests()[0], wild], tmp_path / "cut", observe=stop)
    assert train_population([requests()[0], wild], tmp_path / "cut") == whole


# Refusals and options.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": replace(RECIPE, experts=4)}, "mixture of experts cannot be trained in a population"),
        ({"command": "train.sh {mix} {seed} {out}"}, "command of your own cannot be trained in a population"),
        ({"recipe": replace(RECIPE, width=32)}, "cannot be trained as one population: they must share"),
        ({"recipe": replace(RECIPE, readings=2)}, "must share model, layers, width"),
        ({"samples": 256}, "must share"),
        ({"draw": PROOF_DRAW}, "must share"),
        ({"recipe": replace(RECIPE, precision="bfloat16")}, "must share"),
        ({"stop": StopRule(limits=((256, 0.0),), metric="area", start=0, weights={})}, "none can end early"),
        ({"probes": PROBES[:1]}, "must share"),
        (
            {
                "mix": replace(
                    mix_of(1, 1), streams={"facts": Stream(local="testbed:facts"), "arith": Stream(local="testbed:icl")}
                )
            },
            "must share",
        ),
    ],
)
def test_what_cannot_be_trained_together_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    first = requests()[0]
    with pytest.raises(UserError, match=message):
        train_population([first, replace(first, **change)], tmp_path)
    assert not list(tmp_path.iterdir())


def test_runs_that_differ_in_mix_seed_order_rate_schedule_and_decay_share_a_key() -> None:
    first = requests()[0]
    recipe = replace(RECIPE, learning_rate=1.0, schedule="wsd", weight_decay=0.0, start=Path("somewhere"))
    other = replace(first, mix=mix_of(9, 1, order=Order(kind="sequential")), seed=9, recipe=recipe, label="other")
    assert population_key(first) == population_key(other)


def test_a_compiled_population_gives_the_same_numbers(together: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[object] = []
    original = torch.compile

    def spy(function: Any, **options: Any) -> Any:
        compiled.append((function, options))
        return original(function, **options)

    monkeypatch.setattr(torch, "compile", spy)
    train_population(requests(), tmp_path, computing=Computing(compiler="eager"))
    assert compiled == [(stack_losses, {"backend": "eager"})]
    for request in requests():
        assert_same(found(tmp_path, request), found(together, request), tolerance=1e-5)


def test_bf16_trains_nearly_alike_and_keeps_weights_and_readings_in_float32(together: Path, tmp_path: Path) -> None:
    rough_ones = [replace(request, recipe=replace(request.recipe, precision="bfloat16")) for request in requests()]
    train_population(rough_ones, tmp_path)
    for request, rough_one in zip(requests(), rough_ones, strict=True):
        rough, exact = found(tmp_path, rough_one), found(together, request)
        difference = (rough.loss["loss"] - exact.loss["loss"]).abs().max()
        assert 0 < difference < 0.05


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_nearly_the_same_numbers(together: Path, tmp_path: Path) -> None:
    train_population(requests(), tmp_path, computing=Computing(device="cuda"))
    for request in requests():
        assert_same(found(tmp_path, request), found(together, request), tolerance=1e-2)
