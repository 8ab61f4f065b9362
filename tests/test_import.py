"""`curriculum import`: other trainers' mixes as mixes to start from; round trips; what cannot be read, at which line."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import export_help as world
import pytest

from curriculum.commands.import_mix import Settings, import_mix
from curriculum.errors import FileError, UserError
from curriculum.mix import Mix

FOUNDRY = """\
max_duration: 64000tok
max_seq_len: 8
model: {name: mpt_causal_lm}
train_loader:
  name: text
  dataset:
    streams:
      web: {remote: s3://bucket/web, local: /nvme/web, split: train, proportion: 0.75}
      code: {local: code, proportion: 0.25}
    shuffle: true
"""
OLMO = """\
source_mixture_config:
  requested_tokens: 8000
  source_list:
    sources:
      - {source_name: web, target_ratio: 0.7, paths: [/data/web/*.npy], max_repetition_ratio: 2.0}
      - source_name: code
        target_ratio: 0.3
        paths: [s3/code.npy]
"""
MEGATRON = """\
--data-path \\
  80 /d/web_text_document
  2e1 /e/web_text_document \\
  .5 /d/books.bin
"""
REGMIX = """\
train:
  train_web: 0.7
  train_math: 3.0e-05
valid:
  valid_web: 1.0
model_name: tinyllama_1_1b
"""


def imported(content: str, source: str, tmp_path: Path, **given: Any) -> Mix:
    (tmp_path / "theirs").write_text(content)
    out = tmp_path / "mine.yaml"
    assert import_mix(tmp_path / "theirs", source, Settings(out=out, overwrite=True, **given)) == 0
    return Mix.load(out)


def refusal(content: str, source: str, tmp_path: Path, **given: Any) -> str:
    with pytest.raises(UserError) as refused:
        imported(content, source, tmp_path, **given)
    assert not (tmp_path / "mine.yaml").exists()
    return str(refused.value).removeprefix(str(tmp_path / "theirs"))


def weights(mix: Mix) -> list[dict[str, Decimal]]:
    return [dict(phase.weights) for phase in mix.phases]


def test_llm_foundry(tmp_path: Path) -> None:
    mix = imported(FOUNDRY, "llm-foundry", tmp_path)
    web, code = mix.streams.values()
    assert (web.remote, web.local, web.split) == ("s3://bucket/web", "/nvme/web", "train")
    assert code.local == str(tmp_path / "code") and mix.samples == 8000
    assert weights(mix) == [{"web": Decimal("0.75"), "code": Decimal("0.25")}]


def test_llm_foundrys_schedule_becomes_phases(tmp_path: Path) -> None:
    stage = "{duration: 48000tok, dataset: {streams: {code: {local: code, choose: 3}, web: {local: web, choose: 1}}}}"
    schedule = f"callbacks:\n  curriculum_learning: {{duration: 16000tok, schedule: [{stage}]}}\n"
    mix = imported(FOUNDRY + schedule, "llm-foundry", tmp_path)
    assert [phase.until for phase in mix.phases] == [Decimal("0.25"), 1]
    assert weights(mix)[1] == {"web": 1, "code": 3}


def test_olmo_core(tmp_path: Path) -> None:
    mix = imported(OLMO, "olmo-core", tmp_path, sequence_length=8)
    assert mix.samples == 1000 and weights(mix) == [{"web": Decimal("0.7"), "code": Decimal("0.3")}]
    assert [stream.local for stream in mix.streams.values()] == ["/data/web", str(tmp_path / "s3/code.npy")]
    assert {stream.format for stream in mix.streams.values()} == {"npy"}
    bare = OLMO[OLMO.index("      - {source_name") :]
    assert weights(imported(bare, "olmo-core", tmp_path, sequence_length=8, samples=9)) == weights(mix)


@pytest.mark.parametrize(
    ("keys", "epochs", "told"),
    [
        ("", 1, None),  # OLMo-core repeats nothing unless it is allowed to
        ("max_repetition_ratio: 3.0", 3, None),
        ("max_repetition_ratio: 4, max_source_fraction: 0.5", 2, None),
        ("max_repetition_ratio: 2.5", 3, "2.5 times"),
        ("max_source_fraction: 0.25", 1, "0.25 times"),
    ],
)
def test_olmo_cores_limits_become_epochs_and_what_does_not_is_said(
    keys: str, epochs: int, told: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = OLMO.replace("max_repetition_ratio: 2.0", keys).replace(", }", "}")
    mix = imported(content, "olmo-core", tmp_path, sequence_length=8)
    assert [stream.max_epochs for stream in mix.streams.values()] == [epochs, 1]
    printed = capsys.readouterr().out
    assert ("note:" in printed) == (told is not None) and (
        told is None or f"'web': OLMo-core plays at most {told} its tokens" in printed
    )
    import_mix(tmp_path / "theirs", "olmo-core", Settings(out=tmp_path / "mine.yaml", sequence_length=8), as_json=True)
    assert len(json.loads(capsys.readouterr().out)["notes"]) == (told is not None)


def test_megatron(tmp_path: Path) -> None:
    mix = imported(MEGATRON, "megatron", tmp_path, sequence_length=8, samples=100)
    assert weights(mix) == [{"web": 80, "e-web": 20, "books": Decimal("0.5")}]
    assert [stream.local for stream in mix.streams.values()] == ["/d/web_text_document", "/e/web_text_document", "/d/books.bin"]
    assert mix.samples == 100 and mix.streams["books"].sequence_length == 8


def test_regmix(tmp_path: Path) -> None:
    mix = imported(REGMIX, "regmix", tmp_path, samples=100, paths=("*=/data/{stream}", "math=s3://b/math"))
    assert weights(mix) == [{"web": Decimal("0.7"), "math": Decimal("0.000030")}]
    assert [stream.local for stream in mix.streams.values()] == ["/data/web", "s3://b/math"]


def test_where_it_came_from_is_noted(tmp_path: Path) -> None:
    mix = imported(FOUNDRY, "llm-foundry", tmp_path)
    assert mix.provenance == {"imported from": "theirs"}


@pytest.mark.parametrize(
    ("source", "content", "given", "message"),
    [
        ("llm-foundry", "train_loader:\n  dataset: {}\n", {}, ":2: train_loader.dataset: missing: streams"),
        ("llm-foundry", FOUNDRY.replace("proportion: 0.25", "repeat: 2"), {}, ":9: train_loader.dataset.streams.code: want"),
        ("llm-foundry", FOUNDRY.replace("/nvme/web", "'${root}/web'"), {}, ":8: train_loader.dataset.streams.web.local: '$"),
        ("llm-foundry", FOUNDRY.replace("64000tok", "2ep"), {}, "add --samples NUMBER"),
        ("llm-foundry", FOUNDRY.replace("64000tok", "soon"), {}, ":1: max_duration: wanted a duration"),
        ("llm-foundry", FOUNDRY.replace("max_seq_len: 8\n", ""), {}, "--sequence-length"),
        ("llm-foundry", FOUNDRY.replace("0.75", "0").replace("0.25", "0"), {}, ":8: train_loader.dataset.streams: weights"),
        ("llm-foundry", FOUNDRY.replace("0.75", "-1"), {}, ":8: train_loader.dataset.streams.web.proportion: wanted"),
        ("olmo-core", OLMO, {}, "add --sequence-length NUMBER"),
        ("olmo-core", OLMO.replace("0.3", "0.4"), {"sequence_length": 8}, "must add up to 1, got 1.1"),
        ("olmo-core", OLMO.replace("[s3/code.npy]", "[a.npy, b.npy]"), {"sequence_length": 8}, ":6: source_mixture_config"),
        ("olmo-core", OLMO.replace("/data/web/*", "/data/*/web"), {"sequence_length": 8}, "a pattern over several folders"),
        ("olmo-core", OLMO.replace("source_name: code", "source_name: web"), {"sequence_length": 8}, ":6: "),
        ("olmo-core", OLMO.replace("n_ratio: 2.0", "n_ratio: 0.5"), {"sequence_length": 8}, ":5: source_mixture_config."),
        ("olmo-core", OLMO.replace("ratio: 2.0", "ratio: 2, max_source_fraction: 0"), {"sequence_length": 8}, "fraction: want"),
        ("olmo-core", "dtype: uint16\n", {"sequence_length": 8}, "no list of sources found"),
        ("megatron", MEGATRON, {"samples": 9}, "add --sequence-length NUMBER"),
        ("megatron", "80 /d/web\n20\n", {"samples": 9, "sequence_length": 8}, ":2: wanted pairs"),
        ("megatron", "80 /d/web\n/d/code 20\n", {"samples": 9, "sequence_length": 8}, ":2: wanted a weight before each prefix"),
        ("megatron", "\n", {"samples": 9, "sequence_length": 8}, ":1: wanted pairs"),
        ("regmix", REGMIX, {}, "add --samples NUMBER"),
        ("regmix", REGMIX, {"samples": 9}, ":2: train: RegMix's files do not say where domain 'web' lies"),
        ("regmix", REGMIX.replace("0.7", "much"), {"samples": 9}, ":2: train.train_web: wanted a finite number"),
        ("regmix", REGMIX, {"samples": 9, "paths": ("*=/d/{stream}", "wbe=/x")}, "no stream 'wbe'"),
        ("regmix", "train: &a {}\n", {"samples": 9}, ":1: not YAML: anchors"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said_where_it_stands(
    source: str, content: str, given: dict[str, Any], message: str, tmp_path: Path
) -> None:
    assert message in refusal(content, source, tmp_path, **given)


def test_no_such_file_and_no_such_format(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        import_mix(tmp_path / "none", "megatron", Settings(out=tmp_path / "mine.yaml", samples=1, sequence_length=1))
    assert "did you mean 'megatron'" in refusal("", "megatrn", tmp_path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.write_data(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("kind", ["static", "step", "ramp"])
def test_round_trip_with_llm_foundry(kind: str, data: Path, tmp_path: Path) -> None:
    mix = world.write_mix(data, kind)
    world.exported(mix, "llm-foundry", tmp_path / "out.yaml")
    back = imported((tmp_path / "out.yaml").read_text(), "llm-foundry", tmp_path)
    assert {name: stream.local for name, stream in back.streams.items()} == {
        name: stream.local for name, stream in Mix.load(mix).streams.items()
    }
    ours, theirs = world.plan_of(mix), back.plan(world.SIZES)
    assert theirs.samples == ours.samples
    for end in ours.phase_ends:
        assert all(abs(theirs.counts(0, end)[name] - ours.counts(0, end)[name]) <= 1 for name in world.SIZES)


@pytest.mark.parametrize(("target", "place", "file"), [
    ("megatron", "megatron", "data-args.txt"), ("olmo-core", "mds", "source_mixture.yaml"),
])  # fmt: skip
def test_round_trip_of_static_mixes(target: str, place: str, file: str, data: Path, tmp_path: Path) -> None:
    mix = world.write_mix(data, "static", place=place)
    paths = () if target == "megatron" else (f"*={data}/npy/{{stream}}.npy",)
    world.exported(mix, target, tmp_path / "out", paths=paths)
    given = {"sequence_length": 8, "samples": 1600} if target == "megatron" else {"sequence_length": 8}
    back = imported((tmp_path / "out" / file).read_text(), target, tmp_path, **given)
    assert back.plan(world.SIZES).counts(0, 1600) == world.plan_of(mix).counts(0, 1600) and back.samples == 1600


def test_a_person_is_told_what_was_written_and_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "n1.yaml").write_text(REGMIX)
    command = [sys.executable, "-m", "curriculum.cli", "import", "n1.yaml", "--from", "regmix", "--out", "mine.yaml"]
    command += ["--path", "*=/data/{stream}", "--samples"]
    done = subprocess.run([*command, "100"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "wrote mine.yaml: 2 streams, one phase, 100 samples" in done.stdout
    assert subprocess.run([*command, "100"], cwd=tmp_path, check=False, capture_output=True).returncode == 0
    done = subprocess.run([*command, "200"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "--overwrite" in done.stderr and "samples: 100" in (tmp_path / "mine.yaml").read_text()
    done = subprocess.run([*command, "200", "--overwrite", "--json"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["samples"] == 200
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe")  # not text
    done = subprocess.run([*command, "200"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "holds something else" in done.stderr and "Traceback" not in done.stderr
