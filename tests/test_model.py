"""The proxy model: causal, equal to the bit for equal seeds, and exact when only some positions are asked for."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from curriculum.errors import UserError
from curriculum.proxy.model import ModelShape, Proxy

SHAPE = ModelShape(vocabulary=50, layers=2, width=32, heads=2, context=12)


def _proxy(seed: int = 0, shape: ModelShape = SHAPE) -> Proxy:
    return Proxy(shape, torch.Generator().manual_seed(seed))


def _tokens(batch: int = 4, time: int = 12, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, SHAPE.vocabulary, (batch, time), generator=torch.Generator().manual_seed(seed))


def _untied(proxy: Proxy) -> Proxy:
    """Give the smear a visible strength, different from head to head."""
    with torch.no_grad():
        for name, weight in proxy.named_parameters():
            if name.endswith("smear"):
                weight.copy_(torch.tensor([0.7, -1.3]).view_as(weight))
    return proxy


def test_logits_have_a_row_per_position() -> None:
    assert _proxy()(_tokens(time=9)).shape == (4, 9, 50)
    assert _proxy()(_tokens(), torch.tensor([1, 4, 11])).shape == (4, 3, 50)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_positions_equal_the_slice_of_all_logits(layers: int) -> None:
    proxy = _untied(_proxy(shape=ModelShape(vocabulary=50, layers=layers, width=32, heads=2, context=12)))
    positions = torch.tensor([2, 5, 11])
    torch.testing.assert_close(proxy(_tokens(), positions), proxy(_tokens())[:, positions], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("positions", [None, torch.arange(12)])
def test_a_later_token_never_changes_an_earlier_logit(positions: torch.Tensor | None) -> None:
    proxy, tokens = _untied(_proxy()), _tokens()
    before = proxy(tokens, positions)
    for place in range(1, 12):
        changed = tokens.clone()
        changed[:, place] = (changed[:, place] + 1) % SHAPE.vocabulary
        after = proxy(changed, positions)
        assert torch.equal(after[:, :place], before[:, :place])
        assert not torch.allclose(after[:, place], before[:, place])


def test_keys_carry_the_token_before() -> None:
    """Without smear a layer's key depends on its own token alone; with it, on the one before as well."""
    proxy = _untied(_proxy(shape=ModelShape(vocabulary=50, layers=1, width=32, heads=2, context=12)))
    tokens = _tokens()
    smeared = proxy(tokens)
    with torch.no_grad():
        for name, weight in proxy.named_parameters():
            if name.endswith("smear"):
                weight.zero_()
    plain = proxy(tokens)
    assert torch.equal(plain[:, 0], smeared[:, 0])
    assert not torch.allclose(plain[:, 2:], smeared[:, 2:])


def test_equal_seeds_give_equal_bits_and_others_do_not() -> None:
    state, again, other = _proxy(3).state_dict(), _proxy(3).state_dict(), _proxy(4).state_dict()
    assert all(torch.equal(state[name], again[name]) for name in state)
    assert not torch.equal(state["unembedding.weight"], other["unembedding.weight"])


def test_initialisation_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    _proxy()
    assert torch.equal(torch.rand(3), expected)


def test_induction_initialisation_lays_keys_near_queries() -> None:
    def likeness(induction: bool) -> float:
        shape = ModelShape(vocabulary=50, width=32, heads=2, context=12, induction_initialisation=induction)
        query, key, _ = _proxy(shape=shape).state_dict()["layers.0.attention.query_key_value.weight"].chunk(3)
        return functional.cosine_similarity(query.flatten(), key.flatten(), dim=0).item()

    assert likeness(True) > 0.9
    assert abs(likeness(False)) < 0.2


def test_training_is_the_same_to_the_bit_and_learns_to_copy() -> None:
    def train() -> tuple[float, torch.Tensor]:
        proxy = _proxy(5)
        optimizer = torch.optim.AdamW(proxy.parameters(), lr=1e-2, fused=True)
        for step in range(120):
            half = _tokens(32, 6, seed=step)
            tokens = torch.cat([half, half], dim=1)
            positions = torch.arange(6, 11)
            logits = proxy(tokens, positions)
            loss = functional.cross_entropy(logits.flatten(0, 1), tokens[:, positions + 1].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item(), proxy.unembedding.weight.detach()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        (loss, weights), (_, again) = train(), train()
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(weights, again)
    assert loss < 1.0


@pytest.mark.parametrize(
    ("vocabulary", "layers", "heads", "name"), [(0, 2, 2, "vocabulary"), (9, 0, 2, "layers"), (9, 2, 3, "heads")]
)
def test_impossible_shapes_are_refused(vocabulary: int, layers: int, heads: int, name: str) -> None:
    with pytest.raises(UserError, match=name):
        ModelShape(vocabulary=vocabulary, layers=layers, heads=heads, width=32)


def test_too_long_a_sequence_is_refused() -> None:
    with pytest.raises(UserError, match="13 tokens does not fit its context of 12"):
        _proxy()(_tokens(time=13))
