"""Asking a model in the middle of its training, so that the training does not notice.

Idea: whatever a forward pass can change is put back: every submodule's own train or eval state (a frozen part may be in
eval while the rest trains), the random generators of torch, of the model's accelerators, of numpy and of Python, and the
cache of autocast. A run with a
monitor is then the same, bit for bit, as one without. Alternatives: asking a copy of the model (twice the memory), or
asking checkpoints afterwards (`curriculum probe`; nothing is noticed while it happens). The price: training waits.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def undisturbed(module: nn.Module | None) -> Iterator[None]:
    """Put `module` in eval mode without gradients inside the `with` block, and everything back as it was after it."""
    devices = _accelerators(module)
    with _same_modes(module), _same_randomness(devices), torch.no_grad(), _uncached_autocast(devices):
        yield


@contextmanager
def _same_modes(module: nn.Module | None) -> Iterator[None]:
    modes = [] if module is None else [(part, part.training) for part in module.modules()]
    try:
        for part, _ in modes:  # the flag alone: some libraries' `eval()` merges weights
            part.training = False
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextmanager
def _same_randomness(devices: list[torch.device]) -> Iterator[None]:
    cpu, of_numpy, of_python = torch.get_rng_state(), np.random.get_state(), random.getstate()
    of_devices = [torch.cuda.get_rng_state(device) for device in devices]
    try:
        yield
    finally:
        torch.set_rng_state(cpu)
        np.random.set_state(of_numpy)
        random.setstate(of_python)
        for device, state in zip(devices, of_devices, strict=True):
            torch.cuda.set_rng_state(state, device)


@contextmanager
def _uncached_autocast(devices: list[torch.device]) -> Iterator[None]:
    """Let an autocast that is on stay on, without its cache.

    It would give weights as they were at the forward pass before the optimizer's step; and before torch 2.10 it kept what
    was cast without a gradient for the training after it (pytorch issue 112583).
    """
    kind = devices[0].type if devices else "cpu"
    if not torch.is_autocast_enabled(kind):
        yield
        return
    with torch.autocast(kind, dtype=torch.get_autocast_dtype(kind), cache_enabled=False):
        yield


def _accelerators(module: nn.Module | None) -> list[torch.device]:
    """Return the CUDA devices that hold the module's parameters: the only generators its forward pass can draw from."""
    if module is None:
        return []
    return sorted({weight.device for weight in module.parameters() if weight.device.type == "cuda"}, key=str)
