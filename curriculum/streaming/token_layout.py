"""What is known of a file of tokens before it is opened, whatever its format.

Idea: Megatron's .bin, an array of NumPy's with or without a header, datatrove's .ds are all the same thing behind some
offset: integers of one size. So each format's module only finds that out, and one reader serves them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from curriculum.errors import DataError
from curriculum.streaming.document_marks import DocumentPlace


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenFile:
    """A file of tokens as it was found; `size` and `offset` (of the first token) count bytes.

    `documents` says where documents begin (None: nobody wants to know), `index` is the sha256 of what was read beside
    the tokens to find this out (empty: nothing was).
    """

    path: Path
    size: int
    offset: int
    dtype: str
    item: int
    documents: DocumentPlace | None = None
    index: str = ""

    @property
    def tokens(self) -> int:
        """How many tokens the file holds."""
        return (self.size - self.offset) // self.item


def file_size(name: str, path: Path, way_out: str) -> int:
    """Return the size of a file of stream `name`, in bytes. Raises DataError: missing, a folder, not to be read."""
    try:
        with path.open("rb") as file:
            return file.seek(0, 2)
    except FileNotFoundError:
        raise DataError(f"stream {name!r}: no file {path}; {way_out}") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"stream {name!r}: {path} cannot be read ({reason.lower()}); {way_out}") from error
