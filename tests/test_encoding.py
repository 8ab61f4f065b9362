"""The boundary between prompt and answer, under real tokenizers made for the purpose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from curriculum.errors import UserError
from curriculum.probe.encoding import encode_continuation, encode_item, encode_pair, encode_task
from curriculum.probe.suite import Demo, Question, Task

SENTENCE = "Q: is it True or False? 0123456789 x y a.\nA"


def tokenizer(merges: list[tuple[str, str]], alphabet: str, unknown: bool = True) -> Tokenizer:
    pieces = [*(["<unk>"] if unknown else []), "<s>", *dict.fromkeys(alphabet), *("".join(merge) for merge in merges)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    return Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>" if unknown else None))


def byte_level(merges: list[tuple[str, str]] = [("Ġ", "T"), ("Ġ", "F"), ("1", "2")]) -> Tokenizer:  # noqa: B006
    """As GPT-2's: a space before a word belongs to the word's first token."""
    made = tokenizer(merges, "".join(pre_tokenizers.ByteLevel.alphabet()))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def metaspace(merges: list[tuple[str, str]], split: bool = True) -> Tokenizer:
    """As SentencePiece's: a dummy space in front of every text, a space is part of the next word."""
    made = tokenizer(merges, SENTENCE + "▁")
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=split)
    made.decoder = decoders.Metaspace()
    return made


def with_bos(made: Tokenizer) -> Tokenizer:
    number = made.token_to_id("<s>")
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", number)])
    return made


def encoder(made: Tokenizer) -> Callable[[str], list[int]]:
    return lambda text: made.encode(text).ids


def pieces(made: Tokenizer, ids: list[int]) -> list[str]:
    return [made.id_to_token(number) for number in ids]


def test_a_beginning_token_stands_before_the_prompt_alone() -> None:
    made = with_bos(byte_level())
    prompt, answer = encode_pair(encoder(made), "A:", "True")
    assert pieces(made, prompt) == ["<s>", "A", ":"] and pieces(made, answer) == ["ĠT", "r", "u", "e"]
    prompt, correct, shallow = encode_item(encoder(made), "A:", "T", "F")
    assert (pieces(made, prompt), pieces(made, correct), pieces(made, shallow)) == (["<s>", "A", ":"], ["ĠT"], ["ĠF"])


@pytest.mark.parametrize("decorate", [with_bos, lambda made: made])
def test_a_merge_across_the_boundary_is_forced_apart(decorate: Callable[[Tokenizer], Tokenizer]) -> None:
    made = decorate(metaspace([(":", "▁"), (":▁", "T"), ("▁", "T"), ("▁", "F")], split=False))
    encode, before = encoder(made), ["<s>"] if made.post_processor else []
    assert pieces(made, encode("A: T")) == [*before, "▁", "A", ":▁T"]  # the boundary lies inside a token
    prompt, correct, shallow = encode_item(encode, "A:", "T", "F")
    assert pieces(made, prompt) == [*before, "▁", "A", ":"]
    assert (pieces(made, correct), pieces(made, shallow)) == (["▁T"], ["▁F"])  # no <s>, and one space, not two


def test_sentencepiece_answers_have_one_space() -> None:
    made = with_bos(metaspace([("▁", "T"), ("▁", "F")]))
    prompt, correct, shallow = encode_item(encoder(made), "Q: is it?\nA:", "True", "False")
    assert pieces(made, correct) == ["▁T", "r", "u", "e"] and pieces(made, shallow)[0] == "▁F"
    assert pieces(made, prompt)[:2] == ["<s>", "▁"] and pieces(made, prompt)[-1] == ":"
    assert made.decode(prompt[1:] + correct) == "Q: is it?\nA: True"


def test_a_space_that_is_a_token_of_its_own_for_both_answers_belongs_to_the_prompt() -> None:
    made = byte_level()
    prompt, correct, shallow = encode_item(encoder(made), "A:", "12", "7")
    assert (pieces(made, prompt), pieces(made, correct), pieces(made, shallow)) == (["A", ":", "Ġ"], ["12"], ["7"])
    prompt, correct, shallow = encode_item(encoder(made), "A:", "12", "T")  # one prompt for both
    assert (pieces(made, prompt), pieces(made, correct), pieces(made, shallow)) == (["A", ":"], ["Ġ", "12"], ["ĠT"])
    assert pieces(made, encode_pair(encoder(made), "A:", "12")[1]) == ["Ġ", "12"]


@pytest.mark.parametrize("answers", [("True", "False"), ("12", "7")])
@pytest.mark.parametrize("made", [with_bos(byte_level()), metaspace([(":", "▁"), (":▁", "T"), ("▁", "T")], split=False)])
def test_long_prompts_are_cut_where_short_ones_are(made: Tokenizer, answers: tuple[str, str]) -> None:
    encode, lengths = encoder(made), []

    def watched(text: str) -> list[int]:
        lengths.append(len(text))
        return encode(text)

    prompt = "".join(f"Q: is {n}1 True?\nA: False\n" for n in range(100)) + "Q: is it?\nA:"
    found = encode_item(watched, prompt, *answers)
    assert (
        found[0] in (encode(prompt), encode(f"{prompt} ")) and found[1:] == encode_item(encode, "Q: is it?\nA:", *answers)[1:]
    )
    assert sum(length >= len(prompt) for length in lengths) == 1


def test_a_long_prompt_whose_end_depends_on_its_beginning_is_encoded_whole() -> None:
    made = byte_level()

    def by_length(text: str) -> list[int]:  # another vocabulary in long texts
        return [number + 1000 * (len(text) > 300) for number in made.encode(text).ids]

    prompt = "Q: is it?\n" * 60 + "A:"
    whole = by_length(f"{prompt} T")
    assert encode_item(by_length, prompt, "T", "F") == (whole[:-1], whole[-1:], by_length(f"{prompt} F")[-1:])


def test_a_continuation_is_taken_as_it_is_written() -> None:
    made = byte_level()
    assert pieces(made, encode_continuation(encoder(made), "A:", "\nT")[1]) == ["Ċ", "T"]
    assert pieces(made, encode_continuation(encoder(made), "A", "T")[1]) == ["T"]


def bare() -> Tokenizer:
    """A tokenizer without an unknown token, which passes over letters it does not know."""
    made = tokenizer([], SENTENCE, unknown=False)
    made.normalizer = normalizers.Lowercase()
    return made


def lower() -> Tokenizer:
    made = tokenizer([], SENTENCE.lower())
    made.normalizer = normalizers.Lowercase()
    return made


@pytest.mark.parametrize("answers", [("😀", "a"), ("a", "😀")])
def test_an_answer_that_vanishes_is_an_error(answers: tuple[str, str]) -> None:
    with pytest.raises(UserError, match="'😀' vanishes in tokenisation"):
        encode_item(encoder(bare()), "a:", *answers)
    with pytest.raises(UserError, match="'😀' vanishes in tokenisation"):
        encode_pair(encoder(bare()), "a:", "😀")


def test_answers_that_become_equal_are_an_error() -> None:
    with pytest.raises(UserError, match="'True' and 'true' become the same tokens"):
        encode_item(encoder(lower()), "a:", "True", "true")


def test_an_encoder_that_adds_an_end_is_found_out() -> None:
    encode = encoder(byte_level())
    with pytest.raises(UserError, match="end-of-sequence"):
        encode_pair(lambda text: [*encode(text), 0], "A:", "T")


class Reader:
    """A model that can only encode."""

    def __init__(self, made: Tokenizer, context: int = 100) -> None:
        self.encode = encoder(made)
        self.context = context

    def answer_log_probabilities(self, prompts: Any, answers: Any) -> Any:
        raise NotImplementedError

    def generate(self, prompts: Any, **options: Any) -> Any:
        raise NotImplementedError


def task(*questions: Question, shots: int = 1) -> Task:
    demos = tuple(Demo(prompt="A:", answer=answer) for answer in ("T", "F"))
    return Task(
        name="labels", family="truthy_answer", questions=questions, demos=demos, strategy="ordered", shots=shots, seeds=2
    )


FINE = Question(prompt="Q:", correct="T", shallow="False")


def test_a_task_becomes_items_in_the_order_of_its_questions() -> None:
    made = with_bos(byte_level())
    other = Question(prompt="x:", correct="F", shallow="T")
    items = encode_task(task(FINE, other), 0, Reader(made))
    assert [pieces(made, list(prompt)) for prompt in items.prompts] == [
        ["<s>", "A", ":", "ĠT", "Ċ", "Q", ":"],
        ["<s>", "A", ":", "ĠT", "Ċ", "x", ":"],
    ]
    assert [pieces(made, list(answer)) for answer in items.correct] == [["ĠT"], ["ĠF"]]
    assert [pieces(made, list(answer)) for answer in items.shallow] == [["ĠF", "a", "l", "s", "e"], ["ĠT"]]


def test_errors_name_task_and_question() -> None:
    blank = Question(prompt="which\none?", correct="a", shallow="😀")
    with pytest.raises(UserError, match=r"task 'labels', question 2 \('which one\?'\): the answer '😀' vanishes"):
        encode_task(task(Question(prompt="q", correct="a", shallow="e"), blank), 0, Reader(bare()))
    equal = Question(prompt="q", correct="a", shallow="A")
    with pytest.raises(UserError, match=r"task 'labels', question 1 \('q'\): the answers 'a' and 'A'"):
        encode_task(task(equal), 0, Reader(lower()))


def test_a_prompt_longer_than_the_context_is_refused_with_a_way_out() -> None:
    reader = Reader(with_bos(byte_level()), context=12)  # <s> A: T \n Q: are 7, the longer answer is 5
    assert len(encode_task(task(FINE), 0, reader)) == 1
    reader.context = 11
    with pytest.raises(UserError, match=r"task 'labels', question 1 .* 12 tokens .* reads 11; show fewer shots than 1"):
        encode_task(task(FINE), 0, reader)
    alone = Task(name="labels", family="intuitive_answer", questions=(FINE,))
    reader.context = 7
    with pytest.raises(UserError, match=r"8 tokens .* drop it"):
        encode_task(alone, 0, reader)
