"""Remote streams, under a mix and without: downloads, caches, compression, hashes, splits, and an S3 server on loopback."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]
import numpy as np
import pytest
import streaming_help
from moto.server import ThreadedMotoServer
from streaming_help import Make, loader, planned
from torch.utils.data import DataLoader

from curriculum.errors import CurriculumError, DataError
from curriculum.mix import Mix, Order, Phase, Stream
from curriculum.streaming import mosaic
from curriculum.streaming.mds import write_stream

make_dataset = streaming_help.make_dataset
SIZES = {"first": 60, "second": 40, "third": 20}
SAMPLES = sum(SIZES.values())
BATCH = 8
FACES = ["mix", "plain"]


def write_remote(root: Path, split: str = "", **options: Any) -> Path:
    """Write the three streams, a few samples a shard; key = stream * 10**6 + index, and all else follows from it."""
    for number, (name, size) in enumerate(SIZES.items()):
        columns = {"key": "int", "text": "str", "words": "ndarray:uint16"}
        with mosaic.MDSWriter(out=str(root / name / split), columns=columns, size_limit=1300, **options) as writer:
            for key in range(number * 10**6, number * 10**6 + size):
                writer.write({"key": key, "text": f"sample {key}", "words": np.arange(key % 50, 50, dtype=np.uint16)})
    return root


@pytest.fixture(scope="module")
def remotes(tmp_path_factory: pytest.TempPathFactory) -> dict[str | None, Path]:
    """The streams, by their compression."""
    kinds = (None, "zstd", "gz")
    return {kind: write_remote(tmp_path_factory.mktemp(f"remote-{kind}"), compression=kind, hashes=["sha1"]) for kind in kinds}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def arguments_for(face: str, remote: Path | str, cache: Path, **of_streams: Any) -> dict[str, Any]:
    """Return the constructor's arguments for the three streams: as a mix, or as streams of Mosaic's, which come in order."""
    places = {name: {"remote": f"{remote}/{name}", "local": str(cache / name), **of_streams} for name in SIZES}
    if face == "plain":
        return {"streams": [mosaic.Stream(**place) for place in places.values()], "batch_size": BATCH}
    weights = {name: Decimal(size) / SAMPLES for name, size in SIZES.items()}
    phases = (Phase(until=Decimal(1), weights=weights),)
    streams = {name: Stream(**place) for name, place in places.items()}
    return {"mix": Mix(name="far", samples=SAMPLES, seed=3, streams=streams, phases=phases), "batch_size": BATCH}


def wanted(face: str, dataset: Any) -> list[int]:
    """Return the keys of an epoch: the plan's, or without a mix those of all streams in order."""
    if face == "mix":
        return planned(dataset.plan)
    return [number * 10**6 + index for number, size in enumerate(SIZES.values()) for index in range(size)]


def checked(samples: Any) -> list[int]:
    """Return the keys of samples, each found to be whole."""
    keys = []
    for sample in samples:
        key = int(sample["key"])
        assert sample["text"] == f"sample {key}"
        np.testing.assert_array_equal(sample["words"], np.arange(key % 50, 50, dtype=np.uint16), strict=True)
        keys.append(key)
    return keys


def each(batches: Any) -> Iterator[Any]:
    for batch in batches:
        yield from batch


def as_list(samples: list[Any]) -> list[Any]:
    return samples


def kept(cache: Path, pattern: str = "*.mds*") -> list[Path]:
    return sorted(path for path in cache.rglob(pattern) if path.is_file())


def content(root: Path, pattern: str) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in kept(root, pattern)}


def unpacked(remote: Path, compression: str | None) -> dict[str, bytes]:
    """Return what the cache is to hold: a shard says how it was packed, so that those of two remotes differ."""
    if compression is None:
        return content(remote, "*.mds")
    packed = content(remote, f"*.mds.{compression}")
    return {name.removesuffix(f".{compression}"): mosaic.decompress(compression, data) for name, data in packed.items()}


@contextmanager
def watching(cache: Path) -> Iterator[list[tuple[int, int]]]:
    """Yield a list that fills with (number, bytes) of the shard files in the cache, as often as they can be counted."""
    seen: list[tuple[int, int]] = [(0, 0)]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.0005):
            sizes = []
            for path in kept(cache):
                with suppress(FileNotFoundError):  # evicted this moment
                    sizes.append(path.stat().st_size if path.suffix in (".mds", ".zstd") else 0)
            seen.append((len([size for size in sizes if size]), sum(sizes)))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def eventually(is_so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.01)
    return is_so()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("face", FACES)
def test_a_folder_is_a_remote_and_the_cache_outlives_it(
    make_dataset: Make, remotes: dict[str | None, Path], cache: Path, tmp_path: Path, face: str, workers: int
) -> None:
    remote = Path(shutil.copytree(remotes[None], tmp_path / "remote"))
    dataset = make_dataset(**arguments_for(face, remote, cache))
    assert not kept(cache)  # only the indexes are fetched before they are asked for
    assert checked(each(loader(dataset, workers, collate_fn=as_list))) == wanted(face, dataset) or workers
    assert content(cache, "*.mds") == content(remote, "*.mds")
    dataset.close()
    shutil.rmtree(remote)
    again = make_dataset(**arguments_for(face, remote, cache))
    assert sorted(checked(again)) == sorted(wanted(face, again))


@pytest.mark.parametrize("keep_zip", [False, True])
@pytest.mark.parametrize("compression", ["zstd", "gz"])
@pytest.mark.parametrize("face", FACES)
def test_compressed_shards_are_unpacked_and_kept_or_not(
    make_dataset: Make, remotes: dict[str | None, Path], cache: Path, face: str, compression: str, keep_zip: bool
) -> None:
    dataset = make_dataset(**arguments_for(face, remotes[compression], cache), keep_zip=keep_zip)
    assert checked(dataset) == wanted(face, dataset)
    assert content(cache, "*.mds") == unpacked(remotes[compression], compression)
    assert content(cache, "*.mds.*") == (content(remotes[compression], "*.mds.*") if keep_zip else {})


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("face", FACES)
def test_a_small_cache_stays_small_and_every_sample_right(
    make_dataset: Make, remotes: dict[str | None, Path], cache: Path, face: str, compression: str | None
) -> None:
    remote = remotes[compression]
    shards = len(unpacked(remote, compression))
    largest = max(map(len, unpacked(remote, compression).values()))
    if compression:
        largest += max(map(len, content(remote, "*.mds.zstd").values()))
    # Mosaic counts its indexes, too.
    limit = 5 * largest + sum(path.stat().st_size for path in kept(remote, "index.json")) * (face == "plain")
    dataset = make_dataset(**arguments_for(face, remote, cache), cache_limit=limit, predownload=BATCH)
    with watching(cache) as seen:
        for epoch in range(2):
            keys = checked(dataset)
            assert keys == (planned(dataset.plan.later_pass(epoch)) if face == "mix" else wanted(face, dataset))
    assert len(set(keys)) == SAMPLES  # every shard was here, but
    assert max(number for number, _ in seen) < shards
    assert max(size for _, size in seen) <= limit + largest


@pytest.mark.parametrize("face", FACES)
def test_workers_share_a_small_cache(make_dataset: Make, remotes: dict[str | None, Path], cache: Path, face: str) -> None:
    limit = 6 * 1300 + sum(path.stat().st_size for path in kept(remotes[None], "index.json")) * (face == "plain")
    dataset = make_dataset(**arguments_for(face, remotes[None], cache), cache_limit=limit, predownload=BATCH)
    assert sorted(checked(each(loader(dataset, 2, collate_fn=as_list)))) == sorted(wanted(face, dataset))
    assert len(kept(cache, "*.mds")) < 10


@pytest.mark.parametrize("face", FACES)
def test_predownload_bounds_how_far_ahead_is_fetched(make_dataset: Make, tmp_path: Path, cache: Path, face: str) -> None:
    write_stream(tmp_path / "long", {"key": np.arange(1600, dtype=np.int64)[:, None]}, shard_bytes=800)
    total = len(kept(tmp_path / "long", "*.mds"))

    def reading(name: str, ahead: int) -> Iterator[Any]:
        place: dict[str, Any] = {"remote": str(tmp_path / "long"), "local": str(cache / name)}
        if face == "mix":
            streams = {"long": Stream(**place, order=Order(kind="sequential"))}
            phases = (Phase(until=Decimal(1), weights={"long": Decimal(1)}),)
            place = {"mix": Mix(name="long", samples=1600, seed=3, streams=streams, phases=phases)}
        return iter(make_dataset(**place, batch_size=BATCH, predownload=ahead))

    near, far = reading("near", BATCH), reading("far", 1600)
    assert int(next(near)["key"][0]) == int(next(far)["key"][0]) == 0
    assert eventually(lambda: len(kept(cache / "far", "*.mds")) > total * 3 // 4)  # though nothing more is asked for
    assert len(kept(cache / "near", "*.mds")) < total // 2
    assert [int(sample["key"][0]) for sample in near] == list(range(1, 1600))


@pytest.mark.parametrize("compression", [None, "gz"])
@pytest.mark.parametrize("face", FACES)
def test_hashes_are_validated_if_asked_for(
    make_dataset: Make, remotes: dict[str | None, Path], cache: Path, tmp_path: Path, face: str, compression: str | None
) -> None:
    sound = make_dataset(**arguments_for(face, remotes[compression], cache / "sound"), validate_hash="sha1")
    assert checked(sound) == wanted(face, sound)
    remote = Path(shutil.copytree(remotes[compression], tmp_path / "remote"))
    shard = kept(remote / "second", "shard.00001*")[0]
    flipped = bytearray(shard.read_bytes())
    flipped[-3] ^= 1
    shard.write_bytes(bytes(flipped))
    damaged = make_dataset(
        **arguments_for(face, remote, cache / "damaged", download_retry=1), validate_hash="sha1", predownload=1
    )
    with pytest.raises(CurriculumError, match=r"second.*shard\.00001"):
        list(damaged)


@pytest.mark.parametrize("face", FACES)
def test_a_hash_that_the_index_has_not_is_refused(
    make_dataset: Make, remotes: dict[str | None, Path], cache: Path, face: str
) -> None:
    dataset = make_dataset(**arguments_for(face, remotes[None], cache, download_retry=1), validate_hash="md5")
    with pytest.raises(CurriculumError, match=r"md5.*sha1"):
        list(dataset)


def test_without_a_mix_an_epoch_ends_though_both_threads_of_mosaic_fail(
    make_dataset: Make, remotes: dict[str | None, Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_dataset(**arguments_for("plain", remotes[None], cache))
    both = threading.Barrier(2, timeout=30)

    def fail_together(*_: Any, **__: Any) -> None:
        both.wait()
        raise OSError("no such host")

    monkeypatch.setattr(dataset, "prepare_shard", fail_together)
    with pytest.raises(DataError, match="no such host"):
        list(dataset)


@pytest.mark.parametrize("as_default", [False, True])
@pytest.mark.parametrize("face", FACES)
def test_a_split_is_a_folder_of_remote_and_cache(
    make_dataset: Make, cache: Path, tmp_path: Path, face: str, as_default: bool
) -> None:
    remote = write_remote(tmp_path / "remote", split="train")
    arguments = arguments_for(face, remote, cache, **({} if as_default else {"split": "train"}))
    dataset = make_dataset(**arguments, **({"split": "train"} if as_default else {}))
    assert checked(dataset) == wanted(face, dataset)
    assert {path.parent for path in kept(cache, "*.mds")} == {cache / name / "train" for name in SIZES}


@pytest.fixture(scope="module")
def bucket(remotes: dict[str | None, Path]) -> Iterator[str]:
    """Serve the zstd streams by S3 on loopback; return their address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        settings = {
            "S3_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": host,
        }
        for name, value in settings.items():
            environment.setenv(name, value)
        client = boto3.client("s3", endpoint_url=settings["S3_ENDPOINT_URL"])
        client.create_bucket(Bucket="streams")
        for path in kept(remotes["zstd"], "*"):
            client.put_object(Bucket="streams", Key=f"far/{path.relative_to(remotes['zstd'])}", Body=path.read_bytes())
        yield "s3://streams/far"
    server.stop()


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("face", FACES)
def test_s3_is_a_remote(
    make_dataset: Make, remotes: dict[str | None, Path], bucket: str, cache: Path, face: str, workers: int
) -> None:
    dataset = make_dataset(**arguments_for(face, bucket, cache), validate_hash="sha1", predownload=64)
    reading = DataLoader(dataset, batch_size=BATCH, num_workers=workers, collate_fn=as_list)
    assert checked(each(reading)) == wanted(face, dataset)
    assert content(cache, "*.mds") == unpacked(remotes["zstd"], "zstd")


@pytest.mark.parametrize("face", FACES)
def test_what_s3_does_not_have_is_named(make_dataset: Make, bucket: str, cache: Path, face: str) -> None:
    arguments = arguments_for(face, f"{bucket}/nowhere", cache, download_retry=1)
    with pytest.raises(CurriculumError if face == "mix" else Exception, match="far/nowhere/first"):
        make_dataset(**arguments)
