"""Where this process stands among the ranks: from the launcher's environment, or as the caller says.

Idea: Mosaic's rules (RANK, WORLD_SIZE, LOCAL_WORLD_SIZE; `replication`) where nothing is said; an explicit data-parallel
rank and size for jobs whose tensor- or pipeline-parallel replicas must read alike. A job that has a process group but no
such environment would read everything on every rank, so that is an error and not a guess.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from torch import distributed

from curriculum.errors import UserError
from curriculum.streaming import mosaic


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a rank stands among those that share the samples: nodes x ranks (data parallel only)."""

    nodes: int = 1
    node: int = 0
    ranks: int = 1
    rank: int = 0

    @property
    def size(self) -> int:
        """Ranks that get different samples."""
        return self.nodes * self.ranks


def find_place(*, data_parallel_rank: int | None, data_parallel_size: int | None, replication: int | None) -> Place:
    """Return this process's place. Raises UserError for contradictions or a missing environment."""
    if data_parallel_rank is not None or data_parallel_size is not None:
        return _stated(data_parallel_rank, data_parallel_size, replication)
    _check_environment()
    world = mosaic.World.detect()
    if replication is not None:
        if replication < 1 or world.num_ranks % replication:
            raise UserError(f"replication={replication} must divide the {world.num_ranks} ranks of the job")
        world = world.replicate(replication)
    return Place(nodes=world.num_nodes, node=world.node, ranks=world.ranks_per_node, rank=world.rank_of_node)


def ranks_here() -> int:
    """Return how many ranks share this machine, and so its cache."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _stated(rank: int | None, size: int | None, replication: int | None) -> Place:
    if rank is None or size is None:
        raise UserError(f"give data_parallel_rank and data_parallel_size together, got {rank} and {size}")
    if replication is not None:
        raise UserError("replication cannot be given beside data_parallel_rank: ranks of one replica pass the same rank")
    if not 0 <= rank < size:
        raise UserError(f"wanted 0 <= data_parallel_rank < data_parallel_size, got {rank} and {size}")
    return Place(nodes=size, node=rank)  # each like a node of its own: its lanes stay with it


def _check_environment() -> None:
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    size = distributed.get_world_size()
    if size > 1 and int(os.environ.get("WORLD_SIZE", "1")) != size:
        raise UserError(
            f"this job has {size} ranks, but the environment says WORLD_SIZE={os.environ.get('WORLD_SIZE')}, so that every "
            "rank would read the same samples; start it with torchrun, or pass data_parallel_rank and data_parallel_size"
        )
