"""What `attribute` says of its numbers, and refuses before the work: words, warnings, places that cannot be written."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from attribution_help import BATCH, World, make_run, make_world, write_items
from rich.console import Console

from curriculum.attribution.branches import Agreement, Trunk
from curriculum.cli import _guarded, cli
from curriculum.commands.attribute import Settings, _rank, _warnings, attribute
from curriculum.errors import ResourceError, UserError
from curriculum.probe.specification import ProbeSpecification
from curriculum.proxy.recipe import Recipe
from curriculum.proxy.run import RunRequest, perform
from curriculum.report.effects_chart import draw_effects, drawn_windows, effects_words, print_effects
from curriculum.report.stage_progress import Stage, counted, shown_stages


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def run(world: World) -> Path:
    return make_run(world, 0)


def trained(world: World, runs: Path) -> Path:
    """Train a tiny run that keeps checkpoints at 64, 128, 192 and 256, and is never capable."""
    files = {name: Path(path) for name, path in write_items(world.folder).items()}
    probes = (ProbeSpecification(name="p", family="p", floor=0.2, items=4, file=files["file"], control=files["control"]),)
    recipe = Recipe(layers=1, width=8, heads=1, batch=BATCH, readings=4)
    request = RunRequest(label="base", mix=world.mix(50), seed=0, samples=256, recipe=recipe, probes=probes)
    return perform(request, runs, keep=4).folder


def asked(places: list[Path], capsys: pytest.CaptureFixture[str], settings: Settings) -> dict[str, Any]:
    assert attribute(places, settings, as_json=True) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def printed(document: dict[str, Any]) -> str:
    console = Console(width=200, record=True, file=StringIO())
    print_effects(document, console)
    return console.export_text()


def moved(run: Path, folder: Path, margin: float) -> Path:
    """Copy a run whose margins are all brought within `margin` of 0: a model that is in no mode."""
    import shutil

    shutil.copytree(run, folder)
    table = pd.read_parquet(folder / "trajectory.parquet").drop(columns="mode")
    scale = margin / table["margin"].abs().max()
    table.assign(margin=table["margin"] * scale).to_parquet(folder / "trajectory.parquet")
    return folder


def test_a_model_that_is_in_no_mode_is_warned_of(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = asked([run], capsys, Settings(out=tmp_path / "out"))
    assert document["readings_in_a_mode"] > 5
    assert document["warnings"] == []
    flat = asked([moved(run, tmp_path / "flat", 0.1)], capsys, Settings(out=tmp_path / "out"))
    assert flat["readings_in_a_mode"] == 0
    assert "general or shallow" in flat["warnings"][0]
    assert "warning: at no reading" in printed(flat)


def test_lists_made_by_effects_that_predict_nothing_are_warned_of(tmp_path: Path) -> None:
    document = {"runs_unused": [], "readings_in_a_mode": 9, "skill": -0.01}
    (warning,) = _warnings(document, Settings(select=tmp_path))
    assert "no better than random" in warning
    assert _warnings(document, Settings()) == []
    assert _warnings({**document, "skill": 0.1}, Settings(select=tmp_path)) == []


def test_runs_that_gave_no_reading_are_named_and_one_run_is_one(
    world: World, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    idle = trained(world, tmp_path / "trained")
    document = asked([run, idle], capsys, Settings(out=tmp_path / "out"))
    assert document["runs"] == 1
    assert document["runs_unused"] == [str(idle)]
    words = printed(document)
    assert str(idle) in words
    assert "of 1 run;" in words
    assert "In stretches of time left out" in words


def test_three_runs_are_left_out_as_runs() -> None:
    document = {
        **{"confidence": 0.95, "readings": 1, "runs": 3, "windows": 1280, "consumed": 1, "identified": 1.2},
        **{"skill": 0.39, "dropped": 1, "left_out": "runs", "features": []},
    }
    words = effects_words(document)
    assert "In runs left out they predict 39%" in words
    assert "1 change between readings of 3 runs; 1,280 windows, 1 of them" in words
    assert "had a part: 1 change." in words


def test_a_checkpoint_that_was_not_kept_is_refused_with_those_that_were(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = trained(world, tmp_path / "trained")
    assert Trunk.of_run(base, position=192).checkpoint.name == "192"
    with pytest.raises(UserError, match="no checkpoint at 77; wanted one of 64, 128, 192, 256"):
        attribute([base], Settings(out=tmp_path / "out", branches=2, length=64, checkpoint=77))
    assert "reading" not in capsys.readouterr().err


def test_what_cannot_be_written_is_said_before_anything_is_read(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    below = tmp_path / "file" / "x"
    refused = {
        "--out: wanted a folder": Settings(out=tmp_path / "file"),
        "another --out": Settings(out=below),
        "another --select": Settings(out=tmp_path / "out", select=below),
        "another --picture": Settings(out=tmp_path / "out", picture=below / "p.png"),
    }
    for words, settings in refused.items():
        with pytest.raises((ResourceError, UserError), match=words):
            attribute([run], settings)
    assert "reading" not in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def branched(difference: float, predicted: list[tuple[float, float, float]], rank: dict[str, Any] | None) -> str:
    ends = {"mean": difference, "low": None, "high": None}
    rows = [
        {"name": f"group-{n}", "predicted": value, "predicted_low": low, "predicted_high": high, "margin": ends}
        for n, (value, low, high) in enumerate(predicted)
    ]
    effects = {"streams": [], "top": [], "bottom": [], "features": [], "warnings": [], "left_out": "runs"}
    numbers = {"confidence": 0.95, "readings": 9, "runs": 3, "windows": 8, "consumed": 8, "identified": 2, "skill": 0.1}
    branches = {"checkpoint": "c", "samples": 64, "seeds": 2, "groups": 2, "difference": ends, "sets": rows}
    return printed({**effects, **numbers, "dropped": 0, "branches": {**branches, "rank_correlation": rank}})


def test_branches_are_put_into_words_that_fit_their_numbers() -> None:
    alike, apart = [(0.004, -0.1, 0.1)] * 4, [(-0.4, -0.5, -0.3), (0.4, 0.3, 0.5)]
    words = branched(-0.074, alike, {"correlation": -1.0, "low": None, "high": None, "sets": 4})
    assert "leaves the margin 0.074 below the lowest" in words
    assert "lie within each other's intervals" in words
    assert "-1.00 (no interval can be given from 4 groups)" in words
    words = branched(0.074, apart, {"correlation": 0.5, "low": -0.1, "high": 0.9, "sets": 8})
    assert "leaves the margin 0.074 above the lowest" in words
    assert "within each other's intervals" not in words
    assert "+0.50 (95 % -0.10 to +0.90)" in words
    assert "none, for one of them" in branched(0.0, alike, {"correlation": None, "low": None, "high": None, "sets": 8})


@pytest.mark.parametrize(("sets", "correlation", "given"), [(4, 0.5, False), (8, -1.0, False), (8, 0.5, True)])
def test_a_rank_correlation_of_few_groups_or_of_ranks_all_alike_has_no_interval(
    sets: int, correlation: float, given: bool
) -> None:
    found = _rank(Agreement(correlation=correlation, low=0.1, high=0.9, sets=sets, seeds=3))
    assert (found["low"] is not None, found["high"] is not None) == (given, given)
    assert found["correlation"] == correlation


def many(known: np.ndarray[Any, Any]) -> pd.DataFrame:
    effect = np.linspace(-1, 1, len(known))
    return pd.DataFrame({"stream": "web", "effect": effect, "low": effect - 1, "high": effect + 1, "known": known})


def test_a_picture_shows_windows_of_which_something_is_known_and_of_many_the_strongest(tmp_path: Path) -> None:
    some = drawn_windows(many(np.where(np.arange(1280) % 20, 0.0, 0.5)))
    assert len(some) == 64
    assert (some["known"] > 0.05).all()
    strongest = drawn_windows(many(np.full(1280, 0.5)))
    assert len(strongest) == 120
    assert strongest["effect"].abs().min() > 0.9
    assert strongest["effect"].is_monotonic_increasing
    assert len(drawn_windows(many(np.zeros(50)))) == 50
    draw_effects(many(np.full(1280, 0.5)), tmp_path / "p.svg")
    assert "1,280 of 1,280 windows known" in (tmp_path / "p.svg").read_text()


def test_progress_is_told_stage_by_stage_with_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    from curriculum.report import stage_progress

    seconds = iter([0, 20, 30, 40, 50])  # the first step takes longer than a line may be waited for
    monkeypatch.setattr(stage_progress, "monotonic", lambda: float(next(seconds)))
    console = Console(width=100, record=True, file=StringIO())
    with shown_stages(console, {"fits": Stage(label="estimating effects", unit="fits")}) as show:
        for done in range(4):
            show("fits", done, 15)
    assert (
        console.export_text() == "estimating effects: 1 of 15 fits, 2 min left\nestimating effects: 3 of 15 fits, 2 min left\n"
    )
    assert [counted(1, "run"), counted(1280, "window")] == ["1 run", "1,280 windows"]


def test_an_interrupted_estimate_ends_in_words(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from curriculum.attribution import effects

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(effects, "squared_errors", stop)
    words = ["attribute", str(run), "--out", str(tmp_path / "out")]
    assert _guarded(lambda: cli(words, standalone_mode=False)) == 130
    assert not (tmp_path / "out").exists()
