"""How long `curriculum --help` takes against `import torch`; at most a third is allowed.

python benchmarks/startup.py
"""

from __future__ import annotations

import subprocess
import sys
from statistics import median
from time import perf_counter

COMMANDS = {
    "curriculum --help": [sys.executable, "-m", "curriculum.cli", "--help"],
    "curriculum check search/default.yaml": [sys.executable, "-m", "curriculum.cli", "check", "search/default.yaml"],
    "python -c 'import torch'": [sys.executable, "-c", "import torch"],
}


def seconds(command: list[str]) -> float:
    """Return the wall time of one call."""
    started = perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return perf_counter() - started


def main() -> None:
    """Time each command seven times, in turn, and print medians."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(7):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    torch = median(times["python -c 'import torch'"])
    print("| command | median, s | against importing torch |\n|---|---|---|")
    for name, found in times.items():
        print(f"| `{name}` | {median(found):.2f} | {median(found) / torch:.2f} |")


if __name__ == "__main__":
    main()
