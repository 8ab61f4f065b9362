"""`curriculum check`: what it counts, what it draws, what it refuses, and at which line."""

from __future__ import annotations

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from curriculum.commands.check import check
from curriculum.errors import FileError, UserError
from curriculum.mix import Mix
from curriculum.report.exposure import exposure_tables, measure_exposure
from curriculum.report.schedule_chart import chart_columns, schedule_chart

MIX = """\
name: two
samples: 1000
streams:
  web: {local: web}
  code: {local: code, max_epochs: 2}
phases:
  - {until: 0.5, weights: {web: 3, code: 1}}
  - {until: 1, weights: {web: 3, code: 1}, to: {web: 1, code: 3}}
"""


def write_stream(folder: Path, samples: list[int], tokens_per_sample: int | None = None) -> None:
    folder.mkdir(parents=True)
    shards = []
    for number, count in enumerate(samples):
        name = f"shard.{number:05}.mds"
        (folder / name).write_bytes(b"data")
        shards.append({"samples": count, "raw_data": {"basename": name, "bytes": 4, "hashes": {}}, "zip_data": None})
    (folder / "index.json").write_text(json.dumps({"version": 2, "shards": shards}))
    if tokens_per_sample is not None:
        (folder / "manifest.json").write_text(json.dumps({"tokens_per_sample": tokens_per_sample}))


@pytest.fixture
def mix_file(tmp_path: Path) -> Path:
    write_stream(tmp_path / "web", [100, 25], tokens_per_sample=64)
    write_stream(tmp_path / "code", [200])
    path = tmp_path / "two.yaml"
    path.write_text(MIX)
    return path


def checked(path: Path, capsys: pytest.CaptureFixture[str], **arguments: Any) -> dict[str, Any]:
    assert check(path, as_json=True, **arguments) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_every_phase_says_what_each_stream_gives(mix_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = checked(mix_file, capsys)
    first, second = found["phases"]
    assert (first["start"], first["stop"], second["stop"]) == (0, 500, 1000)
    assert first["streams"]["web"] == {
        "requested_start": 0.75,
        "requested_stop": 0.75,
        "requested": 0.75,
        "realised": 0.75,
        "samples": 375,
        "tokens": 375 * 64,
        "epochs": 3.0,
    }
    web, code = second["streams"]["web"], second["streams"]["code"]
    assert (web["requested_start"], web["requested_stop"], web["requested"]) == (0.75, 0.25, 0.5)
    assert (web["samples"], web["realised"], web["epochs"]) == (250, 0.5, 5.0)
    assert (code["tokens"], code["epochs"]) == (None, 375 / 200)
    total = found["total"]["streams"]
    assert (total["web"]["samples"], total["web"]["requested"], total["code"]["samples"]) == (625, 0.625, 375)
    assert (found["streams"]["web"]["size"], found["streams"]["code"]["size"]) == (125, 200)
    assert [line.split(":")[0] for line in found["warnings"]] == [
        "stream 'web' is repeated 5.00 times; beyond 4 epochs repeated data teaches much less than new data"
    ]


def test_token_weights_give_token_shares(mix_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mix_file.write_text(
        MIX.replace("samples: 1000", "samples: 1000\nunit: tokens").replace("max_epochs: 2", "tokens_per_sample: 32")
    )
    first = checked(mix_file, capsys)["phases"][0]["streams"]
    assert first["web"]["realised"] == pytest.approx(0.75, abs=0.005)
    assert first["web"]["samples"] / first["code"]["samples"] == pytest.approx(1.5, abs=0.05)


def test_unknown_sizes_are_said_and_counted_without_epochs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "far.yaml"
    path.write_text(
        MIX.replace("{local: web}", "{remote: s3://bucket/web, local: web, order: {by: far}}").replace(
            "local: code", "local: 'testbed:icl'"
        )
    )
    found = checked(path, capsys)
    assert found["streams"]["web"]["size"] is None
    assert "not downloaded" in found["streams"]["web"]["source"]
    assert found["total"]["streams"]["web"]["epochs"] is None
    assert found["streams"]["code"]["source"] == "embedded testbed"
    assert found["total"]["streams"]["code"]["epochs"] > 0
    near = tmp_path / "near.yaml"
    near.write_text(path.read_text().replace(", order: {by: far}", ""))
    assert checked(near, capsys, sizes={"web": 625})["total"]["streams"]["web"]["epochs"] == 1.0
    with pytest.raises(UserError, match=r"'wbe' \(did you mean 'web'\?\)"):
        check(path, sizes={"wbe": 1})


BAD = [
    # what is replaced in MIX, by what, the line to blame, what the message says
    ("{local: web}", "{local: wbe}", 4, "no index.json in"),
    ("{local: web}", "{local: empty}", 4, "lists no samples"),
    ("{local: web}", "{local: broken}", 4, "is damaged"),
    ("{local: web}", "{local: cut}", 4, "shard.00000.mds has 2 bytes"),
    ("{local: web}", "{local: 'testbed:nothing'}", 4, "nothing"),
    ("max_epochs: 2", "max_epochs: 1", 5, "would be asked for 375 samples (1.88 epochs)"),
    ("samples: 1000", "samples: 1000\nunit: tokens", 6, "unit: tokens needs tokens_per_sample"),
    ("{local: web}", "{local: web, order: {scores: gone.parquet}}", None, "does not exist"),
    ("web: 3", "wbe: 3", 7, "no stream has this name"),
]


@pytest.mark.parametrize(("old", "new", "line", "message"), BAD, ids=[message[:30] for *_, message in BAD])
def test_data_that_will_not_do_is_refused_at_its_line(
    old: str, new: str, line: int | None, message: str, mix_file: Path
) -> None:
    write_stream(mix_file.parent / "empty", [0])
    write_stream(mix_file.parent / "cut", [5])
    (mix_file.parent / "cut" / "shard.00000.mds").write_bytes(b"da")
    write_stream(mix_file.parent / "broken", [5])
    (mix_file.parent / "broken" / "index.json").write_text('{"shards": [{"samp')
    mix_file.write_text(MIX.replace(old, new, 1))
    with pytest.raises(FileError) as caught:
        check(mix_file)
    text = str(caught.value)
    assert text.startswith(f"{mix_file}:{line}: " if line else f"{mix_file.parent / 'gone.parquet'}: "), text
    assert message in text
    assert "\n" not in text


def test_a_pipe_gets_plain_text_with_tables_and_chart(mix_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(mix_file) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    for part in (
        "phase 1 of 2: 0% to 50% of the run, 500 samples",
        "whole run: 1,000 samples",
        "██ web",
        "warning: stream 'web'",
    ):
        assert part in text


def test_a_study_is_checked_too(capsys: pytest.CaptureFixture[str], mix_file: Path) -> None:
    study = mix_file.parent / "study.yaml"
    study.write_text(
        "name: small\nstreams:\n  web: {local: web}\n  code: {local: code}\nlength: {samples: 1280}\n"
        "probes: [{name: s, family: succession, builtin: 'testbed:succession', floor: 0.1}]\nspace: {knots: 3}\n"
    )
    with pytest.raises(UserError, match="probe 's' is built in for the testbed, but stream 'web' is your own"):
        check(study)
    study.write_text(study.read_text() + "proxy: {command: 'python train.py {mix} {seed} {out}'}\n")  # reads its own probes
    assert check(study) == 0
    printed = capsys.readouterr().out
    assert "valid study 'small'" in printed and "maximises time_general over s" in printed
    by_loss = study.read_text() + "objective: {metric: loss}\n"
    (mix_file.parent / "by_loss.yaml").write_text(by_loss)
    assert check(mix_file.parent / "by_loss.yaml") == 0
    assert "minimises loss over streams with held-out data" in " ".join(capsys.readouterr().out.split())
    found = checked(study, capsys)
    assert (found["kind"], found["knots"], found["samples"], found["exposure"]) == ("study", 3, 1280, "fixed")
    assert found["streams"]["web"]["share"] == 125 / 325
    study.write_text(study.read_text().replace("{local: code}", "{local: gone}"))
    with pytest.raises(FileError, match=r"study\.yaml:4: .*no index\.json"):
        check(study)


def test_what_a_run_would_refuse_is_refused_with_its_reason(tmp_path: Path) -> None:
    study = tmp_path / "study.yaml"
    text = (
        "name: small\nstreams:\n  icl: {local: 'testbed:icl'}\n  facts: {local: 'testbed:facts'}\nlength: {samples: 1280}\n"
        "proxy: {width: 16, heads: 2}\nspace: {knots: 3}\nprobes: [{name: s, family: succession, floor: 0.1, PROBE}]\n"
    )
    study.write_text(text.replace("PROBE", "builtin: 'testbed:succession'").replace("heads: 2", "heads: 3"))
    with pytest.raises(FileError, match=r"study\.yaml:6: .*a width that its heads divide, got width 16, heads 3"):
        check(study)
    study.write_text(text.replace("PROBE", "file: gone.jsonl, control: gone.jsonl"))
    with pytest.raises((UserError, FileError), match=r"gone\.jsonl"):
        check(study)


def test_checking_imports_neither_torch_nor_optuna_nor_matplotlib(mix_file: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom curriculum.commands.check import check\n"
        f"check(Path({str(mix_file)!r}))\nprint('FOUND', {{'torch', 'optuna', 'matplotlib'}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("FOUND set()\n")


# -- the chart ----------------------------------------------------------------------------------------------------------


def drawn(shares: list[list[float]], **options: Any) -> list[str]:
    names = ["first", "second", "third"][: len(shares[0])]
    return schedule_chart(names, shares, [0.5, 1], **options).plain.split("\n")


def test_areas_follow_the_shares() -> None:
    lines = drawn([[1.0, 0.0]] * 20 + [[0.25, 0.75]] * 20, height=8, colour=False)
    assert [line[6:26] for line in lines[:8] if "first" not in line] == ["█" * 20] * 7
    assert [line[45] for line in lines[:8]] == ["█"] * 2 + ["░"] * 6
    assert sum("first" in line for line in lines[:8]) == 1
    assert lines[8] == "     └" + "─" * 19 + "┴" + "─" * 19 + "┴"
    assert lines[9].split() == ["0%", "50%", "100%"]
    assert [line.strip() for line in lines[10:]] == ["██ first  100.0% → 25.0%", "░░ second   0.0% → 75.0%"]


def test_without_colours_a_cell_shows_the_stream_that_fills_most_of_it() -> None:
    assert drawn([[0.4, 0.6]] * 3 + [[0.6, 0.4]] * 2, height=1, colour=False)[0].endswith("░░░██")


def test_cells_that_one_stream_fills_almost_wholly_are_its_own() -> None:
    assert drawn([[0.001, 0.999]] * 5, height=1)[0].endswith("┤     ")


def test_terminals_without_unicode_get_ascii() -> None:
    assert all(line.isascii() for line in drawn([[0.5, 0.3, 0.2]] * 30, colour=False, ascii_only=True))


def test_with_colours_a_thin_stream_is_still_seen() -> None:
    console = Console(file=StringIO(), force_terminal=True, color_system="truecolor", width=80)
    text = schedule_chart(["first", "second"], [[0.99, 0.01]] * 30, [1], height=12)
    assert text.plain.split("\n")[11].endswith("▁" * 30)
    console.print(text)
    assert "\x1b[38;2;86;180;233;48;2;230;159;0m▁" in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_chart_follows_the_terminals_width() -> None:
    assert [chart_columns(width) for width in (10, 80, 120, 1000)] == [10, 73, 113, 153]


HEADERS = ("stream", "from", "to", "requested", "realised", "samples", "tokens", "epochs", "cap", "size")
THREE = """\
name: mine
samples: 4096
streams: {code: {local: code}, docstrings: {local: docstrings}, manual: {local: manual, max_epochs: 4}}
phases:
  - {until: 0.5, weights: {code: 4, docstrings: 4, manual: 1}}
  - {until: 1.0, weights: {code: 4, docstrings: 4, manual: 1}, to: {code: 1, docstrings: 2, manual: 2}}
"""


def tables_of(folder: Path, text: str, columns: int) -> str:
    """Return a mix's tables as a terminal of so many columns shows them; its streams are written."""
    mix = Mix.loads(text)
    for name in mix.streams:
        write_stream(folder / name, [4741], tokens_per_sample=64)
    sizes = dict.fromkeys(mix.streams, 4741)
    found = measure_exposure(mix, mix.plan(sizes), sizes=sizes, tokens_per_sample=dict.fromkeys(mix.streams, 64))
    console = Console(width=columns, file=StringIO(), highlight=False)
    for table in exposure_tables(found, columns):
        console.print(table)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("stream", ["docstrings", "documentation-strings-of-python"])
def test_headers_are_whole_words_in_a_terminal_of_80_columns(stream: str, tmp_path: Path) -> None:
    text = tables_of(tmp_path, THREE.replace("docstrings", stream), 80)
    heads = [line.split() for line in text.splitlines() if line.split()[:1] == ["stream"]]
    assert len(heads) == 3 and all(set(line) <= set(HEADERS) for line in heads), text
    assert heads[1] == ["stream", "from", "to", "requested", "realised", "samples", "tokens", "epochs"]
    assert all(len(line) <= 80 for line in text.splitlines())


def test_a_terminal_too_narrow_for_whole_words_loses_no_digit(tmp_path: Path) -> None:
    wide, narrow = tables_of(tmp_path, THREE, 120), tables_of(tmp_path / "again", THREE, 44)
    digits = ["".join(sorted(filter(str.isdigit, text))) for text in (wide, narrow)]
    assert digits[0] == digits[1] and all(len(line) <= 44 for line in narrow.splitlines())
