"""Kill -9 a search again and again, at random instants, and see whether anything is ever lost.

    python benchmarks/soak.py [--kills 100] [--seed 0] [--population 1] [--folder DIR] [--verbose]

Idea: a small study is searched once without harm. Then the same search is begun anew and killed - a worker, the
coordinator, or the whole process group - and gone on with, until it ends by itself; its document must be that of the
unharmed search to the bit. So on with fresh studies until there were enough kills. Instants are drawn by the seed: while
the search starts, while runs are trained, and the moment the study's database is seen to be written.
A coordinator's third dead worker is spared, since a run whose workers died three times is given up by design. With
`--population N` runs that are known at once (of reference, candidates and proof) are trained N at a time as one computation;
on a CPU trials stay single runs, so that both kinds are killed.
Prints a Markdown table; the exit code is 1 if anything was lost, done twice, refused or different.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any

import numpy as np

from curriculum.errors import CurriculumError
from curriculum.search.trials import read_trials
from curriculum.units import format_seconds, keyed_seed

BUDGET = 8
STUDY = """\
version: 1
name: soak
seed: 3
streams:
  arith: {local: "testbed:arith"}
  icl: {local: "testbed:icl"}
  facts: {local: "testbed:facts"}
length: {samples: 512}
exposure_shares: {arith: 1, icl: 1, facts: 2}
proxy: {layers: 1, width: 16, heads: 1, batch: 16, readings: 4, population: POPULATION}
probes:
  - {name: succession, family: succession, builtin: "testbed:succession", floor: 0.0, items: 16}
  - {name: flipped, family: flipped, builtin: "testbed:flipped", floor: 0.0, items: 16}
controls: {favour: [arith, icl]}
space: {knots: 4, rank: 1}
search: {finalists: 1, finalist_seeds: 2, candidates: 2, repeats: 1, reference_seeds: 2, ahead: 4}
"""
VICTIMS = ("worker", "coordinator", "both")
INSTANTS = ("start", "run", "write")
_WORKER_DEATHS = 2  # of one coordinator's
_STUCK_SECONDS = 300.0
_LOG_HEADER, _FRAME_HEADER = 32, 24  # bytes of SQLite's write-ahead log, and of each page in it
_WORKER_SECONDS = 30.0  # that a worker is waited for
_VARYING = ("seconds", "study", "mix")  # of a document: times and paths


@dataclass(kw_only=True)
class Tally:
    """What happened so far."""

    kills: Counter[str] = field(default_factory=Counter)
    instants: Counter[str] = field(default_factory=Counter)
    half_written: int = 0
    restarts: int = 0
    completed: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> list[str]:
        """Everything that should not have happened."""
        return [*self.lost, *self.doubled, *self.refused, *self.different]


@dataclass(kw_only=True)
class Search:
    """One study that is searched, killed, gone on with. `finished` is the version of each run.json that was seen."""

    folder: Path
    population: int
    process: subprocess.Popen[bytes] | None = None
    worker_deaths: int = 0
    finished: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def runs(self) -> Path:
        """The study's folder."""
        return self.folder / "runs" / "soak"

    def start(self) -> None:
        """Begin the search, or go on with it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "soak.yaml").write_text(STUDY.replace("POPULATION", str(self.population)))
        command = [sys.executable, "-m", "curriculum.cli", "search", "soak.yaml", "--budget", str(BUDGET), "--workers", "2"]
        with (self.folder / "out.json").open("wb") as out, (self.folder / "errors").open("wb") as errors:
            self.process = subprocess.Popen(
                [*command, "--json"], cwd=self.folder, stdout=out, stderr=errors, start_new_session=True
            )
        self.worker_deaths = 0

    @property
    def running(self) -> subprocess.Popen[bytes]:
        """The coordinator's process."""
        if self.process is None:
            raise RuntimeError("the search was not started")
        return self.process

    def finished_runs(self) -> int:
        """Return how many runs are whole."""
        return sum(1 for _ in self.runs.glob("*/run.json"))

    def document(self) -> dict[str, Any]:
        """Return what the search found, but for times and paths."""
        document = json.loads((self.folder / "out.json").read_text())
        return {key: value for key, value in document.items() if key not in _VARYING}

    def end(self) -> None:
        """Leave no process behind."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def workers_of(parent: int) -> list[int]:
    """Return the processes below `parent` that Python's multiprocessing has spawned (its resource tracker is none)."""
    found, parents = [], {parent}
    for process in sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        try:
            status = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
            command = Path(f"/proc/{process}/cmdline").read_bytes()
        except OSError:
            continue
        if int(status[1]) in parents and status[0] != "Z":
            parents.add(process)
            if b"multiprocessing" in command and b"spawn_main" in command:
                found.append(process)
    return found


def wait_for_instant(search: Search, instant: str, random: np.random.Generator) -> bool:
    """Wait until the drawn instant; return False if the search has ended before."""
    begun, done = monotonic(), search.finished_runs()
    delay = float(random.uniform(0, 8 if instant == "start" else 0.5))
    writing = float(random.uniform(0, 2))
    wanted = done + int(random.integers(0, 7))
    reached: float | None = begun if instant == "start" else None
    log = database_files(search.runs)
    while search.running.poll() is None:
        now = monotonic()
        if instant == "write":
            before, log = log, database_files(search.runs)
            if now - begun >= writing and log != before:
                return True
        elif reached is None and search.finished_runs() >= wanted:
            reached = now
        if reached is not None and now - reached >= delay:
            return True
        if now - begun > _STUCK_SECONDS:
            raise RuntimeError(f"nothing happened for {format_seconds(_STUCK_SECONDS)}; see {search.folder}")
        sleep(0.0002 if instant == "write" else 0.02)
    return False


def kill(search: Search, victim: str, random: np.random.Generator) -> str | None:
    """Kill and return who it was; None if there was nobody any more."""
    process = search.running
    if victim == "worker" and search.worker_deaths < _WORKER_DEATHS:
        workers = _first_workers(process)
        if not workers:
            return None
        try:
            os.kill(int(random.choice(workers)), signal.SIGKILL)
        except ProcessLookupError:
            return None
        search.worker_deaths += 1
        return victim
    victim = "coordinator" if victim == "worker" else victim
    if victim == "both":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    return victim


def _first_workers(process: subprocess.Popen[bytes]) -> list[int]:
    """Return the coordinator's workers, waiting for the first; none when it has ended or trains no more."""
    begun = monotonic()
    while process.poll() is None and monotonic() - begun < _WORKER_SECONDS:
        if found := workers_of(process.pid):
            return found
        sleep(0.05)
    return []


def look(search: Search, tally: Tally, *, study_too: bool = True) -> None:
    """Count what a kill left: runs lost or done again, and a study that does not open."""
    versions = {}
    for path in search.runs.glob("*/run.json"):
        status = path.stat()
        versions[path.parent.name] = (status.st_ino, status.st_mtime_ns)
    tally.lost += [f"{name}: gone" for name in search.finished if name not in versions]
    tally.doubled += [f"{name}: done twice" for name, old in search.finished.items() if versions.get(name, old) != old]
    search.finished = versions
    if not study_too or not (search.runs / "study.json").exists():
        return
    try:
        numbers = [trial.number for trial in read_trials(search.runs).trials]
    except CurriculumError as error:
        tally.refused.append(f"the study's file: {error}")
        return
    tally.doubled += [f"trial {number}" for number in {*numbers} if numbers.count(number) > 1]


def database_files(folder: Path) -> list[tuple[int, int]]:
    """Return size and time of the files that SQLite writes: they change while it does."""
    found = []
    for name in ("study.db", "study.db-wal", "study.db-journal"):
        try:
            status = (folder / name).stat()
        except FileNotFoundError:
            continue
        found.append((status.st_size, status.st_mtime_ns))
    return found


def is_half_written(folder: Path) -> bool:
    """Whether SQLite's journals hold a transaction that was begun and not committed."""
    journal, log = folder / "study.db-journal", folder / "study.db-wal"
    if journal.exists() and journal.read_bytes()[:1] not in (b"", b"\0"):  # the first byte is set until the commit
        return True
    if not log.exists() or len(content := log.read_bytes()) < _LOG_HEADER:
        return False
    page, salts = int.from_bytes(content[8:12]), content[16:24]
    frames = range(_LOG_HEADER, len(content), _FRAME_HEADER + page)
    last = None
    for start in frames:  # those with other salts are left from before
        if content[start + 8 : start + 16] != salts:
            break
        last = start
    if last is None:
        return False
    is_commit = int.from_bytes(content[last + 4 : last + 8]) > 0
    return not is_commit or len(content) < last + _FRAME_HEADER + page


def compare(search: Search, reference: Search, tally: Tally) -> None:
    """Check a search that ended by itself."""
    look(search, tally)
    code = search.running.returncode
    if code != 0:
        tally.refused.append(f"exit code {code}: {(search.folder / 'errors').read_text()[-500:]}")
        return
    tally.completed += 1
    if search.document() != reference.document():
        tally.different.append(f"{search.folder} found something else than {reference.folder}")
    trials = read_trials(search.runs).trials
    missing = {*range(BUDGET)} - {trial.number for trial in trials if trial.state == "done"}
    tally.lost += [f"trial {number}" for number in missing]
    for number in range(BUDGET):
        folders = [path.name for path in search.runs.glob(f"trial-{number:03d}-*")]
        if len(folders) != 1:
            (tally.doubled if folders else tally.lost).append(f"trial {number} has {len(folders)} run folders: {folders}")
    tally.lost += [f"run {name}" for name in reference.finished if name not in search.finished]
    tally.doubled += [f"run {name}, which was not to be done" for name in search.finished if name not in reference.finished]


def soak(kills: int, seed: int, folder: Path, *, population: int = 1, verbose: bool = False) -> Tally:
    """Search, kill and compare until there were `kills`, and the last search has ended."""
    tally = Tally()
    reference = Search(folder=folder / "reference", population=population)
    reference.start()
    reference.running.wait()
    compare(reference, reference, tally)
    tally.completed = 0
    study = 0
    while sum(tally.kills.values()) < kills and not tally.wrong:
        study += 1
        search = Search(folder=folder / f"study-{study:03d}", population=population)
        try:
            torment(search, kills, seed, tally, verbose=verbose)
            compare(search, reference, tally)
        finally:
            search.end()
        if not tally.wrong:
            shutil.rmtree(search.folder)
    return tally


def torment(search: Search, kills: int, seed: int, tally: Tally, *, verbose: bool) -> None:
    """Run one search to its end, killing it again and again as long as kills are wanted."""
    search.start()
    while True:
        count = sum(tally.kills.values())
        random = np.random.default_rng(keyed_seed("soak", seed, count, tally.completed))
        instant = INSTANTS[int(random.integers(3))]
        victim: str | None = VICTIMS[int(random.integers(3))]
        if count >= kills:
            search.running.wait(timeout=_STUCK_SECONDS)
            return
        if not wait_for_instant(search, instant, random):
            return
        victim = kill(search, str(victim), random)
        if victim is None:
            continue
        half_written = victim != "worker" and is_half_written(search.runs)
        tally.kills[victim] += 1
        tally.instants[instant] += 1
        tally.half_written += half_written
        if verbose:
            half = ", a write was cut off" if half_written else ""
            print(f"kill {count + 1}: {victim} ({instant}), {search.finished_runs()} runs done{half}", flush=True)
        # Whoever looks rolls a cut-off write back; half of them are left to the search.
        look(search, tally, study_too=bool(random.integers(2)))
        if tally.wrong:
            return
        if victim != "worker":
            tally.restarts += 1
            search.start()


def report(tally: Tally, seconds: float, population: int = 1) -> str:
    """Return the Markdown table."""
    rows = [
        ("runs trained as one computation, at most", str(population)),
        ("kills", str(sum(tally.kills.values()))),
        *(
            (f"- of {victim}" if victim != "both" else "- of the whole process group", str(tally.kills[victim]))
            for victim in VICTIMS
        ),
        ("- at a random time in the first 8 s after a start or a kill", str(tally.instants["start"])),
        ("- while runs were trained", str(tally.instants["run"])),
        ("- as the study's database was being written", str(tally.instants["write"])),
        ("- that left a half-written database", str(tally.half_written)),
        ("restarts", str(tally.restarts)),
        ("searches that ended", str(tally.completed)),
        ("- with another result than the unharmed search", str(len(tally.different))),
        ("trials or runs lost", str(len(tally.lost))),
        ("trials or runs done twice", str(len(tally.doubled))),
        ("searches or studies refused", str(len(tally.refused))),
        ("time", format_seconds(seconds)),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Kill searches at random instants; compare what they find with an unharmed one."
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="decides victims and instants")
    parser.add_argument("--population", type=int, default=1, help="so many runs are trained as one computation")
    parser.add_argument("--folder", type=Path, help="where the searches lie; default: a temporary folder")
    parser.add_argument("--verbose", action="store_true", help="a line a kill")
    arguments = parser.parse_args()
    if arguments.folder is not None and arguments.folder.exists() and any(arguments.folder.iterdir()):
        parser.error(f"--folder {arguments.folder} is not empty; name a new one")
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
    started = monotonic()
    with TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        tally = soak(
            arguments.kills, arguments.seed, folder.resolve(), population=arguments.population, verbose=arguments.verbose
        )
    print(report(tally, monotonic() - started, arguments.population))
    for words in tally.wrong:
        print(f"wrong: {words}")
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
