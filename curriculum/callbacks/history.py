"""What a monitor has seen, kept in a folder so that a resumed training goes on with it.

    <folder>/monitor.json           the probes asked (a digest of each one's items)
             trajectory.parquet     the readings, as of any other run (see `probe.trajectory`)
             training_loss.parquet  position, step, loss, deviation, count: a row a reading, of the losses since the last one
             loss.parquet           position, stream, loss: what was handed to `record_losses`, if anything was
             alerts.jsonl           one alert a line

Idea: every file is written whole, beside its place, and moved there: whoever reads it, at any instant, reads a whole one.
A training that resumes at an earlier step does that stretch again, so what was read after it is dropped; the files as they
were are kept once, as `previous/`. Alternatives: appending (a kill leaves half a row group). The price: a reading rewrites
the whole table, some 30 ms at 10,000 rows.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from curriculum.callbacks.alerts import Alert, LossWindow
from curriculum.errors import ChangedError, FileError
from curriculum.probe.modes import Mode, modes_of
from curriculum.probe.scoring import Reading
from curriculum.probe.trajectory import COLUMNS, Trajectory

_log = logging.getLogger(__name__)
_LOSS_COLUMNS = ("position", "step", "loss", "deviation", "count")
_TABLES = {"trajectory": COLUMNS, "training_loss": _LOSS_COLUMNS, "loss": ("position", "stream", "loss")}

Row = dict[str, Any]


class History:
    """Readings, losses and alerts in order of step. `folder` None keeps them in memory alone: a rank that does not write."""

    def __init__(self, folder: Path | None, *, hysteresis: float) -> None:
        self.folder, self.hysteresis = folder, hysteresis
        self._tables: dict[str, list[Row]] = {name: [] for name in _TABLES}
        self._alerts: list[Row] = []
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._tables = {name: _rows_of(folder / f"{name}.parquet", columns) for name, columns in _TABLES.items()}
            self._alerts = _lines_of(folder / "alerts.jsonl")

    @property
    def readings(self) -> list[Row]:
        """Return the rows of the trajectory."""
        return self._tables["trajectory"]

    @property
    def last_step(self) -> int | None:
        """Return the step of the last reading."""
        return self.readings[-1]["step"] if self.readings else None

    @property
    def trajectory(self) -> Trajectory:
        """Return the readings as a table of their own."""
        return Trajectory(pd.DataFrame(self.readings, columns=list(COLUMNS)))

    def check_probes(self, digests: Mapping[str, str]) -> None:
        """Note which probes are asked. Raises ChangedError if the folder's readings are of other items under the same name."""
        if self.folder is None:
            return
        path = self.folder / "monitor.json"
        known: dict[str, str] = json.loads(path.read_text())["probes"] if path.exists() else {}
        changed = [name for name, digest in digests.items() if known.get(name, digest) != digest]
        if changed and self.readings:
            raise ChangedError(
                f"{self.folder}: probe {changed[0]!r} was asked other items, or with another floor, than now; its readings "
                "cannot be compared: take another folder, or give the probe another name"
            )
        text = json.dumps({"version": 1, "probes": {**known, **digests}}, indent=1)
        replace_file(path, lambda part: part.write_text(text))

    def drop_after(self, step: int) -> None:
        """Forget what was read after `step`, where the training goes on from there; the files so far go to `previous/`."""
        kept = [row for row in self.readings if row["step"] <= step]
        if len(kept) == len(self.readings):
            return
        _log.warning("readings after step %d are dropped, since training goes on from there", step)
        if self.folder is not None:
            _keep_aside(self.folder)
        end = kept[-1]["position"] if kept else 0
        for name, rows in self._tables.items():
            self._tables[name] = [row for row in rows if row["position"] <= end]
        self._alerts = [row for row in self._alerts if row["step"] <= step]
        self._write(*_TABLES)
        self._write_alerts()

    def add(self, step: int, position: int, readings: Sequence[Reading], losses: LossWindow | None) -> list[Row]:
        """Add the readings of one step with their modes, and the losses since the readings before; return the rows added."""
        earlier: dict[str, list[Row]] = {reading.probe: [] for reading in readings}
        for row in self.readings:
            earlier.get(row["probe"], []).append(row)
        added = [
            {"position": position, "step": step, **asdict(reading), "mode": self._mode_after(earlier[reading.probe], reading)}
            for reading in readings
        ]
        self.readings.extend(added)
        if losses is not None:
            row = {"loss": losses.mean, "deviation": losses.deviation, "count": losses.count}
            self._tables["training_loss"].append({"position": position, "step": step, **row})
        self._write("trajectory", "training_loss")
        return added

    def before(self, probe: str) -> Row | None:
        """Return the last reading of a probe."""
        return next((row for row in reversed(self.readings) if row["probe"] == probe), None)

    def losses_before(self) -> LossWindow | None:
        """Return the losses that ended with the last reading, None where that reading had none."""
        rows = self._tables["training_loss"]
        if not rows or rows[-1]["step"] != self.last_step:
            return None
        row = rows[-1]
        return LossWindow(count=int(row["count"]), mean=row["loss"], deviation=row["deviation"])

    def add_alerts(self, alerts: Sequence[Alert]) -> None:
        """Append alerts."""
        self._alerts.extend(asdict(alert) for alert in alerts)
        self._write_alerts()

    def add_losses(self, position: int, losses: Mapping[str, float]) -> None:
        """Append held-out losses of streams, in nats a token."""
        self._tables["loss"].extend({"position": position, "stream": name, "loss": loss} for name, loss in losses.items())
        self._write("loss")

    def _mode_after(self, rows: Sequence[Row], reading: Reading) -> Mode:
        margins = [*(row["margin"] for row in rows), reading.margin]
        capable = [*(bool(row["capable"]) for row in rows), reading.capable]
        return modes_of(margins, capable, self.hysteresis)[-1]

    def _write(self, *names: str) -> None:
        for name in names:
            if self.folder is not None and (self._tables[name] or (self.folder / f"{name}.parquet").exists()):
                table = pd.DataFrame(self._tables[name], columns=list(_TABLES[name]))
                replace_file(self.folder / f"{name}.parquet", partial(table.to_parquet, index=False))

    def _write_alerts(self) -> None:
        if self.folder is not None and (self._alerts or (self.folder / "alerts.jsonl").exists()):
            text = "".join(f"{json.dumps(row)}\n" for row in self._alerts)
            replace_file(self.folder / "alerts.jsonl", lambda part: part.write_text(text))


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and move it there: it is there whole, or as it was."""
    part = path.with_name(f".{path.name}.part")
    write(part)
    part.replace(path)


def _rows_of(path: Path, columns: Sequence[str]) -> list[Row]:
    if not path.exists():
        return []
    try:
        table = pd.read_parquet(path)
        return [{str(name): value for name, value in row.items()} for row in table[list(columns)].to_dict("records")]
    except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are ValueErrors
        raise FileError(f"wanted a table that a monitor wrote ({', '.join(columns)}): {error}", path=path) from None


def _lines_of(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _keep_aside(folder: Path) -> None:
    aside = folder / "previous"
    aside.mkdir(exist_ok=True)
    for file in folder.iterdir():
        if file.suffix in (".parquet", ".jsonl"):
            shutil.copyfile(file, aside / file.name)
