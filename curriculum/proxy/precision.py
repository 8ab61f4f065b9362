"""Products in bfloat16: which of a proxy's numbers may be coarse while it is trained, and which may not.

Idea: torch's autocast computes the matrix products of the forward and the backward pass in bfloat16, whose sums are still
taken in float32; weights, optimizer, normalisations, losses and every reading stay in float32. It pays where products are
most of a step: with rows and width, on processors that multiply bfloat16 (AVX-512 BF16, AMX, any recent GPU); elsewhere it is
emulated and slow (`benchmarks/precision.py`). Attention is the exception on a CPU: torch's backward pass of it in
bfloat16 takes a third to a half of a step, more than all products, so it is computed in float32 there. Alternatives:
bfloat16 weights, which lose updates below a 256th of a weight. The price: numbers that are nearly, not exactly, those of
float32.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from curriculum.proxy.recipe import Precision


def products_in(precision: Precision, device: torch.device) -> torch.autocast:
    """Return the context in which a forward pass computes its matrix products in `precision`."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Return what each query reads: (batch, heads, asked, depth). `mask` (asked, time) is added to the scores."""
    if query.dtype is not torch.bfloat16 or query.device.type != "cpu":
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    with torch.autocast("cpu", enabled=False):
        return functional.scaled_dot_product_attention(query.float(), key.float(), value.float(), attn_mask=mask)
