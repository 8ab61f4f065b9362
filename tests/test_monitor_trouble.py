"""What fails in a monitor does not end a training; what cannot work is said before it begins. Loggers and ranks."""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from callbacks_help import (
    VOCABULARY,
    Heard,
    Noisy,
    Settable,
    next_token_loss,
    noisy_loss,
    one_thread_each,  # noqa: F401  # a fixture for every test here
    run,
    settable_probe,
    stand_in,
    task,
    token_probe,
)
from ports_help import free_port

from curriculum.callbacks import Alert, MlflowLogger, Monitor, TensorBoardLogger, WandbLogger
from curriculum.callbacks import live as live_module
from curriculum.errors import RunError, UserError


class Broken:
    """A logger that always fails."""

    def scalar(self, name: str, value: float, step: int) -> None:
        raise OSError("no network")


# Trouble does not end a training


def test_a_broken_logger_is_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    heard = Heard()
    monitor = Monitor(Settable(0.4), probes=[settable_probe()], every=1, folder=tmp_path, loggers=[Broken(), heard])
    for step in (1, 2):
        monitor.step(step, step)
    assert caplog.text.count("no network") == 1
    assert [(name, step) for name, _, step in heard.points] == [
        (f"probe/p/{column}", step) for step in (1, 2) for column in ("accuracy", "margin", "control_margin", "mode")
    ]
    assert heard.points[1][1] == pytest.approx(0.4) and heard.points[3][1] == 1.0


@pytest.mark.parametrize(("margin", "number"), [(0.5, 1.0), (0.0, 0.0), (-0.5, -1.0)])
def test_modes_are_logged_as_numbers(tmp_path: Path, margin: float, number: float) -> None:
    heard = Heard()
    Monitor(Settable(margin), probes=[settable_probe()], folder=tmp_path, loggers=[heard]).read(1, 1)
    assert heard.points[-1] == ("probe/p/mode", number, 1)


def test_a_failed_reading_is_logged_and_training_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = Noisy()
    with torch.no_grad():
        model.out.bias.fill_(math.nan)
    monitor = Monitor(model, probes=[token_probe()], every=1, folder=tmp_path)
    assert monitor.step(1, 1) == ()
    assert "NaN" in caplog.text and model.training
    strict = Monitor(model, probes=[token_probe()], every=1, folder=tmp_path, on_error="raise")
    with pytest.raises(RunError, match="NaN"):
        strict.step(1, 1)
    assert model.training and model.drop.training


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"probes": []}, "at least one probe"),
        ({"probes": [settable_probe(), settable_probe()]}, "two probes are called 'p'"),
        ({"probes": [task()]}, "needs a tokenizer"),
        ({"probes": [settable_probe()], "every": 0}, "every=0"),
        ({"probes": [settable_probe()], "tokenizer": 3}, "got int"),
    ],
)
def test_mistakes_are_said_before_the_first_step(tmp_path: Path, arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        Monitor(Noisy(), folder=tmp_path, **arguments)


def test_losses_may_be_tensors_with_a_graph(tmp_path: Path) -> None:
    model = Noisy()
    tokens = torch.randint(0, VOCABULARY, (2, 5))
    monitor = Monitor(model, probes=[token_probe()], every=2, folder=tmp_path)
    losses = [next_token_loss(model(tokens), tokens) for _ in range(2)]
    for step, loss in enumerate(losses, start=1):
        monitor.step(step, step, loss=loss)
    found = pd.read_parquet(tmp_path / "training_loss.parquet")
    assert float(found["loss"][0]) == pytest.approx(sum(loss.item() for loss in losses) / 2)
    losses[0].backward()


# Ranks


def test_only_the_first_rank_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    folder = tmp_path / "second"
    monitor = Monitor(Settable(), probes=[settable_probe()], every=1, folder=folder)
    assert monitor.step(1, 1) == () and not folder.exists()
    monkeypatch.setenv("RANK", "0")
    assert Monitor(Settable(), probes=[settable_probe()], every=1, folder=folder).step(1, 1)


def test_with_all_ranks_each_reads_and_the_first_writes(tmp_path: Path) -> None:
    raised: list[Alert] = []
    for rank in (0, 1):
        model, heard = Settable(0.5), Heard()
        folder = tmp_path / str(rank)
        monitor = Monitor(
            model,
            probes=[settable_probe()],
            every=10,
            folder=folder,
            ranks="all",
            rank=rank,
            loggers=[heard],
            on_alert=raised.append,
        )
        run(monitor, model, {11: -0.5}, noisy_loss, range(1, 21))
        assert len(monitor.trajectory.table) == 2
        assert folder.exists() == bool(heard.points) == (rank == 0)
    assert len(raised) == 1


def test_a_sharded_model_needs_all_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import curriculum.callbacks.monitor as monitor_module

    model = Noisy()
    early = Monitor(model, probes=[token_probe()], every=1, folder=tmp_path)
    monkeypatch.setattr(monitor_module, "is_sharded", lambda _: True)
    with pytest.raises(UserError, match="ranks='all'"):
        Monitor(model, probes=[token_probe()], folder=tmp_path)
    with pytest.raises(UserError, match="ranks='all'"):
        early.step(1, 1)  # sharded after the monitor was made: said, where it would hang
    assert len(Monitor(model, probes=[token_probe()], every=1, folder=tmp_path, ranks="all").step(1, 1)) == 1
    assert not live_module.is_sharded(model)


def test_under_ddp_and_fsdp_training_does_not_notice(tmp_path: Path) -> None:
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    world |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    script = Path(__file__).with_name("callbacks_ranks.py")
    processes = [
        subprocess.Popen(
            [sys.executable, script, tmp_path],
            env={**os.environ, **world, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    printed = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(printed)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["refused"] and second["refused"]
    for kind in ("ddp", "fsdp"):
        assert first[kind]["same"] and second[kind]["same"]
        assert first[kind]["steps"] == [[3, 24], [6, 48]]
        assert first[kind]["margins"][0] == pytest.approx(first[kind]["margins"][1], abs=1e-6)


# Loggers


def test_tensorboard_gets_what_was_read(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    loggers = [TensorBoardLogger(tmp_path / "events")]
    monitor = Monitor(Settable(0.5), probes=[settable_probe()], every=1, folder=tmp_path / "run", loggers=loggers)
    monitor.step(1, 8)
    monitor.step(2, 16)
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert sorted(events.Tags()["scalars"]) == [f"probe/p/{name}" for name in ("accuracy", "control_margin", "margin", "mode")]
    assert [(point.step, point.value) for point in events.Scalars("probe/p/margin")] == [(1, 0.5), (2, 0.5)]


class WandbRun:
    """A run of Weights & Biases as far as rows go: a row grows until it is committed."""

    def __init__(self) -> None:
        self.step, self.row = 0, {}
        self.rows: list[dict[str, float]] = []
        self.metrics: dict[str, str | None] = {}

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.metrics[name] = step_metric

    def log(self, values: dict[str, float], commit: bool = True) -> None:
        self.row |= values
        if commit:
            self.rows.append(self.row)
            self.step, self.row = self.step + 1, {}


@pytest.mark.parametrize("own", [True, False], ids=["beside own logging", "alone"])
def test_wandb_rows_hold_one_reading_each(monkeypatch: pytest.MonkeyPatch, own: bool) -> None:
    active = WandbRun()
    monkeypatch.setitem(sys.modules, "wandb", stand_in("wandb", run=active))
    logger = WandbLogger()
    for step in range(1, 31):
        if step % 10 == 0:
            for name in ("a", "b"):
                logger.scalar(name, step / 10, step)
        if own:
            active.log({"loss": 1.0})
    active.log({})  # the end of the run
    kept = [(row["probe/step"], row["a"], row["b"]) for row in active.rows if "a" in row]
    assert kept == [(10, 1.0, 1.0), (20, 2.0, 2.0), (30, 3.0, 3.0)]
    assert active.metrics == {"probe/step": None, "probe/*": "probe/step"}


def test_mlflow_gets_points_of_its_active_run(monkeypatch: pytest.MonkeyPatch) -> None:
    points: list[tuple[str, float, int]] = []

    def log_metric(name: str, value: float, step: int) -> None:
        points.append((name, value, step))

    monkeypatch.setitem(sys.modules, "mlflow", stand_in("mlflow", active_run=object, log_metric=log_metric))
    MlflowLogger().scalar("a", 0.5, 3)
    assert points == [("a", 0.5, 3)]


@pytest.mark.parametrize(("name", "make"), [("wandb", WandbLogger), ("mlflow", MlflowLogger)])
@pytest.mark.parametrize("there", [True, False], ids=["no active run", "not installed"])
def test_a_logger_without_package_or_run_is_silent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, make: Callable[[], Any], there: bool
) -> None:
    monkeypatch.setitem(sys.modules, name, stand_in(name, run=None, active_run=lambda: None) if there else None)
    logger = make()
    for step in (1, 2):
        logger.scalar("a", 0.5, step)
    assert len(caplog.records) == 1 and caplog.records[0].levelno == logging.WARNING


def test_tensorboard_missing_is_silent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    logger = TensorBoardLogger(tmp_path)
    logger.scalar("a", 0.5, 1)
    assert "pip install tensorboard" in caplog.text
