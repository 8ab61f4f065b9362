"""The three-arm example: its streams are what they say, its arms differ in their own windows alone."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from curriculum.proxy.run import RunRequest
from curriculum.proxy.training import kept_positions

EXAMPLE = Path(__file__).parents[1] / "examples" / "control"


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import streams

    return streams


@pytest.fixture
def arms(streams: ModuleType) -> ModuleType:
    import arms

    return arms


def test_windows_differ_within_streams_and_streams_hardly_from_each_other(streams: ModuleType) -> None:
    truth = streams.truth()
    assert len(truth) == 2 * streams.WINDOWS
    spread = truth.groupby("stream")["general"].agg(["mean", "std"])
    assert (spread["std"] > 0.25).all()
    assert abs(spread["mean"]["web"] - spread["mean"]["books"]) < 0.1
    assert streams.window_shares("web")[0] == pytest.approx(streams.window_shares("web")[0])
    assert not np.allclose(streams.window_shares("web"), streams.window_shares("books"))


def test_samples_are_of_the_sources_that_their_window_says(streams: ModuleType) -> None:
    from curriculum.probe.testbed import MARK

    shares = np.repeat(np.asarray([[0.0, 0.3, 0.0, 0.0, 0.7], [0.6, 0.0, 0.3, 0.1, 0.0]]), 400, axis=0)
    tokens, mask = streams._samples("web", shares, "train")
    assert tokens.shape == mask.shape == (800, 24)
    marked = tokens[:, 0] == MARK.first  # only icl and facts begin with the mark
    assert marked[:400].all()
    assert not marked[400:].any()
    again, _ = streams._samples("web", shares, "train")
    assert (again == tokens).all()
    assert (streams._samples("books", shares, "train")[0] != tokens).any()


def test_arms_have_equal_exposure_and_one_tail(streams: ModuleType, arms: ModuleType) -> None:
    table = streams.truth().rename(columns={"general": "effect"}).assign(consumed=0, held_out=True)
    lists = arms.select_windows(table, share=0.25, pool="held-out")
    played = {
        arm: arms._played(table if arm == "random" else lists[arm], table, 3, arm, arms.TAIL)
        for arm in ("random", "general-only", "shallow-only")
    }
    for arm, windows in played.items():
        counts = windows.groupby("stream").size() * streams.WINDOW
        assert {name: int(count) for name, count in counts.items()} == {"web": 5_120, "books": 2_560}, arm
        assert not windows.duplicated().any()
        for name, own in windows.groupby("stream"):
            common = {"web": 4, "books": 2}[str(name)]
            theirs = played["random"][played["random"]["stream"] == name]
            assert own.tail(common).reset_index(drop=True).equals(theirs.tail(common).reset_index(drop=True))
    general, shallow = (played[arm].merge(table)["effect"].head(6).mean() for arm in ("general-only", "shallow-only"))
    assert general > shallow + 0.5


def test_the_four_readings_are_judged_with_hysteresis_from_the_checkpoint_on(
    streams: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shown

    course = np.full((1, shown.READINGS), 0.1)
    assert shown.later_modes(course, 0.5) == [["general"] * 4]
    assert shown.later_modes(course, -0.5) == [["shallow"] * 4]
    course[0, 7:] = -0.2
    assert shown.later_modes(course, 0.5) == [["general", "shallow", "shallow", "shallow"]]
    assert shown.hops(course, 0.5) == [1]
    assert isinstance(streams.truth(), pd.DataFrame)


@pytest.mark.parametrize(
    ("options", "seed", "position", "name"),
    [([], 0, 15_360, "control"), (["--base-seed", "1", "--checkpoint", "12800"], 1, 12_800, "control-s1-12800")],
)
def test_another_base_run_and_checkpoint_have_results_of_their_own(
    arms: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: list[str], seed: int, position: int, name: str
) -> None:
    specification = spec_from_file_location("control_run", EXAMPLE / "run.py")
    assert specification is not None
    assert specification.loader is not None
    run = module_from_spec(specification)
    specification.loader.exec_module(run)
    asked: list[RunRequest] = []

    def perform(request: RunRequest, runs: Path, *, keep: int) -> SimpleNamespace:
        asked.append(request)
        kept = kept_positions(request.samples, request.recipe.readings, keep)
        assert set(kept) == set(arms.CHECKPOINTS)
        return SimpleNamespace(folder=runs / request.label)

    def grown(base: object, *_: object, tail: float) -> float:
        assert base == arms.Base(run=tmp_path / "runs" / "base", position=position)
        return tail

    monkeypatch.setattr(arms, "perform", perform)
    monkeypatch.setattr(run, "attributed_runs", lambda base, *_: [base.checkpoint])
    monkeypatch.setattr(run, "attribute_runs", lambda runs, _: SimpleNamespace(windows=runs))
    monkeypatch.setattr(run, "grown_arms", grown)
    monkeypatch.setattr(run, "report", lambda *_, command: command)
    monkeypatch.setattr(run, "draw_arms", lambda _, arms, path: path.write_text(str(arms)))
    monkeypatch.setattr(arms, "make_streams", lambda _: None)
    run.main(["--out", str(tmp_path), *options])
    assert [request.seed for request in asked] == [seed]
    assert (tmp_path / f"{name}.md").read_text() == " ".join(["python examples/control/run.py", *options])
    assert (tmp_path / f"{name}.png").exists()
    with pytest.raises(SystemExit):
        run.main(["--out", str(tmp_path), "--checkpoint", "12801"])
