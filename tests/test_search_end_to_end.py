"""A whole search on tiny proxies: any number of workers, kills, a second run, changed settings, a foreign trainer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from curriculum.mix import Mix

CURRICULUM = [sys.executable, "-m", "curriculum.cli"]
STUDY = """\
version: 1
name: tiny
seed: 3
streams:
  arith: {local: "testbed:arith"}
  icl: {local: "testbed:icl"}
  facts: {local: "testbed:facts"}
length: {samples: 512}
exposure_shares: {arith: 1, icl: 1, facts: 2}
proxy: {layers: 1, width: 16, heads: 1, batch: 16, readings: 4}
probes:
  - {name: succession, family: succession, builtin: "testbed:succession", floor: 0.0, items: 16}
  - {name: flipped, family: flipped, builtin: "testbed:flipped", floor: 0.0, items: 16}
controls: {favour: [arith, icl]}
space: {knots: 4, rank: 1}
search: {finalists: 1, finalist_seeds: 2, candidates: 2, repeats: 1, reference_seeds: 2}
"""
OUTSIDE = """\
import sys, pandas as pd
from curriculum.mix import Mix
mix_file, seed, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
mix = Mix.load(mix_file)
early = float(mix.phases[0].weights["arith"] / sum(mix.phases[0].weights.values()))
fixed = dict(probe="p", family="f", accuracy=1.0, control_margin=1.0, capable=True)
rows = [dict(position=p, step=p, margin=early, low=early, high=early, **fixed) for p in range(128, 513, 128)]
pd.DataFrame(rows).to_parquet(f"{out}/trajectory.parquet")
if not mix.name.startswith("trial-4"):  # whose losses it forgets
    losses = [dict(position=512, stream=stream, loss=1.0) for stream in mix.streams]
    pd.DataFrame(losses).to_parquet(f"{out}/loss.parquet")
"""


def search(folder: Path, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*CURRICULUM, "search", "tiny.yaml", "--budget", "5", *arguments],
        cwd=folder, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert code is None or done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the search has been done once, with two workers."""
    path = tmp_path_factory.mktemp("search")
    (path / "tiny.yaml").write_text(STUDY)
    (path / "first.json").write_text(search(path, "--workers", "2", "--json").stdout)
    return path


def what_was_found(document: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in document.items() if key not in ("seconds", "study", "mix")}


def test_the_document_holds_what_is_promised(folder: Path) -> None:
    document = json.loads((folder / "first.json").read_text())
    assert document["verdict"] in ("winner", "transient", "tie", "none") and document["trials"] == 5
    assert {arm["name"] for arm in document["controls"]} >= {"static", "hold-then-low", "ramp-down", "ramp-up"}
    for arm in [*document["finalists"], *document["controls"]]:
        assert arm["pairs"] == 2 and set(arm["time_general"]) == {"mean", "low", "high"}
        assert set(arm["loss"]) == {"arith", "icl", "facts"} and "final_margin" in arm and "after_tail" in arm
    assert document["mix"] is None or Mix.load(document["mix"]).provenance is not None
    assert json.loads((folder / "runs/tiny/result.json").read_text()) == document
    assert document["runs"] == len(finished_runs(folder))
    assert document["tokens"] == document["runs"] * 512 * 24, "samples of 24 tokens"


def test_one_worker_finds_the_same_to_the_bit_and_leaves_the_same_trajectories(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(STUDY)
    document = json.loads(search(tmp_path, "--workers", "1", "--json").stdout)
    assert what_was_found(document) == what_was_found(json.loads((folder / "first.json").read_text()))
    runs = {path.parent.name: path for path in (tmp_path / "runs/tiny").glob("*/trajectory.parquet")}
    others = {path.parent.name: path for path in (folder / "runs/tiny").glob("*/trajectory.parquet")}
    assert set(runs) == set(others) and len(runs) > 20
    for name, path in runs.items():
        pd.testing.assert_frame_equal(pd.read_parquet(path), pd.read_parquet(others[name]), check_exact=True)


def test_a_second_call_trains_nothing_and_says_the_same(folder: Path) -> None:
    before = finished_runs(folder)
    again = json.loads(search(folder, "--json").stdout)
    assert what_was_found(again) == what_was_found(json.loads((folder / "first.json").read_text()))
    assert finished_runs(folder) == before


def test_a_file_that_no_search_wrote_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(STUDY)
    (tmp_path / "mixes").mkdir()
    (tmp_path / "mixes/tiny.yaml").write_text("mine\n")
    refused = search(tmp_path, code=2).stderr
    assert "was not written by the study 'tiny'" in refused and "--out" in refused and "Traceback" not in refused
    assert (tmp_path / "mixes/tiny.yaml").read_text() == "mine\n" and not list(tmp_path.glob("runs/tiny/*/run.json"))


def test_what_a_pruner_stopped_is_repeated_whole(tmp_path: Path) -> None:
    study = STUDY.replace("readings: 4", "readings: 8").replace("candidates: 2, repeats: 1", "candidates: 5, repeats: 3")
    (tmp_path / "tiny.yaml").write_text(study.replace("search: {", "search: {pruner: percentile-75, "))
    document = json.loads(search(tmp_path, "--budget", "20", "--json").stdout)
    runs = [json.loads(path.read_text()) for path in (tmp_path / "runs/tiny").glob("repeat-*/run.json")]
    assert document["stopped"] > 0 and len(runs) >= 12 and all(run.get("stopped") is None for run in runs)


def test_kills_of_coordinator_and_worker_lose_nothing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(STUDY)
    before: dict[Path, int] = {}
    for finished in (3, 9):
        process = subprocess.Popen(
            [*CURRICULUM, "search", "tiny.yaml", "--budget", "5", "--workers", "2"],
            cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for(lambda: len(list((tmp_path / "runs/tiny").glob("*/run.json"))) >= finished)  # noqa: B023
        if finished == 3:
            os.kill(workers_of(process.pid)[0], signal.SIGKILL)
            wait_for(lambda: len(list((tmp_path / "runs/tiny").glob("*/run.json"))) >= 6)
        process.kill()
        process.wait()
        assert finished_runs(tmp_path).items() >= before.items()
        before = finished_runs(tmp_path)
    document = json.loads(search(tmp_path, "--json").stdout)
    assert finished_runs(tmp_path).items() > before.items(), "what was done is not done again"
    assert what_was_found(document) == what_was_found(json.loads((folder / "first.json").read_text()))


def finished_runs(folder: Path) -> dict[Path, int]:
    """The records of finished runs, and when each was written."""
    return {path: path.stat().st_mtime_ns for path in (folder / "runs/tiny").glob("*/run.json")}


def wait_for(condition: object) -> None:
    started = time.monotonic()
    while not condition():  # type: ignore[operator]
        assert time.monotonic() - started < 400, "nothing happened for long"
        time.sleep(0.05)


def workers_of(parent: int) -> list[int]:
    """The spawned workers among a process's children (the resource tracker is one too)."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                if int(fields[1]) == parent and b"spawn_main" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def heed_interrupts() -> None:
    """Tests in the background of a script are told to ignore Ctrl-C; their children are not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_keeps_what_is_done_and_names_the_command_that_goes_on(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(STUDY)
    process = subprocess.Popen(
        [*CURRICULUM, "search", "tiny.yaml", "--budget", "50", "--workers", "2"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=heed_interrupts,  # noqa: PLW1509  # one thread here
    )  # fmt: skip
    wait_for(lambda: len(list((tmp_path / "runs/tiny").glob("*/run.json"))) >= 3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 130 and "search tiny.yaml --budget 50" in errors and "Traceback" not in errors
    kept = finished_runs(tmp_path)
    search(tmp_path)
    assert finished_runs(tmp_path).items() > kept.items() and len(kept) >= 3


def test_a_changed_study_is_refused_with_the_difference(folder: Path) -> None:
    changed = folder / "changed.yaml"
    changed.write_text(STUDY.replace("width: 16", "width: 32"))
    done = subprocess.run([*CURRICULUM, "search", "changed.yaml"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "recipe.width: 16 -> 32" in done.stderr and "Traceback" not in done.stderr


def test_a_cap_that_no_run_can_keep_is_refused_before_anything_is_begun(tmp_path: Path) -> None:
    """Were the study begun, the file that mends it would be refused as another study."""
    capped = STUDY.replace('arith: {local: "testbed:arith"}', 'arith: {local: "testbed:arith", max_epochs: 1}')
    (tmp_path / "tiny.yaml").write_text(capped.replace("{samples: 512}", "{samples: 409600}"))
    for command in ("check", "search"):
        refused = subprocess.run(
            [*CURRICULUM, command, "tiny.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
        )  # fmt: skip
        assert refused.returncode == 2 and "max_epochs: 1" in refused.stderr and "Traceback" not in refused.stderr
    assert not (tmp_path / "runs/tiny/study.json").exists()


def test_dry_run_announces_and_leaves_no_study(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(STUDY)
    found = json.loads(search(tmp_path, "--dry-run", "--json").stdout)
    assert (found["search"], found["proof"], found["tail"]) == (9, 14, 2)
    assert found["tokens"] == 25 * 512 * 24 and found["seconds"] > 0
    assert not (tmp_path / "runs").exists()


def test_a_program_of_ones_own_is_searched_with(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(OUTSIDE)
    command = f'proxy: {{command: "{sys.executable} {tmp_path}/train.py {{mix}} {{seed}} {{out}}"}}'
    probe = '- {name: p, family: f, builtin: "testbed:succession", floor: 0.0}'
    text = "\n".join(
        command if line.startswith("proxy:") else line
        for line in STUDY.splitlines()
        if "builtin" not in line or "succession" in line
    )
    text = "\n".join(f"  {probe}" if "builtin" in line else line for line in text.splitlines())
    (tmp_path / "tiny.yaml").write_text(text + "\nobjective: {metric: area, subject_to: [loss]}\n")
    done = search(tmp_path, "--json")
    document = json.loads(done.stdout)
    assert document["failed"] == 1 and "counts as failed: static's runs have a loss" in " ".join(done.stderr.split())
    arms = {arm["name"]: arm for arm in [*document["finalists"], *document["controls"]]}
    assert arms["hold-then-low"]["area"] > arms["static"]["area"] == pytest.approx(0.25)


def test_a_failing_program_is_reported_with_its_words(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print('no such device'); raise SystemExit(3)")
    command = f'proxy: {{command: "{sys.executable} {tmp_path}/train.py {{mix}} {{seed}} {{out}}", retries: 1}}'
    (tmp_path / "tiny.yaml").write_text(
        "\n".join(command if line.startswith("proxy:") else line for line in STUDY.splitlines())
    )
    done = search(tmp_path, code=1)
    assert "no such device" in done.stderr and "exit code 3" in done.stderr and "Traceback" not in done.stderr
    assert len(list((tmp_path / "runs/tiny").glob("*/command-1.log"))) == 2
