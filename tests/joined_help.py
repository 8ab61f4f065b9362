"""Small run folders for tests of what is sent from machine to machine."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd


def run_folder(folder: Path, margin: float = 0.5) -> Path:
    """A run as `load_run` reads it."""
    folder.mkdir(parents=True)
    row = {"position": 8, "step": 1, "probe": "p", "family": "f", "accuracy": 1.0, "margin": margin, "low": margin}
    rest = {"high": margin, "control_margin": 1.0, "capable": True, "mode": "general"}
    pd.DataFrame([row | rest]).to_parquet(folder / "trajectory.parquet")
    pd.DataFrame([{"position": 8, "stream": "a", "loss": margin}]).to_parquet(folder / "loss.parquet")
    pd.DataFrame(columns=["position", "suite", "bits_per_byte"]).to_parquet(folder / "bits_per_byte.parquet")
    (folder / "mix.yaml").write_text("version: 1\n")
    (folder / "run.json").write_text(json.dumps({"samples": 8, "seconds": margin}))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
