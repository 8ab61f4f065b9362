"""What windows hold, as numbers: what lets effects be foretold for windows that no run has consumed.

Idea: cheap counts over a window's samples, made once, with nothing trained: how often a token was there before in its
sample (copying), how often the pair it ends with was (continuing a pattern) or began otherwise (breaking it), how even the
tokens are, and the first principal components of the tokens' shares (what it is about). Shares add up over documents, so a
window that mixes two kinds of text lies between them, which is what a linear model wants. Tables of the user's own - the
scores of `curriculum scan`, quality classifiers, ages - are laid over the windows by overlap and used alike. Alternatives:
embeddings of a model (dearer, and a model is needed). The price: what counts do not show is left to windows' own deviations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd

from curriculum.attribution.effects_folds import Numbers
from curriculum.errors import DataError, FileError
from curriculum.mix import Mix, Order, Phase, Stream
from curriculum.plan.permutation import Integers

_BINS = 1024  # tokens are counted modulo this
_COMPONENTS = 8
_SAMPLES = 256  # of a window, evenly spaced: shares are known to some percent
_COUNTS = ("copied", "continued", "broken", "evenness")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Features:
    """Named features of windows: `values` (windows, features), each of mean 0 and about unit scale."""

    names: tuple[str, ...]
    values: Numbers

    def beside(self, other: Features) -> Features:
        """Return the features of both."""
        return Features(names=self.names + other.names, values=np.hstack([self.values, other.values]))


def no_features(windows: int) -> Features:
    """Return no features: window identity and streams alone."""
    return Features(names=(), values=np.zeros((windows, 0)))


def content_features(
    windows: pd.DataFrame,
    streams: Mapping[str, Stream],
    sizes: Mapping[str, int],
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Features:
    """Return features of the windows' tokens (`windows`: stream, start, stop). Raises DataError for data without tokens.

    `progress` is told how many windows are read, and how many there are.
    """
    counts = np.zeros((len(windows), len(_COUNTS)))
    shares = np.zeros((len(windows), _BINS))
    done = 0
    for name, own in windows.groupby("stream", sort=False):
        reader = _Reader(str(name), streams[str(name)], sizes[str(name)])
        try:
            for row, start, stop in own[["start", "stop"]].itertuples(name=None):
                progress(done, len(windows))
                counts[row], shares[row] = _look(*reader.samples(int(start), int(stop)))
                done += 1
        finally:
            reader.close()
    components = _components(shares)
    names = _COUNTS + tuple(f"tokens {number + 1}" for number in range(components.shape[1]))
    return Features(names=names, values=np.hstack([_scaled(counts), components]))


def table_features(windows: pd.DataFrame, path: Path, *, about: Sequence[str] = ()) -> Features:
    """Return the numeric columns of a Parquet table (stream, start, stop, ...) as features of `windows`.

    A window gets the mean of the rows that overlap it, by samples; what no row covers is taken as average. Raises FileError.
    """
    table = _read(path)
    names = [str(column) for column in table.select_dtypes("number") if column not in ("start", "stop")]
    names = [name for name in names if not about or name in about]
    if not names:
        raise FileError("wanted a column of numbers beside stream, start and stop, such as score", path=path)
    values = np.full((len(windows), len(names)), np.nan)
    for row, (name, start, stop) in enumerate(windows[["stream", "start", "stop"]].itertuples(index=False, name=None)):
        own = table[(table["stream"] == name) & (table["start"] < stop) & (table["stop"] > start)]
        if len(own):
            overlap = np.minimum(own["stop"], stop) - np.maximum(own["start"], start)
            values[row] = np.average(own[names].to_numpy(dtype=np.float64), axis=0, weights=overlap)
    return Features(names=tuple(f"{path.stem}: {name}" for name in names), values=_scaled(values))


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path)
    except Exception as error:  # pyarrow raises many kinds for a broken file
        raise FileError(f"wanted a Parquet table of windows: {error}", path=path) from None
    missing = [column for column in ("stream", "start", "stop") if column not in table.columns]
    if missing:
        raise FileError(f"wanted the columns stream, start, stop and features; {missing[0]!r} is missing", path=path)
    return table


class _Reader:
    """A stream's tokens by sample number: it is played in sequence, as a run would read it."""

    def __init__(self, name: str, stream: Stream, size: int) -> None:
        from dataclasses import replace

        from curriculum.streaming import StreamingDataset

        self._name = name
        whole = replace(stream, order=Order(kind="sequential"), subset=None, max_epochs=None)
        phases = (Phase(weights={name: Decimal(1)}, until=Decimal(1)),)
        self._dataset = StreamingDataset(mix=Mix(name=name, streams={name: whole}, phases=phases, samples=size), batch_size=1)

    def samples(self, start: int, stop: int) -> tuple[Integers, Integers]:
        """Return tokens and target marks, both (samples, time), of at most `_SAMPLES` samples of [start, stop)."""
        places = np.unique(np.linspace(start, stop - 1, min(_SAMPLES, stop - start)).astype(np.int64))
        samples = self._dataset.__getitems__(places)
        shapes = {np.asarray(sample.get("tokens")).shape for sample in samples}  # () of text, and where there is none
        if len(shapes) > 1 or () in shapes:
            raise DataError(
                f"stream {self._name!r}: content features want samples with a column `tokens`, all of one length, got the "
                f"columns {', '.join(samples[0])}; give --features none, or a table of your own"
            )
        tokens = np.stack([np.asarray(sample["tokens"]) for sample in samples]).astype(np.int64)
        everything = np.ones(tokens.shape[1], dtype=np.int64)
        return tokens, np.stack([np.asarray(sample.get("loss_mask", everything), dtype=np.int64) for sample in samples])

    def close(self) -> None:
        """Give the files back."""
        self._dataset.close()


def _look(tokens: Integers, targets: Integers) -> tuple[Numbers, Numbers]:
    """Return the counts and the shares of the tokens of one window's samples (samples, time)."""
    asked = targets[:, 1:].astype(bool)
    copied = _seen_before(tokens)[:, 1:]
    follows = _seen_before(tokens[:, :-1])  # the token before has been followed by something already
    continued = _seen_before(tokens[:, :-1] * (int(tokens.max()) + 1) + tokens[:, 1:])
    shares = np.bincount(tokens.ravel() % _BINS, minlength=_BINS) / tokens.size
    evenness = -float((shares[shares > 0] * np.log(shares[shares > 0])).sum())
    total = max(1, int(asked.sum()))
    broken = follows & ~continued
    return np.asarray([*(float((mark & asked).sum()) / total for mark in (copied, continued, broken)), evenness]), shares


def _seen_before(values: Integers) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Return whether each value stood earlier in its row; shape as `values`."""
    _, dense = np.unique(values, return_inverse=True)
    keys = np.arange(values.size) // values.shape[1] * (int(dense.max()) + 1) + dense.ravel()
    _, first = np.unique(keys, return_index=True)
    seen = np.ones(values.size, dtype=bool)
    seen[first] = False
    return seen.reshape(values.shape)


def _components(shares: Numbers) -> Numbers:
    """Return the first principal components, (windows, at most 8), in units of the first one's deviation."""
    centred = shares - shares.mean(axis=0)
    left, strengths, _ = np.linalg.svd(centred, full_matrices=False)
    kept = min(_COMPONENTS, int((strengths > 1e-9).sum()))
    scale = strengths[0] / np.sqrt(len(shares)) if kept else 1.0
    found: Numbers = (left * strengths)[:, :kept] / scale
    return found


def _scaled(values: Numbers) -> Numbers:
    """Return columns of mean 0 and deviation 1; what is not known is 0, and so is a column that is constant."""
    centred = np.nan_to_num(values - np.nanmean(values, axis=0))
    spread = centred.std(axis=0)
    scaled: Numbers = centred / np.where(spread > 0, spread, 1.0)
    return scaled
