"""What a saved state says under a mix, and the refusal to resume under another.

Idea: position and epoch say where a run is; the canonical mix, its fingerprint and a digest per stream say what it was
playing. Mosaic's state has the first two and its seed only, and resumes silently in another order. The price is a state
of some kilobytes instead of a hundred bytes; it is compared once, in the process that loads.

    epoch, position       where the run is: a pass over the mix's samples, and the next position in it
    sample_in_epoch       the same position under the name that Mosaic's state has
    samples               the length of this pass
    segments              [[start, canonical mix], ...] of this pass: more than one after the future was edited
    drawn                 what each stream gave before this pass, if that does not follow from the segments
    skipped               [[start, stop], ...] positions of this pass that were left out
    fingerprint, streams  of the last mix; of the data: samples, shards, digest per stream
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curriculum.errors import ChangedError
from curriculum.mix import Mix, describe_difference
from curriculum.mix.canonical import fingerprint
from curriculum.plan import Plan
from curriculum.streaming.index import StreamIndex
from curriculum.streaming.shards import Source

FIELDS = ("epoch", "position", "samples", "segments", "fingerprint", "streams")


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What a dataset plays: the mix, its plan for the first epoch, the streams' data."""

    mix: Mix
    plan: Plan
    canonical: dict[str, Any]
    fingerprint: str
    streams: Mapping[str, StreamIndex]

    @classmethod
    def of(cls, mix: Mix, plan: Plan, sources: Sequence[Source]) -> Identity:
        """Return the identity of a mix played from `sources`."""
        canonical = mix.canonical()
        return cls(
            mix=mix,
            plan=plan,
            canonical=canonical,
            fingerprint=fingerprint(canonical),
            streams={source.name: source.index for source in sources},
        )

    def data(self) -> dict[str, dict[str, Any]]:
        """Return samples, shards and digest of every stream, ready for JSON."""
        return {name: _as_dict(index) for name, index in self.streams.items()}

    def check(self, state: Mapping[str, Any], *, continues: bool) -> None:
        """Raise ChangedError, spelling out the difference, unless `state` was saved under the same mix and data.

        With `continues` they may differ, since the past is kept and the new mix plays from the cursor on.
        """
        missing = [name for name in FIELDS if name not in state]
        if missing:
            raise ChangedError(
                f"the saved state has no {', '.join(missing)}: it was not saved by a dataset under a mix; "
                "load it without a mix, or start this run from the beginning"
            )
        differences = [*self._mix_differences(state), *self._data_differences(state["streams"])]
        if differences and not continues:
            raise ChangedError(
                "this dataset would not continue what the saved state was playing:\n"
                + "".join(f"  {line}\n" for line in differences)
                + "resume with the mix and data of the saved run, or keep its past and play this mix from there on: "
                'on_change="continue"'
            )
        self._check_position(state, changed=bool(differences))

    def _check_position(self, state: Mapping[str, Any], changed: bool) -> None:
        position, samples = state["position"], state["samples"]
        whole = changed or samples == self.plan.samples
        if not (whole and 0 <= position <= samples and position == state.get("sample_in_epoch", position)):
            raise ChangedError(
                f"the saved state is damaged: position {position} (sample_in_epoch {state.get('sample_in_epoch')}) of "
                f"{samples} samples, in a run of {self.plan.samples}; load an earlier checkpoint"
            )

    def _mix_differences(self, state: Mapping[str, Any]) -> list[str]:
        segments = state["segments"]
        lines = [f"mix: {line}" for line in describe_difference(segments[-1][1], self.canonical)]
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
