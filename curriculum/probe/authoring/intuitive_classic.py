"""The classic riddles, and others of their kind: a quick computation comes to mind, and it is the wrong one.

Idea: the first three shapes follow Frederick's cognitive reflection test (2005): a difference taken for a price, a rate for a
total, half the time for half the growth. The others mistake gaps for things, the mean of speeds for the mean speed, or one
base of a percentage for the other. Every riddle stands before its plain counterpart. The price: the classic three are
known by heart to large models, which answer them by memory.
"""

from __future__ import annotations

from math import lcm

from curriculum.probe.authoring.riddles import NAMES, Riddle, Shape, made, number, other, word
from curriculum.probe.authoring.rows import drawn

_PAIRS = (
    "pen|notebook",
    "bun|cheese",
    "candle|lamp",
    "ribbon|scarf",
    "spoon|bowl",
    "brush|paint box",
    "cup|teapot",
    "bulb|flower pot",
)


def price_difference(index: int) -> Riddle:
    """A small thing's price, from the sum of two prices and their difference; first thought: the sum less the difference."""
    small, large = word(_PAIRS, "difference", index).split("|")
    price, difference = (
        number(range(5, 45, 5), "difference", index, "price"),
        number(range(100, 900, 100), "difference", index, "gap"),
    )
    total = 2 * price + difference
    question = (
        f"Together a {small} and a {large} cost {total} cents. The {large} costs {difference} cents more than the {small}. "
        f"How many cents does the {small} cost?"
    )
    dearer = price + difference
    hint = f"The {large} costs {dearer} cents and {dearer} + {price} = {total}, so the {small} costs {price}."
    return made(question, price, total - difference, hint)


def price_sum(index: int) -> Riddle:
    """Two prices and their sum."""
    small, large = word(_PAIRS, "sum", index).split("|")
    price, dearer = number(range(5, 45, 5), "sum", index, "price"), number(range(50, 100, 10), "sum", index, "dearer")
    question = f"A {small} costs {price} cents and a {large} costs {dearer} cents. How many cents do they cost together?"
    wrong = other(price + dearer, range(55, 135, 5), "sum", index)
    return made(
        question, price + dearer, wrong, f"{dearer} + {price} = {price + dearer}, so together they cost {price + dearer}."
    )


_WORKERS = (
    "printers|print|posters",
    "ovens|bake|pies",
    "weavers|weave|mats",
    "robots|paint|doors",
    "potters|shape|jugs",
    "cooks|peel|pumpkins",
)


def rate(index: int) -> Riddle:
    """As many workers, things and minutes, then more workers and things; first thought: more minutes."""
    workers, work, things = word(_WORKERS, "rate", index).split("|")
    few, many = number(range(3, 10), "rate", index, "few"), number(range(20, 100, 10), "rate", index, "many")
    question = (
        f"{few} {workers} need {few} minutes to {work} {few} {things}. How many minutes do {many} {workers} need to {work} "
        f"{many} {things}?"
    )
    hint = f"Every one of the {workers} needs {few} minutes for one of the {things}, and all work at once, so they need {few}."
    return made(question, few, many, hint)


def production(index: int) -> Riddle:
    """Things a minute, times minutes."""
    workers, _, things = word(_WORKERS, "production", index).split("|")
    each, many = number(range(2, 6), "production", index, "each"), number(range(3, 10), "production", index, "many")
    question = f"Each of {many} {workers} finishes {each} {things} a day. How many {things} do they finish in one day?"
    wrong = other(each * many, range(6, 46), "production", index)
    return made(question, each * many, wrong, f"{many} times {each} is {each * many}, so they finish {each * many}.")


_SPREADING = (
    "Moss covers part of a wall, and its area doubles every day|the wall",
    "Weed in a canal doubles its area every day|the canal",
    "A swarm doubles every day until it fills a valley|the valley",
    "Mould on a loaf doubles its area every day|the loaf",
    "Ice on a lake doubles its area every day|the lake",
)


def doubling(index: int) -> Riddle:
    """Half full one day before full; first thought: after half the days."""
    story, place = word(_SPREADING, "doubling", index).split("|")
    days = number(range(12, 60, 2), "doubling", index, "days")
    question = f"{story}. On day {days} it covers all of {place}. On which day did it cover half of {place}?"
    hint = f"It doubles every day, so it covered half one day before day {days}, which is day {days - 1}."
    return made(question, days - 1, days // 2, hint)


def growth(index: int) -> Riddle:
    """So much more every day."""
    place = word(("the wall", "the canal", "the valley", "the lake"), "growth", index)
    area, more = number(range(10, 60, 10), "growth", index, "area"), number(range(2, 10), "growth", index, "more")
    question = (
        f"Yesterday {area} square metres of {place} were covered, and {more} more have been covered since. "
        "How many square metres are covered now?"
    )
    wrong = other(area + more, range(12, 60), "growth", index)
    return made(question, area + more, wrong, f"{area} + {more} = {area + more}, so it is {area + more}.")


_LONG = ("log|pieces", "pipe|parts", "rope|lengths", "sausage|slices", "plank|boards")


def cuts(index: int) -> Riddle:
    """One cut fewer than pieces; first thought: as many cuts as pieces."""
    thing, pieces = word(_LONG, "cuts", index).split("|")
    parts, minutes = number(range(4, 10), "cuts", index, "parts"), number(range(2, 8), "cuts", index, "minutes")
    question = (
        f"One cut through a {thing} takes {minutes} minutes. "
        f"How many minutes does it take to cut the {thing} into {parts} {pieces}?"
    )
    right = (parts - 1) * minutes
    hint = f"For {parts} {pieces} one makes {parts - 1} cuts, and {parts - 1} times {minutes} is {right}, so it takes {right}."
    return made(question, right, parts * minutes, hint)


def several_cuts(index: int) -> Riddle:
    """Cuts, times minutes a cut."""
    thing, _ = word(_LONG, "several", index).split("|")
    parts, minutes = number(range(3, 9), "several", index, "parts"), number(range(2, 8), "several", index, "minutes")
    question = f"One cut through a {thing} takes {minutes} minutes. How many minutes do {parts} cuts take?"
    wrong = other(parts * minutes, range(6, 57), "several", index)
    return made(
        question, parts * minutes, wrong, f"{parts} times {minutes} is {parts * minutes}, so they take {parts * minutes}."
    )


_ROWS = ("fence|posts", "street|lamps", "path|trees", "wall|flags", "shelf|hooks")


def fence_posts(index: int) -> Riddle:
    """One post more than gaps; first thought: as many posts as gaps."""
    line, things = word(_ROWS, "posts", index).split("|")
    gap, gaps = number(range(2, 10), "posts", index, "gap"), number(range(5, 40, 5), "posts", index, "gaps")
    question = (
        f"A straight {line} is {gap * gaps} metres long. There are {things} every {gap} metres, with one at each end. "
        f"How many {things} are there?"
    )
    hint = f"There are {gaps} gaps, and one more of the {things} than gaps, so there are {gaps + 1}."
    return made(question, gaps + 1, gaps, hint)


def gaps(index: int) -> Riddle:
    """Things counted on both sides."""
    line, things = word(_ROWS, "gaps", index).split("|")
    left, right = number(range(5, 40, 5), "gaps", index, "left"), number(range(2, 10), "gaps", index, "right")
    question = f"One half of a {line} has {left} {things} and the other half has {right} {things}. How many {things} are there?"
    wrong = other(left + right, range(7, 45), "gaps", index)
    return made(question, left + right, wrong, f"{left} + {right} = {left + right}, so there are {left + right}.")


# (slow, fast, mean over equal distances): 2 * slow * fast / (slow + fast), chosen to come out whole.
_SPEEDS = (
    *((20, 30, 24), (30, 60, 40), (40, 60, 48), (60, 90, 72), (20, 60, 30), (30, 70, 42), (10, 40, 16), (24, 40, 30)),
    *((20, 80, 32), (40, 120, 60), (12, 20, 15), (36, 60, 45), (60, 120, 80)),
)


def round_trip(index: int) -> Riddle:
    """Average speed over equal distances is below the mean of the speeds, which is the first thought."""
    slow, fast, right = drawn(_SPEEDS, "intuitive", "trip", index)
    name, distance = word(NAMES, "trip", index), lcm(slow, fast)
    question = (
        f"{name} drives to a town at {slow} km an hour and back on the same road at {fast} km an hour. "
        "What is the average speed of the whole trip, in km an hour?"
    )
    there, back = distance // slow, distance // fast
    hint = (
        f"On {distance} km each way the trip takes {there} + {back} = {there + back} hours, "
        f"and {2 * distance} / {there + back} = {right}."
    )
    return made(question, right, (slow + fast) // 2, hint)


def steady_trip(index: int) -> Riddle:
    """Hours times speed."""
    speed, hours = number(range(10, 70, 10), "steady", index, "speed"), number(range(2, 6), "steady", index, "hours")
    question = f"{word(NAMES, 'steady', index)} drives for {hours} hours at {speed} km an hour. How many km is that?"
    wrong = other(speed * hours, range(20, 310, 10), "steady", index)
    return made(question, speed * hours, wrong, f"{hours} times {speed} is {speed * hours}, so it is {speed * hours}.")


_GOODS = ("coat", "chair", "clock", "carpet", "bicycle", "mirror")


def up_and_down(index: int) -> Riddle:
    """A price raised and lowered by the same share ends below where it began; first thought: where it began."""
    goods, price = word(_GOODS, "percent", index), number(range(100, 900, 100), "percent", index, "price")
    share = number((10, 20, 30, 40, 50), "percent", index, "share")
    raised = price + price * share // 100
    right = raised - raised * share // 100
    question = (
        f"A {goods} costs {price} euros. Its price rises by {share} percent, and later falls by {share} percent. "
        "How many euros does it cost then?"
    )
    hint = f"After the rise it costs {raised}, and {share} percent of {raised} is {raised - right}, so then it costs {right}."
    return made(question, right, price, hint)


def cheaper(index: int) -> Riddle:
    """A price less a sum."""
    goods, price = word(_GOODS, "cheaper", index), number(range(200, 900, 100), "cheaper", index, "price")
    less = number(range(10, 100, 10), "cheaper", index, "less")
    question = f"A {goods} costs {price} euros. Its price falls by {less} euros. How many euros does it cost then?"
    wrong = other(price - less, range(110, 800, 10), "cheaper", index)
    return made(question, price - less, wrong, f"{price} - {less} = {price - less}, so then it costs {price - less}.")


_QUEUES = ("tallest|shortest|class", "fastest|slowest|team", "oldest|youngest|choir", "richest|poorest|village")


def rank(index: int) -> Riddle:
    """The same rank from both ends; first thought: twice the rank."""
    best, worst, group = word(_QUEUES, "rank", index).split("|")
    place = number([10, *range(14, 21), *range(24, 31)], "rank", index, "place")
    question = (
        f"{word(NAMES, 'rank', index)} is number {place} in the {group} counted from the {best}, and also "
        f"number {place} counted from the {worst}. How many people are in the {group}?"
    )
    right = 2 * place - 1
    hint = f"There are {place - 1} on one side, {place - 1} on the other side and one between, so there are {right}."
    return made(question, right, 2 * place, hint)


def two_groups(index: int) -> Riddle:
    """Two groups together."""
    _, _, group = word(_QUEUES, "groups", index).split("|")
    place, more = number(range(10, 30), "groups", index, "place"), number(range(3, 20), "groups", index, "more")
    question = f"There are {place} women and {more} men in the {group}. How many people are in the {group}?"
    wrong = other(place + more, range(13, 50), "groups", index)
    return made(question, place + more, wrong, f"{place} + {more} = {place + more}, so there are {place + more}.")


_STRIKES = ("bell|strokes", "drum|beats", "lamp|flashes", "whistle|blasts")


def strokes(index: int) -> Riddle:
    """Time lies between strokes, one fewer than strokes; first thought: in proportion to strokes."""
    thing, beats = word(_STRIKES, "strokes", index).split("|")
    few, pause = number((3, 4, 5), "strokes", index, "few"), number(range(2, 9), "strokes", index, "pause")
    pause *= few  # so that the first thought is a whole number
    many = number((2, 3), "strokes", index, "many") * few
    first, right = (few - 1) * pause, (many - 1) * pause
    question = (
        f"A {thing} gives {few} {beats} at even pauses, which takes {first} seconds from the first to the last. "
        f"How many seconds do {many} {beats} take from the first to the last?"
    )
    hint = f"{few} {beats} have {few - 1} pauses of {pause} seconds; {many} have {many - 1} pauses, so they take {right}."
    return made(question, right, first * many // few, hint)


def floors(index: int) -> Riddle:
    """Stairs lie between floors; first thought: in proportion to the floor's number."""
    low, seconds = number((3, 4, 5), "floors", index, "low"), number(range(2, 9), "floors", index, "seconds")
    seconds *= low
    high = number((2, 3), "floors", index, "high") * low
    first, right = (low - 1) * seconds, (high - 1) * seconds
    question = (
        f"{word(NAMES, 'floors', index)} climbs from floor 1 to floor {low} in {first} seconds. "
        f"How many seconds does it take from floor 1 to floor {high} at that pace?"
    )
    hint = (
        f"Up to floor {low} there are {low - 1} stairs of {seconds} seconds; "
        f"up to floor {high} there are {high - 1}, so it takes {right}."
    )
    return made(question, right, first * high // low, hint)


def stairs(index: int) -> Riddle:
    """Stairs times seconds a stair."""
    count, seconds = number(range(2, 9), "stairs", index, "count"), number(range(5, 12), "stairs", index, "seconds")
    question = f"{word(NAMES, 'stairs', index)} climbs one stair in {seconds} seconds. How many seconds do {count} stairs take?"
    wrong = other(count * seconds, range(10, 89), "stairs", index)
    return made(
        question, count * seconds, wrong, f"{count} times {seconds} is {count * seconds}, so they take {count * seconds}."
    )


def doses(index: int) -> Riddle:
    """The first dose costs no time; first thought: doses times the pause."""
    count, pause = number(range(3, 9), "doses", index, "count"), number((10, 15, 20, 30, 40), "doses", index, "pause")
    things = word(("pills", "drops", "biscuits", "tablets"), "doses", index)
    question = (
        f"{word(NAMES, 'doses', index, 'name')} gets {count} {things} and takes one now and then one every {pause} minutes. "
        "After how many minutes has the last one been taken?"
    )
    right = (count - 1) * pause
    hint = f"The first of {count} is taken at once; {count - 1} times {pause} is {right}, so it is after {right}."
    return made(question, right, count * pause, hint)


def waits(index: int) -> Riddle:
    """Two waiting times together."""
    first, second = number(range(10, 50, 10), "waits", index, "first"), number(range(5, 50, 5), "waits", index, "second")
    name = word(NAMES, "waits", index)
    question = f"{name} waits {first} minutes and then {second} minutes more. How many minutes does {name} wait in all?"
    wrong = other(first + second, range(15, 90, 5), "waits", index)
    return made(question, first + second, wrong, f"{first} + {second} = {first + second}, so it is {first + second}.")


CLASSIC = (
    Shape(riddle=price_difference, plain=price_sum),
    Shape(riddle=rate, plain=production),
    Shape(riddle=doubling, plain=growth),
    Shape(riddle=cuts, plain=several_cuts),
    Shape(riddle=fence_posts, plain=gaps),
    Shape(riddle=round_trip, plain=steady_trip),
    Shape(riddle=up_and_down, plain=cheaper),
    Shape(riddle=rank, plain=two_groups),
    Shape(riddle=strokes, plain=stairs),
    Shape(riddle=floors, plain=stairs),
    Shape(riddle=doses, plain=waits),
)
