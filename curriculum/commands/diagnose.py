"""`curriculum diagnose`: every hop of a run put to its controls."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from curriculum.commands.asking import Asking, chosen_probes, chosen_suite, survey
from curriculum.errors import FileError, UserError
from curriculum.models.diagnosis import (
    Laboratory,
    Subject,
    diagnose_hop,
    hops_of,
    probe_correlations,
    subject_of_persona,
    subject_of_probe,
    subject_of_task,
)
from curriculum.models.survey import Checkpoint, PersonaSampling
from curriculum.probe import Probe
from curriculum.probe.credibility import Diagnosis
from curriculum.probe.specification import PROOF_DRAW

_DRAWS = 3  # of a probe in token ids: the one asked, and two that stand in for other wordings
_COLOURS = {"confirmed": "green", "unconfirmed": "yellow", "refuted": "red"}


def diagnose(asking: Asking, *, probes: Sequence[str] = (), average: int = 5, as_json: bool = False) -> int:
    """Ask a run's checkpoints their probes, find the hops, test each; returns the exit code."""
    found = survey(asking, least=2, why=" of a run, since a hop lies between two")
    subjects = _subjects(asking, found.checkpoints[0])
    unknown = [name for name in probes if name not in subjects]
    if unknown:
        raise UserError(f"no probe {unknown[0]!r} was asked; there are {', '.join(subjects)}")
    trajectory = found.trajectory()
    hops = [hop for hop in hops_of(trajectory) if not probes or hop.probe in probes]
    laboratory = Laboratory(survey=found, folder=asking.kept_in(), device=asking.device, average=average)
    progress = Console(stderr=True)
    diagnoses = []
    for number, hop in enumerate(hops, start=1):
        name = f"hop {number} of {len(hops)}: {hop.probe} at {hop.after_position}"
        with progress.status(name) as status:

            def observe(control: str, name: str = name, status: Status = status) -> None:
                status.update(f"{name}: {control}")

            diagnoses.append(diagnose_hop(hop, subjects[hop.probe], laboratory, observe))
    correlations = probe_correlations(trajectory) if len(found.checkpoints) > 2 else None
    if as_json:
        print(json.dumps(_as_document(diagnoses, correlations), indent=1))
    else:
        _print(diagnoses, correlations, len(found.checkpoints))
    return 0


def _subjects(asking: Asking, first: Checkpoint) -> dict[str, Subject]:
    suite = chosen_suite(asking, first)
    if suite is None:
        found = [subject_of_probe(of_probe) for of_probe in zip(*_draws(asking, first), strict=True)]
    else:
        sampling = PersonaSampling(samples=asking.samples, tokens=asking.tokens)
        found = [subject_of_task(task) for task in suite.tasks]
        found += [subject_of_persona(persona, sampling) for persona in suite.personas]
    return {subject.inquiry.name: subject for subject in found}


def _draws(asking: Asking, first: Checkpoint) -> list[tuple[Probe, ...]]:
    """Return the probes as they are asked, and as many further draws of their items as their files hold, up to two."""
    draws = [chosen_probes(asking, first)]
    for number in range(1, _DRAWS):
        try:
            draws.append(chosen_probes(asking, first, draw=PROOF_DRAW + number))
        except FileError:
            break
    return draws


def _as_document(diagnoses: Sequence[Diagnosis], correlations: pd.DataFrame | None) -> dict[str, Any]:
    return {
        "hops": [
            {
                **asdict(diagnosis.hop),
                "verdict": diagnosis.verdict,
                "reasons": list(diagnosis.reasons),
                "findings": [asdict(finding) for finding in diagnosis.findings],
            }
            for diagnosis in diagnoses
        ],
        "probe_correlations": None if correlations is None else json.loads(correlations.to_json(orient="index")),
    }


def _print(diagnoses: Sequence[Diagnosis], correlations: pd.DataFrame | None, checkpoints: int) -> None:
    console = Console()
    if not diagnoses:
        console.print(f"No probe changes between general and shallow over these {checkpoints} checkpoints.")
    for diagnosis in diagnoses:
        hop = diagnosis.hop
        table = Table(
            title=f"{escape(hop.probe)}: {hop.before} at {hop.before_position} -> {hop.after} at {hop.after_position}, "
            f"[{_COLOURS[diagnosis.verdict]}]{diagnosis.verdict}[/]",
            title_justify="left",
        )
        for column in ("control", "outcome", "what it says"):
            table.add_column(column)
        for finding in diagnosis.findings:
            table.add_row(finding.control, finding.outcome, escape(finding.reason))
        console.print(table)
    counts = {verdict: sum(diagnosis.verdict == verdict for diagnosis in diagnoses) for verdict in _COLOURS}
    if diagnoses:
        console.print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()), highlight=False)
    if correlations is not None and len(correlations) > 1:
        _print_correlations(correlations, console)


def _print_correlations(correlations: pd.DataFrame, console: Console) -> None:
    table = Table(title="Correlation of margins over checkpoints", title_justify="left", min_width=44)
    table.add_column("probe")
    for number in range(len(correlations)):
        table.add_column(str(number + 1), justify="right")
    for number, (name, row) in enumerate(correlations.iterrows(), start=1):
        table.add_row(f"{number} {escape(str(name))}", *(f"{value:+.2f}" for value in row))
    console.print(table)
