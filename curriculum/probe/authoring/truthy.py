"""Files of truthy_answer: what sounds true against what is true, judged "True" or "False".

Idea: two thirds of the demonstrations carry the label that goes with the sound of the claims asked, so that the constant
label is the shallow answer: `*sounds_true`, `confusions` and `misconceptions` ask false claims under mostly true ones;
`*sounds_false` and `surprises` are their mirror. A model that always says one of the labels is right on one side and wrong
on the other, so both sides together show a mode. Three levels: easy claims stand beside the fact that decides them, medium
ones contradict what everyone knows or confuse well-known facts, hard ones are believed by many. Controls have
demonstrations in even shares, and ask every fact both ways. Alternatives: asking for the fact itself (no label to fall
for). The price: the share of the demonstrations, not only the claims, decides how hard a task is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from curriculum.probe.authoring.rows import Files, Row, demo, question, shuffled
from curriculum.probe.authoring.truthy_claims import MISCONCEPTIONS, ODD_BUT_TRUE, SURPRISES
from curriculum.probe.authoring.truthy_plain import PLAIN
from curriculum.probe.authoring.truthy_tables import (
    ANIMALS,
    CONFUSED_CAPITALS,
    CONFUSED_SYMBOLS,
    COUNTRY_CAPITALS,
    ELEMENT_SYMBOLS,
    FOODS,
    KINDS,
    THINGS,
)

# A fact as two sentences: what is so, and the same made false.
_Fact = tuple[str, str]
_SHOWN = 48  # facts shown as demonstrations, of which each prompt draws some
_SIDE = 36  # facts a control asks, each both ways
_ASKED = 68  # obvious claims asked; the rest are shown


def rows() -> Files:
    """Return the tasks and their controls."""
    return {**_stated(), **_obvious(), **_confusions(), **_believed()}


def _stated() -> Files:
    facts = shuffled([_beside(fact) for fact in (*PLAIN, *_kinds())], "truthy", "stated")
    asked, shown = facts[: 2 * _SIDE], facts[2 * _SIDE :]
    odd = [_beside((claim, claim)) for claim in ODD_BUT_TRUE]
    return {
        **_task("stated_sounds_true", _unevenly(shown[:_SHOWN], majority=True), _false(asked)),
        **_control("stated_sounds_true", shown[-_SHOWN:], asked[:_SIDE]),
        **_task("stated_sounds_false", _unevenly(shown[-_SHOWN:], majority=False), _true(odd)),
        **_control("stated_sounds_false", shown[:_SHOWN], asked[_SIDE:]),
    }


def _beside(fact: _Fact) -> _Fact:
    """Return both claims with the fact stated before them."""
    return f"Fact: {fact[0]} Claim: {fact[0]}", f"Fact: {fact[0]} Claim: {fact[1]}"


def _kinds() -> list[_Fact]:
    kinds = list(KINDS)
    return [
        (f"{thing} is {kind}.", f"{thing} is {kinds[(place + 1 + turn % (len(kinds) - 1)) % len(kinds)]}.")
        for place, kind in enumerate(kinds)
        for turn, thing in enumerate(KINDS[kind])
    ]


def _obvious() -> Files:
    plain, negated = _obvious_facts(negated=False), _obvious_facts(negated=True)
    # Turns of two, since claims about life and food take turns.
    mixed = [(plain, negated)[place // 2 % 2][place] for place in range(len(plain))]
    return {
        **_task("plain_sounds_true", _unevenly(plain[_ASKED:], majority=True), _false(plain[:_ASKED])),
        **_control("plain_sounds_true", plain[_ASKED:], plain[_ASKED - _SIDE : _ASKED]),
        **_task("plain_sounds_false", _unevenly(mixed[_ASKED:], majority=False), _true(negated[:_ASKED])),
        **_control("plain_sounds_false", mixed[_ASKED:], mixed[_ASKED - _SIDE : _ASKED]),
    }


def _obvious_facts(*, negated: bool) -> list[_Fact]:
    """Return facts on what is an animal and what can be eaten, by turns; animals and foods start again once all were used."""
    animals, foods, things = (shuffled(words, "truthy", "obvious") for words in (ANIMALS, FOODS, THINGS))
    facts = []
    for place, thing in enumerate(things):
        alive = [f"{_a(word).capitalize()} is {'not ' * negated}an animal." for word in (animals[place % len(animals)], thing)]
        eaten = [f"You can{'not' * negated} eat {food}." for food in (foods[place % len(foods)], _a(thing))]
        facts += [(claims[negated], claims[not negated]) for claims in (alive, eaten)]
    return facts


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def _confusions() -> Files:
    facts = shuffled([*_apart(COUNTRY_CAPITALS, _capital), *_apart(ELEMENT_SYMBOLS, _symbol)], "truthy", "confusions")
    confused = [_capital(place, town) for place, town in CONFUSED_CAPITALS]
    confused += [_symbol(element, symbol) for element, symbol in CONFUSED_SYMBOLS]
    return {
        **_task("confusions", _unevenly(facts[:_SHOWN], majority=True), _questions(confused, truth=False)),
        **_control("confusions", facts[: _SHOWN // 2], facts[_SHOWN // 2 : _SHOWN // 2 + _SIDE]),
    }


def _apart(pairs: Sequence[tuple[str, str]], claim: Callable[[str, str], str]) -> list[_Fact]:
    """Return each pair as a fact, made false with what belongs to the next pair."""
    following = [*pairs[1:], pairs[0]]
    return [(claim(name, own), claim(name, other)) for (name, own), (_, other) in zip(pairs, following, strict=True)]


def _capital(place: str, town: str) -> str:
    return f"{town} is the capital of {place}."


def _symbol(element: str, symbol: str) -> str:
    return f"The chemical symbol of {element} is {symbol}."


def _believed() -> Files:
    facts = shuffled(PLAIN, "truthy", "believed")
    shown, asked = facts[:_SHOWN], facts[_SHOWN : _SHOWN + _SIDE]
    # Beside plainly false claims, whatever is worded with care looks true; so these false ones are misconceptions.
    careful = [(true, false) for (true, _), false in zip(shown, shuffled(MISCONCEPTIONS, "truthy", "shown"), strict=False)]
    return {
        **_task("misconceptions", _unevenly(shown, majority=True), _questions(MISCONCEPTIONS, truth=False)),
        **_control("misconceptions", shown, asked),
        **_task("surprises", _unevenly(careful, majority=False), _questions(SURPRISES, truth=True)),
        **_control("surprises", facts[-_SHOWN:], facts[_SHOWN - _SIDE : _SHOWN]),
    }


def _task(name: str, demos: Sequence[Row], questions: Sequence[Row]) -> Files:
    return {f"truthy_answer/{name}.jsonl": [*demos, *shuffled(questions, "truthy", name)]}


def _control(name: str, shown: Sequence[_Fact], asked: Sequence[_Fact]) -> Files:
    """Return a control: as many true as false claims of `shown` as demonstrations, and every fact of `asked` both ways."""
    demos = _shown(shown, len(shown) // 2)
    return _task(f"{name}.control", demos, [*_true(asked), *_false(asked)])


def _unevenly(facts: Sequence[_Fact], *, majority: bool) -> list[Row]:
    """Return demonstrations, one a fact, two thirds of which carry the label of `majority`."""
    few = len(facts) // 3
    return _shown(facts, len(facts) - few if majority else few)


def _shown(facts: Sequence[_Fact], true: int) -> list[Row]:
    """Return demonstrations, one a fact, `true` of them true claims; which ones does not follow the facts' order."""
    mixed = shuffled(facts, "truthy", "shown")
    claims = [*((fact[0], True) for fact in mixed[:true]), *((fact[1], False) for fact in mixed[true:])]
    return [demo(claim, str(truth)) for claim, truth in shuffled(claims, "truthy", "shown in order")]


def _true(facts: Iterable[_Fact]) -> list[Row]:
    return _questions([true for true, _ in facts], truth=True)


def _false(facts: Iterable[_Fact]) -> list[Row]:
    return _questions([false for _, false in facts], truth=False)


def _questions(claims: Iterable[str], *, truth: bool) -> list[Row]:
    return [question(claim, str(truth), str(not truth)) for claim in claims]
