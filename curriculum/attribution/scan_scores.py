"""The score file of a scan: Parquet with a row a window, as `order: {scores: FILE}` of a mix reads it.

Columns: stream, start, stop, score; and general, shallow, the two counts behind the score, from which a stream's own pull
can be had again (the search's start does). Readers of score files ignore columns that they do not ask for.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np

from curriculum.attribution.scan import ScanResult
from curriculum.errors import ResourceError


def write_scores(path: Path, result: ScanResult) -> None:
    """Write the scores of all windows, the file whole or not at all. Raises ResourceError."""
    import pyarrow
    from pyarrow.parquet import write_table

    names = [name for stream in result.counts for name in [stream.name] * len(stream.counts)]
    columns = {
        "stream": pyarrow.array(names, pyarrow.string()),
        "start": np.concatenate([stream.starts for stream in result.counts]),
        "stop": np.concatenate([stream.stops for stream in result.counts]),
        "score": np.concatenate(result.scores),
        "general": np.concatenate([stream.general for stream in result.counts]),
        "shallow": np.concatenate([stream.shallow for stream in result.counts]),
    }
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_table(pyarrow.table(columns), partial)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):  # a place where nothing can be written has nothing to remove either
            partial.unlink()
        raise ResourceError(f"could not write {path}: {error.strerror or error}; make room, or give another --out") from error
