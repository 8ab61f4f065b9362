"""Any world: nodes x ranks x workers x batch sizes give one order, stopped anywhere and resumed in another world.

Here the ranks of a world are played one after another in this process, as the launcher's environment would name them;
`test_streaming_ranks` and `test_streaming_torchrun` start real processes.
"""

import json
import pickle
import random
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import streaming_help
from streaming_help import SIZES, planned, ramp
from torch.utils.data import get_worker_info

from curriculum.mix import Mix
from curriculum.plan import Plan
from curriculum.streaming import PaddingSample, StreamingDataLoader, StreamingDataset, player

folder = streaming_help.folder
SAMPLES = 337  # no multiple of anything


class World(NamedTuple):
    """How many nodes, ranks a node, workers a rank, samples a batch."""

    nodes: int
    ranks: int
    workers: int
    batch: int


# Every combination of small worlds, and some large ones; workers are real processes in the first few only, since a fork
# costs a hundred times the reading.
WORLDS = [World(*each) for each in product((1, 2, 4), (1, 2), (0, 2, 3), (4, 7))] + [World(3, 8, 2, 2), World(8, 8, 1, 1)]
REAL = [World(1, 1, 2, 4), World(2, 2, 3, 7), World(1, 2, 1, 5)]


class Info(NamedTuple):
    """What a worker process is told about itself."""

    id: int
    num_workers: int
    seed: int


def rank_batches(dataset: StreamingDataset, world: World, real: bool) -> Iterator[list[Any]]:
    """Yield a rank's batches, its workers taken in turn, in processes or one after another."""
    if real or not world.workers:
        options = {"batch_size": world.batch, "num_workers": world.workers, "collate_fn": list}
        yield from StreamingDataLoader(dataset, **options)
        return
    queues = []
    for worker in range(world.workers):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(player, "get_worker_info", lambda: Info(worker, world.workers, 1000 + worker))  # noqa: B023
            assert player.get_worker_info is not get_worker_info
            iterator = iter(pickle.loads(pickle.dumps(dataset)))  # what a worker process gets
        queues.append(iterator)
    while queues:
        for queue in list(queues):
            batch = list(islice(queue, world.batch))
            if len(batch) < world.batch:
                queues.remove(queue)
            if batch:
                yield batch


def played(mix: Mix, world: World, state: dict[str, Any] | None, batches: int | None, real: bool = False) -> Any:
    """Return the keys of `batches` batches of every rank, in global order, without padding, and the state after them."""
    shares, states = [], []
    for node, rank in product(range(world.nodes), range(world.ranks)):
        with pytest.MonkeyPatch.context() as patch:
            names = {"RANK": node * world.ranks + rank, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": world.ranks}
            for name, value in {**names, "WORLD_SIZE": world.nodes * world.ranks}.items():
                patch.setenv(name, str(value))
            dataset = StreamingDataset(mix=mix, batch_size=world.batch)
            if state is not None:
                dataset.load_state_dict(state)
            own = list(islice(rank_batches(dataset, world, real), batches))
            seen = sum(map(len, own)) * world.nodes * world.ranks
            states.append(dataset.state_dict(seen, False))
            shares.append([sample for batch in own for sample in batch])
    assert all(each == states[0] for each in states)
    assert len({len(share) for share in shares}) == 1
    start = 0 if state is None else int(state["position"])
    turns = [(start + turn) % world.nodes for turn in range(world.nodes)]
    in_order = [shares[node * world.ranks + rank] for rank in range(world.ranks) for node in turns]
    rows = [sample for row in zip(*in_order, strict=True) for sample in row]
    keys = [int(sample["key"][0]) for sample in rows if not isinstance(sample, PaddingSample)]
    padding = len(rows) - len(keys)
    assert padding < world.nodes * world.ranks
    return keys, json.loads(json.dumps(states[0]))


def stopped_and_resumed(folder: Path, world: World, other: World, real: bool) -> tuple[list[int], list[int]]:
    """Return the keys that were played before a stop in one world and after it in another, and those planned."""
    mix = ramp(folder, samples=SAMPLES)
    plan: Plan = mix.plan(SIZES)
    steps = SAMPLES // (world.nodes * world.ranks * world.batch)
    stop = random.Random(str(world)).randint(1, max(1, steps))
    keys, state = played(mix, world, None, stop, real)
    step = world.nodes * world.ranks * world.batch
    assert state["position"] == min(SAMPLES, stop * step)
    assert keys == planned(plan, 0, state["position"])
    rest, after = played(mix, other, state, None, real)
    assert after["position"] == SAMPLES
    return keys + rest, planned(plan)


@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_a_run_stopped_in_one_world_goes_on_in_another(folder: Path, world: World) -> None:
    keys, wanted = stopped_and_resumed(folder, world, WORLDS[(WORLDS.index(world) * 7 + 11) % len(WORLDS)], real=False)
    assert keys == wanted


@pytest.mark.parametrize("world", REAL, ids=str)
def test_a_run_stopped_in_one_world_goes_on_in_another_with_real_workers(folder: Path, world: World) -> None:
    keys, wanted = stopped_and_resumed(folder, world, REAL[(REAL.index(world) + 1) % len(REAL)], real=True)
    assert keys == wanted


def test_a_batch_ramp_keeps_the_order(folder: Path) -> None:
    mix = ramp(folder, samples=SAMPLES)
    keys: list[int] = []
    state = None
    for batch in (1, 2, 4, 8, 16, 64):
        more, state = played(mix, World(1, 2, 0, batch), state, 2)
        keys += more
    assert keys == planned(mix.plan(SIZES), 0, len(keys))
    assert len(keys) == 4 * (1 + 2 + 4 + 8 + 16) + 4 * 64 - max(0, 380 - SAMPLES)
