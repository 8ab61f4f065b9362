"""Proxies and plain functions behind the protocol of models."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from curriculum.errors import RunError, UserError
from curriculum.models.callable_model import CallableLogits, CallableModel, open_callable
from curriculum.models.opening import open_model
from curriculum.models.proxy_model import ProxyModel
from curriculum.probe.encoding import encode_item
from curriculum.probe.model import Numbers
from curriculum.proxy import answers
from curriculum.proxy.model import ModelShape, Proxy
from curriculum.streaming.tokenizer import TextTokenizer, load_tokenizer, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    texts = ["the quick brown fox jumps over the lazy dog"] * 3
    return load_tokenizer(train_tokenizer(texts, 280, tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"))


def proxy(vocabulary: int = 11, experts: int = 0) -> Proxy:
    shape = ModelShape(vocabulary=vocabulary, width=16, heads=2, layers=2, experts=experts)
    made = Proxy(shape, torch.Generator().manual_seed(1))
    with torch.no_grad():
        made.unembedding.weight.mul_(8)  # far from even
    return made


@torch.no_grad()
def plainly(model: Proxy, prompt: list[int], answer: list[int]) -> Numbers:
    logarithms = torch.log_softmax(model(torch.tensor([[*prompt, *answer[:-1]]]))[0].double(), dim=-1)
    places = torch.arange(len(prompt) - 1, len(prompt) + len(answer) - 1)
    found: Numbers = logarithms[places, torch.tensor(answer)].numpy()
    return found


@pytest.mark.parametrize("experts", [0, 4])
def test_a_proxys_answers_of_any_lengths_equal_the_plain_way(experts: int) -> None:
    generator = np.random.default_rng(1)
    prompts = [generator.integers(11, size=length).tolist() for length in (1, 5, 5, 20, 3, 5)]
    prompts.append(prompts[1])
    candidates = [[generator.integers(11, size=1 + (i + k) % 4).tolist() for i in range(len(prompts))] for k in range(3)]
    model = ProxyModel(proxy(experts=experts))
    found = model.answer_log_probabilities(prompts, candidates)
    for k, candidate in enumerate(candidates):
        for i, (prompt, answer) in enumerate(zip(prompts, candidate, strict=True)):
            reference = np.exp(plainly(model.module, prompt, answer))  # type: ignore[arg-type]
            assert np.exp(found[k][i]) == pytest.approx(reference, abs=1e-5)


def test_a_proxys_batches_stay_within_their_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(2)
    prompts = [generator.integers(11, size=length).tolist() for length in (2, 2, 3, 4, 4, 4, 5)]
    candidates = [[generator.integers(11, size=9 - i).tolist() for i in range(len(prompts))]]
    network = proxy()
    whole = ProxyModel(network).answer_log_probabilities(prompts, candidates)
    monkeypatch.setattr(answers, "_ITEMS_AT_ONCE", 3)
    monkeypatch.setattr(answers, "_LOGITS_AT_ONCE", 2 * 11 * 11)
    made: list[tuple[int, ...]] = []
    network.register_forward_hook(lambda _, inputs, output: made.append(tuple(output.shape)))
    parts = ProxyModel(network).answer_log_probabilities(prompts, candidates)
    assert np.concatenate(parts[0]) == pytest.approx(np.concatenate(whole[0]), abs=1e-5)
    assert sum(rows for rows, _, _ in made) == 7
    assert all(rows == 1 or (rows <= 3 and rows * places * 11 <= 2 * 11 * 11) for rows, places, _ in made)


def test_a_prompt_beyond_a_proxys_context_and_an_empty_one_are_refused() -> None:
    model = ProxyModel(proxy())
    with pytest.raises(UserError, match="25 tokens does not fit its context of 24"):
        model.answer_log_probabilities([[1] * 24], [[[1, 2]]])
    with pytest.raises(UserError, match="at least one token each"):
        model.answer_log_probabilities([[1]], [[[]]])


def test_a_proxy_without_a_tokenizer_takes_token_ids_only() -> None:
    model = ProxyModel(proxy())
    with pytest.raises(UserError, match="this proxy has no tokenizer"):
        model.encode("x")
    with pytest.raises(UserError, match="this proxy has no tokenizer"):
        model.generate(["x"], samples=1, tokens=1, temperature=1, stop=(), seed=0)


def test_a_proxy_with_a_tokenizer_writes_text(tokenizer: TextTokenizer) -> None:
    model = ProxyModel(proxy(vocabulary=tokenizer.vocabulary), tokenizer)
    assert tokenizer.decode(model.encode("the fox")) == "the fox"
    prompts = ["the fox", "a", "the lazy dog"]
    found = model.generate(prompts, samples=2, tokens=4, temperature=1.0, stop=(), seed=3)
    assert found == model.generate(prompts, samples=2, tokens=4, temperature=1.0, stop=(), seed=3)
    assert [texts[:1] for texts in found] == model.generate(prompts, samples=1, tokens=4, temperature=1.0, stop=(), seed=3)
    assert len({text for texts in found for text in texts}) > 3
    greedy = model.generate(prompts, samples=1, tokens=1, temperature=0, stop=(), seed=0)
    for prompt, (text,) in zip(prompts, greedy, strict=True):
        best = int(model.logits(torch.tensor([model.encode(prompt)]))[0, -1].argmax())
        assert text == tokenizer.decode([*model.encode(prompt), best]).removeprefix(prompt)


def test_a_proxys_layers_can_be_looked_at() -> None:
    model = ProxyModel(proxy())
    tokens = torch.tensor([[1, 2, 3], [4, 5, 6]])
    states = model.hidden_states(tokens)
    assert [tuple(state.shape) for state in states] == [(2, 3, 16)] * 3
    module = model.module
    assert isinstance(module, Proxy)
    torch.testing.assert_close(states[0], module.tokens(tokens) + module.places.weight[:3])
    final = module.unembedding(torch.nn.functional.rms_norm(states[-1], (16,)))
    torch.testing.assert_close(final, model.logits(tokens))
    assert model.routing_weights(tokens) == [] and model.router_rows() == []
    mixture = ProxyModel(proxy(experts=4))
    assert [tuple(found.shape) for found in mixture.routing_weights(tokens)] == [(2, 3, 4)] * 2
    assert [tuple(row.shape) for row in mixture.router_rows()] == [(4, 16)] * 2


def by_letters(prompts: list[str], answers: list[list[str]]) -> list[list[list[float]]]:
    """An answer's letters are certain where they occur in the prompt, else half as probable."""
    return [
        [[0.0 if letter in prompt else math.log(0.5) for letter in answer] for answer in candidates]
        for prompt, candidates in zip(prompts, answers, strict=True)
    ]


def test_a_function_on_text_is_asked_in_text() -> None:
    model = CallableModel(by_letters)
    prompt, correct, shallow = encode_item(model.encode, "Is it good? Antwört:", "good", "bäh")
    assert (bytes(prompt).decode(), bytes(correct).decode()) == ("Is it good? Antwört: ", "good")
    found = model.answer_log_probabilities([prompt, list(b"h")], [[correct, shallow], [shallow, correct]])
    assert [[np.exp(each).tolist() for each in candidate] for candidate in found] == [
        [[1, 1, 1, 1], pytest.approx([0.5, 0.5, 1])],
        [pytest.approx([0.5, 0.5, 0.5]), pytest.approx([0.5] * 4)],
    ]


@pytest.mark.parametrize(
    ("result", "error", "said"),
    [
        ([], UserError, "wanted 1 lists, one a prompt from the function, got 0"),
        ([[[-1.0]]], UserError, "wanted 2 answers for prompt 0 from the function, got 1"),
        ([[[], [-1.0]]], UserError, "wanted a list of log-probabilities, one a token"),
        ([[[-1.0], -1.0]], UserError, "wanted a list of log-probabilities, one a token"),
        ([[[-1.0], [math.nan]]], RunError, "'ask' ?: .*are no log-probabilities"),
        ([[[-1.0], [0.5]]], RunError, "are no log-probabilities"),
    ],
)
def test_what_a_function_returns_is_checked(result: object, error: type[Exception], said: str) -> None:
    model = CallableModel(lambda prompts, answers: result)  # type: ignore[arg-type,return-value]
    with pytest.raises(error, match=said):
        model.answer_log_probabilities([list(b"ask")], [[list(b"a")], [list(b"b")]])


def test_a_function_on_text_has_a_context_and_does_not_generate() -> None:
    with pytest.raises(UserError, match="do not fit the model's context of 5"):
        CallableModel(by_letters, context=5).answer_log_probabilities([list(b"asked")], [[list(b"no")]])
    with pytest.raises(UserError, match="cannot generate, which the persona family needs"):
        CallableModel(by_letters).generate(["x"], samples=1, tokens=1, temperature=1, stop=(), seed=0)


def test_a_function_on_token_ids_equals_the_network_behind_it(tokenizer: TextTokenizer) -> None:
    network = proxy(vocabulary=tokenizer.vocabulary)
    calls: list[int] = []

    def logits(tokens: npt.NDArray[np.int64]) -> torch.Tensor:
        calls.append(len(tokens))
        found: torch.Tensor = network(torch.from_numpy(tokens)[None])[0]  # that it wants gradients does no harm
        return found

    model = CallableLogits(logits, tokenizer=tokenizer, context=24)
    found = model.answer_log_probabilities([[1, 2, 3]], [[[4]], [[5, 6]], [[5, 7]]])
    for k, answer in enumerate([[4], [5, 6], [5, 7]]):
        assert np.exp(found[k][0]) == pytest.approx(np.exp(plainly(network, [1, 2, 3], answer)), abs=1e-6)
    assert calls == [3, 4]
    prompts = ["the fox", "dog"]
    same = ProxyModel(network, tokenizer).generate(prompts, samples=2, tokens=3, temperature=1.0, stop=(), seed=5)
    assert model.generate(prompts, samples=2, tokens=3, temperature=1.0, stop=(), seed=5) == same


def test_logits_of_another_shape_and_tokens_beyond_them_are_refused() -> None:
    with pytest.raises(UserError, match=r"wanted logits \(time, vocabulary\) = \(3, ...\) from the function, got \(5,\)"):
        CallableLogits(lambda tokens: np.zeros(5)).answer_log_probabilities([[1, 2, 3]], [[[1]]])
    model = CallableLogits(lambda tokens: np.zeros((len(tokens), 5)))
    with pytest.raises(UserError, match="token 9 is not in the function's vocabulary of 5"):
        model.answer_log_probabilities([[1]], [[[9]]])
    with pytest.raises(RunError, match="prompt 0, which ends in tokens"):
        CallableLogits(lambda tokens: np.full((len(tokens), 5), np.nan)).answer_log_probabilities([[1]], [[[2]]])
    with pytest.raises(UserError, match="has no tokenizer for text"):
        model.encode("x")


SOURCE = """
import numpy
def score(prompts, answers):
    return [[[-1.0] for _ in each] for each in answers]
def logits(tokens, sharpness=1.0):
    return numpy.zeros((len(tokens), 4)) * sharpness
def strange(a, b, c):
    return None
number = 3
class Whole:
    context = 7
    def answer_log_probabilities(self, prompts, answers): return []
whole = Whole()
"""


def test_functions_are_opened_by_module_or_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "functions_for_models.py"
    path.write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    assert isinstance(open_model(f"python:{path}:score"), CallableModel)
    assert isinstance(open_model("python:functions_for_models:score"), CallableModel)
    assert isinstance(open_callable(f"{path}:logits"), CallableLogits)
    assert open_callable("functions_for_models:whole").context == 7
    sys.modules.pop("functions_for_models")


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("functions", "wanted python:PACKAGE.MODULE:FUNCTION"),
        ("no_such_module_here:f", "cannot be imported"),
        ("{path}:nothing", "has no 'nothing'"),
        ("{path}:number", "wanted a function or a model, got int"),
        ("{path}:strange", "got one of 3 arguments"),
        ("nowhere/file.py:f", "there is no such file"),
    ],
)
def test_references_to_no_function_are_refused(tmp_path: Path, reference: str, said: str) -> None:
    path = tmp_path / "functions.py"
    path.write_text(SOURCE)
    with pytest.raises(UserError, match=said):
        open_callable(reference.format(path=path))
