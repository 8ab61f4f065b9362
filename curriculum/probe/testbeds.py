"""All embedded testbeds behind one door: a stream or probe family is found by its name alone.

Idea: `local: testbed:NAME` and `builtin: testbed:FAMILY` say nothing of which testbed is meant, so names are unique over
all of them; whoever reads streams or asks probes comes here and needs not know how many testbeds there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from curriculum.errors import UserError
from curriculum.probe import blended_testbed, second_testbed, testbed
from curriculum.probe.items import ItemSet
from curriculum.probe.synthetic import Samples, check_known


class MakesItems(Protocol):
    """A testbed's generator of probe items."""

    def __call__(self, family: str, *, control: bool, count: int, seed: int) -> ItemSet:
        """Return `count` items of a probe family, or of its neutral control."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddedTestbed:
    """A testbed: its streams, and what they have in common. `heldout` are the held-out samples of each stream."""

    streams: tuple[str, ...]
    described: str
    families: tuple[str, ...]
    vocabulary: int
    sequence_length: int
    heldout: int
    size: Callable[[str], int]
    samples: Callable[[str, int, int], Samples]
    items: MakesItems


_HELDOUT_SAMPLES = 2048
_FIRST = EmbeddedTestbed(
    streams=testbed.STREAMS,
    described=", ".join(testbed.STREAMS),
    families=testbed.FAMILIES,
    vocabulary=testbed.VOCABULARY,
    sequence_length=testbed.SEQUENCE_LENGTH,
    heldout=_HELDOUT_SAMPLES,
    size=testbed.stream_size,
    samples=testbed.generate_samples,
    items=testbed.probe_items,
)
_SECOND = EmbeddedTestbed(
    streams=second_testbed.STREAMS,
    described=", ".join(second_testbed.STREAMS),
    families=second_testbed.FAMILIES,
    vocabulary=second_testbed.VOCABULARY,
    sequence_length=second_testbed.SEQUENCE_LENGTH,
    heldout=_HELDOUT_SAMPLES,
    size=second_testbed.stream_size,
    samples=second_testbed.generate_samples,
    items=second_testbed.probe_items,
)
_BLENDED = EmbeddedTestbed(
    streams=blended_testbed.STREAMS,
    described=f"{blended_testbed.STREAMS[0]} to {blended_testbed.STREAMS[-1]} ({len(blended_testbed.STREAMS)} blends)",
    families=(),
    vocabulary=testbed.VOCABULARY,
    sequence_length=testbed.SEQUENCE_LENGTH,
    heldout=blended_testbed.HELDOUT_SAMPLES,
    size=blended_testbed.stream_size,
    samples=blended_testbed.generate_samples,
    items=testbed.probe_items,
)
TESTBEDS = (_FIRST, _SECOND, _BLENDED)
FAMILIES: tuple[str, ...] = tuple(family for found in TESTBEDS for family in found.families)


def testbed_of(stream: str) -> EmbeddedTestbed:
    """Return the testbed that has a stream. Raises UserError for an unknown stream."""
    for found in TESTBEDS:
        if stream in found.streams:
            return found
    known = ", ".join(found.described for found in TESTBEDS)
    raise UserError(f"the testbed has no stream {stream!r}; it has {known}")


def stream_size(name: str) -> int:
    """Return how many training samples the stream has. Raises UserError for an unknown stream."""
    return testbed_of(name).size(name)


def generate_samples(stream: str, count: int, seed: int) -> Samples:
    """Return tokens (count, length) and a mask of the same shape that is 1 where the token is a target.

    Sample i depends on (stream, seed, i) alone. Raises UserError for an unknown stream.
    """
    return testbed_of(stream).samples(stream, count, seed)


def probe_items(family: str, *, control: bool, count: int, seed: int) -> ItemSet:
    """Return `count` items of a probe family, or of its neutral control. Raises UserError for an unknown family."""
    check_known(family, FAMILIES, "probe family")
    found = next(found for found in TESTBEDS if family in found.families)
    return found.items(family, control=control, count=count, seed=seed)
