"""benchmarks/natural_search.py: its table is made of the rows beside it, and the documents say what stands there."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import natural_search  # noqa: E402

from curriculum.mix import Mix  # noqa: E402
from curriculum.search.statistics import claim_interval  # noqa: E402

TABLE = ROOT / "benchmarks/natural_search.md"
ROWS = pd.read_csv(TABLE.with_suffix(".csv"))
SAID = json.loads(TABLE.with_suffix(".json").read_text())


def test_the_table_is_made_of_the_rows_beside_it() -> None:
    assert natural_search.report() == TABLE.read_text()
    assert list(ROWS["study"].unique()) == list(natural_search.STUDIES)


@pytest.mark.parametrize("study", natural_search.STUDIES)
def test_the_found_mix_keeps_the_exposure_it_was_found_at(study: str) -> None:
    """Of the study's own streams; under fixed exposure every domain has as many samples as in the static mix."""
    mix = Mix.load(ROOT / f"benchmarks/natural_search_{study}.yaml")
    assert all(str(stream.local).endswith(f"examples/natural/data/streams/{name}") for name, stream in mix.streams.items())
    played = np.zeros(len(mix.streams))
    begin = 0.0
    for phase in mix.phases:
        weights = np.asarray([float(phase.weights[name]) for name in mix.streams])
        played += (float(phase.until) - begin) * weights / weights.sum()
        begin = float(phase.until)
    assert (np.abs(played - 1 / 6).max() < 2e-3) == (study != "natural-free")


@pytest.mark.parametrize("study", natural_search.STUDIES)
def test_gains_are_those_of_the_rows(study: str) -> None:
    """Counted again, and against what the search itself said of the best hand-made order."""
    said, rows = SAID[study], ROWS[(ROWS["study"] == study) & (ROWS["kind"] == "proof")]
    losses = -rows[[name for name in rows.columns if name.startswith("loss_")]].mean(axis=1)
    rows = rows.assign(value=losses if said["metric"] == "loss" else rows[said["metric"]])
    both = rows.pivot(index="seed", columns="arm", values="value")[[said["leader"], said["best_hand_made"]]].dropna()
    gain = claim_interval((both[said["leader"]] - both[said["best_hand_made"]]).to_numpy(), said["confidence"])
    claimed = said["gain_over_best_hand_made"]
    assert gain.mean == pytest.approx(claimed["mean"], abs=2e-6)
    text = TABLE.read_text()
    assert f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]" in text


def test_two_proofs_in_one_folder_are_refused() -> None:
    with pytest.raises(SystemExit, match="two different runs of 'static' with one seed"):
        natural_search.checked(pd.concat([ROWS, ROWS[ROWS["arm"] == "static"].head(1)]))


def test_what_the_documents_say_of_searches_stands_in_the_table() -> None:
    numbers = set(re.findall(r"\[[-+.\d]+, [-+.\d]+\]", re.sub(r"\b0\.", ".", TABLE.read_text())))
    section = (ROOT / "examples/natural/README.md").read_text().split("## What a search finds")[1].split("\n## ")[0]
    said = re.findall(r"\[[-+.\d]+, [-+.\d]+\]", re.sub(r"\b0\.", ".", section))
    assert said and not [interval for interval in said if interval not in numbers]
