"""Which token sequences a network must read to answer a set of questions, shared where they begin alike.

Idea: prompts of one task mostly begin with the same demos, and all candidate answers to a prompt begin with that prompt.
What begins alike is read once and continued from its keys and values. Sorted in the order of a dictionary, prompts that
begin alike are neighbours, so one look at each neighbouring pair finds the groups. Alternatives: a full prefix tree
(more sharing between half-alike prompts, and many small batches); none (a plain loop, which reads 64 demos again for
every item). The price: prompts that share less than half of themselves are read whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

Tokens = tuple[int, ...]

_SHARED = 0.5  # of the shorter neighbour: below, groups grow small and their batches with them
_WORTH = 256  # tokens of reading saved: below, a pass of its own for the prefix costs more than it saves


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Prompts (by index) whose first `shared` tokens are the same; `shared` leaves every prompt a token of its own."""

    shared: int
    members: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a batch may hold: `rows`, `tokens` (padding included), and `reads`, positions whose logits are wanted."""

    rows: int
    tokens: int
    reads: int


def shared_prefixes(prompts: Sequence[Tokens]) -> list[Group]:
    """Return groups that hold every prompt once; prompts that share nothing worth it are one group with `shared` 0."""
    order = sorted(range(len(prompts)), key=lambda index: prompts[index])
    groups, alone = [], []
    for run in _runs(prompts, order):
        shared = min(len(common_prefix(prompts[run[0]], prompts[run[-1]])), min(len(prompts[index]) for index in run) - 1)
        if shared * (len(run) - 1) >= _WORTH:
            groups.append(Group(shared=shared, members=tuple(run)))
        else:
            alone.extend(run)
    return [*groups, *([Group(shared=0, members=tuple(alone))] if alone else [])]


def _runs(prompts: Sequence[Tokens], order: Sequence[int]) -> list[list[int]]:
    """Cut the sorted prompts wherever two neighbours share less than half of the shorter one."""
    runs = [[index] for index in order[:1]]
    for before, after in pairwise(order):
        first, second = prompts[before], prompts[after]
        if len(common_prefix(first, second)) >= _SHARED * min(len(first), len(second)):
            runs[-1].append(after)
        else:
            runs.append([after])
    return runs


def common_prefix(first: Tokens, second: Tokens) -> Tokens:
    """Return the tokens with which both begin."""
    shortest = min(len(first), len(second))
    if first[:shortest] == second[:shortest]:  # much quicker than the loop, and the usual case
        return first[:shortest]
    return first[: next(place for place in range(shortest) if first[place] != second[place])]


def batches(lengths: Sequence[int], reads: Sequence[int], limits: Limits) -> Iterator[list[int]]:
    """Yield row indices in batches within `limits`, but of at least one row, longest first.

    `lengths`: tokens of every row. `reads`: positions of every row whose logits are wanted. Longest first, so that what
    does not fit the memory fails at once.
    """
    batch: list[int] = []
    reading = 0
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        count = len(batch) + 1
        longest = lengths[batch[0]] if batch else lengths[row]
        full = count > limits.rows or count * longest > limits.tokens or reading + reads[row] > limits.reads
        if batch and full:
            yield batch
            batch, reading = [], 0
        batch.append(row)
        reading += reads[row]
    if batch:
        yield batch
