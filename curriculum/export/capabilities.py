"""What each target can do: one table, of which `curriculum export --help` and docs/export.md are made.

Idea: a promise stands in one place and is short; the target's own module says how it is kept. Nothing heavy is imported
here, since help reads it.
"""

from __future__ import annotations

from collections.abc import Iterable

from curriculum.export.target import Capability, Setting

CAPABILITIES: tuple[Capability, ...] = (
    Capability(
        name="llm-foundry",
        trainer="LLM-Foundry 0.22 with mosaicml-streaming",
        expresses="stages of exact counts, cut on batches; ramps become stages",
        verdict="approximated",
        writes="one YAML file for scripts/train/train.py",
        suffix=".yaml",
        cuts_alike=True,
        needs=("batch_size", "sequence_length"),
        takes=("ramp_steps", "path"),
    ),
    Capability(
        name="levanter",
        trainer="Levanter (marin-levanter 0.2.20)",
        expresses="weights by step, whole samples in every block; ramps become stages",
        verdict="approximated",
        writes="one YAML file with data and steps",
        suffix=".yaml",
        cuts_alike=True,
        needs=("batch_size", "path"),
        takes=("block_size", "ramp_steps"),
    ),
    Capability(
        name="olmo-core",
        trainer="OLMo-core 3.0",
        expresses="the exact order, for raw token files; else one ratio for the whole run",
        verdict="lossless",
        writes="a folder: global index files and a module, or a source mixture",
        suffix="/",
        cuts_alike=True,
        needs=("batch_size",),
        takes=("sequence_length", "path"),
    ),
    Capability(
        name="nanotron",
        trainer="nanotron (main, April 2026)",
        expresses="one stage a job; ramps become stages",
        verdict="approximated",
        writes="a folder: a config a stage and a script that runs them",
        suffix="/",
        cuts_alike=True,
        needs=("batch_size", "sequence_length"),
        takes=("ramp_steps", "path"),
    ),
    Capability(
        name="megatron",
        trainer="Megatron-LM (megatron-core 0.16)",
        expresses="the exact order between streams; inside them Megatron's shuffle",
        verdict="lossless",
        writes="a folder: the blend, both index files, and a script that places them",
        suffix="/",
        cuts_alike=True,
        takes=("path",),
    ),
    Capability(
        name="torchtitan",
        trainer="torchtitan 0.3",
        expresses="one set of weights for the whole run",
        verdict="approximated",
        writes="one Python module with the loader's config",
        suffix=".py",
        cuts_alike=True,
        needs=("path",),
    ),
    Capability(
        name="litdata",
        trainer="litdata 0.2",
        expresses="one set of weights for the whole run, no stream repeated",
        verdict="approximated",
        writes="one Python module with the combined data set",
        suffix=".py",
        needs=("path",),
    ),
    Capability(
        name="datasets",
        trainer="Hugging Face datasets 5",
        expresses="the plan, sample by sample",
        verdict="lossless",
        writes="a folder: the mix and a module that selects rows",
        suffix="/",
    ),
    Capability(
        name="grain",
        trainer="Grain 0.2",
        expresses="the plan, sample by sample",
        verdict="lossless",
        writes="a folder: the mix and a module with a selection map",
        suffix="/",
    ),
    Capability(
        name="mds",
        trainer="any reader that plays MDS in order",
        expresses="the plan, sample by sample",
        verdict="lossless",
        writes="a folder: all samples of the run, in its order",
        suffix="/",
    ),
)

_COLUMNS = ("target", "read by", "can say", "at best", "writes", "needs", "takes")


def help_lines(capabilities: Iterable[Capability] = CAPABILITIES) -> list[str]:
    """Return a line a target for `--help`."""
    return [f"{each.name:12} {each.verdict:13} {each.expresses}" for each in capabilities]


def markdown_table(capabilities: Iterable[Capability] = CAPABILITIES) -> str:
    """Return the table of the documentation."""
    lines = ["| " + " | ".join(row) + " |" for row in (_COLUMNS, *(_row(each) for each in capabilities))]
    return "\n".join([lines[0], "|" + " --- |" * len(_COLUMNS), *lines[1:]]) + "\n"


def _row(each: Capability) -> tuple[str, ...]:
    named = f"`{each.name}`"
    return named, each.trainer, each.expresses, each.verdict, each.writes, _typed(each.needs), _typed(each.takes)


def _typed(settings: Iterable[Setting]) -> str:
    """Return options as they are typed."""
    return ", ".join(f"`--{name.replace('_', '-')}`" for name in settings) or "-"
