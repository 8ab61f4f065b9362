"""Lets `import streaming` work beside a torchvision that cannot be loaded.

Why it is needed: mosaicml-streaming imports its image datasets when it is imported, and these need three names of
torchvision: `VisionDataset`, `CIFAR10`, `to_tensor`. Beside a CPU-only torch, pip installs a torchvision built for CUDA
whose library does not load ("operator torchvision::nms does not exist"), and all of `streaming` fails with it, text
datasets included.

What is done: the real torchvision is tried first and used if it can be imported. Only if it cannot, a stand-in with
those three names takes its place while `streaming` is being imported, and is taken away again afterwards: whoever
imports torchvision later meets the real error. Using one of the three names raises ImportError with the cause.

Alternatives: a CUDA torch (6.4 GB instead of 1.9 GB), or a patched copy of mosaicml-streaming. The price of this way is
that Mosaic's ready-made image datasets do not work on such a machine; there they would not have worked anyway.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

_NEEDED = ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional")


@contextmanager
def torchvision_or_stand_in() -> Iterator[None]:
    """Make `import streaming` possible inside the `with` block; does nothing where torchvision can be imported."""
    failure = _torchvision_failure()
    if failure is None:
        yield
        return
    _forget_torchvision()
    sys.modules.update(_stand_in(failure))
    try:
        yield
    finally:
        _forget_torchvision()


def _torchvision_failure() -> Exception | None:
    """Return why the real torchvision cannot be imported, or None if it can."""
    try:
        for name in _NEEDED:
            import_module(name)
    except (ImportError, OSError, RuntimeError, AttributeError) as failure:  # a missing operator is a RuntimeError
        return failure
    return None


def _forget_torchvision() -> None:
    """Drop every (half-imported or stand-in) torchvision module, so that the next import begins afresh."""
    for name in [name for name in sys.modules if name == "torchvision" or name.startswith("torchvision.")]:
        del sys.modules[name]


def _stand_in(failure: Exception) -> dict[str, ModuleType]:
    """Return modules with the three names that mosaicml-streaming imports, each raising when used."""
    cause = f"torchvision cannot be imported here ({type(failure).__name__}: {failure}); install one that fits torch"

    class Unavailable:
        def __init__(self, *_arguments: Any, **_options: Any) -> None:
            raise ImportError(cause)

    def unavailable(*_arguments: Any, **_options: Any) -> NoReturn:
        raise ImportError(cause)

    modules = {name: ModuleType(name) for name in _NEEDED}
    for name, module in modules.items():
        module.__spec__ = ModuleSpec(name, loader=None, is_package=True)  # importlib.util.find_spec asks for it
        module.__path__ = []
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    vars(modules["torchvision.datasets"]).update(VisionDataset=Unavailable, CIFAR10=Unavailable)
    vars(modules["torchvision.transforms.functional"]).update(to_tensor=unavailable)
    return modules
