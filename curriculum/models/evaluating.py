"""A network in evaluation mode for a while, as it must be while it is asked: no dropout, no noise in routers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put every part of `module` into evaluation mode, and back into the mode each part was in."""
    parts = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in parts:
            part.training = True
