"""Thresholds from measured noise: the hysteresis h, and the floor of a control.

Idea: h = .15 is a convention. What it must do is keep noise from being called a mode: a model whose true margin is zero
should, over a whole run of readings, be called general or shallow in at most 5 % of runs. With the standard error of a
reading (from its bootstrap interval) and the number of readings that fixes h. Likewise a control's floor must keep an
untrained model from being called capable. Alternatives: fitting a two-state model to the margins (needs hops to have
happened; see `modes`). The price: the errors of neighbouring readings, which ask the same items, are taken as
independent; the threshold is then a little too careful.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.stats import norm

from curriculum.errors import UserError
from curriculum.probe.scoring import Reading

LEAST_HYSTERESIS = 0.05  # below this a mode would be too weak a preference to be worth a name
_HALF_WIDTH = NormalDist().inv_cdf(0.975)  # of a 95 % interval, in standard errors


def standard_error(low: float, high: float) -> float:
    """Return the standard error that a 95 % interval [low, high] stands for."""
    return (high - low) / (2 * _HALF_WIDTH)


def calibrated_hysteresis(readings: Sequence[Reading], *, false_runs: float = 0.05) -> float:
    """Return the h that a true margin of zero oversteps, in any of `readings` of one probe, in a share `false_runs` of runs.

    The chances of all readings, each with its own standard error and both sides, add up to that share. At least .05. Raises
    UserError without readings.
    """
    if not readings:
        raise UserError("wanted readings to calibrate the hysteresis from, got none")
    if not 0 < false_runs < 1:
        raise UserError(f"wanted a share of false runs between 0 and 1, got {false_runs}")
    errors = np.asarray([standard_error(reading.low, reading.high) for reading in readings])
    errors = errors[errors > 0]
    if not len(errors):
        return LEAST_HYSTERESIS
    most = float(errors.max()) * NormalDist().inv_cdf(1 - false_runs / (2 * len(errors)))  # enough, were all like the worst
    if _chance(LEAST_HYSTERESIS, errors) <= false_runs:
        return LEAST_HYSTERESIS
    return float(brentq(lambda h: _chance(h, errors) - false_runs, LEAST_HYSTERESIS, most + LEAST_HYSTERESIS))


def _chance(hysteresis: float, errors: npt.NDArray[np.float64]) -> float:
    """Return the expected number of readings of a true zero that overstep `hysteresis`, either way."""
    return float(2 * norm.sf(hysteresis / errors).sum())


def calibrated_floor(untrained_control_margins: Sequence[float], *, false_share: float = 0.025) -> float:
    """Return the floor that an untrained model's control margin exceeds in a share `false_share` of seeds, at least 0.

    `untrained_control_margins`: the control's margin of freshly initialised models, one a seed; a normal distribution is
    fitted, so some ten of them are enough. Raises UserError for fewer than two.
    """
    if len(untrained_control_margins) < 2:
        raise UserError(f"wanted the control margins of at least 2 untrained models, got {len(untrained_control_margins)}")
    margins = np.asarray(untrained_control_margins, dtype=np.float64)
    limit = float(margins.mean() + NormalDist().inv_cdf(1 - false_share) * margins.std(ddof=1))
    return max(0.0, limit)
