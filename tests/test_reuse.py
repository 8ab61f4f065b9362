"""What a new study takes over from an old one: how curricula are carried over, what is refused, what is fixed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from postgres_help import postgres_server
from test_search_end_to_end import CURRICULUM, STUDY, what_was_found

from curriculum.errors import ChangedError, DataError, UserError
from curriculum.mix import Order, Stream
from curriculum.probe.specification import ProbeSpecification
from curriculum.search.acquisition import SurrogateProposer
from curriculum.search.folder import StudyFolder
from curriculum.search.proposer import Evidence, Parameters
from curriculum.search.reuse import Prior, prior_evidence, settled_prior
from curriculum.search.space import SLICES, SearchSpace
from curriculum.search.study import Objective, Space, Study, Target
from curriculum.search.study_file import load_study
from curriculum.units import keyed_seed

PROBE = ProbeSpecification(name="s", family="succession", builtin="testbed:succession", floor=0.1)
Matrix = Any


def study_of(names: str, **changes: Any) -> Study:
    """Return a study whose streams are the letters of `names`."""
    fields: dict[str, Any] = {
        "path": Path("gone.yaml"),
        "name": f"study-{names}",
        "streams": {name: Stream(local=f"/data/{name}") for name in names},
        "samples": 1280,
        "probes": (PROBE,),
        "exposure": "free",
        "space": Space(knots=5, rank=None),
    }
    return Study(**{**fields, **changes})


def space_of(study: Study, weights: Sequence[int] | None = None) -> SearchSpace:
    given = list(weights or [1] * len(study.streams))
    return SearchSpace(study, {name: Fraction(part, sum(given)) for name, part in zip(study.streams, given, strict=True)})


def played(space: SearchSpace, parameters: Parameters) -> Matrix:
    return np.asarray(space.features(parameters)).reshape(SLICES, -1)


def write_old(
    runs: Path,
    study: Study,
    tried: Sequence[Parameters],
    value: Callable[[Parameters], float],
    excess: Mapping[str, float] | None = None,
    *,
    storage: str | None = None,
) -> Path:
    """Write the folder that a search of `tried` parameters leaves, as far as it is read; its trials into `storage`, if any."""
    folder = runs / study.name
    folder.mkdir(parents=True)
    StudyFolder(folder).remember(study, {name: f"digest of {name}" for name in study.streams})
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    memory, space = optuna.create_study(direction="maximize"), space_of(study)
    for number, parameters in enumerate(tried):
        memory.enqueue_trial(dict(parameters))
        trial = memory.ask()
        phases, order = space.propose(trial)
        for name, amount in (excess or {}).items():
            trial.set_constraint(name, amount)
        memory.tell(trial, value(parameters))
        study.mix("m", phases, order=order).dump(folder / f"trial-{number:03d}-s1-abc" / "mix.yaml")
    url = storage or f"sqlite:///{folder / 'study.db'}"
    database = optuna.create_study(storage=url, study_name=study.name, direction="maximize")
    database.add_trials(memory.trials)
    return folder


def drawn(space: SearchSpace, count: int) -> list[Parameters]:
    return [space.draw(np.random.default_rng(keyed_seed("drawn", number))) for number in range(count)]


def value_of(parameters: Parameters) -> float:
    return float(next(value for value in parameters.values() if isinstance(value, float)))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = study_of("abcd")
    limits = {"final_margin": -0.1, **{f"loss_{name}": number / 10 for number, name in enumerate("abcd")}}
    return write_old(tmp_path_factory.mktemp("runs"), study, drawn(space_of(study), 4), value_of, limits)


@pytest.fixture
def old(tmp_path: Path, written: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / written.name))


def taken(old: Path, study: Study, weights: Sequence[int] | None = None, **options: Any) -> tuple[Prior, list[Matrix]]:
    """Return the prior, and what its trials play in the new space."""
    space = space_of(study, weights)
    prior = prior_evidence(old, study, space, **options)
    return prior, [played(space, trial.parameters) for trial in prior.evidence()]


def test_the_same_streams_keep_curricula_values_and_excesses(old: Path) -> None:
    study = study_of("abcd", name="again")
    before = drawn(space_of(study), 4)
    prior, matrices = taken(old, study)
    assert [trial.number for trial in prior.evidence()] == [-4, -3, -2, -1]
    for parameters, matrix, trial in zip(before, matrices, prior.trials, strict=True):
        np.testing.assert_allclose(matrix, played(space_of(study), parameters), atol=1e-4)
        assert trial.kept == pytest.approx(1.0, abs=1e-4) and trial.value == pytest.approx(value_of(parameters), abs=1e-3)
    assert prior.trials[0].excess["loss_d"] == 0.3 and not prior.evidence()[0].is_feasible
    assert prior.words == (f"4 trials of {old} are taken as evidence; they do not count as trials",)


def test_what_a_removed_stream_had_goes_to_the_others_in_proportion(old: Path) -> None:
    prior, matrices = taken(old, study_of("abc"))
    for parameters, matrix, trial in zip(drawn(space_of(study_of("abcd")), 4), matrices, prior.trials, strict=True):
        left = played(space_of(study_of("abcd")), parameters)[:, :3]
        np.testing.assert_allclose(matrix, left / left.sum(axis=1, keepdims=True), atol=1e-4)
        assert trial.kept == pytest.approx(left.sum(axis=1).mean(), abs=1e-4)
    assert set(prior.trials[0].excess) == {"final_margin", "loss_a", "loss_b", "loss_c"}
    assert "d went: the other streams have what it had, in proportion" in prior.words


def test_an_added_stream_gets_its_share_of_the_new_exposure(old: Path) -> None:
    prior, matrices = taken(old, study_of("eabcd"), [2, 2, 2, 2, 2])
    for parameters, matrix, trial in zip(drawn(space_of(study_of("abcd")), 4), matrices, prior.trials, strict=True):
        np.testing.assert_allclose(matrix[:, 0], 0.2, atol=1e-4)
        np.testing.assert_allclose(matrix[:, 1:], 0.8 * played(space_of(study_of("abcd")), parameters), atol=1e-4)
        assert trial.kept == pytest.approx(0.8, abs=1e-4)
    assert "loss_e" not in prior.trials[0].excess, "nobody knows what it would have lost"
    assert prior.trials[0].excess["loss_b"] == 0.1 and len(prior.trials[0].excess) == 5
    assert "e came: old trials are taken to have had its share of the new exposure" in prior.words


def test_a_split_stream_is_divided_by_the_shares_of_its_parts(old: Path) -> None:
    prior, matrices = taken(old, study_of("abcxy"), [1, 1, 1, 3, 1], split={"d": ("x", "y")})
    for parameters, matrix, trial in zip(drawn(space_of(study_of("abcd")), 4), matrices, prior.trials, strict=True):
        before = played(space_of(study_of("abcd")), parameters)
        np.testing.assert_allclose(matrix[:, :3], before[:, :3], atol=1e-4)
        np.testing.assert_allclose(matrix[:, 3:], np.outer(before[:, 3], [0.75, 0.25]), atol=1e-4)
        assert trial.kept == pytest.approx(1.0, abs=1e-4)
    assert prior.trials[0].excess["loss_x"] == prior.trials[0].excess["loss_y"] == 0.3 and len(prior.trials[0].excess) == 6
    assert "d was split into x, y, by their shares" in prior.words


def test_a_slice_of_removed_streams_alone_becomes_the_exposure(tmp_path: Path) -> None:
    study = study_of("ab")
    matrix = np.asarray([[0.5, 0.5], [1e-9, 1.0], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]])
    folder = write_old(tmp_path, study, [space_of(study).parameters(matrix)], lambda _: 1.0)
    mix = next(folder.glob("trial-*/mix.yaml"))
    only_b = [line if "until: 0.4" not in line else "  - {until: 0.4, weights: {b: 1}}" for line in mix.read_text().split("\n")]
    mix.write_text("\n".join(only_b))
    _, (found,) = taken(folder, study_of("acd"), [2, 1, 2])
    np.testing.assert_allclose(found, np.tile([0.4, 0.2, 0.4], (SLICES, 1)), atol=1e-3)


def test_values_are_drawn_to_the_median_by_what_was_lost(old: Path) -> None:
    prior, _ = taken(old, study_of("abc"))
    before = [value_of(parameters) for parameters in drawn(space_of(study_of("abcd")), 4)]
    for raw, trial in zip(before, prior.trials, strict=True):
        assert trial.value - np.median(before) == pytest.approx(trial.kept * (raw - np.median(before)))
    assert max(trial.kept for trial in prior.trials) < 0.95


def test_a_space_that_cannot_say_a_curriculum_keeps_less_of_it(old: Path) -> None:
    free, _ = taken(old, study_of("abcd", name="again"))
    poor, _ = taken(old, study_of("abcd", name="again", space=Space(shape="two-phase", rank=1)))
    assert all(less.kept < more.kept - 0.02 for less, more in zip(poor.trials, free.trials, strict=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": Objective(metric="area")}, "objective.metric: time_general -> area"),
        ({"objective": Objective(subject_to=("loss",))}, r"objective.subject_to\[0\]: final_margin -> loss"),
        ({"samples": 2560}, "length.samples: 1280 -> 2560"),
        ({"probes": (replace(PROBE, items=64),)}, r"probes\[0\].items: "),
        ({"exposure": "fixed"}, "the old study's exposure was free"),
        ({"objective": Objective(pareto="loss")}, "a Pareto study has two"),
        ({"streams": {"z": Stream(local="/data/z"), "w": Stream(local="/data/w")}}, "have none in common"),
    ],
)
def test_values_that_mean_something_else_are_refused(old: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        taken(old, study_of("abcd", name="again", **changes))


def test_losses_are_taken_over_from_the_same_streams_and_proxy_alone(tmp_path: Path) -> None:
    """Margins mean the same for a wider proxy and one stream fewer; a loss is then on another level."""
    by_loss = Objective(metric="loss")
    study = study_of("abcd", objective=by_loss)
    folder = write_old(tmp_path, study, drawn(space_of(study), 4), value_of)
    again = replace(study, name="again")
    assert len(taken(folder, again)[0].trials) == 4
    wider = replace(again, recipe=replace(study.recipe, width=study.recipe.width * 2))
    with pytest.raises(UserError, match=r"loss is of other streams or of another proxy(.|\n)*proxy.width"):
        taken(folder, wider)
    with pytest.raises(UserError, match=r"loss is of other streams(.|\n)*streams"):
        taken(folder, study_of("abc", name="again", objective=by_loss))


def test_what_may_differ_is_said(old: Path) -> None:
    study = study_of("abcd", name="again", target=Target(samples=9999), objective=Objective(common_tail=Decimal("0.1")))
    study = replace(study, recipe=replace(study.recipe, width=study.recipe.width * 2))
    prior, _ = taken(old, study, data={"a": "digest of a", "b": "another"})
    width = study.recipe.width
    assert f"the old study had another setting, proxy.width: {width // 2} -> {width}" in prior.words
    assert any("target.samples: absent -> 9999" in line for line in prior.words)
    assert prior.words[-1] == "the data of b is not what the old study had"
    reordered = {**study.streams, "c": replace(study.streams["c"], order=Order(kind="sequential"))}
    words = " ".join(taken(old, replace(study, streams=reordered))[0].words)
    assert "streams.c.order.kind: shuffle -> sequential" in words
    assert "streams." not in " ".join(prior.words)


def test_choices_are_kept_where_the_new_study_has_them(tmp_path: Path) -> None:
    study = study_of("ab", space=Space(knots=3, rank=None, orders=("shuffle", "sequential"), granularity=(64, 128)))
    tried = drawn(space_of(study), 12)
    folder = write_old(tmp_path, study, tried, value_of)
    prior, _ = taken(folder, study_of("abc", space=study.space))
    assert [(trial.parameters["order"], trial.parameters["window"]) for trial in prior.trials] == [
        (parameters["order"], parameters["window"]) for parameters in tried
    ]
    fewer, _ = taken(folder, study_of("abc", space=replace(study.space, orders=("shuffle",), granularity=(128, 256))))
    kept = [n for n, parameters in enumerate(tried) if (parameters["order"], parameters["window"]) == ("shuffle", "128")]
    assert [trial.trial for trial in fewer.trials] == kept and 0 < len(kept) < 12
    assert all("order" not in trial.parameters and trial.parameters["window"] == "128" for trial in fewer.trials)
    assert f"{12 - len(kept)} of its trials, whose order or windows the new study does not search, are left out" in fewer.words
    with pytest.raises(DataError, match="no finished trial that can be taken over"):
        taken(folder, study_of("abc", space=replace(study.space, orders=("shuffle",), granularity=(999,))))


def test_trials_whose_run_is_gone_are_left_out_and_said(old: Path) -> None:
    shutil.rmtree(old / "trial-001-s1-abc")
    prior, _ = taken(old, study_of("abc"))
    assert [trial.trial for trial in prior.trials] == [0, 2, 3]
    assert "1 of its trials, of which no run tells the curriculum, are left out" in prior.words


def test_nothing_in_the_old_folder_is_changed(old: Path) -> None:
    before = {path: path.read_bytes() for path in sorted(old.rglob("*")) if path.is_file()}
    taken(old, study_of("abc"))
    after = {path: path.read_bytes() for path in sorted(old.rglob("*")) if path.is_file() and path.suffix != ".db-shm"}
    assert all(before[path] == content for path, content in after.items())


def test_a_folder_without_a_study_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no study is in"):
        taken(tmp_path, study_of("abc"))


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"dd": ("x", "y")}, r"no stream 'dd' \(did you mean 'd'\?\)|no stream 'dd'"),
        ({"d": ("x", "z")}, "'z' is no stream that the new study added; it added x, y"),
        ({"d": ("a", "y")}, "'a' is no stream that the new study added"),
        ({"d": ("x", "y"), "c": ("x", "y")}, "a part of two old ones"),
    ],
)
def test_splits_that_do_not_fit_are_refused(old: Path, split: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        taken(old, study_of("abxy"), split=split)


def test_what_was_taken_is_fixed_when_the_study_is_begun(old: Path, tmp_path: Path) -> None:
    folder, study = tmp_path / "new", study_of("abcxy")
    split = {"d": ("x", "y")}

    def read(place: Path) -> Prior:
        return prior_evidence(place, study, space_of(study), split=split)

    begun = settled_prior(folder, old, split, read)
    assert begun is not None
    StudyFolder(folder).remember(study, {})
    shutil.rmtree(old)
    assert settled_prior(folder, old, split, read) == settled_prior(folder, None, {}, read) == begun
    with pytest.raises(ChangedError, match=r"was begun with --reuse .*/study-abcd --split d=x,y"):
        settled_prior(folder, old, {}, read)
    with pytest.raises(ChangedError, match="was begun with --reuse"):
        settled_prior(folder, tmp_path / "other", split, read)
    (folder / "reuse.json").write_text("{")
    with pytest.raises(DataError, match=r"reuse\.json is damaged"):
        settled_prior(folder, None, {}, read)


def test_a_study_that_was_begun_without_stays_so(old: Path, tmp_path: Path) -> None:
    def read(place: Path) -> Prior:
        raise AssertionError(place)

    assert settled_prior(tmp_path / "none", None, {}, read) is None
    with pytest.raises(UserError, match="name that study with --reuse"):
        settled_prior(tmp_path / "none", None, {"d": ("x", "y")}, read)
    StudyFolder(tmp_path / "begun").path.mkdir()
    StudyFolder(tmp_path / "begun").remember(study_of("abc"), {})
    with pytest.raises(ChangedError, match="was begun without --reuse"):
        settled_prior(tmp_path / "begun", old, {}, read)


def response(space: SearchSpace, parameters: Parameters) -> float:
    """High where a leads first and b then, whatever else is there."""
    matrix = played(space, parameters)
    lead = [matrix[: SLICES // 2, space.streams.index("a")], matrix[SLICES // 2 :, space.streams.index("b")]]
    return float(np.mean(np.sqrt(np.concatenate(lead))))


def first_values(space: SearchSpace, prior: list[Evidence], seed: int) -> list[float]:
    """Return the values of the surrogate's first ten proposals, each told before the next."""
    proposer, evidence = SurrogateProposer(space, startup=0), list(prior)
    for number in range(10):
        parameters = proposer.propose(number, evidence, seed=keyed_seed("reuse", seed, number))
        evidence.append(Evidence(number=number, parameters=parameters, value=response(space, parameters), excess={}))
    return [trial.value for trial in evidence[-10:] if trial.value is not None]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_with_reuse_the_first_proposals_are_better(tmp_path: Path, seed: int) -> None:
    before, study = study_of("abcd", space=Space(knots=2)), study_of("abce", space=Space(knots=2))
    old_space, space = space_of(before), space_of(study)
    folder = write_old(tmp_path, before, drawn(old_space, 25), lambda parameters: response(old_space, parameters))
    prior = prior_evidence(folder, study, space).evidence()
    knowing, unknowing = first_values(space, prior, seed), first_values(space, [], seed)
    assert np.mean(knowing) > np.mean(unknowing) + 0.05


# The command


FAILING = f"{sys.executable} -c exit(3) {{mix}} {{seed}} {{out}}"
BEFORE = (("name: tiny", "name: before"), ('  facts: {local: "testbed:facts"}\n', ""), (", facts: 2}", "}"))


def begin(folder: Path, storage: str | None = None) -> None:
    """Write the file of a study, and the folder of an older one which had not all of its streams."""
    small = "".join(line for line in STUDY.splitlines(keepends=True) if not line.startswith("controls"))
    (folder / "tiny.yaml").write_text(small)
    for new, old in BEFORE:
        assert new in small
        small = small.replace(new, old)
    (folder / "before.yaml").write_text(small)
    before = load_study(folder / "before.yaml")
    write_old(folder / "runs", before, drawn(space_of(before), 3), value_of, {"final_margin": -0.1}, storage=storage)


def search(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*CURRICULUM, "search", "tiny.yaml", "--budget", "2", "--json", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=500)


def test_the_command_takes_over_what_the_old_study_knows_and_goes_on_without_it(tmp_path: Path) -> None:
    begin(tmp_path)
    done = search(tmp_path, "--workers", "2", "--reuse", "runs/before")
    assert done.returncode == 0, done.stderr
    assert "3 trials of runs/before are taken as evidence" in done.stderr and "facts came" in done.stderr
    taken_over = json.loads((tmp_path / "runs/tiny/reuse.json").read_text())["trials"]
    assert len(taken_over) == 3 and all(0.4 < trial["kept"] <= 0.5 for trial in taken_over)
    document = json.loads(done.stdout)
    assert document["trials"] == 2
    shutil.rmtree(tmp_path / "runs/before")
    again = search(tmp_path)
    assert again.returncode == 0 and what_was_found(json.loads(again.stdout)) == what_was_found(document)


def test_the_command_finds_an_old_study_in_the_database_that_it_is_given(tmp_path: Path) -> None:
    with postgres_server() as server:
        begin(tmp_path, server.url())
        study = tmp_path / "tiny.yaml"
        proxy = next(line for line in study.read_text().splitlines() if line.startswith("proxy"))
        study.write_text(study.read_text().replace(proxy, f'proxy: {{command: "{FAILING}", retries: 0}}'))
        lost = search(tmp_path, "--reuse", "runs/before")
        assert lost.returncode == 2 and "in a database elsewhere? name it with --storage" in lost.stderr
        done = search(tmp_path, "--reuse", "runs/before", "--storage", server.url())
    assert "3 trials of runs/before are taken as evidence" in done.stderr and "exit code 3" in done.stderr
