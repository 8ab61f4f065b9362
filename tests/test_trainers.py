"""The examples of trainers, run as a user runs them: a stopped and resumed run trains on what an uninterrupted one does."""

import json
import math
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from curriculum import StreamingDataset

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "examples" / "trainers"
STEPS, SAVE_EVERY, STOP_AFTER, BATCH = 40, 10, 13, 8  # the mix has 25 steps: the resumed run ends in the second epoch


def torch_model(out: Path) -> dict[str, Any]:
    model: dict[str, Any] = torch.load(out / "checkpoint.pt", weights_only=True)["model"]
    return model


def hf_model(out: Path) -> dict[str, Any]:
    model: dict[str, Any] = load_file(out / f"checkpoint-{STEPS}" / "model.safetensors")
    return model


def lightning_model(out: Path) -> dict[str, Any]:
    model: dict[str, Any] = torch.load(out / "checkpoint.ckpt", weights_only=True)["state_dict"]
    return model


MODELS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "torch_ddp": torch_model,
    "hf_trainer": hf_model,
    "lightning_trainer": lightning_model,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Runs:
    """Folder and log lines of one example: of a run that was not stopped, before a stop, and after the resumption."""

    example: str
    folder: Path
    whole: list[dict[str, Any]]
    before: list[dict[str, Any]]
    after: list[dict[str, Any]]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a Python that has what this one has, but no torchvision where it cannot be loaded (see the README there)."""
    loads = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, check=False)
    if loads.returncode == 0:
        return sys.executable
    folder = tmp_path_factory.mktemp("python")
    venv.create(folder, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith("torchvision"):
            (packages / entry.name).symlink_to(entry)
    return str(folder / "bin" / "python")


def start(python: str, example: str, out: Path | None, *options: str, processes: int = 0) -> subprocess.Popen[str]:
    """Start an example, alone or under torchrun; there each process leaves the names of its last threads beside `out`."""
    length = ["--steps", str(STEPS), "--save-every", str(SAVE_EVERY)]
    given = [] if out is None else ["--out", str(out)]
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    launcher = [*torchrun, str(ROOT / "tests" / "trainers_exit.py"), str(out.parent)] if out and processes else []
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [python, *launcher, str(FOLDER / f"{example}.py"), *given, *length, *options],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(running: subprocess.Popen[str], code: int = 0) -> str:
    """Wait for an example, and return what it printed."""
    try:
        printed, _ = running.communicate(timeout=400)
    except subprocess.TimeoutExpired:
        running.terminate()  # torchrun ends its processes then; killed, it would leave them behind
        printed = running.communicate(timeout=60)[0] + "\nhung for 400 s"
    assert running.returncode == code, printed[-3000:]
    return printed


def log_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "consumed.jsonl").read_text().splitlines()]


def stop_and_resume(python: str, example: str, folder: Path) -> Runs:
    """Run an example whole and, at the same time, stopped; then resume the stopped one."""
    whole, cut = folder / "whole", folder / "cut"
    both = [start(python, example, whole), start(python, example, cut, "--stop-after", str(STOP_AFTER))]
    for running in both:
        finish(running)
    before = log_of(cut)
    finish(start(python, example, cut))
    return Runs(example=example, folder=folder, whole=log_of(whole), before=before, after=log_of(cut)[len(before) :])


def samples_of(lines: list[dict[str, Any]]) -> list[str]:
    return [sample for line in lines for sample in line["samples"]]


def planned() -> list[str]:
    """Return the hashes of the samples at the positions of the mix's first epoch."""
    dataset = StreamingDataset(mix=FOLDER / "mix.yaml", batch_size=BATCH)
    samples = dataset.__getitems__(np.arange(dataset.plan.samples))
    dataset.close()
    return [sha256(sample["tokens"].tobytes()).hexdigest()[:12] for sample in samples]


@pytest.fixture(scope="module", params=MODELS)
def runs(request: pytest.FixtureRequest, python: str, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return stop_and_resume(python, request.param, tmp_path_factory.mktemp(request.param))


def test_a_run_trains_on_the_plan(runs: Runs) -> None:
    consumed, epoch = samples_of(runs.whole), planned()
    assert consumed[: len(epoch)] == epoch
    assert len(set(consumed)) == STEPS * BATCH  # later epochs continue the draws: nothing comes twice
    assert all(math.isfinite(line["loss"]) for line in runs.whole)


def test_a_resumed_run_loses_and_repeats_nothing(runs: Runs) -> None:
    assert [line["step"] for line in runs.before] == list(range(1, STOP_AFTER + 1))
    assert [line["step"] for line in runs.after] == list(range(SAVE_EVERY + 1, STEPS + 1))
    assert [*runs.before[:SAVE_EVERY], *runs.after] == runs.whole  # samples and losses
    assert runs.before == runs.whole[:STOP_AFTER]


def test_a_resumed_run_ends_with_the_same_model(runs: Runs) -> None:
    whole, resumed = (MODELS[runs.example](runs.folder / name) for name in ("whole", "cut"))
    assert whole and all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_two_processes_share_the_samples_and_one_goes_on(runs: Runs, python: str) -> None:
    two = runs.folder / "two"
    finish(start(python, runs.example, two, "--stop-after", str(STOP_AFTER), processes=2))
    before = log_of(two)
    threads = [json.loads((runs.folder / f"threads-{rank}.json").read_text()) for rank in (0, 1)]
    # A thread of the process group that goes on while the interpreter ends aborts the process now and then.
    assert all(names and "gloo" not in " ".join(names) for names in threads), threads
    for line in runs.whole[:STOP_AFTER]:
        shares = {share["rank"]: share["samples"] for share in before if share["step"] == line["step"]}
        assert sorted(shares) == [0, 1]
        assert sorted(shares[0] + shares[1]) == sorted(line["samples"])  # each sample once over the ranks
    if runs.example == "torch_ddp":
        finish(start(python, runs.example, two))
        assert samples_of(log_of(two)[len(before) :]) == samples_of(runs.whole[SAVE_EVERY:])
        # Two ranks add their gradients up in another order than one does: the same to rounding, not to the bit.
        whole, resumed = (torch_model(runs.folder / name) for name in ("whole", "two"))
        assert all(torch.allclose(whole[name], resumed[name], atol=1e-4) for name in whole)


@pytest.mark.parametrize("runs", ["torch_ddp"], indirect=True)
def test_mistakes_end_in_a_message(runs: Runs, python: str, tmp_path: Path) -> None:
    mix = tmp_path / "mix.yaml"
    mix.write_text((FOLDER / "mix.yaml").read_text().replace("seed: 11", "seed: 12"))
    changed = start(python, runs.example, runs.folder / "whole", "--mix", str(mix))
    nameless = start(python, runs.example, None)
    for running, part in ((changed, "seed"), (nameless, "--out")):
        printed = finish(running, code=2)
        assert "error: " in printed and part in printed and "Traceback" not in printed
