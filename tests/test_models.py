"""Answers scored by a network: equal to the plain way, with less work."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_help import BEGINNING, CONTEXT, END, VOCABULARY, counted, library, model, network, plainly, tokenizer

from curriculum.errors import ResourceError, RunError, UserError
from curriculum.models.hugging_face import HuggingFaceModel
from curriculum.models.sequences import Limits, batches, shared_prefixes

Tokens = list[int]


def drawn(generator: random.Random, length: int) -> Tokens:
    return [generator.randrange(VOCABULARY) for _ in range(length)]


def items(seed: int = 0) -> tuple[list[Tokens], list[list[Tokens]]]:
    """Return ragged prompts, some behind a common beginning, some twice, one inside another, and three answers to each."""
    generator = random.Random(seed)
    shared = drawn(generator, 40)
    prompts = [shared + drawn(generator, generator.randint(1, 14)) for _ in range(10)]
    prompts += [drawn(generator, generator.randint(1, 60)) for _ in range(5)]
    prompts += [prompts[0], prompts[3] + prompts[4][-3:], shared]
    answers = [[drawn(generator, generator.randint(1, 4)) for _ in prompts] for _ in range(3)]
    for number, same in enumerate(([5], [6], [5])):  # all of one token, and two the same
        answers[number][1] = same
    for number, longer in enumerate(([5], [5, 9], [5, 9, 11])):  # each the beginning of the next
        answers[number][2] = longer
    for number, one in enumerate(([7], [8, 3], [8, 4])):  # two that share all but their last token
        answers[number][11] = one
    return prompts, answers


def largest_difference(scorer: HuggingFaceModel, prompts: Sequence[Tokens], answers: Sequence[Sequence[Tokens]]) -> float:
    """Return how far a probability is from that of the plain way."""
    found = scorer.answer_log_probabilities(prompts, answers)
    worst = 0.0
    for k, candidate in enumerate(answers):
        for i, (prompt, answer) in enumerate(zip(prompts, candidate, strict=True)):
            reference = plainly(scorer.module, prompt, answer)
            assert found[k][i].shape == (len(answer),) and found[k][i].dtype == np.float64
            worst = max(worst, float(np.abs(np.exp(found[k][i]) - np.exp(reference)).max()))
    return worst


@pytest.mark.parametrize(
    ("kind", "reusable"),
    [
        ("llama", CONTEXT),
        ("gpt2", CONTEXT),
        ("neox", CONTEXT),
        ("olmoe", CONTEXT),
        ("mistral", 12),
        ("gemma2", 12),
        ("mamba", 0),
    ],
)
def test_scores_equal_the_plain_way(kind: str, reusable: int) -> None:
    scorer = model(kind)
    assert scorer.reusable == reusable
    assert largest_difference(scorer, *items()) < 5e-6


@pytest.mark.parametrize("batch_tokens", [1, 70, 100_000])
def test_scores_do_not_depend_on_the_size_of_batches(batch_tokens: int) -> None:
    prompts, answers = items(1)
    assert largest_difference(model("gpt2", batch_tokens=batch_tokens), prompts[5:], [each[5:] for each in answers]) < 5e-6


def test_padding_may_stand_beyond_the_last_place() -> None:
    """The shortest and the longest answer that fit, in one batch with absolute places."""
    generator = random.Random(3)
    shared = drawn(generator, CONTEXT - 40)
    prompts = [shared + drawn(generator, 39), shared + drawn(generator, 2), *(shared + drawn(generator, 3) for _ in range(8))]
    answers = [[drawn(generator, 2)] + [drawn(generator, 30 + k) for _ in prompts[1:]] for k in (0, 1)]
    assert largest_difference(model("gpt2", batch_tokens=4096), prompts, answers) < 5e-6


def test_what_is_common_is_read_once_and_logits_are_made_only_where_asked() -> None:
    generator = random.Random(4)
    shared = drawn(generator, 60)
    prompts = [shared + drawn(generator, 5) for _ in range(12)]
    answers = [[drawn(generator, 1) for _ in prompts], [drawn(generator, 1) for _ in prompts]]
    scorer = model("llama", batch_tokens=4096)
    with counted(scorer.module) as single:
        scorer.answer_log_probabilities(prompts, answers)
    assert single == {"tokens": 60 + 12 * 5, "logits": 1 + 12}
    longer = [[drawn(generator, 3) for _ in prompts] for _ in range(2)]
    with counted(scorer.module) as several:
        scorer.answer_log_probabilities([*prompts, *prompts], [[*each, *each] for each in longer])
    assert several == {"tokens": 60 + 12 * 5 + 24 * 2, "logits": 1 + 12 + 24 * 2}


def test_a_prompt_is_read_once_for_all_its_answers() -> None:
    generator = random.Random(5)
    prompts = [drawn(generator, 50) for _ in range(4)]
    answers = [[drawn(generator, 3) for _ in prompts] for _ in range(5)]
    scorer = model("neox", batch_tokens=4096)
    with counted(scorer.module) as counts:
        scorer.answer_log_probabilities(prompts, answers)
    assert counts == {"tokens": 4 * 50 + 4 * 5 * 2, "logits": 4 + 4 * 5 * 2}


def test_a_window_that_slides_is_reused_while_everything_fits_into_it() -> None:
    generator = random.Random(6)
    shared = drawn(generator, 60)
    scorer = model("mistral", sliding_window=80, batch_tokens=4096)
    prompts = [shared + drawn(generator, 5) for _ in range(12)]
    answers = [[drawn(generator, 2) for _ in prompts]]
    with counted(scorer.module) as counts:
        scorer.answer_log_probabilities(prompts, answers)
    assert counts["tokens"] == 60 + 12 * 6
    assert largest_difference(scorer, prompts, answers) < 5e-6


def test_a_network_in_training_is_asked_without_dropout_and_goes_on_training() -> None:
    module = network("gpt2", attn_pdrop=0.5, embd_pdrop=0.5)
    module.train()
    module.transformer.h[0].eval()
    scorer = HuggingFaceModel(module, tokenizer())
    found = scorer.answer_log_probabilities([[1, 2, 3]], [[[4, 5]]])
    assert module.training and not module.transformer.h[0].training
    module.eval()
    assert found[0][0] == pytest.approx(plainly(module, [1, 2, 3], [4, 5]), abs=1e-5)


def test_what_cannot_be_read_is_refused_by_prompt() -> None:
    scorer = model("llama")
    good = [1, 2, 3]
    with pytest.raises(UserError, match=r"prompt 1: 96 tokens and an answer of 2 do not fit the model's context of 96"):
        scorer.answer_log_probabilities([good, [1] * 96], [[[1], [1, 2]]])
    assert len(scorer.answer_log_probabilities([[1] * 96], [[[1]]])[0][0]) == 1  # the last token is never read
    with pytest.raises(UserError, match="prompt 1: wanted a prompt and an answer of at least one token each, got 3 and 0"):
        scorer.answer_log_probabilities([good, good], [[[1], []]])
    with pytest.raises(UserError, match="prompt 0: token 258 is not in the model's vocabulary of 258"):
        scorer.answer_log_probabilities([good], [[[258]]])


def test_logits_that_are_no_numbers_name_the_prompt() -> None:
    scorer = model("llama")
    prompts = [scorer.encode("a good one"), scorer.encode("the broken ~ one")]
    with torch.no_grad():
        cast(Any, scorer.module).get_input_embeddings().weight[scorer.encode("~")[1]] = torch.nan
    assert np.isfinite(scorer.answer_log_probabilities(prompts[:1], [[[1, 2]]])[0][0]).all()
    with pytest.raises(RunError, match=r"prompt 1, which ends in 'broken ~ one': the model's logits are not numbers"):
        scorer.answer_log_probabilities(prompts, [[[1], [2]]])


def test_a_batch_too_large_for_the_memory_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = model("llama")

    def full(**_: object) -> None:
        raise torch.cuda.OutOfMemoryError("no memory left")

    monkeypatch.setattr(scorer.module, "forward", full)
    with pytest.raises(ResourceError, match=r"the cpu's memory does not hold a batch of 1 x 3 tokens; .* smaller batch_tokens"):
        scorer.answer_log_probabilities([[1, 2, 3]], [[[4]]])


def test_a_network_that_sees_later_tokens_is_refused() -> None:
    options = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    configuration = library().BertConfig(vocab_size=VOCABULARY, initializer_range=0.3, **options)
    with pytest.raises(UserError, match="BertLMHeadModel is no causal language model"):
        HuggingFaceModel(library().BertLMHeadModel(configuration))


def test_text_begins_as_the_tokenizer_begins_it_and_does_not_end() -> None:
    assert tokenizer()("ab")["input_ids"][-1] == END and tokenizer().pad_token is None
    scorer = model("llama")
    assert scorer.encode("ab") == [BEGINNING, *tokenizer()("ab", add_special_tokens=False)["input_ids"]]
    assert scorer.encode("") == [BEGINNING]
    with pytest.raises(UserError, match="came without a tokenizer"):
        HuggingFaceModel(network("llama")).encode("ab")


def test_context_comes_from_the_configuration_or_the_tokenizer() -> None:
    assert [model(kind).context for kind in ("llama", "gpt2", "mamba")] == [CONTEXT, CONTEXT, 2**20]
    limited = library().PreTrainedTokenizerFast(tokenizer_object=tokenizer().backend_tokenizer, model_max_length=77)
    assert HuggingFaceModel(network("mamba"), limited).context == 77


def test_logits_of_a_padded_batch_are_those_of_its_rows() -> None:
    scorer = model("gpt2")
    tokens = torch.tensor([[1, 2, 3, 9, 9], [4, 5, 6, 7, 8]])
    logits = scorer.logits(tokens, torch.tensor([3, 5]))
    assert logits.dtype == torch.float32 and logits.requires_grad
    alone = scorer.logits(tokens[:1, :3])
    torch.testing.assert_close(logits[0, :3], alone[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "neox", "mixtral"])
def test_hidden_states_are_what_enters_and_leaves_the_layers(kind: str) -> None:
    scorer = model(kind)
    tokens = torch.tensor([[1, 2, 3, 9], [4, 5, 6, 7]])
    states = scorer.hidden_states(tokens)
    theirs = scorer.module(input_ids=tokens, output_hidden_states=True).hidden_states
    assert len(states) == len(theirs) == 3
    for ours, their in zip(states[:-1], theirs[:-1], strict=True):
        torch.testing.assert_close(ours, their)
    base = scorer.module.base_model
    final_norm = next(getattr(base, name) for name in ("norm", "ln_f", "final_layer_norm") if hasattr(base, name))
    torch.testing.assert_close(final_norm(states[-1]), theirs[-1])  # theirs is normalised, ours is what left the layer
    assert not torch.allclose(states[-1], theirs[-1]) and states[0].requires_grad


@pytest.mark.parametrize("kind", ["olmoe", "mixtral"])
def test_routing_weights_are_the_softmax_of_the_routers_logits(kind: str) -> None:
    scorer = model(kind)
    tokens = torch.tensor([[1, 2, 3, 9], [4, 5, 6, 7]])
    weights = scorer.routing_weights(tokens)
    theirs = scorer.module(input_ids=tokens, output_router_logits=True).router_logits
    assert [tuple(found.shape) for found in weights] == [(2, 4, 4)] * 2
    for ours, their in zip(weights, theirs, strict=True):
        torch.testing.assert_close(ours.flatten(0, 1), their.softmax(dim=-1))
    assert [tuple(row.shape) for row in scorer.router_rows()] == [(4, 32)] * 2


def test_a_dense_network_has_no_routing() -> None:
    scorer = model("llama")
    assert scorer.routing_weights(torch.tensor([[1, 2]])) == [] and scorer.router_rows() == []


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), max_size=12), st.integers(0, 300))
def test_groups_hold_every_prompt_once_and_share_what_they_say(tails: list[Tokens], common: int) -> None:
    prompts = [(*[1] * (common if index % 2 else 0), *tail) for index, tail in enumerate(tails)]
    groups = shared_prefixes(prompts)
    assert sorted(member for group in groups for member in group.members) == list(range(len(prompts)))
    for group in groups:
        beginnings = {prompts[member][: group.shared] for member in group.members}
        assert group.shared == 0 or len(beginnings) == 1
        assert all(len(prompts[member]) > group.shared for member in group.members)


def test_prompts_are_grouped_by_long_beginnings_only() -> None:
    first, second = tuple(range(200)), tuple(range(500, 700))
    prompts = [(*first, 1, 2), (9, 9), (*second, 3), (*first, 5), (*second, 7), (*first, 6, 6, 6), (9, 8)]
    groups = {(group.shared, frozenset(group.members)) for group in shared_prefixes(prompts)}
    assert groups == {(200, frozenset({0, 3, 5})), (0, frozenset({1, 2, 4, 6}))}  # 200 tokens saved by 2 and 4 are not enough


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 4)), max_size=30), st.integers(1, 40), st.integers(1, 8))
def test_batches_hold_every_row_once_within_their_limits(rows: list[tuple[int, int]], tokens: int, reads: int) -> None:
    lengths, places = [length for length, _ in rows], [count for _, count in rows]
    found = list(batches(lengths, places, Limits(rows=5, tokens=tokens, reads=reads)))
    assert sorted(row for batch in found for row in batch) == list(range(len(rows)))
    for batch in found:
        fits = len(batch) <= 5 and len(batch) * max(lengths[row] for row in batch) <= tokens
        assert len(batch) == 1 or (fits and sum(places[row] for row in batch) <= reads)
