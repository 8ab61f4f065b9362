"""Which runs are trained as one computation, settled before anything is trained.

Idea: a member's numbers equal the single run's up to rounding only, and the rounding may depend on who is trained with it.
So with whom a run is trained is part of what decides it and enters its run-id: a run that was done by itself, or with
others, is another run and never stands for it. Groups follow from the order in which runs are asked for and from nothing
else, so that workers, kills and resumes change none. Padding every group to one size would let runs be grouped anyhow, but
trusts a library to compute a member alike at any place, and pays for the padding. The price here: where one
member is missing, its whole population is trained again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from curriculum.proxy.run import RunRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class Population:
    """Runs trained as one computation on `device` (torch's name of it); `members` as each would be by itself."""

    members: tuple[RunRequest, ...]
    device: str = "cpu"
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(member.run_id() for member in self.members))

    def requests(self) -> tuple[RunRequest, ...]:
        """Return the members as runs of this population."""
        return tuple(replace(member, population=self) for member in self.members)

    def as_json(self) -> dict[str, Any]:
        """Return what enters a member's identity."""
        return {"device": self.device, "members": list(self.names)}


def in_populations(requests: Sequence[RunRequest], size: int, device: str = "cpu") -> list[RunRequest]:
    """Return the same runs as members of populations of at most `size`, neighbours together, as equal as can be.

    A run that would be alone on the CPU stays as it is; one asked for twice is one run.
    """
    by_name = {request.run_id(): request for request in requests}
    placed = dict(zip(by_name, _placed(list(by_name.values()), size, device), strict=True))
    return [placed[request.run_id()] for request in requests]


def _placed(requests: Sequence[RunRequest], size: int, device: str) -> list[RunRequest]:
    groups = -(-len(requests) // size)
    found: list[RunRequest] = []
    for start, stop in pairwise(len(requests) * group // groups for group in range(groups + 1)) if groups else ():
        members = tuple(requests[start:stop])
        alone = len(members) == 1 and device == "cpu"
        found += members if alone else Population(members=members, device=device).requests()
    return found
