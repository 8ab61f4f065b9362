"""What one rank does in the torchrun test: `torchrun ... streaming_torchrun.py FOLDER OUT WORKERS BATCH BATCHES`.

Goes on from OUT/state.json if it is there, plays BATCHES batches (-1: to the end), writes OUT/rank<r>.json.
"""

import json
import os
import sys
from itertools import islice
from pathlib import Path

from streaming_help import ramp
from torch import distributed

from curriculum.streaming import PaddingSample, StreamingDataLoader, StreamingDataset


def main(folder: Path, out: Path, workers: int, batch: int, batches: int) -> None:
    distributed.init_process_group("gloo")
    loading = StreamingDataLoader(
        StreamingDataset(mix=ramp(folder), batch_size=batch), batch_size=batch, num_workers=workers, collate_fn=list
    )
    if (out / "state.json").exists():
        loading.load_state_dict(json.loads((out / "state.json").read_text()))
    played = [sample for each in islice(loading, None if batches < 0 else batches) for sample in each]
    keys = [None if isinstance(sample, PaddingSample) else int(sample["key"][0]) for sample in played]
    # StreamingDataLoader counts tensors' first dimension; a list of samples counts the fields of its first.
    state = loading.dataset.state_dict(len(played) * distributed.get_world_size(), False)
    place = {"keys": keys, "state": state, "node": int(os.environ["GROUP_RANK"]), "rank": int(os.environ["LOCAL_RANK"])}
    (out / f"rank{os.environ['RANK']}.json").write_text(json.dumps(place))
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
