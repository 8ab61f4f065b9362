"""A trainer of your own as a run: any program that reads a mix and writes a trajectory.

Idea: the contract is two files. The command is given the mix it must play and the folder to write into:

    proxy: {command: "train.sh {mix} {seed} {out}", timeout: 3600, retries: 1}

It must leave `{out}/trajectory.parquet` (see `probe.trajectory`) with the readings of the study's probes, of each the last at
the run's end, and of no other probe, which would count in the objective. It should leave `{out}/loss.parquet` (position,
stream, loss), in samples from 0 to the mix's `samples`; where the study names suites for bits per byte, also
`{out}/bits_per_byte.parquet` (position, suite, bits_per_byte). `{out}` stays the same from try to try, so the program may
resume from what it left there. `{draw}`, if the command names it, is 0 in the search and 1 in the proof: the program should ask
other probe items then. The price of an outside program is that we cannot promise its determinism, nor its fresh items.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd

from curriculum.errors import FileError, RunError, UserError
from curriculum.probe import Trajectory
from curriculum.probe.modes import Mode
from curriculum.proxy.run import BITS_COLUMNS, Measured, RunRequest

_PLACEHOLDERS = ("mix", "seed", "out")
_PID = "command.pid"
_LOG_TAIL = 15  # lines of the program's output shown when it fails


def check_command(command: str) -> None:
    """Raise UserError unless the command names every placeholder and can be split like a shell line."""
    missing = [name for name in _PLACEHOLDERS if f"{{{name}}}" not in command]
    if missing:
        raise UserError(
            f"proxy command {command!r} lacks {{{missing[0]}}}; wanted something like: train.sh {{mix}} {{seed}} {{out}}"
        )
    try:
        shlex.split(command)
    except ValueError as error:
        raise UserError(f"proxy command {command!r} cannot be split into words: {error}") from None


def train_outside(request: RunRequest, folder: Path) -> Measured:
    """Run the command (again after a failure, up to its retries) and read what it left. Raises RunError, FileError."""
    mix_file = folder / "mix.yaml"
    request.played_mix().dump(mix_file)
    values = {"mix": str(mix_file), "seed": str(request.seed), "out": str(folder), "draw": str(request.draw)}
    words = [_fill(word, values) for word in shlex.split(request.command or "")]
    _stop_leftover(folder)
    for attempt in range(request.command_retries + 1):
        failure = _attempt(words, folder, attempt, request.command_timeout)
        if failure is None:
            return _read(folder, request)
    raise RunError(failure)


def _fill(word: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(f"{{{name}}}", value)
    return word


def _attempt(words: list[str], folder: Path, attempt: int, timeout: float) -> str | None:
    """Run the program once, its children in one process group; return what went wrong."""
    log = folder / f"command-{attempt}.log"
    with log.open("w") as output:
        try:
            process = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        except OSError as error:
            raise UserError(f"proxy command: {words[0]!r} cannot be started: {error.strerror}") from None
        (folder / _PID).write_text(str(process.pid))
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            _kill(process)
            return f"the command ran longer than its timeout of {timeout:.0f} s; raise proxy.timeout (log: {log})"
        except BaseException:
            _kill(process)
            raise
    if code == 0:
        return None
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_TAIL:])
    return f"the command {shlex.join(words)} ended with exit code {code} (log: {log}):\n{tail}"


def _stop_leftover(folder: Path) -> None:
    """Stop the program of an earlier try that outlived its search (kill -9): two must not write into one folder."""
    try:
        process = int((folder / _PID).read_text())
        if str(folder).encode() in Path(f"/proc/{process}/cmdline").read_bytes():  # else the number is somebody else's
            os.killpg(process, signal.SIGKILL)
    except (OSError, ValueError):
        return


def _kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _read(folder: Path, request: RunRequest) -> Measured:
    """Read and check what the program left. Raises RunError: a program that writes nonsense has failed this run."""
    readings, losses, bits = (folder / f"{name}.parquet" for name in ("trajectory", "loss", "bits_per_byte"))
    with _failing_the_run(readings, "the readings of the study's probes"):
        trajectory = Trajectory.load(readings)
        _check_readings(readings, trajectory.table, request)
    with _failing_the_run(losses, "the streams' held-out losses"):
        loss = _read_loss(losses, set(request.mix.streams))
    with _failing_the_run(bits, "the suites' bits per byte"):
        found = _read_bits(bits, {suite.name for suite in request.suites})
        _check_end(bits, found, request.samples)
    return trajectory, loss, found


@contextmanager
def _failing_the_run(path: Path, wanted: str) -> Iterator[None]:
    """Say whatever is wrong with a file that the program left as the failure of its run, in words. Raises RunError."""
    try:
        yield
    except FileError as error:
        raise RunError(str(error)) from None
    except (ValueError, TypeError, LookupError, OSError, NotImplementedError) as error:  # what pandas and pyarrow raise
        came = (str(error) or type(error).__name__).splitlines()[0]
        raise RunError(f"{path}: wanted {wanted} as a Parquet file, which the command must write whole; {came}") from None


def _check_readings(path: Path, table: pd.DataFrame, request: RunRequest) -> None:
    positions = table["position"].astype(float)
    wrong = positions[~positions.between(0, request.samples) | (positions % 1 != 0)]
    if len(wrong) or positions.max() != request.samples:
        came = wrong.iloc[0] if len(wrong) else positions.max()
        raise FileError(
            f"the trajectory's last position must be the run's end, sample {request.samples}, got {came:g} (positions are "
            "whole samples from 0 on, not steps)",
            path=path,
        )
    _check_probes(path, table, request)
    if not table["mode"].isin(get_args(Mode)).all():
        raise FileError(f"wanted modes {', '.join(get_args(Mode))}, or no column `mode`", path=path)
    if not table["margin"].between(-1, 1).all():
        raise FileError("a margin lies outside [-1, 1]; it is P(correct) - P(shallow)", path=path)


def _check_probes(path: Path, table: pd.DataFrame, request: RunRequest) -> None:
    """Make sure that the readings are of the study's probes, all of them, up to the end. Raises FileError."""
    wanted = {(probe.name, probe.family) for probe in request.probes}
    grouped = table.groupby(["probe", "family"], sort=False, dropna=False)["position"]
    last = {(str(name), str(family)): int(positions.max()) for (name, family), positions in grouped}
    if last.keys() != wanted:
        raise FileError(
            f"wanted readings of the study's probes {_listed(wanted)}, got those of {_listed(last)}; probe and family must be "
            "named as in the study, and a probe that it does not have would count in its objective",
            path=path,
        )
    for (name, _), end in last.items():
        if end != request.samples:
            raise FileError(
                f"the last reading of each probe must be at the run's end, sample {request.samples}; that of {name!r} is at "
                f"{end}, so that nothing is known of it afterwards",
                path=path,
            )


def _listed(probes: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name} (family {family})" for name, family in sorted(probes)) or "none"


def _read_loss(path: Path, streams: set[str]) -> pd.DataFrame:
    if not path.exists():
        return pd.DataFrame({"position": [], "stream": [], "loss": []})
    loss = pd.read_parquet(path)
    missing = [column for column in ("position", "stream", "loss") if column not in loss.columns]
    if missing:
        raise FileError(f"wanted the columns position, stream, loss; {missing[0]!r} is missing", path=path)
    last = loss[loss["position"] == loss["position"].max()]
    if set(last["stream"]) != streams or not np.isfinite(loss[["position", "loss"]].astype(float)).all(axis=None):
        raise FileError(f"wanted a finite loss of each of {', '.join(sorted(streams))} at the last position", path=path)
    return loss


def _check_end(path: Path, table: pd.DataFrame, samples: int) -> None:
    if len(table) and int(table["position"].max()) != samples:
        raise FileError(f"the last position must be the run's end, sample {samples}, got {table['position'].max()}", path=path)


def _read_bits(path: Path, suites: set[str]) -> pd.DataFrame:
    if not suites:
        return pd.DataFrame({column: [] for column in BITS_COLUMNS})
    if not path.exists():
        raise FileError(f"the study takes bits per byte over {', '.join(sorted(suites))}, but there is no such file", path=path)
    bits = pd.read_parquet(path)
    missing = [column for column in BITS_COLUMNS if column not in bits.columns]
    if missing:
        raise FileError(f"wanted the columns {', '.join(BITS_COLUMNS)}; {missing[0]!r} is missing", path=path)
    last = bits[bits["position"] == bits["position"].max()]
    if set(last["suite"]) != suites or not np.isfinite(bits["bits_per_byte"].astype(float)).all():
        raise FileError(f"wanted finite bits per byte of each of {', '.join(sorted(suites))} at the last position", path=path)
    return bits
