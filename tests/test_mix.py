"""Mix values: what they accept, what they complete, what they refuse."""

from __future__ import annotations

import pickle
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curriculum.errors import DataError, UserError
from curriculum.mix import FieldError, Mix, Order, Phase, Stream, describe_difference

WEB, CODE = Stream(local="/data/web"), Stream(local="/data/code")


def mix(**changes: Any) -> Mix:
    fields: dict[str, Any] = {
        "name": "one",
        "streams": {"web": WEB, "code": CODE},
        "phases": (Phase(until=1, weights={"web": 7, "code": 1}),),  # type: ignore[arg-type, dict-item]
        "samples": 1000,
    }
    return Mix(**{**fields, **changes})


def phase(until: Any = 1, **fields: Any) -> Phase:
    return Phase(until=until, **{"weights": {"web": 1}, **fields})


@pytest.mark.parametrize("weight", [0.1, "0.1", Decimal("0.1"), "1e-1", np.float64(0.1), np.float32(0.1)])
def test_weights_are_the_decimals_that_were_written(weight: Any) -> None:
    assert Phase(until=Decimal(1), weights={"web": weight}).weights == {"web": Decimal("0.1")}


def test_every_phase_names_every_stream_in_the_streams_order() -> None:
    made = mix(phases=(phase(weights={"code": 2}, to={"web": np.int64(3)}),))
    assert list(made.phases[0].weights.items()) == [("web", 0), ("code", 2)]
    assert made.phases[0].to is not None
    assert list(made.phases[0].to.items()) == [("web", 3), ("code", 0)]


def test_paths_become_absolute_and_urls_and_embedded_streams_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stream = Stream(local="data/../web", remote="s3://bucket/web", order=Order(scores="s.parquet"))
    assert (stream.local, stream.remote, stream.order.scores) == (
        str(tmp_path / "web"),
        "s3://bucket/web",
        str(tmp_path / "s.parquet"),
    )
    assert Stream(local="testbed:arith").local == "testbed:arith"
    assert Stream(remote="data").remote == str(tmp_path / "data")


def test_the_kind_of_an_order_follows_from_what_is_given() -> None:
    assert Order(by="difficulty").kind == "scored"
    assert Order(scores="/s.parquet", direction="descending").kind == "scored"
    assert Order(listed="/w.parquet").kind == "listed"
    assert Order(window=64).kind == "shuffle"


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"by": "a", "scores": "/s"}, ("scores",)),
        ({"by": "a", "listed": "/s"}, ("listed",)),
        ({"kind": "scored"}, ("kind",)),
        ({"kind": "listed"}, ("kind",)),
        ({"kind": "random"}, ("kind",)),
        ({"kind": "sequential", "by": "a"}, ("kind",)),
        ({"listed": "/s", "window": 4}, ("window",)),
        ({"window": 0}, ("window",)),
        ({"direction": "descending"}, ("direction",)),
        ({"by": "a", "direction": "up"}, ("direction",)),
    ],
)
def test_orders_that_contradict_themselves_are_refused(fields: dict[str, Any], path: tuple[str, ...]) -> None:
    with pytest.raises(FieldError) as caught:
        Order(**fields)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({}, ()),
        ({"local": ""}, ("local",)),
        ({"local": "a\0b"}, ("local",)),
        ({"local": "/a", "format": "csv"}, ("format",)),
        ({"local": "/a", "format": "npy"}, ("format",)),
        ({"local": "/a", "format": "npy", "sequence_length": 8, "token_dtype": "float32"}, ("token_dtype",)),
        ({"local": "/a", "format": "npy", "sequence_length": 8, "eos_token": -1}, ("eos_token",)),
        ({"local": "/a", "format": "megatron", "sequence_length": 8, "token_dtype": "uint16"}, ("token_dtype",)),
        ({"local": "/a", "eos_token": 0}, ("eos_token",)),
        ({"local": "/a", "max_epochs": 0}, ("max_epochs",)),
        ({"local": "/a", "max_epochs": True}, ("max_epochs",)),
        ({"local": "/a", "tokens_per_sample": 0}, ("tokens_per_sample",)),
        ({"local": "/a", "download_timeout": float("nan")}, ("download_timeout",)),
        ({"local": "/a", "keep_zip": "yes"}, ("keep_zip",)),
    ],
)
def test_streams_that_make_no_sense_are_refused(fields: dict[str, Any], path: tuple[str, ...]) -> None:
    with pytest.raises(FieldError) as caught:
        Stream(**fields)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("weights", "path"),
    [
        ({}, ("weights",)),
        ({"web": 0, "code": 0}, ("weights",)),
        ({"web": -1}, ("weights", "web")),
        ({"web": float("nan")}, ("weights", "web")),
        ({"web": float("inf")}, ("weights", "web")),
        ({"web": "many"}, ("weights", "web")),
        ({"web": True}, ("weights", "web")),
        ({"web": "1e999999999"}, ("weights", "web")),
    ],
)
def test_weights_that_are_no_weights_are_refused(weights: dict[str, Any], path: tuple[str, ...]) -> None:
    with pytest.raises(FieldError) as caught:
        phase(weights=weights)
    assert caught.value.path == path


TOKENS = {"until": None, "until_tokens": 100}


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"phases": ()}, ("phases",)),
        ({"phases": (phase("0.5"),)}, ("phases", 0, "until")),
        ({"phases": (phase("0.5"), phase("0.5"), phase())}, ("phases", 1, "until")),
        ({"phases": (phase("0.5"), phase(**TOKENS))}, ("phases", 1, "until")),
        ({"phases": (phase(**TOKENS),)}, ("phases", 0, "until")),
        ({"phases": (phase(**TOKENS), phase(**TOKENS)), "unit": "tokens"}, ("phases", 1, "until")),
        ({"phases": (phase(weights={"wbe": 1}),)}, ("phases", 0, "weights", "wbe")),
        ({"phases": (phase(to={"wbe": 1}),)}, ("phases", 0, "to", "wbe")),
        ({"streams": {}}, ("streams",)),
        ({"samples": None}, ("samples",)),
        ({"samples": 0}, ("samples",)),
        ({"lanes": 0}, ("lanes",)),
        ({"seed": -1}, ("seed",)),
        ({"unit": "bytes"}, ("unit",)),
        ({"version": 2}, ("version",)),
        ({"name": ""}, ("name",)),
        ({"provenance": {"score": {"mean": float("nan")}}}, ("provenance", "score", "mean")),
        ({"provenance": {"seeds": [1, object()]}}, ("provenance", "seeds", 1)),
    ],
)
def test_mixes_that_make_no_sense_are_refused(changes: dict[str, Any], path: tuple[str | int, ...]) -> None:
    with pytest.raises(FieldError) as caught:
        mix(**changes)
    assert caught.value.path == path


def test_a_length_may_be_missing_when_phases_end_in_tokens_and_token_counts_come_later() -> None:
    assert mix(phases=(phase(**TOKENS),), unit="tokens", samples=None).samples is None


def test_a_mix_survives_pickling_as_does_its_error() -> None:
    assert pickle.loads(pickle.dumps(mix())) == mix()
    error = pickle.loads(pickle.dumps(FieldError("wrong", "phases", 1)))
    assert (str(error), error.path) == ("phases[1]: wrong", ("phases", 1))


def test_the_fingerprint_ignores_names_places_and_provenance() -> None:
    moved = {"web": Stream(remote="s3://b/web", download_retry=3), "code": CODE}
    other = mix(name="two", streams=moved, provenance={"a": 1})
    assert other.fingerprint() == mix().fingerprint()
    rewritten = (Phase(until=Decimal("1.0"), weights={"web": "7.00", "code": 1}),)  # type: ignore[dict-item]
    assert mix(phases=rewritten).fingerprint() == mix().fingerprint()


def test_a_fingerprint_outlives_releases() -> None:
    books = Stream(local="/b", format="npy", sequence_length=8, eos_token=0)
    weights = {"web": Decimal(7), "books": Decimal(1)}
    made = mix(streams={"web": WEB, "books": books}, phases=(Phase(until=Decimal(1), weights=weights),))
    assert made.fingerprint() == "8abc15495e189f1011c53be167dac4ed3c975e4b57fa1b575b904b9ae3621c91"


def test_how_tokens_lie_counts_and_the_token_that_ends_documents_does_not() -> None:
    def books(**fields: Any) -> Mix:
        stream = Stream(local="/b", format="npy", sequence_length=8, **fields)
        return mix(streams={"web": stream, "code": CODE})

    assert books(eos_token=2).fingerprint() == books().fingerprint()
    wide = books(token_dtype="uint32")
    assert wide.fingerprint() != books().fingerprint()
    assert describe_difference(books().canonical(), wide.canonical()) == ["streams.web.token_dtype: absent -> uint32"]


@pytest.mark.parametrize("zero", [0.0, -0.0, "-0", "0.000", "0E+9"])
def test_every_zero_is_the_same_zero(zero: Any) -> None:
    written = mix(phases=(phase(weights={"web": 1, "code": zero}),))
    assert written.fingerprint() == mix(phases=(phase(),)).fingerprint()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"phases": (phase(weights={"web": 5, "code": 1}),)}, "phases[0].weights.web: 7 -> 5"),
        ({"seed": 3}, "seed: 0 -> 3"),
        ({"samples": 10}, "samples: 1000 -> 10"),
        ({"lanes": 2}, "lanes: 1 -> 2"),
        ({"streams": {"web": WEB, "code": Stream(local="/data/code", max_epochs=2)}}, "streams.code.max_epochs: not set -> 2"),
        ({"streams": {"web": WEB, "code": Stream(local="/c", order=Order(kind="sequential"))}}, "streams.code.order.kind: "),
        ({"streams": {"code": CODE, "web": WEB}}, "streams, their order: web, code -> code, web"),
    ],
)
def test_what_decides_the_order_changes_the_fingerprint_and_is_named(changes: dict[str, Any], line: str) -> None:
    old, new = mix(), mix(**changes)
    assert old.fingerprint() != new.fingerprint()
    differences = describe_difference(old.canonical(), new.canonical())
    assert len(differences) == 1
    assert differences[0].startswith(line)


def test_score_files_count_by_what_is_in_them(tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("a.parquet", "b.parquet", "c.parquet")]
    for place, content in zip(places, (b"same", b"same", b"other"), strict=True):
        place.write_bytes(content)
    prints = []
    for place in places:
        stream = Stream(local="/data/web", order=Order(scores=str(place)))
        prints.append(mix(streams={"web": stream, "code": CODE}).fingerprint())
    assert prints[0] == prints[1] != prints[2]
    given = mix(streams={"web": stream, "code": CODE}).canonical({str(places[2]): "known"})
    assert given["streams"]["web"]["order"]["scores"] == "known"
    places[2].unlink()
    with pytest.raises(DataError, match=r"streams\.web\.order: .*c\.parquet: cannot be read"):
        mix(streams={"web": stream, "code": CODE}).fingerprint()


def test_scores_found_beside_the_stream_count_too(tmp_path: Path) -> None:
    streams = {"web": Stream(local=str(tmp_path), order=Order(by="difficulty")), "code": CODE}
    before = mix(streams=streams).fingerprint()
    (tmp_path / "difficulty.parquet").write_bytes(b"scores")
    assert mix(streams=streams).fingerprint() != before


def test_a_mix_compiles_to_a_plan() -> None:
    plan = mix().plan({"web": 10_000, "code": 10_000}, samples=800)
    assert plan.counts(0, 800) == {"web": 700, "code": 100}


def test_errors_are_user_errors_that_name_the_field() -> None:
    with pytest.raises(UserError, match=r"^phases\[0\]\.weights\.wbe: no stream has this name \(did you mean 'web'\?\)"):
        mix(phases=(phase(weights={"wbe": 1}),))
