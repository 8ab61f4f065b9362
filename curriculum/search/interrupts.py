"""Being told to end while runs are trained: the first Ctrl-C lets those that have begun finish; a second, or SIGTERM, does not.

Idea: the signal's handler only notes that it came; whoever waits for runs calls `heed`, which raises where it can be
handled. Raised in the handler it could hit a finaliser, which swallows it and prints a traceback. The price: between two
calls of `heed` nothing happens, unless Ctrl-C is pressed again.

SIGTERM is how Slurm and Kubernetes announce that a machine's time is over, some 30 seconds before they kill: too few for
runs to finish, enough to give them up in order, so that others need not wait for a dead process's.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from curriculum.search.executor import Executor
from curriculum.search.observer import Observer


class Interrupts:
    """What Ctrl-C and SIGTERM mean to one search or ladder: give `heed` to its executor, and work within `draining`."""

    def __init__(self) -> None:
        self._came, self._at_once = False, False

    def heed(self) -> None:
        """Raise KeyboardInterrupt where it can be handled, if either signal came; called while runs are waited for."""
        if self._came:
            raise KeyboardInterrupt

    @contextmanager
    def draining(self, executor: Executor, observer: Observer) -> Iterator[None]:
        """Raise KeyboardInterrupt on either signal: on Ctrl-C the observer is told and runs that have begun finish before,
        on SIGTERM or a second Ctrl-C they are stopped. Outside the main thread, where Python allows no handlers, neither.
        """
        with ExitStack() as handlers:
            handlers.enter_context(_handled(signal.SIGINT, self._note))
            handlers.enter_context(_handled(signal.SIGTERM, self._end))
            try:
                yield
            except KeyboardInterrupt:
                self._stop(executor, observer)
                raise

    def _stop(self, executor: Executor, observer: Observer) -> None:
        try:
            if not self._at_once:
                observer.interrupted()
                executor.drain()
        finally:
            if self._at_once:
                executor.kill()

    def _note(self, *_: object) -> None:
        if self._at_once:
            return  # it is ending: a third must not tear that
        if self._came:
            self._at_once = True
            raise KeyboardInterrupt
        self._came = True

    def _end(self, *_: object) -> None:
        if self._at_once:
            return  # it is ending: said again, it must not tear that
        self._at_once = True
        if self._came:
            raise KeyboardInterrupt  # runs are finishing, and nobody heeds
        self._came = True


@contextmanager
def _handled(number: signal.Signals, handler: Callable[..., None]) -> Iterator[None]:
    """Handle a signal of this process, then give back whoever handled it before."""
    before = signal.getsignal(number)
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or before in (signal.SIG_IGN, None):  # a script's job in the background ignores Ctrl-C, and shall
        yield
        return
    signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)
