"""`curriculum pack`, the engine: sources -> tokens -> samples of one length, as MDS with a manifest.

Idea: a stream is a folder that explains itself. Samples have one fixed-shape column, `tokens`, so that reading is one
slice; which document lies where stands in `documents.parquet`, one row a piece, and the end-of-text token marks the
same boundaries inside a sample. A column of boundaries per sample would double the data for something few ask for.

    OUT/  index.json, shard.*.mds     samples, column `tokens: ndarray:uint16:L` (uint32 above 65,536 ids);
                                      with best fit also `loss_mask: ndarray:uint8:L`
          documents.parquet           document -> samples: one row a piece (columns: see split.py)
          manifest.json               hashes, settings, counts
          tokenizer.json              the tokenizer, byte for byte
          heldout/                    the same for the held-out documents

A document is held out by a keyed hash of its text, never by its position: copies of a document fall on one side, in
every stream packed with the same seed and fraction, and adding sources moves no document to the other side.
Memory: one batch of documents, so the largest document; in best fit also one group of remainders.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from curriculum.errors import ChangedError, DataError, UserError
from curriculum.streaming.documents import Reading, Source, find_sources, hash_source, read_texts
from curriculum.streaming.manifest import (
    HELDOUT,
    MANIFEST,
    TOKENIZER,
    Counts,
    HashedSource,
    Manifest,
    read_manifest,
    request,
)
from curriculum.streaming.publish import published_folder
from curriculum.streaming.tokenizer import TextTokenizer, load_tokenizer, train_tokenizer
from curriculum.units import keyed_seed

if TYPE_CHECKING:
    from curriculum.streaming.split import SplitWriter

Progress = Callable[[str, int, int], None]  # stage, bytes done, bytes in all (0: unknown)

_BATCH_CHARACTERS = 1 << 20
_BATCH_DOCUMENTS = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class PackSettings:
    """What decides the tokens, beside sources and tokenizer.

    sequence_length:     tokens a sample, at least 2
    packing:             `chunk` or `best-fit`
    end_of_text:         `after` puts the tokenizer's end-of-text token after every document, `none` does not
    end_of_text_token:   the name of that token, if it is none of the well-known ones
    heldout:             expected share of documents that are held out, 0 to below 1
    seed:                keys the choice of held-out documents
    vocabulary:          ids of a tokenizer trained here (not used for a given one)
    reading:             how documents are cut out of sources
    """

    name: str
    sequence_length: int = 64
    packing: Literal["chunk", "best-fit"] = "chunk"
    end_of_text: Literal["after", "none"] = "after"
    end_of_text_token: str | None = None
    heldout: float = 0.02
    seed: int = 0
    vocabulary: int = 1024
    reading: Reading = field(default_factory=Reading)

    def __post_init__(self) -> None:
        if self.sequence_length < 2:
            raise UserError(f"wanted a sequence length of at least 2 tokens, got {self.sequence_length}")
        if not 0 <= self.heldout < 1:
            raise UserError(f"wanted a held-out share in [0, 1), got {self.heldout}")
        for name, value, known in (
            ("packing", self.packing, ("chunk", "best-fit")),
            ("end-of-text", self.end_of_text, ("after", "none")),
            ("documents", self.reading.documents, ("file", "line", "blank-line")),
        ):
            if value not in known:
                raise UserError(f"wanted {name} to be one of {', '.join(known)}, got {value!r}")

    def held_out(self, text: str) -> bool:
        """Whether a document belongs to the held-out split: the same for equal texts, whatever their source."""
        content = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        return keyed_seed("heldout", self.seed, content) < self.heldout * 2**63


@dataclass(frozen=True, kw_only=True, slots=True)
class PackResult:
    """Where the stream lies and what is in it; `already` if it was there before."""

    folder: Path
    train: Manifest
    heldout: Manifest | None
    already: bool


def pack_sources(
    specifications: Sequence[str],
    out: Path,
    settings: PackSettings,
    *,
    tokenizer: Path | Literal["train"] = "train",
    overwrite: bool = False,
    progress: Progress = lambda stage, done, total: None,
) -> PackResult:
    """Pack files, folders, patterns and datasets into the folder `out`, or recognise that it is done.

    Raises DataError for sources that are missing, empty or damaged, ChangedError if `out` holds something else and
    `overwrite` is not set, ResourceError for a full disk. If it raises or is interrupted, `out` is as it was.
    """
    given = None if tokenizer == "train" else load_tokenizer(Path(tokenizer), settings.end_of_text_token)
    sources = _hashed(find_sources(specifications), settings.reading, progress)
    wanted = request(sources, "train" if given is None else given.sha256, asdict(settings))
    done = _already_there(out, wanted, overwrite)
    if done is not None:
        return done
    job = _Job(sources=sources, settings=settings, progress=progress)
    with published_folder(out) as folder, TemporaryDirectory() as scratch:
        file = _file(tokenizer)
        if file is None:
            file = train_tokenizer(job.train_texts(), settings.vocabulary, Path(scratch) / TOKENIZER)
        job.write(folder, load_tokenizer(file, settings.end_of_text_token), trained=given is None)
        shutil.copyfile(file, folder / TOKENIZER)
    return _result(out, already=False)


def _file(tokenizer: Path | Literal["train"]) -> Path | None:
    if tokenizer == "train":
        return None
    path = Path(tokenizer)
    return path / TOKENIZER if path.is_dir() else path


def _hashed(sources: Sequence[Source], reading: Reading, progress: Progress) -> list[HashedSource]:
    total = sum(source.bytes for source in sources)
    hashed, done = [], 0
    for source in sources:
        progress("hashing", done, total)
        digest = hash_source(source, reading)
        hashed.append(HashedSource(path=source.path, kind=source.kind, bytes=source.bytes, sha256=digest))
        done += source.bytes
    progress("hashing", done, total)
    return hashed


def _already_there(out: Path, wanted: dict[str, Any], overwrite: bool) -> PackResult | None:
    """Return the finished pack at `out` if it is what is wanted, None if it is to be written; else raise."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not out.is_dir() or not (out / MANIFEST).exists():
        raise DataError(f"{out} exists and was not written by `curriculum pack`; choose another --out")
    if overwrite:
        return None
    found = read_manifest(out).request()
    differing = [key for key in wanted if found.get(key) != wanted[key]]
    if differing:
        changes = "; ".join(f"{key}: {_short(found.get(key))} there, {_short(wanted[key])} asked" for key in differing)
        raise ChangedError(f"{out} holds another pack ({changes}). Choose another --out, or replace it with --overwrite")
    result = _result(out, already=True)
    _check_shards(out, result)
    return result


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 70 else f"{text[:30]}...{text[-30:]}"


def _check_shards(out: Path, result: PackResult) -> None:
    for folder in [out] + ([out / HELDOUT] if result.heldout else []):
        try:
            shards = json.loads((folder / "index.json").read_text())["shards"]
            intact = all(
                (folder / shard["raw_data"]["basename"]).stat().st_size == shard["raw_data"]["bytes"] for shard in shards
            )
        except (OSError, ValueError, KeyError):
            intact = False
        if not intact:
            raise DataError(f"{folder} is damaged: a shard is missing or cut off; pack it again with --overwrite")


def _result(out: Path, *, already: bool) -> PackResult:
    heldout = read_manifest(out / HELDOUT) if (out / HELDOUT).exists() else None
    return PackResult(folder=out, train=read_manifest(out), heldout=heldout, already=already)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    sources: Sequence[HashedSource]
    settings: PackSettings
    progress: Progress

    def texts(self, stage: str) -> Iterator[tuple[int, str]]:
        """Yield (number of the source, text) of every document, and report the bytes read."""
        before, total = 0, sum(source.bytes for source in self.sources)
        for number, hashed in enumerate(self.sources):
            source = Source(path=hashed.path, kind=hashed.kind, bytes=hashed.bytes)
            for text, done in read_texts(source, self.settings.reading):
                self.progress(stage, before + done, total)
                yield number, text
            before += hashed.bytes

    def train_texts(self) -> Iterator[str]:
        """Yield the documents that are not held out: a tokenizer is trained on nothing else."""
        return (text for _, text in self.texts("training the tokenizer") if not self.settings.held_out(text))

    def write(self, folder: Path, tokenizer: TextTokenizer, *, trained: bool) -> None:
        """Write both splits, their manifests and document maps."""
        splits = [self._split(folder, tokenizer)]
        if self.settings.heldout > 0:
            splits.append(self._split(folder / HELDOUT, tokenizer))
        try:
            empty = self._fill(splits, tokenizer)
            for split in splits:
                split.finish()
        except BaseException:
            for split in splits:
                split.abandon()
            raise
        self._check(splits[0].counts(empty))
        for split in splits:
            self._manifest(split, tokenizer, trained=trained, empty=empty).dump(split.folder)

    def _split(self, folder: Path, tokenizer: TextTokenizer) -> SplitWriter:
        from curriculum.streaming.split import SplitWriter  # imports torch: not before something is to be written

        return SplitWriter(
            folder,
            length=self.settings.sequence_length,
            packing=self.settings.packing,
            dtype=tokenizer.dtype.name,
            end_of_text=self._end_of_text(tokenizer),
        )

    def _fill(self, splits: Sequence[SplitWriter], tokenizer: TextTokenizer) -> int:
        """Encode all documents and deal them to the splits (train, held out); return the number of empty ones."""
        empty = 0
        for batch in _batches(self.texts("packing")):
            full = [(source, text) for source, text in batch if text]
            empty += len(batch) - len(full)
            encoded = tokenizer.encode([text for _, text in full])
            for (source, text), tokens in zip(full, encoded, strict=True):
                splits[self.settings.held_out(text)].add(source, tokens)
        return empty

    def _end_of_text(self, tokenizer: TextTokenizer) -> int | None:
        if self.settings.end_of_text == "none":
            return None
        if tokenizer.end_of_text is None:
            raise DataError(
                "the tokenizer has no end-of-text token that we know; name it with --end-of-text-token, or pack "
                "with --end-of-text none"
            )
        return tokenizer.end_of_text

    def _check(self, counts: Counts) -> None:
        if counts.documents == 0:
            raise DataError(
                f"nothing to pack: the sources ({', '.join(source.path for source in self.sources[:3])}) hold "
                f"{counts.empty_documents} empty documents and no other outside the held-out split"
            )
        if counts.samples == 0:
            raise DataError(
                f"{counts.documents} documents give {counts.tokens} tokens, too few for one sample of "
                f"{self.settings.sequence_length}; add data or lower --sequence-length"
            )

    def _manifest(self, split: SplitWriter, tokenizer: TextTokenizer, *, trained: bool, empty: int) -> Manifest:
        return Manifest(
            name=self.settings.name,
            split="heldout" if split.folder.name == HELDOUT else "train",
            sources=self.sources,
            tokenizer_sha256=tokenizer.sha256,
            tokenizer_trained=trained,
            vocabulary=tokenizer.vocabulary,
            dtype=tokenizer.dtype.name,
            tokens_per_sample=self.settings.sequence_length,
            end_of_text=self._end_of_text(tokenizer),
            padding=split.padding_id,
            counts=split.counts(empty),
            settings=asdict(self.settings),
        )


def _batches(texts: Iterator[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    batch: list[tuple[int, str]] = []
    characters = 0
    for source, text in texts:
        batch.append((source, text))
        characters += len(text)
        if characters >= _BATCH_CHARACTERS or len(batch) >= _BATCH_DOCUMENTS:
            yield batch
            batch, characters = [], 0
    yield batch
