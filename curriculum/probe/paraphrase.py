"""The same task in other words around the same content, to see whether a reading depends on its format.

Idea: a mode that appears in one prompt format only is no mode (a replication kept one hop of three once prompts were
varied). Only what carries no meaning is changed, by rules, alike in demos, questions and controls; the seeds draw the same
demos in the same order. Alternatives: rewording by a model (changes difficulty, and nobody can check it). The price:
formats differ less than people's wordings would.

    question_answer  "Q:" and "A:" at the beginning of a line are written out, or shortened where they are written out
    one_line         the last line, "A:", follows its question after a space
    arrow            a prompt's last ":" becomes " =>", where there is no "A:" to write out
    joiner           a blank line between demos where there was a newline, and the other way round
    instruction      one line in front of everything: "Please answer the following."
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from curriculum.probe.suite import Task

_INSTRUCTION = "Please answer the following."
_SHORT = {"Q:": "Question:", "A:": "Answer:"}
_LONG = {long: short for short, long in _SHORT.items()}
_MARKER = re.compile(r"^(?:Q|A|Question|Answer):|(?<=\s)(?:A|Answer):\Z", re.MULTILINE)


def paraphrases(task: Task) -> list[Task]:
    """Return the task in every format that changes it, named `<task>.<format>`; the task itself is not among them."""
    variants = {
        "question_answer": _reworded(task, _question_answer),
        "one_line": _reworded(task, _one_line),
        "arrow": _reworded(task, _arrow),
        "joiner": _rejoined(task),
        "instruction": _instructed(task),
    }
    return [replace(variant, name=f"{task.name}.{name}") for name, variant in variants.items() if variant != task]


def _reworded(task: Task, change: Callable[[str], str]) -> Task:
    return replace(
        task,
        demos=tuple(replace(demo, prompt=change(demo.prompt)) for demo in task.demos),
        questions=tuple(replace(question, prompt=change(question.prompt)) for question in task.questions),
        control=None if task.control is None else _reworded(task.control, change),
    )


def _question_answer(prompt: str) -> str:
    names = _SHORT | _LONG
    return _MARKER.sub(lambda match: names[match[0]], prompt)


def _one_line(prompt: str) -> str:
    before, newline, last = prompt.rpartition("\n")
    return f"{before} {last}" if newline and last.endswith(":") and before.strip() else prompt


def _arrow(prompt: str) -> str:
    return prompt if not prompt.endswith(":") or _question_answer(prompt) != prompt else f"{prompt[:-1]} =>"


def _rejoined(task: Task) -> Task:
    control = None if task.control is None else _rejoined(task.control)
    if not task.shows_demos:
        return replace(task, control=control)
    return replace(task, joiner="\n" if task.joiner == "\n\n" else "\n\n", control=control)


def _instructed(task: Task) -> Task:
    control = None if task.control is None else _instructed(task.control)
    return replace(task, preamble=f"{_INSTRUCTION}{task.joiner}{task.preamble}", control=control)
