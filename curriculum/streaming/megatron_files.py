"""Megatron's pair of files, PREFIX.bin and PREFIX.idx, understood without Megatron.

Idea: the .bin holds nothing but tokens, one document after the other, so that samples can be cut from it by arithmetic;
the .idx says of which size the tokens are and where documents begin. It is compared with the .bin before a run, since
the two are copied separately and are useless apart. Alternatives: Megatron's own reader needs Megatron and gives
documents, not samples. The price is a second place that knows the layout; as Megatron-LM's indexed_dataset.py writes it,
and its forks after it:

    magic "MMIDIDX\\0\\0" | version u64 = 1 | dtype u8 | sequences u64 | documents + 1 u64
    tokens of each sequence, i32 | its first byte in the .bin, i64 | first sequence of each document and their number, i64
    only for images beside text: mode of each sequence, i8

Not noticed: sequences that overlap or do not follow one another in the .bin (nobody writes such), since all of them
would have to be read; only the last one is compared with the size of the .bin.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curriculum.errors import DataError
from curriculum.streaming.document_marks import MegatronDocuments
from curriculum.streaming.token_layout import TokenFile, file_size

_HEADER = struct.Struct("<9sQBQQ")
_MAGIC = b"MMIDIDX\x00\x00"
_OLD_MAGIC = b"TNTIDX"
_DTYPES = {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 8: "uint16"}
_NO_TOKENS = {6: "float64", 7: "float32"}
_PAIR = "copy both files that Megatron's preprocessing wrote, and give `local` their common prefix"
_AGAIN = "copy the .idx and the .bin again, from the same preprocessing run"
_WHOLE_BYTES = 64 << 20  # an .idx up to this size is hashed whole, of a larger one the first and last megabyte
_PART_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class _Index:
    """The header of an .idx file of `size` bytes."""

    path: Path
    size: int
    code: int
    sequences: int
    documents: int

    @property
    def places(self) -> int:
        """The byte where the sequences' places begin."""
        return _HEADER.size + 4 * self.sequences

    @property
    def modes(self) -> int:
        """The byte where the modes begin, if there are any: where the file ends if not."""
        return self.places + 8 * self.sequences + 8 * self.documents


def find_megatron(name: str, local: str) -> TokenFile:
    """Return the tokens of stream `name` behind the prefix `local`, with or without `.bin`, and their documents.

    Raises DataError: one of the two files missing, damaged, or not belonging to the other.
    """
    prefix = local.removesuffix(".bin")
    tokens, index_path = Path(f"{prefix}.bin"), Path(f"{prefix}.idx")
    size = file_size(name, tokens, _PAIR)
    index = _read_header(name, index_path, file_size(name, index_path, _PAIR))
    item = np.dtype(_DTYPES[index.code]).itemsize
    _check_contents(name, index, tokens, size, item)
    documents = MegatronDocuments(
        path=index_path, first=index.places, sequences=index.sequences, documents=index.documents, item=item
    )
    return TokenFile(
        path=tokens,
        size=size,
        offset=0,
        dtype=_DTYPES[index.code],
        item=item,
        documents=documents,
        index=_digest(index),
    )


def _read_header(name: str, path: Path, size: int) -> _Index:
    """Return the header. Raises DataError unless the file is as long as it says and holds text."""
    if size < _HEADER.size:
        raise DataError(f"stream {name!r}: {path} is cut off: {size} bytes, its header alone has {_HEADER.size}; {_AGAIN}")
    with path.open("rb") as file:
        magic, version, code, sequences, documents = _HEADER.unpack(file.read(_HEADER.size))
    if magic != _MAGIC or version != 1:
        raise DataError(f"stream {name!r}: {path} {_what_it_is(magic, version)}")
    if code not in _DTYPES:
        held = _NO_TOKENS.get(code, f"a dtype unknown to Megatron, code {code}")
        known = ", ".join(_DTYPES.values())
        raise DataError(f"stream {name!r}: {path} says its tokens are {held}, wanted one of {known}; {_AGAIN}")
    index = _Index(path=path, size=size, code=code, sequences=sequences, documents=documents)
    if size < index.modes:
        raise DataError(f"stream {name!r}: {path} is cut off: {size} bytes, its header wants {index.modes}; {_AGAIN}")
    if size not in (index.modes, index.modes + sequences):
        raise DataError(f"stream {name!r}: {path} is damaged: {size} bytes, its header wants {index.modes}; {_AGAIN}")
    return index


def _what_it_is(magic: bytes, version: int) -> str:
    if magic == _MAGIC:
        return f"has version {version}, wanted 1; write it with a released Megatron-LM"
    if magic.startswith(_OLD_MAGIC):
        return "is of fairseq's old kind (lazy, cached), wanted the mmap kind; write it with `--dataset-impl mmap`"
    return f"is no index of Megatron's: it begins with {magic!r}, wanted {_MAGIC!r}; {_PAIR}"


def _check_contents(name: str, index: _Index, tokens: Path, size: int, item: int) -> None:
    """Raise DataError unless the last sequence ends where the .bin does, and the last document with it."""
    if index.sequences == 0:
        raise DataError(f"stream {name!r}: {index.path} lists no sequences; preprocess the data again or drop the stream")
    with index.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        (length,) = struct.unpack_from("<i", mapped, index.places - 4)
        (place,) = struct.unpack_from("<q", mapped, index.places + 8 * index.sequences - 8)
        last = struct.unpack_from("<q", mapped, index.modes - 8)[0] if index.documents else -1
        images = index.size > index.modes and mapped[index.modes :].strip(b"\x00")
    if last != index.sequences:
        raise DataError(
            f"stream {name!r}: {index.path} is damaged: its documents end at sequence {last} of {index.sequences}; {_AGAIN}"
        )
    if place + item * length != size:
        raise DataError(f"stream {name!r}: {tokens} has {size} bytes, {index.path.name} says {place + item * length}; {_AGAIN}")
    if images:
        raise DataError(f"stream {name!r}: {index.path} has images beside text, which are no tokens; give a stream of text")


def _digest(index: _Index) -> str:
    sha256 = hashlib.sha256()
    with index.path.open("rb") as file:
        if index.size < _WHOLE_BYTES:
            return hashlib.file_digest(file, "sha256").hexdigest()
        sha256.update(file.read(_PART_BYTES))
        file.seek(-_PART_BYTES, 2)
        sha256.update(file.read(_PART_BYTES))
    return sha256.hexdigest()
