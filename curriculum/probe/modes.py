"""From margins to modes, and from modes to the measures of a run.

Idea: a mode is a state with memory. It becomes general when the margin rises above +h, shallow when it falls below -h,
and stays what it was in between, so that noise around zero makes no hops. Before the control shows the capability the
mode is `unformed`, which never counts as general. Alternatives: the sign of the margin (hops with every wobble) or a
hidden Markov model (needs fitting, hard to audit). The price is one threshold, h = .15 unless calibrated.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Mode = Literal["general", "shallow", "unformed"]
HYSTERESIS = 0.15


def modes_of(margins: Sequence[float], capable: Sequence[bool], hysteresis: float = HYSTERESIS) -> list[Mode]:
    """Return the mode at each reading of one probe, in order of position."""
    modes: list[Mode] = []
    state: Mode = "unformed"
    for margin, able in zip(margins, capable, strict=True):
        if able and margin > hysteresis:
            state = "general"
        elif able and margin < -hysteresis:
            state = "shallow"
        modes.append(state if able else "unformed")
    return modes


@dataclass(frozen=True, kw_only=True, slots=True)
class RunMeasures:
    """What a run is judged by; every measure is taken after the burn-in.

    `time_general`: share of samples spent general; `longest_stay`: the longest general stretch as a share of the run
    after burn-in; `hops`: changes between general and shallow; `final_margin`: margin at the last reading; `area`: mean
    margin. Each is the weighted mean over families of the mean over the family's probes; `worst_probe` is the smallest
    time_general of any probe.
    """

    time_general: float
    area: float
    final_margin: float
    longest_stay: float
    hops: float
    worst_probe: float


def measure_run(
    positions: Sequence[int], margins: Sequence[float], modes: Sequence[Mode], *, start: int, stop: int
) -> RunMeasures:
    """Return the measures of one probe's readings over positions (start, stop]; a reading speaks for the stretch before it.

    Raises ValueError when no reading lies in the range.
    """
    ends = np.asarray(positions, dtype=np.float64)
    begins = np.concatenate([[0.0], ends[:-1]])
    lengths = np.clip(np.minimum(ends, stop) - np.maximum(begins, start), 0, None)
    if lengths.sum() == 0:
        raise ValueError(f"no reading lies after position {start}")
    inside = lengths > 0
    shares = lengths / lengths.sum()
    general = np.asarray([mode == "general" for mode in modes])
    time_general = float(shares[general].sum())
    return RunMeasures(
        time_general=time_general,
        area=float((shares * np.asarray(margins)).sum()),
        final_margin=float(np.asarray(margins)[inside][-1]),
        longest_stay=_longest(general, shares),
        hops=float(_hops([mode for mode, within in zip(modes, inside, strict=True) if within])),
        worst_probe=time_general,
    )


def _longest(
    general: np.ndarray[tuple[int], np.dtype[np.bool_]], shares: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> float:
    longest = current = 0.0
    for is_general, share in zip(general, shares, strict=True):
        current = current + float(share) if is_general else 0.0
        longest = max(longest, current)
    return longest


def _hops(modes: Sequence[Mode]) -> int:
    formed = [mode for mode in modes if mode != "unformed"]
    return sum(before != after for before, after in itertools.pairwise(formed))
