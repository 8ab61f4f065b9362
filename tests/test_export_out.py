"""Where exports and imports are written: what an earlier export left, names that Python can import, what `--out` refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import export_help as world
import pytest
import yaml
from click.testing import CliRunner

from curriculum.cli import cli
from curriculum.commands.export import Settings, default_place, export
from curriculum.commands.import_mix import Settings as ImportSettings
from curriculum.commands.import_mix import import_mix
from curriculum.errors import UserError
from curriculum.export.capabilities import CAPABILITIES
from curriculum.export.deviation import deviations
from curriculum.export.output import Output
from curriculum.export.staircase import Stage
from curriculum.export.target import Request
from curriculum.mix import Mix

ROOT = Path(__file__).parents[1]
ANYWHERE = ("*=/x/{stream}",)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.write_data(tmp_path_factory.mktemp("data"))


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def refusal(mix: Path, target: str, **options: Any) -> str:
    with pytest.raises(UserError) as refused:
        export(mix, target, Settings(paths=ANYWHERE, **options))
    return str(refused.value)


def test_stages_of_an_earlier_export_do_not_stay(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    world.exported(world.write_mix(data, "ramp", place="npy"), "nanotron", out, capsys)
    (out / "stage-99.yaml").write_text("mine")
    said = world.exported(world.write_mix(data, "static", place="npy"), "nanotron", out, capsys, overwrite=True)
    assert names(out) == {"stage-01.yaml", "run.sh", "stage-99.yaml", "export.json"}
    assert any("removed 4 files of an earlier export" in note and "stage-02.yaml" in note for note in said["notes"]), said


def test_index_files_of_an_earlier_export_do_not_stay(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    world.exported(world.write_mix(data, "step", place="npy"), "olmo-core", out, samples=4000)
    (out / "work_dir/other_epoch2.npy").write_bytes(b"mine")
    world.exported(world.write_mix(data, "step", place="npy"), "olmo-core", out, samples=800, overwrite=True)
    kept = {name for name in names(out) if "global_indices" in name}
    assert len(kept) == 1 and "epoch1" in kept.pop() and (out / "work_dir/other_epoch2.npy").read_bytes() == b"mine"


def test_a_folder_that_nothing_lies_in_any_more_goes_too(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    world.exported(world.write_mix(data, "step", place="npy"), "olmo-core", out)
    world.exported(world.write_mix(data, "step"), "grain", out, overwrite=True)
    assert names(out) == {"mix.yaml", "grain_mix.py", "export.json"} and not (out / "work_dir").exists()


def test_without_overwrite_two_exports_of_one_mix_share_a_folder(data: Path, tmp_path: Path) -> None:
    mix, out = world.write_mix(data, "step"), tmp_path / "out"
    world.exported(mix, "grain", out)
    world.exported(mix, "datasets", out)
    assert names(out) == {"mix.yaml", "grain_mix.py", "datasets_mix.py", "export.json"}
    world.exported(world.write_mix(data, "ramp"), "datasets", out, overwrite=True)  # grain's would play the old mix's name
    assert names(out) == {"mix.yaml", "datasets_mix.py", "export.json"}


def test_a_stopped_export_is_cleared_away_by_the_next(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr("curriculum.export.nanotron._script", lambda names: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            world.exported(world.write_mix(data, "ramp", place="npy"), "nanotron", out)
    assert "stage-05.yaml" in names(out)
    world.exported(world.write_mix(data, "static", place="npy"), "nanotron", out, overwrite=True)
    assert names(out) == {"stage-01.yaml", "run.sh", "export.json"}


def test_a_list_that_was_tampered_with_removes_nothing_outside(data: Path, tmp_path: Path) -> None:
    mix, out = world.write_mix(data, "step"), tmp_path / "out"
    world.exported(mix, "grain", out)
    (tmp_path / "mine.txt").write_text("mine")
    record = json.loads((out / "export.json").read_text())
    record["files"] += ["../mine.txt", str(tmp_path / "mine.txt"), "."]
    (out / "export.json").write_text(json.dumps(record))
    world.exported(mix, "grain", out, overwrite=True)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_list_of_somebody_else_is_not_written_over(data: Path, tmp_path: Path) -> None:
    mix, out = world.write_mix(data, "step"), tmp_path / "out"
    out.mkdir()
    (out / "export.json").write_text('{"files": ["mine.txt"]}')
    (out / "mine.txt").write_text("mine")
    assert "add --overwrite" in refusal(mix, "grain", out=out)
    assert names(out) == {"export.json", "mine.txt"}
    export(mix, "grain", Settings(out=out, overwrite=True))
    assert names(out) == {"export.json", "mine.txt", "mix.yaml", "grain_mix.py"}


def test_samples_and_files_never_replace_one_another(data: Path, tmp_path: Path) -> None:
    mix, samples, files = world.write_mix(data, "step"), tmp_path / "samples", tmp_path / "files"
    export(mix, "mds", Settings(out=samples))
    before = names(samples)
    assert "holds the samples of an export to mds" in refusal(mix, "grain", out=samples, overwrite=True)
    assert names(samples) == before
    export(mix, "grain", Settings(out=files))
    assert "holds an export to another target" in refusal(mix, "mds", out=files, overwrite=True)
    assert names(files) == {"mix.yaml", "grain_mix.py", "export.json"}


def test_samples_written_anew_leave_what_is_not_theirs(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curriculum.export.mds._PART_BYTES", 1)
    out, changed = tmp_path / "out", world.write_mix(data, "ramp")
    export(world.write_mix(data, "step"), "mds", Settings(out=out))
    assert (out / "part-00006").is_dir()
    (out / "mine.txt").write_text("mine")
    export(changed, "mds", Settings(out=out, overwrite=True, samples=300))
    assert (out / "mine.txt").read_text() == "mine"
    left = {"mine.txt", "export.json", "index.json", "part-00000", "part-00001"}
    assert {name.partition("/")[0] for name in names(out)} == left


def test_a_python_targets_default_name_can_be_imported() -> None:
    (litdata,) = [each for each in CAPABILITIES if each.name == "litdata"]
    for name in ("2my-mix v1.0.yaml", "mine.yaml", "1.yaml", "übung.yaml"):
        assert default_place(Path(name), litdata).stem.isidentifier(), name
    assert default_place(Path("2my-mix v1.0.yaml"), litdata).name == "_2my_mix_v1_0_litdata.py"
    assert default_place(Path("mine.yaml"), litdata).name == "mine_litdata.py"


@pytest.mark.parametrize("target", ["litdata", "torchtitan"])
@pytest.mark.parametrize(("out", "better"), [("foo-bar.py", "foo_bar.py"), ("noext", "noext.py"), ("import.py", "import_.py")])
def test_a_python_target_refuses_a_name_that_cannot_be_imported(
    target: str, out: str, better: str, data: Path, tmp_path: Path
) -> None:
    said = refusal(world.write_mix(data, "static"), target, out=tmp_path / out)
    assert "cannot be imported" in said and said.endswith(str(tmp_path / better)) and not list(tmp_path.iterdir())


def test_a_dash_is_no_file(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "--out -: wanted" in refusal(world.write_mix(data, "static"), "levanter", out=Path("-"), batch_size=16)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("out", ["-", "."])
def test_an_import_wants_a_file(out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("n1.yaml").write_text("train:\n  train_web: 1.0\n")
    with pytest.raises(UserError, match=f"--out {out}: wanted the mix file to write"):
        import_mix(Path("n1.yaml"), "regmix", ImportSettings(out=Path(out), samples=100, paths=ANYWHERE))
    assert [path.name for path in tmp_path.iterdir()] == ["n1.yaml"]


def levanter_notes(mix: Path, out: Path, capsys: pytest.CaptureFixture[str], **options: Any) -> list[str]:
    export(mix, "levanter", Settings(out=out, overwrite=True, paths=ANYWHERE, **options), as_json=True)
    notes: list[str] = json.loads(capsys.readouterr().out)["notes"]
    return [note for note in notes if "--block-size" in note]


def test_levanters_large_deviation_comes_with_its_mend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mix, out = ROOT / "mixes/default.yaml", tmp_path / "out.yaml"
    (note,) = levanter_notes(mix, out, capsys, batch_size=64, sequence_length=24)
    block = int(note.rpartition("--block-size ")[2].split()[0].rstrip(":,;"))
    assert "33 %" in note and block < 2048
    assert levanter_notes(mix, out, capsys, batch_size=64, sequence_length=24, block_size=block) == []
    assert len(yaml.safe_load(out.read_text())["data"]["train_weights"]) > 5


def test_levanters_small_deviation_needs_no_note(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mix = world.write_mix(data, "static")
    assert levanter_notes(mix, tmp_path / "out.yaml", capsys, batch_size=16, block_size=64) == []


@pytest.mark.parametrize(
    ("words", "wanted", "never"),
    [
        ("curriculum export mix.yaml --to m", {"megatron", "mds"}, {"levanter"}),
        ("curriculum import mix.yaml --from l", {"llm-foundry"}, {"regmix", "levanter"}),
    ],
)
def test_values_of_targets_and_formats_are_completed(words: str, wanted: set[str], never: set[str]) -> None:
    typed = {"_CURRICULUM_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    shown = CliRunner().invoke(cli, [], env=typed, prog_name="curriculum").output
    found = {line.partition(",")[2] for line in shown.splitlines()}
    assert wanted <= found and not never & found


def test_a_stage_cut_two_samples_late_differs_by_two_samples_of_a_batch(data: Path, tmp_path: Path) -> None:
    mix = world.write_mix(data, "step")
    plan = world.plan_of(mix)
    (first, last), cut = plan.phase_ends, plan.phase_ends[0] + 2
    stages = (
        Stage(start=0, stop=cut, amounts={"web": 0.7 * cut, "code": 0.2 * cut, "math": 0.1 * cut}),
        Stage(
            start=cut, stop=last, amounts={"web": 0.2 * (last - cut), "code": 0.5 * (last - cut), "math": 0.3 * (last - cut)}
        ),
    )
    asked = Request(mix=Mix.load(mix), plan=plan, sizes=world.SIZES, output=Output(path=tmp_path / "out"), batch_size=16)
    (web,) = [each for each in deviations(asked, stages) if (each.phase, each.stream) == (2, "web")]
    assert web.share == pytest.approx(0.5 * 2 / 16) and first > 700


def test_the_table_of_loaders_says_which_were_not_the_targets_own() -> None:
    source, page = ((ROOT / f"benchmarks/exports.{ending}").read_text() for ending in ("py", "md"))
    introduction = source.partition('INTRODUCTION = """\\\n')[2].partition('"""')[0]
    assert introduction and introduction in page
    own = introduction.partition("were not read by their own")[2]
    assert "`llm-foundry`" in own and "`nanotron`" in own
    assert "`llm-foundry` is there as Streaming plays its stages" in (ROOT / "docs/export.md").read_text()
