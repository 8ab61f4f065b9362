"""What share of a proxy run does the loader take? At most a tenth is allowed.

    python benchmarks/loader_share.py

Both are timed in the same process: reading every batch of the default study's static run through the StreamingDataset,
and the whole run (batches, training, readings, held-out losses).
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from curriculum.proxy.feed import batches
from curriculum.proxy.run import RunRequest, perform
from curriculum.proxy.training import one_thread
from curriculum.search import controls
from curriculum.search.coordinator import stream_sizes
from curriculum.search.study_file import load_study
from curriculum.streaming import StreamingDataset


def main() -> None:
    """Measure three times and print a table."""
    study = load_study()
    sizes, _ = stream_sizes(study)
    mix = study.mix("static", controls.static(study.shares(sizes)))
    request = RunRequest(label="b", mix=mix, seed=0, samples=study.samples, recipe=study.recipe, probes=study.probes)
    print("| loader, s | whole run, s | share |\n|---|---|---|")
    for seed in range(3):
        with one_thread(), TemporaryDirectory() as folder:
            started = perf_counter()
            dataset = StreamingDataset(mix=request.played_mix(), batch_size=study.recipe.batch)
            for _ in batches(dataset, study.recipe.batch, start=0, stop=study.samples):
                pass
            dataset.close()
            loader = perf_counter() - started
            run = perform(RunRequest(**{**_fields(request), "seed": seed}), Path(folder)).seconds
        print(f"| {loader:.2f} | {run:.2f} | {loader / run:.1%} |")


def _fields(request: RunRequest) -> dict[str, object]:
    return {name: getattr(request, name) for name in RunRequest.__slots__}


if __name__ == "__main__":
    main()
