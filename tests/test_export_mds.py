"""A run written out as MDS: what a stop, a kill, a full disk and a second start do to it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import export_help as world
import numpy as np
import pytest
from streaming_help import release

import curriculum.export.mds as module
from curriculum.commands.export import Settings, export
from curriculum.errors import ChangedError, ResourceError, UserError
from curriculum.export.output import Output
from curriculum.export.target import Request
from curriculum.mix import Mix
from curriculum.streaming import StreamingDataset
from curriculum.streaming.mds import write_stream

SCRIPT = """
import os, time
import curriculum.export.mds as module
module._LARGEST_PART = 256
write = module._write_part
def slowly(*arguments):
    write(*arguments)
    time.sleep(3600 if os.path.exists(os.environ["STOP_AT"]) else 0)
module._write_part = slowly
from curriculum.cli import main
main()
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LARGEST_PART", 256)


def request(mix: Path, out: Path, progress: Callable[[int, int, str], None] = lambda *_: None) -> Request:
    return Request(mix=Mix.load(mix), plan=world.plan_of(mix), sizes=world.SIZES, output=Output(path=out), progress=progress)


def parts(out: Path) -> list[str]:
    return sorted(path.name for path in out.glob("*part*"))


def test_several_nodes_are_told_to_play_one_place_of_the_run(data: Path, tmp_path: Path) -> None:
    from streaming.base.partition import get_partitions

    said = module.export(request(world.write_mix(data, "ramp"), tmp_path / "out"))
    told = re.search(r"num_canonical_nodes=([0-9]+)", said.use)
    assert told is not None
    played = get_partitions("relaxed", 1600, int(told[1]), 2, 2, 1, 4)  # two nodes of two ranks, batches of four
    steps = [sorted(played[:, :, 0, step].ravel().tolist()) for step in range(played.shape[3])]
    assert steps == [list(range(start, start + 16)) for start in range(0, 1600, 16)]


def test_a_stopped_export_goes_on_where_it_was(data: Path, tmp_path: Path) -> None:
    mix, out = world.write_mix(data, "ramp"), tmp_path / "out"

    def stop(done: int, total: int, what: str) -> None:
        if done > 600:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        module.export(request(mix, out, stop))
    assert parts(out) == ["part-00000", "part-00001"] and not (out / "index.json").exists()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.mds")}
    seen: list[int] = []
    module.export(request(mix, out, lambda done, total, what: seen.append(done)))
    assert all(path.stat().st_mtime_ns == moment for path, moment in before.items())
    assert seen[-1] == 1600 and len(parts(out)) == 7 and world.play_mds(out, mix) == world.keys_of_plan(mix)


def test_our_own_loader_plays_it_too(data: Path, tmp_path: Path) -> None:
    mix, out = world.write_mix(data, "step"), tmp_path / "out"
    module.export(request(mix, out))
    phases = "phases:\n  - {until: 1, weights: {all: 1}}\n"
    streams = f"streams:\n  all: {{local: {out}, order: sequential}}\n"
    (tmp_path / "again.yaml").write_text(f"name: again\nsamples: 1600\n{streams}{phases}")
    dataset = StreamingDataset(mix=tmp_path / "again.yaml", batch_size=16)
    try:
        rows = (sample["tokens"] for sample in dataset.__getitems__(np.arange(1600)))
        assert world.keys_of(rows) == world.keys_of_plan(mix)
    finally:
        release(dataset)


def test_an_interrupted_and_then_killed_command_goes_on(data: Path, tmp_path: Path) -> None:
    mix, out = world.write_mix(data, "ramp"), tmp_path / "out"
    errors = stopped_after(out / "part-00001", signal.SIGINT, mix, out, code=130)
    assert "interrupted; finished work is kept" in errors and "Traceback" not in errors and not list(out.glob(".*"))
    stopped_after(out / "part-00004", signal.SIGKILL, mix, out, code=-signal.SIGKILL)
    assert not (out / "index.json").exists() and (out / "part-00004/index.json").exists()
    module.export(request(mix, out))
    assert world.play_mds(out, mix) == world.keys_of_plan(mix) and not list(out.glob(".*"))


def stopped_after(part: Path, how: signal.Signals, mix: Path, out: Path, *, code: int) -> str:
    """Run the command, send it a signal once a part is there, and return what it said."""
    command = [sys.executable, "-c", SCRIPT, "export", str(mix), "--to", "mds", "--out", str(out)]
    environment = {**os.environ, "STOP_AT": str(part)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts)  # noqa: PLW1509
    try:
        wait_for(part.exists)
        process.send_signal(how)
        _, errors = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == code
    return errors


def heed_interrupts() -> None:
    """Tests in the background of a script are told to ignore Ctrl-C; their children are not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_full_disk_is_said_and_the_same_command_goes_on(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import streaming

    mix, out = world.write_mix(data, "ramp"), tmp_path / "out"
    write, left = streaming.MDSWriter.write, [700]

    def fill(self: Any, sample: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(28, "No space left on device")
        write(self, sample)

    with monkeypatch.context() as patch:
        patch.setattr(streaming.MDSWriter, "write", fill)
        with pytest.raises(ResourceError, match="run the same command again"):
            module.export(request(mix, out))
    assert parts(out) == ["part-00000", "part-00001"] and not list(out.glob(".*"))
    module.export(request(mix, out))
    assert world.play_mds(out, mix) == world.keys_of_plan(mix)


def test_a_second_run_writes_nothing_and_a_changed_mix_is_refused(data: Path, tmp_path: Path) -> None:
    mix, out = world.write_mix(data, "step"), tmp_path / "out"
    module.export(request(mix, out))
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    module.export(request(mix, out))
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    changed = world.write_mix(data, "ramp")
    with pytest.raises(ChangedError, match="fingerprint"):
        module.export(request(changed, out))
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    export(changed, "mds", Settings(out=out, overwrite=True))
    assert world.play_mds(out, changed) == world.keys_of_plan(changed)


def test_an_export_does_not_go_on_with_other_data_of_the_same_sizes(tmp_path: Path) -> None:
    data, out = world.write_data(tmp_path / "data"), tmp_path / "out"
    mix = world.write_mix(data, "step")

    def stop(done: int, total: int, what: str) -> None:
        if done > 600:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        module.export(request(mix, out, stop))
    shutil.rmtree(data / "mds/code")
    write_stream(data / "mds/code", {"tokens": np.full((world.SIZES["code"], world.LENGTH), 3, np.uint16)}, shard_bytes=4096)
    with pytest.raises(ChangedError, match=r"other data \(data\)"):
        module.export(request(mix, out))


def test_a_folder_of_others_is_left_alone(data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="was not written by this command"):
            export(world.write_mix(data, "step"), "mds", Settings(out=tmp_path / "out", overwrite=overwrite))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_damaged_record_is_said_and_can_be_written_over(data: Path, tmp_path: Path) -> None:
    mix, out = world.write_mix(data, "step"), tmp_path / "out"
    out.mkdir()
    (out / "export.json").write_text("{")
    with pytest.raises(ChangedError, match="--overwrite"):
        export(mix, "mds", Settings(out=out))
    export(mix, "mds", Settings(out=out, overwrite=True))
    assert world.play_mds(out, mix) == world.keys_of_plan(mix)


def test_streams_of_different_columns_are_refused(data: Path, tmp_path: Path) -> None:
    mix = world.write_mix(data, "step", name="odd")
    odd = tmp_path / "odd"
    write_stream(odd, {"tokens": np.zeros((700, 9), np.uint16)})
    mix.write_text(mix.read_text().replace(f"{data}/mds/code", str(odd)))
    with pytest.raises(UserError, match="'web' and 'code' have different columns"):
        export(mix, "mds", Settings(out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["npy", "megatron"])
def test_token_files_become_mds(place: str, data: Path, tmp_path: Path) -> None:
    mix, out = world.write_mix(data, "step", place=place), tmp_path / "out"
    module.export(request(mix, out))
    assert world.play_mds(out, mix) == world.keys_of_plan(mix)


def test_the_embedded_testbed_can_be_exported(tmp_path: Path) -> None:
    (tmp_path / "mix.yaml").write_text(
        "name: bed\nsamples: 300\nstreams:\n  arith: {local: 'testbed:arith'}\nphases:\n  - {until: 1, weights: {arith: 1}}\n"
    )
    assert export(tmp_path / "mix.yaml", "mds", Settings(out=tmp_path / "out")) == 0
    assert len(list(iterate(tmp_path / "out"))) == 300


def iterate(folder: Path) -> Iterator[Any]:
    from streaming_help import mosaics_own

    made = mosaics_own(local=str(folder), shuffle=False, batch_size=10)
    try:
        yield from made
    finally:
        release(made)
