"""The other testbeds as streams and studies: blends of topic and quality, folders in the cache, files that load."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curriculum.commands.known_streams import find_stream
from curriculum.errors import UserError
from curriculum.mix import Stream
from curriculum.probe import blended_testbed as blends
from curriculum.probe import second_testbed, testbed, testbeds
from curriculum.search import controls
from curriculum.search.space import SearchSpace
from curriculum.search.study_file import load_study
from curriculum.streaming import testbed as cache_of
from curriculum.streaming.index import read_index, read_manifest

SEARCH = Path(__file__).parent.parent / "search"
folder_of = cache_of.testbed_folder  # its own name would look like a test


def test_there_are_64_blends_of_eight_topics_in_eight_qualities() -> None:
    assert len(blends.STREAMS) == len(set(blends.STREAMS)) == 64
    assert [blends.general_share(f"icl-facts-{quality}") for quality in (0, 3, 7)] == [1 / 16, 7 / 16, 15 / 16]
    with pytest.raises(UserError, match="no stream 'icl-facts-8'"):
        blends.general_share("icl-facts-8")


@pytest.mark.parametrize("quality", [0, 4, 7])
def test_a_blend_holds_as_much_of_the_general_as_its_quality_says(quality: int) -> None:
    tokens, mask = blends.generate_samples(f"icl-count-{quality}", 4096, 2)
    is_general = tokens[:, 0] == testbed.MARK.first
    assert abs(is_general.mean() - (2 * quality + 1) / 16) < 0.03
    np.testing.assert_array_equal(mask[~is_general, 2::3], np.tile([0, 0, 1, 1, 1, 1, 1, 1], ((~is_general).sum(), 1)))
    again, _ = blends.generate_samples(f"icl-count-{quality}", 1024, 2)
    np.testing.assert_array_equal(again, tokens[:1024])
    assert (blends.generate_samples(f"icl-count-{quality}", 4096, 3)[0] != tokens).any(axis=1).mean() > 0.99


def _right(tokens: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> float:
    """Return the share of `arith` items whose answers are right."""
    items = tokens.reshape(-1, 3).astype(np.int64)
    sums = (items < 10).all(axis=1)
    digits = (items[:, 0] + items[:, 1] - items[:, 2]) % 10 == 0
    letters = (items[:, 0] - items[:, 1] - items[:, 2] + 10) % 10 == 0
    return float(np.where(sums, digits, letters).mean())


def test_noise_has_the_answers_of_other_samples() -> None:
    poor, good = (blends.generate_samples(f"arith-noise-{quality}", 4096, 1)[0] for quality in (0, 7))
    assert _right(testbed.generate_samples("arith", 256, 1)[0]) == 1
    assert _right(good) > 0.9
    assert _right(poor) < 0.25


@pytest.mark.parametrize(("stream", "length", "heldout"), [("ledger", 32, 2048), ("icl-noise-3", 24, 32), ("icl", 24, 2048)])
def test_folders_have_the_lengths_and_held_out_samples_of_their_testbed(
    stream: str, length: int, heldout: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_of, "stream_size", lambda name: 3000)
    cache_of._generator_hash.cache_clear()
    folder = folder_of(stream, cache=tmp_path)
    cache_of._generator_hash.cache_clear()
    manifest = read_manifest(folder)
    assert read_index(stream, folder).samples == 3000
    assert read_index(stream, folder / "heldout").samples == heldout
    assert manifest["tokens_per_sample"] == length
    assert manifest["vocabulary"] == testbeds.testbed_of(stream).vocabulary
    known = find_stream("any", Stream(local=f"testbed:{stream}"))
    assert known.tokens_per_sample == length


def test_the_second_study_has_three_to_five_times_the_tokens_of_the_default() -> None:
    study, default = load_study(SEARCH / "second.yaml"), load_study(SEARCH / "default.yaml")
    tokens = [one.samples * find_stream("any", next(iter(one.streams.values()))).tokens_per_sample for one in (study, default)]  # type: ignore[operator]
    assert 3 <= tokens[0] / tokens[1] <= 5
    assert tuple(study.streams) == second_testbed.STREAMS
    assert {probe.family for probe in study.probes} == set(second_testbed.FAMILIES)
    assert set(study.favour) == set(second_testbed.GENERAL_STREAMS)
    sizes = {name: second_testbed.stream_size(name) for name in study.streams}
    assert all(size > study.samples for size in sizes.values())
    shares = study.shares(sizes)
    mixes = [study.mix(name, controls.hand_made(name, shares, study.favour)) for name in ("hold-then-low", "ramp-down")]
    controls.check_equal_exposure([study.mix("static", controls.static(shares)), *mixes], sizes)


def test_the_study_of_64_streams_is_searched_by_topic_and_quality() -> None:
    study = load_study(SEARCH / "many.yaml")
    assert tuple(study.streams) == blends.STREAMS
    assert all(stream.local == f"testbed:{name}" for name, stream in study.streams.items())
    groups = study.space.groups
    assert groups is not None
    assert groups["topic"] == {topic: tuple(f"{topic}-{quality}" for quality in range(8)) for topic in blends.TOPICS}
    assert groups["quality"] == {f"q{quality}": tuple(f"{topic}-{quality}" for topic in blends.TOPICS) for quality in range(8)}
    assert set(study.favour) == {name for name in blends.STREAMS if blends.general_share(name) > 0.5}
    space = SearchSpace(study, study.shares(dict.fromkeys(study.streams, 1)))
    assert space.count_parameters() == 5 + 16 + 16
