"""Curriculum: find, prove and obey the data mix and data order that keep a language model in the general mode.

    from curriculum import Mix, StreamingDataset
    dataset = StreamingDataset(mix="mixes/winner.yaml", batch_size=8)  # Mosaic's class, obeying a mix to the sample
    plan = Mix.load("mixes/winner.yaml").plan(sizes={"web": 10**9})  # numpy only: position -> (stream, epoch, sample)

Rooms, from the ground up: `errors`, `units` and `plugins`; `mix` (the file); `plan` (its exact integer compilation); `probe`
(what is asked of a model); `streaming` (the loader); `proxy` (small models and their runs); `search` (the study);
`report`; `commands`; `cli`. A room imports only from rooms before it.

The names below are bound when first used, so that `import curriculum` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curriculum.mix import Mix, Order, Phase, Stream
    from curriculum.streaming import StreamingDataset

__all__ = ["Mix", "Order", "Phase", "Stream", "StreamingDataset", "__version__"]
__version__ = "0.1.0"

_HOMES = dict.fromkeys(("Mix", "Order", "Phase", "Stream"), "curriculum.mix") | {"StreamingDataset": "curriculum.streaming"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'curriculum' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
