"""Shared memory without a mix: nothing stale is met, nothing stays behind, jobs do not disturb each other."""

import gc
import os
import pickle
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import streaming_help
from filelock import FileLock
from streaming_help import Make, keys_of, loader
from streaming_jobs import (
    MEMORY,
    answer,
    any_number,
    end_unclosed,
    left,
    make,
    one_rank,
    rank_environments,
    read_all,
    read_for_ever,
    running,
    wait_for_ever,
)

from curriculum.errors import ResourceError, UserError
from curriculum.streaming import StreamingDataset, mosaic, shared

folder, make_dataset = streaming_help.folder, streaming_help.make_dataset
ALL = list(range(500))


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep temporary files apart from those of other jobs on this machine."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


def files(place: Path) -> list[str]:
    return sorted(path.name for path in place.rglob("*") if path.is_file())


def reads_and_sweeps(folder: Path, place: Path) -> None:
    """Assert that a new dataset works, and leaves nothing when it is closed, of itself or of the dead."""
    dataset = StreamingDataset(local=str(folder / "first"), batch_size=8)
    assert keys_of(dataset) == ALL
    dataset.close()
    assert left(dataset._shm_prefix_int) == []
    assert files(place) == ["claims.lock"]


def wait_until_free(marker: Path) -> None:
    """Wait until the kernel is done with a killed process."""
    deadline = time.monotonic() + 30
    while shared._is_held(marker):
        assert time.monotonic() < deadline, "still held"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def events(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What Python audits while a dataset is made: the instants at which one can be killed."""
    kept = tempfile.tempdir
    tempfile.tempdir = str(tmp_path_factory.mktemp("events"))
    try:
        with running(make, any_number(), None, {"local": str(folder / "first")}) as (_, pipe):
            found: list[str] = answer(pipe)
    finally:
        tempfile.tempdir = kept
    return found


def killed_at(at: int, number: int, folder: Path) -> list[str]:
    """Let a job of that number be killed at that instant; return what it left."""
    with running(make, number, at, {"local": str(folder / "first")}) as (process, _):
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
    return left(number)


def test_killed_between_making_and_sizing_memory(folder: Path, place: Path, events: list[str]) -> None:
    instants = [at for at, event in enumerate(events) if event == "os.truncate"]
    assert len(instants) >= 6
    number = any_number()
    names = killed_at(instants[-1], number, folder)
    assert f"{number}_shard_access_times" in names
    assert (MEMORY / f"{number}_shard_access_times").stat().st_size == 0
    assert len(names) >= 7
    reads_and_sweeps(folder, place)
    assert left(number) == []


def test_killed_at_any_instant_of_the_constructor(folder: Path, place: Path, events: list[str]) -> None:
    locks = [at for at, event in enumerate(events) if event == "fcntl.flock"]
    others = random.Random(5).sample(range(locks[0], len(events)), 8)
    numbers = {at: any_number() for at in {*locks, *others}}
    found = [killed_at(at, number, folder) for at, number in numbers.items()]
    assert sum(map(bool, found)) >= 6
    assert all(any(name.endswith(".alive") for name in names) for names in found if names)  # never memory without a marker
    reads_and_sweeps(folder, place)
    assert [left(number) for number in numbers.values()] == [[] for _ in numbers]


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_killed_while_a_worker_reads(folder: Path, place: Path, context: str) -> None:
    with running(read_for_ever, context, {"local": str(folder / "first"), "shuffle": True}) as (process, pipe):
        number, workers = answer(pipe)
        assert len(workers) == 1
        os.kill(workers[0], signal.SIGSTOP)  # else it sees within seconds that it is orphaned, and ends
        process.kill()
        process.join()
        dataset = StreamingDataset(local=str(folder / "first"), batch_size=8)
        assert keys_of(dataset) == ALL
        assert f"{number}_locals" in left(number)  # its worker may still read
        os.kill(workers[0], signal.SIGKILL)
        wait_until_free(place / f"curriculum-{os.getuid()}" / f"{number}.alive")
        dataset.close()
        reads_and_sweeps(folder, place)
        assert left(number) == []


def test_a_worker_that_waits_for_other_ranks_ends_with_its_killed_parent(folder: Path, place: Path) -> None:
    with running(wait_for_ever, {"local": str(folder / "first")}) as (process, pipe):
        number = answer(pipe)
        process.kill()
        wait_until_free(place / f"curriculum-{os.getuid()}" / f"{number}.alive")
        reads_and_sweeps(folder, place)
        assert left(number) == []


def test_planted_leftovers_are_swept_and_mosaics_are_left_alone(folder: Path, place: Path) -> None:
    ours, foreign = any_number(), any_number()
    home = place / f"curriculum-{os.getuid()}"
    home.mkdir()
    (home / f"{ours}.alive").write_text('{"process": 1, "loc')  # killed while it wrote
    (home / f"{ours}.cache").touch()
    (home / f"{foreign}.barrier").touch()  # made by a straggler after its marker was swept
    planted = [MEMORY / f"{ours}_shard_access_times", MEMORY / f"{foreign}_locals", MEMORY / "000990_shard_states"]
    for path in planted:
        path.touch()
    (place / "000990_cache_filelock").touch()
    try:
        StreamingDataset(local=str(folder / "first"), batch_size=8).close()
        assert [path.exists() for path in planted] == [False, False, True]
        assert files(place) == ["000990_cache_filelock", "claims.lock"]
    finally:
        for path in planted:
            path.unlink(missing_ok=True)


def test_two_jobs_with_the_same_streams_read_undisturbed(folder: Path, place: Path) -> None:
    arguments = {"local": str(folder / "first"), "shuffle": True}
    with running(read_all, 1, arguments) as (_, one), running(read_all, 1, arguments) as (_, other):
        numbers = [answer(pipe) for pipe in (one, other)]
        for pipe in (one, other):
            pipe.send("go")
        assert numbers[0] != numbers[1]
        keys = answer(one)
        assert keys == answer(other)
        assert sorted(keys) == ALL
    reads_and_sweeps(folder, place)


def test_a_job_that_ends_unclosed_leaves_nothing(folder: Path, place: Path) -> None:
    with running(end_unclosed, {"local": str(folder / "first")}) as (_, pipe):
        assert left(answer(pipe)) == []
    assert files(place) == ["claims.lock"]


@contextmanager
def ranks_running(arguments: dict[str, Any], nodes: int, ranks: int) -> Iterator[list[Any]]:
    """Run nodes x ranks processes; yield the pipes to them."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(running(one_rank, arguments, environment=environment))[1]
            for environment in rank_environments(nodes, ranks)
        ]


@pytest.mark.parametrize(("nodes", "ranks"), [(1, 2), (2, 2)])
def test_ranks_agree_on_a_number_and_the_last_one_clears_up(folder: Path, place: Path, nodes: int, ranks: int) -> None:
    with ranks_running({"local": str(folder / "first")}, nodes, ranks) as pipes:
        numbers = [answer(pipe) for pipe in pipes]
        assert len(set(numbers)) == nodes
        assert [numbers[rank] == numbers[0] for rank in range(ranks)] == [True] * ranks
        keys = [answer(pipe) for pipe in pipes]
        assert len({key for each in keys for key in each}) == 20 * nodes * ranks
        for pipe in pipes[:-1]:
            pipe.send("close")
            answer(pipe)
        assert left(numbers[-1])  # its last rank has not ended
        pipes[-1].send("close")
        answer(pipes[-1])
        assert [left(number) for number in numbers] == [[] for _ in numbers]
    assert files(place) == ["claims.lock"]


def test_ranks_fail_together(make_dataset: Make, folder: Path, tmp_path: Path) -> None:
    arguments = {"remote": str(folder / "first"), "local": str(tmp_path / "cache")}
    make_dataset(**arguments)
    with ranks_running(arguments, 1, 2) as pipes:
        for pipe in pipes:
            with pytest.raises(UserError, match="in use by another"):
                answer(pipe)


def remote(folder: Path, cache: Path) -> dict[str, Any]:
    return {"remote": str(folder / "first"), "local": str(cache), "batch_size": 8}


def test_a_cache_in_use_is_refused_to_a_second_dataset_until_it_is_given_back(folder: Path, tmp_path: Path) -> None:
    first = StreamingDataset(**remote(folder, tmp_path / "cache"))
    with pytest.raises(UserError, match=f"{tmp_path / 'cache'} .* in use by another .*process {os.getpid()}"):
        StreamingDataset(**remote(folder, tmp_path / "cache"))
    local = StreamingDataset(local=str(tmp_path / "cache"))  # nothing is downloaded, so that sharing is harmless
    first.close()
    local.close()
    second = StreamingDataset(**remote(folder, tmp_path / "cache"))
    del second, local, first
    gc.collect()  # as with Mosaic, a dataset that was collected holds its folders no longer
    third = StreamingDataset(**remote(folder, tmp_path / "cache"))
    third.close()


def test_the_cache_of_a_killed_job_is_free(folder: Path, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"remote": str(folder / "first"), "local": str(tmp_path / "cache")}
    with running(read_all, 0, arguments) as (process, pipe):
        answer(pipe)
        with pytest.raises(UserError, match=f"process {process.pid}"):
            StreamingDataset(**arguments)
        process.kill()
        process.join()
        dataset = StreamingDataset(**arguments, batch_size=8)
        assert keys_of(dataset) == ALL
        dataset.close()


def test_two_streams_of_one_folder_are_refused(folder: Path, place: Path) -> None:
    streams = [mosaic.Stream(local=str(folder / "first")) for _ in range(2)]
    with pytest.raises(UserError, match=f"two streams have the same local folder {folder / 'first'}"):
        StreamingDataset(streams=streams, batch_size=8)


def test_a_constructor_that_fails_late_leaves_nothing(folder: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError("no more")

    monkeypatch.setattr(mosaic.Stream, "set_up_local", fail)
    monkeypatch.setattr(shared, "_FIRST", number := any_number())
    monkeypatch.setattr(shared, "_NUMBERS", 1)
    with pytest.raises(MemoryError, match="no more"):
        StreamingDataset(local=str(folder / "first"), batch_size=8)
    assert left(number) == []
    assert files(place) == ["claims.lock"]


def test_a_folder_that_cannot_be_used_is_named(folder: Path, place: Path) -> None:
    (place / f"curriculum-{os.getuid()}").touch()
    with pytest.raises(ResourceError, match=f"{place}.*; set TMPDIR"):
        StreamingDataset(local=str(folder / "first"), batch_size=8)


def test_waiting_for_a_suspended_job_ends(folder: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_PATIENCE", 0.05)
    (place / f"curriculum-{os.getuid()}").mkdir()
    with FileLock(place / f"curriculum-{os.getuid()}" / "claims.lock"), pytest.raises(ResourceError, match="suspended"):
        StreamingDataset(local=str(folder / "first"), batch_size=8)


def test_mosaics_own_datasets_are_passed_on_to_mosaics_search(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def search(*given: Any) -> Any:
        asked.append(given)
        raise KeyError("asked")

    asked: list[Any] = []
    monkeypatch.setattr(shared, "_search", search)
    arguments: dict[str, Any] = {"local": str(folder / "first"), "batch_size": 8}
    StreamingDataset(**arguments).close()
    assert not asked
    with shared.own_names(object()), ThreadPoolExecutor(1) as elsewhere:
        assert isinstance(elsewhere.submit(mosaic.StreamingDataset, **arguments).exception(), KeyError)
    with pytest.raises(KeyError):
        mosaic.StreamingDataset(**arguments)
    assert [given[:2] for given in asked] == [([str(folder / "first")], [None])] * 2


def test_names_are_short_enough_for_every_system(make_dataset: Make, folder: Path) -> None:
    dataset = make_dataset(local=str(folder / "first"))
    names = [mosaic.shared_name(dataset._shm_prefix_int, name) for name in mosaic.SHM_TO_CLEAN]
    assert max(map(len, names)) < 30
    assert min(int(name.split("_")[0]) for name in names) >= 10**8  # Mosaic's own has six digits


def test_a_pickled_copy_takes_nothing_away(make_dataset: Make, folder: Path) -> None:
    dataset = make_dataset(local=str(folder / "first"), batch_size=8)
    copied = pickle.loads(pickle.dumps(dataset))
    copied._claim.give_back()
    assert (Path(tempfile.gettempdir()) / f"curriculum-{os.getuid()}" / f"{dataset._shm_prefix_int}.alive").exists()
    assert keys_of(loader(dataset, 1)) == ALL


def test_many_datasets_made_and_closed_leave_no_descriptors(folder: Path, place: Path) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    StreamingDataset(local=str(folder / "first"), batch_size=8).close()
    before = open_files()
    for _ in range(5):
        StreamingDataset(local=str(folder / "first"), batch_size=8).close()
    assert open_files() <= before
