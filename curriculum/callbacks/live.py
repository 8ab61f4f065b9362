"""A network in training behind the probes' protocol.

Idea: all that is asked of the network is that calling it with token ids gives next-token logits: as a tensor, as an
object with `.logits`, as a dict or as the first of a tuple. Candidate answers that agree up to their last token share one
row, so that one-token answers cost one row a prompt; rows of like length share a batch, padded on the right, where a causal
model cannot see it. Hugging Face's models and proxies are asked as everywhere else (`models`), which reads less: shared
prefixes once, logits only where they are wanted. Alternatives: one row at a time (slow), or an adapter for every library.
The price: a network that is not causal, or that wants other arguments, needs `forward`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from curriculum.callbacks.undisturbed import undisturbed
from curriculum.errors import UserError
from curriculum.models.proxy_model import ProxyModel
from curriculum.probe.model import AnswerModel, Numbers
from curriculum.proxy.model import Proxy

TOKENS_AT_ONCE = 4096  # 2 GB of float32 logits at a vocabulary of 128k
_PADDING = 0  # any token: it stands where nothing is read

Forward = Callable[[Tensor], object]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """One sequence to read: a prompt and all but the last token of the answers in `asked`, as (candidate, item)."""

    tokens: tuple[int, ...]
    asked: list[tuple[int, int]] = field(default_factory=list)


class LiveModel:
    """An `AnswerModel` over a torch module whose weights may change between two calls.

    `forward` says how to get logits (batch, time, vocabulary) from token ids (batch, time); by default `module(tokens)`.
    Modules wrapped by DistributedDataParallel or torch.compile are asked unwrapped: the same weights, without the
    synchronisation or another compilation.
    """

    def __init__(self, module: nn.Module, *, forward: Forward | None = None, tokens_at_once: int = TOKENS_AT_ONCE) -> None:
        if tokens_at_once < 1:
            raise UserError(f"wanted tokens_at_once of at least 1, got {tokens_at_once}")
        self.module = unwrapped(module)
        self.forward = forward or self._call
        self.tokens_at_once = tokens_at_once

    @torch.no_grad()
    def answer_log_probabilities(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[Numbers]]:
        """Return the log-probability of every token of every answer (see `AnswerModel`)."""
        found: list[list[Numbers]] = [[np.empty(0)] * len(prompts) for _ in answers]
        rows = _rows(prompts, answers)
        for batch in self._batches(rows):
            asked = [(place, candidate, item) for place, row in enumerate(batch) for candidate, item in row.asked]
            wanted = [answers[candidate][item] for _, candidate, item in asked]
            starts = [(place, len(prompts[item]) - 1) for place, _, item in asked]
            for (_, candidate, item), values in zip(asked, _read(self._logits(batch), starts, wanted), strict=True):
                found[candidate][item] = values
        return found

    def _batches(self, rows: list[_Row]) -> Iterator[list[_Row]]:
        """Yield rows of like length, longest first, so that a batch which does not fit into memory fails at once."""
        batch: list[_Row] = []
        for row in sorted(rows, key=lambda row: -len(row.tokens)):
            if batch and (len(batch) + 1) * len(batch[0].tokens) > self.tokens_at_once:
                yield batch
                batch = []
            batch.append(row)
        yield batch

    def _logits(self, batch: list[_Row]) -> Tensor:
        length = len(batch[0].tokens)
        padded = torch.tensor([[*row.tokens, *[_PADDING] * (length - len(row.tokens))] for row in batch])
        return logits_of(self.forward(padded.to(_device(self.module))), padded.shape)

    def _call(self, tokens: Tensor) -> object:
        """Call the module; a Hugging Face model would else keep every layer's keys and values for a text to come."""
        keeps = getattr(getattr(self.module, "config", None), "use_cache", None)
        return self.module(tokens, use_cache=False) if keeps else self.module(tokens)


def live_model(module: nn.Module) -> AnswerModel:
    """Return `module` behind the probes' protocol: by its own adapter where it has one, unless it is sharded."""
    inner = unwrapped(module)
    if isinstance(inner, Proxy):
        return ProxyModel(inner)
    if not _is_of_transformers(inner) or is_sharded(inner):
        return LiveModel(inner)
    from curriculum.models.hugging_face import HuggingFaceModel

    with undisturbed(inner):  # it tries the network out
        return HuggingFaceModel(inner)


def _is_of_transformers(module: nn.Module) -> bool:
    library = sys.modules.get("transformers")  # who has such a model has imported it
    return library is not None and isinstance(module, library.PreTrainedModel)


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module inside DistributedDataParallel, DataParallel and torch.compile; a sharded one stays as it is."""
    while True:
        if isinstance(module, nn.parallel.DistributedDataParallel | nn.DataParallel):
            module = module.module
        elif isinstance(inner := getattr(module, "_orig_mod", None), nn.Module):
            module = inner
        else:
            return module


def is_sharded(module: nn.Module) -> bool:
    """Say whether ranks hold parts of the weights (FSDP, tensor parallelism, DeepSpeed ZeRO 3): one alone cannot be asked."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1):
        return False
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.tensor import DTensor

    if any(isinstance(part, FullyShardedDataParallel) for part in module.modules()):
        return True
    return any(isinstance(weight, DTensor) or hasattr(weight, "ds_id") for weight in module.parameters())


def logits_of(output: object, shape: torch.Size) -> Tensor:
    """Return the logits (batch, time, vocabulary) in what a module returned for tokens of `shape` (batch, time).

    Raises UserError for anything else.
    """
    if isinstance(output, Mapping):
        output = output.get("logits")
    elif not isinstance(output, Tensor):
        output = output[0] if isinstance(output, tuple) else getattr(output, "logits", None)
    if isinstance(output, Tensor) and output.dim() == 3 and output.shape[:2] == shape:
        return output
    came = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
    raise UserError(
        f"wanted logits (batch, time, vocabulary) for tokens of shape {tuple(shape)} from calling the model, got {came}; "
        "say how to get them: LiveModel(module, forward=lambda tokens: ...)"
    )


def _rows(prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[Sequence[int]]]) -> list[_Row]:
    rows: dict[tuple[int, tuple[int, ...]], _Row] = {}
    for candidate, of_items in enumerate(answers):
        for item, (prompt, answer) in enumerate(zip(prompts, of_items, strict=True)):
            if not prompt or not answer:
                raise UserError(
                    f"probe item {item}: wanted a prompt and an answer of at least one token each, got an empty one"
                )
            shared = tuple(answer[:-1])
            row = rows.setdefault((item, shared), _Row(tokens=(*prompt, *shared)))
            row.asked.append((candidate, item))
    return list(rows.values())


def _read(logits: Tensor, starts: list[tuple[int, int]], answers: list[Sequence[int]]) -> list[Numbers]:
    """Return each answer's log-probabilities; answer k is told by logits (batch, time, vocabulary) from starts[k] on."""
    sizes = [len(answer) for answer in answers]
    rows = np.repeat([row for row, _ in starts], sizes)
    times = np.concatenate([np.arange(first, first + size) for (_, first), size in zip(starts, sizes, strict=True)])
    told = logits[torch.from_numpy(rows), torch.from_numpy(times)].float()  # one transfer from the device for all answers
    tokens = torch.tensor([token for answer in answers for token in answer], device=told.device)
    values = told.gather(1, tokens[:, None])[:, 0] - told.logsumexp(dim=1)
    return np.split(values.double().cpu().numpy(), np.cumsum(sizes)[:-1])


def _device(module: nn.Module) -> torch.device:
    weight = next(module.parameters(), None)
    return torch.device("cpu") if weight is None else weight.device
