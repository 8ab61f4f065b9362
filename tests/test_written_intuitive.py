"""The written riddles: answers checked by playing each story through, not by the formula that made it."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

import pytest

from curriculum.probe.authoring import WRITTEN, intuitive
from curriculum.probe.authoring import intuitive_classic as classic
from curriculum.probe.authoring import intuitive_short as short
from curriculum.probe.authoring.riddles import Riddle
from curriculum.probe.authoring.rows import Files, as_text

FILES: Files = intuitive.rows()
INDICES = range(40)


def numbers(text: str) -> list[int]:
    return [int(found) for found in re.findall(r"\d+", text)]


def priced(total: int, difference: int) -> int:
    return next(small for small in range(total) if small + small + difference == total)


def worked(workers: int, minutes: int, things: int, others: int, wanted: int) -> Fraction:
    each = Fraction(workers * minutes, things)
    return each * wanted / others


def half_covered(full: int) -> int:
    area = Fraction(1)
    for day in range(full, 0, -1):
        if area == Fraction(1, 2):
            return day
        area /= 2
    raise AssertionError(full)


def cut(minutes: int, parts: int) -> int:
    pieces, spent = 1, 0
    while pieces < parts:
        pieces, spent = pieces + 1, spent + minutes
    return spent


def posts(length: int, gap: int) -> int:
    return len(range(0, length + 1, gap))


def mean_speed(there: int, back: int) -> Fraction:
    return Fraction(2) / (Fraction(1, there) + Fraction(1, back))


def price_in_the_end(price: int, up: int, down: int) -> Fraction:
    return Fraction(price) * (100 + up) / 100 * (100 - down) / 100


def group(place: int, _same: int) -> int:
    return len([*range(1, place), place, *range(1, place)])


def played(few: int, seconds: int, many: int) -> Fraction:
    pause = Fraction(seconds, few - 1)
    return sum((pause for _ in range(1, many)), Fraction(0))


def climbed(_ground: int, low: int, seconds: int, _again: int, high: int) -> Fraction:
    return played(low, seconds, high)


def last_taken(count: int, pause: int) -> int:
    return list(range(0, count * pause, pause))[-1]


def second_number(_first: int, second: int) -> int:
    return second


def first_number(first: int, _second: int) -> int:
    return first


def aged(then: int, now: int) -> int:
    return now - (then - then // 2)


PLAYED: list[tuple[Callable[[int], Riddle], Callable[..., int | Fraction]]] = [
    (classic.price_difference, priced),
    (classic.rate, worked),
    (classic.cuts, cut),
    (classic.fence_posts, posts),
    (classic.round_trip, mean_speed),
    (classic.up_and_down, price_in_the_end),
    (classic.rank, group),
    (classic.strokes, played),
    (classic.floors, climbed),
    (short.taken, second_number),
    (short.blown_out, second_number),
    (short.at_once, first_number),
    (short.half_my_age, aged),
]


@pytest.mark.parametrize(("shape", "play"), PLAYED, ids=lambda part: part.__name__)
def test_the_right_answer_is_what_happens(shape: Callable[[int], Riddle], play: Callable[..., int | Fraction]) -> None:
    for riddle in map(shape, INDICES):
        # "one egg needs 7 minutes ... 3 eggs" and the like name the numbers in the order in which they are played.
        given = numbers(riddle.question)
        assert int(riddle.correct) == play(*given), riddle


def test_shapes_that_name_a_number_twice() -> None:
    for index in INDICES:
        riddle = classic.doubling(index)
        assert int(riddle.correct) == half_covered(numbers(riddle.question)[0])
        riddle = classic.doses(index)
        assert int(riddle.correct) == last_taken(*numbers(riddle.question))
        riddle = short.all_but(index)
        assert int(riddle.correct) == numbers(riddle.question)[1]
        riddle = short.siblings(index)
        assert int(riddle.correct) == numbers(riddle.question)[0] + 1
        riddle = short.overtaking(index)
        assert f"in {riddle.correct} place" in riddle.question


@pytest.mark.parametrize(
    "shape", [shape.riddle for shape in (*classic.CLASSIC, *short.SHORT)], ids=lambda shape: shape.__name__
)
def test_the_hint_gives_the_right_answer_last(shape: Callable[[int], Riddle]) -> None:
    for riddle in map(shape, INDICES):
        assert riddle.hint.removesuffix(".").endswith(riddle.correct), riddle
        assert riddle.correct != riddle.intuitive


def plain_sum(question: str) -> set[int]:
    first, second = numbers(question)
    return {first + second, first - second, first * second}


@pytest.mark.parametrize("shape", [shape.plain for shape in (*classic.CLASSIC, *short.SHORT)], ids=lambda shape: shape.__name__)
def test_plain_stories_are_one_step(shape: Callable[[int], Riddle]) -> None:
    for riddle in map(shape, INDICES):
        assert riddle.correct != riddle.intuitive
        if riddle.correct.isdigit():
            assert int(riddle.correct) in plain_sum(riddle.question), riddle


def test_the_files_are_what_the_program_writes() -> None:
    committed = {path: (WRITTEN / path).read_text(encoding="utf-8") for path in FILES}
    assert committed == {path: as_text(path, rows) for path, rows in FILES.items()}
    written = {f"intuitive_answer/{path.name}" for path in (WRITTEN / "intuitive_answer").iterdir()}
    assert written == set(FILES)


@pytest.mark.parametrize("path", FILES)
def test_rows_are_well_formed(path: str) -> None:
    prompts = [str(row["prompt"]) for row in FILES[path]]
    assert len(prompts) == len(set(prompts)) >= 120
    assert all(prompt.startswith("Q: ") and prompt.endswith("\nA:") for prompt in prompts)
    for row in FILES[path]:
        assert row["correct_answer"] and row["incorrect_answer"]
        assert row["correct_answer"] != row["incorrect_answer"]


def test_a_task_and_its_control_share_no_question() -> None:
    for path, rows in FILES.items():
        if path.endswith(".control.jsonl"):
            traps = {row["prompt"] for row in FILES[path.replace(".control", "")]}
            assert not traps & {row["prompt"] for row in rows}
