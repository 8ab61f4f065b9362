"""Our reading and writing of fixed-shape MDS shards against Mosaic's."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from curriculum.errors import DataError
from curriculum.streaming.index import read_index
from curriculum.streaming.mds import MappedShard, fixed_layout, write_stream
from curriculum.streaming.mosaic import MDSReader, MDSWriter

ROWS = 300


def columns() -> dict[str, npt.NDArray[Any]]:
    random = np.random.default_rng(0)
    return {
        "tokens": random.integers(0, 255, (ROWS, 24)).astype(np.uint8),
        "grid": random.normal(size=(ROWS, 2, 3)).astype(np.float32),
        "key": np.arange(ROWS, dtype=np.int64)[:, None],
    }


@pytest.mark.parametrize("limit", [1 << 26, 5000])
def test_the_files_equal_those_of_mosaics_writer(tmp_path: Path, limit: int) -> None:
    arrays = columns()
    encodings = {"tokens": "ndarray:uint8:24", "grid": "ndarray:float32:2,3", "key": "ndarray:int64:1"}
    write_stream(tmp_path / "ours", arrays, shard_bytes=limit)
    with MDSWriter(columns=encodings, out=str(tmp_path / "theirs"), size_limit=limit, hashes=["sha256"]) as writer:
        for row in range(ROWS):
            writer.write({name: array[row] for name, array in arrays.items()})
    ours, theirs = ({path.name: path.read_bytes() for path in (tmp_path / who).iterdir()} for who in ("ours", "theirs"))
    assert sorted(ours) == sorted(theirs)
    assert ours == theirs
    assert len(ours) == (2 if limit > 5000 else 5)


def test_records_decode_to_what_was_written(tmp_path: Path) -> None:
    arrays = columns()
    write_stream(tmp_path, arrays)
    layout = fixed_layout(["grid", "key", "tokens"], ["ndarray:float32:2,3", "ndarray:int64:1", "ndarray:uint8:24"])
    assert layout is not None
    shard = MappedShard(tmp_path / "shard.00000.mds", samples=ROWS, layout=layout)
    chosen = np.asarray([299, 0, 17, 0])
    reader = MDSReader(
        str(tmp_path),
        "",
        ["ndarray:float32:2,3", "ndarray:int64:1", "ndarray:uint8:24"],
        ["grid", "key", "tokens"],
        [24, 8, 24],
        None,
        [],
        raw_data=shard_file(),
        samples=ROWS,
        size_limit=None,
        zip_data=None,
    )
    without_layout = MappedShard(tmp_path / "shard.00000.mds", samples=ROWS, layout=None, decode_sample=reader.decode_sample)
    for found in (shard.read(chosen), without_layout.read(chosen), [reader[index] for index in chosen.tolist()]):
        for row, sample in zip(chosen, found, strict=True):
            for name, array in arrays.items():
                np.testing.assert_array_equal(sample[name], array[row], strict=True)


def shard_file() -> object:
    return type("File", (), {"basename": "shard.00000.mds", "bytes": 0, "hashes": {}})()


@pytest.mark.parametrize("encoding", ["str", "int", "ndarray", "ndarray:uint8", "pkl"])
def test_only_arrays_of_fixed_shape_have_a_fixed_layout(encoding: str) -> None:
    assert fixed_layout(["a", "b"], ["ndarray:uint8:4", encoding]) is None


@pytest.mark.parametrize(("damage", "message"), [("samples", "holds 299"), ("offsets", "other than"), ("end", "cut off")])
def test_damaged_shards_are_refused(tmp_path: Path, damage: str, message: str) -> None:
    write_stream(tmp_path, {"tokens": columns()["tokens"]})
    path = tmp_path / "shard.00000.mds"
    data = bytearray(path.read_bytes())
    if damage == "samples":
        data[:4] = np.uint32(299).tobytes()
    elif damage == "offsets":
        data[8:12] = np.uint32(5).tobytes()
    else:
        data = data[:-1]
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match=message):
        MappedShard(path, samples=ROWS, layout=fixed_layout(["tokens"], ["ndarray:uint8:24"]))


def test_equal_sizes_do_not_hide_other_content(tmp_path: Path) -> None:
    """Run folders are named by their streams' digests: changed data must not find the runs of the old."""
    for value in (0, 1):
        write_stream(tmp_path / str(value), {"tokens": np.full((20, 4), value, np.uint8)})
    assert read_index("a", tmp_path / "0").digest != read_index("a", tmp_path / "1").digest
