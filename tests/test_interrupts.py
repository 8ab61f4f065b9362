"""What a search does when it is told to end: Ctrl-C lets runs finish, SIGTERM stops them; handlers are given back."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import cast

import pytest

from curriculum.search.executor import Executor
from curriculum.search.interrupts import Interrupts
from curriculum.search.observer import Silent

NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Recorder(Silent):
    """An executor and an observer that note what is asked of them; while draining, `during` is sent to this process."""

    def __init__(self, during: signal.Signals | None = None) -> None:
        self.asked: list[str] = []
        self.during = during

    def interrupted(self) -> None:
        self.asked.append("said")

    def drain(self) -> None:
        self.asked.append("drain")
        if self.during is not None:
            send(self.during)
            self.asked.append("drained")

    def kill(self) -> None:
        send(signal.SIGTERM)  # whoever ends jobs may say it twice: what frees the runs is not torn
        self.asked.append("kill")


@pytest.fixture(autouse=True)
def handlers() -> Iterator[tuple[object, ...]]:
    """Handlers of a user's own, who must find them again; a background job's tests would else ignore Ctrl-C."""
    before = [signal.signal(number, lambda *_: None) for number in NUMBERS]
    yield installed()
    for number, handler in zip(NUMBERS, before, strict=True):
        signal.signal(number, handler)


def installed() -> tuple[object, ...]:
    return tuple(signal.getsignal(number) for number in NUMBERS)


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def ended_by(*numbers: signal.Signals, during: signal.Signals | None = None) -> list[str]:
    """Return what was asked of the executor and the observer when signals came between two looks."""
    interrupts, recorder = Interrupts(), Recorder(during)
    with pytest.raises(KeyboardInterrupt), interrupts.draining(cast(Executor, recorder), recorder):
        interrupts.heed()
        for number in numbers:
            send(number)
        interrupts.heed()
    return recorder.asked


def test_ctrl_c_drains_and_sigterm_stops(handlers: tuple[object, ...]) -> None:
    assert ended_by(signal.SIGINT) == ["said", "drain"]
    assert ended_by(signal.SIGTERM) == ended_by(signal.SIGTERM, signal.SIGTERM) == ["kill"]
    assert installed() == handlers


@pytest.mark.parametrize("second", NUMBERS)
def test_a_second_signal_stops_at_once_before_and_during_the_drain(
    handlers: tuple[object, ...], second: signal.Signals
) -> None:
    assert ended_by(signal.SIGINT, second) == ["kill"]
    assert ended_by(signal.SIGINT, during=second) == ["said", "drain", "kill"]
    assert installed() == handlers


def test_another_error_and_a_quiet_end_stop_nothing_here(handlers: tuple[object, ...]) -> None:
    recorder = Recorder()
    with Interrupts().draining(cast(Executor, recorder), recorder):
        assert installed() != handlers
    with pytest.raises(ValueError, match="other"), Interrupts().draining(cast(Executor, recorder), recorder):
        raise ValueError("other")
    assert not recorder.asked and installed() == handlers


def test_what_is_ignored_stays_so() -> None:
    """A job in the background of a script was told to ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    interrupts, recorder = Interrupts(), Recorder()
    with interrupts.draining(cast(Executor, recorder), recorder):
        send(signal.SIGINT)
        interrupts.heed()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_in_another_thread_signals_are_left_alone(handlers: tuple[object, ...]) -> None:
    """Python lets none but the main thread have handlers."""
    found: list[tuple[object, ...]] = []

    def search() -> None:
        recorder = Recorder()
        with Interrupts().draining(cast(Executor, recorder), recorder):
            found.append(installed())

    thread = threading.Thread(target=search)
    thread.start()
    thread.join()
    assert found == [handlers]
