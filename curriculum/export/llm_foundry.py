"""LLM-Foundry with mosaicml-streaming: a stage is a data set, and a callback goes from one to the next.

Idea: each stage names every stream with `choose`, the exact number of samples it gives, and lasts as many tokens as
these have; so a stage is one epoch of its data set and its counts are the plan's. (`proportion`, the usual key, is
rounded by the loader and its remainder handed out at random.) Cuts lie on whole batches, since the callback looks at
its clock only there. The callback updates the first data set's keys shallowly, so every stage repeats all streams, and
opens the streams anew: what one stage showed may come again in the next, under another shuffle seed.

Checked with llm-foundry 0.22.0 (callbacks/curriculum_learning_callback.py) and mosaicml-streaming 0.12 and 0.13.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from curriculum.export.deviation import deviations, largest
from curriculum.export.layout import Inline, head_of, yaml_text
from curriculum.export.places import given_place, ignored_orders, place_of
from curriculum.export.staircase import (
    NOT_STARVING,
    RAMP_STEPS,
    Stage,
    in_batches,
    left_over,
    staircase,
    starved,
    starving_words,
)
from curriculum.export.target import Outcome, Request
from curriculum.mix.fields import is_url
from curriculum.units import keyed_seed

_WHY = (
    "the order inside a stage is Streaming's shuffle, not the plan's",
    "each stage opens its streams anew, so a stream's epoch is not exhausted before its samples come again",
)


def export(request: Request) -> Outcome:
    """Write the YAML that the training script merges into its own. Raises UserError (settings, places, existing file)."""
    batch, length = request.whole("batch_size"), request.whole("sequence_length")
    stop = in_batches(request.plan.samples, batch)
    stages = staircase(request.mix, request.plan, unit=batch, stop=stop, ramp_steps=request.whole("ramp_steps", RAMP_STEPS))
    starving = starved(request.mix, request.plan, stages)
    if starving and not request.nearest:
        return Outcome(verdict="impossible", why=starving_words(starving), nearest=NOT_STARVING)
    head = head_of(
        request.mix,
        "LLM-Foundry",
        f"{len(stages)} stages, cut on batches of {batch}; a stream's `choose` is its exact number of samples in the stage.",
    )
    path = request.output.text(yaml_text(_config(request, stages, batch, length), head))
    found = deviations(request, stages, randomness="dealt")
    return Outcome(
        verdict="impossible" if starving else "approximated",
        why=(*starving_words(starving), largest(found), *_WHY),
        deviations=found,
        files=(path,),
        use=f"merge {path.name} into the YAML of scripts/train/train.py: it sets max_duration, train_loader and the callback",
        notes=ignored_orders(request.mix) + left_over(request.plan.samples, stop),
    )


def _config(request: Request, stages: tuple[Stage, ...], batch: int, length: int) -> dict[str, Any]:
    first, *later = stages
    config: dict[str, Any] = {
        "max_duration": f"{stages[-1].stop * length}tok",
        "global_train_batch_size": batch,
        "max_seq_len": length,
        "train_loader": {
            "name": "text",
            "dataset": {**_dataset(request, first, 0), "shuffle": True, "max_seq_len": length},
            "drop_last": True,
        },
    }
    if later:
        schedule = [
            {"duration": f"{stage.samples * length}tok", "dataset": _dataset(request, stage, number)}
            for number, stage in enumerate(later, start=1)
        ]
        config["callbacks"] = {"curriculum_learning": {"duration": f"{first.samples * length}tok", "schedule": schedule}}
    return config


def _dataset(request: Request, stage: Stage, number: int) -> dict[str, Any]:
    streams = {name: Inline({**_place(request, name), "choose": int(stage.amounts[name])}) for name in request.mix.streams}
    return {"streams": streams, "shuffle_seed": keyed_seed(request.mix.seed, "llm-foundry", number) % 2**31}


def _copy_of(name: str, remote: str) -> str:
    """Return where a machine keeps its copy: a folder of its own, since Streaming takes what lies there for this stream's."""
    return f"/tmp/curriculum/{hashlib.sha256(f'{name} {remote}'.encode()).hexdigest()[:16]}"


def _place(request: Request, name: str) -> Mapping[str, str]:
    given = given_place(request.places, name)
    if given is not None:
        return {"remote": given, "local": _copy_of(name, given)} if is_url(given) else {"local": given}
    place_of(request, name, reads="MDS folders", formats=("mds",))
    stream = request.mix.streams[name]
    fields = {"remote": stream.remote, "local": stream.local, "split": stream.split}
    return {key: value for key, value in fields.items() if value is not None}
