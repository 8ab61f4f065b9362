"""Probe items from held-out text: induction against bigram.

Idea: where a token A stood earlier in the context with B after it, and the most likely follower of A in the corpus is
another token C, a model that reads its context expects B and one that recites the corpus expects C. Both are counted
from data, so any text gives items, and the same counts tell without training how far a domain pulls towards B. The
alternative, a random block shown twice, needs no text at all, but is unlike anything in training, so a model may do
well on it for other reasons. The price of natural positions is that B is also the likelier topic word; hence a second
family in which A B is planted where it does not belong.

    natural           A and B as they stand in held-out text, B being what really follows       correct B, incorrect C
    planted           A B put into held-out text at a drawn place; B as frequent as C           correct B, incorrect C
    natural-control   held-out text ending in an A that did not occur before                    correct C, incorrect D
    planted-control   the planted context with nothing planted but the last A                   correct C, incorrect D

D is a token as frequent as C that rarely follows A: telling C from D takes the bigram alone, in any mode.

Every prompt has 48 tokens: samples have 64, so every position up to there has been trained. In no prompt has C followed
A; in the controls neither of the two answers occurs, and in the planted family only what was planted. Prompts of one
family end at least 16 tokens apart.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curriculum.errors import DataError
from curriculum.streaming.documents import hash_file
from curriculum.streaming.manifest import HELDOUT, MANIFEST, Manifest, read_manifest
from curriculum.units import keyed_seed

PROMPT = 48  # tokens
APART = 16  # tokens between the ends of two prompts of a family, at least
LEAST_COUNT = 100  # how often A must be followed by something in training for C to be known
FAMILIES = ("natural", "planted", "natural-control", "planted-control")
Ids = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """A prompt (48 ids), the answer of the general mode and that of the shallow mode (in a control: C and D)."""

    prompt: tuple[int, ...]
    correct: int
    incorrect: int

    def row(self) -> dict[str, Any]:
        """Return the item as a line of an item file."""
        answers = {"correct_answer": [self.correct], "incorrect_answer": [self.incorrect]}
        return {"split": "test", "prompt": list(self.prompt)} | answers


@dataclass(frozen=True, kw_only=True, slots=True)
class DomainCount:
    """What a scan of held-out text finds: at `conflicts` positions A came before, followed by B != C.

    b, c:       how often B, and C, really followed
    ratio:      b / (b + c), the pull of this domain towards the general mode
    items:      items taken from this domain, by family
    """

    heldout_tokens: int
    conflicts: int
    b: int
    c: int
    ratio: float
    items: Mapping[str, int]


class Corpus:
    """Counts over the training text of all domains, each domain weighing the same.

    follower (V,):     C, the most likely follower of each token; -1 where too few were seen
    share (V, V):      P(next | token)
    frequency (V,):    share of each token in all text
    """

    def __init__(self, streams: Mapping[str, Ids], vocabulary: int, end_of_text: int) -> None:
        pairs = np.zeros((vocabulary, vocabulary))
        seen = np.zeros(vocabulary)
        for tokens in streams.values():
            counts = np.bincount(tokens[:-1] * vocabulary + tokens[1:], minlength=vocabulary**2)
            pairs += counts.reshape(vocabulary, vocabulary) / len(tokens)
            seen += np.bincount(tokens[:-1], minlength=vocabulary)
        pairs[end_of_text, :] = pairs[:, end_of_text] = 0
        self.end_of_text, self.vocabulary = end_of_text, vocabulary
        self.share = pairs / np.maximum(pairs.sum(axis=1, keepdims=True), 1e-12)
        self.frequency = pairs.sum(axis=1) / pairs.sum()
        self.follower = np.where(seen >= LEAST_COUNT, pairs.argmax(axis=1), -1)
        self.follower[end_of_text] = -1
        self._by_frequency = np.argsort(self.frequency, kind="stable")
        self._rank = np.argsort(self._by_frequency)

    def matched(self, token: int, barred: set[int], after: int, key: int) -> int | None:
        """Return a token about as frequent as `token`, rare after `after`, not in `barred`; `key` draws one of four."""
        rank = int(self._rank[token])
        near = sorted(range(max(0, rank - 12), min(self.vocabulary, rank + 13)), key=lambda other: abs(other - rank))
        rare = 0.1 * self.share[after, token]
        candidates = [int(self._by_frequency[other]) for other in near]
        candidates = [
            other
            for other in candidates
            if other not in barred
            and self.share[after, other] < rare
            and 0.5 < self.frequency[other] / self.frequency[token] < 2
        ]
        return candidates[key % min(4, len(candidates))] if candidates else None


def read_stream(folder: Path) -> tuple[Manifest, Ids]:
    """Return the manifest of a packed split and its tokens in one row."""
    from curriculum.streaming.mosaic import MDSReader

    shards = json.loads((folder / "index.json").read_text())["shards"]
    rows = [row["tokens"] for shard in shards for row in MDSReader.from_json(str(folder), None, shard)]
    if not rows:
        raise DataError(f"{folder} holds no sample; hold out more of it")
    return read_manifest(folder), np.concatenate(rows).astype(np.int64)


def make_probes(streams: Mapping[str, Path], out: Path, *, items: int = 1200, seed: int = 0) -> dict[str, DomainCount]:
    """Write `<out>/<family>.jsonl` for the four families and `<out>/scan.json`; return what the scan counted.

    streams:  {domain: packed stream}, all with one tokenizer
    items:    wanted in each family, shared equally by the domains (rounded down)
    Domains alternate and items are in keyed order, so that any stretch of a file is balanced and as good as any other.
    What is there already, made from the same streams, is left.
    Raises DataError if the tokenizers differ or a domain has too few items.
    """
    made_from = _fingerprint(streams, items, seed)
    done = _read_scan(out, made_from)
    if done is not None:
        return done
    training = {name: read_stream(folder) for name, folder in streams.items()}
    manifests = [manifest for manifest, _ in training.values()]
    if len({manifest.tokenizer_sha256 for manifest in manifests}) != 1 or manifests[0].end_of_text is None:
        raise DataError("probes need streams packed with one tokenizer and with an end of text after each document")
    texts = {name: tokens for name, (_, tokens) in training.items()}
    corpus = Corpus(texts, manifests[0].vocabulary, manifests[0].end_of_text)
    chosen: dict[str, dict[str, list[Item]]] = {family: {} for family in FAMILIES}
    counts = {}
    for name, folder in streams.items():
        heldout = read_stream(folder / HELDOUT)[1]
        for family in FAMILIES:
            chosen[family][name] = _choose(family, name, heldout, corpus, wanted=items // len(streams), seed=seed)
        taken = {family: len(chosen[family][name]) for family in FAMILIES}
        counts[name] = scan(heldout, corpus, taken)
    _write(chosen, counts, out, made_from)
    return counts


def _fingerprint(streams: Mapping[str, Path], items: int, seed: int) -> str:
    manifests = {name: hash_file(folder / MANIFEST) for name, folder in streams.items()}
    rules = hash_file(Path(__file__))  # another version of this file makes other items
    return hashlib.sha256(json.dumps([manifests, rules, items, seed]).encode()).hexdigest()


def _read_scan(out: Path, made_from: str) -> dict[str, DomainCount] | None:
    """Return the counts of a finished `out` made from just this, else None; scan.json is written last."""
    try:
        document = json.loads((out / "scan.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if document.get("made_from") != made_from or not all((out / f"{family}.jsonl").exists() for family in FAMILIES):
        return None
    return {name: DomainCount(**count) for name, count in document["domains"].items()}


def scan(tokens: Ids, corpus: Corpus, items: Mapping[str, int]) -> DomainCount:
    """Count, at every position where A came before with B != C after it, how often B and C really follow."""
    followed_by_b = followed_by_c = conflicts = 0
    for end in range(PROMPT, len(tokens) - 1):
        found = _conflict(tokens[end - PROMPT + 1 : end + 1], corpus)
        if found is not None:
            conflicts += 1
            followed_by_b += int(tokens[end + 1] == found[0])
            followed_by_c += int(tokens[end + 1] == found[1])
    return DomainCount(
        heldout_tokens=len(tokens),
        conflicts=conflicts,
        b=followed_by_b,
        c=followed_by_c,
        ratio=round(followed_by_b / max(1, followed_by_b + followed_by_c), 4),
        items=items,
    )


def _conflict(window: Ids, corpus: Corpus) -> tuple[int, int] | None:
    """Return (B, C) if the window's last token A came before, last followed by B != C and never by C; else None."""
    last = int(window[-1])
    likely = int(corpus.follower[last])
    earlier = np.flatnonzero(window[:-1] == last)
    if likely < 0 or len(earlier) == 0 or corpus.end_of_text in window:
        return None
    followers = window[earlier + 1]
    copied = int(followers[-1])
    return None if copied == last or (followers == likely).any() else (copied, likely)


def _choose(family: str, domain: str, tokens: Ids, corpus: Corpus, *, wanted: int, seed: int) -> list[Item]:
    """Take `wanted` items in keyed order, their ends APART tokens apart, no prompt twice."""
    make = {"natural": _natural, "planted": _planted, "natural-control": _natural_control}.get(family, _planted_control)
    # Both planted families draw at the same places, and for both the key of a place is the same.
    kind = family.removesuffix("-control")
    generator = np.random.Generator(np.random.Philox(keyed_seed("probe", kind, domain, seed)))
    chosen: dict[tuple[int, ...], Item] = {}
    taken = np.zeros(len(tokens) + APART, dtype=bool)
    for end in generator.permutation(np.arange(PROMPT, len(tokens) - 1)).tolist():
        if len(chosen) == wanted:
            break
        window = tokens[end - PROMPT + 1 : end + 1]
        if taken[end] or corpus.end_of_text in window:
            continue
        item = make(window, int(tokens[end + 1]), corpus, keyed_seed("probe", kind, domain, seed, end))
        if item is not None and item.prompt not in chosen:
            chosen[item.prompt] = item
            taken[max(0, end - APART + 1) : end + APART] = True
    if len(chosen) < wanted:
        raise DataError(
            f"{domain}: wanted {wanted} {family} items, found {len(chosen)} in {len(tokens)} held-out tokens; hold out "
            f"more (--heldout) or ask for fewer items"
        )
    return list(chosen.values())


def _natural(window: Ids, truth: int, corpus: Corpus, _key: int) -> Item | None:
    found = _conflict(window, corpus)
    if found is None or found[0] != truth:
        return None
    return Item(prompt=tuple(window.tolist()), correct=found[0], incorrect=found[1])


def _natural_control(window: Ids, _truth: int, corpus: Corpus, key: int) -> Item | None:
    last = int(window[-1])
    likely = int(corpus.follower[last])
    context = set(window.tolist())
    if likely < 0 or likely in context or last in window[:-1]:
        return None
    other = corpus.matched(likely, context, last, key)
    return None if other is None else Item(prompt=tuple(window.tolist()), correct=likely, incorrect=other)


def _plant(window: Ids, corpus: Corpus, key: int) -> tuple[Ids, int, int] | None:
    """Return (the window with a drawn A as its last token, C, another token as frequent); A, C, it: not in the window."""
    context = set(window[:-1].tolist())
    known = np.flatnonzero(corpus.follower >= 0)
    weights = np.cumsum(corpus.frequency[known])
    drawn = (key >> 8) % 2**32 / 2**32 * weights[-1]
    last = int(known[np.searchsorted(weights, drawn, side="right")])
    likely = int(corpus.follower[last])
    if last in context or likely in context or likely == last:
        return None
    other = corpus.matched(likely, context | {last}, last, key)
    return None if other is None else (np.append(window[:-1], last), likely, other)


def _planted(window: Ids, _truth: int, corpus: Corpus, key: int) -> Item | None:
    found = _plant(window, corpus, key)
    if found is None:
        return None
    prompt, likely, copied = found
    place = 4 + (key >> 40) % (PROMPT - 12)  # neither at the very beginning nor right before the end
    prompt[place : place + 2] = prompt[-1], copied
    return Item(prompt=tuple(prompt.tolist()), correct=copied, incorrect=likely)


def _planted_control(window: Ids, _truth: int, corpus: Corpus, key: int) -> Item | None:
    found = _plant(window, corpus, key)
    return None if found is None else Item(prompt=tuple(found[0].tolist()), correct=found[1], incorrect=found[2])


def _write(
    chosen: Mapping[str, Mapping[str, list[Item]]], counts: Mapping[str, DomainCount], out: Path, made_from: str
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for family, by_domain in chosen.items():
        lines = (json.dumps(item.row()) + "\n" for item in _alternating(by_domain))
        (out / f"{family}.jsonl").write_text("".join(lines), encoding="utf-8")
    document = {"made_from": made_from, "domains": {name: asdict(count) for name, count in counts.items()}}
    (out / "scan.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _alternating(by_domain: Mapping[str, list[Item]]) -> Iterator[Item]:
    for items in zip(*by_domain.values(), strict=True):
        yield from items
