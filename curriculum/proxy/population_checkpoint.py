"""The rolling checkpoint of a population: all members' weights and moments as safetensors, the rest as JSON.

Idea: members advance together, so they are saved together, in one folder beside the runs; nothing lies in a run's own folder
before that run is whole. A checkpoint of other members is passed over.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from curriculum.errors import ResourceError
from curriculum.proxy.population_model import ProxyStack
from curriculum.proxy.training import Progress, progress_of, progress_state

_TENSORS, _STATE = "population.safetensors", "state.json"
Saved = tuple[int, list[Progress], dict[int, str]]  # position, progress by member, failures


def save_population(
    folder: Path,
    stack: ProxyStack,
    adamw: torch.optim.AdamW,
    names: Sequence[str],
    progress: Sequence[Progress],
    *,
    failures: Mapping[int, str],
    position: int,
) -> None:
    """Write the population to `folder`, replacing what is there. Raises ResourceError when the disk is full."""
    building = folder.with_name(f"{folder.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        save_file(_tensors(stack, adamw), building / _TENSORS)
    except SafetensorError as error:
        raise ResourceError(f"the checkpoint {folder} could not be written: {error}; free space there and go on") from None
    state = {
        "members": list(names),
        "position": position,
        "progress": [progress_state(each) for each in progress],
        "failures": {str(member): text for member, text in failures.items()},
    }
    (building / _STATE).write_text(json.dumps(state))
    shutil.rmtree(folder, ignore_errors=True)
    building.replace(folder)


@torch.no_grad()
def load_population(folder: Path, stack: ProxyStack, adamw: torch.optim.AdamW, names: Sequence[str]) -> Saved | None:
    """Fill stack and optimizer from `folder`; None, nothing touched, unless it is whole and holds exactly these members."""
    try:
        state = json.loads((folder / _STATE).read_text())
        if state["members"] != list(names):
            return None
        saved = load_file(folder / _TENSORS, device=str(stack.device))
    except (OSError, ValueError, KeyError, SafetensorError):
        return None
    for name, weight in stack.weights.items():
        weight.copy_(saved[f"weights/{name}"])
    for number, parameter in _parameters(adamw):
        prefix = f"{number}/"
        adamw.state[parameter] = {key.removeprefix(prefix): value for key, value in saved.items() if key.startswith(prefix)}
    failures = {int(member): str(text) for member, text in state["failures"].items()}
    return int(state["position"]), [progress_of(each) for each in state["progress"]], failures


def _tensors(stack: ProxyStack, adamw: torch.optim.AdamW) -> dict[str, Tensor]:
    weights = {f"weights/{name}": weight.detach().contiguous() for name, weight in stack.weights.items()}
    moments = {
        f"{number}/{key}": value.contiguous()
        for number, parameter in _parameters(adamw)
        for key, value in adamw.state[parameter].items()
    }
    return weights | moments


def _parameters(adamw: torch.optim.AdamW) -> list[tuple[int, Tensor]]:
    return list(enumerate(parameter for group in adamw.param_groups for parameter in group["params"]))
