"""`scan`: how strongly each stream and each of its windows pulls towards the general mode, without any training.

Idea: two passes. The first looks at a bounded sample of all streams for the most likely follower of every token
(`scan_followers`), the second reads every sample once and counts what only a reader of the context and only a parrot would
have foretold (`conflict_counts`), by window. What is held is one batch, the followers, and six numbers a window. A single
pass would have to count with followers that it is still learning, so that the same window would score differently at the
beginning and at the end of the data.

The pulls are of streams scanned together: the parrot recites what they have in common. Scanned with others, a stream gets
other numbers; compare only within one scan.

    kept = Kept(folder)                       # optional: counts so far, so that a scan goes on where it was
    result = scan([(source, window), ...], kept=kept)
    result.pulls, result.scores
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from zipfile import BadZipFile

import numpy as np

from curriculum.attribution.conflict_counts import COLUMNS, FORMULA, Batch, Integers, Tokens, count_conflicts
from curriculum.attribution.scan_followers import PAIRS, Followers, sampled_ranges, shared_pairs
from curriculum.attribution.scan_pull import Numbers, StreamCounts, StreamPull, stream_pull, window_scores
from curriculum.attribution.scan_reading import SampleBatches
from curriculum.streaming.shards import Source

Counted = tuple[int, int, Integers]  # samples, tokens, counts (windows, 6)
Progress = Callable[[str, int, int], None]  # what is done, tokens so far, tokens in all
_KEEP_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ScanResult:
    """Of each stream, in the order given: its pull, its counts and its windows' scores (windows,)."""

    pulls: tuple[StreamPull, ...]
    counts: tuple[StreamCounts, ...]
    scores: tuple[Numbers, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """Where counts are kept while a scan goes on, so that it survives a kill; files of a few bytes a window."""

    folder: Path

    def load(self, key: str, windows: int) -> Counted | None:
        """Return (samples, tokens, counts) of an earlier scan of this very stream, None if there is none."""
        try:
            with np.load(self.folder / f"{key}.npz") as kept:
                done, tokens, counts = int(kept["done"]), int(kept["tokens"]), np.asarray(kept["counts"], np.int64)
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None
        return (done, tokens, counts) if counts.shape == (windows, len(COLUMNS)) else None

    def save(self, key: str, done: int, tokens: int, counts: Integers) -> None:
        """Keep the counts of a stream's first `done` samples, whole or not at all.

        A folder that cannot be written does not stop a scan: it costs the going on, nothing else.
        """
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            partial = self.folder / f".{key}.{os.getpid()}.npz"
            np.savez(partial, done=done, tokens=tokens, counts=counts)
            partial.replace(self.folder / f"{key}.npz")


def scan(
    streams: Sequence[tuple[Source, int]],
    *,
    kept: Kept | None = None,
    progress: Progress = lambda stage, done, total: None,
    pairs: int = PAIRS,
) -> ScanResult:
    """Scan streams, each with its window in samples; every sample is read once, and some for the followers before.

    `pairs` bounds the first pass. Raises DataError (no tokens, damaged data), ResourceError.
    """
    readers = [SampleBatches(source) for source, _ in streams]
    first = _first_pass(readers, pairs, progress)
    followers = first.likely()
    total = sum(reader.samples * reader.tokens_per_sample() for reader in readers)
    # What the first pass saw is part of it: an index without hashes says the same of all data of its size.
    indexes = [(reader.source.name, reader.source.index.digest) for reader in readers]
    corpus = _key("corpus", FORMULA, pairs, indexes, first.digest())
    before, counts = 0, []
    for number, (reader, (_, window)) in enumerate(zip(readers, streams, strict=True)):
        tally = _Tally(reader, window, followers)
        tally.run(kept, _key(corpus, number, window), partial(_report, progress, before, total))
        before += reader.samples * reader.tokens_per_sample()
        counts.append(tally.result())
    scores = window_scores(counts)
    pulls = tuple(stream_pull(stream, own) for stream, own in zip(counts, scores, strict=True))
    return ScanResult(pulls=pulls, counts=tuple(counts), scores=tuple(scores))


def likely_followers(
    readers: Sequence[SampleBatches], *, pairs: int = PAIRS, progress: Progress = lambda stage, done, total: None
) -> Tokens:
    """Return the most likely follower of each token, from at most about `pairs` pairs of all streams."""
    return _first_pass(readers, pairs, progress).likely()


def _first_pass(readers: Sequence[SampleBatches], pairs: int, progress: Progress) -> Followers:
    lengths = [reader.tokens_per_sample() - 1 for reader in readers]
    given = shared_pairs([reader.samples * length for reader, length in zip(readers, lengths, strict=True)], pairs)
    followers, done = Followers(), 0
    for reader, length, wanted in zip(readers, lengths, given, strict=True):
        for start, stop in sampled_ranges(reader.samples, -(-wanted // length), reader.source.name):
            for _, batch in reader.between(start, stop):
                followers.add(batch)
                done += batch.tokens.size
                progress("followers", min(done, sum(given)), sum(given))
        followers.end_stream()
    return followers


class _Tally:
    """The counts of one stream, by window."""

    def __init__(self, reader: SampleBatches, window: int, followers: Tokens) -> None:
        self._reader, self._window, self._followers = reader, window, followers
        # Samples and tokens done, and their counts: one value, so that no interrupt leaves a batch counted twice.
        self._state: Counted = 0, 0, np.zeros((-(-reader.samples // window), len(COLUMNS)), np.int64)

    def run(self, kept: Kept | None, key: str, progress: Callable[[int], None]) -> None:
        """Count what is not counted yet; on the way, and when interrupted, keep what is."""
        found = None if kept is None else kept.load(key, len(self._state[2]))
        self._state = found or self._state
        first, saved = self._state[0], monotonic()
        try:
            for start, batch in self._reader.between(first, self._reader.samples):
                self._add(start, batch)
                progress(self._state[0] * self._reader.tokens_per_sample())
                if kept is not None and monotonic() - saved > _KEEP_SECONDS:
                    kept.save(key, *self._state)
                    saved = monotonic()
        finally:
            if kept is not None and self._state[0] > first:
                kept.save(key, *self._state)

    def result(self) -> StreamCounts:
        """Return the counts."""
        reader, (_, tokens, counts) = self._reader, self._state
        return StreamCounts(name=reader.source.name, samples=reader.samples, window=self._window, tokens=tokens, counts=counts)

    def _add(self, start: int, batch: Batch) -> None:
        _, tokens, counts = self._state
        windows = np.arange(start, start + len(batch.tokens)) // self._window
        begins = np.flatnonzero(np.concatenate([[True], windows[1:] != windows[:-1]]))
        found = np.add.reduceat(count_conflicts(batch, self._reaching(int(batch.tokens.max()))), begins, axis=0)
        more = counts.copy()
        more[windows[begins]] += found
        self._state = start + len(batch.tokens), tokens + batch.tokens.size, more

    def _reaching(self, token: int) -> Tokens:
        """Return the followers as a table that reaches beyond `token`."""
        if token + 1 >= len(self._followers):
            more = np.full(token + 2 - len(self._followers), -1, np.int32)
            self._followers = np.concatenate([self._followers, more])
        return self._followers


def _report(progress: Progress, before: int, total: int, done: int) -> None:
    progress("count", before + done, total)


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
