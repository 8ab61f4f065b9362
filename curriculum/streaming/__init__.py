"""The loader: Mosaic's StreamingDataset, obeying a mix to the sample. Guided tour:

StreamingDataset      `dataset`: the drop-in class; with `mix=...` it plays the plan, without it is Mosaic's
PaddingSample         what marks a sample repeated at the end of an epoch so that all ranks yield equally many
StreamingDataLoader   Mosaic's own, unchanged: a DataLoader whose state_dict says where the run is

    player            a mix being played: from a worker's positions to samples, and what a checkpoint says
    work, place       which positions of the plan fall to which worker; where this process stands among the ranks
    progress          which epoch is played, shared by a rank's processes
    state, history    what a saved state must agree with; what it has played, edits of the future included
    sources, shards   a mix's streams, found and checked before a run begins; what the loader asks of a stream's data
    reader            samples of all streams by number, many at once, from shards that stay open
    mds_source, mds   Mosaic's shard folders: brought here, mapped
    token_files       Megatron's and plain token arrays, read in place (megatron_files, array_files, document_marks)
    cache, prefetch   files of remote streams: locked, verified, bounded; fetched ahead of their use
    index             index.json and manifest.json, read without torch
    testbed           the embedded testbed's streams, generated once into the cache
    shared            without a mix: Mosaic's shared memory under names that cannot go stale
    mosaic, torchvision_guard   what is used of mosaicml-streaming, and how it can be imported beside a CPU torch

The names are bound when first used: `index` and `testbed` serve commands that must not wait for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curriculum.streaming.dataset import PaddingSample, StreamingDataset
    from curriculum.streaming.mosaic import StreamingDataLoader

__all__ = ["PaddingSample", "StreamingDataLoader", "StreamingDataset"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'curriculum.streaming' has no attribute {name!r}")
    from curriculum.streaming import dataset, mosaic

    return getattr(mosaic if name == "StreamingDataLoader" else dataset, name)
