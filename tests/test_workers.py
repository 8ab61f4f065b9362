"""The pool: deaths and hangs are charged to the run that had them, results found in their folders, nobody is left over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from workers_help import (
    DEADLY,
    DIVERGING,
    FAULTY,
    FULL,
    HANGING,
    HUGE,
    ODD,
    SLOW,
    command,
    lives,
    misbehave,
    misbehave_together,
    quick_name,
    request,
    tries,
    tries_together,
    wait_for,
)

from curriculum.errors import DataError, FileError, ResourceError
from curriculum.mix import Phase, Stream
from curriculum.proxy.population_groups import in_populations
from curriculum.proxy.run import RunRequest
from curriculum.search import workers as module
from curriculum.search.executor import Outcome
from curriculum.search.run_queue import Job
from curriculum.search.workers import Workers


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    """Two workers that misbehave."""
    monkeypatch.setattr(module, "attempt", misbehave)
    monkeypatch.setattr(module, "attempt_together", misbehave_together)
    monkeypatch.setattr(RunRequest, "run_id", quick_name)
    workers = Workers(runs=tmp_path, count=2)
    yield workers
    workers.kill()


def test_a_deadly_run_fails_alone_after_three_tries_the_last_one_by_itself(pool: Workers, tmp_path: Path) -> None:
    """Where memory does not suffice for two, it may for one."""
    told: list[Outcome] = []
    pool.on_finished = told.append
    beside: list[int] = []
    begin = pool._give

    def give(job: Job) -> None:
        beside.extend([len(pool._under_way())] if job.requests[0].seed == DEADLY else [])
        begin(job)

    pool._give = give  # type: ignore[method-assign]
    outcomes = pool.results([request(seed) for seed in (SLOW, DEADLY, 2, 3)])
    assert [outcome.failure is None for outcome in outcomes] == [True, False, True, True]
    assert outcomes[1].failure == "its worker was killed (signal 9: out of memory?), 3 times" and len(told) == 4
    assert len(tries(tmp_path, DEADLY)) == 3 and beside[0] == 1 and beside[2] == 0
    assert [len(tries(tmp_path, seed)) for seed in (SLOW, 2, 3)] == [1, 1, 1], "nobody else's run was disturbed"


def test_a_run_has_all_memory_to_itself_only_where_memory_may_be_the_cause(pool: Workers) -> None:
    deadly, other, third = (Job.of(request(seed)) for seed in (DEADLY, 1, 2))
    pool._mishaps[deadly.key] = ["its worker was killed (signal 9: out of memory?)"]
    assert pool._has_room(deadly, [other]) and pool._has_room(other, [deadly])
    pool._mishaps[deadly.key] *= 2
    assert not pool._has_room(deadly, [other]) and not pool._has_room(other, [deadly]) and pool._has_room(deadly, [])
    pool._mishaps[deadly.key] = ["made no progress for 300 s"] * 2
    assert pool._has_room(deadly, [other]) and not pool._has_room(other, [deadly, third])


def test_a_run_that_hangs_is_stopped_and_fails_while_a_slow_one_goes_on(pool: Workers, tmp_path: Path) -> None:
    slow, hanging = request(SLOW), request(HANGING)
    pool.patience = 1000.0
    fresh: list[float] = []

    def time_flies() -> bool:
        for worker in pool._crew:
            at = None if worker.job is None else worker.job.requests[0]
            fresh.extend([worker.quiet] if at == slow and worker.quiet < 900 else [])
            worker.quiet = 1000.0 if worker.pid in tries(tmp_path, HANGING) and at == hanging else 900.0
        pool.poll(0.2)
        return hanging.run_id() in pool._outcomes

    pool.submit(slow)
    pool.submit(hanging)
    wait_for(time_flies)
    assert pool.result(hanging).failure == "made no progress for 1000 s, 3 times"
    assert pool.result(slow).result is not None and pool._longest is not None and pool._longest > 900, "it told of progress"
    assert fresh, "news begins the waiting anew"
    assert len(tries(tmp_path, HANGING)) == 3 and len(tries(tmp_path, SLOW)) == 1
    assert not any(lives(pid) for pid in tries(tmp_path, HANGING))
    assert pool.result(request(3)).result is not None


def test_patience_follows_the_longest_wait_seen_and_commands_have_their_own(pool: Workers) -> None:
    assert pool._patience(1) == 3600
    assert pool.result(request(1)).result is not None
    pool._longest = 1.0
    assert pool._patience(1) == 300
    pool._longest = 100.0
    assert pool._patience(1) == 2000 and pool._patience(8) == 16000
    worker = pool._crew[0]
    worker.quiet = 5000.0
    worker.job = Job.of(request(2))
    assert pool._overdue(worker) == "made no progress for 2000 s"
    worker.job = Job.of(replace(command(2, "true"), command_timeout=3000.0, command_retries=1))
    assert pool._overdue(worker) is None
    worker.quiet = 8001.0
    assert pool._overdue(worker) == "made no progress for 8000 s"


def test_results_are_found_and_damaged_ones_made_again(tmp_path: Path) -> None:
    told: list[Outcome] = []
    first = Workers(runs=tmp_path, count=1, on_finished=told.append)
    folder = first.result(request(1)).result.folder  # type: ignore[union-attr]
    assert first.result(request(1)) is told[0] and len(told) == 1
    second = Workers(runs=tmp_path, count=1, on_finished=told.append)
    assert second.result(request(1)).found and not second._crew
    (folder / "trajectory.parquet").write_bytes(b"cut off")
    first.forget(request(1))
    assert first.result(request(1)).result is not None and not told[-1].found
    assert first._longest is not None, "a run's positions are heard of"
    diverging = replace(request(1), recipe=replace(request(1).recipe, learning_rate=1e18))
    assert "learning_rate" in str(first.result(diverging).failure)
    first.drain()


def test_workers_that_die_between_two_runs_cost_nothing(pool: Workers) -> None:
    """Between the last look at a worker and the next run it may die, idle or not; then it is `submit` that meets it."""
    pool.results([request(1), request(4)])
    pool.submit(request(2))
    for worker in pool._crew:
        worker._process.kill()
        worker._process.join()
    assert all(outcome.result is not None for outcome in pool.results([request(3), request(2)]))


def test_what_concerns_everyone_is_raised_and_the_run_may_be_asked_for_again(pool: Workers, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="No space left") as full:
        pool.result(request(FULL))
    assert "--runs" in str(full.value)
    with pytest.raises(FileError, match=r"^probes.jsonl:3: torn$") as faulty:
        pool.result(request(FAULTY))
    assert faulty.value.line == 3
    with pytest.raises(RuntimeError, match="cannot travel"):
        pool.result(request(ODD))
    with pytest.raises(ResourceError):
        pool.result(request(FULL))
    assert pool.result(request(1)).result is not None
    assert len(tries(tmp_path, FULL)) == 2


def together(*seeds: int) -> list[RunRequest]:
    return in_populations([request(seed) for seed in seeds], len(seeds))


def test_a_population_is_one_job_and_a_run_of_it_that_fails_fails_alone(pool: Workers, tmp_path: Path) -> None:
    told: list[Outcome] = []
    running: list[int] = []
    pool.on_finished, pool.on_running = told.append, running.append
    asked = together(1, DIVERGING, 2)
    assert pool.result(asked[2]).result is not None, "asking for one is asking for all"
    assert [outcome.request.seed for outcome in told] == [1, DIVERGING, 2] and running == [3, 0]
    assert [outcome.failure for outcome in pool.results(asked)] == [None, "the loss became nan", None]
    assert tries_together(tmp_path) == [[1, DIVERGING, 2]] and not (tmp_path / "tries").exists()
    assert quick_name(asked[0]) != quick_name(request(1)) and not pool.result(request(1)).found, "done alone it is another run"


def test_what_is_there_of_a_population_is_found_and_the_rest_trained_with_it(pool: Workers, tmp_path: Path) -> None:
    told: list[Outcome] = []
    first, second = together(1, 2), together(3, 4)
    pool.results([*first, *second])
    (tmp_path / quick_name(first[1]) / "run.json").unlink()
    again = Workers(runs=tmp_path, count=1, on_finished=told.append)
    try:
        assert again.result(second[0]).found and len(told) == 1, "whom nobody asks for is left alone"
        assert [outcome.found for outcome in again.results(first)] == [True, False] and len(told) == 3
    finally:
        again.kill()
    assert tries_together(tmp_path)[2:] == [[1, 2]]


def test_a_population_too_large_for_memory_is_trained_one_by_one(pool: Workers, tmp_path: Path) -> None:
    notices: list[str] = []
    pool.notice = notices.append
    asked = together(1, HUGE, 2)
    assert [outcome.failure for outcome in pool.results(asked)] == [None] * 3
    assert [len(tries(tmp_path, seed)) for seed in (1, HUGE, 2)] == [1, 1, 1] and len(tries_together(tmp_path)) == 1
    assert notices == ["a population of 3 runs could not be trained together (out of memory); they are trained singly"]
    assert {path.parent.name for path in tmp_path.glob("*/run.json")} == {quick_name(each) for each in asked}


def test_a_population_that_takes_its_workers_down_shows_which_run_is_to_blame(pool: Workers, tmp_path: Path) -> None:
    pool.submit(request(SLOW))
    outcomes = pool.results(together(1, DEADLY, 2))
    assert [outcome.failure is None for outcome in outcomes] == [True, False, True]
    assert len(tries_together(tmp_path)) == 3 and len(tries(tmp_path, DEADLY)) == 3
    assert [len(tries(tmp_path, seed)) for seed in (1, 2, SLOW)] == [1, 1, 1]


def test_a_population_that_was_dropped_may_be_asked_for_again(pool: Workers, tmp_path: Path) -> None:
    pool.submit(request(SLOW))
    pool.submit(request(5))
    asked = together(1, 2)
    for each in asked:
        pool.submit(each)
    pool.kill()
    assert not tries_together(tmp_path)
    assert all(outcome.result is not None for outcome in pool.results(asked))


def test_a_mix_whose_data_are_gone_is_refused_before_any_worker(tmp_path: Path) -> None:
    mix = replace(
        request(1).mix, streams={"a": Stream(local=str(tmp_path / "none"))}, phases=(Phase(until=1, weights={"a": 1}),)
    )
    with pytest.raises(DataError):
        Workers(runs=tmp_path, count=1).submit(replace(request(1), mix=mix))


def test_draining_finishes_what_has_begun_drops_the_rest_and_leaves_nobody(pool: Workers, tmp_path: Path) -> None:
    for seed in (SLOW, 1, 2, 3):
        pool.submit(request(seed))
    wait_for((tmp_path / "tries").exists)
    pids = [worker.pid for worker in pool._crew]
    pool.drain()
    assert len(pids) == 2 and not any(map(lives, pids))
    assert {path.parent.name for path in tmp_path.glob("*/run.json")} == {request(seed).run_id() for seed in (SLOW, 1)}
    assert pool.result(request(2)).result is not None, "one that was dropped may be asked for again"


def test_draining_does_not_try_again_what_dies_meanwhile(pool: Workers, tmp_path: Path) -> None:
    pool.submit(request(DEADLY))
    pool.drain()
    assert len(tries(tmp_path, DEADLY)) == 1 and not pool._outcomes and not pool._waiting


def test_a_kill_leaves_nobody_not_even_a_command(pool: Workers, tmp_path: Path) -> None:
    pool.submit(request(HANGING))
    pool.submit(command(1, f"echo $$ > {tmp_path}/pid; sleep 3600"))
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() and tries(tmp_path, HANGING))
    pids = [*(worker.pid for worker in pool._crew), int((tmp_path / "pid").read_text())]
    pool.kill()
    assert len(pids) == 3 and not any(map(lives, pids))
    assert pool.result(request(1)).result is not None


PARENT = """\
import sys, workers_help
from pathlib import Path
from curriculum.proxy.run import RunRequest
from curriculum.search import workers
if __name__ == "__main__":
    workers.attempt, RunRequest.run_id = workers_help.misbehave, workers_help.quick_name
    runs = Path(sys.argv[1])
    pool = workers.Workers(runs=runs, count=3)
    pool.submit(workers_help.request(workers_help.HANGING))
    pool.submit(workers_help.command(1, f"echo $$ > {runs}/pid; sleep 3600"))
    pool.result(workers_help.request(2))
    workers_help.wait_for((runs / "pid").exists)
    (runs / "crew").write_text(" ".join(str(worker.pid) for worker in pool._crew))
    END
"""


@pytest.mark.parametrize("end", ["pool.result(workers_help.request(workers_help.HANGING))", "raise SystemExit(3)"])
def test_workers_end_with_their_parent_however_it_ends(tmp_path: Path, end: str) -> None:
    """It is killed at work, idle workers and a command beside it; or it ends without draining."""
    program = tmp_path / "parent.py"
    program.write_text(PARENT.replace("END", end))
    parent = subprocess.Popen(
        [sys.executable, program, tmp_path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    pids = []
    try:
        files = [tmp_path / "crew", tmp_path / "pid"]
        wait_for(lambda: all(file.exists() and file.read_text() for file in files))
        pids = [int(pid) for file in files for pid in file.read_text().split()]
        if "HANGING" in end:
            parent.kill()
        output, _ = parent.communicate(timeout=400)
        assert output == b"" and len(pids) == 4
        wait_for(lambda: not any(map(lives, pids)))
    finally:
        parent.kill()
        for pid in filter(lives, pids):
            os.kill(pid, signal.SIGKILL)
