"""What is used of mosaicml-streaming 0.13.0, imported in one place, behind the torchvision guard.

The pinned version matters: besides the public classes, its shard readers, its downloaders and the
names of its shared-memory objects are relied upon. Nothing else in this package imports `streaming`.
"""

from __future__ import annotations

from curriculum.streaming.torchvision_guard import torchvision_or_stand_in

with torchvision_or_stand_in():
    from streaming import MDSWriter, Stream, StreamingDataLoader, StreamingDataset
    from streaming.base import dataset as dataset_module
    from streaming.base.compression import decompress
    from streaming.base.constant import DEFAULT_TIMEOUT, LOCALS, SHM_TO_CLEAN
    from streaming.base.dataset import _ShardState as ShardState
    from streaming.base.format import reader_from_json
    from streaming.base.format.mds.reader import MDSReader
    from streaming.base.hashing import get_hash
    from streaming.base.shared import SharedBarrier, SharedMemory
    from streaming.base.shared import _get_path as shared_name
    from streaming.base.storage.download import CloudDownloader
    from streaming.base.util import bytes_to_int
    from streaming.base.world import World

__all__ = [
    "DEFAULT_TIMEOUT",
    "LOCALS",
    "SHM_TO_CLEAN",
    "CloudDownloader",
    "MDSReader",
    "MDSWriter",
    "ShardState",
    "SharedBarrier",
    "SharedMemory",
    "Stream",
    "StreamingDataLoader",
    "StreamingDataset",
    "World",
    "bytes_to_int",
    "dataset_module",
    "decompress",
    "get_hash",
    "reader_from_json",
    "shared_name",
]
