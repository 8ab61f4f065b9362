"""What a page of the documentation takes for granted: a model in training, a finished study, other trainers' files.

A function a page fills the folder that looks like a checkout, and returns the names that its Python may use.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from report_help import made_study
from test_import import FOUNDRY, MEGATRON, OLMO, REGMIX

from curriculum.probe.testbed import STREAMS, VOCABULARY, generate_samples

SMALL = """\
version: 1
name: small
seed: 3
streams: {arith: {local: "testbed:arith"}, icl: {local: "testbed:icl"}, facts: {local: "testbed:facts"}}
length: {samples: 640}
proxy: {layers: 1, width: 16, heads: 1, batch: 16, readings: 20}
probes: [{name: flipped, family: flipped, builtin: "testbed:flipped", floor: 0, items: 16}]
"""
LEARNT_AT_ONCE = """\
version: 1
name: small
seed: 3
streams:
  arith: {local: "testbed:arith"}
  icl: {local: "testbed:icl"}
  count: {local: "testbed:count"}
  repeat: {local: "testbed:repeat"}
  facts: {local: "testbed:facts"}
length: {samples: 640}
proxy: {layers: 1, width: 16, heads: 1, batch: 16, readings: 20, learning_rate: 0.01}
probes: [{name: common, family: common, floor: 0, items: 16, file: common.jsonl, control: common.jsonl}]
"""
STATIC = """\
version: 1
name: static
samples: 640
streams: {arith: {local: "testbed:arith"}, icl: {local: "testbed:icl"}, facts: {local: "testbed:facts"}}
phases: [{until: 0.5, weights: {arith: 2, icl: 1, facts: 2}}, {until: 1, weights: {arith: 1, icl: 2, facts: 2}}]
"""


def _monitor(folder: Path, base: Path) -> dict[str, Any]:
    """A model in somebody's loop of three steps, and a suite of one task: all of the written one would take seconds."""
    from model_help import network, tokenizer

    from curriculum.probe.suite_files import WRITTEN

    for file in (WRITTEN / "intuitive_answer").glob("classic*.jsonl"):
        (folder / "suite/intuitive_answer").mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / "suite/intuitive_answer")
    model = network("llama", max_position_embeddings=4096)
    return {"model": model, "tokenizer": tokenizer(), "loader": range(3), "batch_size": 8, "loss": 1.0}


def _report(folder: Path, base: Path) -> dict[str, Any]:
    """A finished study in runs/mine."""
    shutil.copytree(made_study(base), folder / "runs" / "mine")
    return {}


def _export(folder: Path, base: Path) -> dict[str, Any]:
    """Other trainers' mixes."""
    olmo = OLMO.replace("requested_tokens: 8000", "requested_tokens: 8_000_000")
    for name, text in {"train": FOUNDRY, "mixture": olmo, "n1": REGMIX}.items():
        (folder / f"{name}.yaml").write_text(text)
    (folder / "data-args.txt").write_text(MEGATRON)
    return {}


def _attribution(folder: Path, base: Path) -> dict[str, Any]:
    """A study for fewer samples: its probe asks for a common token before one that never comes, which is learnt at once."""
    (folder / "small.yaml").write_text(LEARNT_AT_ONCE)
    samples = [generate_samples(name, count=64, seed=0) for name in STREAMS]
    counts = np.bincount(np.concatenate([tokens[mask == 1] for tokens, mask in samples]), minlength=VOCABULARY)
    answers = {"correct_answer": [int(counts.argmax())], "incorrect_answer": [int(counts.argmin())]}
    rows = [{"split": "test", "prompt": [1 + number, 2], **answers} for number in range(48)]
    (folder / "common.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return {}


def _one_run(folder: Path, base: Path) -> dict[str, Any]:
    """A run of `static` in runs/static with four checkpoints, as `curriculum run` leaves it."""
    from click.testing import CliRunner

    from curriculum.cli import cli

    (folder / "small.yaml").write_text(SMALL)
    (folder / "mixes/static.yaml").write_text(STATIC)
    words = ["run", "mixes/static.yaml", "--study", "small.yaml", "--checkpoints", "4"]
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    return {}


SETUPS: Mapping[str, Callable[[Path, Path], dict[str, Any]]] = {
    "docs/attribution.md": _attribution,
    "docs/export.md": _export,
    "docs/monitor.md": _monitor,
    "docs/probes.md": _one_run,
    "docs/report.md": _report,
}
