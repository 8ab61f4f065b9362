"""nanotron: one config a stage, one job after the other.

Idea: `data_stages` looks like a schedule, but the trainer builds the data loader of the last stage only; so stage k gets
a config of its own that lists the stages up to k and stops where k ends, and the jobs are run one after the other, each
resuming from the checkpoint of the one before. A shell script does this. Every stage is a job's restart, so ramps get
few steps by default. Within a stage nanotron shuffles one epoch over all folders, hence draws a stage's samples at random
from it.

Checked with nanotron's main branch of April 2026 (config/config.py, trainer.py, data/nanoset.py). The registry's
release, 0.4, is older than these keys.
"""

from __future__ import annotations

from typing import Any

from curriculum.export.deviation import deviations, largest
from curriculum.export.layout import head_of, yaml_text
from curriculum.export.places import ignored_orders, place_of
from curriculum.export.staircase import NOT_STARVING, Stage, in_batches, left_over, staircase, starved, starving_words
from curriculum.export.target import Outcome, Request
from curriculum.units import keyed_seed

_RAMP_STEPS = 4  # each is a job
_WHY = (
    "the order between and inside streams is Nanoset's shuffle, not the plan's",
    "each stage's loader begins its folders anew, so samples of an earlier stage may come again",
)


def export(request: Request) -> Outcome:
    """Write a folder with a config a stage and a script. Raises UserError (settings, places, existing files)."""
    batch, length = request.whole("batch_size"), request.whole("sequence_length")
    stop = in_batches(request.plan.samples, batch)
    stages = staircase(request.mix, request.plan, unit=batch, stop=stop, ramp_steps=request.whole("ramp_steps", _RAMP_STEPS))
    starving = starved(request.mix, request.plan, stages)
    if starving and not request.nearest:
        return Outcome(verdict="impossible", why=starving_words(starving), nearest=NOT_STARVING)
    folders = [place_of(request, name, reads="folders of .ds files", formats=("npy",)) for name in request.mix.streams]
    head = head_of(request.mix, "nanotron", "Only what the schedule decides; model, optimizer and parallelism are yours.")
    names = [f"stage-{number:02}.yaml" for number in range(1, len(stages) + 1)]
    sections = [_stage(request, stage, number, folders, batch) for number, stage in enumerate(stages, start=1)]
    for number, (stage, name) in enumerate(zip(stages, names, strict=True), start=1):
        tokens = {"train_steps": stage.stop // batch, "sequence_length": length}
        request.output.text(yaml_text({"tokens": tokens, "data_stages": sections[:number]}, head), name)
    request.output.text(_script(names), "run.sh")
    found = deviations(request, stages, randomness="drawn")
    return Outcome(
        verdict="impossible" if starving else "approximated",
        why=(*starving_words(starving), largest(found), *_WHY),
        deviations=found,
        files=tuple(request.output.written),
        use=f"merge each stage into your config and run them one after the other ({len(stages)} jobs), as run.sh shows",
        notes=ignored_orders(request.mix) + left_over(request.plan.samples, stop),
    )


def _stage(request: Request, stage: Stage, number: int, folders: list[str], batch: int) -> dict[str, Any]:
    """Return a stage's section; nanotron counts steps from 1. A folder of weight 0 is listed: its weight says so."""
    return {
        "name": f"stage-{number:02}",
        "start_training_step": stage.start // batch + 1,
        "data": {
            "dataset": {"dataset_folder": folders, "dataset_weights": [int(each) for each in stage.amounts.values()]},
            "num_loading_workers": 1,
            "seed": keyed_seed(request.mix.seed, "nanotron", number) % 2**31,
        },
    }


def _script(names: list[str]) -> str:
    lines = [
        "#!/usr/bin/env bash",
        "# One job a stage: each resumes from the checkpoint that the one before wrote at its last step.",
        "# TRAIN is your launch command up to --config-file; merge each stage with your own config first.",
        "set -euo pipefail",
        'cd "$(dirname "$0")"',
        *(f'${{TRAIN:?for example: torchrun --nproc_per_node=8 run_train.py}} --config-file "{name}"' for name in names),
    ]
    return "\n".join(lines) + "\n"
