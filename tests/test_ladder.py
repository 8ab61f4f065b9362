"""Ladders: what is made of their numbers, and a whole one at toy sizes, killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from curriculum.commands.ladder import Settings, ladder
from curriculum.errors import DataError, RunError, UserError
from curriculum.mix import Mix, Phase
from curriculum.proxy.recipe import Recipe
from curriculum.proxy.run import RunResult
from curriculum.proxy.sizes import layer_parameters, parse_sizes
from curriculum.report.ladder_chart import shown_pairs
from curriculum.report.ladder_progress import LadderProgress
from curriculum.search.executor import Outcome
from curriculum.search.ladder import Ladder, check_starts, rungs_of
from curriculum.search.ladder_curricula import best_trials
from curriculum.search.runner import request_of
from curriculum.search.study_file import load_study
from curriculum.search.trials import StudyTrials, TrialRecord

STUDY = """\
version: 1
name: tiny
seed: 3
streams:
  arith: {local: "testbed:arith"}
  icl: {local: "testbed:icl"}
  facts: {local: "testbed:facts"}
length: {samples: 256}
exposure_shares: {arith: 1, icl: 1, facts: 2}
proxy: {layers: 1, width: 16, heads: 1, batch: 16, readings: 4}
probes:
  - {name: succession, family: succession, builtin: "testbed:succession", floor: 0.0, items: 16}
controls: {favour: [arith, icl]}
space: {knots: 4, rank: 1}
"""
COMMAND = [sys.executable, "-m", "curriculum.cli", "ladder", "tiny.yaml", "--sizes", "study,10k", "--workers", "1"]


# ---- a whole ladder ----


def run(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*COMMAND, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == code, done.stderr
    return done


def finished(folder: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in (folder / "runs/tiny-ladder").glob("*/run.json")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ladder of 4 + 1 curricula at two sizes that was killed after some runs, and then done to its end with 4 + 2."""
    path = tmp_path_factory.mktemp("ladder")
    (path / "tiny.yaml").write_text(STUDY)
    process = subprocess.Popen([*COMMAND, "--curricula", "1"], cwd=path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        started = time.monotonic()
        while len(finished(path)) < 3:
            assert process.poll() is None and time.monotonic() - started < 400, "the ladder did not begin"
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    (path / "killed.json").write_text(json.dumps(finished(path)))
    (path / "document.json").write_text(run(path, "--curricula", "2", "--json").stdout)
    return path


def document_of(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "document.json").read_text())
    return document


def test_what_was_done_before_the_kill_is_not_trained_again_and_more_curricula_cost_only_themselves(folder: Path) -> None:
    before, after = json.loads((folder / "killed.json").read_text()), finished(folder)
    assert 3 <= len(before) < 24 == len(after)
    assert before.items() <= after.items()


def test_every_size_plays_the_same_curricula_seeds_and_items(folder: Path) -> None:
    document = document_of(folder)
    assert document["curricula"] == ["static", "hold-then-low", "ramp-down", "ramp-up", "random-01", "random-02"]
    played = {"study": set(), "10k": set()}  # type: dict[str, set[tuple[str, str, str]]]
    for row in document["rows"]:
        record = json.loads((folder / "runs/tiny-ladder" / row["run"] / "run.json").read_text())
        mix = Mix.load(folder / "runs/tiny-ladder" / row["run"] / "mix.yaml")
        counts = mix.plan({"arith": 65536, "icl": 65536, "facts": 65536}).counts(0, 256)
        assert counts == {"arith": 64, "icl": 64, "facts": 128}
        played[row["size"]].add((row["curriculum"], mix.fingerprint(), json.dumps([record["items"], record["seed"]])))
    assert played["study"] == played["10k"] and len(played["10k"]) == 12
    assert {json.loads(items)[0][0] for _, _, items in played["10k"]} == {1}  # items that no search has seen


def test_the_document_says_what_was_trained_and_found(folder: Path) -> None:
    document = document_of(folder)
    sizes = {size["name"]: (size["layers"], size["width"], size["learning_rate"]) for size in document["sizes"]}
    assert sizes == {"study": (1, 16, 0.003), "10k": (1, 32, 0.0015)}
    assert document["sizes"][1]["parameters"]["layers"] == 8194
    (pair,) = document["pairs"]
    assert set(pair["measures"]) == {"time_general", "area", "final_margin", "loss"}
    loss = pair["measures"]["loss"]
    table = pd.read_csv(folder / "runs/tiny-ladder/ladder.csv").groupby(["size", "curriculum"])["loss"].mean().unstack()
    ranks = table.rank(axis=1)
    assert loss["spearman"]["value"] == pytest.approx(np.corrcoef(ranks.loc["study"], ranks.loc["10k"])[0, 1], abs=1e-5)
    assert loss["best"] == table.loc["10k"].idxmin() and loss["pick"] == table.loc["study"].idxmin()
    assert {each["curriculum"] for each in document["conclusions"]} == {"hold-then-low", "ramp-down", "ramp-up"}
    assert json.loads((folder / "runs/tiny-ladder/ladder.json").read_text()) == document


def test_words_and_picture_lie_beside_the_numbers(folder: Path) -> None:
    place = folder / "runs/tiny-ladder"
    words = (place / "ladder.md").read_text()
    assert "| study to 10k | area |" in words and "![Curricula at one size against another](ladder.svg)" in words
    picture = (place / "ladder.svg").read_text()
    assert all(text in picture for text in ("hand-made", "random", "static", "at study", "at 10k"))
    assert (place / "ladder.png").stat().st_size > 10_000
    assert shown_pairs(["a", "b", "c"]) == [("a", "b"), ("b", "c"), ("a", "c")]


def test_a_plan_trains_nothing_and_scales_with_the_price(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = finished(folder)
    options = Settings(
        sizes="study,10k,1M", runs=folder / "runs", dry_run=True, device="mine=1e12", utilisation=0.5, price=2.0, curricula=4
    )
    assert ladder(folder / "tiny.yaml", options, as_json=True) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["runs"] == 3 * 8 * 2 and [size["runs"] for size in plan["sizes"]] == [16] * 3
    assert plan["money"] == pytest.approx(2 * sum(size["device_hours"] for size in plan["sizes"]))
    assert plan["sizes"][2]["tokens"] == 256 * 23
    assert ladder(folder / "tiny.yaml", options) == 0
    words = capsys.readouterr().out
    assert "48 runs (8 curricula x 2 seeds a size)" in words and "at 50% of 1e+12 FLOPs a second" in words
    assert finished(folder) == before


def test_faults_are_said_before_anything_is_trained(folder: Path, tmp_path: Path) -> None:
    study = load_study(folder / "tiny.yaml")
    with pytest.raises(UserError, match="add --dry-run"):
        ladder(folder / "tiny.yaml", Settings(sizes="study", price=1.0))
    with pytest.raises(UserError, match="--utilisation is of a device elsewhere"):
        ladder(folder / "tiny.yaml", Settings(sizes="study", dry_run=True, utilisation=0.3))
    with pytest.raises(UserError, match="--utilisation: wanted a share above 0"):
        ladder(folder / "tiny.yaml", Settings(sizes="study", dry_run=True, device="H100", utilisation=0.0))
    with pytest.raises(UserError, match="--device: wanted a number"):
        ladder(folder / "tiny.yaml", Settings(sizes="study", dry_run=True, device="mine=inf"))
    with pytest.raises(UserError, match="--trials: wanted the best 2 trials"):
        (tmp_path / "runs/tiny").mkdir(parents=True)
        (tmp_path / "runs/tiny/study.json").write_text(json.dumps({"study": study.canonical()}))
        Ladder(study, rungs_of(study, parse_sizes("study")), runs=tmp_path / "runs", random=2, seeds=1, trials=2)
    (tmp_path / "tiny-ladder").mkdir()
    (tmp_path / "tiny-ladder/trained.json").write_text("{")
    with pytest.raises(DataError, match=r"trained\.json is damaged"):
        Ladder(study, rungs_of(study, parse_sizes("study")), runs=tmp_path, random=2, seeds=1)
    (tmp_path / "tiny-ladder/trained.json").unlink()
    bare = replace(study, favour=())
    with pytest.raises(UserError, match="at least 3 curricula"):
        Ladder(bare, rungs_of(bare, parse_sizes("study")), runs=tmp_path, random=1, seeds=1)


def test_two_names_of_one_proxy_are_refused(folder: Path) -> None:
    study = load_study(folder / "tiny.yaml")
    own = layer_parameters(study.recipe) * study.recipe.layers
    with pytest.raises(UserError, match=r"study and .* are one proxy .*layers: 1, width: 16"):
        rungs_of(study, parse_sizes(f"study,{own + 1}"))
    with pytest.raises(UserError, match="got 0k, which leaves no parameters"):
        parse_sizes("study,0k")


def test_a_mix_file_is_a_curriculum_of_its_name(folder: Path, tmp_path: Path) -> None:
    study = load_study(folder / "tiny.yaml")
    rungs, runs = rungs_of(study, parse_sizes("study")), folder / "runs"
    streams = list(study.streams)
    assert study.exposure_shares is not None
    mix = study.mix("won", (Phase(until=Decimal(1), weights=study.exposure_shares),))
    replace(mix, samples=2 * study.samples, seed=5).dump(tmp_path / "won.yaml")
    made = Ladder(study, rungs, runs=runs, random=2, seeds=1, mixes=[tmp_path / "won.yaml"])
    assert made.named[-1] == "won" and made.curricula["won"].phases == mix.phases
    assert (made.curricula["won"].samples, made.curricula["won"].seed) == (study.samples, study.seed)
    replace(mix, name="static").dump(tmp_path / "static.yaml")
    with pytest.raises(UserError, match="named 'static', as another"):
        Ladder(study, rungs, runs=runs, random=2, seeds=1, mixes=[tmp_path / "static.yaml"])
    phases = (Phase(until=Decimal(1), weights={streams[0]: Decimal(1)}),)
    replace(mix, streams={streams[0]: mix.streams[streams[0]]}, phases=phases).dump(tmp_path / "won.yaml")
    with pytest.raises(UserError, match="wanted a curriculum of the same streams"):
        Ladder(study, rungs, runs=runs, random=2, seeds=1, mixes=[tmp_path / "won.yaml"])


def test_starts_must_fit_their_size(folder: Path, tmp_path: Path) -> None:
    study = load_study(folder / "tiny.yaml")
    rungs = rungs_of(study, parse_sizes("study,10k"), str(tmp_path / "{size}"))
    assert [rung.recipe.start for rung in rungs] == [tmp_path / "study", tmp_path / "10k"]
    with pytest.raises(DataError, match=r"no checkpoint for size study.*layers: 1, width: 16, heads: 1"):
        check_starts(rungs)
    for name in ("study", "10k"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "proxy.json").write_text('{"layers": 1, "width": 16, "heads": 1}')
    with pytest.raises(DataError, match=r"is of layers: 1, width: 16.*size 10k has layers: 1, width: 32, heads: 2"):
        check_starts(rungs)


def test_the_best_trials_of_a_search_are_those_that_keep_the_constraints(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [folder / "runs/tiny-ladder" / row["run"] for row in document_of(folder)["rows"] if row["size"] == "study"]
    known = [(0.9, 0.1), (0.5, -0.1), (0.7, 0.0), (None, None)]
    records = tuple(
        TrialRecord(
            number=number, name=f"trial-{number}", state="done", values=() if value is None else (value,), excess=excess,
            run=runs[2 * number], phases=Mix.load(runs[2 * number] / "mix.yaml").phases,
        )
        for number, (value, excess) in enumerate(known)
    )  # fmt: skip
    found = StudyTrials(folder=folder, name="tiny", metric="area", streams=(), at_work=None, trials=records)
    monkeypatch.setattr("curriculum.search.ladder_curricula.read_trials", lambda _: found)
    assert list(best_trials(folder, 3)) == ["trial-2", "trial-1", "trial-0"]
    study = load_study(folder / "tiny.yaml")
    made = Ladder(study, rungs_of(study, parse_sizes("study")), runs=folder / "runs", random=0, seeds=1, trials=2)
    assert list(made.curricula)[-2:] == ["trial-2", "trial-1"] == made.named[-2:]
    assert made.curricula["trial-2"].phases == made.curricula["ramp-down"].phases  # what that run played
    with pytest.raises(UserError, match="wanted the best 4 trials"):
        best_trials(folder, 4)


def test_ctrl_c_is_heeded_where_runs_are_waited_for_and_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = load_study(folder / "tiny.yaml")
    with Ladder(study, rungs_of(study, parse_sizes("study,10k")), runs=folder / "runs", random=2, seeds=2) as made:
        made._interrupts._note()
        with pytest.raises(KeyboardInterrupt):
            made.run()

    def interrupted(_: Ladder) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Ladder, "run", interrupted)
    assert ladder(folder / "tiny.yaml", Settings(sizes="study,10k", curricula=2, runs=folder / "runs")) == 130


def test_a_curriculum_with_a_failed_run_is_left_out_but_static_may_not_fail(folder: Path, tmp_path: Path) -> None:
    study = load_study(folder / "tiny.yaml")
    with Ladder(study, rungs_of(study, parse_sizes("study,10k")), runs=folder / "runs", random=2, seeds=2) as made:
        outcomes = made._trained()
        broken = {**outcomes, ("10k", "ramp-up", 1): Outcome(request=made.sample(made.rungs[1]), failure="it diverged")}
        rows, failed = made._measured(broken)
        assert "it diverged" in failed["ramp-up"] and len(rows) == 20
        assert "ramp-up" not in made.tables(rows).named
        with pytest.raises(RunError, match="cannot do without"):
            made._measured({**outcomes, ("study", "static", 0): broken["10k", "ramp-up", 1]})


def test_the_estimate_weighs_sizes_by_their_cost(folder: Path) -> None:
    study = load_study(folder / "tiny.yaml")
    small, large = Recipe(), Recipe(layers=4)
    shown = LadderProgress(Console(quiet=True), {small: 4, large: 4}, {small: 1.0, large: 10.0}, workers=2)
    shown.stage("ladder", 8)
    assert shown.seconds_left() is None
    shown.finished(ended(study, small, seconds=2.0))
    assert shown.seconds_left() == pytest.approx((3 * 2 + 4 * 20) / 2)
    shown.finished(ended(study, large, seconds=8.0))  # measured, it is not ten times as long
    assert shown.seconds_left() == pytest.approx((3 * 2 + 3 * 8) / 2)
    shown.finished(ended(study, large, seconds=100.0, found=True))  # found done: says nothing of today
    assert shown.seconds_left() == pytest.approx((3 * 2 + 2 * 8) / 2)


def ended(study: Any, recipe: Recipe, *, seconds: float, found: bool = False) -> Outcome:
    mix = Mix.load(Path(__file__).parents[1] / "mixes" / "default.yaml")
    result = RunResult(folder=Path(), samples=1, trajectory=None, loss=None, bits=None, seconds=seconds)  # type: ignore[arg-type]
    return Outcome(request=request_of(study, "x", mix, 0, recipe=recipe), result=result, found=found)
