"""Checkpoints: weights and optimizer as safetensors, state as JSON; nothing in them can run code.

    <position>/proxy.json              the model's shape; with it the folder is a model that can be opened without its run
               tokenizer.json          where the streams were packed with one
               weights.safetensors
               optimizer.safetensors
               state.json

A checkpoint is written beside its place and moved there, so that one which exists is whole.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from curriculum.errors import DataError, ResourceError
from curriculum.proxy.model import ModelShape, Proxy

_WEIGHTS, _OPTIMIZER, _STATE = "weights.safetensors", "optimizer.safetensors", "state.json"
SHAPE_FILE, TOKENIZER_FILE = "proxy.json", "tokenizer.json"


def save_checkpoint(
    folder: Path,
    model: Proxy,
    optimizer: torch.optim.Optimizer,
    state: Mapping[str, Any],
    *,
    tokenizer: Path | None = None,
) -> None:
    """Write model, optimizer and `state` (JSON) to `folder`, replacing what is there; `tokenizer` is copied beside them.

    Raises ResourceError when the disk is full.
    """
    building = folder.with_name(f".{folder.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        save_file({name: weight.contiguous() for name, weight in model.state_dict().items()}, building / _WEIGHTS)
        save_file(_flat(model, optimizer), building / _OPTIMIZER)
    except SafetensorError as error:  # how safetensors reports a full disk
        raise ResourceError(f"the checkpoint {folder} could not be written: {error}; free space there and go on") from None
    (building / _STATE).write_text(json.dumps(dict(state)))
    (building / SHAPE_FILE).write_text(json.dumps(asdict(model.shape), indent=1))
    if tokenizer is not None:
        shutil.copyfile(tokenizer, building / TOKENIZER_FILE)
    shutil.rmtree(folder, ignore_errors=True)
    building.replace(folder)


def load_proxy(folder: Path) -> Proxy:
    """Return the model of a checkpoint. Raises DataError when it is missing or damaged, or older than `proxy.json`."""
    try:
        shape = ModelShape(**json.loads((folder / SHAPE_FILE).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"checkpoint {folder}: {SHAPE_FILE}, the model's shape, cannot be read ({error}); run `curriculum run` again"
        ) from None
    model = Proxy(shape, torch.Generator().manual_seed(0))
    load_weights(folder, model)
    return model


def load_weights(folder: Path, model: Proxy) -> None:
    """Fill `model` from a checkpoint. Raises DataError when it is missing, damaged or of another shape."""
    weights = _load(folder / _WEIGHTS)
    wanted = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    found = {name: tuple(weight.shape) for name, weight in weights.items()}
    for name in sorted({*wanted, *found}):
        if wanted.get(name) != found.get(name):
            raise DataError(
                f"checkpoint {folder}: {name} has shape {found.get(name, 'none')}, but the proxy wants "
                f"{wanted.get(name, 'none')}; give the study the layers, width, heads and context it was trained with"
            )
    model.load_state_dict(weights)


def load_checkpoint(folder: Path, model: Proxy, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Fill model and optimizer; return the state. Raises DataError when something is missing or damaged."""
    load_weights(folder, model)
    flat = _load(folder / _OPTIMIZER)
    for name, weight in model.named_parameters():
        prefix = f"{name}/"
        optimizer.state[weight] = {key.removeprefix(prefix): value for key, value in flat.items() if key.startswith(prefix)}
    try:
        state: dict[str, Any] = json.loads((folder / _STATE).read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"checkpoint {folder}: {_STATE} cannot be read ({error}); remove the folder") from None
    return state


def _flat(model: Proxy, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": value.contiguous()
        for name, weight in model.named_parameters()
        for key, value in optimizer.state[weight].items()
    }


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise DataError(
            f"no checkpoint at {path.parent}: {path.name} is missing; a checkpoint is a folder such as "
            "runs/STUDY/RUN/checkpoints/32000"
        ) from None
    except (SafetensorError, OSError) as error:
        raise DataError(f"checkpoint {path} is damaged ({error}); use another one") from None
