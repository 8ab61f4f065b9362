"""Runs an example of trainers and writes the names of the threads it ends with: `trainers_exit.py FOLDER EXAMPLE.py ...`."""

import atexit
import json
import os
import runpy
import sys
from contextlib import suppress
from pathlib import Path


def write_threads(file: Path) -> None:
    """Write the names of this process's threads, those of libraries included."""
    names = []
    for thread in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            names.append((thread / "comm").read_text().strip())
    file.write_text(json.dumps(sorted(names)))


if __name__ == "__main__":
    _, folder, *sys.argv = sys.argv
    atexit.register(write_threads, Path(folder) / f"threads-{os.environ.get('RANK', '0')}.json")
    sys.path.insert(0, str(Path(sys.argv[0]).parent))
    runpy.run_path(sys.argv[0], run_name="__main__")
