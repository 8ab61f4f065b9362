"""Streams whose samples differ in length, for trainers that cut all streams alike: a sample there is none of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import export_help as world
import pytest

from curriculum.commands.export import Settings, export
from curriculum.export.capabilities import CAPABILITIES

ALIKE = ("llm-foundry", "levanter", "olmo-core", "nanotron", "megatron", "torchtitan")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.write_data(tmp_path_factory.mktemp("data"))


def mix_of(data: Path, place: str, lengths: dict[str, int]) -> Path:
    """Write a static mix whose streams' samples have these tokens."""
    path = world.write_mix(data, "static", place=place, samples=160, name="lengths")
    lines = path.read_text().splitlines()
    for name, length in lengths.items():
        (number,) = (number for number, line in enumerate(lines) if line.startswith(f"  {name}: "))
        said = f"tokens_per_sample: {length}" if place == "mds" else f"sequence_length: {length}"
        lines[number] = lines[number].replace(", sequence_length: 8", "").replace("}", f", {said}}}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("target", ALIKE)
def test_streams_of_several_lengths_are_refused_where_all_are_cut_alike(
    target: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mix = mix_of(data, "megatron" if target == "megatron" else "npy", {"web": 8, "code": 16, "math": 8})
    options = {} if target == "megatron" else {"paths": ("*=/data/{stream}",)}
    said = world.exported(mix, target, world.place(tmp_path, target), capsys, nearest=True, **options)
    assert said["verdict"] == "impossible" and said["files"] == [] and not list(tmp_path.iterdir())
    assert "'web' and 'math' has 8 tokens" in said["why"][0] and "'code' 16" in said["why"][0]
    assert "--to mds" in said["nearest"] and "--nearest" not in said["nearest"]


def test_another_sequence_length_than_the_streams_own_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mix = mix_of(data, "mds", {"web": 8, "code": 8, "math": 8})
    said = world.exported(mix, "llm-foundry", tmp_path / "out.yaml", capsys, sequence_length=16)
    assert said["verdict"] == "impossible" and "a sample has 8 tokens" in said["why"][0]
    assert "--sequence-length 16" in said["why"][0] and "--sequence-length 8" in said["nearest"]
    assert world.exported(mix, "llm-foundry", tmp_path / "out.yaml", capsys, sequence_length=8)["files"]


def test_a_length_that_nobody_knows_is_taken_as_given(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mix = mix_of(data, "mds", {"web": 16})  # the others do not say
    said = world.exported(mix, "llm-foundry", tmp_path / "out.yaml", capsys, sequence_length=16)
    assert said["verdict"] == "approximated" and said["files"]


@pytest.mark.parametrize("target", ["grain", "datasets", "litdata"])
def test_who_plays_samples_as_they_lie_takes_any_length(
    target: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mix = mix_of(data, "npy", {"web": 8, "code": 16, "math": 8})
    said: dict[str, Any] = world.exported(mix, target, world.place(tmp_path, target), capsys, paths=("*=/data/{stream}",))
    assert said["files"] and said["verdict"] in ("lossless", "approximated")


def test_which_targets_cut_alike_stands_in_their_table() -> None:
    assert tuple(each.name for each in CAPABILITIES if each.cuts_alike) == ALIKE


def test_a_person_is_told_and_the_exit_code_is_2(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mix = mix_of(data, "npy", {"web": 8, "code": 16, "math": 8})
    settings = Settings(out=tmp_path / "out", batch_size=8, sequence_length=8)
    assert export(mix, "nanotron", settings) == 2
    printed = capsys.readouterr().out
    assert "impossible" in printed and "'code' 16" in printed and "nearest: " in printed
