"""Shards fetched ahead of their use, by threads, in the order in which they will be needed.

Idea: a worker knows its positions, so it knows which shards come next; a few daemon threads fetch them while the model
trains. What a thread finds wrong is raised where the sample is wanted, never swallowed. Alternatives: one thread that
walks sample by sample (Mosaic: one slow answer stops everything behind it). The price is a few connections per worker;
streams without a remote need none of this and start no thread.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future

_THREADS = 8


class Prefetcher:
    """Fetches shards in the background: `want` announces one, `wait` returns when it is here."""

    def __init__(self, fetch: Callable[[int], None]) -> None:
        self._fetch = fetch
        self._asked: dict[int, Future[None]] = {}
        self._queue: queue.SimpleQueue[tuple[int, Future[None]] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    @property
    def waiting(self) -> int:
        """Shards that were announced and not used yet."""
        return len(self._asked)

    def want(self, shard: int) -> None:
        """Fetch `shard` soon, unless it was announced already."""
        if shard in self._asked:
            return
        future: Future[None] = Future()
        self._asked[shard] = future
        self._queue.put((shard, future))
        if len(self._threads) < _THREADS:
            self._threads.append(threading.Thread(target=self._work, daemon=True, name="curriculum-prefetch"))
            self._threads[-1].start()

    def wait(self, shard: int) -> None:
        """Return when the shard is here, and forget it; one that no thread has begun is fetched now, before its turn.

        Raises what the fetch raised.
        """
        future = self._asked.pop(shard, None)
        if future is None or future.cancel():
            self._fetch(shard)
            return
        future.result()  # ends: every fetch is bounded

    def close(self) -> None:
        """Let the threads end after what they are doing."""
        for _ in self._threads:
            self._queue.put(None)

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            shard, future = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                self._fetch(shard)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(None)
