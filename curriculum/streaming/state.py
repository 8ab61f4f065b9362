"""What a saved state says under a mix, and the refusal to resume under another.

Idea: position and epoch say where a run is; the canonical mix, its fingerprint and a digest per stream say what it was
playing. Mosaic's state has the first two and its seed only, and resumes silently in another order. The price is a state
of some kilobytes instead of a hundred bytes. Mosaic hands its own five fields to the workers through one page of shared
memory (4 KB); ours never enter that page, they are compared once, in the process that loads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from curriculum.errors import ChangedError
from curriculum.mix import describe_difference
from curriculum.streaming.index import StreamIndex

MOSAIC_FIELDS = ("epoch", "sample_in_epoch", "num_canonical_nodes", "shuffle_seed", "initial_physical_nodes")
OUR_FIELDS = ("position", "samples", "segments", "fingerprint", "streams")


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What a dataset plays: the canonical mix, its fingerprint, the run's samples, the streams' data."""

    canonical: dict[str, Any]
    fingerprint: str
    samples: int
    streams: Mapping[str, StreamIndex]

    def state(self, position: int) -> dict[str, Any]:
        """Return our fields of a state at `position` of the current pass, ready for JSON."""
        return {
            "position": position,
            "samples": self.samples,
            "segments": [[0, self.canonical]],
            "fingerprint": self.fingerprint,
            "streams": {name: _as_dict(index) for name, index in self.streams.items()},
        }

    def check(self, state: Mapping[str, Any]) -> None:
        """Raise ChangedError, spelling out the difference, unless `state` was saved under the same mix and data."""
        missing = [field for field in ("epoch", "sample_in_epoch", *OUR_FIELDS) if field not in state]
        if missing:
            raise ChangedError(
                f"the saved state has no {', '.join(missing)}: it was not saved by a dataset under a mix; "
                "load it without a mix, or start this run from the beginning"
            )
        differences = [*self._mix_differences(state), *self._data_differences(state["streams"])]
        if differences:
            raise ChangedError(
                "this dataset would not continue what the saved state was playing:\n"
                + "".join(f"  {line}\n" for line in differences)
                + "resume with the mix and data of the saved run, or start a new run"
            )
        position, samples = state["position"], state["samples"]
        if not (0 <= position <= samples == self.samples and position == state["sample_in_epoch"]):
            raise ChangedError(
                f"the saved state is damaged: position {position} (sample_in_epoch {state['sample_in_epoch']}) of "
                f"{samples} samples, in a run of {self.samples}; load an earlier checkpoint"
            )

    def _mix_differences(self, state: Mapping[str, Any]) -> list[str]:
        segments = state["segments"]
        if len(segments) != 1 or segments[0][0] != 0:
            starts = ", ".join(str(start) for start, _ in segments)
            return [f"the saved run changed its mix on the way (segments at {starts}); this dataset has one mix"]
        lines = [f"mix: {line}" for line in describe_difference(segments[0][1], self.canonical)]
        if not lines and state["fingerprint"] != self.fingerprint:
            lines = [f"mix: fingerprint {state['fingerprint']} -> {self.fingerprint}"]
        return lines

    def _data_differences(self, saved: Mapping[str, Mapping[str, Any]]) -> list[str]:
        lines = []
        for name, index in self.streams.items():
            was, now = saved.get(name), _as_dict(index)
            if was is not None and dict(was) != now:
                lines.append(
                    f"data of stream {name!r}: {was.get('samples')} samples in {was.get('shards')} shards "
                    f"(digest {str(was.get('digest'))[:12]}) -> {index.samples} samples in {index.shards} shards "
                    f"(digest {index.digest[:12]})"
                )
        return lines


def refuse_without_mix(state: Mapping[str, Any]) -> None:
    """Raise ChangedError if `state` was saved under a mix: without one, the order would silently be another."""
    if "fingerprint" in state or "segments" in state:
        raise ChangedError(
            f"the saved state plays a mix (fingerprint {state.get('fingerprint')}), but this dataset has none; "
            "give it the same mix, or start a new run"
        )


def _as_dict(index: StreamIndex) -> dict[str, Any]:
    return {"samples": index.samples, "shards": index.shards, "digest": index.digest}
