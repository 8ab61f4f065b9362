"""Per-example activations and gradients of a network's layers: their Gram matrices against the plainest autograd."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor, nn
from torch.nn import functional

from curriculum.errors import RunError, UserError
from curriculum.models.activations import BEFORE_LAYERS, activation_grams
from curriculum.models.gradients import OUTSIDE, folded, gradient_grams, layers_of, parameter_groups, summed
from curriculum.models.hugging_face import HuggingFaceModel
from curriculum.models.network import NetworkModel
from curriculum.models.proxy_model import ProxyModel
from curriculum.probe import ItemSet
from curriculum.probe.model import Numbers
from curriculum.probe.predictors import predictors_of
from curriculum.proxy.model import ModelShape, Proxy
from curriculum.streaming.torchvision_guard import torchvision_or_stand_in

VOCABULARY, CONTEXT = 50, 16


def _proxy(*, layers: int = 2, experts: int = 0) -> ProxyModel:
    shape = ModelShape(vocabulary=VOCABULARY, layers=layers, width=16, heads=2, context=CONTEXT, experts=experts)
    return ProxyModel(Proxy(shape, torch.Generator().manual_seed(3)))


def _hugging_face(kind: str) -> HuggingFaceModel:
    with torchvision_or_stand_in():
        transformers: Any = import_module("transformers")
    small = {"vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": CONTEXT}
    config = {
        "gpt2": lambda: transformers.GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=3, n_head=2, n_positions=CONTEXT),
        "llama": lambda: transformers.LlamaConfig(**small, **heads, tie_word_embeddings=True),
        "olmoe": lambda: transformers.OlmoeConfig(**small, **heads, num_experts=8, num_experts_per_tok=2),
    }[kind]()
    torch.manual_seed(4)
    return HuggingFaceModel(transformers.AutoModelForCausalLM.from_config(config))


def _model(kind: str) -> NetworkModel:
    if kind.startswith("proxy"):
        return _proxy(experts=4 if kind == "proxy of experts" else 0)
    return _hugging_face(kind)


def _items(count: int = 9, *, seed: int = 1) -> ItemSet:
    """Items of several lengths of prompt and answer."""
    generator = np.random.default_rng(seed)

    def tokens(length: int) -> tuple[int, ...]:
        return tuple(generator.integers(0, VOCABULARY, length).tolist())

    return ItemSet(
        prompts=tuple(tokens(4 + index % 3) for index in range(count)),
        correct=tuple(tokens(1 + index % 2) for index in range(count)),
        shallow=tuple(tokens(3) for _ in range(count)),
    )


def _brute_force(model: NetworkModel, items: ItemSet, names: Sequence[str]) -> Numbers:
    """Gradients of these parameters by the plainest autograd, all kept."""
    named = dict(model.module.named_parameters())
    model.module.eval()
    rows = []
    for prompt, answer in zip(items.prompts, items.correct, strict=True):
        tokens = torch.tensor([[*prompt, *answer]])
        logarithms = torch.log_softmax(model.logits(tokens)[0], dim=-1)
        places = range(len(prompt) - 1, len(prompt) + len(answer) - 1)
        loss = -torch.stack([logarithms[place, token] for place, token in zip(places, answer, strict=True)]).mean()
        model.module.zero_grad()
        loss.backward()
        gradients = [torch.zeros_like(named[name]) if named[name].grad is None else named[name].grad for name in names]
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]).double())  # type: ignore[union-attr]
    stacked = torch.stack(rows)
    return np.asarray((stacked @ stacked.T).numpy(), dtype=np.float64)


def _assert_close(found: Numbers, wanted: Numbers) -> None:
    assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * float(np.abs(wanted).max()))


def test_layers_are_the_longest_list_that_lies_in_no_other() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = nn.ModuleList(nn.Linear(2, 2) for _ in range(9))

    module = nn.Module()
    module.adapters = nn.ModuleList([nn.Linear(2, 2)])
    module.blocks = nn.ModuleList(Block() for _ in range(3))
    name, layers = layers_of(module)
    assert (name, len(layers)) == ("blocks", 3)
    with pytest.raises(UserError, match="no ModuleList"):
        layers_of(nn.Linear(2, 2))


def test_every_parameter_is_in_one_group() -> None:
    module = _proxy(layers=12).module  # "layers.1" is also how "layers.10" begins
    groups = parameter_groups(module)
    assert list(groups) == [*(f"layer {number}" for number in range(12)), OUTSIDE]
    names = [name for group in groups.values() for name in group]
    assert sorted(names) == sorted(name for name, _ in module.named_parameters())
    assert all(name.startswith("layers.1.") for name in groups["layer 1"])
    assert OUTSIDE not in parameter_groups(module, outside=False)
    bare = nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(2, 2), nn.Identity()])})
    assert list(parameter_groups(bare)) == ["layer 0"]  # neither an outside nor parameters in layer 1


@pytest.mark.parametrize("kind", ["proxy", "proxy of experts", "llama", "gpt2", "olmoe"])
@pytest.mark.parametrize("vectorise", [True, False])
def test_gradients_of_every_group_are_those_of_autograd(kind: str, vectorise: bool) -> None:
    model, items = _model(kind), _items()
    grams = gradient_grams(model, items, outside=True, vectorise=vectorise)
    groups = parameter_groups(model.module)
    assert list(grams) == list(groups)
    for name, gram in grams.items():
        _assert_close(gram, _brute_force(model, items, list(groups[name])))
    _assert_close(summed(grams), _brute_force(model, items, [name for name, _ in model.module.named_parameters()]))


@pytest.mark.parametrize("kind", ["proxy", "proxy of experts", "llama", "gpt2", "olmoe"])
def test_gradients_are_vectorised_wherever_a_network_allows_it(kind: str) -> None:
    model = _model(kind)
    passes: list[int] = []
    model.module.register_forward_pre_hook(lambda _module, _inputs: passes.append(1))
    gradient_grams(model, _items(24))
    assert (len(passes) < 24) == (kind not in ("olmoe", "proxy of experts"))  # six shapes, and two passes for the trial


@pytest.mark.parametrize("vectorise", [True, False])
def test_a_parameter_that_the_loss_does_not_see_has_a_gradient_of_zero(vectorise: bool) -> None:
    model, items = _proxy(), _items()
    plain = gradient_grams(model, items, vectorise=vectorise)
    model.module.layers[0].unused = nn.Parameter(torch.ones(3))  # type: ignore[index,union-attr]
    found = gradient_grams(model, items, vectorise=vectorise)
    assert found.keys() == plain.keys() and "layer 0" in found
    for name, gram in found.items():
        _assert_close(gram, plain[name])


def test_memory_decides_the_blocks_and_not_the_result() -> None:
    model, items = _proxy(), _items()
    whole = gradient_grams(model, items)
    sizes = [
        sum(weight.numel() for weight in group.values()) for group in parameter_groups(model.module, outside=False).values()
    ]
    example = 4 * sum(sizes)
    for memory in (1, 3 * example, 6 * example, 12 * example):  # one, one, two and four examples a block
        found = gradient_grams(model, items, memory=memory)
        assert found.keys() == whole.keys()
        for name, gram in found.items():
            _assert_close(gram, whole[name])


def test_memory_bounds_how_many_gradients_are_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    from curriculum.models import gradients

    blocks = []
    plain = gradients._Maker.rows

    def watched(self: gradients._Maker, indices: range) -> dict[str, Tensor]:
        blocks.append(len(indices))
        return plain(self, indices)

    monkeypatch.setattr(gradients._Maker, "rows", watched)
    model = _proxy()
    size = sum(weight.numel() for group in parameter_groups(model.module, outside=False).values() for weight in group.values())
    gradient_grams(model, _items(), memory=2 * 3 * 4 * size)
    assert max(blocks) == 2
    assert len(blocks) == 5 + 4 + 3 + 2 + 1
    blocks.clear()
    gradient_grams(model, _items(), memory=2 * 3 * 4 * size, projection=size // 20)
    assert blocks == [9]  # folded gradients all fit


def test_the_network_is_left_as_it_was() -> None:
    model = _proxy()
    model.module.train()
    layers_of(model.module)[1][0].eval()
    frozen = dict(model.module.named_parameters())["layers.0.widen.weight"].requires_grad_(False)
    gradient_grams(model, _items(4))
    assert model.module.training
    assert not layers_of(model.module)[1][0].training
    assert not frozen.requires_grad
    assert all(weight.grad is None for weight in model.module.parameters())


def test_dropout_is_off_while_a_network_is_looked_at() -> None:
    model, items = _hugging_face("gpt2"), _items()
    gradients, activations = gradient_grams(model, items, vectorise=False), activation_grams(model, items)
    model.module.train()
    for before, after in (
        (gradients, gradient_grams(model, items, vectorise=False)),
        (activations, activation_grams(model, items)),
    ):
        assert all((before[name] == after[name]).all() for name in before)
    assert model.module.training


def test_a_network_whose_vectorised_gradients_are_wrong_gets_them_one_by_one() -> None:
    model, items = _proxy(), _items()

    def misled(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output * (2 if torch._C._functorch.is_functorch_wrapped_tensor(inputs[0]) else 1)

    model.module.register_forward_hook(misled)
    found = gradient_grams(model, items)
    assert found.keys() == parameter_groups(model.module, outside=False).keys()
    for name, gram in found.items():
        _assert_close(gram, _brute_force(model, items, list(parameter_groups(model.module)[name])))


def test_projected_products_are_right_on_average_and_within_the_stated_error() -> None:
    model, items, size = _proxy(), _items(), 512
    exact = gradient_grams(model, items)
    projected = gradient_grams(model, items, projection=size)
    for name, gram in exact.items():
        lengths = np.sqrt(np.outer(np.diag(gram), np.diag(gram)))
        errors = (projected[name] - gram) / lengths
        assert 0 < np.sqrt((errors**2).mean()) < 2 / np.sqrt(size)  # measured: .04 where 2 / sqrt(512) = .09


@pytest.mark.parametrize("kind", ["random", "constant", "equal lines"])
def test_folding_keeps_products_on_average_and_within_the_stated_error(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(64, generator=generator, dtype=torch.float64)
    first = {"random": first, "constant": torch.ones(64, dtype=torch.float64), "equal lines": first[:16].repeat(4)}[kind]
    rows = torch.stack([first, first + (torch.randn(64, generator=generator, dtype=torch.float64) if kind == "random" else 0)])
    wanted, lengths = float(rows[0] @ rows[1]), float(rows[0].norm() * rows[1].norm())
    found = np.array([float(torch.prod(folded(rows, 16, str(key)), dim=0).sum()) for key in range(2000)])
    error = float(np.sqrt(((found - wanted) ** 2).mean()))
    assert found.mean() == pytest.approx(wanted, abs=4 * found.std() / np.sqrt(len(found)))
    assert 0.1 * lengths < error < 2 / np.sqrt(16) * lengths


def test_folding_moves_every_number_to_one_place() -> None:
    numbers = torch.eye(11, dtype=torch.float64)
    moved = folded(numbers, 4, "key")
    assert moved.shape == (11, 4)
    assert (moved.abs().sum(dim=1) == 1).all()
    assert (moved.square().sum(dim=1) == 1).all()


def test_a_gradient_that_is_no_number_names_its_item() -> None:
    model, items = _proxy(), _items()
    poisoned = items.prompts[4][-1]
    culprits = [index for index, prompt in enumerate(items.prompts) if poisoned in prompt]
    with torch.no_grad():
        model.module.get_parameter("tokens.weight")[poisoned] = torch.nan
    with pytest.raises(RunError, match=rf"layer 0: the gradient of probe item {culprits[0]} is not finite"):
        gradient_grams(model, items)
    with pytest.raises(RunError, match=rf"the activation of probe item {culprits[0]} is not finite"):
        activation_grams(model, items)


def test_items_longer_than_the_context_are_refused() -> None:
    model = _proxy()
    items = ItemSet(prompts=((1,) * 3, (1,) * CONTEXT), correct=((1,), (2,)), shallow=((3,), (4,)))
    with pytest.raises(UserError, match=f"item 1: {CONTEXT + 1} tokens do not fit the model's context of {CONTEXT}"):
        gradient_grams(model, items)
    with pytest.raises(UserError, match="item 1"):
        activation_grams(model, items, place="mean")
    assert activation_grams(model, items)["layer 0"].shape == (2, 2)  # the prompt alone fits


@pytest.mark.parametrize("kind", ["proxy", "llama"])
@pytest.mark.parametrize("batch", [1, 2, 64])
def test_activations_are_those_of_one_item_at_a_time(kind: str, batch: int) -> None:
    model, items = _model(kind), _items()
    last, mean = (activation_grams(model, items, place=place, batch=batch) for place in ("last", "mean"))
    layers = len(layers_of(model.module)[1])
    assert list(last) == list(mean) == [BEFORE_LAYERS, *(f"layer {number}" for number in range(layers))]
    states = [model.hidden_states(torch.tensor([[*p, *a]])) for p, a in zip(items.prompts, items.correct, strict=True)]
    for number, name in enumerate(last):
        at_last = torch.stack([state[number][0, len(p) - 1] for state, p in zip(states, items.prompts, strict=True)]).double()
        over_all = torch.stack([state[number][0].double().mean(dim=0) for state in states])
        _assert_close(last[name], (at_last @ at_last.T).detach().numpy())
        _assert_close(mean[name], (over_all @ over_all.T).detach().numpy())


def test_gradients_fall_as_a_proxy_learns_its_items() -> None:
    model, items = _proxy(), _items(6)
    before = predictors_of(summed(gradient_grams(model, items))).log_trace
    optimizer = torch.optim.Adam(model.module.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        losses = [
            functional.cross_entropy(
                model.logits(torch.tensor([[*prompt, *answer]]))[0, -1 - len(answer) : -1], torch.tensor(answer)
            )
            for prompt, answer in zip(items.prompts, items.correct, strict=True)
        ]
        torch.stack(losses).mean().backward()
        optimizer.step()
    assert predictors_of(summed(gradient_grams(model, items))).log_trace < before - 3
