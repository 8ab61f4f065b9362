"""The committed tables of ladders: made of the rows that lie beside them, and what the documents say of them stands in them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from ladder_tables import renew  # noqa: E402

from curriculum.report.ladder_chart import _WORDS  # noqa: E402
from curriculum.search.ladder_statistics import MEASURES, LadderTables, compare  # noqa: E402

SIZES = {"natural": ("study", "0.3M"), "default": ("20k", "study")}


def rows_of(name: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / f"benchmarks/ladder_{name}.csv")


def compared(name: str) -> dict[str, dict[str, object]]:
    """Return what the committed rows say of the pair of sizes, by measure."""
    rows = rows_of(name)
    curricula = tuple(rows["curriculum"].drop_duplicates())

    def table(measure: str, size: str) -> NDArray[np.float64]:
        of_size = rows[rows["size"] == size].pivot(index="curriculum", columns="seed", values=measure)
        return of_size.loc[list(curricula)].to_numpy()

    values = {measure: np.stack([table(measure, size) for size in SIZES[name]]) for measure in MEASURES}
    counted = rows.drop_duplicates("curriculum")["favoured_late"].to_numpy()
    tables = LadderTables(sizes=SIZES[name], curricula=curricula, values=values, named=(), counted=counted)
    found = compare(tables)
    for measure, of in found["pairs"][0]["measures"].items():
        of["alike"] = found["saturation"][SIZES[name][1]][measure]
    measures: dict[str, dict[str, object]] = found["pairs"][0]["measures"]
    return measures


def words(found: object) -> str:
    assert isinstance(found, dict)
    return f"{found['value']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}]"


@pytest.mark.parametrize("name", SIZES)
def test_the_table_of_a_ladder_is_made_of_the_rows_beside_it(name: str) -> None:
    text = (ROOT / f"benchmarks/ladder_{name}.md").read_text()
    for measure, of in compared(name).items():
        row = next(line for line in text.splitlines() if re.match(rf"\| \S+ to \S+ \| {_WORDS[measure]}[ (]", line))
        cells = [cell.strip() for cell in row.split("|")]
        assert cells[3] == f"{words(of['spearman'])} (n 12)"
        assert cells[4:6] == [words(of["counting"]), words(of["ahead_of_counting"])]
        assert cells[7] == f"{of['noise_ceiling']:.2f}" and cells[8:10] == [of["pick"], of["best"]]
        assert cells[10].startswith(
            f"{of['regret']:+.4f} [{of['regret_low']:+.4f}" if of["picks_differ"] else "0.0000 (one pick)"
        )
        told = of["alike"]
        assert isinstance(told, dict)
        saturated = f"saturated: {told['alike']} of {told['runs']} runs alike"
        assert (saturated in row) == (2 * told["alike"] > told["runs"])


def test_all_runs_stand_in_the_rows_and_no_place_of_a_machine() -> None:
    natural = rows_of("natural")
    assert natural.groupby(["size", "curriculum"]).size().eq(10).all() and len(natural) == 240
    assert len(rows_of("default")) == 48
    saturated = natural[(natural["size"] == "0.3M") & np.isclose(natural["time_general"], 13 / 18, atol=1e-6)]
    assert len(saturated) == 96
    for name in SIZES:
        assert "/" not in (ROOT / f"benchmarks/ladder_{name}.csv").read_text()


def test_what_the_document_says_of_ladders_stands_in_their_tables() -> None:
    """Every interval of the document, and of the words above the tables, is one of the tables' own."""
    documents = [path.read_text().split("## How far") for path in sorted((ROOT / "benchmarks").glob("ladder_*.md"))]
    assert len(documents) >= len(SIZES)
    tables = "".join(numbers for _, numbers in documents)
    numbers = set(re.findall(r"\[[-+.\d]+, [-+.\d]+\]", re.sub(r"\b0\.", ".", tables)))
    for text in [(ROOT / "docs/ladder.md").read_text(), *(words for words, _ in documents)]:
        said = re.findall(r"\[[-+.\d]+, [-+.\d]+\]", re.sub(r"\b0\.", ".", text))
        assert said
        assert not [interval for interval in said if interval not in numbers]


def test_a_count_of_the_distance_to_static_is_what_the_document_says() -> None:
    rows = rows_of("natural")
    late = rows.drop_duplicates("curriculum").set_index("curriculum")["favoured_late"]
    losses = rows[rows["size"] == "0.3M"].groupby("curriculum")["loss"].mean()
    found = (late - late["static"]).abs().corr(losses, method="spearman")
    assert f"({found:+.2f} for the loss, looked at afterwards)".replace("0.", ".") in (ROOT / "docs/ladder.md").read_text()


def test_numbers_are_renewed_below_words_that_stay(tmp_path: Path) -> None:
    (tmp_path / "ladder_it.md").write_text("# It\n\nWords.\n\n3 curricula of the study `it` once.\n\nold\n")
    (tmp_path / "ladder.md").write_text(
        "# Ladder of it\n\n4 curricula of the study `it` now.\n\n![Curricula at one size against another](ladder.svg)\n\nnew\n"
    )
    (tmp_path / "ladder.csv").write_text("size\n")
    renew("it", tmp_path, tmp_path)
    assert (tmp_path / "ladder_it.md").read_text() == "# It\n\nWords.\n\n4 curricula of the study `it` now.\n\nnew\n"
    assert (tmp_path / "ladder_it.csv").read_text() == "size\n"
    (tmp_path / "ladder.md").write_text("nothing")
    with pytest.raises(ValueError, match="no line says how many curricula"):
        renew("it", tmp_path, tmp_path)
