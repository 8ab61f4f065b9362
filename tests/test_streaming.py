"""StreamingDataset under a mix and without: order, workers, epochs, whole batches."""

import pickle
import tempfile
from importlib import import_module
from itertools import islice
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streaming_help
from streaming_help import Make, keys_of, loader, planned, ramp
from torch.utils.data import default_collate

from curriculum.errors import UserError
from curriculum.mix import Stream
from curriculum.streaming import StreamingDataset
from curriculum.streaming.mosaic import MDSWriter
from curriculum.streaming.mosaic import Stream as MosaicStream

memory = import_module("streaming.base.shared.memory")
folder, make_dataset = streaming_help.folder, streaming_help.make_dataset


def test_a_ramp_is_obeyed_to_the_sample(make_dataset: Make, folder: Path) -> None:
    dataset = make_dataset(mix=ramp(folder, samples=1000), batch_size=8)
    keys = keys_of(loader(dataset))
    assert keys == planned(dataset.plan)
    streams = np.asarray(keys) // 10**6
    for start, stop in ((0, 1000), (0, 250), (250, 777), (999, 1000)):
        found = np.bincount(streams[start:stop], minlength=3).tolist()
        assert found == list(dataset.plan.counts(start, stop).values())
    # The integral of the ramp .8 -> .2, worked out by hand: 325 of the first 500, 175 of the last.
    assert abs(np.count_nonzero(streams[:500] == 0) - 325) <= 12
    assert np.count_nonzero(streams == 0) == 500


def test_the_mix_may_be_a_file(make_dataset: Make, folder: Path, tmp_path: Path) -> None:
    mix = ramp(folder)
    mix.dump(tmp_path / "mix.yaml")
    for path in (tmp_path / "mix.yaml", str(tmp_path / "mix.yaml")):
        dataset = make_dataset(mix=path, batch_size=8)
        assert planned(dataset.plan) == planned(mix.plan(streaming_help.SIZES))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_the_order(make_dataset: Make, folder: Path, workers: int) -> None:
    dataset = make_dataset(mix=ramp(folder), batch_size=8)
    assert keys_of(loader(dataset, workers)) == planned(dataset.plan)


def test_a_spawned_worker_gets_the_dataset_by_pickling(make_dataset: Make, folder: Path) -> None:
    dataset = make_dataset(mix=ramp(folder, samples=40), batch_size=8)
    dataset.__getitems__([0, 1])  # open maps must not be in the way
    assert keys_of(loader(dataset, 1, multiprocessing_context="spawn")) == planned(dataset.plan)


def test_a_pickled_dataset_reads_the_same(make_dataset: Make, folder: Path) -> None:
    dataset = make_dataset(mix=ramp(folder), batch_size=8)
    dataset.__getitems__([0, 1])
    copied = pickle.loads(pickle.dumps(dataset))
    assert keys_of(copied.__getitems__(range(100))) == planned(dataset.plan, 0, 100)


def test_later_epochs_play_the_schedule_again_and_continue_the_draws(make_dataset: Make, folder: Path) -> None:
    dataset = make_dataset(mix=ramp(folder, samples=400), batch_size=8)
    epochs = [keys_of(loader(dataset)) for _ in range(3)]
    for number, keys in enumerate(epochs):
        assert keys == planned(dataset.plan.later_pass(number))
    first_stream = [key for keys in epochs[:2] for key in keys if key < 10**6]
    assert len(first_stream) == len(set(first_stream)) == 400  # .5 of 400, twice: 400 of 500, none seen twice


SETTINGS: list[dict[str, Any]] = [
    {},
    {"shuffle": True, "shuffle_seed": 3, "num_canonical_nodes": 2},
    {"shuffle": True, "shuffle_algo": "py1s", "epoch_size": 700, "sampling_granularity": 4},
    {"batching_method": "stratified", "shuffle": True},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_without_a_mix_the_order_is_mosaics_own(make_dataset: Make, folder: Path, settings: dict[str, Any]) -> None:
    def epochs(mosaic: bool) -> list[list[int]]:
        weighted = "epoch_size" in settings or "batching_method" in settings
        streams = [
            MosaicStream(local=str(folder / name), **({"proportion": share} if weighted else {}))
            for name, share in (("first", 0.5), ("second", 0.3), ("third", 0.2))
        ]
        dataset = make_dataset(mosaic=mosaic, streams=streams, batch_size=8, **settings)
        batches = loader(dataset)
        return [keys_of(batches) for _ in range(2)]

    ours, theirs = epochs(mosaic=False), epochs(mosaic=True)
    assert ours == theirs
    assert len(ours[0]) >= 690


def test_without_a_mix_one_folder_and_its_split_work_as_in_mosaic(make_dataset: Make, folder: Path) -> None:
    arguments = {"local": str(folder), "split": "second", "batch_size": 4}
    dataset = make_dataset(**arguments)
    assert keys_of(dataset) == keys_of(make_dataset(mosaic=True, **arguments)) == list(range(10**6, 10**6 + 300))
    assert keys_of(dataset.__getitems__([7, 3])) == keys_of([dataset[7], dataset[3]])
    with pytest.raises(UserError, match="mix"):
        _ = dataset.plan


def test_whole_batches_equal_plain_iteration_sample_by_sample(make_dataset: Make, folder: Path) -> None:
    dataset = make_dataset(mix=ramp(folder), batch_size=8)
    iterated = list(dataset)
    batches = [dataset.__getitems__(range(start, min(start + 7, 1001))) for start in range(0, 1001, 7)]
    fetched = [sample for batch in batches for sample in batch]
    assert len(iterated) == len(fetched) == 1001
    for one, other in zip(iterated, fetched, strict=True):
        assert list(one) == list(other) == ["key", "words"]
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], strict=True)
    assert dataset.sample_ids([5, 2]).tolist() == [
        dataset.sample_offset_per_stream[key // 10**6] + key % 10**6 for key in keys_of([iterated[5], iterated[2]])
    ]


def test_whole_batches_come_in_any_order_with_repeats_and_never_from_outside(make_dataset: Make, folder: Path) -> None:
    dataset = make_dataset(mix=ramp(folder), batch_size=8)
    positions = [1000, 0, 500, 0]
    wanted = [planned(dataset.plan)[position] for position in positions]
    assert keys_of(dataset.__getitems__(positions)) == wanted
    assert keys_of(dataset.__getitems__(np.asarray(positions))) == wanted
    assert dataset.__getitems__([]) == []
    for outside in (-1, 1001):
        with pytest.raises(IndexError, match=str(outside)):
            dataset.__getitems__([0, outside])


def mixed_streams(root: Path) -> dict[str, Stream]:
    """Return a stream of text, a compressed one, and one that lies elsewhere and is downloaded."""
    for name, compression in (("text", None), ("zipped", "gz"), ("remote", None)):
        columns = {"key": "int", "text": "str", "shape": "ndarray:float32"}
        with MDSWriter(columns=columns, out=str(root / name), compression=compression, size_limit=2000) as writer:
            for index in range(60):
                shape = np.full(1 + index % 3, index, np.float32)
                writer.write({"key": index, "text": f"{name} {index}", "shape": shape})
    return {
        "first": Stream(local=str(root / "text")),
        "second": Stream(local=str(root / "zipped")),
        "third": Stream(remote=str(root / "remote"), local=str(root / "cache")),
    }


@pytest.mark.parametrize("cache_limit", [None, "1mb"])
def test_text_compressed_and_downloaded_streams_read_alike(
    make_dataset: Make, folder: Path, tmp_path: Path, cache_limit: str | None
) -> None:
    mix = ramp(folder, samples=90, streams=mixed_streams(tmp_path))
    dataset = make_dataset(mix=mix, batch_size=8, cache_limit=cache_limit)
    fetched = dataset.__getitems__(range(90))
    again = dataset.__getitems__(range(90))  # now that every shard has been downloaded and unpacked
    names = np.asarray(["text", "zipped", "remote"])[dataset.plan[np.arange(90)][0]]
    for name, one, other, third in zip(names, fetched, again, dataset, strict=True):
        assert one["text"] == other["text"] == third["text"] == f"{name} {one['key']}"
        np.testing.assert_array_equal(one["shape"], third["shape"], strict=True)
        np.testing.assert_array_equal(other["shape"], third["shape"], strict=True)


def test_shards_that_were_evicted_are_downloaded_again(make_dataset: Make, folder: Path, tmp_path: Path) -> None:
    far = {name: Stream(remote=str(folder / name), local=str(tmp_path / name)) for name in streaming_help.SIZES}
    dataset = make_dataset(mix=ramp(folder, samples=300, streams=far), batch_size=8)
    assert keys_of(dataset) == planned(dataset.plan)
    assert len(list(tmp_path.rglob("*.mds"))) > 3
    for shard in range(len(dataset.shards)):
        dataset.evict_shard(shard)
    assert not list(tmp_path.rglob("*.mds"))
    assert keys_of(dataset) == planned(dataset.plan.later_pass(1))


def test_a_mix_leaves_nothing_named_behind(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("named shared memory")

    monkeypatch.setattr(shared_memory, "SharedMemory", refuse)
    monkeypatch.setattr(memory, "BuiltinSharedMemory", refuse)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dataset = StreamingDataset(mix=ramp(folder), batch_size=8)
    assert len(list(islice(loader(dataset, 1), 20))) == 20
    assert not list(tmp_path.iterdir())


def test_iterating_needs_a_batch_size_but_whole_batches_do_not(make_dataset: Make, folder: Path) -> None:
    dataset = make_dataset(mix=ramp(folder))
    assert len(default_collate(dataset.__getitems__(range(5)))["key"]) == 5
    with pytest.raises(UserError, match="batch_size"):
        next(iter(dataset))
