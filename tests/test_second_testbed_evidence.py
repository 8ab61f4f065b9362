"""The programs behind the tables of evidence: their arithmetic, their exposures, partial data, and a tiny search."""

from __future__ import annotations

import importlib
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from curriculum.errors import UserError
from curriculum.mix import Phase
from curriculum.search.study_file import load_study

ROOT = Path(__file__).parent.parent
WEIGHTS = {"arith": 6, "icl": 2, "count": 1, "repeat": 1, "facts": 2}
OTHERS = {"arith": 1, "icl": 3, "count": 2, "repeat": 1, "facts": 5}
SIZES = dict.fromkeys(WEIGHTS, 65_536)


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that imports a benchmark."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


def _phases(*, ramp: bool) -> tuple[Phase, ...]:
    first = Phase(until="0.3", weights=WEIGHTS, to=OTHERS if ramp else None)  # type: ignore[arg-type]
    return (first, Phase(until=1, weights=OTHERS))  # type: ignore[arg-type]


def test_overall_shares_are_exact(program: Any) -> None:
    decomposition = program("decomposition")
    held, ramped = (decomposition.overall_shares(_phases(ramp=ramp)) for ramp in (False, True))
    assert held["arith"] == Fraction(3, 10) * Fraction(1, 2) + Fraction(7, 10) * Fraction(1, 12)
    assert ramped["arith"] == Fraction(3, 10) * (Fraction(1, 2) + Fraction(1, 12)) / 2 + Fraction(7, 10) * Fraction(1, 12)
    assert sum(held.values()) == sum(ramped.values()) == 1


@pytest.mark.parametrize("ramp", [False, True])
def test_each_arm_has_the_exposure_and_the_order_that_its_name_says(program: Any, ramp: bool) -> None:
    decomposition = program("decomposition")
    study = load_study(ROOT / "search" / "default.yaml")
    phases = _phases(ramp=ramp)
    arms = decomposition.arms_of(study, study.shares(SIZES), phases)
    decomposition.check(arms, SIZES)
    plans = {name: mix.plan(SIZES) for name, mix in arms.items()}
    counts = {name: plan.counts(0, plan.samples) for name, plan in plans.items()}
    assert counts["static"] == counts["order only"] != counts["ratio only"] == counts["both"]
    assert arms["both"].phases == phases
    assert len(arms["order only"].phases) == 2
    early = {name: plan.counts(0, plan.samples // 10)["arith"] / counts[name]["arith"] for name, plan in plans.items()}
    assert early["both"] > early["static"] * 1.5 < early["order only"] * 1.1
    assert early["ratio only"] == pytest.approx(early["static"], abs=0.01)


def test_what_is_equal_is_one_run(program: Any) -> None:
    decomposition = program("decomposition")
    study = load_study(ROOT / "search" / "default.yaml")
    shares = study.shares(SIZES)
    natural = decomposition.at_shares(_phases(ramp=False), shares)
    arms = decomposition.arms_of(study, shares, natural)
    assert arms["order only"].phases == arms["both"].phases
    assert arms["ratio only"].phases == arms["static"].phases
    with pytest.raises(UserError, match="mix of the study's streams"):
        decomposition.arms_of(study, shares, (Phase(until=1, weights={"web": 1}),))  # type: ignore[arg-type, dict-item]


def test_effects_and_interaction_add_up(program: Any) -> None:
    decomposition = program("decomposition")
    values = {"static": 0.2, "ratio only": 0.5, "order only": 0.4, "both": 0.9}
    found = decomposition.effects({name: np.array([value, value + 1]) for name, value in values.items()})
    assert {name: round(float(each[0]), 6) for name, each in found.items()} == {
        "ratio alone": 0.3,
        "order alone": 0.2,
        "order, at its own ratio": 0.4,
        "both": 0.7,
        "interaction": 0.2,
        "order's part of both (Shapley)": 0.3,
    }
    assert all(each[0] == pytest.approx(each[1]) for each in found.values())


def _rows(method: str, budget: int, replicate: int, gain: float, *, base: str = "default", loss: float = 0.1) -> pd.DataFrame:
    seeds = np.arange(10)
    about = {"base": base, "exposure": "fixed", "replicate": replicate, "method": method, "budget": budget, "seed": seeds}
    static = 0.5 + 0.01 * seeds + 0.1 * replicate
    arms = [("winner", static + gain, loss), ("static", static, 0.1)]
    return pd.concat(
        [
            pd.DataFrame(
                {**about, "arm": arm, "time_general": t, "value": t / 2, "area": t, "final_margin": 0.8, "loss_icl": loss}
            )
            for arm, t, loss in arms
        ]
    )


def _cells(text: str, name: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_table_pairs_by_seed_and_takes_replicates_as_units(program: Any) -> None:
    live_table = program("live_table")
    studies = {"default": load_study(ROOT / "search" / "default.yaml")}
    parts = [_rows("tpe-then-gp", 50, 0, 0.3), _rows("tpe-then-gp", 50, 1, 0.2), _rows("tpe-then-gp", 50, 2, 0.1)]
    parts += [_rows("random", 50, 0, 0.0), _rows("random", 200, 0, 0.1), _rows("random", 200, 1, 0.1, loss=0.9)]
    text = live_table.document(pd.concat(parts).sample(frac=1, random_state=0).sort_values("method"), studies)
    assert "default, exposure fixed: 3 replicates" in text
    found = _cells(text, "tpe-then-gp@50")
    assert found[1] == "3"
    half = 4.3027 * 0.1 / np.sqrt(3)
    assert found[4] == f"+0.200 [{0.2 - half:+.3f}, {0.2 + half:+.3f}]"
    assert found[6] == "3 of 3"
    assert _cells(text, "random@200")[6] == "1 of 2 (broken: loss_icl)"
    assert found[7] == found[4] and _cells(text, "random@200")[7].startswith(
        "+0.050 ["
    )  # what breaks a constraint is worth nothing
    assert re.search(r"\| random@50 \| 0\.545 / 0\.27\d \| - \| - \|", text)
    assert re.search(r"\| random@200 \| 0\.645 / 0\.32\d \| 0\.745 / 0\.37\d\* \| - \|", text)
    against = [line for line in text.splitlines() if line.startswith("| tpe-then-gp@50 ")][2]
    assert against.strip("|").split("|")[3].strip() == "2"
    assert "+0.150" in against
    assert _cells(text, "random@50")[2] == "0.545"


def test_a_table_of_partial_or_foreign_data_says_so(program: Any) -> None:
    live_table = program("live_table")
    studies = {"default": load_study(ROOT / "search" / "default.yaml")}
    text = live_table.document(_rows("tpe-then-gp", 50, 0, 0.3), studies)
    assert "1 replicate\n" in text
    assert "minus" not in text
    with pytest.raises(UserError, match="no study file is named 'other'"):
        live_table.document(_rows("random", 50, 0, 0.0, base="other"), studies)
    with pytest.raises(UserError, match=r"columns .* none named value"):
        live_table.document(_rows("random", 50, 0, 0.0).drop(columns="value"), studies)


def test_tokens_count_reference_trials_and_repeats(program: Any) -> None:
    study = load_study(ROOT / "search" / "default.yaml")
    runs = study.search.reference_seeds + 50 + study.search.candidates * study.search.repeats
    assert program("live_table").tokens_of(study, 50) == runs * 32_000 * 24


TINY = """\
version: 1
name: tiny
streams:
  arith-count-0: {local: "testbed:arith-count-0"}
  arith-count-7: {local: "testbed:arith-count-7"}
  icl-noise-0: {local: "testbed:icl-noise-0"}
  icl-noise-7: {local: "testbed:icl-noise-7"}
length: {samples: 256}
exposure: free
proxy: {layers: 1, width: 8, heads: 1, batch: 16, readings: 4}
probes:
  - {name: flipped, family: flipped, builtin: "testbed:flipped", floor: 0.0, items: 4}
controls: {favour: [arith-count-7, icl-noise-7]}
space:
  knots: 2
  groups:
    topic: {a: [arith-count-0, arith-count-7], b: [icl-noise-0, icl-noise-7]}
    quality: {low: [arith-count-0, icl-noise-0], high: [arith-count-7, icl-noise-7]}
objective: {subject_to: [final_margin]}
search: {enqueue: [static], finalists: 1, candidates: 1, repeats: 1, reference_seeds: 2}
"""


def test_many_streams_searches_groups_and_streams_alike(program: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many, live, live_table = program("many_streams"), program("live_studies"), program("live_table")
    monkeypatch.setattr(live, "SEEDS", 2)
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    study = load_study(path)
    found = list(many.jobs(study.name, 1, ["free"], 3))
    assert [job.of(study).space.groups is None for job in found] == [False, True, False]
    assert [job.of(study).search.sampler for job in found] == ["tpe-then-gp", "random", "random"]
    live.train(study, found, tmp_path / "runs", tmp_path / "rows.csv", 1)
    rows = pd.read_csv(tmp_path / "rows.csv")
    assert rows.groupby("method", sort=False).size().to_dict() == dict.fromkeys(many.METHODS, 4)
    before = (tmp_path / "rows.csv").read_bytes()
    live.train(study, found, tmp_path / "runs", tmp_path / "rows.csv", 1)
    assert (tmp_path / "rows.csv").read_bytes() == before
    text = live_table.document(rows, {"tiny": study}, "ungrouped-random")
    assert "minus ungrouped-random@3" in text
    trained = {run.parent.resolve() for run in (tmp_path / "runs").glob("*/*/run.json")}
    assert len(trained) <= many.count_runs(study, found, seeds=2)
