"""Families of probe items out of real text, each graded, each beside a neutral control.

Idea: the general mode reads its context, the shallow one recites what is usual. Real text holds places where the two
disagree, and a passage or a list can be planted, in the text's own tokens, where they must. All answers are single
tokens, so a reading costs one forward pass a prompt. Alternatives: questions in words (a model of a million parameters
answers none of them) or synthetic tasks (the embedded testbeds are that). The price: every family here is a kind of
looking up, so that they are related, and what they say of a model is how it uses its context, no more.

    induction   A came before, followed by B, as it is again; the corpus' favourite after A is C: correct B, shallow C
    passage     the beginning of a passage quoted before, from another place of the domain; what followed there is B, the
                corpus' favourite after its last token is C: correct B, shallow C
    rebinding   lines of names and values, in which one name had a value and lastly another: correct the last, shallow the
                first
    binding     two names of two words that end alike, each with its value: correct its own, shallow the other's

Levels, easy to hard: induction by how strong the favourite is (its share after A below .12, above), passage by how many
tokens of it are shown again (6, 1), rebinding by how often the first value was given (1, 2, 3), binding by how often
the other name was given after the right one (0, that is before it, 1, 2).

Controls ask for the same knowledge without the temptation:
    induction   an A that did not come before: C, or a token D as frequent as C that rarely follows A
    passage     the same, in the prompt of a passage item: it goes on with the favourite itself: C, or D as frequent
    rebinding   the first value belonged to other names: the name's only value, or that
    binding     the other name ends otherwise: its own value, or the other's

Every prompt has 48 tokens or fewer, and no end of text in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from probes import Corpus, Ids, Item

from curriculum.units import keyed_seed

TEMPTATION = ((0.0, 0.12), (0.12, 1.01))  # share of the favourite after A; of strong ones (.3) reviews have 14 in 70,000 tokens
SHOWN_AGAIN = (6, 1)  # tokens of a passage
FIRST_VALUE = (1, 2, 3)  # lines with the first value
OTHER_NAME = (0, 1, 2)  # how often the other name is given after the right one; 0: before it
LEVELS: Mapping[str, int] = {
    "induction": len(TEMPTATION),
    "passage": len(SHOWN_AGAIN),
    "rebinding": len(FIRST_VALUE),
    "binding": len(OTHER_NAME),
}
_OTHER_LINES = 6  # of a list


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where an item may be made.

    window (48,):  held-out tokens up to here; `truth` is what follows
    tokens:        the held-out text of the domain in one row; `words` are the tokens that stand for a word of it
    key:           decides what is drawn here
    """

    window: Ids
    truth: int
    tokens: Ids
    words: Ids
    newline: int
    corpus: Corpus
    key: int

    def random(self, name: str) -> np.random.Generator:
        """Return a generator for one thing to be drawn here."""
        return np.random.Generator(np.random.Philox(keyed_seed(name, self.key)))


def induction(place: Place, *, level: int, control: bool) -> Item | None:
    """Return an induction item, or None where the place gives none."""
    window, corpus = place.window, place.corpus
    last, likely = int(window[-1]), int(corpus.follower[window[-1]])
    least, most = TEMPTATION[level]
    if likely < 0 or likely == last or not least <= corpus.share[last, likely] < most:
        return None
    earlier = np.flatnonzero(window[:-1] == last)
    if control:
        context = set(window.tolist())
        other = None if len(earlier) or likely in context else corpus.matched(likely, context, last, place.key)
        return None if other is None else _item(window, likely, other)
    followers = window[earlier + 1]
    if len(earlier) == 0 or (followers == likely).any() or followers[-1] != place.truth or place.truth == last:
        return None
    return _item(window, place.truth, likely)


def passage(place: Place, *, level: int, control: bool) -> Item | None:
    """Return a passage item, or None where the drawn passage gives none."""
    shown, corpus = SHOWN_AGAIN[level], place.corpus
    start = int(place.random("passage").integers(0, len(place.tokens) - shown - 1))
    quoted = place.tokens[start : start + shown + 1]
    last, follows = int(quoted[-2]), int(quoted[-1])
    likely = int(corpus.follower[last])
    filler = place.window[2 * shown + 1 :]
    if likely < 0 or last in (likely, follows) or corpus.end_of_text in quoted or last in filler:
        return None
    around = set(filler.tolist()) | set(quoted[:-1].tolist())
    if likely in around or follows in around or (quoted[:-2] == last).any() or control != (follows == likely):
        return None
    before, after = np.split(filler, [4 + place.key % 8])
    prompt = np.concatenate([before, quoted, after, quoted[:-1]])
    other = corpus.matched(likely, around | {likely}, last, place.key) if control else likely
    return None if other is None else _item(prompt, follows, other)


def rebinding(place: Place, *, level: int, control: bool) -> Item | None:
    """Return a rebinding item, made of drawn words of the domain; any place gives one."""
    random, given = place.random("rebinding"), FIRST_VALUE[level]
    asked, first, last, *others = random.choice(place.words, 3 + 2 * _OTHER_LINES, replace=False).tolist()
    names, values = others[:_OTHER_LINES], others[_OTHER_LINES:]
    lines = [[name, value] for name, value in zip(names, values, strict=True)]
    bearers = names[:given] if control else [asked] * given
    places = np.sort(random.choice(_OTHER_LINES, given + 1, replace=False)).tolist()
    if control:
        for at, name in zip(places, bearers, strict=False):
            lines[at] = [name, first]
    else:
        for at in places[:-1]:
            lines[at] = [asked, first]
    lines[places[-1]] = [asked, last]
    prompt = [token for line in lines for token in (place.newline, *line)]
    return Item(prompt=(*prompt, place.newline, asked), correct=last, incorrect=first)


def binding(place: Place, *, level: int, control: bool) -> Item | None:
    """Return a binding item: two names planted in the text, or None where a word of them occurs there."""
    other, first, second, last, right, wrong = place.random("binding").choice(place.words, 6, replace=False).tolist()
    asked, rival = [first, last, right], [second, other if control else last, wrong]
    planted = [rival, asked] if OTHER_NAME[level] == 0 else [asked] + [rival] * OTHER_NAME[level]
    filler = place.window[3 * len(planted) + 2 :]
    if np.isin(filler, [other, first, second, last, right, wrong]).any():
        return None
    gaps = np.array_split(filler, len(planted) + 1)
    parts = [part for gap, name in zip(gaps, planted, strict=False) for part in (gap, name)]
    return _item(np.concatenate([*parts, gaps[-1], [first, last]]), right, wrong)


MAKERS: Mapping[str, Callable[..., Item | None]] = {
    "induction": induction,
    "passage": passage,
    "rebinding": rebinding,
    "binding": binding,
}


def words_of(vocabulary: Mapping[str, int]) -> Ids:
    """Return the tokens of a byte-level vocabulary that are a space and at least two letters, in order of id."""
    found = [id_ for token, id_ in vocabulary.items() if token.startswith("Ġ") and len(token) > 2 and token[1:].isalpha()]
    return np.asarray(sorted(found), dtype=np.int64)


def _item(window: Ids, correct: int, shallow: int) -> Item:
    return Item(prompt=tuple(window.tolist()), correct=int(correct), incorrect=int(shallow))
