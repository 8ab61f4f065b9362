"""torchtitan: an interleaved loader that draws each packed row's stream by fixed weights.

Idea: the release's `InterleavedHuggingFaceTextDataLoader` packs every source into rows of its sequence length and then
draws rows, so a weight counts samples, as ours do. The export registers each stream's text under its name and lists the
sources. A schedule cannot be said. On the main branch of August 2026 weights sit in `DatasetMixConfig` and count
documents before packing or rows after it; only the latter is what a mix means.

Checked with torchtitan 0.3.0 (hf_datasets/interleaved.py, text_datasets.py). Sources loop (`infinite`), so a repeated
stream begins anew.
"""

from __future__ import annotations

from curriculum.export.deviation import deviations, largest
from curriculum.export.layout import head_of
from curriculum.export.places import ignored_orders, place_of
from curriculum.export.staircase import is_static, whole_run
from curriculum.export.target import Outcome, Request
from curriculum.units import keyed_seed

_NEAREST = "--to datasets or --to mds, which play the plan; or --nearest: one set of weights with the same totals"

_MODULE = '''"""Weights for torchtitan: give `dataloader()` to the trainer's config as its `dataloader`."""

from functools import partial
from typing import Any

from datasets import load_dataset
from torchtitan.hf_datasets import DatasetConfig
from torchtitan.hf_datasets.text_datasets import DATASETS, HFDataSource, InterleavedHuggingFaceTextDataLoader

SAMPLES = {samples}  # packed rows of the run, over all ranks
SEED = {seed}
TEXT = "text"  # the column that holds a document
# name: (place, weight); a weight is the stream's number of samples in the run
STREAMS: dict[str, tuple[str, int]] = {{
{streams}
}}


def _load(place: str) -> Any:
    """Open JSON lines, Parquet or a saved data set, by the place's ending; a folder or hub name as `datasets` reads it."""
    for ending, kind in ((".jsonl", "json"), (".json", "json"), (".parquet", "parquet")):
        if place.endswith(ending):
            return load_dataset(kind, data_files=place, split="train", streaming=True)
    return load_dataset(place, split="train", streaming=True)


def _text(sample: dict[str, Any]) -> str:
    return str(sample[TEXT])


def dataloader() -> InterleavedHuggingFaceTextDataLoader.Config:
    """Register the streams and return the loader's config."""
    for name, (place, _) in STREAMS.items():
        DATASETS[name] = DatasetConfig(path=place, loader=partial(_load), sample_processor=_text)
    sources = [HFDataSource(dataset=name, weight=weight, infinite=True) for name, (_, weight) in STREAMS.items()]
    return InterleavedHuggingFaceTextDataLoader.Config(sources=sources, seed=SEED)
'''


def export(request: Request) -> Outcome:
    """Write a module with a function `dataloader()`. Raises UserError (places, existing file)."""
    static = is_static(request.mix)
    why = () if static else ("torchtitan draws by the same weights all through the run, and this mix changes them",)
    if why and not request.nearest:
        return Outcome(verdict="impossible", why=why, nearest=_NEAREST)
    totals = request.plan.counts(0, request.plan.samples)
    stages = (whole_run(request.plan),)
    path = request.output.text(_module(request, totals))
    found = deviations(request, stages, randomness="drawn")
    return Outcome(
        verdict="impossible" if why else "approximated",
        why=(*why, largest(found), "each row's stream is drawn at random on every rank, so counts vary by the spread shown"),
        nearest=None if static else _NEAREST,
        deviations=found,
        files=(path,),
        use=f"in your config registry: from {path.stem} import dataloader, and dataloader=dataloader()",
        notes=(
            *ignored_orders(request.mix),
            "torchtitan tokenises and packs text itself; its rows count as the mix's samples at the same sequence length",
        ),
    )


def _module(request: Request, totals: dict[str, int]) -> str:
    lines = [
        f"    {name!r}: ({place_of(request, name, reads='text: JSON lines, Parquet, or a name on the hub')!r}, {totals[name]}),"
        for name in request.mix.streams
    ]
    seed = keyed_seed(request.mix.seed, "torchtitan") % 2**31
    body = _MODULE.format(samples=request.plan.samples, seed=seed, streams="\n".join(lines))
    return head_of(request.mix, "torchtitan") + body
