"""The scan's scores of windows beside what the same windows do, on synthetic streams: without and with windows that differ.

    python benchmarks/scan_windows.py RUNS... --branches FOLDER [--out benchmarks/scan_windows.md]

RUNS are run folders of the embedded testbed, or folders above them (the runs of the default study). FOLDER is the `--out` of
benchmarks/attribution.py: streams whose windows were made to differ, runs, and branches trained on groups of windows. On the
testbed effects are estimated without features, since those of content count much of what the scan counts. How far they can be
known at all is asked by halves: runs dealt out in turn, by seed, into two; the rank correlation of the effects that either half
gives says how much of them is more than noise. Inside a stream, ranks are taken within it and pooled. Spearman's correlation;
intervals are the central 95 % of 2,000 resamples of windows, of streams and then of their windows where streams are compared as
well, of groups and seeds where branches are.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata, spearmanr
from setting import publish, table

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "control"))

import arms as control
from attribution import foretold

from curriculum.attribution.branches import agreement
from curriculum.attribution.effects import Effects, estimate
from curriculum.attribution.effects_data import Evidence, find_runs, gather
from curriculum.attribution.effects_features import no_features
from curriculum.attribution.scan import ScanResult, scan
from curriculum.attribution.scan_streams import open_streams
from curriculum.mix import Mix, Order, Stream
from curriculum.proxy.run import RECORD, RunResult, load_run
from curriculum.units import keyed_seed

Numbers = npt.NDArray[np.float64]
DRAWS = 2_000
_ALIKE = 1e-9  # values that differ by less are the same but for rounding


def estimated(evidence: Evidence) -> Effects:
    """Return the effects of windows known by their identity and stream alone."""
    return estimate(evidence.design(no_features(len(evidence.windows)).values), streams=len(evidence.streams))


def half(evidence: Evidence, number: int) -> Evidence:
    """Return what the runs of every second seed show, from seed `number` on: runs of one seed play windows in one order."""
    seeds = [Mix.load(run / "mix.yaml").seed for run in evidence.runs]
    places = {seed: place for place, seed in enumerate(sorted(set(seeds)))}
    kept = np.asarray([places[seeds[run]] % 2 == number for run in evidence.stretches["run"]])
    return replace(evidence, stretches=evidence.stretches[kept].reset_index(drop=True), consumed=evidence.consumed[kept])


def scores_of(windows: pd.DataFrame, streams: Mapping[str, Stream]) -> tuple[ScanResult, pd.DataFrame]:
    """Return the scan of the streams, and the score of each of the windows (stream, start, stop, score)."""
    widths = (windows["stop"] - windows["start"]).groupby(windows["stream"]).max()
    result = scan([(source, int(widths[source.name])) for source in open_streams(dict(streams))])
    parts = [
        pd.DataFrame({"stream": counts.name, "start": counts.starts, "stop": counts.stops, "score": scores})
        for counts, scores in zip(result.counts, result.scores, strict=True)
    ]
    return result, pd.concat(parts)


def inside(parts: Sequence[Numbers]) -> float:
    """Return the correlation of ranks taken within each stream, over all windows; `parts` (windows, 2), one a stream.

    Streams whose windows have one value for all have no part in it.
    """
    parts = [own for own in parts if np.ptp(own, axis=0).min() > _ALIKE]
    if not parts:
        return float("nan")
    ranks = np.concatenate([rankdata(own, axis=0) / len(own) - (len(own) + 1) / (2 * len(own)) for own in parts])
    return float(np.corrcoef(ranks.T)[0, 1])


def resampled(rows: pd.DataFrame, one: str, other: str) -> str:
    """Return the correlation inside streams and its interval."""
    parts = [own[[one, other]].to_numpy() for _, own in rows.groupby("stream")]
    random = np.random.default_rng(keyed_seed("scan windows", one, other))
    drawn = [inside([own[random.integers(len(own), size=len(own))] for own in parts]) for _ in range(DRAWS)]
    return told(inside(parts), drawn)


def across(rows: pd.DataFrame, one: str, other: str) -> str:
    """Return the correlation over all windows, between streams included; the interval resamples the streams first."""
    parts = [own[[one, other]].to_numpy() for _, own in rows.groupby("stream")]
    random = np.random.default_rng(keyed_seed("scan windows, across", one, other))
    drawn = []
    for _ in range(DRAWS):
        chosen = [parts[number] for number in random.integers(len(parts), size=len(parts))]
        values = np.concatenate([own[random.integers(len(own), size=len(own))] for own in chosen])
        drawn.append(float(spearmanr(values[:, 0], values[:, 1]).statistic) if np.ptp(values, axis=0).min() > 0 else np.nan)
    return told(float(spearmanr(rows[one], rows[other]).statistic), drawn)


def told(value: float, drawn: Sequence[float]) -> str:
    if not np.isfinite(value):
        return "all alike"
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def by_stream(result: ScanResult, rows: pd.DataFrame, effects: Effects, evidence: Evidence) -> str:
    """Return a row a stream: its pull and effect, how far scores and effects scatter, and their correlations inside it."""
    pulls = {pull.name: pull.pull for pull in result.pulls}
    lines = []
    for name, row in zip(evidence.streams, effects.streams.itertuples(), strict=True):
        own = rows[rows["stream"] == name]
        lines.append(
            [
                name,
                f"{pulls[name] or 0:.3f}",
                f"{row.effect:+.3f} [{row.low:+.3f}, {row.high:+.3f}]",
                str(len(own)),
                f"{own['score'].std():.3f}",
                f"{own['effect'].std():.3f}",
                f"{own['known'].mean():.0%}",
                resampled(own, "score", "effect"),
                resampled(own, "first", "second"),
            ]
        )
    header = ["stream", "pull", "effect", "windows", "sd of scores", "sd of effects", "known", "score with effect", "halves"]
    return table(header, lines)


def started_from(run: Path) -> str:
    """Return the checkpoint that a run went on from."""
    return str(json.loads((run / RECORD).read_text())["proxy"]["start"])


def branches_of(folder: Path) -> tuple[dict[str, pd.DataFrame], dict[str, list[RunResult]]]:
    """Return the groups of windows that were branched on, and their branches, by group."""
    names = sorted({file.name.rsplit("-", 1)[0] for file in (folder / "windows").glob("group-*-s0.parquet")})
    found = {name: [load_run(run) for run in sorted(folder.glob(f"branch-{name}-s*"))] for name in names}
    sets = {name: pd.read_parquet(folder / "windows" / f"{name}-s0.parquet") for name in names}
    return sets, {name: [result for result in results if result is not None] for name, results in found.items()}


def made_to_differ(folder: Path) -> list[str]:
    """Return what the scan and the regression say of windows that differ, beside their make and the branches."""
    truth = pd.read_parquet(folder / "data" / "truth.parquet")
    window = int((truth["stop"] - truth["start"]).max())
    streams = {name: Stream(local=str(folder / "data" / name), order=Order(window=window)) for name in truth["stream"].unique()}
    rows = truth.merge(scores_of(truth, streams)[1], on=["stream", "start", "stop"])
    sets, branches = branches_of(folder / "branches")
    start = started_from(branches["group-1"][0].folder)
    runs = [run for run in sorted((folder / "runs").glob("attributed-s*")) if started_from(run) == start]
    found = control.attribute_runs(runs, folder).windows
    rows = rows.merge(found[["stream", "start", "stop", "effect", "held_out"]], on=["stream", "start", "stop"])
    unseen = rows[rows["held_out"]]
    lines = []
    for what, column in (("the scan's score, no run", "score"), (f"effects by content, {len(runs)} runs", "effect")):
        rank = agreement(foretold(rows.assign(effect=rows[column]), sets), branches)
        inside_truth = resampled(unseen, column, "general")
        lines.append([what, inside_truth, f"{rank.correlation:+.2f} [{rank.low:+.2f}, {rank.high:+.2f}]"])
    header = ["foretold by", f"share of general samples, {len(unseen)} windows", f"margins of branches, {len(sets)} groups"]
    return ["## Windows made to differ", ABOUT_MADE, table(header, lines)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--branches", type=Path, required=True, metavar="FOLDER", help="the --out of attribution.py")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"), help="where to write the result")
    given = parser.parse_args()
    runs = find_runs(given.runs)
    evidence = gather(runs)
    effects, halves = estimated(evidence), [estimated(half(evidence, number)) for number in range(2)]
    result, scores = scores_of(evidence.windows, evidence.streams)
    found = pd.concat([evidence.windows, effects.windows], axis=1)
    found = found.assign(first=halves[0].windows["effect"], second=halves[1].windows["effect"])
    rows = found.merge(scores, on=["stream", "start", "stop"])
    skills = ", ".join(f"{each.skill:.3f}" for each in (effects, *halves))
    summary = [
        ["windows inside their streams", resampled(rows, "score", "effect"), resampled(rows, "first", "second")],
        ["all windows, streams included", across(rows, "score", "effect"), across(rows, "first", "second")],
    ]
    words = (
        f"{len(runs)} runs, {effects.readings:,} changes between readings, {len(rows):,} windows. Skill in runs left out, of "
        f"all runs and of either half: {skills}. Signal to noise chosen for windows' own deviations: {effects.own:g}."
    )
    parts = ["## The testbed", ABOUT, words, by_stream(result, rows, effects, evidence), table(HEADER, summary)]
    title = "The scan's scores of windows beside windows' effects: synthetic streams"
    publish(given.out, title, [*parts, *made_to_differ(given.branches)])


HEADER = ["rank correlation", "scan's score with effect", "effects from one half of the runs with those from the other"]
ABOUT = """\
A window's effect is the change of the margin by 1,000 of its samples, from a regression over real runs (window identity and
stream, no content). Correlations are Spearman's with 95 % intervals over resampled windows (streams first, where these are
compared). `all alike`: the scores, or the effects, are the same for all windows of the stream; of effects that means that
cross-validation, which leaves out whole seeds, found windows' own deviations to predict nothing. `halves`: what estimates from
two halves of the runs, without a seed in common, agree in; where that is little, no score could agree with effects more."""

ABOUT_MADE = """\
The windows of two streams, each of which mixes the testbed's five sources in shares of its own (examples/control). Rank
correlation inside the streams, over windows that no run consumed, with the share of samples that are of a general source; and
of groups of these windows with the margins at the end of branches trained on them (benchmarks/attribution.md). The groups were
made by the effects, which favours these."""


if __name__ == "__main__":
    main()
