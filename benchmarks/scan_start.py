"""What a search would try first after a scan, on the default study: scan-first beside static and the hand-made hold.

    python benchmarks/scan_start.py [--seeds 3] [--runs FOLDER] [--out benchmarks/scan_start.md]

The testbed's streams are scanned, the score file is given to the default study as `search --scan` does, and the curricula
are played as the search plays them (in its own space). Seeds of the data, of the initialisation and of the order are those
of a trial; too few to claim anything, enough to see whether the start is where a person would begin.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from setting import publish, table

from curriculum.attribution.scan import scan
from curriculum.attribution.scan_scores import write_scores
from curriculum.attribution.scan_streams import open_streams
from curriculum.mix import Phase
from curriculum.plan.windows import default_window
from curriculum.proxy.run import perform
from curriculum.search import controls
from curriculum.search.objective import Score, score_run
from curriculum.search.runner import request_of, stream_sizes
from curriculum.search.scan_start import scan_start, with_scan
from curriculum.search.space import SLICES, SearchSpace
from curriculum.search.study import Study
from curriculum.search.study_file import load_study


def curricula(study: Study) -> dict[str, tuple[Phase, ...]]:
    sizes, _ = stream_sizes(study)
    shares = study.shares(sizes)
    space = SearchSpace(study, shares, sizes)
    found = {
        "static": controls.static(shares),
        "hold-then-low (hand-made)": controls.hand_made("hold-then-low", shares, study.favour),
    }
    return {**found, "scan-first": space.phases(space.parameters(scan_start(study, shares, SLICES)["scan-first"]))}


def scanned_study(folder: Path) -> Study:
    study = load_study()
    sources = open_streams(dict(study.streams))
    write_scores(folder / "scores.parquet", scan([(source, default_window(source.index.samples)) for source in sources]))
    return with_scan(study, folder / "scores.parquet")


def row(name: str, scores: Sequence[Score]) -> list[str]:
    general, area, final = ([score.metric(key) for score in scores] for key in ("time_general", "area", "final_margin"))
    losses = [float(np.mean(list(score.loss.values()))) for score in scores]
    each = ", ".join(f"{value:.2f}" for value in general)
    return [name, f"{np.mean(general):.3f}", each, *(f"{np.mean(values):.3f}" for values in (area, final, losses))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are kept")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"), help="where to write the result")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        study = scanned_study(Path(folder))
        rows = []
        for name, phases in curricula(study).items():
            mix = study.mix(name.split()[0], phases)
            requests = [request_of(study, mix.name, mix, seed) for seed in range(arguments.seeds)]
            rows.append(row(name, [score_run(study, perform(request, arguments.runs)) for request in requests]))
            print(rows[-1])
    about = f"The default study, equal exposure, {arguments.seeds} seeds, means."
    header = ["curriculum", "time general", "of each seed", "area", "final margin", "mean loss"]
    publish(arguments.out, "What a scan makes a search try first", [about, table(header, rows)])


if __name__ == "__main__":
    main()
