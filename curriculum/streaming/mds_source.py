"""A folder of Mosaic's shards as a source: its index, its shards brought here, mapped, and read many samples at once.

Idea: Mosaic's index and readers say what a shard is made of; `cache` brings its files here; `mds` maps it. Shards of
other kinds (JSON, CSV) and columns without a fixed shape are decoded by Mosaic's own reader, sample by sample. A stream
without a remote is never written to, unless it is compressed (it is then unpacked beside itself, as in Mosaic).

With `validate_hash` a shard is compared with the hashes of its index when it is downloaded, or, without a remote, when a
process first opens it; without it only its size and its table of offsets are.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from curriculum.errors import CurriculumError, DataError, UserError
from curriculum.streaming import mosaic
from curriculum.streaming.cache import Clients, RemoteFile, Room, Terms, download, locked, unpack, verify
from curriculum.streaming.index import StreamIndex, check_shards, read_index
from curriculum.streaming.mds import MappedShard, fixed_layout
from curriculum.streaming.shards import Integers, OpenShard


class MDSSource:
    """A stream of Mosaic's shards. Raises DataError if its index is missing, empty or damaged, UserError for pickles."""

    def __init__(self, name: str, stream: Any, *, room: Room, allow_unsafe_types: bool = False) -> None:
        self.name = name
        self.stream = stream
        self.folder = Path(str(stream.local)) / str(stream.split)
        self._room = room
        self._clients = Clients(stream.remote)
        self._terms = Terms(
            attempts=max(1, stream.download_retry), seconds=stream.download_timeout, validate_hash=stream.validate_hash
        )
        self._verified: set[int] = set()
        self._fetch_index()
        self.index: StreamIndex = read_index(name, self.folder)
        if not self.has_remote:
            check_shards(name, self.folder)
        self.readers = self._read_shards(allow_unsafe_types)

    @property
    def has_remote(self) -> bool:
        """Whether missing shards can be downloaded (a remote that is the local folder itself does not count)."""
        return self.stream.remote not in (None, self.stream.local)

    @property
    def samples_per_shard(self) -> Integers:
        """Samples of each shard (shards,)."""
        return np.asarray([reader.samples for reader in self.readers], dtype=np.int64)

    @property
    def bytes_per_sample(self) -> int:
        """Bytes of a sample, averaged over the first shard."""
        first = self.readers[0]
        return int(first.get_raw_size() // max(1, first.samples))

    @property
    def largest_shard(self) -> int:
        """Bytes that the largest shard takes here, packed and unpacked together."""
        return max(int(reader.get_max_size()) for reader in self.readers)

    def fetch(self, shard: int) -> None:
        """See to it that the shard lies here, whole. Raises DataError, ResourceError naming stream and shard."""
        reader = self.readers[shard]
        for raw_info, zip_info in reader.file_pairs:
            raw = self._file(raw_info)
            if not raw.is_here():
                with locked(raw):
                    self._bring(raw, None if zip_info is None else self._file(zip_info), reader.compression)
            elif raw.terms.validate_hash and not self.has_remote and shard not in self._verified:
                verify(raw, raw.path, hashed=raw.terms.validate_hash in raw.hashes or zip_info is None)
            self._room.touch(raw.path)
        self._verified.add(shard)

    def open(self, shard: int) -> OpenShard:
        """Map a shard that was fetched. Raises DataError if it is damaged, FileNotFoundError if it was evicted."""
        reader = self.readers[shard]
        if not isinstance(reader, mosaic.MDSReader):
            return _ReaderShard(self.name, reader)
        layout = fixed_layout(reader.column_names, reader.column_encodings)
        path = self.folder / reader.raw_data.basename
        try:
            return MappedShard(path, samples=reader.samples, layout=layout, decode_sample=reader.decode_sample)
        except DataError as error:
            raise DataError(f"stream {self.name!r}: {error}") from error

    def is_here(self, shard: int) -> bool:
        """Whether every file of the shard lies here, unpacked."""
        return all(self._file(raw).is_here() for raw, _ in self.readers[shard].file_pairs)

    def evict(self, shard: int) -> None:
        """Remove a shard that can be downloaded again; any other stays."""
        if self.has_remote:
            self.readers[shard].evict()

    def _bring(self, raw: RemoteFile, packed: RemoteFile | None, compression: str | None) -> None:
        """Download and unpack one file under its lock, unless another process has done so meanwhile."""
        if raw.is_here():
            return
        if raw.path.exists() and (self.has_remote or packed is not None):
            raw.path.unlink()  # cut off by a crash of some other program
        if packed is None:
            download(raw, self._clients, self._room.make)
            return
        if not packed.is_here():
            with suppress(FileNotFoundError):
                packed.path.unlink()
            download(packed, self._clients, self._room.make)
        elif packed.terms.validate_hash:
            verify(packed, packed.path)
        unpack(raw, packed, compression, self._room.make)
        if self.has_remote and not self.stream.safe_keep_zip:
            packed.path.unlink(missing_ok=True)

    def _file(self, info: Any) -> RemoteFile:
        remote = f"{_joined(self.stream.remote, self.stream.split)}/{info.basename}" if self.has_remote else None
        return RemoteFile(
            blame=f"stream {self.name!r}, shard {info.basename}",
            path=self.folder / info.basename,
            remote=remote,
            size=info.bytes,
            hashes=info.hashes,
            terms=self._terms,
        )

    def _fetch_index(self) -> None:
        """Download index.json unless a readable one lies here."""
        if not self.has_remote:
            return
        file = RemoteFile(
            blame=f"stream {self.name!r}",
            path=self.folder / "index.json",
            remote=f"{_joined(self.stream.remote, self.stream.split)}/index.json",
            size=None,
            hashes={},
            terms=self._terms,
        )
        if file.is_here():
            return
        with locked(file):
            if not file.is_here():
                file.path.unlink(missing_ok=True)
                download(file, self._clients, lambda _: None)

    def _read_shards(self, allow_unsafe_types: bool) -> list[Any]:
        try:
            described = json.loads((self.folder / "index.json").read_text())
            if described["version"] != 2:
                raise DataError(f"has version {described['version']}, wanted 2")
            readers = [mosaic.reader_from_json(str(self.stream.local), self.stream.split, each) for each in described["shards"]]
        except Exception as error:  # Mosaic asserts, raises KeyError or ValueError
            raise DataError(
                f"stream {self.name!r}: {self.folder / 'index.json'} cannot be used ({error}); write the stream again"
            ) from error
        for reader in readers:
            self._validate(reader, allow_unsafe_types)
        return readers

    def _validate(self, reader: Any, allow_unsafe_types: bool) -> None:
        try:
            reader.validate(allow_unsafe_types)
        except ValueError as error:
            raise UserError(f"stream {self.name!r}: {error}") from error


class _ReaderShard:
    """A shard that only Mosaic's reader can decode."""

    def __init__(self, name: str, reader: Any) -> None:
        self._name = name
        self._reader = reader

    def read(self, indices: Integers) -> list[dict[str, Any]]:
        try:
            return [self._reader[index] for index in indices.tolist()]
        except (CurriculumError, FileNotFoundError):
            raise
        except Exception as error:
            place = self._reader.file_pairs[0][0].basename
            raise DataError(
                f"stream {self._name!r}, shard {place}: cannot be decoded ({type(error).__name__}: {error}); fetch it again"
            ) from error


def _joined(remote: str, split: str) -> str:
    return f"{remote.rstrip('/')}/{split}" if split else remote.rstrip("/")
