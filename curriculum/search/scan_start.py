"""What a search tries first when a scan has told beforehand which streams pull towards the general mode.

Idea: a scan's pulls say an order of the streams, hardly a size: they are shares of foretold tokens, not effects. So the
streams are ranked by pull, and the rank tilts their proportions over the run at the study's own exposure:

    scan-first     strongest pulls for 30 % of the run, then what is left: the shape that won on the testbed
    scan-falling   the tilt falls evenly from one end of the run to the other
    scan-rising    it rises: the run ends with the strongest pulls, since a margin follows what was seen last

They are enqueued before the other baselines and told like any trial, so a wrong scan costs three trials and no claim.
Alternatives: a prior mean for the surrogate (its weight against real trials would be a guess), or narrowing the space (a
wrong scan would hide the best). The price: what a scan knows of windows inside streams is not used here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curriculum.errors import FileError
from curriculum.search.exposure import Matrix, scale_to_exposure
from curriculum.search.study import Study

HOLD = 0.3  # of the run
_STRENGTH = 1.3  # log of a tilt of 1 at the ends of the ranking
_COLUMNS = ("stream", "start", "stop", "score")
Numbers = npt.NDArray[np.float64]


def with_scan(study: Study, path: Path) -> Study:
    """Return the study that tries the curricula of this score file first. Raises FileError if it does not fit."""
    read_pulls(path, list(study.streams))
    return replace(study, search=replace(study.search, scan=path.absolute()))


def scan_start(study: Study, shares: Mapping[str, Fraction], slices: int) -> dict[str, Matrix]:
    """Return what the study's scan suggests, name -> proportions (slices, streams); {} for a study without a scan."""
    if study.search.scan is None:
        return {}
    pulls = read_pulls(study.search.scan, list(study.streams))
    return suggested_curricula(pulls, {name: float(shares[name]) for name in study.streams}, slices)


def read_pulls(path: Path, streams: Sequence[str]) -> dict[str, float]:
    """Return the pull of each of `streams` from a score file; other streams' rows are ignored.

    From the columns general and shallow, as a scan writes them; without them the mean score of a sample.
    Raises FileError: no score file, a stream without windows, a pull that is not a number.
    """
    table = _read_columns(path)
    names = np.asarray(table["stream"], dtype=object)
    found = {}
    for stream in streams:
        rows = names == stream
        if not rows.any():
            listed = ", ".join(sorted(set(map(str, names))))
            raise FileError(
                f"no window of stream {stream!r} in this scan, which is of {listed}; scan all streams of the study together",
                path=path,
            )
        pull = _pull({column: values[rows] for column, values in table.items() if column != "stream"})
        if not np.isfinite(pull):
            raise FileError(f"stream {stream!r} has a score that is not a finite number", path=path)
        found[stream] = pull
    return found


def suggested_curricula(pulls: Mapping[str, float], shares: Mapping[str, float], slices: int) -> dict[str, Matrix]:
    """Return curricula after the streams' pulls, name -> proportions (slices, streams), each of exposure `shares`.

    Streams are in the order of `shares`, which add up to 1. {} where all streams that have a share pull alike: there is
    nothing to order by.
    """
    weights = np.asarray(list(shares.values()))
    values = np.asarray([pulls[name] for name in shares])
    if len(np.unique(values[weights > 0])) < 2:
        return {}
    ranks = _ranks(values, weights)
    middles = (np.arange(slices) + 0.5) / slices
    tilts = {
        "scan-first": 2.0 * (middles < HOLD),
        "scan-falling": 1 - 2 * middles,
        "scan-rising": 2 * middles - 1,
    }
    return {name: _curriculum(tilt, ranks, weights) for name, tilt in tilts.items()}


def _ranks(values: Numbers, weights: Numbers) -> Numbers:
    """Return where each stream stands among them, from -1 to 1, (streams,): half of what is below it less what is above."""
    below = (weights * (values[None, :] < values[:, None])).sum(axis=1)
    above = (weights * (values[None, :] > values[:, None])).sum(axis=1)
    centred = below - above
    ranks: Numbers = centred / np.abs(centred[weights > 0]).max()
    return ranks


def _curriculum(tilt: Numbers, ranks: Numbers, weights: Numbers) -> Matrix:
    matrix = weights * np.exp(_STRENGTH * tilt[:, None] * ranks)
    shares = [Fraction(weight) for weight in (weights / weights.sum()).tolist()]
    return scale_to_exposure(matrix / matrix.sum(axis=1, keepdims=True), [1] * len(tilt), shares)


def _pull(rows: Mapping[str, npt.NDArray[Any]]) -> float:
    if "general" in rows:
        evidence = float(rows["general"].sum() + rows["shallow"].sum())
        if evidence > 0:
            return float(rows["general"].sum()) / evidence
    lengths = rows["stop"] - rows["start"]
    return float((rows["score"] * lengths).sum() / lengths.sum())


def _read_columns(path: Path) -> dict[str, npt.NDArray[Any]]:
    from pyarrow import ArrowException
    from pyarrow.parquet import read_table

    try:
        table = read_table(path)
    except FileNotFoundError:
        raise FileError("no such file; write it with `curriculum scan STREAM... --out FILE`", path=path) from None
    except (ArrowException, OSError) as error:
        raise FileError(f"wanted a scan's score file (Parquet): {error}", path=path) from None
    missing = [column for column in _COLUMNS if column not in table.column_names]
    if missing:
        raise FileError(f"wanted the columns {', '.join(_COLUMNS)}; {missing[0]!r} is missing", path=path)
    counted = ("general", "shallow") if {"general", "shallow"} <= set(table.column_names) else ()
    try:
        numbers = {column: table[column].cast("float64").to_numpy() for column in (*_COLUMNS[1:], *counted)}
    except ArrowException as error:
        raise FileError(f"wanted numbers in start, stop and score: {error}", path=path) from None
    return {"stream": np.asarray(table["stream"].to_pylist(), dtype=object), **numbers}
