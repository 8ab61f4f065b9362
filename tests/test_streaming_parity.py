"""Without a mix ours is Mosaic's, sample for sample: both classes side by side over all that decides an order."""

from collections.abc import Iterator
from contextlib import ExitStack
from inspect import signature
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streaming_help
from streaming_help import Make, keys_of, loader, mosaics_own
from streaming_jobs import answer, rank_environments, running

from curriculum.streaming import StreamingDataset, mosaic
from curriculum.streaming.mds import write_stream
from curriculum.streaming.shared import release

make_dataset = streaming_help.make_dataset
SIZES = {"one": 61, "two": 40, "three": 27}
ALGORITHMS = ["naive", "py1s", "py2s", "py1br", "py1e"]
BATCHINGS = ["random", "stratified", "per_stream", "device_per_stream"]
PROPORTIONS = {"proportion": [0.5, 0.25, 0.25]}

CASES: dict[str, dict[str, Any]] = {
    **{
        f"{algorithm}-{batching}": {"shuffle": True, "shuffle_algo": algorithm, "batching_method": batching}
        for algorithm in ALGORITHMS
        for batching in BATCHINGS
    },
    **{f"in order-{batching}": {"batching_method": batching} for batching in BATCHINGS},
    "proportions": PROPORTIONS,
    "proportions-stratified": {**PROPORTIONS, "batching_method": "stratified", "shuffle": True},
    "repeat": {"repeat": [2, 0.5, 1.3], "shuffle": True},
    "choose": {"choose": [30, 81, 27], "shuffle": True},
    "choose-fixed": {"choose": [30, 81, 27], "shuffle": True, "sampling_method": "fixed"},
    "granularity": {**PROPORTIONS, "epoch_size": 90, "sampling_granularity": 4, "shuffle": True},
    "longer epoch": {**PROPORTIONS, "epoch_size": 300},
    "epoch in words": {**PROPORTIONS, "epoch_size": "0.15k", "shuffle": True},
    "fixed": {**PROPORTIONS, "epoch_size": 70, "sampling_method": "fixed", "shuffle": True},
    "canonical nodes": {"num_canonical_nodes": 4, "shuffle": True, "shuffle_seed": 0},
    "canonical nodes in order": {"num_canonical_nodes": 8},
    "original partitions": {"num_canonical_nodes": 2, "partition_algo": "orig", "shuffle": True},
    "wide blocks": {"shuffle": True, "shuffle_block_size": 64, "shuffle_seed": 123456},
    "default block": {"shuffle": True, "shuffle_block_size": None},
    "predownload": {"shuffle": True, "predownload": 2},
}


@pytest.fixture(autouse=True)
def ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Mosaic's waits look more often than every 7 ms, which is most of the time of a tiny epoch."""
    monkeypatch.setattr("streaming.base.dataset.TICK", 0.0005)
    monkeypatch.setattr("streaming.base.shared.barrier.TICK", 0.0005)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tiny streams of several shards each; key = stream * 10**6 + index."""
    root = tmp_path_factory.mktemp("tiny")
    for number, (name, size) in enumerate(SIZES.items()):
        keys = number * 10**6 + np.arange(size, dtype=np.int64)[:, None]
        words = (keys + np.arange(6)).astype(np.uint16).reshape(-1, 2, 3)
        write_stream(root / name, {"key": keys, "words": words}, shard_bytes=800)
    return root


def arguments_for(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """Return the constructor's arguments for a case; fresh streams each time, since Mosaic writes into them."""
    weighting = next((name for name in ("proportion", "repeat", "choose") if name in case), None)
    streams = [
        mosaic.Stream(local=str(folder / name), **({weighting: case[weighting][number]} if weighting else {}))
        for number, name in enumerate(SIZES)
    ]
    settings = {name: value for name, value in case.items() if name != weighting}
    return {"streams": streams, "batch_size": 4, "shuffle_block_size": 16, **settings}


def story(make_dataset: Make, folder: Path, case: dict[str, Any], *, mosaic: bool) -> dict[str, Any]:
    """Play a run with a stop in its first epoch and all of its second, and return all there is to see."""

    def made() -> Any:
        return make_dataset(mosaic=mosaic, **arguments_for(folder, case))

    dataset = made()
    stopped = loader(dataset)
    before = keys_of(islice(stopped, 9))
    state = stopped.state_dict()
    resumed = loader(made())
    resumed.load_state_dict(state)
    rest, second = keys_of(resumed), keys_of(resumed)
    return {
        "before": before,
        "state": state,
        "rest": rest,
        "second": second,
        "later state": resumed.state_dict(),
        "lengths": [len(dataset), dataset.size, dataset.epoch_size, len(stopped)],
        "settings": [dataset.num_canonical_nodes, dataset.shuffle_block_size, dataset.predownload, dataset.next_epoch],
        "streams": [[each.proportion, each.repeat, each.choose] for each in dataset.streams],
    }


@pytest.mark.parametrize("name", CASES)
def test_order_state_and_resumption_are_mosaics(make_dataset: Make, folder: Path, name: str) -> None:
    ours, theirs = (story(make_dataset, folder, CASES[name], mosaic=mosaic) for mosaic in (False, True))
    assert ours == theirs
    assert len(ours["before"]) == 36
    assert len(ours["before"]) + len(ours["rest"]) >= min(70, len(ours["second"]))


def test_the_cases_differ(make_dataset: Make, folder: Path) -> None:
    names = ["in order-random", "py1e-random", "py1s-random", "naive-random", "py1e-per_stream", "proportions", "repeat"]
    orders = [keys_of(make_dataset(**arguments_for(folder, CASES[name]))) for name in names]
    assert len({tuple(order) for order in orders}) == len(names)


@pytest.mark.parametrize("case", ["py1e-random", "naive-stratified"])
def test_workers_get_mosaics_shares(make_dataset: Make, folder: Path, case: str) -> None:
    ours, theirs = (
        keys_of(loader(make_dataset(mosaic=mosaic, **arguments_for(folder, CASES[case])), 2)) for mosaic in (False, True)
    )
    assert ours == theirs


def test_samples_are_mosaics_to_the_byte(make_dataset: Make, folder: Path) -> None:
    ours, theirs = (make_dataset(mosaic=mosaic, **arguments_for(folder, CASES["py1e-random"])) for mosaic in (False, True))
    for one, other in zip(ours, theirs, strict=True):
        assert list(one) == list(other)
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], strict=True)
    assert ours[5]["key"] == theirs[5]["key"]
    assert keys_of(ours[3:7]) == keys_of(theirs[3:7])
    with pytest.raises(IndexError):
        ours[128]


def one_rank(pipe: Connection, folder: Path, case: dict[str, Any]) -> list[list[int]]:
    """Read an epoch with ours and one with Mosaic's, as one of several ranks."""
    found = []
    for kind in (StreamingDataset, mosaics_own):
        dataset = kind(**arguments_for(folder, case))
        found.append(keys_of(loader(dataset)))
        pipe.send("read")
        pipe.recv()
        release(dataset)
    return found


def in_ranks(folder: Path, case: dict[str, Any], nodes: int, ranks: int) -> Iterator[list[list[int]]]:
    """Yield what each of nodes x ranks processes read: [with ours, with Mosaic's]."""
    with ExitStack() as stack:
        pipes = []
        for environment in rank_environments(nodes, ranks):
            pipes.append(stack.enter_context(running(one_rank, folder, case, environment=environment))[1])
        for _ in range(2):  # nobody frees what another still reads
            assert [answer(pipe) for pipe in pipes] == ["read"] * len(pipes)
            for pipe in pipes:
                pipe.send("go on")
        yield from [answer(pipe) for pipe in pipes]


@pytest.mark.parametrize(("nodes", "ranks", "replication"), [(1, 2, None), (2, 2, None), (1, 4, 2), (2, 2, 4)])
def test_ranks_and_replicas_get_mosaics_shares(folder: Path, nodes: int, ranks: int, replication: int | None) -> None:
    case = {"shuffle": True, "num_canonical_nodes": 4, "replication": replication}
    each = list(in_ranks(folder, case, nodes, ranks))
    assert [ours for ours, _ in each] == [theirs for _, theirs in each]
    different = {tuple(ours) for ours, _ in each}
    assert len(different) == nodes * ranks // (replication or 1)
    assert {key for keys in different for key in keys} == {
        number * 10**6 + index for number, size in enumerate(SIZES.values()) for index in range(size)
    }


WRONG: list[dict[str, Any]] = [
    {"sampling_method": "none"},
    {"sampling_granularity": 0},
    {"batching_method": "none"},
    {"shuffle_seed": -1},
    {"epoch_size": -5},
    {"cache_limit": 10},
    {"cache_limit": "2kb"},
    {"streams": None},
    {"local": "elsewhere"},
]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_mosaic_refuses_is_refused_with_its_words(folder: Path, wrong: dict[str, Any]) -> None:
    complaints = []
    for kind in (StreamingDataset, mosaics_own):
        with pytest.raises(ValueError, match=r"\w") as refused:
            kind(**{**arguments_for(folder, {}), **wrong})
        complaints.append(str(refused.value))
    assert complaints[0] == complaints[1]


def test_every_argument_of_mosaics_constructor_is_there_with_its_default() -> None:
    ours = signature(StreamingDataset).parameters
    for name, theirs in signature(mosaic.StreamingDataset).parameters.items():
        assert (ours[name].kind, ours[name].default) == (theirs.kind, theirs.default), name
    assert all(ours[name].kind is ours[name].KEYWORD_ONLY for name in ours)
    assert not any(ours[name].default is ours[name].empty for name in ours)  # nothing of ours must be given


def test_every_argument_reaches_mosaics_constructor_untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {name: object() for name in signature(mosaic.StreamingDataset).parameters}
    received: dict[str, Any] = {}
    monkeypatch.setattr(mosaic.StreamingDataset, "__init__", lambda _, **arguments: received.update(arguments))
    StreamingDataset(**given)  # type: ignore[arg-type]
    assert received == given
