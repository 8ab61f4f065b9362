"""Can the starts of the natural testbed be asked about flipped labels? Knowledge, labels in context, and their conflict.

    python examples/natural/prepare.py --size study,0.3M,1M,10M [--precision bfloat16]
    python benchmarks/natural_flips.py

Nothing is trained. A question shows excerpts, each with a label after it, and ends with another excerpt: which label? A
flipped question gives each kind of excerpt the other's usual label, so that what is known and what is shown disagree. That
says something of a mode only if a model does both alone: it must know the usual label with nothing shown (`none`), and
follow labels that mean nothing (`neutral`). Two kinds:

    reviews   sentences that raters found good or bad (mean of -4 to 4 at least 1.5 from zero)
    style     held-out text of two of the six domains

A kind's usual label is the word most typical of it against the other: the largest lead in share of its text (" good" and
" bad" would need a tokenizer that has both).

Each question is asked twice, with an excerpt of either kind, after the same labelled ones. `told apart` is the share of such
pairs in which the odds of the right label are higher where it is right: chance is 50 %, whatever a model prefers by habit,
and a model that ignores the excerpts, or repeats the label shown last, scores just that. Right means as usual where nothing is
shown, and else as shown, so that below 50 % in `flipped` is the shallow mode.
"""

from __future__ import annotations

import argparse
import io
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from setting import publish, table

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "examples" / name) for name in ("natural", "real_text")]

from prepare import DATA, DOMAINS  # noqa: E402
from probes import Ids, read_stream  # noqa: E402
from text_families import words_of  # noqa: E402

from curriculum.probe.model import Numbers  # noqa: E402
from curriculum.probe.scoring import bootstrap_interval  # noqa: E402
from curriculum.proxy.answers import ProxyAnswers  # noqa: E402
from curriculum.proxy.checkpoint import load_proxy  # noqa: E402
from curriculum.streaming.manifest import HELDOUT, TOKENIZER  # noqa: E402
from curriculum.streaming.tokenizer import TextTokenizer, load_tokenizer  # noqa: E402

QUESTIONS = 600
EXCERPT = 8  # tokens of held-out text
SENTENCE = (4, 15)  # tokens of a review's sentence, at least and at most
CLEAR = 1.5  # a rating this far from zero is good or bad
LABELLED = {"reviews": 2, "style": 4}  # excerpts shown; with them a prompt stays within the 64 tokens of a sample
SHOWN = ("none", "usual", "neutral", "flipped")
Tokens = list[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """Excerpts of two kinds, and the usual label of each, one token."""

    excerpts: tuple[Sequence[Tokens], Sequence[Tokens]]
    labels: tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """Two prompts alike but for their last excerpt, of one kind and of the other, and each kind's right label."""

    prompts: tuple[Tokens, Tokens]
    labels: tuple[int, int]


def reviews(tokenizer: TextTokenizer, package: Path) -> Iterator[Kind]:
    """Yield the one kind: short sentences of films' and products' reviews, by what raters said of them."""
    with zipfile.ZipFile(package) as files:
        inner = files.read("vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz")
    good, bad = [], []
    with tarfile.open(fileobj=io.BytesIO(inner)) as texts:
        for name in ("amazonReview", "movieReview"):
            file = texts.extractfile(f"hutto_ICWSM_2014/{name}Snippets_GroundTruth.txt")
            rows = [line.split("\t", 2) for line in file.read().decode("utf-8", "replace").splitlines()] if file else []
            for rating, sentence in ((float(row[1]), row[2].strip()) for row in rows if len(row) == 3):
                tokens = [int(token) for token in tokenizer.encode([sentence])[0]]
                if abs(rating) >= CLEAR and SENTENCE[0] <= len(tokens) <= SENTENCE[1]:
                    (good if rating > 0 else bad).append(tokens)
    words = words_of(tokenizer.tokenizer.get_vocab())
    shares = [_share(np.concatenate(side), words, tokenizer.vocabulary) for side in (good, bad)]
    yield Kind(excerpts=(good, bad), labels=_typical(words, *shares))


def styles(tokenizer: TextTokenizer, data: Path) -> Iterator[Kind]:
    """Yield every two domains, with the word of each that is most typical: the largest lead in share of its text."""
    words = words_of(tokenizer.tokenizer.get_vocab())
    share, excerpts = {}, {}
    for name in DOMAINS:
        share[name] = _share(read_stream(data / "streams" / name)[1], words, tokenizer.vocabulary)
        text = read_stream(data / "streams" / name / HELDOUT)[1]
        rows = text[: len(text) // EXCERPT * EXCERPT].reshape(-1, EXCERPT)
        excerpts[name] = rows[(rows != tokenizer.end_of_text).all(axis=1)].tolist()
    for one, other in combinations(DOMAINS, 2):
        labels = _typical(words, share[one], share[other])
        yield Kind(excerpts=(excerpts[one], excerpts[other]), labels=labels)


def _share(text: Ids, words: Ids, vocabulary: int) -> Numbers:
    counts = np.bincount(text, minlength=vocabulary)
    share: Numbers = counts[words] / counts.sum()
    return share


def _typical(words: Ids, one: Numbers, other: Numbers) -> tuple[int, int]:
    lead = one - other
    return int(words[lead.argmax()]), int(words[lead.argmin()])


def questions(kinds: Sequence[Kind], words: Sequence[int], newline: int, shown: str, labelled: int) -> list[Question]:
    """Draw as many questions of each kind; whatever is shown, they have the same excerpts in the same order."""
    random = np.random.Generator(np.random.Philox(1))
    return [
        _question(kinds[index % len(kinds)], random, words, newline, shown, labelled)
        for index in range(QUESTIONS // len(kinds) * len(kinds))
    ]


def _question(
    kind: Kind, random: np.random.Generator, words: Sequence[int], newline: int, shown: str, labelled: int
) -> Question:
    each = labelled // 2
    chosen = [[side[at] for at in random.choice(len(side), each + 1, replace=False)] for side in kind.excerpts]
    order = random.permutation(np.repeat([0, 1], each)).tolist()
    free = [word for word in words if word not in kind.labels and not any(word in text for side in chosen for text in side)]
    neutral = tuple(random.choice(free, 2, replace=False).tolist())
    labels = {"neutral": neutral, "flipped": kind.labels[::-1]}.get(shown, kind.labels)
    left = [iter(side[1:]) for side in chosen]
    lines = [] if shown == "none" else [[*next(left[which]), labels[which], newline] for which in order]
    before = [newline, *(token for line in lines for token in line)]
    return Question(prompts=([*before, *chosen[0][0]], [*before, *chosen[1][0]]), labels=labels)


def answers(model: ProxyAnswers, asked: Sequence[Question]) -> tuple[Numbers, Numbers]:
    """Return of each question whether its two excerpts are told apart (1, 0), and the mean margin P(right) - P(other)."""
    prompts = [prompt for question in asked for prompt in question.prompts]
    labels = [[[question.labels[index]] for question in asked for _ in question.prompts] for index in (0, 1)]
    found = model.answer_log_probabilities(prompts, labels)
    first, second = (np.concatenate(log).reshape(-1, 2) for log in found)  # (questions, excerpt)
    odds = first - second
    margin = np.exp(first) - np.exp(second)
    return (odds[:, 0] > odds[:, 1]).astype(float), (margin[:, 0] - margin[:, 1]) / 2


def rows_of(
    starts: Path, sizes: Sequence[str], kinds: Sequence[Kind], name: str, words: Sequence[int], newline: int
) -> Iterator[list[str]]:
    """Yield a row for each size and for what is shown."""
    for size in sizes:
        model = ProxyAnswers(load_proxy(starts / size))
        for shown in SHOWN:
            apart, margin = answers(model, questions(kinds, words, newline, shown, LABELLED[name]))
            low, high = bootstrap_interval(apart)
            least, most = bootstrap_interval(margin)
            yield [
                size,
                shown,
                f"{apart.mean():.1%} [{low:.1%}, {high:.1%}]",
                f"{margin.mean():+.4f} [{least:+.4f}, {most:+.4f}]",
            ]


def main() -> None:
    """Ask every start and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--sizes", default="study,0.3M,1M,10M")
    arguments = parser.parse_args()
    package = next((arguments.data / "packages").glob("vaderSentiment-0.5*"), None)
    if package is None:
        raise SystemExit(f"{arguments.data}/packages has no vaderSentiment-0.5; python examples/natural/prepare.py fetches it")
    tokenizer = load_tokenizer(arguments.data / "streams" / DOMAINS[0] / TOKENIZER)
    words, newline = words_of(tokenizer.tokenizer.get_vocab()).tolist(), int(tokenizer.encode(["\n"])[0][0])
    all_kinds = {"reviews": list(reviews(tokenizer, package)), "style": list(styles(tokenizer, arguments.data))}
    parts = [
        "Told apart: share of pairs of questions, chance is 50 %. Margin: P(right label) - P(other). Intervals are of 95 %."
    ]
    for name, kinds in all_kinds.items():
        counts = (
            f"{len(kinds)} pairs of domains"
            if len(kinds) > 1
            else "{:,} good sentences, {:,} bad".format(*map(len, kinds[0].excerpts))
        )
        labels = "; ".join(" and ".join(repr(tokenizer.tokenizer.decode([label])) for label in kind.labels) for kind in kinds)
        parts.append(f"## {name}: {LABELLED[name]} labelled excerpts, {counts}")
        parts.append(f"Usual labels: {labels}.")
        rows = rows_of(arguments.data / "starts", arguments.sizes.split(","), kinds, name, words, newline)
        parts.append(table(["start", "labels shown", "told apart", "margin"], rows))
    publish(Path(__file__).with_suffix(".md"), "Flipped labels at the starts of the natural testbed", parts)


if __name__ == "__main__":
    main()
