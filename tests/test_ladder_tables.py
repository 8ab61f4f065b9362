"""The committed tables of ladders: made of the rows that lie beside them, and what the documents say of them stands in them."""

from __future__ import annotations

import re
import shutil
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from ladder_tables import again, renew, tables_of  # noqa: E402

from curriculum.report.ladder_chart import _WORDS  # noqa: E402

LADDERS = sorted(path.stem.removeprefix("ladder_") for path in (ROOT / "benchmarks").glob("ladder_*.csv"))


def rows_of(name: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / f"benchmarks/ladder_{name}.csv")


@pytest.mark.parametrize("name", LADDERS)
def test_the_table_of_a_ladder_is_made_of_the_rows_beside_it(name: str, tmp_path: Path) -> None:
    for kind in ("md", "csv"):
        shutil.copyfile(ROOT / f"benchmarks/ladder_{name}.{kind}", tmp_path / f"ladder_{name}.{kind}")
    again(name, tmp_path)
    assert (tmp_path / f"ladder_{name}.md").read_text() == (ROOT / f"benchmarks/ladder_{name}.md").read_text()


@pytest.mark.parametrize("name", LADDERS)
def test_correlations_of_the_table_are_those_of_the_rows(name: str) -> None:
    """Counted again from the rows, without the program that makes the table."""
    rows, text = rows_of(name), (ROOT / f"benchmarks/ladder_{name}.md").read_text()
    means = rows.groupby(["size", "curriculum"]).mean(numeric_only=True)
    for small, large in combinations(tables_of(rows).sizes, 2):
        for measure, word in _WORDS.items():
            found = means.loc[small][measure].rank().corr(means.loc[large][measure].rank())
            row = next(line for line in text.splitlines() if re.match(rf"\| {small} to {large} \| {word}[ (]", line))
            assert row.split("|")[3].split()[0] == ("-" if np.isnan(found) else f"{found:+.2f}")


def test_all_runs_stand_in_the_rows_and_no_place_of_a_machine() -> None:
    natural = rows_of("natural")
    assert natural.groupby(["size", "curriculum"]).size().eq(10).all() and len(natural) == 240
    assert len(rows_of("default")) == 48
    saturated = natural[(natural["size"] == "0.3M") & np.isclose(natural["time_general"], 13 / 18, atol=1e-6)]
    assert len(saturated) == 96
    for name in LADDERS:
        assert "/" not in (ROOT / f"benchmarks/ladder_{name}.csv").read_text()


def test_what_the_document_says_of_ladders_stands_in_their_tables() -> None:
    """Every interval of the document, and of the words above the tables, is one of the tables' own."""
    documents = [path.read_text().split("## How far") for path in sorted((ROOT / "benchmarks").glob("ladder_*.md"))]
    assert len(documents) == len(LADDERS)
    tables = "".join(numbers for _, numbers in documents)
    numbers = set(re.findall(r"\[[-+.\d]+, [-+.\d]+\]", re.sub(r"\b0\.", ".", tables)))
    for text in [(ROOT / "docs/ladder.md").read_text(), *(words for words, _ in documents)]:
        said = re.findall(r"\[[-+.\d]+, [-+.\d]+\]", re.sub(r"\b0\.", ".", text))
        assert said
        assert not [interval for interval in said if interval not in numbers]


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
