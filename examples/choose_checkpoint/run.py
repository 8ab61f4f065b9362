"""Which checkpoint of a run is the better start? One run that keeps its checkpoints, then `curriculum select`.

    python examples/choose_checkpoint/run.py [--out FOLDER] [--checkpoints 10] [--samples 32000]

Each command is printed before it runs; the same command again costs only what is new.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path

MIX = Path(__file__).parents[2] / "mixes" / "default.yaml"


def curriculum(*arguments: str, shown: bool = True) -> str:
    """Run `curriculum` with these arguments; return what it prints, unless it is shown."""
    print(f"$ curriculum {shlex.join(arguments)}", flush=True)
    command = [sys.executable, "-m", "curriculum", *arguments]
    return subprocess.run(command, check=True, text=True, stdout=None if shown else subprocess.PIPE).stdout or ""


def main() -> int:
    """Train, keep checkpoints, rank them; return the exit code."""
    parser = argparse.ArgumentParser(description="Train one proxy, and rank its checkpoints by behaviour beside loss.")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--checkpoints", type=int, default=10)
    parser.add_argument("--samples", type=int, default=32_000)
    given = parser.parse_args()
    options = ["--samples", str(given.samples), "--checkpoints", str(given.checkpoints), "--runs", str(given.out)]
    try:
        run = json.loads(curriculum("run", str(MIX), *options, "--json", shown=False))["run"]
        curriculum("select", run, "--answers", str(given.out / "answers"))
    except subprocess.CalledProcessError as failed:
        return int(failed.returncode)
    return 0


if __name__ == "__main__":
    sys.exit(main())
