"""The deal of an epoch over nodes, ranks and workers."""

from importlib import import_module
from itertools import product
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum.streaming import mosaic
from curriculum.streaming.work import Integers, LazyWork, PaddingId, Share

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


def work(share: Share) -> list[int]:
    return list(LazyWork(share, lambda positions: positions))


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


@settings(max_examples=150, deadline=None)
@given(Worlds)
def test_every_position_is_played_once_in_order_and_padding_stays_in_the_last_batch(world: dict[str, int]) -> None:
    yielded = ranks_of(**world)
    start, stop = world["start"], world["start"] + world["length"]
    assert len({len(own) for own in yielded}) == 1
    by_rank = [own for rank in range(world["ranks"]) for own in yielded[rank :: world["ranks"]]]  # row: rank, then node
    rows = [each for row in zip(*by_rank, strict=True) for each in row]
    assert rows[: stop - start] == list(range(start, stop))
    assert not any(isinstance(each, PaddingId) for each in rows[: stop - start])
    padding = rows[stop - start :]
    assert all(isinstance(each, PaddingId) for each in padding)
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


def test_work_behaves_like_a_read_only_sequence() -> None:
    share = Share(start=0, stop=5000, batch_size=8)
    lazy = LazyWork(share, lambda positions: positions * 2)
    assert len(lazy) == 5000
    assert (lazy[0], lazy[-1], lazy[4097]) == (0, 9998, 8194)
    assert lazy[10:16:2] == [20, 24, 28]
    assert type(lazy[3]) is int
    for outside in (5000, -5001):
        with pytest.raises(IndexError, match="outside"):
            lazy[outside]


def test_a_huge_epoch_costs_what_is_read_of_it() -> None:
    asked: list[int] = []

    def noted(positions: Integers) -> Integers:
        asked.append(len(positions))
        return positions

    share = Share(start=7, stop=10**12, batch_size=16, nodes=64, node=63, ranks=8, rank=7, workers=8, worker=5)
    lazy = LazyWork(share, noted)
    row = (10**8 // 16 * 8 + 5) * 16 + 10**8 % 16
    assert lazy[10**8] == 7 + (row * 8 + 7) * 64 + 63
    assert sum(asked) <= 1024


def test_several_threads_may_read_at_once() -> None:
    inside: list[int] = []

    def sample_ids(positions: Integers) -> Integers:
        inside.append(1)
        assert len(inside) == 1, "two threads at once"
        inside.pop()
        return positions

    lazy = LazyWork(Share(start=0, stop=50_000, batch_size=8), sample_ids)
    read: list[list[int]] = []
    threads = [Thread(target=lambda: read.append(list(lazy))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == [list(range(50_000))] * 3
