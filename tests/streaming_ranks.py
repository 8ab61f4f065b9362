"""What one rank does in the tests of several ranks: run as `python streaming_ranks.py FOLDER`, driven by RANK and kin.

Reads FOLDER/given.json (a state saved by one process), writes FOLDER/rank<r>.json.
"""

import json
import os
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from streaming_help import SIZES, keys_of, loader, ramp
from torch import distributed

from curriculum.streaming import PaddingSample, StreamingDataset
from curriculum.streaming.mosaic import Stream

STOP = 20  # batches of 8 on each of 2 ranks


def with_padding(samples: list[Any]) -> dict[str, Any]:
    return {
        "key": [int(sample["key"][0]) for sample in samples],
        "padding": [isinstance(sample, PaddingSample) for sample in samples],
    }


def whole_pass(dataset: Any) -> dict[str, Any]:
    loading = loader(dataset, 2, collate_fn=with_padding)
    batches = list(loading)
    padding = [mark for batch in batches for mark in batch["padding"]]
    return {
        "keys": keys_of(batches),
        "padding": [place for place, mark in enumerate(padding) if mark],
        "length": len(dataset),
        "batches": len(batches),
        "state": loading.state_dict(),
    }


def stopped(dataset: Any) -> dict[str, Any]:
    batches = loader(dataset, 2)
    return {"keys": keys_of(islice(batches, STOP)), "state": batches.state_dict()}


def resumed(dataset: Any, state: dict[str, Any]) -> list[int]:
    batches = loader(dataset, 2)
    batches.load_state_dict(state)
    return keys_of(batches)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    mix = ramp(folder)

    def streams() -> list[Stream]:
        return [Stream(local=str(folder / name)) for name in SIZES]

    def plain() -> StreamingDataset:
        return StreamingDataset(streams=streams(), shuffle=True, num_canonical_nodes=1, batch_size=8)

    def mixed() -> StreamingDataset:
        return StreamingDataset(mix=mix, batch_size=8)

    found: dict[str, Any] = {"pass": whole_pass(mixed()), "stopped": stopped(mixed())}
    found["resumed"] = resumed(mixed(), found["stopped"]["state"])
    found["continued"] = resumed(mixed(), json.loads((folder / "given.json").read_text()))
    found["plain stopped"] = stopped(plain())
    found["plain resumed"] = resumed(plain(), found["plain stopped"]["state"])
    (folder / f"rank{os.environ['RANK']}.json").write_text(json.dumps(found))
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
