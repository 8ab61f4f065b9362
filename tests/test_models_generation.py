"""Text sampled from models: the same for the same seed, however it is batched, and cut where it must be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
import torch
from model_help import BEGINNING, CONTEXT, END, counted, model, network, tokenizer

from curriculum.errors import RunError, UserError
from curriculum.models.hugging_face import HuggingFaceModel, TokenizerCodec
from curriculum.probe.model import TextModel

PROMPTS = ["the same words, then one", "the same words, then two more", "other words"]


def generate(scorer: TextModel, prompts: list[str], **changes: object) -> list[list[str]]:
    options: dict[str, object] = {"samples": 3, "tokens": 6, "temperature": 1.0, "stop": (), "seed": 1}
    return scorer.generate(prompts, **(options | changes))  # type: ignore[arg-type]


@torch.no_grad()
def most_probable(scorer: HuggingFaceModel, prompt: str, tokens: int) -> str:
    ids = scorer.encode(prompt)
    for _ in range(tokens):
        ids.append(int(scorer.module(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == END:
            break
    return str(tokenizer().decode(ids, skip_special_tokens=True)).removeprefix(prompt)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral"])
def test_without_temperature_the_most_probable_token_is_taken(kind: str) -> None:
    scorer = model(kind)
    assert (scorer.reusable == CONTEXT) == (kind != "mistral")  # the latter reads every row again
    found = generate(scorer, PROMPTS, samples=1, tokens=8, temperature=0)
    assert found == [[most_probable(scorer, prompt, 8)] for prompt in PROMPTS]
    assert len(set(map(tuple, found))) == 3 and all(text for (text,) in found)


def test_a_seed_decides_the_text_and_batches_do_not() -> None:
    found = generate(model("llama"), PROMPTS)
    assert [len(texts) for texts in found] == [3, 3, 3]
    assert len({text for texts in found for text in texts}) == 9
    assert generate(model("llama", batch_tokens=8), PROMPTS) == found
    assert generate(model("llama"), PROMPTS[::-1])[::-1] == found
    assert generate(model("llama"), PROMPTS[:1], samples=2)[0] == found[0][:2]
    assert generate(model("llama"), PROMPTS, seed=2) != found


def test_tokens_are_drawn_as_often_as_they_are_probable() -> None:
    scorer = model("gpt2", initializer_range=0.12)
    with torch.no_grad():
        logits = scorer.module(input_ids=torch.tensor([scorer.encode("x")])).logits[0, -1].double()
    probabilities = (logits / 0.7).softmax(dim=-1).numpy()
    letters = {token: tokenizer().decode([token]) for token in range(256) if tokenizer().decode([token]).isascii()}
    texts = generate(scorer, ["x"], samples=2000, tokens=1, temperature=0.7)[0]
    for token in sorted(letters, key=lambda token: -probabilities[token])[:5]:
        expected = probabilities[token]
        assert expected > 0.005
        assert abs(texts.count(letters[token]) / 2000 - expected) < 5 * np.sqrt(expected * (1 - expected) / 2000)


def test_text_is_cut_before_the_first_stop_string() -> None:
    scorer = model("llama")
    whole = generate(scorer, PROMPTS, tokens=30)
    middle = whole[0][0][4:6]
    found = generate(scorer, PROMPTS, tokens=30, stop=(middle, "no such text"))
    assert found == [[text.split(middle)[0] for text in texts] for texts in whole]
    assert len(found[0][0]) <= 4
    with counted(scorer.module) as counts:
        generate(scorer, PROMPTS[:1], samples=1, tokens=30, stop=(middle,))
    assert counts["tokens"] <= len(scorer.encode(PROMPTS[0])) + 12  # it stops there, it is not only cut there


@pytest.mark.parametrize("end", [END, 65])
def test_an_end_token_ends_a_text(end: int) -> None:
    module = network("llama")
    module.generation_config.eos_token_id = [end, 3]
    module.lm_head.register_forward_hook(
        lambda _, inputs, output: torch.zeros_like(output).index_fill(-1, torch.tensor(end), 99.0)
    )
    scorer = HuggingFaceModel(module, tokenizer())
    with counted(module) as counts:
        assert generate(scorer, ["x"]) == [["", "", ""]]
    assert counts["tokens"] == len(scorer.encode("x"))


def test_every_end_that_settings_name_counts() -> None:
    module = network("llama")
    module.generation_config.eos_token_id = [7, 9]
    assert TokenizerCodec(tokenizer(), module).ends == {7, 9, END}


def test_a_prompt_is_read_once_for_all_its_samples() -> None:
    scorer = model("llama", batch_tokens=4096)
    prompts = ["shared words " + end for end in ("a", "bc", "def")]
    lengths = [len(scorer.encode(prompt)) for prompt in prompts]
    shared = lengths[0] - 1
    with counted(scorer.module) as counts:
        generate(scorer, prompts, samples=5, tokens=1)
    assert counts["tokens"] == shared + 3 * (lengths[-1] - shared)  # padding counts
    with counted(scorer.module) as more:
        generate(scorer, prompts, samples=5, tokens=2, seed=3)
    assert counts["tokens"] < more["tokens"] <= counts["tokens"] + 15


def test_what_cannot_be_generated_is_refused() -> None:
    scorer = model("llama")
    with pytest.raises(UserError, match=r"prompt 1: its 92 tokens and 6 more do not fit the model's context of 96"):
        generate(scorer, ["x", "x" * 91])
    assert generate(scorer, ["x" * 89], samples=1)
    with pytest.raises(UserError, match="wanted a temperature of at least 0, got nan"):
        generate(scorer, ["x"], temperature=float("nan"))
    with pytest.raises(UserError, match="wanted samples of at least 1, got 0"):
        generate(scorer, ["x"], samples=0)
    with pytest.raises(UserError, match="got an empty one"):
        generate(scorer, ["x"], stop=("", "y"))
    with pytest.raises(UserError, match="came without a tokenizer"):
        generate(HuggingFaceModel(network("llama")), ["x"])


def test_logits_that_are_no_numbers_name_the_prompt() -> None:
    scorer = model("llama")
    with torch.no_grad():
        cast(Any, scorer.module).get_input_embeddings().weight[scorer.encode("~")[1]] = torch.nan
    with pytest.raises(RunError, match="the prompt that ends in 'a ~ b': the model's logits are not numbers"):
        generate(scorer, ["fine", "a ~ b"])


def test_a_space_at_the_beginning_of_what_follows_is_kept() -> None:
    class Dropping:
        """Decodes as SentencePiece does: the first space of a text is its own and is left out."""

        ends = frozenset([END])

        def encode(self, text: str) -> list[int]:
            return [BEGINNING, *text.encode()]

        def decode(self, tokens: Sequence[int]) -> str:
            return bytes(token for token in tokens if token < 256).decode().removeprefix(" ")

    from curriculum.models import generation

    sample = generation._Sample(prompt="so", tokens=(BEGINNING, *b"so"), numbers=torch.zeros(3), found=list(b" it\nno"))
    assert generation._text(sample, Dropping(), ("\n",)) == " it"
