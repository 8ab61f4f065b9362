"""What is used of mosaicml-streaming 0.13.0, imported in one place, behind the torchvision guard.

The pinned version matters: besides the public classes, `StreamingDataset._get_work` (who gets which samples) and the
names of its shared-memory objects are relied upon. Nothing else in this package imports `streaming`.
"""

from __future__ import annotations

from curriculum.streaming.torchvision_guard import torchvision_or_stand_in

with torchvision_or_stand_in():
    from streaming import MDSWriter, Stream, StreamingDataLoader, StreamingDataset
    from streaming.base.constant import DEFAULT_TIMEOUT
    from streaming.base.dataset import _ShardState as ShardState
    from streaming.base.format.mds.reader import MDSReader
    from streaming.base.shared import SharedMemory
    from streaming.base.world import World

__all__ = [
    "DEFAULT_TIMEOUT",
    "MDSReader",
    "MDSWriter",
    "ShardState",
    "SharedMemory",
    "Stream",
    "StreamingDataLoader",
    "StreamingDataset",
    "World",
]
