"""Sources -> documents: text files, JSONL, Parquet and `datasets`, read as a stream and hashed.

Idea: everything to be packed is a list of sources, each a stream of texts in a fixed order with the number of bytes
consumed so far, so that packing needs no more memory than its largest document and can say how long it will take.
The alternative, loading everything through `datasets`, reads the same formats but copies them into a cache first and
loses the line and byte at which a broken file is broken. The price is four small readers.
"""

from __future__ import annotations

import glob
import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from curriculum.errors import DataError, FileError, ResourceError, UserError

SourceKind = Literal["text", "jsonl", "parquet", "dataset", "hub"]
Documents = Literal["file", "line", "blank-line"]
Text = tuple[str, int]  # a document, and the bytes of its source consumed when it was complete

KINDS: dict[str, SourceKind] = {".txt": "text", ".jsonl": "jsonl", ".jsonl.gz": "jsonl", ".parquet": "parquet"}
_ROWS = 1024  # rows of Parquet or `datasets` held at once


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One file, saved dataset or hub dataset; `bytes` is its size on disk (0 when unknown)."""

    path: str
    kind: SourceKind
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """How documents are cut out of sources.

    documents:    what one document is in a text file: the file, a line, or a block between blank lines
    text_column:  the column or key that holds the text in JSONL, Parquet and datasets
    split:        the split of a dataset
    """

    documents: Documents = "file"
    text_column: str = "text"
    split: str = "train"


def find_sources(specifications: Sequence[str]) -> list[Source]:
    """Return the sources that files, folders, glob patterns, saved datasets and hub names stand for, in order.

    A folder stands for all files of known kinds below it, sorted by path; a file named twice counts once.
    Raises DataError for a missing path, an unknown extension or a pattern without a match.
    """
    if not specifications:
        raise UserError("wanted at least one source to pack, got none: name a file, a folder, a pattern or a dataset")
    sources = {source.path: source for text in specifications for source in _expand(text)}
    return list(sources.values())


def hash_source(source: Source, reading: Reading) -> str:
    """Return the SHA-256 of a source's bytes in hex; of a hub dataset, the fingerprint `datasets` gives it."""
    if source.kind == "hub":
        return str(_load_dataset(source, reading)._fingerprint)
    if source.kind != "dataset":
        return hash_file(Path(source.path))
    root = Path(source.path)
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(root).as_posix()}\n{hash_file(path)}\n".encode())
    return digest.hexdigest()


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file in hex, reading it in blocks. Raises DataError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def read_texts(source: Source, reading: Reading) -> Iterator[Text]:
    """Yield every document of `source`, empty ones included, with the bytes consumed so far.

    Raises FileError (with the line) for malformed JSONL and DataError for text that is not UTF-8, a missing column
    or a damaged file.
    """
    match source.kind:
        case "text":
            return _read_text(source, reading.documents)
        case "jsonl":
            return _read_jsonl(source, reading.text_column)
        case "parquet":
            return _read_parquet(source, reading.text_column)
        case "dataset" | "hub":
            return _read_dataset(source, reading)


def _expand(text: str) -> list[Source]:
    path = Path(text)
    if path.is_dir():
        return [_saved_dataset(path)] if _is_saved_dataset(path) else _files_below(path)
    if path.is_file():
        return [_file(path)]
    if any(character in text for character in "*?["):
        return _matches(text)
    if _kind(path) is not None or text.startswith((".", "/", "~")):
        raise DataError(f"no such file or folder: {text} (looked in {Path.cwd()})")
    return [Source(path=text, kind="hub", bytes=0)]


def _matches(pattern: str) -> list[Source]:
    paths = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - Path.glob refuses absolute patterns
    if not paths:
        raise DataError(f"no file matches {pattern!r} (looked in {Path.cwd()}); quote the pattern or correct it")
    return [source for path in paths for source in _expand(path)]


def _files_below(folder: Path) -> list[Source]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and _kind(path) is not None)
    if not paths:
        raise DataError(f"{folder} holds no file that can be packed; wanted one of {', '.join(KINDS)} somewhere in it")
    return [_file(path) for path in paths]


def _kind(path: Path) -> SourceKind | None:
    name = path.name.lower()
    return next((kind for extension, kind in KINDS.items() if name.endswith(extension)), None)


def _file(path: Path) -> Source:
    kind = _kind(path)
    if kind is None:
        wanted = ", ".join(KINDS)
        raise DataError(
            f"cannot tell what {path} holds: wanted a name ending in {wanted}, got {path.suffix or 'no extension'!r}; "
            f"rename plain text to .txt, or convert it to JSON lines with a text key"
        )
    return Source(path=str(path.resolve()), kind=kind, bytes=path.stat().st_size)


def _is_saved_dataset(folder: Path) -> bool:
    return (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file()


def _saved_dataset(folder: Path) -> Source:
    size = sum(path.stat().st_size for path in folder.rglob("*.arrow"))
    return Source(path=str(folder.resolve()), kind="dataset", bytes=size)


def _decode(raw: bytes, source: Source, offset: int) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{source.path}: not UTF-8 at byte {offset + error.start} (0x{raw[error.start]:02x}, {error.reason}); "
            f"convert it first, for example: iconv -f LATIN1 -t UTF-8 IN > OUT"
        ) from error


def _read_text(source: Source, documents: Documents) -> Iterator[Text]:
    with Path(source.path).open("rb") as file:
        offset = 3 if file.read(3) == b"\xef\xbb\xbf" else 0  # a byte order mark is not text
        file.seek(offset)
        if documents == "file":
            yield _decode(file.read(), source, offset), source.bytes
            return
        for raw in file if documents == "line" else _blocks(file):
            text = _decode(raw, source, offset).strip("\r\n")
            offset += len(raw)
            if text.strip():
                yield text, offset


def _blocks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Join lines up to and including the next blank line, so that the blocks together are the file."""
    block: list[bytes] = []
    for line in lines:
        block.append(line)
        if not line.strip():
            yield b"".join(block)
            block = []
    yield b"".join(block)


def _read_jsonl(source: Source, column: str) -> Iterator[Text]:
    number = 0
    with Path(source.path).open("rb") as raw, _unzipped(raw, source.path) as lines:
        try:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _json_text(line, source.path, number, column), raw.tell()
        except (EOFError, gzip.BadGzipFile) as error:
            raise DataError(f"{source.path}: damaged or cut off after line {number} ({error}); fetch it again") from error


def _unzipped(raw: BinaryIO, path: str) -> AbstractContextManager[Iterable[bytes]]:
    return gzip.open(raw) if path.lower().endswith(".gz") else nullcontext(raw)


def _json_text(line: bytes, path: str, number: int, column: str) -> str:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FileError(f"wanted one JSON object a line, got {line[:60]!r} ({error})", path=path, line=number) from error
    if not isinstance(row, dict):
        raise FileError(f"wanted a JSON object, got {type(row).__name__}", path=path, line=number)
    if column not in row:
        keys = ", ".join(map(repr, row)) or "none"
        raise FileError(f"no key {column!r}; keys here: {keys}. Name one with --text-column", path=path, line=number)
    return _checked_text(row[column], column, path, number)


def _checked_text(value: Any, column: str, path: str, number: int) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise FileError(f"wanted text under {column!r}, got {type(value).__name__}", path=path, line=number)
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise FileError(f"half of a surrogate pair at character {error.start}", path=path, line=number) from error
    return value


def _read_parquet(source: Source, column: str) -> Iterator[Text]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(source.path) as file:
            _check_column(column, file.schema_arrow.names, source)
            done, rows = 0, max(1, file.metadata.num_rows)
            for batch in file.iter_batches(batch_size=_ROWS, columns=[column]):
                for value in batch.column(0).to_pylist():
                    done += 1
                    yield _checked_text(value, column, source.path, done), source.bytes * done // rows
    except pyarrow.ArrowException as error:
        raise DataError(f"{source.path}: not a readable Parquet file ({error}); write or fetch it again") from error


def _read_dataset(source: Source, reading: Reading) -> Iterator[Text]:
    dataset = _load_dataset(source, reading)
    _check_column(reading.text_column, dataset.column_names, source)
    done, rows = 0, max(1, len(dataset))
    for batch in dataset.select_columns([reading.text_column]).iter(batch_size=_ROWS):
        for value in batch[reading.text_column]:
            done += 1
            yield _checked_text(value, reading.text_column, source.path, done), source.bytes * done // rows


def _check_column(column: str, names: Sequence[str], source: Source) -> None:
    if column not in names:
        raise DataError(
            f"{source.path}: no column {column!r}; columns here: {', '.join(names) or 'none'}. Name one with --text-column"
        )


def _load_dataset(source: Source, reading: Reading) -> Any:
    import datasets

    if source.kind == "hub":
        return _load_from_hub(source, reading)
    loaded = datasets.load_from_disk(source.path)
    if not isinstance(loaded, datasets.DatasetDict):
        return loaded
    if reading.split not in loaded:
        raise DataError(f"{source.path}: no split {reading.split!r}; splits here: {', '.join(loaded)} (--split)")
    return loaded[reading.split]


def _load_from_hub(source: Source, reading: Reading) -> Any:
    import datasets

    name, _, configuration = source.path.partition(":")
    try:
        return datasets.load_dataset(name, configuration or None, split=reading.split)
    except (OSError, RuntimeError) as error:  # offline, unknown and gated are told apart only by its text
        reason = (str(error).splitlines() or ["no details"])[0]
        raise ResourceError(
            f"{source.path!r} is no file or folder here, and the dataset hub did not give a dataset of that name "
            f"({type(error).__name__}: {reason}). Check the name and the network; or save the dataset on a machine "
            f"that reaches the hub (Dataset.save_to_disk) and pack that folder"
        ) from error
    except ValueError as error:  # a split or configuration it does not have
        raise DataError(f"dataset {source.path!r}: {error}") from error
