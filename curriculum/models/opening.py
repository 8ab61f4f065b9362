"""A path or a name -> a model, whatever kind it is; a folder -> its checkpoints in order.

    runs/study/run/checkpoints/32000       a proxy's checkpoint (proxy.json)
    checkpoints/step1000                   a Hugging Face model (config.json, *.safetensors)
    model.gguf                             the same, as GGUF
    hub:OWNER/NAME, hub:OWNER/NAME@step1   the same, from the hub, at a revision
    python:module:function                 a function or an object (see `callable_model`)

Idea: what lies there decides, never a flag. Alternatives: an option for the kind (one more thing to get wrong).
"""

from __future__ import annotations

import re
from pathlib import Path

from curriculum.errors import DataError, UserError
from curriculum.models.callable_model import open_callable
from curriculum.models.hugging_face import HuggingFaceModel
from curriculum.models.hugging_face_files import PICKLES, pickles_in, refuse_pickles
from curriculum.models.proxy_model import ProxyModel
from curriculum.probe.model import TextModel
from curriculum.proxy.checkpoint import SHAPE_FILE

_CONFIG, _ADAPTER, _RUN = "config.json", "adapter_config.json", "run.json"
_KINDS = "a proxy's checkpoint (with proxy.json), a Hugging Face model (with config.json) or a .gguf file"
_NUMBER = re.compile(r"(?:step|checkpoint|ckpt|iter|iteration)[-_]?(\d+)|^(\d+)", re.IGNORECASE)


def open_model(where: str | Path, *, device: str = "auto", dtype: str = "auto") -> TextModel:
    """Open a model; `where` is a path, "hub:OWNER/NAME[@REVISION]" or "python:MODULE:NAME".

    `device`: "auto" (a GPU if there is one), "cpu", "cuda", ...; `dtype`: "auto" (float32 on the CPU, bfloat16 on a GPU),
    "float32", "bfloat16", "float16"; a proxy is always float32. Raises UserError for what is no model, weights in a pickle
    among it, and DataError for what is missing or damaged.
    """
    kind, _, rest = str(where).partition(":")
    if kind == "python":
        return open_callable(rest)
    if kind == "hub":
        name, _, revision = rest.partition("@")
        return HuggingFaceModel.open(name, device=device, dtype=dtype, revision=revision or None)
    path = Path(where)
    if path.is_dir():
        return _open_folder(path, device, dtype)
    if not path.exists():
        raise DataError(f"there is nothing at {path}; wanted {_KINDS}, hub:OWNER/NAME or python:MODULE:FUNCTION")
    if path.suffix == ".gguf":
        return HuggingFaceModel.open(path, device=device, dtype=dtype)
    if path.suffix in PICKLES:
        refuse_pickles([path.name], path)
    if path.suffix == ".safetensors":
        raise UserError(f"{path} holds weights only; name its folder, {path.parent}, in which config.json lies too")
    raise UserError(f"{path} is no model; wanted {_KINDS}")


def checkpoints_in(folder: Path) -> list[tuple[int, Path]]:
    """Return the checkpoints in a folder with their numbers (positions or steps), in order.

    `folder`: a run, its `checkpoints/`, or one that holds `checkpoint-1000`, `step1000`, `step_1000`, `1000` and the like;
    what follows the number is passed over. Raises DataError if there are none, UserError if two have the same number.
    """
    inner = folder / "checkpoints"
    place = inner if inner.is_dir() else folder
    if not place.is_dir():
        raise DataError(f"there is no folder {place}; wanted one with checkpoints")
    found: dict[int, Path] = {}
    for path in sorted(place.iterdir()):
        number = number_in(path.name)
        if number is None or path.name.startswith(".") or not _is_model(path):
            continue
        if number in found:
            raise UserError(
                f"{place}: {found[number].name} and {path.name} have the same number; keep one, or name each yourself"
            )
        found[number] = path
    if not found:
        raise DataError(
            f"{place}: no checkpoints here; wanted folders such as checkpoint-1000, step1000 or 1000, each with proxy.json or "
            f"config.json in it{_kept(folder)}"
        )
    return sorted(found.items())


def number_in(name: str) -> int | None:
    """Return the step or position that a checkpoint's name states, or None."""
    match = _NUMBER.search(name)
    return None if match is None else int(match[1] or match[2])


def _open_folder(folder: Path, device: str, dtype: str) -> TextModel:
    if (folder / SHAPE_FILE).exists():
        return ProxyModel.open(folder, device=device)
    if (folder / _CONFIG).exists():
        return HuggingFaceModel.open(folder, device=device, dtype=dtype)
    if (folder / _RUN).exists() or (folder / "checkpoints").is_dir():
        raise UserError(f"{folder} is a run; name one of its checkpoints{_kept(folder)}")
    if (folder / _ADAPTER).exists():
        raise UserError(f"{folder} holds an adapter only; merge it into its model (peft: merge_and_unload) and save that")
    pickles = pickles_in(folder)
    if pickles:
        refuse_pickles(pickles, folder)
    files = sorted(folder.glob("*.gguf"))
    if files:
        raise UserError(f"{folder} is a folder; name a file in it: {files[0]}")
    raise UserError(f"{folder} holds no model; wanted {_KINDS}")


def _is_model(path: Path) -> bool:
    return path.is_dir() and any((path / name).exists() for name in (SHAPE_FILE, _CONFIG))


def _kept(folder: Path) -> str:
    """Return which checkpoints a run has kept, as the end of a message."""
    place = folder / "checkpoints"
    if not (folder / _RUN).exists() and not place.is_dir():
        return ""
    names = sorted((path.name for path in place.iterdir()), key=lambda name: (len(name), name)) if place.is_dir() else []
    if not names:
        return "; this run kept none, run it again with `--checkpoints 20`"
    return f", such as {place / names[-1]}"
