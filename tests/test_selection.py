"""Window lists that hold a mode: equal size and exposure, playable as mixes; the command from runs to lists and branches."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from attribution_help import BATCH, WINDOW, WINDOWS, World, make_run, make_world, smaller, write_items

from curriculum.attribution.branches import Growing, Trunk, branch, branch_request, check_growing, compare, groups_by_effect
from curriculum.attribution.consumption import consumption, sizes_of
from curriculum.attribution.selection import LISTS, score_table, select_windows, write_selection, write_table
from curriculum.commands.attribute import Settings, attribute
from curriculum.errors import DataError, FileError, ResourceError, UserError
from curriculum.mix import Mix, Order
from curriculum.probe.specification import BRANCH_DRAW, PROOF_DRAW, SEARCH_DRAW, ProbeSpecification
from curriculum.proxy.recipe import Recipe
from curriculum.proxy.run import RunRequest, perform


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


def scored(world: World) -> pd.DataFrame:
    consumed = (world.truth["start"] < WINDOW * WINDOWS // 2).astype(int)
    return world.truth.assign(consumed=consumed, held_out=consumed == 0)


def test_lists_are_of_equal_size_and_exposure_and_ranked(world: World) -> None:
    lists = select_windows(scored(world), share=0.25, pool="unseen")
    assert tuple(lists) == LISTS
    effects = {}
    for name, windows in lists.items():
        assert windows.groupby("stream").size().to_dict() == {"web": 3, "books": 3}
        assert not windows.duplicated().any()
        assert (windows["start"] >= WINDOW * WINDOWS // 2).all()
        effects[name] = windows.merge(world.truth).groupby("stream")["effect"].agg(["min", "max"])
    assert (effects["general-only"]["min"] > effects["shallow-only"]["max"]).all()
    others = select_windows(scored(world), share=0.25, pool="unseen", seed=1)
    assert not others["random"].equals(lists["random"])
    assert set(others["general-only"].itertuples(index=False)) == set(lists["general-only"].itertuples(index=False))


def test_a_short_last_window_and_too_small_a_pool_are_not_selected(world: World) -> None:
    last = {"stream": "web", "start": 768, "stop": 770, "effect": 99.0, "consumed": 0, "held_out": True}
    short = pd.DataFrame([last])
    lists = select_windows(pd.concat([scored(world), short]), pool="held-out")
    assert 770 not in set(lists["general-only"]["stop"])
    with pytest.raises(DataError, match="two lists without a window in common"):
        select_windows(scored(world), share=0.02)


def test_written_lists_are_mixes_that_play_just_these_windows_at_the_same_counts(world: World, tmp_path: Path) -> None:
    lists = select_windows(scored(world), share=0.25)
    paths = write_selection(world.mix(3), lists, tmp_path, samples=300)
    plans = {path.stem: Mix.load(path).plan(sizes_of(world.mix(0))) for path in paths}
    for name, plan in plans.items():
        assert plan.counts(0, 300) == {"web": 150, "books": 150}
        played = consumption(plan, [300])[["stream", "start", "stop"]]
        assert set(played.itertuples(index=False)) <= set(lists[name].itertuples(index=False))


def test_scores_cover_streams_whose_windows_were_listed(world: World, tmp_path: Path) -> None:
    some = world.truth[world.truth["start"] % 64 == 0]
    table = score_table(some, {"web": 768, "books": 768}, {"web": 0.5, "books": -0.5})
    table.to_parquet(tmp_path / "scores.parquet")
    mix = world.mix(0)
    order = Order(scores=str(tmp_path / "scores.parquet"), direction="descending")
    streams = {name: type(stream)(local=stream.local, order=order) for name, stream in mix.streams.items()}
    plan = type(mix)(name="s", streams=streams, phases=mix.phases, samples=200).plan({"web": 768, "books": 768})
    first = consumption(plan, [20]).merge(table)
    assert list(first["score"]) == list(table.groupby("stream", sort=False)["score"].max())


def test_groups_go_from_low_to_high_and_take_as_many_of_each_stream(world: World) -> None:
    groups = groups_by_effect(world.truth, 4)
    assert [len(own) for own in groups.values()] == [12] * 4
    means = [own["effect"].mean() for own in groups.values()]
    assert means == sorted(means)
    with pytest.raises(DataError, match="too few for 25 sets"):
        groups_by_effect(world.truth, 25)
    with pytest.raises(DataError, match="no window to branch on"):
        groups_by_effect(scored(world).head(0), 2)


def _trained(world: World, runs: Path) -> Path:
    """Train a tiny run of the world that keeps two checkpoints."""
    files = {name: Path(path) for name, path in write_items(world.folder).items()}
    probes = (ProbeSpecification(name="p", family="p", floor=0.2, items=4, file=files["file"], control=files["control"]),)
    recipe = Recipe(layers=1, width=8, heads=1, batch=BATCH, readings=4, schedule="cosine")
    request = RunRequest(label="base", mix=world.mix(50), seed=0, samples=256, recipe=recipe, probes=probes)
    return perform(request, runs, keep=2).folder


def test_branches_differ_in_their_windows_alone(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    run = _trained(world, tmp_path / "trained")
    trunk = Trunk.of_run(run, position=128)
    assert trunk.checkpoint == run / "checkpoints" / "128"
    full = Recipe(batch=BATCH, schedule="cosine")
    assert trunk.recipe.learning_rate == pytest.approx(full.rate(16, 32))
    assert trunk.recipe.schedule == "constant"
    sets = groups_by_effect(world.truth, 2)
    growing = Growing(samples=64, readings=2, workers=1, population=1)
    found = branch(trunk, sets, range(2), growing, tmp_path / "branches")
    assert {name: len(results) for name, results in found.items()} == {"group-1": 2, "group-2": 2}
    for name, results in found.items():
        for result in results:
            mix = Mix.load(result.folder / "mix.yaml")
            played = consumption(mix.plan(sizes_of(mix)), [64])
            assert set(played[["stream", "start", "stop"]].itertuples(index=False)) <= set(
                sets[name][["stream", "start", "stop"]].itertuples(index=False)
            )
            assert played.groupby("stream")["samples"].sum().to_dict() == {"books": 32, "web": 32}
    again = branch(trunk, sets, range(2), growing, tmp_path / "branches")
    assert [result.folder for result in again["group-1"]] == [result.folder for result in found["group-1"]]
    assert compare(found, "group-2", "group-1").low == float("-inf")  # two seeds are too few for an interval


def _items(world: World, rows: int) -> None:
    """Write other items of the world's probe: as many as `rows`, each with a prompt of its own."""
    for name in ("items", "control"):
        made = [{"split": "test", "prompt": [n, 3], "correct_answer": [1], "incorrect_answer": [9]} for n in range(rows)]
        (world.folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, made)))


def test_branches_are_asked_items_that_neither_search_nor_proof_has_seen(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    run = _trained(world, tmp_path / "trained")
    _items(world, 16)
    trunk = Trunk.of_run(run)
    draws = (SEARCH_DRAW, PROOF_DRAW, trunk.draw)
    asked = [set(trunk.probes[0].draw(draw, seed=trunk.item_seed).items.prompts) for draw in draws]
    assert trunk.draw == BRANCH_DRAW
    assert not asked[2] & (asked[0] | asked[1])
    request = branch_request(trunk, "one", world.truth, 0, Growing(samples=64, readings=2), tmp_path / "branches")
    assert request.draw == BRANCH_DRAW
    _items(world, 8)  # four for the search and four for the proof: nothing is left
    assert Trunk.of_run(run).draw == PROOF_DRAW
    check_growing(Trunk.of_run(run), Growing(samples=64, readings=2))


def test_what_branches_cannot_be_is_said_before_anything_is_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = make_world(tmp_path)
    run = _trained(world, tmp_path / "trained")
    with pytest.raises(UserError, match=r"--length: wanted a multiple of 32 .* got 100; try 96"):
        attribute([run], Settings(out=tmp_path / "out", branches=2, length=100))
    assert "reading" not in capsys.readouterr().err
    _items(world, 4)
    with pytest.raises(FileError, match="at least 8 items"):
        attribute([run], Settings(out=tmp_path / "out", branches=2, length=64))
    trunk = Trunk.of_run(run)
    once = {name: replace(stream, max_epochs=1) for name, stream in trunk.mix.streams.items()}
    short = replace(trunk, mix=replace(trunk.mix, streams=once))
    few = {"one": world.truth.groupby("stream").head(1)}
    with pytest.raises(DataError, match="max_epochs"):
        branch(short, few, [0], Growing(samples=128, readings=2), tmp_path / "branches")
    assert not list(tmp_path.glob("branches/branch-*"))
    with pytest.raises(UserError, match="got 100"):
        check_growing(trunk, Growing(samples=100, readings=2))


def test_the_command_goes_from_runs_to_tables_lists_and_branches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = make_world(tmp_path)
    runs = [_trained(world, tmp_path / "trained"), *(make_run(smaller(world, tmp_path, 0.5), seed) for seed in range(4))]
    settings = Settings(
        out=tmp_path / "out",
        select=tmp_path / "lists",
        pool="unseen",
        picture=tmp_path / "effects.png",
        branches=2,
        length=64,
        workers=1,
    )
    assert attribute(runs[1:], Settings(out=tmp_path / "out"), as_json=False) == 0
    assert "95 %" in capsys.readouterr().out
    document = _attributed(runs, settings, capsys)
    assert document["runs"] == 4
    assert document["runs_unused"] == [str(runs[0])]
    assert {row["stream"] for row in document["streams"]} == {"web", "books"}
    assert all(row["low"] <= row["effect"] <= row["high"] for row in document["top"] + document["bottom"] + document["streams"])
    assert document["branches"]["seeds"] == 2
    assert set(document["branches"]["difference"]) == {"mean", "low", "high"}
    assert (tmp_path / "effects.png").stat().st_size > 0
    assert len(pd.read_parquet(document["table"])) == 2 * WINDOWS
    for path in document["selection"]:
        assert Mix.load(path).plan(sizes_of(world.mix(0))).counts(0, 64) == {"web": 32, "books": 32}


def _attributed(runs: list[Path], settings: Settings, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    capsys.readouterr()
    assert attribute(runs, settings, as_json=True) == 0
    document: dict[str, object] = json.loads(capsys.readouterr().out)
    return document


def test_a_list_that_cannot_be_written_is_said_in_words(tmp_path: Path, world: World) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="cannot be written"):
        write_table(world.truth, tmp_path / "file" / "list.parquet")


def test_mistakes_are_said_before_anything_is_read(tmp_path: Path, world: World) -> None:
    with pytest.raises(UserError, match="--hold-out"):
        attribute([tmp_path], Settings(pool="held-out"))
    with pytest.raises(UserError, match="alone"):
        attribute([tmp_path], Settings(features=("none", "content")))
    with pytest.raises(DataError, match="kept no checkpoint"):
        Trunk.of_run(make_run(world, 9))
