"""The ways to read samples that `loader.py` compares: each writes its own files and yields batches as torch tensors.

All hold the same samples, 2048 tokens of uint16 in four streams, shuffled by whatever means the library has. Every
loader gets the settings that were fastest for it here: Grain reads without threads, litdata as blocks of tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from setting import missing
from torch.utils.data import DataLoader, Dataset

from curriculum.mix import Mix, Phase, Stream
from curriculum.streaming import StreamingDataLoader, StreamingDataset, mosaic
from curriculum.streaming.mds import write_stream
from curriculum.streaming.shared import release

Tokens = npt.NDArray[np.uint16]
Batches = Generator[torch.Tensor, None, None]
BATCH, LENGTH, STREAMS = 32, 2048, ("a", "b", "c", "d")
SHARD_BYTES = 1 << 24
WEIGHTS = {name: number + 1 for number, name in enumerate(STREAMS)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """A way to read: `write(folder, samples)` once, `read(folder, workers)` many times; `needs` is a package."""

    name: str
    write: Callable[[Path, int], None]
    read: Callable[[Path, int], Batches]
    needs: str = "torch"


def stream_tokens(number: int, samples: int) -> Tokens:
    """Return the samples of a stream (samples, 2048); a row begins with its stream and its place, to be told by."""
    tokens = np.random.default_rng(number).integers(0, 50_000, (samples, LENGTH), dtype=np.uint16)
    tokens[:, 0], tokens[:, 1] = number, np.arange(samples)
    return tokens


def flat_file(folder: Path) -> Path:
    """Return the file that holds the tokens of all streams, one after another."""
    return folder / "flat.bin"


def write_flat(folder: Path, samples: int) -> None:
    with flat_file(folder).open("wb") as file:
        for number in range(len(STREAMS)):
            file.write(stream_tokens(number, samples).tobytes())


def mapped(folder: Path) -> Tokens:
    """Return all samples (4 x samples, 2048), mapped; copy-on-write, since torch warns of tensors it may not write."""
    return np.memmap(flat_file(folder), np.uint16, mode="c").reshape(-1, LENGTH)


def check(folder: Path, batch: torch.Tensor) -> None:
    """Raise AssertionError unless `batch` is a (32, 2048) tensor of samples that were written."""
    rows, written = batch.numpy(), mapped(folder)
    assert rows.shape == (BATCH, LENGTH) and rows.dtype == np.uint16, (rows.shape, rows.dtype)
    assert len({(row[0], row[1]) for row in rows}) == BATCH, "a sample came twice"
    assert all(np.array_equal(row, written[row[0] * (len(written) // 4) + row[1]]) for row in rows)


def forever(loader: Iterable[Any], tokens: Callable[[Any], torch.Tensor]) -> Batches:
    """Yield batches epoch after epoch."""
    while True:
        yield from map(tokens, loader)


def _of_dict(batch: Any) -> torch.Tensor:
    tokens: torch.Tensor = batch["tokens"]
    return tokens


def _as_it_is(batch: Any) -> torch.Tensor:
    tensor: torch.Tensor = batch
    return tensor


# ---- MDS: ours and Mosaic's ----


def write_mds(folder: Path, samples: int) -> None:
    for number, name in enumerate(STREAMS):
        write_stream(folder / "mds" / name, {"tokens": stream_tokens(number, samples)}, shard_bytes=SHARD_BYTES)


def write_bytes(folder: Path, samples: int) -> None:
    for number, name in enumerate(STREAMS):
        out = str(folder / "bytes" / name)
        with mosaic.MDSWriter(out=out, columns={"tokens": "bytes"}, size_limit=SHARD_BYTES) as writer:
            for row in stream_tokens(number, samples):
                writer.write({"tokens": row.tobytes()})


def write_npy(folder: Path, samples: int) -> None:
    (folder / "npy").mkdir()
    for number, name in enumerate(STREAMS):
        np.save(folder / "npy" / f"{name}.npy", stream_tokens(number, samples).ravel())


def mix_of(streams: dict[str, Stream], samples: int) -> Mix:
    """Return a mix that ramps from 1:2:3:4 to 4:3:2:1."""
    weights = {name: Decimal(weight) for name, weight in WEIGHTS.items()}
    ramp = Phase(until=Decimal(1), weights=weights, to=dict(zip(STREAMS, reversed(weights.values()), strict=True)))
    return Mix(name="benchmark", samples=samples, streams=streams, phases=(ramp,))


def _looped(dataset: Any, workers: int, collate: Any = None) -> Batches:
    """Yield batches; whoever closes the generator frees the dataset's shared memory, which would outlive the process."""
    loader = StreamingDataLoader(
        dataset, batch_size=BATCH, num_workers=workers, collate_fn=collate, drop_last=True, persistent_workers=workers > 0
    )
    try:
        yield from forever(loader, _of_dict)
    finally:
        del loader
        free(dataset)


def free(dataset: Any) -> None:
    """Give back what a dataset, ours or Mosaic's, holds on this machine."""
    if isinstance(dataset, StreamingDataset):
        dataset.close()
    else:
        release(dataset)


def with_mix(kind: str, folder: Path, workers: int) -> Batches:
    def stream(name: str) -> Stream:
        if kind == "mds":
            return Stream(local=str(folder / "mds" / name))
        return Stream(local=str(folder / "npy" / f"{name}.npy"), format="npy", sequence_length=LENGTH)

    samples = len(mapped(folder))
    dataset = StreamingDataset(mix=mix_of({name: stream(name) for name in STREAMS}, samples), batch_size=BATCH)
    return _looped(dataset, workers)


def without_mix(kind: type[Any], folder: Path, workers: int) -> Batches:
    streams = [mosaic.Stream(local=str(folder / "mds" / name)) for name in STREAMS]
    return _looped(kind(streams=streams, shuffle=True, batch_size=BATCH), workers)


def _decoded(samples: list[dict[str, bytes]]) -> dict[str, torch.Tensor]:
    return {"tokens": torch.from_numpy(np.stack([np.frombuffer(sample["tokens"], np.uint16) for sample in samples]))}


def mosaic_bytes(folder: Path, workers: int) -> Batches:
    streams = [mosaic.Stream(local=str(folder / "bytes" / name)) for name in STREAMS]
    return _looped(mosaic.StreamingDataset(streams=streams, shuffle=True, batch_size=BATCH), workers, _decoded)


# ---- the others ----


def write_litdata(folder: Path, samples: int) -> None:
    import litdata
    from litdata.streaming import Cache

    for number, name in enumerate(STREAMS):
        place = folder / "litdata" / name
        place.mkdir(parents=True)
        cache = Cache(str(place), chunk_bytes=SHARD_BYTES, item_loader=litdata.TokensLoader(LENGTH))
        for index, row in enumerate(stream_tokens(number, samples)):
            cache[index] = torch.from_numpy(row)
        cache.done()
        cache.merge()


def litdata_combined(folder: Path, workers: int) -> Batches:
    import litdata

    parts = [
        litdata.StreamingDataset(str(folder / "litdata" / name), item_loader=litdata.TokensLoader(LENGTH), shuffle=True)
        for name in STREAMS
    ]
    weights = [weight / sum(WEIGHTS.values()) for weight in WEIGHTS.values()]
    dataset = litdata.CombinedStreamingDataset(parts, weights=weights, iterate_over_all=False)
    loader = litdata.StreamingDataLoader(
        dataset, batch_size=BATCH, num_workers=workers, drop_last=True, persistent_workers=workers > 0
    )
    return forever(loader, _as_it_is)


class Rows:
    """One stream of the flat file, by index; picklable, as Grain's workers need."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder, self._number, self._rows = folder, number, _rows_of(folder, number)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Tokens:
        return self._rows[index]

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self._folder, "number": self._number}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def _rows_of(folder: Path, number: int) -> Tokens:
    rows = mapped(folder)
    each = len(rows) // len(STREAMS)
    return rows[number * each : (number + 1) * each]


def grain_mix(folder: Path, workers: int) -> Batches:
    import grain.python as grain

    streams = [grain.MapDataset.source(Rows(folder, n)).seed(n).shuffle().repeat() for n in range(len(STREAMS))]
    weights = [weight / sum(WEIGHTS.values()) for weight in WEIGHTS.values()]
    batches = grain.MapDataset.mix(streams, weights=weights).batch(BATCH, drop_remainder=True)
    loader = batches.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
    if workers:
        loader = loader.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2))
    return forever(loader, torch.from_numpy)


class Memmap(Dataset[torch.Tensor]):
    """The flat file, a sample at a time."""

    def __init__(self, folder: Path) -> None:
        self.rows = mapped(folder)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(self.rows[index])


class WholeBatches(Memmap):
    """The flat file, a batch at a time: one gather, which the collate function passes on."""

    def __getitems__(self, indices: list[int]) -> Tokens:
        return self.rows[indices]


def memmap(kind: type[Memmap], folder: Path, workers: int) -> Batches:
    whole = torch.from_numpy if kind is WholeBatches else None
    loader = DataLoader(
        kind(folder),
        batch_size=BATCH,
        shuffle=True,
        num_workers=workers,
        collate_fn=whole,
        drop_last=True,
        persistent_workers=workers > 0,
    )
    return forever(loader, _as_it_is)


def _nothing(folder: Path, samples: int) -> None:
    """Write nothing: another way wrote it."""


def contenders() -> list[Contender]:
    """Return all ways, Mosaic's class first: the ratios are to it."""
    ways = [
        Contender(name="Mosaic's class", write=write_mds, read=partial(without_mix, mosaic.StreamingDataset)),
        Contender(name="Mosaic's class, bytes column", write=write_bytes, read=mosaic_bytes),
        Contender(name="**ours, mix, MDS**", write=_nothing, read=partial(with_mix, "mds")),
        Contender(name="ours, no mix, MDS", write=_nothing, read=partial(without_mix, StreamingDataset)),
        Contender(name="litdata, combined", write=write_litdata, read=litdata_combined, needs="litdata"),
        Contender(name="Grain, mix of memmaps", write=_nothing, read=grain_mix, needs="grain"),
        Contender(name="raw memmap", write=_nothing, read=partial(memmap, Memmap)),
        Contender(name="raw memmap, whole batches", write=_nothing, read=partial(memmap, WholeBatches)),
    ]
    if not missing("curriculum.streaming.token_files"):
        ours = Contender(name="**ours, mix, npy tokens**", write=write_npy, read=partial(with_mix, "npy"))
        ways.insert(3, ours)
    return ways
