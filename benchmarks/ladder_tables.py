"""Tables of ladders from what `curriculum ladder` wrote.

    python benchmarks/ladder_tables.py natural runs/natural-ladder    # from a ladder's folder
    python benchmarks/ladder_tables.py natural                        # from the rows beside the table, by today's statistics

Idea: what a ladder found is a table, what it says are words that a person writes above it. So the words at the head of
benchmarks/ladder_NAME.md stay, all below them is renewed from the ladder's folder, and its measured rows lie beside it as
benchmarks/ladder_NAME.csv, from which all numbers but the sizes' own can be made again.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from curriculum.report.ladder_chart import ladder_findings, ladder_head
from curriculum.search.ladder_statistics import MEASURES, LadderTables, compare
from curriculum.search.study_file import load_study

HERE = Path(__file__).parent
FINDINGS = "## How far a size foretells another"
_PICTURE = "![Curricula at one size against another](ladder.svg)\n\n"
_UNNAMED = re.compile(r"static|random-\d+")  # of which no conclusion is drawn


def renew(name: str, folder: Path, to: Path = HERE) -> None:
    """Renew the table `name` from a ladder's folder. Raises ValueError where either has no line that begins the numbers."""
    document = to / f"ladder_{name}.md"
    words, found = document.read_text(encoding="utf-8"), (folder / "ladder.md").read_text(encoding="utf-8")
    head = words.split(_beginning(words))[0]
    begins = _beginning(found)
    document.write_text(head + begins + found.split(begins)[1].replace(_PICTURE, ""), encoding="utf-8")
    shutil.copyfile(folder / "ladder.csv", to / f"ladder_{name}.csv")


def again(name: str, to: Path = HERE) -> None:
    """Renew the numbers of the table `name` from the rows beside it. Raises ValueError where the table is no ladder's."""
    path = to / f"ladder_{name}.md"
    words = path.read_text(encoding="utf-8")
    begins = _beginning(words)
    document = document_of(pd.read_csv(to / f"ladder_{name}.csv"), begins)
    sizes = words.split(begins)[1].split(FINDINGS)[0]
    text = words.split(begins)[0] + ladder_head(document) + sizes + ladder_findings(document) + "\n"
    path.write_text(text, encoding="utf-8")


def document_of(rows: pd.DataFrame, begins: str) -> dict[str, Any]:
    """Return what a ladder's findings are made of, from its rows and the line with which its numbers begin."""
    study = load_study(HERE.parent / "search" / f"{_said(begins, r'of the study `([^`]+)`')}.yaml")
    tail = re.search(r"The last (\d+)% of every run", begins)
    tables = tables_of(rows)
    return {
        "study": study.name,
        "samples": study.samples,
        "tail": None if tail is None else int(tail[1]) / 100,
        "schedule": study.recipe.schedule,
        "precision": study.recipe.precision,
        "counting": {"favoured": list(study.favour)} if study.favour else None,
        "sizes": [{"name": size, "seeds": int(rows[rows["size"] == size]["seed"].nunique())} for size in tables.sizes],
        "curricula": list(tables.curricula),
        "failed": {},
        **compare(tables),
    }


def tables_of(rows: pd.DataFrame) -> LadderTables:
    """Return a ladder's rows as what its statistics take."""
    curricula, sizes = (tuple(rows[column].drop_duplicates()) for column in ("curriculum", "size"))

    def table(measure: str, size: str) -> NDArray[np.float64]:
        of_size = rows[rows["size"] == size].pivot(index="curriculum", columns="seed", values=measure)
        return of_size.loc[list(curricula)].to_numpy()

    values = {measure: tuple(table(measure, size) for size in sizes) for measure in MEASURES}
    counts = rows.drop_duplicates("curriculum")
    return LadderTables(
        sizes=sizes,
        curricula=curricula,
        values=values,
        named=tuple(name for name in curricula if not _UNNAMED.fullmatch(name)),
        counted=counts["favoured_late"].to_numpy(),
        distance=counts["late_distance"].to_numpy(),
    )


def _said(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"nothing in {text!r} says {pattern}")
    return found[1]


def _beginning(text: str) -> str:
    """Return the line with which a ladder's numbers begin."""
    found = next((line for line in text.splitlines() if " curricula of the study `" in line), None)
    if found is None:
        raise ValueError("no line says how many curricula of which study were played")
    return found


if __name__ == "__main__":
    if len(sys.argv) > 2:
        renew(sys.argv[1], Path(sys.argv[2]))
    again(sys.argv[1])  # rows are rounded: a table is to be what they say
