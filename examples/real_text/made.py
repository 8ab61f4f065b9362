"""Folders that are made once, and made again where what decides them changed or a file of theirs is not as it was.

Idea: a record in the folder holds one hash of all that decides it (settings, sources, and the modules that are the rules)
and one of each file. What comes out the same when made again is left as it lies, since a run may be reading it.
Alternatives: comparing times (a copy changes them) or asking only whether a file is there (a changed rule and a lost shard
then go unnoticed). The price: every call reads the files once, and a new comment in a module of rules costs making anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from curriculum.streaming.documents import hash_file

RECORD = "made_from.json"


def fingerprint(modules: Iterable[str | None], *parts: Any) -> str:
    """Return a hash of the files of modules and of what else decides a folder: anything JSON can hold."""
    rules = [hash_file(Path(str(module))) for module in modules]
    return hashlib.sha256(json.dumps([rules, *parts]).encode()).hexdigest()


def made_once(folder: Path, made_from: str, make: Callable[[Path], object]) -> Path:
    """Return `folder`, for which `make` fills a new one unless it was made from just this and holds every file unchanged."""
    if _is_made(folder, made_from):
        return folder
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    make(partial)
    files = {path.name: hash_file(path) for path in sorted(partial.iterdir())}
    if _holds(folder, files):
        shutil.rmtree(partial)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)
    (folder / RECORD).write_text(json.dumps({"made_from": made_from, "files": files}, indent=1))
    return folder


def _is_made(folder: Path, made_from: str) -> bool:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return bool(record["made_from"] == made_from) and _holds(folder, record["files"])
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _holds(folder: Path, files: Mapping[str, str]) -> bool:
    """Say whether these files lie there unchanged; others beside them do not matter."""
    return all((folder / name).is_file() and hash_file(folder / name) == sha256 for name, sha256 in files.items())
