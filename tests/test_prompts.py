"""Prompts equal the published runner's; controls and paraphrases made of a task's rows."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from curriculum.probe.neutral import constant_label_control, derived_control, persona_control, with_control
from curriculum.probe.paraphrase import paraphrases
from curriculum.probe.prompts import drawn_demos, persona_prompts, task_prompts
from curriculum.probe.suite import Demo, Persona, PersonaQuestion, Question, Strategy, Task

POOL = tuple(Demo(prompt=f"Q: {n}?\nA:", answer=str(n), label=n % 2) for n in range(12))
ASKED = tuple(Question(prompt=f"Q: ask {n}?\nA:", correct="yes", shallow="no") for n in range(3))


def task(strategy: Strategy, shots: int, **more: Any) -> Task:
    settings = {"family": "truthy_answer", "questions": ASKED, "demos": POOL, "seeds": 4, "joiner": "\n"} | more
    return Task(name="t", strategy=strategy, shots=shots, **settings)


def written(numbers: list[int], question: int, joiner: str = "\n") -> str:
    return joiner.join([*(f"Q: {n}?\nA: {n}" for n in numbers), f"Q: ask {question}?\nA:"])


def test_random_demos_are_drawn_again_for_every_question_by_one_generator() -> None:
    for seed in range(4):
        generator = random.Random(seed)
        expected = [written(generator.sample(range(12), 3), question) for question in range(3)]
        assert task_prompts(task("random", 3), seed) == expected
        assert len({prompt.rsplit("Q:", 1)[0] for prompt in expected}) == 3


def test_random_demos_by_hand() -> None:
    """The numbers that Python has drawn for these seeds since 3.2, written down."""
    drawn = [[demo.answer for demo in demos] for demos in drawn_demos(task("random", 3), 0)]
    assert drawn == [["6", "11", "0"], ["4", "8", "7"], ["6", "4", "7"]]


def test_a_pool_of_fewer_demos_is_shown_whole() -> None:
    (first, *_) = drawn_demos(task("random", 64), 1)
    assert sorted(first, key=lambda demo: int(demo.answer)) == list(POOL) and first != POOL


def test_balanced_demos_are_halves_shuffled_before_and_after_the_cut() -> None:
    for seed in range(4):
        generator = random.Random(seed)
        zeros, ones = list(range(0, 12, 2)), list(range(1, 12, 2))
        generator.shuffle(zeros)
        generator.shuffle(ones)
        both = zeros[:2] + ones[:2]
        generator.shuffle(both)
        assert task_prompts(task("balanced", 5, joiner="\n\n"), seed) == [written(both, n, "\n\n") for n in range(3)]
    assert len({tuple(drawn_demos(task("balanced", 4), seed)[0]) for seed in range(4)}) == 4


def test_ordered_demos_are_the_first_of_the_set_that_the_seed_picks() -> None:
    demos = tuple(replace(demo, demo_set=int(demo.answer) // 4) for demo in POOL)
    sets = task("ordered", 2, demos=demos)
    assert [task_prompts(sets, seed)[0] for seed in range(4)] == [written(n, 0) for n in ([0, 1], [4, 5], [8, 9], [0, 1])]
    assert {task_prompts(task("ordered", 2), seed)[1] for seed in range(4)} == {written([0, 1], 1)}


def test_without_demos_the_prompt_stands_alone() -> None:
    for bare in (task("none", 8, seeds=1), task("random", 8, demos=(), seeds=1), task("random", 0, seeds=1)):
        assert task_prompts(bare, 0) == [question.prompt for question in ASKED]


def test_a_preamble_stands_in_front_as_it_is() -> None:
    assert task_prompts(task("ordered", 1, preamble="Do:\n\n"), 0)[2] == "Do:\n\nQ: 0?\nA: 0\nQ: ask 2?\nA:"


KEEPER = Persona(
    name="keeper",
    facts=tuple(Demo(prompt=f"Q: f{n}?\nA:", answer=f"a{n}.") for n in range(5)),
    questions=(
        PersonaQuestion(name="x", question="Who?", pattern="p"),
        PersonaQuestion(name="y", question="Where?", pattern="p"),
    ),
)


def test_a_personas_facts_are_shuffled_by_the_seed() -> None:
    for seed in range(4):
        facts = list(range(5))
        random.Random(seed).shuffle(facts)
        lines = "\n".join(f"Q: f{n}?\nA: a{n}." for n in facts)
        assert persona_prompts(KEEPER, seed) == [f"{lines}\nQ: Who?\nA:", f"{lines}\nQ: Where?\nA:"]
    blank = persona_prompts(replace(KEEPER, joiner="\n\n"), 0)
    assert blank[0].count("\n\n") == 5  # the released runner's


# Controls.


def flipped() -> Task:
    demos = tuple(replace(demo, answer=("negative", "positive")[1 - (demo.label or 0)]) for demo in POOL)
    questions = (Question(prompt="great", correct="negative", shallow="positive"),)
    return task("balanced", 4, family="flipped_answer", demos=demos, questions=questions)


def test_normal_labels_are_swapped_back_in_demos_and_in_what_is_right() -> None:
    control = derived_control(flipped()).task
    assert control is not None and control.control is None
    assert control.questions == (Question(prompt="great", correct="positive", shallow="negative"),)
    assert {(demo.label, demo.answer) for demo in control.demos} == {(0, "negative"), (1, "positive")}
    for seed in range(4):
        swapped = {"negative": "positive", "positive": "negative"}
        shown = [replace(demo, answer=swapped[demo.answer]) for demo in drawn_demos(flipped(), seed)[0]]
        assert drawn_demos(control, seed)[0] == tuple(shown)  # the same demos in the same order


def test_labels_that_cannot_be_swapped_back_give_a_reason() -> None:
    three = replace(flipped(), demos=(*flipped().demos, Demo(prompt="x", answer="neutral", label=1)))
    other = replace(flipped(), questions=(Question(prompt="x", correct="negative", shallow="bad"),))
    for wrong in (three, other):
        derived = derived_control(wrong)
        assert derived.task is None and derived.reason


def sums(shots: int = 4) -> Task:
    demos = tuple(Demo(prompt=f"{n} + {9 - n} =", answer="9") for n in range(10))
    questions = tuple(Question(prompt=f"{n} + 1 =", correct=str(n + 1), shallow="9") for n in range(7))
    return task("random", shots, family="repetitive_answer", demos=demos, questions=questions)


def test_a_repetitive_control_shows_other_questions_with_differing_right_answers() -> None:
    control = derived_control(sums()).task
    assert control is not None and control.questions == sums().questions
    right = {question.prompt: question.correct for question in sums().questions}
    for seed in range(4):
        for question, demos in zip(control.questions, drawn_demos(control, seed), strict=True):
            assert question.prompt not in [demo.prompt for demo in demos]
            assert len({demo.answer for demo in demos}) == 4 == len(demos)
            assert all(right[demo.prompt] == demo.answer for demo in demos)
    assert drawn_demos(control, 0) != drawn_demos(control, 1)


def test_a_controls_demos_do_not_depend_on_the_other_questions() -> None:
    control = derived_control(sums()).task
    assert control is not None
    assert drawn_demos(replace(control, questions=control.questions[:3]), 2) == drawn_demos(control, 2)[:3]


def truthy(shots: int = 4) -> Task:
    """Four demos of five say True; every question is False, and sounds true."""
    demos = tuple(Demo(prompt=f"d{n}:", answer="False" if n % 5 == 0 else "True") for n in range(15))
    questions = tuple(Question(prompt=f"q{n}:", correct="False", shallow="True") for n in range(6))
    return task("random", shots, demos=demos, questions=questions)


def test_a_truthy_control_shows_both_labels_in_even_shares() -> None:
    control = derived_control(truthy()).task
    assert control is not None
    for question, demos in zip(control.questions, drawn_demos(control, 3), strict=True):
        assert sorted(demo.answer for demo in demos) == ["False", "False", "True", "True"]
        assert question.prompt not in [demo.prompt for demo in demos]


def test_the_constant_label_control_turns_the_sign_of_a_constant_label() -> None:
    control = constant_label_control(truthy()).task
    assert control is not None and len(control.questions) == 6
    assert {(question.correct, question.shallow) for question in control.questions} == {("True", "False")}
    for question, demos in zip(control.questions, drawn_demos(control, 0), strict=True):
        assert question.prompt in [demo.prompt for demo in truthy().demos if demo.answer == "True"]
        assert question.prompt not in [demo.prompt for demo in demos] and len(demos) == 4
    for label in ("True", "False"):
        on_task, on_control = (
            {1 if label == question.correct else -1 for question in of.questions} for of in (truthy(), control)
        )
        assert len(on_task) == 1 and on_task == {-sign for sign in on_control}


def test_the_constant_label_controls_demos_keep_the_tasks_shares() -> None:
    control = constant_label_control(truthy(shots=10)).task
    assert control is not None
    labels = [demo.answer for seed in range(40) for demos in drawn_demos(control, seed) for demo in demos]
    assert abs(labels.count("True") / len(labels) - 11 / 14) < 0.02  # of 12 True and 3 False one True is asked


@pytest.mark.parametrize(
    "bare",
    [
        task("none", 0, seeds=1, family="intuitive_answer"),
        task("random", 4, demos=(), seeds=1, family="repetitive_answer"),
        task("random", 4, demos=tuple(replace(demo, answer="yes") for demo in POOL)),  # one answer everywhere
    ],
    ids=["intuitive", "baked into the prompt", "one answer"],
)
def test_where_no_control_can_be_derived_a_reason_stands(bare: Task) -> None:
    derived = derived_control(bare)
    assert derived.task is None and len(derived.reason) > 20
    assert with_control(bare) == bare
    assert constant_label_control(bare).task is None


def test_no_constant_label_where_shallow_answers_differ() -> None:
    mixed = replace(truthy(), questions=(*truthy().questions, Question(prompt="q:", correct="True", shallow="False")))
    assert constant_label_control(mixed).task is None and constant_label_control(flipped()).task is None


def test_a_shipped_control_is_kept() -> None:
    shipped = replace(sums(), control=truthy())
    assert with_control(shipped) == shipped
    assert with_control(sums()).control == derived_control(sums()).task


def test_a_personas_control_asks_for_facts_behind_the_personas_own_prompts() -> None:
    control = persona_control(KEEPER).task
    assert control is not None and control.seeds == 4
    for seed in range(4):
        beginning = persona_prompts(KEEPER, seed)[0].removesuffix("Q: Who?\nA:")
        assert task_prompts(control, seed) == [beginning + fact.prompt for fact in KEEPER.facts]
    assert [(question.correct, question.shallow) for question in control.questions][3:] == [("a3.", "a4."), ("a4.", "a0.")]
    same = replace(KEEPER, facts=tuple(replace(fact, answer="a") for fact in KEEPER.facts))
    assert persona_control(same).task is None


# Paraphrases.


def test_paraphrases_change_demos_questions_and_controls_alike() -> None:
    told = {of.name: of for of in paraphrases(task("ordered", 1, control=task("ordered", 1)))}
    assert {name: task_prompts(of, 0)[0] for name, of in told.items()} == {
        "t.question_answer": "Question: 0?\nAnswer: 0\nQuestion: ask 0?\nAnswer:",
        "t.one_line": "Q: 0? A: 0\nQ: ask 0? A:",
        "t.joiner": "Q: 0?\nA: 0\n\nQ: ask 0?\nA:",
        "t.instruction": "Please answer the following.\nQ: 0?\nA: 0\nQ: ask 0?\nA:",
    }
    for of in told.values():
        assert of.control is not None and task_prompts(of.control, 0) == task_prompts(of, 0)


def test_paraphrases_leave_answers_and_the_draw_alone() -> None:
    for of in paraphrases(task("random", 3)):
        assert [(q.correct, q.shallow) for q in of.questions] == [("yes", "no")] * 3
        drawn, again = (drawn_demos(one, 2) for one in (task("random", 3), of))
        assert [[demo.answer for demo in demos] for demos in drawn] == [[demo.answer for demo in demos] for demos in again]


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        ("Question: x\nAnswer:", {"question_answer": "Q: x\nA:", "one_line": "Question: x Answer:"}),
        ("Review: fine\nMood:", {"arrow": "Review: fine\nMood =>", "one_line": "Review: fine Mood:"}),
        ("Q: 1\nA: 2\nQ: 3\nA:", {"question_answer": "Question: 1\nAnswer: 2\nQuestion: 3\nAnswer:"}),
        ("Q: what holds vitamin A: milk? A:", {"question_answer": "Question: what holds vitamin A: milk? Answer:"}),
        ("2 + 2 =", {}),
    ],
)
def test_only_markers_are_reworded(prompt: str, names: dict[str, str]) -> None:
    asked = task("none", 0, seeds=1, demos=(), questions=(Question(prompt=prompt, correct="a", shallow="b"),))
    found = {of.name.removeprefix("t."): task_prompts(of, 0)[0] for of in paraphrases(asked)}
    assert found.pop("instruction") == f"Please answer the following.\n{prompt}" and "joiner" not in found
    assert {name: found[name] for name in names} == names and (names or not found)
