"""A part of a suite, or a suite asked with fewer demos, questions or seeds: functions from a suite to a suite.

Idea: whoever has little time or a short context asks less, and what is asked stays a suite. Questions are the first N of a
file, as the published runner's `max_eval` takes them, so that the random draw of demos, which goes from question to
question, is the same as in the whole task. Alternatives: options on every function that asks (each would need all of
them). The price: the first N are only as representative as the file's order.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from curriculum.errors import UserError
from curriculum.mix.fields import nearest
from curriculum.probe.prompts import demo_sets
from curriculum.probe.suite import FAMILIES, LEVELS, PERSONAS, Demo, Persona, Suite, Task


def select(
    suite: Suite,
    *,
    families: Collection[str] | None = None,
    tasks: Collection[str] | None = None,
    levels: Collection[str] | None = None,
    questions: int | None = None,
    shots: int | None = None,
    seeds: int | None = None,
    persona_joiner: str | None = None,
) -> Suite:
    """Return what is left of `suite`; None leaves a matter as it is.

    `tasks`: names of tasks or personas, or "family/name". `questions`: the first N of each task, control and persona.
    `shots`, `seeds`: for whatever shows demos; personas show all their facts whatever the shots. `persona_joiner`: "\\n\\n"
    gives the prompts of the published runner. Raises UserError for a name that is not there, when nothing is left, and for
    more shots than an ordered task was written for.
    """
    _check_names("family", families, FAMILIES)
    _check_names("level", levels, LEVELS)
    members = [(task.family, task) for task in suite.tasks] + [(PERSONAS, persona) for persona in suite.personas]
    _check_names("task", tasks, [text for family, member in members for text in (member.name, f"{family}/{member.name}")])
    kept = [
        member
        for family, member in members
        if (families is None or family in families)
        and (tasks is None or member.name in tasks or f"{family}/{member.name}" in tasks)
        and (levels is None or member.level in levels)
    ]
    if not kept:
        raise UserError(f"suite {suite.name!r}: no task has that family, name and level; widen the selection")
    return Suite(
        name=suite.name,
        tasks=tuple(_reduced(task, questions, shots, seeds) for task in kept if isinstance(task, Task)),
        personas=tuple(
            _reduced_persona(persona, questions, seeds, persona_joiner) for persona in kept if isinstance(persona, Persona)
        ),
    )


def _check_names(kind: str, wanted: Collection[str] | None, known: Sequence[str]) -> None:
    if isinstance(wanted, str):
        raise UserError(f"wanted a collection of names for {kind}, got the single text {wanted!r}")
    for name in wanted or ():
        if name not in known:
            raise UserError(f"no {kind} {name!r}{nearest(name, known)}; there are {', '.join(known)}")


def _reduced(task: Task, questions: int | None, shots: int | None, seeds: int | None) -> Task:
    if shots is not None and shots != task.shots and task.shows_demos:
        task = _with_shots(task, shots)
    if task.control is not None:
        task = replace(task, control=_reduced(task.control, questions, shots, seeds))
    return replace(
        task,
        questions=task.questions[: _at_least_one("questions", questions)],
        seeds=_at_least_one("seeds", seeds) or task.seeds if task.shows_demos else task.seeds,
    )


def _with_shots(task: Task, shots: int) -> Task:
    if shots < 1:
        raise UserError(f"wanted at least 1 shot, got {shots}; a probe without its demos asks something else")
    if task.strategy != "ordered":
        return replace(task, shots=shots)
    if shots > task.shots:
        raise UserError(
            f"task {task.name!r}: its shallow answer follows the {task.shots} demos it was written for; wanted at most as many "
            f"shots, got {shots}"
        )
    return replace(task, shots=shots, demos=_last_shown(task, shots))


def _last_shown(task: Task, shots: int) -> tuple[Demo, ...]:
    """Return the last `shots` of each set's shown demos: the pattern's next element, the shallow answer, stays what it is."""
    return tuple(demo for demos in demo_sets(task) for demo in demos[: task.shots][-shots:])


def _reduced_persona(persona: Persona, questions: int | None, seeds: int | None, joiner: str | None) -> Persona:
    return replace(
        persona,
        questions=persona.questions[: _at_least_one("questions", questions)],
        seeds=_at_least_one("seeds", seeds) or persona.seeds,
        joiner=persona.joiner if joiner is None else joiner,
    )


def _at_least_one(name: str, number: int | None) -> int | None:
    if number is not None and number < 1:
        raise UserError(f"{name}: wanted at least 1, got {number}")
    return number
