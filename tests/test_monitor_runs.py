"""Monitors over a run: when an alert is due, and how a resumed training goes on with its readings."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from callbacks_help import (
    Noisy,
    Settable,
    noisy_loss,
    one_thread_each,  # noqa: F401  # a fixture for every test here
    run,
    settable_probe,
    steps_and_positions,
    token_probe,
)
from hypothesis import given
from hypothesis import strategies as st

from curriculum.callbacks import Alert, LossRule, Monitor
from curriculum.callbacks.alerts import LossWindow
from curriculum.errors import ChangedError, FileError, RunError
from curriculum.probe import Trajectory

# Alerts


@pytest.mark.parametrize(
    ("losses", "alerts"),
    [
        (lambda _: 2.0, 1),
        (noisy_loss, 1),
        (lambda step: 2.0 + 0.0001 * (step > 20), 1),
        (lambda step: noisy_loss(step) + 1.0 * (step > 20), 0),
        (lambda step: 2.0 - 0.5 * (step > 20), 0),
        (lambda step: math.nan if step == 25 else 2.0, 0),
    ],
    ids=["constant", "noisy", "hardly more", "a jump", "a fall", "nan"],
)
def test_an_alert_is_raised_when_the_mode_changes_and_the_loss_does_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, losses: Callable[[int], float], alerts: int
) -> None:
    raised: list[Alert] = []
    model = Settable(0.5)
    monitor = Monitor(model, probes=[settable_probe()], every=10, folder=tmp_path, on_alert=raised.append)
    run(monitor, model, {21: -0.5}, losses, range(1, 51))
    assert list(monitor.trajectory.table["mode"]) == ["general", "general", "shallow", "shallow", "shallow"]
    assert len(raised) == alerts == caplog.text.count("went from general to shallow")
    assert (tmp_path / "alerts.jsonl").exists() == bool(alerts)
    if alerts:
        (alert,) = raised
        assert (alert.step, alert.position, alert.probe, alert.before, alert.after) == (30, 240, "p", "general", "shallow")
        assert (alert.margin_before, alert.margin, alert.low, alert.high) == pytest.approx((0.5, -0.5, -0.5, -0.5))
        assert alert.is_hop and "does not show it" in str(alert)
        assert alert.loss_before == pytest.approx(np.mean([losses(step) for step in range(11, 21)]))
        assert alert.loss_after == pytest.approx(np.mean([losses(step) for step in range(21, 31)]))
        (line,) = (tmp_path / "alerts.jsonl").read_text().splitlines()
        assert Alert(**json.loads(line)) == alert


def test_losing_the_capability_is_a_change_but_no_hop(tmp_path: Path) -> None:
    raised: list[Alert] = []
    model = Settable(0.5)
    probes = [settable_probe("kept", floor=0.5), settable_probe("lost", floor=0.5)]
    monitor = Monitor(model, probes=probes, every=1, folder=tmp_path, on_alert=raised.append)
    monitor.step(1, 1, loss=1.0)
    object.__setattr__(probes[1], "floor", 0.85)
    monitor.step(2, 2, loss=1.0)
    assert [(alert.probe, alert.after, alert.is_hop) for alert in raised] == [("lost", "unformed", False)]


def test_without_a_loss_there_was_nothing_to_see(tmp_path: Path) -> None:
    raised: list[Alert] = []
    model = Settable(0.5)
    monitor = Monitor(model, probes=[settable_probe()], every=1, folder=tmp_path, on_alert=raised.append)
    monitor.step(1, 1)
    model.margin = -0.5
    monitor.step(2, 2)
    assert [(alert.loss_before, alert.loss_after) for alert in raised] == [(None, None)]
    assert "no training loss was given" in str(raised[0])


def test_what_on_alert_raises_ends_the_training_with_everything_written(tmp_path: Path) -> None:
    def stop(alert: Alert) -> None:
        raise RunError(str(alert))

    model = Settable(0.5)
    monitor = Monitor(model, probes=[settable_probe()], every=10, folder=tmp_path, on_alert=stop)
    with pytest.raises(RunError, match="shallow"):
        run(monitor, model, {21: -0.5}, noisy_loss, range(1, 51))
    assert steps_and_positions(tmp_path)[-1][0] == 30
    assert len((tmp_path / "alerts.jsonl").read_text().splitlines()) == 1


means = st.floats(0.1, 10)
deviations = st.floats(0, 3)


@given(means, means, deviations, deviations, st.integers(2, 1000), st.integers(2, 1000), st.floats(0.1, 10))
def test_the_rule_does_not_depend_on_the_units_of_the_loss(
    first: float, second: float, spread: float, other: float, count: int, more: int, scale: float
) -> None:
    before = LossWindow(count=count, mean=first, deviation=spread)
    after = LossWindow(count=more, mean=second, deviation=other)
    rule = LossRule()
    change, error = abs(second - first), math.hypot(before.error, after.error)
    clear = abs(change / first - rule.relative) > 1e-9 and abs(change - rule.errors * error) > 1e-9
    shows = rule.shows(before, after)
    assert not clear or shows == (change > 0.02 * first and change > 3 * error)
    scaled = [LossWindow(count=of.count, mean=of.mean * scale, deviation=of.deviation * scale) for of in (before, after)]
    assert not clear or rule.shows(*scaled) == shows


def test_single_losses_are_judged_by_their_size_alone() -> None:
    windows = [LossWindow.of([loss]) for loss in (2.0, 2.03, 2.05)]
    assert not LossRule().shows(windows[0], windows[1])
    assert LossRule().shows(windows[0], windows[2])
    assert not LossRule(relative=0.5).shows(windows[0], windows[2])


# Going on


def test_a_resumed_training_goes_on_with_its_readings(tmp_path: Path) -> None:
    margins = {11: -0.5, 21: 0.5, 31: -0.5, 36: 0.5}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        model = Settable(0.5)
        run(Monitor(model, probes=[settable_probe()], every=10, folder=folder), model, margins, lambda _: 2.0, range(1, 41))
    model = Settable(-0.5)
    resumed = Monitor(model, probes=[settable_probe()], every=10, folder=cut)
    run(resumed, model, margins, lambda _: 2.0, range(16, 41))  # from a checkpoint at step 15
    wanted = Trajectory.load(whole / "trajectory.parquet").table
    pd.testing.assert_frame_equal(Trajectory.load(cut / "trajectory.parquet").table, wanted)
    assert (cut / "alerts.jsonl").read_text().count("\n") == (whole / "alerts.jsonl").read_text().count("\n") == 2
    losses = pd.read_parquet(cut / "training_loss.parquet")
    assert list(losses["count"]) == [10, 5, 10, 10]  # the losses of steps 11 to 15 went with the killed process
    assert list(losses["step"]) == [10, 20, 30, 40]


def test_the_window_before_a_stop_is_remembered(tmp_path: Path) -> None:
    for losses, alerts in ((lambda _: 2.0, 1), (lambda step: 2.0 + (step > 10), 0)):
        folder = tmp_path / str(alerts)
        model = Settable(0.5)
        run(Monitor(model, probes=[settable_probe()], every=10, folder=folder), model, {}, losses, range(1, 11))
        raised: list[Alert] = []
        model = Settable(-0.5)
        again = Monitor(model, probes=[settable_probe()], every=10, folder=folder, on_alert=raised.append)
        run(again, model, {}, losses, range(11, 21))
        assert len(raised) == alerts


def test_what_is_dropped_is_kept_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = Settable(0.5)
    run(Monitor(model, probes=[settable_probe()], every=10, folder=tmp_path), model, {}, noisy_loss, range(1, 31))
    before = (tmp_path / "trajectory.parquet").read_bytes()
    Monitor(model, probes=[settable_probe()], every=10, folder=tmp_path).step(1, 8)
    assert "dropped" in caplog.text
    assert (tmp_path / "previous" / "trajectory.parquet").read_bytes() == before
    assert len(pd.read_parquet(tmp_path / "trajectory.parquet")) == 0


def test_a_reading_before_the_first_step_drops_an_older_training(tmp_path: Path) -> None:
    for _ in range(2):
        model = Settable(0.5)
        monitor = Monitor(model, probes=[settable_probe()], every=10, folder=tmp_path)
        monitor.read(0, 0)
        run(monitor, model, {11: -0.5}, noisy_loss, range(1, 21))
        assert steps_and_positions(tmp_path) == [(0, 0), (10, 80), (20, 160)]
    monitor.read(10, 80)
    assert steps_and_positions(tmp_path) == [(0, 0), (10, 80)]
    assert (tmp_path / "alerts.jsonl").read_text() == ""


def test_a_loop_that_goes_back_reads_again(tmp_path: Path) -> None:
    model = Settable(0.5)
    monitor = Monitor(model, probes=[settable_probe()], every=10, folder=tmp_path)
    run(monitor, model, {}, noisy_loss, range(1, 31))
    run(monitor, model, {16: -0.5}, noisy_loss, range(16, 31))
    assert steps_and_positions(tmp_path) == [(10, 80), (20, 160), (30, 240)]
    assert list(monitor.trajectory.table["mode"]) == ["general", "shallow", "shallow"]


def test_a_file_is_there_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Settable(0.5)
    monitor = Monitor(model, probes=[settable_probe()], every=10, folder=tmp_path)
    run(monitor, model, {}, noisy_loss, range(1, 21))

    def die(self: pd.DataFrame, path: Path, **_: Any) -> None:
        path.write_bytes(b"PAR1 and no more")
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(pd.DataFrame, "to_parquet", die)
        run(monitor, model, {}, noisy_loss, range(21, 31))
    assert steps_and_positions(tmp_path) == [(10, 80), (20, 160)]
    run(monitor, model, {}, noisy_loss, range(31, 41))
    assert [step for step, _ in steps_and_positions(tmp_path)] == [10, 20, 30, 40]  # nothing read was lost


def test_other_items_under_a_known_name_are_refused(tmp_path: Path) -> None:
    Monitor(Settable(), probes=[settable_probe()], every=1, folder=tmp_path).step(1, 1)
    with pytest.raises(ChangedError, match="'p'"):
        Monitor(Settable(), probes=[settable_probe(floor=0.3)], folder=tmp_path)
    with pytest.raises(ChangedError, match="'p'"):
        Monitor(Noisy(), probes=[token_probe()], folder=tmp_path)
    Monitor(Settable(), probes=[settable_probe("q"), settable_probe()], every=1, folder=tmp_path).step(2, 2)
    assert len(steps_and_positions(tmp_path)) == 3


@pytest.mark.parametrize("damage", [b"", b"no table", "columns"])
def test_a_damaged_folder_is_said_so_at_the_start(tmp_path: Path, damage: bytes | str) -> None:
    path = tmp_path / "trajectory.parquet"
    if isinstance(damage, bytes):
        path.write_bytes(damage)
    else:
        pd.DataFrame({"step": [1]}).to_parquet(path)
    with pytest.raises(FileError, match=r"trajectory\.parquet"):
        Monitor(Settable(), probes=[settable_probe()], folder=tmp_path)
