"""Plain arrays of tokens: OLMo-core's and Dolma's .npy, datatrove's and nanotron's .ds, nanoGPT's .bin, NumPy's .npy.

Idea: such a file is integers from its first to its last byte; what the integers are stands nowhere, unless a header of
NumPy's does precede them. So the mix says it (`token_dtype`), and what betrays a wrong word is looked for: training on
numbers of the wrong size would run without a complaint. Alternatives: guessing the size (wrong for some vocabularies),
or the sizes in each project's own metadata (not always copied along).

Where documents begin is told by what lies beside an array `part.npy`, in this order: `part.csv.gz` (OLMo-core, Dolma:
lines of start,end,...), `part.npy.index` (datatrove: ends, u64), and else by the stream's `eos_token`.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np

from curriculum.errors import DataError
from curriculum.mix import Stream
from curriculum.streaming.document_marks import DocumentPlace, EndsFile, EndsTable, EndToken
from curriculum.streaming.token_layout import TokenFile, file_size

_SUFFIXES = (".npy", ".ds")
_NUMPY_MAGIC = b"\x93NUMPY"
_LLM_C_MAGIC = struct.pack("<i", 20240520)
_LOCAL = "correct the stream's `local`"
_AGAIN = "copy the file again"
_LOOKED_AT = 65536  # bytes that are looked at for a wrong token_dtype
_SMALL = 15  # upper halves of 4-byte tokens of any vocabulary below a million


def find_arrays(name: str, local: str, stream: Stream, *, document_ids: bool) -> list[TokenFile]:
    """Return the arrays of stream `name`: the file `local`, or the folder's *.npy and *.ds, in the order of their names.

    Names are compared as texts (part-10 comes before part-2); folders below and hidden files are left out, and so is
    every *.bin: folders of those hold training and validation side by side, so they are named singly. Raises DataError.
    """
    folder = Path(local)
    paths = _in_folder(name, folder) if folder.is_dir() else [folder]
    files = [_find_array(name, path, stream) for path in paths]
    return [_with_documents(name, file, stream) for file in files] if document_ids else files


def _in_folder(name: str, folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        found = [entry.name for entry in entries if entry.name.endswith(_SUFFIXES) and not entry.name.startswith(".")]
    if not found:
        raise DataError(
            f"stream {name!r}: no *.npy and no *.ds in the folder {folder}; {_LOCAL}, which may also be a single file"
        )
    return [folder / file for file in sorted(found)]


def _find_array(name: str, path: Path, stream: Stream) -> TokenFile:
    size = file_size(name, path, _LOCAL)
    if size == 0:
        raise DataError(f"stream {name!r}: {path} is empty; {_AGAIN}, or remove it")
    with path.open("rb") as file:
        begin = file.read(_LOOKED_AT)
    if begin.startswith(_NUMPY_MAGIC):
        return _with_header(name, path, size, stream)
    if begin.startswith(_LLM_C_MAGIC):
        raise DataError(
            f"stream {name!r}: {path} has a header of llm.c's, which would be read as tokens; "
            "save its tokens with numpy.save, or without the first 1024 bytes"
        )
    dtype = np.dtype(stream.token_dtype or "uint16")
    if stream.token_dtype is None and _looks_like_uint32(begin):
        raise DataError(
            f"stream {name!r}: {path} looks like tokens of 4 bytes, not 2; add `token_dtype: uint32` to the stream "
            "(or `token_dtype: uint16`, if that is what they are)"
        )
    if size % dtype.itemsize:
        raise DataError(
            f"stream {name!r}: {path} has {size} bytes, no multiple of the {dtype.itemsize} of {dtype}; "
            f"correct the stream's `token_dtype`, or {_AGAIN}"
        )
    return TokenFile(path=path, size=size, offset=0, dtype=dtype.name, item=dtype.itemsize)


def _with_header(name: str, path: Path, size: int, stream: Stream) -> TokenFile:
    """Return what the header of a file written by numpy.save says. Raises DataError."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"stream {name!r}: {path} is damaged ({error}); {_AGAIN}") from error
    wanted = "wanted tokens in one row, or samples of `sequence_length` tokens"
    if array.ndim != 1 and not (array.shape[1:] == (stream.sequence_length,) and array.flags.c_contiguous):
        raise DataError(f"stream {name!r}: {path} is an array of shape {array.shape}; {wanted}: save it so")
    if array.dtype.kind not in "iu" or not array.dtype.isnative:
        raise DataError(f"stream {name!r}: {path} holds {array.dtype.str}, wanted integers of this machine; save it so")
    if stream.token_dtype is not None and array.dtype != stream.token_dtype:
        raise DataError(
            f"stream {name!r}: {path} holds {array.dtype}, the stream's token_dtype is {stream.token_dtype}; "
            "remove `token_dtype`: the file says it itself"
        )
    end = array.offset + array.nbytes
    if size != end:
        raise DataError(f"stream {name!r}: {path} has {size} bytes, its header wants {end}; {_AGAIN}")
    return TokenFile(path=path, size=size, offset=array.offset, dtype=array.dtype.name, item=array.dtype.itemsize)


def _looks_like_uint32(begin: bytes) -> bool:
    """Whether every second number is almost 0 and the others are not: the halves of 4-byte tokens."""
    halves = np.frombuffer(begin[: len(begin) // 4 * 4], "<u2").reshape(-1, 2)
    return len(halves) >= 16 and bool(halves[:, 1].max() <= _SMALL < halves[:, 0].max())


def _with_documents(name: str, file: TokenFile, stream: Stream) -> TokenFile:
    place = _documents(name, file, stream)
    return TokenFile(path=file.path, size=file.size, offset=file.offset, dtype=file.dtype, item=file.item, documents=place)


def _documents(name: str, file: TokenFile, stream: Stream) -> DocumentPlace:
    path = file.path
    tables = (path.with_suffix(".csv.gz"), path.with_name(f"{path.name}.csv.gz"))
    for table in tables:
        if table.exists():
            return EndsTable(path=table, tokens=file.tokens)
    ends = path.with_name(f"{path.name}.index")
    if ends.exists():
        return _ends_file(name, ends, file)
    if stream.eos_token is not None:
        if stream.eos_token > np.iinfo(file.dtype).max:
            raise DataError(
                f"stream {name!r}: its eos_token {stream.eos_token} does not fit into the {file.dtype} of {path}; "
                "correct `eos_token` or `token_dtype`"
            )
        return EndToken(token=stream.eos_token)
    raise DataError(
        f"stream {name!r}: nothing says where the documents of {path} end; copy {tables[0].name} or {ends.name} beside it, "
        "or give the stream its `eos_token`"
    )


def _ends_file(name: str, path: Path, file: TokenFile) -> EndsFile:
    """Return where datatrove says documents end. Raises DataError unless the last one ends where the tokens do."""
    size = file_size(name, path, _AGAIN)
    with path.open("rb") as ends:
        ends.seek(-8 if size >= 8 else 0, 2)
        last = int.from_bytes(ends.read(8), "little")
    if size % 8 or last != file.tokens:
        raise DataError(
            f"stream {name!r}: {path} says that {last} tokens lie in {file.path.name}, {file.tokens} do; "
            "correct the stream's `token_dtype`, or copy both again"
        )
    return EndsFile(path=path, documents=size // 8)
