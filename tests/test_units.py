from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.errors import FileError, UserError
from curriculum.units import format_count, format_seconds, keyed_seed, parse_count


@pytest.mark.parametrize(
    ("text", "count"), [("12", 12), ("2_000_000", 2 * 10**6), ("2B", 2 * 10**9), ("1.5k", 1500), ("3T", 3 * 10**12), (7, 7)]
)
def test_counts_are_read(text: str | int, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize("text", ["", "two", "-3", "1.5", "2 B B", "1e6", "nan", "_1"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="wanted a"):
        parse_count(text)


def test_numbers_are_written_for_people() -> None:
    assert [format_count(n) for n in (950, 12_345, 2 * 10**6, 4 * 10**10)] == ["950", "12.35k", "2M", "40B"]
    assert [format_seconds(s) for s in (42, 600, 11_100)] == ["42 s", "10 min", "3 h 5 min"]


@given(st.lists(st.one_of(st.integers(), st.text()), min_size=1, max_size=4))
def test_seeds_depend_on_every_part_and_on_its_type(parts: list[int | str]) -> None:
    seed = keyed_seed(*parts)
    assert 0 <= seed < 2**63 and seed == keyed_seed(*parts)
    assert all(seed != keyed_seed(*parts[:index], 12345678901, *parts[index + 1 :]) for index in range(len(parts)))


def test_seeds_never_change() -> None:
    assert keyed_seed("a", 1) == 2990713671386263668
    assert keyed_seed("a", 1) != keyed_seed("a", "1") != keyed_seed("a1")


def test_file_errors_begin_with_file_and_line() -> None:
    assert str(FileError("wanted x", path="mix.yaml", line=3)) == "mix.yaml:3: wanted x"
