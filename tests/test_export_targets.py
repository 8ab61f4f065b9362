"""Every export is given to its target's own loader, and what comes out is counted.

What is not installed here is skipped with the reason; `python benchmarks/exports.py` says what each gave where it was.
"""

from __future__ import annotations

from pathlib import Path

import export_help as world
import numpy as np
import pytest


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.write_data(tmp_path_factory.mktemp("data"))


def needs(*modules: str) -> None:
    reason = world.missing(*modules)
    if reason is not None:
        pytest.skip(f"{reason}; pip install it to let its own loader play the export")


@pytest.mark.parametrize("kind", ["step", "ramp"])
@pytest.mark.parametrize(("target", "package"), [("grain", "grain"), ("datasets", "datasets"), ("mds", "streaming")])
def test_what_plays_the_plan_plays_it_sample_by_sample(
    target: str, package: str, kind: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needs(package)
    mix = world.write_mix(data, kind)
    said = world.exported(mix, target, tmp_path / "out", capsys)
    played = {"grain": world.play_grain, "datasets": world.play_datasets, "mds": world.play_mds}[target]
    assert played(tmp_path / "out", mix) == world.keys_of_plan(mix)
    assert said["verdict"] == "lossless" and not any(each["samples"] for each in said["deviations"])


@pytest.mark.parametrize("kind", ["static", "step", "ramp"])
def test_streamings_data_sets_give_every_stage_its_exact_counts(
    kind: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mix = world.write_mix(data, kind)
    said = world.exported(mix, "llm-foundry", tmp_path / "out.yaml", capsys)
    streams = world.play_llm_foundry(tmp_path / "out.yaml", mix)
    assert world.counted(streams, mix) == world.counted(world.planned_streams(mix), mix)
    assert [each["expected"] for each in said["deviations"]] == [each["planned"] for each in said["deviations"]]
    assert said["verdict"] == "approximated"


def test_foundrys_callback_takes_the_schedule(data: Path, tmp_path: Path) -> None:
    needs("llmfoundry")
    import yaml

    from curriculum.streaming.torchvision_guard import torchvision_or_stand_in

    with torchvision_or_stand_in():
        from llmfoundry.callbacks.curriculum_learning_callback import CurriculumLearning
    mix = world.write_mix(data, "ramp")
    world.exported(mix, "llm-foundry", tmp_path / "out.yaml")
    config = yaml.safe_load((tmp_path / "out.yaml").read_text())
    train = {"train_loader": config["train_loader"], "device_train_batch_size": world.BATCH, "tokenizer": {}}
    callback = CurriculumLearning(train, **config["callbacks"]["curriculum_learning"])
    durations = [stage["duration"].value for stage in callback._schedule]
    assert sum(durations) == int(config["max_duration"].removesuffix("tok")) and len(durations) == 17


@pytest.mark.parametrize("kind", ["static", "step", "ramp"])
def test_levanters_mixture_gives_what_the_export_expects(
    kind: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needs("jax", "levanter")
    mix = world.write_mix(data, kind)
    said = world.exported(mix, "levanter", tmp_path / "out.yaml", capsys, paths=("*=/caches/{stream}",))
    streams = world.play_levanter(tmp_path / "out.yaml", mix)
    found = np.ravel(world.counted(streams, mix))
    within_a_block = world.BLOCK * 0.5  # phase ends may cut a shuffled block
    for count, each in zip(found, said["deviations"], strict=True):
        assert abs(count - each["expected"]) <= (within_a_block if each["spread"] else 1e-6)


@pytest.mark.parametrize("kind", ["step", "ramp"])
def test_megatron_plays_the_plans_order_between_streams(
    kind: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needs("megatron.core")
    mix = world.write_mix(data, kind, place="megatron")
    said = world.exported(mix, "megatron", tmp_path / "out", capsys)
    assert (world.play_megatron(tmp_path / "out", mix) == world.planned_streams(mix)).all()
    assert said["verdict"] == "lossless"


def test_megatrons_own_blend_is_another_order(data: Path, tmp_path: Path) -> None:
    needs("megatron.core")
    mix = world.write_mix(data, "step", place="megatron")
    world.exported(mix, "megatron", tmp_path / "out")
    own = world.play_megatron(tmp_path / "out", mix, placed=False)
    assert (own != world.planned_streams(mix)).any() and world.counted(own, mix) != world.counted(
        world.planned_streams(mix), mix
    )


@pytest.mark.parametrize("kind", ["step", "ramp"])
def test_olmo_core_plays_the_plan_also_beyond_one_epoch_of_its_files(
    kind: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needs("olmo_core")
    mix = world.write_mix(data, kind, place="npy", samples=3200)
    said = world.exported(mix, "olmo-core", tmp_path / "out", capsys)
    assert len([name for name in said["files"] if "global_indices" in name]) == 2
    assert world.play_olmo_core(tmp_path / "out", mix) == world.keys_of_plan(mix)


@pytest.mark.parametrize(("target", "package"), [("litdata", "litdata"), ("torchtitan", "torchtitan")])
def test_loaders_that_draw_stay_within_four_deviations(
    target: str, package: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needs(package)
    place, suffix = ("litdata", "") if target == "litdata" else ("texts", ".jsonl")
    (world.write_litdata if target == "litdata" else world.write_texts)(tmp_path / place)
    mix = world.write_mix(data, "static", samples=800)
    out = tmp_path / f"{target}_mix.py"
    said = world.exported(mix, target, out, capsys, paths=(f"*={tmp_path}/{place}/{{stream}}{suffix}",))
    streams = (world.play_litdata if target == "litdata" else world.play_torchtitan)(out, mix)
    assert len(streams) == 800
    for count, each in zip(np.ravel(world.counted(streams, mix)), said["deviations"], strict=True):
        assert 0 < abs(count - each["planned"]) < 4 * each["spread"] or count == each["planned"]
