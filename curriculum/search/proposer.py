"""What a sampler is to a search: something that turns the trials so far into the parameters of the next one.

Idea: a proposer holds no state. It is given everything that it may know and a seed, so that the same trials always give
the same proposal, whoever asks and however often; the coordinator decides what may be known (see `proposals`). Our own
surrogate, Optuna's samplers and the published peers stand side by side behind this, in searches as in replays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Parameters = Mapping[str, float | str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """A trial as a proposer sees it.

    `value` is to be maximised: None while the trial runs, and for ever if it failed. `excess` says by how much each
    constraint was overstepped (at most 0 is feasible); empty without a value.
    """

    number: int
    parameters: Parameters
    value: float | None = None
    has_failed: bool = False
    excess: Mapping[str, float]

    @property
    def is_feasible(self) -> bool:
        """Whether it has a value and oversteps no constraint."""
        return self.value is not None and all(amount <= 0 for amount in self.excess.values())


class Proposer(Protocol):
    """Proposes trial after trial."""

    def propose(self, number: int, evidence: Sequence[Evidence], *, seed: int) -> Parameters:
        """Return the parameters of trial `number`; `evidence` is of the trials before it, in order of their numbers."""
