"""Lets `import streaming`, transformers, Lightning and torchmetrics work beside a torchvision that cannot be loaded.

Why it is needed: mosaicml-streaming imports its image datasets when it is imported, and these need three names of
torchvision: `VisionDataset`, `CIFAR10`, `to_tensor`. Beside a CPU-only torch, pip installs a torchvision built for CUDA
whose library does not load ("operator torchvision::nms does not exist"), and all of `streaming` fails with it, text
datasets included; so do the other three, which import torchvision wherever it is installed.

What is done: the real torchvision is tried first and used if it can be imported. If only its operators are missing, they
are declared without an implementation, which is all that its Python part asks for; it then imports, and an image
operator fails when called, as it must. If it cannot be imported even so, a stand-in with those three names takes its
place while `streaming` is being imported, and is taken away again afterwards: whoever imports torchvision later meets
the real error. Using one of the three names raises ImportError with the cause.

Alternatives: a CUDA torch (6.4 GB instead of 1.9 GB), or a patched copy of mosaicml-streaming. The price of this way is
that Mosaic's ready-made image datasets do not work on such a machine; there they would not have worked anyway.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

from torch.library import Library

_NEEDED = ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional")

_OPERATORS = (
    *("nms", "qnms", "roi_align", "qroi_align", "_roi_align_backward", "roi_pool", "_roi_pool_backward"),
    *("ps_roi_align", "_ps_roi_align_backward", "ps_roi_pool", "_ps_roi_pool_backward"),
    *("deform_conv2d", "_deform_conv2d_backward"),
)
_DECLARED = Library("torchvision", "FRAGMENT")  # what it declares lives as long as it


@contextmanager
def torchvision_or_stand_in() -> Iterator[None]:
    """Make `import streaming` possible inside the `with` block; does nothing where torchvision can be imported."""
    failure = _torchvision_failure()
    if failure is not None:
        _forget_torchvision()
        failure = _failure_with_operators_declared(failure)
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


def _failure_with_operators_declared(failure: Exception) -> Exception | None:
    """Declare torchvision's operators if they are what is missing; return what is still wrong, or None."""
    if "operator torchvision::" not in str(failure):
        return failure
    for operator in _OPERATORS:
        with suppress(RuntimeError):  # declared already
            _DECLARED.define(f"{operator}(Tensor unavailable) -> Tensor")
    return _torchvision_failure()


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
