"""Hugging Face `datasets`: the streams concatenated, and the plan as a selection.

Idea: `select` takes any list of rows, so the plan becomes one: first row of the stream in the concatenation + sample.
`interleave_datasets(probabilities=...)` would be the usual way; it draws at random, knows no ramps and stops at the first
(or last) stream that ends. The price: the selection is an array, 8 bytes a position; `play(parents, start, stop)` takes a
part of the run where this is too much.

Checked with datasets 5.0.1.
"""

from __future__ import annotations

from curriculum.export.played import export_module
from curriculum.export.target import Outcome, Request

_HEADER = '''"""The plan as a selection of rows: `play(parents)` returns the run as one data set, in order.

    parents = {"web": load_dataset(...), ...}      # one a stream, not streamed; all with the same columns
    run = play(parents)                            # or play(parents, start, stop), to resume or to save memory
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from datasets import Dataset, concatenate_datasets

from curriculum import Mix
from curriculum.plan import Plan

_AT_ONCE = 65_536
'''

_FOOTER = '''
def rows(start: int = 0, stop: int = SAMPLES) -> npt.NDArray[np.int64]:
    """Return the rows (stop - start,) that positions [start, stop) play, of the streams concatenated in the plan's order."""
    firsts = np.cumsum([0, *SIZES.values()])
    found = np.empty(stop - start, dtype=np.int64)
    for begin in range(start, stop, _AT_ONCE):
        end = min(begin + _AT_ONCE, stop)
        streams, _, samples = plan()[np.arange(begin, end)]
        found[begin - start : end - start] = firsts[streams] + samples
    return found


def play(parents: Mapping[str, Dataset], start: int = 0, stop: int = SAMPLES) -> Dataset:
    """Return positions [start, stop) of the run as one data set; `parents` are the streams by name."""
    return concatenate_datasets(in_order(parents)).select(rows(start, stop))
'''


def export(request: Request) -> Outcome:
    """Write a folder with mix.yaml and datasets_mix.py. Raises UserError (unknown sizes, existing files)."""
    use = "from datasets_mix import play; play({name: load_dataset(...) for each stream})"
    return export_module(request, target="datasets", module="datasets_mix", header=_HEADER, footer=_FOOTER, use=use)
