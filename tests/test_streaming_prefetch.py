"""Shards fetched ahead: each once, in order, errors where they are waited for."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from curriculum.streaming.prefetch import Prefetcher


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Remote:
    """Fetches shards when they are let through, and notes them."""

    def __init__(self) -> None:
        self.fetched: list[int] = []
        self.open = threading.Event()

    def fetch(self, shard: int) -> None:
        self.fetched.append(shard)
        assert self.open.wait(300)
        if shard == 13:
            raise ConnectionError("shard 13")


@pytest.fixture
def remote() -> Iterator[Remote]:
    found = Remote()
    yield found
    found.open.set()


def test_a_shard_is_fetched_once_however_often_it_is_wanted(remote: Remote) -> None:
    prefetcher = Prefetcher(remote.fetch)
    for shard in (1, 2, 1, 2, 3):
        prefetcher.want(shard)
    remote.open.set()
    for shard in (1, 2, 3):
        prefetcher.wait(shard)
    assert sorted(remote.fetched) == [1, 2, 3]
    assert prefetcher.waiting == 0
    prefetcher.wait(2)  # it may have been evicted since
    assert sorted(remote.fetched) == [1, 2, 2, 3]
    prefetcher.close()


def test_what_is_needed_now_does_not_queue_behind_what_is_needed_later(remote: Remote) -> None:
    prefetcher = Prefetcher(remote.fetch)
    for shard in range(20, 40):
        prefetcher.want(shard)
    wait_for(lambda: len(remote.fetched) == 8)
    waiter = threading.Thread(target=prefetcher.wait, args=(39,))
    waiter.start()
    wait_for(lambda: len(remote.fetched) == 9)
    assert remote.fetched[-1] == 39
    assert sorted(remote.fetched[:8]) == list(range(20, 28))
    remote.open.set()
    waiter.join()
    for shard in range(20, 39):
        prefetcher.wait(shard)
    assert sorted(remote.fetched) == list(range(20, 40))
    prefetcher.close()


def test_an_error_is_raised_where_the_shard_is_waited_for(remote: Remote) -> None:
    prefetcher = Prefetcher(remote.fetch)
    prefetcher.want(13)
    prefetcher.want(14)
    remote.open.set()
    prefetcher.wait(14)
    with pytest.raises(ConnectionError, match="shard 13"):
        prefetcher.wait(13)
    prefetcher.close()


def test_closing_lets_the_threads_end(remote: Remote) -> None:
    prefetcher = Prefetcher(remote.fetch)
    remote.open.set()
    prefetcher.want(1)
    prefetcher.wait(1)
    prefetcher.close()
    for thread in prefetcher._threads:
        thread.join(10)
    assert prefetcher._threads
    assert not any(thread.is_alive() for thread in prefetcher._threads)
