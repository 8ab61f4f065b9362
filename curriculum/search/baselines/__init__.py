"""The published peers, each runnable by name under the same budget as our own search.

    regmix     a regression from static mixes to results, the best predictions averaged
    olmix      a log-linear law of static mixes with a penalty for leaving the natural mix
    regmix-d   the regression of RegMix on proportions over time; a schedule comes out

`swarm` holds what they share. Each module names its paper and says what was changed. Unlike other proposers they know
the number of trials that are planned, and only on that and on what every proposer may see do their proposals depend.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from curriculum.search.baselines.olmix import Olmix
from curriculum.search.baselines.regmix import RegMix
from curriculum.search.baselines.regmix_d import RegMixD
from curriculum.search.proposer import Proposer
from curriculum.search.space import SearchSpace

PEERS: Mapping[str, Callable[[SearchSpace, int | None], Proposer]] = {
    "regmix": RegMix,
    "olmix": Olmix,
    "regmix-d": RegMixD,
}

__all__ = ["PEERS", "Olmix", "RegMix", "RegMixD"]
