"""Batches from the StreamingDataset, and held-out samples beside it.

Idea: a run draws every sample through the same class that a full training job uses, by plan position; what the proxy
saw is therefore what the mix says. Samples are read a few batches at a time, which shares the cost of looking up shards.
Held-out samples lie in `<stream>/heldout`, where the testbed and `curriculum pack` put them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from curriculum.errors import DataError
from curriculum.mix import Mix
from curriculum.proxy.folders import stream_folder
from curriculum.streaming import StreamingDataset
from curriculum.streaming.index import read_manifest

_BATCHES_AT_ONCE = 16
_HELDOUT_SAMPLES = 256


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """Token ids, int64 (batch, time), and which of them are targets of the loss, bool (batch, time)."""

    tokens: Tensor
    targets: Tensor


def make_batch(samples: list[dict[str, Any]]) -> Batch:
    """Stack samples: column `tokens`, and `loss_mask` where the stream has one (else every token is a target).

    Raises DataError when samples differ in length.
    """
    lengths = {len(sample["tokens"]) for sample in samples}
    if len(lengths) > 1:
        raise DataError(
            f"the streams' samples differ in length ({sorted(lengths)} tokens); pack them all with one sequence length"
        )
    tokens = torch.from_numpy(np.stack([sample["tokens"] for sample in samples]).astype(np.int64))
    everything = np.ones(tokens.shape[1], dtype=bool)
    mask = np.stack([np.asarray(sample.get("loss_mask", everything), dtype=bool) for sample in samples])
    return Batch(tokens=tokens, targets=torch.from_numpy(mask))


def batches(dataset: StreamingDataset, batch: int, *, start: int, stop: int) -> Iterator[Batch]:
    """Yield the batches of plan positions [start, stop), which must be a multiple of `batch` apart."""
    for begin in range(start, stop, batch * _BATCHES_AT_ONCE):
        end = min(stop, begin + batch * _BATCHES_AT_ONCE)
        chunk = make_batch(dataset.__getitems__(np.arange(begin, end)))
        yield from (
            Batch(tokens=tokens, targets=targets)
            for tokens, targets in zip(chunk.tokens.split(batch), chunk.targets.split(batch), strict=True)
        )


def heldout_batches(mix: Mix, limit: int = _HELDOUT_SAMPLES) -> dict[str, Batch]:
    """Return up to `limit` held-out samples of every stream that has any, read with the same class."""
    found = {}
    for name, stream in mix.streams.items():
        folder = stream_folder(name, stream) / "heldout"
        if not (folder / "index.json").exists():
            continue
        dataset = StreamingDataset(local=str(folder), batch_size=1)
        count = min(limit, int(dataset.num_samples))
        found[name] = make_batch(dataset.__getitems__(np.arange(count)))
        dataset.close()
    return found


def vocabulary_of(mix: Mix) -> int:
    """Return the vocabulary that the streams' manifests state. Raises DataError if they lack or contradict it."""
    found: dict[str, tuple[int, str]] = {}
    for name, stream in mix.streams.items():
        manifest = read_manifest(stream_folder(name, stream))
        if "vocabulary" not in manifest:
            raise DataError(
                f"stream {name!r}: its manifest.json states no vocabulary, which a proxy needs; pack it with `curriculum pack`"
            )
        found[name] = (int(manifest["vocabulary"]), str(manifest.get("tokenizer_sha256", "testbed")))
    if len({tokenizer for _, tokenizer in found.values()}) > 1:
        listed = "; ".join(f"{name}: {tokenizer[:12]}" for name, (_, tokenizer) in found.items())
        raise DataError(f"the streams were packed with different tokenizers ({listed}); pack them all with --tokenizer FILE")
    return max(vocabulary for vocabulary, _ in found.values())
