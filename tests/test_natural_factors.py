"""benchmarks/natural_factors.py: a sound design, equal exposure, and statistics that agree with a reference."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import f_oneway, ttest_rel

from curriculum.probe import Reading, Trajectory
from curriculum.proxy.run import RunRequest, RunResult
from curriculum.proxy.sizes import parse_sizes
from curriculum.search import controls
from curriculum.search.study import Study
from curriculum.search.study_file import load_study

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import natural_factors as factors
import pandas as pd
import variance

SIZES = 10_000


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study(factors.STUDY)


def run(samples: int, margins: dict[str, list[float]]) -> RunResult:
    """A finished run with evenly spaced readings of these margins, all capable."""
    count = len(next(iter(margins.values())))
    readings = [
        (
            samples * (index + 1) // count,
            index,
            Reading(
                probe=probe,
                family=factors.family_of(probe),
                accuracy=0.5,
                margin=values[index],
                low=0.0,
                high=0.0,
                control_margin=0.5,
                capable=True,
            ),
        )
        for index in range(count)
        for probe, values in margins.items()
    ]
    loss = pd.DataFrame([{"position": samples, "stream": "code", "loss": 3.0}])
    table = Trajectory.of(readings)
    return RunResult(folder=Path(), samples=samples, trajectory=table, loss=loss, bits=pd.DataFrame(), seconds=1.0)


def test_all_arms_but_the_extremes_play_the_same_samples_and_end_alike(study: Study) -> None:
    arms = {cell.arm: factors.phases_of(study, cell.arm) for cell in factors.order_cells()}
    assert len(arms) == 5 + factors.RANDOM + 2
    extremes = {arm: phases for arm, phases in arms.items() if arm.startswith("only")}
    equal = [study.mix(arm.replace(" ", "-"), phases) for arm, phases in arms.items() if arm not in extremes]
    sizes = dict.fromkeys(study.streams, SIZES)
    assert set(controls.check_equal_exposure(equal, sizes).values()) <= {682, 683}
    tail = int(study.samples * (1 - factors.TAIL))
    ends = [mix.plan(sizes).counts(tail, study.samples) for mix in equal]
    assert all(max(end.values()) - min(end.values()) <= 8 for end in ends)
    played = study.mix("x", extremes["only favoured"]).plan(sizes).counts(0, study.samples)
    assert {name for name, count in played.items() if count} == set(study.favour)


def test_favoured_domains_come_first_in_the_hold_and_last_in_its_reverse(study: Study) -> None:
    sizes = dict.fromkeys(study.streams, SIZES)
    early = {
        arm: study.mix(arm, factors.phases_of(study, arm)).plan(sizes).counts(0, 900) for arm in ("hold-then-low", "reversed")
    }
    favoured = {arm: sum(counts[name] for name in study.favour) / 900 for arm, counts in early.items()}
    assert favoured["hold-then-low"] > 0.9 and favoured["reversed"] < 0.4


def test_no_main_effect_is_confounded_with_another_or_with_an_interaction_of_two() -> None:
    designs = sorted({cell.levels for cell in factors.factor_cells()})
    signs = np.asarray(designs) * 2 - 1
    assert signs.shape == (8, len(factors.FACTORS)) and (signs.sum(axis=0) == 0).all()
    for one, other in combinations(range(4), 2):
        pair = signs[:, one] * signs[:, other]
        assert pair.sum() == 0
        assert all((pair * signs[:, third]).sum() == 0 for third in range(4) if third not in (one, other))


def test_each_factor_changes_its_part_of_the_run_alone(study: Study) -> None:
    def asked(*levels: int) -> RunRequest:
        return factors.request_of(study, factors.Cell(arm="hold-then-low", seed=0, levels=levels, part="factors"))

    plain = asked(0, 0, 0, 0)
    assert asked(1, 0, 0, 0).samples == 2 * plain.samples
    assert replace(asked(0, 1, 0, 0).recipe, schedule="constant") == plain.recipe != asked(0, 1, 0, 0).recipe
    repeated = asked(0, 0, 1, 0).mix
    subset = repeated.streams["code"].subset
    assert subset is not None and subset.samples == plain.samples // 6 // 4 and repeated.phases == plain.mix.phases
    assert str(asked(0, 0, 0, 1).recipe.start).endswith("starts/study-earlier")
    assert {probe.items for probe in plain.probes} == {64, 256}
    assert [probe.name for probe in plain.probes if probe.items == 256] == [
        "induction-2@256",
        "passage-2@256",
        "rebinding-3@256",
    ]


def test_the_ratio_of_variances_is_that_of_scipy() -> None:
    random = np.random.default_rng(3)
    groups = [(random.normal(size=size) + shift).tolist() for size, shift in ((3, 0.0), (4, 0.5), (5, 2.0))]
    ratio, share = variance.variance_ratio(groups)
    assert ratio == pytest.approx(f_oneway(*groups).statistic)
    assert 0 < share < 1
    assert np.isnan(variance.variance_ratio([[1.0], [2.0]])[0])


def test_the_paired_ratio_of_two_arms_is_that_of_the_paired_t_test() -> None:
    random = np.random.default_rng(4)
    seeds = 5 * random.normal(size=6)
    one, other = (seeds + 0.3 * random.normal(size=6) + shift for shift in (0.0, 0.4))
    ratio, chance = variance.paired_ratio([one.tolist(), other.tolist()])
    reference = ttest_rel(one, other)
    assert ratio == pytest.approx(reference.statistic**2) and chance == pytest.approx(reference.pvalue)
    assert ratio > 5 * variance.variance_ratio([one.tolist(), other.tolist()])[0]


def test_a_larger_proxy_begins_from_its_own_start(study: Study) -> None:
    (size,) = parse_sizes("0.3M")
    cells = factors.larger_cells([size])
    assert {"static", "hold-then-low", "reversed", "only others"} < {cell.arm for cell in cells}
    recipe = factors.request_of(study, cells[0]).recipe
    assert recipe.width > study.recipe.width and str(recipe.start).endswith("starts/0.3M")


def test_deviation_between_seeds_is_pooled_within_groups() -> None:
    assert variance.seed_deviation([[1.0, 3.0], [10.0, 14.0]]) == pytest.approx(np.sqrt((2 + 8) / 2))
    assert np.isnan(variance.seed_deviation([[1.0], [2.0]]))


def test_body_and_tail_are_measured_apart_and_families_weigh_the_same() -> None:
    margins = {"induction-1": [0.0, 0.2, 0.4, 1.0], "induction-2": [0.0, 0.2, 0.4, 1.0], "passage-1": [0.0, 0.0, 0.0, -1.0]}
    found = run(4096, margins)
    body, tail = (factors.measures(found, tail=tail) for tail in (False, True))
    assert body["final_margin"] == pytest.approx(0.2) and tail["final_margin"] == pytest.approx(0.0)
    assert tail["area"] == pytest.approx(0.0)
    assert body["area"] == pytest.approx((0.0 * (1024 - 614) + 0.1 * 1024 + 0.2 * 1024) / (3072 - 614))
    alone = factors.measures(found, tail=False, probes=lambda name: name.startswith("induction"))
    assert alone["final_margin"] == pytest.approx(0.4)


def test_the_report_holds_what_is_finished_and_says_how_many(study: Study) -> None:
    random = np.random.default_rng(0)
    (larger,) = parse_sizes("0.3M")
    order = {
        cell: run(4096, {probe.name: random.normal(size=8).tolist() for probe in study.probes})
        for cell in [*factors.order_cells()[:-1], *factors.larger_cells([larger])[:-1]]
    }
    text = "\n\n".join(factors.report(study, order))
    assert (
        text.count("## Order") == 2
        and all(f"{sum(cell.size == size for cell in order)} runs;" in text for size in (factors.OWN_SIZE, larger))
        and "Too few pairs" in text
    )
    cells = {}
    for cell in factors.factor_cells():
        gain = 1.0 if cell.arm == "hold-then-low" else 0.0
        names = [probe.name for probe in factors.request_of(study, cell).probes]
        cells[cell] = run(4096, {name: (gain + 0.1 * random.normal(size=8)).tolist() for name in names})
    text = "\n\n".join(factors.report(study, order | cells))
    assert f"{len(cells) // 2} pairs" in text
    line = next(line for line in text.splitlines() if line.startswith("| all |"))
    assert "(+1.0" in line or "(+0.9" in line
