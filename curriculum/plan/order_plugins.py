"""Orders of other packages: an installed function that gives every window of a stream a score.

    def by_length(stream: Stream, starts: NDArray[int64], stops: NDArray[int64]) -> Sequence[float]:
        '''Return one finite score for each window [starts[i], stops[i]) of the stream's samples.'''

    order: {by: "plugin:length", direction: descending, window: 1024}        # in a mix; see `plugins` for the entry point

Idea: an order is a score for each window, whoever gives it, so that windows, directions and lanes mean the same everywhere.
A function that gave a permutation could not be turned around, nor told apart from a mistake. The function is asked whenever
a plan is compiled, on every rank, so it must be deterministic and quick; what takes long belongs into a score file. Its
package's version and its module's bytes enter the mix's fingerprint: a resume under a changed plugin is refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from curriculum.errors import UserError
from curriculum.mix import Stream
from curriculum.plugins import Plugin, find_plugin


def plugin_scores(plugin_name: str, name: str, stream: Stream, *, size: int, window: int) -> npt.NDArray[np.float64]:
    """Return a plugin's scores of the windows of stream `name`, (windows,) in their order in the stream.

    Raises UserError: the plugin is not installed, fails, or gives something else than a finite number a window.
    """
    plugin = find_plugin("curriculum.orders", plugin_name)
    starts = np.arange(0, size, window, dtype=np.int64)
    scores = _ask(plugin, name, stream, starts, np.minimum(starts + window, size))
    if scores.shape != starts.shape:
        raise UserError(
            f"{plugin.what}: wanted one score for each of the {len(starts)} windows of stream {name!r}, "
            f"got shape {scores.shape}"
        )
    wrong = np.flatnonzero(~np.isfinite(scores))
    if len(wrong):
        raise UserError(
            f"{plugin.what}: window {wrong[0]} of stream {name!r} has the score {scores[wrong[0]]}, not a finite one"
        )
    return scores


def _ask(
    plugin: Plugin, name: str, stream: Stream, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    function: Any = plugin.function()
    try:
        return np.asarray(function(stream, starts, stops), dtype=np.float64)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{plugin.what} failed on stream {name!r}: {type(error).__name__}: {error}; tell its authors"
        ) from error
