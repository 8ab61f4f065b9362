"""The checkpoint from which every run begins: a proxy of any size that can already look things up in its context.

Idea: a small model does not copy from its context within a short run on natural text, and before it can there is no mode
to choose. So one checkpoint is trained first, half on the domains and half on practice (`practice.py`). It is made once for
each size and kept. Runs then hold no practice: what they keep of it depends on the domains they play, and when.
Alternatives: starting from scratch (nothing is looked up within a million tokens) or practice in the runs too (then
practice, not the text, rules the margins). The price: the start is better at looking up than text alone would make it, so
that every run begins with a fall, which is the same for all curricula.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from curriculum.mix import Mix, Phase, Stream
from curriculum.probe.specification import ProbeSpecification
from curriculum.proxy.recipe import Recipe
from curriculum.proxy.run import RunRequest, RunResult, perform

START_SAMPLES = 65_536  # 4.2M tokens; half of them practice
CHECKPOINTS = 2  # kept: an earlier one too, for comparisons of starting points
SEED = 1


def make_start(
    streams: Mapping[str, Path],
    practice_stream: Path,
    runs: Path,
    recipe: Recipe,
    probes: tuple[ProbeSpecification, ...],
    *,
    samples: int = START_SAMPLES,
) -> RunResult:
    """Train the start of a recipe unless `runs` holds it; `checkpoints/<samples>` of its folder is the start."""
    sources = {name: Stream(local=str(path)) for name, path in streams.items()} | {
        "practice": Stream(local=str(practice_stream))
    }
    weights = dict.fromkeys(streams, 1) | {"practice": len(streams)}
    mix = Mix(name="start", streams=sources, phases=(Phase(until=1, weights=weights),), samples=samples, seed=SEED)
    request = RunRequest(
        label="start",
        mix=mix,
        seed=SEED,
        samples=samples,
        recipe=replace(recipe, schedule="wsd", readings=8, start=None),
        probes=probes,
    )
    return perform(request, runs, keep=CHECKPOINTS)
