"""What may change between stop and resume, and how a run is cut: edits of the future, skipped ranges, explicit ranks."""

import json
from dataclasses import replace
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streaming_help
from streaming_help import SIZES, Make, keys_of, loader, planned, ramp

from curriculum.errors import ChangedError, UserError
from curriculum.mix import Mix, Phase, Stream
from curriculum.streaming import PaddingSample
from curriculum.streaming.mds import write_stream

folder, make_dataset = streaming_help.folder, streaming_help.make_dataset
THIRD_ONLY = (Phase(until=Decimal(1), weights={"third": Decimal(1)}),)


def after(make_dataset: Make, mix: Mix, batches: int, state: dict[str, Any] | None = None, **options: Any) -> Any:
    """Play `batches` batches of 8, from `state` on; return the keys and the state as a checkpoint brings it back."""
    loading = loader(make_dataset(mix=mix, batch_size=8, **options))
    if state is not None:
        loading.load_state_dict(state)
    keys = keys_of(islice(loading, batches))
    return keys, json.loads(json.dumps(loading.state_dict()))


def test_the_past_is_kept_and_the_new_mix_plays_from_the_cursor(make_dataset: Make, folder: Path) -> None:
    old, new = ramp(folder), ramp(folder, phases=THIRD_ONLY)
    _, state = after(make_dataset, old, 50)
    with pytest.raises(ChangedError, match="on_change"):
        make_dataset(mix=new, batch_size=8).load_state_dict(state)
    dataset = make_dataset(mix=new, batch_size=8, on_change="continue")
    dataset.load_state_dict(state)
    wanted = old.plan(SIZES).continue_under(new, at=400)
    assert keys_of(dataset) == planned(wanted, 400)
    assert dataset.plan.counts(400, 1001) == {"first": 0, "second": 0, "third": 601}
    assert keys_of(dataset) == planned(wanted.later_pass(1))


def test_a_state_after_an_edit_holds_both_mixes_and_resumes_without_a_word(make_dataset: Make, folder: Path) -> None:
    old, new = ramp(folder), ramp(folder, phases=THIRD_ONLY)
    _, state = after(make_dataset, old, 50)
    played, state = after(make_dataset, new, 10, state, on_change="continue")
    assert [start for start, _ in state["segments"]] == [0, 400]
    assert state["segments"] == [[0, old.canonical()], [400, new.canonical()]]
    rest, state = after(make_dataset, new, 100, state)
    assert played + rest == planned(old.plan(SIZES).continue_under(new, at=400), 400)
    assert state["position"] == 1001
    with pytest.raises(ChangedError, match="phases"):
        make_dataset(mix=old, batch_size=8).load_state_dict(state)


@pytest.mark.parametrize("lanes", [1, 4])
def test_edits_add_up_over_epochs(make_dataset: Make, folder: Path, lanes: int) -> None:
    """Two edits in two epochs: no sample of a stream's epoch is lost or repeated, and every state can be resumed."""
    options: dict[str, Any] = {"samples": 200, "lanes": lanes}
    mixes = [ramp(folder, **options), ramp(folder, phases=THIRD_ONLY, **options), ramp(folder, **options)]
    played: list[int] = []
    state: dict[str, Any] | None = None
    for mix, batches in ((mixes[0], 10), (mixes[1], 40), (mixes[1], 10), (mixes[2], 5), (mixes[2], 30), (mixes[2], 12)):
        keys, state = after(make_dataset, mix, batches, state, on_change="continue")
        played += keys
        if state["position"] == 200:  # the pass is over: its state begins the next one with an empty rest
            loading = loader(make_dataset(mix=mix, batch_size=8))
            loading.load_state_dict(state)
            assert keys_of(loading) == []
            played += keys_of(islice(loading, 3))
            state = json.loads(json.dumps(loading.state_dict()))
    assert state is not None
    assert state["epoch"] >= 2
    for stream, size in enumerate(SIZES.values()):
        own = [key for key in played if key // 10**6 == stream]
        for epoch in range(len(own) // size + 1):
            part = own[epoch * size : (epoch + 1) * size]
            assert len(set(part)) == len(part)


@pytest.mark.parametrize("lanes", [1, 4])
def test_a_finished_pass_is_followed_by_the_new_mix(make_dataset: Make, folder: Path, lanes: int) -> None:
    old, new = ramp(folder, lanes=lanes), ramp(folder, samples=100, phases=THIRD_ONLY, lanes=lanes)
    _, state = after(make_dataset, old, 200)
    assert state["position"] == 1001
    keys, state = after(make_dataset, new, 200, state, on_change="continue")
    assert len(keys) == 100
    assert {key // 10**6 for key in keys} == {2}
    assert (state["epoch"], state["position"]) == (1, 100)


def test_streams_may_come_and_go(make_dataset: Make, folder: Path, tmp_path: Path) -> None:
    keys = 3 * 10**6 + np.arange(50, dtype=np.int64)[:, None]
    write_stream(tmp_path / "fourth", {"key": keys, "words": np.zeros((50, 2, 3), np.uint16)})
    _, state = after(make_dataset, ramp(folder), 20)
    streams = {"second": Stream(local=str(folder / "second")), "fourth": Stream(local=str(tmp_path / "fourth"))}
    phases = (Phase(until=Decimal(1), weights={"second": Decimal(1), "fourth": Decimal(1)}),)
    mix = ramp(folder, streams=streams, phases=phases)
    played, state = after(make_dataset, mix, 30, state, on_change="continue")
    assert {key // 10**6 for key in played} == {1, 3}
    assert set(state["streams"]) == {*SIZES, "fourth"}
    rest, _ = after(make_dataset, mix, 10, state)
    assert len(set(played + rest)) > 200
    again, _ = after(make_dataset, mix, 40, after(make_dataset, ramp(folder), 20)[1], on_change="continue")
    assert again == played + rest


def test_skipped_positions_are_left_out_and_remembered(make_dataset: Make, folder: Path) -> None:
    mix = ramp(folder)
    plan = mix.plan(SIZES)
    _, state = after(make_dataset, mix, 10)
    played, state = after(make_dataset, mix, 20, state, skip=[(100, 200), (160, 300)])
    assert played == planned(plan, 80, 100) + planned(plan, 300, 440)
    assert state["position"] == 440
    assert state["skipped"] == [[100, 300]]
    dataset = make_dataset(mix=mix, batch_size=8, skip=[(900, 1001)])
    dataset.load_state_dict(state)
    assert keys_of(dataset) == planned(plan, 440, 900)
    assert keys_of(dataset) == planned(plan.later_pass(1))  # the next pass is whole again


def test_a_state_from_before_the_first_step_remembers_what_is_to_be_skipped(make_dataset: Make, folder: Path) -> None:
    state = make_dataset(mix=ramp(folder), batch_size=8, skip=[(10, 990)]).state_dict(0, True)
    dataset = make_dataset(mix=ramp(folder), batch_size=8)
    dataset.load_state_dict(state)
    assert keys_of(dataset) == planned(dataset.plan, 0, 10) + planned(dataset.plan, 990)


def test_a_range_that_was_played_already_cannot_be_skipped(make_dataset: Make, folder: Path) -> None:
    _, state = after(make_dataset, ramp(folder), 10)
    with pytest.raises(UserError, match="begins before position 80"):
        make_dataset(mix=ramp(folder), batch_size=8, skip=[(79, 200)]).load_state_dict(state)


@pytest.mark.parametrize("workers", [0, 2])
def test_skips_are_dealt_over_workers(make_dataset: Make, folder: Path, workers: int) -> None:
    dataset = make_dataset(mix=ramp(folder), batch_size=8, skip=[(0, 8), (501, 777)])
    assert len(dataset) == 1001 - 8 - 276
    assert keys_of(loader(dataset, workers)) == planned(dataset.plan, 8, 501) + planned(dataset.plan, 777)


def test_ranks_may_be_stated_and_replicas_read_alike(make_dataset: Make, folder: Path) -> None:
    options = {"mix": ramp(folder, samples=1000), "batch_size": 8, "data_parallel_size": 4}
    shares = [keys_of(make_dataset(data_parallel_rank=rank, **options)) for rank in range(4)]
    dataset = make_dataset(data_parallel_rank=2, **options)
    assert keys_of(dataset) == shares[2]
    assert [key for row in zip(*shares, strict=True) for key in row] == planned(dataset.plan)


def test_lanes_stay_with_their_stated_rank_wherever_a_run_is_resumed(make_dataset: Make, folder: Path) -> None:
    mix = ramp(folder, samples=1000, lanes=4)
    state = make_dataset(mix=mix, batch_size=8).state_dict(75, True)
    for rank in range(4):
        dataset = make_dataset(mix=mix, batch_size=8, data_parallel_rank=rank, data_parallel_size=4, positions=True)
        dataset.load_state_dict(state)
        positions = [int(sample["position"]) for sample in dataset if not isinstance(sample, PaddingSample)]
        assert {position % 4 for position in positions} == {rank}
        assert min(positions) in range(75, 79)


def test_a_state_of_stated_ranks_counts_what_all_of_them_saw(make_dataset: Make, folder: Path) -> None:
    mix = ramp(folder)
    loading = loader(make_dataset(mix=mix, batch_size=8, data_parallel_rank=1, data_parallel_size=3))
    list(islice(loading, 7))
    state = loading.state_dict()
    assert state["position"] == 7 * 8 * 3
    dataset = make_dataset(mix=mix, batch_size=8)
    dataset.load_state_dict(state)
    assert keys_of(dataset) == planned(dataset.plan, 168)


def test_wrong_ranks_are_refused(make_dataset: Make, folder: Path) -> None:
    for wrong in ({"data_parallel_rank": 1}, {"data_parallel_rank": 2, "data_parallel_size": 2}):
        with pytest.raises(UserError, match="data_parallel"):
            make_dataset(mix=ramp(folder), batch_size=8, **wrong)
    with pytest.raises(UserError, match="needs a mix"):
        make_dataset(local=str(folder / "first"), batch_size=8, data_parallel_rank=0, data_parallel_size=2)


def test_drop_last_leaves_no_padding(make_dataset: Make, folder: Path) -> None:
    options = {"mix": ramp(folder), "batch_size": 8, "data_parallel_size": 2}
    padded = [list(make_dataset(data_parallel_rank=rank, **options)) for rank in range(2)]
    assert [len(each) for each in padded] == [501, 501]
    assert isinstance(padded[1][-1], PaddingSample)
    dropped = [make_dataset(data_parallel_rank=rank, drop_last=True, **options) for rank in range(2)]
    assert [len(dataset) for dataset in dropped] == [496, 496]
    shares = [keys_of(dataset) for dataset in dropped]
    assert [key for row in zip(*shares, strict=True) for key in row] == planned(dropped[0].plan, 0, 992)


@pytest.mark.parametrize("workers", [0, 2])
def test_every_sample_can_be_asked_where_it_came_from(make_dataset: Make, folder: Path, workers: int) -> None:
    dataset = make_dataset(mix=ramp(folder), batch_size=8, positions=True)
    batches = list(loader(dataset, workers))
    positions = np.concatenate([batch["position"].numpy() for batch in batches])
    assert positions.tolist() == list(range(1001))
    origin = dataset.origin(positions)
    numbers = origin["stream"].map({name: number for number, name in enumerate(SIZES)})
    assert (numbers * 10**6 + origin["sample"]).tolist() == keys_of(batches)
    assert ((origin["window_start"] <= origin["sample"]) & (origin["sample"] < origin["window_stop"])).all()
    assert origin["epoch"].tolist() == dataset.plan[positions][1].tolist()
    assert (origin["window_stop"] - origin["window_start"]).max() == 64


def test_lanes_can_be_overridden_and_count_in_the_state(make_dataset: Make, folder: Path) -> None:
    mix = ramp(folder)
    dataset = make_dataset(mix=mix, batch_size=8, num_canonical_nodes=4)
    assert keys_of(dataset) == planned(replace(mix, lanes=4).plan(SIZES)) != planned(mix.plan(SIZES))
    with pytest.raises(ChangedError, match="lanes: 4 -> 1"):
        make_dataset(mix=mix, batch_size=8).load_state_dict(dataset.state_dict(0, True))
