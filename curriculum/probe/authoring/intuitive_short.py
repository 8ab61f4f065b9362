"""Short riddles, where the right answer is often said in the question and the first thought is a sum one need not do.

Idea: as in `intuitive_classic`, one function a shape; these need a careful reading and hardly any arithmetic, so that a small
model can be right at times. The price: a model that only copies numbers from the question is sometimes right as well, which
is why each comes with a plain story in which the right answer has to be computed.
"""

from __future__ import annotations

from curriculum.probe.authoring.riddles import NAMES, Riddle, Shape, made, number, other, word

_FLOCKS = (
    "goats|run away",
    "hens|fly off",
    "ducks|swim away",
    "candles|go out",
    "cakes|are eaten",
    "kites|are torn",
    "cups|break",
)


def all_but(index: int) -> Riddle:
    """All but some are gone: some are left; first thought: the difference."""
    things, fate = word(_FLOCKS, "all_but", index).split("|")
    whole, left = number(range(16, 30), "all_but", index, "whole"), number(range(3, 10), "all_but", index, "left")
    left = left if whole != 2 * left else left - 1
    name = word(NAMES, "all_but", index, "name")
    question = f"{name} has {whole} {things}. All but {left} of the {things} {fate}. How many {things} are left?"
    return made(question, left, whole - left, f"All but {left} means that {left} stay, so the number left is {left}.")


def some_gone(index: int) -> Riddle:
    """Some are gone: the difference is left."""
    things, fate = word(_FLOCKS, "gone", index).split("|")
    whole, gone = number(range(11, 20), "gone", index, "whole"), number(range(2, 8), "gone", index, "gone")
    name = word(NAMES, "gone", index, "name")
    question = f"{name} has {whole} {things}. {gone} of the {things} {fate}. How many {things} are left?"
    wrong = other(whole - gone, range(4, 18), "gone", index)
    return made(question, whole - gone, wrong, f"{whole} - {gone} = {whole - gone}, so {whole - gone} are left.")


_BOWLS = ("plums|bowl", "coins|jar", "marbles|bag", "walnuts|basket", "stamps|box", "buttons|tin")


def taken(index: int) -> Riddle:
    """Who takes some has those; first thought: what stays behind."""
    things, place = word(_BOWLS, "taken", index).split("|")
    whole, took = number(range(10, 30), "taken", index, "whole"), number(range(2, 10), "taken", index, "took")
    took = took if whole != 2 * took else took - 1
    name = word(NAMES, "taken", index, "name")
    question = (
        f"A {place} holds {whole} {things}. {name} takes {took} of them home. "
        f"How many of the {things} are at {name}'s home now?"
    )
    return made(question, took, whole - took, f"At home are those that {name} took, which are {took}.")


def put_in(index: int) -> Riddle:
    """Some are put in: the sum."""
    things, place = word(_BOWLS, "put", index).split("|")
    whole, more = number(range(10, 30), "put", index, "whole"), number(range(2, 10), "put", index, "more")
    question = (
        f"A {place} holds {whole} {things}. {word(NAMES, 'put', index, 'name')} puts {more} more into it. "
        f"How many {things} does the {place} hold now?"
    )
    wrong = other(whole + more, range(12, 40), "put", index)
    return made(question, whole + more, wrong, f"{whole} + {more} = {whole + more}, so it holds {whole + more}.")


_PLACES = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
_RACES = ("race", "boat race", "ski race", "marathon", "sack race", "sledge race", "cycle race", "egg race")


def overtaking(index: int) -> Riddle:
    """Who overtakes the second is second; first thought: one place better."""
    place = number(range(1, len(_PLACES)), "overtaking", index, "place")
    name, race = word(NAMES, "overtaking", index), word(_RACES, "overtaking", index, "race")
    question = f"In a {race} {name} overtakes the one in {_PLACES[place]} place. In which place is {name} now?"
    return made(question, _PLACES[place], _PLACES[place - 1], f"{name} takes over that place, so {name} is {_PLACES[place]}.")


def next_place(index: int) -> Riddle:
    """The place behind a place."""
    place = number(range(len(_PLACES) - 1), "next", index, "place")
    wrong = other(place + 1, range(len(_PLACES)), "next", index)
    name, race = word(NAMES, "next", index), word(_RACES, "next", index, "race")
    question = f"In a {race} {name} comes right behind the one in {_PLACES[place]} place. In which place is {name}?"
    return made(question, _PLACES[place + 1], _PLACES[wrong], f"After {_PLACES[place]} comes {_PLACES[place + 1]}.")


_CHILDREN = ("daughters|brother", "sons|sister")


def siblings(index: int) -> Riddle:
    """They share one sibling; first thought: one for each."""
    many, one = word(_CHILDREN, "siblings", index).split("|")
    count, name = number(range(3, 10), "siblings", index, "count"), word(NAMES, "siblings", index, "name")
    question = f"{name} has {count} {many}. Each of the {many} has one {one}. How many children does {name} have?"
    hint = f"All {count} have the same {one}, so there are {count} + 1 = {count + 1}."
    return made(question, count + 1, 2 * count, hint)


def children(index: int) -> Riddle:
    """Sons and daughters together."""
    sons, daughters = number(range(2, 7), "children", index, "sons"), number(range(2, 7), "children", index, "daughters")
    question = f"{word(NAMES, 'children', index)} has {sons} sons and {daughters} daughters. How many children is that?"
    wrong = other(sons + daughters, range(4, 13), "children", index)
    return made(question, sons + daughters, wrong, f"{sons} + {daughters} = {sons + daughters}, so it is {sons + daughters}.")


_AT_ONCE = (
    "One egg needs {time} minutes in boiling water. How many minutes do {many} eggs need, all in the same pot?",
    "One sheet dries in the sun in {time} minutes. How many minutes do {many} sheets take, hung up side by side?",
    "One walker needs {time} minutes to the mill. How many minutes do {many} walkers need, all going together?",
    "One singer needs {time} minutes for a song. How many minutes does a choir of {many} need for the song?",
    "One ship crosses the bay in {time} minutes. How many minutes do {many} ships need, side by side?",
)


def at_once(index: int) -> Riddle:
    """Things that happen at once take as long as one; first thought: so many times as long."""
    story = word(_AT_ONCE, "at_once", index)
    time, many = number(range(5, 21), "at_once", index, "time"), number(range(2, 7), "at_once", index, "many")
    question = story.format(time=time, many=many)
    return made(question, time, time * many, f"It all happens at the same time, so the answer is {time}.")


def in_turn(index: int) -> Riddle:
    """Things that happen in turn take so many times as long."""
    time, many = number(range(5, 21), "in_turn", index, "time"), number(range(2, 7), "in_turn", index, "many")
    name = word(NAMES, "in_turn", index)
    question = f"{name} needs {time} minutes for one letter. How many minutes do {many} letters take, one after the other?"
    wrong = other(time * many, range(10, 121), "in_turn", index)
    return made(question, time * many, wrong, f"{many} times {time} is {time * many}, so they take {time * many}.")


def half_my_age(index: int) -> Riddle:
    """The difference of two ages stays; first thought: half stays half."""
    then, later = 2 * number(range(2, 8), "age", index, "then"), 2 * number(range(12, 40), "age", index, "later")
    kin = word(("sister", "brother", "cousin", "neighbour"), "age", index)
    right = later - then // 2
    question = f"When I was {then} years old, my {kin} was half my age. Now I am {later} years old. How old is my {kin}?"
    return made(question, right, later // 2, f"My {kin} is {then // 2} years younger, and {later} - {then // 2} = {right}.")


def younger(index: int) -> Riddle:
    """So many years younger."""
    gap, age = number(range(2, 8), "younger", index, "gap"), number(range(20, 80), "younger", index, "age")
    kin = word(("sister", "brother", "cousin", "neighbour"), "younger", index)
    question = f"I am {age} years old. My {kin} is {gap} years younger. How old is my {kin}?"
    wrong = other(age - gap, range(14, 78), "younger", index)
    return made(question, age - gap, wrong, f"{age} - {gap} = {age - gap}.")


_BURNING = ("candles|room", "torches|cave", "lanterns|tent", "tapers|chapel")


def blown_out(index: int) -> Riddle:
    """Those blown out stay, the others burn down; first thought: the difference."""
    things, place = word(_BURNING, "blown", index).split("|")
    whole, out = number(range(10, 25), "blown", index, "whole"), number(range(2, 10), "blown", index, "out")
    out = out if whole != 2 * out else out - 1
    question = (
        f"{whole} {things} burn in a {place}. The wind blows {out} of them out, and the others burn down to nothing. "
        f"How many {things} are there in the end?"
    )
    return made(question, out, whole - out, f"Only those that were blown out remain, so there are {out}.")


def lit(index: int) -> Riddle:
    """More are lit: the sum."""
    things, place = word(_BURNING, "lit", index).split("|")
    whole, more = number(range(10, 25), "lit", index, "whole"), number(range(2, 10), "lit", index, "more")
    question = f"{whole} {things} burn in a {place}. Then {more} more are lit. How many {things} burn now?"
    wrong = other(whole + more, range(12, 35), "lit", index)
    return made(question, whole + more, wrong, f"{whole} + {more} = {whole + more}, so {whole + more} burn.")


SHORT = (
    Shape(riddle=all_but, plain=some_gone),
    Shape(riddle=taken, plain=put_in),
    Shape(riddle=overtaking, plain=next_place),
    Shape(riddle=siblings, plain=children),
    Shape(riddle=at_once, plain=in_turn),
    Shape(riddle=half_my_age, plain=younger),
    Shape(riddle=blown_out, plain=lit),
)
