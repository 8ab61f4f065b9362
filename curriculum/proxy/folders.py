"""Where a stream's files lie on this machine; known without torch, which a look at finished runs need not wait for."""

from __future__ import annotations

from pathlib import Path

from curriculum.errors import UserError
from curriculum.mix import Stream
from curriculum.streaming.testbed import resolve_local


def stream_folder(name: str, stream: Stream) -> Path:
    """Return the folder that holds the stream's index. Raises UserError for a stream without a local folder."""
    local = resolve_local(stream.local)
    if local is None:
        raise UserError(f"stream {name!r}: a proxy run needs a local folder; add local: to the stream")
    return Path(local) / (stream.split or "")
