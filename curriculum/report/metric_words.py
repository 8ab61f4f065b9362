"""A study's metric as people write it, wherever a page, picture or table speaks of one.

Idea: within a search more is better, of losses and bits too, which are negative there. People read them as they are, and read a
"gain in loss" as its opposite; so what was gained is named, and not only by how much.
"""

from __future__ import annotations

_GAINS = {"loss": "nats of mean loss saved", "bits_per_byte": "bits per byte saved"}


def metric_words(metric: str) -> str:
    """Return a metric's name: "time general", "mean loss"."""
    return "mean loss" if metric == "loss" else metric.replace("_", " ")


def gain_words(metric: str) -> str:
    """Return what a gain is: "gain in time general", "nats of mean loss saved"."""
    return _GAINS.get(metric, f"gain in {metric_words(metric)}")
