"""`curriculum export`: what it says, what it refuses, where it writes; stages, deviations, targets of other packages."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import export_help as world
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum.cli import cli
from curriculum.commands.export import Settings, export
from curriculum.errors import ResourceError, UserError
from curriculum.export.capabilities import CAPABILITIES, markdown_table
from curriculum.export.deviation import deviations
from curriculum.export.finding import find_target, target_names
from curriculum.export.levanter import block_counts, loader_counts
from curriculum.export.output import Output
from curriculum.export.staircase import Stage, is_static, staircase
from curriculum.export.target import Request
from curriculum.mix import Mix

ROOT = Path(__file__).parents[1]
CURRICULUM = (sys.executable, "-m", "curriculum.cli")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.write_data(tmp_path_factory.mktemp("data"))


def request(mix: Path, tmp_path: Path, **fields: Any) -> Request:
    return Request(
        mix=Mix.load(mix), plan=world.plan_of(mix), sizes=world.SIZES, output=Output(path=tmp_path / "out"), **fields
    )


def refusal(mix: Path, target: str, **options: Any) -> str:
    with pytest.raises(UserError) as refused:
        export(mix, target, Settings(**options))
    return str(refused.value)


def test_a_stages_weights_are_the_plans_own_counts(data: Path) -> None:
    mix = world.write_mix(data, "ramp")
    stages = staircase(Mix.load(mix), world.plan_of(mix), unit=16, stop=1600, ramp_steps=4)
    assert [(stage.start, stage.stop) for stage in stages] == [(0, 800), (800, 1008), (1008, 1200), (1200, 1408), (1408, 1600)]
    streams = world.planned_streams(mix)
    for stage in stages:
        assert list(stage.amounts.values()) == np.bincount(streams[stage.start : stage.stop]).tolist()


def test_a_static_mix_is_one_stage_however_many_phases_say_it(data: Path) -> None:
    mix = Mix.load(world.write_mix(data, "static"))
    twice = Mix.loads(
        mix.dumps().replace("  - {until: 1,", "  - {until: 0.3, weights: {web: 10, code: 4, math: 2}}\n  - {until: 1,")
    )
    assert is_static(twice) and len(twice.phases) == 2
    assert len(staircase(twice, twice.plan(world.SIZES), unit=16, stop=1600, ramp_steps=4)) == 1


def test_deviation_of_a_flat_line_from_a_ramp_is_found_where_it_is_largest(data: Path, tmp_path: Path) -> None:
    mix = world.write_mix(data, "ramp")
    asked = request(mix, tmp_path)
    totals = asked.plan.counts(800, 1600)
    flat = (Stage(start=0, stop=800, amounts=asked.plan.counts(0, 800)), Stage(start=800, stop=1600, amounts=totals))
    found = {(each.phase, each.stream): each for each in deviations(asked, flat)}
    web = found[2, "web"]  # .7 to .1 over 800 samples: a lag of 800 * .6 / 8 = 60 in the middle, but for the block there
    assert web.planned == web.expected == totals["web"] and abs(web.samples - 60) < 10 and abs(web.share - 0.3) < 0.01
    assert found[1, "web"].share < 0.001 and web.spread == 0


def test_spread_is_binomial_when_drawn_and_hypergeometric_when_a_deck_is_cut(data: Path, tmp_path: Path) -> None:
    mix = world.write_mix(data, "step")
    asked = request(mix, tmp_path)
    whole = (Stage(start=0, stop=1600, amounts={"web": 800, "code": 400, "math": 400}),)
    drawn = deviations(asked, whole, randomness="drawn")[0]
    dealt = deviations(asked, whole, randomness="dealt")[0]
    aligned = deviations(asked, whole, randomness="dealt", deck=100)[0]
    assert drawn.spread == pytest.approx((800 * 0.25) ** 0.5)
    assert dealt.spread == pytest.approx((800 * 0.25 * 800 / 1599) ** 0.5) and aligned.spread == 0


@given(
    amounts=st.lists(st.lists(st.integers(0, 50), min_size=3, max_size=3).filter(any), min_size=1, max_size=8),
    block=st.sampled_from([8, 64, 100, 2048]),
)
@settings(max_examples=60)
def test_levanters_blocks_are_full_and_within_one_of_due(amounts: list[list[int]], block: int) -> None:
    stages, start = [], 0
    for weights in amounts:
        length = 5 * block
        shares = dict(zip("abc", (length * weight / sum(weights) for weight in weights), strict=True))
        stages.append(Stage(start=start, stop=start + length, amounts=shares))
        start += length
    counts = block_counts(tuple(stages), block)
    for stage, count in zip(stages, counts, strict=True):
        assert sum(count.values()) == block
        assert all(abs(count[name] - stage.amounts[name] / 5) < 1 for name in count)
        assert all(
            abs(loader_counts(count, block)[name] - count[name]) <= (0 if block & (block - 1) == 0 else 3) for name in count
        )


def test_what_a_stage_rounds_away_the_next_gives_back() -> None:
    thirds = {"a": 64 * 4 / 3, "b": 64 * 4 / 3, "c": 64 * 4 / 3}
    stages = tuple(Stage(start=256 * number, stop=256 * (number + 1), amounts=thirds) for number in range(9))
    counts = block_counts(stages, 64)
    given = {name: 4 * sum(count[name] for count in counts) for name in thirds}
    assert given == {"a": 768, "b": 768, "c": 768}


def test_every_target_names_every_stream_also_one_without_samples(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mix = world.write_mix(data, "step")
    mix = mix.rename(tmp_path / "idle.yaml")
    mix.write_text(mix.read_text().replace("math: 1", "math: 0").replace("math: 3", "math: 0"))
    for target in [each.name for each in CAPABILITIES if each.name != "mds"]:  # which copies samples, and names no stream
        said = world.exported(
            mix, target, world.place(tmp_path, target), capsys, paths=("*=/x/{stream}",), nearest=True, overwrite=True
        )
        text = "".join(Path(file).read_text() for file in said["files"] if not file.endswith((".npy", "index.json")))
        assert "math" in text or any("'math'" in note for note in said["notes"]), target
        assert {each["stream"] for each in said["deviations"]} == set(world.SIZES)


def test_levanter_refuses_to_starve_a_stream(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mix = world.write_mix(data, "static")
    mix = mix.rename(tmp_path / "small.yaml")
    mix.write_text(mix.read_text().replace("web: 5, code: 2, math: 1", "web: 500, code: 200, math: 1"))
    options: dict[str, Any] = {"block_size": 16, "paths": ("*=/x/{stream}",), "ramp_steps": 2}
    said = world.exported(mix, "levanter", tmp_path / "out.yaml", capsys, **options)
    assert said["verdict"] == "impossible" and "'math' would never be seen" in said["why"][0] and not said["files"]
    said = world.exported(mix, "levanter", tmp_path / "out.yaml", capsys, **options, nearest=True)
    assert said["verdict"] == "impossible" and said["files"] and "'math' would never be seen" in said["why"][0]
    said = world.exported(mix, "levanter", tmp_path / "larger.yaml", capsys, **{**options, "block_size": 800})
    assert said["verdict"] == "approximated"


def test_levanter_says_when_its_blocks_are_longer_than_a_phase(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mix, options = world.write_mix(data, "step"), {"paths": ("*=/x/{stream}",)}
    said = world.exported(mix, "levanter", tmp_path / "long.yaml", capsys, **options, block_size=2048)
    assert any("a smaller --block-size follows it" in reason for reason in said["why"]), said["why"]
    said = world.exported(mix, "levanter", tmp_path / "short.yaml", capsys, **options)
    assert not any("--block-size" in reason for reason in said["why"])


@pytest.mark.parametrize("target", ["litdata", "torchtitan", "olmo-core"])
def test_a_static_target_says_a_schedule_is_impossible_and_writes_nothing(
    target: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mix = world.write_mix(data, "ramp")
    out = world.place(tmp_path, target)
    said = world.exported(mix, target, out, capsys, paths=("*=/x/{stream}",))
    assert said["verdict"] == "impossible" and said["nearest"] and not list(tmp_path.iterdir())
    said = world.exported(mix, target, out, capsys, paths=("*=/x/{stream}",), nearest=True)
    web = next(each for each in said["deviations"] if each["stream"] == "web" and each["phase"] == 1)
    assert said["verdict"] == "impossible" and said["files"] and web["samples"] > 100 and web["share"] > 0.1


def test_nanotrons_stages_are_jobs_that_follow_one_another(data: Path, tmp_path: Path) -> None:
    mix = world.write_mix(data, "ramp", place="npy")
    world.exported(mix, "nanotron", tmp_path / "out")
    configs = [yaml.safe_load(path.read_text()) for path in sorted((tmp_path / "out").glob("stage-*.yaml"))]
    starts = [config["data_stages"][-1]["start_training_step"] for config in configs]
    ends = [config["tokens"]["train_steps"] for config in configs]
    assert starts[0] == 1 and [end + 1 for end in ends[:-1]] == starts[1:] and ends[-1] == 100 and len(configs) == 5
    assert [len(config["data_stages"]) for config in configs] == [1, 2, 3, 4, 5]
    weights = [config["data_stages"][-1]["data"]["dataset"]["dataset_weights"] for config in configs]
    totals = np.bincount(world.planned_streams(mix)).tolist()
    assert np.sum(weights, axis=0).tolist() == totals
    script = (tmp_path / "out/run.sh").read_text()
    assert script.index("stage-01.yaml") < script.index("stage-05.yaml")
    assert subprocess.run(["bash", "-n", tmp_path / "out/run.sh"], check=False).returncode == 0


def test_what_is_missing_or_wrong_is_said_with_the_way_out(data: Path, tmp_path: Path) -> None:
    mix = world.write_mix(data, "step")
    assert "did you mean 'levanter'" in refusal(mix, "levantar")
    assert "add --batch-size NUMBER" in refusal(mix, "llm-foundry", sequence_length=8)
    assert "--path web=PLACE" in refusal(mix, "levanter", batch_size=16)
    assert "did you mean 'code'" in refusal(mix, "grain", paths=("cod=/x",))
    assert "write {stream}" in refusal(mix, "grain", paths=("*=/x",))
    assert "below 65536" in refusal(mix, "levanter", batch_size=16, block_size=2**17)
    for target in ("levanter", "llm-foundry", "nanotron", "olmo-core"):  # not one batch: nothing could be played
        said = refusal(mix, target, batch_size=1601, sequence_length=8, paths=("*=/x/{stream}",), nearest=True)
        assert "--batch-size 1,601 is more than all 1,600 samples" in said
    spaced = ("web=/a b/web", "code=/c", "math=/m")
    assert "splits its list of data at spaces" in refusal(mix, "megatron", paths=spaced, out=tmp_path / "spaced")


def test_a_missing_folder_is_said_at_its_line(data: Path, tmp_path: Path) -> None:
    mix = world.write_mix(data, "step", name="gone")
    mix.write_text(mix.read_text().replace("/mds/code", "/mds/gone"))
    assert f"{mix}:7: stream 'code': no index.json" in refusal(mix, "grain", out=tmp_path / "out")


def test_only_what_needs_sizes_asks_for_them(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mix = world.write_mix(data, "step", name="far")
    mix.write_text(mix.read_text().replace(f"local: {data}/mds/code", "remote: s3://bucket/code"))
    assert "size of stream 'code' is unknown" in refusal(mix, "grain", out=tmp_path / "out")
    said = world.exported(mix, "megatron", tmp_path / "out", capsys, paths=("*=/x/{stream}",))
    here = np.load(tmp_path / "out/dataset_index.npy")[:1600]
    assert said["verdict"] == "lossless" and (here == world.planned_streams(world.write_mix(data, "step"))).all()


def test_megatrons_arrays_count_every_streams_samples_up(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curriculum.export.megatron._AT_ONCE", 100)
    mix = world.write_mix(data, "ramp", place="megatron")
    world.exported(mix, "megatron", tmp_path / "out")
    streams, samples = (np.load(tmp_path / "out" / name) for name in ("dataset_index.npy", "dataset_sample_index.npy"))
    assert streams.dtype == np.int16 and samples.dtype == np.int64 and len(streams) == len(samples) >= 1600
    for number in range(3):
        mine = samples[:1600][streams[:1600] == number]
        assert (mine == np.arange(len(mine))).all()


def test_megatrons_script_refuses_another_blend(data: Path, tmp_path: Path) -> None:
    mix = world.write_mix(data, "step", place="megatron")
    world.exported(mix, "megatron", tmp_path / "out")
    cache = tmp_path / "cache"
    cache.mkdir()
    description = {"class": "BlendedDataset", "split": "train", "size": 9, "datasets": []}
    described = cache / "abc-BlendedDataset-train-description.txt"
    command = [sys.executable, str(tmp_path / "out/place_indices.py"), str(cache)]
    for change, reason in (({}, "it blends []"), ({"split": "valid"}, "no blend of a training split")):
        described.write_text(json.dumps({**description, **change}))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and reason in done.stderr and list(cache.iterdir()) == [described]


def test_an_export_is_never_written_over_other_work(data: Path, tmp_path: Path) -> None:
    mix = world.write_mix(data, "step")
    out = tmp_path / "out.yaml"
    out.write_text("mine")
    options: dict[str, Any] = {"out": out, "batch_size": 16, "sequence_length": 8}
    assert "add --overwrite" in refusal(mix, "llm-foundry", **options) and out.read_text() == "mine"
    export(mix, "llm-foundry", Settings(**options, overwrite=True))
    written = out.read_text()
    export(mix, "llm-foundry", Settings(**options))  # a second time, nothing changes
    assert out.read_text() == written != "mine"
    assert "is a file" in refusal(mix, "grain", out=out) and "is a folder" in refusal(
        mix, "llm-foundry", **{**options, "out": tmp_path}
    )


def test_a_second_run_into_a_folder_changes_nothing(data: Path, tmp_path: Path) -> None:
    mix = world.write_mix(data, "step", place="megatron")
    world.exported(mix, "megatron", tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    world.exported(mix, "megatron", tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    changed = world.write_mix(data, "ramp", place="megatron")
    assert "add --overwrite" in refusal(changed, "megatron", out=tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_too_small_a_disk_is_said_before_anything_is_written(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mix = world.write_mix(data, "step", place="megatron")
    monkeypatch.setattr("curriculum.export.output.shutil.disk_usage", lambda _: os.statvfs_result)
    monkeypatch.setattr(os.statvfs_result, "free", 1000, raising=False)
    with pytest.raises(ResourceError, match="make room"):
        export(mix, "megatron", Settings(out=tmp_path / "out"))
    assert not list((tmp_path / "out").glob("*.npy"))


def test_the_module_refuses_a_changed_mix_and_other_data(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    mix = world.write_mix(data, "step")
    world.exported(mix, "datasets", tmp_path / "out")
    with world.module_at(tmp_path / "out/datasets_mix.py") as module, pytest.raises(ValueError, match="wanted data sets"):
        module.play({"web": range(5), "code": range(700), "math": range(300)})
    copy = tmp_path / "out/mix.yaml"
    copy.write_text(copy.read_text().replace("web: 7", "web: 8"))
    with world.module_at(tmp_path / "out/datasets_mix.py") as module, pytest.raises(ValueError, match="not the mix"):
        module.rows()


def test_part_of_a_run_is_the_same_rows(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    mix = world.write_mix(data, "ramp")
    world.exported(mix, "datasets", tmp_path / "out")
    with world.module_at(tmp_path / "out/datasets_mix.py") as module:
        assert (module.rows(333, 999) == module.rows()[333:999]).all()


def test_the_plan_needs_no_torch(data: Path, tmp_path: Path) -> None:
    mix = world.write_mix(data, "ramp")
    world.exported(mix, "datasets", tmp_path / "out")
    code = (
        "import sys, types; sys.modules['datasets'] = types.SimpleNamespace(Dataset=None, concatenate_datasets=None);"
        f"sys.path.insert(0, {str(tmp_path / 'out')!r}); import datasets_mix; datasets_mix.rows();"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


FOREIGN = """
from curriculum.export.target import Capability, Outcome, Target
def write(request):
    path = request.output.text(" ".join(request.mix.streams))
    return Outcome(verdict="approximated", why=("says names only",), files=(path,))
capability = Capability(
    name="sheets", trainer="Sheets", expresses="names", verdict="approximated", writes="text", suffix=".txt"
)
target = Target(capability=capability, export=write)
wrong = 3
"""


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that offers targets: a good one, one of our name, one of another type, one that breaks."""
    folder = tmp_path / "site"
    info = folder / "sheets-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "sheets_export.py").write_text(FOREIGN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sheets\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[curriculum.exports]\nsheets = sheets_export:target\nlevanter = sheets_export:target\n"
        "wrong = sheets_export:wrong\nbroken = sheets_gone:target\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    return folder


def test_an_installed_package_can_offer_a_target(foreign: Path, data: Path, tmp_path: Path) -> None:
    assert {"sheets", "wrong", "broken"} <= set(target_names()) and target_names().count("levanter") == 1
    mix = world.write_mix(data, "step")
    assert export(mix, "sheets", Settings(out=tmp_path / "names.txt")) == 0
    assert (tmp_path / "names.txt").read_text() == "web code math"
    assert find_target("levanter").capability.trainer.startswith("Levanter")
    assert "sheets_export:wrong" in refusal(mix, "wrong") and "wanted a curriculum.export.target.Target" in refusal(
        mix, "wrong"
    )
    assert "sheets_gone" in refusal(mix, "broken")


def test_help_and_documentation_are_made_of_the_one_table() -> None:
    shown = CliRunner().invoke(cli, ["export", "--help"]).output
    for each in CAPABILITIES:
        assert f"{each.name:12} {each.verdict:13} {each.expresses}" in shown
    page = (ROOT / "docs/export.md").read_text()
    assert markdown_table() in page, "paste what curriculum.export.capabilities.markdown_table() returns"


def test_the_commands_of_the_page_exist() -> None:
    page = (ROOT / "docs/export.md").read_text()
    known = {option for name in ("export", "import") for each in cli.commands[name].params for option in each.opts}
    trainers = {"--data-args-path", "--train-samples", "--data-cache-path", "--split"}
    for option in set(re.findall(r"--[a-z][a-z-]+", page)) - trainers:
        assert option in known, option


def test_every_target_loads_and_takes_only_what_its_row_says() -> None:
    for each in CAPABILITIES:
        assert find_target(each.name).capability is each
    assert len({each.name for each in CAPABILITIES}) == len(CAPABILITIES) == 10


def test_a_person_sees_verdict_deviations_and_what_to_do(data: Path, tmp_path: Path) -> None:
    mix = world.write_mix(data, "ramp")
    command = [*CURRICULUM, "export", str(mix), "--to", "llm-foundry", "--batch-size", "16", "--sequence-length", "8"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "100"}
    )
    assert done.returncode == 0 and "approximated" in done.stdout and "planned" in done.stdout
    assert f"wrote {mix.stem}.llm-foundry.yaml" in done.stdout and (tmp_path / f"{mix.stem}.llm-foundry.yaml").exists()
    command = [*CURRICULUM, "export", str(mix), "--to", "litdata"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "impossible" in done.stdout and "Traceback" not in done.stderr


def test_the_target_of_the_documentation_works(data: Path, tmp_path: Path) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/export.md").read_text(), flags=re.DOTALL)
    scope: dict[str, Any] = {}
    exec(snippet, scope)
    outcome = scope["target"].export(request(world.write_mix(data, "static"), tmp_path))
    assert outcome.files[0].read_text() == "web 1000\ncode 400\nmath 200\n"
