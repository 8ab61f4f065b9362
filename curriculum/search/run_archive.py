"""A run folder's records as one piece of bytes, to be sent to another machine.

Idea: a run is read from a few small files. An archive without compression holds them (Parquet is compressed already),
with a digest over names and contents, so that equal runs have equal archives and a damaged one is noticed.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

_RECORD = "run.json"
_PACKED = (".json", ".yaml", ".parquet")  # what a run is read from; logs and checkpoints stay where they were made


def pack(folder: Path) -> tuple[bytes, str]:
    """Return a run folder's records as one archive, and a digest of what is in it."""
    digest, buffer = hashlib.sha256(), io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.iterdir()):
            if path.suffix in _PACKED and not path.name.startswith(".") and path.is_file():
                content = path.read_bytes()
                archive.writestr(zipfile.ZipInfo(path.name), content)
                _add(digest, path.name, content)
    return buffer.getvalue(), digest.hexdigest()


def unpack(payload: bytes, folder: Path, wanted: str) -> None:
    """Write an archive's files, each whole or not at all, the record last. Raises ValueError if it is not what was packed."""
    digest = hashlib.sha256()
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    for name, content in files.items():
        if Path(name).name != name or name.startswith("."):
            raise ValueError(f"a file may not be called {name!r}")
        _add(digest, name, content)
    if digest.hexdigest() != wanted:
        raise ValueError("its digest is another one")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _RECORD).unlink(missing_ok=True)
    for name in sorted(files, key=lambda name: name == _RECORD):
        temporary = folder / f".{name}.tmp"
        temporary.write_bytes(files[name])
        temporary.replace(folder / name)


def _add(digest: Any, name: str, content: bytes) -> None:
    digest.update(f"{name}:{len(content)}:".encode())
    digest.update(content)
