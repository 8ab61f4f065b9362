"""What the arms did, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from arms import ARMS, LENGTH, READINGS, TAIL, Attribution, Base
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import spearmanr
from streams import truth

from curriculum.attribution.branches import margins_of
from curriculum.attribution.selection import in_pool
from curriculum.probe.modes import HYSTERESIS, modes_of
from curriculum.proxy.run import RunResult, load_run
from curriculum.search.statistics import claim_interval, mean_interval

Arms = Mapping[str, Sequence[RunResult]]
Numbers = NDArray[np.float64]
LATER = 4  # readings of the published figure after its first
_EVERY = READINGS // LATER
_COLOURS = {"random": "#8a8d91", "shallow-only": "#E69F00", "general-only": "#0072B2"}
PUBLISHED = {
    "random": (0.95, 0.20, 0.87, 0.03),
    "shallow-only": (0.26, 0.23, 0.03, 0.27),
    "general-only": (0.95, 0.85, 0.91, 0.96),
}


def margins(results: Sequence[RunResult]) -> Numbers:
    """Return the margin at every reading of every run, shape (runs, readings)."""
    return np.stack([margins_of(result).to_numpy(dtype=np.float64) for result in results])


def beginning(base: Base) -> float:
    """Return the margin at the checkpoint that all arms continue."""
    result = load_run(base.run)
    assert result is not None
    return float(margins_of(result).loc[base.position])


def later_modes(margins: Numbers, first: float) -> list[list[str]]:
    """Return each run's mode at the four later readings, by hysteresis from the checkpoint on, over all readings."""
    every = [modes_of([first, *row], [True] * (len(row) + 1))[1:] for row in margins.tolist()]
    return [[str(mode) for mode in modes[_EVERY - 1 :: _EVERY]] for modes in every]


def hops(margins: Numbers, first: float) -> list[int]:
    """Return how often each run changed between general and shallow, over all readings."""
    found = []
    for row in margins.tolist():
        modes = [mode for mode in modes_of([first, *row], [True] * (len(row) + 1)) if mode != "unformed"]
        found.append(sum(before != after for before, after in pairwise(modes)))
    return found


def report(base: Base, found: Attribution, arms: Mapping[float, Arms], *, command: str) -> str:
    """Return the experiment's document; `command` is what made it."""
    first = beginning(base)
    parts = ["# Data that holds a mode", f"`{command}`", _what_was_found(found)]
    parts += [_arms_table(arms[0.0], first), _verdict(arms[0.0], first)]
    parts += [_published_table(), "## The last 40 % equal for all", _arms_table(arms[TAIL], first), _left(arms)]
    return "\n\n".join(parts) + "\n"


def _what_was_found(found: Attribution) -> str:
    judged = in_pool(found.windows.merge(truth(), on=["stream", "start", "stop"]), "held-out")
    rank = float(spearmanr(judged["effect"], judged["general"]).statistic)
    within = [float(spearmanr(own["effect"], own["general"]).statistic) for _, own in judged.groupby("stream")]
    effects = found.effects
    return (
        f"{effects.readings} margin changes of {effects.runs} runs; in runs left out, effects predict {effects.skill:.0%} of "
        f"the variance that drift and return leave. {len(judged)} windows were held out and consumed by no run; by content "
        "alone, their effects rank as "
        f"their true share of general samples does: rho {rank:.2f} over all, {min(within):.2f} to {max(within):.2f} within a "
        "stream."
    )


def _arms_table(arms: Arms, first: float) -> str:
    places = [LENGTH // LATER * number for number in range(1, LATER + 1)]
    header = ["arm", "checkpoint", *(f"after {place:,}" for place in places), "general at 4 of 4", "at none", "hops a run"]
    rows = [header, ["---"] * len(header)]
    for arm in ARMS:
        found = margins(arms[arm])
        modes = later_modes(found, first)
        means = [mean_interval(column) for column in found[:, _EVERY - 1 :: _EVERY].T]
        every = sum(all(mode == "general" for mode in of_run) for of_run in modes)
        none = sum(all(mode != "general" for mode in of_run) for of_run in modes)
        cells = [f"{mean.mean:+.2f} [{mean.low:+.2f}, {mean.high:+.2f}]" for mean in means]
        counts = [f"{every}/{len(modes)}", f"{none}/{len(modes)}", f"{np.mean(hops(found, first)):.1f}"]
        rows.append([arm, f"{first:+.2f}", *cells, *counts])
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"Margin, mean over three probe families and {len(arms['random'])} seeds with its 95 % interval:\n\n{lines}"


def _verdict(arms: Arms, first: float) -> str:
    finals = {arm: margins(arms[arm])[:, -1] for arm in ARMS}
    pairs = (("general-only", "random"), ("general-only", "shallow-only"), ("random", "shallow-only"))
    lines = [f"- {one} against {other}, at the end: {claim_interval(finals[one] - finals[other])}" for one, other in pairs]
    series = later_modes(margins(arms["random"]), first)
    shown = ", ".join("".join(mode[0].upper() for mode in modes) for modes in series)
    return "\n".join([*lines, f"- random, mode at the four readings, run by run (h = {HYSTERESIS}): {shown}"])


def _published_table() -> str:
    rows = [["published, one run of a 32B model", "1", "2", "3", "4"], ["---"] * 5]
    rows += [[arm, *(f"{value:.2f}" for value in values)] for arm, values in PUBLISHED.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _left(arms: Mapping[float, Arms]) -> str:
    """How much of the gap between general-only and shallow-only is left after the common tail."""
    gaps = {}
    for tail, of_tail in arms.items():
        general, shallow = margins(of_tail["general-only"]), margins(of_tail["shallow-only"])
        gaps[tail] = general - shallow
    begin = round(READINGS * (1 - TAIL)) - 1
    before, after = claim_interval(gaps[TAIL][:, begin]), claim_interval(gaps[TAIL][:, -1])
    courses = pd.Series(gaps[TAIL].mean(axis=0)[begin:])
    return (
        f"General-only against shallow-only: {before} where the tail begins, {after} at its end, "
        f"{after.mean / before.mean:.0%} of it left (without a tail: {claim_interval(gaps[0.0][:, -1])}). "
        f"Reading by reading over the tail: {', '.join(f'{gap:+.2f}' for gap in courses)}."
    )


def draw_arms(base: Base, arms: Mapping[float, Arms], path: Path) -> None:
    """Draw the margins of all arms over their length, without and with the common tail."""
    figure = Figure(figsize=(9.0, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    first = beginning(base)
    places = np.arange(READINGS + 1) * LENGTH // READINGS
    for axes, (tail, of_tail) in zip(figure.subplots(1, 2, sharey=True), arms.items(), strict=True):
        for arm in ARMS:
            found = margins(of_tail[arm])
            lines = np.hstack([np.full((len(found), 1), first), found])
            axes.plot(places, lines.T, color=_COLOURS[arm], alpha=0.25, linewidth=0.8)
            axes.plot(places, lines.mean(axis=0), color=_COLOURS[arm], linewidth=2, label=arm)
        axes.axhspan(-HYSTERESIS, HYSTERESIS, color="0.5", alpha=0.15, linewidth=0)
        if tail:
            axes.axvspan(places[round(READINGS * (1 - tail))], places[-1], color="0.5", alpha=0.1, linewidth=0)
        axes.set_title(f"the last {tail:.0%} equal for all" if tail else "own windows to the end", fontsize=10)
        axes.set_xlabel("samples after the checkpoint")
    figure.axes[0].set_ylabel("margin, mean of three probes\n(above the band: general mode)")
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)
