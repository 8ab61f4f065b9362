"""benchmarks/cost_plan.py: sizes of a study that begins from a checkpoint, and a table that keeps the other studies."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from curriculum.proxy.sizes import parse_sizes
from curriculum.search.study_file import load_study

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import cost_plan

STUDY = """\
version: 1
name: tiny
streams: {arith: {local: "testbed:arith"}, icl: {local: "testbed:icl"}}
length: {samples: 64}
exposure_shares: {arith: 1, icl: 1}
proxy: {layers: 1, width: 16, heads: 1, batch: 16, readings: 2, start: START}
probes: [{name: succession, family: succession, builtin: "testbed:succession", floor: 0.0, items: 8}]
space: {knots: 2, rank: 1}
"""


def test_every_size_of_a_study_with_a_start_is_foretold_and_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curriculum.proxy.throughput._TIMED_SECONDS", 0.01)
    (tmp_path / "study.yaml").write_text(STUDY)
    study = load_study(tmp_path / "study.yaml")
    assert study.recipe.start is not None  # and is nowhere: it would fit one size alone
    small, large = parse_sizes("study,10k")
    found = [cost_plan.check(study, size, 64, 1) for size in (small, large)]
    assert [each.recipe.width for each in found] == [16, 32]
    assert all(each.foretold[0] > 0 and each.taken[0] > 0 and each.flops > 0 for each in found)
    assert [row[0] for row in cost_plan.rows(found)] == ["study", "10k"]
    assert cost_plan.check(replace(study, recipe=replace(study.recipe, start=None)), small, 64, 1).flops == found[0].flops


def test_a_study_measured_again_replaces_its_own_section_alone() -> None:
    first = cost_plan.with_section("", "default", "six\n\n| a |\n\nsetting")
    both = cost_plan.with_section(first, "natural", "four")
    assert both == first + "\n## natural\n\nfour\n"
    again = cost_plan.with_section(both, "default", "seven")
    assert again.startswith("# ") and again.endswith("## default\n\nseven\n\n## natural\n\nfour\n") and "six" not in again


def test_the_committed_table_is_in_that_form() -> None:
    text = Path(cost_plan.__file__).with_suffix(".md").read_text()
    body = text.split("## default\n\n")[1].split("\n\n## ")[0].strip()
    assert cost_plan.with_section(text, "default", body) == text
