"""What every benchmark does alike: fresh processes, tables in Markdown, and the setting in which the numbers were taken."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from traceback import format_exception_only
from typing import Any

PACKAGES = ("torch", "numpy", "mosaicml-streaming")


class MeasurementError(RuntimeError):
    """What was measured raised, died or did not end in time."""


def in_child(work: Callable[[], Any], *, limit: float = 300) -> Any:
    """Return what `work` returns in a forked process of its own, so that no thread, map or lock of it outlives it.

    `limit` is in seconds. Raises MeasurementError.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(work, sender))
    process.start()
    sender.close()
    try:
        good, answer = receiver.recv() if receiver.poll(limit) else (False, f"no answer in {limit:.0f} s")
    except EOFError:
        good, answer = False, "the process died"
    process.join(10)
    if process.is_alive():
        process.kill()
    if not good:
        raise MeasurementError(answer)
    return answer


def _work(work: Callable[[], Any], sender: Connection) -> None:
    try:
        sender.send((True, work()))
    except BaseException as error:
        sender.send((False, "".join(format_exception_only(error)).strip()))


def missing(package: str) -> bool:
    """Say whether a library to compare with is not installed."""
    return importlib.util.find_spec(package) is None


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """Return "median (least-most)"."""
    return f"{median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


def counted(workers: int) -> str:
    """Return "no workers", "1 worker", "2 workers"."""
    return f"{workers or 'no'} worker{'' if workers == 1 else 's'}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def command() -> str:
    """Return the command that is running, as it would be typed at the root of the repository."""
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def setting(others: Sequence[str] = ()) -> str:
    """Return one line: how the numbers were taken, and on what; `others` are packages besides the usual."""
    packages = ", ".join(f"{name} {_version(name)}" for name in (*PACKAGES, *others))
    return (
        f"`{command()}`, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} at the end, "
        f"Python {platform.python_version()}, {packages}."
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def publish(path: Path, title: str, parts: Sequence[str], others: Sequence[str] = ()) -> None:
    """Print the document and write it to `path`."""
    text = "\n\n".join([f"# {title}", *parts, setting(others)]) + "\n"
    print(text)
    path.write_text(text, encoding="utf-8")
