"""The pictures of what came out: gains over static, trials by loss and the study's metric, parameter importance.

Idea: as in `figures`. Where a number was measured more than once it has an interval (the proof) or the range of its runs
(two or three repeats, of which an interval would say little); where it was measured once it is a bare point, so that nobody
takes a single noisy run for more. The price: two kinds of bars in one picture, which its legend must name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from curriculum.report.figures_style import CONTROL, FAINT, INK, LEADER, PAPER, WIDE, style
from curriculum.report.label_places import Label, place_labels
from curriculum.report.metric_words import gain_words, metric_words
from curriculum.search.statistics import Interval
from curriculum.search.study import LESS_IS_BETTER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NARROW_BELOW = 6.0  # inches
_MOST_BARS = 16
_LOG_FROM = 8.0  # times the smallest loss: from there on a logarithmic axis shows more
Kind = Literal["kept", "broken", "stopped"]
KINDS: tuple[Kind, ...] = ("kept", "broken", "stopped")
_POSITIVE = (0.0, float("inf"))
_RANGES = {"area": (-1.0, 1.0), "final_margin": (-1.0, 1.0), **dict.fromkeys(LESS_IS_BETTER, _POSITIVE)}  # others: shares
_AIR = 0.04
_ALONG = 24  # points along an interval
_LONGEST_NAME = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialPoint:
    """A trial's run: mean loss (nats; None where runs have none) and its value of the study's metric.

    `kind` says whether it kept the constraints, broke one, or was stopped early. `repeats` are (loss, value) of its runs
    on further seeds.
    """

    name: str
    loss: float | None
    value: float
    kind: Kind
    repeats: Sequence[tuple[float | None, float]] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmPoint:
    """A curriculum of the proof, with intervals; `value` and `gain` over static are of the study's metric."""

    name: str
    role: str
    loss: Interval | None
    value: Interval
    gain: Interval | None = None


def gains_figure(arms: Sequence[ArmPoint], metric: str, *, width: float = WIDE) -> Figure:
    """Return each arm's gain over static with its interval; one without (too few pairs) is a hollow point alone."""
    from matplotlib.figure import Figure

    shown = [arm for arm in arms if arm.gain is not None]
    with style():
        figure = Figure(figsize=(width, 0.3 * len(shown) + 0.75), layout="constrained")
        ax = figure.subplots()
        for row, arm in enumerate(shown):
            _draw_gain(ax, row, arm)
        ax.axvline(0, color=INK, linewidth=0.8)
        ax.set_yticks(range(len(shown)), [_role_name(arm, width) for arm in shown])
        ax.set_ylim(len(shown) - 0.4, -0.6)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.grid(axis="x", color=FAINT, alpha=0.3, linewidth=0.6)
        words = gain_words(metric)
        ax.set_xlabel(f"{words} over static (right is better)" if width >= _NARROW_BELOW else words)
    return figure


def _draw_gain(ax: Axes, row: int, arm: ArmPoint) -> None:
    gain = arm.gain
    if gain is None:
        return
    colour = CONTROL if arm.role == "control" else LEADER
    certain = bool(np.isfinite(gain.low) and np.isfinite(gain.high))
    if certain:
        ax.plot([gain.low, gain.high], [row, row], color=colour, linewidth=2.2, solid_capstyle="butt")
    marker = "s" if arm.role == "control" else "o"
    ax.plot([gain.mean], [row], marker, color=colour if certain else PAPER, markeredgecolor=colour, markersize=6)


def _role_name(arm: ArmPoint, width: float) -> str:
    name = arm.name if width >= _NARROW_BELOW or len(arm.name) <= 16 else f"{arm.name[:15]}…"
    return name if arm.role in ("control", "finalist") or width < _NARROW_BELOW else f"{name} ({arm.role})"


def trials_figure(
    trials: Sequence[TrialPoint], arms: Sequence[ArmPoint] = (), *, metric: str = "time_general", width: float = WIDE
) -> Figure:
    """Return trials and arms by mean loss (left is better) and the value of `metric`, the study's (up is better).

    Without any losses, or where the loss is the metric, trials stand in their order. Metrics of which less is better are shown
    upside down. Bars of arms are 95 % intervals, thin lines join a trial's repeats.
    Arms have their names beside them, as far as there is room.
    """
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(width, 4.2 if width >= _NARROW_BELOW else 4.4), layout="constrained")
        ax = figure.subplots()
        has_loss = _by_loss(trials, metric)
        _draw_repeats(ax, trials, has_loss)
        for kind in KINDS:
            _draw_trials(ax, trials, kind, has_loss)
        labels = {False: "finalist (95 %)", True: "control (95 %)"}
        for arm in arms if has_loss else ():
            _draw_arm(ax, arm, labels.pop(arm.role == "control", None))
        _set_scales(ax, trials, arms, has_loss, metric)
        columns = 6 if width >= _NARROW_BELOW else 2
        figure.legend(loc="outside upper left", ncols=columns, handlelength=1.4, columnspacing=1.2)
        if has_loss:
            drawn = [(trial.loss, trial.value) for trial in trials if trial.loss is not None]
            place_labels(ax, _labels(arms), [*drawn, *_along_bars(arms)])
    return figure


def _along_bars(arms: Sequence[ArmPoint]) -> list[tuple[float, float]]:
    """Return points along the arms' intervals, which a name had better not hide."""
    found = []
    for arm in arms:
        if arm.loss is not None and np.isfinite([arm.loss.low, arm.loss.high, arm.value.low, arm.value.high]).all():
            found += [(float(x), arm.value.mean) for x in np.linspace(arm.loss.low, arm.loss.high, _ALONG)]
            found += [(arm.loss.mean, float(y)) for y in np.linspace(arm.value.low, arm.value.high, _ALONG)]
    return found


def _labels(arms: Sequence[ArmPoint]) -> list[Label]:
    """Return the arms' names: the leader's and static's first and bold, then finalists, then controls."""
    ranks = {"winner": 0, "leader": 0, "finalist": 2, "control": 3}
    ordered = sorted(arms, key=lambda arm: 1 if arm.name == "static" else ranks.get(arm.role, 2))
    return [
        Label(
            name=arm.name if len(arm.name) <= _LONGEST_NAME else f"{arm.name[: _LONGEST_NAME - 1]}…",
            x=arm.loss.mean,
            y=arm.value.mean,
            bold=arm.name == "static" or arm.role in ("winner", "leader"),
        )
        for arm in ordered
        if arm.loss is not None
    ]


def _abscissa(trials: Sequence[TrialPoint], has_loss: bool) -> list[float]:
    return [float("nan") if trial.loss is None else trial.loss for trial in trials] if has_loss else list(range(len(trials)))


def _draw_trials(ax: Axes, trials: Sequence[TrialPoint], kind: Kind, has_loss: bool) -> None:
    places = _abscissa(trials, has_loss)
    shown = [(place, trial) for place, trial in zip(places, trials, strict=True) if trial.kind == kind and not np.isnan(place)]
    if not shown:
        return
    words = {"kept": "trial within limits", "broken": "trial over a limit", "stopped": "trial stopped early"}
    look = {
        "kept": {"marker": "o", "facecolors": FAINT, "edgecolors": INK},
        "broken": {"marker": "o", "facecolors": "none", "edgecolors": FAINT},
        "stopped": {"marker": "x", "color": FAINT},
    }[kind]
    xs, ys = [place for place, _ in shown], [trial.value for _, trial in shown]
    ax.scatter(xs, ys, s=22, linewidths=0.9, gid=f"trials-{kind}", label=words[kind], zorder=2, **look)  # type: ignore[arg-type]


def hover_texts(trials: Sequence[TrialPoint], metric: str = "time_general") -> dict[str, list[str]]:
    """Return what each trial's point of `trials_figure` says when it is hovered over, by the gid of its collection."""
    has_loss = _by_loss(trials, metric)
    shown = [trial for trial in trials if trial.loss is not None or not has_loss]
    return {f"trials-{kind}": [_point_words(trial, metric) for trial in shown if trial.kind == kind] for kind in KINDS}


def _by_loss(trials: Sequence[TrialPoint], metric: str) -> bool:
    return metric != "loss" and any(trial.loss is not None for trial in trials)


def _point_words(trial: TrialPoint, metric: str) -> str:
    loss = "" if trial.loss is None or metric == "loss" else f", mean loss {trial.loss:.3f}"
    return f"{trial.name}: {metric_words(metric)} {trial.value:.3f}{loss}"


def _draw_repeats(ax: Axes, trials: Sequence[TrialPoint], has_loss: bool) -> None:
    """Draw mean and range, in both directions, of a trial and its repeats."""
    label: str | None = "range of repeats"
    for place, trial in zip(_abscissa(trials, has_loss), trials, strict=True):
        if not trial.repeats or np.isnan(place):
            continue
        xs = [place, *(place if loss is None or not has_loss else loss for loss, _ in trial.repeats)]
        ys = [trial.value, *(value for _, value in trial.repeats)]
        x, y = float(np.mean(xs)), float(np.mean(ys))
        ax.plot([min(xs), max(xs)], [y, y], color=FAINT, linewidth=0.9, zorder=1, label=label)
        ax.plot([x, x], [min(ys), max(ys)], color=FAINT, linewidth=0.9, zorder=1)
        label = None


def _draw_arm(ax: Axes, arm: ArmPoint, label: str | None) -> None:
    if arm.loss is None:
        return
    colour, marker = {"control": (CONTROL, "s")}.get(arm.role, (LEADER, "D"))
    loss, value = arm.loss, arm.value
    for low, high, across in ((loss.low, loss.high, True), (value.low, value.high, False)):
        if np.isfinite(low) and np.isfinite(high):
            ends = ([low, high], [value.mean] * 2) if across else ([loss.mean] * 2, [low, high])
            ax.plot(*ends, color=colour, linewidth=1.3, zorder=3)
    ax.plot([loss.mean], [value.mean], marker, color=colour, markeredgecolor=PAPER, markersize=7, label=label, zorder=4)


def _set_scales(ax: Axes, trials: Sequence[TrialPoint], arms: Sequence[ArmPoint], has_loss: bool, metric: str) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    losses = [trial.loss for trial in trials if trial.loss] + [arm.loss.mean for arm in arms if arm.loss is not None]
    ax.set_ylabel(metric_words(metric) + (" (less is better)" if metric in LESS_IS_BETTER else ""))
    ax.grid(color=FAINT, alpha=0.25, linewidth=0.6)
    low, high = ax.get_ylim()
    middle, (least, most) = (low + high) / 2, _RANGES.get(metric, (0.0, 1.0))
    # shares and margins that differ by less are not drawn as if it were much; nats and bits may
    half = 0.0 if metric in LESS_IS_BETTER else 0.1
    ends = max(least - _AIR, min(low, middle - half)), min(most + _AIR, max(high, middle + half))
    ax.set_ylim(ends[::-1] if metric in LESS_IS_BETTER else ends)
    if not has_loss:
        ax.set_xlabel("trial" if metric == "loss" else "trial (the runs have no held-out losses)")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        return
    ax.set_xlabel("mean held-out loss (nats)")
    if losses and min(losses) > 0 and max(losses) / min(losses) > _LOG_FROM:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())


def importance_figure(importance: Mapping[str, float], *, width: float = WIDE) -> Figure:
    """Return parameter importance as bars, the largest first; beyond sixteen the rest is one bar."""
    from matplotlib.figure import Figure

    ordered = sorted(importance.items(), key=lambda entry: -entry[1])
    shown, rest = ordered[:_MOST_BARS], ordered[_MOST_BARS:]
    if rest:
        shown.append((f"{len(rest)} others", sum(value for _, value in rest)))
    with style():
        figure = Figure(figsize=(width, 0.26 * len(shown) + 0.7), layout="constrained")
        ax = figure.subplots()
        bars = ax.barh(range(len(shown)), [value for _, value in shown], color=LEADER, height=0.66)
        ax.bar_label(bars, [f"{value:.0%}" for _, value in shown], padding=3, color=INK)
        ax.set_yticks(range(len(shown)), [name for name, _ in shown])
        ax.set_ylim(len(shown) - 0.4, -0.6)
        ax.tick_params(axis="y", length=0)
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        ax.margins(x=0.12)
        ax.set_xlabel("importance (all add up to 100 %)")
    return figure


__all__ = [
    "KINDS",
    "ArmPoint",
    "Kind",
    "TrialPoint",
    "gains_figure",
    "hover_texts",
    "importance_figure",
    "trials_figure",
]
