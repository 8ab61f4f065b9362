"""From a path or a name to a model; what could run code, or is no model, is refused in words."""

from __future__ import annotations

import builtins
import importlib.util
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from model_help import network, tokenizer
from requests import ConnectionError as RequestsConnectionError
from requests import Response
from safetensors.torch import load_file, save_file

from curriculum.errors import DataError, UserError
from curriculum.models import hugging_face_files
from curriculum.models.hugging_face import HuggingFaceModel
from curriculum.models.hugging_face_files import Loaded
from curriculum.models.opening import checkpoints_in, open_model
from curriculum.models.proxy_model import ProxyModel
from curriculum.proxy.checkpoint import save_checkpoint
from curriculum.proxy.model import ModelShape, Proxy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Hugging Face checkpoint."""
    place = tmp_path / "model"
    network("llama").save_pretrained(place)
    tokenizer().save_pretrained(place)
    return place


class Explosive:
    """What a pickle may hold."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("import builtins; builtins.exploded = True",))


def test_a_folder_with_safetensors_is_opened(folder: Path) -> None:
    opened = open_model(folder)
    assert isinstance(opened, HuggingFaceModel) and not opened.module.training
    weights = {name: weight.dtype for name, weight in opened.module.named_parameters()}
    assert set(weights.values()) == {torch.float32}
    original = network("llama").state_dict()
    assert all(torch.equal(weight, original[name]) for name, weight in opened.module.state_dict().items())
    assert opened.encode("ab")[0] == 256
    coarse = open_model(str(folder), dtype="bfloat16", device="cpu")
    assert isinstance(coarse, HuggingFaceModel) and next(coarse.module.parameters()).dtype == torch.bfloat16


def test_a_folder_without_a_tokenizer_takes_token_ids(folder: Path) -> None:
    for path in (*folder.glob("tokenizer*"), *folder.glob("special*")):
        path.unlink()
    opened = open_model(folder)
    assert len(opened.answer_log_probabilities([[1, 2]], [[[3]]])[0][0]) == 1
    with pytest.raises(UserError, match=r"came without a tokenizer; put its tokenizer\.json beside the weights"):
        opened.encode("x")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth", "last.ckpt"])
def test_a_pickle_is_refused_before_it_is_read(folder: Path, name: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Explosive()))
    for where in (folder, folder / name):
        with pytest.raises(
            UserError, match=r"(?s)are a pickle .*wanted safetensors.*convert it once: python -c .*save_pretrained"
        ):
            open_model(where)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match="are a pickle"):
        open_model(folder)
    assert not hasattr(builtins, "exploded")


def test_a_pickle_beside_safetensors_is_not_read(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Explosive()))
    (folder / "training_args.bin").write_bytes(pickle.dumps(Explosive()))
    assert isinstance(open_model(folder), HuggingFaceModel)
    assert not hasattr(builtins, "exploded")


def test_code_that_comes_with_a_model_is_not_run(folder: Path) -> None:
    settings = json.loads((folder / "config.json").read_text())
    settings |= {"model_type": "unheard-of", "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "code.py").write_text("import builtins\nbuiltins.exploded = True\n")
    with pytest.raises(DataError, match="could not be opened as a causal language model"):
        open_model(folder)
    assert not hasattr(builtins, "exploded")


def test_weights_that_are_missing_or_damaged_are_an_error(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"1 weights are missing \(model\.layers\.1\.mlp\.up_proj\.weight"):
        open_model(folder)
    (folder / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(DataError, match="could not be opened as a causal language model"):
        open_model(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"no \*\.safetensors with the weights"):
        open_model(folder)


def test_what_is_no_model_is_refused_in_words(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(DataError, match=r"there is nothing at .*hub:OWNER/NAME"):
        open_model(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty holds no model; wanted a proxy's checkpoint"):
        open_model(tmp_path / "empty")
    with pytest.raises(UserError, match="holds weights only; name its folder"):
        open_model(folder / "model.safetensors")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match=r"notes\.txt is no model"):
        open_model(tmp_path / "notes.txt")
    (tmp_path / "empty" / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="holds an adapter only; merge it"):
        open_model(tmp_path / "empty")
    (tmp_path / "run" / "checkpoints" / "512").mkdir(parents=True)
    with pytest.raises(UserError, match=r"run is a run; name one of its checkpoints, such as .*512"):
        open_model(tmp_path / "run")


def test_choices_of_device_and_number_format_are_checked(folder: Path) -> None:
    with pytest.raises(UserError, match="wanted a dtype of auto, float32, bfloat16, float16, got 'int8'"):
        open_model(folder, dtype="int8")
    with pytest.raises(UserError, match="wanted a device such as auto, cpu, cuda or cuda:1, got 'gpu'"):
        open_model(folder, device="gpu")


def test_a_gguf_file_needs_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small.gguf").write_bytes(b"GGUF")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "gguf" else find(name, *more))
    with pytest.raises(UserError, match="a GGUF file needs the package gguf; run: pip install gguf"):
        open_model(tmp_path / "small.gguf")
    with pytest.raises(UserError, match=r"is a folder; name a file in it: .*small\.gguf"):
        open_model(tmp_path)


def test_a_name_of_the_hub_may_carry_a_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def load(source: str, *, device: str, dtype: str, revision: str | None) -> Loaded:
        asked.append((source, device, dtype, revision))
        return Loaded(network=network("llama"), tokenizer=tokenizer())

    monkeypatch.setattr(hugging_face_files, "load", load)
    open_model("hub:allenai/OLMo-2", device="cpu")
    open_model("hub:allenai/OLMo-2@step1000-tokens5B", device="cpu")
    assert asked == [("allenai/OLMo-2", "cpu", "auto", None), ("allenai/OLMo-2", "cpu", "auto", "step1000-tokens5B")]


@pytest.mark.parametrize(
    ("failure", "answers"),
    [(None, True), (HfHubHTTPError("404", response=Response()), True), (RequestsConnectionError("no network"), False)],
)
def test_a_hub_out_of_reach_is_asked_once(monkeypatch: pytest.MonkeyPatch, failure: Exception | None, answers: bool) -> None:
    """The loaders would try for a minute; what was fetched before is still opened."""
    options: list[dict[str, Any]] = []

    def info(self: HfApi, *_: object, **__: object) -> None:
        if failure is not None:
            raise failure

    def refuse(source: object, name: str, given: dict[str, Any], dtype: object) -> None:
        options.append(given)
        raise DataError("not here")

    monkeypatch.setattr(HfApi, "model_info", info)
    monkeypatch.setattr(hugging_face_files, "_network", refuse)
    with pytest.raises(DataError, match="not here"):
        open_model("hub:a/b", device="cpu")
    assert options[0].get("local_files_only", False) is not answers


def test_a_proxys_checkpoint_is_opened(tmp_path: Path) -> None:
    proxy = Proxy(ModelShape(vocabulary=11, width=8, heads=1, layers=1), torch.Generator().manual_seed(1))
    optimizer = torch.optim.AdamW(proxy.parameters())
    save_checkpoint(tmp_path / "512", proxy, optimizer, {})
    opened = open_model(tmp_path / "512", device="cpu")
    assert isinstance(opened, ProxyModel) and opened.context == 24
    assert all(torch.equal(weight, proxy.state_dict()[name]) for name, weight in opened.module.state_dict().items())


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (("checkpoint-1000", "checkpoint-200", "runs", "notes9"), [200, 1000]),
        (("step_30", "step-4", "step5"), [4, 5, 30]),
        (("1000", "20", ".30.building"), [20, 1000]),
        (("stage1-step2000-tokens9B", "stage1-step1000-tokens5B", "step0003"), [3, 1000, 2000]),
        (("global_step12", "iter_0000013", "ckpt14"), [12, 13, 14]),
    ],
)
def test_checkpoints_are_found_by_their_numbers(tmp_path: Path, names: tuple[str, ...], numbers: list[int]) -> None:
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "step77").mkdir()  # holds no model
    found = checkpoints_in(tmp_path)
    assert [number for number, _ in found] == numbers
    assert all(str(number) in path.name and path.is_dir() for number, path in found)


def test_a_runs_checkpoints_are_found_from_the_run(tmp_path: Path) -> None:
    for name in ("512", "64"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        (tmp_path / "checkpoints" / name / "proxy.json").write_text("{}")
    inner = [(64, tmp_path / "checkpoints" / "64"), (512, tmp_path / "checkpoints" / "512")]
    assert checkpoints_in(tmp_path) == checkpoints_in(tmp_path / "checkpoints") == inner


def test_folders_without_checkpoints_or_with_two_of_a_number_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        checkpoints_in(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no checkpoints here; wanted folders such as checkpoint-1000"):
        checkpoints_in(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(DataError, match="this run kept none"):
        checkpoints_in(tmp_path)
    for name in ("step7", "checkpoint-7"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    with pytest.raises(UserError, match="checkpoint-7 and step7 have the same number"):
        checkpoints_in(tmp_path)
