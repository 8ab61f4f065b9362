"""Many checkpoints asked the same probes, every answer kept as soon as it is known.

    <folder>/answers/<checkpoint>-<probe>-<digest>.parquet     what one checkpoint answered to one probe
             trajectory.parquet                                the readings, as of any run

Idea: an answer file's name holds a digest of the checkpoint's files and of the probe's text, so what was asked once is never
asked again: an interrupted survey goes on where it was, a further checkpoint or family costs only itself, and changed
weights or items are asked afresh. Alternatives: one file at the end (a day's work lost to a power cut). The price: the
digest of weights is that of their names, sizes and times, not of their bytes, which would take as long as loading them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from curriculum.errors import CurriculumError, DataError, UserError
from curriculum.models.opening import checkpoints_in, number_in, open_model
from curriculum.probe import Probe, Reading, Trajectory, testbed
from curriculum.probe.answers import ask_persona, ask_probe, ask_task, reading_of
from curriculum.probe.model import TextModel
from curriculum.probe.modes import HYSTERESIS
from curriculum.probe.neutral import with_control
from curriculum.probe.ranking import CheckpointAnswers
from curriculum.probe.suite import PERSONAS, Persona, Suite, Task
from curriculum.proxy.checkpoint import SHAPE_FILE, TOKENIZER_FILE, load_proxy
from curriculum.proxy.encoding import encoder_of_file

_FORMAT = 1  # of the answer files; a change of scoring must not find old answers


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A model to be asked: where it is, what it is called, and its place in the trajectory.

    `step` is the number in its name, by which trainers and tables know it; the position where it has none.
    """

    name: str
    position: int
    where: str
    step: int | None = None

    @property
    def known_as(self) -> int:
        """Return the number by which its losses are kept."""
        return self.position if self.step is None else self.step


@dataclass(frozen=True, kw_only=True, slots=True)
class PersonaSampling:
    """How personas are asked: `samples` answers to every question and demo seed, each of at most `tokens`."""

    samples: int = 100
    tokens: int = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Inquiry:
    """One probe, ready to be asked of any model. `identity` is what decides the answers, as JSON."""

    name: str
    family: str
    level: str
    floor: float
    identity: dict[str, Any]
    ask: Callable[[TextModel], pd.DataFrame]

    def digest(self) -> str:
        """Return a hash of what is asked."""
        return _digest({"format": _FORMAT, **self.identity})


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Survey:
    """What checkpoints answered: `answers[i][j]` is checkpoint i's table for inquiry j."""

    checkpoints: tuple[Checkpoint, ...]
    inquiries: tuple[Inquiry, ...]
    answers: tuple[tuple[pd.DataFrame, ...], ...]

    def readings(self) -> list[tuple[int, int, Reading]]:
        """Return (position, step, reading) of every checkpoint and probe; the step is the checkpoint's number."""
        return [
            (checkpoint.position, checkpoint.position, _reading(inquiry, table))
            for checkpoint, tables in zip(self.checkpoints, self.answers, strict=True)
            for inquiry, table in zip(self.inquiries, tables, strict=True)
        ]

    def trajectory(self, hysteresis: float = HYSTERESIS) -> Trajectory:
        """Return the readings with their modes."""
        return Trajectory.of(self.readings(), hysteresis=hysteresis)

    def ranked_input(self, losses: dict[int, float]) -> list[CheckpointAnswers]:
        """Return the answers as the ranking takes them; `losses` by position, where known."""
        families = {inquiry.name: inquiry.family for inquiry in self.inquiries}
        return [
            CheckpointAnswers(
                name=checkpoint.name,
                position=checkpoint.position,
                answers={inquiry.name: table for inquiry, table in zip(self.inquiries, tables, strict=True)},
                families=families,
                loss=losses.get(checkpoint.position),
            )
            for checkpoint, tables in zip(self.checkpoints, self.answers, strict=True)
        ]


def find_checkpoints(places: Sequence[str]) -> tuple[Checkpoint, ...]:
    """Return the models that `places` name: each a model, or one folder with the checkpoints of a run.

    Models of several places are numbered in the order given. Raises UserError where nothing can be opened.
    """
    if not places:
        raise UserError("wanted a model, or a folder of checkpoints, got none")
    series = [_series(place) for place in places]
    if len(series) == 1:
        return series[0]
    models = [checkpoint for of in series for checkpoint in of]
    if all(len(of) == 1 for of in series):
        return tuple(replace(model, position=number) for number, model in enumerate(models))
    raise UserError("wanted several models, or one folder of checkpoints, got both; probe each run by itself")


def _series(place: str) -> tuple[Checkpoint, ...]:
    folder = Path(place)
    if folder.is_dir() and not any((folder / name).exists() for name in ("config.json", SHAPE_FILE)):
        found = checkpoints_in(folder)
        return tuple(Checkpoint(name=path.name, position=position, where=str(path)) for position, path in found)
    return (Checkpoint(name=folder.name or place, position=0, where=place, step=number_in(folder.name)),)


def encoder_of(where: str) -> Callable[[str], list[int]] | None:
    """Return the tokenizer of the model there, or None for a proxy without one."""
    folder = Path(where)
    if not (folder / SHAPE_FILE).exists():
        return open_model(where, device="cpu").encode
    return encoder_of_file(folder / TOKENIZER_FILE) if (folder / TOKENIZER_FILE).exists() else None


def speaks_testbed(where: str) -> bool:
    """Whether the model there is a proxy with the testbed's vocabulary."""
    folder = Path(where)
    if not (folder / SHAPE_FILE).exists() or (folder / TOKENIZER_FILE).exists():
        return False
    return load_proxy(folder).shape.vocabulary == testbed.VOCABULARY


def same_tokenizer(checkpoints: Sequence[Checkpoint]) -> bool:
    """Whether the models surely cut text alike: checkpoints of one folder, or proxies with the same tokenizer's file."""
    folders = [Path(checkpoint.where) for checkpoint in checkpoints]
    if len({folder.parent for folder in folders}) == 1:
        return True
    files = [folder / TOKENIZER_FILE for folder in folders]
    proxies = all((folder / SHAPE_FILE).exists() for folder in folders)
    return proxies and len({file.read_bytes() if file.exists() else b"" for file in files}) == 1


def reads_text(where: str) -> bool:
    """Whether the model there has a tokenizer; all but some proxies do."""
    folder = Path(where)
    return not (folder / SHAPE_FILE).exists() or (folder / TOKENIZER_FILE).exists()


def inquiries_of_suite(suite: Suite, sampling: PersonaSampling) -> tuple[Inquiry, ...]:
    """Return a suite's tasks, each with a control (derived where it ships none and one can be), and its personas."""
    tasks = [inquiry_of_task(with_control(task)) for task in suite.tasks]
    return (*tasks, *(inquiry_of_persona(persona, sampling) for persona in suite.personas))


def inquiry_of_task(task: Task) -> Inquiry:
    """Return a task, and its control if it has one."""
    return Inquiry(
        name=f"{task.family}/{task.name}",
        family=task.family,
        level=task.level,
        floor=0.0,
        identity={"task": asdict(task)},
        ask=lambda model: ask_task(task, model),
    )


def inquiry_of_persona(persona: Persona, sampling: PersonaSampling) -> Inquiry:
    """Return a persona."""
    return Inquiry(
        name=f"{PERSONAS}/{persona.name}",
        family=PERSONAS,
        level=persona.level,
        floor=0.0,
        identity={"persona": asdict(persona), "sampling": asdict(sampling)},
        ask=lambda model: ask_persona(persona, model, samples=sampling.samples, tokens=sampling.tokens),
    )


def inquiries_of_probes(probes: Sequence[Probe]) -> tuple[Inquiry, ...]:
    """Return probes in token ids, as a study has them."""
    return tuple(inquiry_of_probe(probe) for probe in probes)


def inquiry_of_probe(probe: Probe) -> Inquiry:
    """Return a probe in token ids."""
    return Inquiry(
        name=probe.name,
        family=probe.family,
        level="",
        floor=probe.floor,
        identity={"items": asdict(probe.items), "control": asdict(probe.control)},
        ask=lambda model: ask_probe(probe, model),
    )


def ask_all(
    checkpoints: Sequence[Checkpoint],
    inquiries: Sequence[Inquiry],
    folder: Path,
    *,
    device: str = "auto",
    observe: Callable[[str, str], None] = lambda checkpoint, probe: None,
) -> Survey:
    """Ask every checkpoint everything, except what `folder` holds already; leaves `trajectory.parquet` there too.

    A model is opened only if something is left to ask it. `observe` is told the checkpoint and the probe after each
    answer. Raises what opening and asking raise, with the checkpoint's name.
    """
    if not inquiries:
        raise UserError("wanted at least one probe to ask, got none; loosen the filters")
    (folder / "answers").mkdir(parents=True, exist_ok=True)
    answers = tuple(_ask_one(checkpoint, inquiries, folder / "answers", device, observe) for checkpoint in checkpoints)
    return Survey(checkpoints=tuple(checkpoints), inquiries=tuple(inquiries), answers=answers)


def _ask_one(
    checkpoint: Checkpoint,
    inquiries: Sequence[Inquiry],
    folder: Path,
    device: str,
    observe: Callable[[str, str], None],
) -> tuple[pd.DataFrame, ...]:
    tables: list[pd.DataFrame] = []
    model: TextModel | None = None
    for inquiry in inquiries:
        path = _place(checkpoint, inquiry, folder)
        table = _stored(path)
        if table is None:
            model = model or open_model(checkpoint.where, device=device)
            table = _ask(inquiry, checkpoint, model)
            _store(table, path)
        tables.append(table)
        observe(checkpoint.name, inquiry.name)
    return tuple(tables)


def ask_inquiry(checkpoint: Checkpoint, inquiry: Inquiry, folder: Path, *, device: str = "auto") -> pd.DataFrame:
    """Ask one checkpoint one probe, unless `folder` holds the answers."""
    (folder / "answers").mkdir(parents=True, exist_ok=True)
    (table,) = _ask_one(checkpoint, (inquiry,), folder / "answers", device, lambda checkpoint, probe: None)
    return table


def _ask(inquiry: Inquiry, checkpoint: Checkpoint, model: TextModel) -> pd.DataFrame:
    try:
        return inquiry.ask(model)
    except CurriculumError as error:
        error.args = (f"{checkpoint.name}, {inquiry.name}: {error}",)
        raise


def _place(checkpoint: Checkpoint, inquiry: Inquiry, folder: Path) -> Path:
    digest = _digest([digest_of_files(checkpoint.where), inquiry.digest()])
    return folder / f"{_plain(checkpoint.name)}-{_plain(inquiry.name)}-{digest}.parquet"


def digest_of_files(where: str) -> str:
    """Return a hash of what a model's place holds: names, sizes and times of change of its files, and the place's name.

    A function's file stands for it, without what it calls; a model on a hub is known by name and revision alone.
    """
    path = _file_of_function(where) or Path(where)
    files = sorted(file for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
    return _digest([where, *([str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files)])


def _file_of_function(where: str) -> Path | None:
    kind, _, rest = where.partition(":")
    module = rest.rpartition(":")[0]
    if kind != "python" or module.endswith(".py"):
        return Path(module) if kind == "python" else None
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    return None if spec is None or spec.origin is None else Path(spec.origin)


def _stored(path: Path) -> pd.DataFrame | None:
    if not path.exists():
        return None
    try:
        return pd.read_parquet(path)
    except Exception as error:  # pyarrow raises many kinds for a broken file
        raise DataError(f"the answers {path} are damaged ({error}); remove the file") from None


def _store(table: pd.DataFrame, path: Path) -> None:
    building = path.with_name(f".{path.name}.tmp")
    table.to_parquet(building, index=False)
    building.replace(path)


def _reading(inquiry: Inquiry, table: pd.DataFrame) -> Reading:
    return reading_of(table, probe=inquiry.name, family=inquiry.family, floor=inquiry.floor)


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)[:80]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
