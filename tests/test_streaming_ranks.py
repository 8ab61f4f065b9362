"""Several ranks, each a real process with two workers, driven through the environment variables."""

import json
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import streaming_help
from ports_help import free_port
from streaming_help import Make, keys_of, loader, planned, ramp, write_streams

from curriculum.streaming import StreamingDataset

make_dataset = streaming_help.make_dataset
GIVEN = 41 * 8  # samples after which one process stopped


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_streams(tmp_path_factory.mktemp("ranks"))


@pytest.fixture(scope="module")
def found(folder: Path) -> list[dict[str, Any]]:
    """Run the two ranks, beginning with a state that one process saved, and return what they found."""
    dataset = StreamingDataset(mix=ramp(folder), batch_size=8)
    batches = loader(dataset)
    list(islice(batches, GIVEN // 8))
    (folder / "given.json").write_text(json.dumps(batches.state_dict()))
    dataset.close()
    here = Path(__file__).parent
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    path = os.pathsep.join([str(here.parent), str(here), os.environ.get("PYTHONPATH", "")])
    ranks = [
        subprocess.Popen(
            [sys.executable, str(here / "streaming_ranks.py"), str(folder)],
            env={**os.environ, **world, "RANK": rank, "LOCAL_RANK": rank, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    try:
        for rank in ranks:
            _, complaint = rank.communicate(timeout=400)
            assert rank.returncode == 0, complaint[-3000:]
    finally:
        for rank in ranks:
            rank.kill()
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]


def together(found: list[dict[str, Any]], *path: str) -> list[int]:
    """Return the order of all ranks together: their samples in turn."""
    each = []
    for one in found:
        value: Any = one
        for part in path:
            value = value[part]
        each.append(value)
    return [key for row in zip(*each, strict=True) for key in row]


def test_ranks_together_play_the_plan_and_the_padding_is_marked(folder: Path, found: list[dict[str, Any]]) -> None:
    plan = ramp(folder).plan(streaming_help.SIZES)
    keys = together(found, "pass", "keys")
    assert keys[:1001] == planned(plan)
    assert len(keys) == 1002
    assert keys[1001] in planned(plan, 992)  # 62 whole batches of 16, then the last one
    assert [one["pass"]["padding"] for one in found] == [[], [500]]
    assert [one["pass"]["length"] for one in found] == [501, 501]
    assert {one["pass"]["batches"] for one in found} == {63}


def test_padding_is_outside_the_state(found: list[dict[str, Any]]) -> None:
    assert found[0]["pass"]["state"]["position"] == found[0]["pass"]["state"]["sample_in_epoch"] == 1001
    assert found[0]["stopped"]["state"]["position"] == 320


def test_stop_and_resume_drop_nothing_and_repeat_nothing(folder: Path, found: list[dict[str, Any]]) -> None:
    wanted = planned(ramp(folder).plan(streaming_help.SIZES))
    assert together(found, "stopped", "keys") == wanted[:320]
    assert together(found, "resumed")[: 1001 - 320] == wanted[320:]


def test_two_ranks_continue_what_one_process_began(folder: Path, found: list[dict[str, Any]]) -> None:
    wanted = planned(ramp(folder).plan(streaming_help.SIZES))
    assert together(found, "continued")[: 1001 - GIVEN] == wanted[GIVEN:]


def test_one_process_continues_what_two_ranks_began(make_dataset: Make, folder: Path, found: list[dict[str, Any]]) -> None:
    dataset = make_dataset(mix=ramp(folder), batch_size=16)
    batches = loader(dataset, 2)
    batches.load_state_dict(found[0]["stopped"]["state"])
    assert keys_of(batches) == planned(dataset.plan, 320)


def test_without_a_mix_ranks_stop_and_resume_as_with_mosaic(found: list[dict[str, Any]]) -> None:
    before, after = together(found, "plain stopped", "keys"), together(found, "plain resumed")
    every_key = [number * 10**6 + index for number, size in enumerate((500, 300, 200)) for index in range(size)]
    assert sorted(before + after) == every_key
    assert before != sorted(before)
