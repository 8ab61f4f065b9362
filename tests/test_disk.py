"""What a search does on a disk that is full or has damaged its database: one clear message, and nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curriculum.cli import main
from curriculum.commands.search import search as run_search
from curriculum.errors import UserError

STUDY = """\
version: 1
name: tiny
seed: 3
streams:
  arith: {local: "testbed:arith"}
  facts: {local: "testbed:facts"}
length: {samples: 128}
exposure_shares: {arith: 1, facts: 2}
proxy: {layers: 1, width: 8, heads: 1, batch: 16, readings: 4}
probes:
  - {name: flipped, family: flipped, builtin: "testbed:flipped", floor: 0.0, items: 4}
space: {knots: 3, rank: 1}
objective: {metric: area, subject_to: [], common_tail: 0}
search: {sampler: random, finalists: 1, finalist_seeds: 2, candidates: 1, repeats: 1, reference_seeds: 2}
"""
DISK = 8 << 20  # bytes


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small disk of one's own."""
    folder = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    if (
        os.geteuid() != 0
        or shutil.which("mount") is None
        or subprocess.run(command, check=False, capture_output=True).returncode
    ):
        pytest.skip("only root can mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def leave(disk: Path, room: int | None) -> None:
    """Fill the disk but for `room` bytes; None empties it of what filled it."""
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    if room is None:
        return
    status = os.statvfs(disk)
    filler.write_bytes(b"\1" * max(0, status.f_bavail * status.f_bsize - room))


def search(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """The command, in this process; its exit code."""
    (folder / "tiny.yaml").write_text(STUDY)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["curriculum", "search", "tiny.yaml", "--budget", "4", "--workers", "1", "--runs", "runs"])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def found(folder: Path) -> dict[str, Any]:
    document = json.loads((folder / "runs/tiny/result.json").read_text())
    return {key: value for key, value in document.items() if key not in ("seconds", "study", "mix")}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The search on a disk with room."""
    folder = tmp_path_factory.mktemp("reference")
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert search(folder, monkeypatch) == 0
    return folder


def test_a_search_stops_on_a_full_disk_in_words_and_goes_on_when_there_is_room(
    disk: Path, reference: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (disk / "tiny.yaml").write_text(STUDY)
    finished: set[Path] = set()
    for room in (16 << 10, 256 << 10):  # before the first run; among the runs and the writes of the database
        leave(disk, room)
        assert search(disk, monkeypatch) == 1
        said = capfd.readouterr().err
        assert said.count("error:") == 1 and "Traceback" not in said, said
        assert any(word in said for word in ("No space left", "disk is full", "cannot be written")), said
        assert finished <= {*disk.glob("runs/tiny/*/run.json")}
        finished = {*disk.glob("runs/tiny/*/run.json")}
    assert 0 < len(finished) < len([*reference.glob("runs/tiny/*/run.json")])
    times = {path: path.stat().st_mtime_ns for path in finished}
    leave(disk, None)
    assert search(disk, monkeypatch) == 0
    assert found(disk) == found(reference)
    assert {path: path.stat().st_mtime_ns for path in finished} == times


def overwrite(path: Path) -> None:
    path.write_text("no database at all " * 99)


def spoil_pages(path: Path) -> None:
    """What a failing disk does: the first page is there, those after it are not."""
    content = bytearray(path.read_bytes())
    content[4096:40960] = b"\x55" * (40960 - 4096)
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [overwrite, spoil_pages])
def test_a_damaged_database_is_told_in_words_and_can_be_moved_away(
    damage: Any, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(reference / "runs", tmp_path / "runs")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/tiny/*/run.json")}
    damage(tmp_path / "runs/tiny/study.db")
    assert search(tmp_path, monkeypatch) in (1, 2)
    said = capfd.readouterr().err
    assert said.count("error:") == 1 and "study.db" in said and "Traceback" not in said, said
    assert "move it away" in said and "make room" not in said
    for path in tmp_path.glob("runs/tiny/study.db*"):
        path.unlink()
    assert search(tmp_path, monkeypatch) == 0
    assert found(tmp_path) == found(reference)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/tiny/*/run.json")} == before


@pytest.mark.parametrize("option", ["out", "runs"])
def test_a_file_where_a_folder_is_wanted_is_said_before_anything_is_trained(option: str, tmp_path: Path) -> None:
    study, file = tmp_path / "study.yaml", tmp_path / "file"
    study.write_text(STUDY)
    file.write_text("")
    places = {"runs": tmp_path / "runs", "out": tmp_path / "mixes"} | {option: file}
    with pytest.raises(UserError, match=f"--{option}: wanted a folder, got {file}, which is a file"):
        run_search(study, budget=1, **places)
    assert not (tmp_path / "runs").exists()
