"""Mix files: reading back what was written, and one clear line for everything that is wrong."""

from __future__ import annotations

import errno
import os
import stat
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum.errors import FileError, ResourceError, UserError
from curriculum.mix import Document, Mix, Order, Phase, Stream, read_streams
from curriculum.mix.stream import TokenDtype

GOOD = """\
version: 1
name: hold-then-ramp
samples: 2_000_000
unit: samples
seed: 17
streams:
  web: {remote: 's3://bucket/web', local: web}
  math: {local: ../math, max_epochs: 4}
  books: {format: megatron, local: /books, sequence_length: 2048}
  code: {local: code, order: {by: difficulty, direction: descending, window: 65536}}
phases:
  - {until: 0.3, weights: {web: 7, math: 1, books: 1, code: 1}}
  - {until: 1, weights: {web: 0.5, math: 0, books: 0, code: 2}, to: {web: 1, math: 5, books: 1, code: 3}}
provenance:
  trial: 3
  seeds: [1, 2]
  score: {mean: 0.5}
"""


def test_a_file_is_read_and_written_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "mixes" / "a.yaml"
    path.parent.mkdir()
    path.write_text(GOOD)
    mix = Mix.load(path)
    assert mix.samples == 2_000_000
    assert mix.streams["math"] == Stream(local=str(tmp_path / "math"), max_epochs=4)
    assert mix.streams["code"].order == Order(by="difficulty", direction="descending", window=65536)
    assert mix.phases[1].weights["web"] == Decimal("0.5")
    mix.dump(path)
    assert path.read_text() == GOOD


def test_a_folder_can_be_moved(tmp_path: Path) -> None:
    old = tmp_path / "old" / "a.yaml"
    Mix.loads(GOOD, old).dump(old)
    (tmp_path / "new").mkdir()
    old.rename(tmp_path / "new" / "a.yaml")
    assert Mix.load(tmp_path / "new" / "a.yaml").streams["code"].local == str(tmp_path / "new" / "code")


@pytest.mark.parametrize("name", ["testbed:arith", "~x", "dbfs:x", "plain"])
def test_folders_beside_the_file_may_look_like_something_else(name: str, tmp_path: Path) -> None:
    mix = Mix.loads(GOOD.replace("../math", f"'./{name}'"), tmp_path / "a.yaml")
    assert mix.streams["math"].local == str(tmp_path / name)
    mix.dump(tmp_path / "a.yaml")
    assert Mix.load(tmp_path / "a.yaml") == mix


def test_missing_weights_are_zero_and_short_forms_are_read() -> None:
    text = (
        "name: no\nunit: tokens\nstreams: {a: {local: /a, order: sequential}, 2024: {local: /b, order: {window: 1k}}}\n"
        "phases: [{until: 40B tokens, weights: {2024: 1e-3}}]\n"
    )
    mix = Mix.loads(text)
    assert (mix.name, mix.samples, mix.phases[0].until_tokens) == ("no", None, 40 * 10**9)
    assert mix.phases[0].weights == {"a": 0, "2024": Decimal("0.001")}
    assert (mix.streams["a"].order.kind, mix.streams["2024"].order.window) == ("sequential", 1000)


# -- load(dump(mix)) == mix ---------------------------------------------------------------------------------------------

texts = (
    st.text(min_size=1, max_size=8)
    .filter(lambda text: not any(ord(c) < 32 or 126 < ord(c) < 160 for c in text))
    .filter(lambda text: not any(0xD800 <= ord(c) <= 0xDFFF for c in text))
)
names = texts | st.sampled_from(["no", "null", "~", "1", "1e3", "<<", "=", "a: b", "#", "'", "2024-01-01", "- x", "0x1f", "*a"])
weights = st.decimals(0, 10**6, allow_nan=False, places=6) | st.sampled_from([Decimal(0), Decimal("1E-9"), Decimal("3E+5")])
counts = st.none() | st.integers(1, 10**12)
paths = st.sampled_from(
    ["/data/web", "here/web", "../near", "testbed:arith", "./testbed:arith", "./~x", "a b", "é#: '\"", "dbfs:/x"]
)
orders = st.one_of(
    st.builds(Order, kind=st.sampled_from(["shuffle", "sequential"]), window=counts),
    st.builds(Order, by=names, direction=st.sampled_from(["ascending", "descending"]), window=counts),
    st.builds(Order, scores=paths.filter(lambda path: "testbed" not in path)),
    st.builds(Order, listed=paths.filter(lambda path: "testbed" not in path)),
)
anywhere: dict[str, st.SearchStrategy[Any]] = {
    "local": paths,
    "remote": st.none() | st.sampled_from(["s3://bucket/a", "there"]),
    "split": st.none() | names,
    "sequence_length": st.integers(1, 10**6),
    "tokens_per_sample": counts,
    "max_epochs": counts,
    "order": orders,
    "download_retry": st.none() | st.integers(0, 5),
    "download_timeout": st.none() | st.floats(1e-5, 1e20),
    "validate_hash": st.none() | names,
    "keep_zip": st.none() | st.booleans(),
}
arrays = {
    "format": st.just("npy"),
    "token_dtype": st.none() | st.sampled_from(get_args(TokenDtype)),
    "eos_token": st.none() | st.integers(0, 2**31),
}
streams = st.builds(Stream, **anywhere, format=st.sampled_from(["mds", "megatron"])) | st.builds(Stream, **anywhere, **arrays)
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12) | names
)
plain = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


@st.composite
def mixes(draw: st.DrawFn) -> Mix:
    known = draw(st.dictionaries(names, streams, min_size=1, max_size=4))
    row = st.fixed_dictionaries(dict.fromkeys(known, weights)).filter(lambda weights: any(weights.values()))
    in_tokens = draw(st.booleans())
    inner = draw(st.sets(st.integers(1, 999), max_size=3))
    ends: list[Any] = [{"until_tokens": end * 10**7} for end in sorted({*inner, 1000})]
    if not in_tokens:
        ends = [{"until": Decimal(end) / 1000} for end in sorted({*inner, 1000})]
    return Mix(
        name=draw(names),
        streams=known,
        phases=tuple(Phase(weights=draw(row), to=draw(st.none() | row), **end) for end in ends),
        samples=draw(counts if in_tokens else st.integers(1, 10**15)),
        unit="tokens" if in_tokens else draw(st.sampled_from(["samples", "tokens"])),
        seed=draw(st.integers(0, 2**63)),
        lanes=draw(st.integers(1, 64)),
        provenance=draw(st.none() | st.dictionaries(st.text(max_size=5), plain, max_size=3)),
    )


@settings(max_examples=150)
@given(mix=mixes())
def test_what_was_dumped_is_loaded_again(mix: Mix, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "again.yaml"
    mix.dump(path)
    again = Mix.load(path)
    assert again == mix
    assert list(again.streams) == list(mix.streams)
    assert repr(again.provenance) == repr(mix.provenance)  # 1, 1.0 and True are equal to Python
    assert "e+" not in path.read_text().split("provenance")[0].split("phases")[-1].lower()


# -- writing ------------------------------------------------------------------------------------------------------------


def test_a_dump_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match=r"a\.yaml: the disk is full"):
        Mix.loads(GOOD, path).dump(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        Mix.loads(GOOD).dump(tmp_path / "file" / "a.yaml")
    with pytest.raises(UserError, match="cannot be written"):
        Mix.loads(GOOD).dump(tmp_path)


def test_a_dumped_file_may_be_read_by_whom_the_umask_allows(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    Mix.loads(GOOD).dump(tmp_path / "a.yaml")
    assert stat.S_IMODE((tmp_path / "a.yaml").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


# -- bad input ----------------------------------------------------------------------------------------------------------

BAD = [
    # what is replaced in GOOD, by what, the line to blame, what the message says
    ("seed: 17", "sead: 17", 5, "unknown key 'sead' (did you mean 'seed'?)"),
    ("seed: 17", "unit: tokens", 5, "duplicate key 'unit', first on line 4"),
    ("name: hold-then-ramp\n", "", 1, "missing key 'name'"),
    ("name: hold-then-ramp", "name:", 2, "name: wanted a text, got nothing"),
    ("name: hold-then-ramp", "name: [a]", 2, "name: wanted a text, got a list"),
    ("version: 1", "version: 2", 1, "version: wanted version 1, got 2"),
    ("samples: 2_000_000", "samples: many", 3, "samples: wanted a count"),
    ("samples: 2_000_000", "samples: 0", 3, "samples: wanted a whole number of at least 1, got 0"),
    ("samples: 2_000_000", "samples: -5", 3, "samples: wanted a count"),
    ("samples: 2_000_000", "samples: {a: 1}", 3, "samples: wanted a whole number, got a mapping"),
    ("samples: 2_000_000\n", "", 1, "samples: missing"),
    ("unit: samples", "unit: bytes", 4, "unit: wanted one of samples, tokens, got 'bytes'"),
    ("seed: 17", "lanes: 0", 5, "lanes: wanted a whole number of at least 1, got 0"),
    ("max_epochs: 4", "max_epochs: 0", 8, "streams.math.max_epochs: wanted a whole number of at least 1"),
    ("max_epochs: 4", "max_epoch: 4", 8, "streams.math: unknown key 'max_epoch' (did you mean 'max_epochs'?)"),
    ("max_epochs: 4", "proportion: 0.5", 8, "a mix's phases set how much of each stream is used"),
    ("max_epochs: 4", "repeat: 2", 8, "'repeat' is not allowed here"),
    ("max_epochs: 4", "choose: 10", 8, "'choose' is not allowed here"),
    ("local: ../math, ", "", 8, "streams.math: wanted `local`, `remote` or both"),
    ("local: ../math", "local: ''", 8, "streams.math.local: wanted a text, got an empty one"),
    (", sequence_length: 2048", "", 9, "a megatron stream needs sequence_length"),
    ("format: megatron", "format: csv", 9, "streams.books.format: wanted one of mds, megatron, npy, got 'csv'"),
    ("format: megatron", "format: npy, token_dtype: float32", 9, "streams.books.token_dtype: wanted one of uint8, uint16"),
    ("format: megatron", "format: npy, eos_token: -1", 9, "streams.books.eos_token: wanted a count"),
    ("format: megatron", "format: megatron, eos_token: 0", 9, "books.eos_token: only an npy stream may say it"),
    ("max_epochs: 4", "token_dtype: uint32", 8, "streams.math.token_dtype: only an npy stream may say it, this one is mds"),
    ("by: difficulty", "by: difficulty, listed: w.parquet", 10, "streams.code.order.listed: wanted one of"),
    ("by: difficulty, direction: descending", "listed: w.parquet", 10, "streams.code.order.window: listed windows"),
    ("direction: descending", "direction: down", 10, "wanted one of ascending, descending, got 'down'"),
    ("order: {by", "order: random  #", 11, "not YAML"),
    ("until: 0.3", "until: 1.0", 13, "phases[1].until: wanted more than 1.0"),
    ("until: 0.3", "until: 0", 12, "phases[0].until: wanted a fraction of the run above 0"),
    ("until: 0.3", "until: 30%", 12, "phases[0].until: wanted a finite number such as 0.25, got '30%'"),
    ("until: 0.3", "until: 3B tokens", 13, "phases[1].until: all phases must end in tokens, or all in fractions"),
    ("until: 0.3", "until: much tokens", 12, "phases[0].until: wanted a count"),
    ("until: 1,", "until: 0.9,", 13, "phases[1].until: the last phase must end at 1, got 0.9"),
    ("until: 1,", "until: 1.5,", 13, "phases[1].until: wanted a fraction of the run above 0 and at most 1, got 1.5"),
    ("until: 1, ", "", 13, "phases[1]: missing key 'until'"),
    ("{web: 7, math: 1, books: 1, code: 1}", "{web: 0, math: 0}", 12, "phases[0].weights: all weights are zero"),
    ("{web: 7, math: 1, books: 1, code: 1}", "{}", 12, "phases[0].weights: wanted a weight per stream"),
    ("{web: 7, math: 1, books: 1, code: 1}", "[7, 1]", 12, "phases[0].weights: wanted a mapping"),
    ("web: 7", "web: .nan", 12, "phases[0].weights.web: wanted a finite number such as 0.25, got '.nan'"),
    ("web: 7", "web: .inf", 12, "phases[0].weights.web: wanted a finite number"),
    ("web: 7", "web: -7", 12, "phases[0].weights.web: wanted a number that is not negative, got -7"),
    ("web: 7", "web: seven", 12, "phases[0].weights.web: wanted a finite number such as 0.25, got 'seven'"),
    ("web: 7", "web: true", 12, "phases[0].weights.web: wanted a finite number"),
    ("web: 7", "web: 7, web: 7", 12, "phases[0].weights: duplicate key 'web'"),
    ("web: 7", "web: 1e9999", 12, "phases[0].weights.web: wanted 0 or a number between"),
    ("web: 7", "wbe: 7", 12, "phases[0].weights.wbe: no stream has this name (did you mean 'web'?)"),
    ("to: {web: 1", "to: {wbe: 1", 13, "phases[1].to.wbe: no stream has this name"),
    ("mean: 0.5", "mean: .nan", 17, "provenance.score.mean: wanted a finite number"),
    ("mean: 0.5", "mean: !!python/name:os.system ''", 17, "tags are not read"),
    ("trial: 3", "trial: &a [1]", 15, "anchors and aliases"),
    ("trial: 3", "trial: *a", 15, "anchors and aliases"),
    ("trial: 3", "trial: " + "[" * 200 + "]" * 200, 15, "nested deeper than"),
    ("trial: 3", "\ttrial: 3", 15, "not YAML"),
    ("trial: 3", "trial: 'open", 18, "not YAML"),
    ("trial: 3", "trial: \x01", 15, "not YAML: unreadable character U+0001"),
    ("trial: 3", "? [a]\n  : 1", 15, "wanted a key that is a plain text"),
]


@pytest.mark.parametrize(("old", "new", "line", "message"), BAD, ids=[f"{old[:20]}-{new[:20]}" for old, new, *_ in BAD])
def test_bad_input_is_one_line_with_file_and_line(old: str, new: str, line: int, message: str, tmp_path: Path) -> None:
    assert old in GOOD
    path = tmp_path / "bad.yaml"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(FileError) as caught:
        Mix.load(path)
    text = str(caught.value)
    assert text.startswith(f"{path}:{line}: "), text
    assert message in text
    assert "\n" not in text
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ":1: the file is empty"),
        (b"# only a comment\n", ":1: the file is empty"),
        (b"- 1\n", ":1: wanted a mapping (key: value), got a list"),
        (b"mix", ":1: wanted a mapping (key: value), got 'mix'"),
        (b"name: a\nseed: \xff\n", ":2: wanted text in UTF-8"),
        (b"a: 1\n---\nb: 2\n", ":2: not YAML"),
        (None, ": no such file"),
    ],
)
def test_files_that_are_no_mix_at_all(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FileError) as caught:
        Mix.load(path)
    assert str(caught.value).startswith(f"{path}{message}")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="wanted a YAML file, got a folder"):
        Mix.load(tmp_path)


@settings(max_examples=200)
@given(
    position=st.integers(0, len(GOOD) - 1),
    inserted=st.text(alphabet="{}[]:,-&*!|>'\"%@#\t\n a1~?", max_size=3),
    cut=st.integers(0, 9),
)
def test_a_damaged_file_is_a_mix_or_a_file_error(position: int, inserted: str, cut: int) -> None:
    try:
        Mix.loads(GOOD[:position] + inserted + GOOD[position + cut :], "/folder/bad.yaml")
    except FileError as error:
        assert error.path == Path("/folder/bad.yaml")


# -- what others read with it ---------------------------------------------------------------------------------------------


def test_documents_serve_other_files() -> None:
    document = Document.loads("streams: {a: {local: x}}\nlist: [1, 2k]\nflag: on\nrate: -3e-4\nwhere: data\n", "/folder/s.yaml")
    section = document.root.mapping(required=("streams", "list", "flag", "rate", "where"))
    assert read_streams(section["streams"]) == {"a": Stream(local="/folder/x")}
    assert [node.count() for node in section["list"].list()] == [1, 2000]
    assert section["flag"].boolean() is True
    assert section["rate"].number() == -3e-4
    assert section["where"].path() == Path("/folder/data")
    assert section["rate"].plain() in ("-3e-4", -3e-4)
    assert str(section["flag"].fail("no")) == "/folder/s.yaml:3: flag: no"
    with pytest.raises(FileError, match=r"s\.yaml:4: rate: wanted a number that is not negative"):
        section["rate"].decimal()
