"""`curriculum pack`: text, JSONL, Parquet or a `datasets` dataset -> a tokenised stream with its held-out split."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from curriculum.units import format_count

if TYPE_CHECKING:
    from curriculum.streaming.manifest import Manifest
    from curriculum.streaming.packing import PackResult, Progress


def pack(
    sources: Sequence[str],
    *,
    out: Path,
    tokenizer: str = "train",
    vocabulary: int = 1024,
    sequence_length: int = 64,
    packing: Literal["chunk", "best-fit"] = "chunk",
    end_of_text: Literal["after", "none"] = "after",
    end_of_text_token: str | None = None,
    heldout: float = 0.02,
    documents: Literal["file", "line", "blank-line"] = "file",
    text_column: str = "text",
    split: str = "train",
    seed: int = 0,
    name: str | None = None,
    overwrite: bool = False,
    json_output: bool = False,
) -> PackResult:
    """Pack `sources` into a stream at `out`, print a summary on standard output, and return it.

    sources:           files (.txt, .jsonl, .jsonl.gz, .parquet), folders, glob patterns, folders written by
                       `save_to_disk`, or names of hub datasets (NAME or NAME:CONFIGURATION)
    tokenizer:         `train` for a byte-level BPE trained on the documents that are not held out, or a tokenizer.json
    vocabulary:        ids of a trained tokenizer, at least 257
    sequence_length:   tokens a sample
    packing:           `chunk`: concatenate and cut, dropping the remainder; `best-fit`: cut no document that fits
                       into a sample, pad and give a `loss_mask`
    end_of_text:       `after` every document, or `none`; end_of_text_token names the token if it is no well-known one
    heldout:           expected share of documents held out, chosen by a hash of seed and text
    documents:         one document is a text `file`, a `line`, or a block between blank lines (`blank-line`)
    text_column:       where JSONL, Parquet and datasets hold the text; split: which split of a dataset
    name:              of the stream; by default the name of `out`
    overwrite:         replace another pack at `out`; without it, the same request is recognised and left
    json_output:       print one JSON document instead of the summary

    Raises UserError (exit code 2) for bad sources and settings, ResourceError for a full disk or no network.
    """
    from curriculum.streaming.documents import Reading
    from curriculum.streaming.packing import PackSettings, pack_sources

    settings = PackSettings(
        name=name or out.absolute().name,
        sequence_length=sequence_length,
        packing=packing,
        end_of_text=end_of_text,
        end_of_text_token=end_of_text_token,
        heldout=heldout,
        seed=seed,
        vocabulary=vocabulary,
        reading=Reading(documents=documents, text_column=text_column, split=split),
    )
    given: Path | Literal["train"] = "train" if tokenizer == "train" else Path(tokenizer)
    with _progress_bar() as progress:
        result = pack_sources(sources, out, settings, tokenizer=given, overwrite=overwrite, progress=progress)
    print(json.dumps(_as_json(result), indent=2) if json_output else summary(result))
    return result


def summary(result: PackResult) -> str:
    """Return what lies at `result.folder`, in words."""
    lines = [_describe(result.train)]
    lines += [_describe(result.heldout)] if result.heldout else ["  heldout: none asked for"]
    if result.heldout is not None and result.heldout.counts.samples == 0:
        lines.append("  note: the held-out split has no whole sample; raise --heldout, or cut sources into more documents")
    head = "already packed, nothing to do" if result.already else "packed"
    return "\n".join([f"{result.train.name}: {head}: {result.folder}", *lines])


def _describe(manifest: Manifest) -> str:
    counts = manifest.counts
    text = (
        f"  {manifest.split}: {counts.documents:,} documents, {format_count(counts.tokens)} tokens, "
        f"{counts.samples:,} samples of {manifest.tokens_per_sample} tokens"
    )
    if counts.dropped_tokens:
        text += f"; {counts.dropped_tokens} tokens after the last whole sample dropped"
    if counts.padding:
        text += f"; {100 * counts.padding / (counts.samples * manifest.tokens_per_sample):.2g} % padding"
    return text


def _as_json(result: PackResult) -> dict[str, Any]:
    return {
        "out": str(result.folder),
        "already": result.already,
        "vocabulary": result.train.vocabulary,
        "tokenizer_sha256": result.train.tokenizer_sha256,
        "tokens_per_sample": result.train.tokens_per_sample,
        "train": asdict(result.train.counts),
        "heldout": None if result.heldout is None else asdict(result.heldout.counts),
    }


@contextmanager
def _progress_bar() -> Iterator[Progress]:
    """Show stage, share of bytes and time left on standard error, if somebody is looking."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total or None)
            bar.update(tasks[stage], completed=done)

        yield show
