"""Effects of windows: known ones are found again, with intervals that hold; nothing is read out of noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from attribution_help import READINGS, SAMPLES, World, make_run, make_world, smaller
from scipy.stats import spearmanr

from curriculum.attribution.consumption import consumption, sizes_of, window_table
from curriculum.attribution.effects import Design, Effects, estimate
from curriculum.attribution.effects_data import find_runs, gather, held_out_windows
from curriculum.attribution.effects_features import content_features, no_features, table_features
from curriculum.attribution.selection import select_windows, selected_mix
from curriculum.errors import DataError, FileError, UserError
from curriculum.mix import Stream
from curriculum.mix.subset import Subset
from curriculum.proxy.recipe import Recipe
from curriculum.streaming.mosaic import MDSWriter


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def runs(world: World) -> list[Path]:
    return [make_run(world, seed) for seed in range(6)]


def attributed(runs: list[Path], *, content: bool = True) -> tuple[Effects, pd.DataFrame]:
    evidence = gather(runs)
    windows = evidence.windows
    features = content_features(windows, evidence.streams, evidence.sizes) if content else no_features(len(windows))
    effects = estimate(evidence.design(features.values), streams=len(evidence.streams))
    return effects, pd.concat([windows, effects.windows], axis=1)


def centred(found: pd.DataFrame, world: World) -> pd.DataFrame:
    """Put the truth beside it, against the average of what was consumed as effects are."""
    both = found.merge(world.truth, on=["stream", "start", "stop"], suffixes=("", "_true"))
    average = np.average(both["effect_true"], weights=both["consumed"])
    return both.assign(effect_true=both["effect_true"] - average)


@pytest.mark.parametrize("content", [True, False])
def test_known_effects_are_found_again_within_their_intervals(world: World, runs: list[Path], content: bool) -> None:
    effects, found = attributed(runs, content=content)
    both = centred(found, world)
    inside = (both["low"] < both["effect_true"]) & (both["effect_true"] < both["high"])
    assert spearmanr(both["effect"], both["effect_true"]).statistic > 0.9
    assert 0.8 <= inside.mean() <= 1.0
    assert effects.skill > 0.5
    assert both["effect"].std() > 0.6 * both["effect_true"].std()


def test_a_drift_of_the_run_and_a_schedule_are_not_taken_for_windows(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    runs = [make_run(world, seed, drift=0.05 * seed - 0.1, schedule="cosine") for seed in range(5)]
    both = centred(attributed(runs)[1], world)
    assert spearmanr(both["effect"], both["effect_true"]).statistic > 0.9
    recipe = Recipe(schedule="cosine")
    mean_rate = np.mean([recipe.rate(step, 192) for step in range(192)]) / recipe.learning_rate  # truth is at the peak's
    slope = np.polyfit(both["effect_true"] * mean_rate, both["effect"], 1)[0]
    assert 0.8 < slope < 1.2


def test_windows_without_effect_get_none(tmp_path: Path) -> None:
    world = make_world(tmp_path, scale=0.0)
    effects, found = attributed([make_run(world, seed, noise=0.1) for seed in range(4)])
    assert effects.skill < 0.1
    assert ((found["low"] > 0) | (found["high"] < 0)).mean() < 0.1


def noise_alone(seed: int, *, runs: int = 4, readings: int = 40, windows: int = 64) -> Design:
    """Return margins that never move: every change is what two readings differ by, and goes back at once."""
    random = np.random.default_rng(seed)
    margins = 0.3 + 0.1 * random.normal(size=(runs, readings + 1))
    count = runs * readings
    return Design(
        change=np.diff(margins).ravel(),
        before=margins[:, :-1].ravel(),
        rate=np.ones(count),
        progress=np.tile((np.arange(readings) + 0.5) / readings, runs),
        run=np.repeat(np.arange(runs), readings),
        order=np.repeat(np.arange(runs), readings),
        consumed=0.1 * (random.random((count, windows)).argsort(axis=1) < 4),
        stream=np.arange(windows) % 4,
        features=np.zeros((windows, 0)),
    )


@pytest.mark.parametrize("seed", range(3))
def test_readings_that_go_back_by_themselves_are_no_skill_of_effects(seed: int) -> None:
    effects = estimate(noise_alone(seed), streams=4)
    assert effects.returning > 1
    assert effects.skill < 0.1


@pytest.mark.parametrize(("runs", "windows"), [(3, 24), (8, 64)])
def test_skill_is_not_that_of_the_luckiest_of_many_settings(runs: int, windows: int) -> None:
    found = [estimate(noise_alone(seed, runs=runs, readings=20, windows=windows), streams=4).skill for seed in range(10)]
    assert np.mean(found) < 0
    assert max(found) < 0.1


def test_margins_that_never_change_have_no_effects_and_no_skill() -> None:
    still = noise_alone(0)
    effects = estimate(replace(still, change=np.zeros_like(still.change), before=np.ones_like(still.before)), streams=4)
    assert effects.skill == 0
    assert (effects.windows["effect"] == 0).all()


def test_windows_that_no_run_consumed_are_known_by_content_alone(world: World, tmp_path: Path) -> None:
    part = smaller(world, tmp_path, 0.5)
    runs = [make_run(part, seed) for seed in range(6)]
    with_content, without = (centred(attributed(runs, content=content)[1], world) for content in (True, False))
    unseen = with_content["consumed"] == 0
    assert unseen.mean() == 0.5
    assert spearmanr(with_content["effect"][unseen], with_content["effect_true"][unseen]).statistic > 0.9
    assert without[unseen].groupby("stream")["effect"].nunique().eq(1).all()
    assert (without["known"][unseen] < without["known"][~unseen].median()).all()


def test_stretches_with_held_out_windows_inform_nothing(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    out = held_out_windows(world.truth, 0.15)
    assert len(out) == 2 * round(0.15 * 24)
    clean, spoiled = (gather([make_run(world, seed, spoiled=bad)], held_out=out) for seed, bad in ((1, None), (2, out)))
    for evidence in (clean, spoiled):
        held = evidence.windows["held_out"].to_numpy()
        assert held.sum() == len(out)
        assert evidence.consumed[:, held].sum() == 0
        assert 0 < evidence.dropped < READINGS
    assert spoiled.stretches["change"].abs().max() < 0.4


def test_windows_of_a_subset_leave_nothing_of_the_stream_unseen(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    streams = {name: replace(stream, subset=Subset(samples=100)) for name, stream in world.streams.items()}
    part = replace(world, streams=streams)
    plan = part.mix(0).plan(sizes_of(part.mix(0)))
    evidence = gather([make_run(replace(part, truth=window_table(plan).assign(effect=1.0)), 0)])
    windows = evidence.windows
    assert (windows["consumed"] > 0).all()
    assert windows["consumed"].sum() == SAMPLES
    for _, own in windows.groupby("stream"):
        assert own["start"].tolist() == [0, *own["stop"].tolist()[:-1]]
        assert own["stop"].tolist() == [245, 491, 737, 768]  # 32 of the 100 samples each, and the four that are left
    with pytest.raises(DataError, match=r"0 whole windows to select from \(unseen\)"):
        select_windows(windows.assign(effect=1.0), pool="unseen")
    lists = select_windows(windows.assign(effect=windows["start"]), share=0.34)
    for one in lists.values():
        assert (one["stop"] - one["start"]).tolist() == [245, 245]
    file = tmp_path / "list.parquet"
    lists["random"].to_parquet(file)
    played = selected_mix(part.mix(0), file, name="random", samples=490)
    counts = consumption(played.plan(sizes_of(played)), [490]).groupby("stream")["samples"].sum()
    assert counts.to_dict() == {"books": 245, "web": 245}


def test_one_run_says_how_little_it_can_tell_apart(runs: list[Path]) -> None:
    one, _ = attributed(runs[:1], content=False)
    six, _ = attributed(runs, content=False)
    assert one.identified < six.identified < 48
    assert one.identified < READINGS
    assert (one.windows["high"] > one.windows["low"]).all()
    assert {"effect", "low", "high", "known"} <= set(one.streams.columns)


@pytest.mark.parametrize("columns", [{"text": "str"}, {"tokens": "ndarray:int64"}])
def test_content_of_samples_without_tokens_of_one_length_is_refused(tmp_path: Path, columns: dict[str, str]) -> None:
    with MDSWriter(columns=columns, out=str(tmp_path / "web")) as writer:
        for number in range(20):
            writer.write({"text": "words"} if "text" in columns else {"tokens": np.arange(5 + number % 2)})
    windows = pd.DataFrame({"stream": ["web"], "start": [0], "stop": [20]})
    with pytest.raises(DataError, match=r"'web'.*--features none"):
        content_features(windows, {"web": Stream(local=str(tmp_path / "web"))}, {"web": 20})


def test_a_table_of_ones_own_serves_as_features(world: World, runs: list[Path], tmp_path: Path) -> None:
    evidence = gather(runs)
    halves = world.truth.assign(stop=world.truth["start"] + 16)  # laid over by overlap; the other halves are not covered
    halves.rename(columns={"effect": "quality"}).to_parquet(tmp_path / "scan.parquet")
    features = table_features(evidence.windows, tmp_path / "scan.parquet")
    assert features.names == ("scan: quality",)
    both = evidence.windows.assign(quality=features.values[:, 0]).merge(world.truth, on=["stream", "start", "stop"])
    assert np.corrcoef(both["quality"], both["effect"])[0, 1] > 0.999
    halves[["stream", "start"]].to_parquet(tmp_path / "bad.parquet")
    with pytest.raises(FileError, match="'stop' is missing"):
        table_features(evidence.windows, tmp_path / "bad.parquet")


def test_too_few_readings_unknown_probes_and_empty_folders_are_refused(runs: list[Path], tmp_path: Path) -> None:
    evidence = gather(runs[:1])
    design = evidence.design(no_features(len(evidence.windows)).values)
    few = type(design)(
        change=design.change[:5],
        before=design.before[:5],
        rate=design.rate[:5],
        progress=design.progress[:5],
        run=design.run[:5],
        order=design.order[:5],
        consumed=design.consumed[:5],
        stream=design.stream,
        features=design.features,
    )
    with pytest.raises(DataError, match="too few"):
        estimate(few, streams=2)
    with pytest.raises(UserError, match="no probe 'q'"):
        gather(runs, probes=["q"])
    with pytest.raises(DataError, match="holds no run"):
        find_runs([tmp_path])
    assert find_runs([runs[0].parent]) == sorted(runs)
