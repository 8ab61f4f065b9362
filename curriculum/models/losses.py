"""The losses that checkpoints had, as trainers leave them: what a choice by behaviour is set beside.

Sources, in this order: a file that the user names (columns position, loss; Parquet, CSV or JSON lines), our own runs'
`loss.parquet` (mean over streams), and the `trainer_state.json` of Hugging Face's Trainer (`eval_loss`, else the training
loss, at the step nearest below the checkpoint's).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from curriculum.errors import FileError
from curriculum.models.survey import Checkpoint


def losses_of(checkpoints: Sequence[Checkpoint], *, file: Path | None = None) -> dict[int, float]:
    """Return the loss at each checkpoint's position, as far as it is known and a number.

    All are of one kind: held-out losses where every checkpoint has one, else training losses. Raises FileError for a file
    without columns.
    """
    if file is not None:
        table = _of_table(_read(file), file)
        return {entry.position: table[entry.known_as] for entry in checkpoints if entry.known_as in table}
    best: dict[int, float] = {}
    for kind in ("eval_loss", "loss"):
        found = {entry.position: _of_checkpoint(entry, kind) for entry in checkpoints}
        known = {position: loss for position, loss in found.items() if loss is not None and isfinite(loss)}
        best = known if len(known) > len(best) else best
    return best


def _of_checkpoint(checkpoint: Checkpoint, kind: str) -> float | None:
    loss = _of_run(Path(checkpoint.where), checkpoint.known_as)
    return _of_trainer(Path(checkpoint.where), checkpoint.known_as, kind) if loss is None else loss


def _read(file: Path) -> pd.DataFrame:
    readers: dict[str, Any] = {".parquet": pd.read_parquet, ".csv": pd.read_csv}
    if file.suffix not in (".parquet", ".csv", ".jsonl"):
        raise FileError(f"wanted losses as .parquet, .csv or .jsonl, got {file.suffix or 'no suffix'}", path=file)
    try:
        table: pd.DataFrame = pd.read_json(file, lines=True) if file.suffix == ".jsonl" else readers[file.suffix](file)
    except FileNotFoundError:
        raise FileError("there is no such file of losses", path=file) from None
    except Exception as error:  # the three readers raise many kinds for a broken file
        raise FileError(f"wanted a table of losses: {error}", path=file) from None
    return table


def _of_table(table: pd.DataFrame, file: Path) -> dict[int, float]:
    missing = [column for column in ("position", "loss") if column not in table.columns]
    if missing:
        raise FileError(f"wanted the columns position and loss; {missing[0]!r} is missing", path=file)
    means = table.groupby("position")["loss"].mean()
    return {int(position): float(loss) for position, loss in zip(means.index, means, strict=True) if isfinite(loss)}


def _of_run(checkpoint: Path, position: int) -> float | None:
    """A checkpoint of ours lies in `<run>/checkpoints/<position>`; losses are taken every few readings only."""
    file = checkpoint.parent.parent / "loss.parquet"
    if checkpoint.parent.name != "checkpoints" or not file.exists():
        return None
    return _of_table(_read(file), file).get(position)


def _of_trainer(checkpoint: Path, step: int, kind: str) -> float | None:
    state = checkpoint / "trainer_state.json"
    if not state.exists():
        return None
    try:
        history: list[dict[str, Any]] = json.loads(state.read_text())["log_history"]
    except (OSError, ValueError, KeyError) as error:
        raise FileError(f"wanted a trainer's state with a log_history: {error!r}", path=state) from None
    entries = [entry for entry in history if kind in entry and entry.get("step", 0) <= step]
    return float(max(entries, key=lambda entry: entry["step"])[kind]) if entries else None
