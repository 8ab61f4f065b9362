"""What a search tries first after a scan: curricula of the study's own exposure, told like any trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow.parquet import write_table
from test_search_end_to_end import STUDY
from test_trial_loop import Here, runner_of

from curriculum.errors import FileError
from curriculum.search.proposals import Proposals
from curriculum.search.scan_start import read_pulls, scan_start, suggested_curricula, with_scan
from curriculum.search.space import SLICES, SearchSpace
from curriculum.search.study_file import load_study
from curriculum.search.trial_loop import TrialLoop

SHARES = {"a": 0.2, "b": 0.3, "c": 0.5}


def write_scores(path: Path, streams: dict[str, list[float]], **more: list[int]) -> Path:
    names = [name for name, scores in streams.items() for _ in scores]
    starts = [10 * place for scores in streams.values() for place in range(len(scores))]
    columns: dict[str, Any] = {"stream": names, "start": starts, "stop": [start + 10 for start in starts]}
    write_table(pa.table({**columns, "score": [score for scores in streams.values() for score in scores], **more}), path)
    return path


@settings(max_examples=60)
@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=7),
    st.lists(st.integers(1, 50), min_size=7, max_size=7),
)
def test_every_suggestion_has_the_studys_exposure(pulls: list[float], weights: list[int]) -> None:
    names = [f"s{number}" for number in range(len(pulls))]
    total = sum(weights[: len(names)])
    shares = {name: weight / total for name, weight in zip(names, weights, strict=False)}
    found = suggested_curricula(dict(zip(names, pulls, strict=True)), shares, SLICES)
    assert (not found) == (len(set(pulls)) == 1)
    for matrix in found.values():
        assert matrix.shape == (SLICES, len(names))
        assert np.allclose(matrix.sum(axis=1), 1)
        assert np.allclose(matrix.mean(axis=0), list(shares.values()), atol=1e-6)


def test_the_strongest_pulls_come_first_are_held_and_in_the_rising_one_come_last() -> None:
    found = suggested_curricula({"a": 0.9, "b": 0.5, "c": 0.1}, SHARES, 10)
    first, falling, rising = (found[name] for name in ("scan-first", "scan-falling", "scan-rising"))
    assert np.allclose(first[0], first[2])
    assert np.allclose(first[3], first[9])
    assert first[0, 0] > 0.35
    assert first[9, 0] < 0.2
    assert first[0, 2] < 0.25
    assert first[9, 2] > 0.5
    assert (np.diff(falling[:, 0]) < 0).all()
    assert np.allclose(rising, falling[::-1])


def test_only_the_order_of_pulls_counts_and_a_stream_without_a_share_does_not() -> None:
    one = suggested_curricula({"a": 0.9, "b": 0.5, "c": 0.1}, SHARES, 10)["scan-first"]
    other = suggested_curricula({"a": 0.012, "b": 0.011, "c": 0.0}, SHARES, 10)["scan-first"]
    assert np.allclose(one, other)
    assert suggested_curricula({"a": 0.4, "b": 0.9, "c": 0.4}, {"a": 0.5, "b": 0.0, "c": 0.5}, 10) == {}


def test_pulls_are_those_of_the_counts_or_the_mean_score_of_a_sample(tmp_path: Path) -> None:
    plain = write_scores(tmp_path / "plain.parquet", {"a": [0.2, 0.4], "b": [1.0]})
    assert read_pulls(plain, ["a", "b"]) == pytest.approx({"a": 0.3, "b": 1.0})
    counts = {"general": [1, 8, 0], "shallow": [9, 2, 0]}
    counted = write_scores(tmp_path / "counted.parquet", {"a": [0.2, 0.4], "b": [0.7]}, **counts)
    assert read_pulls(counted, ["b", "a"]) == pytest.approx({"a": 9 / 20, "b": 0.7})  # b has no evidence: its score


def test_what_is_no_scan_of_the_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="curriculum scan"):
        read_pulls(tmp_path / "none.parquet", ["a"])
    (tmp_path / "text").write_text("no parquet")
    with pytest.raises(FileError, match="Parquet"):
        read_pulls(tmp_path / "text", ["a"])
    with pytest.raises(FileError, match=r"'c'.*a, b.*together"):
        read_pulls(write_scores(tmp_path / "s.parquet", {"a": [0.2], "b": [0.1]}), ["a", "c"])
    with pytest.raises(FileError, match="not a finite number"):
        read_pulls(write_scores(tmp_path / "s.parquet", {"a": [float("nan")]}), ["a"])
    write_table(pa.table({"stream": ["a"], "score": [0.1]}), tmp_path / "s.parquet")
    with pytest.raises(FileError, match="'start' is missing"):
        read_pulls(tmp_path / "s.parquet", ["a"])
    for score, words in (("high", "wanted numbers"), (None, "not a finite number")):
        write_table(pa.table({"stream": ["a"], "start": [0], "stop": [2], "score": [score]}), tmp_path / "s.parquet")
        with pytest.raises(FileError, match=words):
            read_pulls(tmp_path / "s.parquet", ["a"])


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    (tmp_path / "plain.yaml").write_text(STUDY)
    names = list(load_study(tmp_path / "plain.yaml").streams)
    return write_scores(tmp_path / "scores.parquet", {name: [1.0 / (1 + place)] for place, name in enumerate(names)})


def test_a_study_file_may_name_a_scan_and_one_without_stays_what_it_was(tmp_path: Path, scores: Path) -> None:
    plain = load_study(tmp_path / "plain.yaml")
    assert "scan" not in plain.canonical()["search"]
    search = next(line for line in STUDY.splitlines() if line.startswith("search:"))
    started = search.replace("{", "{start: {scan: scores.parquet}, ", 1)
    (tmp_path / "started.yaml").write_text(STUDY.replace(search, started))
    study = load_study(tmp_path / "started.yaml")
    assert study.search.scan == scores
    assert study.canonical() == with_scan(plain, scores).canonical()
    moved = tmp_path / "moved.parquet"
    moved.write_bytes(scores.read_bytes())
    assert with_scan(plain, moved).canonical() == study.canonical()
    write_scores(moved, {name: [0.5] for name in plain.streams})
    assert with_scan(plain, moved).canonical() != study.canonical()
    scores.unlink()
    with pytest.raises(FileError, match="no such file"):
        load_study(tmp_path / "started.yaml")


def test_the_suggestions_are_the_first_trials_and_can_be_played(tmp_path: Path, scores: Path) -> None:
    study = with_scan(load_study(tmp_path / "plain.yaml"), scores)
    runner = runner_of(study, Here(tmp_path))
    proposals = Proposals(study, runner.space, tmp_path)
    loop = TrialLoop(runner=runner, proposals=proposals, reference=None)  # type: ignore[arg-type]
    proposals.enqueue(loop._baselines())
    tried = [proposals.propose(number) for number in range(4)]
    assert [proposal.name for proposal in tried] == [
        *(f"trial-{number} (near scan-{shape})" for number, shape in enumerate(("first", "falling", "rising"))),
        "trial-3 (near static)",
    ]
    first = next(iter(study.streams))
    weights = [phase.weights[first] / sum(phase.weights.values()) for phase in tried[0].phases]
    assert weights[0] > weights[-1]
    mixes = {proposal.name: study.mix(proposal.name, proposal.phases) for proposal in tried}
    runner.check_exposure({"static": runner.static, **mixes})


def test_without_a_scan_nothing_is_suggested(tmp_path: Path, scores: Path) -> None:
    study = load_study(tmp_path / "plain.yaml")
    shares = study.shares(dict.fromkeys(study.streams, 1000))
    assert scan_start(study, shares, SLICES) == {}
    assert SearchSpace(study, shares).streams == list(study.streams)
