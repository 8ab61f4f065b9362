"""What a saved run has played so far, as a plan: the past frozen under its own mixes, the future under ours.

Idea: a state holds its segments, (start, canonical mix), so the past can be compiled again from the state alone; only its
counts matter, since nothing before the cursor is read. A state saved under this very mix needs no past: it is a position
in our own plan. Alternatives: storing every stream's draws at the cursor (one line, but then nobody can check them). The
price is that score files and window lists are not in a state: a stream whose order came from one that is gone is taken
for shuffled, which changes no count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from curriculum.mix import Mix, mix_from_canonical
from curriculum.plan import Plan
from curriculum.plan.schedule import run_samples
from curriculum.streaming.state import Identity

Segments = tuple[tuple[int, dict[str, Any]], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """The plan of the pass that goes on at (epoch, position), and the segments that a later state will hold.

    `drawn` counts what each stream gave before this pass, if that does not follow from the segments; `past_streams`
    describes the data of streams that only the past had.
    """

    epoch: int
    position: int
    plan: Plan
    segments: Segments
    drawn: Mapping[str, Any] | None = None
    past_streams: Mapping[str, Any] | None = None


def history_of(state: Mapping[str, Any], identity: Identity, sizes: Mapping[str, int]) -> History:
    """Return the history that `state`, already checked against `identity`, tells. Raises UserError, DataError."""
    epoch, position = int(state["epoch"]), int(state["position"])
    segments: Segments = tuple((int(start), content) for start, content in state["segments"])
    ours = identity.canonical
    if len(segments) == 1 and segments[0][1] == ours and state.get("drawn") is None:
        plan = identity.plan.later_pass(epoch)
        return History(epoch=epoch, position=position, plan=plan, segments=segments)
    past_sizes = {**{name: data["samples"] for name, data in state["streams"].items()}, **sizes}
    past_streams = {name: data for name, data in state["streams"].items() if name not in identity.streams}
    plan = _replayed(state, segments, identity.mix, past_sizes)
    drawn = state.get("drawn")
    if segments[-1][1] == ours:
        return History(epoch=epoch, position=position, plan=plan, segments=segments, drawn=drawn, past_streams=past_streams)
    if position == plan.samples:  # the pass is over: the new mix begins the next one
        before = plan.drawn_before_pass(1)
        plan = Plan.compile(identity.mix, sizes=sizes, carried=before, passes=epoch + 1)
        return History(epoch=epoch + 1, position=0, plan=plan, segments=((0, ours),), drawn=before, past_streams=past_streams)
    length = identity.plan.samples
    plan = plan.continue_under(identity.mix, at=position, sizes=past_sizes, samples=length)
    kept = tuple(segment for segment in segments if segment[0] < position)
    return History(
        epoch=epoch,
        position=position,
        plan=plan,
        segments=(*kept, (position, ours)),
        drawn=drawn,
        past_streams=past_streams,
    )


def _replayed(state: Mapping[str, Any], segments: Segments, known: Mix, sizes: Mapping[str, int]) -> Plan:
    """Compile what the state says was played, segment by segment."""
    mixes = [mix_from_canonical(content, known) for _, content in segments]
    epoch, drawn = int(state["epoch"]), state.get("drawn")
    if drawn is None:
        plan = Plan.compile(mixes[0], sizes=sizes).later_pass(epoch)
    else:
        plan = Plan.compile(mixes[0], sizes=sizes, carried=drawn, passes=epoch)
    for (start, _), mix in zip(segments[1:], mixes[1:], strict=True):
        plan = plan.continue_under(mix, at=start, sizes=sizes, samples=run_samples(mix))
    return plan
