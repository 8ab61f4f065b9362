"""A fixed part of a stream that is played in place of all of it.

Idea: a short run over a large stream never repeats it, however small the stream is to the long run that it stands for.
Played from a subset, a stream is repeated as often in the short run as it will be in the long one. Which samples these
are is decided by the stream's name and `seed` alone, not by the mix's seed, so that all runs of a study share them; they
are spread evenly, one from each of `samples` equal parts of the stream (see `plan.subset`). Alternatives: writing the
subset as a stream of its own (data twice) or the stream's beginning (a corpus is seldom stored in random order). The
price is that a subset touches nearly every shard of its stream.
"""

from __future__ import annotations

from dataclasses import dataclass

from curriculum.mix.fields import FieldError, whole


@dataclass(frozen=True, kw_only=True, slots=True)
class Subset:
    """How many `samples` of a stream are played; `seed` says which. In a file, `subset: 400` is seed 0. Raises UserError."""

    samples: int
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples", whole(self.samples, 1, "samples"))
        object.__setattr__(self, "seed", whole(self.seed, 0, "seed"))


def checked_subset(value: object) -> Subset | None:
    """Return None, a Subset, or a whole number as the Subset of that many samples. Raises FieldError under `subset`."""
    if value is None or isinstance(value, Subset):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Subset(samples=whole(value, 1, "subset"))
    raise FieldError(f"wanted a number of samples, or {{samples: 400, seed: 17}}, got {value!r}", "subset")
