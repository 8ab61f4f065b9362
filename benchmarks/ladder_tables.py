"""Tables of ladders from what `curriculum ladder` wrote: `python benchmarks/ladder_tables.py natural runs/natural-ladder`.

Idea: what a ladder found is a table, what it says are words that a person writes above it. So the words at the head of
benchmarks/ladder_NAME.md stay, all below them is renewed from the ladder's folder, and its measured rows lie beside it as
benchmarks/ladder_NAME.csv, from which every correlation can be made again.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
_PICTURE = "![Curricula at one size against another](ladder.svg)\n\n"


def renew(name: str, folder: Path, to: Path = HERE) -> None:
    """Renew the table `name` from a ladder's folder. Raises ValueError where either has no line that begins the numbers."""
    document = to / f"ladder_{name}.md"
    words, found = document.read_text(encoding="utf-8"), (folder / "ladder.md").read_text(encoding="utf-8")
    head = words.split(_beginning(words))[0]
    begins = _beginning(found)
    document.write_text(head + begins + found.split(begins)[1].replace(_PICTURE, ""), encoding="utf-8")
    shutil.copyfile(folder / "ladder.csv", to / f"ladder_{name}.csv")


def _beginning(text: str) -> str:
    """Return the line with which a ladder's numbers begin."""
    found = next((line for line in text.splitlines() if " curricula of the study `" in line), None)
    if found is None:
        raise ValueError("no line says how many curricula of which study were played")
    return found


if __name__ == "__main__":
    renew(sys.argv[1], Path(sys.argv[2]))
