"""The practice stream: half of what a start is trained on, samples in which something must be looked up.

Idea: passages quoted twice, names that end alike, lists whose names come back and change their value, all of the domains'
own training tokens. Copies stand at drawn distances. Where a chunk is always shown again at one distance (as in
`examples/real_text`), what is learnt is to look back so many places: margins of planted names were then -.35, +.40 and -.01
at three distances. Alternative: text alone (nothing is looked up within a million tokens). The price: see `starts.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import probes
import text_families
from made import fingerprint, made_once
from probes import Ids, read_stream
from text_families import words_of

from curriculum.streaming.manifest import MANIFEST, TOKENIZER
from curriculum.streaming.mds import write_stream
from curriculum.streaming.tokenizer import load_tokenizer
from curriculum.units import keyed_seed

PRACTICE = 24_576  # samples
TIME = 64  # tokens of a sample
_PASSAGE = (3, 26)  # tokens of a quoted passage, at least and below
_CHANGES = 0.2  # of a list's lines give their name a new value


def make_practice(folder: Path, streams: Mapping[str, Path]) -> Path:
    """Write the practice stream unless `folder` holds it whole, made by these rules from these streams; return `folder`.

    Samples have 64 tokens, a third of each kind; no end of text is put into them, but passages may hold one.
    """
    manifests = [(path / MANIFEST).read_text() for path in streams.values()]
    rules = (__file__, text_families.__file__, probes.__file__)
    return made_once(folder, fingerprint(rules, PRACTICE, manifests), lambda made: _write(made, list(streams.values())))


def _write(folder: Path, streams: list[Path]) -> None:
    tokenizer = load_tokenizer(streams[0] / TOKENIZER)
    words, newline = words_of(tokenizer.tokenizer.get_vocab()), int(tokenizer.encode(["\n"])[0][0])
    texts = [read_stream(path)[1] for path in streams]
    random = np.random.Generator(np.random.Philox(keyed_seed("practice")))
    rows = np.empty((PRACTICE, TIME), dtype=np.uint16)
    for row in range(PRACTICE):
        rows[row] = _sample(row // len(texts) % 3, texts[row % len(texts)], words, newline, random)
    write_stream(folder, {"tokens": rows})
    manifest = json.loads((streams[0] / MANIFEST).read_text())
    kept = {entry: manifest[entry] for entry in ("vocabulary", "tokenizer_sha256", "tokens_per_sample")}
    (folder / MANIFEST).write_text(json.dumps({"name": "practice", **kept}))


def _sample(kind: int, text: Ids, words: Ids, newline: int, random: np.random.Generator) -> Ids:
    if kind == 2:
        return _list(words, newline, random)
    parts = _quotation(text, random) if kind == 0 else _names(words, random)
    room = TIME - sum(len(part) for part in parts)
    start = int(random.integers(0, len(text) - room))
    cuts = np.sort(random.integers(0, room + 1, len(parts)))
    gaps = np.split(text[start : start + room], cuts)
    return np.concatenate([piece for gap, part in zip(gaps, [*parts, text[:0]], strict=True) for piece in (gap, part)])


def _quotation(text: Ids, random: np.random.Generator) -> list[Ids]:
    """Return a passage twice."""
    length = int(random.integers(*_PASSAGE))
    start = int(random.integers(0, len(text) - length))
    return [text[start : start + length]] * 2


def _names(words: Ids, random: np.random.Generator) -> list[Ids]:
    """Return two or three names that end alike, each with its value, eight mentions in drawn order."""
    count = int(random.integers(2, 4))
    drawn = random.choice(words, 2 * count + 1, replace=False)
    names = [np.asarray([drawn[1 + 2 * index], drawn[0], drawn[2 + 2 * index]]) for index in range(count)]
    return [names[index] for index in random.integers(0, count, 8)]


def _list(words: Ids, newline: int, random: np.random.Generator) -> Ids:
    """Return lines of a name and its value; names come back, and now and then one has a new value from there on."""
    count = int(random.integers(4, 9))
    drawn = random.choice(words, min(len(words), count + TIME), replace=False)
    values, fresh = drawn[count : 2 * count].copy(), drawn[2 * count :].tolist()
    lines = []
    for name in random.integers(0, count, TIME // 3 + 1).tolist():
        if random.random() < _CHANGES:
            values[name] = fresh.pop()
        lines.append([newline, drawn[name], values[name]])
    return np.asarray(lines, dtype=np.int64).ravel()[:TIME]
