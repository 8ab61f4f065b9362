"""Streams, mixes and datasets for the tests of the loader. Every sample says what it is: key = stream * 10**6 + index."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curriculum.mix import Mix, Phase, Stream
from curriculum.plan import Plan
from curriculum.streaming import StreamingDataset
from curriculum.streaming.mds import write_stream
from curriculum.streaming.mosaic import StreamingDataLoader
from curriculum.streaming.mosaic import StreamingDataset as MosaicDataset
from curriculum.streaming.shared import own_names, release

SIZES = {"first": 500, "second": 300, "third": 200}
WEIGHTS = {"first": Decimal("0.8"), "second": Decimal("0.1"), "third": Decimal("0.1")}
TO = {"first": Decimal("0.2"), "second": Decimal("0.6"), "third": Decimal("0.2")}


def write_streams(folder: Path) -> Path:
    """Write the three streams, of several shards each, under `folder`."""
    for number, (name, size) in enumerate(SIZES.items()):
        keys = number * 10**6 + np.arange(size, dtype=np.int64)[:, None]
        words = (keys + np.arange(6)).astype(np.uint16).reshape(-1, 2, 3)
        write_stream(folder / name, {"key": keys, "words": words}, shard_bytes=4000)
    return folder


def ramp(folder: Path, samples: int = 1001, seed: int = 5, **changes: Any) -> Mix:
    """Return a mix of the three streams in which `first` falls from .8 to .2."""
    fields = {
        "name": "ramp",
        "samples": samples,
        "seed": seed,
        "streams": {name: Stream(local=str(folder / name)) for name in SIZES},
        "phases": (Phase(until=Decimal(1), weights=WEIGHTS, to=TO),),
    }
    return Mix(**{**fields, **changes})


def planned(plan: Plan, start: int = 0, stop: int | None = None) -> list[int]:
    """Return the keys the plan has at positions [start, stop)."""
    streams, _, samples = plan[np.arange(start, len(plan) if stop is None else stop)]
    keys: list[int] = (streams * 10**6 + samples).tolist()
    return keys


def keys_of(samples: Any) -> list[int]:
    return [int(key) for sample in samples for key in np.asarray(sample["key"]).ravel()]


def loader(dataset: Any, workers: int = 0, **options: Any) -> StreamingDataLoader:
    return StreamingDataLoader(dataset, batch_size=dataset.batch_size, num_workers=workers, **options)


def mosaics_own(**arguments: Any) -> Any:
    """Return Mosaic's own dataset, but for its number: what other jobs on this machine left must not fail a test."""
    dataset = MosaicDataset.__new__(MosaicDataset)
    with own_names(dataset):
        dataset.__init__(**arguments)
    return dataset


Make = Callable[..., Any]


@pytest.fixture
def make_dataset() -> Iterator[Make]:
    """Make datasets, ours or (mosaic=True) Mosaic's own, whose shared memory is freed when the test ends."""
    made: list[Any] = []

    def make(*, mosaic: bool = False, **arguments: Any) -> Any:
        made.append(mosaics_own(**arguments) if mosaic else StreamingDataset(**arguments))
        return made[-1]

    yield make
    for dataset in made:
        release(dataset)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_streams(tmp_path_factory.mktemp("streams"))
