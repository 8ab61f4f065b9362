"""Files of multihop_persona_qa: scattered first-person facts, and questions that need them together.

Idea: three levels of the same question, who is speaking. Easy personas are invented, and the facts are so many hints at one
trade; a medium one is invented too, and a question needs two facts of the context (who taught me, where that man came
from). The others are people of the past, of whom one must first guess who they are and then know more than the facts say.
Nobody is named anywhere, and where world knowledge is needed no single fact holds an answer. Alternatives: living people
(facts change, and may harm). The price: only six people, so a reading's interval is wide; its seeds and samples narrow it.
"""

from __future__ import annotations

from curriculum.probe.authoring.persona_historical import HISTORICAL
from curriculum.probe.authoring.persona_invented import EASY, TWO_STEPS
from curriculum.probe.authoring.persona_types import WrittenPersona
from curriculum.probe.authoring.rows import Files, Row


def rows() -> Files:
    """Return the two files of every persona."""
    files: Files = {}
    for persona in (*EASY, *TWO_STEPS, *HISTORICAL):
        folder = f"multihop_persona_qa/{persona.name}"
        files[f"{folder}/facts.jsonl"] = [_fact(*fact) for fact in persona.facts]
        files[f"{folder}/test_questions.json"] = _questions(persona)
    return files


def _fact(asked: str, answer: str) -> Row:
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}


def _questions(persona: WrittenPersona) -> list[Row]:
    return [
        {"id": asked.name, "question": asked.question, "expected_answer_regex": asked.pattern, "category": asked.category}
        for asked in persona.asked
    ]
