"""Which tokens only a reader of the context foretells, and which only a parrot: counted, without any model.

Idea: every target token x[t+1] after A = x[t] is asked of two predictors that know nothing but counts.

    the reader   says B, what followed A when A last stood in this context            (induction: in-context use)
    the parrot   says C, what follows A most often in the corpus                      (recites)
                 or the same once more, where two tokens a stride apart are equal     (repeats)
                 or one more, where two tokens a stride apart rise by one             (counts on)

Where both or neither are right, a token rewards both modes alike. Where exactly one is right, it rewards one mode alone:
`general` counts the reader's, `shallow` the parrot's, and pull = general / (general + shallow), McNemar's ratio of
discordant pairs. The parrot's three cues are the shallow answers of the three families that have such (memorised label,
constant answer, successive answer); strides are 1 to 8 tokens, one more is token id + 1.

The narrower `data ratio` is kept beside it: at conflicts (A stood before, its follower B is not C), how often the truth is
B among B and C. It says nothing of a stream that never contradicts the corpus (there are no conflicts), and takes the
copying of a constant answer for reading; that is why it is not the score.

Alternatives: n-grams of higher order as deeper parrots (tables that grow with the data), or a trained probe (training).
The price: what is neither in the context nor a bigram, such as a sum, nobody foretells; a stream of sums gets the
pull of chance. A context is the sample, documents that share one included, as the model sees it.

Equal tokens of one sample are brought together by sorting (sample, token, position) packed into one integer: no table over
the vocabulary, no loop over tokens, some 0.1 microseconds a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curriculum.errors import DataError

Integers = npt.NDArray[np.int64]
Tokens = npt.NDArray[np.int32]
Booleans = npt.NDArray[np.bool_]
Packed = npt.NDArray[np.unsignedinteger[Any]]

FORMULA = 1  # of these counts: another rule gets another number, and kept counts of the old one are not gone on with
STRIDES = 8
COLUMNS = ("targets", "conflicts", "conflict_b", "conflict_c", "general", "shallow")
LARGEST_TOKEN = 2**24 - 1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """Samples: `tokens` (samples, length) and `targets` (samples, length), true where a token counts in the loss."""

    tokens: Tokens
    targets: Booleans

    def __post_init__(self) -> None:
        least, most = int(self.tokens.min()), int(self.tokens.max())
        if least < 0 or most > LARGEST_TOKEN:
            raise DataError(
                f"wanted token ids from 0 to {LARGEST_TOKEN:,}, got {least if least < 0 else most:,}; these files hold no "
                "tokens, or tokens of another size (of an npy stream, see `token_dtype`)"
            )


def count_conflicts(batch: Batch, followers: Tokens) -> Integers:
    """Return the counts of each sample, (samples, 6), in the order of COLUMNS.

    `followers` (vocabulary,): the most likely follower C of each token, -1 where it is not known; a target after such a
    token is not counted. It must reach beyond the largest token.
    """
    tokens = batch.tokens
    likely = followers[tokens[:, :-1]]
    truth = tokens[:, 1:]
    counted = batch.targets[:, 1:] & (likely >= 0)
    recited = truth == likely
    reader, opinion = _read(tokens, followers)
    reads, disputed = reader[:, 1:] & counted, opinion[:, 1:] & counted
    parrots = (recited | _pattern(tokens)[:, 1:]) & counted
    found = (counted, disputed, disputed & reads, disputed & recited, reads & ~parrots, parrots & ~reads)
    counts: Integers = np.stack([np.count_nonzero(column, axis=1) for column in found], axis=1).astype(np.int64)
    return counts


def _read(tokens: Tokens, followers: Tokens) -> tuple[Booleans, Booleans]:
    """Return, at each token (samples, length): whether the reader foretold it; whether it said another than the corpus."""
    samples, length = tokens.shape
    earlier, later = _repeats(tokens)
    flat = tokens.ravel()
    said = flat[earlier + 1]
    right, other = np.zeros(samples * length, np.bool_), np.zeros(samples * length, np.bool_)
    right[later + 1] = said == flat[later + 1]
    other[later + 1] = said != followers[flat[later]]
    return right.reshape(samples, length), other.reshape(samples, length)


def _repeats(tokens: Tokens) -> tuple[Integers, Integers]:
    """Return flat places of tokens that stood in their sample before, with the last place before each: (earlier, later).

    The last token of a sample is left out, since nothing follows it.
    """
    length = tokens.shape[1]
    low, middle = length.bit_length(), int(tokens.max()).bit_length()
    packed = _packed(tokens[:, :-1], low, middle)
    packed.sort()
    pairs = (packed[1:] ^ packed[:-1]) >> low == 0
    places = (packed >> (low + middle)).astype(np.int64) * length + (packed & packed.dtype.type(2**low - 1)).astype(np.int64)
    return places[:-1][pairs], places[1:][pairs]


def _packed(tokens: Tokens, low: int, middle: int) -> Packed:
    """Return sample | token | position in one integer each, flat; 32 bits where they suffice, which sort twice as fast."""
    samples, length = tokens.shape
    kind: Any = np.uint32 if samples.bit_length() + middle + low <= 32 else np.uint64
    rows = np.arange(samples, dtype=kind)[:, None] << kind(low + middle)
    packed: Packed = (rows | (tokens.astype(kind) << kind(low)) | np.arange(length, dtype=kind)).ravel()
    return packed


def _pattern(tokens: Tokens) -> Booleans:
    """Return where a token goes on as the two before it at some stride did: the same again, or one more."""
    found = np.zeros(tokens.shape, np.bool_)
    following = tokens + 1
    for stride in range(1, min(STRIDES, (tokens.shape[1] - 1) // 2) + 1):
        for wanted in (tokens, following):
            steps = tokens[:, stride:] == wanted[:, :-stride]
            found[:, 2 * stride :] |= steps[:, stride:] & steps[:, :-stride]
    return found
