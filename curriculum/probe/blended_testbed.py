"""64 streams of eight topics in eight qualities, blended from the first testbed's: what a search over many streams is tried on.

Idea: a real collection has more streams than trials, but they are made of few things: what a text is about, and how good
it is. A topic pairs something general (`arith`, `icl`) with something that spoils it (`count`, `repeat`, `facts`, or `noise`:
answers of another sample); of quality q, a share (2q + 1) / 16 of the samples is general. `arith-count-0` is the poorest
of its topic, `arith-count-7` the best. Probes, vocabulary and lengths are the first testbed's (`testbed`).

Alternatives: 64 tasks of their own (no small model learns them within seconds). The price: quality means the same in every
topic, which suits a search that believes in groups; where it did not, groups would help less.
"""

from __future__ import annotations

import numpy as np

from curriculum.probe import testbed
from curriculum.probe.synthetic import Draws, Samples, check_known
from curriculum.units import keyed_seed

NOISE = "noise"
TOPICS: tuple[str, ...] = tuple(
    f"{general}-{other}" for general in testbed.GENERAL_STREAMS for other in ("count", "repeat", "facts", NOISE)
)
QUALITIES = 8
STREAMS: tuple[str, ...] = tuple(f"{topic}-{quality}" for topic in TOPICS for quality in range(QUALITIES))
STREAM_SIZE = 8192
HELDOUT_SAMPLES = 32  # of 64 streams each: more would take longer to read than a run takes to train


def stream_size(name: str) -> int:
    """Return how many training samples the stream has. Raises UserError for an unknown stream."""
    check_known(name, STREAMS, "stream")
    return STREAM_SIZE


def general_share(name: str) -> float:
    """Return which share of a stream's samples is general. Raises UserError for an unknown stream."""
    check_known(name, STREAMS, "stream")
    return (2 * int(name.rpartition("-")[2]) + 1) / (2 * QUALITIES)


def generate_samples(stream: str, count: int, seed: int) -> Samples:
    """Return tokens (count, 24) and a mask (count, 24) that is 1 where the token is a target.

    Sample i depends on (stream, seed, i) alone. Raises UserError for an unknown stream.
    """
    share = general_share(stream)
    general, other, _ = stream.split("-")
    own_seed = keyed_seed("blended", stream, seed)
    is_general = Draws(count, "blended", stream, seed).chance("general", share)
    good = testbed.generate_samples(general, count, own_seed)
    poor = _noise(general, count, own_seed) if other == NOISE else testbed.generate_samples(other, count, own_seed)
    tokens, mask = (np.where(is_general, one, two) for one, two in zip(good, poor, strict=True))
    return tokens, mask


def _noise(general: str, count: int, seed: int) -> Samples:
    """Return general samples with the answers of others."""
    tokens, mask = testbed.generate_samples(general, count, keyed_seed("questions", seed))
    others, _ = testbed.generate_samples(general, count, keyed_seed("answers", seed))
    found = tokens.copy()
    found[:, 2::3] = others[:, 2::3]
    return found, mask
