"""Averages of checkpoints: the arithmetic, what is on disk afterwards, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from curriculum.errors import DataError, UserError
from curriculum.models.averaging import CheckpointTensors, average_checkpoints, average_states, write_average
from curriculum.models.hugging_face import HuggingFaceModel
from curriculum.models.proxy_model import ProxyModel
from curriculum.proxy.checkpoint import save_checkpoint
from curriculum.proxy.model import ModelShape, Proxy
from curriculum.streaming.torchvision_guard import torchvision_or_stand_in


def proxy_folder(folder: Path, seed: int, *, width: int = 8) -> Path:
    shape = ModelShape(vocabulary=11, layers=1, width=width, heads=2, context=6)
    proxy = Proxy(shape, torch.Generator().manual_seed(seed))
    save_checkpoint(folder, proxy, torch.optim.AdamW(proxy.parameters()), {"position": seed})
    return folder


def llama_folder(folder: Path, seed: int, *, shard: str = "5GB") -> Path:
    with torchvision_or_stand_in():
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=32,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=16,
            tie_word_embeddings=True,
        )
        LlamaForCausalLM(config).save_pretrained(folder, max_shard_size=shard)
    return folder


@settings(max_examples=30)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=5).filter(lambda weights: sum(weights) > 0.1), st.integers(0, 99))
def test_the_average_is_the_weighted_mean_in_double_precision(weights: list[float], seed: int) -> None:
    draws = np.random.default_rng(seed)
    values = draws.normal(size=(len(weights), 3, 2)).astype(np.float32)
    states = [{"a": torch.from_numpy(value)} for value in values]
    wanted = np.average(values.astype(np.float64), axis=0, weights=weights).astype(np.float32)
    found = average_states(states, weights=weights)["a"]
    assert found.dtype == torch.float32 and np.allclose(found.numpy(), wanted, rtol=1e-6, atol=1e-9)


def test_small_differences_survive_in_narrow_formats_and_whole_numbers_are_the_lasts() -> None:
    values = [1.0, *[2.0**-9] * 512]
    states = [
        {"a": torch.tensor([value], dtype=torch.bfloat16), "steps": torch.tensor([step])} for step, value in enumerate(values)
    ]
    found = average_states(states)
    assert found["a"].dtype == torch.bfloat16
    assert float(found["a"]) * 513 == pytest.approx(2.0, rel=0.01)  # added up in bfloat16 it would stay 1
    assert found["steps"].tolist() == [512] and found["steps"].dtype == torch.int64


def test_memory_holds_one_tensor_of_each_checkpoint_at_a_time() -> None:
    alive: list[str] = []

    class Watched(Mapping[str, Tensor]):
        def __getitem__(self, key: str) -> Tensor:
            alive.append(key)
            return torch.ones(2)

        def __iter__(self) -> Iterator[str]:
            return iter("abc")

        def __len__(self) -> int:
            return 3

    average_states([Watched(), Watched(), Watched()])
    assert alive == [key for key in "abc" for _ in range(3)]


def test_the_average_of_proxies_is_a_proxy_with_averaged_weights(tmp_path: Path) -> None:
    folders = [proxy_folder(tmp_path / str(seed), seed) for seed in range(3)]
    model = average_checkpoints(folders, weights=[1, 1, 2], device="cpu")
    assert isinstance(model, ProxyModel)
    parts = [load_file(folder / "weights.safetensors") for folder in folders]
    for name, weight in model.module.state_dict().items():
        assert torch.allclose(weight, (parts[0][name] + parts[1][name] + 2 * parts[2][name]) / 4, atol=1e-6)
    out = write_average(folders, tmp_path / "out")
    assert sorted(path.name for path in out.iterdir()) == ["proxy.json", "state.json", "weights.safetensors"]
    assert json.loads((out / "state.json").read_text()) == {"position": 2}
    assert all(
        torch.equal(weight, load_file(folders[0] / "weights.safetensors")[name])
        for name, weight in load_file(write_average(folders[:1], tmp_path / "one") / "weights.safetensors").items()
    )


def test_the_average_of_hugging_face_models_sharded_or_not_can_be_opened(tmp_path: Path) -> None:
    whole, sharded = llama_folder(tmp_path / "whole", 1), llama_folder(tmp_path / "sharded", 2, shard="4KB")
    assert len(list(sharded.glob("*.safetensors"))) > 1
    for folders in ([whole, sharded], [sharded, whole]):
        model = average_checkpoints(folders, device="cpu")
        assert isinstance(model, HuggingFaceModel)
        first, second = CheckpointTensors(whole), CheckpointTensors(sharded)
        found = model.module.state_dict()
        assert set(first) == set(second) <= set(found)
        assert all(torch.allclose(found[name], (first[name] + second[name]) / 2, atol=1e-7) for name in first)
        assert torch.equal(found["lm_head.weight"], found["model.embed_tokens.weight"])


def test_checkpoints_that_do_not_match_are_refused_with_the_tensors_name(tmp_path: Path) -> None:
    one, wide = proxy_folder(tmp_path / "one", 0), proxy_folder(tmp_path / "wide", 0, width=16)
    with pytest.raises(
        DataError, match=r"tensor 'layers.0.attention.output.weight' has shape \(8, 8\) in .*one and \(16, 16\)"
    ):
        average_checkpoints([one, wide])
    with pytest.raises(DataError, match="tensor 'b' is in state 1 and not in state 0"):
        average_states([{"a": torch.ones(1)}, {"a": torch.ones(1), "b": torch.ones(1)}])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0]])
def test_weights_that_say_nothing_are_refused(weights: list[float]) -> None:
    with pytest.raises(UserError, match="weight"):
        average_states([{"a": torch.ones(1)}, {"a": torch.ones(1)}], weights=weights)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    good = proxy_folder(tmp_path / "good", 0)
    with pytest.raises(UserError, match="at least one checkpoint"):
        average_checkpoints([])
    with pytest.raises(DataError, match="no checkpoint folder"):
        average_checkpoints([good, tmp_path / "nowhere"])
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="holds no weights"):
        average_checkpoints([good, empty])
    (empty / "pytest_model.bin").write_bytes(b"\x80")
    (empty / "pytorch_model.bin").write_bytes(b"\x80")
    with pytest.raises(UserError, match="safetensors"):
        average_checkpoints([good, empty])
    (good / "weights.safetensors").write_bytes(b"damaged")
    with pytest.raises(DataError, match="damaged"):
        average_checkpoints([good])


def test_a_folder_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    folders = [proxy_folder(tmp_path / str(seed), seed) for seed in range(2)]
    with pytest.raises(UserError, match="there already"):
        write_average(folders, folders[1])
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "a.safetensors"]
