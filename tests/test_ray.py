"""Runs on a real Ray cluster on this machine: the local pool's bits, deaths tried again, wrong addresses refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from test_search_end_to_end import CURRICULUM, STUDY
from workers_help import command, lives, request, wait_for

from curriculum.errors import DataError, ResourceError, UserError
from curriculum.mix import Phase, Stream
from curriculum.proxy.population_groups import in_populations
from curriculum.search import ray_workers as module
from curriculum.search.executor import Outcome
from curriculum.search.ray_workers import RayWorkers
from curriculum.search.run_queue import Job
from curriculum.search.workers import Workers

ray = pytest.importorskip("ray")
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a cluster of two CPUs, started as its user would; its folder's path must be short, for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    # A token in this user's home, as any cluster of a process's own leaves one, would have to be known to everybody.
    environment = {**os.environ, **ENVIRONMENT, "RAY_TMPDIR": str(folder), "RAY_AUTH_MODE": "disabled"}
    environment["RAY_memory_monitor_refresh_ms"] = "0"  # tasks would be killed when others fill this machine's memory
    start = ["start", "--head", "--port=0", "--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats"]
    start += ["--node-ip-address=127.0.0.1", "--object-store-memory=100000000", f"--temp-dir={folder}", "--block"]
    head = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", *start],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        place = folder / "ray_current_cluster"
        wait_for(lambda: place.exists() and place.read_text().strip())  # it is there before it is written
        yield place.read_text().strip()
    finally:
        head.send_signal(signal.SIGTERM)
        try:
            head.wait(timeout=30)
        except subprocess.TimeoutExpired:
            pass
        finally:
            os.killpg(head.pid, signal.SIGKILL) if head.poll() is None else None
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def cluster(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RayWorkers]:
    monkeypatch.setattr(module, "_ANSWER_SECONDS", 200.0)  # on a machine that does much else
    workers = RayWorkers(runs=tmp_path / "runs", address=address)
    yield workers
    workers.kill()


def test_runs_are_those_of_the_local_pool_to_the_bit_and_handlers_stay_ours(
    cluster: RayWorkers, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[Outcome] = []
    cluster.on_finished = told.append
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    diverging = replace(request(3), recipe=replace(request(3).recipe, learning_rate=1e18))
    found = cluster.results([request(1), request(2), diverging, request(1)])
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert "learning_rate" in str(found[2].failure) and len(told) == 3
    pool = Workers(runs=tmp_path / "local", count=1)
    local = pool.results([request(1), request(2)])
    pool.drain()
    for there, here in zip(found, local, strict=False):
        assert there.result is not None and here.result is not None
        assert there.result.folder == tmp_path / "runs" / there.request.run_id()
        for name in ("trajectory", "loss", "bits_per_byte"):
            files = [pd.read_parquet(result.folder / f"{name}.parquet") for result in (there.result, here.result)]
            pd.testing.assert_frame_equal(*files, check_exact=True)
        assert (there.result.folder / "mix.yaml").read_bytes() == (here.result.folder / "mix.yaml").read_bytes()
    cluster.drain()
    again = RayWorkers(runs=tmp_path / "runs", address="127.0.0.1:1")
    assert again.result(request(1)).found, "what is there needs no cluster"
    assert capfd.readouterr() == ("", ""), "Ray's own words are kept from the terminal"


def test_a_population_is_one_task_whose_members_are_those_of_the_local_pool(cluster: RayWorkers, tmp_path: Path) -> None:
    diverging = replace(request(3), recipe=replace(request(3).recipe, learning_rate=1e18))
    asked = in_populations([request(1), request(2), diverging], 3)
    found = cluster.results(asked)
    assert [outcome.failure is None for outcome in found] == [True, True, False]
    pool = Workers(runs=tmp_path / "local", count=1)
    local = pool.results(asked)
    pool.drain()
    for there, here in zip(found[:2], local[:2], strict=True):
        files = [outcome.result.folder / "trajectory.parquet" for outcome in (there, here) if outcome.result is not None]
        pd.testing.assert_frame_equal(*map(pd.read_parquet, files), check_exact=True)


def test_killed_processes_and_failing_commands_are_tried_again_and_reported(cluster: RayWorkers, tmp_path: Path) -> None:
    """The task's process is killed at its first try, with what it started; then the command fails with its log."""
    waiting = command(1, f"if [ -e {tmp_path}/pid ]; then echo sorry; exit 3; fi; echo $$ > {tmp_path}/pid; sleep 3600")
    cluster.submit(waiting)
    wait_for(lambda: cluster.poll(0.2) or ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    program = int((tmp_path / "pid").read_text())
    os.kill(parent(parent(program)), signal.SIGKILL)
    failure = str(cluster.result(waiting).failure)
    assert "sorry" in failure and "exit code 3" in failure and cluster._mishaps
    log = tmp_path / "runs" / waiting.run_id() / "command-0.log"
    assert f"log: {log}" in failure and log.read_text() == "sorry\n"
    wait_for(lambda: not lives(program))


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def test_a_hang_is_bounded_there_too_and_a_kill_leaves_nothing(cluster: RayWorkers, tmp_path: Path) -> None:
    sleeping = replace(command(2, "sleep 3600"), command_timeout=3600.0)
    cluster.patience = 1.0 - sleeping.command_timeout
    assert cluster.result(sleeping).failure == "made no progress for 1 s, 3 times"
    cluster.patience = None
    cluster.submit(command(3, f"echo $$ > {tmp_path}/pid; sleep 3600"))
    wait_for(lambda: cluster.poll(0.2) or ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    cluster.kill()
    wait_for(lambda: not lives(int((tmp_path / "pid").read_text())))
    assert not list((tmp_path / "runs").glob("*/run.json"))


def test_data_that_differ_on_a_node_are_refused(tmp_path: Path) -> None:
    delivery = module.train_on_node(Job.of(request(1)), ["r-s1-0123456789"], tmp_path, None)
    assert isinstance(delivery.error, DataError) and "same paths" in str(delivery.error)
    lacking = replace(
        request(1).mix, streams={"a": Stream(local=str(tmp_path / "none"))}, phases=(Phase(until=1, weights={"a": 1}),)
    )
    lost = Job.of(request(1))
    object.__setattr__(lost, "requests", (replace(request(1), mix=lacking),))  # what it comes to on a node without the data
    delivery = module.train_on_node(lost, ["r-s1-0123456789"], tmp_path, None)
    assert isinstance(delivery.error, DataError) and f"node {socket.gethostname()}" in str(delivery.error)


def test_a_node_and_memory_that_are_lost_three_times_are_named(tmp_path: Path) -> None:
    class Lossy:
        """A cluster that loses every task."""

        def __init__(self) -> None:
            self.begun = 0

        def cpus(self) -> int:
            return 1

        def begin(self, *_: object) -> int:
            self.begun += 1
            return self.begun

        def done(self, tasks: list[int], _: float) -> list[int]:
            return tasks

        def fetch(self, task: int) -> str:
            return "its node was lost" if task > 1 else "out of memory"

        def leave(self) -> None:
            self.begun = 0

    lossy = Lossy()
    workers = RayWorkers(runs=tmp_path, address="auto", _cluster=lossy)
    assert workers.result(request(1)).failure == "out of memory; then its node was lost; then its node was lost"
    assert lossy.begun == 3
    workers.drain()
    assert lossy.begun == 0


@pytest.mark.parametrize("address", ["ray://head:10001", "head", "head:", "http://a:1"])
def test_an_address_of_another_kind_is_refused_at_once(tmp_path: Path, address: str) -> None:
    with pytest.raises(UserError, match=r"HOST:PORT"):
        RayWorkers(runs=tmp_path, address=address)


def test_an_address_where_nobody_or_somebody_else_answers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed, socket.socket() as dumb:
        closed.bind(("127.0.0.1", 0))
        dumb.bind(("127.0.0.1", 0))
        dumb.listen()
        with pytest.raises(ResourceError, match=r"nobody listens there; start one"):
            RayWorkers(runs=tmp_path, address=f"127.0.0.1:{closed.getsockname()[1]}").submit(request(1))
        monkeypatch.setattr(module, "_ANSWER_SECONDS", 3.0)
        with pytest.raises(ResourceError, match="does not answer as Ray"):
            RayWorkers(runs=tmp_path, address=f"127.0.0.1:{dumb.getsockname()[1]}").submit(request(1))


def test_the_token_of_a_cluster_here_is_shown_as_ray_itself_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's programs that join `auto` take it, its health check does not; to an address that was named none is shown."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(module, "_listens", lambda *_: True)
    modes: list[str | None] = []

    def run(words: list[str], *, env: dict[str, str], **_: object) -> subprocess.CompletedProcess[str]:
        modes.append(env.get("RAY_AUTH_MODE"))
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(subprocess, "run", run)
    module._check_answer("auto")
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("secret")
    module._check_answer("auto")
    module._check_answer("127.0.0.1:6379")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    module._check_answer("auto")
    assert modes == [None, "token", None, "disabled"]


def test_without_ray_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install curriculum\[ray\]"):
        RayWorkers(runs=tmp_path, address="auto")


def test_a_cluster_that_is_gone_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = object.__new__(module._Cluster)
    cluster._head, cluster._felt, cluster._ray = "127.0.0.1:1", 0.0, ray
    monkeypatch.setattr(module, "_PULSE_SECONDS", 0.1)
    with pytest.raises(ResourceError, match="is gone"):
        cluster.done([], 0.0)
    cluster.stop([None])  # asks Ray for nothing, which would wait for the cluster
    monkeypatch.setattr(ray, "get", lambda _: (_ for _ in ()).throw(ray.exceptions.LocalRayletDiedError()))
    with pytest.raises(ResourceError, match="is gone"):
        cluster.fetch(None)
    monkeypatch.setattr(module, "_listens", lambda *_: True)
    assert "LocalRayletDiedError" in str(cluster.fetch(None))


def test_the_command_finds_on_a_cluster_what_it_finds_here(address: str, tmp_path: Path) -> None:
    small = "\n".join(line for line in STUDY.splitlines() if not line.startswith("controls")) + "\n"
    found = []
    for place, arguments in (("here", ["--workers", "2"]), ("cluster", ["--executor", "ray", "--address", address])):
        (tmp_path / place).mkdir()
        (tmp_path / place / "tiny.yaml").write_text(small)
        done = subprocess.run(
            [*CURRICULUM, "search", "tiny.yaml", "--budget", "3", "--json", *arguments],
            cwd=tmp_path / place, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=False, timeout=500,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert (f"on the Ray cluster at {address}" in done.stderr) == (place == "cluster")
        found.append({key: value for key, value in json.loads(done.stdout).items() if key not in ("seconds", "study")})
    assert found[0] == found[1] and found[0]["trials"] == 3
    runs = [{path.parent.name for path in (tmp_path / place).glob("runs/tiny/*/run.json")} for place in ("here", "cluster")]
    assert runs[0] == runs[1] and len(runs[0]) > 10
