"""The scan of streams: every format, going on after a stop, scores that a plan plays, the command, the picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from test_scan import stream_counts
from token_help import write_megatron

from curriculum.attribution import scan as scanning
from curriculum.attribution import scan_followers, scan_reading
from curriculum.attribution.conflict_counts import Batch, count_conflicts
from curriculum.attribution.scan import Kept, ScanResult, likely_followers, scan
from curriculum.attribution.scan_pull import stream_pull, window_scores
from curriculum.attribution.scan_reading import SampleBatches
from curriculum.attribution.scan_streams import open_streams, streams_at
from curriculum.cli import cli
from curriculum.commands.scan import scan as command
from curriculum.errors import DataError, ResourceError, UserError
from curriculum.mix import Mix, Order, Phase, Stream
from curriculum.probe.testbed import STREAMS, generate_samples
from curriculum.report.scan_chart import check_picture, draw_scan, ranked, strip, terminal_strip
from curriculum.streaming.mds import write_stream
from curriculum.streaming.mosaic import MDSWriter

Tokens = npt.NDArray[np.int32]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


# Streams.


def words(samples: int, length: int = 16, vocabulary: int = 40, seed: int = 0) -> npt.NDArray[np.uint16]:
    return np.minimum(np.random.default_rng(seed).geometric(0.15, (samples, length)), vocabulary - 1).astype(np.uint16)


def scan_of(places: dict[str, str], window: int = 10, **options: Any) -> ScanResult:
    streams = streams_at([f"{name}={place}" for name, place in places.items()], 16)
    return scan([(source, window) for source in open_streams(streams)], **options)


def same(one: ScanResult, other: ScanResult) -> bool:
    return all(np.array_equal(a.counts, b.counts) for a, b in zip(one.counts, other.counts, strict=True))


def test_every_format_gives_the_same_counts(tmp_path: Path) -> None:
    tokens = words(100)
    write_stream(tmp_path / "mds", {"tokens": tokens}, shard_bytes=1000)
    np.save(tmp_path / "array.npy", tokens.ravel())
    write_megatron(tmp_path / "books", tokens.ravel(), [[1600]])
    found = [scan_of({"s": str(tmp_path / place)}) for place in ("mds", "array.npy", "books", "books.bin")]
    assert all(same(found[0], other) for other in found[1:])
    assert [found[0].pulls[0].samples, found[0].pulls[0].windows, found[0].pulls[0].tokens] == [100, 10, 1600]
    whole = count_conflicts(Batch(tokens=tokens.astype(np.int32), targets=np.ones(tokens.shape, np.bool_)), exact(tokens))
    assert found[0].counts[0].counts.tolist() == whole.reshape(10, 10, -1).sum(axis=1).tolist()


def exact(tokens: npt.NDArray[np.uint16]) -> Tokens:
    """Return the most likely followers by a table of all pairs."""
    pairs = np.zeros((64, 64))
    np.add.at(pairs, (tokens[:, :-1], tokens[:, 1:]), 1)
    return np.where(pairs.sum(axis=1) >= scan_followers.LEAST_SEEN, pairs.argmax(axis=1), -1).astype(np.int32)


def test_neither_batches_nor_shards_change_the_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_stream(tmp_path / "whole", {"tokens": words(333)})
    write_stream(tmp_path / "parts", {"tokens": words(333)}, shard_bytes=700)
    whole = scan_of({"s": str(tmp_path / "whole")}, window=7)
    monkeypatch.setattr(scan_reading, "BATCH_TOKENS", 16 * 11)
    assert same(whole, scan_of({"s": str(tmp_path / "parts")}, window=7))
    assert whole.counts[0].stops[-1] == 333
    assert len(whole.scores[0]) == 48


def test_the_loss_mask_says_what_counts_and_samples_may_differ_in_length() -> None:
    class Few:
        name = "few"

        def read(self, _: Any) -> list[dict[str, Any]]:
            return [
                {"input_ids": np.asarray([1, 2, 3], np.int64)},
                {"input_ids": np.asarray([4, 5], np.int64), "loss_mask": np.asarray([0, 0])},
            ]

    batch = scan_reading._batch("few", Few().read(None))
    assert batch.tokens.tolist() == [[1, 2, 3], [4, 5, 0]]
    assert batch.targets.tolist() == [[True, True, True], [False, False, False]]


def test_samples_without_tokens_are_refused_with_what_they_hold() -> None:
    with pytest.raises(DataError, match=r"'poems'.*text \(str\).*curriculum pack"):
        scan_reading._batch("poems", [{"text": "no tokens"}])


def test_tokens_that_the_first_pass_never_saw_have_no_follower(tmp_path: Path) -> None:
    tokens = words(400)
    tokens[-1] = 60_000
    write_stream(tmp_path / "s", {"tokens": tokens})
    found = scan_of({"s": str(tmp_path / "s")}, pairs=1500)
    assert found.pulls[0].targets > 0
    assert found.counts[0].counts[-1, 0] < found.counts[0].counts[0, 0]


def test_a_bounded_first_pass_reads_no_more_than_it_may(tmp_path: Path) -> None:
    write_stream(tmp_path / "s", {"tokens": words(5000)})
    (source,) = open_streams(streams_at([str(tmp_path / "s")], None))
    read: list[int] = []
    found = likely_followers([SampleBatches(source)], pairs=15_000, progress=lambda stage, done, total: read.append(done))
    assert len(read) > 100
    assert sum(np.diff([0, *read])) <= 16_000
    agree = found[:40] == exact(words(5000))[:40]
    assert agree.mean() > 0.5  # every token's followers are drawn alike here: the hardest case


def test_the_testbeds_general_streams_stand_above_its_shallow_ones(tmp_path: Path) -> None:
    for name in STREAMS:
        tokens, mask = generate_samples(name, 2000, 0)
        write_stream(tmp_path / name, {"tokens": tokens, "loss_mask": mask})
    found = scan_of({name: str(tmp_path / name) for name in STREAMS}, window=64)
    assert [STREAMS[number] for number in ranked(found)[:3]] == ["icl", "arith", "count"]
    pulls = {pull.name: pull.pull for pull in found.pulls}
    assert pulls["icl"] == 1.0
    assert pulls["repeat"] == pulls["facts"] == 0.0


# Going on.


def test_a_scan_that_was_stopped_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_reading, "BATCH_TOKENS", 16 * 20)
    for seed, name in enumerate(("one", "two")):
        write_stream(tmp_path / name, {"tokens": words(200, seed=seed)})
    places = {name: str(tmp_path / name) for name in ("one", "two")}
    whole, kept, seen = scan_of(places), Kept(folder=tmp_path / "kept"), []

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "count" and done > 4000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan_of(places, kept=kept, progress=stop)
    again = scan_of(places, kept=kept, progress=lambda stage, done, total: seen.append((stage, done)))
    assert same(whole, again)
    assert again.pulls == whole.pulls
    assert min(done for stage, done in seen if stage == "count") > 4000


def test_counts_are_kept_on_the_way_so_that_a_kill_loses_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_reading, "BATCH_TOKENS", 16 * 20)
    monkeypatch.setattr(scanning, "_KEEP_SECONDS", 0.0)
    write_stream(tmp_path / "one", {"tokens": words(200)})
    kept, files = Kept(folder=tmp_path / "kept"), []

    def look(stage: str, done: int, total: int) -> None:
        files.append([path.name for path in (tmp_path / "kept").glob("*.npz")])

    scan_of({"one": str(tmp_path / "one")}, kept=kept, progress=look)
    assert len(files[-1]) == 1  # before the last batch was kept
    (path,) = (tmp_path / "kept").glob("[!.]*.npz")
    path.write_bytes(path.read_bytes()[:100])
    assert kept.load(path.stem, 20) is None


def test_other_data_another_window_or_another_corpus_are_not_gone_on_with(tmp_path: Path) -> None:
    kept = Kept(folder=tmp_path / "kept")
    for seed, name in enumerate(("one", "two")):
        write_stream(tmp_path / name, {"tokens": words(200, seed=seed)})
    places = {name: str(tmp_path / name) for name in ("one", "two")}
    for window, chosen in ((10, ["one"]), (20, ["one"]), (10, ["one", "two"])):
        some = {name: places[name] for name in chosen}
        assert same(scan_of(some, window=window), scan_of(some, window=window, kept=kept))


def test_other_data_of_the_same_size_is_not_gone_on_with_where_the_index_has_no_hashes(tmp_path: Path) -> None:
    kept = Kept(folder=tmp_path / "kept")
    for seed in range(2):
        with MDSWriter(columns={"tokens": "ndarray:uint16:16"}, out=str(tmp_path / str(seed) / "web")) as writer:
            for row in words(200, seed=seed):
                writer.write({"tokens": row})
    one, other = ({"web": str(tmp_path / str(seed) / "web")} for seed in range(2))
    assert not same(scan_of(one, kept=kept), scan_of(other))
    assert same(scan_of(other, kept=kept), scan_of(other))


# The command.


def report_of(capsys: pytest.CaptureFixture[str], *places: str, **options: Any) -> dict[str, Any]:
    assert command(places, as_json=True, **options) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def uneven(tmp_path: Path) -> Path:
    """Write a stream whose second half contradicts what is common in both."""
    tokens = words(640)
    tokens[320:, 8:] = tokens[320:, :8]  # each sample shows its first half twice
    write_stream(tmp_path / "uneven", {"tokens": tokens})
    return tmp_path / "uneven"


def test_the_score_file_orders_a_plan_unchanged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, scores = uneven(tmp_path), tmp_path / "scores.parquet"
    report_of(capsys, str(folder), out=scores)
    order = Order(scores=str(scores), direction="descending")
    mix = Mix(
        name="m",
        samples=640,
        streams={"uneven": Stream(local=str(folder), order=order)},
        phases=(Phase(until=1, weights={"uneven": 1}),),  # type: ignore[arg-type,dict-item]
    )
    plan = mix.plan({"uneven": 640})
    _, epochs, samples = plan[np.arange(640)]
    assert sorted(samples.tolist()) == list(range(640))
    assert not epochs.any()
    assert (samples[:320] >= 320).all()
    assert {sample // 64 for sample in samples[:64].tolist()} <= {5, 6, 7, 8, 9}
    assert len({sample // 64 for sample in samples[:64].tolist()}) == 1  # the plan's own window


def test_a_mix_gives_streams_names_and_windows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = uneven(tmp_path)
    (tmp_path / "mix.yaml").write_text(
        "version: 1\nname: m\nsamples: 100\nstreams:\n"
        f"  first: {{local: {folder}, order: {{scores: not-yet.parquet, window: 40}}}}\n"
        "  other: {local: testbed:icl}\nphases: [{until: 1, weights: {first: 1}}]\n"
    )
    (stream,) = report_of(capsys, "first", mix=tmp_path / "mix.yaml")["streams"]
    assert (stream["name"], stream["window"], stream["windows"]) == ("first", 40, 16)
    (stream,) = report_of(capsys, "first", mix=tmp_path / "mix.yaml", window=64)["streams"]
    assert stream["window"] == 64
    with pytest.raises(UserError, match=r"no stream 'frist'.*first.*other"):
        command(["frist"], mix=tmp_path / "mix.yaml")


def test_what_cannot_be_scanned_is_said_with_a_way_out(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(100, dtype=np.uint16))
    refused = {
        ("nowhere",): "testbed:NAME",
        (str(tmp_path / "a.npy"),): "--sequence-length",
        ("s3://bucket/web",): "--mix",
        ("x=testbed:icl", "x=testbed:facts"): "named 'x'",
        (): "--mix FILE",
    }
    for places, way_out in refused.items():
        with pytest.raises(UserError, match=way_out):
            command(places)
    with pytest.raises(UserError, match="png"):
        command([str(tmp_path)], picture=tmp_path / "p.bmp")


def test_scores_that_cannot_be_written_are_said_in_words(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", words(40))
    with pytest.raises(ResourceError, match=r"could not write .*--out"):
        command([str(tmp_path / "a.npy")], sequence_length=16, out=tmp_path / "a.npy" / "scores.parquet")


def test_what_cannot_be_written_is_said_before_anything_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "scan", lambda *_, **__: pytest.fail("counted"))
    (tmp_path / "file").touch()
    below = tmp_path / "file" / "x.png"
    for words, options in {
        r"--out: wanted a file .* is a folder": {"out": tmp_path},
        r"could not write .*another --out": {"out": below},
        r"could not write .*another --picture": {"picture": below},
    }.items():
        with pytest.raises((UserError, ResourceError), match=words):
            command([str(uneven(tmp_path))], **options)  # type: ignore[arg-type]


def test_the_path_of_the_hint_is_the_one_that_a_mix_wants(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, mixes = uneven(tmp_path), tmp_path / "mixes"
    mixes.mkdir()
    monkeypatch.chdir(tmp_path)
    text = (
        "version: 1\nname: m\nsamples: 100\nstreams: {first: {local: ../uneven%s}}\nphases: [{until: 1, weights: {first: 1}}]\n"
    )
    (mixes / "mix.yaml").write_text(text % "")
    for mix in (Path("mixes/mix.yaml"), None):
        assert command([] if mix else [f"first={folder}"], out=Path("scores.parquet"), mix=mix) == 0
        order = capsys.readouterr().out.split(": order: ")[1].split("\n")[0]
        (mixes / "ordered.yaml").write_text(text % f", order: {order}")
        assert Mix.load(mixes / "ordered.yaml").plan({"first": 640}).samples == 100
        assert order.startswith("{scores: ../scores" if mix else f"{{scores: {tmp_path}/")


def test_the_command_line_scans_and_draws(tmp_path: Path) -> None:
    from click.testing import CliRunner

    picture = tmp_path / "p.png"
    done = CliRunner().invoke(cli, ["scan", str(uneven(tmp_path)), "--picture", str(picture)], standalone_mode=False)
    assert done.exit_code == 0, done.output
    assert "uneven" in done.output
    assert picture.read_bytes().startswith(b"\x89PNG")


# The picture.


def test_a_strip_shows_means_of_stretches() -> None:
    assert strip(np.arange(6.0), 3).tolist() == [0.5, 2.5, 4.5]
    assert strip(np.arange(2.0), 3).tolist() == [0.0, 1.0]
    assert terminal_strip(np.asarray([0.0, 0.5, 1.0]), 0.0, 1.0) == "▁▅█"


def test_streams_without_evidence_are_drawn_last(tmp_path: Path) -> None:
    counts = (stream_counts([0], [0], "none"), stream_counts([1], [3], "$\\weak$"), stream_counts([3], [1], "strong"))
    scores = tuple(window_scores(counts))
    pulls = tuple(stream_pull(each, own) for each, own in zip(counts, scores, strict=True))
    result = ScanResult(pulls=pulls, counts=counts, scores=scores)
    assert [pulls[number].name for number in ranked(result)] == ["strong", "$\\weak$", "none"]
    check_picture(tmp_path / "p.svg")
    draw_scan(result, tmp_path / "new" / "p.svg")
    assert "<svg" in (tmp_path / "new" / "p.svg").read_text()
