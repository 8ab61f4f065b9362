"""Writes the item files of all families: `<out>/<family>-<level>.jsonl` and `...-control.jsonl`.

Idea: as `examples/real_text/probes.py`, with more families and with levels: places of the held-out text are walked in keyed
order, domains in turn, so that any stretch of a file is balanced and as good as any other. A probe and its control walk the
same places.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import probes
import text_families
from made import fingerprint, made_once
from probes import APART, PROMPT, Corpus, Ids, Item, read_stream
from text_families import LEVELS, MAKERS, Place, words_of

from curriculum.errors import DataError
from curriculum.streaming.documents import hash_file
from curriculum.streaming.manifest import HELDOUT, MANIFEST, TOKENIZER
from curriculum.streaming.tokenizer import load_tokenizer
from curriculum.units import keyed_seed

_WORD_COUNT = 50  # how often a word must stand in a domain's training text to be drawn there


def make_items(streams: Mapping[str, Path], out: Path, *, items: int, seed: int = 0) -> dict[str, Path]:
    """Return {family-level[-control]: item file}, made unless `out` holds them whole, made by these rules from these streams.

    streams:  {domain: packed stream}, all with one tokenizer
    items:    wanted in each file, shared equally by the domains (rounded down)
    Raises DataError if a domain gives too few.
    """
    names = [f"{family}-{level}{kind}" for family, level, kind in _kinds()]
    made_once(out, _fingerprint(streams, items, seed), lambda made: _write(made, streams, items, seed))
    return {name: out / f"{name}.jsonl" for name in names}


def _write(folder: Path, streams: Mapping[str, Path], items: int, seed: int) -> None:
    training = {name: read_stream(path)[1] for name, path in streams.items()}
    source = _Source(streams, training)
    for family, level, kind in _kinds():
        chosen = [source.choose(family, level, kind, name, items // len(streams), seed) for name in streams]
        lines = (json.dumps(item.row()) + "\n" for group in zip(*chosen, strict=True) for item in group)
        (folder / f"{family}-{level}{kind}.jsonl").write_text("".join(lines), encoding="utf-8")


def _kinds() -> list[tuple[str, int, str]]:
    return [
        (family, level, kind)
        for family, levels in LEVELS.items()
        for level in range(1, levels + 1)
        for kind in ("", "-control")
    ]


def _fingerprint(streams: Mapping[str, Path], items: int, seed: int) -> str:
    manifests = {name: hash_file(folder / MANIFEST) for name, folder in streams.items()}
    return fingerprint((__file__, text_families.__file__, probes.__file__), manifests, items, seed)


class _Source:
    """Held-out text of each domain, and what is usual in all of them."""

    def __init__(self, streams: Mapping[str, Path], training: Mapping[str, Ids]) -> None:
        tokenizer = load_tokenizer(next(iter(streams.values())) / TOKENIZER)
        if tokenizer.end_of_text is None:
            raise DataError("probe items need streams with an end of text after each document")
        self.corpus = Corpus(training, tokenizer.vocabulary, tokenizer.end_of_text)
        self.newline = int(tokenizer.encode(["\n"])[0][0])
        words = words_of(tokenizer.tokenizer.get_vocab())
        counts = {name: np.bincount(tokens, minlength=tokenizer.vocabulary) for name, tokens in training.items()}
        self.words = {name: words[count[words] >= _WORD_COUNT] for name, count in counts.items()}
        self.heldout = {name: read_stream(folder / HELDOUT)[1] for name, folder in streams.items()}

    def choose(self, family: str, level: int, kind: str, domain: str, wanted: int, seed: int) -> list[Item]:
        """Take `wanted` items in keyed order, their places APART tokens apart, no prompt twice."""
        tokens = self.heldout[domain]
        random = np.random.Generator(np.random.Philox(keyed_seed("natural items", family, domain, seed)))
        chosen: dict[tuple[int, ...], Item] = {}
        taken = np.zeros(len(tokens) + APART, dtype=bool)
        for end in random.permutation(np.arange(PROMPT, len(tokens) - 1)).tolist():
            if len(chosen) == wanted:
                break
            place = None if taken[end] else self._place(tokens, end, domain, keyed_seed(family, domain, seed, end))
            item = None if place is None else MAKERS[family](place, level=level - 1, control=bool(kind))
            if item is not None and item.prompt not in chosen:
                chosen[item.prompt] = item
                taken[max(0, end - APART + 1) : end + APART] = True
        if len(chosen) < wanted:
            raise DataError(
                f"{domain}: wanted {wanted} {family}-{level}{kind} items, found {len(chosen)} in {len(tokens)} held-out "
                "tokens; hold out more of it or ask for fewer items"
            )
        return list(chosen.values())

    def _place(self, tokens: Ids, end: int, domain: str, key: int) -> Place | None:
        window = tokens[end - PROMPT + 1 : end + 1]
        if self.corpus.end_of_text in window:
            return None
        return Place(
            window=window,
            truth=int(tokens[end + 1]),
            tokens=tokens,
            words=self.words[domain],
            newline=self.newline,
            corpus=self.corpus,
            key=key,
        )
