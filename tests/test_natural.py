"""The natural testbed without its texts: items are what they say, practice too, and missing data is told with its way out."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from curriculum.commands.check import check
from curriculum.errors import DataError, FileError, UserError
from curriculum.proxy.sizes import Size, parse_sizes, resized, with_start
from curriculum.proxy.training import first_model
from curriculum.search.runner import stream_sizes
from curriculum.search.study_file import load_study
from curriculum.streaming.documents import hash_file
from curriculum.streaming.packing import PackSettings, pack_sources
from curriculum.streaming.tokenizer import load_tokenizer, train_tokenizer

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "examples" / "natural"), str(ROOT / "examples" / "real_text")]

import made  # noqa: E402
import practice  # noqa: E402
import prepare  # noqa: E402
import text_families  # noqa: E402
import text_items  # noqa: E402
from probes import Corpus, read_stream  # noqa: E402

WORDS = [f"{a}{b}" for a in ("ka", "lo", "mi", "su", "te", "vor", "zan", "pel") for b in ("", "ra", "n", "kil", "pos", "de")]

SMALL = Size(name="8K", parameters=8_000)


def document(random: np.random.Generator) -> str:
    """Words with a favourite follower, of half of them a strong one, and others that follow in this document alone."""
    local = dict(zip(WORDS, random.permutation(WORDS), strict=True))
    word, text = "ka", []
    for _ in range(140):
        place = WORDS.index(word)
        usual = 0.35 if place % 2 else 0.09
        draw = random.random()
        word = WORDS[(place * 5 + 1) % len(WORDS)] if draw < usual else local[word] if draw < 0.6 else str(random.choice(WORDS))
        text.append(word)
    return " ".join(text) + "\n"


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("natural")
    found = {}
    texts = {
        name: [document(np.random.default_rng([seed, n])) for n in range(400)] for seed, name in enumerate(("east", "west"))
    }
    tokenizer = train_tokenizer((text for group in texts.values() for text in group), 400, folder / "tokenizer.json")
    for name, group in texts.items():
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in group))
        settings = PackSettings(name=name, heldout=0.3, sequence_length=64)
        found[name] = pack_sources([str(path)], folder / name, settings, tokenizer=tokenizer).folder
    return found


@pytest.fixture(scope="module")
def files(streams: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return text_items.make_items(streams, tmp_path_factory.mktemp("items"), items=40)


@pytest.fixture(scope="module")
def corpus(streams: dict[str, Path]) -> Corpus:
    tokenizer = load_tokenizer(streams["east"] / "tokenizer.json")
    assert tokenizer.end_of_text is not None
    texts = {name: read_stream(folder)[1] for name, folder in streams.items()}
    return Corpus(texts, tokenizer.vocabulary, tokenizer.end_of_text)


def rows(path: Path) -> Iterator[tuple[list[int], int, int]]:
    for line in path.read_text().splitlines():
        row = json.loads(line)
        yield row["prompt"], row["correct_answer"][0], row["incorrect_answer"][0]


def lines_of(prompt: list[int]) -> list[tuple[int, int]]:
    """The (name, value) lines of a list before the name that is asked for."""
    newline = prompt[0]
    assert prompt[-2] == newline and len(prompt) % 3 == 2
    assert prompt[:-2:3] == [newline] * (len(prompt) // 3)
    return list(zip(prompt[1:-2:3], prompt[2:-2:3], strict=True))


def test_every_family_and_level_has_as_many_items_as_wanted(files: dict[str, Path]) -> None:
    assert len(files) == 2 * sum(text_families.LEVELS.values())
    for path in files.values():
        items = list(rows(path))
        assert len({tuple(prompt) for prompt, _, _ in items}) == len(items) == 40
        assert all(len(prompt) <= 48 and 0 not in prompt and correct != shallow for prompt, correct, shallow in items)


@pytest.mark.parametrize("level", [1, 2])
def test_induction_sets_the_context_against_the_favourite(files: dict[str, Path], corpus: Corpus, level: int) -> None:
    least, most = text_families.TEMPTATION[level - 1]
    for prompt, correct, shallow in rows(files[f"induction-{level}"]):
        followers = [after for before, after in pairwise(prompt) if before == prompt[-1]]
        assert followers[-1] == correct and shallow not in followers
        assert shallow == corpus.follower[prompt[-1]] and least <= corpus.share[prompt[-1], shallow] < most
    for prompt, correct, shallow in rows(files[f"induction-{level}-control"]):
        assert prompt[-1] not in prompt[:-1] and correct == corpus.follower[prompt[-1]]
        assert not {correct, shallow} & set(prompt)
        assert corpus.share[prompt[-1], shallow] < 0.1 * corpus.share[prompt[-1], correct]


@pytest.mark.parametrize("level", [1, 2])
def test_a_passage_was_quoted_before_and_its_control_tempts_nowhere_else(
    files: dict[str, Path], corpus: Corpus, level: int
) -> None:
    shown = text_families.SHOWN_AGAIN[level - 1]
    for kind in ("", "-control"):
        for prompt, correct, shallow in rows(files[f"passage-{level}{kind}"]):
            quoted = [*prompt[-shown:], correct]
            assert sum(prompt[at : at + shown + 1] == quoted for at in range(len(prompt) - shown)) == 1
            assert shallow not in prompt
            assert corpus.follower[prompt[-1]] == (correct if kind else shallow)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_name_is_bound_again_and_in_the_control_others_bore_the_value(files: dict[str, Path], level: int) -> None:
    given = text_families.FIRST_VALUE[level - 1]
    for prompt, correct, shallow in rows(files[f"rebinding-{level}"]):
        assert [value for name, value in lines_of(prompt) if name == prompt[-1]] == [shallow] * given + [correct]
    for prompt, correct, shallow in rows(files[f"rebinding-{level}-control"]):
        assert [value for name, value in lines_of(prompt) if name == prompt[-1]] == [correct]
        assert [value for _, value in lines_of(prompt)].count(shallow) == given


@pytest.mark.parametrize("level", [1, 2, 3])
def test_two_names_end_alike_and_in_the_control_they_do_not(files: dict[str, Path], level: int) -> None:
    after = text_families.OTHER_NAME[level - 1]
    for kind in ("", "-control"):
        for prompt, correct, shallow in rows(files[f"binding-{level}{kind}"]):
            assert prompt.count(correct) == 1 and prompt.count(shallow) == max(1, after)
            right, wrong = prompt.index(correct), prompt.index(shallow)
            assert prompt[right - 2 : right] == prompt[-2:] and prompt[wrong - 2] != prompt[-2]
            assert (prompt[wrong - 1] == prompt[-1]) == (not kind)
            assert (wrong < right) == (after == 0)


def test_items_are_made_once_and_again_for_other_streams(streams: dict[str, Path], files: dict[str, Path]) -> None:
    out = next(iter(files.values())).parent
    before = {path: (path.stat().st_mtime_ns, path.read_text()) for path in files.values()}
    assert text_items.make_items(streams, out, items=40) == files
    assert {path: (path.stat().st_mtime_ns, path.read_text()) for path in files.values()} == before
    other = text_items.make_items(streams, out.with_name("other"), items=40, seed=1)
    assert all(other[name].read_text() != path.read_text() for name, path in files.items())
    lost, cut = other["passage-1"], other["binding-2-control"]
    whole = lost.read_bytes(), cut.read_bytes()
    lost.unlink()
    cut.write_bytes(whole[1][:100])
    text_items.make_items(streams, out.with_name("other"), items=40, seed=1)
    assert (lost.read_bytes(), cut.read_bytes()) == whole


def test_too_little_heldout_text_is_refused(streams: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"east: wanted \d+ induction-\d.* items, found \d+ in \d+ held-out"):
        text_items.make_items(streams, tmp_path, items=40_000)


def test_practice_shows_what_it_asks_for(streams: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(practice, "PRACTICE", 60)
    folder = practice.make_practice(tmp_path / "practice", streams)
    tokens = read_stream_rows(folder)
    assert tokens.shape == (60, 64)
    quotations, names, lists = (tokens[np.arange(60) // 2 % 3 == kind] for kind in range(3))
    assert all(repeated_run(row.tolist()) >= 3 for row in quotations)
    assert all(max(np.bincount(row)) >= 8 for row in names)  # eight mentions end in one word
    assert all(len(set(row[::3].tolist())) == 1 and len(set(row[1::3].tolist())) <= 8 for row in lists)
    stamp = (folder / "index.json").stat().st_mtime_ns
    assert practice.make_practice(folder, streams) == folder and (folder / "index.json").stat().st_mtime_ns == stamp


def test_practice_is_made_again_when_its_rules_changed_or_a_shard_was_lost(
    streams: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(practice, "PRACTICE", 60)
    folder = practice.make_practice(tmp_path / "practice", streams)
    shard, index = folder / "shard.00000.mds", folder / "index.json"
    whole, digest, stamp = shard.read_bytes(), index.read_bytes(), index.stat().st_mtime_ns

    shard.unlink()
    assert practice.make_practice(folder, streams) == folder and shard.read_bytes() == whole
    shard.write_bytes(whole[:-1])
    practice.make_practice(folder, streams)
    assert (shard.read_bytes(), index.read_bytes()) == (whole, digest)

    stamp = index.stat().st_mtime_ns
    (folder / made.RECORD).unlink()  # as from before there was one: the same bytes come out, and lie as they lay
    practice.make_practice(folder, streams)
    assert index.stat().st_mtime_ns == stamp and (folder / made.RECORD).exists()

    monkeypatch.setattr(made, "hash_file", lambda path: "edited" if path.name == "practice.py" else hash_file(path))
    practice.make_practice(folder, streams)  # an edit that changes no sample
    assert index.stat().st_mtime_ns == stamp and index.read_bytes() == digest
    monkeypatch.setattr(made, "hash_file", lambda path: "again" if path.name == "practice.py" else hash_file(path))
    monkeypatch.setattr(practice, "_CHANGES", 0.9)
    practice.make_practice(folder, streams)
    assert index.read_bytes() != digest and shard.read_bytes() != whole


def read_stream_rows(folder: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    from curriculum.streaming import StreamingDataset

    dataset = StreamingDataset(local=str(folder), batch_size=1)
    samples = dataset.__getitems__(np.arange(dataset.num_samples))
    found = np.stack([np.asarray(sample["tokens"], dtype=np.int64) for sample in samples])
    dataset.close()
    return found


def repeated_run(row: list[int]) -> int:
    """The longest run of tokens that stands in the row twice without overlap."""
    length = 1
    while any(
        row[at : at + length] == row[other : other + length] for at in range(64) for other in range(at + length, 65 - length)
    ):
        length += 1
    return length - 1


@pytest.fixture
def without_data(tmp_path: Path) -> Path:
    """The study's file where nothing was prepared."""
    path = tmp_path / "search" / "natural.yaml"
    path.parent.mkdir()
    path.write_text((ROOT / "search/natural.yaml").read_text())
    return path


def test_data_that_is_not_there_is_told_with_what_makes_it(without_data: Path) -> None:
    study = load_study(without_data)  # its form is checked all the same
    with pytest.raises(DataError, match=r"stream 'code'.*python examples/natural/prepare.py"):
        stream_sizes(study)
    with pytest.raises(FileError, match=r"natural.yaml:\d+: stream 'code'.*python examples/natural/prepare.py") as caught:
        check(without_data)
    assert caught.value.line == 1 + without_data.read_text().splitlines().index(
        "  code: {local: ../examples/natural/data/streams/code}"
    )
    assert (ROOT / "examples/natural/prepare.py").exists()


def test_what_makes_the_data_does_not_decide_the_result(without_data: Path) -> None:
    study = load_study(without_data)
    assert study.prepare and replace(study, prepare=None).canonical() == study.canonical()
    error = DataError("gone")
    assert replace(study, prepare=None).way_out(error) is error


def test_the_study_asks_graded_families_beside_their_controls(without_data: Path) -> None:
    study = load_study(without_data)
    assert len(study.streams) >= 6 and len({probe.family for probe in study.probes}) >= 3
    for probe in study.probes:
        family, level = probe.name.rsplit("-", 1)
        assert probe.family == family and 1 <= int(level) <= text_families.LEVELS[family]
        assert probe.file is not None and probe.file.name == f"{probe.name}.jsonl"
        assert probe.control is not None and probe.control.name == f"{probe.name}-control.jsonl"
        assert probe.floor > 0


def test_a_start_is_trained_once_and_lies_where_the_ladder_looks(
    streams: dict[str, Path], files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(practice, "PRACTICE", 96)
    monkeypatch.setattr(prepare, "RECIPE", replace(prepare.RECIPE, width=16, heads=1, batch=16))
    (tmp_path / "probes").symlink_to(files["passage-1"].parent)
    prepare.prepare_start(tmp_path, streams, SMALL, samples=256, items=20)
    assert {path.parent.name for path in tmp_path.glob("starts/*/weights.*")} == {"8K", "8K-earlier"}
    (tmp_path / "starts/8K/mark").touch()
    folder = prepare.prepare_start(tmp_path, streams, SMALL, samples=256, items=20)
    assert (folder / "mark").exists()  # what lies there was not copied again under a run that may be reading it
    assert folder == tmp_path / "starts" / "8K" and len(list(tmp_path.glob("runs/starts/*/run.json"))) == 1
    with pytest.raises(
        UserError, match="8K was made in float32, and bfloat16 is asked for; give --precision float32 to keep it"
    ):
        prepare.check_precision(folder, "bfloat16")
    prepare.check_precision(folder, "float32")
    prepare.check_precision(tmp_path / "starts/none", "bfloat16")
    described = json.loads((folder / "start.json").read_text())
    assert described["samples"] == 256 and described["layers"] * 8 * described["width"] ** 2 == pytest.approx(8_000, rel=0.25)
    assert prepare.gate(folder).count("\n") == sum(text_families.LEVELS.values())
    recipe = with_start(resized(prepare.RECIPE, SMALL), SMALL, f"{tmp_path}/starts/{{size}}")
    assert recipe.start == folder
    vocabulary = load_tokenizer(streams["east"] / "tokenizer.json").vocabulary
    assert sum(weight.numel() for weight in first_model(recipe, seed=0, vocabulary=vocabulary, context=64).parameters()) > 8_000


def test_the_families_of_the_preparation_are_all_there_are() -> None:
    assert prepare.FAMILIES == text_families.LEVELS
    study = load_study(ROOT / "search/natural.yaml")
    same = ("layers", "width", "heads", "batch", "induction_initialisation")
    assert [getattr(study.recipe, name) for name in same] == [getattr(prepare.RECIPE, name) for name in same]
    assert set(study.streams) == set(prepare.DOMAINS)


def settings_of(name: str) -> list[str]:
    return [line for line in (ROOT / f"search/{name}.yaml").read_text().splitlines() if not line.startswith("#")]


def differences(one: list[str], other: list[str]) -> list[tuple[str, str]]:
    return [pair for pair in zip(one, other, strict=True) if pair[0] != pair[1]]


@pytest.mark.parametrize(
    ("base", "name", "added", "changed"),
    [
        ("natural", "natural-free", None, ("exposure: fixed", "exposure: free")),
        ("natural", "natural-loss", None, ("metric: area", "metric: loss")),
        ("natural", "natural-bfloat16", "  precision: bfloat16", None),
        ("natural-loss", "natural-loss-cosine", "  schedule: cosine", None),
        ("natural-bfloat16", "natural-cosine", "  schedule: cosine", None),
    ],
)
def test_a_study_is_another_but_for_its_name_and_one_setting(
    base: str, name: str, added: str | None, changed: tuple[str, str] | None
) -> None:
    settings = settings_of(name)
    if added is not None:
        settings.remove(added)
    (before, after), *rest = differences(settings_of(base), settings)
    assert (before, after) == (f"name: {base}", f"name: {name}") and len(rest) == (changed is not None)
    for old, new in rest:
        assert changed is not None and changed[0] in old and old.replace(*changed) == new


def test_the_study_of_one_family_is_the_coarse_one_but_for_its_name_and_probes() -> None:
    coarse, family = (
        [line for line in settings_of(name) if "control:" not in line and "- {name:" not in line]
        for name in ("natural-bfloat16", "natural-binding")
    )
    assert differences(coarse, family) == [("name: natural-bfloat16", "name: natural-binding")]
    assert {probe.family for probe in load_study(ROOT / "search/natural-binding.yaml").probes} == {"binding"}


def test_the_larger_study_is_the_coarse_one_but_for_its_proxy() -> None:
    pairs = differences(settings_of("natural-bfloat16"), settings_of("natural-larger"))
    assert [before.split(":")[0].strip() for before, _ in pairs] == [
        *("name", "prepare", "layers", "width", "heads", "learning_rate", "start")
    ]
    study, larger = (load_study(ROOT / f"search/{name}.yaml") for name in ("natural-bfloat16", "natural-larger"))
    [size] = parse_sizes("0.3M")
    expected = replace(resized(study.recipe, size), start=larger.recipe.start)
    assert larger.recipe.learning_rate == pytest.approx(expected.learning_rate, rel=1e-5)
    assert larger.recipe == replace(expected, learning_rate=larger.recipe.learning_rate)
