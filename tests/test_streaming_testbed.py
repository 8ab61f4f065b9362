"""The testbed's streams in the cache: written once, by whoever comes first, and never half."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import streaming_help
from streaming_help import Make, ramp

from curriculum.errors import ResourceError, UserError
from curriculum.mix import Stream
from curriculum.probe.testbed import STREAMS, generate_samples, stream_size
from curriculum.streaming import testbed as cache_of
from curriculum.streaming.index import check_shards, read_index, read_manifest
from curriculum.streaming.mds import MappedShard, fixed_layout

make_dataset = streaming_help.make_dataset
folder_of = cache_of.testbed_folder  # its own name would look like a test


@pytest.fixture(autouse=True)
def small_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_of, "stream_size", lambda name: 3000)
    cache_of._generator_hash.cache_clear()


def test_a_mix_reads_the_embedded_streams(make_dataset: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    named = {"first": Stream(local="testbed:arith"), "second": Stream(local="testbed:icl@3")}
    named["third"] = Stream(local="testbed:arith", split="heldout")
    dataset = make_dataset(mix=ramp(tmp_path, samples=300, streams=named), batch_size=8)
    wanted = [generate_samples("arith", 3000, 0), generate_samples("icl", 3000, 3)]
    for position, sample in enumerate(dataset.__getitems__(range(300))):
        stream, _, index = dataset.plan[position]
        assert sample["tokens"].dtype == sample["loss_mask"].dtype == np.uint8
        if stream < 2:
            np.testing.assert_array_equal(sample["tokens"], wanted[stream][0][index])
            np.testing.assert_array_equal(sample["loss_mask"], wanted[stream][1][index])
    assert (tmp_path / "curriculum/testbed").is_dir()
    assert dataset.samples_per_stream.tolist() == [3000, 3000, 2048]


def tokens_in(folder: Path) -> npt.NDArray[np.uint8]:
    layout = fixed_layout(["loss_mask", "tokens"], ["ndarray:uint8:24"] * 2)
    samples = read_index("any", folder).samples
    shard = MappedShard(folder / "shard.00000.mds", samples=samples, layout=layout)
    found: npt.NDArray[np.uint8] = np.stack([sample["tokens"] for sample in shard.read(np.arange(samples))])
    return found


def test_the_folder_holds_training_and_heldout_samples_and_a_manifest(tmp_path: Path) -> None:
    folder = folder_of("facts", seed=4, cache=tmp_path)
    for part, samples in ((folder, 3000), (folder / "heldout", 2048)):
        assert read_index("facts", part).samples == samples
        check_shards("facts", part)
        assert read_manifest(part)["tokens_per_sample"] == 24
    assert read_index("facts", folder).digest != read_index("facts", folder / "heldout").digest
    trained, held = (tokens_in(part) for part in (folder, folder / "heldout"))
    np.testing.assert_array_equal(trained, generate_samples("facts", 3000, 4)[0])
    for known in (trained[:2048], trained[-2048:], generate_samples("facts", 2048, 4)[0]):
        assert np.mean(np.any(known != held, axis=1)) > 0.9
    assert folder_of("facts", seed=4, cache=tmp_path) == folder
    assert folder_of("facts", seed=5, cache=tmp_path) != folder


def test_what_is_finished_is_left_alone_and_what_is_cut_off_is_rebuilt(tmp_path: Path) -> None:
    folder = folder_of("count", cache=tmp_path)
    shard = folder / "shard.00000.mds"
    whole, born = shard.read_bytes(), shard.stat().st_ino
    assert folder_of("count", cache=tmp_path) == folder
    assert shard.stat().st_ino == born
    shard.write_bytes(whole[:1000])
    folder_of("count", cache=tmp_path)
    assert shard.read_bytes() == whole
    for file in ("finished.json", "heldout/index.json"):
        (folder / file).unlink()
        folder_of("count", cache=tmp_path)
        assert (folder / file).exists()
    (folder / "finished.json").write_text("{")
    folder_of("count", cache=tmp_path)
    assert json.loads((folder / "finished.json").read_text())["shard.00000.mds"] == len(whole)


def test_a_changed_generator_gets_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = folder_of("count", cache=tmp_path)
    monkeypatch.setattr(cache_of, "generate_samples", lambda name, count, seed: generate_samples("repeat", count, seed))
    cache_of._generator_hash.cache_clear()
    assert folder_of("count", cache=tmp_path) != before


def test_a_full_disk_is_told_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path, columns: Any) -> None:
        folder.mkdir(parents=True)
        (folder / "shard.00000.mds").write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(cache_of, "write_stream", full)
        with pytest.raises(ResourceError, match=r"disk is full.*XDG_CACHE_HOME"):
            folder_of("icl", cache=tmp_path)
    assert [path.name for path in (tmp_path / "testbed").iterdir() if path.is_dir()] == []
    assert read_index("icl", folder_of("icl", cache=tmp_path)).samples == 3000


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="XDG_CACHE_HOME"):
        folder_of("icl", cache=tmp_path / "file")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UserError, match="no stream 'web'; it has arith"):
        folder_of("web")
    for wrong in ("testbed:", "testbed:arith@", "testbed:arith@-1", "testbed:arith@x"):
        with pytest.raises(UserError, match=r"testbed:NAME\[?"):
            cache_of.resolve_local(wrong)
    assert cache_of.resolve_local("/nvme/web") == "/nvme/web"
    assert cache_of.resolve_local(None) is None


def test_several_processes_may_ask_at_once(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from curriculum.streaming.testbed import testbed_folder as f;"
        "p = f('icl', cache=Path(sys.argv[1])); print((p / 'index.json').stat().st_ino)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "OMP_NUM_THREADS": "1"}
    asking = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, env=environment)
        for _ in range(3)
    ]
    answers = {process.communicate()[0] for process in asking}
    assert [process.returncode for process in asking] == [0] * 3
    assert len(answers) == 1


def test_generation_needs_no_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from curriculum.streaming.testbed import testbed_folder as f;"
        "import curriculum.streaming; f('arith', cache=Path(sys.argv[1])); print('torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    ran = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, env=environment, check=True)
    assert ran.stdout.decode().strip() == "False"


def test_every_stream_has_a_size() -> None:
    assert all(stream_size(name) > 1000 for name in STREAMS)
