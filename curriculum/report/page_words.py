"""A verdict in sentences: what was claimed, what it means, and what else a reader must know before using it.

Idea: every sentence is made from numbers of result.json, and stands there only if those numbers are; nothing is inferred
that the verdict did not test. The price: the words are as careful as the statistics, and not as short as a slogan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from curriculum.report.figures_study import interval_of
from curriculum.report.metric_words import gain_words, metric_words
from curriculum.report.study_report import StudyReport
from curriculum.search.statistics import Interval
from curriculum.search.study import LESS_IS_BETTER

_HEADLINES = {
    "winner": "Winner: a curriculum beat the static mix, and its lead lasts.",
    "transient": "Transient: a curriculum beat the static mix, but its lead does not last.",
    "tie": "Tie: no curriculum can be told from the static mix. Take static, it is simpler.",
    "none": "None: no curriculum was shown to beat the static mix. That, too, is a result.",
}


def headline(report: StudyReport) -> str:
    """Return the verdict in one sentence."""
    if report.result is None:
        return "No verdict yet: the study is not finished."
    kind = str(report.result["verdict"])
    return _HEADLINES.get(kind, f"Verdict: {kind}.")


def trials_words(report: StudyReport) -> str:
    """Return how to read the picture of trials."""
    lucky = "A trial is one noisy run, and the best of many is flattered"
    if report.metric == "loss":
        return f"Up is a lower loss, left to right is the order of trials. {lucky}; what was proven is in the picture of gains."
    up = "less" if report.metric in LESS_IS_BETTER else "more"
    time = "time in the general mode" if report.metric == "time_general" else metric_words(report.metric)
    return f"Up is {up} {time}, left is a lower loss. {lucky}; proven curricula are means over fresh seeds."


def meaning(report: StudyReport) -> list[str]:
    """Return what the verdict rests on and what it leaves open, a sentence each; nothing without a verdict."""
    return [] if report.result is None else list(_meaning(report, report.result))


def _meaning(report: StudyReport, result: Mapping[str, Any]) -> Iterator[str]:
    leader, metric = str(result["leader"]), report.metric
    yield from _against_hand_made(result, leader, metric)
    tail = interval_of(result.get("gain_in_tail"))
    if tail is not None:
        lasts = _judged(tail, "the lead lasts", "the lead is gone", "it falls behind", "its runs cannot say")
        yield (
            f"Within the common tail, where everybody plays the same data again, {leader} against static: "
            f"{gain_words(metric)} {_words(tail)}, {lasts}."
        )
    scheduled = interval_of(result.get("gain_under_target_schedule"))
    if scheduled is not None:
        schedule = result.get("target_schedule")
        yield f"Under the full run's learning-rate schedule ({schedule}) {gain_words(metric)} over static: {_words(scheduled)}."
    final = interval_of(result.get("final_margin_over_static"))
    if final is not None:
        yield f"What is deployed is the end of a run: its final margin differs from static's by {_words(final)}."
    broken = list(result.get("broken_constraints") or [])
    yield from (f"It breaks a constraint: {words}." for words in broken)
    if not broken and report.settings["objective"].get("subject_to"):
        yield f"It breaks none of the study's constraints ({', '.join(report.settings['objective']['subject_to'])})."
    yield from _simpler(result, leader)
    yield from _more(result)


def _against_hand_made(result: Mapping[str, Any], leader: str, metric: str) -> Iterator[str]:
    best, gain = result.get("best_hand_made"), interval_of(result.get("gain_over_best_hand_made"))
    if best is None or gain is None:
        return
    so = _judged(
        gain,
        "the search found more than a rule of thumb",
        "the search found nothing that this rule of thumb does not give",
        "the rule of thumb is better",
        "the pairs are too few to compare them",
    )
    yield f"Against the best hand-made curriculum, {best}, {leader}: {gain_words(metric)} {_words(gain)}, {so}."


def _simpler(result: Mapping[str, Any], leader: str) -> Iterator[str]:
    simplest = result.get("simplest")
    if simplest and simplest != leader:
        yield f"The simplest curriculum that cannot be told from {leader} is {simplest}."


def _more(result: Mapping[str, Any]) -> Iterator[str]:
    more = result.get("more_pairs", 0)
    if more:
        yield f"About {more} more pairs of runs would decide what is still open."
    elif more is None:
        yield "No number of pairs that can be had would decide it."


def _judged(gain: Interval, above: str, level: str, below: str, unknown: str) -> str:
    if abs(gain.low) == float("inf"):
        return unknown
    return above if gain.low > 0 else below if gain.high < 0 else level


def _words(interval: Interval) -> str:
    return str(interval)


def reach(report: StudyReport) -> str:
    """Return what was trained, so that nobody takes a proxy's result for a large model's."""
    recipe, samples = report.settings["recipe"], int(report.settings["samples"])
    trained = "models trained by the study's own command" if report.settings.get("command") else _proxy_words(recipe)
    return (
        f"All of it was measured on {trained}, {samples:,} samples a run, with {len(report.settings['probes'])} probes. "
        "A proxy says which mix to try on a larger model, not what that model will do."
    )


def _proxy_words(recipe: Mapping[str, Any]) -> str:
    model = "mixtures of experts" if recipe.get("experts") else f"{recipe.get('model', 'transformer')}s"
    coarse = ", trained with products in bfloat16" if recipe.get("precision") == "bfloat16" else ""
    layers = "layer" if recipe["layers"] == 1 else "layers"
    return f"proxies: {model} of {recipe['layers']} {layers}, width {recipe['width']}{coarse}"


__all__ = ["headline", "meaning", "reach"]
