"""Two streams whose windows differ, and a primer: each window mixes the testbed's five sources in shares of its own.

Idea: the testbed's streams pull by their name, so there is nothing to choose inside them. Here the name says little (the
streams' mean shares are alike) and the window says much: its shares are the mean ones, each times the cube of an
exponential number. Nobody is told the shares; they are written beside the streams, in `truth.parquet`, for the judge alone.
Alternatives: documents of real domains (no ground truth), or windows that are general or shallow altogether (too easy). The
price: a window's samples are independent of each other, which documents' are not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from curriculum.mix import Order, Stream
from curriculum.probe.testbed import FAMILIES, GENERAL_STREAMS, VOCABULARY, generate_samples, probe_items
from curriculum.streaming.mds import write_stream
from curriculum.units import keyed_seed

SOURCES = ("arith", "icl", "count", "repeat", "facts")
MEAN_SHARES: Mapping[str, tuple[float, ...]] = {
    "web": (0.14, 0.14, 0.24, 0.17, 0.31),
    "books": (0.12, 0.12, 0.25, 0.18, 0.33),
}
PRIMER = (0.30, 0.20, 0.15, 0.10, 0.25)  # of all windows alike: what the base run learns the tasks from
WINDOWS, WINDOW = 128, 512  # windows a stream, samples a window
_HELDOUT = 1024
_ITEMS = 400  # a probe: three draws of 128 (runs, a proof's, branches'), and a few more
_FINISHED = "finished"

Numbers = NDArray[np.float64]


def make_streams(folder: Path) -> dict[str, Stream]:
    """Return the streams, writing them (9 MB), the primer, probes and `truth.parquet` to `folder` unless they are there."""
    if not (folder / _FINISHED).exists():
        for name, mean in MEAN_SHARES.items():
            _write(folder / name, name, window_shares(name), mean)
        _write(folder / "primer", "primer", np.tile(np.asarray(PRIMER), (WINDOWS, 1)), PRIMER)
        for family in FAMILIES:
            write_items(folder / f"{family}.jsonl", family, control=False)
            write_items(folder / f"{family}.control.jsonl", family, control=True)
        truth().to_parquet(folder / "truth.parquet", index=False)
        (folder / _FINISHED).touch()
    return {name: Stream(local=str(folder / name), order=Order(window=WINDOW)) for name in MEAN_SHARES}


def window_shares(name: str) -> Numbers:
    """Return each window's shares of the sources, shape (windows, sources)."""
    raw = _uniform(WINDOWS * len(SOURCES), "shares", name).reshape(WINDOWS, len(SOURCES))
    weights = np.asarray(MEAN_SHARES[name]) * (-np.log(raw)) ** 3
    shares: Numbers = weights / weights.sum(axis=1, keepdims=True)
    return shares


def truth() -> pd.DataFrame:
    """Return the general share of every window: what the attribution must find out, and is never shown."""
    general = [SOURCES.index(source) for source in GENERAL_STREAMS]
    starts = np.arange(WINDOWS) * WINDOW
    tables = [
        pd.DataFrame({"stream": name, "start": starts, "stop": starts + WINDOW, "general": shares[:, general].sum(axis=1)})
        for name, shares in ((name, window_shares(name)) for name in MEAN_SHARES)
    ]
    return pd.concat(tables, ignore_index=True)


def write_items(path: Path, family: str, *, control: bool) -> None:
    """Write a probe of the testbed, or its control, as a file of items: streams of one's own are asked from files."""
    items = probe_items(family, control=control, count=_ITEMS, seed=keyed_seed("control example", family))
    rows = zip(items.prompts, items.correct, items.shallow, strict=True)
    lines = [
        json.dumps({"split": "test", "prompt": prompt, "correct_answer": right, "incorrect_answer": wrong})
        for prompt, right, wrong in rows
    ]
    path.write_text("\n".join(lines) + "\n")


def _write(folder: Path, name: str, shares: Numbers, mean: tuple[float, ...]) -> None:
    tokens, mask = _samples(name, np.repeat(shares, WINDOW, axis=0), "train")
    write_stream(folder, {"tokens": tokens, "loss_mask": mask})
    heldout = np.tile(np.asarray(mean), (_HELDOUT, 1))
    tokens, mask = _samples(name, heldout, "heldout")
    write_stream(folder / "heldout", {"tokens": tokens, "loss_mask": mask})
    manifest = {"stream": name, "samples": WINDOWS * WINDOW, "tokens_per_sample": tokens.shape[1], "vocabulary": VOCABULARY}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))


def _samples(name: str, shares: Numbers, split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return tokens and loss mask (samples, 24): sample i is of a source drawn by `shares[i]`, shape (samples, sources)."""
    draws = _uniform(len(shares), "source", name, split)
    chosen = np.minimum((shares.cumsum(axis=1) < draws[:, None]).sum(axis=1), len(SOURCES) - 1)
    made = [generate_samples(source, len(shares), keyed_seed("control example", name, split)) for source in SOURCES]
    rows = np.arange(len(shares))
    return np.stack([tokens for tokens, _ in made])[chosen, rows], np.stack([mask for _, mask in made])[chosen, rows]


def _uniform(count: int, *key: str) -> Numbers:
    """Return numbers in (0, 1) that numpy's versions agree on."""
    raw = np.asarray(np.random.PCG64(keyed_seed("control example", *key)).random_raw(count), dtype=np.uint64)
    numbers: Numbers = ((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return numbers
