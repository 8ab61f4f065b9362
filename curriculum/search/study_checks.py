"""What the parts of a study ask of each other: whatever is well formed, and yet cannot be had together.

Idea: reading a file says what is wrong with one entry (`study_file`); here is what is wrong between two, said at the entry
that a user would mend. The alternative, checking while reading, depends on the order of entries. The price: every check
finds its place in the file again.
"""

from __future__ import annotations

from curriculum.mix.document import Node
from curriculum.search.study import END_STATES, HAND_MADE, STATIC_SAMPLERS, SearchSettings, Study
from curriculum.search.target import conflict_with_target


def check_together(study: Study, root: Node, length: Node) -> None:
    """Refuse a study whose parts do not go together; `length` is the entry of its samples. Raises FileError with the line."""
    _check_names_and_search(study, root, length)
    _check_target(study, root)
    _check_objective(study, root)
    _check_population(study, root)


def _check_names_and_search(study: Study, root: Node, length: Node) -> None:
    if not study.probes:
        raise root.find(("probes",)).fail("wanted at least one probe")
    asked = study.objective.metric == "bits_per_byte" or "bits_per_byte" in study.objective.subject_to
    if asked and not study.suites:
        raise root.find(("objective",)).fail(
            "bits per byte need a suite: add `bits_per_byte: [{name: ..., file: SUITE.jsonl}]`"
        )
    names = [suite.name for suite in study.suites]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise root.find(("bits_per_byte", index)).fail(f"a suite named {name!r} is already there; give each its own name")
    names = [probe.name for probe in study.probes]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise root.find(("probes", index)).fail(f"a probe named {name!r} is already there; give every probe its own name")
    for index, probe in enumerate(study.probes):
        if any(probe.family == other.family and probe.weight != other.weight for other in study.probes[:index]):
            reason = (
                f"the probes of family {probe.family!r} have different weights; a weight is the family's, give all the same"
            )
            raise root.find(("probes", index)).fail(reason)
    if "/" in study.name or study.name.startswith("."):
        raise root.find(("name",)).fail(f"the name becomes a folder, so it may not hold '/' or begin with '.': {study.name!r}")
    if study.command is None:
        with length.blame():
            study.recipe.steps(study.samples)
    wanted = [name for name in study.search.enqueue if name in HAND_MADE]
    if wanted and not study.favour and study.search.enqueue != SearchSettings().enqueue:
        raise root.find(("search", "enqueue")).fail(f"{wanted[0]} needs `controls: {{favour: [stream, ...]}}`")
    if study.search.sampler in STATIC_SAMPLERS and study.exposure == "fixed":
        raise root.find(("search", "sampler")).fail(
            f"{study.search.sampler} proposes static mixes, of which a fixed exposure leaves only one; set `exposure: free`, "
            "or choose regmix-d or another sampler"
        )


def _check_target(study: Study, root: Node) -> None:
    if study.target is None:
        return
    if study.target.samples is not None and study.target.samples < study.samples:
        raise root.find(("target", "samples")).fail(
            f"the full run has {study.target.samples:,} samples, fewer than the {study.samples:,} of a proxy run "
            "(length.samples); give the full run's samples, or shorten the proxy run"
        )
    for name, stream in study.streams.items():
        reason = conflict_with_target(name, stream)
        if reason is not None:
            raise root.find(("streams", name)).fail(reason)


def _check_objective(study: Study, root: Node) -> None:
    """Refuse what cannot be had together: a pruner or a schedule that the runs or the objective do not allow."""
    objective = study.objective
    if study.search.pruner != "none":
        pruner = root.find(("search", "pruner"))
        if objective.metric in END_STATES or objective.pareto is not None:
            end = objective.metric if objective.pareto is None else "the loss of a Pareto study"
            raise pruner.fail(f"{end} is known at the end of a run, and the beginning foretells it badly; wanted pruner: none")
        if study.command is not None:
            raise pruner.fail("a command's runs are read when they have ended, so none can be stopped; wanted pruner: none")
    if objective.target_schedule is not None and study.command is not None:
        raise root.find(("objective", "target_schedule")).fail(
            "a command sets its own learning rate; leave this out, and search under the full run's schedule"
        )
    if objective.pareto is not None and objective.metric == "loss":
        raise root.find(("objective", "metric")).fail(
            "with `pareto: loss` the loss is the other objective already; wanted a measure of probes (time_general, area, ...)"
        )
    if objective.pareto is not None and "loss" in objective.subject_to:
        raise root.find(("objective", "subject_to")).fail(
            "with `pareto: loss` the loss is an objective and cannot be a constraint; leave it out of subject_to"
        )


def _check_population(study: Study, root: Node) -> None:
    """Refuse runs that cannot be trained as one; `auto` means single ones then."""
    if study.population in (1, "auto"):
        return
    if study.recipe.experts:
        raise root.find(("proxy", "population")).fail(
            "a mixture of experts cannot be trained in a population, whose members route their tokens differently; wanted "
            "population: 1 or auto"
        )
    if study.search.pruner != "none":
        raise root.find(("proxy", "population")).fail(
            "members of a population advance together, so that none can be stopped early; wanted population: 1, or pruner: none"
        )
