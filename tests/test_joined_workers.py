"""Workers of several processes that share their runs: who trains what, and what everybody ends with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
from joined_help import contents, run_folder
from postgres_help import PostgresServer

from curriculum.proxy.run import RunRequest, load_run
from curriculum.search.executor import Outcome
from curriculum.search.joined_workers import JoinedWorkers
from curriculum.search.run_queue import Job
from curriculum.search.shared_runs import DEATHS, SharedRuns


@pytest.fixture
def study(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


class Request:
    """What of a request the workers look at."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.population = None

    def run_id(self) -> str:
        return self.name


class Pool:
    """Workers that train in no time, `count` at once, when they are polled."""

    trained: list[str] = []  # noqa: RUF012  # by all pools
    broken: tuple[str, ...] = ()

    def __init__(
        self, *, runs: Path, count: int, on_finished: Callable[[Outcome], None], notice: Callable[[str], None]
    ) -> None:
        self.runs, self.count, self.on_finished, self.at_work = runs, count, on_finished, list[RunRequest]()

    def take(self, job: Job) -> None:
        self.at_work += job.requests
        assert len(self.at_work) <= self.count

    def poll(self, seconds: float) -> None:
        request = self.at_work.pop(0)
        self.on_finished(self.train(request))

    def train(self, request: RunRequest) -> Outcome:
        Pool.trained.append(request.run_id())
        if request.run_id() in Pool.broken:
            return Outcome(request=request, failure="loss is not finite")
        margin = len(Pool.trained) / 100  # every training gives something else, as on different machines
        return Outcome(request=request, result=load_run(run_folder(self.runs / request.run_id(), margin)))

    def drain(self) -> None:
        while self.at_work:
            self.poll(0)

    def kill(self) -> None:
        self.at_work.clear()


@pytest.fixture
def join(server: PostgresServer, study: str, tmp_path: Path) -> Iterator[Callable[..., JoinedWorkers]]:
    Pool.trained, Pool.broken = [], ()
    made: list[JoinedWorkers] = []

    def make(name: str, count: int = 1, **options: Any) -> JoinedWorkers:
        shared = SharedRuns(server.url(), study, lease=10)
        made.append(JoinedWorkers(runs=tmp_path / name, count=count, shared=shared, make_pool=Pool, **options))
        return made[-1]

    yield make
    for each in made:
        each.kill()


def requests(*names: str) -> list[RunRequest]:
    return [cast(RunRequest, Request(name)) for name in names]


def test_joined_processes_share_all_runs_and_end_with_the_same_files(
    join: Callable[..., JoinedWorkers], tmp_path: Path
) -> None:
    names = [f"run-{number:02d}" for number in range(20)]
    Pool.broken = ("run-07",)
    told: dict[str, list[str]] = {"a": [], "b": [], "c": []}

    def work(name: str) -> list[Outcome]:
        on_finished = lambda outcome: told[name].append(outcome.request.run_id())  # noqa: E731
        return join(name, 2, on_finished=on_finished).results(requests(*names))

    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(work, "abc"))
    assert sorted(Pool.trained) == names, "each was trained once, by whoever it was"
    for outcomes, name in zip(found, "abc", strict=True):
        assert [outcome.request.run_id() for outcome in outcomes] == names and sorted(told[name]) == names
        assert [outcome.failure for outcome in outcomes if outcome.result is None] == ["loss is not finite"]
    for run in set(names) - {"run-07"}:
        assert contents(tmp_path / "a" / run) == contents(tmp_path / "b" / run) == contents(tmp_path / "c" / run)


def test_while_one_run_is_busy_elsewhere_the_others_are_trained(join: Callable[..., JoinedWorkers]) -> None:
    away, here = join("away"), join("here")
    away.submit(requests("first")[0])
    here.submit(requests("first")[0])
    assert [outcome.failure for outcome in here.results(requests("second", "third"))] == [None, None]
    assert Pool.trained == ["second", "third"]
    away.poll(0)
    assert here.result(requests("first")[0]).result is not None and Pool.trained[2:] == ["first"]


def test_no_more_is_claimed_than_there_are_workers(join: Callable[..., JoinedWorkers]) -> None:
    one, other = join("one", 2), join("other", 2)
    for request in requests("a", "b", "c", "d"):
        one.submit(request)
    assert other.shared.claim("c") == "mine" and other.shared.claim("b") == "busy"


def test_what_any_process_finished_is_known_to_all(join: Callable[..., JoinedWorkers]) -> None:
    first, second = join("first"), join("second")
    assert second.finished("proof_") == set()  # an underscore is no wildcard
    first.results(requests("proof_a", "proofs", "trial"))
    assert second.finished("proof_") == first.finished("proof_") == {"proof_a"}


def test_what_is_here_is_offered_and_what_others_found_first_counts(join: Callable[..., JoinedWorkers], tmp_path: Path) -> None:
    run_folder(tmp_path / "a" / "run", 0.11)
    run_folder(tmp_path / "b" / "run", 0.22)
    assert join("a").result(requests("run")[0]).found
    outcome = join("b").result(requests("run")[0])
    assert outcome.result is not None and outcome.result.seconds == 0.11
    assert join("c").result(requests("run")[0]).result is not None and Pool.trained == []
    assert contents(tmp_path / "a/run") == contents(tmp_path / "b/run") == contents(tmp_path / "c/run")


def test_draining_hands_over_what_had_begun_and_killing_frees_it(
    join: Callable[..., JoinedWorkers], server: PostgresServer, study: str
) -> None:
    drained, killed, left = join("drained"), join("killed"), join("left")
    drained.submit(requests("a")[0])
    killed.submit(requests("b")[0])
    left.submit(requests("b")[0])
    drained.drain()
    killed.kill()
    views = SharedRuns(server.url(), study).view(["a", "b"])
    assert (views["a"].state, views["b"].state) == ("done", "free")
    assert left.result(requests("b")[0]).result is not None


class Member(Request):
    """A run of a population."""

    def __init__(self, name: str, names: Sequence[str]) -> None:
        self.name, self.names = name, names

    @property
    def population(self) -> Member:  # type: ignore[override]
        return self

    def requests(self) -> tuple[RunRequest, ...]:
        return tuple(cast(RunRequest, Member(name, self.names)) for name in self.names)


def members(*names: str) -> list[RunRequest]:
    return [cast(RunRequest, Member(name, names)) for name in names]


def test_a_population_is_claimed_as_one_and_its_runs_are_shared(join: Callable[..., JoinedWorkers], tmp_path: Path) -> None:
    Pool.broken = ("c",)
    one, other, late = join("one", 9), join("other", 9), join("late", 9)
    one.submit(members("a", "b", "c")[0])
    other.submit(members("a", "b", "c")[1])
    assert other._busy and not other._running, "nobody else begins a part of it"
    one.results(members("a", "b", "c"))
    for executor in (other, late):
        found = executor.results(members("a", "b", "c"))
        assert [outcome.failure for outcome in found] == [None, None, "loss is not finite"]
        executor.drain()
    assert Pool.trained == ["a", "b", "c"]
    assert contents(tmp_path / "one/b") == contents(tmp_path / "other/b") == contents(tmp_path / "late/b")


def test_a_population_whose_owner_goes_away_is_trained_by_another(join: Callable[..., JoinedWorkers], tmp_path: Path) -> None:
    gone, left = join("gone", 9), join("left", 9)
    gone.submit(members("a", "b")[0])
    gone.poll(0)  # one of the two has ended, and nobody was told
    left.submit(members("a", "b")[0])
    gone.kill()
    assert all(outcome.result is not None for outcome in left.results(members("a", "b")))
    assert Pool.trained == ["a", "a", "b"]
    again = join("gone", 9)
    assert again.results(members("a", "b"))[0].result is not None and Pool.trained == ["a", "a", "b"]
    assert contents(tmp_path / "gone/a") == contents(tmp_path / "left/a"), "what was handed over first counts"


def test_a_population_that_all_processes_die_of_is_trained_run_by_run(
    join: Callable[..., JoinedWorkers], server: PostgresServer, study: str
) -> None:
    here = join("here", 9)
    key = Job.of(members("a", "b")[0]).key
    for _ in range(DEATHS):
        dead = SharedRuns(server.url(), study, lease=0.5)
        assert dead.claim(key) == "mine"
        server.execute("UPDATE curriculum_runs SET lease_until = lease_until - 1000 WHERE study = :study", study=study)
    assert all(outcome.result is not None for outcome in here.results(members("a", "b")))
    assert Pool.trained == ["a", "b"]


def test_a_joining_process_may_be_interrupted(join: Callable[..., JoinedWorkers]) -> None:
    interrupted = threading.Event()

    def heed() -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt

    away, here = join("away"), join("here", heed=heed)
    away.submit(requests("run")[0])
    here.submit(requests("run")[0])
    interrupted.set()
    with pytest.raises(KeyboardInterrupt):
        here.result(requests("run")[0])
    here.drain()
