"""The published peers: their regressions against known laws, their swarms, their predicted optima."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from curriculum.search.baselines import PEERS, Olmix, RegMix, RegMixD
from curriculum.search.baselines.olmix import Law, best_mix
from curriculum.search.baselines.regmix import mean_of_best, regressed
from curriculum.search.baselines.swarm import excess_of, is_swarm, natural, random_mix, static_mixes
from curriculum.search.proposer import Evidence, Proposer
from curriculum.search.samplers import make_proposer
from curriculum.search.space import SLICES, SearchSpace
from curriculum.search.study import Study
from curriculum.search.study_file import load_study
from curriculum.search.surrogate import Array
from curriculum.units import keyed_seed

TARGET = np.asarray([0.15, 0.45, 0.15, 0.1, 0.15])


@pytest.fixture(scope="module")
def study() -> Study:
    return replace(load_study(), exposure="free")


@pytest.fixture(scope="module")
def space(study: Study) -> SearchSpace:
    sizes = dict.fromkeys(study.streams, 10**6)
    return SearchSpace(study, study.shares(sizes), sizes)


def mix_of(space: SearchSpace, trial: Evidence) -> Array:
    return np.asarray(space.features(trial.parameters)).reshape(SLICES, -1).mean(axis=0)


def near_target(space: SearchSpace, trial: Evidence) -> float:
    return -float(((np.sqrt(mix_of(space, trial)) - np.sqrt(TARGET)) ** 2).sum())


def searched(space: SearchSpace, proposer: Proposer, trials: int) -> list[Evidence]:
    random = np.random.default_rng(0)
    found: list[Evidence] = []
    for number in range(trials):
        entry = proposer.propose(number, found, seed=keyed_seed("trial", number))
        trial = Evidence(number=number, parameters=entry, excess={})
        value = near_target(space, trial) + 0.02 * random.standard_normal()
        found.append(replace(trial, value=value, excess={"loss": 0.02 - float(mix_of(space, trial)[4])}))
    return found


@pytest.mark.parametrize("name", list(PEERS))
def test_the_last_tenth_of_the_trials_is_a_good_prediction(name: str, study: Study, space: SearchSpace) -> None:
    named = replace(study, search=replace(study.search, sampler=name))  # type: ignore[arg-type]
    trials = searched(space, make_proposer(named, space, budget=50), 50)
    values = np.asarray([near_target(space, trial) for trial in trials])
    assert values[45:].mean() > np.quantile(values[:45], 0.85)
    assert values[45:].mean() > values[:45].mean() / 2, "halves the distance of a random mix, at the least"
    assert len({tuple(trial.parameters.items()) for trial in trials[:45]}) == 45


@pytest.mark.parametrize("peer", [RegMix, Olmix])
def test_what_static_peers_propose_is_static(peer: type[RegMix] | type[Olmix], space: SearchSpace) -> None:
    trials = searched(space, peer(space, 12), 12)
    played = np.stack([space.features(trial.parameters) for trial in trials]).reshape(12, SLICES, -1)
    assert np.ptp(played, axis=1).max() < 0.01
    assert np.ptp(played.mean(axis=1), axis=0).min() > 0.05


def test_a_schedule_comes_out_of_regmix_d(space: SearchSpace) -> None:
    def early(trial: Evidence) -> float:
        return float(np.asarray(space.features(trial.parameters)).reshape(SLICES, -1)[:10, 1].mean())

    random = np.random.default_rng(1)
    drawn = [Evidence(number=number, parameters=space.draw(random), excess={}) for number in range(45)]
    evidence = [replace(trial, value=early(trial) - float(mix_of(space, trial)[1])) for trial in drawn]
    found = Evidence(number=45, parameters=RegMixD(space, 50).propose(45, evidence, seed=1), excess={})
    assert early(found) > mix_of(space, found)[1] + 0.05


def test_the_swarm_ends_a_tenth_before_the_planned_budget() -> None:
    assert [number for number in range(100) if not is_swarm(number, 50, 40)] == list(range(45, 100))
    assert [number for number in range(55) if not is_swarm(number, None, 40)] == list(range(45, 55))
    assert [number for number in range(12) if not is_swarm(number, 10, 9)] == [9, 10, 11]
    assert is_swarm(49, 50, 4), "nothing to learn from yet"


def test_the_swarm_does_not_look_at_results(space: SearchSpace) -> None:
    trials = searched(space, RegMix(space, 50), 10)
    for peer in (RegMix(space, 50), Olmix(space, 50), RegMixD(space, 50)):
        assert peer.propose(10, trials, seed=3) == peer.propose(10, [], seed=3)


def test_random_mixes_lie_around_the_natural_mix(space: SearchSpace) -> None:
    random = np.random.default_rng(0)
    mixes = np.stack([random_mix(space, random) for _ in range(4000)])
    assert mixes.sum(axis=1) == pytest.approx(1.0)
    assert mixes.min() >= 0 and mixes[mixes > 0].min() > 1e-4
    smoothed = np.sqrt(natural(space))
    assert mixes.mean(axis=0) == pytest.approx(smoothed / smoothed.sum(), abs=0.03)


def test_mixes_that_change_over_the_run_are_not_learned_from(space: SearchSpace) -> None:
    matrix = np.tile(TARGET, (2, 1))
    tilted = matrix * np.asarray([[1, 3, 1, 1, 1], [1, 1 / 3, 1, 1, 1]])
    entries = [space.parameters(entry / entry.sum(axis=1, keepdims=True)) for entry in (matrix, tilted)]
    evidence = [Evidence(number=number, parameters=entry, value=0.0, excess={}) for number, entry in enumerate(entries)]
    kept, mixes = static_mixes(space, evidence)
    assert [trial.number for trial in kept] == [0]
    assert mixes[0] == pytest.approx(TARGET, abs=0.02)


def test_trials_without_a_value_are_not_learned_from(space: SearchSpace) -> None:
    trials = searched(space, RegMix(space, 50), 20)
    failed = replace(trials[3], number=20, value=None, has_failed=True)
    for peer in (RegMix(space, 20), Olmix(space, 20), RegMixD(space, 20)):
        assert peer.propose(21, [*trials, failed], seed=3) == peer.propose(21, trials, seed=3)


def test_lightgbm_learns_from_fifty_mixes(space: SearchSpace) -> None:
    random = np.random.default_rng(0)
    mixes, fresh = (np.stack([random_mix(space, random) for _ in range(count)]) for count in (50, 200))
    found = regressed(mixes, mixes[:, 1] ** 2, fresh, seed=1)
    assert np.corrcoef(found, fresh[:, 1] ** 2)[0, 1] > 0.9
    assert regressed(mixes, np.full(50, 0.3), fresh, seed=1) == pytest.approx(0.3)


def test_predicted_constraints_exclude_mixes(space: SearchSpace) -> None:
    random = np.random.default_rng(0)
    mixes = np.stack([random_mix(space, random) for _ in range(60)])
    evidence = [
        Evidence(number=number, parameters={}, value=float(mix[1]), excess={"loss": float(mix[1]) - 0.4})
        for number, mix in enumerate(mixes)
    ]
    simulated = np.stack([random_mix(space, random) for _ in range(500)])
    bound = mean_of_best(mixes, evidence, simulated, seed=1, most=20)
    unbound = mean_of_best(mixes, [replace(trial, excess={}) for trial in evidence], simulated, seed=1, most=20)
    assert unbound[1] > 0.7
    assert bound[1] < 0.45


def test_the_worst_excess_keeps_its_sign() -> None:
    rows = [{"a": -1.0, "b": -3.0}, {"a": 0.5, "b": -3.0}, {"a": -2.0, "b": 30.0}]
    evidence = [Evidence(number=number, parameters={}, value=0.0, excess=row) for number, row in enumerate(rows)]
    found = excess_of(evidence)
    assert (np.sign(found) == [-1, 1, 1]).all() and found[2] > found[1]


def test_the_log_linear_law_is_recovered() -> None:
    random = np.random.default_rng(0)
    weights = np.asarray([-1.0, 2.0, 0.5, -0.5])
    mixes = random.dirichlet(np.ones(4), size=60)
    costs = 0.3 + np.exp(-0.7 + mixes @ weights)
    law = Law.fit(mixes, costs + 0.005 * random.standard_normal(60), random)
    fresh = random.dirichlet(np.ones(4), size=100)
    wanted = 0.3 + np.exp(-0.7 + fresh @ weights)
    found = np.asarray([law.at(mix)[0] for mix in fresh])
    assert found == pytest.approx(wanted, abs=0.03)
    step = 1e-6
    slopes = [(law.at(fresh[0] + step * unit)[0] - law.at(fresh[0])[0]) / step for unit in np.eye(4)]
    assert law.at(fresh[0])[1] == pytest.approx(slopes, abs=1e-3)


def test_the_penalties_of_the_log_linear_optimum() -> None:
    prior = np.asarray([0.5, 0.3, 0.2])
    flat = Law(constant=0.0, offset=-20.0, weights=np.zeros(3))
    feasible = Law(constant=-1.0, offset=-20.0, weights=np.zeros(3))
    assert best_mix(flat, feasible, prior) == pytest.approx(prior, abs=1e-3)
    steep = Law(constant=0.0, offset=0.0, weights=np.asarray([0.0, 0.0, -1.0]))
    free = best_mix(steep, feasible, prior)
    ratio = np.log(free / prior)
    slope = steep.at(free)[1] + 0.05 * ratio
    assert free[2] > 0.9 and np.ptp(slope) < 2e-3, "at the optimum all slopes are equal"
    kept = best_mix(steep, Law(constant=-1.0 - 0.5, offset=0.0, weights=np.asarray([0.0, 0.0, 1.0])), prior)
    assert kept[2] < np.log(1.5) + 0.06, "exp(p) - 1.5 is to stay at or below 0"
