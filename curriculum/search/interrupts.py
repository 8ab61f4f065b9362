"""Ctrl-C while runs are trained: the first lets those that have begun finish, the second stops at once.

Idea: the signal's handler only notes that it came; whoever waits for runs calls `heed`, which raises where it can be
handled. Raised in the handler it could hit a finaliser, which swallows it and prints a traceback. The price: between two
calls of `heed` nothing happens.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from curriculum.search.executor import Executor
from curriculum.search.observer import Observer


class Interrupts:
    """What Ctrl-C means to one search or ladder: give `heed` to its executor, and work within `draining`."""

    def __init__(self) -> None:
        self._came = False

    def heed(self) -> None:
        """Raise KeyboardInterrupt where it can be handled, if Ctrl-C was pressed; called while runs are waited for."""
        if self._came:
            raise KeyboardInterrupt

    @contextmanager
    def draining(self, executor: Executor, observer: Observer) -> Iterator[None]:
        """On the first Ctrl-C tell the observer, let the runs that have begun finish, and raise KeyboardInterrupt."""
        before = signal.getsignal(signal.SIGINT)
        if before is not signal.SIG_IGN:  # a job in the background of a script was told to ignore it, and does
            signal.signal(signal.SIGINT, self._note)
        try:
            yield
        except KeyboardInterrupt:
            observer.interrupted()
            executor.drain()
            raise
        finally:
            signal.signal(signal.SIGINT, before)

    def _note(self, *_: object) -> None:
        if self._came:
            raise KeyboardInterrupt
        self._came = True
