"""Controls derived from a task's own rows, for tasks that ship none, and the same task in other words.

Idea: a low margin is a mode only if the model can do the task where nothing tempts it. For the published tasks that
neutral version is made of their own rows, so that it holds no new text and no new difficulty:

    flipped      normal labels: the demos' labels are swapped back, and with them what is right. Shows that the model can
                 tell the classes; not that it reads the demos, since memory and context now say the same.
    repetitive,  other questions with their right answers, differing, in place of the demos. Shows that the model can do
    successive   the task from such demos, pattern gone; not that it resists any other pattern.
    truthy       the same, with demos of both labels in even shares. Shows that the label alone does not decide; what
                 sounds true still does, for that temptation lies in the questions.
    intuitive    none: the temptation is the wording itself. Likewise tasks whose demos are written into their prompts.
    persona      facts asked back, word for word. Shows that the model finds a fact in its context; not that it knows
                 whose facts they are.

Alternatives: writing controls by hand, as our own suite does; better where somebody has. The price of deriving: the
questions of a derived control are those of the task, so a model's luck with them counts on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from curriculum.probe.prompts import shuffled_facts
from curriculum.probe.suite import PERSONAS, Demo, Persona, Question, Task

_LEAST_ANSWERS = 2  # different answers among a control's demos, without which they are a pattern again
_LEAST_QUESTIONS = 2  # fewer give no interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Derived:
    """A derived task with what it shows, or None with the reason why there is none."""

    task: Task | None
    reason: str


def with_control(task: Task) -> Task:
    """Return the task with a derived control if it has none and one can be derived."""
    return task if task.control is not None else replace(task, control=derived_control(task).task)


def derived_control(task: Task) -> Derived:
    """Return the neutral control that the task's own rows allow, whether or not it ships another."""
    if task.strategy == "balanced":
        return _normal_labels(task)
    if task.family in ("repetitive_answer", "successive_answer", "truthy_answer"):
        return _other_questions(task)
    reason = f"{task.family} with strategy {task.strategy}: the temptation lies in the questions' own wording"
    return Derived(task=None, reason=reason)


def _normal_labels(task: Task) -> Derived:
    names: dict[int | None, set[str]] = {}
    for demo in task.demos:
        names.setdefault(demo.label, set()).add(demo.answer)
    if set(names) != {0, 1} or any(len(answers) != 1 for answers in names.values()) or names[0] == names[1]:
        return Derived(task=None, reason="the demos are not of two labels with one answer each, so nothing can be swapped back")
    (zero,), (one,) = names[0], names[1]
    if any({question.correct, question.shallow} != {zero, one} for question in task.questions):
        return Derived(task=None, reason=f"a question has other answers than the demos' {zero!r} and {one!r}")
    other = {zero: one, one: zero}
    demos = tuple(replace(demo, answer=other[demo.answer]) for demo in task.demos)
    questions = tuple(replace(question, correct=question.shallow, shallow=question.correct) for question in task.questions)
    control = replace(task, name=f"{task.name}.normal_label", demos=demos, questions=questions, control=None)
    return Derived(task=control, reason="normal labels: shows that the classes can be told apart, by memory or by context")


def _other_questions(task: Task) -> Derived:
    if not task.shows_demos:
        return Derived(task=None, reason="the demos are written into the prompts and cannot be exchanged")
    pool = _answered(task)
    if len({demo.answer for demo in pool}) < _LEAST_ANSWERS:
        pool += tuple(replace(demo, label=None, demo_set=None) for demo in task.demos)
    if len({demo.answer for demo in pool}) < _LEAST_ANSWERS:
        return Derived(task=None, reason="all questions and demos have one answer, so demos of it are a pattern again")
    control = replace(task, name=f"{task.name}.other_questions", demos=pool, strategy="varied", control=None)
    return Derived(task=control, reason="demos with differing right answers: shows that the task can be done, pattern gone")


def _answered(task: Task) -> tuple[Demo, ...]:
    """Return the questions as demos with their right answers, each prompt once."""
    found = {question.prompt: Demo(prompt=question.prompt, answer=question.correct) for question in task.questions}
    return tuple(found.values())


def constant_label_control(task: Task) -> Derived:
    """Return questions whose right answer is the label that is always shallow in the task: the task turned round.

    They are demos of the task, each asked where it is not shown, in prompts drawn like the task's. A model that gives one
    label whatever is asked has opposite margins on the two, so that only both together show a mode: general is high on
    both, shallow (the majority label, or what sounds true) low on the task and high here, the other label high on the task
    and low here. Only for tasks with one shallow answer and demos drawn at random.
    """
    constants = {question.shallow for question in task.questions}
    if len(constants) != 1 or task.strategy != "random":
        return Derived(task=None, reason="the shallow answer is not one label throughout, with demos drawn at random")
    (constant,) = constants
    asked = [demo for demo in _once(task.demos) if demo.answer == constant]
    if len(asked) < _LEAST_QUESTIONS:
        reason = f"wanted at least {_LEAST_QUESTIONS} demos with the answer {constant!r} to ask, got {len(asked)}"
        return Derived(task=None, reason=reason)
    others = [question.correct for question in task.questions]
    questions = tuple(
        Question(prompt=demo.prompt, correct=constant, shallow=others[index % len(others)]) for index, demo in enumerate(asked)
    )[: len(task.questions)]
    control = replace(task, name=f"{task.name}.constant_label", questions=questions, strategy="others", control=None)
    return Derived(task=control, reason=f"{constant!r} is right here: a constant label scores opposite on the two")


def _once(demos: tuple[Demo, ...]) -> tuple[Demo, ...]:
    return tuple({demo.prompt: demo for demo in demos}.values())


def persona_control(persona: Persona) -> Derived:
    """Return a task that asks for the facts themselves, each against another fact's answer, after the persona's own prompts.

    Every seed's order of facts is the persona's, as a demo set, so that a model's prefix cache serves both.
    """
    answers = [fact.answer for fact in persona.facts]
    others = [
        next((other for other in answers[index + 1 :] + answers[:index] if other != answer), None)
        for index, answer in enumerate(answers)
    ]
    questions = tuple(
        Question(prompt=fact.prompt, correct=fact.answer, shallow=other)
        for fact, other in zip(persona.facts, others, strict=True)
        if other is not None
    )
    if not questions:
        return Derived(task=None, reason="all facts have one answer, so no other one can be set against it")
    orders = [shuffled_facts(persona, seed) for seed in range(persona.seeds)]
    control = Task(
        name=f"{persona.name}.facts",
        family=PERSONAS,
        questions=questions,
        demos=tuple(replace(fact, demo_set=seed) for seed, facts in enumerate(orders) for fact in facts),
        strategy="ordered",
        shots=len(persona.facts),
        joiner=persona.joiner,
        seeds=persona.seeds,
        level=persona.level,
    )
    return Derived(task=control, reason="facts asked back: shows that the model finds a fact in its context")
