"""Prompts of a suite: which demos are shown before which question, and how they are joined.

Idea: the published runner's prompts, item for item, so that a number of ours can stand beside a published one. It draws
with Python's `random.Random(seed)`, once a seed, or again and again for one question after the other; so here, and here
alone, randomness follows the order of calls. Python keeps `sample` and `shuffle` stable for a seed. Alternatives: keyed
draws as everywhere else (other demos than published, and demos alone move margins). The price: a question's demos depend
on how many questions stood before it, which is why a selection takes the first ones of a task.

    none      no demos
    random    k of the pool, drawn again for every question
    ordered   the first k of the pool, in their order
    balanced  k/2 of label 0 and k/2 of label 1, shuffled
    others    ours, for controls: k of the pool without the question asked, keyed by seed and question
    varied    ours, for controls: the same, with as many different answers as there are

A pool is all demos, or, where demos carry a `demo_set`, the set with number seed mod the number of sets. A pool of fewer
than k demos is shown whole.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from curriculum.plan.permutation import shuffled
from curriculum.probe.suite import Demo, Persona, Question, Task
from curriculum.units import keyed_seed

DemosShown = tuple[Demo, ...]


def task_prompts(task: Task, seed: int) -> list[str]:
    """Return every question's whole prompt under one demo seed, in the order of `task.questions`."""
    return [
        task.preamble + task.joiner.join([*blocks, question.prompt])
        for blocks, question in zip(demo_blocks(task, seed), task.questions, strict=True)
    ]


def demo_blocks(task: Task, seed: int) -> list[list[str]]:
    """Return the demo blocks, `"{prompt} {answer}"`, shown before each question."""
    return [[block(demo) for demo in demos] for demos in drawn_demos(task, seed)]


def block(demo: Demo) -> str:
    """Return the demo as it is shown."""
    return f"{demo.prompt} {demo.answer}"


def drawn_demos(task: Task, seed: int) -> list[DemosShown]:
    """Return the demos shown before each question under one demo seed (from 0)."""
    if not task.shows_demos:
        return [()] * len(task.questions)
    sets = demo_sets(task)
    pool = sets[seed % len(sets)]
    if task.strategy in ("others", "varied"):
        return [_others(task, pool, seed, index) for index in range(len(task.questions))]
    generator = random.Random(seed)
    if task.strategy == "random":
        return [_random(pool, task.shots, generator) for _ in task.questions]
    shown = pool[: task.shots] if task.strategy == "ordered" else _balanced(pool, task.shots, generator)
    return [shown] * len(task.questions)


def demo_sets(task: Task) -> list[DemosShown]:
    """Return the pools that seeds take turns with: one without `demo_set`, and a demo that names none is of set 0."""
    if not task.demos or task.demos[0].demo_set is None:
        return [task.demos]
    numbers = [demo.demo_set or 0 for demo in task.demos]
    return [
        tuple(demo for demo, of in zip(task.demos, numbers, strict=True) if of == number) for number in range(max(numbers) + 1)
    ]


def _random(pool: DemosShown, shots: int, generator: random.Random) -> DemosShown:
    return tuple(generator.sample(pool, min(shots, len(pool))))


def _balanced(pool: DemosShown, shots: int, generator: random.Random) -> DemosShown:
    """Both labels are shuffled before either is cut, then the halves together: the published order of draws."""
    zeros = [demo for demo in pool if demo.label == 0]
    ones = [demo for demo in pool if demo.label == 1]
    generator.shuffle(zeros)
    generator.shuffle(ones)
    shown = zeros[: shots // 2] + ones[: shots // 2]
    generator.shuffle(shown)
    return tuple(shown)


def _others(task: Task, pool: DemosShown, seed: int, index: int) -> DemosShown:
    """Return demos other than the question asked; every choice is keyed, so no other question matters."""
    asked: Question = task.questions[index]
    others = [demo for demo in pool if demo.prompt != asked.prompt]
    mixed = _shuffled(others, keyed_seed("demos", seed, index))
    if task.strategy == "varied":
        return tuple(_shuffled(_by_turns(mixed)[: task.shots], keyed_seed("order of demos", seed, index)))
    return tuple(mixed[: task.shots])


def _shuffled(demos: Sequence[Demo], key: int) -> list[Demo]:
    return [demos[int(index)] for index in shuffled(len(demos), key)]


def _by_turns(demos: Sequence[Demo]) -> list[Demo]:
    """Return the first demo of every answer, then the second of every answer, and so on."""
    turns: dict[str, int] = {}
    order = []
    for position, demo in enumerate(demos):
        turns[demo.answer] = turns.get(demo.answer, -1) + 1
        order.append((turns[demo.answer], position))
    return [demos[position] for _, position in sorted(order)]


def persona_prompts(persona: Persona, seed: int) -> list[str]:
    """Return every question's whole prompt: all facts, in the order that the seed shuffles them into, then the question.

    The published description joins the blocks with a newline, which is the default of a Persona; the released runner joins
    them with a blank line. A suite file's `joiner`, or `select(suite, persona_joiner="\\n\\n")`, chooses.
    """
    blocks = [block(fact) for fact in shuffled_facts(persona, seed)]
    return [persona.joiner.join([*blocks, fact_prompt(question.question)]) for question in persona.questions]


def shuffled_facts(persona: Persona, seed: int) -> list[Demo]:
    """Return the persona's facts in the order of one seed."""
    facts = list(persona.facts)
    random.Random(seed).shuffle(facts)
    return facts


def fact_prompt(question: str) -> str:
    """Return a persona's question as it is asked, open for its answer."""
    return f"Q: {question}\nA:"
