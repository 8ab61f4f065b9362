"""`manifest.json`: what a packed stream was made from and how, so that it can be recognised, checked and made again.

Idea: the manifest says everything that decides a single token: hashes of sources and tokenizer, and the settings. Two
packs with the same `request` are the same data, wherever they lie, so paths and dates take no part in the comparison.
The document -> sample map is too long for JSON and lies beside it in `documents.parquet`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from curriculum.errors import FileError
from curriculum.streaming.documents import SourceKind

FORMAT = "curriculum-pack"
VERSION = 1
MANIFEST = "manifest.json"
DOCUMENTS = "documents.parquet"
TOKENIZER = "tokenizer.json"
HELDOUT = "heldout"


@dataclass(frozen=True, kw_only=True, slots=True)
class HashedSource:
    """A source as it was when it was packed; `sha256` is the fingerprint of `datasets` for a hub dataset."""

    path: str
    kind: SourceKind
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """What went in and what came out.

    documents, tokens:  non-empty documents of this split, and their tokens with the ends of text
    samples:            samples written; samples x tokens_per_sample = tokens - dropped_tokens + padding
    dropped_tokens:     tokens after the last whole sample (chunk), and dropped_documents: those wholly among them
    padding:            positions filled up (best-fit)
    empty_documents:    documents without a character, in either split
    """

    documents: int
    tokens: int
    samples: int
    dropped_tokens: int
    dropped_documents: int
    padding: int
    empty_documents: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """One split of a packed stream; `settings` are those of the request, `padding` is the id that fills up."""

    name: str
    split: Literal["train", "heldout"]
    sources: Sequence[HashedSource]
    tokenizer_sha256: str
    tokenizer_trained: bool
    vocabulary: int
    dtype: str
    tokens_per_sample: int
    end_of_text: int | None
    padding: int | None
    counts: Counts
    settings: Mapping[str, Any]

    def request(self) -> dict[str, Any]:
        """Return what was asked for, without paths: equal requests give equal tokens."""
        tokenizer = "train" if self.tokenizer_trained else self.tokenizer_sha256
        return request(self.sources, tokenizer, self.settings)

    def dump(self, folder: Path) -> None:
        """Write `manifest.json` into `folder`."""
        document = {"format": FORMAT, "version": VERSION} | asdict(self)
        (folder / MANIFEST).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def request(sources: Sequence[HashedSource], tokenizer: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides the tokens: settings, hashes of the sources in order, hash of the tokenizer or `train`."""
    return {"sources": [source.sha256 for source in sources], "tokenizer": tokenizer} | dict(settings)


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a packed stream. Raises FileError if it is missing, damaged or of another version."""
    path = folder / MANIFEST
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        found = document.pop("format", None), document.pop("version", None)
        if found != (FORMAT, VERSION):
            raise FileError(f"wanted format {FORMAT!r} version {VERSION}, got {found[0]!r} {found[1]!r}", path=path)
        sources = [HashedSource(**source) for source in document.pop("sources")]
        return Manifest(sources=sources, counts=Counts(**document.pop("counts")), **document)
    except FileNotFoundError as error:
        raise FileError("no such file; the folder was not written by `curriculum pack`", path=path) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FileError(f"damaged ({error}); pack again with --overwrite", path=path) from error
