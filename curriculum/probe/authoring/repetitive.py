"""Repetitive answer: say again what every demonstration says, or do the task?

Idea: the demonstrations of an item are right and all have one answer, because their subjects were chosen so (pea, frog and
leaf are all green); the question's answer is another one, and the shallow answer is theirs. Every item carries its own
demonstrations in its prompt (as the published algebra tasks do), so that the repeated answer changes from item to item and
no reading hangs on one word. The levels differ in how sure of the answer a small model is without the pattern: easy, what
the question itself says, or a famous city; medium, kinds, opposites and sums of one digit; hard, colours (where the pattern
is very strong), chains, counting letters and stepping through code. Control: the same question after demonstrations of
varied answers, neither the right nor the wrong one among them, and a wrong answer drawn like the right one. Alternatives: a
pool of demonstrations a constant (a task then has one shallow answer, and its prior probability is the reading). The price:
no two items share a prefix that a cache could keep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from curriculum.probe.authoring.rows import Files, Item, Row, drawn, joined, question, shuffled

_Groups = Mapping[str, Sequence[str]]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(" ".join(part.split()) for part in text.split(","))


_PEOPLE = _words("Tom Max Ben Lily Sam Molly Oscar Lucy Anna Peter Clara David Emma Frank Grace Henry")
_ELDERS = _words("Tom Max Ben Lily Sam Molly Oscar Lucy")
_GOODS = _words("lamp table bicycle guitar coat phone kettle mirror carpet watch camera piano tent boat violin chair")
_CREATURES = _words("wolf tiger snake horse goat sheep lion bear fox rabbit monkey camel")
_WATCHERS = _words("king farmer teacher doctor sailor child soldier painter")
_CITIES: _Groups = {
    "France": _words("Paris Lyon Marseille Nice Toulouse Bordeaux"),
    "Italy": _words("Rome Milan Naples Turin Venice Florence"),
    "Spain": _words("Madrid Barcelona Seville Valencia Granada Bilbao"),
    "Germany": _words("Berlin Munich Hamburg Cologne Frankfurt Dresden"),
    "Japan": _words("Tokyo Osaka Kyoto Hiroshima Nagoya Sapporo"),
    "China": _words("Beijing Shanghai Guangzhou Shenzhen Wuhan Nanjing"),
    "India": _words("Delhi Mumbai Chennai Kolkata Bangalore Hyderabad"),
    "Canada": _words("Toronto Montreal Ottawa Vancouver Calgary Winnipeg"),
    "Australia": _words("Sydney Melbourne Perth Brisbane Adelaide Canberra"),
    "Russia": _words("Moscow Kazan Novosibirsk Vladivostok Omsk Irkutsk"),
    "Egypt": _words("Cairo Luxor Giza Aswan Suez Alexandria"),
}
_KINDS: _Groups = {
    "animal": _words("dog horse tiger rabbit elephant monkey cow lion sheep fox"),
    "fruit": _words("apple pear banana peach grape cherry mango plum lemon melon"),
    "tool": _words("hammer saw wrench screwdriver drill chisel shovel rake spade trowel"),
    "vehicle": _words("car truck bus tractor van motorcycle train taxi scooter bicycle"),
    "flower": _words("rose tulip daisy lily orchid violet daffodil sunflower carnation poppy"),
    "instrument": _words("piano violin guitar flute trumpet cello clarinet harp trombone banjo"),
    "vegetable": _words("carrot potato cabbage turnip radish leek parsnip beet cauliflower cucumber"),
    "furniture": _words("chair table sofa desk bench stool wardrobe bookcase bed cupboard"),
    "clothing": _words("shirt coat sweater skirt jacket dress hat scarf sock glove"),
}
_OPPOSITES: _Groups = {
    "small": _words("big large huge giant enormous"),
    "big": _words("small tiny little miniature minuscule"),
    "cold": _words("hot warm boiling burning scorching"),
    "hot": _words("cold cool freezing icy chilly"),
    "sad": _words("happy glad joyful cheerful merry"),
    "happy": _words("sad unhappy gloomy miserable sorrowful"),
    "slow": _words("fast quick rapid speedy swift"),
    "rich": _words("poor needy penniless broke impoverished"),
    "dirty": _words("clean spotless washed tidy pure"),
    "weak": _words("strong powerful mighty muscular sturdy"),
    "quiet": _words("loud noisy deafening rowdy thunderous"),
    "bad": _words("good great excellent fine wonderful"),
}
_COLORS: _Groups = {
    "green": _phrases("grass, a leaf, a frog, a pea, broccoli, spinach, a lime, a cucumber"),
    "red": _phrases("blood, a tomato, a strawberry, a cherry, a fire truck, a stop sign, ketchup, a ruby"),
    "yellow": _phrases("a banana, a lemon, the sun, butter, a canary, mustard, a sunflower, corn"),
    "white": _phrases("snow, milk, salt, flour, a polar bear, rice, cotton, chalk"),
    "black": _phrases("coal, a raven, ink, tar, a panther, night, a tire, charcoal"),
    "blue": _phrases("the sky, the sea, a blueberry, a sapphire, denim, the ocean, a bluebird, a swimming pool"),
    "brown": _phrases("chocolate, mud, wood, coffee, a walnut, soil, leather, a chestnut"),
    "orange": _phrases("a carrot, a pumpkin, an orange, a tangerine, an apricot, a goldfish, a basketball, a traffic cone"),
}
_SPELLED = _words("""
    cat dog sun map pen hat cow ice door lamp moon ring fish tree milk song wind snow table house river bread chair stone
    horse apple light garden window silver basket orange bottle yellow kitten pencil morning kitchen picture chicken brother
    weather blanket journey mountain elephant sandwich umbrella notebook children""")
_NUMBERS = _words("zero one two three four five six seven eight nine ten")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Repeat:
    """A task: prompts by their answer, how many demonstrations an item carries, and how many items there are."""

    name: str
    prompts: _Groups
    shots: int
    items: int


def rows() -> Files:
    """Return the rows of every task and of its control, by path."""
    files: Files = {}
    for repeat in _repeats():
        task, control = _items(repeat)
        files[f"repetitive_answer/{repeat.name}.jsonl"] = task
        files[f"repetitive_answer/{repeat.name}.control.jsonl"] = control
    return files


def _repeats() -> tuple[_Repeat, ...]:
    kinds = {kind: [f"{_with_article(word)} is a kind of" for word in words] for kind, words in _KINDS.items()}
    return (
        _Repeat(name="new_goods", prompts=_bought(), shots=5, items=48),
        _Repeat(name="creatures_seen", prompts=_seen(), shots=5, items=48),
        _Repeat(name="cities", prompts=_filled("{} is a city in", _CITIES), shots=5, items=54),
        _Repeat(name="word_kinds", prompts=kinds, shots=3, items=54),
        _Repeat(name="opposites", prompts=_filled("The opposite of {} is", _OPPOSITES), shots=4, items=54),
        _Repeat(name="equal_sums", prompts=_sums(), shots=4, items=42),
        _Repeat(name="colors", prompts=_filled("The color of {} is", _COLORS), shots=5, items=48),
        _Repeat(name="oldest", prompts=_oldest(), shots=5, items=42),
        _Repeat(name="word_lengths", prompts=_filled("The number of letters in {} is", _lengths()), shots=5, items=30),
        _Repeat(name="code_steps", prompts=_code(), shots=4, items=30),
    )


def _items(repeat: _Repeat) -> tuple[list[Row], list[Row]]:
    """Return the questions after demonstrations of one answer, and the same after demonstrations of many."""
    groups = repeat.prompts
    cells = [
        (constant, answer, prompt)
        for constant in groups
        for answer in groups
        if constant != answer and len(groups[constant]) >= repeat.shots
        for prompt in groups[answer]
    ]
    chosen = shuffled(cells, "repetitive", repeat.name)[: repeat.items]
    return [_item(repeat, *cell) for cell in chosen], [_control(repeat, *cell) for cell in chosen]


def _item(repeat: _Repeat, constant: str, answer: str, prompt: str) -> Row:
    shown = shuffled(repeat.prompts[constant], repeat.name, "demos", answer, prompt)[: repeat.shots]
    return question(joined([(each, constant) for each in shown], prompt), answer, constant)


def _control(repeat: _Repeat, constant: str, answer: str, prompt: str) -> Row:
    """Demonstrations of distinct answers where there are enough, or each of the others about equally often."""
    key = (repeat.name, "control", constant, prompt)
    wrong = drawn(_without(repeat.prompts, answer), *key, "wrong")
    others = shuffled(_without(repeat.prompts, answer, wrong), *key)
    shown: list[tuple[str, str]] = []
    for place in range(repeat.shots):
        other = others[place % len(others)]
        asked = [each for each, _ in shown]
        shown.append((drawn(_without(repeat.prompts[other], *asked), *key, place), other))
    return question(joined(shown, prompt), answer, wrong)


def _without(items: Sequence[Item] | Mapping[Item, object], *unwanted: Item) -> list[Item]:
    return [item for item in items if item not in unwanted]


def _filled(template: str, groups: _Groups) -> _Groups:
    return {answer: [template.format(subject) for subject in subjects] for answer, subjects in groups.items()}


def _with_article(word: str) -> str:
    return f"{'An' if word[0] in 'aeiou' else 'A'} {word}"


def _bought() -> _Groups:
    return {thing: [f"{person} bought a {thing}. So {person} now owns a" for person in _PEOPLE] for thing in _GOODS}


def _seen() -> _Groups:
    return {
        creature: [f"The {watcher} saw the {creature}. What was seen? The" for watcher in _WATCHERS] for creature in _CREATURES
    }


def _sums() -> _Groups:
    """Answers of one digit: a tokenizer that cuts numbers into digits would else average a sure digit in."""
    return {str(total): [f"{first} + {total - first} =" for first in range(1, total)] for total in range(3, 10)}


def _oldest() -> _Groups:
    return {
        oldest: [
            f"{middle} is younger than {oldest}. {youngest} is younger than {middle}. The oldest is"
            for middle in _ELDERS
            for youngest in _ELDERS
            if len({oldest, middle, youngest}) == 3
        ]
        for oldest in _ELDERS
    }


def _lengths() -> _Groups:
    """Words by their number of letters."""
    groups: dict[str, list[str]] = {}
    for word in _SPELLED:
        groups.setdefault(_NUMBERS[len(word)], []).append(word)
    return groups


def _code() -> _Groups:
    return {str(total): [f"x = {start}; x = x + {total - start}; x is" for start in range(1, total)] for total in range(4, 10)}
