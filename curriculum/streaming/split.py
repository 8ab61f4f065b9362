"""Writes one split of a packed stream: MDS shards and the document -> sample map beside them.

Idea: packers hand over samples and placements one at a time; both go to disk in blocks (shards of at most 64 MiB, row
groups of 65,536 pieces), so that a split of any length needs the same memory. Shards carry their SHA-256 in the index.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curriculum.streaming.manifest import DOCUMENTS, Counts
from curriculum.streaming.mosaic import MDSWriter
from curriculum.streaming.samples import BestFit, Chunker, Packer, Placement
from curriculum.streaming.tokenizer import Tokens

_ROW_GROUP = 1 << 16
_SCHEMA = pa.schema(
    [
        ("document", pa.int64()),  # number of the document in this split, in the order of the sources
        ("source", pa.int32()),  # index into the manifest's sources
        ("piece", pa.int32()),  # 0 unless best fit cut the document
        ("first_sample", pa.int64()),
        ("first_offset", pa.int32()),
        ("last_sample", pa.int64()),  # the last token's sample and offset: both inclusive
        ("last_offset", pa.int32()),
        ("tokens", pa.int64()),
    ]
)


class SplitWriter:
    """Packs and writes the documents of one split into `folder`.

    length:       tokens a sample
    dtype:        of a token, as numpy names it
    end_of_text:  id put after every document, or None
    """

    def __init__(
        self,
        folder: Path,
        *,
        length: int,
        packing: Literal["chunk", "best-fit"],
        dtype: str,
        end_of_text: int | None,
    ) -> None:
        self.folder = folder
        self.padding_id = (end_of_text or 0) if packing == "best-fit" else None
        self._length, self._end_of_text = length, end_of_text
        columns = {"tokens": f"ndarray:{dtype}:{length}"}
        if packing == "best-fit":
            columns["loss_mask"] = f"ndarray:uint8:{length}"
        # Mosaic's writer wants an empty folder (with exist_ok it would delete what is there), so it comes first.
        self._samples = MDSWriter(columns=columns, out=str(folder), hashes=["sha256"], exist_ok=False)
        self._map = pq.ParquetWriter(folder / DOCUMENTS, _SCHEMA)
        self._placements: list[Placement] = []
        self._packer: Packer = Chunker(self, length) if packing == "chunk" else BestFit(self, length, end_of_text or 0)
        self._documents = self._tokens = self._written = 0

    def add(self, source: int, tokens: Tokens) -> None:
        """Take the next document: its tokens without the end of text, and the number of its source."""
        if self._end_of_text is not None:
            tokens = np.append(tokens, tokens.dtype.type(self._end_of_text))
        self._packer.add(self._documents, source, tokens)
        self._documents += 1
        self._tokens += len(tokens)

    def finish(self) -> None:
        """Write what is held and close all files."""
        self._packer.finish()
        self._samples.finish()
        self._write_placements()
        self._map.close()

    def abandon(self) -> None:
        """Close all files without completing them."""
        self._samples.cancel_future_jobs()
        self._map.close()

    def counts(self, empty_documents: int) -> Counts:
        """Return what went in and came out; final after `finish`."""
        return Counts(
            documents=self._documents,
            tokens=self._tokens,
            samples=self._written,
            dropped_tokens=self._packer.dropped_tokens,
            dropped_documents=self._packer.dropped_documents,
            padding=self._packer.padding,
            empty_documents=empty_documents,
        )

    def write_sample(self, tokens: Tokens, loss_mask: NDArray[np.uint8] | None) -> None:
        """Take a sample from the packer: `tokens` (L,), `loss_mask` (L,) or None."""
        sample: dict[str, object] = {"tokens": tokens}
        if loss_mask is not None:
            sample["loss_mask"] = loss_mask
        self._samples.write(sample)
        self._written += 1

    def write_placement(self, placement: Placement) -> None:
        """Take from the packer where a piece of a document lies."""
        self._placements.append(placement)
        if len(self._placements) >= _ROW_GROUP:
            self._write_placements()

    def _write_placements(self) -> None:
        first = np.array([placement.position for placement in self._placements], dtype=np.int64)
        tokens = np.array([placement.tokens for placement in self._placements], dtype=np.int64)
        columns = {
            "document": [placement.document for placement in self._placements],
            "source": [placement.source for placement in self._placements],
            "piece": [placement.piece for placement in self._placements],
            "first_sample": first // self._length,
            "first_offset": first % self._length,
            "last_sample": (first + tokens - 1) // self._length,
            "last_offset": (first + tokens - 1) % self._length,
            "tokens": tokens,
        }
        self._map.write_table(pa.table(columns, schema=_SCHEMA))
        self._placements = []
