"""A run: one proxy trained on one mix with one seed, and the folder it leaves.

    <runs>/<study>/<run-id>/run.json            mix, proxy, seed, versions; written last, so that it marks a whole run
                            mix.yaml            the mix as it was played, with the run's own seed
                            trajectory.parquet  the readings
                            loss.parquet        held-out loss per stream
                            bits_per_byte.parquet  of the study's suites, no row without any
                            checkpoints/<position>/

Idea: the run-id is a hash of everything that decides the result, so asking for a run that is already there costs a look
into its folder. That is all the resume a search needs.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from curriculum import __version__
from curriculum.errors import CurriculumError, RunError
from curriculum.mix import Mix, Stream
from curriculum.probe import Probe, Trajectory
from curriculum.probe.bits_per_byte import Continuations, load_continuations
from curriculum.probe.specification import ProbeSpecification, SuiteSpecification, plugin_identity
from curriculum.proxy.folders import stream_folder
from curriculum.proxy.recipe import Recipe
from curriculum.proxy.stopping import StopRule
from curriculum.streaming.index import read_index
from curriculum.units import keyed_seed

if TYPE_CHECKING:
    from curriculum.proxy.population_groups import Population
    from curriculum.proxy.training import Progress  # torch, which a look at finished runs need not pay for

RECORD = "run.json"
BITS_COLUMNS = ("position", "suite", "bits_per_byte")
Measured = tuple[Trajectory, pd.DataFrame, pd.DataFrame]  # readings, losses, bits per byte
_PACKAGES = ("torch", "mosaicml-streaming", "numpy")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRequest:
    """Everything that decides a run. `draw` says which items of each probe are asked (see `ProbeSpecification`).

    `command` replaces our proxy by a trainer of the user's own (see `external`). `stop` says where the run may end early.
    `population`: the runs that it is trained with, as one computation (see `population_groups`).
    """

    label: str
    mix: Mix
    seed: int
    samples: int
    recipe: Recipe
    probes: tuple[ProbeSpecification, ...]
    suites: tuple[SuiteSpecification, ...] = ()
    draw: int = 0
    item_seed: int = 0
    command: str | None = None
    command_timeout: float = 3600.0
    command_retries: int = 1
    stop: StopRule | None = None
    population: Population | None = None

    def played_mix(self) -> Mix:
        """Return the mix with this run's length, and with data drawn by this run's seed."""
        return replace(self.mix, samples=self.samples, seed=keyed_seed("data", self.mix.seed, self.seed) % 2**31)

    def identity(self) -> dict[str, Any]:
        """Return what decides the result, as JSON: data and files by their digests, so that changed ones make another run."""
        recipe = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self.recipe).items()}
        if self.recipe.precision == "float32":
            del recipe["precision"]  # runs could not always say it, and stay what they are
        probes = [
            {name: str(value) if isinstance(value, Path) else value for name, value in asdict(probe).items()}
            for probe in self.probes
        ]
        data = {name: list(_digests(name, stream)) for name, stream in self.mix.streams.items()}
        files = [probe.file for probe in self.probes] + [probe.control for probe in self.probes]
        files += [suite.file for suite in self.suites]
        plugins = [plugin_identity(probe.plugin) for probe in self.probes if probe.plugin is not None]
        files += [] if self.recipe.start is None else sorted(self.recipe.start.glob("weights.*"))
        return {
            "mix": self.played_mix().canonical(),
            "data": data,
            "files": {str(path): digest_of_file(path) for path in files if path is not None},
            "seed": self.seed,
            "samples": self.samples,
            "proxy": recipe if self.command is None else {"command": self.command},
            "probes": probes,
            "items": [self.draw, self.item_seed],
            **({"suites": [[suite.name, str(suite.file)] for suite in self.suites]} if self.suites else {}),
            **({} if self.stop is None else {"stop": self.stop.as_json()}),
            **({} if self.population is None else {"trained_with": self.population.as_json()}),
            **({"plugins": plugins} if plugins else {}),
        }

    def run_id(self) -> str:
        """Return the name of the run's folder: its label, seed and a hash of its identity."""
        digest = hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()[:10]
        return f"{self.label}-s{self.seed}-{digest}"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RunResult:
    """A finished run; `seconds` is what it took when it ran.

    `loss` has the columns position, stream, loss; `bits` position, suite, bits_per_byte (no row without suites).
    """

    folder: Path
    samples: int
    trajectory: Trajectory
    loss: pd.DataFrame
    bits: pd.DataFrame
    seconds: float

    @property
    def stopped(self) -> int | None:
        """Where the run was ended before its end, in samples; None for a whole one."""
        last = int(self.trajectory.table["position"].max())
        return last if last < self.samples else None

    def final_loss(self) -> dict[str, float]:
        """Return each stream's held-out loss at the end of the run."""
        last = self.loss[self.loss["position"] == self.loss["position"].max()]
        return {str(name): float(loss) for name, loss in zip(last["stream"], last["loss"], strict=True)}

    def final_bits(self) -> dict[str, float]:
        """Return each suite's bits per byte at the end of the run."""
        last = self.bits[self.bits["position"] == self.bits["position"].max()]
        return {str(name): float(bits) for name, bits in zip(last["suite"], last["bits_per_byte"], strict=True)}


def perform(
    request: RunRequest,
    runs: Path,
    *,
    observe: Callable[[int], None] = lambda _: None,
    watch: Callable[[Progress], None] = lambda _: None,
    keep: int = 0,
) -> RunResult:
    """Return the run's result, training only if its folder does not hold it, and `keep` checkpoints of it, yet.

    While it trains here, `observe` is told the position and `watch` all that was measured so far, after every stretch.
    Raises RunError, DataError.
    """
    folder = runs / request.run_id()
    if (folder / RECORD).exists():
        found = load_run(folder)
        if found is not None and _holds_checkpoints(folder, request, keep):
            return found
        (folder / RECORD).unlink()
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    started = monotonic()
    if request.command is None:
        measured = _train(request, folder, observe=observe, watch=watch, keep=keep)
    else:
        from curriculum.proxy.external import train_outside

        measured = train_outside(request, folder)
    seconds = monotonic() - started
    write_run(request, folder, measured, seconds)
    if request.command is None and not keep:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    trajectory, loss, bits = measured
    return RunResult(folder=folder, samples=request.samples, trajectory=trajectory, loss=loss, bits=bits, seconds=seconds)


def _holds_checkpoints(folder: Path, request: RunRequest, keep: int) -> bool:
    """A finished run that kept fewer is done again: the same bits, and the checkpoints with them."""
    if request.command is not None or not keep:
        return True
    from curriculum.proxy.training import kept_positions

    wanted = kept_positions(request.samples, request.recipe.readings, keep)
    return all((folder / "checkpoints" / str(position)).is_dir() for position in wanted)


def _train(
    request: RunRequest, folder: Path, *, observe: Callable[[int], None], watch: Callable[[Progress], None], keep: int
) -> Measured:
    from curriculum.proxy.training import train

    probes, suites = questions(request)
    progress = train(
        request.played_mix(),
        request.recipe,
        seed=request.seed,
        samples=request.samples,
        probes=probes,
        suites=suites,
        checkpoints=folder / "checkpoints",
        observe=observe,
        watch=watch,
        keep=keep,
        stop=request.stop,
    )
    return measured(progress, folder.name)


def questions(request: RunRequest) -> tuple[list[Probe], list[Continuations]]:
    """Return the probes and suites a run is asked. Raises UserError, FileError for such as its streams cannot be asked."""
    from curriculum.proxy.encoding import check_vocabulary, encoder_for

    check_vocabulary(request.probes, request.mix)
    encode = encoder_for(request.mix)
    probes = [probe.draw(request.draw, seed=request.item_seed, encode=encode) for probe in request.probes]
    return probes, [load_continuations(suite.file, name=suite.name, encode=encode) for suite in request.suites]


def measured(progress: Progress, run_id: str) -> Measured:
    """Return a finished run's progress as tables. Raises RunError when a held-out loss is not finite."""
    loss = pd.DataFrame([asdict(row) for row in progress.losses], columns=["position", "stream", "loss"])
    if not np.isfinite(loss["loss"].astype(float)).all():
        raise RunError(f"run {run_id}: a held-out loss is not finite; lower the learning_rate")
    bits = pd.DataFrame([asdict(row) for row in progress.bits], columns=list(BITS_COLUMNS))
    return Trajectory.of(progress.readings), loss, bits


def _digests(name: str, stream: Stream) -> Iterator[str]:
    """Yield a digest of the stream's training index and, if it has one, of its held-out index."""
    folder = stream_folder(name, stream)
    yield read_index(name, folder).digest
    if (folder / "heldout" / "index.json").exists():
        yield read_index(name, folder / "heldout").digest


def digest_of_file(path: Path) -> str:
    """Return the sha256 (hex) of a file that decides a run, read again only when it changed; "missing" if there is none."""
    try:
        status = path.stat()
    except OSError:
        return "missing"  # whoever reads the file says so
    return _digest_of_version(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=256)
def _digest_of_version(path: Path, modified: int, size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_run(request: RunRequest, folder: Path, measured: Measured, seconds: float, *, population: int = 1) -> None:
    """Fill the folder of a finished run; `population` is how many runs were trained as one with it, itself counted.

    That is 1 where a population could not be trained together (out of memory) and its runs were done one by one.
    """
    trajectory, loss, bits = measured
    request.played_mix().dump(folder / "mix.yaml")
    _replace(folder / "trajectory.parquet", trajectory.save)
    _replace(folder / "loss.parquet", lambda path: loss.to_parquet(path, index=False))
    _replace(folder / "bits_per_byte.parquet", lambda path: bits.to_parquet(path, index=False))
    record = {
        **request.identity(),
        "label": request.label,
        "seconds": round(seconds, 3),
        **({"population": population} if population > 1 or request.population is not None else {}),
        "versions": {"curriculum": __version__, "python": platform.python_version()}
        | {package: version(package) for package in _PACKAGES},
    }
    _replace(folder / RECORD, lambda path: path.write_text(json.dumps(record, indent=1)))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    write(temporary)
    temporary.replace(path)


def load_run(folder: Path) -> RunResult | None:
    """Return the run that a folder holds, or None when it is not whole."""
    try:
        record: Mapping[str, Any] = json.loads((folder / RECORD).read_text())
        samples, seconds = int(record["samples"]), float(record["seconds"])
        trajectory = Trajectory.load(folder / "trajectory.parquet")
        loss = pd.read_parquet(folder / "loss.parquet")
        bits = pd.read_parquet(folder / "bits_per_byte.parquet")
    except (OSError, ValueError, KeyError, TypeError, CurriculumError):
        return None
    return RunResult(
        folder=folder,
        samples=samples,
        trajectory=trajectory,
        loss=loss,
        bits=bits,
        seconds=seconds,
    )
