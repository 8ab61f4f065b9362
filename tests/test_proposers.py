"""Samplers, the surrogate and what a proposer may know, on surfaces whose optimum is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import optuna
import pytest
import sqlalchemy
from test_trial_loop import Here, runner_of

from curriculum.errors import FileError, UserError
from curriculum.search.acquisition import SurrogateProposer, corners, ranges_of
from curriculum.search.proposals import Proposals
from curriculum.search.proposer import Evidence, Parameters, Proposer
from curriculum.search.samplers import make_proposer
from curriculum.search.space import SLICES, SearchSpace
from curriculum.search.study import SAMPLERS, STATIC_SAMPLERS, Study
from curriculum.search.study_file import load_study
from curriculum.search.surrogate import Array, Surrogate
from curriculum.search.trial_loop import TrialLoop
from curriculum.units import keyed_seed

optuna.logging.set_verbosity(optuna.logging.ERROR)
SCHEDULERS = [name for name in SAMPLERS if name not in STATIC_SAMPLERS]
Surface = Callable[[Array], tuple[float, dict[str, float]]]
MANY = """\
version: 1
name: many
streams:
{streams}
length: {{samples: 1280}}
proxy: {{batch: 16, readings: 8}}
probes:
  - {{name: p, family: f, builtin: "testbed:flipped", floor: 0.1}}
"""


def study_of(sampler: str = "gp", exposure: str = "fixed") -> Study:
    study = load_study()
    return replace(study, exposure=exposure, search=replace(study.search, sampler=sampler))  # type: ignore[arg-type]


def space_of(study: Study) -> SearchSpace:
    sizes = dict.fromkeys(study.streams, 10**6)
    return SearchSpace(study, study.shares(sizes), sizes)


def early_good(played: Array) -> tuple[float, dict[str, float]]:
    """Best with much of the first two streams early; `facts` (the last) must not be rare at the end."""
    early = played[:6, :2].sum(axis=1).mean()
    return -4 * (early - 0.8) ** 2, {"facts": 0.25 - played[12:, 4].mean()}


def half_icl(played: Array) -> tuple[float, dict[str, float]]:
    """Best where the second stream is half of everything, whenever."""
    return -4 * (played[:, 1].mean() - 0.5) ** 2, {"facts": 0.02 - played[:, 4].mean()}


def measured(space: SearchSpace, surface: Surface, parameters: Parameters) -> tuple[float, dict[str, float]]:
    return surface(np.asarray(space.features(parameters)).reshape(SLICES, -1))


def searched(
    space: SearchSpace, proposer: Proposer, surface: Surface, trials: int, seed: int = 0, ahead: int = 4
) -> list[Evidence]:
    noise = np.random.default_rng(keyed_seed("noise", seed))
    found: list[Evidence] = []
    for number in range(trials):
        known = [trial if trial.number <= number - ahead else running(trial) for trial in found]
        parameters = proposer.propose(number, known, seed=keyed_seed("trial", seed, number))
        value, excess = measured(space, surface, parameters)
        value += 0.02 * noise.standard_normal()
        found.append(Evidence(number=number, parameters=parameters, value=value, excess=excess))
    return found


def running(trial: Evidence) -> Evidence:
    return Evidence(number=trial.number, parameters=trial.parameters, excess={})


def worth_of(space: SearchSpace, surface: Surface, trials: Sequence[Evidence]) -> float:
    """Mean of the true values; one that breaks a constraint counts as bad."""
    results = [measured(space, surface, trial.parameters) for trial in trials]
    return float(np.mean([value if max(excess.values()) <= 0 else -1.0 for value, excess in results]))


@pytest.fixture(scope="module")
def drawn() -> tuple[SearchSpace, list[Evidence]]:
    """Thirty random trials on the default space."""
    study = study_of("random")
    space = space_of(study)
    return space, searched(space, make_proposer(study, space), early_good, 30)


@pytest.mark.parametrize(
    ("sampler", "trials"), [("tpe", 40), ("gp", 25), ("tpe-then-gp", 35), ("cmaes", 120), ("regmix-d", 60)]
)
def test_a_guided_sampler_ends_in_better_places_than_random(sampler: str, trials: int) -> None:
    study = study_of(sampler)
    space = space_of(study)
    found = searched(space, make_proposer(study, space, budget=trials), early_good, trials, seed=1)
    chance = searched(space, make_proposer(study_of("random"), space), early_good, 60, seed=1)
    assert worth_of(space, early_good, found[-6:]) > worth_of(space, early_good, chance) / 2


def test_the_surrogate_needs_fewer_trials_than_tpe() -> None:
    space = space_of(study_of())
    reached = {}
    for sampler in ("tpe", "gp"):
        proposer = make_proposer(study_of(sampler), space)
        runs = [searched(space, proposer, early_good, 24, seed=seed) for seed in (2, 3)]
        reached[sampler] = float(np.mean([worth_of(space, early_good, run[-8:]) for run in runs]))
    assert reached["gp"] > reached["tpe"] + 0.05


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_proposal_follows_from_evidence_and_seed_alone(sampler: str) -> None:
    study = study_of(sampler, "free")
    space = space_of(study)
    evidence = searched(space, make_proposer(study_of("random", "free"), space), half_icl, 30)
    evidence += [running(replace(evidence[0], number=30))]
    first, other = make_proposer(study, space, budget=32), make_proposer(study, space_of(study), budget=32)
    wanted = first.propose(31, evidence, seed=5)
    for number in (12, 28):
        other.propose(number, evidence[:number], seed=9)
    assert other.propose(31, evidence, seed=5) == wanted
    assert first.propose(31, evidence, seed=6) != wanted
    assert set(wanted) == set(space.draw(np.random.default_rng(0)))
    space.propose(optuna.trial.FixedTrial(dict(wanted)))


@pytest.mark.parametrize("sampler", [name for name in SCHEDULERS if name != "random"])
def test_results_change_a_proposal_and_failed_trials_do_not(sampler: str, drawn: tuple[SearchSpace, list[Evidence]]) -> None:
    space, evidence = drawn
    proposer = make_proposer(study_of(sampler), space, budget=32)
    wanted = proposer.propose(31, evidence, seed=5)
    failed = Evidence(number=30, parameters=wanted, has_failed=True, excess={})
    assert proposer.propose(31, [*evidence, failed], seed=5) == wanted
    negated = [replace(trial, value=-(trial.value or 0.0)) for trial in evidence]
    assert proposer.propose(31, negated, seed=5) != wanted


def test_running_trials_keep_the_next_proposal_away(drawn: tuple[SearchSpace, list[Evidence]]) -> None:
    space, evidence = drawn
    proposer = SurrogateProposer(space)
    found: list[Parameters] = []
    for number in range(30, 34):
        awaited = [Evidence(number=30 + index, parameters=entry, excess={}) for index, entry in enumerate(found)]
        found.append(proposer.propose(number, [*evidence, *awaited], seed=7))
    alone = proposer.propose(31, evidence, seed=7)
    played = np.sqrt(np.stack([space.features(entry) for entry in [*found, alone]]))
    apart = ((played[:, None] - played[None]) ** 2).sum(axis=2) / SLICES
    assert apart[0, 4] < 1e-9, "without running trials the same is proposed again"
    assert apart[:4, :4][np.triu_indices(4, 1)].min() > 1e-4
    surrogate = Surrogate.fit(space, [*evidence, awaited[0]])
    here = surrogate.points([awaited[0].parameters])
    assert surrogate.posterior(here, awaited=True)[1] < surrogate.posterior(here)[1]


def test_constraints_are_respected() -> None:
    def torn(played: Array) -> tuple[float, dict[str, float]]:
        value, _ = early_good(played)
        return value, {"early": played[:6, :2].sum(axis=1).mean() - 0.55}

    space = space_of(study_of())
    proposer = SurrogateProposer(space)
    trials = searched(space, proposer, torn, 28, seed=3)
    late = [max(measured(space, torn, trial.parameters)[1].values()) for trial in trials[-12:]]
    assert np.mean([amount <= 0.02 for amount in late]) > 0.5, "without constraints none of them is feasible"
    value, excess = measured(space, torn, proposer.suggest_best(trials))
    assert max(excess.values()) <= 0.08, "as likely on the one side of the limit as on the other"
    assert value > -4 * (0.45 - 0.8) ** 2, "the limit is at .55; a timid search stays far below"
    without = [replace(trial, excess={}) for trial in trials]
    assert max(measured(space, torn, proposer.suggest_best(without))[1].values()) > 0.15


def test_the_surrogates_optimum_beats_what_was_tried_and_its_posterior_ranks(drawn: tuple[SearchSpace, list[Evidence]]) -> None:
    space, evidence = drawn
    proposer = SurrogateProposer(space)
    best = measured(space, early_good, proposer.suggest_best(evidence))
    assert max(best[1].values()) <= 0.01
    assert best[0] > max(worth_of(space, early_good, [trial]) for trial in evidence)
    fresh = [space.draw(np.random.default_rng(seed)) for seed in range(100, 140)]
    means, deviations = proposer.posterior(evidence, fresh)
    truth = np.asarray([measured(space, early_good, entry)[0] for entry in fresh])
    assert np.corrcoef(means, truth)[0, 1] > 0.8
    assert np.mean(np.abs(means - truth) < 3 * deviations) > 0.9
    assert deviations.min() > 0


def test_noise_is_smoothed_and_estimated() -> None:
    space = space_of(study_of())
    random = np.random.default_rng(0)
    entries = [space.draw(random) for _ in range(40)]
    values = [early_good(np.asarray(space.features(entry)).reshape(SLICES, -1))[0] for entry in entries]
    noisy = [
        Evidence(number=index, parameters=entry, value=value + 0.2 * random.standard_normal(), excess={})
        for index, (entry, value) in enumerate(zip(entries, values, strict=True))
    ]
    surrogate = Surrogate.fit(space, noisy)
    means, _ = surrogate.posterior(surrogate.points(entries))
    measured_errors = np.asarray([trial.value for trial in noisy], dtype=float) - np.asarray(values)
    assert np.std(means - values) < 0.8 * np.std(measured_errors)
    assert 0.08 < surrogate.noise < 0.4


def kept(space: SearchSpace, count: int) -> list[Evidence]:
    """Trials of which all keep `count` constraints by .05, of which noise hides one in twenty."""
    random = np.random.default_rng(0)
    return [
        Evidence(
            number=number,
            parameters=space.draw(random),
            value=float(random.normal()),
            excess={f"loss_{index}": -0.05 + 0.03 * random.standard_normal() for index in range(count)},
        )
        for number in range(30)
    ]


def test_many_kept_constraints_do_not_rule_everything_out_and_one_that_is_broken_does() -> None:
    study = load_study(Path(__file__).parents[1] / "search/many.yaml")
    space = SearchSpace(study, dict.fromkeys(study.streams, Fraction(1, 64)))
    evidence = kept(space, 64)
    fresh = [space.draw(np.random.default_rng(seed)) for seed in range(100, 130)]
    proposer = SurrogateProposer(space)
    assert (proposer.feasibility(evidence, fresh) >= 0.5).mean() > 0.9
    broken = [replace(trial, excess={**trial.excess, "loss_7": 0.05}) for trial in evidence]
    assert (proposer.feasibility(broken, fresh) < 0.5).all()


def test_a_constraint_that_older_trials_do_not_know_is_learnt_from_the_others() -> None:
    space = space_of(study_of())
    evidence = kept(space, 3)
    known = [replace(trial, excess={**trial.excess, "loss_new": 0.3}) for trial in evidence[25:]]
    proposer = SurrogateProposer(space)
    here = [trial.parameters for trial in evidence]
    assert (proposer.feasibility(evidence, here) >= 0.5).mean() > 0.9
    assert (proposer.feasibility([*evidence[:25], *known], here) < 0.5).all()


def test_quiet_constraints_do_not_speak_for_a_noisy_one() -> None:
    """Losses hardly vary from seed to seed, the final margin varies a lot: what is made of it must not hang on them."""
    space = space_of(study_of())
    random = np.random.default_rng(2)
    entries = [space.draw(random) for _ in range(50)]
    played = np.stack([np.asarray(space.features(entry)).reshape(SLICES, -1) for entry in entries])
    early, late = played[:, :6, 0].mean(axis=1), played[:, 10:].mean(axis=1)
    margins = np.abs(early - np.median(early)) / early.std() - 0.7 + 0.8 * random.standard_normal(50)
    losses = {f"loss_{stream}": 0.2 * (late[:, 4] - late[:, stream]) - 0.4 for stream in range(4)}  # far below their limits

    def likely(**excesses: Array) -> Array:
        rows = [{name: float(of[index]) for name, of in excesses.items()} for index in range(50)]
        evidence = [
            Evidence(number=index, parameters=entry, value=0.0, excess=row)
            for index, (entry, row) in enumerate(zip(entries, rows, strict=True))
        ]
        surrogate = Surrogate.fit(space, evidence)
        return surrogate.feasibility(surrogate.points(entries))

    alone = likely(margin=margins)
    assert alone.min() < 0.2 and alone.max() > 0.8
    assert likely(margin=margins, **losses) == pytest.approx(alone, abs=0.02)


@pytest.mark.parametrize("count", [1, 2, 12])
@pytest.mark.parametrize("kind", ["constant", "duplicates", "huge"])
def test_the_surrogate_copes_with_odd_evidence(count: int, kind: str) -> None:
    space = space_of(study_of())
    random = np.random.default_rng(1)
    entries = [space.draw(random) for _ in range(count)]
    if kind == "duplicates":
        entries = entries[:1] * count
    values = [0.5 if kind == "constant" else random.standard_normal() * (1e12 if kind == "huge" else 1) for _ in entries]
    evidence = [
        Evidence(number=index, parameters=entry, value=value, excess={"a": value, "b": -1.0})
        for index, (entry, value) in enumerate(zip(entries, values, strict=True))
    ]
    proposer = SurrogateProposer(space, startup=0)
    found = proposer.propose(count, evidence, seed=1)
    means, deviations = proposer.posterior(evidence, [found, *entries])
    assert np.isfinite(means).all() and np.isfinite(deviations).all() and (deviations > 0).all()
    likely = proposer.feasibility(evidence, [found, *entries])
    assert ((likely >= 0) & (likely <= 1)).all()
    if kind == "constant":
        assert means == pytest.approx(0.5)


def test_without_any_value_the_surrogate_spreads_out(drawn: tuple[SearchSpace, list[Evidence]]) -> None:
    space, evidence = drawn
    proposer = SurrogateProposer(space)
    waiting = [running(trial) for trial in evidence]
    assert set(proposer.propose(30, waiting, seed=1)) == set(evidence[0].parameters)
    with pytest.raises(ValueError, match="at least one trial"):
        proposer.suggest_best(waiting)
    spread, chance = [], []
    for seed in range(8):
        random = np.random.default_rng(seed)
        for taken, entry in ((spread, proposer.propose(3, evidence[:3], seed=seed)), (chance, space.draw(random))):
            here = np.sqrt(np.stack([space.features(trial.parameters) for trial in evidence[:3]]))
            taken.append(((here - np.sqrt(space.features(entry))) ** 2).sum(axis=1).min())
    assert np.mean(spread) > 1.5 * np.mean(chance)


def test_choices_matter_to_the_surrogate() -> None:
    study = study_of()
    study = replace(study, space=replace(study.space, orders=("shuffle", "sequential")))
    space = space_of(study)
    random = np.random.default_rng(2)
    evidence = [
        Evidence(number=number, parameters=entry, value=float(entry["order"] == "sequential"), excess={})
        for number, entry in enumerate(space.draw(random) for _ in range(20))
    ]
    found = [SurrogateProposer(space).propose(20, evidence, seed=seed)["order"] for seed in range(3)]
    assert found == ["sequential"] * 3
    assert ranges_of(space, evidence[0].parameters)["order"] == ("shuffle", "sequential")


def test_sixty_four_streams(tmp_path: Path) -> None:
    path = tmp_path / "many.yaml"
    path.write_text(MANY.format(streams="\n".join(f'  s{index:02d}: {{local: "testbed:arith"}}' for index in range(64))))
    space = space_of(load_study(path))
    random = np.random.default_rng(0)
    evidence = []
    for number in range(12):
        entry = space.draw(random)
        played = np.asarray(space.features(entry)).reshape(SLICES, -1)
        excess = {f"loss_{index}": 0.01 - float(played[-1, index]) for index in range(64)}
        evidence.append(Evidence(number=number, parameters=entry, value=float(played[:5, :8].sum()), excess=excess))
    found = SurrogateProposer(space).propose(12, evidence, seed=1)
    assert np.isfinite(space.features(found)).all()


def test_sixty_four_streams_in_groups_are_learnt() -> None:
    """What pays is the first level of the first factor, early; what is proposed has more of it than draws have."""
    study = load_study(Path(__file__).parents[1] / "search/many.yaml")
    space, random = space_of(study), np.random.default_rng(0)
    factor = next(iter((study.space.groups or {}).values()))
    paying = [space.streams.index(name) for name in next(iter(factor.values()))]

    def response(entry: Parameters) -> float:
        return float(np.asarray(space.features(entry)).reshape(SLICES, -1)[:5, paying].sum())

    drawn = [space.draw(random) for _ in range(25)]
    evidence = [
        Evidence(number=number, parameters=entry, value=response(entry), excess={}) for number, entry in enumerate(drawn)
    ]
    proposed = [response(SurrogateProposer(space).propose(25, evidence, seed=seed)) for seed in range(3)]
    values = [response(entry) for entry in drawn]
    assert np.mean(proposed) > np.mean(values) + np.std(values)


def test_corners_are_tried_first_where_a_study_asks_for_them(tmp_path: Path) -> None:
    file = Path(__file__).parents[1] / "search/default-unaided.yaml"
    (tmp_path / "corners.yaml").write_text(file.read_text().replace("enqueue: [static]", "enqueue: [static, corners]"))
    study = load_study(tmp_path / "corners.yaml")
    runner = runner_of(study, Here(tmp_path))
    proposals = Proposals(study, runner.space, tmp_path)
    proposals.enqueue(TrialLoop(runner=runner, proposals=proposals, reference=None)._baselines())  # type: ignore[arg-type]
    tried = [proposals.propose(number).name for number in range(11)]
    assert tried == ["trial-0 (near static)", *(f"trial-{number + 1} (near corner-{number})" for number in range(10))]


def test_corners_reach_further_than_draws() -> None:
    space = space_of(study_of("gp", "fixed"))
    random = np.random.default_rng(0)
    drawn = np.stack([space.features(space.draw(random)) for _ in range(200)]).reshape(200, SLICES, -1)
    found = np.stack([space.features(entry) for entry in corners(space)]).reshape(-1, SLICES, 5)
    early = SLICES // 2
    for stream in range(5):
        others = [index for index in range(5) if index != stream]
        rest_moves = np.ptp(
            found[2 * stream : 2 * stream + 2][:, :, others] / found[2 * stream : 2 * stream + 2][:, :, [others[0]]]
        )
        assert found[2 * stream, :early, stream].mean() > np.quantile(drawn[:, :early, stream].mean(axis=1), 0.9)
        assert found[2 * stream + 1, :early, stream].mean() < np.quantile(drawn[:, :early, stream].mean(axis=1), 0.1)
        assert rest_moves < 5


def test_an_unknown_sampler_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    text = MANY.format(streams='  a: {local: "testbed:arith"}\n  b: {local: "testbed:facts"}')
    path.write_text(text + "search: {sampler: bayes}\n")
    with pytest.raises(FileError, match=r"small.yaml:10: .*tpe-then-gp.*'bayes'|small.yaml:10: .*'bayes'.*tpe-then-gp"):
        load_study(path)
    path.write_text(text + "search: {sampler: regmix}\n")
    with pytest.raises(FileError, match=r"small.yaml:10: .*exposure: free"):
        load_study(path)
    path.write_text(text + "exposure: free\nsearch: {sampler: regmix}\n")
    assert load_study(path).search.sampler == "regmix"


@pytest.mark.parametrize("sampler", STATIC_SAMPLERS)
def test_static_samplers_refuse_a_fixed_exposure(sampler: str) -> None:
    study = study_of(sampler)
    with pytest.raises(UserError, match="exposure: free"):
        make_proposer(study, space_of(study))


def proposed(folder: Path, study: Study, trials: int, reopen: Sequence[int] = ()) -> list[Parameters]:
    """Propose and tell in order, as a search does; open the storage anew before the trials in `reopen`."""
    folder.mkdir(exist_ok=True)
    space = space_of(study)
    proposals = Proposals(study, space, folder, budget=trials)
    proposals.enqueue({"static": space.parameters(np.asarray([[0.2, 0.2, 0.2, 0.1, 0.3]]))})
    for number in range(trials):
        if number in reopen:
            proposals.propose(number)
            proposals = Proposals(study, space, folder, budget=trials)
        proposals.propose(number)
        due = number - study.search.ahead + 1
        if due >= 0:
            value, excess = measured(space, early_good, proposals.evidence()[due].parameters)
            proposals.tell(due, None if due == 3 else value, {} if due == 3 else excess)
    return [trial.parameters for trial in proposals.evidence()]


@pytest.mark.parametrize("sampler", ["gp", "cmaes"])
def test_proposals_on_disk_are_the_same_after_any_stop(sampler: str, tmp_path: Path) -> None:
    study = study_of(sampler)
    first = proposed(tmp_path / "a", study, 15)
    assert len({tuple(entry.items()) for entry in first}) == 15
    assert proposed(tmp_path / "b", study, 15, reopen=(5, 14)) == first


def test_what_was_thought_of_is_put_whole_in_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_of("gp")
    proposals = Proposals(study, space_of(study), tmp_path)

    def written(*_: object, **__: object) -> None:
        raise AssertionError("a parameter was written by itself")

    with monkeypatch.context() as patch:
        patch.setattr(optuna.trial.Trial, "suggest_float", written)
        first = proposals.propose(0)
    (trial,) = stored(tmp_path, study).trials
    assert trial.state == optuna.trial.TrialState.RUNNING and trial.params.keys() == trial.distributions.keys()
    assert trial.params == trial.system_attrs["fixed_params"] == proposals.evidence()[0].parameters
    assert Proposals(study, space_of(study), tmp_path).propose(0) == first


@pytest.mark.parametrize("asked", [None, 0, 3])
def test_a_trial_that_was_cut_off_parameter_by_parameter_goes_on(asked: int | None, tmp_path: Path) -> None:
    study = study_of("gp")
    whole = proposed(tmp_path / "whole", study, 2)[1]
    Proposals(study, space_of(study), tmp_path).enqueue({"static": proposed(tmp_path / "static", study, 1)[0]})
    left = stored(tmp_path, study)
    left.ask()
    left.enqueue_trial(dict(whole))  # as older versions put a trial: waiting, then asked for its parameters one by one
    if asked is not None:
        trial = left.ask()
        for name, (low, high) in list(ranges_of(space_of(study), whole).items())[:asked]:
            trial.suggest_float(name, float(low), float(high))
    proposals = Proposals(study, space_of(study), tmp_path)
    assert [proposals.propose(number).number for number in (0, 1)] == [0, 1]
    assert proposals.evidence()[1].parameters == stored(tmp_path, study).trials[1].params == whole


def stored(folder: Path, study: Study) -> optuna.Study:
    return optuna.load_study(study_name=study.name, storage=f"sqlite:///{folder / 'study.db'}")


def test_a_proposer_sees_only_what_it_may(tmp_path: Path) -> None:
    study = study_of("gp")
    space = space_of(study)
    seen: list[list[Evidence]] = []

    class Watching:
        def propose(self, number: int, evidence: Sequence[Evidence], *, seed: int) -> Parameters:
            seen.append(list(evidence))
            return space.draw(np.random.default_rng(seed))

    proposals = Proposals(study, space, tmp_path)
    proposals._proposer = Watching()
    for number in range(7):
        proposals.propose(number)
    for number in range(6):
        value, excess = (None, {}) if number == 2 else (float(number), {"loss_a": 0.5 - number})
        proposals.tell(number, value, excess, run=f"trial-{number:03d}-s1-abc")
    assert stored(tmp_path, study).trials[1].user_attrs["run"] == "trial-001-s1-abc"
    proposals.propose(7)
    assert study.search.ahead == 4
    assert [trial.number for trial in seen[-1]] == list(range(7))
    assert [trial.value for trial in seen[-1]] == [0.0, 1.0, None, 3.0, None, None, None]
    assert [trial.has_failed for trial in seen[-1]] == [False, False, True, False, False, False, False]
    assert [trial.excess for trial in seen[-1][:4]] == [{"loss_a": 0.5}, {"loss_a": -0.5}, {}, {"loss_a": -2.5}]
    assert all(trial.excess == {} for trial in seen[-1][4:])
    assert [trial.value for trial in proposals.evidence()] == [0.0, 1.0, None, 3.0, 4.0, 5.0, None, None]
    assert proposals.evidence()[6].parameters == seen[-1][6].parameters != {}


def test_an_enqueued_trial_is_evidence_before_it_is_tried(tmp_path: Path) -> None:
    study = study_of("gp")
    space = space_of(study)
    proposals = Proposals(study, space, tmp_path)
    static = space.parameters(np.asarray([[0.2, 0.2, 0.2, 0.1, 0.3]]))
    proposals.enqueue({"static": static})
    assert [dict(trial.parameters) for trial in proposals.evidence()] == [static]


def test_two_on_one_named_database_do_not_put_a_trial_twice(tmp_path: Path) -> None:
    study, storage = study_of("random"), f"sqlite:///{tmp_path / 'named.db'}"
    first, second = (Proposals(study, space_of(study), tmp_path / name, storage) for name in ("first", "second"))
    think = first._think

    def slowly(number: int, trials: Sequence[optuna.trial.FrozenTrial]) -> Parameters:
        second.propose(number)  # while the first is still thinking
        return think(number, trials)

    first._think = slowly  # type: ignore[method-assign]
    assert first.propose(0) == second.propose(0)
    assert len(first.evidence()) == 1


def test_sqlite_writes_ahead(tmp_path: Path) -> None:
    study = study_of("gp")
    Proposals(study, space_of(study), tmp_path)
    with sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'study.db'}").connect() as connection:
        assert connection.execute(sqlalchemy.text("PRAGMA journal_mode")).scalar() == "wal"
