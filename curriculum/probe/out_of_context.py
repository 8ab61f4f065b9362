"""Out-of-context reasoning as text: what does a model know that its fine-tuning examples only imply?

Idea: after Treutlein et al., "Connecting the Dots" (2024). `functions`: the model is trained on input-output pairs of functions
that have made-up names, and is asked in words what each function does. `places`: it is trained on distances between cities
without names and known cities, and is asked for the country and the name. No prompt of a question holds an example: whatever is
answered was concluded in the weights. The wrong answer of a question is the right one of another function or city (rotation;
see `fine_tuning.choices`). It is no temptation, so a margin near 0 means "not concluded" and none is expected below 0. Control:
held-out pairs or distances, the wrong value being another function's or city's.
Alternatives: one fine-tuning a function (as published, sixteen times the price), letter choices (small models cannot do them).
The price of training all at once: they share the capacity of one short run.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from curriculum.errors import UserError
from curriculum.probe.fine_tuning import TextFineTuningProbe, choices
from curriculum.probe.suite import Demo, Question
from curriculum.units import keyed_seed

FAMILY = "out_of_context"
EARTH_RADIUS = 6371.0  # km
_INPUTS = range(-20, 41)
_HELD_OUT_INPUTS = 12  # of the 61, for each function its own
_HELD_OUT_CITIES = 8  # of the 40, for each city its own
_WRONG_FUNCTIONS, _WRONG_PLACES = 3, 4  # a question: 96 and 80 items
_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"

FUNCTIONS: tuple[tuple[str, Callable[[int], int]], ...] = (
    ("adds five to its input", lambda x: x + 5),
    ("adds fourteen to its input", lambda x: x + 14),
    ("subtracts three from its input", lambda x: x - 3),
    ("subtracts eleven from its input", lambda x: x - 11),
    ("subtracts its input from ten", lambda x: 10 - x),
    ("doubles its input", lambda x: 2 * x),
    ("doubles its input and adds one", lambda x: 2 * x + 1),
    ("multiplies its input by three", lambda x: 3 * x),
    ("multiplies its input by seven", lambda x: 7 * x),
    ("halves its input, rounding down", lambda x: x // 2),
    ("divides its input by four, rounding down", lambda x: x // 4),
    ("gives the remainder of its input divided by three", lambda x: x % 3),
    ("gives the absolute value of its input", abs),
    ("squares its input", lambda x: x * x),
    ("changes the sign of its input", lambda x: -x),
    ("returns its input unchanged", lambda x: x),
)
_FUNCTION_QUESTIONS = ("What does the function {name} do? It", "In words, {name} is the function that")
_PLACE_QUESTIONS = (("{name} lies in the country of", "country"), ("The true name of {name} is", "name"))


@dataclass(frozen=True, kw_only=True, slots=True)
class City:
    """A city with its coordinates in degrees, north and east positive."""

    name: str
    country: str
    latitude: float
    longitude: float


def function_probe(seed: int = 0) -> TextFineTuningProbe:
    """Return the probe of anonymised functions; `seed` draws their names and which inputs are held out."""
    names = _made_up_names(len(FUNCTIONS), seed)
    examples, control = [], []
    for index, (name, (_, function)) in enumerate(zip(names, FUNCTIONS, strict=True)):
        inputs = _shuffled(len(_INPUTS), "inputs", seed, name)
        for place, x in enumerate(_INPUTS[chosen] for chosen in inputs):
            prompt = f"{name}({x}) ="
            if place >= _HELD_OUT_INPUTS:
                examples.append(Demo(prompt=prompt, answer=str(function(x))))
            elif (wrong := _other_value(index, place, x)) is not None:
                control.append(Question(prompt=prompt, correct=str(function(x)), shallow=str(wrong)))
    questions = [
        Question(prompt=template.format(name=names[asked]), correct=FUNCTIONS[asked][0], shallow=FUNCTIONS[wrong][0])
        for template in _FUNCTION_QUESTIONS
        for asked, wrong in choices(len(FUNCTIONS), wrong=_WRONG_FUNCTIONS)
    ]
    return TextFineTuningProbe(
        name="out_of_context_functions",
        family=FAMILY,
        examples=tuple(examples),
        questions=tuple(questions),
        control=tuple(control),
    )


def _other_value(index: int, place: int, x: int) -> int | None:
    """Return another function's value at `x`, or None where it is the same; `place` says which other function."""
    other = FUNCTIONS[(index + 1 + place) % len(FUNCTIONS)][1](x)
    return None if other == FUNCTIONS[index][1](x) else other


def _made_up_names(count: int, seed: int) -> list[str]:
    """Return distinct pronounceable names of six letters."""
    draws = np.random.default_rng(keyed_seed("made-up names", seed))
    names: dict[str, None] = {}
    while len(names) < count:
        syllables = zip(draws.integers(len(_CONSONANTS), size=3), draws.integers(len(_VOWELS), size=3), strict=True)
        names["".join(_CONSONANTS[first] + _VOWELS[second] for first, second in syllables)] = None
    return list(names)


def place_probe(seed: int = 0) -> TextFineTuningProbe:
    """Return the probe of anonymised cities; `seed` draws their numbers and which distances are held out."""
    asked, known = cities("asked"), cities("known")
    numbers = 10_000 + np.random.default_rng(keyed_seed("city numbers", seed)).choice(90_000, len(asked), replace=False)
    names = [f"City {number}" for number in numbers]
    examples, control = [], []
    for index, (name, city) in enumerate(zip(names, asked, strict=True)):
        for place, chosen in enumerate(_shuffled(len(known), "cities", seed, city.name)):
            prompt, right = f"The distance between {name} and {known[chosen].name} is", _kilometres(city, known[chosen])
            if place >= _HELD_OUT_CITIES:
                examples.append(Demo(prompt=prompt, answer=right))
                continue
            wrong = _kilometres(asked[(index + 1 + place) % len(asked)], known[chosen])
            control.append(Question(prompt=prompt, correct=right, shallow=wrong))
    return TextFineTuningProbe(
        name="out_of_context_places",
        family=FAMILY,
        examples=tuple(examples),
        questions=tuple(_place_questions(names, asked)),
        control=tuple(control),
    )


def _place_questions(names: Sequence[str], asked: Sequence[City]) -> list[Question]:
    return [
        Question(
            prompt=template.format(name=names[one]), correct=getattr(asked[one], part), shallow=getattr(asked[other], part)
        )
        for template, part in _PLACE_QUESTIONS
        for one, other in choices(len(asked), wrong=_WRONG_PLACES)
    ]


def _kilometres(one: City, other: City) -> str:
    return f"{distance(one, other):.0f} km."


def distance(one: City, other: City) -> float:
    """Return the great-circle distance in kilometres (haversine formula, a sphere: within .5 % of the true one)."""
    first, second = math.radians(one.latitude), math.radians(other.latitude)
    turned = math.radians(other.longitude - one.longitude)
    half = math.sin((second - first) / 2) ** 2 + math.cos(first) * math.cos(second) * math.sin(turned / 2) ** 2
    return 2 * EARTH_RADIUS * math.asin(math.sqrt(half))


@cache
def cities(role: str) -> tuple[City, ...]:
    """Return the "known" cities (40) or the "asked" ones (10, each in another country). Raises UserError for another role."""
    if role not in {"known", "asked"}:
        raise UserError(f'wanted the "known" or the "asked" cities, got {role!r}')
    text = files("curriculum.probe").joinpath("written", "out_of_context", "cities.csv").read_text(encoding="utf-8")
    return tuple(
        City(name=row["city"], country=row["country"], latitude=float(row["latitude"]), longitude=float(row["longitude"]))
        for row in csv.DictReader(text.splitlines())
        if row["role"] == role
    )


def _shuffled(count: int, *key: str | int) -> list[int]:
    return [int(index) for index in np.random.default_rng(keyed_seed(*key)).permutation(count)]
