"""The loader: Mosaic's StreamingDataset, obeying a mix to the sample. Guided tour:

StreamingDataset      `dataset`: the drop-in class; with `mix=...` it plays the plan, without it is Mosaic's
PaddingSample         what marks a sample repeated at the end of an epoch so that all ranks yield equally many
StreamingDataLoader   Mosaic's own, unchanged: a DataLoader whose state_dict says where the run is

    work              which positions of the plan fall to which worker: the formula, and the padding
    state             what a checkpoint says, and the refusal to resume under another mix or other data
    sources           a mix's streams as Mosaic's; what is refused and checked before a run begins
    batches, mds      whole batches by position, from memory-mapped shards
    index             index.json and manifest.json, read without torch
    testbed           the embedded testbed's streams, generated once into the cache
    shared            Mosaic's shared memory: claimed by one job at a time, given back on close
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
