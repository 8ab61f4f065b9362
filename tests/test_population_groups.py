"""Who is trained with whom: settled by the order of asking, part of what a run is, the same on every machine."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from workers_help import quick_name, request

from curriculum.errors import FileError, ResourceError
from curriculum.proxy.population_groups import Population, in_populations
from curriculum.proxy.run import RunRequest
from curriculum.search import populations as module
from curriculum.search.populations import Populations, settle, unused_gpu
from curriculum.search.study import Study
from curriculum.search.study_file import default_study, load_study


def test_with_whom_and_where_a_run_is_trained_is_part_of_its_id() -> None:
    alone = [request(seed) for seed in (1, 2, 3)]
    pair = in_populations(alone[:2], 2)
    others = in_populations([alone[0], alone[2]], 2)
    gpu = in_populations(alone[:2], 2, "cuda")
    single = in_populations(alone[:1], 8, "cuda")
    ids = {each[0].run_id() for each in (alone, pair, others, gpu, single)}
    assert len(ids) == 5 and all(name.startswith("r-s1-") for name in ids)
    assert in_populations(alone[:1], 8) == alone[:1], "alone on a CPU it is the run that it always was"
    assert pair[0].identity()["trained_with"] == {"device": "cpu", "members": [each.run_id() for each in alone[:2]]}
    assert "trained_with" not in alone[0].identity()
    travelled = pickle.loads(pickle.dumps(pair))
    assert [each.run_id() for each in travelled] == [each.run_id() for each in pair]
    assert [each.population for each in pair[0].population.requests()] == [pair[0].population] * 2  # type: ignore[union-attr]


@settings(max_examples=50)
@given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 9))
def test_neighbours_are_together_in_groups_as_equal_as_can_be(seeds: list[int], size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunRequest, "run_id", quick_name)
        found = in_populations([request(seed) for seed in seeds], size)
    assert [each.seed for each in found] == seeds
    groups: list[tuple[int, ...]] = []
    for each in found:
        members = (each,) if each.population is None else each.population.members
        group = tuple(member.seed for member in members)
        assert each.seed in group
        if group not in groups:
            groups.append(group)
    distinct = list(dict.fromkeys(seeds))
    assert [seed for group in groups for seed in group] == distinct, "in the order of asking, each once"
    assert len(groups) == -(-len(distinct) // size)
    assert not groups or max(map(len, groups)) - min(map(len, groups)) <= 1


def test_a_run_is_named_without_torch() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import workers_help as help\n"
        "from curriculum.proxy.population_groups import in_populations\n"
        "print(in_populations([help.request(1), help.request(2)], 2)[0].run_id(), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent)], capture_output=True, text=True, check=True)
    name, imported = done.stdout.split()
    assert name == in_populations([request(1), request(2)], 2)[0].run_id() and imported == "False"


# A study's.


def study_with(tmp_path: Path, *changes: tuple[str, str]) -> Study:
    text = default_study().read_text()
    for old, new in (("readings: 20}", "readings: 20, population: 8}"), *changes):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "study.yaml").write_text(text)
    return load_study(tmp_path / "study.yaml")


@pytest.fixture(params=[False, True], ids=["cpu", "gpu"])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(module, "_has_gpu", lambda: request.param)
    return bool(request.param)


def test_a_study_of_single_runs_is_what_it_was_and_asks_for_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_has_gpu", None)
    study = load_study()
    assert study.population == 1 and "population" not in study.canonical()
    assert settle(study, None) == settle(study, {}) == Populations() and Populations().as_json() == {}
    assert Populations().grouped([request(1)]) == [request(1)] and Populations().words() == ""


def test_populations_are_as_the_study_says_and_as_the_machine_is(tmp_path: Path, gpu: bool) -> None:
    study = study_with(tmp_path)
    assert study.population == 8 and study.canonical()["population"] == 8
    found = settle(study, None)
    assert found == (Populations(size=8, device="cuda", trials=4) if gpu else Populations(size=8))
    auto = study_with(tmp_path, ("population: 8", "population: auto"))
    assert settle(auto, None) == (Populations(size=64, device="cuda", trials=4) if gpu else Populations())
    for change in (("finalists: 2", "pruner: percentile-75, finalists: 2"), ("layers: 2", "layers: 2, experts: 4")):
        hindered = study_with(tmp_path, ("population: 8", "population: auto"), change)
        assert settle(hindered, None) == Populations()


def test_how_it_was_begun_is_how_it_goes_on(tmp_path: Path, gpu: bool) -> None:
    study = study_with(tmp_path, ("population: 8", "population: auto"))
    begun = Populations(size=8, trials=2)
    assert settle(study, begun.as_json()) == begun and settle(study, {}) == Populations()
    elsewhere = Populations(size=64, device="cuda", trials=4).as_json()
    if gpu:
        assert settle(study, elsewhere).as_json() == elsewhere
        return
    with pytest.raises(ResourceError, match="begun on a GPU"):
        settle(study, elsewhere)


def test_a_gpu_is_for_one_process_and_a_cpu_for_one_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    assert (Populations(device="cuda").workers(), Populations(size=8).workers()) == (1, 6)
    alone = Populations(device="cuda").grouped([request(1)])[0].population
    assert alone == Population(members=(request(1),), device="cuda"), "on a GPU a single run is a population of one"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("population: 8", "population: 0", "wanted"),
        ("population: 8", "population: many", "wanted"),
        ("layers: 2", "layers: 2, experts: 4", "mixture of experts cannot be trained in a population"),
        ("finalists: 2", "pruner: percentile-75, finalists: 2", "none can be stopped early"),
    ],
)
def test_what_cannot_be_batched_is_refused_with_its_line(tmp_path: Path, old: str, new: str, reason: str) -> None:
    with pytest.raises(FileError, match=rf"study.yaml:\d+: .*{reason}"):
        study_with(tmp_path, (old, new))


def test_one_that_was_begun_single_does_not_become_a_population(tmp_path: Path) -> None:
    single, grouped = load_study(), study_with(tmp_path)
    assert replace(grouped, population=1).canonical() == replace(single, path=grouped.path).canonical()


def test_a_gpu_that_a_study_leaves_unused_is_told_of_once(gpu: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    single, device = load_study(), tmp_path / "nvidiactl"
    monkeypatch.setattr(module, "_GPU_DEVICES", (str(device),))
    assert unused_gpu(single, None) == "", "torch, which takes seconds, is not asked where there is no device"
    device.touch()
    assert bool(unused_gpu(single, None)) == gpu
    assert unused_gpu(single, {}) == "", "it cannot be changed any more"
    assert unused_gpu(study_with(tmp_path, ("population: 8", "population: auto")), None) == ""
