"""Text to token ids, with the boundary between prompt and answer fixed on token ids.

Idea: what is scored are the last tokens of one sequence, so the sequence is cut where the prompt's own ids end. Counting
the tokens of an answer, or finding its characters again, goes wrong in four ways, each met in practice: a tokenizer that
puts a beginning-of-sequence token in front shifts the span by one; a merge may reach across the boundary; SentencePiece
puts a space of its own before a text that is encoded alone; and an answer may vanish in tokenisation. Where a merge
reaches across, the boundary is forced: the prompt's ids are followed by the answer's, as they are encoded after some
other text. The price: a forced sequence is not the one the tokenizer would have made of the whole text.

Of an item's two answers the space before them belongs to the prompt if, for both, it is a token of its own there (as it
is before digits in many vocabularies), else to the answers. Counted as an answer's token, it would be nearly certain and
pull both scores together. The published runner draws the same line, for each answer alone; ours is one for both, so that
the two are probabilities after the same prompt.

Special tokens written in a text are treated as the tokenizer treats them.
"""

from __future__ import annotations

from collections.abc import Callable

from curriculum.errors import UserError
from curriculum.probe.items import ItemSet
from curriculum.probe.model import TextModel
from curriculum.probe.prompts import task_prompts
from curriculum.probe.suite import Task

Encode = Callable[[str], list[int]]

_ANCHORS = ("a", "0", ".", "x y", "\n")  # texts that an answer is encoded after where it merges with its prompt
_NEAR = 200  # characters, some 50 tokens
_SETTLED = 16  # tokens: as many alike, and what stands before them no longer matters


def encode_continuation(encode: Encode, prompt: str, text: str) -> tuple[list[int], list[int]]:
    """Return the ids of `prompt`, and of `text` written right after it.

    `encode` may put a beginning-of-sequence token first, and must not put an end token last. Raises UserError for a text
    that vanishes in tokenisation.
    """
    prompt_ids = encode(prompt)
    _check_stays(encode, text)
    return prompt_ids, _ids_after(encode, prompt_ids, encode(prompt + text), text)


def encode_pair(encode: Encode, prompt: str, answer: str) -> tuple[list[int], list[int]]:
    """Return the ids of `prompt` and of `" " + answer` after it. Raises UserError for an answer that vanishes."""
    return encode_continuation(encode, prompt, f" {answer}")


def encode_item(encode: Encode, prompt: str, correct: str, shallow: str) -> tuple[list[int], list[int], list[int]]:
    """Return the ids of a prompt and of both answers after it.

    Raises UserError where an answer vanishes, and where both become the same tokens.
    """
    texts = (f" {correct}", f" {shallow}")
    for text in texts:
        _check_stays(encode, text)
    prompt_ids, first, second = _cut_near_the_end(encode, prompt, texts) or _cut(encode, prompt, texts)[1:]
    if first == second:
        raise UserError(f"the answers {correct!r} and {shallow!r} become the same tokens {first}; change one, or drop the item")
    return prompt_ids, first, second


def _cut(encode: Encode, prompt: str, texts: tuple[str, str]) -> tuple[str, list[int], list[int], list[int]]:
    """Return what of the texts' common beginning goes to the prompt (a space or nothing), and the ids of all three."""
    wholes = [encode(prompt + text) for text in texts]
    given, prompt_ids = " ", encode(f"{prompt} ")
    if not all(_begins(whole, prompt_ids) for whole in wholes):
        given, prompt_ids = "", encode(prompt)
    first, second = (_ids_after(encode, prompt_ids, whole, text) for whole, text in zip(wholes, texts, strict=True))
    return given, prompt_ids, first, second


def _cut_near_the_end(encode: Encode, prompt: str, texts: tuple[str, str]) -> tuple[list[int], list[int], list[int]] | None:
    """Return the same as `_cut` for a long prompt, which is encoded once instead of four times; None if that is not safe.

    A hundred demos take 10 ms to encode, and the boundary is decided by the last few words. It is safe where the end of the
    prompt becomes the same tokens with and without what stands before it.
    """
    if len(prompt) < 2 * _NEAR:
        return None
    given, near_ids, first, second = _cut(encode, prompt[-_NEAR:], texts)
    prompt_ids = encode(prompt + given)
    return (prompt_ids, first, second) if prompt_ids[-_SETTLED:] == near_ids[-_SETTLED:] else None


def _ids_after(encode: Encode, prompt_ids: list[int], whole: list[int], text: str) -> list[int]:
    """Return the ids of `text` at the end of `whole`, forced where a merge reaches across the boundary."""
    if _begins(whole, prompt_ids):
        return whole[len(prompt_ids) :]
    for anchor in _ANCHORS:
        before, both = encode(anchor), encode(anchor + text)
        if _begins(both, before):
            return both[len(before) :]
    raise UserError(
        f"no boundary can be forced before {text!r}: the tokenizer encodes no text as the beginning of a longer one; does it "
        "add an end-of-sequence token? Switch that off"
    )


def _begins(whole: list[int], beginning: list[int]) -> bool:
    """Whether `whole` is `beginning` and at least one token more."""
    return len(whole) > len(beginning) and whole[: len(beginning)] == beginning


def _check_stays(encode: Encode, text: str) -> None:
    """Raise where nothing of `text` but its leading blanks is left in tokenisation."""
    anchor = _ANCHORS[0]
    blanks = text[: len(text) - len(text.lstrip())]
    if encode(anchor + text) in (encode(anchor), encode(anchor + blanks)):
        raise UserError(f"the answer {text.strip()!r} vanishes in tokenisation; use words that the tokenizer knows")


def encode_task(task: Task, seed: int, model: TextModel) -> ItemSet:
    """Return a task's items under one demo seed (from 0).

    Raises UserError, naming task and question, for answers that vanish or become equal, and for a prompt that does not
    fit the model's context together with its longer answer.
    """
    items = [_task_item(task, index, prompt, model) for index, prompt in enumerate(task_prompts(task, seed))]
    prompts, correct, shallow = zip(*items, strict=True)
    return ItemSet(prompts=prompts, correct=correct, shallow=shallow)


def _task_item(task: Task, index: int, prompt: str, model: TextModel) -> tuple[tuple[int, ...], ...]:
    question = task.questions[index]
    where = f"task {task.name!r}, question {index + 1} ({_shortened(question.prompt)})"
    try:
        parts = encode_item(model.encode, prompt, question.correct, question.shallow)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    tokens = len(parts[0]) + max(len(parts[1]), len(parts[2]))
    if tokens > model.context:
        remedy = f"show fewer shots than {task.shots}" if task.shows_demos else "drop it"
        raise UserError(f"{where}: {tokens} tokens with its answer, but the model reads {model.context}; {remedy}")
    return tuple(tuple(part) for part in parts)


def _shortened(text: str, length: int = 60) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= length else f"{line[:length]}...")
