"""The mixture of experts: what it computes, how it is trained, and that a dense proxy is what it always was."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from curriculum.errors import FileError, UserError
from curriculum.mix import Mix, Phase, Stream
from curriculum.proxy import training
from curriculum.proxy.checkpoint import load_proxy
from curriculum.proxy.feed import Batch
from curriculum.proxy.mixture import Mixture, balance_loss, recorded_routing
from curriculum.proxy.model import ModelShape, Proxy
from curriculum.proxy.recipe import Precision, Recipe
from curriculum.proxy.run import RunRequest, perform
from curriculum.search.study_file import default_study, load_study

SHAPE = ModelShape(vocabulary=40, layers=2, width=16, heads=2, context=9, experts=4, active_experts=2)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with training.one_thread():
        yield


def _proxy(seed: int = 0, **changes: Any) -> Proxy:
    return Proxy(replace(SHAPE, **changes), torch.Generator().manual_seed(seed))


def _tokens(batch: int = 5, time: int = 9, seed: int = 1) -> Tensor:
    return torch.randint(0, SHAPE.vocabulary, (batch, time), generator=torch.Generator().manual_seed(seed))


def _mixture(experts: int, active: int, width: int = 6) -> Mixture:
    mixture = Mixture(width, experts, active)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in mixture.parameters():
            weight.normal_(generator=generator)
    return mixture


# Dense proxies, written out from the definition.


def _dense_weights(shape: ModelShape, generator: torch.Generator) -> dict[str, Tensor]:
    width, half = shape.width, 1 / math.sqrt(2 * shape.layers)

    def draw(rows: int, columns: int, scale: float) -> Tensor:
        return torch.empty(rows, columns).normal_(0.0, scale, generator=generator)

    weights = {"tokens.weight": draw(shape.vocabulary, width, 0.03), "places.weight": draw(shape.context, width, 0.03)}
    for layer in (f"layers.{number}" for number in range(shape.layers)):
        weights[f"{layer}.attention.smear"] = torch.ones(shape.heads, 1, 1)
        weights[f"{layer}.attention.query_key_value.weight"] = draw(3 * width, width, 1 / math.sqrt(width))
        weights[f"{layer}.attention.output.weight"] = draw(width, width, half / math.sqrt(width))
        weights[f"{layer}.widen.weight"] = draw(2 * width, width, 1 / math.sqrt(width))
        weights[f"{layer}.narrow.weight"] = draw(width, 2 * width, half / math.sqrt(2 * width))
    weights["unembedding.weight"] = draw(shape.vocabulary, width, 1 / math.sqrt(width))
    return weights


def _dense_logits(weights: dict[str, Tensor], tokens: Tensor, shape: ModelShape) -> Tensor:
    batch, time = tokens.shape
    hidden = weights["tokens.weight"][tokens] + weights["places.weight"][:time]
    mask = torch.full((time, time), -torch.inf).triu(1)
    for layer in (f"layers.{number}" for number in range(shape.layers)):
        joint = functional.linear(
            functional.rms_norm(hidden, hidden.shape[-1:]), weights[f"{layer}.attention.query_key_value.weight"]
        )
        query, key, value = joint.view(batch, time, 3 * shape.heads, -1).transpose(1, 2).split(shape.heads, dim=1)
        before = functional.pad(key[:, :, :-1], (0, 0, 1, 0))
        key = key + weights[f"{layer}.attention.smear"] * before
        read = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2)
        hidden = hidden + functional.linear(read, weights[f"{layer}.attention.output.weight"])
        wide = functional.linear(functional.rms_norm(hidden, hidden.shape[-1:]), weights[f"{layer}.widen.weight"])
        hidden = hidden + functional.linear(functional.silu(wide), weights[f"{layer}.narrow.weight"])
    return functional.linear(functional.rms_norm(hidden, hidden.shape[-1:]), weights["unembedding.weight"])


def test_a_dense_proxy_has_the_weights_and_logits_it_always_had() -> None:
    proxy = _proxy(4, experts=0)
    expected = _dense_weights(proxy.shape, torch.Generator().manual_seed(4))
    found = proxy.state_dict()
    assert list(found) == list(expected) and all(torch.equal(found[name], expected[name]) for name in expected)
    assert torch.equal(proxy(_tokens()), _dense_logits(expected, _tokens(), proxy.shape))


def test_a_dense_proxy_has_no_routing() -> None:
    proxy = _proxy(experts=0)
    assert proxy.routing(_tokens()) == [] and proxy.router_rows() == []


# What a mixture computes.


@pytest.mark.parametrize(("experts", "active"), [(4, 1), (4, 2), (5, 3), (3, 3), (8, 2)])
def test_a_mixture_is_a_loop_over_tokens_and_their_best_experts(experts: int, active: int) -> None:
    mixture = _mixture(experts, active)
    hidden = torch.randn(3, 7, 6, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        found = mixture(hidden)
        for row in range(3):
            for time in range(7):
                token = hidden[row, time]
                weights = torch.softmax(mixture.router.weight @ token, dim=0)
                expected = torch.zeros(6)
                for expert in sorted(range(experts), key=lambda expert: -float(weights[expert]))[:active]:
                    wide = mixture.widen[expert] @ token
                    expected += weights[expert] * (mixture.narrow[expert] @ (wide * torch.sigmoid(wide)))
                torch.testing.assert_close(found[row, time], expected, rtol=1e-4, atol=1e-5)


def test_an_expert_without_tokens_and_a_batch_of_one_token_are_fine() -> None:
    mixture = _mixture(8, 2)
    output = mixture(torch.ones(1, 1, 6))
    output.sum().backward()
    assert mixture.widen.grad is not None
    assert int((mixture.widen.grad.abs().sum(dim=(1, 2)) > 0).sum()) == 2


@pytest.mark.parametrize("positions", [None, torch.arange(9)])
def test_a_later_token_never_changes_an_earlier_logit(positions: Tensor | None) -> None:
    proxy, tokens = _proxy(), _tokens()
    before = proxy(tokens, positions)
    changed = tokens.clone()
    changed[:, 5] = (changed[:, 5] + 1) % SHAPE.vocabulary
    after = proxy(changed, positions)
    torch.testing.assert_close(after[:, :5], before[:, :5], rtol=1e-4, atol=1e-6)
    assert not torch.allclose(after[:, 5], before[:, 5])


@pytest.mark.parametrize("active", [1, 2, 4])
def test_positions_equal_the_slice_of_all_logits(active: int) -> None:
    proxy, positions = _proxy(active_experts=active), torch.tensor([2, 5, 8])
    torch.testing.assert_close(proxy(_tokens(), positions), proxy(_tokens())[:, positions], rtol=1e-4, atol=1e-6)


def test_routing_is_the_softmax_of_the_routers_rows() -> None:
    proxy, entered = _proxy(), []
    handles = [
        layer.mixture.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))  # type: ignore[union-attr]
        for layer in proxy.layers
    ]
    routing = proxy.routing(_tokens())
    for handle in handles:
        handle.remove()
    rows = proxy.router_rows()
    assert [tuple(weights.shape) for weights in routing] == [(5, 9, 4)] * 2 and [tuple(row.shape) for row in rows] == [
        (4, 16)
    ] * 2
    for weights, row, hidden in zip(routing, rows, entered, strict=True):
        torch.testing.assert_close(weights, torch.softmax(hidden @ row.T, dim=-1))
    assert not torch.allclose(routing[0], routing[1])


def test_recording_ends_with_its_block_even_when_it_fails() -> None:
    proxy = _proxy()
    with pytest.raises(ZeroDivisionError), recorded_routing(proxy) as found:
        proxy(_tokens())
        raise ZeroDivisionError
    proxy(_tokens())
    assert len(found) == 2


# Initialisation.


def test_equal_seeds_give_equal_bits_and_the_generator_is_the_only_source() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    state, again, other = _proxy(3).state_dict(), _proxy(3).state_dict(), _proxy(4).state_dict()
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(state[name], again[name]) for name in state)
    assert not torch.equal(state["layers.0.mixture.narrow"], other["layers.0.mixture.narrow"])


def test_every_expert_starts_at_the_scale_of_a_dense_layer() -> None:
    state = _proxy(width=64, experts=8).state_dict()
    for expert in range(8):
        assert state["layers.1.mixture.widen"][expert].std().item() == pytest.approx(1 / 8, rel=0.1)
        assert state["layers.1.mixture.narrow"][expert].std().item() == pytest.approx(1 / 8 / 2, rel=0.1)
    assert state["layers.1.mixture.router.weight"].std().item() == pytest.approx(1 / 8, rel=0.15)


# Training.


def test_the_balance_loss_by_hand() -> None:
    first = torch.tensor([[[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]])  # choices at two active: 0 1, 2 1; shares 1/4, 1/2, 1/4
    second = torch.tensor([[[0.5, 0.4, 0.1], [0.5, 0.4, 0.1]]])  # choices: 0 1, 0 1; shares 1/2, 1/2, 0
    expected = [3 * (0.25 * 0.4 + 0.5 * 0.25 + 0.25 * 0.35), 3 * (0.5 * 0.5 + 0.5 * 0.4)]
    assert balance_loss([first], 2).item() == pytest.approx(expected[0])
    assert balance_loss([first, second], 2).item() == pytest.approx(sum(expected) / 2)
    assert balance_loss([first], 1).item() == pytest.approx(3 * (0.5 * 0.4 + 0.5 * 0.35))


def test_the_balance_loss_runs_from_uniform_to_collapsed() -> None:
    turns = torch.eye(4)[torch.arange(8) % 4].mul(1e-3).add(0.25)
    assert balance_loss([turns / turns.sum(-1, keepdim=True)], 1).item() == pytest.approx(1.0)
    collapsed = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(8, 4)
    assert balance_loss([collapsed], 1).item() == pytest.approx(4.0)


@pytest.mark.parametrize("active", [1, 2])
def test_the_cross_entropy_alone_reaches_every_router(active: int) -> None:
    proxy = _proxy(active_experts=active)
    batch = Batch(tokens=_tokens(), targets=torch.ones(5, 9, dtype=torch.bool))
    training.training_loss(proxy, batch, balance=0.0).backward()
    assert all(row.grad is not None and row.grad.abs().max() > 1e-6 for row in proxy.router_rows())


def test_training_minimises_cross_entropy_and_balance_and_reports_the_first_alone() -> None:
    proxy = _proxy()
    targets = torch.zeros(5, 9, dtype=torch.bool)
    targets[:, [3, 6]] = True
    batch = Batch(tokens=_tokens(), targets=targets)
    plain = training.next_token_loss(proxy, batch)
    with recorded_routing(proxy) as routing:
        proxy(batch.tokens[:, :-1], torch.tensor([2, 5]))
    assert [weights.shape[1] for weights in routing] == [8, 2]
    expected = plain + 0.3 * balance_loss(routing, 2)
    assert training.training_loss(proxy, batch, balance=0.3).item() == pytest.approx(expected.item())
    assert training.training_loss(proxy, batch, balance=0.0).item() == plain.item()


def _trained(balance: float, seed: int = 0) -> tuple[Proxy, float]:
    """Train 80 steps on one question with a skewed answer; return the proxy and its balance loss on new tokens."""
    proxy = _proxy(seed)
    optimizer = torch.optim.AdamW(proxy.parameters(), lr=1e-2, fused=True)
    for step in range(80):
        tokens = _tokens(16, seed=step).clamp(max=9)
        batch = Batch(tokens=tokens.sort(dim=1).values, targets=torch.ones_like(tokens, dtype=torch.bool))
        loss = training.training_loss(proxy, batch, balance=balance)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        routing = proxy.routing(_tokens(16, seed=999).clamp(max=9).sort(dim=1).values)
    return proxy, balance_loss(routing, 2).item()


def test_the_balance_loss_evens_the_load_and_training_is_the_same_to_the_bit() -> None:
    unbalanced, (first, balanced), (second, _) = _trained(0.0)[1], _trained(0.3), _trained(0.3)
    assert balanced < 1.05 and unbalanced > 1.2
    weights = second.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in first.state_dict().items())


# Recipes, studies, checkpoints.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"experts": -1}, "experts of at least 1, or 0 for a dense model, got -1"),
        ({"experts": 4, "active_experts": 5}, "active_experts from 1 to experts, got 5 of 4 experts"),
        ({"experts": 4, "active_experts": 0}, "got 0 of 4 experts"),
        ({"experts": 4, "balance": float("nan")}, "balance of at least 0, got nan"),
        ({"experts": 4, "balance": -0.1}, "balance of at least 0"),
        ({"active_experts": 1}, "mean nothing to a dense model; give experts"),
        ({"balance": 0.1}, "mean nothing to a dense model; give experts"),
    ],
)
def test_impossible_mixtures_are_refused(change: dict[str, int | float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Recipe(**change)  # type: ignore[arg-type]


def test_impossible_shapes_are_refused() -> None:
    with pytest.raises(UserError, match="got 5 of 4 experts"):
        replace(SHAPE, active_experts=5)
    with pytest.raises(UserError, match="or 0 for a dense model"):
        replace(SHAPE, experts=-2)


def _study(folder: Path, proxy: str) -> Path:
    text = default_study().read_text()
    assert "proxy: {layers: 2," in text
    path = folder / "study.yaml"
    path.write_text(text.replace("proxy: {layers: 2,", f"proxy: {{{proxy}, layers: 2,"))
    return path


def test_a_study_states_a_mixture(tmp_path: Path) -> None:
    recipe = load_study(_study(tmp_path, "experts: 8, active_experts: 1, balance: 0.02")).recipe
    assert (recipe.experts, recipe.active_experts, recipe.balance) == (8, 1, 0.02)
    assert load_study().recipe.experts == 0
    for proxy in ("experts: 1", "balance: 0.5", "experts: 8, active_experts: 0"):
        with pytest.raises(FileError, match=r"study\.yaml:\d+"):
            load_study(_study(tmp_path, proxy))


def test_a_run_of_a_mixture_is_the_same_to_the_bit_and_its_checkpoint_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = {name: Stream(local=f"testbed:{name}") for name in ("arith", "facts")}
    mix = Mix(
        name="m",
        streams=streams,
        phases=(Phase(until=Decimal(1), weights={"arith": Decimal(1), "facts": Decimal(1)}),),
        samples=256,
        seed=4,
    )
    recipe = Recipe(layers=2, width=16, heads=1, batch=16, readings=4, experts=4, balance=0.02)
    request = RunRequest(label="r", mix=mix, seed=1, samples=256, recipe=recipe, probes=())
    stated: list[float] = []
    original = training.training_loss

    def spy(model: Proxy, batch: Batch, *, balance: float, precision: Precision) -> Tensor:
        stated.append(balance)
        return original(model, batch, balance=balance, precision=precision)

    monkeypatch.setattr(training, "training_loss", spy)
    first, second = (perform(request, tmp_path / name, keep=2) for name in ("a", "b"))
    assert first.loss.equals(second.loss) and set(stated) == {0.02}
    opened = load_proxy(first.folder / "checkpoints" / "256")
    again = load_proxy(second.folder / "checkpoints" / "256")
    assert (opened.shape.experts, opened.shape.active_experts) == (4, 2)
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in opened.state_dict().items())
    dense = perform(replace(request, recipe=replace(recipe, experts=0, balance=0.01)), tmp_path / "c", keep=1)
    path = dense.folder / "checkpoints" / "256" / "proxy.json"
    shape = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in shape.items() if "experts" not in name}))
    assert load_proxy(path.parent).shape.experts == 0  # written before there were mixtures
