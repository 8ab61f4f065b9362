"""The scan's counts against a loop over tokens, followers from a sample, pulls and their intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum.attribution import scan_followers
from curriculum.attribution.conflict_counts import COLUMNS, STRIDES, Batch, count_conflicts
from curriculum.attribution.scan_followers import Followers, sampled_ranges, shared_pairs
from curriculum.attribution.scan_pull import PRIOR, StreamCounts, interval, stream_pull, window_scores
from curriculum.errors import DataError

Tokens = npt.NDArray[np.int32]


def batch_of(rows: Sequence[Sequence[int]], masks: Sequence[Sequence[int]] | None = None) -> Batch:
    tokens = np.asarray(rows, np.int32)
    return Batch(tokens=tokens, targets=np.ones(tokens.shape, np.bool_) if masks is None else np.asarray(masks, np.bool_))


def counted(
    rows: Sequence[Sequence[int]], followers: Sequence[int], masks: Sequence[Sequence[int]] | None = None
) -> dict[str, int]:
    found = count_conflicts(batch_of(rows, masks), np.asarray(followers, np.int32)).sum(axis=0)
    return dict(zip(COLUMNS, found.tolist(), strict=True))


def by_loop(row: Sequence[int], mask: Sequence[bool], followers: Sequence[int]) -> list[int]:
    """Count as the definition says it, token by token."""
    found = Counter[str]()
    followed_by: dict[int, int] = {}
    for place in range(1, len(row)):
        before, truth = row[place - 1], row[place]
        likely, said = followers[before], followed_by.get(before)
        if mask[place] and likely >= 0:
            shown = [(row[place - 2 * s], row[place - s]) for s in range(1, STRIDES + 1) if place >= 2 * s]
            patterns = {second + second - first for first, second in shown if second - first in (0, 1)}
            reader, parrot = said == truth, likely == truth or truth in patterns
            found["targets"] += 1
            found["conflicts"] += said is not None and said != likely
            found["conflict_b"] += reader and said != likely
            found["conflict_c"] += likely == truth and said is not None and said != likely
            found["general"] += reader and not parrot
            found["shallow"] += parrot and not reader
        followed_by[before] = truth
    return [found[column] for column in COLUMNS]


@settings(max_examples=120)
@given(st.data())
def test_counts_are_those_of_a_loop_over_tokens(data: st.DataObject) -> None:
    largest = data.draw(st.sampled_from([2, 5, 40, 70_000]))
    rows, length = data.draw(st.integers(1, 6)), data.draw(st.integers(2, 40))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    tokens = np.minimum(random.geometric(0.3, (rows, length)) * random.integers(1, 3), largest).astype(np.int32)
    if data.draw(st.booleans()):
        tokens[random.random(tokens.shape) < 0.1] = largest
    followers = random.integers(-1, largest + 1, largest + 2).astype(np.int32)
    targets = np.asarray(random.random(tokens.shape) < data.draw(st.sampled_from([0.3, 1.0])))
    found = count_conflicts(Batch(tokens=tokens, targets=targets), followers)
    wanted = [by_loop(row, mask, followers.tolist()) for row, mask in zip(tokens.tolist(), targets.tolist(), strict=True)]
    assert found.tolist() == wanted


def test_batches_too_large_for_32_bits_are_counted_alike() -> None:
    random = np.random.default_rng(5)
    tokens = (70_000 * random.random((600, 64)) ** 8).astype(np.int32)
    followers = random.integers(-1, 40, 70_001).astype(np.int32)
    found = count_conflicts(Batch(tokens=tokens, targets=np.ones(tokens.shape, np.bool_)), followers)
    assert found.tolist() == [by_loop(row, [True] * 64, followers.tolist()) for row in tokens.tolist()]


def test_a_token_that_the_context_alone_foretells_is_general() -> None:
    found = counted([[1, 2, 7, 9, 1, 2]], [0, 5, 0, 0, 0, 0, 0, 0, 0, 0])  # the corpus says 1 5
    assert (found["general"], found["shallow"], found["conflicts"], found["conflict_b"]) == (1, 0, 1, 1)


def test_a_token_that_the_corpus_alone_foretells_is_shallow_where_the_key_is_new_too() -> None:
    new, contradicted = (
        counted([[1, 5, 9]], [-1, 5, -1, -1, -1, -1, -1, -1, -1, -1]),
        counted([[1, 2, 9, 1, 5]], [-1, 5] + [-1] * 8),
    )
    assert (new["general"], new["shallow"], new["conflicts"]) == (0, 1, 0)
    assert (contradicted["general"], contradicted["shallow"], contradicted["conflict_c"]) == (0, 1, 1)


def test_what_both_foretell_counts_for_neither() -> None:
    found = counted([[1, 2, 9, 1, 2]], [-1, 2] + [-1] * 8, [[0, 0, 0, 0, 1]])
    assert (found["targets"], found["general"], found["shallow"]) == (1, 0, 0)


@pytest.mark.parametrize("step", [0, 1])
def test_going_on_with_a_pattern_is_shallow_even_where_the_context_says_the_same(step: int) -> None:
    key = 90
    answers = [20, 20 + step, 20 + 2 * step]
    row = [key if step == 0 else 91 + n for n in range(3)]
    rows = [[token for pair in zip(row, answers, strict=True) for token in pair]]
    found = counted(rows, [50] * 100, [[0, 0, 0, 0, 0, 1]])
    assert (found["targets"], found["general"], found["shallow"]) == (1, 0, step)  # step 0: the reader is right as well


def test_only_targets_after_tokens_with_a_known_follower_count() -> None:
    assert counted([[1, 5, 1, 5]], [-1] * 6)["targets"] == 0
    assert counted([[1, 5, 1, 5]], [0, 5, 0, 0, 0, 0], [[1, 0, 0, 1]])["targets"] == 1


def test_samples_do_not_see_each_other() -> None:
    assert counted([[1, 2, 3, 4], [1, 2, 3, 4]], [0] * 5)["conflicts"] == 0


def test_tokens_of_a_wrong_size_are_refused() -> None:
    with pytest.raises(DataError, match="token_dtype"):
        batch_of([[1, -1]])
    with pytest.raises(DataError, match="16,777,215"):
        batch_of([[1, 2**24]])


# Followers.


def followers_of(*streams: Sequence[Sequence[int]]) -> list[int]:
    found = Followers()
    for stream in streams:
        found.add(batch_of(stream))
        found.end_stream()
    likely: list[int] = found.likely().tolist()
    return likely


def test_the_most_likely_follower_needs_enough_sightings_and_ties_go_to_the_smaller() -> None:
    often = [[0, 1]] * 12 + [[0, 2]] * 9 + [[3, 5]] * 10 + [[3, 4]] * 10 + [[2, 1]] * 19
    assert followers_of(often) == [1, -1, -1, 4, -1, -1, -1]


def test_streams_weigh_the_same_whatever_their_size() -> None:
    assert followers_of([[0, 1]] * 1000 + [[0, 2]] * 100, [[0, 2]] * 50)[0] == 2


def test_a_token_that_is_no_target_is_no_follower() -> None:
    found = Followers()
    found.add(batch_of([[0, 1, 2]] * 30, [[1, 0, 1]] * 30))
    found.end_stream()
    assert found.likely().tolist() == [-1, 2, -1, -1]


def test_no_pairs_at_all_are_no_followers() -> None:
    assert followers_of([[3]]) == [-1] * 5


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=8), st.integers(0, 4000))
def test_pairs_are_shared_evenly_and_nothing_is_wasted(available: list[int], total: int) -> None:
    found = shared_pairs(available, total)
    assert sum(found) <= total
    assert all(own <= most for own, most in zip(found, available, strict=True))
    assert sum(found) == min(total, sum(available)) or sum(found) > total - len(available)
    short = [own for own, most in zip(found, available, strict=True) if own < most]
    assert not short or max(found) - min(short) <= 1


@given(st.integers(1, 5000), st.integers(1, 6000))
def test_sampled_ranges_lie_apart_and_hold_about_what_was_wanted(samples: int, wanted: int) -> None:
    ranges = list(sampled_ranges(samples, wanted, "stream"))
    edges = [edge for each in ranges for edge in each]
    assert edges == sorted(edges)
    assert edges[0] >= 0
    assert edges[-1] <= samples
    held = sum(stop - start for start, stop in ranges)
    assert held >= 0.5 * min(wanted, samples)
    assert held <= wanted + scan_followers.BLOCKS
    assert ranges == list(sampled_ranges(samples, wanted, "stream"))


# Pulls.


def stream_counts(general: Sequence[int], shallow: Sequence[int], name: str = "s") -> StreamCounts:
    counts = np.zeros((len(general), len(COLUMNS)), np.int64)
    counts[:, COLUMNS.index("general")], counts[:, COLUMNS.index("shallow")] = general, shallow
    return StreamCounts(name=name, samples=10 * len(general) - 3, window=10, tokens=0, counts=counts)


def test_the_interval_is_wilsons_and_widens_with_the_windows_scatter() -> None:
    low, high = interval(np.asarray([10]), np.asarray([30]))
    assert (round(low, 3), round(high, 3)) == (0.142, 0.402)  # of 10 in 40; Brown, Cai and DasGupta's formula by hand
    alike, scattered = (
        interval(np.asarray([5] * 20), np.asarray([5] * 20)),
        interval(np.asarray([10, 0] * 10), np.asarray([0, 10] * 10)),
    )
    assert alike[1] - alike[0] < (scattered[1] - scattered[0]) / 2
    assert interval(np.asarray([0, 0]), np.asarray([50, 50]))[1] > 0.01
    assert interval(np.zeros(3, np.int64), np.zeros(3, np.int64)) == (0.0, 1.0)


def test_the_interval_covers_the_truth_where_windows_scatter() -> None:
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(300):
        shares = random.beta(4, 8, 60)
        evidence = random.integers(5, 60, 60)
        general = random.binomial(evidence, shares)
        low, high = interval(general, evidence - general)
        covered += low <= 1 / 3 <= high
    assert 0.9 <= covered / 300 <= 0.985


def test_scores_are_drawn_to_the_streams_pull_and_exist_without_evidence() -> None:
    streams = [stream_counts([30, 0, 0], [10, 0, 40]), stream_counts([0, 0], [0, 0], "none")]
    scores = window_scores(streams)
    pull = 30 / 80
    assert scores[0].tolist() == pytest.approx([(30 + PRIOR * pull) / (40 + PRIOR), pull, PRIOR * pull / (40 + PRIOR)])
    assert scores[1].tolist() == pytest.approx([pull, pull])
    assert window_scores([stream_counts([0], [0])])[0].tolist() == [0.5]
    nothing = stream_pull(streams[1], scores[1])
    assert (nothing.pull, nothing.low, nothing.high, nothing.data_ratio) == (None, 0.0, 1.0, None)
