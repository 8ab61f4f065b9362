"""Curves for TensorBoard while a run or a search is under way: what lies there at any moment, and after a restart."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from report_help import BUDGET, STUDY, Inventing, Pretending, Stopping

from curriculum.callbacks import TensorBoardLogger
from curriculum.cli import cli
from curriculum.commands import run as run_command
from curriculum.mix import Phase
from curriculum.proxy.run import RunRequest, RunResult, load_run, perform
from curriculum.proxy.training import LossRow, Progress
from curriculum.report.run_scalars import LiveScalars, write_scalars
from curriculum.report.search_scalars import SearchScalars
from curriculum.search.coordinator import Means
from curriculum.search.executor import Executor, Outcome
from curriculum.search.observer import Silent
from curriculum.search.study_file import load_study

PHASES = (Phase(until=Decimal(1), weights={name: Decimal(1) for name in ("arith", "icl", "<facts> & more")}),)
accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return what TensorBoard shows of a folder of event files: (step, value) by tag."""
    events = accumulators.EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def study_at(root: Path) -> Path:
    (root / "made.yaml").write_text(STUDY)
    return root / "made.yaml"


# A run


class KilledError(Exception):
    """Stands for a kill."""


def proxy_run(root: Path, *words: str) -> dict[str, Any]:
    mix = root / "mix.yaml"
    if not mix.exists():
        load_study(study_at(root)).mix("plain", PHASES).dump(mix)
    arguments = [
        "run",
        str(mix),
        "--study",
        str(root / "made.yaml"),
        "--samples",
        "160",
        "--json",
        "--runs",
        str(root / "runs"),
    ]
    done = CliRunner().invoke(cli, [*arguments, "--tensorboard", str(root / "curves"), *words], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    assert "\x1b" not in done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_a_runs_curves_are_there_while_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def watched(*arguments: Any, watch: Any, **options: Any) -> RunResult:
        def look(progress: Progress) -> None:
            watch(progress)
            (folder,) = (tmp_path / "curves").iterdir()
            seen.append(len(scalars(folder)["probe/flipped/margin"]))
            assert (folder / "unfinished").exists()

        return perform(*arguments, watch=look, **options)

    monkeypatch.setattr(run_command, "perform", watched)
    run = Path(proxy_run(tmp_path)["run"])
    assert seen == list(range(1, 11))
    table = load_run(run).trajectory.table.query("probe == 'flipped'")  # type: ignore[union-attr]
    shown = scalars(tmp_path / "curves" / run.name)
    assert [step for step, _ in shown["probe/flipped/margin"]] == list(table["step"])
    assert [value for _, value in shown["probe/flipped/margin"]] == pytest.approx(list(table["margin"]))
    assert [step for step, _ in shown["loss/arith"]] and not (tmp_path / "curves" / run.name / "unfinished").exists()


def test_curves_of_a_run_that_was_cut_off_are_made_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any, watch: Any, **__: Any) -> RunResult:
        watch(progress_of(3))
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(run_command, "perform", killed)
        patch.setattr(LiveScalars, "close", lambda _: None)  # as kill -9 leaves it
        with pytest.raises(KilledError):
            proxy_run(tmp_path)
    (folder,) = (tmp_path / "curves").iterdir()
    assert len(scalars(folder)["loss/arith"]) == 3 and (folder / "unfinished").exists()
    run = Path(proxy_run(tmp_path)["run"])
    table = load_run(run).trajectory.table.query("probe == 'flipped'")  # type: ignore[union-attr]
    assert [step for step, _ in scalars(folder)["probe/flipped/margin"]] == list(table["step"])
    assert folder.name == run.name and not (folder / "unfinished").exists()


def test_a_finished_runs_curves_are_written_once(tmp_path: Path) -> None:
    run = Path(proxy_run(tmp_path)["run"])
    (folder,) = (tmp_path / "curves").iterdir()
    before = [path.name for path in folder.iterdir()]
    proxy_run(tmp_path)
    assert [path.name for path in folder.iterdir()] == before
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    proxy_run(tmp_path)  # found, not trained
    assert scalars(folder)["probe/flipped/margin"] and folder.name == run.name


def progress_of(count: int) -> Progress:
    losses = tuple(LossRow(position=16 * number, stream="arith", loss=float(number)) for number in range(1, count + 1))
    return Progress(readings=readings(count), losses=losses)


def readings(count: int) -> Any:
    from curriculum.probe import Reading

    known = {"probe": "flipped", "family": "f", "accuracy": 0.5, "low": -1.0, "high": 1.0, "control_margin": 0.5}
    return tuple(
        (16 * step, step, Reading(**known, margin=step / 10, capable=True))  # type: ignore[arg-type]
        for step in range(1, count + 1)
    )


def test_every_reading_is_written_once_and_a_full_disk_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with LiveScalars(tmp_path, "run-1", notice=said.append) as live:
        for count in (2, 3, 3, 5):
            live(progress_of(count))
        assert [step for step, _ in scalars(tmp_path / "run-1")["loss/arith"]] == [1, 2, 3, 4, 5]

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(TensorBoardLogger, "scalar", full)
        live(progress_of(6))
        live(progress_of(7))
    assert len(said) == 1 and "No space left on device" in said[0] and "the run goes on" in said[0]


# A search


class Watching(SearchScalars):
    """Looks at the event files whenever a trial is told."""

    def trial(self, number: int, name: str, value: float | None) -> None:
        super().trial(number, name, value)
        folder = self.folder / "made"
        assert len(scalars(folder)["trial/value"]) == number + 1
        assert len(list(self.folder.glob("trial-*"))) > number


class Telling(Inventing):
    """Tells of every run, as the queues of workers do."""

    def __init__(self, runs: Path, tell: Callable[[Outcome], None]) -> None:
        super().__init__(runs)
        self.tell, self.told = tell, set[str]()

    def result(self, request: RunRequest) -> Outcome:
        outcome = super().result(request)
        if request.run_id() not in self.told:
            self.told.add(request.run_id())
            self.tell(outcome)
        return outcome


class Searching(Pretending):
    def _executor(self) -> Executor:
        return Telling(self._place.path, self._observer.finished)


def search(root: Path, curves: Path, observer: type[SearchScalars], until: str | None = None) -> Any:
    file = study_at(root)
    means = Means(runs=root / "runs", out=root / "mixes", workers=1)
    study = load_study(file)
    with observer(study, curves, Stopping(until)) as watching, Searching(study, means, watching) as coordinator:
        return coordinator.run(BUDGET)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A search that was broken off before its proof, and its end."""
    root = tmp_path_factory.mktemp("live")
    with pytest.raises(KeyboardInterrupt):
        search(root, root / "curves", Watching, until="candidates")
    assert not list((root / "curves").glob("proof-*"))
    return root, search(root, root / "curves", SearchScalars)


def test_a_search_leaves_the_incumbent_over_trials(searched: tuple[Path, Any]) -> None:
    root, result = searched
    shown = scalars(root / "curves" / "made")
    values = [trial.value for trial in result.trials]
    assert [step for step, _ in shown["trial/value"]] == list(range(BUDGET))  # once, though told by two searches
    assert [value for _, value in shown["trial/value"]] == pytest.approx(values)
    assert [value for _, value in shown["search/incumbent"]] == pytest.approx(list(accumulate(values, max)))
    assert [step for step, _ in shown["search/expected_best"]] == [5, 10]


def test_every_finished_run_has_its_scalars(searched: tuple[Path, Any]) -> None:
    root, result = searched
    runs = [path.parent for path in (root / "runs" / "made").glob("*/run.json")]
    assert {path.name for path in (root / "curves").iterdir()} == {run.name for run in runs} | {"made"}
    trial = result.trials[3]
    (folder,) = (root / "curves").glob("trial-003-*")
    shown = scalars(folder)
    last = shown["probe/flipped/margin"][-1][0]
    (value,), (time_general,) = shown["run/value"], shown["run/time_general"]
    assert value == pytest.approx((last, trial.value)) and time_general == pytest.approx(
        (last, trial.score.measures.time_general)
    )
    assert (
        shown["loss/arith"][-1][1] == pytest.approx(trial.score.loss["arith"]) and len(shown["probe/succession/margin"]) == 10
    )


class Noting(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def stage(self, name: str, runs: int) -> None:
        self.told.append((name, runs))

    def running(self, count: int) -> None:
        self.told.append(count)

    def finished(self, outcome: Outcome) -> None:
        self.told.append(outcome)

    def trial(self, number: int, name: str, value: float | None) -> None:
        self.told.append((number, name, value))

    def believed(self, best: float, deviation: float, predicted: float | None = None) -> None:
        self.told.append((best, deviation, predicted))

    def interrupted(self) -> None:
        self.told.append("interrupted")

    def notice(self, text: str) -> None:
        self.told.append(text)


def test_who_watches_beside_it_is_told_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = Noting()
    failed = Outcome(request=None, failure="lost")  # type: ignore[arg-type]
    with SearchScalars(load_study(study_at(tmp_path)), tmp_path / "curves", beside) as live:
        live.stage("search", 3)
        live.running(2)
        live.finished(failed)
        live.trial(0, "trial-0", None)
        live.believed(0.5, 0.1)
        live.interrupted()
        live.notice("words")
        monkeypatch.setattr(TensorBoardLogger, "scalar", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
        live.trial(1, "trial-1", 0.5)
        live.trial(2, "trial-2", 0.6)
    expected: Sequence[Any] = [("search", 3), 2, failed, (0, "trial-0", None), (0.5, 0.1, None), "interrupted", "words"]
    assert beside.told[:7] == expected
    rest = beside.told[7:]
    assert [each for each in rest if isinstance(each, tuple)] == [(1, "trial-1", 0.5), (2, "trial-2", 0.6)]
    (words,) = (each for each in rest if isinstance(each, str))
    assert "No space left" in words and "the search goes on" in words


def test_a_search_that_never_begins_leaves_the_curves_of_the_one_at_work(tmp_path: Path) -> None:
    study = load_study(study_at(tmp_path))
    with SearchScalars(study, tmp_path / "curves", Silent()) as live:
        live.trial(0, "trial-0", 0.5)
        with SearchScalars(study, tmp_path / "curves", Silent()) as refused:
            refused.notice("another search is at work")
        live.trial(1, "trial-1", 0.6)
    assert [step for step, _ in scalars(tmp_path / "curves" / study.name)["trial/value"]] == [0, 1]


def test_a_run_that_was_stopped_early_has_curves_and_no_value(searched: tuple[Path, Any], tmp_path: Path) -> None:
    root, _ = searched
    whole = load_run(next((root / "runs" / "made").glob("trial-003-*")))
    assert whole is not None
    table = whole.trajectory.table
    half = type(whole.trajectory)(table[table["position"] <= 800])
    stopped = RunResult(
        folder=whole.folder, samples=whole.samples, trajectory=half, loss=whole.loss, bits=whole.bits, seconds=1.0
    )
    with SearchScalars(load_study(root / "made.yaml"), tmp_path, Silent()) as live:
        live.finished(Outcome(request=None, result=stopped))  # type: ignore[arg-type]
    shown = scalars(tmp_path / whole.folder.name)
    assert len(shown["probe/flipped/margin"]) == 5 and not [tag for tag in shown if tag.startswith("run/")]


def test_two_who_write_the_same_run_do_not_collide(searched: tuple[Path, Any], tmp_path: Path) -> None:
    root, _ = searched
    result = load_run(next((root / "runs" / "made").glob("trial-003-*")))
    assert result is not None
    place = tmp_path / result.folder.name
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        place.mkdir()
        (place / "theirs").write_text("")
        return rename(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "rename", late)
        assert not write_scalars(result, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [place.name] and (place / "theirs").exists()


def test_search_says_beforehand_that_tensorboard_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from curriculum.errors import UserError
    from curriculum.report import run_scalars

    monkeypatch.setattr(run_scalars, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'curriculum\[tensorboard\]'"):
        cli(["search", str(tmp_path / "none.yaml"), "--tensorboard", str(tmp_path)], standalone_mode=False)
