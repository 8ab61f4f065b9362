"""What seeds and draws of items add to a gain, taken apart: on numbers whose parts are known, and on runs read twice."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from curriculum.probe.specification import ProbeSpecification
from curriculum.proxy.recipe import Recipe
from curriculum.search.study_file import load_study

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("item_draws")


def test_known_parts_are_found(program: ModuleType) -> None:
    random = np.random.default_rng(1)
    seeds, draws = random.normal(0, 0.3, (400, 1)), random.normal(0, 0.1, (1, 400))
    parts = program.parts_of(0.5 + seeds + draws + random.normal(0, 0.05, (400, 400)))
    assert parts.mean == pytest.approx(0.5, abs=0.05)
    assert (parts.seed, parts.draw, parts.rest) == pytest.approx((0.3, 0.1, 0.05), rel=0.1)
    assert parts.quoted(10) == pytest.approx(np.sqrt((0.09 + 0.0025) / 10), rel=0.1)
    assert parts.whole(10) == pytest.approx(np.sqrt(0.0925 / 10 + 0.01), rel=0.1)  # more pairs do not help against the draw
    assert parts.fresh(10) == pytest.approx(np.sqrt(0.1025 / 10), rel=0.1)


def test_what_is_not_there_is_none(program: ModuleType) -> None:
    only_seeds = np.repeat(np.arange(4.0)[:, None], 3, axis=1)
    parts = program.parts_of(only_seeds)
    assert parts.draw == parts.rest == 0 and parts.seed == pytest.approx(np.std(np.arange(4.0), ddof=1))


def test_a_run_is_measured_a_draw_at_a_time(program: ModuleType, tmp_path: Path) -> None:
    study = load_study()
    study = replace(
        study,
        samples=512,
        recipe=Recipe(layers=1, width=16, heads=1, batch=16, readings=4),
        probes=tuple(replace(probe, items=4, floor=0.0) for probe in study.probes),
    )
    asked = program.with_draws(study, 2)
    names = [probe.name for probe in asked.probes]
    assert len(set(names)) == 2 * len(study.probes) and all(isinstance(probe, ProbeSpecification) for probe in asked.probes)
    values = program.train(study, program.mixes_of(study, [], []), 2, 2, tmp_path, 1)
    assert values["static"].shape == (3, 2, 2)
    margins = values["static"][program.MEASURES.index("final_margin")]
    assert (margins[:, 0] != margins[:, 1]).all(), "other items, another margin"
