"""What `probe`, `select` and `diagnose` share: which models are asked which probes, with progress, kept in a folder."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from curriculum.errors import UserError
from curriculum.models.survey import (
    Checkpoint,
    Inquiry,
    PersonaSampling,
    Survey,
    ask_all,
    encoder_of,
    find_checkpoints,
    inquiries_of_probes,
    inquiries_of_suite,
    reads_text,
    same_tokenizer,
    speaks_testbed,
)
from curriculum.probe import Probe
from curriculum.probe.selection import select
from curriculum.probe.specification import PROOF_DRAW
from curriculum.probe.suite import Suite
from curriculum.probe.suite_files import load_suite
from curriculum.search.study_file import load_study


@dataclass(frozen=True, kw_only=True, slots=True)
class Asking:
    """The options of a survey. `suite` None: the written suite for models that read text, a study's probes for others.

    `folder` None: `<runs>/probes/<name of the first place>`.
    """

    places: tuple[str, ...]
    suite: str | None = None
    study: Path | None = None
    families: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    questions: int | None = None
    shots: int | None = None
    seeds: int | None = None
    samples: int = 100
    tokens: int = 300
    device: str = "auto"
    folder: Path | None = None

    def kept_in(self) -> Path:
        """Return the folder that holds the answers."""
        if self.folder is not None:
            return self.folder
        return Path("runs") / "probes" / re.sub(r"[^\w.-]+", "-", Path(self.places[0]).resolve().name if self.places else "")


def survey(asking: Asking, *, least: int = 1, why: str = "") -> Survey:
    """Find the models, choose the probes, ask, show progress on standard error.

    Raises UserError and its kin, and for fewer than `least` models before any is asked, saying `why` more are needed.
    """
    checkpoints = find_checkpoints(asking.places)
    if asking.study is not None and not same_tokenizer(checkpoints):
        raise UserError("a study's probes are made for one tokenizer, and these models may differ in it; probe each by itself")
    if len(checkpoints) < least:
        raise UserError(f"wanted at least {least} checkpoints{why}, got {len(checkpoints)}: {asking.places[0]}")
    inquiries = inquiries_for(asking, checkpoints[0])
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("asking", total=len(checkpoints) * len(inquiries))

        def observe(checkpoint: str, probe: str) -> None:
            progress.update(task, advance=1, description=f"{checkpoint}: {probe}")

        return ask_all(checkpoints, inquiries, asking.kept_in(), device=asking.device, observe=observe)


def inquiries_for(asking: Asking, first: Checkpoint) -> tuple[Inquiry, ...]:
    """Return the probes to ask, as the options and the kind of the first model say."""
    if asking.study is not None and asking.suite is not None:
        raise UserError("wanted --suite or --study, got both")
    suite = chosen_suite(asking, first)
    if suite is not None:
        return inquiries_of_suite(suite, PersonaSampling(samples=asking.samples, tokens=asking.tokens))
    return inquiries_of_probes(chosen_probes(asking, first))


def chosen_suite(asking: Asking, first: Checkpoint) -> Suite | None:
    """Return the suite's part that is asked, or None where a study's probes are."""
    if asking.study is not None or (asking.suite is None and not reads_text(first.where)):
        return None
    return select(
        load_suite(asking.suite or "written"),
        families=asking.families or None,
        tasks=asking.tasks or None,
        levels=asking.levels or None,
        questions=asking.questions,
        shots=asking.shots,
        seeds=asking.seeds,
    )


def chosen_probes(asking: Asking, first: Checkpoint, *, draw: int = PROOF_DRAW) -> tuple[Probe, ...]:
    """Return a study's probes, by default with items that its runs' own readings did not ask."""
    study = load_study(asking.study)
    named = [probe for probe in study.probes if not asking.families or probe.family in asking.families]
    known = sorted({probe.family for probe in study.probes})
    builtin = next((probe.name for probe in study.probes if probe.speaks_testbed), None)
    if builtin is not None and not speaks_testbed(first.where):
        raise UserError(
            f"probe {builtin!r} of study {study.name!r} is built in for the testbed, whose vocabulary {first.name} does not "
            "speak; name a study whose probes were made for it (--study), or a --suite for models that read text"
        )
    if not named:
        raise UserError(
            f"study {study.name!r} has no probe of the families {', '.join(asking.families)}; it has {', '.join(known)}"
        )
    encode = encoder_of(first.where)
    return tuple(_cut(probe.draw(draw, seed=study.seed, encode=encode), asking.questions) for probe in named)


def _cut(probe: Probe, questions: int | None) -> Probe:
    """Return the probe with its first items only: dealt anew for fewer, they would be others than the draw's own."""
    return replace(probe, items=probe.items.first(questions), control=probe.control.first(questions))
