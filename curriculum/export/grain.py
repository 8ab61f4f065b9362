"""Grain: a selection map that is the plan.

Idea: `MapDataset.select_from_datasets(parents, selection_map)` asks a map for (parent, index) of every position, which
is what a plan answers. So ramps, orders, subsets and repeats all come over, and Grain's own resume (an integer) works.

Checked with grain 0.2.18.
"""

from __future__ import annotations

from curriculum.export.played import export_module
from curriculum.export.target import Outcome, Request

_HEADER = '''"""The plan as Grain's selection map: `dataset(parents)` plays it, position by position.

    parents = {"web": grain.MapDataset.source(...), ...}      # one a stream, with random access
    loader = dataset(parents).batch(8).to_iter_dataset()
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import grain

from curriculum import Mix
from curriculum.plan import Plan
'''

_FOOTER = '''
class Selection(grain.transforms.DatasetSelectionMap):
    """Maps a position of the run to (number of the stream, sample in it)."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[int, int]:
        stream, _, sample = plan()[int(index) % SAMPLES]
        return stream, sample


def dataset(parents: Mapping[str, Any]) -> grain.MapDataset:
    """Return the run as one data set; `parents` are the streams by name."""
    return grain.MapDataset.select_from_datasets(in_order(parents), Selection())
'''


def export(request: Request) -> Outcome:
    """Write a folder with mix.yaml and grain_mix.py. Raises UserError (unknown sizes, existing files)."""
    use = "from grain_mix import dataset; dataset({name: grain.MapDataset.source(...) for each stream})"
    return export_module(request, target="Grain", module="grain_mix", header=_HEADER, footer=_FOOTER, use=use)
