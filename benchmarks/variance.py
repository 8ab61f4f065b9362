"""How large differences between groups of runs are, against the noise within them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import f as f_distribution


def variance_ratio(groups: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return F of a one-way analysis of variance and the share of variance between groups (omega squared, at least 0)."""
    counts = np.asarray([len(group) for group in groups])
    means = np.asarray([np.mean(group) for group in groups])
    total = np.concatenate([np.asarray(group, dtype=np.float64) for group in groups])
    within = sum(float(((np.asarray(group) - mean) ** 2).sum()) for group, mean in zip(groups, means, strict=True))
    between = float((counts * (means - total.mean()) ** 2).sum())
    of_groups, of_rest = len(groups) - 1, len(total) - len(groups)
    if of_rest < 1 or within == 0:
        return float("nan"), float("nan")
    noise = within / of_rest
    return between / of_groups / noise, max(0.0, (between - of_groups * noise) / (between + within + noise))


def paired_ratio(groups: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return F of a two-way analysis of variance, groups by places in them (seeds), and its p."""
    values = np.asarray(groups, dtype=np.float64)
    rest = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0, keepdims=True) + values.mean()
    of_groups, of_rest = len(values) - 1, (len(values) - 1) * (values.shape[1] - 1)
    if of_rest < 1 or not (rest**2).sum() > 0:
        return float("nan"), float("nan")
    between = values.shape[1] * float(((values.mean(axis=1) - values.mean()) ** 2).sum())
    ratio = between / of_groups / (float((rest**2).sum()) / of_rest)
    return ratio, float(f_distribution.sf(ratio, of_groups, of_rest))


def seed_deviation(groups: Sequence[Sequence[float]]) -> float:
    """Return the standard deviation within groups, pooled; NaN where no group has two values."""
    freedom = sum(len(group) - 1 for group in groups)
    squares = sum(float(((np.asarray(group) - np.mean(group)) ** 2).sum()) for group in groups)
    return float(np.sqrt(squares / freedom)) if freedom else float("nan")
