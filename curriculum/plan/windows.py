"""A stream's j-th draw -> (epoch, sample), window by window.

Idea: draws exhaust an epoch before the next begins. An epoch plays the stream's windows one after another - permuted by
a key, in sequence, or in the order of a table of scores or of a list - and the samples of a window in a keyed order, so
that reads stay inside one window (a few shards) while neighbours still mix. Nothing is stored for shuffled and
sequential orders; scored and listed orders keep their table of windows. The price is that a shuffled stream is mixed
within windows of 64 to 65,536 samples, not over all of it at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from curriculum.plan.permutation import Integers, combine_keys, permute
from curriculum.units import keyed_seed


def default_window(size: int) -> int:
    """Return the default window of a stream of `size` samples: size / 256, at least 64, at most 65,536."""
    return max(1, min(max(size // 256, 64), 65_536, size))


class Windows(Protocol):
    """How a stream's draws become samples. `length` is the number of samples in an epoch."""

    @property
    def length(self) -> int:
        """Samples in one epoch."""

    def locate(self, draws: Integers) -> tuple[Integers, Integers]:
        """Return (epoch, sample) of each draw; shapes as `draws`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sequential:
    """Every sample in the order in which it is stored."""

    length: int

    def locate(self, draws: Integers) -> tuple[Integers, Integers]:
        """Return (epoch, sample) of each draw."""
        epochs, samples = np.divmod(draws, self.length)
        return epochs, samples


@dataclass(frozen=True, kw_only=True, slots=True)
class Shuffled:
    """Full windows in a keyed order, the short last one (if any) at a keyed place; samples permuted inside a window."""

    length: int
    window: int
    key: int

    def locate(self, draws: Integers) -> tuple[Integers, Integers]:
        """Return (epoch, sample) of each draw."""
        epochs, rest = np.divmod(draws, self.length)
        samples = np.empty_like(draws)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            samples[chosen] = self._locate(rest[chosen], keyed_seed(self.key, "epoch", int(epoch)))
        return epochs, samples

    def _locate(self, rest: Integers, key: int) -> Integers:
        full, short = divmod(self.length, self.window)
        short_start = (keyed_seed(key, "short") % (full + 1)) * self.window if short else self.length
        in_short = (rest >= short_start) & (rest < short_start + short)
        places = np.where(rest >= short_start + short, rest - short, rest)
        windows = np.full_like(rest, full)
        windows[~in_short] = permute(places[~in_short] // self.window, max(full, 1), key)
        inside = np.where(in_short, rest - short_start, places % self.window)
        lengths = np.where(in_short, short, self.window)
        return windows * self.window + permute(inside, lengths, combine_keys(key, windows))


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

    def locate(self, draws: Integers) -> tuple[Integers, Integers]:
        """Return (epoch, sample) of each draw."""
        lengths = self.stops - self.starts
        ends = np.cumsum(lengths)
        epochs, rest = np.divmod(draws, int(ends[-1]))
        windows = np.searchsorted(ends, rest, side="right")
        inside = rest - (ends - lengths)[windows]
        samples = np.empty_like(draws)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            keys = combine_keys(keyed_seed(self.key, "epoch", int(epoch)), windows[chosen])
            samples[chosen] = self.starts[windows[chosen]] + permute(inside[chosen], lengths[windows[chosen]], keys)
        return epochs, samples
