"""Ladders: what is refused before anything is trained, names, counting, plans, and runs that end alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from test_ladder import STUDY

from curriculum.cli import cli
from curriculum.commands import ladder as command
from curriculum.commands.ladder import Settings, ladder, parse_seeds
from curriculum.errors import UserError
from curriculum.mix import Mix, Phase
from curriculum.proxy.run import load_run
from curriculum.proxy.sizes import parse_sizes
from curriculum.report.ladder_chart import ladder_markdown
from curriculum.search.ladder import Ladder, rungs_of
from curriculum.search.ladder_baseline import favoured_late
from curriculum.search.study import Study
from curriculum.search.study_file import load_study

SIZES = {"arith": 65536, "icl": 65536, "facts": 65536}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "tiny.yaml"
    found.write_text(STUDY)
    return found


@pytest.fixture
def study(path: Path) -> Study:
    return load_study(path)


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be trained."""

    def train(_: Ladder) -> None:
        pytest.fail("the ladder began to train")

    monkeypatch.setattr(Ladder, "run", train)


def settings(path: Path, **options: Any) -> Settings:
    return Settings(**{"sizes": "study,10k", "curricula": 1, "seeds": 1, "runs": path.parent / "runs", **options})


def mix_file(study: Study, path: Path, name: str, *weights: int) -> Path:
    """Write a mix of one phase of so many weights, the study's if none are given."""
    given = dict(zip(study.streams, weights or (1, 1, 2), strict=True))
    phase = Phase(until=Decimal(1), weights={stream: Decimal(weight) for stream, weight in given.items()})
    study.mix(name, (phase,)).dump(path)
    return path


# ---- refused at once ----


def test_one_size_is_no_ladder_but_may_be_planned(path: Path, untrained: None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="--sizes: wanted at least two sizes to compare, got study alone"):
        ladder(path, settings(path, sizes="study"))
    assert ladder(path, settings(path, sizes="study", dry_run=True, device="mine=1e12"), as_json=True) == 0
    assert [size["name"] for size in json.loads(capsys.readouterr().out)["sizes"]] == ["study"]


def test_a_file_for_out_is_told_before_training(path: Path, untrained: None) -> None:
    taken = path.parent / "taken"
    taken.write_text("")
    for out in (taken, taken / "deeper"):
        with pytest.raises(UserError, match=r"--out: wanted a folder.*taken is a file"):
            ladder(path, settings(path, out=out))


@pytest.mark.parametrize("price", ["nan", "inf"])
def test_a_price_is_a_number(path: Path, price: str) -> None:
    done = CliRunner().invoke(cli, ["ladder", str(path), "--sizes", "study", "--dry-run", "--device", "H100", "--price", price])
    assert isinstance(done.exception, UserError) or done.exit_code == 2
    with pytest.raises(UserError, match="--price: wanted US dollars an hour"):
        ladder(path, settings(path, dry_run=True, device="H100", price=float(price)))


@pytest.mark.parametrize("tail", [0.0, 1.0, -0.2, float("nan")])
def test_a_tail_is_a_share(path: Path, untrained: None, tail: float) -> None:
    with pytest.raises(UserError, match="--tail: wanted a share of the run above 0 and below 1"):
        ladder(path, settings(path, tail=tail))


@pytest.mark.parametrize("name", ["random-01", "random-99", "trial-7", "static", "ramp-up"])
def test_a_mix_may_not_take_a_name_of_the_ladders_own(path: Path, study: Study, name: str) -> None:
    mix = mix_file(study, path.with_name("mix.yaml"), name)
    for dry_run in (True, False):
        with pytest.raises(UserError, match=f"is named '{name}'.*a name of its own"):
            ladder(path, settings(path, mixes=(mix,), dry_run=dry_run, device="mine=1e12" if dry_run else None))
    assert "random-like" in made(study, path, mixes=[mix_file(study, mix, "random-like")]).curricula


def test_a_plan_refuses_unequal_exposure_as_a_run_does(path: Path, study: Study, untrained: None) -> None:
    mix = mix_file(study, path.with_name("mix.yaml"), "uneven", 2, 1, 1)
    for options in ({"dry_run": True, "device": "mine=1e12"}, {}):
        with pytest.raises(UserError, match=r"'uneven' plays \{'arith': 128.*static \{'arith': 64.*leave that curriculum out"):
            ladder(path, settings(path, mixes=(mix,), **options))
    free = replace(study, exposure="free")
    assert "uneven" in made(free, path, mixes=[mix]).curricula


# ---- sizes, counting, plans ----


def made(study: Study, path: Path, sizes: str = "study,10k", **options: Any) -> Ladder:
    return Ladder(study, rungs_of(study, parse_sizes(sizes)), runs=path.parent / "runs", random=1, seeds=1, **options)


def test_sizes_stand_from_smaller_to_larger_however_they_are_named(path: Path, study: Study) -> None:
    for sizes in ("study,10k,40k", "40k,10k,study", "10k,study,40k"):
        assert [rung.size.name for rung in rungs_of(study, parse_sizes(sizes))] == ["study", "10k", "40k"]


def test_the_share_of_favoured_data_in_the_last_quarter_is_counted_from_the_plan(path: Path, study: Study) -> None:
    counted = made(study, path).counted()
    assert counted is not None
    assert counted["static"] == 0.5
    # from .5 + .8 x .5 at the beginning to .1 at the end: the last quarter's mean lies at 7/8 of the way
    assert counted["ramp-down"] == pytest.approx(0.9 - 0.8 * 7 / 8)
    assert counted["ramp-up"] == pytest.approx(0.1 + 0.8 * 7 / 8)
    early, late = ({name: Decimal(weight) for name, weight in zip(SIZES, of, strict=True)} for of in ((1, 1, 6), (1, 1, 0)))
    mix = study.mix("late", (Phase(until=Decimal("0.75"), weights=early), Phase(until=Decimal(1), weights=late)))
    assert favoured_late([mix], SIZES, ["arith", "icl"]) == (1.0,)
    assert favoured_late([mix], SIZES, ["arith", "icl"], Decimal("0.25")) == (0.25,)
    assert favoured_late([mix], SIZES, []) is None


def test_the_distance_of_the_last_quarter_is_counted_from_the_plan(path: Path, study: Study) -> None:
    found = made(study, path).distances()
    assert found["static"] == 0
    down = 0.5 - (0.9 - 0.8 * 7 / 8)  # of the favoured ones together, which the others have more
    assert found["ramp-down"] == found["ramp-up"] == pytest.approx(2 * down)


def test_seeds_are_one_number_or_one_for_each_size_as_the_sizes_are_named() -> None:
    sizes = parse_sizes("40k,study,10k")
    assert parse_seeds("3", sizes) == {"40k": 3, "study": 3, "10k": 3}
    assert parse_seeds("1,2,3", sizes) == {"40k": 1, "study": 2, "10k": 3}
    for wrong in ("1,2", "0", "2,x,1", "1,,2", "-1", ""):
        with pytest.raises(
            UserError, match="--seeds: wanted a whole number of at least 1, or 3 of them, one for each of --sizes"
        ):
            parse_seeds(wrong, sizes)


def test_a_larger_size_may_have_fewer_seeds(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = settings(path, sizes="10k,study", seeds="1,2", curricula=0)
    assert ladder(path, replace(options, dry_run=True)) == 0
    assert "12 runs (4 curricula x 2, 1 seeds)" in words(capsys)  # the study's own size is the smaller
    assert ladder(path, options) == 0
    document = json.loads((path.parent / "runs/tiny-ladder/ladder.json").read_text())
    assert [(size["name"], size["seeds"]) for size in document["sizes"]] == [("study", 2), ("10k", 1)]
    assert sorted((row["size"], row["seed"]) for row in document["rows"]) == sorted(
        [("study", 0), ("study", 1), ("10k", 0)] * 4
    )
    assert document["saturation"]["study"]["area"]["runs"] == 8 and document["saturation"]["10k"]["area"]["runs"] == 4
    found = document["pairs"][0]["measures"]["area"]
    assert found["noise_ceiling"] is None and found["judged_on_choosing_seed"] and found["judges"] == 1
    text = ladder_markdown(document)
    assert "2, 1 seeds, " in text and "of the seeds that both sizes have" in text


def test_a_plan_in_float32_says_that_a_devices_peak_is_of_bfloat16(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = "the peak is that of bfloat16 products, and this study trains in float32"
    assert ladder(path, settings(path, dry_run=True, device="H100")) == 0 and said in words(capsys)
    assert ladder(path, settings(path, dry_run=True, device="mine=1e9")) == 0 and said not in words(capsys)
    path.write_text(STUDY.replace("readings: 4}", "readings: 4, precision: bfloat16}"))
    assert ladder(path, settings(path, dry_run=True, device="H100")) == 0 and said not in words(capsys)


def test_what_starts_cost_is_told_beside_the_plan(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = path.parent / "start"
    start.mkdir()
    path.write_text(STUDY.replace("readings: 4}", "readings: 4, start: start}"))
    options = settings(path, dry_run=True, device="mine=1e9", utilisation=1.0)
    assert ladder(path, options) == 0
    assert "Not counted: the checkpoints that runs begin from, made once a size. How long they were trained is not" in words(
        capsys
    )
    (start / "state.json").write_text('{"position": 2560}')
    assert ladder(path, options) == 0
    assert "One of 2,560 samples, as the study's, takes about" in words(capsys)
    assert ladder(path, options, as_json=True) == 0
    plan = json.loads(words(capsys))
    assert plan["starts"]["samples"] == 2560
    for of, size in zip(plan["starts"]["sizes"], plan["sizes"], strict=True):
        assert of["name"] == size["name"] and of["flops"] == pytest.approx(10 * size["training_flops"])
        assert of["seconds"] == pytest.approx(max(size["training_flops"] / 1e9, 16 * (1e-3 + 5e-4 * size["layers"])) * 10)
    assert ladder(path, replace(options, device="mine=1e15"), as_json=True) == 0
    plan = json.loads(words(capsys))
    for of, size in zip(plan["starts"]["sizes"], plan["sizes"], strict=True):  # launching decides, of a start as of a run
        assert of["seconds"] == pytest.approx(160 * (1e-3 + 5e-4 * size["layers"]))
    path.write_text(STUDY)
    assert ladder(path, options) == 0 and "Not counted" not in words(capsys)


def words(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


# ---- runs that end alike ----


def test_with_a_tail_orders_stay_before_it_and_all_runs_end_on_the_same_samples(path: Path, study: Study) -> None:
    plain, tailed = made(study, path), made(study, path, tail=Decimal("0.25"))
    assert tailed.place.path.name == "tiny-ladder-tail0.25" != plain.place.path.name
    assert made(study, path, tail=Decimal("0.250")).place == tailed.place
    ends = {}
    for name, mix in tailed.curricula.items():
        plan = mix.plan(SIZES)
        assert plan.counts(0, 256) == {"arith": 64, "icl": 64, "facts": 128}
        assert plan.counts(0, 192) == {"arith": 48, "icl": 48, "facts": 96}
        ends[name] = [plan[position] for position in range(192, 256)]
        longer = plain.curricula[name].plan(SIZES).expected(128)
        assert plan.expected(96) == {stream: count * 3 / 4 for stream, count in longer.items()}
    assert all(end == ends["static"] for end in ends.values()) and len(ends["static"]) == 64
    plans = [mix.plan(SIZES) for mix in made(study, path, tail=Decimal("0.2")).curricula.values()]  # 204.8 samples before it
    assert len({str([plan[position] for position in range(204, 256)]) for plan in plans}) == 1
    names = {request(plain, name) for name in plain.curricula}, {request(tailed, name) for name in tailed.curricula}
    assert not names[0] & names[1] and all("-tail0.25-s" in name for name in names[1])


def request(made: Ladder, name: str) -> str:
    return made._request(made.rungs[0], name, 0).run_id()


def test_a_mix_whose_phases_end_in_tokens_is_refused(path: Path, study: Study) -> None:
    mix = mix_file(study, path.with_name("mix.yaml"), "won")
    known, even = Mix.load(mix), dict.fromkeys(SIZES, Decimal(1))
    streams = {name: replace(stream, tokens_per_sample=23) for name, stream in known.streams.items()}
    replace(known, unit="tokens", streams=streams, samples=None, phases=(Phase(until_tokens=5888, weights=even),)).dump(mix)
    with pytest.raises(UserError, match="phases of 'won' end after a number of tokens"):
        made(study, path, mixes=[mix])


@pytest.fixture(scope="module")
def tailed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A ladder with a tail, its sizes named from larger to smaller."""
    folder = tmp_path_factory.mktemp("tailed")
    (folder / "tiny.yaml").write_text(STUDY)
    assert (
        ladder(folder / "tiny.yaml", settings(folder / "tiny.yaml", sizes="10k,study", curricula=0, tail=0.25, workers=1)) == 0
    )
    yield folder / "runs" / "tiny-ladder-tail0.25"


def test_a_ladder_with_a_tail_measures_it_alone_and_says_so(tailed: Path) -> None:
    document = json.loads((tailed / "ladder.json").read_text())
    assert document["tail"] == 0.25
    told = (tailed / "ladder.md").read_text()
    assert "The last 25% of every run is the same for all, and what is measured is that part alone." in told
    for row in document["rows"]:
        result = load_run(tailed / row["run"])
        assert result is not None
        assert row["area"] == pytest.approx(result.trajectory.measures(start=192, stop=256).area, abs=1e-6)


def test_the_smaller_size_is_the_one_of_fewer_parameters(tailed: Path) -> None:
    document = json.loads((tailed / "ladder.json").read_text())
    assert [(pair["small"], pair["large"]) for pair in document["pairs"]] == [("study", "10k")]
    assert [size["name"] for size in document["sizes"]] == ["study", "10k"]


def test_words_name_counting_saturation_and_regrets_interval(tailed: Path) -> None:
    document = json.loads((tailed / "ladder.json").read_text())
    assert "counting alone: share of favoured data in the last quarter" in ladder_markdown(document)
    said = ladder_markdown(document)
    assert "share of favoured data (arith, icl), and" in said and "quarter of what comes before the common tail" in said
    document["saturation"]["10k"]["area"] = {"alike": 96, "runs": 120}
    document["saturation"]["study"]["area"] = {"alike": 60, "runs": 120}
    of = document["pairs"][0]["measures"]["area"]
    of |= {"regret": 0.01, "regret_low": -0.02, "regret_high": 0.04, "picks_differ": 1, "judged_on_choosing_seed": False}
    of["counting"] = {"value": 0.45, "low": -0.19, "high": 0.94, "n": 12}
    of["ahead_of_counting"] = {"value": 0.41, "low": -0.07, "high": 0.78, "n": 12}
    text = ladder_markdown(document)
    row = next(line for line in text.splitlines() if line.startswith("| study to 10k | area"))
    assert "area (at 10k saturated: 96 of 120 runs alike) |" in row and "| +0.0100 [-0.0200, +0.0400] |" in row
    assert "| +0.45 [-0.19, +0.94] | +0.41 [-0.07, +0.78] |" in row
    of |= {"picks_differ": 0, "regret": 0.0, "regret_low": None}
    assert "| 0.0000 (one pick) |" in ladder_markdown(document)
    assert "favoured data (" not in ladder_markdown({**document, "counting": None})
    of |= {"picks_differ": 2}
    assert "| 0.0000 (picks of equal value) |" in ladder_markdown(document)


def test_numbers_are_written_before_words_and_pictures(tailed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.loads((tailed / "ladder.json").read_text())

    def broken(*_: object) -> None:
        raise RuntimeError("no picture today")

    for name in ("ladder_drawing", "ladder_markdown"):
        with monkeypatch.context() as patched:
            patched.setattr(command, name, broken)
            with pytest.raises(RuntimeError):
                command._write(document, tmp_path / name)
        assert json.loads((tmp_path / name / "ladder.json").read_text()) == document
        assert (tmp_path / name / "ladder.csv").exists()


def test_rows_hold_what_is_counted_of_their_curriculum(tailed: Path) -> None:
    document = json.loads((tailed / "ladder.json").read_text())
    head, *lines = (tailed / "ladder.csv").read_text().splitlines()
    assert head.endswith(",favoured_late,late_distance")
    assert {"size", "curriculum", "seed", "area", "loss_facts"} <= set(head.split(","))
    for line in lines:
        of = dict(zip(head.split(","), line.split(","), strict=True))
        assert float(of["favoured_late"]) == document["counting"]["shares"][of["curriculum"]]
        assert float(of["late_distance"]) == document["distances"]["of"][of["curriculum"]]
    assert len(lines) == 2 * 4
