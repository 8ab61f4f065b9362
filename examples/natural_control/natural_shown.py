"""What came of it, as a document and as a picture.

Two measures of a run stand beside each other: the margin P(B) - P(C), mean over near and far items, and the share of items
on which B is the likelier. A reading is general by the margin's hysteresis, and by that of 2 x share - 1, which knows only
which answer leads: on text both probabilities are small, and .15 between them is much.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from natural_arms import ARMS, KINDS, Runs, foretold
from natural_experiment import Results
from natural_stage import Stage
from numpy.typing import NDArray

from curriculum.attribution.branches import agreement, margins_of
from curriculum.probe.modes import HYSTERESIS, modes_of
from curriculum.proxy.run import RunResult, load_run
from curriculum.search.statistics import claim_interval, mean_interval

Numbers = NDArray[np.float64]


def margins(results: Sequence[RunResult]) -> Numbers:
    """Return the margin at every reading of every run, shape (runs, readings)."""
    return np.stack([margins_of(result).to_numpy(dtype=np.float64) for result in results])


def shares(results: Sequence[RunResult]) -> Numbers:
    """Return the share of items on which the answer in the context leads, shape (runs, readings)."""
    means = [result.trajectory.table.groupby("position")["accuracy"].mean() for result in results]
    return np.stack([mean.to_numpy(dtype=np.float64) for mean in means])


def losses(results: Sequence[RunResult]) -> Numbers:
    """Return each run's held-out loss at its end, mean over all domains, shape (runs,)."""
    return np.asarray([np.mean(list(result.final_loss().values())) for result in results], dtype=np.float64)


def beginning(stage: Stage) -> tuple[float, float]:
    """Return margin and share at the checkpoint that all continue, on the base run's items."""
    result = load_run(stage.base)
    assert result is not None
    return float(margins([result])[0, -1]), float(shares([result])[0, -1])


def general(course: Numbers, first: float) -> NDArray[np.bool_]:
    """Return whether each run is general at each reading, (runs, readings): by hysteresis, from the checkpoint on."""
    modes = [modes_of([first, *row], [True] * (len(row) + 1))[1:] for row in course.tolist()]
    return np.asarray([[mode == "general" for mode in of_run] for of_run in modes])


def report(stage: Stage, results: Results) -> str:
    """Return the experiment's document."""
    tail = stage.scale.tail
    parts = ["# Windows of real text", _domains(results), _attributions(results)]
    parts += ["## Three arms", _arms(stage, results.arms[0.0]), _claims(results.arms[0.0])]
    parts += [f"## The last {tail:.0%} equal for all", _arms(stage, results.arms[tail]), _left(stage, results.arms)]
    parts += ["## Predictions against branches", _agreements(stage, results), _branches(results)]
    parts += ["## Windows against ratios", _ratios(stage, results), _setting(stage)]
    return "\n\n".join(parts) + "\n"


def _setting(stage: Stage) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy"))
    return (
        f"`python examples/natural_control/run.py --out natural-runs`, {stage.scale.seeds} seeds, Python "
        f"{platform.python_version()}, {versions}."
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *rows))


def _domains(results: Results) -> str:
    own = results.windows.groupby("stream", sort=False)
    spread = own[["effect", "score"]].std()
    rank = {str(name): windows["effect"].corr(windows["score"], method="spearman") for name, windows in own}
    rows = [
        (
            name,
            f"{pull:.3f}",
            str(own.size()[name]),
            f"{spread['score'][name]:.3f}",
            f"{spread['effect'][name]:.3f}",
            f"{rank[name]:+.2f}",
        )
        for name, pull in sorted(results.pulls.items(), key=lambda item: -item[1])
    ]
    header = ("domain", "pull", "windows held out", "sd of their scores", "sd of their effects", "rank correlation of both")
    return "Pull and scores are the scan's, effects the attribution's (from all runs).\n\n" + table(header, rows)


def _attributions(results: Results) -> str:
    rows = [
        (
            str(found.runs),
            str(found.effects.readings),
            str(int((found.windows["consumed"] > 0).sum())),
            f"{found.effects.skill:.3f}",
            f"{found.effects.identified:.1f}",
            f"{found.effects.noise:.4f}",
        )
        for found in results.found
    ]
    header = ("runs", "changes", "windows consumed", "skill beyond drift and return", "numbers determined", "noise of a change")
    sure = ((results.windows["low"] > 0) | (results.windows["high"] < 0)).sum()
    return (
        table(header, rows)
        + f"\n\nEffects are changes of the margin by 1,000 samples. Of {len(results.windows)} windows that no run "
        f"consumed, {sure} have an effect whose 95 % interval leaves out zero; the intervals' mean half-width is "
        f"{(results.windows['high'] - results.windows['low']).mean() / 2:.3f}."
    )


def _arms(stage: Stage, arms: Runs) -> str:
    first, share = beginning(stage)
    readings = stage.scale.readings
    places = [stage.scale.length // readings * number for number in range(1, readings + 1)]
    header = ["arm", *(f"after {place:,}" for place in places), "items at the end", "general", "by items", "loss at the end"]
    rows = []
    for arm in ARMS:
        course, hard = margins(arms[arm]), shares(arms[arm])
        means = [str(mean_interval(column)) for column in course.T]
        counts = [f"{found.sum()}/{found.size}" for found in (general(course, first), general(2 * hard - 1, 2 * share - 1))]
        rows.append([arm, *means, str(mean_interval(hard[:, -1])), *counts, f"{losses(arms[arm]).mean():.3f}"])
    return (
        f"Margin, {len(arms[ARMS[0]])} seeds an arm, with 95 % intervals; {first:+.3f} at the checkpoint, on other items. "
        f"`general`: readings of all seeds that are, h = {HYSTERESIS}; `by items`: the same of 2 x share - 1.\n\n"
        + table(header, rows)
    )


_PAIRS = (("general-only", "random"), ("general-only", "shallow-only"), ("random", "shallow-only"))


def _claims(arms: Runs) -> str:
    rows = []
    for one, other in _PAIRS:
        gap, hard = margins(arms[one]) - margins(arms[other]), shares(arms[one]) - shares(arms[other])
        cells = (claim_interval(gap.mean(axis=1)), claim_interval(gap[:, -1]), claim_interval(hard.mean(axis=1)))
        lost = losses(arms[one]) - losses(arms[other])
        rows.append((f"{one} against {other}", *(str(cell) for cell in cells), str(claim_interval(lost))))
    return table(("paired by seed", "mean margin", "margin at the end", "items, mean", "loss at the end"), rows)


def _left(stage: Stage, arms: Mapping[float, Runs]) -> str:
    gaps = margins(arms[stage.scale.tail]["general-only"]) - margins(arms[stage.scale.tail]["shallow-only"])
    begin = round(stage.scale.readings * (1 - stage.scale.tail)) - 1
    without = margins(arms[0.0]["general-only"])[:, -1] - margins(arms[0.0]["shallow-only"])[:, -1]
    return (
        f"General-only against shallow-only: {claim_interval(gaps[:, begin])} where the tail begins, "
        f"{claim_interval(gaps[:, -1])} at its end (without a tail: {claim_interval(without)}); mean over its readings "
        f"{claim_interval(gaps[:, begin + 1 :].mean(axis=1))}."
    )


def _agreements(stage: Stage, results: Results) -> str:
    predictions = [
        (f"effects from {found.runs} run{'s' if found.runs > 1 else ''}", found.windows, "effect") for found in results.found
    ]
    predictions.append(("the scan's scores, no run", results.windows, "score"))
    predictions.append(("pairs seen before in their sample, no run", results.windows, "continued"))
    chosen = {kind: [name for name in results.sets if name.startswith(kind)] for kind in KINDS}
    rows = []
    for label, windows, column in predictions:
        said = foretold(windows, results.sets, column)
        cells = [_rank(said, {name: results.branches[name] for name in names}) for names in (*chosen.values(), results.sets)]
        rows.append((label, *cells))
    count, seeds = stage.scale.groups, stage.scale.branch_seeds
    return (
        f"{count} groups by effect and {count} by score, of held-out windows, every domain giving each as many; each trained "
        f"{seeds} times for {stage.scale.length:,} samples. Rank correlation of what was foretold with the margin at the "
        "branches' end (95 %, resampling groups and seeds).\n\n"
        + table(("foretold by", f"{count} groups by effect", f"{count} groups by score", "all"), rows)
        + f"\n\n{_noise(results.branches)}"
    )


def _rank(said: Mapping[str, float], branches: Runs) -> str:
    found = agreement(said, branches)
    return f"{found.correlation:+.2f} [{found.low:+.2f}, {found.high:+.2f}]" if np.isfinite(found.correlation) else "all alike"


def _noise(branches: Runs) -> str:
    """How much of the branches' differences is of groups: seeds are paired, what is left of them is noise."""
    ends = np.stack([margins(results)[:, -1] for results in branches.values()])  # groups, seeds
    left = ends - ends.mean(axis=0) - ends.mean(axis=1, keepdims=True) + ends.mean()
    noise = float((left**2).sum()) / ((ends.shape[0] - 1) * (ends.shape[1] - 1))
    between = float(ends.mean(axis=1).var(ddof=1))
    real = max(0.0, 1 - noise / ends.shape[1] / between)
    return (
        f"Ends of branches of one group differ by a standard deviation of {noise**0.5:.3f} over seeds, means of groups by "
        f"{between**0.5:.3f}, of whose variance {real:.0%} is more than seeds make."
    )


def _branches(results: Results) -> str:
    effects, scores = (foretold(results.windows, results.sets, kind) for kind in KINDS)
    rows = [
        (name, f"{effects[name]:+.3f}", f"{scores[name]:.3f}", str(mean_interval(margins(results.branches[name])[:, -1])))
        for name in results.sets
    ]
    last = {kind: [margins(results.branches[name])[:, -1] for name in results.sets if name.startswith(kind)] for kind in KINDS}
    gaps = [f"last against first group by {kind}: {mean_interval(ends[-1] - ends[0])}" for kind, ends in last.items()]
    gaps.append(f"last by score against last by effect: {mean_interval(last['score'][-1] - last['effect'][-1])}")
    header = ("group", "mean effect", "mean score", "margin at the branches' end")
    return table(header, rows) + f"\n\nPaired by seed, {'; '.join(gaps)}."


def _ratios(stage: Stage, results: Results) -> str:
    arms = {f"all, {arm}": runs for arm, runs in results.arms[0.0].items()} | dict(results.ratios)
    area = {name: margins(runs).mean(axis=1) for name, runs in arms.items()}
    loss = {name: losses(runs).mean() for name, runs in arms.items()}
    given = area["all, random"]
    rows = [
        (name, str(mean_interval(values)), "" if values is given else str(claim_interval(values - given)), f"{loss[name]:.3f}")
        for name, values in area.items()
    ]
    half = len(results.pulls) // 2
    added = claim_interval(area["upper, general-only"] - area["upper, random"])
    header = ("domains, windows", "mean margin", "against random windows of all", "loss at the end")
    return (
        f"Mean margin over {stage.scale.length:,} samples, {stage.scale.seeds} seeds an arm, held-out windows; upper and "
        f"lower: the {half} domains of the highest and of the lowest pull, in equal parts.\n\n"
        + table(header, rows)
        + f"\n\nChoosing windows inside the upper domains adds {added}."
    )


_COLOURS = {"random": "#8a8d91", "shallow-only": "#E69F00", "general-only": "#0072B2"}


def draw(stage: Stage, results: Results, path: Path) -> None:
    """Draw the arms' margins, without and with the common tail, and the branches' ends over what was foretold."""
    figure = Figure(figsize=(12.5, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    middle.sharey(left)
    for axes, (tail, arms) in zip((left, middle), results.arms.items(), strict=True):
        _draw_arms(axes, stage, arms, tail)
    left.set_ylabel("margin P(B) - P(C)")
    left.legend(frameon=False, fontsize=8)
    _draw_branches(right, results)
    figure.savefig(path, dpi=150)


def _draw_arms(axes: Axes, stage: Stage, arms: Runs, tail: float) -> None:
    places = np.arange(1, stage.scale.readings + 1) * stage.scale.length // stage.scale.readings
    for arm in ARMS:
        found = margins(arms[arm])
        axes.plot(places, found.T, color=_COLOURS[arm], alpha=0.2, linewidth=0.7)
        axes.plot(places, found.mean(axis=0), color=_COLOURS[arm], linewidth=2, label=arm)
    if tail:
        axes.axvspan((1 - tail) * stage.scale.length, stage.scale.length, color="0.5", alpha=0.12, linewidth=0)
    axes.set_title(f"the last {tail:.0%} equal for all" if tail else "own windows to the end", fontsize=10)
    axes.set_xlabel("samples after the checkpoint")


def _draw_branches(axes: Axes, results: Results) -> None:
    """Groups in order of what made them; a point is the mean over seeds, a bar its 95 % interval."""
    for kind, colour, marker, shift in zip(KINDS, ("#0072B2", "#D55E00"), "os", (-0.1, 0.1), strict=True):
        names = [name for name in results.sets if name.startswith(kind)]
        ends = [mean_interval(margins(results.branches[name])[:, -1]) for name in names]
        middle = np.asarray([end.mean for end in ends])
        bars = np.abs(np.asarray([[end.low, end.high] for end in ends]).T - middle)
        label = "groups by effect" if kind == "effect" else "groups by the scan's score"
        places = np.arange(1, len(names) + 1) + shift
        axes.errorbar(places, middle, bars, color=colour, marker=marker, linestyle="none", markersize=5, label=label)
    axes.set_title("branches on groups of windows", fontsize=10)
    axes.set_xlabel("group, from lowest to highest")
    axes.set_ylabel("margin at the branches' end")
    axes.legend(frameon=False, fontsize=8, loc="upper left")
