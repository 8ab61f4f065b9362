"""Samples of several lengths, and trainers that cut all streams at one.

Idea: a weight counts samples, and so do the exports' counts. A trainer that cuts token files (or pads rows) to one length
of its own plays a stream of 2,048-token samples as twice as many of 1,024, and the shares it reports are no longer those
of the mix. So where lengths are known to differ, from one another or from the one asked for, nothing is written and it is
said which. Alternatives: weights converted to tokens, whose shares of samples, steps and phases would all be other ones
than the mix's. The price: such a mix goes only to targets that play samples as they lie, until its streams are cut alike.
"""

from __future__ import annotations

from collections.abc import Mapping

from curriculum.export.target import Outcome

_AS_THEY_LIE = "--to mds, datasets or grain, which play samples as they lie"


def uneven_lengths(wanted: int | None, lengths: Mapping[str, int | None]) -> Outcome | None:
    """Return why a target that cuts all streams alike cannot play samples of these tokens; None where it can.

    `wanted` is the sequence length of the export. Streams whose length nobody knows (None) are taken to have it.
    """
    by_length: dict[int, list[str]] = {}
    for name, length in lengths.items():
        if length is not None:
            by_length.setdefault(length, []).append(name)
    if len(by_length) > 1:
        (first, names), *others = by_length.items()
        listed = [f"a sample of {_named(names)} has {first:,} tokens", *(f"of {_named(of)} {size:,}" for size, of in others)]
        why = f"{', '.join(listed)}; this target cuts all streams alike, so its samples would be others than the mix's"
        return _impossible(why, f"{_AS_THEY_LIE}; or streams packed or cut alike")
    length = next(iter(by_length), wanted)
    if length is None or wanted is None or wanted == length:
        return None
    why = f"a sample has {length:,} tokens, and cut at --sequence-length {wanted} the streams have other numbers of them"
    return _impossible(why, f"--sequence-length {length}; or streams packed or cut at {wanted:,}")


def _named(names: list[str]) -> str:
    return " and ".join(map(repr, names))


def _impossible(why: str, nearest: str) -> Outcome:
    return Outcome(verdict="impossible", why=(why,), nearest=nearest)
