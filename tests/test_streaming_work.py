"""The deal of an epoch over nodes, ranks and workers."""

from importlib import import_module
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum.errors import UserError
from curriculum.streaming import mosaic
from curriculum.streaming.work import Kept, Share

mosaic_partition = import_module(f"{mosaic.StreamingDataset.__module__.split('.')[0]}.base.partition.orig")

Worlds = st.fixed_dictionaries(
    {
        "start": st.integers(0, 40),
        "length": st.integers(0, 200),
        "batch_size": st.integers(1, 7),
        "nodes": st.integers(1, 3),
        "ranks": st.integers(1, 3),
        "workers": st.integers(1, 4),
    }
)


class Padding(int):
    """A position that is played as padding."""


def work(share: Share) -> list[int]:
    positions, padding = share.positions(np.arange(len(share)))
    return [Padding(each) if filler else int(each) for each, filler in zip(positions, padding, strict=True)]


def ranks_of(*, start: int, length: int, batch_size: int, nodes: int, ranks: int, workers: int) -> list[list[int]]:
    """Return what each rank yields, in order of (node, rank): its workers' batches, taken in turn."""
    yielded = []
    for node, rank in product(range(nodes), range(ranks)):
        shares = [
            Share(
                start=start,
                stop=start + length,
                batch_size=batch_size,
                nodes=nodes,
                node=node,
                ranks=ranks,
                rank=rank,
                workers=workers,
                worker=worker,
            )
            for worker in range(workers)
        ]
        queues = [work(share) for share in shares]
        batches = [[queue[at : at + batch_size] for at in range(0, len(queue), batch_size)] for queue in queues]
        turns = max(map(len, batches))
        yielded.append([each for turn in range(turns) for own in batches if turn < len(own) for each in own[turn]])
    return yielded


@settings(max_examples=150)
@given(Worlds)
def test_every_position_is_played_once_in_order_and_padding_stays_in_the_last_batch(world: dict[str, int]) -> None:
    yielded = ranks_of(**world)
    start, stop = world["start"], world["start"] + world["length"]
    assert len({len(own) for own in yielded}) == 1
    first = start % world["nodes"]  # the node whose positions are congruent to the start comes first
    turns = [(first + turn) % world["nodes"] for turn in range(world["nodes"])]
    by_rank = [yielded[node * world["ranks"] + rank] for rank in range(world["ranks"]) for node in turns]
    rows = [each for row in zip(*by_rank, strict=True) for each in row]
    assert rows[: stop - start] == list(range(start, stop))
    assert not any(isinstance(each, Padding) for each in rows[: stop - start])
    for number, own in enumerate(yielded):
        assert {each % world["nodes"] for each in own if not isinstance(each, Padding)} <= {number // world["ranks"]}
    padding = rows[stop - start :]
    assert all(isinstance(each, Padding) for each in padding)
    assert len(padding) < world["nodes"] * world["ranks"]
    full_batches = max(0, len(yielded[0]) - 1) // world["batch_size"]
    last_batch = start + full_batches * world["batch_size"] * world["nodes"] * world["ranks"]
    assert all(last_batch <= each < stop for each in padding)


@pytest.mark.parametrize(("nodes", "ranks", "workers"), list(product((1, 2), (1, 2, 4), (1, 2, 3))))
def test_the_deal_is_mosaics_wherever_mosaic_needs_no_padding(nodes: int, ranks: int, workers: int) -> None:
    batch_size, start = 4, 2 * nodes * ranks
    samples = start + nodes * ranks * 29
    theirs = mosaic_partition.get_partitions_orig(samples, 1, nodes, ranks, workers, batch_size, start)
    for node, rank, worker in product(range(nodes), range(ranks), range(workers)):
        share = Share(
            start=start,
            stop=samples,
            batch_size=batch_size,
            nodes=nodes,
            node=node,
            ranks=ranks,
            rank=rank,
            workers=workers,
            worker=worker,
        )
        own = theirs[node, rank, worker].ravel()
        assert work(share) == own[own != -1].tolist()


@settings(max_examples=100)
@given(Worlds)
def test_dropping_the_last_leaves_whole_batches_only(world: dict[str, int]) -> None:
    def share(**own: int) -> Share:
        fields = {name: world[name] for name in ("start", "batch_size", "nodes", "ranks", "workers")}
        return Share(stop=world["start"] + world["length"], drop_last=True, **{**fields, **own})

    dealt = [
        each
        for node, rank, worker in product(range(world["nodes"]), range(world["ranks"]), range(world["workers"]))
        for each in work(share(node=node, rank=rank, worker=worker))
    ]
    step = world["batch_size"] * world["nodes"] * world["ranks"]
    assert sorted(dealt) == list(range(world["start"], world["start"] + world["length"] // step * step))
    assert not any(isinstance(each, Padding) for each in dealt)


def test_a_huge_epoch_is_dealt_without_being_walked() -> None:
    share = Share(start=64, stop=10**12, batch_size=16, nodes=64, node=63, ranks=8, rank=7, workers=8, worker=5)
    row = (10**8 // 16 * 8 + 5) * 16 + 10**8 % 16
    positions, padding = share.positions(np.asarray([10**8]))
    assert positions.tolist() == [64 + (row * 8 + 7) * 64 + 63]
    assert not padding.any()


Ranges = st.lists(st.tuples(st.integers(0, 49), st.integers(1, 50)).filter(lambda each: each[0] < each[1]), max_size=4)


@given(Ranges)
def test_kept_positions_are_those_outside_the_skipped_ranges(ranges: list[tuple[int, int]]) -> None:
    kept = Kept.without(50, ranges)
    wanted = [each for each in range(50) if not any(start <= each < stop for start, stop in ranges)]
    assert len(kept) == len(wanted)
    assert kept.positions(np.arange(len(kept))).tolist() == wanted
    assert [kept.number(position) for position in range(51)] == [sum(each < stop for each in wanted) for stop in range(51)]
    assert [kept.position(number) for number in range(len(kept) + 1)] == [*wanted, 50]


@pytest.mark.parametrize("wrong", [(5, 5), (-1, 3), (40, 51), (1, 2, 3), ("a", 4), 7])
def test_a_range_to_skip_must_lie_in_the_run(wrong: object) -> None:
    with pytest.raises(UserError, match="skip"):
        Kept.without(50, [wrong])  # type: ignore[list-item]
