"""Is a ladder's plan right? Seconds foretold from a few steps, against whole runs of the same proxies.

    python benchmarks/cost_plan.py [--study FILE] [--sizes study,0.4M,1M] [--samples 6400] [--repeats 2]

Both are the processor's seconds of a single thread, so that others at work on the machine count little (they still share its
caches). A run's own include all that a plan leaves out: opening the streams, making the model, writing the results. Runs begin
from fresh weights, also where the study has a start: that fits one size alone, and its weights change no speed. `by FLOPs /
taken` is the same ratio, were the seconds foretold from FLOPs alone at the speed of the largest size.

Each study has a section of its own in the table; those of other studies stay as they are.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import torch
from setting import in_child, setting, spread, table

import curriculum.proxy.training  # noqa: F401  (imported once, not in every run that is measured)
from curriculum.probe.specification import PROOF_DRAW
from curriculum.proxy.recipe import Recipe
from curriculum.proxy.run import RunRequest, perform
from curriculum.proxy.sizes import Size, parse_sizes, resized
from curriculum.proxy.throughput import run_parts, timed_seconds, work_of
from curriculum.search import controls
from curriculum.search.runner import request_of, stream_sizes
from curriculum.search.study import Study
from curriculum.search.study_file import load_study
from curriculum.units import format_count

LIMIT = 3600.0
TITLE = "What a plan foretells of a run's time, and what it takes"
READ = "The speed behind `by FLOPs` is that of the largest size of the study, which is 1 by that."
HEAD = (
    "size",
    "layers x width",
    "a run",
    "foretold, s",
    "taken, s",
    "foretold / taken",
    "by FLOPs / taken",
    "GFLOPs a second",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """One size: FLOPs of a run, seconds foretold and taken, of every repeat."""

    size: str
    recipe: Recipe
    flops: float
    foretold: list[float]
    taken: list[float]

    @property
    def speed(self) -> float:
        """FLOPs a second of the quickest run."""
        return self.flops / min(self.taken)


def request_at(study: Study, recipe: Recipe, samples: int, seed: int) -> RunRequest:
    sizes, _ = stream_sizes(study)
    mix = study.mix("static", controls.static(study.shares(sizes)))
    return replace(request_of(study, "cost", mix, seed, PROOF_DRAW, recipe=recipe), samples=samples)


def foretold(request: RunRequest, recipe: Recipe) -> tuple[float, float]:
    """Return the FLOPs of a run and the seconds it should take."""
    parts = run_parts(request)
    return work_of(recipe, parts.shape).flops, timed_seconds(parts, [recipe])[0]


def taken(request: RunRequest) -> float:
    """Return the processor's seconds of a whole run."""
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        started = process_time()
        perform(request, Path(folder))
        return process_time() - started


def check(study: Study, size: Size, samples: int, repeats: int) -> Checked:
    recipe = replace(resized(study.recipe, size), start=None)
    plans, runs = [], []
    for seed in range(repeats):
        request = request_at(study, recipe, samples, seed)
        plans.append(in_child(partial(foretold, request, recipe), limit=LIMIT))
        runs.append(in_child(partial(taken, request), limit=LIMIT))
        print(f"{size.name}: {plans[-1][1]:.1f} s foretold, {runs[-1]:.1f} s taken", file=sys.stderr, flush=True)
    return Checked(size=size.name, recipe=recipe, flops=plans[0][0], foretold=[seconds for _, seconds in plans], taken=runs)


def rows(found: Sequence[Checked]) -> list[tuple[str, ...]]:
    largest = max(found, key=lambda each: each.flops)
    return [
        (
            each.size,
            f"{each.recipe.layers} x {each.recipe.width}",
            f"{format_count(each.flops)}FLOPs",
            spread(each.foretold, ".1f"),
            spread(each.taken, ".1f"),
            spread([plan / run for plan, run in zip(each.foretold, each.taken, strict=True)], ".2f"),
            f"{each.flops / largest.speed / min(each.taken):.2f}",
            f"{each.speed / 1e9:.0f}",
        )
        for each in found
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path)
    parser.add_argument("--sizes", default="study,0.4M,1M")
    parser.add_argument("--samples", type=int, default=6400)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    study = load_study(options.study)
    found = [check(study, size, options.samples, options.repeats) for size in parse_sizes(options.sizes)]
    how_many = f"median of {options.repeats} (least-most)" if options.repeats > 1 else "one run a size"
    about = f"Runs of {options.samples:,} samples; {how_many}; seconds of a processor, one thread."
    path = Path(__file__).with_suffix(".md")
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    text = with_section(before, study.name, "\n\n".join([about, table(HEAD, rows(found)), setting()]))
    print(text)
    path.write_text(text, encoding="utf-8")


def with_section(text: str, name: str, section: str) -> str:
    """Return a document of sections by study with one study's new, or in place of what it said of that study before."""
    parts = dict(part.split("\n", maxsplit=1) for part in text.split("\n## ")[1:]) | {name: f"\n{section}\n"}
    return "\n\n".join([f"# {TITLE}", READ, *(f"## {study}\n\n{body.strip()}" for study, body in parts.items())]) + "\n"


if __name__ == "__main__":
    main()
