"""`curriculum select`: checkpoints ranked by behaviour, beside what loss alone would have chosen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from curriculum.commands.asking import Asking, survey
from curriculum.errors import UserError
from curriculum.models.losses import losses_of
from curriculum.probe.ranking import Ranked, rank_checkpoints
from curriculum.report.probe_table import print_ranking, ranking_words


def select(asking: Asking, *, loss: Path | None = None, weights: Sequence[str] = (), as_json: bool = False) -> int:
    """Ask what is not known yet, rank, and print; returns the exit code. `weights` are FAMILY=NUMBER."""
    of_family = _weights(weights)
    found = survey(asking, least=2, why=" to choose from (several models, or a folder of checkpoints)")
    ranked = rank_checkpoints(found.ranked_input(losses_of(found.checkpoints, file=loss)), weights=of_family)
    if as_json:
        print(json.dumps(_as_document(ranked, {entry.position: entry.where for entry in found.checkpoints}), indent=1))
        return 0
    console = Console()
    print_ranking(ranked, console)
    console.print(ranking_words(ranked), markup=False, highlight=False)
    return 0


def _weights(entries: Sequence[str]) -> dict[str, float]:
    found = {}
    for entry in entries:
        family, _, number = entry.partition("=")
        try:
            found[family] = float(number)
        except ValueError:
            raise UserError(f"wanted a weight as FAMILY=NUMBER, got {entry!r}") from None
    return found


def _as_document(ranked: Sequence[Ranked], places: Mapping[int, str]) -> dict[str, Any]:
    by_loss = next((entry for entry in ranked if entry.loss_rank == 1), None)
    return {
        "selected": places[ranked[0].position],
        "selected_by_loss": None if by_loss is None else places[by_loss.position],
        "words": ranking_words(ranked),
        "ranking": [asdict(entry) | {"where": places[entry.position]} for entry in ranked],
    }
