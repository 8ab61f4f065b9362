"""The three arms on text: items graded, windows held out, arms and groups alike but for their windows, and all of it, tiny."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from curriculum.attribution import branches
from curriculum.attribution.branches import Growing
from curriculum.attribution.consumption import consumption, sizes_of
from curriculum.mix import Mix, Phase, Stream
from curriculum.probe.specification import ProbeSpecification
from curriculum.proxy.recipe import Recipe
from curriculum.proxy.run import RunRequest, RunResult, perform
from curriculum.streaming.mds import write_stream

EXAMPLE = Path(__file__).parents[1] / "examples" / "natural_control"
DOMAINS, WINDOW, WINDOWS, TIME, VOCABULARY = ("east", "west"), 8, 32, 16, 40
RECIPE = Recipe(layers=1, width=16, heads=2, batch=8, learning_rate=0.01, readings=4)


@pytest.fixture
def natural(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import natural_arms

    return natural_arms


@pytest.fixture
def stage(natural: ModuleType, tmp_path: Path) -> object:
    return make_stage(tmp_path)


def make_stage(folder: Path) -> object:
    """Two stand-ins for domains, whose windows differ in how often a sample repeats itself; a model that saw them a little."""
    from natural_stage import Scale, Stage, graded_probes

    paths = {name: write_domain(folder / "data" / name, seed) for seed, name in enumerate(DOMAINS)}
    probes = graded_probes(write_items(folder / "natural.jsonl"), folder / "probes", len(DOMAINS), items=8)
    scale = Scale(
        window=WINDOW, settling=64, settling_readings=2, runs=2, samples=128, attributed_readings=16, length=128, readings=8,
        seeds=2, groups=3, branch_seeds=2, share=0.5, tail=0.5, items=8,
    )  # fmt: skip
    return Stage(folder=folder, streams=paths, probes=probes, warm=warmed(folder, paths, probes), recipe=RECIPE, scale=scale)


def write_domain(folder: Path, seed: int) -> Path:
    random = np.random.default_rng(seed)
    tokens = random.integers(1, 20, (WINDOWS * WINDOW, TIME))
    repeats = np.repeat(random.random(WINDOWS), WINDOW) > random.random(len(tokens))
    tokens[repeats, TIME // 2 :] = tokens[repeats, : TIME // 2]
    write_stream(folder, {"tokens": tokens.astype(np.uint8)})
    write_stream(folder / "heldout", {"tokens": tokens[:32].astype(np.uint8)})
    manifest = {"samples": len(tokens), "tokens_per_sample": TIME, "vocabulary": VOCABULARY}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def write_items(path: Path) -> Path:
    """Items of two domains in turn: in the first one the token stood 2 to 5 back, in the second 6 to 9. 0 and 39 never come."""
    rows, controls = [], []
    for number in range(64):
        back = 2 + number // 2 % 4 + 4 * (number % 2)
        prompt = [10] * 12
        prompt[-1] = prompt[-1 - back] = 1 + number % 9
        rows.append({"split": "test", "prompt": prompt, "correct_answer": [10], "incorrect_answer": [15]})
        controls.append({"split": "test", "prompt": prompt, "correct_answer": [10], "incorrect_answer": [39]})
    for name, content in ((path, rows), (path.with_name("natural-control.jsonl"), controls)):
        name.write_text("".join(json.dumps(row) + "\n" for row in content))
    return path


def warmed(folder: Path, paths: dict[str, Path], probes: tuple[ProbeSpecification, ...]) -> Path:
    streams = {name: Stream(local=str(path)) for name, path in paths.items()}
    mix = Mix(
        name="warm", streams=streams, phases=(Phase(until=Decimal(1), weights=dict.fromkeys(streams, Decimal(1))),), samples=256
    )
    request = RunRequest(label="warm", mix=mix, seed=0, samples=256, recipe=RECIPE, probes=probes)
    return perform(request, folder / "runs", keep=1).folder / "checkpoints" / "256"


def told(windows: pd.DataFrame) -> pd.DataFrame:
    """Windows with effects and scores that say different things."""
    numbers = np.arange(len(windows))
    return windows.assign(effect=np.sin(numbers), score=np.cos(3 * numbers), consumed=0, held_out=True)


def test_items_are_graded_by_how_far_back_the_answer_stands_in_every_domain_alike(natural: ModuleType, tmp_path: Path) -> None:
    from natural_stage import distance, graded_probes

    graded = graded_probes(write_items(tmp_path / "natural.jsonl"), tmp_path / "probes", 2, 8)
    rows = [[json.loads(line)["prompt"] for line in (tmp_path / "probes" / f"{probe.name}.jsonl").open()] for probe in graded]
    assert [sorted({distance(prompt) for prompt in prompts}) for prompts in rows] == [[2, 3, 6, 7], [4, 5, 8, 9]]
    assert len(rows[0]) == len(rows[1]) == 32
    assert {probe.control for probe in graded} == {tmp_path / "natural-control.jsonl"}
    assert {probe.family for probe in graded} == {"natural"}


def test_what_is_attributed_never_plays_a_held_out_window(stage) -> None:  # type: ignore[no-untyped-def]
    assert len(stage.held_out) == len(stage.played) == len(DOMAINS) * WINDOWS // 2
    assert stage.held_out.merge(stage.played).empty
    orders = []
    assert stage.base in stage.attributed_request(0).recipe.start.parents
    for seed in (0, 1):
        request = stage.attributed_request(seed)
        plan = request.played_mix().plan(sizes_of(request.mix))
        consumed = consumption(plan, [request.samples])[["stream", "start", "stop"]]
        assert consumed.merge(stage.held_out).empty
        assert len(consumed.merge(stage.played)) == len(consumed) == request.samples // WINDOW
        orders.append(set(consumed.itertuples(index=False, name=None)))
    assert orders[0] != orders[1]


def test_arms_differ_in_their_own_windows_alone(natural: ModuleType, stage) -> None:  # type: ignore[no-untyped-def]
    windows = told(stage.held_out)
    lists = natural.select_windows(windows, share=0.5)
    pools = {"random": windows, "general-only": lists["general-only"], "shallow-only": lists["shallow-only"]}
    played = {arm: natural.played(stage, pool, windows, 3, arm, 0.5) for arm, pool in pools.items()}
    for arm, own in played.items():
        assert dict(own.groupby("stream").size()) == dict.fromkeys(DOMAINS, 8), arm
        assert not own.duplicated().any()
        for name in DOMAINS:
            tails = [each[each["stream"] == name].tail(4).reset_index(drop=True) for each in (own, played["random"])]
            assert tails[0].equals(tails[1])
    effects = {arm: own.merge(windows).groupby("stream").head(4)["effect"].mean() for arm, own in played.items()}
    assert effects["general-only"] > effects["random"] + 0.2 > effects["shallow-only"] + 0.4


def test_groups_are_by_effect_and_by_score_every_domain_giving_as_many(natural: ModuleType, stage) -> None:  # type: ignore[no-untyped-def]
    windows = told(stage.held_out)
    sets = natural.groups(stage, windows)
    assert list(sets) == ["effect-1", "effect-2", "effect-3", "score-1", "score-2", "score-3"]
    assert all(dict(own.groupby("stream").size()) == dict.fromkeys(DOMAINS, 5) for own in sets.values())
    for kind in natural.KINDS:
        said = natural.foretold(windows, sets, kind)
        own = [said[name] for name in sets if name.startswith(kind)]
        assert own == sorted(own)
        assert own[-1] > own[0] + 1


def test_half_of_the_domains_is_chosen_by_pull(natural: ModuleType, stage) -> None:  # type: ignore[no-untyped-def]
    weights = {
        half: natural.of_half(stage.mix, {"east": 0.2, "west": 0.4}, half).phases[0].weights for half in ("upper", "lower")
    }
    assert {half: {name: int(weight) for name, weight in own.items()} for half, own in weights.items()} == {
        "upper": {"east": 0, "west": 1},
        "lower": {"east": 1, "west": 0},
    }


def test_readings_are_judged_with_hysteresis_from_the_checkpoint_on(natural: ModuleType) -> None:
    from natural_shown import general

    course = np.asarray([[0.1, 0.2, 0.1, -0.2, 0.1], [0.1] * 5])
    assert general(course, 0.1).tolist() == [[False, True, True, False, False], [False] * 5]
    assert general(course, 0.3).tolist() == [[True, True, True, False, False], [True] * 5]


def test_all_of_it_tiny_and_once_only(natural: ModuleType, stage, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    from natural_experiment import experiment
    from natural_shown import draw, report

    trained: list[bool] = []
    played: dict[str, str] = {}

    def here(requests: Sequence[RunRequest], growing: Growing, folder: Path) -> list[RunResult]:
        trained.extend(not (folder / request.run_id() / "run.json").exists() for request in requests)
        played.update({request.run_id(): str(request.mix.streams["east"].order.listed) for request in requests})
        return [perform(request, folder) for request in requests]

    monkeypatch.setattr(natural, "trained", here)
    monkeypatch.setattr(branches, "trained", here)
    results = experiment(stage, workers=1)
    assert len(trained) == 2 + 2 * 9 + 12 and all(trained)
    assert len(set(played.values())) == len(played), "two runs share a list, so that one of them is overwritten"
    trained.clear()
    text = report(stage, experiment(stage, workers=1))
    assert not any(trained)
    assert text == report(stage, results)
    assert (results.windows["consumed"] == 0).all() and results.windows["effect"].notna().all()
    for arm in natural.ARMS:
        assert f"| {arm} |" in text
    draw(stage, results, stage.folder / "picture.png")
    assert (stage.folder / "picture.png").stat().st_size > 10_000
