"""Average of several checkpoints, tensor by tensor.

Idea: a mode that belongs to one checkpoint's noise is gone in the average of its neighbours; one that is real stays
(published: averaging five neighbouring checkpoints softens hops and does not remove them). An average is also a fair rival when
checkpoints are chosen. Tensors are read one at a time from all checkpoints, added up in float64 and stored in the format they
came in, so that memory holds one finished copy and little more. Checkpoints are safetensors folders: a proxy's, or a
Hugging Face model's, sharded or not. Alternatives: loading all models (K copies at once), an exponential average while
training (must be planned beforehand). The price: every checkpoint is read once, and the average is a folder on disk first.

Whole numbers and booleans (buffers that count) cannot be averaged: the last checkpoint's are taken.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from curriculum.errors import DataError, ResourceError, UserError
from curriculum.models.hugging_face_files import pickles_in, refuse_pickles
from curriculum.models.opening import open_model
from curriculum.probe.model import TextModel
from curriculum.proxy.checkpoint import SHAPE_FILE

_WHOLE, _PROXY_WHOLE, _INDEX = "model.safetensors", "weights.safetensors", "model.safetensors.index.json"
_SMALL = 2**26  # bytes: configuration and tokenizer; what is larger beside the weights is another copy of them


def average_checkpoints(
    folders: Sequence[Path | str], *, weights: Sequence[float] | None = None, device: str = "auto", dtype: str = "auto"
) -> TextModel:
    """Return the average of the checkpoints in `folders` as a model; see `write_average` for what is raised.

    `weights`: one number from 0 a checkpoint, their sum above 0; equal by default. `device`, `dtype`: as of `open_model`.
    """
    with tempfile.TemporaryDirectory(prefix="average-") as place:
        return open_model(write_average(folders, Path(place) / "average", weights=weights), device=device, dtype=dtype)


def write_average(folders: Sequence[Path | str], out: Path | str, *, weights: Sequence[float] | None = None) -> Path:
    """Write the average of the checkpoints in `folders` to the new folder `out`; return it.

    Configuration and tokenizer are the last checkpoint's. Raises DataError for a folder without safetensors or with damaged
    ones, and, naming the tensor, for checkpoints that do not match; UserError for a pickle, wrong weights, or an `out` that
    is there already; ResourceError when the disk is full.
    """
    sources, target = [Path(folder) for folder in folders], Path(out)
    if target.exists():
        raise UserError(f"{target} is there already; name a new folder for the average, or remove it")
    states = [CheckpointTensors(source) for source in sources]
    average = average_states(states, weights=weights, names=[str(source) for source in sources])
    _write(average, sources[-1], target, states[-1].metadata)
    return target


def average_states(
    states: Sequence[Mapping[str, Tensor]], *, weights: Sequence[float] | None = None, names: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """Return the weighted mean of every tensor over `states`, in the last one's number format.

    `names` are what errors call the states. Raises DataError, naming the tensor, where names or shapes differ; UserError for
    wrong weights.
    """
    shares = _shares(len(states), weights)
    called = names or [f"state {index}" for index in range(len(states))]
    for (one, name), (other, other_name) in pairwise(zip(states, called, strict=True)):
        for key in sorted(set(one) ^ set(other)):  # sets of names: a Mapping's own `in` would read the tensor
            having, lacking = (name, other_name) if key in set(one) else (other_name, name)
            raise DataError(
                f"tensor {key!r} is in {having} and not in {lacking}; only checkpoints of one model can be averaged"
            )
    return {key: _mean(key, states, shares, called) for key in sorted(states[-1])}


def _shares(count: int, weights: Sequence[float] | None) -> list[float]:
    if count == 0:
        raise UserError("wanted at least one checkpoint to average, got none")
    chosen = [1.0] * count if weights is None else list(weights)
    if len(chosen) != count:
        raise UserError(f"wanted one weight for each of the {count} checkpoints, got {len(chosen)}")
    if not all(math.isfinite(weight) and weight >= 0 for weight in chosen) or sum(chosen) <= 0:
        raise UserError(f"wanted weights from 0, at least one above 0, got {chosen}")
    return [weight / sum(chosen) for weight in chosen]


def _mean(key: str, states: Sequence[Mapping[str, Tensor]], shares: Sequence[float], names: Sequence[str]) -> Tensor:
    last = states[-1][key]
    total = torch.zeros(last.shape, dtype=torch.float64)
    for state, share, name in zip(states, shares, names, strict=True):
        part = last if state is states[-1] else state[key]
        if part.shape != last.shape:
            raise DataError(
                f"tensor {key!r} has shape {tuple(part.shape)} in {name} and {tuple(last.shape)} in {names[-1]}; only "
                "checkpoints of one model can be averaged"
            )
        if share and last.is_floating_point():
            total.add_(part.to(torch.float64), alpha=share)
    return total.to(last.dtype) if last.is_floating_point() else last.clone()


class CheckpointTensors(Mapping[str, Tensor]):
    """The tensors of a checkpoint folder, each read from disk when it is asked for, on the CPU.

    Raises DataError when there are none or they are damaged, UserError when they are a pickle.
    """

    def __init__(self, folder: Path) -> None:
        self._files: dict[str, Path] = {}
        self.metadata: dict[str, str] = {}
        for file in _weight_files(folder):
            with _readable(file) as tensors:
                self.metadata |= tensors.metadata() or {}
                self._files |= dict.fromkeys(tensors.keys(), file)

    def __getitem__(self, key: str) -> Tensor:
        with _readable(self._files[key]) as tensors:
            tensor: Tensor = tensors.get_tensor(key)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def _readable(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise DataError(f"checkpoint {file} is missing or damaged ({error}); use another one") from None


def _weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files that hold a checkpoint's weights."""
    if not folder.is_dir():
        raise DataError(f"there is no checkpoint folder {folder}")
    index = folder / _INDEX
    if index.exists():
        try:
            return sorted({folder / name for name in json.loads(index.read_text())["weight_map"].values()})
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise DataError(f"{index} cannot be read ({error}); copy it again") from None
    whole = folder / (_PROXY_WHOLE if (folder / SHAPE_FILE).exists() else _WHOLE)
    if whole.exists():
        return [whole]
    pickles = pickles_in(folder)
    if pickles:
        refuse_pickles(pickles, folder)
    raise DataError(f"{folder} holds no weights; wanted {whole.name}, or {_INDEX} with the files it names")


def _write(average: dict[str, Tensor], last: Path, target: Path, metadata: dict[str, str]) -> None:
    """Write beside the target and move there, so that a folder which exists is whole."""
    building = target.with_name(f".{target.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    for file in last.iterdir():
        if file.is_file() and file.suffix != ".safetensors" and file.name != _INDEX and file.stat().st_size <= _SMALL:
            shutil.copyfile(file, building / file.name)
    whole = _PROXY_WHOLE if (last / SHAPE_FILE).exists() else _WHOLE
    try:
        save_file(average, building / whole, metadata=metadata or {"format": "pt"})
    except SafetensorError as error:  # how safetensors reports a full disk
        raise ResourceError(f"the average {target} could not be written: {error}; free space there") from None
    building.replace(target)
