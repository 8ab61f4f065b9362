"""Subsets of streams, from the mix file to the loader, and studies that repeat streams as often as their target."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streaming_help import SIZES, Make, folder, keys_of, loader, make_dataset, planned, ramp
from test_check import write_stream

from curriculum.commands.check import check
from curriculum.errors import ChangedError, DataError, FileError, UserError
from curriculum.mix import FieldError, Mix, Order, Stream, Subset, describe_difference, mix_from_canonical
from curriculum.plan.subset import Chosen
from curriculum.probe.specification import ProbeSpecification
from curriculum.proxy.run import RunRequest
from curriculum.search import controls
from curriculum.search.study import Study, Target
from curriculum.search.study_file import load_study
from curriculum.search.target import subset_sizes, with_target, without_target

__all__ = ["folder", "make_dataset"]  # fixtures

SUBSETS = {"first": Subset(samples=90, seed=3), "second": Subset(samples=300), "third": Subset(samples=7)}

# -- which samples ------------------------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 2**63 - 1))
def test_a_subset_takes_one_sample_of_each_equal_part(one: int, other: int, key: int) -> None:
    count, size = sorted((one, other))
    found = Chosen(size=size, count=count, key=key).samples(np.arange(count))
    edges = [number * size // count for number in range(count + 1)]
    assert all(start <= sample < stop for start, sample, stop in zip(edges, found.tolist(), edges[1:], strict=False))
    assert np.all(np.diff(found) > 0)


@settings(max_examples=100)
@given(st.integers(1, 2**41), st.integers(0, 2**60), st.data())
def test_parts_are_exact_where_products_leave_64_bits(count: int, more: int, data: st.DataObject) -> None:
    size = count + more
    numbers = [*data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=5)), count - 1]
    chosen = Chosen(size=size, count=count, key=1)
    assert chosen.starts(np.asarray(numbers)).tolist() == [number * size // count for number in numbers]
    assert all(0 <= sample < size for sample in chosen.samples(np.asarray(numbers)).tolist())


def test_samples_are_spread_within_their_parts() -> None:
    inside = Chosen(size=100 * 2000, count=2000, key=7).samples(np.arange(2000)) - 100 * np.arange(2000)
    assert np.bincount(inside // 10, minlength=10).min() > 150  # 200 expected in each tenth of a part


def chosen_keys(mix: Mix) -> dict[str, set[int]]:
    """Return the samples of each stream that a run of several epochs meets."""
    plan = mix.plan(SIZES)
    streams, _, samples = plan[np.arange(len(plan))]
    return {name: set(samples[streams == index].tolist()) for index, name in enumerate(mix.streams)}


def subset_ramp(folder: Path, subsets: Mapping[str, Subset] = SUBSETS, **changes: Any) -> Mix:
    streams = {name: Stream(local=str(folder / name), subset=subsets.get(name)) for name in SIZES}
    return ramp(folder, **{"streams": streams, "samples": 4000, **changes})


def test_the_choice_follows_stream_and_seed_not_the_mix(folder: Path) -> None:
    found = chosen_keys(subset_ramp(folder))
    assert {name: len(samples) for name, samples in found.items()} == {"first": 90, "second": 300, "third": 7}
    assert found == chosen_keys(subset_ramp(folder, seed=6)) == chosen_keys(subset_ramp(folder, lanes=3))
    sequential = {
        name: Stream(local=str(folder / name), subset=SUBSETS[name], order=Order(kind="sequential")) for name in SIZES
    }
    assert found == chosen_keys(subset_ramp(folder, streams=sequential))
    assert found["first"] != chosen_keys(subset_ramp(folder, {**SUBSETS, "first": Subset(samples=90, seed=4)}))["first"]
    alike = {name: Subset(samples=100) for name in SIZES}
    same_size = subset_ramp(folder, alike).plan(dict.fromkeys(SIZES, 500))
    streams, _, samples = same_size[np.arange(4000)]
    assert len({tuple(np.unique(samples[streams == index])) for index in range(3)}) == 3


@pytest.mark.parametrize("lanes", [1, 3])
def test_an_epoch_plays_the_subset_once(folder: Path, lanes: int) -> None:
    plan = subset_ramp(folder, lanes=lanes).plan(SIZES)
    streams, epochs, samples = plan[np.arange(len(plan))]
    for index, name in enumerate(SIZES):
        count, (own, epoch) = SUBSETS[name].samples, (samples[streams == index], epochs[streams == index])
        assert plan.counts(0, len(plan))[name] == len(own)
        for number in range(len(own) // count):
            assert len(set(own[epoch == number].tolist())) == np.sum(epoch == number) == count


def test_caps_count_epochs_of_the_subset(folder: Path) -> None:
    streams = {name: Stream(local=str(folder / name), subset=Subset(samples=7) if name == "third" else None) for name in SIZES}
    mix = ramp(folder, samples=100, streams=streams)
    needed = mix.plan(SIZES).counts(0, 100)["third"] / 7
    capped = {**streams, "third": replace(streams["third"], max_epochs=int(needed))}
    with pytest.raises(DataError, match=r"'third' would be asked for .* of its 7 samples allows 14"):
        replace(mix, streams=capped).plan(SIZES)
    replace(mix, streams={**streams, "third": replace(streams["third"], max_epochs=int(needed) + 1)}).plan(SIZES)


# -- the loader ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("lanes", [1, 2])
def test_the_loader_obeys_a_subset_through_a_resume(folder: Path, make_dataset: Make, workers: int, lanes: int) -> None:
    mix = subset_ramp(folder, samples=800, lanes=lanes)
    expected = planned(mix.plan(SIZES))
    before = loader(make_dataset(mix=mix, batch_size=8), workers)
    played = keys_of(islice(before, 30))
    state = json.loads(json.dumps(before.state_dict()))
    after = loader(make_dataset(mix=mix, batch_size=8), workers)
    after.load_state_dict(state)
    assert played + keys_of(after) == expected
    assert keys_of(after) == planned(mix.plan(SIZES).later_pass(1))


def test_a_changed_subset_is_a_changed_mix(folder: Path, make_dataset: Make) -> None:
    mix, other = subset_ramp(folder), subset_ramp(folder, {**SUBSETS, "first": Subset(samples=80, seed=3)})
    dataset = make_dataset(mix=mix, batch_size=8)
    state = dataset.state_dict(800, False)
    with pytest.raises(ChangedError, match=r"mix: streams\.first\.subset\.samples: 90 -> 80"):
        make_dataset(mix=other, batch_size=8).load_state_dict(state)
    going_on = make_dataset(mix=other, batch_size=8, on_change="continue")
    going_on.load_state_dict(state)
    assert planned(going_on.plan, 0, 800) == planned(mix.plan(SIZES), 0, 800)
    assert planned(going_on.plan) == planned(mix.plan(SIZES).continue_under(other, at=800))
    assert keys_of(loader(going_on)) == planned(going_on.plan, 800)


def test_an_origin_is_the_sample_of_the_stream_and_the_range_around_it(folder: Path, make_dataset: Make) -> None:
    dataset = make_dataset(mix=subset_ramp(folder, samples=900), batch_size=8)
    found = dataset.origin(np.arange(900))
    number = found["stream"].map({name: index for index, name in enumerate(SIZES)})
    assert (number * 10**6 + found["sample"]).tolist() == planned(dataset.plan) == keys_of(dataset.__getitems__(np.arange(900)))
    assert (found["window_start"] <= found["sample"]).all() and (found["sample"] < found["window_stop"]).all()
    windows = found[found["stream"] == "first"][["window_start", "window_stop"]].drop_duplicates().sort_values("window_start")
    assert windows.to_numpy().tolist() == [[0, 64 * 500 // 90], [64 * 500 // 90, 500]]


# -- the file -----------------------------------------------------------------------------------------------------------


def test_a_subset_is_read_written_and_part_of_the_fingerprint(tmp_path: Path) -> None:
    text = (
        "name: m\nsamples: 10\nstreams:\n  a: {local: /a, subset: 1k}\n  b: {local: /b, subset: {samples: 20, seed: 3}}\n"
        "phases: [{until: 1, weights: {a: 1, b: 1}}]\n"
    )
    mix = Mix.loads(text)
    assert [stream.subset for stream in mix.streams.values()] == [Subset(samples=1000), Subset(samples=20, seed=3)]
    assert mix.streams["a"] == Stream(local="/a", subset=1000)  # type: ignore[arg-type]
    mix.dump(tmp_path / "m.yaml")
    assert Mix.load(tmp_path / "m.yaml") == mix
    plain = replace(mix, streams={name: replace(stream, subset=None) for name, stream in mix.streams.items()})
    assert "subset" not in plain.canonical()["streams"]["a"]
    assert describe_difference(plain.canonical(), mix.canonical())[0] == "streams.a.subset.samples: absent -> 1000"
    past = mix_from_canonical(mix.canonical(), replace(mix, streams={**mix.streams, "b": Stream(local="/c")}))
    assert past.streams["b"].subset == Subset(samples=20, seed=3)


@pytest.mark.parametrize(
    ("subset", "message"),
    [
        ("0", "wanted a whole number of at least 1, got 0"),
        ("some", "some"),
        ("{seed: 3}", "missing key 'samples'"),
        ("{samples: 3, share: 1}", "unknown key 'share'"),
        ("5, order: {by: x}", "a scored order is of windows of the whole stream"),
        ("5, order: {listed: x.parquet}", "a listed order is of windows of the whole stream"),
        ("126", "stream 'web': subset asks for 126 samples, but the stream has 125"),
    ],
)
def test_a_subset_that_cannot_be_is_refused_at_its_line(tmp_path: Path, subset: str, message: str) -> None:
    write_stream(tmp_path / "web", [125])
    path = tmp_path / "m.yaml"
    entry = f"    local: web\n    subset: {subset}\n".replace(", order", "\n    order")
    phases = "phases: [{until: 1, weights: {web: 1}}]\n"
    path.write_text(f"name: m\nsamples: 10\nstreams:\n  web:\n{entry}{phases}")
    with pytest.raises(FileError, match=r"m\.yaml:6: ") as caught:
        check(path)
    assert message in str(caught.value)


def test_a_subset_in_python_is_checked_too() -> None:
    for wrong in (0, True, "5", 2.0):
        with pytest.raises(FieldError, match="subset"):
            Stream(local="/a", subset=wrong)  # type: ignore[arg-type]


def test_check_counts_epochs_of_subsets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    write_stream(tmp_path / "web", [125])
    path = tmp_path / "m.yaml"
    path.write_text(
        "name: m\nsamples: 100\nstreams:\n  web: {local: web, subset: 25}\n  far: {remote: 's3://b/far', subset: 10}\n"
        "phases: [{until: 1, weights: {web: 1, far: 1}}]\n"
    )
    assert check(path, as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert {name: gift["epochs"] for name, gift in found["total"]["streams"].items()} == {"web": 2.0, "far": 5.0}
    assert found["streams"]["web"]["subset"] == 25
    assert check(path) == 0
    shown = capsys.readouterr().out
    assert "25 of 125" in shown and "10 of unknown" in shown


# -- the study ----------------------------------------------------------------------------------------------------------

STUDY = """\
name: small
streams:
  web: {local: web}
  code: {local: code}
length: {samples: 1280}
target: {samples: 6400}
probes: [{name: s, family: succession, builtin: 'testbed:succession', floor: 0.1}]
"""
STREAM_SIZES = {"web": 1250, "code": 200}


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    write_stream(tmp_path / "web", [1000, 250], tokens_per_sample=64)
    write_stream(tmp_path / "code", [200], tokens_per_sample=64)
    path = tmp_path / "small.yaml"
    path.write_text(STUDY)
    return path


def test_runs_of_a_study_play_one_subset_and_the_winner_all(study_file: Path) -> None:
    plain = load_study(study_file)
    study = with_target(plain, STREAM_SIZES, None)
    assert subset_sizes(plain, STREAM_SIZES, None) == {"web": 250, "code": 40}
    phases = controls.static(study.shares(STREAM_SIZES))
    mix = study.mix("static", phases, order=Order(kind="sequential"))
    assert [stream.subset for stream in mix.streams.values()] == [Subset(samples=250), Subset(samples=40)]
    assert study.shares(STREAM_SIZES) == plain.shares(STREAM_SIZES)
    probe = ProbeSpecification(name="s", family="succession", builtin="testbed:succession", floor=0.1)
    met = []
    for seed in (1, 2):
        request = RunRequest(label="a", mix=mix, seed=seed, samples=1280, recipe=study.recipe, probes=(probe,))
        plan = request.played_mix().plan(STREAM_SIZES)
        streams, _, samples = plan[np.arange(1280)]
        met.append([np.unique(samples[streams == index]).tolist() for index in (0, 1)])
    assert met[0] == met[1] and [len(samples) for samples in met[0]] == [250, 40]
    assert without_target(mix, study) == plain.mix("static", phases, order=Order(kind="sequential"))
    untouched = replace(plain, target=None)
    own = replace(untouched, streams={**plain.streams, "web": replace(plain.streams["web"], subset=Subset(samples=9))})
    assert with_target(own, STREAM_SIZES, None) is own
    assert without_target(own.mix("m", phases), own).streams["web"].subset == Subset(samples=9)


@settings(max_examples=60)
@given(st.integers(1, 10**7), st.integers(1, 10**4), st.lists(st.integers(1, 10**9), min_size=1, max_size=4), st.data())
def test_a_proxy_repeats_streams_as_often_as_its_target(
    length: int, factor: int, sizes: list[int], data: st.DataObject
) -> None:
    full_run = data.draw(st.integers(length, length * factor))
    named = {f"s{index}": size for index, size in enumerate(sizes)}
    study = Study(
        path=Path("gone.yaml"),
        name="s",
        streams={name: Stream(local=f"/{name}") for name in named},
        samples=length,
        probes=(),
        target=Target(samples=full_run),
    )
    small = [name for name, size in named.items() if round(size * length / full_run) < min(16, size)]
    if small:
        with pytest.raises(UserError, match=f"stream '{small[0]}' has .* may be played"):
            subset_sizes(study, named, None)
        return
    for name, count in subset_sizes(study, named, None).items():
        assert length / count == pytest.approx(full_run / named[name], rel=0.5 / count + 1e-12)
        assert count <= named[name]


def test_a_target_is_part_of_what_a_study_is(study_file: Path) -> None:
    study = load_study(study_file)
    assert study.canonical()["target"] == {"samples": 6400, "tokens": None}
    without = replace(study, target=None).canonical()
    assert "target" not in without and "subset" not in without["streams"]["web"]
    assert with_target(study, STREAM_SIZES, None).canonical()["streams"]["web"]["subset"] == {"samples": 250, "seed": 0}
    in_tokens = replace(study, target=Target(tokens=6400 * 64 + 63))
    assert subset_sizes(in_tokens, STREAM_SIZES, 64) == {"web": 250, "code": 40}
    equal = replace(study, target=Target(samples=1280))
    assert with_target(equal, STREAM_SIZES, None).streams == study.streams


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("{samples: 6400}", "{samples: 1279}", 6, "fewer than the 1,280 of a proxy run"),
        ("{samples: 6400}", "{samples: 6400, tokens: 1}", 6, "one of the two"),
        ("{samples: 6400}", "{}", 6, "one of the two"),
        ("{samples: 6400}", "{steps: 5}", 6, "unknown key 'steps'"),
        ("{samples: 6400}", "{tokens: 1k}", 6, "has 15 samples of 64 tokens, fewer than the 1,280 of a proxy run"),
        ("{samples: 6400}", "{samples: 20k}", 6, "'code' has 200 samples; .*only 13 of them.*length.samples to 2,560 or more"),
        ("{local: code}", "{local: code, subset: 90}", 4, "'code' has a subset of its own"),
        ("{local: code}", "{local: code, order: {by: x}}", 4, "the scored order of stream 'code'"),
    ],
)
def test_a_target_that_cannot_be_is_refused_at_its_line(study_file: Path, old: str, new: str, line: int, message: str) -> None:
    study_file.write_text(STUDY.replace(old, new))
    with pytest.raises(FileError, match=rf"small\.yaml:{line}: .*{message}"):
        check(study_file)


def test_the_way_out_of_a_small_subset_is_one(study_file: Path) -> None:
    study_file.write_text(STUDY.replace("6400", "20k").replace("1280", "2560"))
    assert subset_sizes(load_study(study_file), STREAM_SIZES, None)["code"] == 26


def test_a_stream_of_a_few_samples_is_played_whole_or_refused_without_an_impossible_way_out(study_file: Path) -> None:
    tiny = STREAM_SIZES | {"code": 10}
    study_file.write_text(STUDY.replace("6400", "1280"))
    assert subset_sizes(load_study(study_file), tiny, None)["code"] == 10
    study_file.write_text(STUDY)
    with pytest.raises(FileError, match="say nothing; merge the stream"):
        subset_sizes(load_study(study_file), tiny, None)


def test_tokens_that_are_not_known_are_said(study_file: Path) -> None:
    (study_file.parent / "code" / "manifest.json").write_text('{"tokens_per_sample": 32}')
    study_file.write_text(STUDY.replace("{samples: 6400}", "{tokens: 1M}"))
    with pytest.raises(FileError, match=r"small\.yaml:6: target: .*the same for all streams.*target: \{samples: N\}"):
        check(study_file)


@pytest.mark.parametrize("exposure", ["fixed", "free"])
def test_check_shows_epochs_of_proxy_and_target(study_file: Path, capsys: pytest.CaptureFixture[str], exposure: str) -> None:
    text = STUDY + "proxy: {command: 'python train.py {mix} {seed} {out}'}\n"  # which reads probes of its own
    study_file.write_text(f"exposure: {exposure}\nexposure_shares: {{web: 1, code: 1}}\n{text}")
    assert check(study_file, as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["target_samples"] == 6400
    code = found["streams"]["code"]
    assert (code["played"], code["epochs"], code["target_epochs"]) == (40, 16.0, 16.0)
    assert check(study_file) == 0
    shown = capsys.readouterr().out
    assert "target epochs" in shown and "40 of 200" in shown and shown.count("16.00") == 2
    assert ("natural mix" in shown) == (exposure == "free")
    study_file.write_text(text.replace("target: {samples: 6400}\n", "exposure_shares: {web: 1, code: 1}\n"))
    assert check(study_file) == 0
    shown = capsys.readouterr().out
    assert "target" not in shown and "3.20" in shown and "40 of" not in shown
