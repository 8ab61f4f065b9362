"""Saved states: what they carry, where they resume, and what is refused."""

import json
import shutil
from dataclasses import replace
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import streaming_help
from streaming_help import Make, keys_of, loader, planned, ramp

from curriculum.errors import ChangedError, UserError
from curriculum.mix import Mix, Phase

folder, make_dataset = streaming_help.folder, streaming_help.make_dataset


def saved(make_dataset: Make, mix: Mix, batches: int = 10) -> dict[str, Any]:
    """Return the state after `batches` batches of 8, as a checkpoint brings it back: through JSON."""
    loading = loader(make_dataset(mix=mix, batch_size=8))
    list(islice(loading, batches))
    state: dict[str, Any] = json.loads(json.dumps(loading.state_dict()))
    return state


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stopped_run_resumes_where_it_was(make_dataset: Make, folder: Path, workers: int) -> None:
    before = loader(make_dataset(mix=ramp(folder), batch_size=8), workers)
    played = keys_of(islice(before, 37))
    dataset = make_dataset(mix=ramp(folder), batch_size=16)
    after = loader(dataset, 2 - workers)
    after.load_state_dict(before.state_dict())
    assert played + keys_of(after) == planned(dataset.plan)
    assert keys_of(after) == planned(dataset.plan.later_pass(1))


def test_stops_add_up_and_the_second_epoch_resumes_too(make_dataset: Make, folder: Path) -> None:
    mix = ramp(folder, samples=200)
    played: list[int] = []
    state = None
    for _ in range(10):
        batches = loader(make_dataset(mix=mix, batch_size=8))
        if state is not None:
            batches.load_state_dict(state)
        played += keys_of(islice(batches, 5))
        state = batches.state_dict()
        if state["position"] == 200:
            played += keys_of(islice(batches, 5))
            state = batches.state_dict()
    plan = mix.plan(streaming_help.SIZES)
    assert played == (planned(plan) + planned(plan.later_pass(1)) + planned(plan.later_pass(2)))[: len(played)]
    assert len(played) > 400
    assert state is not None
    assert state["epoch"] >= 1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_state_comes_before_the_first_iteration(make_dataset: Make, folder: Path, workers: int) -> None:
    loading = loader(make_dataset(mix=ramp(folder), batch_size=8), workers)
    state = loading.state_dict()
    next(iter(loading))
    with pytest.raises(UserError, match="before the first iteration"):
        loading.load_state_dict(state)


def test_a_state_can_be_taken_by_position_without_iterating(make_dataset: Make, folder: Path) -> None:
    state = make_dataset(mix=ramp(folder), batch_size=8).state_dict(123, True)
    dataset = make_dataset(mix=ramp(folder), batch_size=8)
    dataset.load_state_dict(state)
    assert keys_of(dataset) == planned(dataset.plan, 123)


def test_padding_is_outside_the_state(make_dataset: Make, folder: Path) -> None:
    state = make_dataset(mix=ramp(folder), batch_size=8).state_dict(1008, True)
    assert state["position"] == state["sample_in_epoch"] == 1001


def test_a_state_says_what_was_played(make_dataset: Make, folder: Path) -> None:
    mix = ramp(folder)
    state = saved(make_dataset, mix)
    assert (state["position"], state["epoch"], state["samples"]) == (80, 0, 1001)
    assert state["segments"] == [[0, mix.canonical()]]
    assert state["fingerprint"] == mix.fingerprint()
    assert {name: data["samples"] for name, data in state["streams"].items()} == streaming_help.SIZES
    assert all(len(data["digest"]) == 64 for data in state["streams"].values())


def test_a_state_larger_than_mosaics_page_of_memory_is_no_trouble(make_dataset: Make, folder: Path) -> None:
    phases = tuple(
        Phase(until=Decimal(step) / 60, weights={"first": Decimal(step), "second": Decimal(60)}) for step in range(1, 61)
    )
    mix = ramp(folder, phases=phases)
    state = saved(make_dataset, mix)
    assert len(json.dumps(state)) > 4096
    dataset = make_dataset(mix=mix, batch_size=8)
    dataset.load_state_dict(state)
    assert keys_of(dataset) == planned(dataset.plan, 80)


def test_names_and_places_may_change(make_dataset: Make, folder: Path, tmp_path: Path) -> None:
    state = saved(make_dataset, ramp(folder))
    shutil.copytree(folder, tmp_path / "moved")
    dataset = make_dataset(mix=ramp(tmp_path / "moved", name="renamed"), batch_size=8)
    dataset.load_state_dict(state)
    assert keys_of(dataset) == planned(dataset.plan, 80)


def refusal(make_dataset: Make, mix: Mix, state: dict[str, Any]) -> str:
    dataset = make_dataset(mix=mix, batch_size=8)
    with pytest.raises(ChangedError) as refused:
        dataset.load_state_dict(state)
    assert keys_of(dataset) == planned(dataset.plan)  # nothing of the refused state is left
    return str(refused.value)


def test_another_seed_length_or_weight_is_refused_and_spelled_out(make_dataset: Make, folder: Path) -> None:
    mix = ramp(folder)
    state = saved(make_dataset, mix)
    assert "seed: 5 -> 6" in refusal(make_dataset, replace(mix, seed=6), state)
    assert "samples: 1001 -> 1000" in refusal(make_dataset, replace(mix, samples=1000), state)
    other = replace(mix.phases[0], weights={**mix.phases[0].weights, "first": Decimal("0.7")})
    assert "phases[0].weights.first: 0.8 -> 0.7" in refusal(make_dataset, replace(mix, phases=(other,)), state)


def test_other_data_is_refused_and_named(make_dataset: Make, folder: Path, tmp_path: Path) -> None:
    state = saved(make_dataset, ramp(folder))
    shutil.copytree(folder, tmp_path / "other")
    index = json.loads((tmp_path / "other/second/index.json").read_text())
    index["shards"] = index["shards"][:-1]
    (tmp_path / "other/second/index.json").write_text(json.dumps(index))
    left = sum(shard["samples"] for shard in index["shards"])
    message = refusal(make_dataset, ramp(tmp_path / "other"), state)
    assert f"stream 'second': 300 samples in {len(index['shards']) + 1} shards" in message
    assert f"-> {left} samples" in message
    assert "'first'" not in message


def test_data_of_the_same_size_is_told_apart_by_its_hashes(make_dataset: Make, folder: Path, tmp_path: Path) -> None:
    state = saved(make_dataset, ramp(folder))
    shutil.copytree(folder, tmp_path / "other")
    index = json.loads((tmp_path / "other/third/index.json").read_text())
    index["shards"][0]["raw_data"]["hashes"] = {"sha1": "0" * 40}
    (tmp_path / "other/third/index.json").write_text(json.dumps(index))
    assert "stream 'third'" in refusal(make_dataset, ramp(tmp_path / "other"), state)


def test_states_with_and_without_a_mix_are_not_exchanged(make_dataset: Make, folder: Path) -> None:
    plain = make_dataset(local=str(folder / "first"), batch_size=8)
    with pytest.raises(ChangedError, match="give it the same mix"):
        plain.load_state_dict(saved(make_dataset, ramp(folder)))
    assert "not saved by a dataset under a mix" in refusal(make_dataset, ramp(folder), plain.state_dict(80, True))


@pytest.mark.parametrize("damage", [{"position": 81}, {"position": 2000, "sample_in_epoch": 2000}, {"samples": 90}])
def test_a_damaged_state_is_refused(make_dataset: Make, folder: Path, damage: dict[str, int]) -> None:
    state = saved(make_dataset, ramp(folder))
    assert "damaged" in refusal(make_dataset, ramp(folder), {**state, **damage})


def test_without_a_mix_a_state_is_mosaics_and_resumes(make_dataset: Make, folder: Path) -> None:
    arguments = {"local": str(folder / "first"), "shuffle": True, "batch_size": 8}
    before = loader(make_dataset(**arguments))
    played = keys_of(islice(before, 20))
    state = before.state_dict()
    assert set(state) == {
        "epoch",
        "sample_in_epoch",
        "num_canonical_nodes",
        "shuffle_seed",
        "initial_physical_nodes",
    }
    ours, theirs = (loader(make_dataset(mosaic=mosaic, **arguments), 1) for mosaic in (False, True))
    ours.load_state_dict(state)
    theirs.load_state_dict(state)
    rest = keys_of(ours)
    assert rest == keys_of(theirs)
    assert sorted(played + rest) == list(range(500))
