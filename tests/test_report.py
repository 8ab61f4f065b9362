"""`curriculum report`: what is read from a study, its pictures, its curves for TensorBoard, the command."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree

import optuna
import pandas as pd
import pytest
from report_help import BUDGET, made_study, make_study, written_report
from rich.console import Console

from curriculum.cli import cli
from curriculum.commands.run import progress_lines
from curriculum.errors import DataError, UserError
from curriculum.mix import Phase
from curriculum.probe import Reading, Trajectory
from curriculum.report import (
    StudyReport,
    TrialPoint,
    gains_figure,
    importance_figure,
    read_study,
    run_scalars,
    schedule_figure,
    study_drawings,
    trajectory_figure,
    trials_figure,
)
from curriculum.report.effects_chart import draw_effects
from curriculum.report.figures import mode_stays, schedule_points
from curriculum.report.figures_results import ArmPoint, Kind, hover_texts
from curriculum.report.figures_style import Drawing, inline_svg
from curriculum.report.page_words import headline, meaning
from curriculum.search.importance import parameter_importance, parameter_words
from curriculum.search.statistics import Interval

STREAMS = ("web", "math")
RAMP = Phase(until=Decimal("0.4"), weights={"web": 3, "math": 1}, to={"web": 1, "math": 3})
HOLD = Phase(until=Decimal(1), weights={"math": 1})


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_study(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def report(study: Path) -> StudyReport:
    return read_study(study)


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> StudyReport:
    return read_study(make_study(tmp_path_factory.mktemp("unfinished"), until="candidates"))


def copy_of(study: Path, to: Path) -> Path:
    return Path(shutil.copytree(study, to / study.name))


# What is read


def test_the_verdicts_numbers_come_out_of_the_runs_again(report: StudyReport) -> None:
    assert report.result is not None and report.missing == ()
    claimed = [*report.result["finalists"], *report.result["controls"]]
    assert {arm.name for arm in report.arms} == {arm["name"] for arm in claimed} >= {"static", "shuffled", "reversed"}
    assert report.arms[0].name == report.result["leader"] and [arm.agrees for arm in report.arms] == [True] * len(claimed)
    for arm in report.arms:
        assert arm.time_general is not None and arm.claimed is not None and len(arm.runs) == arm.claimed["pairs"] == 10
        shown = {"mean": arm.time_general.mean, "low": arm.time_general.low, "high": arm.time_general.high}
        assert shown == pytest.approx(arm.claimed["time_general"], abs=2e-6)
    assert replace(report.arms[0], runs=2 * report.arms[0].runs).agrees is False  # the same mean of other runs
    others = tuple(replace(run, losses={name: loss + 1e-3 for name, loss in run.losses.items()}) for run in report.arms[0].runs)
    assert replace(report.arms[0], runs=others).agrees is False  # the same modes at another loss
    assert len(report.trials.trials) == BUDGET and all(report.run_of(trial) for trial in report.trials.trials)


def test_everyone_is_counted_the_same_samples(report: StudyReport) -> None:
    exposures = [report.exposure(arm) for arm in report.arms]
    assert exposures == [{"arith": 400, "icl": 400, "<facts> & more": 800}] * len(report.arms)


def test_a_lost_run_is_said_and_changes_no_claim(study: Path, tmp_path: Path) -> None:
    copied = copy_of(study, tmp_path)
    shutil.rmtree(next(copied.glob("proof-static-*")))
    shutil.rmtree(next(copied.glob("trial-003-*")))
    found = read_study(copied)
    static = next(arm for arm in found.arms if arm.name == "static")
    assert static.agrees is False and len(static.runs) == 9
    assert any("static: the verdict rests on 10 runs" in words for words in found.missing)
    assert any("Trial 3 ended, but its run folder" in words for words in found.missing)


def test_runs_of_an_earlier_leaders_controls_are_told_apart(study: Path, tmp_path: Path) -> None:
    copied = copy_of(study, tmp_path)
    for old in copied.glob("controls-shuffled-*"):  # as if another leader had been reversed under that name before
        other = Path(shutil.copytree(old, old.with_name(f"{old.name}x")))
        mix = (other / "mix.yaml").read_text().replace("until: 1,", "until: 0.99,")
        (other / "mix.yaml").write_text(mix + "  - {until: 1, weights: {arith: 1}}\n")
    found = read_study(copied)
    assert len(list(copied.glob("controls-shuffled-*"))) == 20 and found.missing == ()


def test_an_unfinished_study_says_so(unfinished: StudyReport) -> None:
    assert unfinished.result is None and unfinished.arms == () and meaning(unfinished) == []
    assert headline(unfinished) == "No verdict yet: the study is not finished."
    assert f"{BUDGET} of {BUDGET} trials begun have ended" in unfinished.missing[0]
    assert [arm.name for arm in unfinished.featured][1] == "static"  # beside the best trial so far
    assert {drawing.name for drawing in study_drawings(unfinished)} >= {"schedules", "trials", "importance"}


def test_words_follow_the_verdict(report: StudyReport) -> None:
    assert report.result is not None
    words = " ".join(meaning(report))
    assert str(report.result["best_hand_made"]) in words and "final margin" in words
    kinds = {"winner": "Winner", "transient": "Transient", "tie": "Tie", "none": "None"}
    assert headline(report).startswith(kinds[report.result["verdict"]])


def test_a_rule_of_thumb_that_does_as_well_is_named(report: StudyReport) -> None:
    better, level = {"mean": 0.2, "low": 0.1, "high": 0.3}, {"mean": 0.0, "low": -0.1, "high": 0.1}
    few = {"mean": 0.2, "low": None, "high": None}

    def against(gain: dict[str, float | None]) -> str:
        result = {**(report.result or {}), "verdict": "winner", "best_hand_made": "ramp-up", "gain_over_best_hand_made": gain}
        return meaning(replace(report, result=result))[0]

    assert "ramp-up" in against(better) and against(better).endswith("the search found more than a rule of thumb.")
    assert against(level).endswith("the search found nothing that this rule of thumb does not give.")
    assert against(few).endswith("the pairs are too few to compare them.")


def test_a_damaged_verdict_is_the_users_to_mend(study: Path, tmp_path: Path) -> None:
    copied = copy_of(study, tmp_path)
    (copied / "result.json").write_text('{"verdict": "winner"')
    with pytest.raises(DataError, match=r"result\.json is damaged.*run the same search again"):
        read_study(copied)


def test_a_proof_that_was_broken_off_is_shown_and_claims_nothing(study: Path, tmp_path: Path) -> None:
    copied = copy_of(study, tmp_path)
    (copied / "result.json").unlink()
    found = read_study(copied)
    assert "nothing may be claimed" in found.missing[1] and meaning(found) == []
    assert {arm.role for arm in found.arms} == {"finalist", "control"} and found.featured[0].role == "finalist"
    assert [arm.agrees for arm in found.arms] == [None] * len(found.arms)
    drawings = {drawing.name: drawing for drawing in study_drawings(found)}
    legend = [text.get_text() for text in drawings["trials"].figure.legends[0].get_texts()]
    assert "gains" not in drawings and legend[-2:] == ["finalist (95 %)", "control (95 %)"]


# Importance


def test_the_parameter_that_decides_comes_first(tmp_path: Path) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    (tmp_path / "made").mkdir()
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'made/study.db'}")
    found = optuna.create_study(storage=storage, study_name="made", sampler=optuna.samplers.RandomSampler(0))
    assert parameter_importance(tmp_path / "made") == {}
    for _ in range(40):
        trial = found.ask()
        values = [trial.suggest_float(name, 0, 1) for name in ("time_0_0", "stream_0_math", "switch")]
        found.tell(trial, values[1])
    storage.engine.dispose()
    importance = parameter_importance(tmp_path / "made")
    assert next(iter(importance)) == "stream: math" and importance["stream: math"] > 0.8
    assert set(importance) == {"time: part 1", "stream: math", "switch"} and sum(importance.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("time_1_2", "time: part 3 (term 2)"),
        ("stream_0_a_b", "stream: a_b"),
        ("u_3_web", "web in part 4"),
        ("base_web", "web throughout"),
        ("window", "window"),
    ],
)
def test_parameters_have_words(name: str, words: str) -> None:
    assert parameter_words(name) == words


# Pictures


def test_a_schedule_is_drawn_as_it_is_played() -> None:
    ends, shares = schedule_points((RAMP, HOLD), STREAMS)
    assert ends.tolist() == [0, 0.4, 0.4, 1]
    assert shares.tolist() == [[0.75, 0.25], [0.25, 0.75], [0, 1], [0, 1]]
    figure = schedule_figure({"one": (RAMP, HOLD), "two": (HOLD,)}, STREAMS)
    axes = [ax for ax in figure.axes if ax.get_title(loc="left")]
    assert [ax.get_title(loc="left") for ax in axes] == ["one", "two"]
    web = axes[0].collections[0].get_paths()[0].vertices
    assert {(x, round(y, 6)) for x, y in web.tolist()} >= {(0, 0.25), (0.4, 0.75), (0.4, 1.0)}


def test_hops_are_marked_where_the_new_mode_begins() -> None:
    margins = [(0.1, False), (0.5, True), (-0.5, True), (0.0, False), (-0.6, True), (0.0, False), (0.6, True), (0.7, True)]
    figure = trajectory_figure({"mine": [trajectory(margins)]}, "p", burn_in=0.2)
    marks = [line for ax in figure.axes for line in ax.lines if line.get_marker() in ("^", "v")]
    assert [(line.get_marker(), round(float(line.get_xdata()[0]), 3)) for line in marks] == [("v", 0.25), ("^", 0.75)]
    assert mode_stays([0.5, 0.8, 1.0], ["general", "general", "shallow"]) == [("general", 0.0, 0.8), ("shallow", 0.8, 1.0)]


def test_a_probe_that_no_run_was_asked_is_an_error_that_names_those_there_are() -> None:
    runs = {"mine": [trajectory([(0.1, False)])], "none": []}
    with pytest.raises(UserError, match=r"no run was asked the probe 'pp' \(did you mean 'p'\?\); their probes: p"):
        trajectory_figure(runs, "pp")
    with pytest.raises(UserError, match="no readings at all"):
        trajectory_figure({"none": []}, "p")


def trajectory(margins: Sequence[tuple[float, bool]]) -> Trajectory:
    known = {"probe": "p", "family": "f", "accuracy": 0.5, "low": -1.0, "high": 1.0, "control_margin": 0.5}
    readings = [Reading(**known, margin=margin, capable=capable) for margin, capable in margins]  # type: ignore[arg-type]
    return Trajectory.of((100 * step, step, reading) for step, reading in enumerate(readings, start=1))


def test_what_a_picture_says_is_what_it_was_given() -> None:
    kinds: tuple[Kind, ...] = ("kept", "kept", "broken", "stopped")
    trials = [
        TrialPoint(name=f"trial-{number}", loss=1.2349 + number, value=0.1239, kind=kind) for number, kind in enumerate(kinds)
    ]
    hover = hover_texts(trials)
    words = "gain -0.008 [-0.013, 0.156] of #1b1c1e"
    drawing = Drawing(name="t", title="t", description=words, figure=trials_figure(trials), hover=hover)
    root = ElementTree.fromstring(inline_svg(drawing, "here"))
    titles = [title.text or "" for use in root.iter() for title in use if title.tag.endswith("title") and use is not root]
    assert sorted(titles) == sorted(text for texts in hover.values() for text in texts) and len(titles) == 4
    assert "time general 0.124, mean loss 1.235" in titles[0] and words in [element.text for element in root.iter()]
    names = {"$\\nothing$": 0.5, "v1.2345": 0.3, "a$b$c": 0.2}
    svg = inline_svg(Drawing(name="i", title="i", description="i", figure=importance_figure(names)), "there")
    assert set(names) <= {element.text for element in ElementTree.fromstring(svg).iter()}


def test_effects_of_streams_of_any_name_are_drawn(tmp_path: Path) -> None:
    windows = pd.DataFrame({"stream": ["$\\nothing$", "b"], "effect": [0.1, 0.2], "low": [0.0, 0.1], "high": [0.2, 0.3]})
    windows["known"] = [0.0, 0.1]
    draw_effects(windows, tmp_path / "effects.svg")
    assert (tmp_path / "effects.svg").stat().st_size > 1000


def test_points_stand_at_their_numbers_and_kinds_look_different() -> None:
    kinds = {"a": "kept", "b": "broken", "c": "stopped"}
    points = [
        TrialPoint(name=name, loss=1.0 + index, value=0.25 * index, kind=kind)  # type: ignore[arg-type]
        for index, (name, kind) in enumerate(kinds.items())
    ]
    ax = trials_figure(points).axes[0]
    shown = {collection.get_gid(): collection.get_offsets().tolist() for collection in ax.collections}
    assert shown == {"trials-kept": [[1.0, 0.0]], "trials-broken": [[2.0, 0.25]], "trials-stopped": [[3.0, 0.5]]}
    without = [TrialPoint(name="a", loss=None, value=0.5, kind="kept"), points[0]]
    assert "order" not in trials_figure([without[0]]).axes[0].get_xlabel()
    assert trials_figure([without[0]]).axes[0].get_xlabel().startswith("trial")


def test_a_gain_without_an_interval_is_a_hollow_point() -> None:
    sure, unsure = Interval(mean=0.1, low=0.05, high=0.15), Interval(mean=0.1, low=float("-inf"), high=float("inf"))
    arms = [
        ArmPoint(name=str(number), role="finalist", loss=None, value=sure, gain=gain)
        for number, gain in enumerate((sure, unsure, None))
    ]
    lines = gains_figure(arms, "area").axes[0].lines
    bars = [line for line in lines if list(line.get_xdata()) == [0.05, 0.15]]
    faces = [line.get_markerfacecolor() for line in lines if line.get_marker() == "o"]
    assert len(bars) == 1 and len(faces) == 2 and faces[0] != faces[1]


def test_few_bars_of_importance_stand_for_all() -> None:
    bars = importance_figure({f"p{number}": 1 / 20 for number in range(20)}).axes[0].patches
    assert len(bars) == 17 and sum(bar.get_width() for bar in bars) == pytest.approx(1)


def test_every_picture_of_a_study_has_words(report: StudyReport) -> None:
    drawings = study_drawings(report)
    names = [drawing.name for drawing in drawings]
    trajectories = ["trajectory-01-succession", "trajectory-02-flipped"]
    assert names == ["gains", "schedules", *trajectories, "trials", "importance"]
    assert all(len(drawing.description) > 60 and drawing.title for drawing in drawings)
    trials = next(drawing for drawing in drawings if drawing.name == "trials")
    assert sum(len(texts) for texts in trials.hover.values()) == BUDGET


# Curves for TensorBoard


def test_curves_are_the_runs_and_are_written_once(report: StudyReport, tmp_path: Path) -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from curriculum.proxy.run import load_run

    result = load_run(report.runs[0].folder)
    assert result is not None and run_scalars.write_scalars(result, tmp_path)
    assert not run_scalars.write_scalars(result, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [result.folder.name]
    events = accumulators.EventAccumulator(str(tmp_path / result.folder.name))
    events.Reload()
    readings = result.trajectory.table[result.trajectory.table["probe"] == "flipped"]
    margins = [(event.step, event.value) for event in events.Scalars("probe/flipped/margin")]
    assert margins == [(step, pytest.approx(value)) for step, value in zip(readings["step"], readings["margin"], strict=True)]
    modes = {1.0: "general", 0.0: "unformed", -1.0: "shallow"}
    assert [modes[event.value] for event in events.Scalars("probe/flipped/mode")] == list(readings["mode"])
    assert [event.step for event in events.Scalars("loss/arith")] == [50, 100]


def test_a_missing_tensorboard_is_said_before_anything_is_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run_scalars, "find_spec", lambda _: None)
    (tmp_path / "mine.yaml").write_text("not read")
    with pytest.raises(UserError, match=r"pip install 'curriculum\[tensorboard\]'"):
        cli(["run", str(tmp_path / "mine.yaml"), "--tensorboard", str(tmp_path)], standalone_mode=False)
    with pytest.raises(UserError, match="tensorboard"):
        cli(["report", str(tmp_path), "--tensorboard", str(tmp_path)], standalone_mode=False)


# The command


def test_the_command_writes_page_pictures_and_curves(study: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    pytest.importorskip("tensorboard")
    written = written_report(tmp_path_factory.getbasetemp())
    page, figures = written / "new" / "page.html", written / "figures"
    assert str(page) in (written / "done").read_text().splitlines() and page.read_text().startswith("<!DOCTYPE html>")
    assert {path.suffix for path in figures.iterdir()} == {".svg", ".png"} and len(list(figures.iterdir())) == 12
    assert (figures / "gains.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((written / "curves").iterdir())) == len(list(study.glob("*/run.json")))


def test_without_a_study_the_command_says_what_there_is(study: Path) -> None:
    with pytest.raises(DataError, match="there are made"):
        cli(["report", "other", "--runs", str(study.parent)], standalone_mode=False)


def test_tables_in_the_terminal_cost_no_matplotlib() -> None:
    code = (
        "import sys, curriculum.report, curriculum.report.trials_table, curriculum.report.exposure\n"
        "from curriculum.report import schedule_figure\n"
        "assert not {'matplotlib', 'jinja2', 'torch'} & set(sys.modules), 'imported'\n"
        "assert not hasattr(curriculum.report, 'nothing')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_run_in_a_pipe_says_how_far_it_is_now_and_then() -> None:
    times, said = iter([0.0, 5.0, 16.0, 20.0]), io.StringIO()
    observe = progress_lines(Console(file=said, width=30), 1000, clock=lambda: next(times))
    for position in (100, 200, 500, 1000):
        observe(position)
    lines = ["100 of 1,000 samples", "500 of 1,000 samples, 20 s left", "1,000 of 1,000 samples"]
    assert said.getvalue().splitlines() == [f"training: {line}" for line in lines]
