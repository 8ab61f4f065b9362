"""What goes wrong under way: each fault ends in a completed run or in one clear error that names stream and shard."""

import errno
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streaming_help
from streaming_help import SIZES, Make, keys_of, loader, planned, ramp

from curriculum.errors import CurriculumError, DataError, ResourceError
from curriculum.mix import Mix, Phase, Stream
from curriculum.streaming import cache
from curriculum.streaming.mosaic import MDSWriter
from curriculum.streaming.mosaic import Stream as MosaicStream

folder, make_dataset = streaming_help.folder, streaming_help.make_dataset
LocalDownloader = type(MosaicStream(local="here")._downloader)
copy_file = LocalDownloader._download_file_impl


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_FIRST_PAUSE", 0.01)


def far(folder: Path, here: Path, **options: Any) -> Mix:
    """Return the ramp over streams that lie in `folder` and are cached in `here`."""
    streams = {name: Stream(remote=str(folder / name), local=str(here / name), **options) for name in SIZES}
    return ramp(folder, samples=400, streams=streams)


Fault = Callable[[str], None]


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fault], None]:
    """Let `fault(remote path)` run before every download of a shard; an index is downloaded as ever."""

    def install(fault: Fault) -> None:
        def download(self: Any, remote: str, local: str, timeout: float) -> None:
            if not remote.endswith(".json"):
                fault(remote)
            copy_file(self, remote, local, timeout)

        monkeypatch.setattr(LocalDownloader, "_download_file_impl", download)

    return install


def leftovers(here: Path) -> list[str]:
    """Return what downloads left lying, once those that were under way have ended."""
    for _ in range(100):
        found = [path.name for path in here.rglob("*") if ".part" in path.name or path.suffix == ".lock"]
        if not found:
            break
        time.sleep(0.1)
    return found


@pytest.mark.parametrize("workers", [0, 2])
def test_a_remote_that_fails_twice_and_then_answers_completes_the_run(
    make_dataset: Make, folder: Path, tmp_path: Path, faulty: Callable[[Fault], None], workers: int
) -> None:
    seen = tmp_path / "seen"
    seen.mkdir()

    def fault(remote: str) -> None:
        with (seen / remote.replace("/", "_")).open("a") as tried:
            tried.write("x")
            if tried.tell() <= 2:
                raise ConnectionError("the far side hung up")

    faulty(fault)
    dataset = make_dataset(mix=far(folder, tmp_path, download_retry=3), batch_size=8)
    assert keys_of(loader(dataset, workers)) == planned(dataset.plan)
    assert {len(path.read_text()) for path in seen.iterdir()} == {3}
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_remote_that_always_fails_names_stream_and_shard(
    make_dataset: Make, folder: Path, tmp_path: Path, faulty: Callable[[Fault], None], workers: int
) -> None:
    def fault(remote: str) -> None:
        if "second" in remote:
            raise ConnectionError("the far side hung up")

    faulty(fault)
    dataset = make_dataset(mix=far(folder, tmp_path), batch_size=8)
    with pytest.raises(CurriculumError, match=r"stream 'second', shard shard\.\d+\.mds.*after 2 attempts") as raised:
        list(loader(dataset, workers))
    assert "the far side hung up" in str(raised.value)
    assert isinstance(raised.value, ResourceError)
    assert not leftovers(tmp_path)


def test_a_remote_that_never_answers_is_given_up(
    make_dataset: Make, folder: Path, tmp_path: Path, faulty: Callable[[Fault], None]
) -> None:
    release = threading.Event()
    faulty(lambda remote: release.wait(60) and None)
    dataset = make_dataset(mix=far(folder, tmp_path, download_timeout=0.05), batch_size=8)
    with pytest.raises(ResourceError, match=r"no answer within"):
        list(dataset)
    release.set()


def test_a_remote_shard_that_is_missing_is_named(make_dataset: Make, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "far")
    (tmp_path / "far/third/shard.00001.mds").unlink()
    dataset = make_dataset(mix=far(tmp_path / "far", tmp_path / "here"), batch_size=8)
    with pytest.raises(DataError, match=r"stream 'third', shard shard\.00001\.mds"):
        list(dataset)


def test_a_remote_shard_that_is_cut_off_is_never_taken_for_whole(make_dataset: Make, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "far")
    shard = tmp_path / "far/third/shard.00001.mds"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-5])
    dataset = make_dataset(mix=far(tmp_path / "far", tmp_path / "here"), batch_size=8)
    with pytest.raises(DataError, match=rf"stream 'third', shard .* has {len(whole) - 5} bytes, .* says {len(whole)}"):
        list(dataset)
    assert not (tmp_path / "here/third/shard.00001.mds").exists()
    assert not leftovers(tmp_path)


def test_a_cached_shard_that_was_cut_off_is_fetched_again(make_dataset: Make, folder: Path, tmp_path: Path) -> None:
    mix = far(folder, tmp_path)
    first = make_dataset(mix=mix, batch_size=8)
    assert keys_of(first) == planned(first.plan)
    for shard in tmp_path.rglob("shard.00000.mds"):
        shard.write_bytes(shard.read_bytes()[:100])
    second = make_dataset(mix=mix, batch_size=8)
    assert keys_of(second) == planned(second.plan)


def hashed(root: Path, compression: str | None = None) -> Path:
    with MDSWriter(out=str(root), columns={"key": "int"}, hashes=["sha1"], compression=compression, size_limit=400) as writer:
        for key in range(60):
            writer.write({"key": key})
    return root


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(bytes(content))


def lone(**options: Any) -> Mix:
    phases = (Phase(until=Decimal(1), weights={"only": Decimal(1)}),)
    return Mix(name="lone", samples=60, streams={"only": Stream(**options)}, phases=phases)


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("remote", [False, True])
def test_a_flipped_bit_is_found_by_the_hash(make_dataset: Make, tmp_path: Path, compression: str | None, remote: bool) -> None:
    place = hashed(tmp_path / "far", compression)
    victim = sorted(place.glob("shard.00001.mds*"))[0]
    flip(victim)
    where = {"remote": str(place), "local": str(tmp_path / "here")} if remote else {"local": str(place)}
    dataset = make_dataset(mix=lone(validate_hash="sha1", **where), batch_size=4)
    with pytest.raises(DataError, match=r"stream 'only', shard shard\.00001\.mds.*sha1"):
        list(dataset)


def test_an_unknown_hash_is_refused(make_dataset: Make, tmp_path: Path) -> None:
    place = hashed(tmp_path / "far")
    dataset = make_dataset(mix=lone(validate_hash="md5", remote=str(place), local=str(tmp_path / "here")), batch_size=4)
    with pytest.raises(DataError, match=r"validate_hash: md5.*sha1"):
        list(dataset)


def test_a_flipped_bit_in_the_table_of_a_shard_is_found_without_hashes(
    make_dataset: Make, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "copied")
    shard = tmp_path / "copied/first/shard.00000.mds"
    content = bytearray(shard.read_bytes())
    content[10] ^= 64
    shard.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"stream 'first'.*shard\.00000\.mds"):
        list(make_dataset(mix=ramp(tmp_path / "copied"), batch_size=8))


@pytest.mark.parametrize("content", ["", '{"version": 2, "sha'])
def test_a_half_written_index_is_fetched_again_or_named(make_dataset: Make, folder: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "first/index.json").write_text(content)
    dataset = make_dataset(mix=far(folder, tmp_path), batch_size=8)
    assert keys_of(dataset) == planned(dataset.plan)
    shutil.copytree(folder, tmp_path / "far")
    (tmp_path / "far/first/index.json").write_text(content)
    with pytest.raises(CurriculumError, match="stream 'first'"):
        make_dataset(mix=far(tmp_path / "far", tmp_path / "elsewhere"), batch_size=8)


def test_a_full_disk_is_named_with_its_folder(
    make_dataset: Make, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(self: Any, remote: str, local: str, timeout: float) -> None:
        if remote.endswith(".json"):
            copy_file(self, remote, local, timeout)
            return
        Path(local + ".tmp").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LocalDownloader, "_download_file_impl", download)
    dataset = make_dataset(mix=far(folder, tmp_path), batch_size=8)
    with pytest.raises(ResourceError, match=r"stream '\w+', shard .*cannot be written.*cache_limit"):
        list(dataset)
    assert not leftovers(tmp_path)


def test_a_killed_worker_is_reported_and_the_run_goes_on_from_its_state(make_dataset: Make, folder: Path) -> None:
    mix = ramp(folder)
    others = multiprocessing.active_children()
    batches = loader(make_dataset(mix=mix, batch_size=8), 2)
    iterator = iter(batches)
    played = keys_of(islice(iterator, 5))
    state = batches.state_dict()
    workers = [process for process in multiprocessing.active_children() if process not in others]
    assert len(workers) == 2
    with pytest.raises(RuntimeError, match=r"DataLoader worker.*(killed|exited)"):
        try:
            workers[0].kill()  # from here on the notice may come at any time
            list(iterator)
        except (OSError, EOFError):  # a batch lay ready whose memory the dead worker no longer hands over
            time.sleep(60)  # torch's notice of the death, a signal, comes into this
    after = loader(make_dataset(mix=mix, batch_size=8), 2)
    after.load_state_dict(state)
    assert played + keys_of(after) == planned(mix.plan(SIZES))


SLOW = """
import sys, time
from pathlib import Path
import streaming_help
from test_streaming_faults import LocalDownloader, copy_file, far
from curriculum.streaming import StreamingDataset
def slow(self, remote, local, timeout):
    Path(local).write_bytes(b"half")
    print("downloading", flush=True)
    time.sleep(600)
if __name__ == "__main__":
    dataset = StreamingDataset(mix=far(Path(sys.argv[1]), Path(sys.argv[2])), batch_size=8)
    LocalDownloader._download_file_impl = slow
    list(dataset)
"""


def started(code: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True, env=environment)


def test_a_download_cut_off_by_kill_9_is_done_again_by_the_next_job(make_dataset: Make, folder: Path, tmp_path: Path) -> None:
    process = started(SLOW, str(folder), str(tmp_path))
    assert process.stdout is not None
    assert process.stdout.readline().startswith("downloading")
    process.kill()
    process.wait()
    assert list(tmp_path.rglob("*.part"))
    dataset = make_dataset(mix=far(folder, tmp_path), batch_size=8)
    assert keys_of(dataset) == planned(dataset.plan)
    assert not list(tmp_path.rglob("*.part"))


TRAIN = """
import json, os, sys
from pathlib import Path
from streaming_help import keys_of, loader, ramp
from curriculum.streaming import StreamingDataset
if __name__ == "__main__":
    out = Path(sys.argv[2])
    batches = loader(StreamingDataset(mix=ramp(Path(sys.argv[1]), samples=100_000), batch_size=8), 1)
    played = []
    for batch in batches:
        played += keys_of([batch])
        (out / "new").write_text(json.dumps({"played": played, "state": batches.state_dict()}))
        os.replace(out / "new", out / "checkpoint")
        print("step", flush=True)
"""


def test_sigterm_in_the_middle_of_a_batch_loses_nothing_that_was_saved(
    make_dataset: Make, folder: Path, tmp_path: Path
) -> None:
    process = started(TRAIN, str(folder), str(tmp_path))
    assert process.stdout is not None
    for _ in range(20):
        assert process.stdout.readline() == "step\n"
    process.terminate()
    assert process.wait(30) == -signal.SIGTERM
    checkpoint = json.loads((tmp_path / "checkpoint").read_text())
    assert len(checkpoint["played"]) >= 160
    dataset = make_dataset(mix=ramp(folder, samples=100_000), batch_size=8)
    dataset.load_state_dict(checkpoint["state"])
    played = checkpoint["played"] + keys_of(islice(dataset, 80))
    assert played == planned(dataset.plan, 0, len(played))


def test_two_jobs_may_share_a_cache_and_start_together(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from streaming_help import keys_of, loader;"
        "from test_streaming_faults import far; from curriculum.streaming import StreamingDataset;"
        "print(len(set(keys_of(loader(StreamingDataset(mix=far(Path(sys.argv[1]), Path(sys.argv[2])), batch_size=8), 2)))))"
    )
    jobs = [started(code, str(folder), str(tmp_path)) for _ in range(2)]
    assert [job.communicate(timeout=120)[0] for job in jobs] == ["400\n"] * 2
    assert not leftovers(tmp_path)


def size_of(path: Path) -> int:
    """Return a file's bytes; none if it was evicted between being listed and being asked."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_a_cache_limit_is_kept_and_nothing_is_lost(make_dataset: Make, folder: Path, tmp_path: Path) -> None:
    mix = far(folder, tmp_path)
    largest = max(path.stat().st_size for path in folder.rglob("*.mds"))
    limit = 5 * largest
    with pytest.raises(CurriculumError, match="cache_limit"):
        make_dataset(mix=mix, batch_size=8, cache_limit=2 * largest)
    dataset = make_dataset(mix=mix, batch_size=8, cache_limit=limit)
    used = []
    keys: list[int] = []
    for sample in dataset:
        keys += keys_of([sample])
        used.append(sum(size_of(path) for path in tmp_path.rglob("*.mds")))
    assert keys == planned(dataset.plan)
    assert 0 < max(used) <= limit + largest  # and whatever is being downloaded at the moment
    assert np.median(used) > 2 * largest
