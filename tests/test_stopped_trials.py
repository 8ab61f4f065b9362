"""Trials that the pruner stopped: told from whole ones, and without numbers that only a whole run has."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import optuna
import pytest
from test_trials import call, request, shown

from curriculum.proxy.run import RunResult, perform
from curriculum.proxy.stopping import StopRule
from curriculum.report import read_study, render, study_drawings
from curriculum.report.figures_style import WIDE
from curriculum.report.trials_table import best_trial
from curriculum.search.reuse import prior_evidence
from curriculum.search.space import SearchSpace
from curriculum.search.study_file import load_study
from curriculum.search.trials import read_trials

STOPPED_AT = 64


def stopped(root: Path) -> RunResult:
    """Trial 2 as the pruner leaves it: half played, told with what that foretells and with its elders' mean excess."""
    study = load_study(root / "tiny.yaml")
    rule = StopRule(limits=((STOPPED_AT, 2.0),), metric="time_general", start=39, weights={"flipped": 1.0})
    result = perform(replace(request(study, 2), seed=5, stop=rule), root / "runs/tiny")
    storage = optuna.storages.RDBStorage(f"sqlite:///{root / 'runs/tiny/study.db'}")
    found = optuna.load_study(storage=storage, study_name="tiny")
    trial = optuna.trial.Trial(found, found.trials[2]._trial_id)
    trial.set_user_attr("run", result.folder.name)
    trial.set_constraint("loss_facts", -0.5)
    found.tell(2, 0.875)
    storage.engine.dispose()
    return result


def test_a_stopped_trial_is_not_shown_as_a_whole_one(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = stopped(root)
    assert result.stopped == STOPPED_AT
    trials = read_trials(root / "runs/tiny").trials
    assert [trial.state for trial in trials] == ["done", "failed", "stopped", "waiting"]
    assert (trials[2].foretold, trials[2].stopped, trials[2].value, trials[2].feasible) == (0.875, STOPPED_AT, None, None)
    assert trials[2].run == result.folder and trials[2].phases and best_trial(trials) is trials[0]
    assert call("trials", "tiny", "--json", "--sort", "value") == 0
    found = json.loads(capsys.readouterr().out)["trials"]
    assert found[0]["number"] == 0 and found[0]["stopped"] is None
    told = next(trial for trial in found if trial["number"] == 2)
    unknown = ("value", "time_general", "area", "final_margin", "worst_constraint", "excess", "feasible")
    assert told["state"] == "stopped" and all(told[name] is None for name in unknown) and told["values"] == []
    assert (told["foretold"], told["stopped"]) == (0.875, STOPPED_AT)
    text = shown(root, width=100, terminal=True)
    assert "~0.875" in text and "1 done, 1 stopped, 1 failed, 1 waiting" in text and "Best single trial: 0" in text
    assert " yes " not in text


def test_a_run_that_was_stopped_and_not_told_yet_is_called_stopped(root: Path) -> None:
    study = load_study(root / "tiny.yaml")
    rule = StopRule(limits=((STOPPED_AT, 2.0),), metric="time_general", start=39, weights={"flipped": 1.0})
    perform(replace(request(study, 2), stop=rule), root / "runs/tiny")
    trial = read_trials(root / "runs/tiny").trials[2]
    assert (trial.state, trial.foretold, trial.stopped) == ("stopped", None, STOPPED_AT)


def test_the_report_of_a_stopped_trial_shows_no_numbers_of_a_whole_run(root: Path) -> None:
    stopped(root)
    report = read_study(root / "runs/tiny")
    page = render(report)
    row = page.partition('<th scope="row">trial-2</th>')[2].partition("</tr>")[0]
    assert f"stopped at {STOPPED_AT} samples, foretold 0.875" in row and row.count('<td class="n">\u2013</td>') == 4
    assert "2 of 4 trials begun have ended" in report.missing[0]
    points = next(drawing for drawing in study_drawings(report, width=WIDE) if drawing.name == "trials")
    assert "of a single run is trial-0 (near static)'s" in points.description


def test_a_later_study_takes_a_stopped_trial_over_with_what_it_foretold(root: Path) -> None:
    stopped(root)
    study = load_study(root / "tiny.yaml")
    space = SearchSpace(study, {"arith": Fraction(1, 2), "facts": Fraction(1, 2)})
    prior = prior_evidence(root / "runs/tiny", study, space)
    assert [trial.trial for trial in prior.trials] == [0, 2] and prior.trials[1].value > prior.trials[0].value
