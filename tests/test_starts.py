"""A checkpoint is begun from only where it speaks the streams' language: tokenizer, vocabulary and context."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from curriculum.errors import DataError, UserError
from curriculum.mix import Mix, Phase, Stream
from curriculum.proxy.population import train_population
from curriculum.proxy.recipe import Recipe
from curriculum.proxy.run import RunRequest, perform
from curriculum.proxy.sizes import parse_sizes
from curriculum.search.ladder import Ladder, check_starts, rungs_of
from curriculum.search.study_file import load_study
from curriculum.streaming.packing import PackSettings, pack_sources
from curriculum.streaming.tokenizer import train_tokenizer

RECIPE = Recipe(layers=1, width=16, heads=1, batch=16, readings=2)
STUDY = """\
version: 1
name: tiny
streams: {first: {local: first}, second: {local: second}}
length: {samples: 64}
exposure_shares: {first: 1, second: 1}
proxy: {layers: 1, width: 16, heads: 1, batch: 16, readings: 2, start: START}
probes: [{name: p, family: p, floor: 0.0, items: 4, file: items.jsonl, control: items.jsonl}]
controls: {favour: [first]}
space: {knots: 2, rank: 1}
"""
ITEMS = [{"split": "test", "prompt": [3, number], "correct_answer": [5], "incorrect_answer": [6]} for number in range(10, 30)]
Streams = Callable[..., Path]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Streams:
    """Packs two streams into a folder, with a tokenizer of so many ids trained on texts of these words."""
    root = tmp_path_factory.mktemp("packed")

    def pack(name: str, words: str, *, ids: int = 270, length: int = 16) -> Path:
        folder = root / name
        folder.mkdir()
        texts = [" ".join(words.split()[number % 3 :]) * 5 + f" {number}" for number in range(60)]
        (folder / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        tokenizer = train_tokenizer(iter(texts), ids, folder / "tokenizer.json")
        for stream in ("first", "second"):
            settings = PackSettings(name=stream, sequence_length=length, heldout=0.3)
            pack_sources([str(folder / "text.jsonl")], folder / stream, settings, tokenizer=tokenizer)
        (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
        return folder

    return pack


@pytest.fixture(scope="module")
def ours(packed: Streams) -> Path:
    return packed("ours", "the quick brown fox jumps over the lazy dog")


@pytest.fixture(scope="module")
def theirs(packed: Streams) -> Path:
    """Another tokenizer of as many ids."""
    return packed("theirs", "wenn viele kleine leute an vielen orten")


def request_of(folder: Path, start: Path | None = None) -> RunRequest:
    streams = {name: Stream(local=str(folder / name)) for name in ("first", "second")}
    phases = (Phase(until=Decimal(1), weights=dict.fromkeys(streams, Decimal(1))),)
    mix = Mix(name="m", streams=streams, phases=phases, samples=64, seed=1)
    return RunRequest(label="r", mix=mix, seed=0, samples=64, recipe=replace(RECIPE, start=start), probes=())


@pytest.fixture(scope="module")
def start(ours: Path) -> Path:
    return perform(request_of(ours), ours / "runs", keep=1).folder / "checkpoints" / "64"


def test_a_start_of_the_same_tokenizer_is_begun_from(ours: Path, start: Path, tmp_path: Path) -> None:
    assert (start / "tokenizer.json").read_bytes() == (ours / "first" / "tokenizer.json").read_bytes()
    assert perform(request_of(ours, start), tmp_path).final_loss() is not None


def test_a_start_of_another_tokenizer_of_as_many_ids_is_refused(theirs: Path, start: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"another tokenizer \(SHA-256 .*curriculum pack --tokenizer"):
        perform(request_of(theirs, start), tmp_path / "alone")
    two = [request_of(theirs, start), replace(request_of(theirs, start), seed=1)]
    with pytest.raises(UserError, match="another tokenizer"):
        train_population(two, tmp_path / "together")


def test_what_carries_no_tokenizer_is_compared_by_its_numbers(
    packed: Streams, theirs: Path, start: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(start, bare)
    (bare / "tokenizer.json").unlink()
    assert perform(request_of(theirs, bare), tmp_path / "runs").folder.exists()
    for name, change, message in (
        ("more", {"ids": 280}, r"its vocabulary is of 270 tokens, the run's of 280"),
        ("longer", {"length": 32}, r"its context is of 16 tokens, the run's of 32"),
    ):
        other = packed(name, "the quick brown fox jumps over the lazy dog", **change)
        with pytest.raises(UserError, match=message):
            perform(request_of(other, bare), tmp_path / "runs")
    (bare / "proxy.json").unlink()  # an old checkpoint: its weights' shapes say the rest
    with pytest.raises(DataError, match="has shape"):
        perform(request_of(other, bare), tmp_path / "runs")


def test_a_ladder_refuses_it_before_anything_is_trained(ours: Path, theirs: Path, start: Path, tmp_path: Path) -> None:
    for folder in (ours, theirs):
        (folder / "study.yaml").write_text(STUDY.replace("START", str(start)))
    study = load_study(theirs / "study.yaml")
    rungs = rungs_of(study, parse_sizes("study"))
    check_starts(rungs)  # the shape is right
    with (
        Ladder(study, rungs, runs=tmp_path / "runs", random=2, seeds=1, workers=1) as ladder,
        pytest.raises(UserError, match="another tokenizer"),
    ):
        ladder.run()
    assert not list(tmp_path.glob("runs/*/*/run.json"))
    own = load_study(ours / "study.yaml")
    check_starts(rungs_of(own, parse_sizes("study")), request_of(ours).mix, context=16)
    with pytest.raises(UserError, match="its context is of 16 tokens, the run's of 24"):
        check_starts(rungs_of(own, parse_sizes("study")), request_of(ours).mix, context=24)
