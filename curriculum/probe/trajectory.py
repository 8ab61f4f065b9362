"""The readings of one run over its length, as a table that others may write and read.

Columns: position (samples seen), step, probe, family, accuracy, margin, low, high, control_margin, capable, mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from curriculum.errors import FileError
from curriculum.probe.modes import HYSTERESIS, RunMeasures, measure_run, modes_of
from curriculum.probe.scoring import Reading

if TYPE_CHECKING:
    import pandas as pd  # half a second, which `curriculum check` need not pay: imported where a table is made

COLUMNS = (
    "position",
    "step",
    "probe",
    "family",
    "accuracy",
    "margin",
    "low",
    "high",
    "control_margin",
    "capable",
    "mode",
)


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """One row per reading and probe, ordered by position."""

    table: pd.DataFrame

    @classmethod
    def of(cls, readings: Iterable[tuple[int, int, Reading]], *, hysteresis: float = HYSTERESIS) -> Trajectory:
        """Make a trajectory of (position, step, reading) triples, in order of position."""
        import pandas as pd

        rows = [{"position": position, "step": step, **asdict(reading)} for position, step, reading in readings]
        table = pd.DataFrame(rows, columns=list(COLUMNS[:-1]))
        table["mode"] = ""
        for _, probe in table.groupby("probe", sort=False):
            table.loc[probe.index, "mode"] = modes_of(list(probe["margin"]), list(probe["capable"]), hysteresis)
        return cls(table)

    @classmethod
    def load(cls, path: Path) -> Trajectory:
        """Read a trajectory that a run or an external trainer wrote. Raises FileError for missing columns or values."""
        import pandas as pd

        try:
            table = pd.read_parquet(path)
        except FileNotFoundError:
            raise FileError("wanted a trajectory, but there is no such file", path=path) from None
        except Exception as error:  # pyarrow raises many kinds for a broken file
            raise FileError(f"wanted a Parquet trajectory: {error}", path=path) from None
        missing = [column for column in COLUMNS[:-1] if column not in table.columns]
        if missing:
            raise FileError(f"a trajectory needs the columns {', '.join(COLUMNS)}; {missing[0]!r} is missing", path=path)
        if len(table) == 0:
            raise FileError("the trajectory holds no reading", path=path)
        table = table.sort_values("position", kind="stable").reset_index(drop=True)
        wrong = table.index[~np.isfinite(table["margin"].astype(float))]
        if len(wrong):
            raise FileError(f"row {wrong[0]}: the margin is not a finite number", path=path)
        if "mode" not in table.columns:
            table["mode"] = ""
            for _, probe in table.groupby("probe", sort=False):
                table.loc[probe.index, "mode"] = modes_of(list(probe["margin"]), list(probe["capable"]))
        return cls(table[list(COLUMNS)])

    def save(self, path: Path) -> None:
        """Write the table as Parquet."""
        self.table.to_parquet(path, index=False)

    def by_probe(self, *, start: int, stop: int) -> dict[str, RunMeasures]:
        """Return each probe's measures over positions (start, stop]."""
        return {
            str(name): measure_run(list(probe["position"]), list(probe["margin"]), list(probe["mode"]), start=start, stop=stop)
            for name, probe in self.table.groupby("probe", sort=False)
        }

    def measures(self, *, start: int, stop: int, weights: Mapping[str, float] | None = None) -> RunMeasures:
        """Return the measures over positions (start, stop]: mean over a family's probes, weighted over families."""
        probes = self.by_probe(start=start, stop=stop)
        family_of = dict(zip(self.table["probe"], self.table["family"], strict=True))
        families = list(dict.fromkeys(family_of.values()))
        of_family = np.asarray([(weights or {}).get(family, 1.0) for family in families])
        means = {}
        for field in fields(RunMeasures):
            values = [
                np.mean([getattr(probes[probe], field.name) for probe in probes if family_of[probe] == family])
                for family in families
            ]
            means[field.name] = float(np.average(values, weights=of_family))
        means["worst_probe"] = min(probe.time_general for probe in probes.values())
        return RunMeasures(**means)
