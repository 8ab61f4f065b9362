"""What an export loses is said: caps, starved streams, streams that chance exhausts; and what it is can be traced."""

from __future__ import annotations

from pathlib import Path

import export_help as world
import pytest
import yaml

from curriculum.mix import Mix


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.write_data(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("target", ["llm-foundry", "nanotron"])
def test_a_stream_that_whole_batches_leave_out_is_no_silence(
    target: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mix = world.write_mix(data, "static", place="npy", name=f"late-{target}", samples=1605)
    phases = "  - {until: 0.998, weights: {web: 1, code: 1, math: 0}}\n  - {until: 1, weights: {math: 1}}"
    mix.write_text(mix.read_text().replace(world.PHASES["static"], phases))
    paths = ("*=/x/{stream}",)
    said = world.exported(mix, target, tmp_path / "out", capsys, paths=paths)
    assert (
        said["verdict"] == "impossible" and "'math' would never be seen" in said["why"][0] and not (tmp_path / "out").exists()
    )
    said = world.exported(mix, target, tmp_path / "out", capsys, paths=paths, nearest=True)
    assert said["verdict"] == "impossible" and "'math' would never be seen" in said["why"][0] and said["files"]


def test_copies_of_two_places_never_share_a_folder(data: Path, tmp_path: Path) -> None:
    mix = world.write_mix(data, "static")
    folders = set()
    for number, bucket in enumerate(("s3://old/{stream}", "s3://new/{stream}", "s3://new/{stream}")):
        world.exported(mix, "llm-foundry", tmp_path / f"{number}.yaml", paths=(f"*={bucket}",))
        streams = yaml.safe_load((tmp_path / f"{number}.yaml").read_text())["train_loader"]["dataset"]["streams"]
        folders |= {stream["local"] for stream in streams.values()}
    assert len(folders) == 2 * len(world.SIZES)


def test_a_stream_that_chance_may_exhaust_is_said(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mix = world.write_mix(data, "static", name="close")
    size = next(stream for stream in world.SIZES)
    share = world.plan_of(mix).counts(0, 1600)[size] / 1600
    for samples, warned in ((int(world.SIZES[size] / share) - 1, True), (int(world.SIZES[size] / share / 2), False)):
        close = world.write_mix(data, "static", name=f"close-{samples}", samples=samples)
        said = world.exported(close, "litdata", tmp_path / f"out{samples}.py", capsys, paths=("*=/x/{stream}",))
        told = [words for words in said["why"] if words.startswith(f"stream {size!r}") and "may end early" in words]
        assert bool(told) == warned and said["verdict"] == "approximated"


def test_a_cap_that_cannot_be_kept_is_said(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mix = world.write_mix(data, "step", name="capped")
    place = f"local: {data}/mds/code"
    assert place in mix.read_text()
    mix.write_text(mix.read_text().replace(place, "remote: s3://bucket/code, max_epochs: 1"))
    said = world.exported(mix, "megatron", tmp_path / "out", capsys, paths=("*=/x/{stream}",))
    assert said["verdict"] == "approximated" and "max_epochs of 'code' is not kept" in said["why"][-1]


def test_an_export_bears_its_mixs_fingerprint(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mix = world.write_mix(data, "step", place="npy", name="marked")
    said = world.exported(mix, "nanotron", tmp_path / "out", capsys)
    fingerprint = Mix.load(mix).fingerprint()
    assert said["fingerprint"] == fingerprint and fingerprint[:16] in (tmp_path / "out/stage-01.yaml").read_text()
