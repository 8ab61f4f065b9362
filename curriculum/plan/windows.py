"""A stream's j-th draw -> (epoch, sample, window), window by window, for a run with one lane.

Idea: draws exhaust an epoch before the next begins. An epoch plays the stream's windows one after another - permuted by
a key, in sequence, or in the order of a table of scores or of a list - and the samples of a window in a keyed order, so
that reads stay inside one window (a few shards) while neighbours still mix. Nothing is stored for shuffled and
sequential orders; scored and listed orders keep their table of windows. The price is that a shuffled stream is mixed
within windows of 64 to 65,536 samples, not over all of it at once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from curriculum.plan.permutation import Integers, Words, combine_keys, permute
from curriculum.units import keyed_seed


def default_window(size: int) -> int:
    """Return the default window of a stream of `size` samples: size / 256, at least 64, at most 65,536."""
    return max(1, min(max(size // 256, 64), 65_536, size))


Located = tuple[Integers, Integers, Integers]


class Windows(Protocol):
    """How a stream's draws become samples. `length` is the number of samples in an epoch."""

    @property
    def length(self) -> int:
        """Samples in one epoch."""

    def locate(self, draws: Integers) -> Located:
        """Return (epoch, sample, number of its window) of each draw; shapes as `draws`."""

    def ranges(self, windows: Integers) -> tuple[Integers, Integers]:
        """Return the samples [start, stop) that windows of these numbers hold; shapes as `windows`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sequential:
    """Every sample in the order in which it is stored, in windows of `window` samples (the last may be shorter)."""

    length: int
    window: int

    def locate(self, draws: Integers) -> Located:
        """Return (epoch, sample, window) of each draw."""
        epochs, samples = np.divmod(draws, self.length)
        return epochs, samples, samples // self.window

    def ranges(self, windows: Integers) -> tuple[Integers, Integers]:
        """Return the samples [start, stop) of each window."""
        return _even_ranges(windows, self.window, self.length)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shuffled:
    """Full windows in a keyed order, the short last one (if any) at a keyed place; samples permuted inside a window."""

    length: int
    window: int
    key: int

    def locate(self, draws: Integers) -> Located:
        """Return (epoch, sample, window) of each draw."""
        epochs, rest = np.divmod(draws, self.length)
        samples, windows = self._locate(rest, *_epoch_keys(self.key, epochs))
        return epochs, samples, windows

    def ranges(self, windows: Integers) -> tuple[Integers, Integers]:
        """Return the samples [start, stop) of each window."""
        return _even_ranges(windows, self.window, self.length)

    def _locate(self, rest: Integers, keys: Words, places: Integers) -> tuple[Integers, Integers]:
        """Locate the `rest`-th draws of epochs with keys[places]."""
        full, short = divmod(self.length, self.window)
        short_start = np.full(len(rest), self.length)
        if short:
            short_start = np.asarray([keyed_seed(int(key), "short") % (full + 1) for key in keys])[places] * self.window
        key = keys[places]
        in_short = (rest >= short_start) & (rest < short_start + short)
        windows = np.full_like(rest, full)
        turns = np.where(rest >= short_start + short, rest - short, rest)
        windows[~in_short] = permute(turns[~in_short] // self.window, max(full, 1), key[~in_short])
        inside = np.where(in_short, rest - short_start, turns % self.window)
        lengths = np.where(in_short, short, self.window)
        return windows * self.window + permute(inside, lengths, combine_keys(key, windows)), windows


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tabled:
    """Windows in the order of a table: `starts` and `stops`, both of shape (windows,); samples permuted inside."""

    starts: Integers
    stops: Integers
    key: int

    @property
    def length(self) -> int:
        """Samples in one epoch."""
        return int((self.stops - self.starts).sum())

    def locate(self, draws: Integers) -> Located:
        """Return (epoch, sample, window) of each draw."""
        lengths = self.stops - self.starts
        ends = np.cumsum(lengths)
        epochs, rest = np.divmod(draws, int(ends[-1]))
        windows = np.searchsorted(ends, rest, side="right")
        inside = rest - (ends - lengths)[windows]
        keys, places = _epoch_keys(self.key, epochs)
        samples = self.starts[windows] + permute(inside, lengths[windows], combine_keys(keys[places], windows))
        return epochs, samples, windows

    def ranges(self, windows: Integers) -> tuple[Integers, Integers]:
        """Return the samples [start, stop) of each window."""
        return self.starts[windows], self.stops[windows]


def same_order(one: Windows, other: Windows) -> bool:
    """Whether both play the same samples in the same order."""
    return one is other or (type(one) is type(other) and order_key(one) == order_key(other))


def order_key(windows: Windows) -> int:
    """Return a number that tells orders apart: by their kind, windows and keys."""
    if isinstance(windows, Tabled):
        table = hashlib.blake2b(windows.starts.tobytes() + windows.stops.tobytes(), digest_size=16).hexdigest()
        return keyed_seed("table", table, windows.key)
    return keyed_seed(repr(windows))


def _epoch_keys(key: int, epochs: Integers) -> tuple[Words, Integers]:
    """Return one key for each different epoch, and for each element which of them is its own."""
    different, places = np.unique(epochs, return_inverse=True)
    keys = np.asarray([keyed_seed(key, "epoch", int(epoch)) for epoch in different], dtype=np.uint64)
    return keys, places.ravel()


def _even_ranges(windows: Integers, window: int, length: int) -> tuple[Integers, Integers]:
    starts = windows * window
    return starts, np.minimum(starts + window, length)
