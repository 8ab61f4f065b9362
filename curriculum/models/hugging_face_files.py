"""Opening a causal language model of the transformers library from files, and refusing what could run code.

Idea: what lies on disk is looked at before anything of it is loaded. Weights come from safetensors or GGUF, which hold
numbers only; a pickle (`pytorch_model.bin`, .pt, .pth, .ckpt) can run any program when it is read and is refused, as is
code that comes with a model. Weights that a checkpoint lacks are an error: the library would draw them at random.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from curriculum.errors import DataError, UserError
from curriculum.streaming.torchvision_guard import torchvision_or_stand_in

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """A network in evaluation mode on its device, and its tokenizer if it has one."""

    network: Any
    tokenizer: Any


def load(source: str | Path, *, device: str, dtype: str, revision: str | None = None) -> Loaded:
    """Load a folder with config.json and safetensors, a `.gguf` file, or (as str) a model of the hub.

    `device`: "auto" (a GPU if there is one), "cpu", "cuda", ...; `dtype`: "auto" (float32 on the CPU, else bfloat16),
    "float32", "bfloat16", "float16". Raises UserError for pickles and wrong choices, DataError for what cannot be loaded.
    """
    place = chosen_device(device)
    number_format = _chosen_dtype(dtype, place)
    name, options = _named(source)
    options |= {"trust_remote_code": False, **({"revision": revision} if revision else {})}
    if isinstance(source, str) and not hub_answers(name, revision):
        options["local_files_only"] = True
    with torchvision_or_stand_in():
        network = _network(source, name, options, number_format)
        tokenizer = _tokenizer(name, options)
    return Loaded(network=network.to(place).eval(), tokenizer=tokenizer)


def hub_answers(name: str, revision: str | None) -> bool:
    """Say whether the hub can be reached. Asked once, since the loaders would try again and again for a minute."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().model_info(name, revision=revision, timeout=10)
    except HfHubHTTPError:
        return True  # it answers, and the loader says what it answers
    except OSError:  # no network, a proxy in the way, HF_HUB_OFFLINE
        return False
    return True


def refuse_pickles(found: list[str], where: Path) -> None:
    """Raise UserError: `found` are the pickles that lie at `where`."""
    folder = where if where.is_dir() else where.parent
    program = (
        "from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; "
        f"[X.from_pretrained('{folder}').save_pretrained('{folder}-safetensors') for X in (M, T)]"
    )
    raise UserError(
        f"{where}: the weights are a pickle ({', '.join(found[:3])}), which can run any program when it is read; wanted "
        f'safetensors. If you trust where it comes from, convert it once: python -c "{program}"'
    )


def pickles_in(folder: Path) -> list[str]:
    """Return the names of the files in `folder` that hold weights as a pickle; a trainer's own state is none of them."""
    return sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES and not path.name.startswith(_NOT_WEIGHTS))


_NOT_WEIGHTS = ("training_args", "optimizer", "scheduler", "rng_state", "scaler")  # what Hugging Face's Trainer writes


def chosen_device(device: str) -> torch.device:
    """Return the device of that name; "auto" is a GPU if there is one. Raises UserError."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError:
        raise UserError(f"wanted a device such as auto, cpu, cuda or cuda:1, got {device!r}") from None
    if place.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"wanted device {device!r}, but torch sees no GPU here; use device cpu")
    return place


def _chosen_dtype(dtype: str, place: torch.device) -> torch.dtype:
    if dtype == "auto":
        return torch.float32 if place.type == "cpu" else torch.bfloat16
    if dtype not in DTYPES:
        raise UserError(f"wanted a dtype of auto, {', '.join(DTYPES)}, got {dtype!r}")
    return DTYPES[dtype]


def _named(source: str | Path) -> tuple[str, dict[str, Any]]:
    """Return the name and options by which the library finds the model. Raises UserError for pickles, DataError."""
    if isinstance(source, str):
        return source, {}
    if source.suffix == ".gguf":
        if importlib.util.find_spec("gguf") is None:
            raise UserError(f"{source}: a GGUF file needs the package gguf; run: pip install gguf")
        return str(source.parent), {"gguf_file": source.name}
    if not any(source.glob("*.safetensors")):
        pickles = pickles_in(source)
        if pickles:
            refuse_pickles(pickles, source)
        raise DataError(f"{source}: config.json lies here, but no *.safetensors with the weights; copy them there")
    return str(source), {}


def _network(source: str | Path, name: str, options: dict[str, Any], dtype: torch.dtype) -> Any:
    from transformers import AutoModelForCausalLM

    load_network: Any = AutoModelForCausalLM.from_pretrained  # its type knows nothing of output_loading_info
    try:
        network, report = load_network(name, dtype=dtype, use_safetensors=True, output_loading_info=True, **options)
    except Exception as error:  # the library raises OSError, ValueError, KeyError, and safetensors its own
        raise _in_words(source, error) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise DataError(
            f"{source}: {len(missing)} weights are missing ({', '.join(missing[:3])}, ...) and would be drawn at random; "
            "is this a whole causal language model?"
        )
    return network


def _in_words(source: str | Path, error: Exception) -> Exception:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(source, str) and "safetensors" in str(error):
        return UserError(f"hub:{source}: no weights as safetensors there ({reason}); wanted a model or revision that has them")
    if isinstance(source, str):
        offline = "; HF_HUB_OFFLINE is set" if os.environ.get("HF_HUB_OFFLINE") else ""
        return DataError(
            f"hub:{source} could not be opened ({reason}){offline}; check its name and the network, or give a local folder"
        )
    return DataError(f"{source} could not be opened as a causal language model ({type(error).__name__}: {reason})")


def _tokenizer(name: str, options: dict[str, Any]) -> Any:
    """Return the tokenizer that lies with the model, or None."""
    from transformers import AutoTokenizer

    load_tokenizer: Any = AutoTokenizer.from_pretrained
    try:
        return load_tokenizer(name, **options)
    except Exception:  # as many kinds as there are tokenizers; whoever encodes text is told that there is none
        return None
